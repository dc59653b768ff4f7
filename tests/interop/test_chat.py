"""
Chat scripts: each ready one with the real server of its protocol, those of the documentation, and
a script that plays the server.
"""

from __future__ import annotations

import imaplib
import poplib
import smtplib
import socket
import ssl
import threading
from pathlib import Path
from typing import ClassVar

from tests.interop.dialogue import Dialogue
from tests.interop.harness import (
    InteropTestCase,
    ServerCertificate,
    Stage,
    record,
    run,
    until,
    verified,
)
from tests.interop.servers import dovecot, openldap, postgresql
from tests.interop.servers.dovecot import Dovecot
from tests.interop.servers.inn import GROUP, NNRPD
from tests.interop.servers.openldap import OpenLDAP
from tests.interop.servers.postfix import Postfix
from tests.interop.servers.postgresql import PostgreSQL
from tests.interop.servers.prosody import Prosody
from tests.interop.test_smtp import letter

NAME = "mail.test.example"
XMPP_DOMAIN = "test.example"

#: As the documentation of the TLS Pool has it, character for character.
ORIGINAL = rb""""220 " "EHLO\r\n\c"
"250-STARTTLS" "\c"
"250 " "STARTTLS\r\n\c"
"220 " "\c"
"""

SERVE = rb"""
SWALLOW "220 "
"" "220 \U ESMTP\r\n\c"
"EHLO " "\c"
"\n" "250-\U\r\n250 STARTTLS\r\n\c"
"STARTTLS\r\n" "220 2.0.0 Ready to start TLS\r\n\c"
"""


class LenientServer(threading.Thread):
    """
    An SMTP server that takes any EHLO, for one connection.

    @ivar heard: the lines it was sent.
    @ivar inside: whether TLS came about.
    """

    def __init__(self, certificate: ServerCertificate, go: bytes) -> None:
        """
        @param go: the answer to STARTTLS, one segment.
        """
        super().__init__(daemon=True)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate.chain, certificate.key)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(20)
        self._go = go
        self.port = self._listening.getsockname()[1]
        self.heard: list[bytes] = []
        self.inside = False

    def run(self) -> None:
        """
        Serve up to EHLO inside TLS.
        """
        with self._listening, self._listening.accept()[0] as connection:
            connection.settimeout(20)
            connection.sendall(b"220 lenient.test.example ESMTP\r\n")
            self.heard.append(connection.recv(100))
            connection.sendall(b"250-at your service\r\n250-STARTTLS\r\n250 HELP\r\n")
            self.heard.append(connection.recv(100))
            connection.sendall(self._go)
            try:
                with self._context.wrap_socket(connection, server_side=True) as inside:
                    self.inside = True
                    self.heard.append(inside.recv(100))
                    inside.sendall(b"250 inside\r\n")
                    inside.recv(100)
            except OSError:
                return


class OriginalScriptTests(InteropTestCase):
    """
    The script of the original's documentation, with the server that it was written for.
    """

    certificate: ClassVar[ServerCertificate]
    script: ClassVar[Path]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.certificate = stage.authority.issue(NAME)
        cls.script = stage.base / "original.chat"
        cls.script.write_bytes(ORIGINAL)

    def serve(self, go: bytes) -> LenientServer:
        """
        A server that answers STARTTLS with C{go}.
        """
        server = LenientServer(self.certificate, go)
        server.start()
        self.addCleanup(server.join, 20)
        return server

    def test_itReachesTLS(self) -> None:
        """
        Given as a file, in both ways; the app then speaks inside of TLS.
        """
        for option in ("--chat", str(self.script)), ("--", "-f", str(self.script)):
            server = self.serve(b"220 2.0.0 Ready to start TLS\r\n")
            tunnel = self.clientMode(f"127.0.0.1:{server.port}", NAME, None, *option)
            with Dialogue("127.0.0.1", tunnel.port) as client:
                client.ask("EHLO me.test.example", "250 inside")
            self.assertEqual(
                server.heard, [b"EHLO\r\n", b"STARTTLS\r\n", b"EHLO me.test.example\r\n"]
            )

    def test_itReachesTLSAsWords(self) -> None:
        """
        On the command line a hyphen separates, so it is written with a backslash.
        """
        server = self.serve(b"220 2.0.0 Ready to start TLS\r\n")
        words = [r"220\s", r"EHLO\r\n\c", r"250\-STARTTLS", r"\c", r"250\s", r"STARTTLS\r\n\c"]
        tunnel = self.clientMode(
            f"127.0.0.1:{server.port}", NAME, None, "--", *words, "220 ", r"\c"
        )
        with Dialogue("127.0.0.1", tunnel.port) as client:
            client.ask("EHLO me.test.example", "250 inside")

    def test_plaintextBehindTheGoAheadEndsTheConnection(self) -> None:
        """
        In the same segment: nothing of it, and no TLS, reaches the app.
        """
        server = self.serve(b"220 2.0.0 Ready to start TLS\r\n250 evil\r\n")
        tunnel = self.clientMode(f"127.0.0.1:{server.port}", NAME, None, "--chat", str(self.script))
        with Dialogue("127.0.0.1", tunnel.port) as client, self.assertRaises(EOFError):
            client.ask("EHLO me.test.example", "250 ")
        self.assertEqual(client.said, [])
        server.join(20)
        self.assertFalse(server.inside)
        until(lambda: "plaintext-after-starttls" in tunnel.log, "the reason")


