"""
XML streams (RFC 6120, section 4) before TLS: read tag by tag, and nothing read that no stream has.

The reader is expat, which is given one piece after the other, each up to and including a C{>}:
a tag ends with its piece, so that not one byte behind it is read.  It knows conversations, and
nothing of XMPP but how its streams are built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NoReturn
from weakref import proxy
from xml.parsers.expat import ExpatError, ParserCreate

from tlstunnel.errors import Malformed, Oversize
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.foreign import foreign, rejectForeign

#: The most bytes and the deepest nesting of a stream before TLS (section 2 of the rules).
MAX_STREAM_BYTES = 16384
MAX_STREAM_DEPTH = 16

#: A stream's outermost element: the namespace and the name, as all names here.
STREAM = "http://etherx.jabber.org/streams stream"

#: White space, as XML has it.
SPACE = b" \t\r\n"

# RFC 6120, section 11.1, and CDATA, which nobody needs before TLS.
_FORBIDDEN = {
    "StartDoctypeDeclHandler": "a DTD",
    "EntityDeclHandler": "an entity declaration",
    "ProcessingInstructionHandler": "a processing instruction",
    "CommentHandler": "a comment",
    "StartCdataSectionHandler": "a CDATA section",
}


def _forbid(what: str, *arguments: object) -> NoReturn:
    raise Malformed(f"{what} in a stream before TLS")


class Tags:
    """
    What the tags of a stream are, one after the other.

    @ivar path: the names of the elements that are open.
    @ivar opened: the name of the element that the last piece opened; empty if it did not.
    @ivar level: how deep that is; 1 for the stream itself.
    @ivar attributes: the attributes of that element.
    @ivar closed: the name of the element that the last piece closed; empty if it did not.
    @ivar content: the namespace of what the stream carries; empty if its header has none.
    @ivar text: what stands in the first-level element that began last, outside of its children.
    """

    def __init__(self) -> None:
        self.path: list[str] = []
        self.content = self.text = ""
        self.opened = ""
        self.level = 0
        self.attributes: Mapping[str, str] = {}
        self.closed = ""
        # Whatever the stream declares: RFC 6120, section 11.6.
        parser = self._parser = ParserCreate("UTF-8", " ")
        # Else each line end would be told by itself.
        parser.buffer_text = True
        # It is ours, and must not own us in turn: such a circle would wait for the collector.
        owner: Tags = proxy(self)
        parser.StartElementHandler = partial(Tags._open, owner)
        parser.EndElementHandler = partial(Tags._close, owner)
        parser.CharacterDataHandler = partial(Tags._read, owner)
        parser.StartNamespaceDeclHandler = partial(Tags._declare, owner)
        for name, what in _FORBIDDEN.items():
            setattr(parser, name, partial(_forbid, what))
        if hasattr(parser, "SetReparseDeferralEnabled"):
            # Else a tag with a ">" in an attribute, hence in two pieces, would wait for more.
            parser.SetReparseDeferralEnabled(False)

    def feed(self, piece: bytes) -> None:
        """
        Read C{piece}, which ends with the first C{>} in it.

        @raise Malformed: if it is no XML, or nothing that a stream may have.
        @raise Oversize: if elements are nested too deeply.
        """
        self.opened = self.closed = ""
        try:
            self._parser.Parse(piece, False)
        except ExpatError as error:
            # Within an element it may be a login.
            said = b"" if self.path[1:] else piece
            raise Malformed(f"no well-formed XML ({error})", said) from None

    def _open(self, name: str, attributes: dict[str, str]) -> None:
        self.path.append(name)
        self.opened, self.attributes, self.level = name, attributes, len(self.path)
        if self.level > MAX_STREAM_DEPTH:
            raise Oversize(f"XML that is nested more than {MAX_STREAM_DEPTH} elements deep")
        if self.level == 2:
            self.text = ""

    def _declare(self, prefix: str | None, namespace: str | None) -> None:
        if prefix is None and not self.path:
            self.content = namespace or ""

    def _close(self, name: str) -> None:
        self.closed = self.path.pop()

    def _read(self, text: str) -> None:
        if len(self.path) == 2:
            self.text += text
        elif len(self.path) == 1 and text.strip(SPACE.decode()):
            raise Malformed("text between the elements of a stream", text.encode())


@dataclass(frozen=True)
class Element:
    """
    A first-level element of a stream.

    @ivar name: its namespace and its name.
    @ivar attributes: its attributes.
    @ivar text: what stands in it outside of its children.
    @ivar children: the namespaces and names of its direct children.
    @ivar isEmpty: whether there is nothing in it, not even white space.
    @ivar source: it as it came, with what stood before it.
    """

    name: str
    attributes: Mapping[str, str]
    text: str
    children: tuple[str, ...]
    isEmpty: bool
    source: bytes


class XMLStream:
    """
    Reads the stream that a peer sends.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._source = bytearray()
        self._conversation = conversation
        self._tags = Tags()

    @property
    def source(self) -> bytes:
        """
        All of it that was read.
        """
        return bytes(self._source)

    @property
    def content(self) -> str:
        """
        The namespace of what it carries, once its header was read; empty if that has none.
        """
        return self._tags.content

    async def _piece(self) -> bytes:
        """
        Read up to the next C{>}.

        @raise Oversize: if the stream is too long.
        """
        piece = await self._conversation.readUntil(b">", MAX_STREAM_BYTES - len(self._source))
        self._source += piece
        self._tags.feed(piece)
        return piece

    async def header(self) -> Mapping[str, str]:
        """
        Read the stream's header.

        @return: its attributes.
        @raise ForeignProtocol: if the peer speaks something else that we know (rule 13).
        @raise Malformed: if it is no such header.
        """
        await self._expectXML()
        while not self._tags.opened:
            await self._piece()
        if self._tags.opened != STREAM:
            raise Malformed("not the header of an XML stream", self.source)
        return self._tags.attributes

    async def _expectXML(self) -> None:
        """
        Look at what stands behind white space, as soon as it tells; nothing of it is read.
        """
        conversation = self._conversation

        def attempt() -> bytes | None:
            start = conversation.unread.lstrip(SPACE)
            return None if foreign(start) is None else start

        start = await conversation.wait(attempt)
        if not start.startswith(b"<"):
            rejectForeign(start)
            raise Malformed("no XML", start)

    async def element(self) -> Element | None:
        """
        Read the next first-level element.

        @return: C{None} if the peer closes its stream instead.
        @raise Malformed: if it is no XML.
        """
        tags = self._tags
        start = len(self._source)
        name = ""
        attributes: Mapping[str, str] = {}
        children = []
        isEmpty = True
        while tags.path:
            piece = await self._piece()
            if tags.level == 2 and tags.opened:
                name, attributes = tags.opened, tags.attributes
            elif name and not piece.startswith(b"</"):
                isEmpty = False
                if tags.level == 3 and tags.opened:
                    children.append(tags.opened)
            if tags.closed and len(tags.path) == 1:
                source = bytes(self._source[start:])
                return Element(name, attributes, tags.text, tuple(children), isEmpty, source)
        return None
