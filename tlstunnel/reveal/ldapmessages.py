"""
Messages of LDAP on their way through us: where one ends, what it says, and how it is written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tlstunnel.errors import Malformed
from tlstunnel.protocols.ber import BOOLEAN, INTEGER, OCTETS, SEQUENCE, Element, element, elements
from tlstunnel.protocols.ldap import BIND_REQUEST
from tlstunnel.reveal.ldapelements import Source
from tlstunnel.reveal.ldapgrammar import CONTROLS, REQUESTS

#: What a control consists of (RFC 4511, section 4.1.11).
_CONTROL_TAGS = (
    [OCTETS],
    [OCTETS, BOOLEAN],
    [OCTETS, OCTETS],
    [OCTETS, BOOLEAN, OCTETS],
)


@dataclass(frozen=True)
class Control:
    """
    Something that comes with a request.

    @ivar value: C{None} if there is none, which is not the same as an empty one.
    """

    name: bytes
    isCritical: bool
    value: bytes | None = None

    def __bytes__(self) -> bytes:
        truth = element(BOOLEAN, b"\xff") if self.isCritical else b""
        value = b"" if self.value is None else element(OCTETS, self.value)
        return element(SEQUENCE, element(OCTETS, self.name) + truth + value)


@dataclass(frozen=True)
class Request:
    """
    What a client wants.

    @ivar messageID: the content of its INTEGER.
    @ivar operation: the tag.
    @ivar body: the whole element, in its one form; that of a Bind as it came.
    """

    messageID: bytes
    operation: int
    body: bytes
    controls: tuple[Control, ...] = ()

    @property
    def fields(self) -> list[Element]:
        """
        The elements of the operation.
        """
        (_, content), *_ = elements(self.body)
        return list(elements(content))

    def written(self, controls: Iterable[Control]) -> bytes:
        """
        The message with other controls.
        """
        extra = b"".join(map(bytes, controls))
        return element(
            SEQUENCE,
            element(INTEGER, self.messageID)
            + self.body
            + (element(CONTROLS, extra) if extra else b""),
        )


def readRequest(content: bytes) -> Request:
    """
    Take a message apart (RFC 4511, section 4.1.1).

    @param content: that of the SEQUENCE.
    @raise Malformed: if it is no request, or has anything that a request does not have.
    @raise tlstunnel.errors.Oversize: if it has too many elements.
    """
    source, end = Source(content), len(content)
    tag, start, at = source.header(0, end)
    messageID = content[start:at]
    if tag != INTEGER or not 1 <= len(messageID) <= 4 or messageID[0] & 0x80:
        raise Malformed("no message id", content)
    if not any(messageID):
        raise Malformed("a request without a message id")
    operation, start, at = source.header(at, end)
    if operation == BIND_REQUEST:
        body = element(operation, content[start:at])
    elif operation in REQUESTS:
        REQUESTS[operation].write(source, operation, start, at)
        body = source.takeWritten()
    else:
        raise Malformed("no request of LDAP", bytes((operation,)))
    controls: tuple[Control, ...] = ()
    if at < end:
        tag, start, at = source.header(at, end)
        if tag != CONTROLS or at < end:
            raise Malformed("something behind a request that is no part of it", content)
        controls = tuple(_controls(source, start, at))
    return Request(messageID, operation, body, controls)


def _controls(source: Source, at: int, end: int) -> Iterable[Control]:
    while at < end:
        tag, start, at = source.header(at, end)
        if tag != SEQUENCE:
            raise Malformed("a control that is none", source.data)
        parts = []
        while start < at:
            tag, begin, start = source.header(start, at)
            parts.append((tag, source.data[begin:start]))
        yield readControl(parts)


def readControl(parts: list[Element]) -> Control:
    """
    Take a control apart.

    @param parts: its elements.
    @raise Malformed: if it is none.
    """
    tags = [tag for tag, _ in parts]
    contents = [content for _, content in parts]
    if tags in _CONTROL_TAGS:
        name = contents[0]
        truth = contents[1] if BOOLEAN in tags else b"\0"
        value = contents[-1] if tags.count(OCTETS) > 1 else None
        if isName(name) and len(truth) == 1:
            return Control(name, truth != b"\0", value)
    raise Malformed("a control that is none", b"".join(contents))


def isName(name: bytes) -> bool:
    """
    Whether it is an LDAPOID: digits and dots, and nothing that makes another one of it for whoever
    reads up to a NUL.
    """
    return bool(name) and not name.strip(b"0123456789.")
