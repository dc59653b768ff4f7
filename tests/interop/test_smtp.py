"""
smtp with Postfix, in both modes.
"""

from __future__ import annotations

import smtplib
import socket
from email.message import EmailMessage
from typing import ClassVar

from tests.interop.harness import (
    InteropTestCase,
    Stage,
    curl,
    gnutls,
    openssl,
    record,
    run,
    until,
    verified,
)
from tests.interop.servers.postfix import ImpatientPostfix, Postfix, Postscreen, RejectingPostfix

NAME = "mail.test.example"
SENDER = "writer@sender.test"
RECIPIENT = "reader@test.example"


def letter(subject: str, text: str = "Words.\n") -> EmailMessage:
    """
    A mail; its subject says which test sent it.
    """
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = SENDER, RECIPIENT, subject
    message.set_content(text)
    return message


class ClientModeTests(InteropTestCase):
    """
    Clients that know no TLS, and a server that accepts nothing without.
    """

    postfix: ClassVar[Postfix]
    plain: ClassVar[Postfix]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.postfix = stage.start(Postfix(stage.directory("postfix"), stage.authority.issue(NAME)))
        cls.plain = stage.start(Postfix(stage.directory("plain")))

    def setUp(self) -> None:
        super().setUp()
        self.remote = f"127.0.0.1:{self.postfix.port}"

    def test_aMailIsSentAndReadBack(self) -> None:
        """
        By smtplib; the server notes that it came over TLS.
        """
        tunnel = self.clientMode(self.remote, NAME, "smtp")
        text = "A line.\n.\n..\n.A line that begins with a dot.\n"
        with smtplib.SMTP("127.0.0.1", tunnel.port, timeout=20) as client:
            client.send_message(letter("by smtplib", text))
        received = self.postfix.received("by smtplib")
        self.assertEqual(received.get_payload(), text)
        self.assertIn("using TLSv1.3", str(received["Received"]))
        record("smtp", "client", self.postfix, "mail sent by smtplib and read back")

    def test_aMailIsSentBySwaks(self) -> None:
        """
        By swaks, in whose transcript there is no TLS.
        """
        tunnel = self.clientMode(self.remote, NAME, "smtp")
        run(
            [
                *("swaks", "--server", "127.0.0.1", "--port", str(tunnel.port)),
                *("--from", SENDER, "--to", RECIPIENT, "--header", "Subject: by swaks"),
            ]
        ).expect("queued as")
        self.postfix.received("by swaks")
        record("smtp", "client", self.postfix, "mail sent by swaks")

    def test_aBigMailArrivesWhole(self) -> None:
        """
        Some megabytes, and several mails in one connection.
        """
        tunnel = self.clientMode(self.remote, NAME, "smtp")
        text = "".join(f"Line {number} of a big mail.\n" for number in range(200_000))
        with smtplib.SMTP("127.0.0.1", tunnel.port, timeout=20) as client:
            client.send_message(letter("big", text))
            client.send_message(letter("small"))
        self.assertEqual(self.postfix.received("big").get_payload(), text)
        self.postfix.received("small")
        record("smtp", "client", self.postfix, "5 MB mail")

    def test_theClientBeginsAfresh(self) -> None:
        """
        The greeting is the tunnel's, the extensions are those inside of TLS.
        """
        tunnel = self.clientMode(self.remote, NAME, "smtp")
        with smtplib.SMTP(timeout=20) as client:
            code, greeting = client.connect("127.0.0.1", tunnel.port)
            self.assertEqual((code, greeting), (220, f"{NAME} ESMTP".encode()))
            client.ehlo()
            self.assertTrue(client.has_extn("pipelining"))
            self.assertFalse(client.has_extn("starttls"))

    def test_aServerThatIsSomebodyElseGetsNoMail(self) -> None:
        """
        The client is not greeted with success, and the log names both.
        """
        tunnel = self.clientMode(self.remote, "other.test.example", "smtp")
        with self.assertRaises((smtplib.SMTPServerDisconnected, smtplib.SMTPConnectError)):
            smtplib.SMTP("127.0.0.1", tunnel.port, timeout=20)
        until(lambda: "other.test.example" in tunnel.log and NAME in tunnel.log, "the reason")

    def test_aServerWithoutTLSGetsNoMail(self) -> None:
        """
        Postfix without TLS refuses STARTTLS; there is no plaintext instead.
        """
        tunnel = self.clientMode(f"127.0.0.1:{self.plain.port}", NAME, "smtp")
        with self.assertRaises((smtplib.SMTPServerDisconnected, smtplib.SMTPConnectError)):
            smtplib.SMTP("127.0.0.1", tunnel.port, timeout=20)
        until(lambda: "refused" in tunnel.log, "the reason")


