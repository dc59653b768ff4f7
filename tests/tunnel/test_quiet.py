"""
Tests for L{tlstunnel.tunnel.quiet}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import Stopped, TunnelError
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.tunnel.quiet import LOOKS_PER_TURN, QUIET_SECONDS, Quiet


class Standing:
    """
    A connection that does not move.
    """

    relay = None

    def __init__(self, service: Service) -> None:
        self._service = service
        self.looks = 0

    @property
    def moved(self) -> int:
        """
        Nothing ever does.
        """
        self.looks += 1
        self._service.looks[-1] += 1
        return 0

    def end(self, error: TunnelError) -> None:
        """
        It is gone.
        """
        assert isinstance(error, Stopped)
        self._service.connections.discard(self)


class Service:
    """
    A service that is stopping.

    @ivar looks: how many connections were looked at in each turn of the clock.
    """

    def __init__(self, count: int) -> None:
        self.looks = [0]
        self.connections = {Standing(self) for _ in range(count)}
        self.dismissals = 0

    @property
    def isBusy(self) -> bool:
        """
        Whether there are any left.
        """
        return bool(self.connections)

    def moving(self) -> set[Standing]:
        """
        Those.
        """
        return self.connections

    def dismiss(self) -> None:
        """
        Note that it happened.
        """
        self.dismissals += 1


class QuietTests(SynchronousTestCase):
    """
    Closing what does not move.
    """

    def stop(self, service: Service) -> Clock:
        """
        Begin to look, with a clock that notes its turns.
        """
        clock: Any = Clock()
        callLater = clock.callLater

        def later(*args: Any) -> object:
            service.looks.append(0)
            return callLater(*args)

        clock.callLater = later
        Quiet(service, Deadlines(clock), clock).look()
        return clock  # type: ignore[no-any-return]

    def test_whatStandsStillIsClosedAtTheSecondLook(self) -> None:
        """
        And who has said nothing at all is sent away then.
        """
        service = Service(3)
        clock = self.stop(service)
        self.assertEqual(len(service.connections), 3)
        self.assertEqual(service.dismissals, 0)
        clock.advance(QUIET_SECONDS)
        self.assertEqual(service.connections, set())
        self.assertEqual(service.dismissals, 1)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_oneThatCannotBeLookedAtEnds(self) -> None:
        """
        And keeps nobody else from it.
        """

        class Broken(Standing):
            """
            Nobody knows how far it is.
            """

            @property
            def moved(self) -> int:
                raise ZeroDivisionError

        service = Service(LOOKS_PER_TURN - 1)
        service.connections.add(Broken(service))
        clock = self.stop(service)
        self.assertEqual(len(service.connections), LOOKS_PER_TURN - 1)
        clock.advance(QUIET_SECONDS)
        self.assertEqual(service.connections, set())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_ofManyEachTurnLooksAtSome(self) -> None:
        """
        So that those which move do not have to wait for it.
        """
        service = Service(10 * LOOKS_PER_TURN)
        connections = list(service.connections)
        clock = self.stop(service)
        clock.advance(0)
        self.assertEqual({each.looks for each in connections}, {1})
        self.assertLessEqual(max(service.looks), LOOKS_PER_TURN)
        clock.advance(QUIET_SECONDS)
        self.assertEqual(service.connections, set())
        self.assertLessEqual(max(service.looks), LOOKS_PER_TURN)

    def test_whatEndsBetweenTwoTurnsIsNotLookedAt(self) -> None:
        """
        There is nothing left of it to look at.
        """
        service = Service(2 * LOOKS_PER_TURN)
        clock = self.stop(service)
        left = [each for each in service.connections if not each.looks]
        service.connections.difference_update(left)
        clock.advance(0)
        self.assertEqual({each.looks for each in left}, {0})
