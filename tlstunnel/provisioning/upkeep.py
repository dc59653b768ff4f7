"""
What is done in a pool to have it as a directory does: all that takes its time, as disks do, and
thousands of certificates.

It is meant for a thread, with one call at a time, and knows no reactor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tlstunnel.identity.files import present
from tlstunnel.identity.names import Selector
from tlstunnel.provisioning.connection import Place
from tlstunnel.provisioning.files import Files, Outcome
from tlstunnel.provisioning.keys import KeyRing, Keys
from tlstunnel.provisioning.layout import CHAIN, Server, layOut
from tlstunnel.provisioning.messages import Entry
from tlstunnel.provisioning.state import State

Entries = Mapping[bytes, Entry]


@dataclass
class Report:
    """
    What has come of it.

    @ivar isArranged: whether the pool is as it should be, apart from what C{outcome} says.
    @ivar notes: what should be said of the entries.
    """

    outcome: Outcome = field(default_factory=Outcome)
    notes: list[str] = field(default_factory=list)
    isArranged: bool = False


class Upkeep:
    """
    That of one pool.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._state = State(place.pool, str(place.url))
        self._files = Files(place.pool, self._state.path / "files", self._state.workshop)
        self._ring = KeyRing(place.pool)
        self._keys: Keys = {}
        # Whether what should be in the pool is known: not where another directory was followed
        # before, or something of what is remembered was lost.
        self._isKnown = False

    def open(self) -> None:
        """
        Read what is remembered.

        @raise ConfigurationError: that cannot be, or somebody else keeps the pool up.
        """
        self._state.open()
        try:
            self._files.open()
            self._keys = self._ring.look()
        except BaseException:
            self.close()
            raise
        self._isKnown = self._state.isWhole

    def close(self) -> None:
        """
        Let others keep it up.
        """
        self._state.close()

    @property
    def entries(self) -> Entries:
        """
        What is remembered of the directory.
        """
        return self._state.entries

    @property
    def cookie(self) -> bytes:
        """
        Where the server was with that; empty if that is not known.
        """
        return self._state.cookie

    def take(self, entries: Entries, cookie: bytes, isThorough: bool, now: datetime) -> Report:
        """
        Let the pool have what the directory has told us, and remember it; C{cookie} last.

        @param isThorough: look at all files, and not only at those that should change.
        @raise ConfigurationError: the system does not let us.
        """
        self._state.keep(entries)
        self._isKnown = True
        report = self._arrange(self._keys, entries, isThorough, now)
        self._state.keepCookie(cookie)
        return report

    def look(self, entries: Entries, isThorough: bool, now: datetime) -> Report:
        """
        See whether our keys have changed, and do what follows from that.

        @raise ConfigurationError: the system does not let us.
        """
        keys = self._ring.look()
        if self._isKnown:
            if isThorough or keys != self._keys:
                return self._arrange(keys, entries, isThorough, now)
            return Report()
        # Keys that wait for their first certificate are no mishap, and the tunnels start.
        report, self._keys = Report(), keys
        pool = self._place.pool.path
        waiting = (each.place for ours in keys.values() for each in ours)
        self._files.mark(
            (each for each in waiting if not present(pool / each / CHAIN)), report.outcome
        )
        return report

    def _arrange(self, keys: Keys, entries: Entries, isThorough: bool, now: datetime) -> Report:
        """
        Let the pool have what it should with C{keys}.
        """
        place = self._place
        layout = layOut(place.pool, place.url.base, entries, keys, self._server(), now)
        outcome = self._files.apply(layout, isThorough)
        self._keys = keys
        return Report(outcome, [*layout.notes, *outcome.notes], isArranged=True)

    def _server(self) -> Server:
        expected = self._place.expected
        if expected is None:
            return Server()
        file = self._place.pool.trustFile(Selector.parse(str(expected)))
        return Server(expected, present(file))
