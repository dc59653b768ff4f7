"""
How many connections a tunnel has, and how many it admits.

Those whose network peer is not verified yet are strangers: they have a limit of their own, and one
for each address they come from, so that they cannot keep others out.  This module counts, and
knows nothing of what is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from twisted.logger import Logger

from tlstunnel.tunnel.limits import (
    Limits,
)


class Admission:
    """
    Counts the connections of one tunnel.
    """

    _log = Logger()

    def __init__(self, limits: Limits, full: Callable[[bool], None]) -> None:
        """
        @param full: called with whether no more are to be accepted, whenever that changes.
        """
        self._most = limits.connections
        self._mostStrangers = limits.unverified or max(1, limits.connections // 4)
        self._mostFromOne = limits.perAddress
        self._tellFull = full
        self._all = 0
        self._strangers = 0
        self._from: Counter[str] = Counter()
        self._isFull = False

    def enter(self, peer: str) -> bool:
        """
        A stranger has come.

        @param peer: host and port.
        @return: whether it may stay; if not, nothing has changed.
        """
        if self._isFull and self._tooMany():
            return False
        if self._mostFromOne:
            host = _host(peer)
            if self._from[host] >= self._mostFromOne:
                return False
            self._from[host] += 1
        self._all += 1
        self._strangers += 1
        if self._tooMany():
            self._review()
        return True

    def verify(self, peer: str) -> None:
        """
        One is a stranger no more.
        """
        self._strangers -= 1
        if self._mostFromOne:
            host = _host(peer)
            self._from[host] -= 1
            if not self._from[host]:
                del self._from[host]
        if self._isFull:
            self._review()

    def leave(self) -> None:
        """
        One that is no stranger has gone.
        """
        self._all -= 1
        if self._isFull:
            self._review()

    def _tooMany(self) -> bool:
        return self._all >= self._most or self._strangers >= self._mostStrangers

    def _review(self) -> None:
        full = self._tooMany()
        if full == self._isFull:
            return
        self._isFull = full
        self._tellFull(full)
        if full:
            self._log.warn(
                "as many connections as the limits allow: {all} in all, {new} not yet verified",
                all=self._all,
                new=self._strangers,
            )


def _host(peer: str) -> str:
    """
    The host in the name of a peer.
    """
    return peer.rpartition(":")[0]
