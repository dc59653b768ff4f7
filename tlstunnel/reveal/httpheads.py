"""
The head of a request: read by two who have to agree, a strict look at its bytes and h11, and
written anew, so that the backend sees nothing that could be read in another way.
"""

from __future__ import annotations

import re

import h11

from tlstunnel.errors import Malformed, Oversize, TunnelError
from tlstunnel.reveal.httpfields import FRAMING, Told, folded

#: The most bytes of the line that begins a request (RFC 9112, section 3: at least 8000), of a head,
#: and the most fields in it.
MAX_LINE_BYTES = 8192
MAX_HEAD_BYTES = 32768
MAX_FIELDS = 128

#: The most bytes of what begins or ends a chunk: its size and extensions, or all trailers.
MAX_CHUNK_LINE_BYTES = 4096

#: The longest body that has a length: more than anybody sends, and less than what overflows where
#: somebody counts in doubles, or in 64 bits, and would take the rest of it for requests.
MAX_BODY_BYTES = 2**53 - 1

BAD_REQUEST = b"400 Bad Request"
TOO_MUCH = b"413 Content Too Large"
TOO_LONG = b"414 URI Too Long"
TOO_LARGE = b"431 Request Header Fields Too Large"
NO_SUCH_EXPECTATION = b"417 Expectation Failed"
NOT_ALLOWED = b"405 Method Not Allowed"
NOT_IMPLEMENTED = b"501 Not Implemented"
OTHER_VERSION = b"505 HTTP Version Not Supported"
_BY_NUMBER = {431: TOO_LARGE, 501: NOT_IMPLEMENTED}

# A line ends with CR and LF, and only there are they (RFC 9112, section 2.2); no other control
# character is anywhere but the tabulator in fields.
_BROKEN = re.compile(rb"(?<!\r)\n|\r[^\n]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_FOLD = re.compile(rb"\r\n[ \t]")
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::[0-9]{1,5})?")
_ABSOLUTE = re.compile(rb"https?://([^/?#@]+)([/?][^#]*)?", re.IGNORECASE)

# What has a body with no meaning (RFC 9110, sections 9.3.1, 9.3.2, 9.3.5 and 9.3.7): a backend that
# does not look for one takes it for the next request.
_WITHOUT_BODY = frozenset((b"GET", b"HEAD", b"DELETE", b"OPTIONS"))

# What a client may ask of the connection, which is that of the backend too.
_ASKED = (b"close", b"keep-alive", b"te")


class Rejected(Exception):
    """
    A request is not for the backend to see.

    @ivar status: what the client is answered.
    @ivar error: how the connection ends.
    """

    def __init__(self, status: bytes, error: TunnelError) -> None:
        self.status = status
        self.error = error
        super().__init__(status, error)


def rejected(why: str, said: bytes = b"", status: bytes = BAD_REQUEST) -> Rejected:
    """
    A request that breaks a rule.
    """
    return Rejected(status, Malformed(why, said))


def reasonOf(error: h11.RemoteProtocolError) -> str:
    """
    What h11 has found, without the words of the peer.
    """
    # It raises its errors in a circle, from which all could be reached that is known here.
    error.__traceback__ = None
    return str(error).partition(":")[0]


def checkBytes(head: bytearray, start: int) -> None:
    """
    Look at the beginning of a head, whose end may be still to come.

    @param start: what is before it was looked at already.
    @raise Rejected: it cannot become one.
    """
    # A CR may have been the last before, and what follows the last one now is still to come.
    broken = _BROKEN.search(head, max(0, start - 1))
    if broken is not None:
        raise rejected("a control character, or a bare CR or LF, in a request", bytes(head))
    end = head.find(b"\r\n", 0, MAX_LINE_BYTES)
    if end < 0 and len(head) >= MAX_LINE_BYTES:
        raise Rejected(TOO_LONG, Oversize("a longer request line than anybody needs", bytes(head)))
    if end >= 0 and start <= end + 1:
        _checkLine(bytes(head[:end]))
    if len(head) > MAX_HEAD_BYTES:
        raise Rejected(TOO_LARGE, Oversize(f"a head of more than {MAX_HEAD_BYTES} bytes"))


