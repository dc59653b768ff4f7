"""
PostgreSQL (Frontend/Backend Protocol 3, "SSL Session Encryption"; TLS at once since release 17)::

    C: 00 00 00 08 04 d2 16 2f      SSLRequest
    S: S                            or N, one byte
    == TLS ==                       the client sends its StartupMessage

    C: 00 00 00 08 04 d2 16 30      GSSENCRequest, which may precede
    S: N
    C: 16 03 ...                    TLS at once, with the ALPN id "postgresql"
    C: len 04 d2 16 2e ...          CancelRequest, on a connection of its own

All integers are big-endian, and a length counts itself.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tlstunnel.errors import ForeignProtocol, Malformed, Refused, TLSFailed
from tlstunnel.protocols.base import ClientRole, Dialect, Role, ServerRole
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.filters import Filter
from tlstunnel.protocols.foreign import rejectForeign

if TYPE_CHECKING:
    from tlstunnel.tls.creators import Creator

ALPN = b"postgresql"
DIRECT = "direct"
CANCEL_IN_CLEAR = "cancel-in-clear"

_CANCEL = 0x04D2162E
_SSL = 0x04D2162F
_GSSENC = 0x04D21630
_SSL_REQUEST = struct.pack(">II", 8, _SSL)

# What a StartupMessage takes at least; how much at most is for its server to say.  The key in a
# CancelRequest has 4 bytes, in protocol 3.2 up to 256.
_LEAST_STARTUP_BYTES = 9
_CANCEL_LENGTHS = range(16, 269)

# How often a peer may ask for encryption of each kind before it goes on.
_MAX_SAME_REQUESTS = 2

_TLS_REQUIRED = b"SFATAL\0VFATAL\0C28000\0MTLS required\0\0"

# The severity of an ErrorResponse, in the server's language and, since release 9.6, in English.
_FATAL = frozenset((b"SFATAL", b"SPANIC", b"VFATAL", b"VPANIC"))

_AUTHENTICATION_SASL = 10

# libpq takes no longer one either.
_MAX_AUTHENTICATION_BYTES = 2000


class Opening:
    """
    Reads what a client may begin with.

    @ivar code: of the message read last: C{_SSL}, C{_GSSENC}, C{_CANCEL}, or the version in a
        StartupMessage.
    @ivar message: that message.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._asked = {_SSL: 0, _GSSENC: 0}
        self.code = 0
        self.message = b""

    async def read(self) -> int:
        """
        The next message.

        @return: its code.
        @raise ForeignProtocol: if it is of another protocol.
        @raise Malformed: if it is none of those, or the same request once more.
        """
        start = await self._conversation.readExactly(8)
        length, self.code = struct.unpack(">II", start)
        self.message = start
        if self.code in self._asked and length == 8:
            self._asked[self.code] += 1
            if self._asked[self.code] > _MAX_SAME_REQUESTS:
                raise Malformed("the same request again and again", start)
        elif (self.code == _CANCEL and length in _CANCEL_LENGTHS) or (
            self.code >> 16 == 3 and length >= _LEAST_STARTUP_BYTES
        ):
            self.message += await self._conversation.readExactly(length - 8)
        else:
            rejectForeign(start)
            raise Malformed("no message that a connection begins with", start)
        return self.code


def demandALPN(role: Role) -> None:
    """
    After TLS at once: no word of PostgreSQL was said yet, so that ALPN has to say it.

    @raise TLSFailed: if it does not.
    """
    if role.transport.session.alpn != ALPN:
        raise TLSFailed("TLS at once, without the application protocol (ALPN) postgresql")


class WithoutChannelBinding(Filter):
    """
    Takes SCRAM-SHA-256-PLUS out of the list of mechanisms that the server offers first.

    The mechanism binds the login to the TLS that the server sees, and the app sees none; libpq ends
    a connection without TLS on which it is offered.
    """

    def __init__(self) -> None:
        super().__init__()
        # What is left of a message that passes as it comes.
        self._passing = 0

    def feed(self, data: bytes) -> bytes:
        """
        Pass what precedes the list, then the list without that mechanism, then everything.
        """
        kept = self._kept
        kept += data
        passed: list[bytes] = []
        at = 0
        while at < len(kept) and not self.done:
            head = bytes(kept[at : at + 9])
            if self._passing:
                passed.append(bytes(kept[at : at + self._passing]))
                self._passing -= len(passed[-1])
                at += len(passed[-1])
            elif head[:1] in (b"N", b"v"):
                # NoticeResponse, NegotiateProtocolVersion.
                if len(head) < 5:
                    break
                self.messages += 1
                self._passing = 1 + int.from_bytes(head[1:5], "big")
            else:
                size = _listSize(head)
                if size > len(kept) - at:
                    break
                self.done = True
                if size:
                    passed.append(_withoutPlus(bytes(kept[at : at + size])))
                    at += size
        del kept[:at]
        if self.done:
            passed.append(self.flush())
        return b"".join(passed)


