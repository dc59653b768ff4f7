"""
What Dovecot does for clients that have a certificate and know passwords, which are not looked at:
imap, pop3 and sieve.
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
from tests.interop.servers.dovecot import (
    USER,
    Dovecot,
)

NAME = "mail.test.example"
WHO = f"{USER}@test.example"
OTHER = "other@test.example"
SCRIPT = 'require "fileinto";\r\nfileinto "Lists";'


def plain(name: str) -> str:
    """
    The message of PLAIN of a client that has a password.
    """
    return b64encode(f"\0{name}\0whatever".encode()).decode()


class LoginTests(InteropTestCase):
    """
    @cvar authentication: how Dovecot lets users in.
    """

    authentication: ClassVar[str]
    dovecot: ClassVar[Dovecot]
    user: ClassVar[ServerCertificate]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME, "127.0.0.1")
        cls.user = stage.authority.issue(WHO)
        directory = stage.directory("dovecot")
        cls.dovecot = stage.start(Dovecot(directory, authentication=cls.authentication))
        cls.dovecot.deliver("for the holder of a certificate")

    def reveal(self, service: str, dialect: str | None, *words: str) -> TunnelProcess:
        """
        A tunnel for users of this domain.
        """
        options = [each for word in words for each in ("--reveal", word)]
        path = self.options()
        return self.serverMode(
            self.dovecot.address(service), NAME, dialect, "-R", "@test.example", *options, *path
        )

    def options(self) -> tuple[str, ...]:
        """
        More options of the tunnel.
        """
        return ()

    def context(self) -> ssl.SSLContext:
        """
        The client's TLS.
        """
        context = verified(self.stage.authority.anchors)
        context.load_cert_chain(self.user.chain, self.user.key)
        return context

    def dovecotSays(self, *words: str) -> None:
        """
        Wait until one line of its log has all of them.
        """
        until(
            lambda: any(
                all(word in line for word in words) for line in self.dovecot.log.splitlines()
            ),
            f"{words} in Dovecot's log",
        )

    def test_imaplibLogsIn(self) -> None:
        """
        By STARTTLS, with LOGIN; Dovecot logs where the client is.
        """
        tunnel = self.reveal("imap", "imap", "imap", "login")
        with imaplib.IMAP4("127.0.0.1", tunnel.port, timeout=20) as client:
            client.starttls(self.context())
            self.assertIn("AUTH=PLAIN", client.capabilities)
            client.login(WHO, "not a password")
            port = client.socket().getsockname()[1]
            self.assertEqual(client.select()[1], [b"1"])
            mail = b"Subject: a literal\r\n\r\nText.\r\n" * 500
            self.assertEqual(client.append("Other", "", "", mail)[0], "NO")
            self.assertEqual(client.append("INBOX.x", "", "", mail)[0], "NO")
        self.dovecotSays(f"user=<{WHO}>", f"rip=127.0.0.1:{port}", "real=127.0.0.1")
        record("imap", "server", "imaplib", "login to Dovecot by certificate")

    def test_imaplibLogsInBehindImplicitTLS(self) -> None:
        """
        The word of the protocol says which it is.
        """
        tunnel = self.reveal("imap", None, "imap", "login")
        context = self.context()
        with imaplib.IMAP4_SSL("127.0.0.1", tunnel.port, ssl_context=context, timeout=20) as client:
            client.authenticate("PLAIN", lambda _: f"\0{USER}\0x".encode())
            self.assertEqual(client.select()[1], [b"1"])

    def test_nobodyLogsInAsSomebodyElse(self) -> None:
        """
        The certificate says who it is.
        """
        tunnel = self.reveal("imap", None, "login", "imap")
        context = self.context()
        with imaplib.IMAP4_SSL("127.0.0.1", tunnel.port, ssl_context=context, timeout=20) as client:
            with self.assertRaises(imaplib.IMAP4.error) as caught:
                client.login(OTHER, "x")
            self.assertIn("AUTHORIZATIONFAILED", str(caught.exception))
            client.login('""', "x")
            self.assertEqual(client.select()[1], [b"1"])
        self.assertNotIn(OTHER, self.dovecot.log)

    def test_poplibLogsIn(self) -> None:
        """
        By STLS, with USER and PASS.
        """
        tunnel = self.reveal("pop3", "pop3", "pop3", "login")
        client = poplib.POP3("127.0.0.1", tunnel.port, timeout=20)
        client.stls(self.context())
        port = client.sock.getsockname()[1]
        client.user(USER)
        client.pass_("whatever")
        self.assertEqual(client.stat()[0], 1)
        client.quit()
        self.dovecotSays("pop3-login", f"user=<{WHO}>", f"rip=127.0.0.1:{port}")
        record("pop3", "server", "poplib", "login to Dovecot by certificate")

    def test_poplibLogsInBehindImplicitTLS(self) -> None:
        """
        The greeting is ours, within TLS.
        """
        tunnel = self.reveal("pop3", None, "login", "pop3")
        client = poplib.POP3_SSL("127.0.0.1", tunnel.port, context=self.context(), timeout=20)
        client.user(WHO)
        client.pass_("whatever")
        self.assertEqual(client.stat()[0], 1)
        client.quit()

    def test_aScriptIsStored(self) -> None:
        """
        With STARTTLS and from the first byte; what the backend can do is offered before the login.
        """
        for dialect in ("sieve", None):
            tunnel = self.reveal("sieve", dialect, "sieve", "login")
            with Dialogue("127.0.0.1", tunnel.port) as client:
                if dialect is not None:
                    client.expect("OK")
                    client.ask("STARTTLS", "OK")
                client.startTLS(self.context(), NAME)
                greeting = client.expect("OK")
                self.assertIn('"SASL" "EXTERNAL PLAIN"', greeting)
                self.assertNotIn('"XCLIENT"', greeting)
                self.assertTrue(any("fileinto" in line for line in greeting), greeting)
                client.ask(f'AUTHENTICATE "PLAIN" "{plain(OTHER)}"', "NO")
                client.ask(f'AUTHENTICATE "PLAIN" "{plain(WHO)}"', "OK")
                client.ask(f'PUTSCRIPT "mine" {{{len(SCRIPT)}+}}\r\n{SCRIPT}', "OK")
                self.assertIn('"mine"', client.ask("LISTSCRIPTS", "OK"))
                client.ask("LOGOUT", "OK")
        self.dovecotSays("managesieve-login", f"user=<{WHO}>", "rip=127.0.0.1")
        record("sieve", "server", "ssl", "login to Dovecot by certificate")
