"""
The messages of LDAP that provisioning needs (RFC 4511): what is asked, and what comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from tlstunnel.errors import Malformed, Oversize
from tlstunnel.protocols.ber import (
    ENUMERATED,
    OCTETS,
    SEQUENCE,
    SET,
    Element,
    element,
    elements,
    integer,
    truth,
)
from tlstunnel.protocols.ldap import BIND_REQUEST, UNBIND_REQUEST, message
from tlstunnel.reveal.ldapgrammar import CONTROLS
from tlstunnel.reveal.ldapmessages import Control, readControl

_T = TypeVar("_T")

#: Bytes of one message at most.
MAX_MESSAGE = 1 << 20

#: Values and attributes of one entry at most, and elements of what has only a few of them, such as
#: controls of a message.
MAX_VALUES, MAX_ELEMENTS = 1000, 16

#: Bytes that it takes to keep an entry or a value of it, besides those of what it says.
OVERHEAD = 100

SEARCH_REQUEST, MODIFY_REQUEST, ADD_REQUEST = 0x63, 0x66, 0x68
SEARCH_ENTRY, SEARCH_DONE, SEARCH_REFERENCE = 0x64, 0x65, 0x73
MODIFY_RESPONSE, ADD_RESPONSE, INTERMEDIATE = 0x67, 0x69, 0x79
INTERMEDIATE_NAME, INTERMEDIATE_VALUE = 0x80, 0x81

_SASL, _PRESENT = 0xA3, 0x87
_SUBTREE, _NEVER = 2, 0
_ADD = 0


@dataclass(frozen=True)
class Message:
    """
    What the server has said.

    @ivar number: the request that it is about; 0 for none.
    @ivar operation: its tag.
    @ivar content: that of the operation.
    """

    number: int
    operation: int
    content: bytes
    controls: tuple[Control, ...] = ()

    def control(self, name: bytes) -> bytes | None:
        """
        The value of a control that has come with it; empty if that has none.
        """
        for each in self.controls:
            if each.name == name:
                return each.value or b""
        return None


def few(content: bytes) -> list[Element]:
    """
    The elements of something that has no more than a few, of whatever size.

    @raise Malformed: if it has more, of which not all are looked at.
    """
    found = list(islice(elements(content), MAX_ELEMENTS + 1))
    if len(found) > MAX_ELEMENTS:
        raise Malformed(f"more than {MAX_ELEMENTS} elements", content)
    return found


def readMessage(content: bytes) -> Message:
    """
    Take a message apart.

    @param content: that of the SEQUENCE.
    @raise Malformed: if it is none.
    """
    parts = few(content)
    number, operation, rest = message(content)
    controls: tuple[Control, ...] = ()
    for tag, more in parts[2:]:
        if tag == CONTROLS:
            found = few(more)
            if any(tag != SEQUENCE for tag, _ in found):
                raise Malformed("controls that are none", more)
            controls = tuple(readControl(few(each)) for _, each in found)
    return Message(int.from_bytes(number, "big"), operation, rest, controls)


def _request(number: int, operation: bytes, controls: Iterable[Control] = ()) -> bytes:
    extra = b"".join(map(bytes, controls))
    return element(SEQUENCE, integer(number), operation, element(CONTROLS, extra) if extra else b"")


def bindExternal(number: int) -> bytes:
    """
    Be who our certificate says (RFC 4422, appendix A; RFC 4513, section 5.2.3).  The credentials
    are there, and empty: to have none would ask for one step more.
    """
    mechanism = element(_SASL, element(OCTETS, b"EXTERNAL"), element(OCTETS, b""))
    return _request(number, element(BIND_REQUEST, integer(3), element(OCTETS, b""), mechanism))


def unbind(number: int) -> bytes:
    """
    Take our leave.
    """
    return _request(number, element(UNBIND_REQUEST))


def search(
    number: int, base: str, attributes: Iterable[bytes], controls: Iterable[Control]
) -> bytes:
    """
    Ask for all entries below C{base}, and for that one.
    """
    return _request(
        number,
        element(
            SEARCH_REQUEST,
            element(OCTETS, base.encode()),
            integer(_SUBTREE, ENUMERATED),
            integer(_NEVER, ENUMERATED),
            integer(0),
            integer(0),
            truth(False),
            element(_PRESENT, b"objectClass"),
            element(SEQUENCE, *(element(OCTETS, each) for each in attributes)),
        ),
        controls,
    )


def _attribute(name: bytes, values: Iterable[bytes]) -> bytes:
    several = element(SET, *(element(OCTETS, each) for each in values))
    return element(SEQUENCE, element(OCTETS, name), several)


def addValue(number: int, name: str, attribute: bytes, value: bytes) -> bytes:
    """
    Add one value to an entry that is there.
    """
    change = element(SEQUENCE, integer(_ADD, ENUMERATED), _attribute(attribute, (value,)))
    return _request(
        number,
        element(MODIFY_REQUEST, element(OCTETS, name.encode()), element(SEQUENCE, change)),
    )


def addEntry(number: int, name: str, attributes: Mapping[bytes, Iterable[bytes]]) -> bytes:
    """
    Add an entry.
    """
    several = (_attribute(kind, values) for kind, values in attributes.items())
    return _request(
        number,
        element(ADD_REQUEST, element(OCTETS, name.encode()), element(SEQUENCE, *several)),
    )


@dataclass(frozen=True)
class Entry:
    """
    An entry of the directory.

    @ivar name: its distinguished name.
    @ivar attributes: values by the names of attributes, in lower case and without options.
    @ivar raw: what it was read from.
    @ivar weight: the bytes that it takes to keep it, roughly.
    """

    name: str
    attributes: Mapping[str, tuple[bytes, ...]] = field(hash=False)
    raw: bytes = field(repr=False)
    weight: int = field(default=0, compare=False, repr=False)
    _found: dict[Hashable, Any] = field(default_factory=dict, compare=False, repr=False)

    def once(self, what: Hashable, find: Callable[[], _T]) -> _T:
        """
        What C{find} finds out about this entry: done once, and forgotten with it.
        """
        if what not in self._found:
            self._found[what] = find()
        found: _T = self._found[what]
        return found

    @classmethod
    def read(cls, content: bytes) -> Entry:
        """
        Take a SearchResultEntry apart.

        @param content: that of its element.
        @raise Malformed: if it is none.
        @raise Oversize: if it has more than there may be.
        """
        parts = list(elements(content))
        if [tag for tag, _ in parts] != [OCTETS, SEQUENCE]:
            raise Malformed("no entry of a directory", content)
        found: dict[str, tuple[bytes, ...]] = {}
        count = 0
        for tag, each in elements(parts[1][1]):
            pair = list(elements(each))
            count += 1
            if tag != SEQUENCE or [kind for kind, _ in pair] != [OCTETS, SET]:
                raise Malformed("an entry with an attribute that is none", content)
            values = list(islice(elements(pair[1][1]), MAX_VALUES + 1))
            if any(kind != OCTETS for kind, _ in values):
                raise Malformed("an attribute with a value that is none", content)
            count += len(values)
            if count > MAX_VALUES:
                raise Oversize(f"an entry with more than {MAX_VALUES} values and attributes")
            name = pair[0][1].partition(b";")[0].decode("ascii", "replace").lower()
            found[name] = found.get(name, ()) + tuple(value for _, value in values)
        try:
            name = parts[0][1].decode()
        except UnicodeDecodeError:
            raise Malformed("an entry with a name that is no text", parts[0][1]) from None
        return cls(name, found, content, len(content) + OVERHEAD * (count + 1))


def readNumber(content: bytes) -> int:
    """
    The number that an INTEGER or ENUMERATED has.

    @raise Malformed: if it has none of a size that LDAP knows.
    """
    if not 1 <= len(content) <= 4:
        raise Malformed("a number of a size that LDAP does not know", content)
    return int.from_bytes(content, "big", signed=True)
