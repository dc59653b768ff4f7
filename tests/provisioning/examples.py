"""
What a directory might say, put together from its parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tlstunnel.protocols.ber import (
    ENUMERATED,
    OCTETS,
    SEQUENCE,
    SET,
    element,
    integer,
    truth,
)
from tlstunnel.provisioning import sync
from tlstunnel.provisioning.messages import Entry
from tlstunnel.reveal.ldapmessages import Control

BASE = "ou=pool,dc=example,dc=test"


def uuid(number: int) -> bytes:
    """
    The entryUUID of one entry.
    """
    return number.to_bytes(16, "big")


def entryContent(name: str, attributes: Mapping[str, Iterable[bytes]]) -> bytes:
    """
    The content of a SearchResultEntry.
    """
    several = (
        element(
            SEQUENCE,
            element(OCTETS, kind.encode()),
            element(SET, *(element(OCTETS, each) for each in values)),
        )
        for kind, values in attributes.items()
    )
    return element(OCTETS, name.encode()) + element(SEQUENCE, *several)


def entry(place: str, cn: str, **attributes: Iterable[bytes]) -> Entry:
    """
    One below a place of L{BASE}.
    """
    named = {"cn": (cn.encode(),), **attributes}
    return Entry.read(entryContent(f"cn={cn},ou={place},{BASE}", named))


def _message(number: int, operation: bytes, controls: Iterable[Control]) -> bytes:
    extra = b"".join(map(bytes, controls))
    return element(SEQUENCE, integer(number), operation, element(0xA0, extra) if extra else b"")


def result(number: int, tag: int, code: int, *controls: Control, words: bytes = b"") -> bytes:
    """
    A message with an LDAPResult.
    """
    content = (
        element(ENUMERATED, code.to_bytes(2, "big") if code > 127 else bytes((code,))),
        element(OCTETS, b""),
        element(OCTETS, words),
    )
    return _message(number, element(tag, *content), controls)


def stateValue(state: int, entryUUID: bytes, cookie: bytes = b"") -> bytes:
    """
    What the control of an entry has.
    """
    return element(
        SEQUENCE,
        element(ENUMERATED, bytes((state,))),
        element(OCTETS, entryUUID),
        element(OCTETS, cookie) if cookie else b"",
    )


def told(number: int, state: int, entryUUID: bytes, content: bytes, cookie: bytes = b"") -> bytes:
    """
    A message with an entry.
    """
    control = Control(sync.STATE, False, stateValue(state, entryUUID, cookie))
    return _message(number, element(0x64, content), [control])


def refreshed(present: bool, cookie: bytes = b"", isDone: bool = True) -> bytes:
    """
    What the message has that ends a phase of a refresh.
    """
    return element(
        0xA2 if present else 0xA1,
        element(OCTETS, cookie) if cookie else b"",
        b"" if isDone else truth(False),
    )


def idSet(uuids: Iterable[bytes], areGone: bool, cookie: bytes = b"") -> bytes:
    """
    What the message has that names many entries.
    """
    return element(
        0xA3,
        element(OCTETS, cookie) if cookie else b"",
        truth(True) if areGone else b"",
        element(SET, *(element(OCTETS, each) for each in uuids)),
    )


def info(number: int, value: bytes) -> bytes:
    """
    A message between entries.
    """
    operation = element(0x79, element(0x80, sync.INFO), element(0x81, value))
    return _message(number, operation, [])
