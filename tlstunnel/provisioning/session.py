"""
One search that does not end: content is refreshed, and followed.
"""

from __future__ import annotations

from collections.abc import Callable

from tlstunnel.errors import Closed, Malformed, TunnelError
from tlstunnel.protocols.ldap import SUCCESS, readResult
from tlstunnel.provisioning import sync
from tlstunnel.provisioning.connection import Connection
from tlstunnel.provisioning.content import Content
from tlstunnel.provisioning.cookies import toSend
from tlstunnel.provisioning.errors import ResultRefused
from tlstunnel.provisioning.messages import (
    INTERMEDIATE,
    INTERMEDIATE_NAME,
    INTERMEDIATE_VALUE,
    SEARCH_DONE,
    SEARCH_ENTRY,
    SEARCH_REFERENCE,
    Entry,
    Message,
    few,
    search,
)

#: Seconds that a refresh may take.
REFRESH_SECONDS = 600.0

#: What is asked for of each entry; options such as C{;binary} come along.
ATTRIBUTES = (b"cn", b"userCertificate", b"cACertificate", b"description")


async def follow(
    connection: Connection, base: str, content: Content, take: Callable[[], None]
) -> None:
    """
    Keep C{content} up; returns never.

    @param take: called when there is something to be taken from C{content}: once the refresh is
        over, and after changes.
    @raise tlstunnel.errors.TunnelError: as soon as that is not possible any more.
    """
    content.begin()
    number = connection.next()
    asking = sync.request(toSend(content.cookie))
    connection.send(search(number, base, ATTRIBUTES, [asking]))
    with connection.within(REFRESH_SECONDS, "the refresh"):
        while not content.isFresh:
            _hear(await connection.receive(), number, content)
    take()
    while True:
        try:
            _hear(await connection.receive(), number, content)
        except TunnelError:
            # What was said before that counts.
            take()
            raise
        if not connection.hasMessage:
            take()


def _hear(message: Message, number: int, content: Content) -> None:
    if message.number != number:
        raise Malformed("an answer to something else", message.content)
    if message.operation == SEARCH_ENTRY:
        control = message.control(sync.STATE)
        if control is None:
            raise Malformed("an entry without its state", message.content)
        state = sync.readState(control)
        isThere = state.state in (sync.State.ADD, sync.State.MODIFY)
        content.changed(state, Entry.read(message.content) if isThere else None)
    elif message.operation == INTERMEDIATE:
        parts = dict(few(message.content))
        if parts.get(INTERMEDIATE_NAME) == sync.INFO:
            content.told(sync.readInfo(parts.get(INTERMEDIATE_VALUE, b"")))
    elif message.operation == SEARCH_DONE:
        code, said, _ = readResult(message.content)
        if code != SUCCESS:
            raise ResultRefused("to follow its content", code, said)
        raise Closed("the directory has ended what it was asked to go on with")
    elif message.operation != SEARCH_REFERENCE:
        raise Malformed("no answer to a search", message.content)
