"""
Tests for L{tlstunnel.program.watch}: which files matter, and when what has changed is taken up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress
from tlstunnel.chat.dialect import chatDialect
from tlstunnel.chat.parse import ScriptOptions
from tlstunnel.chat.source import makeScript
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.program import watch
from tlstunnel.program.configuration import Configuration, Status
from tlstunnel.program.watch import (
    FILES_PER_SECOND,
    FILES_PER_TURN,
    LOOK_SECONDS,
    PATIENCE_SECONDS,
    Watch,
    filesOf,
    stateOf,
)
from tlstunnel.protocols.registry import find
from tlstunnel.tunnel.description import Mode, Tunnel


class FilesTests(SynchronousTestCase):
    """
    L{filesOf}.
    """

    def test_allThatATunnelIsMadeOf(self) -> None:
        """
        The files of the configuration, keys and certificates, anchors that are there and those that
        may come, and a script.
        """
        directory = Path(self.mktemp())
        (directory / "trust").mkdir(parents=True)
        (directory / "trust" / "anchors.pem").touch()
        (directory / "more").mkdir()
        (directory / "more" / "root.crt").touch()
        script = directory / "script"
        script.write_text("220 STARTTLS 220\n")
        tunnel = Tunnel(
            Mode.CLIENT,
            (TCPAddress("127.0.0.1", 0),),
            (TCPAddress("mail.example.org", 25),),
            chatDialect(lambda: makeScript(str(script), (), ScriptOptions(side="client"))),
            localID=Identity.parse("me@example.org"),
            pool=Pool(directory),
            trust=("system", "pins", str(directory / "more"), str(directory / "one.pem")),
            remoteIDFiles=(str(directory / "allow"),),
            denyIDFiles=(str(directory / "deny"),),
        )
        configuration = Configuration(
            Path("c.toml"), {}, Status(), (tunnel,), files=(Path("c.toml"), Path("conf.d"))
        )
        found = set(filesOf(configuration))
        self.assertEqual(
            found,
            {
                *(Path("c.toml"), Path("conf.d"), script),
                directory / "me@example.org" / "fullchain.pem",
                directory / "me@example.org" / "privkey.pem",
                *(directory / "ca" / "cert.pem", directory / "trust"),
                *(directory / "allow", directory / "deny"),
                directory / "trust" / "anchors.pem",
                *(directory / "more", directory / "more" / "root.crt", directory / "one.pem"),
            },
        )

    def test_aTunnelWithoutAnIdentityHasNoKeys(self) -> None:
        """
        What is not there is no error.
        """
        pool = Pool(Path("/nonexistent/pool"))
        tunnel = Tunnel(Mode.CLIENT, (), (TCPAddress("a.example", 1),), find("none"), pool=pool)
        found = set(filesOf(Configuration(Path("c"), {}, Status(), (tunnel,))))
        self.assertEqual(found, {pool.path / "ca" / "cert.pem", pool.path / "trust"})
        self.assertEqual({stateOf(each) for each in found}, {None})


class WatchTests(SynchronousTestCase):
    """
    L{Watch}, by a clock of our own.
    """

    def setUp(self) -> None:
        """
        One file.
        """
        self.clock = Clock()
        self.file = Path(self.mktemp())
        self.file.write_text("one")
        self.files = [self.file]
        self.isWrong = False
        self.failure: Exception | None = None
        # One that goes on, if there is any.
        self.reloading: Deferred[None] | None = None
        self.reloads: list[bool] = []
        self.watch = Watch(self.clock, lambda: self.files, self.reload)
        self.watch.lookNow()
        self.watch.start()
        self.addCleanup(self.watch.stop)

    def reload(self, isPatient: bool) -> Deferred[None]:
        """
        Take up what has changed, if it is right.
        """
        self.reloads.append(isPatient)
        if self.reloading is not None:
            return self.reloading
        if self.failure is not None:
            return fail(self.failure)
        if self.isWrong:
            return fail(ConfigurationError("a file", "is wrong", ""))
        self.watch.lookNow()
        return succeed(None)

    def look(self, times: int = 1) -> None:
        """
        Let it look.
        """
        for _ in range(times):
            self.clock.advance(LOOK_SECONDS)
            self.clock.pump([0.0] * 5)

    def test_aLookThatFailsIsNotTheLast(self) -> None:
        """
        What has changed meanwhile is taken up later.
        """
        files: Any = None
        self.files, files = files, self.files
        self.look()
        self.files = files
        self.file.write_text("two, and more")
        self.look(3)
        self.assertEqual(len(self.reloads), 1)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_whatHasChangedIsTakenUpOnceTwoLooksAgree(self) -> None:
        """
        And once only.
        """
        self.look(3)
        self.file.write_text("three")
        self.look()
        self.assertEqual(self.reloads, [])
        self.look(3)
        self.assertEqual(self.reloads, [True])

    def test_anUnexpectedFailureIsNotTheLastWord(self) -> None:
        """
        As where the system had no thread left: the next change is taken up.
        """
        self.failure = RuntimeError("can't start new thread")
        self.file.write_text("three")
        self.look(5)
        self.assertEqual(self.reloads, [True])
        self.failure = None
        self.file.write_text("three more")
        self.look(3)
        self.assertEqual(self.reloads, [True, True])
        self.assertEqual(self.watch.served[self.file], stateOf(self.file))

    def test_whoStopsDuringAReloadLooksNoMore(self) -> None:
        """
        Else it would go on, and reload, while connections end.
        """
        self.reloading = Deferred()
        self.file.write_text("two")
        self.look(3)
        self.assertEqual(len(self.reloads), 1)
        self.watch.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_whatIsBeingWrittenIsLeftAlone(self) -> None:
        """
        As long as it grows.
        """
        self.look()
        for size in range(10):
            self.file.write_text("x" * (10 + size))
            self.look()
        self.assertEqual(self.reloads, [])
        self.look()
        self.assertEqual(self.reloads, [True])

    def test_permissionsAndReplacementsAreChanges(self) -> None:
        """
        Also where size and time are the same; and that a file is gone, or there again.
        """
        self.look()
        for count, change in enumerate(
            (
                lambda: self.file.chmod(0o600),
                self.file.unlink,
                lambda: self.file.write_text("one"),
            ),
            1,
        ):
            change()
            self.look(2)
            self.assertEqual(len(self.reloads), count)

    def test_whatIsHalfThereIsWaitedForWithoutAWord(self) -> None:
        """
        Until the other half is there, too.
        """
        self.look()
        self.isWrong = True
        self.file.write_text("half")
        self.look(5)
        self.assertEqual(self.reloads, [True])
        self.isWrong = False
        self.file.write_text("all of it")
        self.look(2)
        self.assertEqual(self.reloads, [True, True])
        self.look(int(2 * PATIENCE_SECONDS / LOOK_SECONDS))
        self.assertEqual(len(self.reloads), 2)

    def test_whatStaysWrongIsSaidOnce(self) -> None:
        """
        After a while; and taken up when it has changed again.
        """
        self.look()
        self.isWrong = True
        self.file.write_text("wrong")
        self.look(int(3 * PATIENCE_SECONDS / LOOK_SECONDS))
        self.assertEqual(self.reloads, [True, False])
        self.isWrong = False
        self.file.write_text("right again")
        self.look(2)
        self.assertEqual(self.reloads, [True, False, True])

    def test_whereNothingIsToBeTakenUpNothingIs(self) -> None:
        """
        As a file can say.
        """
        self.look()
        self.files = []
        self.file.write_text("other")
        self.look(3)
        self.assertEqual(self.reloads, [])

    def test_filesThatAreNewAreLookedAtFromThenOn(self) -> None:
        """
        As those of a tunnel that a reload has added.
        """
        other = Path(self.mktemp())
        other.write_text("x")
        self.look()
        self.files.append(other)
        self.look(2)
        self.assertEqual(self.reloads, [])
        other.write_text("xy")
        self.look(2)
        self.assertEqual(self.reloads, [True])

    def test_thousandsOfFilesAreLookedAtLessOften(self) -> None:
        """
        It would cost all the time, where hardly anything changes.
        """
        count = 10 * FILES_PER_SECOND
        self.files = [self.file.parent / f"no{number}" for number in range(count)]
        self.clock.advance(LOOK_SECONDS)
        self.clock.pump([0.0] * (count // FILES_PER_TURN))
        (call,) = self.clock.getDelayedCalls()
        self.assertEqual(call.getTime() - self.clock.seconds(), 10)

    def test_manyTunnelsTakeManyTurns(self) -> None:
        """
        Also where all have the same files, each of which is looked at once.
        """
        self.files = [self.file] * 3 * FILES_PER_TURN
        looks: list[Path] = []
        turns: list[float] = []
        callLater = self.clock.callLater

        def note(delay: float, *call: Any) -> Any:
            turns.append(delay)
            return callLater(delay, *call)

        self.patch(self.clock, "callLater", note)
        self.patch(watch, "stateOf", looks.append)
        looking = Deferred.fromCoroutine(self.watch.look())
        self.clock.advance(0)
        self.successResultOf(looking)
        self.assertEqual((turns, looks), ([0] * 3, [self.file]))

    def test_theFilesOfOneTunnelAfterTheOther(self) -> None:
        """
        They are not put together in one turn; what is in a directory is asked once.
        """
        listed: list[Path] = []

        def entries(place: Path) -> list[Path]:
            listed.append(place)
            return [place / "a.pem"]

        self.patch(watch, "_entries", entries)
        pool = Pool(Path("/nonexistent/pool"))
        tunnel = Tunnel(Mode.CLIENT, (), (TCPAddress("a.example", 1),), find("none"), pool=pool)
        found = filesOf(Configuration(Path("c"), {}, Status(), (tunnel,) * 100))
        self.assertEqual(next(found), pool.path / "ca" / "cert.pem")
        self.assertEqual(listed, [])
        self.assertEqual(len(list(found)), 299)
        self.assertEqual(listed, [pool.path / "trust"])

    def test_manyFilesTakeManyTurns(self) -> None:
        """
        Nobody is held up for long.
        """
        self.files = [self.file.parent / f"no{number}" for number in range(3 * FILES_PER_TURN)]
        delays: list[float] = []
        callLater = self.clock.callLater

        def note(delay: float, *call: Any) -> Any:
            delays.append(delay)
            return callLater(delay, *call)

        self.patch(self.clock, "callLater", note)
        self.look()
        self.assertEqual(delays, [0, 0, 0, LOOK_SECONDS])
