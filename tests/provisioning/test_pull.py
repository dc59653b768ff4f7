"""
Following a directory that plays all kinds of messages, and all kinds of mishaps.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from tests.loopback import wait
from tests.provisioning.examples import (
    BASE,
    entryContent,
    idSet,
    info,
    refreshed,
    result,
    told,
    uuid,
)
from tests.provisioning.server import FakeDirectory, Line, Say
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import Authority
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.protocols.ber import OCTETS, SEQUENCE, beginning, element
from tlstunnel.provisioning import connection, files, messages, pull, session
from tlstunnel.provisioning.connection import Place
from tlstunnel.provisioning.errors import ResultRefused
from tlstunnel.provisioning.pull import Pull
from tlstunnel.provisioning.push import push
from tlstunnel.provisioning.upkeep import Upkeep
from tlstunnel.provisioning.url import LDAPURL

reactor: Any = _reactor


def rule(number: int, state: int = 1, cookie: bytes = b"", text: str = "1 -") -> Say:
    """
    One entry with a rule.
    """
    content = entryContent(
        f"cn=a{number}.test,ou=disclose,{BASE}",
        {"cn": [f"a{number}.test".encode()], "description": [text.encode()]},
    )
    return lambda asked: told(asked, state, uuid(number), content, cookie)


def done(present: bool = True, cookie: bytes = b"one") -> Say:
    """
    The end of a refresh.
    """
    return lambda asked: info(asked, refreshed(present, cookie))


def ended(code: int) -> Say:
    """
    The end of the search.
    """
    return lambda asked: result(asked, 0x65, code)


def raw(data: bytes) -> Say:
    """
    Anything.
    """
    return lambda asked: data


#: A refresh with ten entries.
TEN: Sequence[Line] = [*map(rule, range(10)), done()]

#: What is said instead of a refresh, each with a word that the log has.  Nothing may change.
MISHAPS: dict[str, tuple[Sequence[Line], str]] = {
    "size limit": ([rule(1, text="2 x@y.test"), ended(4)], "size=unlimited"),
    "no such object": ([ended(32)], "nothing changes"),
    "busy": ([ended(51)], "busy (51)"),
    "no synchronization": ([ended(12)], "overlay syncprov"),
    "unwilling": ([ended(53)], "restored from an old copy"),
    "refresh required": ([ended(4096)], "does not know any more"),
    "everything is gone": ([done()], "would be removed"),
    "most is gone, as a set": (
        [lambda asked: info(asked, idSet(map(uuid, range(6)), True)), done(False)],
        "6 of 10 entries",
    ),
    "closed": ([None], "closed:"),
    "closed in a message": ([raw(b"\x30\x20\x02"), None], "closed:"),
    "a success": ([ended(0)], "has ended"),
    "garbage": ([raw(b"GET / HTTP/1.0\r\n\r\n")], "malformed:"),
    "a length without an end": ([raw(b"\x30\x80")], "malformed:"),
    "a gigabyte": ([raw(beginning(SEQUENCE, 1 << 30))], "oversize:"),
    "half a message": ([raw(b"\x30\x20\x02")], "timeout:"),
    "an endless refresh": ([rule(1)], "timeout:"),
    "a message that is broken": ([raw(element(SEQUENCE, b"\x02\x05xx"))], "malformed:"),
    "an answer to something else": (
        [lambda asked: info(asked + 1, refreshed(True))],
        "malformed:",
    ),
    "an entry without its state": (
        [raw(element(SEQUENCE, b"\x02\x01\x02", element(0x64, entryContent("cn=x", {}))))],
        "malformed:",
    ),
    "no answer to a search": ([lambda asked: result(asked, 0x61, 0)], "malformed:"),
    "a notice of disconnection": ([raw(result(0, 0x78, 52))], "takes its leave"),
    "a control that is none": (
        [
            raw(
                element(
                    SEQUENCE,
                    b"\x02\x01\x02",
                    element(0x64, entryContent("cn=x", {})),
                    element(0xA0, element(SEQUENCE, element(OCTETS, b"x" * 9))),
                )
            )
        ],
        "malformed:",
    ),
}


#: After these the directory is asked for everything, sooner or later.
FORGETTING = ("unwilling", "refresh required")


class PullTestCase(TestCase):
    """
    A pool and a directory.
    """

    def setUp(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="tlstunnel-"))
        self.addCleanup(shutil.rmtree, self.path)
        self.pool = Pool(self.path / "pool")
        self.pool.path.mkdir()
        self.said = ""
        observer = cast(ILogObserver, self._observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.patch(pull, "FIRST_PAUSE", 0.01)
        self.patch(pull, "LONGEST_PAUSE", 0.02)
        self.patch(connection, "ANSWER_SECONDS", 0.3)
        self.patch(session, "REFRESH_SECONDS", 0.6)

    def _observe(self, event: LogEvent) -> None:
        level = event.get("log_level")
        self.said += f"{level and level.name}: {event.get('notice', '')}\n"

    def serve(self, *scripts: Sequence[Line]) -> FakeDirectory:
        """
        Let a directory say that.
        """
        self.directory = FakeDirectory(*scripts)
        port = reactor.listenUNIX(str(self.path / "ldapi"), self.directory)
        self.addCleanup(port.stopListening)
        return self.directory

    def place(self, base: str = BASE) -> Place:
        """
        Where the directory is.
        """
        socket = str(self.path / "ldapi").replace("/", "%2F")
        return Place(LDAPURL.parse(f"ldapi://{socket}/{base}"), self.pool)

    def pull(self, mayRemove: bool = False, base: str = BASE) -> Pull:
        """
        Follow it.
        """
        following = Pull(self.place(base), reactor, mayRemove)
        following.privilegedStartService()
        following.startService()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.stop(following)))
        return following

    async def stop(self, following: Pull) -> None:
        """
        Follow it no more; to be called once or more.
        """
        if following.running:
            await following.stopService()

    def rules(self) -> dict[str, str]:
        """
        What has come of it.
        """
        files = (self.pool.path / "disclose").glob("*.txt")
        # One may go while we look.
        with contextlib.suppress(FileNotFoundError):
            return {file.stem: file.read_text().splitlines()[-1] for file in files}
        return {}

    async def until(self, condition: Callable[[], bool]) -> None:
        """
        Wait for it.
        """
        await wait(condition)


class PullTests(PullTestCase):
    """
    What it says becomes files.
    """

    async def test_whatItSaysIsThereAndRemembered(self) -> None:
        """
        After the refresh, and at once with what changes.
        """
        directory = self.serve(TEN)
        following = self.pull()
        await self.until(lambda: len(self.rules()) == 10)
        self.assertEqual((directory.cookies, directory.bound), ([b""], 1))
        directory.say(rule(1, 2, b"two", "5 x@y.test"))
        await self.until(lambda: self.rules()["a1.test"] == "x@y.test")
        directory.say(rule(2, 3, b"three"))
        await self.until(lambda: len(self.rules()) == 9)
        directory.say(lambda asked: info(asked, b"\x80\x04four"))
        cookie = self.pool.path / ".ldap" / "cookie"
        await self.until(lambda: cookie.read_bytes().endswith(b"\nfour"))
        await self.stop(following)
        self.pull()
        await self.until(lambda: len(directory.cookies) == 2)
        self.assertEqual(directory.cookies[1], b"four")

    async def test_nothingIsTakenUpBeforeTheRefreshIsOver(self) -> None:
        """
        Half of it is not what anybody meant.
        """
        directory = self.serve([rule(1), rule(2)], TEN)
        self.pull()
        await self.until(lambda: len(directory.cookies) == 2 and len(self.rules()) == 10)
        self.assertEqual(directory.cookies, [b"", b""])

    async def test_theFilesOutliveUsAndAreMadeAgain(self) -> None:
        """
        From what is remembered, also without the directory.
        """
        self.serve(TEN)
        following = self.pull()
        await self.until(lambda: len(self.rules()) == 10)
        await self.stop(following)
        self.assertEqual(len(self.rules()), 10)
        shutil.rmtree(self.pool.path / "disclose")
        self.directory.scripts = [[]]
        self.pull()
        self.assertEqual(len(self.rules()), 10)

    async def test_anotherDirectoryIsAskedForEverything(self) -> None:
        """
        Its cookies are its own; what the first one had is only removed if that is allowed.
        """
        self.serve(TEN)
        following = self.pull()
        await self.until(lambda: len(self.rules()) == 10)
        await self.stop(following)
        cookie = self.pool.path / ".ldap" / "cookie"
        cookie.write_bytes(b"ldap://elsewhere/dc=x\nfar")
        self.directory.scripts = [[rule(99), done()]]
        following = self.pull()
        await self.until(lambda: "would be removed" in self.said)
        self.assertEqual(self.directory.cookies[1], b"")
        self.assertEqual(len(self.rules()), 10)
        await self.stop(following)
        self.pull(mayRemove=True)
        await self.until(lambda: list(self.rules()) == ["a99.test"])

    async def test_anotherBaseRemovesNothingUntilItHasBeenSeen(self) -> None:
        """
        It may be a mistake; once all of it was told, it counts, under the same guard.
        """
        directory = self.serve(TEN)
        following = self.pull()
        await self.until(lambda: len(self.rules()) == 10)
        await self.stop(following)
        directory.scripts = [[ended(32)]]
        following = self.pull(base=f"ou=typo,{BASE}")
        await self.until(lambda: "nothing changes" in self.said)
        following.lookAround()
        self.assertEqual(len(self.rules()), 10)
        await self.stop(following)
        directory.scripts = [[done()]]
        following = self.pull(base=f"ou=typo,{BASE}")
        await self.until(lambda: "would be removed" in self.said)
        self.assertEqual(len(self.rules()), 10)
        await self.stop(following)
        self.pull(base=f"ou=typo,{BASE}", mayRemove=True)
        await self.until(lambda: not self.rules())

    async def test_whatIsRememberedAndBrokenRemovesNothing(self) -> None:
        """
        It is asked for again, however often that has to be tried.
        """
        directory = self.serve(TEN)
        following = self.pull()
        await self.until(lambda: len(self.rules()) == 10)
        await self.stop(following)
        (self.pool.path / ".ldap" / "entries" / uuid(3).hex()).write_bytes(b"broken")
        directory.scripts = [[]]
        for _ in range(2):
            following = self.pull()
            await self.until(lambda: directory.cookies[1:] != [])
            self.assertEqual((len(self.rules()), directory.cookies.pop()), (10, b""))
            await self.stop(following)
        directory.scripts = [TEN]
        self.pull()
        file = self.pool.path / ".ldap" / "cookie"
        await self.until(file.exists)
        self.assertEqual(len(self.rules()), 10)

    async def test_aCookieThatIsTooLongIsForgotten(self) -> None:
        """
        It would keep us from starting for ever.
        """
        directory = self.serve(TEN)
        following = self.pull()
        await self.until(lambda: len(self.rules()) == 10)
        await self.stop(following)
        file = self.pool.path / ".ldap" / "cookie"
        file.write_bytes(file.read_bytes() + b"x" * 5000)
        self.pull()
        await self.until(lambda: len(directory.cookies) == 2)
        self.assertEqual(directory.cookies[1], b"")

    async def test_aDiskThatIsFullAtTheStartIsMissedAndFoundAgain(self) -> None:
        """
        It is followed all the same, and is not said again at each look.
        """
        self.serve(TEN)
        following = self.pull()
        await self.until(lambda: len(self.rules()) == 10)
        await self.stop(following)
        (self.pool.path / "disclose" / "a1.test.txt").unlink()

        def refuse(*args: object, **options: object) -> None:
            raise ConfigurationError("a file", "cannot be written", "make room")

        full = self.patch(files, "writeFile", refuse)
        following = self.pull()
        await self.until(lambda: self.said.count("cannot be written") >= 2)
        for _ in range(5):
            following.lookAround()
        self.assertEqual(self.said.count("error: a file: cannot be written"), 1)
        full.restore()
        await self.until(lambda: len(self.rules()) == 10)

    async def test_aFaultOfOursIsMissedAndFoundAgain(self) -> None:
        """
        What was told meanwhile is asked for again, and what is in the pool is looked at again.
        """

        def refuse(*args: object) -> None:
            raise ZeroDivisionError

        changed = [*TEN[:-1], rule(1, 2, b"", "5 x@y.test"), TEN[-1]]
        directory = self.serve(TEN, changed)
        following = self.pull()
        await self.until(lambda: following.isFresh)
        broken = self.patch(Upkeep, "take", refuse)
        directory.say(rule(1, 2, b"two", "5 x@y.test"))
        await self.until(lambda: bool(self.flushLoggedErrors(ZeroDivisionError)))
        broken.restore()
        await self.until(lambda: self.rules()["a1.test"] == "x@y.test")
        self.patch(pull, "LOOK_SECONDS", 0.01)
        broken = self.patch(Upkeep, "look", refuse)
        await self.until(lambda: bool(self.flushLoggedErrors(ZeroDivisionError)))
        broken.restore()
        (self.pool.path / "disclose" / "a1.test.txt").unlink()
        await self.until(lambda: len(self.rules()) == 10)

    async def test_aServerThatTakesItsLeaveAgainAndAgainIsAskedLessAndLess(self) -> None:
        """
        Although each time everything is told before.
        """
        self.patch(pull, "LONGEST_PAUSE", 60.0)
        directory = self.serve([*TEN, None])
        following = self.pull()
        await self.until(lambda: len(directory.cookies) == 5)
        self.assertGreaterEqual(following._pause, 0.16)

    async def test_aClockThatIsSetBackDelaysNothing(self) -> None:
        """
        Such as a withdrawal.
        """
        directory = self.serve(TEN)
        following = self.pull()
        await self.until(lambda: len(self.rules()) == 10)
        following._nextTake = reactor.seconds() + 3600
        directory.say(rule(1, 3))
        await self.until(lambda: len(self.rules()) == 9)

    async def test_whatWasSaidBeforeSomethingBrokenCounts(self) -> None:
        """
        Also where both have come at once.
        """
        directory = self.serve(TEN, [])
        self.pull()
        await self.until(lambda: len(self.rules()) == 10)
        directory.say(lambda asked: rule(1, 3)(asked) + b"GET / HTTP/1.0")
        await self.until(lambda: len(self.rules()) == 9)

    async def test_aCookieThatIsOfNoUseIsForgotten(self) -> None:
        """
        After the server was unwilling three times.
        """
        await self.forgets(53)

    async def test_aCookieThatTheServerForgotIsForgotten(self) -> None:
        """
        After it has said so three times.
        """
        await self.forgets(4096)

    async def forgets(self, code: int) -> None:
        """
        Come back with a cookie that is answered with C{code}.
        """
        directory = self.serve(TEN)
        following = self.pull()
        await self.until(lambda: len(self.rules()) == 10)
        await self.stop(following)
        directory.scripts = [[ended(code)]] * 4 + [[*map(rule, range(8)), done()]]
        self.pull()
        await self.until(lambda: len(self.rules()) == 8)
        self.assertEqual(directory.cookies, [b"", b"one", b"one", b"one", b""])

    async def test_whoeverIsNotWelcomeTriesAgain(self) -> None:
        """
        The bind is refused.
        """
        directory = self.serve(TEN)
        directory.bindResult = 49
        self.pull()
        await self.until(lambda: directory.bound >= 3)
        self.assertIn("invalidCredentials (49)", self.said)
        directory.bindResult = 0
        await self.until(lambda: len(self.rules()) == 10)

    async def test_oneLooksAfterAPool(self) -> None:
        """
        A second one is refused.
        """
        self.serve(TEN)
        self.pull()
        error = self.assertRaises(ConfigurationError, self.pull)
        self.assertIn("another 'tlstunnel pool pull'", error.problem)


class MishapTests(PullTestCase):
    """
    Nothing that a directory says changes what there is, unless it is whole.
    """

    def setUp(self) -> None:
        super().setUp()
        self.patch(messages, "MAX_MESSAGE", 1 << 16)


def _mishap(what: str) -> Callable[[MishapTests], Any]:
    async def test(self: MishapTests) -> None:
        script, word = MISHAPS[what]
        directory = self.serve(TEN)
        following = self.pull()
        await self.until(lambda: len(self.rules()) == 10)
        before = self.rules()
        await self.stop(following)
        directory.scripts = [script]
        self.pull()
        await self.until(lambda: word in self.said and len(directory.cookies) >= 3)
        self.assertEqual(self.rules(), before)
        if what in FORGETTING:
            return
        directory.scripts = [[done(False, b"two")]]
        cookie = self.pool.path / ".ldap" / "cookie"
        await self.until(lambda: cookie.read_bytes().endswith(b"\ntwo"))
        self.assertEqual(self.rules(), before)

    test.__doc__ = f"Of the kind: {what}."
    return test


for _what in MISHAPS:
    setattr(MishapTests, f"test_{_what.title().replace(' ', '').replace(',', '')}", _mishap(_what))


class PushTests(PullTestCase):
    """
    A certificate for an entry.
    """

    async def push(self, *results: int) -> tuple[list[int], str]:
        """
        @return: what is asked for of a directory that answers so, and what is said at the end.
        """
        directory = self.serve()
        directory.results = list(results)
        identity = Identity.parse("www.example.test")
        leaf = Authority.make(datetime.now(UTC)).issue(identity, datetime.now(UTC)).certificates[0]
        connector = connection.Connector(reactor)
        try:
            said = await push(connector, self.place(), identity, leaf, lambda: None)
        except ResultRefused as refused:
            said = str(refused)
        finally:
            connector.leave()
        return directory.changes, said

    async def test_anEntryThatAnotherOperatorMakesAtTheSameTimeIsAddedTo(self) -> None:
        """
        It was not there, and then it was.
        """
        changes, said = await self.push(32, 68, 0)
        self.assertEqual(changes, [0x66, 0x68, 0x66])
        self.assertIn("one certificate added", said)

    async def test_whereThereIsNoPlaceForItThatIsSaid(self) -> None:
        """
        Its place is missing, or the classes of the entry are others.
        """
        _, said = await self.push(32, 32)
        self.assertIn("ou=identities", said)
        self.assertIn("noSuchObject (32)", said)
