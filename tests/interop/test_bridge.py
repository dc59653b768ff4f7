"""
TLS on both sides of the tunnel, with real clients and real servers: TLS from the first byte on one
side and an upgrade on the other, both ways round; an upgrade on both; and neither.
"""

from __future__ import annotations

import asyncio
import imaplib
import poplib
import smtplib
import urllib.request
from collections.abc import Sequence
from typing import ClassVar

from tests.interop.correspondents import BYE, TEXT, exchange
from tests.interop.harness import (
    InteropTestCase,
    Stage,
    TunnelProcess,
    curl,
    gnutls,
    openssl,
    record,
    run,
    until,
    verified,
)
from tests.interop.servers.dovecot import PASSWORD as MAIL_PASSWORD
from tests.interop.servers.dovecot import USER as MAIL_USER
from tests.interop.servers.dovecot import Dovecot
from tests.interop.servers.openldap import MAIL, PASSWORD, SUFFIX, USER, OpenLDAP
from tests.interop.servers.postfix import Postfix
from tests.interop.servers.postgresql import TITLE, NewerPostgreSQL, PostgreSQL
from tests.interop.servers.prosody import Prosody
from tests.interop.servers.web import PAGE, OpenSSLWeb, OpenSSLWebForClients
from tests.interop.test_ldap import UNBIND, search
from tests.interop.test_postgresql import psql
from tests.interop.test_smtp import RECIPIENT, SENDER, letter

#: Who the tunnel is, and who the servers are.
FRONT = "front.test.example"
SERVER = "server.test.example"
DOMAIN = "test.example"

LOGIN = f'a LOGIN {MAIL_USER} "{MAIL_PASSWORD}"\r\nb STATUS INBOX (MESSAGES)\r\nc LOGOUT\r\n'


class BridgeTestCase(InteropTestCase):
    """
    Tests with a bridge.
    """

    def setUp(self) -> None:
        super().setUp()
        self.anchors = self.stage.authority.anchors

    def bridge(
        self,
        remote: str,
        before: str | None,
        behind: str | None,
        *options: str,
        name: str | None = SERVER,
        front: str = FRONT,
    ) -> TunnelProcess:
        """
        A L{tunnel} between clients and a server with TLS.

        @param before: how clients come to TLS; None is TLS from the first byte.
        @param behind: how we do so with the server.
        @param name: who that must be.
        """
        ways = [
            word
            for way, dialect in (("in", before), ("out", behind))
            if dialect is not None
            for word in (f"--starttls-{way}", dialect)
        ]
        whom = () if name is None else ("-R", name)
        return self.tunnel("-b", "-L", front, "-r", remote, *whom, *ways, *options)


class SubmissionsPostfix(Postfix):
    """
    TLS from the first byte.
    """

    front = "127.0.0.1:{port} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n"


class MailTests(BridgeTestCase):
    """
    Postfix, with STARTTLS and with TLS from the first byte.
    """

    postfix: ClassVar[Postfix]
    implicit: ClassVar[Postfix]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(FRONT, "127.0.0.1")
        certificate = stage.authority.issue(SERVER)
        cls.postfix = stage.start(Postfix(stage.directory("postfix"), certificate))
        cls.implicit = stage.start(SubmissionsPostfix(stage.directory("implicit"), certificate))

    def send(self, client: smtplib.SMTP, subject: str) -> None:
        client.send_message(letter(subject))
        client.quit()

    def test_submissionsToSTARTTLS(self) -> None:
        """
        Clients begin with TLS, and Postfix wants STARTTLS: by smtplib, curl and s_client.
        """
        port = self.bridge(f"127.0.0.1:{self.postfix.port}", None, "smtp").port
        context = verified(self.anchors)
        with smtplib.SMTP_SSL("127.0.0.1", port, context=context, timeout=20) as client:
            client.send_message(letter("implicit in"))
            self.assertFalse(client.has_extn("starttls"))
        received = self.postfix.received("implicit in")
        self.assertIn("using TLSv1.3", str(received["Received"]))
        options = ("--mail-from", SENDER, "--mail-rcpt", RECIPIENT, "--upload-file", "-")
        mail = "Subject: by curl\r\n\r\nWords.\r\n"
        curl("smtps", port, FRONT, self.anchors, *options, say=mail).expect()
        self.postfix.received("by curl")
        openssl(port, FRONT, self.anchors, say="EHLO a.test\r\nQUIT\r\n").expect(
            "Verification: OK", f"220 {SERVER} ESMTP", "221 "
        )
        record("smtp", "client", self.postfix, "mail sent by a client with TLS, through a bridge")
        record("none", "server", "curl", "mail sent through a bridge")

    def test_STARTTLSToSubmissions(self) -> None:
        """
        The other way round: nobody hears two greetings.
        """
        port = self.bridge(f"127.0.0.1:{self.implicit.port}", "smtp", None).port
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            client.starttls(context=verified(self.anchors))
            client.ehlo()
            self.assertFalse(client.has_extn("starttls"))
            client.send_message(letter("upgrade in"))
        received = self.implicit.received("upgrade in")
        self.assertIn("using TLSv1.3", str(received["Received"]))
        gnutls(port, FRONT, self.anchors, say="EHLO a.test\nQUIT\n", starttls="smtp").expect(
            "certificate is trusted", "221 "
        )
        record("smtp", "server", "smtplib", "mail sent to a server with TLS, through a bridge")

    def test_STARTTLSOnBothSides(self) -> None:
        """
        And neither side's list has it inside.
        """
        tunnel = self.bridge(f"127.0.0.1:{self.postfix.port}", "smtp", "smtp")
        with smtplib.SMTP("127.0.0.1", tunnel.port, timeout=20) as client:
            client.starttls(context=verified(self.anchors))
            client.ehlo()
            self.assertFalse(client.has_extn("starttls"))
            client.send_message(letter("upgrade on both"))
        self.postfix.received("upgrade on both")
        until(lambda: f"server identity {SERVER}, TLSv1.3" in tunnel.log, "both in the log")

    def test_aServerThatIsSomebodyElseGetsNothing(self) -> None:
        """
        A client that was verified, and a server that was not.
        """
        tunnel = self.bridge(
            f"127.0.0.1:{self.postfix.port}", None, "smtp", name="other.test.example"
        )
        openssl(tunnel.port, FRONT, self.anchors, say="EHLO a.test\r\n").expect("Verification: OK")
        until(lambda: "other.test.example" in tunnel.log and SERVER in tunnel.log, "the reason")