class PatienceTests(InteropTestCase):
    """
    A server that punishes whoever talks before its greeting is complete.
    """

    postscreen: ClassVar[Postscreen]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.postscreen = stage.start(
            Postscreen(stage.directory("postscreen"), stage.authority.issue(NAME))
        )

    def test_aMailPassesTheTeaser(self) -> None:
        """
        Two seconds lie between the two lines of the greeting.
        """
        tunnel = self.clientMode(f"127.0.0.1:{self.postscreen.port}", NAME, "smtp")
        with smtplib.SMTP("127.0.0.1", tunnel.port, timeout=20) as client:
            client.send_message(letter("patiently"))
        self.postscreen.received("patiently")
        self.assertSays("PASS NEW", self.postscreen)
        self.assertNotIn("PREGREET", self.postscreen.log)
        record("smtp", "client", self.postscreen, "mail sent after a teaser")


class ImpatienceTests(InteropTestCase):
    """
    A server that does not wait for a client for long.
    """

    postfix: ClassVar[Postfix]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.postfix = stage.start(
            ImpatientPostfix(stage.directory("postfix"), stage.authority.issue(NAME))
        )

    def test_itsFarewellIsForTheApp(self) -> None:
        """
        Postfix says 421 inside TLS to an app that says nothing.
        """
        tunnel = self.clientMode(f"127.0.0.1:{self.postfix.port}", NAME, "smtp")
        with socket.create_connection(("127.0.0.1", tunnel.port), timeout=20) as app:
            heard = app.makefile("rb").readlines()
        self.assertEqual(heard[0], f"220 {NAME} ESMTP\r\n".encode())
        self.assertRegex(heard[1], rb"\A421 4.4.2 .* timeout exceeded\r\n\Z")
        until(lambda: "farewell" in tunnel.log, "the reason")
        record("smtp", "client", self.postfix, "farewell of an impatient server")


class RejectionTests(InteropTestCase):
    """
    A backend that refuses at its greeting, and clients that insist on TLS.
    """

    postfix: ClassVar[Postfix]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME, "127.0.0.1")
        cls.postfix = stage.start(RejectingPostfix(stage.directory("postfix")))

    def test_itIsForGood(self) -> None:
        """
        Each of the two clients hears 554 to all it says, and not an end that it would take for a
        passing one.
        """
        anchors = self.stage.authority.anchors
        tunnel = self.serverMode(f"127.0.0.1:{self.postfix.port}", NAME, "smtp")
        with smtplib.SMTP("127.0.0.1", tunnel.port, timeout=20) as client:
            client.starttls(context=verified(anchors))
            code, words = client.ehlo()
            self.assertEqual(code, 554)
            self.assertIn(b"Client host rejected", words)
            self.assertEqual(client.helo()[0], 554)
        run(
            [
                *("swaks", "--server", "127.0.0.1", "--port", str(tunnel.port)),
                *("--tls", "--tls-verify", "--tls-ca-path", str(anchors)),
                *("--tls-sni", NAME, "--from", SENDER, "--to", RECIPIENT),
            ]
        ).expectFailure("Client host rejected")
        until(lambda: "the backend said" in tunnel.log, "the reason")


