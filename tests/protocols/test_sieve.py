"""
The sieve dialect.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import Malformed, Oversize, Quit, Refused, TooManyErrors, TunnelError
from tlstunnel.protocols.hiding import Commands
from tlstunnel.protocols.sieve import Capabilities, sieve
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.dialogues import (
    client,
    filtered,
    inside,
    isFiltered,
    missingLines,
    server,
    split,
)
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


WELCOME = b'"SASL" "PLAIN"\r\nOK "TLS negotiation successful."\r\n'


class ClientTests(ClientConformance, SynchronousTestCase):
    """
    Mode -c.
    """

    dialect = sieve
    dialogue = CLIENT
    inside = [("S", WELCOME), ("T", WELCOME)]
    silent = False
    variants = [
        (0, b"OK\r\n"),
        (0, b'ok "ready"\n'),
        (0, b"OK {5}\r\nr\0a\ry\r\n"),
        (0, b"OK {0}\r\n\r\n"),
        (0, b"OK (WARNINGS)\r\n"),
        (0, b'OK (TAG "x" (y ("z"))) "t"\r\n'),
        (0, b'"A"\r\n"B" "c"\r\n{1}\r\nD {2}\r\nOK\r\nOK\r\n'),
        (0, b'"\xc3\xa9" "\\\\"\r\nOK "\xc3\xa9"\r\n'),
        (2, b"OK\r\n"),
        (2, b"ok\n"),
        (2, b"OK (X) {3}\r\nabc\r\n"),
    ]
    failures = [
        (0, b'NO "full"\r\n', Refused),
        (0, b'"A"\r\nBYE (TRYLATER) {4}\r\nlate\r\n', Refused),
        (0, b"OKAY\r\n", Malformed),
        (0, b" OK\r\n", Malformed),
        (0, b"HELLO\r\n", Malformed),
        (0, b"IMPLEMENTATION x\r\n", Malformed),
        (0, b'"A" b\r\n', Malformed),
        (0, b'"unfinished\r\n', Malformed),
        (0, b'"bad \\n escape"\r\n', Malformed),
        (0, b"\r\n", Malformed),
        (0, b"OK OK\r\n", Malformed),
        (0, b'OK "a" "b"\r\n', Malformed),
        (0, b'OK "a" (B)\r\n', Malformed),
        (0, b'OK (B "a"\r\n', Malformed),
        (0, b"OK )B(\r\n", Malformed),
        (0, b"(OK)\r\n", Malformed),
        (0, b"OK {3+}\r\n", Malformed),
        (0, b"OK {x}\r\n", Malformed),
        (0, b"OK {-1}\r\n", Malformed),
        (0, b'{2}\r\nOKOK "x"\r\n', Malformed),
        (0, b"OK {" + b"9" * 5000 + b"}\r\n", Malformed),
        (0, b"OK {8193}\r\n", Oversize),
        (0, b"OK {99999999999999999999}\r\n", Oversize),
        (0, b'"A"\r\n' * 129, Oversize),
        (0, b'OK "' + b"x" * 8192 + b'"\r\n', Oversize),
        (2, b'NO "TLS is not available"\r\n', Refused),
        (2, b"bye\r\n", Refused),
        (2, b'"STARTTLS"\r\n', Malformed),
        (2, b"OK1\r\n", Malformed),
        (2, b"+OK\r\n", Malformed),
    ]
    endless = [(0, b'"A"\r\n'), (0, b'"A" {99}\r\n' + b"x" * 99 + b"\r\n")]

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
        self.assertEqual(driver.plain.ending, "closed")

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


REFUSED = b'NO (ENCRYPT-NEEDED) "STARTTLS first"\r\n'
UNKNOWN = b'NO "unknown command"\r\n'
SYNTAX = b'NO "syntax"\r\n'
LITERAL = b'NO "literals not accepted before STARTTLS"\r\n'


class ServerTests(ServerConformance, SynchronousTestCase):
    """
    Mode -s, up to the switch.
    """

    dialect = sieve
    dialogue = SERVER
    inside = [("B", BACKEND), ("S", PASSED)]
    variants = [(3, b"starttls\n"), (3, b"STARTTLS \r\n")]
    answers = {
        b"capability\r\n": LIST,
        b"NOOP\r\n": b'OK "done"\r\n',
        b'NOOP "a b"\r\n': b'OK (TAG "a b") "done"\r\n',
        b"NOOP a\r\n": SYNTAX,
        b'NOOP "a" "b"\r\n': SYNTAX,
        b"STARTTLS now\r\n": SYNTAX,
        b"XYZZY\r\n": UNKNOWN,
        b"\r\n": UNKNOWN,
    }
    needsTLS = {
        b'authenticate "PLAIN"\r\n': REFUSED,
        b'AUTHENTICATE "PLAIN" "AGEAYg=="\r\n': REFUSED,
        b'PUTSCRIPT "a" "b"\r\n': REFUSED,
        b"LISTSCRIPTS\r\n": REFUSED,
        b'AUTHENTICATE "PLAIN" {8+}\r\nAGEAYg==\r\n': LITERAL,
    }
    farewells = [
        (b"LOGOUT\r\n", b'OK "bye"\r\n', Quit),
        (b"A\r\nB\r\nC\r\n", UNKNOWN * 2 + b'BYE "too many errors"\r\n', TooManyErrors),
        # What follows a literal is no command, and must not be read as one.
        (b'AUTHENTICATE "PLAIN" {8+}\r\nSTARTTLS\r\n', LITERAL, Malformed),
        (b"NOOP {8+}\r\nSTARTTLS\r\n", LITERAL, Malformed),
        (b"STARTTLS {8}\r\nSTARTTLS\r\n", LITERAL, Malformed),
    ]
    endless = [(1, b"NOOP\r\n")]


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
            (b'AUTHENTICATE "LOGIN"\r\n', b'{12}\r\n"STARTTLS=="\r\n'),
            (b'"abcd"\r\n', b'NO "wrong"\r\n'),
            (b"NOOP\r\n", b'OK "STARTTLS"\r\n'),
            (b"FOO\r\n", b"NO\r\n"),
        ):
            self.assertEqual(self.exchange(driver, asked, answered), answered)
            if not answered.startswith((b'"', b"{")):
                self.assertEqual(self.exchange(driver, b"CAPABILITY\r\n", BACKEND), PASSED)
        self.exchange(driver, b'AUTHENTICATE "PLAIN" "AGEAYg=="\r\n', b"OK\r\n")
        self.assertEqual(self.exchange(driver, b"CAPABILITY\r\n", BACKEND), BACKEND)
        self.exchange(driver, b"NOOP\r\n", b"OK\r\n")
        self.assertFalse(isFiltered(driver.network))
        self.assertFalse(isFiltered(driver.plain))

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
