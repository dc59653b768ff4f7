"""
The conformance suite itself: that all dialects pass it, and that those that are broken do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import TestResult

from twisted.trial.unittest import SynchronousTestCase, TestCase

from tlstunnel.errors import PlaintextAfterStartTLS, Refused
from tlstunnel.protocols.base import ClientRole, Dialect, ServerRole
from tlstunnel.protocols.registry import builtIn
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.memory import Driver
from tlstunnel.testing.rules import Rules


def subclasses(of: type[Rules]) -> Iterator[type[Rules]]:
    """
    All that are test cases.
    """
    for each in of.__subclasses__():
        if issubclass(each, TestCase | SynchronousTestCase):
            yield each
        yield from subclasses(each)


#: Those whose servers close without a word.
WORDLESS = frozenset(("nut", "munin", "nbd"))


class CompletenessTests(SynchronousTestCase):
    """
    No dialect is forgotten.
    """

    def test_everyBuiltInDialectConformsInBothRoles(self) -> None:
        """
        Some test module says so of each.
        """
        for path in sorted((Path(__file__).parents[1] / "protocols").glob("test_*.py")):
            import_module(f"tests.protocols.{path.stem}")
        found = {(each.dialect.name, each.mode) for each in subclasses(Rules)}
        for dialect in builtIn():
            self.assertLessEqual({(dialect.name, "client"), (dialect.name, "server")}, found)

    def test_everyServerThatHasToBeSilentMayTakeItsLeave(self) -> None:
        """
        Some test says with which words.
        """
        for path in sorted((Path(__file__).parents[1] / "protocols").glob("test_*.py")):
            import_module(f"tests.protocols.{path.stem}")
        found = {
            each.dialect.name
            for each in subclasses(ClientConformance)
            if vars(each).get("farewells")
        }
        for dialect in builtIn():
            if dialect.silentServer and dialect.name not in WORDLESS:
                self.assertIn(dialect.name, found)


class LineClient(ClientRole):
    """
    A line each way.
    """

    async def negotiate(self) -> None:
        """As it should be."""
        self.write(b"tls\n")
        answer = await self.readLine()
        if answer != b"yes":
            raise Refused("expected yes", answer)


class LineServer(ServerRole):
    """
    The other side.
    """

    async def negotiate(self) -> None:
        """As it should be."""
        while await self.readCommand() != b"tls":
            self.refuse(b"no")
        self.goAhead(b"yes")


class LineClientTests(ClientConformance, SynchronousTestCase):
    """
    What a good client role passes.
    """

    dialect = Dialect("line", LineClient, LineServer)
    dialogue = [("C", b"tls\n"), ("S", b"yes\n")]
    failures = [(1, b"no\n", Refused)]


class LineServerTests(ServerConformance, SynchronousTestCase):
    """
    What a good server role passes.
    """

    dialect = LineClientTests.dialect
    dialogue = [("C", b"tls\n"), ("S", b"yes\r\n")]
    needsTLS = {b"login\n": b"no\r\n"}


class GreetedClient(ClientRole):
    """
    Of a protocol in which a server's first words are its go-ahead.
    """

    async def readGreeting(self) -> None:
        """There is nothing to ask for."""
        greeting = await self.readLine()
        if greeting != b"go":
            raise Refused("expected go", greeting)


class GreetingServer(ServerRole):
    """
    The other side.
    """

    async def negotiate(self) -> None:
        """All that there is to say."""
        self.goAhead(b"go")


class GreetedClientTests(ClientConformance, SynchronousTestCase):
    """
    The suite knows that such a greeting may take as long as any other, and that the server's
    silence is measured by it.
    """

    dialect = Dialect("greeted", GreetedClient, GreetingServer)
    dialogue = [("S", b"go\r\n")]
    failures = [(0, b"no\n", Refused)]


class GreetingServerTests(ServerConformance, SynchronousTestCase):
    """
    And that a client says nothing in clear.
    """

    dialect = GreetedClientTests.dialect
    dialogue = [("S", b"go\r\n")]


class TalkativeClient(LineClient):
    """
    Shows the app what the server said in clear.
    """

    async def negotiate(self) -> None:
        """Rule 1."""
        await super().negotiate()
        self.plain.write(b"yes\n")


class HastyClient(LineClient):
    """
    Sends what the app said in clear.
    """

    async def negotiate(self) -> None:
        """Rule 2."""
        self.write(self.plain.takeRest())
        await super().negotiate()


class HastyLaterClient(LineClient):
    """
    The same, once the server has answered.
    """

    async def negotiate(self) -> None:
        """Rule 2."""
        await super().negotiate()
        self.write(self.plain.takeRest())


class TidyClient(LineClient):
    """
    Throws away what follows the go-ahead.
    """

    async def negotiate(self) -> None:
        """Rule 3."""
        await super().negotiate()
        self.takeRest()


class TrustingClient(LineClient):
    """
    Takes any answer for consent.
    """

    async def negotiate(self) -> None:
        """Rule 4."""
        self.write(b"tls\n")
        await self.readLine()


class ImpatientClient(LineClient):
    """
    Understands whole segments only.
    """

    async def negotiate(self) -> None:
        """Rule 17."""
        self.write(b"tls\n")
        if await self.readSome() != b"yes\n":
            raise ValueError("no internal error is to be mistaken for a refusal")


class EndlessClient(LineClient):
    """
    Reads without limits.
    """

    maxLine = maxBytes = maxLines = 1 << 30


class BlindClient(LineClient):
    """
    Lets a server speak first inside TLS.
    """

    async def demandSilence(self) -> None:
        """Rule 10."""


class TidyServer(LineServer):
    """
    Throws away what follows the request.
    """

    def goAhead(self, reply: bytes) -> None:
        """Rule 3."""
        self.takeRest()
        super().goAhead(reply)


class PlainServer(LineServer):
    """
    Says its last words without the go-ahead, although it looks before.
    """

    async def negotiate(self) -> None:
        """Rule 3."""
        while await self.readCommand() != b"tls":
            self.refuse(b"no")
        self.checkEmpty()
        self.sendLine(b"yes")


class PlainGreetingServer(GreetingServer):
    """
    The same where the greeting is the go-ahead.
    """

    async def negotiate(self) -> None:
        """Rule 3."""
        self.checkEmpty()
        self.sendLine(b"go")


class CarelessServer(GreetingServer):
    """
    The same without a look.
    """

    async def negotiate(self) -> None:
        """Rule 3."""
        self.sendLine(b"go")


class LateGreetedClient(GreetedClient):
    """
    Reads a greeting as if it was the answer to something.
    """

    async def readGreeting(self) -> None:
        """Section 2: it may take longer."""

    async def negotiate(self) -> None:
        """It is too late for it here."""
        await super().readGreeting()


class GreedyServer(LineServer):
    """
    Lets TLS follow its request at once, and reads more than that.
    """

    directStart = True


class PatientServer(LineServer):
    """
    Refuses for ever.
    """

    def countRefusal(self) -> None:
        """Rule 8."""


class HelpfulServer(LineServer):
    """
    Remembers for the backend what a client said in clear.
    """

    remembered = b""

    async def readCommand(self) -> bytes:
        """Rule 2."""
        command = await super().readCommand()
        self.remembered += command
        return command

    async def meetBackend(self) -> None:
        """Rule 6."""
        self.plain.write(self.remembered)


class FriendlyServer(LineServer):
    """
    Answers any protocol.
    """

    async def readCommand(self) -> bytes:
        """Rule 13."""
        return await self.readLine()


def failing(case: type[Rules], broken: Dialect) -> dict[str, str]:
    """
    The tests that fail for a dialect that is broken, each with the last lines of what it says.
    """
    failed = {}
    for name in dir(case):
        if name.startswith("test_"):
            result = TestResult()
            made: Any = type("Broken", (case,), {"dialect": broken})
            made(name).run(result)
            for _, text in result.failures + result.errors:
                failed[name.removeprefix("test_")] = text.rpartition("AssertionError: ")[2]
    return failed


class SuiteTests(SynchronousTestCase):
    """
    Each of the broken dialects fails where it should.
    """

    def test_brokenClientsFail(self) -> None:
        """
        In the test that is named after what they do, at least.
        """
        for role, test in (
            (TalkativeClient, "itReachesTheSwitchAndTheRelay"),
            (HastyClient, "whatTheAppSendsEarlyIsHeldAndSentOnceInOrder"),
            (HastyLaterClient, "whatTheAppSendsEarlyIsHeldAndSentOnceInOrder"),
            (TidyClient, "nothingMayFollowTheLastMessage"),
            (TrustingClient, "aServerThatSaysNoIsLeftAlone"),
            (ImpatientClient, "segmentsDoNotMatter"),
            (EndlessClient, "endlessWordsAreNotKept"),
            (BlindClient, "aServerThatSpeaksFirstInsideTLSIsCutOff"),
        ):
            broken = Dialect("broken", role, LineServer)
            self.assertIn(test, failing(LineClientTests, broken), role)
            self.flushLoggedErrors(ValueError)

    def test_brokenServersFail(self) -> None:
        """
        Likewise.
        """
        for role, test in (
            (TidyServer, "nothingMayFollowTheLastMessage"),
            (PatientServer, "aClientThatKeepsAskingIsCutOff"),
            (HelpfulServer, "secretsSentInClearReachNobody"),
            (FriendlyServer, "foreignProtocolsGetNoAnswer"),
            (PlainServer, "aClientThatAnswersTheGoAheadAtOnceIsServed"),
        ):
            broken = Dialect("broken", LineClient, role)
            self.assertIn(test, failing(LineServerTests, broken), role)

    def test_brokenGreetingsFail(self) -> None:
        """
        Where they are the go-ahead.
        """
        broken = Dialect("broken", LateGreetedClient, CarelessServer)
        client = failing(GreetedClientTests, broken)
        self.assertEqual(set(client), {"silenceEndsInEveryState", "whoDripsGetsNoMoreTime"})
        server = failing(GreetingServerTests, broken)
        answering = "aClientThatAnswersTheGoAheadAtOnceIsServed"
        preceding = "nothingMayPrecedeAGoAheadThatIsTheGreeting"
        self.assertEqual(set(server), {answering, preceding})
        broken = Dialect("broken", LateGreetedClient, PlainGreetingServer)
        self.assertEqual(set(failing(GreetingServerTests, broken)), {answering})

    def test_failuresSayWhereToLook(self) -> None:
        """
        The role, what happened, and below it the method and the rule.
        """
        said = failing(LineServerTests, Dialect("broken", LineClient, PlainServer))
        text = " ".join(said["aClientThatAnswersTheGoAheadAtOnceIsServed"].split())
        self.assertTrue(text.startswith("the server role of broken: expected the stage 'switched'"))
        self.assertIn("it ended: plaintext-after-starttls", text)
        self.assertIn("look at the end of negotiate: ", text)
        self.assertIn("goAheadExactly", text)
        self.assertTrue(text.endswith("(rule 3)"), text)

    def test_everyTestSaysWhereToLook(self) -> None:
        """
        None is left without.
        """
        for case in (ClientConformance, ServerConformance):
            for name in dir(case):
                if name.startswith("test_"):
                    self.assertTrue(hasattr(getattr(case, name), "__wrapped__"), name)

    def test_aMistakeOfOursEndsItsConnection(self) -> None:
        """
        Both legs are closed, and the log has the traceback.
        """
        driver = Driver(Dialect("broken", ImpatientClient, LineServer), "client")
        driver.network.feed(b"y")
        self.assertIsNotNone(driver.error)
        self.assertEqual(driver.error and driver.error.reason, "internal")
        self.assertTrue(driver.network.ending and driver.plain.ending)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_whatWasReadAheadIsNotTLS(self) -> None:
        """
        Where TLS may follow at once it has to be left in the socket; what is in the buffer ends the
        connection (rule 3).
        """
        driver = Driver(Dialect("broken", LineClient, GreedyServer), "server")
        driver.network.feed(b"tls\nlogin\n")
        self.assertIsInstance(driver.error, PlaintextAfterStartTLS)
        self.assertFalse(driver.network.isTLS)