class ServerModeTests(InteropTestCase):
    """
    A server that knows no TLS, and clients that insist on it.
    """

    postfix: ClassVar[Postfix]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME, "127.0.0.1")
        cls.postfix = stage.start(Postfix(stage.directory("postfix")))

    def setUp(self) -> None:
        super().setUp()
        self.anchors = self.stage.authority.anchors
        self.server = self.serverMode(f"127.0.0.1:{self.postfix.port}", NAME, "smtp")
        self.port = self.server.port

    def test_openssl(self) -> None:
        """
        C{s_client} verifies chain and name, and talks to Postfix.
        """
        talk = "EHLO client.test\r\nQUIT\r\n"
        openssl(self.port, NAME, self.anchors, say=talk, starttls="smtp").expect(
            "Verification: OK", f"Verified peername: {NAME}", "250-ENHANCEDSTATUSCODES", "221 "
        )
        record("smtp", "server", "openssl", "session with Postfix")

    def test_opensslRefusesAnotherName(self) -> None:
        """
        The test above can fail.
        """
        other = "other.test.example"
        openssl(self.port, other, self.anchors, say="QUIT\r\n", starttls="smtp").expectFailure()

    def test_gnutls(self) -> None:
        """
        C{gnutls-cli} verifies chain and name, and talks to Postfix.
        """
        talk = "EHLO client.test\r\nQUIT\r\n"
        gnutls(self.port, NAME, self.anchors, say=talk, starttls="smtp").expect(
            "certificate is trusted", "250-ENHANCEDSTATUSCODES", "221 "
        )
        record("smtp", "server", "gnutls-cli", "session with Postfix")

    def test_swaks(self) -> None:
        """
        swaks sends a mail over STARTTLS or not at all.
        """
        run(
            [
                *("swaks", "--server", "127.0.0.1", "--port", str(self.port)),
                *("--tls", "--tls-verify", "--tls-ca-path", str(self.anchors)),
                *("--tls-sni", NAME, "--from", SENDER, "--to", RECIPIENT),
                *("--header", "Subject: through swaks"),
            ]
        ).expect("TLS started with cipher", "queued as")
        self.postfix.received("through swaks")
        record("smtp", "server", "swaks", "mail sent")

    def test_curl(self) -> None:
        """
        curl sends a mail over STARTTLS or not at all.
        """
        mail = ("--mail-from", SENDER, "--mail-rcpt", RECIPIENT, "--upload-file", "-")
        text = str(letter("through curl")).replace("\n", "\r\n")
        curl("smtp", self.port, NAME, self.anchors, *mail, path="/client.test", say=text).expect()
        self.postfix.received("through curl")
        record("smtp", "server", "curl", "mail sent")

    def test_msmtp(self) -> None:
        """
        msmtp verifies the name, and says EHLO again inside TLS.
        """
        where = ("--host=127.0.0.1", f"--port={self.port}", f"--tls-host-override={NAME}")
        tls = ("--tls=on", "--tls-starttls=on", f"--tls-trust-file={self.anchors}")
        command = ["msmtp", "--file=/dev/null", *where, *tls, f"--from={SENDER}", RECIPIENT]
        run(command, str(letter("through msmtp"))).expect()
        self.postfix.received("through msmtp")
        record("smtp", "server", "msmtp", "mail sent")

    def test_smtplib(self) -> None:
        """
        Python's own client verifies the address, and sees no second STARTTLS.
        """
        with smtplib.SMTP("127.0.0.1", self.port, timeout=20) as client:
            client.starttls(context=verified(self.anchors))
            client.ehlo()
            self.assertFalse(client.has_extn("starttls"))
            client.send_message(letter("through smtplib"))
        self.postfix.received("through smtplib")
        record("smtp", "server", "smtplib", "mail sent")

    def test_mailBeforeTLSIsRefused(self) -> None:
        """
        The client is told how to go on.
        """
        with smtplib.SMTP("127.0.0.1", self.port, timeout=20) as client:
            client.ehlo()
            self.assertTrue(client.has_extn("starttls"))
            self.assertEqual(client.mail(SENDER)[0], 530)
