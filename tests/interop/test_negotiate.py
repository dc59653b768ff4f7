"""
Programs that speak TLS and know no upgrade reach servers that demand one; and the other way round,
a front with an upgrade for servers that speak TLS from the first byte: C{--negotiate-only}.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from tests.interop.harness import (
    Daemon,
    InteropTestCase,
    Stage,
    find,
    freePort,
    gnutls,
    openssl,
    record,
    run,
)
from tests.interop.servers.dovecot import Dovecot
from tests.interop.servers.mariadb import MariaDB
from tests.interop.servers.openldap import MAIL, OpenLDAP
from tests.interop.servers.postfix import Postfix
from tests.interop.servers.postgresql import PASSWORD, TITLE, USER, NewerPostgreSQL, PostgreSQL
from tests.interop.servers.prosody import Prosody
from tests.interop.test_ldap import UNBIND, search
from tests.interop.test_scanners import SSLYZE

NAME = "server.test.example"

#: Of PostgreSQL 18, which says its ALPN whether TLS was negotiated or not; with its own libraries.
_UNPACKED = "/opt/tlstunnel-interop/unstable"
PSQL = (
    *(f"{_UNPACKED}/usr/lib*/ld-linux-*.so.2", "--library-path"),
    *(f"{_UNPACKED}/usr/lib/x86_64-linux-gnu", f"{_UNPACKED}/usr/lib/postgresql/18/bin/psql"),
)

_STREAM = (
    f"<stream:stream to='{NAME}' version='1.0' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams'></stream:stream>"
)


class ClientModeTests(InteropTestCase):
    """
    The program and the server speak TLS with each other, from end to end.
    """

    #: For each protocol what a client says inside TLS, and what it is answered.
    said: ClassVar[dict[str, tuple[str, str]]] = {
        "smtp": ("EHLO x\r\nQUIT\r\n", "221 2.0.0"),
        "imap": ("a LOGOUT\r\n", "a OK Logout"),
        "pop3": ("QUIT\r\n", "+OK Logging out"),
        "sieve": ("LOGOUT\r\n", "Logout completed"),
        "xmpp-client": (_STREAM, "urn:ietf:params:xml:ns:xmpp-sasl"),
        "ldap": (UNBIND, ""),
        # A login that is none, at which they close.
        "postgresql": ("\x00\x00\x00\x09\x00\x03\x00\x00\x00", "no PostgreSQL user name"),
        "mysql": ("\x01\x00\x00\x02\x00", ""),
    }

    servers: ClassVar[dict[str, tuple[str, Daemon]]]
    database: ClassVar[Path]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        """
        Start the servers, and let NSS believe their authority.
        """
        certificate = stage.authority.issue(NAME)
        postfix = stage.start(Postfix(stage.directory("postfix"), certificate))
        dovecot = stage.start(Dovecot(stage.directory("dovecot"), certificate))
        prosody = stage.start(Prosody(stage.directory("prosody"), certificate, NAME))
        cls.servers = {
            "smtp": (f"127.0.0.1:{postfix.port}", postfix),
            "xmpp-client": (f"127.0.0.1:{prosody.ports['c2s']}", prosody),
        }
        for service in "imap", "pop3", "sieve":
            cls.servers[service] = (dovecot.address(service), dovecot)
        for name, kind in ("ldap", OpenLDAP), ("postgresql", PostgreSQL), ("mysql", MariaDB):
            daemon: Daemon = stage.start(kind(stage.directory(name), certificate))
            cls.servers[name] = (f"127.0.0.1:{daemon.port}", daemon)
        cls.database = stage.directory("nss")
        cls.database.mkdir()
        certutil = find("certutil", "libnss3-tools")
        anchors = str(stage.authority.anchors)
        for words in (
            ["-N", "--empty-password"],
            ["-A", "-n", "authority", "-t", "C,,", "-a", "-i", anchors],
        ):
            subprocess.run([certutil, "-d", f"sql:{cls.database}", *words], check=True)

    def port(self, dialect: str, *more: str) -> int:
        """
        Where a tunnel negotiates for whoever comes.
        """
        expected = ("-R", NAME) if dialect.startswith("xmpp") else ()
        remote = ("-r", self.servers[dialect][0], *expected)
        words = ("-c", *remote, "--starttls", dialect, "--negotiate-only", *more)
        return self.tunnel(*words).port

    def test_openssl(self) -> None:
        """
        C{s_client} without C{-starttls} verifies chain and name, and is served.
        """
        for dialect, (say, answer) in self.said.items():
            outcome = openssl(self.port(dialect), NAME, self.stage.authority.anchors, say=say)
            for text in "Verification: OK", f"Verified peername: {NAME}", answer:
                self.assertIn(text, outcome.text, f"{dialect}: {outcome}")
            server = self.servers[dialect][1]
            record(dialect, "client", server, "openssl s_client without -starttls (negotiate-only)")

    def test_anotherVersionOfTLS(self) -> None:
        """
        Whatever both ends agree on.
        """
        for option in "-tls1_2", "-tls1_3":
            say, answer = self.said["smtp"]
            anchors = self.stage.authority.anchors
            openssl(self.port("smtp"), NAME, anchors, option, say=say).expect(answer)

    def test_gnutls(self) -> None:
        """
        C{gnutls-cli} without C{--starttls}.
        """
        for dialect, (say, answer) in self.said.items():
            outcome = gnutls(self.port(dialect), NAME, self.stage.authority.anchors, say=say)
            for text in "certificate is trusted", answer:
                self.assertIn(text, outcome.text, f"{dialect}: {outcome}")
            record(dialect, "client", "gnutls-cli", "without --starttls (negotiate-only)")

    def tstclnt(self, dialect: str, name: str) -> tuple[int, str]:
        """
        A handshake of C{tstclnt}, which knows no upgrade at all.
        """
        program = find("tstclnt", "libnss3-tools")
        outcome = run(
            [
                *(program, "-h", "127.0.0.1", "-a", name, "-p", str(self.port(dialect))),
                *("-d", f"sql:{self.database}", "-Q", "-v"),
            ]
        )
        return outcome.code, outcome.text

    def test_NSS(self) -> None:
        """
        It judges the server by its own authorities, and by the name.
        """
        for dialect in self.said:
            code, text = self.tstclnt(dialect, NAME)
            self.assertEqual(code, 0, f"{dialect}: {text}")
            record(dialect, "client", "libnss3-tools", "tstclnt (negotiate-only)")
        code, text = self.tstclnt("smtp", "other.test.example")
        self.assertNotEqual(code, 0, text)

    def test_sslyze(self) -> None:
        """
        It has many connections, and does not know MySQL's protocol.
        """
        target = f"127.0.0.1:{self.port('mysql')}"
        options = ("--sni", NAME, "--certinfo_ca_file", str(self.stage.authority.anchors))
        outcome = run([SSLYZE, *options, "--certinfo", "--tlsv1_3", target], seconds=120)
        self.assertIn("TLS 1.3 Cipher Suites", outcome.text, str(outcome))
        self.assertIn("TLS_AES_256_GCM_SHA384", outcome.text, str(outcome))
        self.assertIn(NAME, outcome.text, str(outcome))
        record("mysql", "client", "sslyze", "a protocol that it does not know (negotiate-only)")

    def test_testssl(self) -> None:
        """
        It does not know that of managing Sieve scripts.
        """
        port = self.port("sieve")
        outcome = run(
            [
                *("testssl", "--quiet", "--color", "0", "--warnings", "off"),
                *("--ip", "127.0.0.1", "--add-ca", str(self.stage.authority.anchors)),
                *("-p", f"{NAME}:{port}"),
            ],
            seconds=300,
        )
        self.assertRegex(outcome.text, r"TLS 1\.3 +offered", str(outcome))
        self.assertRegex(outcome.text, r"TLS 1\.2 +offered", str(outcome))
        self.assertRegex(outcome.text, r"SSLv3 +not offered", str(outcome))
        record("sieve", "client", "testssl", "a protocol that it does not know (negotiate-only)")

    def test_whatIsNoTLSIsNotSent(self) -> None:
        """
        A program that speaks no TLS is cut off, before the server hears of it.
        """
        tunnel = self.tunnel(
            *("-c", "-r", self.servers["imap"][0], "--starttls", "imap", "--negotiate-only")
        )
        outcome = run(
            ["curl", "-sS", "--max-time", "20", f"http://127.0.0.1:{tunnel.port}/"],
        )
        outcome.expectFailure()
        self.assertSays("foreign-protocol", tunnel)


class LDAPS(OpenLDAP):
    """
    TLS from the first byte.
    """

    def command(self) -> Sequence[str]:
        """
        At its one port.
        """
        return [word.replace("ldap://", "ldaps://") for word in super().command()]


class DirectProsody(Prosody):
    """
    Likewise.
    """

    services: ClassVar[tuple[str, ...]] = ("c2s", "s2s", "direct")

    def configure(self) -> None:
        """
        At one port more.
        """
        super().configure()
        path = self.directory / "prosody.cfg.lua"
        text = path.read_text()
        before = "c2s_direct_tls_ports = {"
        path.write_text(text.replace(before, f"{before} {self.ports['direct']} "))


class DirectDovecot(Dovecot):
    """
    Likewise, for managing Sieve scripts.
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.direct = freePort()

    def configure(self) -> None:
        """
        At one port more.
        """
        super().configure()
        path = self.directory / "dovecot.conf"
        before = "  inet_listener sieve {"
        listener = f"  inet_listener sieves {{\n    port = {self.direct}\n    ssl = yes\n  }}\n"
        path.write_text(path.read_text().replace(before, listener + before))