class ImplicitDovecot(Dovecot):
    """
    With imaps and pop3s as well.
    """

    services: ClassVar[tuple[str, ...]] = (*Dovecot.services, "imaps", "pop3s")

    def configure(self) -> None:
        super().configure()
        path = self.directory / "dovecot.conf"
        text = path.read_text()
        for service in ("imaps", "pop3s"):
            before = f"inet_listener {service} {{\n    port = 0\n"
            assert before in text
            after = f"inet_listener {service} {{\n    port = {self.ports[service]}\n    ssl = yes\n"
            text = text.replace(before, after)
        path.write_text(text)


class MailboxTests(BridgeTestCase):
    """
    Dovecot, with both ways to TLS.
    """

    dovecot: ClassVar[ImplicitDovecot]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(FRONT, "127.0.0.1")
        certificate = stage.authority.issue(SERVER)
        cls.dovecot = stage.start(ImplicitDovecot(stage.directory("dovecot"), certificate))
        cls.dovecot.deliver("for all clients")

    def test_IMAPSToSTARTTLS(self) -> None:
        """
        By imaplib, with megabytes in both directions, by curl and by s_client.
        """
        port = self.bridge(self.dovecot.address("imap"), None, "imap").port
        mail = b"Subject: by imaplib\r\n\r\n" + b"A line of text.\r\n" * 200_000
        context = verified(self.anchors)
        with imaplib.IMAP4_SSL("127.0.0.1", port, ssl_context=context, timeout=20) as client:
            client.login(MAIL_USER, MAIL_PASSWORD)
            self.assertEqual(client.append("INBOX", "", "", mail)[0], "OK")
            client.select()
            found = client.search(None, "SUBJECT", '"by imaplib"')[1][0].split()
            fetched = client.fetch(found[-1].decode(), "(BODY[])")[1][0]
            assert isinstance(fetched, tuple)
            self.assertEqual(fetched[1], mail)
        login = ("--user", f"{MAIL_USER}:{MAIL_PASSWORD}")
        curl("imaps", port, FRONT, self.anchors, *login, path="/INBOX;MAILINDEX=1").expect(
            "Subject: for all clients"
        )
        openssl(port, FRONT, self.anchors, say=LOGIN).expect("Verification: OK", "(MESSAGES ")
        record("imap", "client", self.dovecot, "mail fetched with TLS, through a bridge")

    def test_STARTTLSToIMAPS(self) -> None:
        """
        By imaplib, curl and gnutls-cli.
        """
        port = self.bridge(self.dovecot.address("imaps"), "imap", None).port
        with imaplib.IMAP4("127.0.0.1", port, timeout=20) as client:
            client.starttls(verified(self.anchors))
            self.assertNotIn("STARTTLS", client.capabilities)
            client.login(MAIL_USER, MAIL_PASSWORD)
            self.assertEqual(client.select()[0], "OK")
        login = ("--user", f"{MAIL_USER}:{MAIL_PASSWORD}")
        curl("imap", port, FRONT, self.anchors, *login, path="/INBOX;MAILINDEX=1").expect(
            "Subject: for all clients"
        )
        gnutls(port, FRONT, self.anchors, say=LOGIN, starttls="imap").expect("(MESSAGES ")
        record("imap", "server", "curl", "mail fetched from a server with TLS, through a bridge")

    def test_POP3BothWays(self) -> None:
        """
        By poplib.
        """
        context = verified(self.anchors)
        port = self.bridge(self.dovecot.address("pop3s"), "pop3", None).port
        client = poplib.POP3("127.0.0.1", port, timeout=20)
        client.stls(context)
        self.assertNotIn("STLS", client.capa())
        client.user(MAIL_USER)
        client.pass_(MAIL_PASSWORD)
        self.assertTrue(client.stat()[0])
        client.quit()
        openssl(port, FRONT, self.anchors, say="CAPA\r\nQUIT\r\n", starttls="pop3").expect("+OK")
        port = self.bridge(self.dovecot.address("pop3"), None, "pop3").port
        client = poplib.POP3_SSL("127.0.0.1", port, context=context, timeout=20)
        client.user(MAIL_USER)
        client.pass_(MAIL_PASSWORD)
        client.quit()
        record("pop3", "server", "poplib", "login to a server with TLS, through a bridge")
        record("pop3", "client", self.dovecot, "login with TLS, through a bridge")

    def test_ManageSieveOnBothSides(self) -> None:
        """
        The server speaks first inside TLS on both, and once.
        """
        port = self.bridge(self.dovecot.address("sieve"), "sieve", "sieve").port
        said = openssl(port, FRONT, self.anchors, say="LOGOUT\r\n", starttls="sieve").expect(
            "Verification: OK", '"IMPLEMENTATION" "Dovecot'
        )
        self.assertEqual(said.count('"IMPLEMENTATION" "Dovecot'), 1)

    def test_neitherSideUpgrades(self) -> None:
        """
        Each has a certificate of its own.
        """
        port = self.bridge(self.dovecot.address("imaps"), None, None).port
        openssl(port, FRONT, self.anchors, say=LOGIN).expect(
            f"Verified peername: {FRONT}", "(MESSAGES "
        )


