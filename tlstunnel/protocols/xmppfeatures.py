"""
The features that a stream of XMPP begins with (RFC 6120, section 4.3.2), and those among them that
make no sense with a tunnel in between.
"""

from __future__ import annotations

from typing import ClassVar

from tlstunnel.errors import Malformed, Oversize, TunnelError
from tlstunnel.protocols.filters import Filter
from tlstunnel.protocols.hiding import MAX_LINE_BYTES
from tlstunnel.protocols.xmlstream import MAX_STREAM_BYTES, SPACE, Tags

STREAMS = "http://etherx.jabber.org/streams"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
_SASL = ("urn:ietf:params:xml:ns:xmpp-sasl", "urn:xmpp:sasl:2")

#: What they are, what ends a stream, and the feature with which TLS is offered and asked for.
FEATURES = f"{STREAMS} features"
ERROR = f"{STREAMS} error"
STARTTLS = f"{TLS} starttls"

# XEP-0220, section 2.4.2.
_DIALBACK_ERRORS = "urn:xmpp:features:dialback errors"

_TAG_BEGINS = ord("<")

# What a server says behind which the features begin again (RFC 6120, section 6.4.6; XEP-0388).
_RESTART = f"{_SASL[0]} success"
_SUCCESSES = frozenset((_RESTART, f"{_SASL[1]} success"))

# First-level elements of a server after which features may still offer TLS.
_BEFORE_LOGIN = frozenset(
    [FEATURES]
    + [f"{sasl} {name}" for sasl in _SASL for name in ("challenge", "failure", "continue")]
)


class WithoutFeature(Filter):
    """
    Takes an element out of the features that a server offers before the client is logged in.  Tags
    that are not whole are waited for.

    @cvar hidden: its name.
    @cvar level: how deep in the stream it is; a feature itself is at 3.
    """

    hidden: ClassVar[str]
    level: ClassVar[int] = 3

    def __init__(self) -> None:
        super().__init__()
        self._tags = Tags()
        self._seen = 0
        self._hiding = False

    def feed(self, data: bytes) -> bytes:
        """
        Pass all but that element.
        """
        kept = self._kept
        # What is kept is the start of a tag, in which there is no end.
        start, searched = 0, len(kept)
        kept += data
        passed: list[bytes] = []
        while not self.done and start < len(kept):
            if kept[start] != _TAG_BEGINS:
                end = kept.find(b"<", start)
                end = len(kept) if end < 0 else end
                passed.append(self._text(bytes(kept[start:end])))
            elif (end := kept.find(b">", max(start, searched)) + 1) > 0:
                passed.append(self._tag(bytes(kept[start:end])))
            else:
                if len(kept) - start > MAX_LINE_BYTES:
                    self._giveUp(Oversize("a tag that is too long"))
                break
            self.messages += 1
            start = end
        del kept[:start]
        if self.done:
            passed.append(self.flush())
        return b"".join(passed)

    def _text(self, text: bytes) -> bytes:
        """
        What is to be passed on of C{text}; if a tag ends in it, it had a C{>} before its end.
        """
        self._read(text)
        if self._tags.opened or self._tags.closed:
            self._giveUp(Malformed("a tag with > in an attribute"))
        return b"" if self._hiding and not self.done else text

    def _tag(self, tag: bytes) -> bytes:
        """
        What is to be passed on of C{tag}.
        """
        tags = self._tags
        self._read(tag)
        if self.done:
            return tag
        isIt = tags.opened == self.hidden and tags.level == self.level
        if self._hiding or (isIt and FEATURES in tags.path[1:2]):
            self._hiding = len(tags.path) >= self.level
            return b""
        self._judge()
        return tag

    def _judge(self) -> None:
        """
        See whether that was the last tag to be looked at.
        """
        tags = self._tags
        begins = tags.opened and tags.level == 2 and tags.opened not in _BEFORE_LOGIN
        ends = tags.closed and not tags.path
        self.done = bool(begins or ends)

    def _read(self, piece: bytes) -> None:
        """
        Read on, or give up where this is no stream, or too much.
        """
        self._seen += len(piece)
        try:
            self._tags.feed(piece)
        except TunnelError as error:
            self._giveUp(error)
            return
        if self._seen > MAX_STREAM_BYTES:
            self._giveUp(Oversize("too much before the login"))

    def _giveUp(self, error: TunnelError) -> None:
        """
        Look no more: there is somebody else to whom C{error} matters.
        """
        self.done = True


class WithoutStartTLS(WithoutFeature):
    """
    TLS, of which a backend sees nothing.
    """

    hidden = STARTTLS


class WithoutMultiplexing(WithoutFeature):
    """
    That errors of dialback do no harm, without which no server asks for a second domain on the same
    stream (XEP-0220, section 2.6.2): that of the first alone is in the certificate that was
    verified.

    It is the server itself who would like to be asked, and might hide it.  So features come first
    in each stream, also in that behind a login, and what cannot be read ends the connection.
    """

    hidden = _DIALBACK_ERRORS
    level = 4

    def __init__(self) -> None:
        super().__init__()
        self._hasFeatures = self._hasLogin = False

    def _text(self, text: bytes) -> bytes:
        """
        White space keeps connections alive, between the elements of a stream.
        """
        if len(self._tags.path) < 2 and not text.strip(SPACE):
            return text
        return super()._text(text)

    def _judge(self) -> None:
        """
        Features count until a login, and once more behind it.
        """
        tags = self._tags
        isFirstLevel = tags.opened and tags.level == 2
        if isFirstLevel and not self._hasFeatures and tags.opened not in (FEATURES, ERROR):
            raise Malformed("something before the features of a stream")
        if tags.closed and len(tags.path) == 1:
            if tags.closed == FEATURES:
                self._hasFeatures = True
                self.done = self._hasLogin
                return
            if tags.closed in _SUCCESSES:
                self._hasFeatures, self._hasLogin = False, True
                if tags.closed == _RESTART:
                    self._tags = Tags()
                return
        if tags.opened not in _SUCCESSES:
            super()._judge()

    def _giveUp(self, error: TunnelError) -> None:
        """
        End the connection.
        """
        raise error
