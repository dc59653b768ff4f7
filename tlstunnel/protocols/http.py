"""
HTTP with the upgrade to TLS of RFC 2817, which printing knows (see RFC 9110, section 7.8)::

    C: OPTIONS * HTTP/1.1
    C: Host: example.org
    C: Upgrade: TLS/1.0
    C: Connection: Upgrade
    C:
    S: HTTP/1.1 101 Switching Protocols
    S: Upgrade: TLS/1.0, HTTP/1.1
    S: Connection: Upgrade
    S:
    == TLS ==                           whatever version the two agree on
    S: HTTP/1.1 200 OK                  the answer to OPTIONS, first of all
    S: Content-Length: 0
    S:

That answer is a danger (Opossum, CVE-2025-49812).  Somebody on the way can ask for the upgrade, and
then let a client in who believes to speak to a port with TLS from the first byte: it takes the
answer to OPTIONS for that to its own first request, and so on, every answer one request late.  The
client role therefore takes that answer away, and no other; the server role has to give it, and
serves only where an option accepts the risk.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from tlstunnel.errors import Malformed, Oversize, Refused, TunnelError
from tlstunnel.identity.names import normalDomain
from tlstunnel.protocols.base import ClientRole, Dialect, ServerRole
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.foreign import checkForeign, rejectForeign

if TYPE_CHECKING:
    from tlstunnel.tls.creators import Creator

#: The option of the server role.
ALLOW_UPGRADE_DESYNC = "allow-upgrade-desync"

#: The longest answer to OPTIONS that is taken away: its body, and its head on top.
MAX_ANSWER_BYTES = 65536

#: Seconds in which a client that is told to upgrade may end its request.
LINGER_SECONDS = 2.0

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: .*)?")
_REQUEST = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [^ ]+ HTTP/[0-9]\.[0-9]")
_CHUNK = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(?:;.*)?")

# A request was not there in time (RFC 9110, section 15.5.9).
_TIMED_OUT = b"HTTP/1.1 408"
_LENGTH = re.compile(rb"content-length:[ \t]*([0-9]{1,4})[ \t]*", re.IGNORECASE)
_PORT = re.compile(rb":[0-9]*\Z")
_BROKEN = re.compile(rb"[\r\n\0]")
_FRAMING = (b"content-length", b"transfer-encoding")

_UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: TLS/1.0, HTTP/1.1\r\nConnection: Upgrade\r\n\r\n"
)
_UPGRADE_REQUIRED = (
    b"HTTP/1.1 426 Upgrade Required\r\n"
    b"Upgrade: TLS/1.0, HTTP/1.1\r\n"
    b"Connection: Upgrade, close\r\n"
    b"Content-Length: 0\r\n"
    b"\r\n"
)
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Fields:
    """
    The header fields of a message.
    """

    def __init__(self) -> None:
        self._values: defaultdict[bytes, list[bytes]] = defaultdict(list)

    async def read(self, conversation: Conversation) -> None:
        """
        Read all of them, and the empty line behind them.

        @raise Malformed: if there is something else (RFC 9112, section 5).
        """
        while line := await conversation.readLine():
            name, colon, value = line.partition(b":")
            if not colon or not _TOKEN.fullmatch(name):
                raise Malformed("not a header field", line)
            self._values[name.lower()].append(value)

    def items(self, name: bytes) -> list[bytes]:
        """
        What the field C{name} lists, in lower case.
        """
        listed = b",".join(self._values[name]).lower().split(b",")
        return [item for each in listed if (item := each.strip(b" \t"))]

    def upgradesToTLS(self, *connection: bytes) -> bool:
        """
        RFC 2817, section 3: the version there means nothing.

        @param connection: what the field C{Connection} may say, of which it has to say something.
        """
        return any(item in connection for item in self.items(b"connection")) and any(
            item.startswith(b"tls/1.") for item in self.items(b"upgrade")
        )


class HTTPClient(ClientRole):
    """
    Asks a remote HTTP server for TLS.
    """

    maxLine = 8192

    async def negotiate(self) -> None:
        """
        RFC 2817, section 3.2: mandatory TLS is asked for with OPTIONS.
        """
        # Not the name that is to be verified: cupsd takes on loopback none but that of loopback.
        self.sendLine(b"OPTIONS * HTTP/1.1\r\nHost: " + self.setting.authority)
        self.sendLine(b"Upgrade: TLS/1.0\r\nConnection: Upgrade\r\n")
        status, fields = await self._response()
        if status != b"101":
            raise Refused("expected 101", status)
        # RFC 9110, section 7.8, wants the former; cupsd says the latter.
        if not fields.upgradesToTLS(b"upgrade", b"keep-alive"):
            raise Malformed("the server switches to something that is not TLS")

    async def _response(self) -> tuple[bytes, Fields]:
        """
        The head of a response.
        """
        line = await self.readLine()
        match = _STATUS.fullmatch(line)
        if match is None:
            raise Malformed("not the status line of a response", line)
        if match[1] == b"0":
            raise Refused("a server of HTTP/1.0 knows no upgrade", line)
        fields = Fields()
        await fields.read(self)
        return match[2], fields

    async def greetApp(self) -> None:
        """
        Take the answer to OPTIONS away; from there on the server must wait for the app.
        """
        self.maxBytes += 2 * MAX_ANSWER_BYTES
        self.maxLines *= 2
        status, fields = await self._response()
        while status.startswith(b"1"):
            # RFC 9110, section 15.2: any number of them may precede the final one.
            if status == b"101":
                raise Malformed("the server switches protocols a second time")
            status, fields = await self._response()
        if b"close" in fields.items(b"connection"):
            raise Refused("the server does not keep the connection", status)
        if status not in (b"204", b"304"):
            await self._skipBody(fields)
        await self.demandSilence()

    def isFarewell(self, said: bytes) -> bool | None:
        """
        RFC 9110, section 15.5.9: whoever waits in vain for a request may say so, and closes.
        """
        start = said[: len(_TIMED_OUT) + 1]
        if not (_TIMED_OUT + b" ").startswith(start):
            return False
        head, end, body = said.partition(b"\r\n\r\n")
        if not end:
            return None
        lines = head.split(b"\r\n")
        framing = [each for each in lines if each.lower().startswith(_FRAMING)]
        length = _LENGTH.fullmatch(framing[0]) if len(framing) == 1 else None
        if length is None or any(map(_BROKEN.search, lines)):
            # The app could see another end of it (RFC 9112, section 6.3).
            return False
        missing = int(length[1]) - len(body)
        return None if missing > 0 else missing == 0

    async def _skipBody(self, fields: Fields) -> None:
        """
        RFC 9112, section 6.3: what is delimited twice, or not at all, is not to be trusted.
        """
        codings = fields.items(b"transfer-encoding")
        lengths = set(fields.items(b"content-length"))
        if codings == [b"chunked"] and not lengths:
            await self._skipChunks()
        elif not codings and len(lengths) == 1:
            (length,) = lengths
            if not length.isdigit():
                raise Malformed("a length that is no number", length)
            await self._skip(length, 10)
        else:
            raise Malformed("an answer without one end", b", ".join([*codings, *sorted(lengths)]))

    async def _skip(self, length: bytes, base: int, behind: int = 0) -> int:
        """
        Skip C{length} bytes, and some more.
        """
        digits = length.lstrip(b"0") or b"0"
        size = int(digits, base) if len(digits) <= 16 else MAX_ANSWER_BYTES + 1
        if size > MAX_ANSWER_BYTES:
            raise Oversize("a longer answer to OPTIONS than anybody needs")
        await self.readExactly(size + behind)
        return size

    async def _skipChunks(self) -> None:
        """
        RFC 9112, section 7.1.
        """
        total = 0
        while True:
            line = await self.readLine()
            match = _CHUNK.fullmatch(line)
            if match is None:
                raise Malformed("not the size of a chunk", line)
            if not match[1].strip(b"0"):
                break
            total += await self._skip(match[1], 16)
            if total > MAX_ANSWER_BYTES:
                raise Oversize("a longer answer to OPTIONS than anybody needs")
            line = await self.readLine()
            if line:
                raise Malformed("a chunk that is longer than its size", line)
        await Fields().read(self)


class HTTPServer(ServerRole):
    """
    Lets an HTTP client upgrade, and nothing else before it.
    """

    maxLine = 8192

    async def negotiate(self) -> None:
        """
        RFC 2817, sections 3.2 and 4.2.
        """
        line = await self._requestLine()
        error: TunnelError = Refused("the client wants something else than TLS", line)
        try:
            if line == b"OPTIONS * HTTP/1.1" and await self._asksForTLS():
                self.goAheadExactly(_UPGRADED)
                return
        except Malformed as malformed:
            error = malformed
        self.write(_UPGRADE_REQUIRED)
        await self._linger()
        raise error

    async def _requestLine(self) -> bytes:
        """
        @raise ForeignProtocol: if the client speaks another protocol (rule 13).
        @raise Malformed: if it is no request.
        """
        first = await self.readExactly(1)
        self.putBack(first)
        if first == b"\x16" or not first.isascii():
            await checkForeign(self)
        # RFC 9112, section 2.2: one empty line may precede.
        line = await self.readLine() or await self.readLine()
        if not _REQUEST.fullmatch(line):
            if line.startswith(b"SSH-"):
                rejectForeign(line)
            raise Malformed("not a request of HTTP/1", line)
        return line

    async def _asksForTLS(self) -> bool:
        """
        Read the fields of an OPTIONS request.
        """
        fields = Fields()
        await fields.read(self)
        hasBody = fields.items(b"transfer-encoding") or set(fields.items(b"content-length")) - {
            b"0"
        }
        self.domain = _domainIn(fields.items(b"host"))
        return fields.upgradesToTLS(b"upgrade") and not hasBody

    async def _linger(self) -> None:
        """
        RFC 9112, section 9.6: hear the client out, so that no reset overtakes our answer.
        """
        self.transport.loseWriteConnection()
        try:
            with self.within(LINGER_SECONDS, "the end of the request"):
                while True:
                    await self.readSome()
        except TunnelError:
            pass

    async def switch(self, creator: Creator) -> None:
        """
        The backend has not seen the request, so that its answer is ours to give.
        """
        await super().switch(creator)
        self.write(_ANSWER)


def _domainIn(hosts: list[bytes]) -> str:
    """
    The domain that a request names (RFC 9110, section 7.2); empty where it is none, or an address.
    """
    if len(hosts) != 1:
        return ""
    try:
        return normalDomain(_PORT.sub(b"", hosts[0]).decode("ascii"))
    except ValueError:
        return ""


http = Dialect(
    name="http",
    client=HTTPClient,
    server=HTTPServer,
    summary="the web, with an upgrade as printing knows it (RFC 2817)",
    aliases=("http-upgrade",),
    ports=(80, 631),
    implicitPort=443,
    alpn=(b"http/1.1",),
    # It speaks first inside TLS, once: see HTTPClient.greetApp.
    silentServer=False,
    demands=ALLOW_UPGRADE_DESYNC,
    options={
        ALLOW_UPGRADE_DESYNC: "serve, although clients that begin with TLS at once can"
        " be led to take every answer for that to the next request (Opossum, CVE-2025-49812)",
    },
    onlyIn={ALLOW_UPGRADE_DESYNC: "server"},
)
