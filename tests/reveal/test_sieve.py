"""
The word sieve: where the client is, by XCLIENT, which clients cannot say.
"""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.reveal.stage import assertEnds, begun, talk, told
from tlstunnel.errors import BackendRefused, Malformed, Oversize
from tlstunnel.protocols.sieve import sieve as dialect
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.reveal.origin import Part
from tlstunnel.reveal.sieve import LoginWatch, XCLIENTGuard, sieve
from tlstunnel.testing.dialogues import OURS, split
from tlstunnel.testing.memory import Driver

GREETING = b'"IMPLEMENTATION" "x"\r\n"SASL" "PLAIN"\r\n"XCLIENT"\r\nOK "ready"\r\n'
PASSED = b'"IMPLEMENTATION" "x"\r\n"SASL" "PLAIN"\r\nOK "ready"\r\n'
CLEAR = [
    (
        "S",
        b'"IMPLEMENTATION" "tlstunnel"\r\n"SIEVE" ""\r\n"SASL" ""\r\n"STARTTLS"\r\n'
        b'"VERSION" "1.0"\r\nOK "' + OURS + b'"\r\n',
    ),
    ("C", b"STARTTLS\r\n"),
    ("S", b'OK "Begin TLS negotiation now."\r\n'),
]
XCLIENT = b"XCLIENT ADDR=192.0.2.1 PORT=4711 CLIENT-TRANSPORT=TLS\r\n"
FORGED = b"XCLIENT ADDR=203.0.113.9\r\n"
REFUSED = b"XREFUSED\r\n"


def introduced() -> Driver:
    """
    The backend has been told, and the relay has begun.
    """
    updated = b'OK "Updated"\r\n'
    return told(sieve, [("B", GREETING), ("T", XCLIENT), ("B", updated), ("S", PASSED)])


class IntroductionTests(SynchronousTestCase):
    """
    What the backend is told, before the client is heard.
    """

    def test_theBackendIsTold(self) -> None:
        """
        Inside TLS the client is greeted by it in any case, with what is for clients to know.
        """
        for begins in (
            lambda: begun([(sieve, Part())]),
            lambda: begun([(sieve, Part())], dialect, CLEAR),
        ):
            driver = begins()
            driver.play([("B", GREETING), ("T", XCLIENT), ("B", b'OK "Updated"\r\n')])
            driver.play([("S", PASSED), ("C", b"NOOP\r\n"), ("T", b"NOOP\r\n")])
            self.assertIsNone(driver.error)

    def test_literalsInAGreetingAreRead(self) -> None:
        """
        RFC 5804, section 2.6.
        """
        driver = begun([(sieve, Part())])
        greeting = b'"IMPLEMENTATION" {5}\r\nOK\r\n.\r\nOK {5}\r\nready\r\n'
        driver.play([("B", greeting), ("T", XCLIENT), ("B", b"OK\r\n"), ("S", greeting)])

    def test_whoeverIsToldByTheHeaderIsToldOnce(self) -> None:
        """
        Of the PROXY protocol; what clients must not say they must not say.
        """
        disclosure = Disclosure(words=("sieve",), proxyOut="v2")
        driver = begun([(sieve, sieve.prepare(disclosure))])
        driver.play([("B", GREETING), ("S", PASSED)])
        driver.play([("C", b"XCLIENT ADDR=203.0.113.9\r\n")])
        driver.play([("T", REFUSED)])

    def test_aBackendThatDoesNotTakeItIsNotServed(self) -> None:
        """
        Whatever it says instead.
        """
        for answers in (
            [b'BYE "overloaded"\r\n'],
            [b'NO "go"\r\n'],
            [GREETING, b'NO "You are not from trusted IP"\r\n'],
            [GREETING, b'"SASL"\r\n'],
        ):
            with self.subTest(answers=answers):
                driver = begun([(sieve, Part())])
                driver.feed("C", b"NOOP\r\n")
                for each in answers:
                    driver.feed("B", each)
                self.assertIsInstance(driver.error, BackendRefused)
                self.assertNotIn(b"NOOP", driver.plain.written)

    def test_aGreetingHasAnEnd(self) -> None:
        """
        What the backend says is bounded.
        """
        for said in (b'"X" {8193}\r\n', b'"X"\r\n' * 200):
            driver = begun([(sieve, Part())])
            driver.feed("B", said)
            self.assertIsInstance(driver.error, Oversize)


