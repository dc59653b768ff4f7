"""
Tests for L{tlstunnel.reveal.xforward}; what comes between the client's commands is in
L{tests.reveal.test_mailguard}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.reveal.test_smtp import EHLO, FORWARDING, GREETING, POSTFIX, begun
from tlstunnel.address import TCPAddress
from tlstunnel.errors import BackendRefused, ConfigurationError
from tlstunnel.protocols.implicit import implicit
from tlstunnel.protocols.smtp import smtp
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.reveal.xclient import forwardAttributes
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.disclosures import checkDisclosure

FIRST = b"XFORWARD NAME=[UNAVAILABLE] PROTO=ESMTP SOURCE=REMOTE ADDR=%b PORT=40000\r\n"
FOUR, SIX = FIRST % b"192.0.2.1", FIRST % b"IPV6:2001:db8::1"


class ForwardTests(SynchronousTestCase):
    """
    XFORWARD alone.
    """

    def test_xclientIsNotSaidEvenWhereItIsOffered(self) -> None:
        """
        The server is to decide by our address.
        """
        driver = begun(word="xforward", peer=TCPAddress("2001:db8::1", 40000))
        driver.play([("B", GREETING), ("T", EHLO), ("B", POSTFIX), ("T", SIX), ("B", b"250 f\r\n")])
        self.assertEqual((driver.stage, driver.plain.written), ("relay", b""))
        driver.play([("C", b"EHLO me.test\r\n"), ("T", b"EHLO me.test\r\n"), ("B", POSTFIX)])
        driver.play([("S", b"250-mx.example.org\r\n250 PIPELINING\r\n")])
        for _ in range(2):
            driver.play([("C", b"MAIL FROM:<>\r\n")])
            told = (
                b"XFORWARD NAME=[UNAVAILABLE] PROTO=ESMTP SOURCE=REMOTE ADDR=IPV6:2001:db8::1 "
                b"PORT=40000 HELO=me.test\r\n"
            )
            driver.play([("T", told + b"MAIL FROM:<>\r\n"), ("B", b"250 f\r\n250 s\r\n")])
            driver.play([("S", b"250 s\r\n"), ("C", b"RSET\r\n"), ("T", b"RSET\r\n")])
            driver.play([("B", b"250 Ok\r\n"), ("S", b"250 Ok\r\n")])

    def test_withTLSFromTheFirstByteTheGreetingIsTheServers(self) -> None:
        """
        All its lines.
        """
        driver = begun(implicit, word="xforward")
        driver.play([("B", GREETING), ("T", EHLO), ("B", FORWARDING), ("T", FOUR)])
        driver.play([("B", b"250 f\r\n"), ("S", GREETING)])

    def test_aServerThatDoesNotTakeItIsNotServed(self) -> None:
        """
        The log says what to set.
        """
        for offer in (b"250-mx\r\n250 XCLIENT ADDR\r\n", b"250-mx\r\n250 XFORWARD NAME\r\n"):
            driver = begun(word="xforward")
            driver.play([("B", GREETING), ("T", EHLO), ("B", offer)])
            self.assertIsInstance(driver.error, BackendRefused)
            assert driver.error is not None
            self.assertEqual(driver.error.cause, "no XFORWARD")

    def test_aServerThatOffersAndRefusesIsNotServed(self) -> None:
        """
        That is found out before the client hears anything.
        """
        for code, cause in ((b"550", "no XFORWARD"), (b"501", "no IPv6")):
            driver = begun(implicit, word="xforward")
            driver.play([("B", GREETING), ("T", EHLO), ("B", FORWARDING), ("T", FOUR)])
            driver.play([("B", code + b" no\r\n")])
            self.assertIsInstance(driver.error, BackendRefused)
            assert driver.error is not None
            self.assertEqual((driver.error.cause, driver.network.written), (cause, b""))

    def test_bothWordsTogetherMakeNoSense(self) -> None:
        """
        One of them does what the other one does.
        """
        here = TCPAddress("127.0.0.1", 25)
        told = Disclosure(words=("smtp", "xforward"))
        with self.assertRaises(ConfigurationError) as caught:
            checkDisclosure(Tunnel(Mode.SERVER, (here,), (here,), smtp, disclosure=told))
        self.assertEqual(caught.exception.key, "reveal")

    def test_aNameThatIsTooLongIsNotTold(self) -> None:
        """
        It is only what the client calls itself.
        """
        facts = begun(word="xforward").pair.record
        for name, isTold in ((b"x" * 255, True), (b"x" * 256, False), (b"", False)):
            told = forwardAttributes(facts, b"EHLO", name)
            self.assertEqual("HELO" in told, isTold)
            self.assertEqual(told["PROTO"], "ESMTP")
        self.assertEqual(forwardAttributes(facts, b"", b"")["PROTO"], "SMTP")
