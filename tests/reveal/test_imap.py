"""
The word imap: where the client is, by ID, which clients cannot say.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.reveal.stage import assertEnds, begun, told
from tlstunnel.address import TCPAddress
from tlstunnel.errors import BackendRefused, Malformed, Oversize
from tlstunnel.protocols.imap import imap as dialect
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.reveal.imap import IDGuard, LoginWatch, imap
from tlstunnel.reveal.origin import Part
from tlstunnel.testing.dialogues import OURS, split
from tlstunnel.testing.memory import Driver

GREETING = b"* OK [CAPABILITY IMAP4rev1 ID AUTH=PLAIN] ready\r\n"
CLEAR = [
    ("S", b"* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] " + OURS + b" ready\r\n"),
    ("C", b"a STARTTLS\r\n"),
    ("S", b"a OK Begin TLS negotiation now\r\n"),
]
ID = (
    b't1 ID ("x-originating-ip" "192.0.2.1" "x-originating-port" "4711"'
    b' "x-connected-ip" "198.51.100.2" "x-connected-port" "993" "x-client-transport" "TLS")\r\n'
)
TAKEN = b'* ID ("name" "Dovecot")\r\nt1 OK ID completed.\r\n'
FORGED = b'("x-originating-ip" "203.0.113.9")'


def introduced() -> Driver:
    """
    The backend has been told, and the relay has begun.
    """
    return told(imap, [("B", GREETING), ("T", ID), ("B", TAKEN), ("S", GREETING)])


class IntroductionTests(SynchronousTestCase):
    """
    What the backend is told, before the client is heard.
    """

    def test_theBackendIsToldInsideImplicitTLS(self) -> None:
        """
        Its greeting is passed on, and its answer is not.
        """
        driver = introduced()
        driver.play([("C", b"b NOOP\r\n"), ("T", b"b NOOP\r\n"), ("B", b"b OK\r\n")])
        self.assertEqual(driver.network.takeWritten(), b"b OK\r\n")

    def test_theBackendIsToldBehindStartTLS(self) -> None:
        """
        The client has been greeted before.
        """
        driver = begun([(imap, Part())], dialect, CLEAR)
        driver.play([("B", GREETING), ("T", ID), ("B", TAKEN)])
        self.assertEqual((driver.stage, driver.network.written), ("relay", b""))

    def test_whatTheClientSaysMeanwhileComesBehind(self) -> None:
        """
        However early it is said.
        """
        driver = begun([(imap, Part())], dialect, CLEAR)
        driver.feed("C", b"b NOOP\r\n")
        driver.play([("B", GREETING), ("T", ID), ("B", TAKEN), ("T", b"b NOOP\r\n")])

    def test_aClientOfAUNIXSocketHasNoAddress(self) -> None:
        """
        We are the first nevertheless.
        """
        driver = begun([(imap, Part())], peer=None)
        driver.play([("B", GREETING)])
        self.assertNotIn(b"originating", driver.plain.written)
        self.assertTrue(driver.plain.written.startswith(b"t1 ID ("))

    def test_aZoneIsOfNoUseElsewhere(self) -> None:
        """
        RFC 4007, section 6.
        """
        driver = begun([(imap, Part())], peer=TCPAddress("fe80::1%eth0", 5))
        driver.play([("B", GREETING)])
        self.assertIn(b'"x-originating-ip" "fe80::1" ', driver.plain.written)

    def test_whoeverIsToldByTheHeaderIsToldOnce(self) -> None:
        """
        Of the PROXY protocol; what clients must not say they must not say.
        """
        disclosure = Disclosure(words=("imap",), proxyOut="v2")
        driver = begun([(imap, imap.prepare(disclosure))])
        driver.play([("B", GREETING), ("S", GREETING)])
        driver.play([("C", b"a ID " + FORGED + b"\r\n")])
        driver.play([("T", b"a ID NIL\r\n")])

    def test_aBackendThatDoesNotTakeItIsNotServed(self) -> None:
        """
        Whatever it says instead.
        """
        for answers in (
            [b"* BYE overloaded\r\n"],
            [b"* PREAUTH welcome\r\n"],
            [GREETING, b"t1 BAD what\r\n"],
            [GREETING, b"t1 NO\r\n"],
            [GREETING, b"t2 OK\r\n"],
            [GREETING, b"+ go on\r\n"],
        ):
            with self.subTest(answers=answers):
                driver = begun([(imap, Part())])
                driver.feed("C", b"a NOOP\r\n")
                for each in answers:
                    driver.feed("B", each)
                self.assertIsInstance(driver.error, BackendRefused)
                self.assertNotIn(b"NOOP", driver.plain.written)


#: What clients say before a login, and what the backend is given.
PASSES = [
    b"a CAPABILITY\r\n",
    b"a LOGIN john secret\r\n",
    b'a login "john \\"x\\"" "se{cret}"\r\n',
    b"a LOGIN {4+}\r\njohn {6+}\r\nsecret\r\n",
    b"a LOGIN john {6+}\r\na\nID x\r\n",
    b'a LOGIN "john" {3+}\r\n\0\r\n\r\n',
    b"a AUTHENTICATE PLAIN AGpvaG4AeA==\r\n",
    b"a AUTHENTICATE PLAIN\r\nAGpvaG4AeA==\r\n",
    b"a AUTHENTICATE PLAIN\r\n*\r\n",
    b"a AUTHENTICATE EXTERNAL\r\n\r\n",
    b'a ID ("name" "x" "version" NIL)\r\n',
    b"a ID NIL\r\nb id ()\n",
    b"\r\n",
    b"QUIT\r\n",
    b"a NOOP\r\nb NOOP\r\n",
    b'a LIST "" *\r\n',
]
REWRITTEN = [
    b"a ID " + FORGED + b"\r\n",
    b"a id " + FORGED.upper() + b"\n",
    b'a Id ("name" "x" "X-Originating-IP" "203.0.113.9")\r\n',
    b'a ID ("x-forward-identity" "john")\r\n',
    b'a ID ("x\\-originating-ip" "203.0.113.9")\r\n',
    b"a ID (x-originating-ip 203.0.113.9)\r\n",
    b'a ID  ("x-originating-ip" "203.0.113.9")\r\n',
    b'a ID ("name" "x")("x-proxy-ttl" "9")\r\n',
    b"a ID\r\n",
]
#: What ends the connection.
FORBIDDEN = [
    b" ID " + FORGED + b"\r\n",
    b"* ID " + FORGED + b"\r\n",
    b"+ ID " + FORGED + b"\r\n",
    b'"a" ID ' + FORGED + b"\r\n",
    b"a  ID " + FORGED + b"\r\n",
    b"a\tID\t" + FORGED + b"\r\n",
    b"a ID\t" + FORGED + b"\r\n",
    b"a ID(" + FORGED + b"\r\n",
    b"a NOOP\rb ID " + FORGED + b"\r\n",
    b"a NOOP\0b ID " + FORGED + b"\r\n",
    b'a ID ("x-originating-ip" {11+}\r\n203.0.113.9)\r\n',
    b'a ID ("x-originating-ip" {11}\r\n',
    b"a ID ({16+}\r\nx-originating-ip {11+}\r\n203.0.113.9)\r\n",
    b"a NOOP {50+}\r\nb ID " + FORGED + b"\r\n",
    b"a NOOP x{50+}\r\nb ID " + FORGED + b"\r\n",
    b'a LOGIN "x {50+}\r\nb ID ' + FORGED + b"\r\n",
    b"a LOGIN x{ {50+}\r\nb ID " + FORGED + b"\r\n",
    b"a LOGIN {3+}\r\nabc x{ {50+}\r\nb ID " + FORGED + b"\r\n",
    b"a LOGIN {3+}\r\nabc{50+}\r\nb ID " + FORGED + b"\r\n",
    b"a LOGIN \xe9 {50+}\r\nb ID " + FORGED + b"\r\n",
    b"a LOGIN {05+}\r\n",
    b"a LOGIN {-1+}\r\n",
    b"a LOGIN {5 +}\r\n",
    b"a LOGIN ~{5+}\r\n",
    b"a LOGIN {4}\r\njohn",
    b"a LOGIN {4}\r\nb ID " + FORGED + b"\r\n",
    b"{50+}\r\nb ID " + FORGED + b"\r\n",
    b"a AUTHENTICATE {5+}\r\nPLAIN\r\n",
    b"a AUTHENTICATE PLAIN\r\nb ID " + FORGED + b"\r\n",
    b"a AUTHENTICATE PLAIN\r\nb LOGIN {50+}\r\nc ID " + FORGED + b"\r\n",
    b"a NOOP\r\na LOGIN x y\r\n",
    b"\x16\x03\x01\x02\x00\x01\n",
    b"".join(b"a%d NOOP\r\n" % number for number in range(65)),
]
TOO_LONG = [
    b"a LOGIN {4097+}\r\n",
    b"a LOGIN {999999}\r\n",
    b"a NOOP " + b"x" * 16400,
    b"x" * 16400,
]


class GuardTests(SynchronousTestCase):
    """
    What clients say before a login, cut anywhere.
    """

    def passed(self, said: tuple[bytes, ...]) -> bytes:
        guard = IDGuard()
        return b"".join(map(guard.feed, said))

    def test_whatIsHarmlessPasses(self) -> None:
        """
        Byte by byte the same.
        """
        for said in PASSES:
            for pieces in split(said):
                with self.subTest(pieces=pieces):
                    self.assertEqual(self.passed(pieces), said)

    def test_anIDOfOursSaysNothing(self) -> None:
        """
        It is answered in its place.
        """
        for said in REWRITTEN:
            for pieces in split(said + b"b NOOP\r\n"):
                with self.subTest(pieces=pieces):
                    self.assertEqual(self.passed(pieces), b"a ID NIL\r\nb NOOP\r\n")

    def test_whatIsNotCertainEndsTheConnection(self) -> None:
        """
        Nothing of it that could be an ID has passed.
        """
        for said in FORBIDDEN:
            assertEnds(self, IDGuard, said, b"x-")

    def test_whatIsTooLongEndsTheConnection(self) -> None:
        """
        Nothing is kept that has no end.
        """
        for said in TOO_LONG:
            with self.subTest(said=said[:20]), self.assertRaises(Oversize):
                self.passed((said,))

    def test_aLiteralIsAwaited(self) -> None:
        """
        RFC 9051, section 4.3: the backend says when it comes.
        """
        driver = introduced()
        driver.play(
            [
                *(("C", b"a LOGIN {4}\r\n"), ("T", b"a LOGIN {4}\r\n"), ("B", b"+ OK\r\n")),
                *(("S", b"+ OK\r\n"), ("C", b"john {6}\r\n"), ("T", b"john {6}\r\n")),
                *(("B", b"+ OK\r\n"), ("S", b"+ OK\r\n"), ("C", b"se\ncre\r\n")),
                *(("T", b"se\ncre\r\n"), ("B", b"a NO\r\n"), ("S", b"a NO\r\n")),
                *(("C", b"b ID " + FORGED + b"\r\n"), ("T", b"b ID NIL\r\n")),
            ]
        )
        self.assertIsNone(driver.error)

    def test_aLiteralThatIsRefusedIsNotAwaited(self) -> None:
        """
        What comes then is a command.
        """
        driver = introduced()
        driver.play(
            [
                *(("C", b"a LOGIN {99}\r\n"), ("T", b"a LOGIN {99}\r\n")),
                *(("B", b"a BAD too long\r\n"), ("S", b"a BAD too long\r\n")),
                *(("C", b"b ID " + FORGED + b"\r\n"), ("T", b"b ID NIL\r\n")),
            ]
        )
        self.assertIsNone(driver.error)

    def test_behindALoginNothingIsLookedAt(self) -> None:
        """
        What was said before the backend's answer was.
        """
        driver = introduced()
        driver.play(
            [
                ("C", b"a LOGIN john x\r\nb ID " + FORGED + b"\r\n"),
                *(("T", b"a LOGIN john x\r\nb ID NIL\r\n"), ("B", b"a OK in\r\n")),
                *(("S", b"a OK in\r\n"), ("C", b"c APPEND x {9}\r\n\0\r")),
                ("T", b"c APPEND x {9}\r\n\0\r"),
            ]
        )
        self.assertIsNone(driver.error)

    def test_onlyALoginIsOne(self) -> None:
        """
        OK to anything else, and NO to a login, change nothing.
        """
        for said, answer in (
            (b"a NOOP\r\n", b"a OK\r\n"),
            (b"a LOGIN john x\r\n", b"a NO\r\n"),
            (b"a LOGIN john x\r\n", b"* OK\r\nb OK\r\nA OK\r\na BAD\r\n"),
            (b"a AUTHENTICATE PLAIN\r\n", b"+ \r\na NO\r\n"),
        ):
            with self.subTest(said=said, answer=answer):
                driver = introduced()
                driver.feed("C", said)
                driver.feed("B", answer)
                driver.plain.takeWritten()
                driver.play([("C", b"z ID " + FORGED + b"\r\n"), ("T", b"z ID NIL\r\n")])

    def test_anUnfinishedLineIsNotTheLastWord(self) -> None:
        """
        Nobody has looked at it.
        """
        driver = introduced()
        driver.feed("C", b"a ID " + FORGED)
        driver.network.end()
        self.assertEqual(driver.plain.written, b"")

    def test_whoeverIsLoggedInByUsIsNotGuarded(self) -> None:
        """
        It says nothing before.
        """
        driver = begun([(imap, Part(guards=False))])
        driver.play([("B", GREETING), ("T", ID), ("B", TAKEN), ("S", GREETING)])
        driver.play([("C", b"a ID "), ("T", b"a ID ")])


class WatchTests(SynchronousTestCase):
    """
    What the backend says before a login.
    """

    def test_itPassesAsItIs(self) -> None:
        """
        Cut anywhere.
        """
        said = b"* OK x\r\n* CAPABILITY IMAP4rev1\n+ \r\na NO [X] y\r\nunfinished"
        for pieces in split(said):
            watch = LoginWatch(IDGuard())
            self.assertEqual(b"".join(map(watch.feed, pieces)) + watch.flush(), said)

    def test_aLiteralIsNotExpected(self) -> None:
        """
        Nothing before a login has one.
        """
        with self.assertRaises(Malformed):
            LoginWatch(IDGuard()).feed(b"* LIST {5}\r\n")
