"""
A client certificate is the login, with Cyrus IMAP: the tunnel is one of its C{proxyservers}.
"""

from __future__ import annotations

import imaplib
import poplib
import ssl
from base64 import b64encode
from typing import ClassVar

from tests.interop.dialogue import Dialogue
from tests.interop.harness import (
    InteropTestCase,
    ServerCertificate,
    Stage,
    TunnelProcess,
    record,
    until,
    verified,
)
from tests.interop.servers.cyrus import TUNNEL, TUNNEL_PASSWORD, Cyrus

NAME = "mail.test.example"
WHO, OTHER = "reader@test.example", "other@test.example"
SCRIPT = 'require "fileinto";\r\nfileinto "Lists";'


class CyrusTests(InteropTestCase):
    """
    Nobody but the tunnel has a password.
    """

    cyrus: ClassVar[Cyrus]
    user: ClassVar[ServerCertificate]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME, "127.0.0.1")
        cls.user = stage.authority.issue(WHO)
        cls.cyrus = stage.start(Cyrus(stage.directory("cyrus")))

    def setUp(self) -> None:
        super().setUp()
        self.context: ssl.SSLContext = verified(self.stage.authority.anchors)
        self.context.load_cert_chain(self.user.chain, self.user.key)

    def reveal(
        self, service: str, password: str = TUNNEL_PASSWORD, isImplicit: bool = False
    ) -> TunnelProcess:
        """
        A tunnel for users of this domain.
        """
        path = self.stage.directory("secret")
        path.write_text(f"{TUNNEL}:{password}\n")
        path.chmod(0o600)
        options = ("-R", "@test.example", "--reveal", "login", "--login-auth-file", str(path))
        address = self.cyrus.address(service)
        if isImplicit:
            return self.serverMode(address, NAME, None, "--reveal", service, *options)
        return self.serverMode(address, NAME, service, *options)

    def test_imap(self) -> None:
        """
        The mailbox is that of the certificate.
        """
        with imaplib.IMAP4("127.0.0.1", self.reveal("imap").port, timeout=20) as client:
            client.starttls(self.context)
            with self.assertRaises(imaplib.IMAP4.error):
                client.login(OTHER, "x")
            client.login(WHO, "not a password")
            mail = b"Subject: a literal\r\n\r\n" + b"Text.\r\n" * 5000
            self.assertEqual(client.append("INBOX", "", "", mail)[0], "OK")
            self.assertEqual(client.select()[1], [b"1"])
            self.assertIn(
                WHO.encode(), client.myrights("INBOX")[1][0] + client.getacl("INBOX")[1][0]
            )
        record("imap", "server", self.cyrus, "login by certificate")

    def test_pop3(self) -> None:
        """
        Cyrus takes AUTH PLAIN there too.
        """
        client = poplib.POP3("127.0.0.1", self.reveal("pop3").port, timeout=20)
        client.stls(self.context)
        client.user("reader")
        client.pass_("whatever")
        self.assertGreaterEqual(client.stat()[0], 0)
        client.quit()
        record("pop3", "server", self.cyrus, "login by certificate")

    def test_behindImplicitTLSTheWordIsTheProtocol(self) -> None:
        """
        Cyrus knows no XCLIENT, and is not asked for it.
        """
        port = self.reveal("imap", isImplicit=True).port
        with imaplib.IMAP4_SSL("127.0.0.1", port, ssl_context=self.context, timeout=20) as imap:
            imap.login(WHO, "x")
            self.assertEqual(imap.select()[0], "OK")
        port = self.reveal("pop3", isImplicit=True).port
        pop3 = poplib.POP3_SSL("127.0.0.1", port, context=self.context, timeout=20)
        pop3.user(WHO)
        pop3.pass_("x")
        pop3.quit()
        with Dialogue("127.0.0.1", self.reveal("sieve", isImplicit=True).port) as sieve:
            sieve.startTLS(self.context, NAME)
            sieve.expect("OK")
            sieve.ask('AUTHENTICATE "EXTERNAL" ""', "OK")
            sieve.ask("LISTSCRIPTS", "OK")

    def test_sieve(self) -> None:
        """
        What Cyrus offers is offered, but for another login.
        """
        plain = b64encode(b"\0reader\0x").decode()
        with Dialogue("127.0.0.1", self.reveal("sieve").port) as client:
            client.expect("OK")
            client.ask("STARTTLS", "OK")
            client.startTLS(self.context, NAME)
            self.assertNotIn('"UNAUTHENTICATE"', client.expect("OK"))
            client.ask(f'AUTHENTICATE "PLAIN" "{plain}"', "OK")
            client.ask(f'PUTSCRIPT "mine" {{{len(SCRIPT)}+}}\r\n{SCRIPT}', "OK")
            self.assertIn('"mine"', client.ask("LISTSCRIPTS", "OK"))
            client.ask("LOGOUT", "OK")
        record("sieve", "server", self.cyrus, "login by certificate")

    def test_aTunnelThatIsNotBelievedSaysSo(self) -> None:
        """
        The client hears Cyrus, and the log has its words.
        """
        tunnel = self.reveal("imap", "wrong")
        client = imaplib.IMAP4("127.0.0.1", tunnel.port, timeout=20)
        self.addCleanup(client.shutdown)
        client.starttls(self.context)
        with self.assertRaises(imaplib.IMAP4.error) as caught:
            client.login(WHO, "x")
        self.assertIn("authentication failure", str(caught.exception))
        until(lambda: f"no login for '{WHO}'" in tunnel.log, "the reason")
        self.assertSays("let the backend believe this host", tunnel)
        self.assertNotIn("wrong", tunnel.log)
