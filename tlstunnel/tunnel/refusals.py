"""
The lines that the log has of those who were refused: connections for where they come from here, and
programs of the pool service elsewhere.

An attack makes many of them.  So there is one line when a source is refused, and then one a minute
at most that says how often; and of a few sources at a time, with one more line for all others.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

from twisted.logger import Logger, LogLevel

from tlstunnel.address import Address
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.tunnel.sources import DENIED, TOO_FAST, TOO_MANY, Sources

#: Seconds from a line about a source to the next one.
REST_SECONDS = 60.0

#: The sources, each for one reason, of which there are lines at the same time.
MOST_SOURCES = 100

_DETAILS = {
    DENIED: "allow and deny keep them out",
    TOO_MANY: "there are as many as max-per-address allows",
    TOO_FAST: "they come faster than max-rate-per-address allows",
}


class Refused:
    """
    One source, or all others together, and one reason.

    @ivar name: what people call it; empty for all others.
    @ivar reason: the word for why.
    @ivar peer: who was refused last, for programs.
    @ivar last: the same for people, where that is not the source itself.
    @ivar detail: why, in a sentence.
    @ivar count: how many there were since the last line.
    """

    __slots__ = ("count", "detail", "last", "name", "peer", "reason")

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        self.peer = self.last = self.detail = ""
        self.count = 0


class RefusalLines:
    """
    Logs the refusals of one tunnel, or of a service that is like one.
    """

    _log = Logger()

    #: The line about the first of them, that about more, and what stands for all other sources.
    first = "connections from {name} are refused: {detail}"
    more = "refused from {name} since then: {count}; {detail}"
    others = "other sources"

    #: Reasons that somebody should look at.
    urgent: frozenset[str] = frozenset()

    def __init__(self, deadlines: Deadlines, tunnel: str) -> None:
        """
        @param tunnel: what the log calls the tunnel, if it has a name.
        """
        self._deadlines = deadlines
        self._tunnel = tunnel
        self._known: dict[tuple[Hashable, str], Refused] = {}
        self._others: dict[str, Refused] = {}

    def note(
        self,
        source: tuple[Hashable, str],
        reason: str,
        detail: str,
        peer: str,
        last: str,
    ) -> None:
        """
        One more was refused.

        @param source: from where, and what people call that.
        @param peer: who, for programs.
        @param last: who, for people; empty where there is nothing to say.
        """
        where, name = source
        table: dict[Any, Refused] = self._known
        key: Hashable = (where, reason)
        if key not in table and len(table) >= MOST_SOURCES:
            table, key, name = self._others, reason, ""
        refused = table.get(key)
        isNew = refused is None
        if refused is None:
            refused = table[key] = Refused(name, reason)
        refused.count += 1
        refused.peer, refused.last, refused.detail = peer, last, detail
        if isNew:
            self._say(self.first, refused)
            self._lookLater(refused, partial(table.pop, key))

    def _lookLater(self, refused: Refused, forget: Callable[[], object]) -> None:
        self._deadlines.after(REST_SECONDS, partial(self._look, refused, forget))

    def _look(self, refused: Refused, forget: Callable[[], object]) -> None:
        """
        Log how many there were since the last line.
        """
        if not refused.count:
            forget()
            return
        self._say(self.more, refused)
        self._lookLater(refused, forget)

    def _say(self, text: str, refused: Refused) -> None:
        name = refused.name or self.others
        self._log.emit(
            LogLevel.warn if refused.reason in self.urgent else LogLevel.info,
            text,
            event="refused",
            log_system=self._tunnel or None,
            tunnel=self._tunnel or None,
            name=name if refused.last in ("", name) else f"{name} (last: {refused.last})",
            peer=refused.peer,
            source=refused.name or None,
            outcome=refused.reason,
            count=refused.count,
            detail=refused.detail,
        )
        refused.count = 0


class RefusalLog(RefusalLines):
    """
    Of connections that a tunnel has refused for where they come from.
    """

    def add(self, sources: Sources, peer: Address, reason: str) -> None:
        """
        C{peer} was refused by C{sources}.
        """
        source = sources.sourceOf(peer)
        name = sources.nameOf(source)
        self.note((source, name), reason, _DETAILS[reason], str(peer), peer.host)
