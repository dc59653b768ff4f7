"""
nntp with INN's reader daemon, in both modes.
"""

from __future__ import annotations

from typing import ClassVar

from tests.interop.dialogue import Dialogue
from tests.interop.harness import (
    InteropTestCase,
    Stage,
    gnutls,
    openssl,
    record,
    until,
    verified,
)
from tests.interop.servers.inn import GROUP, INND, NNRPD, SUBJECT

NAME = "news.test.example"
TALK = f"GROUP {GROUP}\r\nQUIT\r\n"


class ClientModeTests(InteropTestCase):
    """
    A client that knows no TLS, and a server that shows no group without.
    """

    inn: ClassVar[NNRPD]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.inn = stage.start(NNRPD(stage.directory("inn"), stage.authority.issue(NAME)))

    def setUp(self) -> None:
        super().setUp()
        self.remote = f"127.0.0.1:{self.inn.port}"

    def test_groupsAreListedAndAnArticleIsRead(self) -> None:
        """
        The greeting is the tunnel's, the capabilities are those inside of TLS.
        """
        tunnel = self.clientMode(self.remote, NAME, "nntp")
        with Dialogue("127.0.0.1", tunnel.port) as client:
            self.assertEqual(client.line(), f"200 {NAME} ready")
            self.assertNotIn("STARTTLS", client.ask("CAPABILITIES", "."))
            self.assertIn(f"{GROUP} 0000000001 0000000001 y", client.ask("LIST", "."))
            client.ask(f"GROUP {GROUP}", "211 ")
            client.send("ARTICLE 1")
            self.assertTrue(client.line().startswith("220 1 "))
            # The article has one dot there; the other is the protocol's.
            lines = client.expect("..A line")
            self.assertIn(f"Subject: {SUBJECT}", lines)
            client.expect(".")
            client.ask("QUIT", "205 ")
        record("nntp", "client", self.inn, "groups listed, article read")

    def test_aServerThatIsSomebodyElseIsNotRead(self) -> None:
        """
        The client is not greeted with success, and the log names both.
        """
        tunnel = self.clientMode(self.remote, "other.test.example", "nntp")
        with Dialogue("127.0.0.1", tunnel.port) as client, self.assertRaises(EOFError):
            client.expect("200 ")
        until(lambda: "other.test.example" in tunnel.log and NAME in tunnel.log, "the reason")


def post(client: Dialogue, subject: str) -> None:
    """
    Post an article and read it back.
    """
    client.ask("POST", "340 ")
    for line in ("From: writer@test.example", f"Newsgroups: {GROUP}", f"Subject: {subject}"):
        client.send(line)
    for line in ("", "Words.", "."):
        client.send(line)
    client.expect("240 ")
    number = client.ask(f"GROUP {GROUP}", "211 ")[-1].split()[3]
    client.ask(f"ARTICLE {number}", "220 ")
    if f"Subject: {subject}" not in client.expect("."):
        raise AssertionError(f"article {number} is another one: {client.said}")


class TransitTests(InteropTestCase):
    """
    A server that knows of STARTTLS only once a client has said MODE READER.
    """

    inn: ClassVar[INND]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.inn = stage.start(INND(stage.directory("inn"), stage.authority.issue(NAME)))

    def setUp(self) -> None:
        super().setUp()
        self.remote = f"127.0.0.1:{self.inn.port}"

    def test_anArticleIsPostedAndRead(self) -> None:
        """
        The option of the dialect makes the tunnel a reader first.
        """
        option = ("--dialect-option", "mode-reader")
        tunnel = self.clientMode(self.remote, NAME, "nntp", *option)
        with Dialogue("127.0.0.1", tunnel.port) as client:
            client.expect("200 ")
            post(client, "through client mode")
            client.ask("QUIT", "205 ")
        record("nntp", "client", self.inn, "article posted and read")

    def test_withoutTheOptionTheLogSaysHowToGoOn(self) -> None:
        """
        innd refuses; the log names the option.
        """
        tunnel = self.clientMode(self.remote, NAME, "nntp")
        with Dialogue("127.0.0.1", tunnel.port) as client, self.assertRaises(EOFError):
            client.expect("200 ")
        until(lambda: "mode-reader" in tunnel.log, "the hint")


class ServerModeTests(InteropTestCase):
    """
    A server without a certificate, and clients that insist on TLS.
    """

    inn: ClassVar[NNRPD]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME)
        cls.inn = stage.start(NNRPD(stage.directory("inn")))

    def setUp(self) -> None:
        super().setUp()
        self.anchors = self.stage.authority.anchors
        self.port = self.serverMode(f"127.0.0.1:{self.inn.port}", NAME, "nntp").port

    def test_openssl(self) -> None:
        """
        C{s_client} verifies chain and name, and talks to INN.
        """
        openssl(self.port, NAME, self.anchors, say=TALK, starttls="nntp").expect(
            "Verification: OK", f"Verified peername: {NAME}", "211 1 1 1", "205 "
        )
        record("nntp", "server", "openssl", "group selected")

    def test_gnutls(self) -> None:
        """
        C{gnutls-cli} verifies chain and name, and talks to INN.
        """
        gnutls(self.port, NAME, self.anchors, say=TALK, starttls="nntp").expect(
            "certificate is trusted", "211 1 1 1", "205 "
        )
        record("nntp", "server", "gnutls-cli", "group selected")

    def test_theServersOwnSTARTTLSIsHidden(self) -> None:
        """
        INN offers it even where it has no certificate; inside TLS nobody gets to see that.
        """
        with Dialogue("127.0.0.1", self.port) as client:
            self.assertEqual(client.line(), f"200 {NAME} ready")
            self.assertIn("STARTTLS", client.ask("CAPABILITIES", "."))
            client.ask(f"GROUP {GROUP}", "483 ")
            client.ask("STARTTLS", "382 ")
            client.startTLS(verified(self.anchors), NAME)
            capabilities = client.ask("CAPABILITIES", ".")
            self.assertIn("READER", capabilities)
            self.assertNotIn("STARTTLS", capabilities)
            client.ask(f"GROUP {GROUP}", "211 ")
        with Dialogue("127.0.0.1", self.inn.port) as client:
            client.line()
            self.assertIn("STARTTLS", client.ask("CAPABILITIES", "."))
        record("nntp", "server", "ssl", "article list, capabilities hidden")

    def test_anArticleIsPostedAndRead(self) -> None:
        """
        Behind the transit daemon, whose readers ask for it inside of TLS.
        """
        innd = INND(self.stage.directory("innd"))
        innd.start()
        self.addCleanup(innd.stop)
        port = self.serverMode(f"127.0.0.1:{innd.port}", NAME, "nntp").port
        with Dialogue("127.0.0.1", port) as client:
            client.expect("200 ")
            client.ask("MODE READER", "483 ")
            client.ask("STARTTLS", "382 ")
            client.startTLS(verified(self.anchors), NAME)
            client.ask("MODE READER", "200 ")
            post(client, "through server mode")
            client.ask("QUIT", "205 ")
        record("nntp", "server", "ssl", "article posted and read")
