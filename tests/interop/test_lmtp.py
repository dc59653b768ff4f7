"""
lmtp with Dovecot, in both modes, over ports and UNIX sockets.
"""

from __future__ import annotations

import smtplib
from typing import ClassVar

from tests.interop.harness import (
    InteropTestCase,
    Stage,
    gnutls,
    openssl,
    record,
    run,
    until,
)
from tests.interop.servers.dovecot import USER, Dovecot

NAME = "mail.test.example"
SENDER = "writer@sender.test"
RECIPIENT = f"{USER}@test.example"
MAIL = "Subject: {}\r\n\r\nWords.\r\n"
TALK = "LHLO client.test\r\nQUIT\r\n"


class ClientModeTests(InteropTestCase):
    """
    A client that knows no TLS.
    """

    dovecot: ClassVar[Dovecot]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.dovecot = stage.start(Dovecot(stage.directory("dovecot"), stage.authority.issue(NAME)))

    def test_aMailIsDelivered(self) -> None:
        """
        By smtplib; the server is greeted as itself.
        """
        tunnel = self.clientMode(self.dovecot.address("lmtp"), NAME, "lmtp")
        with smtplib.LMTP("127.0.0.1", tunnel.port) as client:
            client.sendmail(SENDER, RECIPIENT, MAIL.format("over ports"))
        self.dovecot.delivered("over ports")
        record("lmtp", "client", self.dovecot, "mail delivered by smtplib")

    def test_aMailIsDeliveredOverUNIXSockets(self) -> None:
        """
        The usual legs of lmtp, before and behind the tunnel.
        """
        listening = self.stage.directory("lmtp")
        remote = str(self.dovecot.lmtpSocket)
        self.clientMode(remote, NAME, "lmtp", socket=listening)
        with smtplib.LMTP(str(listening)) as client:
            client.sendmail(SENDER, RECIPIENT, MAIL.format("over sockets"))
        self.dovecot.delivered("over sockets")
        record("lmtp", "client", self.dovecot, "mail delivered over UNIX sockets")

    def test_aServerThatIsSomebodyElseGetsNoMail(self) -> None:
        """
        The client is not greeted with success, and the log names both.
        """
        tunnel = self.clientMode(self.dovecot.address("lmtp"), "other.test.example", "lmtp")
        with self.assertRaises((smtplib.SMTPServerDisconnected, smtplib.SMTPConnectError)):
            smtplib.LMTP("127.0.0.1", tunnel.port)
        until(lambda: "other.test.example" in tunnel.log and NAME in tunnel.log, "the reason")


class ServerModeTests(InteropTestCase):
    """
    A server that knows no TLS, on a UNIX socket, and clients that insist on it.
    """

    dovecot: ClassVar[Dovecot]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME)
        cls.dovecot = stage.start(Dovecot(stage.directory("dovecot")))

    def setUp(self) -> None:
        super().setUp()
        self.anchors = self.stage.authority.anchors
        self.port = self.serverMode(str(self.dovecot.lmtpSocket), NAME, "lmtp").port

    def test_openssl(self) -> None:
        """
        C{s_client} verifies chain and name, and talks to Dovecot.
        """
        openssl(self.port, NAME, self.anchors, say=TALK, starttls="lmtp").expect(
            "Verification: OK", f"Verified peername: {NAME}", "250-ENHANCEDSTATUSCODES", "221 "
        )
        record("lmtp", "server", "openssl", "session with Dovecot")

    def test_gnutls(self) -> None:
        """
        C{gnutls-cli} verifies chain and name, and talks to Dovecot.
        """
        gnutls(self.port, NAME, self.anchors, say=TALK, starttls="lmtp").expect(
            "certificate is trusted", "250-ENHANCEDSTATUSCODES", "221 "
        )
        record("lmtp", "server", "gnutls-cli", "session with Dovecot")

    def test_swaks(self) -> None:
        """
        swaks delivers a mail over STARTTLS or not at all.
        """
        run(
            [
                *("swaks", "--protocol", "LMTP", "--server", "127.0.0.1", "--port"),
                *(str(self.port), "--tls", "--tls-verify", "--tls-ca-path", str(self.anchors)),
                *("--tls-sni", NAME, "--from", SENDER, "--to", RECIPIENT),
                *("--header", "Subject: through swaks"),
            ]
        ).expect("TLS started with cipher", "Saved")
        self.dovecot.delivered("through swaks")
        record("lmtp", "server", "swaks", "mail delivered")
