"""
The lines that the log has of connections which were refused for where they come from.

An attack makes many of them.  So there is one line when a source is refused, and then one a minute
at most that says how often; and of a few sources at a time, with one more line for all others.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from twisted.logger import Logger

from tlstunnel.address import Address
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.tunnel.sources import DENIED, TOO_FAST, TOO_MANY, Source, Sources

#: Seconds from a line about a source to the next one.
REST_SECONDS = 60.0

#: The sources, each for one reason, of which there are lines at the same time.
MOST_SOURCES = 100

_DETAILS = {
    DENIED: "allow and deny keep them out",
    TOO_MANY: "there are as many as max-per-address allows",
    TOO_FAST: "they come faster than max-rate-per-address allows",
}


class _Refused:
    """
    One source, or all others together, and one reason.

    @ivar name: what people call it; empty for all others.
    @ivar peer: who was refused last.
    @ivar count: how many there were since the last line.
    """

    __slots__ = ("count", "name", "peer")

    def __init__(self, name: str, peer: Address) -> None:
        self.name = name
        self.peer = peer
        self.count = 1


class RefusalLog:
    """
    Logs the refusals of one tunnel.
    """

    _log = Logger()

    def __init__(self, deadlines: Deadlines, tunnel: str) -> None:
        """
        @param tunnel: what the log calls the tunnel, if it has a name.
        """
        self._deadlines = deadlines
        self._tunnel = tunnel
        self._known: dict[tuple[Source, str], _Refused] = {}
        self._others: dict[str, _Refused] = {}

    def add(self, sources: Sources, peer: Address, reason: str) -> None:
        """
        C{peer} was refused by C{sources}.
        """
        source = sources.sourceOf(peer)
        refused = self._known.get((source, reason))
        isOne = refused is not None or len(self._known) < MOST_SOURCES
        if not isOne:
            refused = self._others.get(reason)
        if refused is not None:
            refused.count += 1
            refused.peer = peer
        elif isOne:
            refused = self._known[source, reason] = _Refused(sources.nameOf(source), peer)
            self._begin(refused, reason, partial(self._known.pop, (source, reason)))
        else:
            refused = self._others[reason] = _Refused("", peer)
            self._begin(refused, reason, partial(self._others.pop, reason))

    def _begin(self, refused: _Refused, reason: str, forget: Callable[[], object]) -> None:
        """
        Log that C{refused} has begun to be.

        @param forget: called when it is over.
        """
        self._say("connections from {name} are refused: {detail}", refused, reason)
        self._lookLater(refused, reason, forget)

    def _lookLater(self, refused: _Refused, reason: str, forget: Callable[[], object]) -> None:
        self._deadlines.after(REST_SECONDS, partial(self._look, refused, reason, forget))

    def _look(self, refused: _Refused, reason: str, forget: Callable[[], object]) -> None:
        """
        Log how many there were since the last line.
        """
        if not refused.count:
            forget()
            return
        self._say("refused from {name} since then: {count}; {detail}", refused, reason)
        self._lookLater(refused, reason, forget)

    def _say(self, text: str, refused: _Refused, reason: str) -> None:
        peer, name = refused.peer, refused.name or "other sources"
        self._log.info(
            text,
            event="refused",
            log_system=self._tunnel or None,
            tunnel=self._tunnel or None,
            name=name if name == peer.host or not peer.host else f"{name} (last: {peer.host})",
            peer=str(peer),
            source=refused.name or None,
            outcome=reason,
            count=refused.count,
            detail=_DETAILS[reason],
        )
        refused.count = 0