class BothSlapd(OpenLDAP):
    """
    With ldaps as well.
    """

    services: ClassVar[tuple[str, ...]] = ("ldap", "ldaps")

    def command(self) -> Sequence[str]:
        command = list(super().command())
        at = command.index("-h") + 1
        command[at] += f" ldaps://127.0.0.1:{self.ports['ldaps']}"
        return command


class DirectoryTests(BridgeTestCase):
    """
    OpenLDAP, with both ways to TLS.
    """

    slapd: ClassVar[BothSlapd]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(FRONT, "127.0.0.1")
        certificate = stage.authority.issue(SERVER)
        cls.slapd = stage.start(BothSlapd(stage.directory("slapd"), certificate))

    def test_STARTTLSToLDAPS(self) -> None:
        """
        C{ldapsearch -ZZ}.
        """
        port = self.bridge(f"127.0.0.1:{self.slapd.ports['ldaps']}", "ldap", None).port
        search(port, "-ZZ", anchors=self.anchors).expect(f"mail: {MAIL}")
        openssl(port, FRONT, self.anchors, say=UNBIND, starttls="ldap").expect("Verification: OK")
        record("ldap", "server", "ldapsearch", "entry found on a server with TLS, through a bridge")

    def test_LDAPSToSTARTTLS(self) -> None:
        """
        C{ldapsearch} with an ldaps URL.
        """
        port = self.bridge(f"127.0.0.1:{self.slapd.ports['ldap']}", None, "ldap").port
        login = ("-x", "-D", USER, "-w", PASSWORD, "-b", SUFFIX)
        run(
            ["ldapsearch", "-LLL", "-H", f"ldaps://127.0.0.1:{port}", *login, "uid=alice", "mail"],
            environment={"LDAPTLS_CACERT": str(self.anchors)},
        ).expect(f"mail: {MAIL}")
        record("ldap", "client", self.slapd, "entry found with TLS, through a bridge")

    def test_STARTTLSOnBothSides(self) -> None:
        """
        C{ldapsearch -ZZ} again.
        """
        port = self.bridge(f"127.0.0.1:{self.slapd.ports['ldap']}", "ldap", "ldap").port
        search(port, "-ZZ", anchors=self.anchors).expect(f"mail: {MAIL}")


