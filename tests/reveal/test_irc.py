"""
The word C{irc}.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress
from tlstunnel.errors import (
    BackendRefused,
    ConfigurationError,
    Forged,
    Malformed,
    Oversize,
    TunnelError,
)
from tlstunnel.identity.names import Identity
from tlstunnel.protocols.implicit import implicit
from tlstunnel.protocols.irc import irc as dialect
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.reveal.irc import irc, textOf
from tlstunnel.reveal.ircguard import MAX_MESSAGE_BYTES, Registered, Unregistered
from tlstunnel.testing.memory import Driver

PEER = TCPAddress("192.0.2.7", 41000)
ALICE = Identity("alice", "test.example")
WELCOME = b":irc.example.org 001 alice :Welcome\r\n"
SERVES = b":irc.example.org PONG irc.example.org :tlstunnel\r\n"
TOLD = b"WEBIRC secret tlstunnel 192.0.2.7 192.0.2.7 :secure remote-port=41000"
PING = b"\r\nPING :tlstunnel\r\n"


def start(
    startTLS: bool = True,
    identity: Identity | None = None,
    peer: TCPAddress = PEER,
    local: TCPAddress | None = None,
    certificate: x509.Certificate | None = None,
) -> Driver:
    """
    A driver behind its handshake, with a backend that is connected.
    """
    driver = Driver(
        dialect if startTLS else implicit,
        "server",
        words=[(irc, "secret")],
        identity=identity,
        peer=peer,
    )
    if local is not None:
        driver.network.local = local
    driver.network.peerCertificate = certificate
    if startTLS:
        driver.feed("C", b"STARTTLS\r\n")
    driver.network.takeWritten()
    driver.handshake()
    return driver


def relaying() -> Driver:
    """
    A driver whose backend has taken what it was told.
    """
    driver = start()
    driver.feed("B", SERVES)
    driver.plain.takeWritten()
    return driver


class TellingTests(SynchronousTestCase):
    """
    What a server is told.
    """

    def test_theAddressIsToldFirstOfAll(self) -> None:
        """
        Whether TLS began with STARTTLS, or with the first byte.
        """
        for startTLS in (True, False):
            driver = start(startTLS)
            driver.feed("C", b"NICK alice\r\n")
            self.assertEqual(driver.plain.takeWritten(), TOLD + PING)
            driver.feed("B", SERVES)
            self.assertEqual(driver.stage, "relay")
            self.assertEqual(driver.plain.takeWritten(), b"NICK alice\r\n")
            self.assertEqual(driver.network.takeWritten(), b"")

    def test_allThatIsKnownIsTold(self) -> None:
        """
        Ports, the fingerprint of the certificate, and the user that it names.
        """
        authority = trustme.CA()
        end = datetime.now(UTC) + timedelta(days=1)
        issued = authority.issue_cert("alice@test.example", not_after=end)
        certificate = x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes())
        driver = start(identity=ALICE, local=TCPAddress("192.0.2.1", 6697), certificate=certificate)
        digest = certificate.fingerprint(SHA256()).hex().encode()
        self.assertEqual(
            driver.plain.takeWritten(),
            b"WEBIRC secret tlstunnel 192.0.2.7 192.0.2.7 :secure local-port=6697"
            b" remote-port=41000 certfp-sha-256=" + digest + b" account=alice@test.example" + PING,
        )

    def test_aDomainIsNoAccount(self) -> None:
        """
        Nor is anything else that is no user.
        """
        driver = start(identity=Identity(None, "test.example"))
        self.assertEqual(driver.plain.takeWritten(), TOLD + PING)

    def test_anAddressNeverBeginsWithAColon(self) -> None:
        """
        Which would make it the last parameter.
        """
        for host, text in (
            ("192.0.2.7", "192.0.2.7"),
            ("2001:db8::1", "2001:db8::1"),
            ("::1", "0::1"),
            ("fe80::1%eth0", "fe80::1"),
        ):
            self.assertEqual(textOf(TCPAddress(host, 41000)), text)

    def test_whatTheServerSaidBeforeIsForTheClient(self) -> None:
        """
        Its notices, in order.
        """
        driver = start()
        notices = b":x NOTICE * :*** Looking up\r\n:x 020 * :Please wait\r\n"
        driver.feed("B", notices + SERVES + b":x NOTICE * :*** Found\r\n")
        self.assertEqual(driver.network.takeWritten(), notices + b":x NOTICE * :*** Found\r\n")

    def test_aServerThatDoesNotPingServesToo(self) -> None:
        """
        ngIRCd wants a registration first; others do not know the command so early.
        """
        for answer in (
            b":x 451 * :Connection not registered\r\n",
            b":x 421 * PING :Unknown command\r\n",
        ):
            driver = start()
            driver.feed("B", answer)
            self.assertEqual(driver.stage, "relay")

    def test_aServerThatDoesNotTakeItGetsNothingOfTheClient(self) -> None:
        """
        It may not know us, or not our password.
        """
        for answer in (
            b"ERROR :Closing link: you don't match any configured WebIRC hosts.\r\n",
            b":x 464 * :Invalid password\r\n",
            b":x 421 * WEBIRC :Unknown command\r\n",
            b":x 461 * WEBIRC :Not enough parameters\r\n",
        ):
            driver = start()
            driver.feed("C", b"NICK alice\r\n")
            driver.plain.takeWritten()
            driver.feed("B", answer)
            self.assertIsInstance(driver.error, BackendRefused)
            self.assertEqual(driver.plain.takeWritten(), b"")

    def test_aServerThatSaysMuchIsLeft(self) -> None:
        """
        What it may say is bounded.
        """
        driver = start()
        driver.feed("B", b":x NOTICE * :***\r\n" * 200)
        self.assertIsInstance(driver.error, Oversize)


class GuardTests(SynchronousTestCase):
    """
    What a client must not say.
    """

    def test_noClientSpeaksAsAGateway(self) -> None:
        """
        In whatever spelling some server would take.
        """
        rest = b"secret x 192.0.2.66 192.0.2.66"
        for line in (
            b"WEBIRC " + rest + b"\r\n",
            b"webirc " + rest + b"\n",
            b"WebIRC  " + rest + b"\r\n",
            b":x WEBIRC " + rest + b"\r\n",
            b":WEBIRC WEBIRC " + rest + b"\r\n",
            b"@a=b WEBIRC " + rest + b"\r\n",
            b"@a=b;c :x  webirc " + rest + b"\r\n",
            b"WEBIRC\r\n",
            b"CGIIRC " + rest + b"\r\n",
            b"PASS WEBIRC_192.0.2.66_evil\r\n",
            b"PASS :webirc_192.0.2.66_evil\r\n",
            b"PASS CGIIRC_192.0.2.66\r\n",
            b"PROXY TCP4 192.0.2.66 192.0.2.1 1 2\r\n",
            b"HEXIP c0000242\r\n",
            b"hexip c0000242\r\n",
            b"STARTTLS\r\n",
            b"@x :y starttls :\r\n",
        ):
            self.refused(line, Forged)

    def test_whatServersWouldReadDifferentlyIsRefused(self) -> None:
        """
        It may be a gateway's to one of them.
        """
        for line in (
            b" WEBIRC x\r\n",
            b"\tWEBIRC x\r\n",
            b"WEBIRC\tx\r\n",
            b": WEBIRC x\r\n",
            b"@ WEBIRC x\r\n",
            b"::x WEBIRC\r\n :WEBIRC x\r\n",
            b"WEB. x\r\n",
            b"WEBIRC. x\r\n",
            b"NICK a\rWEBIRC x\r\n",
            b"WEB\rIRC x\r\n",
            b"WEBIRC\0x\r\n",
            b"\0WEBIRC x\r\n",
            b"NICK a\r\rWEBIRC x\n",
            b"NICK a\r\r\n",
            b"\xef\xbb\xbfWEBIRC x\r\n",
            b"   \r\n",
            b":x\r\n",
        ):
            self.refused(line, (Malformed, Forged))

    def test_noMessageIsLongerThanAServerReads(self) -> None:
        """
        Some read the rest as the next one.
        """
        long = b"NICK " + b"x" * (MAX_MESSAGE_BYTES - 7) + b"\r\n"
        driver = relaying()
        driver.feed("C", long)
        self.assertEqual(driver.plain.takeWritten(), long)
        for line in (b"NICK " + b"x" * 507 + b"WEBIRC x\r\n", b"x" * 512, b"@" + long):
            self.refused(line, Oversize)

    def refused(self, line: bytes, kind: type[TunnelError] | tuple[type[TunnelError], ...]) -> None:
        """
        See that the connection ends before a server has C{line}: at once, behind others, and cut
        anywhere.
        """
        before = b"CAP LS 302\r\nNICK alice\r\nUSER alice 0 * :alice\r\n"
        for said in (line, before + line):
            for cut in (0, 1, len(said) // 2, len(said) - 1):
                driver = relaying()
                driver.feed("C", said[:cut])
                driver.feed("C", said[cut:])
                self.assertIsInstance(driver.error, kind, said)
                self.assertNotIn(b"WEBIRC", driver.plain.takeWritten().upper())

    def test_noSecretIsLogged(self) -> None:
        """
        Of what is refused the log has no password: that of a user, or of another gateway.
        """
        for line in (
            b" PASS hunter2\r\n",
            b"@x :y PASS :hunter2\r\r\n",
            b"pass hunter2\0\r\n",
            b"WEBIRC hunter2 x 192.0.2.66 192.0.2.66\r\n",
            b"PASS WEBIRC_hunter2\r\n",
            b"AUTHENTICATE\rhunter2\r\n",
            b" AUTHENTICATE hunter2\r\n",
            b"PASS hunter2 " + b"x" * MAX_MESSAGE_BYTES,
            b"PASS hunter2 " + b"x" * MAX_MESSAGE_BYTES + b"\r\n",
        ):
            driver = relaying()
            driver.feed("C", line)
            error = driver.error
            assert error is not None
            self.assertNotIn(b"hunter2", error.said)
            self.assertRegex(error.said, b"(?i)pass|authenticate|webirc")

    def test_aSessionPasses(self) -> None:
        """
        What clients do say, and after their registration anything.
        """
        driver = relaying()
        registration = (
            b"\r\n@label=1 CAP LS 302\r\nPASS :open sesame\r\nNICK webirc\r\n"
            b"USER WEBIRC 0 * :WEBIRC STARTTLS\nCAP REQ :sasl\r\nAUTHENTICATE PLAIN\r\nCAP END\r\n"
        )
        driver.feed("C", registration)
        self.assertEqual(driver.plain.takeWritten(), registration)
        driver.feed("B", b"PING :1\r\n:x NOTICE * :001 \r\n")
        driver.feed("C", b"PONG :1\r\n")
        driver.feed("B", b"@time=1 " + WELCOME)
        content = b"PRIVMSG bob :a\rb\0" + b"x" * 600 + b"\r\nWEBIRC x"
        driver.feed("C", content)
        self.assertEqual(driver.plain.takeWritten(), b"PONG :1\r\n" + content)
        self.assertIsNone(driver.error)

    def test_nothingButAWelcomeIsOne(self) -> None:
        """
        Whatever has its number in it.
        """
        for line in (
            b"001 alice :Welcome\r\n",
            b":x NOTICE alice :x\r :y 001 z\r\n",
            b":x 0010 alice\r\n",
            b":x 001\r\n",
            b" :x 001 alice\r\n",
            b"x" * 2000 + b":x 001 alice\r\n",
        ):
            driver = relaying()
            driver.feed("B", line[:1500])
            driver.feed("B", line[1500:])
            driver.feed("C", b"WEBIRC x\r\n")
            self.assertIsInstance(driver.error, Forged, line)

    def test_aLineThatAClientDoesNotEndIsNotPassed(self) -> None:
        """
        Where it ends itself in it.
        """
        driver = relaying()
        driver.feed("C", b"NICK alice\r\nWEBIRC x")
        driver.network.end()
        self.assertEqual(driver.plain.takeWritten(), b"NICK alice\r\n")

    @settings(max_examples=300)
    @given(
        st.lists(st.sampled_from([b"WEBIRC", b"x", b" ", b":", b"@", b"\r", b"\n", b"\0", b"."])),
        st.integers(1, 9),
    )
    def test_noLineThatSomeServerReadsSoGetsThrough(self, parts: list[bytes], step: int) -> None:
        """
        However it is written and cut: it is looked for as InspIRCd and ngIRCd do, which cut at LF
        or at CR too, drop CR or take NUL for a blank, and skip blanks, tags and a prefix.
        """
        said = b"".join(parts)
        guard = Unregistered()
        passed = b""
        try:
            for start in range(0, len(said), step):
                passed += guard.feed(said[start : start + step])
        except TunnelError:
            pass
        else:
            passed += guard.flush()
        for text in (passed.replace(b"\r", b""), passed.replace(b"\r", b"\n")):
            for line in text.replace(b"\0", b" ").split(b"\n"):
                words = line.split()
                while words and words[0].startswith((b"@", b":")):
                    del words[0]
                self.assertNotIn(words[0].rstrip(b".") if words else b"", (b"WEBIRC", b"WEB"), said)

    @settings(max_examples=200)
    @given(st.binary(max_size=3000), st.integers(1, 500))
    def test_whatAServerSaysPassesUnchanged(self, said: bytes, step: int) -> None:
        """
        However it is cut, and with a bounded memory.
        """
        watch = Registered(Unregistered())
        passed = b""
        for start in range(0, len(said), step):
            passed += watch.feed(said[start : start + step])
        self.assertEqual(passed + watch.flush(), said)


class PasswordTests(SynchronousTestCase):
    """
    What the server knows us by.
    """

    def password(self, text: str) -> object:
        """
        What comes of a file with C{text}.
        """
        path = Path(self.mktemp())
        path.touch(mode=0o600)
        path.write_text(text)
        return irc.prepare(Disclosure(webircPasswordFile=path))

    def test_itIsRead(self) -> None:
        """
        From its file.
        """
        self.assertEqual(self.password("open-sesame\n"), "open-sesame")

    def test_itIsNeeded(self) -> None:
        """
        No server listens to a gateway without.
        """
        error = self.assertRaises(ConfigurationError, irc.prepare, Disclosure())
        self.assertIn("webirc-password-file", error.remedy)

    def test_itIsOneParameter(self) -> None:
        """
        Of a message that has room for more.
        """
        for text in ("open sesame\n", ":sesame\n", "x" * 201 + "\n"):
            self.assertRaises(ConfigurationError, self.password, text)
