"""
A client of the pool service: hand over a connected socket, and get plaintext and identities.

It needs Linux and the standard library of Python 3.9 alone, and this file may be copied.  As the
client of TLS, and as the server::

    plain = asClient(connected, "mail.example.org", starttls="smtp")
    plain = asServer(accepted, "www.example.org", remote="@example.org")
    print("this is", plain.proven.remote)

What comes back is a socket like any other, for C{makefile}, C{selectors}, and
C{asyncio.open_connection(sock=plain)}; hand over by C{asyncio.to_thread}, as that takes a while.
"""

from __future__ import annotations

import array
import io
import math
import os
import socket
import stat
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

if TYPE_CHECKING:
    from typing import Unpack

#: Where the pool is, unless this variable of the environment or the program says otherwise.
PATH, VARIABLE = "/run/tlstunnel/pool.sock", "TLSTUNNEL_POOL"

#: Seconds within which the pool answers what takes it no time.
PATIENCE = 15.0

# The most bytes of a message, and more descriptors than ever come with one.
_LONGEST, _MOST = 65536, 8


class PoolError(OSError):
    """
    There is no TLS, or it did not end well.

    @ivar reason: a word for programs: one of the pool, such as C{identity}; or C{gone} where there
        is no pool, C{read-ahead}, C{timeout}, C{malformed}, C{unverified}, C{unread}.
    @ivar detail: a sentence for people; may be empty.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


class Proven(NamedTuple):
    """
    What is known of a connection once the peer is verified; C{None} is what there is none of.

    @ivar name: how C{remote} is written in its certificate, such as C{*.example.org}.
    @ivar sni: the name that a client has asked for, which proves nothing.
    """

    local: str | None
    remote: str | None
    name: str | None
    version: str | None
    suite: str | None
    group: str | None
    alpn: str | None
    sni: str | None


class Plaintext(socket.socket):
    """
    The plaintext of one connection.

    Where the connection was cut C{recv} and C{recv_into}, and so all that C{makefile} makes, do not
    return C{b""} but raise a L{PoolError}.  Who reads in another way has to ask L{howEnded}.
    """

    _control: socket.socket | None = None
    _proven: Proven | None = None
    _ending = _detail = ""
    # Questions without an answer yet, which may come when nobody waits for it any more.
    _owed = 0

    @property
    def proven(self) -> Proven:
        """@raise PoolError: nothing is proven yet; see L{verify}."""
        if self._proven is None:
            raise PoolError("unverified", "nobody has proved anything yet")
        return self._proven

    def verify(self, timeout: float | None = None) -> Proven:
        """
        Wait until the peer is verified.  It is already, but for the protocols in which a server
        speaks before TLS: with C{starttls="mysql"}, or "nats", L{asServer} returns at once.

        @raise PoolError: it is not who it has to be, or there is no TLS.
        """
        deadline = _deadline(timeout)
        while self._proven is None:
            self._answer(deadline)
        return self._proven

    def export(self, label: str, length: int = 32, context: bytes | None = None) -> bytes:
        """Keying material of this connection (RFC 5705), which both sides get the same of."""
        written = None if context is None else context.hex()
        answer = self._ask("export", label=label, context=written, length=str(length))
        with suppress(ValueError):
            material = bytes.fromhex(answer.fields.get("material", ""))
            if len(material) == length:
                return material
        raise PoolError("malformed", "the pool has sent another length")

    def certificate(self) -> str:
        """The peer's certificate, and those that came with it: PEM, the peer's first."""
        return self._ask("certificate").body

    def howEnded(self, timeout: float | None = None) -> str:
        """
        Wait until the peer's direction has ended, which the pool sees when all before is read.

        @return: C{closed} where the peer said that this is all; else why it is not, such as
            C{truncated}; C{unread} if this socket was closed before.
        @raise PoolError: C{timeout}.
        """
        deadline = _deadline(timeout)
        while self._control is not None and not self._ending:
            self._hear(self._control, deadline)
        return self._ending or "unread"

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        data: bytes = self._read(super().recv, bufsize, flags)
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0, /) -> int:
        size: int = self._read(super().recv_into, buffer, nbytes, flags)
        return size

    def _read(self, read: Callable[..., Any], room: Any, *more: int) -> Any:
        got, reset = None, None
        try:
            got = read(room, *more)
        except ConnectionResetError as error:
            reset = error
        if not got and room and (ending := self.howEnded(PATIENCE)) != "closed":
            raise PoolError(ending, self._detail or "there may be more, but it is cut off")
        if reset is not None:
            raise reset
        return got

    def _hear(self, control: socket.socket, deadline: float | None) -> _Message:
        message = _receive(control, deadline)
        message.close()
        verb, isProven = message.verb, self._proven is not None
        if verb == "ok" and not isProven:
            self._proven = message.proven()
        elif verb in ("ok", "error") and isProven and self._owed:
            self._owed -= 1
        elif not self._ending:
            self._ending = message.fields.get("reason") or ("malformed" if verb else "gone")
            self._detail = message.fields.get("detail", "")
            if self._ending == "closed" and not (verb == "end" and isProven):
                self._ending = "unverified"
        return message

    def _answer(self, deadline: float | None) -> _Message:
        # An end may come first, once, and what others have not waited for.
        for _ in range(self._owed + 2):
            if self._control is None or (self._ending and self._proven is None):
                break
            message = self._hear(self._control, deadline)
            if not message.verb or (message.verb != "end" and not self._owed):
                return message.unlessError()
        raise PoolError(self._ending or "unread", self._detail or "this connection is closed")

    def _ask(self, verb: str, **fields: str | None) -> _Message:
        _ = self.proven
        # A pool that cannot be asked does not answer either.
        with suppress(OSError):
            if self._control is not None:
                self._control.send(_written(verb, fields), socket.MSG_NOSIGNAL)
                self._owed += 1
        return self._answer(_deadline(PATIENCE))

    def _real_close(self) -> None:
        """Files that were made of it are closed, too; ssl.SSLSocket learns of it in this way."""
        super()._real_close()  # type: ignore[misc]
        with suppress(OSError):
            # What has come by now; no more is waited for.
            self.howEnded(0.0)
        if self._control is not None:
            self._control.close()
        self._control = None


class Options(TypedDict, total=False):
    """
    What both roles can say besides.

    @ivar starttls: the protocol whose STARTTLS the pool does first.
    @ivar plain: C{unix} or C{tcp}: what kind of socket to return.
    @ivar timeout: seconds that all of this may take; C{None} for the socket's, else the pool's.
    @ivar file: what was made of the socket by C{makefile("rb")} and read from; it is closed, and
        there is no TLS if there is something in its buffer.
    @ivar path: where the pool's socket is.
    @ivar owner: the user ID of the pool: nothing is handed over where another one but root listens.
    """

    starttls: str | None
    service: str | None
    alpn: Iterable[str]
    minimum: str | None
    plain: str | None
    timeout: float | None
    file: io.BufferedReader | None
    path: str | None
    owner: int | None


def asClient(
    sock: socket.socket, remote: str, *, local: str | None = None, **options: Unpack[Options]
) -> Plaintext:
    """
    Be the client of TLS on a connection.

    @param sock: the connection, which is closed here, whatever comes of it.
    @param remote: who must be at the other end.
    @param local: who to be; C{None} for whom the rules of the pool choose, C{-} for nobody.
    @raise PoolError: there is no TLS.
    """
    return _handOver(sock, {"role": "client", "remote": remote, "local": local}, options)


def asServer(
    sock: socket.socket,
    local: str | None = None,
    *,
    client: str | None = None,
    remote: str | None = None,
    **options: Unpack[Options],
) -> Plaintext:
    """
    Be the server of TLS on a connection; else as L{asClient}.

    @param local: who to be; C{None} for the name that the client asks for.
    @param client: C{require}, C{request} or C{ignore} certificates of clients.
    @param remote: the selector of those that may come; they have to show a certificate.
    """
    asked = {"role": "server", "local": local, "client": client, "remote": remote}
    return _handOver(sock, asked, options)


def hello(path: str | None = None, owner: int | None = None) -> Mapping[str, str]:
    """Ask the pool who it is (C{server}) and what it can do (C{verbs})."""
    deadline = _deadline(PATIENCE)
    with _connected({"path": path, "owner": owner}, deadline) as control:
        with suppress(OSError):
            control.send(_written("hello", {}), socket.MSG_NOSIGNAL)
        message = _receive(control, deadline)
        message.close()
        return message.unlessError().fields


def _handOver(sock: socket.socket, asked: dict[str, str | None], options: Options) -> Plaintext:
    with ExitStack() as undoing:
        undoing.callback(_close, sock)
        if wrong := options.keys() - Options.__annotations__:
            raise TypeError(f"there is no option {', '.join(wrong)}")
        ours, timeout, file = sock.gettimeout(), options.get("timeout"), options.get("file")
        # A socket that never waits says nothing of how long others may take.
        timeout = (ours or None) if timeout is None else timeout
        deadline = _deadline(timeout)
        asked |= {"starttls": options.get("starttls"), "service": options.get("service")}
        asked |= {"minimum": options.get("minimum"), "plain": options.get("plain")}
        asked["alpn"] = ",".join(options.get("alpn", ())) or None
        asked["timeout"] = None if timeout is None else str(max(1, math.ceil(timeout)))
        if file is not None:
            file.raw.close()
            # To look does not try to read more into its buffer then.
            with suppress(ValueError):
                if file.peek(1):
                    raise PoolError("read-ahead", "something came before TLS that was not read")
        control = undoing.enter_context(_connected(options, deadline))
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sock.fileno()]))
        # A pool that has refused us already has said why.
        with suppress(BrokenPipeError, ConnectionResetError):
            control.sendmsg([_written("tls", asked)], [rights], socket.MSG_NOSIGNAL)
        _close(sock)
        plaintext = _plaintext(_receive(control, deadline))
        plaintext._control = control
        plaintext.settimeout(ours)
        undoing.pop_all()
    return plaintext


def _close(sock: socket.socket) -> None:
    # Also where files were made of it: nobody else may read from it.
    with suppress(OSError):
        os.close(sock.detach())


class _Message(NamedTuple):
    """What the pool says; without a verb it is the end of all that it says."""

    verb: str
    fields: dict[str, str]
    body: str
    descriptors: list[int]

    def close(self) -> None:
        while self.descriptors:
            os.close(self.descriptors.pop())

    def unlessError(self) -> _Message:
        if self.verb in ("ok", "plain"):
            return self
        if not self.verb:
            raise PoolError("gone", "the pool went away")
        raise PoolError(self.fields.get("reason", "malformed"), self.fields.get("detail", ""))

    def proven(self) -> Proven:
        return Proven(*(self.fields.get(name) or None for name in Proven._fields))


def _plaintext(message: _Message) -> Plaintext:
    try:
        sent = message.unlessError().descriptors
        if len(sent) != 1 or not stat.S_ISSOCK(os.fstat(sent[0]).st_mode):
            raise PoolError("malformed", "the pool has not sent one socket")
        plaintext = Plaintext(fileno=sent[0])
        sent.clear()
    finally:
        message.close()
    plaintext._proven = message.proven() if message.verb == "ok" else None
    return plaintext


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _connected(options: Options, deadline: float | None) -> socket.socket:
    path = options.get("path") or os.environ.get(VARIABLE) or PATH
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        # With a timeout of Python's nobody would wait while the backlog is full.
        control.settimeout(None)
        left = PATIENCE if deadline is None else max(0.0, deadline - time.monotonic())
        limit = struct.pack("@ll", *divmod(int(left * 1e6) + 1, 1000000))
        control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        control.connect(path)
        uid = array.array("I", control.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        if options.get("owner") not in (None, uid) and uid:
            raise OSError(f"user {uid} listens there")
    except BaseException as error:
        control.close()
        if isinstance(error, BlockingIOError):
            raise PoolError("timeout", f"the pool at {path} does not answer") from None
        if isinstance(error, OSError):
            why = f"{error.strerror or error}; start it, or say where it is by {VARIABLE}"
            raise PoolError("gone", f"no pool at {path}: {why}") from None
        raise
    return control


def _written(verb: str, fields: Mapping[str, str | None]) -> bytes:
    said = {key: value for key, value in fields.items() if value is not None}
    for key, value in said.items():
        if not value.isprintable():
            raise ValueError(f"{key} has a character that nobody can see: {value!r}")
    return "\n".join([verb, *map("=".join, said.items()), ""]).encode()


def _receive(control: socket.socket, deadline: float | None) -> _Message:
    numbers = array.array("i")
    space = socket.CMSG_SPACE(_MOST * numbers.itemsize)
    control.settimeout(None if deadline is None else max(0.0, deadline - time.monotonic()))
    try:
        data, rights, flags, _ = control.recvmsg(_LONGEST, space, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        # It comes once, and before what is still to be read.
        return _receive(control, deadline)
    except (BlockingIOError, socket.timeout):  # noqa: UP041 - two things before Python 3.10
        raise PoolError("timeout", "the pool, or the other end, does not answer in time") from None
    for level, kind, value in rights:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers.frombytes(value[: len(value) - len(value) % numbers.itemsize])
    head, _, body = data.decode(errors="replace").partition("\n\n")
    verb, *lines = head.split("\n")
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    message = _Message(verb, fields, body, numbers.tolist())
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        message.close()
        raise PoolError("malformed", "the pool says too much")
    return message
