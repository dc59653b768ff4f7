"""
Tests for L{tlstunnel.reveal.smtp}: what a mail server hears of its client, and when.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import BackendRefused, Malformed, TunnelError
from tlstunnel.identity.names import Identity
from tlstunnel.interfaces import IDialect
from tlstunnel.protocols.implicit import implicit
from tlstunnel.protocols.smtp import lmtp, smtp
from tlstunnel.reveal import registry, xclient
from tlstunnel.testing.dialogues import Dialogue
from tlstunnel.testing.memory import Driver
from tlstunnel.tunnel.hints.choosing import hintFor

PEER = TCPAddress("192.0.2.1", 40000)
USER = Identity.parse("user@example.org")

SERVER: Dialogue = [
    ("S", b"220 tunnel.example.net ESMTP\r\n"),
    ("C", b"EHLO client.example.com\r\n"),
    ("S", b"250-tunnel.example.net\r\n250 STARTTLS\r\n"),
    ("C", b"STARTTLS\r\n"),
    ("S", b"220 2.0.0 Ready to start TLS\r\n"),
]
LMTP: Dialogue = [
    ("S", b"220 tunnel.example.net LMTP\r\n"),
    ("C", b"LHLO client.example.com\r\n"),
    ("S", b"250-tunnel.example.net\r\n250 STARTTLS\r\n"),
    ("C", b"STARTTLS\r\n"),
    ("S", b"220 2.0.0 Ready to start TLS\r\n"),
]
GREETING = b"220-mx.example.org ESMTP\r\n220 ready\r\n"
EHLO = b"EHLO tunnel.example.net\r\n"
LHLO = b"LHLO tunnel.example.net\r\n"
POSTFIX = (
    b"250-mx.example.org\r\n250-PIPELINING\r\n"
    b"250-XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT\r\n"
    b"250-XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT\r\n250 CHUNKING\r\n"
)
TOLD = (
    b"XCLIENT NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=40000 "
    b"DESTADDR=192.0.2.2 DESTPORT=25 LOGIN=user@example.org\r\n"
)
FORWARDING = b"250-mx.example.org\r\n250 XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT\r\n"
AFRESH = b"220 mx.example.org afresh\r\n"
REFUSAL = b"550 5.7.0 Not for you to say\r\n"


def begun(
    dialect: IDialect = smtp,
    identity: Identity | None = USER,
    peer: TCPAddress | UNIXAddress = PEER,
    word: str = "smtp",
    local: TCPAddress | UNIXAddress = TCPAddress("192.0.2.2", 25),  # noqa: B008 - it is frozen
) -> Driver:
    """
    Up to the greeting of the server, inside TLS.
    """
    found = registry.find(word)
    driver = Driver(dialect, "server", words=[(found, None)], identity=identity)
    driver.network.peer = peer
    driver.network.local = local
    driver.pair.record.peer = peer
    driver.play({"smtp": SERVER, "lmtp": LMTP}.get(dialect.name, []))
    driver.handshake()
    return driver


class DialogueTests(SynchronousTestCase):
    """
    The dialogue with the server.
    """

    def test_itIsToldBeforeAnythingElse(self) -> None:
        """
        The client has had its greeting, and hears nothing of it.
        """
        driver = begun()
        driver.play(
            [
                ("B", GREETING),
                ("T", EHLO),
                ("B", POSTFIX),
                ("T", TOLD),
                ("B", AFRESH),
                ("C", b"EHLO client.example.com\r\n"),
                ("T", b"EHLO client.example.com\r\n"),
                ("B", POSTFIX),
                ("S", b"250-mx.example.org\r\n250 PIPELINING\r\n"),
                ("C", b"MAIL FROM:<a@b>\r\n"),
                ("T", b"MAIL FROM:<a@b>\r\n"),
            ]
        )
        self.assertEqual((driver.network.written, driver.plain.written), (b"", b""))

    def test_withTLSFromTheFirstByteTheClientIsGreeted(self) -> None:
        """
        As the server greets who it now takes for its client.
        """
        driver = begun(implicit)
        driver.play([("B", GREETING), ("T", EHLO), ("B", POSTFIX), ("T", TOLD)])
        self.assertEqual(driver.network.written, b"")
        driver.play([("B", AFRESH), ("S", AFRESH), ("C", b"XCLIENT ADDR=192.0.2.9\r\n")])
        driver.play([("T", b"NOOP (refused)\r\n"), ("B", b"250 Ok\r\n"), ("S", REFUSAL)])

    def test_whoSpeaksEarlyIsHeardAfterwards(self) -> None:
        """
        Also where that is what only we may say.
        """
        driver = begun(implicit)
        driver.play([("C", b"XCLIENT ADDR=192.0.2.9\r\nQUIT\r\n"), ("B", GREETING)])
        driver.play([("T", EHLO), ("B", POSTFIX), ("T", TOLD), ("B", AFRESH)])
        driver.play([("T", b"NOOP (refused)\r\nQUIT\r\n")])

    def test_lmtpHasItsOwnHello(self) -> None:
        """
        Where TLS came first, it is found out.
        """
        offer = b"250-mx\r\n250 XCLIENT ADDR PORT PROTO HELO LOGIN SESSION TIMEOUT\r\n"
        told = b"XCLIENT ADDR=192.0.2.1 PORT=40000 LOGIN=user@example.org\r\n"
        driver = begun(lmtp)
        driver.play([("B", GREETING), ("T", LHLO), ("B", offer), ("T", told), ("B", AFRESH)])
        self.assertEqual(driver.stage, "relay")
        driver = begun(implicit)
        driver.play([("B", GREETING), ("T", EHLO), ("B", b"502 5.5.1 no\r\n"), ("T", LHLO)])
        driver.play([("B", offer), ("T", told), ("B", AFRESH), ("S", AFRESH)])

    def test_whereOnlyXFORWARDIsOfferedItIsThat(self) -> None:
        """
        Before each mail.
        """
        driver = begun()
        driver.play([("B", GREETING), ("T", EHLO), ("B", FORWARDING)])
        first = (
            b"XFORWARD NAME=[UNAVAILABLE] PROTO=ESMTP SOURCE=REMOTE ADDR=192.0.2.1 PORT=40000\r\n"
        )
        driver.play([("T", first), ("B", b"250 f\r\n")])
        driver.play([("C", b"HELO me.test\r\n"), ("T", b"HELO me.test\r\n"), ("B", b"250 mx\r\n")])
        driver.play([("S", b"250 mx\r\n"), ("C", b"MAIL FROM:<>\r\n")])
        told = (
            b"XFORWARD NAME=[UNAVAILABLE] PROTO=SMTP SOURCE=REMOTE ADDR=192.0.2.1 PORT=40000 "
            b"HELO=me.test\r\n"
        )
        driver.play([("T", told + b"MAIL FROM:<>\r\n"), ("B", b"250 f\r\n250 s\r\n")])
        driver.play([("S", b"250 s\r\n")])

    def test_aServerThatTakesNeitherIsNotServed(self) -> None:
        """
        The log says what to set.
        """
        for offer in (b"250 mx\r\n", b"250-mx\r\n250 XCLIENT NAME\r\n", b"554 no\r\n"):
            driver = begun()
            driver.play([("B", GREETING), ("T", EHLO), ("B", offer)])
            self.assertIsInstance(driver.error, BackendRefused)
            assert driver.error is not None
            self.assertEqual(driver.error.cause, "no XCLIENT")

    def test_aServerThatOffersAndRefusesIsNotServed(self) -> None:
        """
        Whatever the reason.
        """
        for code, cause in ((b"550", "no XCLIENT"), (b"503", "no XCLIENT"), (b"501", "no IPv6")):
            driver = begun()
            driver.play([("B", GREETING), ("T", EHLO), ("B", POSTFIX), ("T", TOLD)])
            driver.play([("B", code + b" 5.7.0 no\r\n")])
            assert driver.error is not None
            self.assertEqual((driver.error.reason, driver.error.cause), ("backend", cause))
            self.assertEqual(driver.network.written, b"")

    def test_theLogSaysWhatToDo(self) -> None:
        """
        In the words of the backend's configuration.
        """
        for word, code, setting in (
            ("smtp", b"550", "smtpd_authorized_xclient_hosts"),
            ("smtp", b"501", "inet_protocols"),
            ("xforward", b"550", "smtpd_authorized_xforward_hosts"),
        ):
            driver = begun(word=word)
            driver.play([("B", GREETING), ("T", EHLO), ("B", POSTFIX)])
            driver.feed("B", code + b" no\r\n")
            driver.pair.record.end(driver.error)
            self.assertIn(setting, hintFor(driver.pair.record))

    def test_aClientThatIsNotWantedHearsSo(self) -> None:
        """
        The server says that instead of its second greeting, or of its first one.
        """
        for course in ([("B", GREETING), ("T", EHLO), ("B", POSTFIX), ("T", TOLD)], []):
            driver = begun()
            driver.play([*course, ("B", b"554 5.7.1 not you\r\n"), ("C", b"EHLO x\r\n")])
            driver.play([("S", b"554 5.7.1 not you\r\n"), ("C", b"QUIT\r\n")])
            driver.play([("S", b"221 2.0.0 Bye\r\n")])
            self.assertIsInstance(driver.error, BackendRefused)
            driver = begun(implicit)
            driver.play([*course, ("B", b"554-5.7.1 not\r\n554 you\r\n")])
            driver.play([("S", b"554-5.7.1 not\r\n554 you\r\n"), ("C", b"NOOP\r\n")])
            driver.play([("S", b"554 you\r\n"), ("C", b"QUIT\r\n"), ("S", b"221 2.0.0 Bye\r\n")])
            self.assertIsInstance(driver.error, BackendRefused)

    def test_whatIsNoAnswerEndsTheConnection(self) -> None:
        """
        At each place.
        """
        course: Dialogue = [("B", GREETING), ("T", EHLO), ("B", POSTFIX), ("T", TOLD)]
        for count in (0, 2, 4):
            for said in (b"* OK\r\n", b"22 \r\n", b"220-a\r\n221 b\r\n", b"220x\r\n", b"\r\n"):
                driver = begun(implicit)
                driver.play([*course[:count], ("B", said)])
                self.assertIsInstance(driver.error, Malformed)
                self.assertEqual(driver.network.written, b"")

    def test_theConnectionEndsWhereItBecomesDoubtful(self) -> None:
        """
        Both sides.
        """
        for said in (b"NOOP\rXCLIENT\r\n", b"BDAT 3\r\n", b"DATA\r\nx"):
            driver = begun()
            driver.play([("B", GREETING), ("T", EHLO), ("B", POSTFIX), ("T", TOLD)])
            driver.play([("B", AFRESH), ("C", said)])
            self.assertIsInstance(driver.error, TunnelError)
            self.assertEqual(driver.plain.written, b"")

    def test_aMailAndThousandsOfCommandsKeepTheirOrder(self) -> None:
        """
        Through the relay, in pieces of its own.
        """
        driver = begun()
        driver.play([("B", GREETING), ("T", EHLO), ("B", POSTFIX), ("T", TOLD), ("B", AFRESH)])
        driver.play([("C", b"DATA\r\n"), ("T", b"DATA\r\n"), ("B", b"354 go\r\n")])
        driver.play([("S", b"354 go\r\n")])
        mail = b"x" * 70 + b"\r\n..\r\n"
        driver.feed("C", mail * 2000 + b".\r\n" + b"NOOP\n" * 3000 + b"XCLIENT ADDR=192.0.2.9\r\n")
        driver.feed("C", b"QUIT\r\n")
        passed = mail * 2000 + b".\r\n" + b"NOOP\r\n" * 3000 + b"NOOP (refused)\r\nQUIT\r\n"
        self.assertEqual(driver.plain.written, passed)


class AttributeTests(SynchronousTestCase):
    """
    What is told.
    """

    def told(self, offer: bytes, **given: object) -> bytes:
        """
        What is said to a server that offers this.
        """
        driver = begun(**given)  # type: ignore[arg-type]
        driver.play([("B", GREETING), ("T", EHLO), ("B", b"250-mx\r\n250 XCLIENT " + offer)])
        return driver.plain.written.removesuffix(b"\r\n")

    def test_onlyWhatIsTakenIsTold(self) -> None:
        """
        The names of attributes are of any case.
        """
        self.assertEqual(self.told(b"addr\r\n"), b"XCLIENT ADDR=192.0.2.1")

    def test_addressesOfIPv6AreMarked(self) -> None:
        """
        A zone means nothing to others.
        """
        for host in ("2001:db8::1", "2001:db8::1%eth0"):
            self.assertEqual(
                self.told(b"ADDR PORT DESTADDR\r\n", peer=TCPAddress(host, 7)),
                b"XCLIENT ADDR=IPV6:2001:db8::1 PORT=7 DESTADDR=192.0.2.2",
            )

    def test_whatIsNotKnownIsToldAsSuch(self) -> None:
        """
        Of UNIX sockets, and with our own name in mind.
        """
        self.assertEqual(
            self.told(
                b"NAME ADDR PORT DESTADDR DESTPORT\r\n",
                peer=UNIXAddress(""),
                local=UNIXAddress("/run/x"),
            ),
            b"XCLIENT NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE] "
            b"DESTADDR=[UNAVAILABLE] DESTPORT=[UNAVAILABLE]",
        )

    def test_onlyUsersLogIn(self) -> None:
        """
        No host, no workload, and nobody whose name was not proved.
        """
        for identity in (
            None,
            Identity.parse("example.org"),
            Identity.parse("spiffe://example.org/x"),
        ):
            self.assertEqual(
                self.told(b"ADDR LOGIN\r\n", identity=identity), b"XCLIENT ADDR=192.0.2.1"
            )

    def test_charactersWithAMeaningAreWrittenInHex(self) -> None:
        """
        RFC 3461, section 4.
        """
        self.assertEqual(
            self.told(b"ADDR LOGIN\r\n", identity=Identity.parse("a+b=c@example.org")),
            b"XCLIENT ADDR=192.0.2.1 LOGIN=a+2Bb+3Dc@example.org",
        )
        self.assertEqual(
            xclient.xtext(bytes(range(34))), b"".join(b"+%02X" % each for each in range(33)) + b"!"
        )

    def test_aLoginIsNeverCut(self) -> None:
        """
        One that is too long ends the connection.
        """
        driver = begun(identity=Identity("u" * 244, "example.org"))
        driver.play([("B", GREETING), ("T", EHLO), ("B", b"250-mx\r\n250 XCLIENT ADDR LOGIN\r\n")])
        self.assertIsInstance(driver.error, BackendRefused)
        self.assertEqual(driver.plain.written, b"")

    def test_dovecotHearsOfTLS(self) -> None:
        """
        And of the name that the client has asked for, if that is one.
        """
        for asked, name in (("mx.test", b" DESTNAME=mx.test"), ("no name", b""), ("", b"")):
            driver = begun()
            driver.pair.record.serverName = asked
            driver.play([("B", GREETING), ("T", EHLO)])
            driver.play([("B", b"250-mx\r\n250 XCLIENT ADDR CLIENT-TRANSPORT DESTNAME\r\n")])
            self.assertEqual(
                driver.plain.written,
                b"XCLIENT ADDR=192.0.2.1 CLIENT-TRANSPORT=TLS" + name + b"\r\n",
            )
