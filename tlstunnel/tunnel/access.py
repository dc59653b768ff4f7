"""
Who may come in: what a tunnel says itself, with the lists in files that it names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tlstunnel.identity.access import AccessList, readList
from tlstunnel.identity.names import Identity, Selector, selectorsFor
from tlstunnel.tunnel.description import Tunnel


def whoMayCome(tunnel: Tunnel) -> Identity | Selector | AccessList | None:
    """
    Who must be at the other end, as the files have it now.

    @return: L{None} if that may be anybody, or is not known yet.
    @raise ConfigurationError: a file cannot be read, or a line of it is broken.
    """
    if not (tunnel.remoteIDFiles or tunnel.denyID or tunnel.denyIDFiles):
        return tunnel.remoteID
    allowed = dict.fromkeys(_given(tunnel), "")
    for file in tunnel.remoteIDFiles:
        allowed |= readList(Path(file))
    denied = dict.fromkeys(tunnel.denyID, "")
    for file in tunnel.denyIDFiles:
        denied = readList(Path(file)) | denied
    return AccessList(tuple(allowed), tuple(denied), denied)


def _given(tunnel: Tunnel) -> Sequence[Selector]:
    match tunnel.remoteID:
        case AccessList(selectors=selectors):
            return selectors
        case Selector() as selector:
            return (selector,)
    return ()


def doubts(expected: Identity | Selector | AccessList | None) -> Iterator[str]:
    """
    What an administrator should look at once more, a sentence each.
    """
    if not isinstance(expected, AccessList):
        return
    if not expected.selectors:
        yield "no client is let in, as the list of those who may come in is empty"
    denied = set(expected.denied)
    useless = [each for each in expected.selectors if not denied.isdisjoint(selectorsFor(each))]
    if useless:
        others = f", as are {len(useless) - 1} more" if len(useless) > 1 else ""
        yield f"{useless[0]} may come, and is denied as a whole{others}: denial wins"
