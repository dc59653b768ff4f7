"""
pop3 with Dovecot, in both modes.
"""

from __future__ import annotations

import poplib
from typing import ClassVar

from tests.interop.dialogue import Dialogue
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
from tests.interop.servers.dovecot import PASSWORD, USER, Dovecot

NAME = "mail.test.example"
TALK = f"USER {USER}\r\nPASS {PASSWORD}\r\nSTAT\r\nQUIT\r\n"


class ClientModeTests(InteropTestCase):
    """
    Clients that know no TLS, and a server where nobody logs in without.
    """

    dovecot: ClassVar[Dovecot]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.dovecot = stage.start(Dovecot(stage.directory("dovecot"), stage.authority.issue(NAME)))
        cls.dovecot.deliver("for all clients", ".\r\n..\r\nA line.\r\n")

    def setUp(self) -> None:
        super().setUp()
        self.remote = self.dovecot.address("pop3")

    def test_aMailIsFetched(self) -> None:
        """
        By poplib, with lines that are dots.
        """
        tunnel = self.clientMode(self.remote, NAME, "pop3")
        client = poplib.POP3("127.0.0.1", tunnel.port, timeout=20)
        self.addCleanup(client.close)
        self.assertEqual(client.getwelcome(), f"+OK {NAME} ready".encode())
        self.assertNotIn("STLS", client.capa())
        client.user(USER)
        client.pass_(PASSWORD)
        self.assertEqual(client.retr(1)[1][-3:], [b".", b"..", b"A line."])
        client.quit()
        record("pop3", "client", self.dovecot, "mail fetched by poplib")

    def test_aMailIsFetchedByCurl(self) -> None:
        """
        By curl, which is not told of TLS.
        """
        tunnel = self.clientMode(self.remote, NAME, "pop3")
        url = f"pop3://127.0.0.1:{tunnel.port}/1"
        run(["curl", "-sS", "--user", f"{USER}:{PASSWORD}", url]).expect("for all clients")
        record("pop3", "client", self.dovecot, "mail fetched by curl")

    def test_aServerThatIsSomebodyElseGetsNoPassword(self) -> None:
        """
        The client is not greeted with success, and the log names both.
        """
        tunnel = self.clientMode(self.remote, "other.test.example", "pop3")
        with Dialogue("127.0.0.1", tunnel.port) as client, self.assertRaises(EOFError):
            client.expect("+OK")
        until(lambda: "other.test.example" in tunnel.log and NAME in tunnel.log, "the reason")


class ServerModeTests(InteropTestCase):
    """
    A server that knows no TLS, and clients that insist on it.
    """

    dovecot: ClassVar[Dovecot]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME, "127.0.0.1")
        cls.dovecot = stage.start(Dovecot(stage.directory("dovecot")))
        cls.dovecot.deliver("for all clients")

    def setUp(self) -> None:
        super().setUp()
        self.anchors = self.stage.authority.anchors
        self.port = self.serverMode(self.dovecot.address("pop3"), NAME, "pop3").port

    def test_openssl(self) -> None:
        """
        C{s_client} verifies chain and name, and talks to Dovecot.
        """
        openssl(self.port, NAME, self.anchors, say=TALK, starttls="pop3").expect(
            "Verification: OK", f"Verified peername: {NAME}", "+OK 1 "
        )
        record("pop3", "server", "openssl", "login to Dovecot")

    def test_gnutls(self) -> None:
        """
        C{gnutls-cli} verifies chain and name, and talks to Dovecot.
        """
        gnutls(self.port, NAME, self.anchors, say=TALK, starttls="pop3").expect(
            "certificate is trusted", "+OK 1 "
        )
        record("pop3", "server", "gnutls-cli", "login to Dovecot")

    def test_curl(self) -> None:
        """
        curl fetches a mail over STLS or not at all.
        """
        login = ("--user", f"{USER}:{PASSWORD}")
        curl("pop3", self.port, NAME, self.anchors, *login, path="/1").expect("for all clients")
        record("pop3", "server", "curl", "mail fetched")

    def test_mpop(self) -> None:
        """
        mpop verifies the name, and sees no second STLS.
        """
        directory = self.stage.directory("mpop")
        directory.mkdir()
        where = ("--host=127.0.0.1", f"--port={self.port}", f"--tls-host-override={NAME}")
        tls = ("--tls=on", "--tls-starttls=on", f"--tls-trust-file={self.anchors}")
        login = (f"--user={USER}", f"--passwordeval=echo '{PASSWORD}'", "--keep=on")
        files = (f"--uidls-file={directory}/uidls", f"--delivery=mbox,{directory}/mbox")
        run(["mpop", "--file=/dev/null", *where, *tls, *login, *files]).expect()
        self.assertIn("for all clients", (directory / "mbox").read_text())
        record("pop3", "server", "mpop", "mail fetched")

    def test_poplib(self) -> None:
        """
        Python's own client verifies the address, and sees no second STLS.
        """
        client = poplib.POP3("127.0.0.1", self.port, timeout=20)
        self.addCleanup(client.close)
        self.assertIn("STLS", client.capa())
        client.stls(verified(self.anchors))
        self.assertNotIn("STLS", client.capa())
        client.user(USER)
        client.pass_(PASSWORD)
        self.assertEqual(client.stat()[0], 1)
        client.quit()
        record("pop3", "server", "poplib", "mailbox listed")

    def test_aLoginBeforeTLSIsRefused(self) -> None:
        """
        The password is not forwarded.
        """
        client = poplib.POP3("127.0.0.1", self.port, timeout=20)
        self.addCleanup(client.close)
        with self.assertRaises(poplib.error_proto) as caught:
            client.user(USER)
        self.assertIn("STLS first", str(caught.exception))