class SMTPScriptTests(InteropTestCase):
    """
    C{smtp}, and a script that plays the server, with Postfix.
    """

    postfix: ClassVar[Postfix]
    plain: ClassVar[Postfix]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.postfix = stage.start(Postfix(stage.directory("postfix"), stage.authority.issue(NAME)))
        cls.plain = stage.start(Postfix(stage.directory("plain")))

    def test_aMailIsSent(self) -> None:
        """
        By smtplib; the server notes that it came over TLS.
        """
        tunnel = self.clientMode(
            f"127.0.0.1:{self.postfix.port}",
            NAME,
            None,
            *("--chat", "smtp", "--", "-U", "client.test.example"),
        )
        with smtplib.SMTP("127.0.0.1", tunnel.port, timeout=20) as client:
            client.send_message(letter("by script"))
        received = self.postfix.received("by script")
        self.assertIn("using TLSv1.3", str(received["Received"]))
        record("chat", "client", self.postfix, "mail sent by smtplib, with --chat smtp")

    def test_aRefusalEndsTheConnectionAtOnce(self) -> None:
        """
        Postfix without TLS: the log has the code of the ABORT string.
        """
        tunnel = self.clientMode(
            f"127.0.0.1:{self.plain.port}",
            NAME,
            None,
            *("--chat", "smtp", "--", "-U", "client.test.example"),
        )
        with self.assertRaises((smtplib.SMTPServerDisconnected, smtplib.SMTPConnectError)):
            smtplib.SMTP("127.0.0.1", tunnel.port, timeout=20)
        until(lambda: 'code 8: ABORT "502 "' in tunnel.log, "the reason")

    def test_aScriptPlaysTheServer(self) -> None:
        """
        smtplib insists on STARTTLS, and Postfix knows none.
        """
        script = self.stage.base / "serve.chat"
        script.write_bytes(SERVE)
        tunnel = self.serverMode(f"127.0.0.1:{self.plain.port}", NAME, None, "--chat", str(script))
        with smtplib.SMTP(timeout=20) as client:
            self.assertEqual(
                client.connect("127.0.0.1", tunnel.port), (220, f"{NAME} ESMTP".encode())
            )
            # A script tells one case from the other.
            client.ehlo_msg = "EHLO"
            client._host = NAME  # type: ignore[attr-defined]
            client.starttls(context=verified(self.stage.authority.anchors))
            client.send_message(letter("to a script"))
        self.plain.received("to a script")
        record("chat", "server", self.plain, "mail sent by smtplib")


class MailboxScriptTests(InteropTestCase):
    """
    C{imap}, C{pop3} and C{sieve}, with Dovecot.
    """

    server: ClassVar[Dovecot]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.server = stage.start(Dovecot(stage.directory("dovecot"), stage.authority.issue(NAME)))
        cls.server.deliver("for all clients")

    def test_aMailboxIsOpened(self) -> None:
        """
        By imaplib.
        """
        tunnel = self.clientMode(self.server.address("imap"), NAME, None, "--chat", "imap")
        with imaplib.IMAP4("127.0.0.1", tunnel.port, timeout=20) as client:
            self.assertEqual(client.welcome, f"* OK {NAME} ready".encode())
            client.login(dovecot.USER, dovecot.PASSWORD)
            self.assertEqual(client.select(), ("OK", [b"1"]))
        record("chat", "client", self.server, "mailbox opened by imaplib, with --chat imap")

    def test_aMailIsFetched(self) -> None:
        """
        By poplib.
        """
        tunnel = self.clientMode(self.server.address("pop3"), NAME, None, "--chat", "pop3")
        client = poplib.POP3("127.0.0.1", tunnel.port, timeout=20)
        self.addCleanup(client.close)
        self.assertEqual(client.getwelcome(), f"+OK {NAME} ready".encode())
        client.user(dovecot.USER)
        client.pass_(dovecot.PASSWORD)
        self.assertIn(b"Subject: for all clients", client.retr(1)[1])
        client.quit()
        record("chat", "client", self.server, "mail fetched by poplib, with --chat pop3")

    def test_scriptsAreListed(self) -> None:
        """
        The greeting is the one that the server gives inside of TLS.
        """
        tunnel = self.clientMode(self.server.address("sieve"), NAME, None, "--chat", "sieve")
        with Dialogue("127.0.0.1", tunnel.port) as client:
            greeting = client.expect("OK")
            self.assertNotIn('"STARTTLS"', greeting)
            self.assertIn('"SASL" "PLAIN LOGIN"', greeting)
            client.ask("LOGOUT", "OK")
        self.assertSays("no GREETING", tunnel)
        record("chat", "client", self.server, "capabilities inside TLS, with --chat sieve")


