"""
The places that a tunnel connects to, and what is known of each: who serves, who is left alone.

A place that refuses, takes too long, or comes to no TLS, is left alone for a while that grows, so
that it costs connections nothing, and is tried again then, by one of them first.  Nothing here
connects to anything: L{tlstunnel.net.search} does, and asks here whom to try.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from weakref import WeakValueDictionary

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tlstunnel.address import Remote
from tlstunnel.errors import TunnelError

#: Seconds that a place is left alone for: the first time, and at most.
FIRST_SECONDS, LONGEST_SECONDS = 1.0, 60.0

#: What of that may be missing, at random: so that those who come back do not do so together.
JITTER = 0.2

#: Seconds after which a place that fails does so as if it was for the first time.
FORGET_SECONDS = 2 * LONGEST_SECONDS

# From so many failures on it is left alone for the longest.
_MOST_DOUBLED = 6

#: How several remotes are chosen from.
FIRST, ROUND_ROBIN, LEAST_CONNECTIONS = POLICIES = ("first", "round-robin", "least-connections")


class Backend:
    """
    One place, or a name of which nobody knows what it means.

    @ivar address: where it is.
    @ivar open: connections there are to it now.
    @ivar connections: how many there were in all.
    @ivar failures: how often it could not be connected to, or came to no TLS, or to no greeting.
    @ivar isUp: whether the last connection to it was good, or there was none.
    @ivar heard: when that was, in seconds of the clock; 0 if there was none.
    @ivar due: until when it is left alone.
    """

    __slots__ = (
        "__weakref__",
        "_pause",
        "address",
        "connections",
        "due",
        "failures",
        "heard",
        "isUp",
        "open",
        "pauses",
        "since",
    )

    def __init__(self, address: Remote) -> None:
        self.address = address
        self.open = self.connections = self.failures = self.pauses = 0
        self.isUp = True
        self.heard = self.due = self._pause = 0.0
        self.since = float("-inf")

    def isLeftAlone(self, now: float) -> bool:
        """
        Whether others are to be tried first; never for long, whatever becomes of the clock.
        """
        return 0 < self.due - now <= LONGEST_SECONDS

    def begin(self, now: float) -> None:
        """
        It is tried: where it was left alone, the others go on doing so until it has served.
        """
        if not self.isUp:
            self.due = now + self._pause

    def leave(self, now: float, seconds: float) -> None:
        """
        Leave it alone from now on.
        """
        self.since = now
        self._pause = seconds
        self.due = now + seconds


class Remotes:
    """
    The places of one tunnel.

    What is known of a place is kept as long as somebody may connect to it: also over a reload after
    which it is still there.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, tunnel: str = "", random: Random | None = None) -> None:
        """
        @param tunnel: what the log calls the tunnel, if it has a name.
        @param random: chooses how long exactly a place is left alone.
        """
        self.clock = clock
        self._tunnel = tunnel
        self._random = Random() if random is None else random  # noqa: S311 - it keeps no secret
        self._known: WeakValueDictionary[Remote, Backend] = WeakValueDictionary()

    def backend(self, address: Remote) -> Backend:
        """
        What is known of the place C{address}.
        """
        known = self._known.get(address)
        if known is None:
            known = self._known[address] = Backend(address)
        return known

    def failed(self, backend: Backend, began: float, error: TunnelError, others: bool) -> None:
        """
        C{backend} did not serve.

        @param began: when it was tried: of all that were under way together, one counts.
        @param others: whether there are any: where not, it is tried all the same.
        """
        now = self.clock.seconds()
        backend.failures += 1
        if began < backend.since <= now:
            return
        isRepeated = now - backend.since < FORGET_SECONDS
        backend.pauses = min(backend.pauses + 1, _MOST_DOUBLED + 1) if isRepeated else 1
        pause = min(FIRST_SECONDS * 2 ** (backend.pauses - 1), LONGEST_SECONDS)
        backend.leave(now, pause * (1 - JITTER * self._random.random()))
        wasUp, backend.isUp, backend.heard = backend.isUp, False, now
        if wasUp and others:
            self._log.warn(
                "{backend} is left alone for {seconds:.1f} s, and longer each time that it fails "
                "again, for {longest:g} s at most: {detail}",
                event="remote",
                tunnel=self._tunnel or None,
                log_system=self._tunnel or None,
                backend=str(backend.address),
                state="down",
                outcome=error.reason,
                detail=str(error),
                seconds=backend.due - now,
                longest=LONGEST_SECONDS,
            )

    def served(self, backend: Backend, others: bool) -> None:
        """
        C{backend} did serve.

        @param others: whether there are any.
        """
        backend.heard = self.clock.seconds()
        if backend.isUp:
            return
        backend.isUp = True
        backend.due = 0.0
        if others:
            self._log.info(
                "{backend} is back",
                event="remote",
                tunnel=self._tunnel or None,
                log_system=self._tunnel or None,
                backend=str(backend.address),
                state="up",
            )


class Balance:
    """
    Whom of several to try first.
    """

    def __init__(self, policy: str = FIRST) -> None:
        """
        @param policy: one of L{POLICIES}.
        """
        self.policy = policy
        self._turn = 0

    def ordered(self, backends: Sequence[Backend]) -> list[Backend]:
        """
        The order in which to try C{backends}, none of which is left alone.
        """
        if self.policy == FIRST or not backends:
            return list(backends)
        first = self._turn % len(backends)
        self._turn += 1
        ordered = [*backends[first:], *backends[:first]]
        if self.policy == LEAST_CONNECTIONS:
            ordered.sort(key=lambda each: each.open)
        return ordered