def _checkLine(line: bytes) -> None:
    """
    RFC 9112, section 3; there were requests without a version, which have no fields.
    """
    found = _LINE.fullmatch(line)
    if found is None:
        raise rejected("not a request of HTTP/1", line)
    if found[3] != b"1" or found[4] not in b"01":
        # RFC 9113, section 3.4: that of HTTP/2 begins like a request, so that nobody takes it.
        raise rejected("neither HTTP/1.1 nor HTTP/1.0", line, OTHER_VERSION)


class Head:
    """
    The head of one request.

    @ivar reader: reads the body behind it.
    @ivar method: the method.
    @ivar length: the bytes of the body; C{None} where it comes in chunks.
    @ivar expects: whether the client may wait for a word before it sends the body.
    @ivar upgrades: whether it asks for WebSocket, the one protocol that may take over.
    @ivar isLast: whether the backend is to read nothing behind it, as it might read the body twice.
    """

    def __init__(self, head: bytes) -> None:
        """
        @param head: all of it, up to and with the empty line, as L{checkBytes} accepts it.
        @raise Rejected: it is not one, or not one for us.
        """
        if head.count(b"\r\n") > MAX_FIELDS + 2:
            raise Rejected(TOO_LARGE, Oversize(f"more than {MAX_FIELDS} fields"))
        # RFC 9112, section 5.2: not a request of today.
        if _FOLD.search(head):
            raise rejected("a field that goes on in the next line (obs-fold)", head)
        self.reader = h11.Connection(h11.SERVER, MAX_CHUNK_LINE_BYTES)
        self._request = request = self._read(head)
        self.method = request.method
        # In the spelling of the client, which is more than twice as cheap as h11's own.
        self._fields = request.headers.raw_items()
        self._values: dict[bytes, list[bytes]] = {}
        for name, value in self._fields:
            self._values.setdefault(name.lower(), []).append(value)
        self._checkNames()
        self.length = self._measure()
        self.isLast = self.method.upper() in _WITHOUT_BODY and self.length != 0
        self._host = self._hostOf()
        self._target = self._targetOf()
        self.expects = self._expects()
        self.upgrades = self._asksForWebSocket()

    def _read(self, head: bytes) -> h11.Request:
        reader = self.reader
        reader.receive_data(head)
        try:
            event = reader.next_event()
        except h11.RemoteProtocolError as error:
            status = _BY_NUMBER.get(error.error_status_hint, BAD_REQUEST)
            raise rejected(reasonOf(error), head, status) from None
        if not isinstance(event, h11.Request) or reader.trailing_data[0]:
            raise rejected("it is not clear where a request ends", head)
        return event

    def _listed(self, name: bytes) -> list[bytes]:
        """
        What the field C{name} lists, in lower case.
        """
        if name not in self._values:
            return []
        values = b",".join(self._values[name]).lower().split(b",")
        return [item for each in values if (item := each.strip(b" \t"))]

    def _checkNames(self) -> None:
        """
        Nothing may look like what delimits a message, and be something else.
        """
        for name in self._values:
            known = folded(name)
            if known in FRAMING and known != name:
                raise rejected("a field that some take for another", name)

    def _measure(self) -> int | None:
        """
        RFC 9112, section 6: what is delimited twice is not to be trusted.
        """
        lengths, codings = self._listed(b"content-length"), self._listed(b"transfer-encoding")
        if codings and (lengths or self._request.http_version == b"1.0"):
            raise rejected("a body that is delimited in two ways")
        if self.method == b"TRACE" and (codings or lengths):
            # RFC 9110, section 9.3.8.
            raise rejected("TRACE with a body")
        length = int(lengths[0]) if lengths else 0
        if length > MAX_BODY_BYTES:
            raise Rejected(TOO_MUCH, Oversize(f"a body of {length} bytes"))
        return None if codings else length

    def _hostOf(self) -> bytes:
        """
        RFC 9112, section 3.2: one, as h11 has seen to, and one that is such.
        """
        host = self._values.get(b"host", [b""])[0]
        if host and not _HOST.fullmatch(host):
            raise rejected("a host that is none", host)
        return host

    def _targetOf(self) -> bytes:
        """
        RFC 9112, section 3.2: what it is for, without the host.
        """
        target = self._request.target
        if self.method == b"CONNECT":
            raise rejected("the client wants a tunnel (CONNECT)", target, NOT_ALLOWED)
        if b"#" in target:
            raise rejected("a target with a fragment", target)
        if target.startswith(b"/") or (target == b"*" and self.method == b"OPTIONS"):
            return target
        found = _ABSOLUTE.fullmatch(target)
        if found is None:
            raise rejected("a target that is no path", target)
        if found[1].lower() != self._host.lower():
            raise rejected("a target for another host than the field says", target)
        path = found[2] or b""
        if not path and self.method == b"OPTIONS":
            return b"*"
        return path if path.startswith(b"/") else b"/" + path

    def _expects(self) -> bool:
        """
        RFC 9110, section 10.1.1.
        """
        asked = [value.lower() for value in self._values.get(b"expect", ())]
        if asked not in ([], [b"100-continue"]):
            raise rejected("it expects what nobody knows", asked[0], NO_SUCH_EXPECTATION)
        return bool(asked) and self._request.http_version == b"1.1"

    def _asksForWebSocket(self) -> bool:
        """
        RFC 6455, section 4.1.  All other protocols have fields of their own, as HTTP/2 has, where
        nobody would look for what only we may say: it is not known to the backend who asks.
        """
        return (
            self.method == b"GET"
            and self.length == 0
            and self._request.http_version == b"1.1"
            and self._listed(b"upgrade") == [b"websocket"]
            and b"upgrade" in self._listed(b"connection")
        )

    def write(self, told: Told) -> bytes:
        """
        The head for the backend.
        """
        request = self._request
        lines = [b"%b %b HTTP/%b\r\n" % (self.method, self._target, request.http_version)]
        for name, value in self._fields:
            known = name.lower()
            if known not in _OURS and not told.names.isOurs(name):
                lines.append(b"%b: %b\r\n" % (name, value))
        # RFC 9110, section 7.6.1: a field that is named here would be taken away.
        asked = [each for each in self._listed(b"connection") if each in _ASKED]
        if self.isLast:
            asked = [each for each in asked if each != b"keep-alive"] + [b"close"]
        if self.upgrades:
            lines.append(b"Upgrade: websocket\r\n")
            asked.append(b"Upgrade")
        if asked:
            lines.append(b"Connection: %b\r\n" % b", ".join(dict.fromkeys(asked)))
        if self.expects:
            lines.append(b"Expect: 100-continue\r\n")
        if self.length is None:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        elif b"content-length" in self._values:
            lines.append(b"Content-Length: %d\r\n" % self.length)
        lines += told.lines(self._host), b"\r\n"
        return b"".join(lines)


# Fields that are written anew, or not at all.
_OURS = frozenset(
    (
        b"connection",
        b"content-length",
        b"expect",
        b"http2-settings",
        b"proxy-connection",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)


def writeTrailers(fields: list[tuple[bytes, bytes]], told: Told) -> bytes:
    """
    The end of a body in chunks, with what may stand there (RFC 9110, section 6.5.1).

    @raise Rejected: one is no field.
    """
    lines = [b"0\r\n"]
    for name, value in fields:
        if _BROKEN.search(value):
            raise rejected("a control character in a trailer", value)
        if folded(name) not in FRAMING and not told.names.isOurs(name):
            lines.append(b"%b: %b\r\n" % (name, value))
    lines.append(b"\r\n")
    return b"".join(lines)