class DatabaseTests(BridgeTestCase):
    """
    PostgreSQL, which knows no TLS from the first byte before version 17.
    """

    server: ClassVar[PostgreSQL]
    newer: ClassVar[NewerPostgreSQL]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(FRONT, "127.0.0.1")
        certificate = stage.authority.issue(SERVER)
        cls.server = stage.start(PostgreSQL(stage.directory("postgresql"), certificate))
        cls.newer = stage.start(NewerPostgreSQL(stage.directory("newer"), certificate))

    def verifying(self, *more: str) -> tuple[str, ...]:
        """
        A client that verifies, and binds no channel, of which there are two.
        """
        return ("sslmode=verify-full", f"sslrootcert={self.anchors}", *more)

    def test_psql(self) -> None:
        """
        With SSLRequest on both sides, and with none to the server.
        """
        for server, behind in ((self.server, "postgresql"), (self.newer, None)):
            port = self.bridge(f"127.0.0.1:{server.port}", "postgresql", behind).port
            options = self.verifying("channel_binding=disable")
            psql(port, *options, host=FRONT).expect(TITLE)
        record("postgresql", "server", "psql", "row selected from a server with TLS, by a bridge")

    def test_channelsCannotBeBound(self) -> None:
        """
        A client that can bind its channel is told by the server that somebody is in between.
        """
        port = self.bridge(f"127.0.0.1:{self.server.port}", "postgresql", "postgresql").port
        psql(port, *self.verifying(), host=FRONT).expectFailure("channel binding")


class ChatTests(BridgeTestCase):
    """
    Prosody, where the domain that a client asks for says who the server must be.
    """

    prosody: ClassVar[Prosody]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        certificate = stage.authority.issue(DOMAIN)
        cls.prosody = stage.start(Prosody(stage.directory("prosody"), certificate))

    def test_aMessageIsAnswered(self) -> None:
        """
        STARTTLS on both sides, by slixmpp.
        """
        remote = f"127.0.0.1:{self.prosody.ports['c2s']}"
        port = self.bridge(remote, "xmpp-client", "xmpp-client", name=None, front=DOMAIN).port
        there, back = asyncio.run(exchange(port, self.anchors))
        self.assertEqual((there, back), (TEXT, f"Re: {TEXT}"))
        record("xmpp-client", "client", self.prosody, "message exchanged with TLS, by a bridge")

    def test_aStreamBeginsWithTLS(self) -> None:
        """
        As clients of port 5223 do, with s_client.
        """
        remote = f"127.0.0.1:{self.prosody.ports['c2s']}"
        port = self.bridge(remote, None, "xmpp-client", name=None, front=DOMAIN).port
        head = (
            f"<stream:stream to='{DOMAIN}' version='1.0' xmlns='jabber:client' "
            "xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        said = openssl(port, DOMAIN, self.anchors, say=head + BYE).expect(
            "Verification: OK", "<stream:stream"
        )
        self.assertNotIn("urn:ietf:params:xml:ns:xmpp-tls", said)


class WebTests(BridgeTestCase):
    """
    HTTPS, with a certificate of a client on either side.
    """

    web: ClassVar[OpenSSLWeb]
    strict: ClassVar[OpenSSLWebForClients]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(FRONT, "127.0.0.1")
        certificate = stage.authority.issue(SERVER)
        stage.authority.issue("reader@test.example")
        stage.authority.issue("bridge@test.example")
        cls.web = stage.start(OpenSSLWeb(stage.directory("web"), certificate))
        cls.strict = stage.start(OpenSSLWebForClients(stage.directory("strict"), certificate))

    def test_aPageIsFetched(self) -> None:
        """
        By Python and by curl.
        """
        port = self.bridge(f"127.0.0.1:{self.web.port}", None, None).port
        url = f"https://127.0.0.1:{port}/page.txt"
        with urllib.request.urlopen(url, context=verified(self.anchors)) as page:
            self.assertEqual(page.read().decode(), PAGE)
        curl("https", port, FRONT, self.anchors, path="/page.txt").expect(PAGE)
        record("none", "client", self.web, "page fetched with TLS, through a bridge")

    def test_aClientProvesWhoItIsAndSoDoWe(self) -> None:
        """
        The server, which demands a certificate, sees ours, and clients without one see nothing.
        """
        tunnel = self.bridge(
            f"127.0.0.1:{self.strict.port}",
            None,
            None,
            *("--client-id", "@test.example", "--remote-as", "bridge@test.example"),
        )
        curl("https", tunnel.port, FRONT, self.anchors, path="/page.txt").expectFailure()
        own = self.stage.authority.pool / "reader@test.example"
        shown = ("--cert", str(own / "fullchain.pem"), "--key", str(own / "privkey.pem"))
        curl("https", tunnel.port, FRONT, self.anchors, *shown, path="/page.txt").expect(PAGE)
        until(lambda: "client identity reader@test.example" in tunnel.log, "who it is")