class NewsScriptTests(InteropTestCase):
    """
    C{nntp}, with INN.
    """

    server: ClassVar[NNRPD]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.server = stage.start(NNRPD(stage.directory("inn"), stage.authority.issue(NAME)))

    def test_aGroupIsSelected(self) -> None:
        """
        The greeting is the script's.
        """
        remote = f"127.0.0.1:{self.server.port}"
        tunnel = self.clientMode(remote, NAME, None, "--chat", "nntp")
        with Dialogue("127.0.0.1", tunnel.port) as client:
            self.assertEqual(client.line(), f"200 {NAME} ready")
            client.ask(f"GROUP {GROUP}", "211 ")
            client.ask("QUIT", "205 ")
        record("chat", "client", self.server, "group selected, with --chat nntp")


class XMPPScriptTests(InteropTestCase):
    """
    C{xmpp}, with Prosody.
    """

    server: ClassVar[Prosody]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        certificate = stage.authority.issue(XMPP_DOMAIN)
        cls.server = stage.start(Prosody(stage.directory("prosody"), certificate))

    def test_aStreamIsOpened(self) -> None:
        """
        The features are those inside of TLS: one can log in, and not ask for TLS.
        """
        tunnel = self.clientMode(
            f"127.0.0.1:{self.server.port}", XMPP_DOMAIN, None, "--chat", "xmpp"
        )
        with socket.create_connection(("127.0.0.1", tunnel.port), timeout=20) as client:
            client.sendall(
                f"<?xml version='1.0'?><stream:stream to='{XMPP_DOMAIN}' version='1.0' "
                "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>".encode()
            )
            said = b""
            while b"</stream:features>" not in said:
                received = client.recv(65536)
                self.assertTrue(received, said)
                said += received
        self.assertIn(b"<mechanism>SCRAM-SHA-1</mechanism>", said)
        self.assertNotIn(b"<starttls", said)
        record("chat", "client", self.server, "stream opened, with --chat xmpp")


class DirectoryScriptTests(InteropTestCase):
    """
    C{ldap}, with slapd.
    """

    server: ClassVar[OpenLDAP]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.server = stage.start(OpenLDAP(stage.directory("slapd"), stage.authority.issue(NAME)))

    def test_anEntryIsFound(self) -> None:
        """
        By ldapsearch, which would be told that confidentiality is required.
        """
        tunnel = self.clientMode(f"127.0.0.1:{self.server.port}", NAME, None, "--chat", "ldap")
        run(
            [
                *("ldapsearch", "-LLL", "-H", f"ldap://127.0.0.1:{tunnel.port}", "-x"),
                *("-D", openldap.USER, "-w", openldap.PASSWORD),
                *("-b", openldap.SUFFIX, "uid=alice", "mail"),
            ]
        ).expect(f"mail: {openldap.MAIL}")
        record("chat", "client", self.server, "entry found by ldapsearch, with --chat ldap")


class TrustingPostgreSQL(PostgreSQL):
    """
    Without passwords: a script cannot take the mechanism with channel binding out of the offer,
    which a client without TLS would not accept.
    """

    def configure(self) -> None:
        super().configure()
        access = "local all postgres trust\nhostssl all all 127.0.0.1/32 trust\n"
        self.write("pg_hba.conf", access)


class DatabaseScriptTests(InteropTestCase):
    """
    C{postgresql}, with PostgreSQL.
    """

    server: ClassVar[PostgreSQL]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        certificate = stage.authority.issue(NAME)
        cls.server = stage.start(TrustingPostgreSQL(stage.directory("postgresql"), certificate))

    def test_aRowIsSelected(self) -> None:
        """
        By psql, which knows of no TLS.
        """
        remote = f"127.0.0.1:{self.server.port}"
        tunnel = self.clientMode(remote, NAME, None, "--chat", "postgresql")
        info = f"host=127.0.0.1 port={tunnel.port} user={postgresql.USER}"
        info += f" dbname={postgresql.DATABASE} sslmode=disable gssencmode=disable"
        run(["psql", "-X", "-A", "-t", "-c", "SELECT title FROM book", info]).expect(
            postgresql.TITLE
        )
        record("chat", "client", self.server, "row selected by psql, with --chat postgresql")
