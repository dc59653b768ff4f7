"""
sieve with Dovecot's Pigeonhole, in both modes.
"""

from __future__ import annotations

from base64 import b64encode
from typing import ClassVar

from tests.interop.dialogue import Dialogue
from tests.interop.harness import (
    InteropTestCase,
    Stage,
    gnutls,
    openssl,
    record,
    run,
    until,
    verified,
)
from tests.interop.servers.dovecot import PASSWORD, USER, Dovecot

NAME = "mail.test.example"
PLAIN = b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
LOGIN = f'AUTHENTICATE "PLAIN" "{PLAIN}"'
SCRIPT = 'require "fileinto";\r\nfileinto "Lists";'
TALK = f"{LOGIN}\r\nLISTSCRIPTS\r\nLOGOUT\r\n"


class ClientModeTests(InteropTestCase):
    """
    A client that knows no TLS, and a server where nobody logs in without.
    """

    dovecot: ClassVar[Dovecot]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.dovecot = stage.start(Dovecot(stage.directory("dovecot"), stage.authority.issue(NAME)))

    def test_aScriptIsStoredAndListed(self) -> None:
        """
        The greeting is the one that the server gives inside of TLS.
        """
        tunnel = self.clientMode(self.dovecot.address("sieve"), NAME, "sieve")
        with Dialogue("127.0.0.1", tunnel.port) as client:
            greeting = client.expect("OK")
            self.assertNotIn('"STARTTLS"', greeting)
            self.assertIn('"SASL" "PLAIN LOGIN"', greeting)
            client.ask(LOGIN, "OK")
            client.ask(f'PUTSCRIPT "mine" {{{len(SCRIPT)}+}}\r\n{SCRIPT}', "OK")
            self.assertIn('"mine"', client.ask("LISTSCRIPTS", "OK"))
            self.assertIn('fileinto "Lists";', client.ask('GETSCRIPT "mine"', "OK"))
            client.ask("LOGOUT", "OK")
        record("sieve", "client", self.dovecot, "script stored and listed")

    def test_aServerThatIsSomebodyElseGetsNoPassword(self) -> None:
        """
        The client is not greeted with success, and the log names both.
        """
        remote = self.dovecot.address("sieve")
        tunnel = self.clientMode(remote, "other.test.example", "sieve")
        with Dialogue("127.0.0.1", tunnel.port) as client, self.assertRaises(EOFError):
            client.expect("OK")
        until(lambda: "other.test.example" in tunnel.log and NAME in tunnel.log, "the reason")


class ServerModeTests(InteropTestCase):
    """
    A server that knows no TLS, and clients that insist on it.
    """

    dovecot: ClassVar[Dovecot]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME, "localhost")
        cls.dovecot = stage.start(Dovecot(stage.directory("dovecot")))

    def setUp(self) -> None:
        super().setUp()
        self.anchors = self.stage.authority.anchors
        self.port = self.serverMode(self.dovecot.address("sieve"), NAME, "sieve").port

    def test_openssl(self) -> None:
        """
        C{s_client} verifies chain and name, and talks to Dovecot.
        """
        openssl(self.port, NAME, self.anchors, say=TALK, starttls="sieve").expect(
            "Verification: OK", f"Verified peername: {NAME}", '"SASL" "PLAIN LOGIN"', "Logged in"
        )
        record("sieve", "server", "openssl", "login to Dovecot")

    def test_gnutls(self) -> None:
        """
        C{gnutls-cli} verifies chain and name, and talks to Dovecot.
        """
        gnutls(self.port, NAME, self.anchors, say=TALK, starttls="sieve").expect(
            "certificate is trusted", '"SASL" "PLAIN LOGIN"', "Logged in"
        )
        record("sieve", "server", "gnutls-cli", "login to Dovecot")

    def test_sieveConnect(self) -> None:
        """
        sieve-connect verifies the name, and lists no scripts, as there are none.
        """
        where = ("--server", "localhost", "--port", str(self.port), "--4")
        login = ("--user", USER, "--passwordfd", "0", "--tlscafile", str(self.anchors))
        run(["sieve-connect", *where, *login, "--list"], f"{PASSWORD}\n").expect()
        record("sieve", "server", "sieve-connect", "login to Dovecot")

    def test_theServerSpeaksFirstAgain(self) -> None:
        """
        What is offered before TLS is the tunnel's word, what is offered inside is Dovecot's.
        """
        with Dialogue("127.0.0.1", self.port) as client:
            before = client.expect("OK")
            self.assertIn('"STARTTLS"', before)
            self.assertIn('"SASL" ""', before)
            client.ask(LOGIN, "NO (ENCRYPT-NEEDED)")
            client.ask("STARTTLS", "OK")
            client.startTLS(verified(self.anchors), NAME)
            self.assertIn('"SASL" "PLAIN LOGIN"', client.expect("OK"))
            client.ask(LOGIN, "OK")
            client.ask("LOGOUT", "OK")
        record("sieve", "server", "ssl", "login to Dovecot")
