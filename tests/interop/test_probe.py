"""
The probe at every real server that speaks TLS, with a negotiation before it or without.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from tests.interop.harness import (
    Daemon,
    InteropTestCase,
    Outcome,
    Stage,
    record,
    tlstunnel,
)
from tests.interop.servers.cups import CUPS
from tests.interop.servers.dovecot import Dovecot
from tests.interop.servers.ftp import ProFTPD
from tests.interop.servers.inn import INND, NNRPD
from tests.interop.servers.irc import InspIRCd
from tests.interop.servers.kermit import Kermit
from tests.interop.servers.mariadb import MariaDB
from tests.interop.servers.mysql import MySQL
from tests.interop.servers.nginx import NginxTLS12Web, NginxWeb
from tests.interop.servers.openldap import OpenLDAP
from tests.interop.servers.postfix import Postfix, Postscreen
from tests.interop.servers.postgresql import NewerPostgreSQL, PostgreSQL
from tests.interop.servers.prosody import Prosody

NAME = "server.test.example"


class ProbeTestCase(InteropTestCase):
    """
    Probes a server.
    """

    def probe(self, where: str, dialect: str, *words: str) -> Outcome:
        """
        Run the probe, with the pool of the stage.
        """
        pool = str(self.stage.authority.pool)
        upgrade = ("--starttls", dialect)
        return tlstunnel("probe", where, "-R", NAME, *upgrade, "--pool", pool, *words)

    def check(
        self,
        server: Daemon,
        where: str,
        dialect: str,
        listed: bool | None = None,
        isOffered: bool | None = True,
    ) -> dict[str, Any]:
        """
        Look at a server that is in order, and find all of that.
        """
        shown = self.probe(where, dialect, "--json")
        found: dict[str, Any] = json.loads(shown.text)
        self.assertEqual((found["exit"], shown.code), (0, 0), found["verdict"])
        self.assertIn(f"good: {NAME} is there, with TLSv1.", found["verdict"])
        self.assertEqual((found["starttls_offered"], found["starttls_listed"]),
                         (isOffered, listed))  # fmt: skip
        self.assertTrue(found["identity"]["matches"])
        self.assertIn(NAME, found["identity"]["names"])
        self.assertTrue(found["chain"][0]["key"].startswith(("EC ", "RSA ")))
        self.assertGreater(found["chain"][0]["days_left"], 1)
        self.assertIn("trust/anchors.pem", found["anchors"])
        self.assertTrue(found["suite"])
        text = self.probe(where, dialect, "-v").text.splitlines()
        self.assertEqual(text[-1], found["verdict"])
        self.assertTrue(text[0].startswith(where))
        self.assertEqual(any(line.startswith("    C: ") for line in text), bool(found["dialogue"]))
        record("none" if dialect == "none" else dialect, "client", server, "looked at by the probe")
        return found


class MailTests(ProbeTestCase):
    """
    Postfix and Dovecot.
    """

    postfix: ClassVar[Postfix]
    postscreen: ClassVar[Postscreen]
    dovecot: ClassVar[Dovecot]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        certificate = stage.authority.issue(NAME)
        cls.postfix = stage.start(Postfix(stage.directory("postfix"), certificate))
        cls.postscreen = stage.start(Postscreen(stage.directory("postscreen"), certificate))
        cls.dovecot = stage.start(Dovecot(stage.directory("dovecot"), certificate))

    def test_smtp(self) -> None:
        found = self.check(self.postfix, f"127.0.0.1:{self.postfix.port}", "smtp", True)
        self.assertGreater(found["tickets"], 0)

    def test_smtpBehindPostscreen(self) -> None:
        self.check(self.postscreen, f"127.0.0.1:{self.postscreen.port}", "smtp", True)

    def test_imap(self) -> None:
        self.check(self.dovecot, self.dovecot.address("imap"), "imap", True)

    def test_pop3(self) -> None:
        self.check(self.dovecot, self.dovecot.address("pop3"), "pop3")

    def test_lmtp(self) -> None:
        self.check(self.dovecot, self.dovecot.address("lmtp"), "lmtp", True)

    def test_sieve(self) -> None:
        self.check(self.dovecot, self.dovecot.address("sieve"), "sieve", True)

    def test_whatElseAnswers(self) -> None:
        imap, smtp = self.dovecot.address("imap"), f"127.0.0.1:{self.postfix.port}"
        for where, dialect, answer, hint in (
            (imap, "smtp", "imap", "--starttls imap"),
            (smtp, "imap", "smtp or lmtp or ftp", "--starttls smtp"),
            (smtp, "none", "smtp or lmtp or ftp", "--starttls smtp"),
            (imap, "none", "imap", "--starttls imap"),
            (self.dovecot.address("pop3"), "none", "pop3", "--starttls pop3"),
            (self.dovecot.address("sieve"), "none", "sieve", "--starttls sieve"),
        ):
            found = json.loads(self.probe(where, dialect, "--json").text)
            self.assertEqual((found["exit"], found["answers"]["speaks"]), (3, answer), found)
            self.assertIn(hint, found["hint"])

    def test_everyVersion(self) -> None:
        where = f"127.0.0.1:{self.postfix.port}"
        found = json.loads(self.probe(where, "smtp", "--all", "--json").text)
        self.assertEqual(set(found["versions"]), {"1.0", "1.1", "1.2", "1.3"})
        self.assertEqual(found["versions"]["1.3"]["version"], "TLSv1.3")

    def test_trustOnFirstUse(self) -> None:
        where = self.dovecot.address("imap")
        pool = self.stage.directory("pool")
        shown = json.loads(self.probe(where, "imap", "--json").text)["chain"]
        words = ["--pool", str(pool), NAME, "--from", where, "--starttls", "imap"]
        trusting = tlstunnel("identity", "trust", *words, "--fingerprint", shown[0]["sha256"])
        trusting.expect()
        self.assertTrue((pool / "trust" / f"{NAME}.pem").exists())
        probing = ["probe", where, "-R", NAME, "--starttls", "imap", "--pool", str(pool)]
        tlstunnel(*probing).expect(f"good: {NAME} is there")


class OtherProtocolsTests(ProbeTestCase):
    """
    One server of each other protocol, and two where they differ.
    """

    started: ClassVar[dict[str, Daemon]]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.certificate = stage.authority.issue(NAME)

    def start(self, kind: type[Any], **settings: Any) -> Any:
        """
        Start a server for one test.
        """
        server = kind(self.stage.directory(kind.__name__.lower()), self.certificate, **settings)
        server.start()
        self.addCleanup(server.stop)
        return server

    certificate: ClassVar[Any]

    def test_nntp(self) -> None:
        server = self.start(NNRPD)
        self.check(server, f"127.0.0.1:{server.port}", "nntp")

    def test_nntpBehindInnd(self) -> None:
        server = self.start(INND)
        where = f"127.0.0.1:{server.port}"
        refused = self.probe(where, "nntp")
        self.assertEqual(refused.code, 3)
        self.assertIn("--dialect-option mode-reader may help", refused.text.splitlines()[-1])
        shown = self.probe(where, "nntp", "--dialect-option", "mode-reader")
        self.assertEqual(shown.code, 0, shown.text)

    def test_ftp(self) -> None:
        server = self.start(ProFTPD)
        self.check(server, f"127.0.0.1:{server.port}", "ftp")

    def test_xmpp(self) -> None:
        server = self.start(Prosody, domain=NAME)
        self.check(server, f"127.0.0.1:{server.ports['c2s']}", "xmpp-client", True)
        self.check(server, f"127.0.0.1:{server.ports['s2s']}", "xmpp-server", True)

    def test_ldap(self) -> None:
        server = self.start(OpenLDAP)
        self.check(server, f"127.0.0.1:{server.port}", "ldap")

    def test_postgresql(self) -> None:
        server = self.start(PostgreSQL)
        self.check(server, f"127.0.0.1:{server.port}", "postgresql")

    def test_newerPostgreSQLWithoutNegotiation(self) -> None:
        server = self.start(NewerPostgreSQL)
        where = f"127.0.0.1:{server.port}"
        self.check(server, where, "postgresql")
        shown = self.probe(where, "none", "--alpn", "postgresql")
        self.assertIn("alpn          postgresql", shown.text)
        self.assertEqual(shown.code, 0)

    def test_mariadb(self) -> None:
        server = self.start(MariaDB)
        self.check(server, f"127.0.0.1:{server.port}", "mysql")

    def test_mysql(self) -> None:
        server = self.start(MySQL)
        self.check(server, f"127.0.0.1:{server.port}", "mysql")

    def test_irc(self) -> None:
        server = self.start(InspIRCd)
        self.check(server, f"127.0.0.1:{server.port}", "irc")

    def test_telnet(self) -> None:
        server = self.start(Kermit)
        shown = self.probe(f"127.0.0.1:{server.port}", "telnet")
        self.assertIn(f"good: {NAME} is there", shown.text)
        record("telnet", "client", server, "looked at by the probe")

    def test_http(self) -> None:
        server = self.start(CUPS)
        self.check(server, f"127.0.0.1:{server.port}", "http")

    def test_implicit(self) -> None:
        server = self.start(NginxWeb)
        self.check(server, f"127.0.0.1:{server.port}", "none", isOffered=None)

    def test_clientsHaveToShowACertificate(self) -> None:
        server = self.start(NginxTLS12Web)
        self.stage.authority.issue("us.test.example")
        where = f"127.0.0.1:{server.port}"
        found = json.loads(self.probe(where, "none", "--json").text)
        self.assertTrue(found["client_certificate"]["requested"])
        self.assertEqual(len(found["client_certificate"]["authorities"]), 1)
        shown = self.probe(where, "none", "-L", "us.test.example")
        self.assertEqual(shown.code, 0, shown.text)