PASSES = [
    b"CAPABILITY\r\n",
    b'NOOP "x"\r\nlogout\n',
    b'AUTHENTICATE "PLAIN" "AGpvaG4AeA=="\r\nLISTSCRIPTS\r\n',
    b'authenticate "PLAIN" {12+}\r\nAGpvaG4AeA==\r\n',
    b'AUTHENTICATE "EXTERNAL" ""\r\n',
    b'PUTSCRIPT "x" "keep;"\r\n',
]
FORBIDDEN = [
    b" " + FORGED,
    b"XCLIENT\tADDR=203.0.113.9\r\n",
    b'"XCLIENT" ADDR=203.0.113.9\r\n',
    b"{7+}\r\nXCLIENT ADDR=203.0.113.9\r\n",
    b'PUTSCRIPT "x" {26+}\r\n' + FORGED,
    b'PUTSCRIPT "x" {26}\r\n' + FORGED,
    b'NOOP "x {26+}\r\n' + FORGED,
    b"NOOP x{26+}\r\n" + FORGED,
    b'AUTHENTICATE "NONE" {26+}\r\n' + FORGED,
    b'AUTHENTICATE "NONE" {4+}\r\nAAAA XCLIENT\r\n',
    b'AUTHENTICATE "NONE" {4}\r\nAAAA\r\n',
    b'AUTHENTICATE "NONE" "\r\n',
    b"AUTHENTICATE {4+}\r\nNONE\r\n",
    b'AUTHENTICATE "NONE" "AAAA" "AAAA"\r\n',
    b'AUTHENTICATE "PLAIN"\r\n"AGpvaG4AeA=="\r\n',
    b"NOOP\rXCLIENT ADDR=203.0.113.9\r\n",
    b"NOOP\0\r\n",
    b"\r\n",
    b"\x16\x03\x01\x02\x00\x01\n",
    b"NOOP\r\n" * 64,
]


class GuardTests(SynchronousTestCase):
    """
    What clients say before a login, cut anywhere.
    """

    def test_whatIsHarmlessPasses(self) -> None:
        """
        Byte by byte the same.
        """
        for said in PASSES:
            for pieces in split(said):
                with self.subTest(pieces=pieces):
                    self.assertEqual(b"".join(map(XCLIENTGuard().feed, (said,))), said)
                    guard = XCLIENTGuard()
                    self.assertEqual(b"".join(map(guard.feed, pieces)), said)

    def test_whatOnlyWeSayIsRefused(self) -> None:
        """
        In its place, by the backend, which does not know what it gets instead.
        """
        for said in (FORGED, FORGED.lower(), b"Xclient\n", b"XCLIENT  ADDR=203.0.113.9\r\n"):
            for pieces in split(said + b"NOOP\r\n"):
                with self.subTest(pieces=pieces):
                    guard = XCLIENTGuard()
                    passed = b"".join(map(guard.feed, pieces))
                    self.assertEqual(passed, REFUSED + b"NOOP\r\n")

    def test_whatIsNotCertainEndsTheConnection(self) -> None:
        """
        Nothing of it that could be XCLIENT has passed.
        """
        for said in FORBIDDEN:
            assertEnds(self, XCLIENTGuard, said, b"XCLIENT ")

    def test_whatIsTooLongEndsTheConnection(self) -> None:
        """
        Nothing is kept that has no end.
        """
        for said in (b'AUTHENTICATE "X" {4097+}\r\n', b"x" * 16400):
            with self.assertRaises(Oversize):
                XCLIENTGuard().feed(said)

    def test_aChallengeIsAnswered(self) -> None:
        """
        By a string or a literal, and by nothing else.
        """
        for answer, isGood in (
            (b'"AGpvaG4AeA=="\r\n', True),
            (b"{12+}\r\nAGpvaG4AeA==\r\n", True),
            (b'"*"\r\n', True),
            (FORGED, False),
            (b"NOOP\r\n", False),
            (b"{26+}\r\n" + FORGED, False),
            (b'"AAAA" "AAAA"\r\n', False),
            (b"{4+}\r\nAAAA \r\n", False),
        ):
            for challenge in (b'""\r\n', b"{4}\r\nAAAA\r\n"):
                with self.subTest(answer=answer, challenge=challenge):
                    driver = introduced()
                    asked = b'AUTHENTICATE "PLAIN"\r\n'
                    driver.play([("C", asked), ("T", asked), ("B", challenge), ("S", challenge)])
                    driver.feed("C", answer)
                    self.assertEqual(driver.error is None, isGood)
                    if isGood:
                        driver.play([("T", answer), ("B", b"NO\r\n"), ("S", b"NO\r\n")])
                        driver.play([("C", FORGED), ("T", REFUSED)])

    def test_behindALoginNothingIsLookedAt(self) -> None:
        """
        What was said before the backend's answer was.
        """
        driver = introduced()
        asked = b'AUTHENTICATE "PLAIN" "AGpvaG4AeA=="\r\n'
        driver.play([("C", asked + FORGED), ("T", asked + REFUSED), ("B", b'OK "in"\r\n')])
        driver.play([("S", b'OK "in"\r\n'), ("C", b'PUTSCRIPT "x" {9}\r\n\0')])
        driver.play([("T", b'PUTSCRIPT "x" {9}\r\n\0')])
        self.assertIsNone(driver.error)

    def test_onlyALoginIsOne(self) -> None:
        """
        OK to anything else, and NO to a login, change nothing.
        """
        asked = b'AUTHENTICATE "PLAIN" "AGpvaG4AeA=="\r\n'
        for said, answer in (
            (b"NOOP\r\n", b"OK\r\n"),
            (asked, b"NO {4}\r\nOK\r\n\r\n"),
            (b"NOOP\r\n" + asked, b"OK\r\nOK\r\n"),
        ):
            with self.subTest(said=said, answer=answer):
                driver = introduced()
                driver.feed("C", said)
                driver.feed("B", answer)
                driver.plain.takeWritten()
                driver.play([("C", FORGED), ("T", REFUSED)])

    def test_commandsWithinAnAuthenticationEndTheConnection(self) -> None:
        """
        The backend may take them for answers.
        """
        driver = introduced()
        driver.feed("C", b'AUTHENTICATE "PLAIN"\r\nNOOP\r\n')
        driver.feed("B", b'""\r\n')
        self.assertIsInstance(driver.error, Malformed)

    def test_xclientIsNotOffered(self) -> None:
        """
        A client that asks again does not hear of it either.
        """
        driver = introduced()
        driver.play([("C", b"CAPABILITY\r\n"), ("T", b"CAPABILITY\r\n")])
        driver.play([("B", GREETING), ("S", PASSED)])