class ServerModeTests(InteropTestCase):
    """
    Clients that upgrade, and servers that do not.
    """

    servers: ClassVar[dict[str, tuple[str, Daemon]]]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        """
        Start the servers.
        """
        certificate = stage.authority.issue(NAME, "127.0.0.1")
        slapd = stage.start(LDAPS(stage.directory("slapd"), certificate))
        prosody = stage.start(DirectProsody(stage.directory("prosody"), certificate, NAME))
        dovecot = stage.start(DirectDovecot(stage.directory("dovecot"), certificate))
        postgresql = stage.start(NewerPostgreSQL(stage.directory("postgresql"), certificate))
        cls.servers = {
            "ldap": (f"127.0.0.1:{slapd.port}", slapd),
            "xmpp-client": (f"127.0.0.1:{prosody.ports['direct']}", prosody),
            "sieve": (f"{dovecot.HOST}:{dovecot.direct}", dovecot),
            "postgresql": (f"127.0.0.1:{postgresql.port}", postgresql),
        }

    def port(self, dialect: str) -> int:
        """
        Where the front is, which has no certificate.
        """
        remote = ("-L", NAME, "-r", self.servers[dialect][0])
        words = ("-s", *remote, "--starttls", dialect, "--negotiate-only")
        return self.tunnel(*words, "--pool", str(self.stage.base / "nothing")).port

    def test_ldap(self) -> None:
        """
        C{ldapsearch -ZZ} verifies the server itself, and logs in.
        """
        anchors = self.stage.authority.anchors
        search(self.port("ldap"), "-ZZ", anchors=anchors).expect(f"mail: {MAIL}")
        record("ldap", "server", self.servers["ldap"][1], "StartTLS before ldaps (negotiate-only)")

    def test_postgresql(self) -> None:
        """
        A client of a version that says its ALPN, which such a server demands.
        """
        login = f"host={NAME} hostaddr=127.0.0.1 port={self.port('postgresql')} user={USER}"
        trust = f"sslmode=verify-full sslrootcert={self.stage.authority.anchors}"
        query = ("-X", "-A", "-t", "-c", "SELECT title FROM book", f"{login} dbname=books {trust}")
        run([*PSQL, *query], environment={"PGPASSWORD": PASSWORD}).expect(TITLE)
        server = self.servers["postgresql"][1]
        record("postgresql", "server", server, "before TLS from the first byte (negotiate-only)")

    def test_xmpp(self) -> None:
        """
        The stream begins anew inside TLS, as it does at a port with TLS from the first byte.
        """
        anchors = self.stage.authority.anchors
        outcome = openssl(
            *(self.port("xmpp-client"), NAME, anchors, "-xmpphost", NAME),
            say=_STREAM,
            starttls="xmpp",
        )
        for text in "Verification: OK", "urn:ietf:params:xml:ns:xmpp-sasl":
            self.assertIn(text, outcome.text, str(outcome))
        server = self.servers["xmpp-client"][1]
        record("xmpp-client", "server", server, "before direct TLS (negotiate-only)")

    def test_sieve(self) -> None:
        """
        The server's capabilities come once, inside TLS, where clients await them.
        """
        anchors = self.stage.authority.anchors
        outcome = openssl(self.port("sieve"), NAME, anchors, say="LOGOUT\r\n", starttls="sieve")
        for text in "Verification: OK", '"SIEVE"', "Logout completed":
            self.assertIn(text, outcome.text, str(outcome))
        server = self.servers["sieve"][1]
        record("sieve", "server", server, "before TLS from the first byte (negotiate-only)")
