"""
How many connections a tunnel has, and how many it admits.

Those whose network peer is not verified yet are strangers: they have a limit of their own, so that
they cannot keep others out.  This module counts, and knows nothing of what is counted.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from tlstunnel.tunnel.limits import Limits


class Admission:
    """
    Counts the connections of one tunnel.

    @ivar isFull: whether no more are to be accepted.
    """

    _log = Logger()

    def __init__(self, limits: Limits, tellFull: Callable[[bool], None], tunnel: str = "") -> None:
        """
        @param limits: how many there may be.
        @param tunnel: what the log calls the tunnel, if it has a name.
        @param tellFull: called with whether no more are to be accepted, whenever that changes.
        """
        self._tellFull = tellFull
        self._tunnel = tunnel
        self._all = 0
        self._strangers = 0
        self.isFull = False
        self.renew(limits)

    def renew(self, limits: Limits) -> None:
        """
        From now on, admit as many as C{limits} say.
        """
        self._most = limits.connections
        self._mostStrangers = limits.strangers
        self._review()

    def enter(self) -> bool:
        """
        A stranger has come.

        @return: whether it may stay; if not, nothing has changed.
        """
        if self.isFull and self._tooMany():
            return False
        self._all += 1
        self._strangers += 1
        if self._all >= self._most or self._strangers >= self._mostStrangers:
            self._review()
        return True

    def verify(self) -> None:
        """
        One is a stranger no more.
        """
        self._strangers -= 1
        if self.isFull:
            self._review()

    def leave(self) -> None:
        """
        One that is no stranger has gone.
        """
        self._all -= 1
        if self.isFull:
            self._review()

    def _tooMany(self) -> bool:
        return self._all >= self._most or self._strangers >= self._mostStrangers

    def _review(self) -> None:
        full = self._tooMany()
        if full == self.isFull:
            return
        self.isFull = full
        self._tellFull(full)
        if full:
            self._log.warn(
                "as many connections as the limits allow: {all} in all, {new} not yet verified",
                tunnel=self._tunnel or None,
                all=self._all,
                new=self._strangers,
            )