class Pigeonhole:
    """
    Reads commands, answers them, and keeps what it was told by XCLIENT.
    """

    def __init__(self) -> None:
        self.told: list[bytes] = []
        self._kept = b""
        self._literal = 0
        self._isChallenging = self._within = False

    def feed(self, data: bytes) -> bytes:
        """
        @return: what it says.
        """
        self._kept += data
        said = b""
        while True:
            if self._literal:
                if len(self._kept) < self._literal:
                    return said
                self._kept, self._literal = self._kept[self._literal :], 0
            line, end, rest = self._kept.partition(b"\n")
            if not end:
                return said
            self._kept = rest
            said += self._line(line.removesuffix(b"\r"))

    def _line(self, line: bytes) -> bytes:
        isAnswer, self._isChallenging = self._isChallenging, False
        if self._within:
            self._within = False
            return b"NO\r\n"
        name = line.partition(b" ")[0].upper()
        found = re.search(rb"\{([0-9]+)\+?\}\Z", line)
        if (isAnswer or name == b"AUTHENTICATE") and found:
            self._literal, self._within = int(found[1]), True
            return b""
        if isAnswer:
            return b"NO\r\n"
        if name == b"AUTHENTICATE" and line.count(b'"') == 2:
            self._isChallenging = True
            return b'""\r\n'
        if name == b"XCLIENT":
            self.told.append(line)
        return b"OK\r\n" if name in (b"NOOP", b"CAPABILITY", b"XCLIENT") else b"NO\r\n"


_SAID = st.lists(
    st.sampled_from(
        [
            *(b" ", b"\r\n", b"\n", b'"', b"NOOP\r\n", FORGED, b"XCLIENT", b'"AAAA"\r\n'),
            *(b"{26+}\r\n", b"{4+}\r\n", b"{26}\r\n", b"AAAA\r\n", b"AAAA", b'PUTSCRIPT "x" '),
            *(
                b'AUTHENTICATE "PLAIN"\r\n',
                b'AUTHENTICATE "PLAIN" ',
                b'AUTHENTICATE "X" "AAAA"\r\n',
            ),
        ]
    ),
    max_size=12,
)


class ForgeryTests(SynchronousTestCase):
    """
    A server that parses as Pigeonhole does, and clients that say anything.
    """

    @settings(deadline=None, max_examples=2000)
    @given(st.lists(st.tuples(_SAID, st.booleans()), max_size=6))
    def test_nothingCanBeForged(self, turns: list[tuple[list[bytes], bool]]) -> None:
        """
        Whenever the server's answers arrive.
        """
        guard = XCLIENTGuard()
        server = Pigeonhole()
        talk(guard, LoginWatch(guard), server, turns, b'OK "ready"\r\n')
        self.assertEqual(server.told, [])
        self.assertFalse(guard.done)
