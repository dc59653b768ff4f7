"""
What content synchronization adds to a search (RFC 4533): a control that asks for it, one that comes
with entries, and a message between them.  There is one more, at the end of a search; ours has none.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tlstunnel.errors import Malformed
from tlstunnel.protocols.ber import (
    BOOLEAN,
    ENUMERATED,
    OCTETS,
    SEQUENCE,
    SET,
    Element,
    element,
    elements,
    integer,
)
from tlstunnel.provisioning.cookies import MAX_COOKIE
from tlstunnel.provisioning.messages import few, readNumber
from tlstunnel.reveal.ldapmessages import Control

_ARC = b"1.3.6.1.4.1.4203.1.9.1."
REQUEST, STATE, INFO = (_ARC + each for each in (b"1", b"2", b"4"))

#: The result that says: ask without a cookie.
REFRESH_REQUIRED = 4096

_REFRESH_AND_PERSIST = 3
_NEW_COOKIE, _REFRESH_DELETE, _REFRESH_PRESENT, _ID_SET = 0x80, 0xA1, 0xA2, 0xA3
_UUID_BYTES = 16


def request(cookie: bytes) -> Control:
    """
    The control that asks for all that has changed since C{cookie}, and then for all that changes.
    """
    value = element(
        SEQUENCE,
        integer(_REFRESH_AND_PERSIST, ENUMERATED),
        element(OCTETS, cookie) if cookie else b"",
    )
    return Control(REQUEST, True, value)


class State(enum.Enum):
    """
    What became of an entry.
    """

    PRESENT, ADD, MODIFY, DELETE = range(4)


@dataclass(frozen=True)
class EntryState:
    """
    What became of one entry, and which one it is.

    @ivar cookie: where the server is with it; empty if it does not say so.
    """

    state: State
    uuid: bytes
    cookie: bytes = b""


@dataclass(frozen=True)
class Info:
    """
    What is said between entries.

    @ivar gone: entries that are no more.
    @ivar present: entries that are still there, as they were.
    @ivar endsPresent: whether all that are still there have been named.
    @ivar endsRefresh: whether that was all, up to what changes from now on.
    """

    cookie: bytes = b""
    gone: frozenset[bytes] = frozenset()
    present: frozenset[bytes] = frozenset()
    endsPresent: bool = False
    endsRefresh: bool = False


def readState(value: bytes) -> EntryState:
    """
    Take the control of an entry apart.

    @raise Malformed: if it is none.
    """
    fields = _fields(value)
    (tag, number), (other, uuid) = _take(fields), _take(fields)
    if tag != ENUMERATED or other != OCTETS or len(uuid) != _UUID_BYTES:
        raise Malformed("no state of an entry", value)
    cookie = _cookie(fields)
    try:
        state = State(readNumber(number))
    except ValueError:
        raise Malformed("an entry in a state that is none", value) from None
    return EntryState(state, uuid, cookie)


def readInfo(value: bytes) -> Info:
    """
    Take the message between entries apart.

    @raise Malformed: if it is none.
    """
    parts = few(value)
    if len(parts) != 1:
        raise Malformed("no sync info", value)
    ((tag, content),) = parts
    if tag == _NEW_COOKIE:
        return Info(_checked(content))
    fields = few(content)[::-1]
    cookie = _cookie(fields)
    if tag == _ID_SET:
        areGone = _truth(fields, False)
        kind, several = _take(fields)
        if kind != SET:
            raise Malformed("a set of entries that is none", value)
        uuids = []
        for kind, uuid in elements(several):
            if kind != OCTETS or len(uuid) != _UUID_BYTES:
                raise Malformed("a set with an entry that is none", value)
            uuids.append(uuid)
        named = frozenset(uuids)
        return Info(cookie, gone=named) if areGone else Info(cookie, present=named)
    if tag not in (_REFRESH_DELETE, _REFRESH_PRESENT):
        raise Malformed("a sync info of a kind that is none", value)
    isDone = _truth(fields, True)
    return Info(cookie, endsPresent=tag == _REFRESH_PRESENT, endsRefresh=isDone)


def _fields(value: bytes) -> list[Element]:
    """The elements of the SEQUENCE that C{value} is, the last one first."""
    parts = few(value)
    if [tag for tag, _ in parts] != [SEQUENCE]:
        raise Malformed("a control of content synchronization that is none", value)
    return few(parts[0][1])[::-1]


def _take(fields: list[Element]) -> Element:
    if not fields:
        raise Malformed("content synchronization that lacks an element")
    return fields.pop()


def _cookie(fields: list[Element]) -> bytes:
    return _checked(fields.pop()[1]) if fields and fields[-1][0] == OCTETS else b""


def _checked(cookie: bytes) -> bytes:
    if len(cookie) > MAX_COOKIE:
        raise Malformed(f"a cookie of more than {MAX_COOKIE} bytes")
    return cookie


def _truth(fields: list[Element], default: bool) -> bool:
    if not fields or fields[-1][0] != BOOLEAN:
        return default
    content = fields.pop()[1]
    if len(content) != 1:
        raise Malformed("a truth that is not one byte", content)
    return content != b"\0"
