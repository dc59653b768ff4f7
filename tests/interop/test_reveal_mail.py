"""
Dovecot knows where clients are that log in with their own passwords: imap, pop3 and sieve; and
nobody can tell it something else.
"""

from __future__ import annotations

import imaplib
import poplib
from base64 import b64encode
from typing import ClassVar

from tests.interop.dialogue import Dialogue
from tests.interop.harness import InteropTestCase, Stage, TunnelProcess, record, until, verified
from tests.interop.servers.dovecot import PASSWORD, PASSWORDS_TRUSTED, USER, Dovecot

NAME = "mail.test.example"
FORGED = "203.0.113.9"
PLAIN = b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()


class OriginTests(InteropTestCase):
    """
    The tunnel is in C{login_trusted_networks}.
    """

    dovecot: ClassVar[Dovecot]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME, "127.0.0.1")
        directory = stage.directory("dovecot")
        cls.dovecot = stage.start(Dovecot(directory, authentication=PASSWORDS_TRUSTED))
        cls.dovecot.deliver("for all clients")

    def setUp(self) -> None:
        super().setUp()
        self.context = verified(self.stage.authority.anchors)

    def reveal(self, service: str, dialect: str | None) -> TunnelProcess:
        """
        A tunnel that tells where clients are.
        """
        address = self.dovecot.address(service)
        return self.serverMode(address, NAME, dialect, "--reveal", service)

    def isLogged(self, service: str, port: int) -> None:
        """
        Wait until Dovecot has logged a login from the client's own port, and nothing was forged.
        """
        words = (f"{service}-login: ", f"user=<{USER}>", f"rip=127.0.0.1:{port}", "real=127.0.0.1")
        until(
            lambda: any(
                all(word in line for word in words) for line in self.dovecot.log.splitlines()
            ),
            f"{words} in Dovecot's log",
        )
        self.assertNotIn(FORGED, self.dovecot.log)

    def test_imap(self) -> None:
        """
        With literals in both directions, behind the login.
        """
        for dialect in ("imap", None):
            port = self.reveal("imap", dialect).port
            client: imaplib.IMAP4
            if dialect is None:
                client = imaplib.IMAP4_SSL("127.0.0.1", port, ssl_context=self.context, timeout=20)
            else:
                client = imaplib.IMAP4("127.0.0.1", port, timeout=20)
                client.xatom("ID", f'("x-originating-ip" "{FORGED}")')
                client.starttls(self.context)
            with client:
                client.xatom("ID", f'("name" "x" "X-Originating-IP" "{FORGED}")')
                client.login(USER, PASSWORD)
                mail = b"Subject: a literal\r\n\r\n" + b"ID of text.\r\n" * 20_000
                self.assertEqual(client.append("INBOX", "", "", mail)[0], "OK")
                client.select()
                fetched = client.fetch("2", "(BODY[])")[1][0]
                assert isinstance(fetched, tuple)
                self.assertEqual(fetched[1], mail)
                client.store("2", "+FLAGS", "\\Deleted")
                client.expunge()
                self.isLogged("imap", client.socket().getsockname()[1])
        record("imap", "server", self.dovecot, "told where the client is, by ID")

    def test_pop3(self) -> None:
        """
        XCLIENT from a client is refused.
        """
        for dialect in ("pop3", None):
            port = self.reveal("pop3", dialect).port
            client: poplib.POP3
            if dialect is None:
                client = poplib.POP3_SSL("127.0.0.1", port, context=self.context, timeout=20)
            else:
                client = poplib.POP3("127.0.0.1", port, timeout=20)
                client.stls(self.context)
            for forged in (f"XCLIENT ADDR={FORGED}", f"xoip {FORGED}"):
                with self.assertRaises(poplib.error_proto):
                    client._shortcmd(forged)  # type: ignore[attr-defined]
            client.user(USER)
            client.pass_(PASSWORD)
            self.assertGreaterEqual(client.stat()[0], 1)
            self.isLogged("pop3", client.sock.getsockname()[1])
            client.quit()
        record("pop3", "server", self.dovecot, "told where the client is, by XCLIENT")

    def test_sieve(self) -> None:
        """
        XCLIENT from a client is refused, and not offered.
        """
        for dialect in ("sieve", None):
            with Dialogue("127.0.0.1", self.reveal("sieve", dialect).port) as client:
                if dialect is not None:
                    client.expect("OK")
                    client.ask("STARTTLS", "OK")
                client.startTLS(self.context, NAME)
                self.assertNotIn('"XCLIENT"', client.expect("OK"))
                client.ask(f"XCLIENT ADDR={FORGED}", "NO")
                client.ask('AUTHENTICATE "PLAIN"', '""')
                client.ask(f'"{PLAIN}"', "OK")
                script = 'require "fileinto";\r\n'
                client.ask(f'PUTSCRIPT "mine" {{{len(script)}+}}\r\n{script}', "OK")
                self.isLogged("managesieve", client.port)
                client.ask("LOGOUT", "OK")
        record("sieve", "server", self.dovecot, "told where the client is, by XCLIENT")


class MistrustTests(InteropTestCase):
    """
    Dovecot does not trust the tunnel.
    """

    def test_itIsNotPassedOver(self) -> None:
        """
        pop3 and sieve say so, and nobody is served under another address; imap is silent.
        """
        self.stage.authority.issue(NAME, "127.0.0.1")
        dovecot = self.stage.start(Dovecot(self.stage.directory("dovecot")))
        context = verified(self.stage.authority.anchors)
        for service in ("pop3", "sieve"):
            tunnel = self.serverMode(dovecot.address(service), NAME, None, "--reveal", service)
            with Dialogue("127.0.0.1", tunnel.port) as client:
                client.startTLS(context, NAME)
                with self.assertRaises(EOFError):
                    client.line()
            self.isExplained(tunnel)

    def isExplained(self, tunnel: TunnelProcess) -> None:
        """
        Wait until the log of the tunnel says why.
        """
        until(lambda: "not from trusted IP" in tunnel.log, "the reason")
