"""
Tests for L{tlstunnel.program.following}: what a directory changes is taken up at once, and many
changes together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.pool import Pool
from tlstunnel.program.configuration import Configuration, Status
from tlstunnel.program.following import REST_SECONDS, RESTS, Following
from tlstunnel.program.problems import Problems
from tlstunnel.provisioning import pull
from tlstunnel.provisioning.connection import Place
from tlstunnel.provisioning.url import LDAPURL

WRONG = ConfigurationError("the pool", "cannot be written", "let us")


class FakePull:
    """
    Follows nothing.
    """

    made: ClassVar[list[FakePull]] = []
    mistakes: ClassVar[list[ConfigurationError]] = []

    def __init__(self, place: Place, reactor: Any, whenChanged: Any) -> None:
        self.place = place
        self.whenChanged = whenChanged
        self.isFresh, self.entries, self.changed, self.failure = False, 5, 0.0, "not there"
        self.state = "new"

    def privilegedStartService(self) -> None:
        """
        Have the pool as it should be.
        """
        if self.mistakes:
            raise self.mistakes.pop()
        self.made.append(self)
        self.state = "open"
        self.whenChanged()

    def startService(self) -> None:
        """
        Follow.
        """
        self.state = "running"

    def stopService(self) -> Deferred[None]:
        """
        Leave.
        """
        self.state = "stopped"
        return succeed(None)


def configuration(host: str | None) -> Configuration:
    """
    One that follows a directory there.
    """
    place = None
    if host is not None:
        place = Place(LDAPURL.parse(f"ldapi://%2F{host}/dc=x"), Pool(Path("/pool")))
    return Configuration(Path("x.toml"), {}, Status(), (), poolPull=place)


class FollowingTests(SynchronousTestCase):
    """
    A process that serves.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.made: list[FakePull] = []
        self.mistakes: list[ConfigurationError] = []
        self.patch(FakePull, "made", self.made)
        self.patch(FakePull, "mistakes", self.mistakes)
        self.patch(pull, "Pull", FakePull)
        self.taking: list[Deferred[None]] = []
        self.following = Following(self.clock, self.takeUp)
        self.said: list[str] = []

        def observe(event: LogEvent) -> None:
            self.said.append(str(event.get("notice", "")))

        globalLogPublisher.addObserver(cast(Any, observe))
        self.addCleanup(globalLogPublisher.removeObserver, cast(Any, observe))

    def takeUp(self) -> Deferred[None]:
        """
        Let the test say how it went.
        """
        self.taking.append(Deferred())
        return self.taking[-1]

    def start(self, host: str | None = "a") -> None:
        """
        Serve.
        """
        self.following.begin(configuration(host))
        self.following.startService()

    def reload(self, host: str | None) -> None:
        """
        Another configuration counts.
        """
        self.following.prepare(configuration(host))
        self.following.commit()

    def test_changesAreTakenUpAtOnceAndThenTogether(self) -> None:
        """
        Not those from before the start, with which everything was read.
        """
        self.start()
        self.assertEqual(self.taking, [])
        changed = self.made[0].whenChanged
        changed()
        self.assertEqual(len(self.taking), 1)
        for _ in range(100):
            changed()
        self.clock.advance(1)
        self.taking[0].callback(None)
        self.assertEqual(len(self.taking), 1)
        self.clock.advance(RESTS)
        self.assertEqual(len(self.taking), 2)
        self.taking[1].errback(WRONG)
        self.clock.advance(REST_SECONDS)
        self.assertEqual(len(self.taking), 2)
        changed()
        self.assertEqual(len(self.taking), 3)

    def test_itFollowsWhatTheConfigurationSays(self) -> None:
        """
        Another directory, none, and one again; the same goes on.
        """
        self.start()
        self.reload("a")
        self.assertEqual([each.state for each in self.made], ["running"])
        self.reload("b")
        self.assertEqual([each.state for each in self.made], ["stopped", "running"])
        self.reload(None)
        self.assertEqual(self.made[1].state, "stopped")
        self.assertIsNone(self.following.facts())
        self.reload("c")
        self.assertEqual(self.made[2].state, "running")
        self.following.stopService()
        self.assertEqual(self.made[2].state, "stopped")

    def test_whatIsPreparedIsNotFollowedYet(self) -> None:
        """
        A reload may fail.
        """
        self.start()
        self.following.prepare(configuration("b"))
        facts = self.following.facts()
        assert facts is not None
        self.assertEqual(facts["url"], "ldapi://%2Fa/dc=x")
        self.assertEqual(len(self.made), 1)

    def test_whatIsWrongAtTheStartKeepsUsFromIt(self) -> None:
        """
        In the place where it stands.
        """
        self.mistakes.append(WRONG)
        error = self.assertRaises(Problems, self.following.begin, configuration("a"))
        self.assertIn("pool-pull", str(error))

    def test_whatIsWrongLaterIsSaid(self) -> None:
        """
        And tried again with the next reload.
        """
        self.start(None)
        self.mistakes.append(WRONG)
        self.reload("a")
        self.assertIn("is not followed before the next reload", self.said[-1])
        facts = self.following.facts()
        assert facts is not None
        self.assertEqual((facts["fresh"], facts["failure"]), (False, str(WRONG)))
        self.reload("a")
        self.assertEqual(self.made[0].state, "running")

    def test_theStatusSaysHowItIs(self) -> None:
        """
        In few words.
        """
        self.start()
        facts = self.following.facts()
        self.assertEqual(
            facts,
            {
                "url": "ldapi://%2Fa/dc=x",
                "fresh": False,
                "entries": 5,
                "changed": None,
                "failure": "not there",
            },
        )
        self.made[0].failure = "x" * 10000
        self.made[0].isFresh = True
        facts = self.following.facts()
        assert facts is not None
        self.assertEqual((len(facts["failure"] or ""), facts["fresh"]), (500, True))

    def test_nothingIsLeftWhereNothingIsServed(self) -> None:
        """
        Somebody else may keep the pool up.
        """
        self.following.begin(configuration("a"))
        self.following.giveUp()
        self.assertEqual(self.made[0].state, "stopped")