def _listSize(head: bytes) -> int:
    """
    How long an AuthenticationSASL message is that begins with C{head}, or how much of it is needed
    to tell; 0 if it is none.
    """
    if head[:1] != b"R":
        return 0
    if len(head) < 9:
        return 9
    length, kind = struct.unpack(">II", head[1:])
    isList = kind == _AUTHENTICATION_SASL and 8 <= length <= _MAX_AUTHENTICATION_BYTES
    return 1 + int(length) if isList else 0


def _withoutPlus(message: bytes) -> bytes:
    """
    An AuthenticationSASL message without the mechanisms that bind to a channel.
    """
    names = message[9:].split(b"\0")
    kept = b"\0".join(name for name in names if not name.endswith(b"-PLUS"))
    return message[:1] + struct.pack(">II", 8 + len(kept), _AUTHENTICATION_SASL) + kept


class PostgreSQLClient(ClientRole):
    """
    Asks a remote PostgreSQL server for TLS, and an app not to.
    """

    async def prepare(self) -> None:
        """
        The app may ask for encryption as it likes: it is told that there is none, and the message
        that it begins its session with is held.
        """
        start = await self.plain.readExactly(1)
        if start == b"\x16":
            raise ForeignProtocol(
                "the app starts TLS itself: let it use sslmode=disable or prefer, and no "
                "sslnegotiation=direct",
                start,
            )
        self.plain.putBack(start)
        opening = Opening(self.plain)
        while await opening.read() in (_SSL, _GSSENC):
            self.plain.write(b"N")
        self.plain.putBack(opening.message)

    async def negotiate(self) -> None:
        """
        One byte decides; if it begins an ErrorResponse, nobody reads that (CVE-2024-10977).
        """
        if DIRECT in self.setting.options:
            return
        self.write(_SSL_REQUEST)
        answer = await self.readExactly(1)
        if answer == b"N":
            raise Refused("the server does not speak TLS")
        if answer == b"E":
            raise Refused("the server answered the request for TLS with an error")
        if answer != b"S":
            raise Malformed("neither S nor N", answer)

    def isFarewell(self, said: bytes) -> bool | None:
        """
        An ErrorResponse that is fatal, as of a server that shuts down.
        """
        if not said.startswith(b"E"):
            return False
        size = 1 + int.from_bytes(said[1:5], "big")
        if len(said) < 5 or len(said) < size:
            return None
        return len(said) == size and not _FATAL.isdisjoint(said[5:].split(b"\0"))

    async def switch(self, creator: Creator) -> None:
        """
        As everywhere, and with ALPN where nothing was negotiated.

        @raise TLSFailed: also if the server closes without a word, as it does before PostgreSQL 17.
        """
        if DIRECT not in self.setting.options:
            await super().switch(creator)
            return
        try:
            await super().switch(creator)
        except TLSFailed as error:
            cause = error.cause or "no direct TLS"
            raise TLSFailed(error.detail, error.said, cause) from None
        demandALPN(self)

    async def greetApp(self) -> None:
        """
        The app has been answered; what was held of it goes out now.
        """
        self.toPlain.append(WithoutChannelBinding())


class PostgreSQLServer(ServerRole):
    """
    Offers a PostgreSQL client TLS, and nothing else before it.
    """

    # TLS may be the first thing there is, and OpenSSL has to read it.
    exact = True
    maxBytes = 10240

    async def negotiate(self) -> None:
        """
        Everything but TLS, at once or asked for, ends here.
        """
        if await self.peek() == b"\x16":
            self.directStart = True
            return
        opening = Opening(self)
        while await opening.read() == _GSSENC:
            self.write(b"N")
        if opening.code == _SSL:
            self.goAheadExactly(b"S")
        elif opening.code != _CANCEL:
            # As a server does it for which pg_hba.conf has hostssl lines only.
            self.write(b"E" + struct.pack(">I", 4 + len(_TLS_REQUIRED)) + _TLS_REQUIRED)
            raise Refused("the client wants a session without TLS")
        elif CANCEL_IN_CLEAR in self.setting.options:
            self.inClear = opening.message
        else:
            raise Refused(
                f"a CancelRequest without TLS; the dialect's option {CANCEL_IN_CLEAR} allows it"
            )

    async def switch(self, creator: Creator) -> None:
        """
        As everywhere, and with ALPN where nothing was negotiated.
        """
        await super().switch(creator)
        if self.directStart:
            demandALPN(self)


postgresql = Dialect(
    name="postgresql",
    marksEnd=True,
    client=PostgreSQLClient,
    server=PostgreSQLServer,
    summary="PostgreSQL (SSLRequest, or TLS at once with ALPN)",
    aliases=("postgres", "pgsql"),
    ports=(5432,),
    implicitPort=5432,
    alpn=(ALPN,),
    options={
        DIRECT: "TLS at once instead of an SSLRequest (PostgreSQL 17 and later)",
        CANCEL_IN_CLEAR: "forward a CancelRequest that comes without TLS",
    },
    onlyIn={DIRECT: "client", CANCEL_IN_CLEAR: "server"},
)
