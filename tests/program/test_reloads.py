"""
Tests for L{tlstunnel.program.reloads}: one reload at a time, and who hears of it.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tlstunnel.errors import ConfigurationError
from tlstunnel.program.plan import Changes
from tlstunnel.program.reloads import IReloadObserver, Reload, Reloads

WRONG = ConfigurationError("a file", "is wrong", "mend it")


@implementer(IReloadObserver)
class Recorder:
    """
    Remembers what it is told.
    """

    def __init__(self) -> None:
        self.told: list[str] = []

    def reloading(self) -> None:
        """
        One begins.
        """
        self.told.append("begin")

    def reloaded(self, reload: Reload) -> None:
        """
        It has ended.
        """
        self.told.append("; ".join(reload.problems) or "done")


class ReloadsTests(SynchronousTestCase):
    """
    L{Reloads}.
    """

    def setUp(self) -> None:
        """
        Each takes until we say how it went.
        """
        self.clock = Clock()
        self.running: list[Deferred[Changes]] = []
        self.reloads = Reloads(self.clock, self.renew, "reloaded: {changes}")
        self.observer = Recorder()
        self.reloads.observers.append(self.observer)
        self.said: list[str] = []

        def observe(event: LogEvent) -> None:
            if event.get("event") == "reload":
                self.said.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)  # type: ignore[arg-type]

    async def renew(self) -> Changes:
        """
        Wait for the test.
        """
        self.running.append(Deferred())
        return await self.running[-1]

    def test_whatIsInThePoolIsTakenUpAlsoWhereAllElseCannotBe(self) -> None:
        """
        Both were asked for while another one ran.
        """
        pools: list[Deferred[Changes]] = []

        async def renewPool() -> Changes:
            pools.append(Deferred())
            return await pools[-1]

        self.reloads = Reloads(self.clock, self.renew, "reloaded: {changes}", renewPool)
        self.reloads.ask()
        several = [self.reloads.ask(), self.reloads.ask(isOfPool=True)]
        self.running[0].callback(Changes())
        self.running[1].errback(WRONG)
        for each in several:
            self.failureResultOf(each, ConfigurationError)
        pools[0].errback(WRONG)
        self.assertEqual((len(self.running), len(pools)), (2, 1))
        self.assertFalse(self.reloads.isRunning)

    def test_oneThatSucceeds(self) -> None:
        """
        Everybody hears of it, and what it has changed.
        """
        self.clock.advance(7)
        asked = self.reloads.ask()
        self.assertEqual(self.observer.told, ["begin"])
        self.running[0].callback(Changes(("a",), ("b",), ("c", "d"), ("e",)))
        self.successResultOf(asked)
        self.assertEqual(self.observer.told, ["begin", "done"])
        text = "1 added (a), 1 changed (b), 2 removed (c, d), 1 unchanged"
        self.assertEqual(self.said, [f"reloaded: {text}"])
        assert self.reloads.last is not None
        self.assertEqual((self.reloads.last.time, self.reloads.last.isOfFiles), (7, False))

    def test_oneThatFails(self) -> None:
        """
        Likewise, with all that is wrong.
        """
        asked = self.reloads.ask()
        self.running[0].errback(WRONG)
        self.failureResultOf(asked, ConfigurationError)
        self.assertEqual(self.observer.told, ["begin", "a file: is wrong; mend it"])
        self.assertEqual(len(self.said), 1)
        self.assertIn("the old state stays: a file: is wrong; mend it", self.said[0])
        self.assertFalse(self.reloads.isRunning)

    def test_thoseThatAreAskedForMeanwhileAreOneMore(self) -> None:
        """
        What was read may be old already; and it runs also if the first one fails.
        """
        first = self.reloads.ask()
        more = [self.reloads.ask(), self.reloads.ask()]
        self.running[0].errback(WRONG)
        self.failureResultOf(first, ConfigurationError)
        self.assertEqual(len(self.running), 2)
        self.running[1].callback(Changes())
        for each in more:
            self.successResultOf(each)
        self.assertEqual(len(self.running), 2)

    def test_theEndEndsIt(self) -> None:
        """
        It is given up, and no other begins.
        """
        asked = [self.reloads.ask(), self.reloads.ask()]
        self.reloads.stop()
        asked.append(self.reloads.ask())
        for each in asked:
            self.assertNoResult(each)
        self.assertEqual(len(self.running), 1)
        self.assertEqual(self.said, [])

    def test_aQuietOneSaysNothingOfItsFailure(self) -> None:
        """
        Nor that it begins; until there is something to say.
        """
        asked = self.reloads.tryQuietly(isPatient=True)
        self.running[0].errback(WRONG)
        self.failureResultOf(asked, ConfigurationError)
        self.assertEqual((self.observer.told, self.said), ([], []))
        asked = self.reloads.tryQuietly(isPatient=True)
        self.running[1].callback(Changes())
        self.successResultOf(asked)
        self.assertEqual(self.observer.told, ["begin", "done"])
        asked = self.reloads.tryQuietly(isPatient=False)
        self.running[2].errback(WRONG)
        self.failureResultOf(asked, ConfigurationError)
        self.assertEqual(len(self.said), 2)

    def test_behindAStopNoneBegins(self) -> None:
        """
        Whoever asks for it, and however quietly.
        """
        self.reloads.stop()
        for asked in (self.reloads.ask(), self.reloads.tryQuietly(isPatient=True)):
            self.assertNoResult(asked)
        self.assertEqual(self.running, [])

    def test_aMistakeOfOursIsLogged(self) -> None:
        """
        And does not keep others from reloading.
        """
        asked = self.reloads.ask()
        self.running[0].errback(KeyError("bug"))
        self.failureResultOf(asked, KeyError)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        asked = self.reloads.ask()
        self.running[1].callback(Changes())
        self.successResultOf(asked)

    def test_whoLooksOnHarmsNothing(self) -> None:
        """
        An observer that raises is logged.
        """
        self.reloads.observers.insert(0, None)
        asked = self.reloads.ask()
        self.running[0].callback(Changes())
        self.successResultOf(asked)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 2)
        self.assertEqual(self.observer.told, ["begin", "done"])
