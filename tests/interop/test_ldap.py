"""
ldap with OpenLDAP slapd, in both modes.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import ClassVar

import ldap3

from tests.interop.harness import (
    InteropTestCase,
    Outcome,
    Stage,
    find,
    gnutls,
    openssl,
    record,
    run,
    until,
)
from tests.interop.servers.openldap import MAIL, PASSWORD, SUFFIX, USER, OpenLDAP

NAME = "ldap.test.example"

#: An UnbindRequest, at which a server closes.
UNBIND = "\x30\x05\x02\x01\x05\x42\x00"

#: Net::LDAP, which prints what it finds.
PERL = """\
use Net::LDAP;
my $ldap = Net::LDAP->new("127.0.0.1", port => $ENV{LDAP_PORT}, timeout => 20) or die $@;
for my $done (
    $ldap->start_tls(verify => "require", cafile => $ENV{LDAP_CA}),
    $ldap->bind($ENV{LDAP_DN}, password => $ENV{LDAP_PASSWORD}),
) {
    die $done->error if $done->code;
}
my $found = $ldap->search(base => $ENV{LDAP_DN}, scope => "base", filter => "(objectClass=*)");
print $_->ldif for $found->entries;
$ldap->unbind;
"""


def search(port: int, *options: str, anchors: Path = Path("/dev/null")) -> Outcome:
    """
    Bind and search with C{ldapsearch}.  It verifies a certificate for the address.
    """
    login = ("-x", "-D", USER, "-w", PASSWORD)
    return run(
        [
            *("ldapsearch", "-LLL", "-H", f"ldap://127.0.0.1:{port}", *login, *options),
            *("-b", SUFFIX, "uid=alice", "mail"),
        ],
        environment={"LDAPTLS_CACERT": str(anchors)},
    )


def found(connection: ldap3.Connection) -> list[str]:
    """
    The same search with ldap3.
    """
    connection.search(SUFFIX, "(uid=alice)", attributes=["mail"])
    return [str(entry.mail) for entry in connection.entries]


class ClientModeTests(InteropTestCase):
    """
    Clients that know no TLS, and a server that answers nothing without.
    """

    slapd: ClassVar[OpenLDAP]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.slapd = stage.start(OpenLDAP(stage.directory("slapd"), stage.authority.issue(NAME)))

    def setUp(self) -> None:
        super().setUp()
        self.remote = f"127.0.0.1:{self.slapd.port}"

    def test_anEntryIsFoundByLdapsearch(self) -> None:
        """
        By a client that would be told that confidentiality is required.
        """
        search(self.slapd.port).expectFailure("Confidentiality required")
        tunnel = self.clientMode(self.remote, NAME, "ldap")
        search(tunnel.port).expect(f"mail: {MAIL}")
        record("ldap", "client", self.slapd, "entry found by ldapsearch")

    def test_anEntryIsFoundByLdap3(self) -> None:
        """
        By another implementation.
        """
        tunnel = self.clientMode(self.remote, NAME, "ldap")
        server = ldap3.Server("127.0.0.1", tunnel.port, get_info=ldap3.ALL)
        with ldap3.Connection(server, USER, PASSWORD, auto_bind=True) as connection:
            self.assertEqual(found(connection), [MAIL])
        record("ldap", "client", self.slapd, "entry found by ldap3")

    def test_aServerThatIsSomebodyElseGetsNoPassword(self) -> None:
        """
        The client is not answered, and the log names both.
        """
        tunnel = self.clientMode(self.remote, "other.test.example", "ldap")
        search(tunnel.port).expectFailure("Can't contact LDAP server")
        until(lambda: "other.test.example" in tunnel.log and NAME in tunnel.log, "the reason")


class ServerModeTests(InteropTestCase):
    """
    A server that knows no TLS, and clients that insist on it.
    """

    slapd: ClassVar[OpenLDAP]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME, "127.0.0.1")
        cls.slapd = stage.start(OpenLDAP(stage.directory("slapd")))

    def setUp(self) -> None:
        super().setUp()
        self.anchors = self.stage.authority.anchors
        self.port = self.serverMode(f"127.0.0.1:{self.slapd.port}", NAME, "ldap").port

    def test_openssl(self) -> None:
        """
        C{s_client} verifies chain and name.
        """
        openssl(self.port, NAME, self.anchors, say=UNBIND, starttls="ldap").expect(
            "Verification: OK", f"Verified peername: {NAME}"
        )
        record("ldap", "server", "openssl", "verified")

    def test_gnutls(self) -> None:
        """
        C{gnutls-cli} verifies chain and name.
        """
        gnutls(self.port, NAME, self.anchors, say=UNBIND, starttls="ldap").expect(
            "certificate is trusted"
        )
        record("ldap", "server", "gnutls-cli", "verified")

    def test_ldapsearch(self) -> None:
        """
        C{ldapsearch -ZZ} takes no answer but success.
        """
        search(self.port, "-ZZ", anchors=self.anchors).expect(f"mail: {MAIL}")
        record("ldap", "server", "ldapsearch", "entry found")

    def test_perl(self) -> None:
        """
        Net::LDAP verifies the name.
        """
        told = {
            "LDAP_PORT": str(self.port),
            "LDAP_CA": str(self.anchors),
            "LDAP_DN": USER,
            "LDAP_PASSWORD": PASSWORD,
        }
        find("/usr/share/perl5/Net/LDAP.pm", "libnet-ldap-perl")
        run(["perl", "-e", PERL], environment=told).expect(f"mail: {MAIL}")
        record("ldap", "server", "libnet-ldap-perl", "entry found")

    def test_ldap3(self) -> None:
        """
        ldap3 verifies the name.
        """
        tls = ldap3.Tls(
            validate=ssl.CERT_REQUIRED, ca_certs_file=str(self.anchors), valid_names=[NAME]
        )
        server = ldap3.Server("127.0.0.1", self.port, tls=tls)
        mode = ldap3.AUTO_BIND_TLS_BEFORE_BIND
        with ldap3.Connection(server, USER, PASSWORD, auto_bind=mode) as connection:
            self.assertEqual(found(connection), [MAIL])
        record("ldap", "server", "ldap3", "entry found")

    def test_aLoginBeforeTLSIsRefused(self) -> None:
        """
        The password is not forwarded.
        """
        before = self.slapd.log.count(f'BIND dn="{USER}"')
        search(self.port).expectFailure("Confidentiality required")
        self.assertEqual(self.slapd.log.count(f'BIND dn="{USER}"'), before)
