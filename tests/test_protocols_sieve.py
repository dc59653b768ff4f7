"""
The sieve dialect.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.roles import (
    ClientRules,
    ServerRules,
    client,
    filtered,
    inside,
    missingLines,
    said,
    server,
    split,
)
from tlstunnel.errors import (
    Malformed,
    Oversize,
    Quit,
    Refused,
    TooManyErrors,
    TunnelError,
)
from tlstunnel.protocols.hiding import Commands
from tlstunnel.protocols.sieve import Capabilities, sieve
from tlstunnel.testing.memory import Driver

GREETING = (
    b'"IMPLEMENTATION" "x \\"y\\" z"\r\n"SIEVE" {8}\r\nfile\r\nto\r\n"SASL" ""\r\n'
    b'"STARTTLS"\r\nOK (TAG {3}\r\na)b) "ready"\r\n'
)
CLIENT = [
    ("S", GREETING),
    ("C", b"STARTTLS\r\n"),
    ("S", b'OK "Begin TLS negotiation now."\r\n'),
]
LIST = (
    b'"IMPLEMENTATION" "tlstunnel"\r\n"SIEVE" ""\r\n"SASL" ""\r\n"STARTTLS"\r\n'
    b'"VERSION" "1.0"\r\nOK "tunnel.example.net"\r\n'
)
SERVER = [
    ("S", LIST),
    ("C", b"CAPABILITY\r\n"),
    ("S", LIST),
    ("C", b"STARTTLS\r\n"),
    ("S", b'OK "Begin TLS negotiation now."\r\n'),
]
BACKEND = b'"IMPLEMENTATION" "b"\r\n"SASL" "PLAIN"\r\n"STARTTLS"\r\nOK "hello"\r\n'
PASSED = b'"IMPLEMENTATION" "b"\r\n"SASL" "PLAIN"\r\nOK "hello"\r\n'


class ClientTests(ClientRules, SynchronousTestCase):
    """
    Mode -c.
    """

    dialect = sieve
    clientDialogue = CLIENT
    silent = False
    welcome = b'"SASL" "PLAIN"\r\nOK "TLS negotiation successful."\r\n'

    def test_greetingsThatWillDo(self) -> None:
        """
        With and without capabilities, codes and texts, quoted and literal.
        """
        for greeting in (
            b"OK\r\n",
            b'ok "ready"\n',
            b"OK {5}\r\nr\0a\ry\r\n",
            b"OK {0}\r\n\r\n",
            b"OK (WARNINGS)\r\n",
            b'OK (TAG "x" (y ("z"))) "t"\r\n',
            b'"A"\r\n"B" "c"\r\n{1}\r\nD {2}\r\nOK\r\nOK\r\n',
            b'"\xc3\xa9" "\\\\"\r\nOK "\xc3\xa9"\r\n',
        ):
            driver = client(sieve)
            self.assertEqual(said(driver, greeting), b"STARTTLS\r\n", greeting)

    def test_greetingsThatWillNot(self) -> None:
        """
        Nothing is said to a server that does not greet so.
        """
        for greeting, error in (
            (b'NO "full"\r\n', Refused),
            (b'"A"\r\nBYE (TRYLATER) {4}\r\nlate\r\n', Refused),
            (b"OKAY\r\n", Malformed),
            (b" OK\r\n", Malformed),
            (b"HELLO\r\n", Malformed),
            (b"IMPLEMENTATION x\r\n", Malformed),
            (b'"A" b\r\n', Malformed),
            (b'"unfinished\r\n', Malformed),
            (b'"bad \\n escape"\r\n', Malformed),
            (b"\r\n", Malformed),
            (b"OK OK\r\n", Malformed),
            (b'OK "a" "b"\r\n', Malformed),
            (b'OK "a" (B)\r\n', Malformed),
            (b'OK (B "a"\r\n', Malformed),
            (b"OK )B(\r\n", Malformed),
            (b"(OK)\r\n", Malformed),
            (b"OK {3+}\r\n", Malformed),
            (b"OK {x}\r\n", Malformed),
            (b"OK {-1}\r\n", Malformed),
            (b'{2}\r\nOKOK "x"\r\n', Malformed),
            (b"OK {" + b"9" * 5000 + b"}\r\n", Malformed),
            (b"OK {8193}\r\n", Oversize),
            (b"OK {99999999999999999999}\r\n", Oversize),
            (b'"A"\r\n' * 129, Oversize),
            (b'OK "' + b"x" * 8192 + b'"\r\n', Oversize),
        ):
            driver = client(sieve)
            driver.network.feed(greeting)
            self.assertFailed(driver, error)
            self.assertEqual(driver.network.written, b"", greeting)

    def test_answersThatWillDo(self) -> None:
        """
        OK in all its forms.
        """
        for answer in (b"OK\r\n", b"ok\n", b"OK (X) {3}\r\nabc\r\n"):
            driver = client(sieve)
            driver.network.feed(GREETING)
            driver.network.feed(answer)
            self.assertSwitched(driver)

    def test_answersThatWillNot(self) -> None:
        """
        Anything but OK.
        """
        for answer, error in (
            (b'NO "TLS is not available"\r\n', Refused),
            (b"bye\r\n", Refused),
            (b'"STARTTLS"\r\n', Malformed),
            (b"OK1\r\n", Malformed),
            (b"+OK\r\n", Malformed),
        ):
            driver = client(sieve)
            driver.network.feed(GREETING)
            driver.network.feed(answer)
            self.assertFailed(driver, error)

    def test_theAppIsGreetedByTheServerOnly(self) -> None:
        """
        Nothing is made up for it; a server that ends without a word is not passed off as one.
        """
        driver = inside(client(sieve), CLIENT)
        self.assertEqual(driver.plain.written, b"")
        self.assertEqual(driver.stage, "inside")
        driver.network.end()
        self.assertIsInstance(driver.error, TunnelError)
        self.assertEqual(driver.plain.written, b"")
        self.assertEqual(driver.plain.lost, "closed")

    @settings(deadline=None)
    @given(
        st.lists(
            st.one_of(
                st.sampled_from(b'OK NO ( ) "a" {1} \r\n \n x " \\ {0}'.split(b" ")),
                st.binary(max_size=3),
            ),
            max_size=10,
        ).map(b" ".join)
    )
    def test_noGarbageIsMistakenForConsent(self, garbage: bytes) -> None:
        """
        Whatever a server says, the switch is reached by OK only, and nothing else happens.
        """
        driver = client(sieve)
        driver.network.feed(GREETING)
        driver.network.feed(garbage)
        driver.network.end()
        self.assertEqual(driver.plain.written, b"")
        if not garbage.upper().startswith(b"OK"):
            self.assertIsInstance(driver.error, TunnelError)


class ServerTests(ServerRules, SynchronousTestCase):
    """
    Mode -s, up to the switch.
    """

    dialect = sieve
    serverDialogue = SERVER
    backendGreeting = BACKEND
    passed = PASSED
    needsTLS = b'AUTHENTICATE "PLAIN" "AGEAYg=="\r\n'

    def test_answers(self) -> None:
        """
        The table of what is answered to what.
        """
        refused = b'NO (ENCRYPT-NEEDED) "STARTTLS first"\r\n'
        for line, answer in (
            (b"capability", LIST),
            (b"starttls", b'OK "Begin TLS negotiation now."\r\n'),
            (b"NOOP", b'OK "done"\r\n'),
            (b'NOOP "a b"', b'OK (TAG "a b") "done"\r\n'),
            (b"NOOP a", b'NO "syntax"\r\n'),
            (b'NOOP "a" "b"', b'NO "syntax"\r\n'),
            (b'authenticate "PLAIN"', refused),
            (b'PUTSCRIPT "a" "b"', refused),
            (b"LISTSCRIPTS", refused),
            (b"STARTTLS now", b'NO "syntax"\r\n'),
            (b"XYZZY", b'NO "unknown command"\r\n'),
            (b"", b'NO "unknown command"\r\n'),
        ):
            driver = server(sieve)
            self.assertEqual(said(driver, line + b"\r\n"), answer, line)
            self.assertIsNone(driver.error)

    def test_aClientThatLeavesIsLetGo(self) -> None:
        """
        LOGOUT ends the connection, and nobody regards that as an attack.
        """
        driver = server(sieve)
        self.assertEqual(said(driver, b"LOGOUT\r\n"), b'OK "bye"\r\n')
        self.assertFailed(driver, Quit)

    def test_aLiteralEndsTheConnection(self) -> None:
        """
        What follows it is no command, and must not be read as one.
        """
        for line in (b'AUTHENTICATE "PLAIN" {8+}', b"NOOP {8+}", b"STARTTLS {8}"):
            driver = server(sieve)
            answer = said(driver, line + b"\r\nSTARTTLS\r\n")
            self.assertEqual(answer, b'NO "literals not accepted before STARTTLS"\r\n')
            self.assertFailed(driver, Malformed)

    def test_threeSyntaxErrorsEndTheConnection(self) -> None:
        """
        And the client is told.
        """
        driver = server(sieve)
        answer = said(driver, b"A\r\nB\r\nC\r\n")
        self.assertEqual(answer, b'NO "unknown command"\r\n' * 2 + b'BYE "too many errors"\r\n')
        self.assertFailed(driver, TooManyErrors)


class BackendTests(SynchronousTestCase):
    """
    Mode -s, behind the switch.
    """

    def meet(self) -> Driver:
        """
        A tunnel whose client has been greeted by the backend.
        """
        driver = inside(server(sieve), SERVER)
        driver.plain.feed(BACKEND)
        self.assertEqual(driver.network.takeWritten(), PASSED)
        return driver

    def exchange(self, driver: Driver, asked: bytes, answered: bytes) -> bytes:
        """
        What the client gets of an answer.
        """
        driver.network.feed(asked)
        self.assertEqual(driver.plain.takeWritten(), asked)
        driver.plain.feed(answered)
        return driver.network.takeWritten()

    def test_hidingGoesOnUntilSomebodyIsAuthenticated(self) -> None:
        """
        Through failures, and not in what is no list of capabilities.
        """
        driver = self.meet()
        for asked, answered in (
            (b'AUTHENTICATE "PLAIN" {4+}\r\nAGEA\r\n', b'NO "STARTTLS"\r\n'),
            (b'AUTHENTICATE "LOGIN"\r\n', b'"STARTTLS"\r\n'),
            (b'"abcd"\r\n', b'NO "wrong"\r\n'),
            (b"NOOP\r\n", b'OK "STARTTLS"\r\n'),
            (b"FOO\r\n", b"NO\r\n"),
        ):
            self.assertEqual(self.exchange(driver, asked, answered), answered)
            if not answered.startswith(b'"'):
                self.assertEqual(self.exchange(driver, b"CAPABILITY\r\n", BACKEND), PASSED)
        self.exchange(driver, b'AUTHENTICATE "PLAIN" "AGEAYg=="\r\n', b"OK\r\n")
        self.assertEqual(self.exchange(driver, b"CAPABILITY\r\n", BACKEND), BACKEND)
        self.exchange(driver, b"NOOP\r\n", b"OK\r\n")
        self.assertEqual(driver.network.speaker.filters, [])
        self.assertEqual(driver.plain.speaker.filters, [])

    def test_hidingGivesUpAtALiteral(self) -> None:
        """
        From there on everything passes unseen.
        """
        driver = inside(server(sieve), SERVER)
        greeting = b'"X" {12}\r\n"STARTTLS"\r\n\r\n' + BACKEND
        driver.plain.feed(greeting)
        self.assertEqual(driver.network.takeWritten(), greeting)

    def test_aBackendThatRefusesIsHeard(self) -> None:
        """
        Its greeting is the client's, whatever it is.
        """
        driver = inside(server(sieve), SERVER)
        driver.plain.feed(b'BYE "full"\r\n')
        self.assertEqual(driver.network.takeWritten(), b'BYE "full"\r\n')


LINES = st.lists(
    st.one_of(
        st.sampled_from(
            b'CAPABILITY NOOP AUTHENTICATE "STARTTLS" "starttls" OK NO BYE {3} "X"'.split()
        ),
        st.binary(max_size=8),
    ),
    max_size=10,
).map(b"\r\n".join)


class HidingTests(SynchronousTestCase):
    """
    The filters as such.
    """

    @settings(deadline=None)
    @given(LINES, LINES)
    def test_anySplitGivesTheSameAndLosesNothingElse(self, asked: bytes, answered: bytes) -> None:
        """
        Lines that are missing are the keyword.
        """
        results = set()
        for pieces in [(answered,), *split(answered)]:
            hiding = Capabilities()
            self.assertEqual(filtered(Commands(hiding), [asked]), asked)
            results.add(filtered(hiding, pieces))
        for pieces in split(asked):
            hiding = Capabilities()
            self.assertEqual(filtered(Commands(hiding), pieces), asked)
            results.add(filtered(hiding, [answered]))
        (passed,) = results
        for line in missingLines(answered, passed):
            self.assertEqual(line.split()[0].upper(), b'"STARTTLS"')
