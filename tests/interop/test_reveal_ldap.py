"""
C{--reveal ldap} with OpenLDAP slapd: who is there for it, as ldapwhoami, ldapsearch, ldapmodify and
ldap3 see it, and as its own log has it.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import ClassVar

import ldap3

from tests.interop.harness import (
    InteropTestCase,
    Outcome,
    ServerCertificate,
    Stage,
    TunnelProcess,
    record,
    run,
    until,
)
from tests.interop.servers.openldap import (
    MAIL,
    PASSWORD,
    PEOPLE,
    PUBLIC,
    SUFFIX,
    TUNNEL,
    TUNNEL_PASSWORD,
    ProxiedOpenLDAP,
)
from tlstunnel.protocols.ber import INTEGER, OCTETS, element
from tlstunnel.reveal.ldapcontrols import WHO_AM_I, actingFor
from tlstunnel.reveal.ldapmessages import Request

NAME = "ldap.test.example"
ALICE = f"uid=alice,{PEOPLE}"
BOB = f"uid=bob,{PEOPLE}"

EXTERNAL = ("-Y", "EXTERNAL", "-Q")
ANONYMOUS = ("-x",)

_CHANGE = f"dn: {ALICE}\nchangetype: modify\nreplace: description\ndescription: %s\n"

_WHO = element(0x80, WHO_AM_I)
_BASE = element(OCTETS, SUFFIX.encode()) + bytes.fromhex("0a0100 0a0100 020100 020100 010100")
_CN = element(OCTETS, b"cn")
_NAMES = element(0x30, b"")


def _substrings(parts: bytes) -> bytes:
    return element(0x63, _BASE + element(0xA4, _CN + element(0x30, parts)) + _NAMES)


#: Requests that slapd reads in another way than they are written, each with what its log has.
DECEPTIONS = {
    Request(b"\x07", 0x77, element(0x77, _WHO + element(0x85, b""))): "WHOAMI",
    Request(b"\x08", 0x63, _substrings(element(0x80, b"") + element(0x82, b""))): "SRCH base",
    Request(b"\x09", 0x63, _substrings(b"\x82\x01x\x82\x01x\x82\x00")): "SRCH base",
}

_BIND = Request(
    b"\x01",
    0x60,
    element(
        0x60,
        element(INTEGER, b"\x03")
        + element(OCTETS, TUNNEL.encode())
        + element(0x80, TUNNEL_PASSWORD.encode()),
    ),
)


class RevealTests(InteropTestCase):
    """
    A directory that knows no TLS, and clients with certificates.
    """

    slapd: ClassVar[ProxiedOpenLDAP]
    alice: ClassVar[ServerCertificate]
    bob: ClassVar[ServerCertificate]
    stranger: ClassVar[ServerCertificate]
    host: ClassVar[ServerCertificate]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME, "127.0.0.1")
        cls.alice = stage.authority.issue("alice@test.example")
        cls.bob = stage.authority.issue("bob@test.example")
        cls.stranger = stage.authority.issue("alice@other.example")
        cls.host = stage.authority.issue("host.test.example")
        cls.slapd = stage.start(ProxiedOpenLDAP(stage.directory("slapd")))

    def serve(
        self,
        dialect: str | None = "ldap",
        *options: str,
        password: str = TUNNEL_PASSWORD,
        backend: str = "",
    ) -> TunnelProcess:
        """
        A tunnel that tells the directory who is there.
        """
        secret = self.stage.directory("secret")
        secret.touch(mode=0o600)
        secret.write_text(f"{password}\n")
        self.isImplicit = dialect is None
        words = ["--reveal", "ldap", "-R", "@.", "-R", "."]
        words += ["--ldap-bind-dn", TUNNEL, "--ldap-bind-password-file", str(secret)]
        self.proxy = self.serverMode(
            backend or f"127.0.0.1:{self.slapd.port}", NAME, dialect, *words, *options
        )
        return self.proxy

    def ask(self, program: str, files: ServerCertificate, *words: str, say: str = "") -> Outcome:
        """
        What one of OpenLDAP's clients gets.
        """
        port = self.proxy.port
        url = f"ldaps://127.0.0.1:{port}" if self.isImplicit else f"ldap://127.0.0.1:{port}"
        upgrade = () if self.isImplicit else ("-ZZ",)
        environment = {
            "LDAPTLS_CACERT": str(self.stage.authority.anchors),
            "LDAPTLS_CERT": str(files.chain),
            "LDAPTLS_KEY": str(files.key),
        }
        return run([program, "-H", url, *upgrade, *words], say=say, environment=environment)

    def test_whoamiSaysWhoTheCertificateIs(self) -> None:
        """
        With STARTTLS and with TLS from the first byte; without the login, nobody.
        """
        for dialect in "ldap", None:
            self.serve(dialect)
            self.ask("ldapwhoami", self.alice, *EXTERNAL).expect(f"dn:{ALICE}\n")
            self.ask("ldapwhoami", self.bob, *EXTERNAL).expect(f"dn:{BOB}\n")
            self.ask("ldapwhoami", self.alice, *ANONYMOUS).expect("anonymous\n")
        record("ldap", "server", self.slapd, "ldapwhoami by certificate (--reveal ldap)")

    def test_aDirectoryMayListenAtASocket(self) -> None:
        """
        Where nobody but the tunnel connects.
        """
        (socket,) = self.slapd.sockets
        self.serve(backend=str(socket))
        self.ask("ldapwhoami", self.alice, *EXTERNAL).expect(f"dn:{ALICE}\n")
        self.ask("ldapwhoami", self.alice, *ANONYMOUS).expect("anonymous\n")

    def test_aNameOfItsOwnIsTaken(self) -> None:
        """
        And no other.
        """
        self.serve()
        for own in "u:alice@test.example", f"dn:{ALICE}":
            self.ask("ldapwhoami", self.alice, *EXTERNAL, "-X", own).expect(f"dn:{ALICE}\n")
        for other in "u:bob@test.example", f"dn:{BOB}", f"dn:{TUNNEL}", "dn:":
            said = self.ask("ldapwhoami", self.alice, *EXTERNAL, "-X", other)
            said.expectFailure("Invalid credentials", "you are alice@test.example")

    def test_whoIsNoUserIsNobody(self) -> None:
        """
        A host; and somebody whom the directory does not know.
        """
        self.serve()
        self.ask("ldapwhoami", self.host, *EXTERNAL).expectFailure("Inappropriate authentication")
        self.ask("ldapwhoami", self.stranger, *EXTERNAL).expectFailure(
            "Invalid credentials", "not authorized to assume identity"
        )
        for files in self.host, self.stranger:
            self.ask("ldapwhoami", files, *ANONYMOUS).expect("anonymous\n")

    def test_aNameIsNoPartOfADN(self) -> None:
        """
        What means something in a DN means nothing in the name of a user.
        """
        self.serve()
        odd = self.stage.authority.issue("alice+cn=bob#x@test.example")
        self.ask("ldapwhoami", odd, *EXTERNAL).expect(f"dn:uid=alice\\2Bcn\\3Dbob#x,{PEOPLE}\n")

    def test_passwordsAreNotTaken(self) -> None:
        """
        Neither those of users nor that of the tunnel, and the directory does not hear of them.
        """
        self.serve()
        for name, password in ((ALICE, PASSWORD), (TUNNEL, TUNNEL_PASSWORD)):
            said = self.ask("ldapwhoami", self.alice, "-x", "-D", name, "-w", password)
            said.expectFailure("Authentication method not supported", "SASL EXTERNAL")
        self.assertNotIn(f'BIND dn="{ALICE}"', self.slapd.log)

    def test_searchesSeeWhatTheUserMaySee(self) -> None:
        """
        Anonymous clients see what is public, and nobody what the tunnel might.
        """
        self.serve()
        search = ("-LLL", "-b", SUFFIX)
        self.ask("ldapsearch", self.alice, *EXTERNAL, *search, "uid=alice", "mail").expect(
            f"mail: {MAIL}\n"
        )
        said = self.ask("ldapsearch", self.alice, *ANONYMOUS, *search, "description")
        self.assertIn(PUBLIC, said.expect())
        self.assertNotIn("uid=", said.text)

    def test_aChangeIsTheUsers(self) -> None:
        """
        It is allowed to whom it is, and noted as theirs.
        """
        self.serve(None)
        self.ask("ldapmodify", self.alice, *EXTERNAL, say=_CHANGE % "mine").expect()
        self.ask("ldapmodify", self.bob, *EXTERNAL, say=_CHANGE % "his").expectFailure(
            "Insufficient access"
        )
        self.ask("ldapmodify", self.alice, *ANONYMOUS, say=_CHANGE % "none").expectFailure(
            "authentication required"
        )
        wanted = ("-LLL", "-b", ALICE, "description", "modifiersName")
        self.ask("ldapsearch", self.bob, *EXTERNAL, *wanted).expect(
            "description: mine\n", f"modifiersName: {ALICE}\n"
        )

    def test_aPasswordIsChangedByItsUser(self) -> None:
        """
        By the extended operation, for which the control is known.
        """
        self.serve()
        self.ask("ldappasswd", self.bob, *EXTERNAL, "-s", "a new one").expect()
        self.ask("ldappasswd", self.bob, *EXTERNAL, "-s", "a new one", ALICE).expectFailure(
            "Insufficient access"
        )
        self.ask("ldappasswd", self.bob, *ANONYMOUS, "-s", "a new one", BOB).expectFailure()

    def test_aClientSaysForNobodyElse(self) -> None:
        """
        By the control that is ours, critical or not.
        """
        self.serve()
        for who in f"dn:{BOB}", f"dn:{ALICE}", "u:bob@test.example", "":
            said = self.ask("ldapwhoami", self.alice, *EXTERNAL, "-e", f"!authzid={who}")
            said.expectFailure("not for you to say")

    def test_controlsPassBesideOurs(self) -> None:
        """
        Pages, and what was there before and after a change.
        """
        self.serve()
        search = ("-LLL", "-b", PEOPLE, "-E", "pr=1/noprompt", "objectClass=person", "uid")
        said = self.ask("ldapsearch", self.alice, *EXTERNAL, *search).expect()
        self.assertIn("uid: alice", said)
        self.assertIn("uid: bob", said)
        change = ("-e", "!postread=description")
        self.ask("ldapmodify", self.alice, *EXTERNAL, *change, say=_CHANGE % "read").expect(
            "description: read"
        )

    def test_whatNamesSomebodyForTheLogDoesNotPass(self) -> None:
        """
        It is left out; what a client insists on is refused.
        """
        self.serve()
        told = ("-e", "sessiontracking=mallory")
        self.ask("ldapwhoami", self.alice, *EXTERNAL, *told).expect(f"dn:{ALICE}\n")
        self.ask("ldapwhoami", self.alice, *EXTERNAL, "-e", "!chaining").expectFailure(
            "Critical extension is unavailable"
        )
        self.assertNotIn("mallory", self.slapd.log)

    def test_ldap3(self) -> None:
        """
        Another implementation: it rebinds as well.
        """
        self.serve(None)
        tls = ldap3.Tls(
            local_private_key_file=str(self.alice.key),
            local_certificate_file=str(self.alice.chain),
            validate=ssl.CERT_REQUIRED,
            ca_certs_file=str(self.stage.authority.anchors),
            valid_names=[NAME],
        )
        server = ldap3.Server("127.0.0.1", self.proxy.port, use_ssl=True, tls=tls)
        with ldap3.Connection(
            server, authentication=ldap3.SASL, sasl_mechanism=ldap3.EXTERNAL, sasl_credentials=""
        ) as connection:
            self.assertEqual(connection.extend.standard.who_am_i(), f"dn:{ALICE}")
            connection.search(SUFFIX, "(uid=alice)", attributes=["mail"])
            self.assertEqual([str(entry.mail) for entry in connection.entries], [MAIL])
            connection.rebind(authentication=ldap3.ANONYMOUS)
            self.assertFalse(connection.extend.standard.who_am_i())
            connection.search(SUFFIX, "(uid=alice)", attributes=["mail"])
            self.assertEqual(connection.entries, [])
        record("ldap", "server", "ldap3", "whoami by certificate (--reveal ldap)")

    def test_theLogHasTheUser(self) -> None:
        """
        With each of the requests.
        """
        self.serve()
        self.ask("ldapwhoami", self.alice, *EXTERNAL).expect(f"dn:{ALICE}\n")
        self.assertSays(f'PROXYAUTHZ dn="{ALICE}"', self.slapd)

    def test_theLogHasTheAddressOfTheClient(self) -> None:
        """
        By a header of the PROXY protocol before all that.
        """
        backend = f"127.0.0.1:{self.slapd.ports['pldap']}"
        tunnel = self.serve("ldap", "--proxy-out", "v2", backend=backend)
        self.ask("ldapwhoami", self.alice, *EXTERNAL).expect(f"dn:{ALICE}\n")
        until(lambda: f" to {backend}: " in tunnel.log, "the client's address")
        address = tunnel.log.split(f" to {backend}: ")[0].split()[-1]
        self.assertSays(f"ACCEPT from IP={address} ", self.slapd)
        record("ldap", "server", self.slapd, "client's address (--proxy-out v2, pldap)")

    def test_whatTheServerReadsInAnotherWayDoesNotPass(self) -> None:
        """
        It looks for controls behind the last element that it knows, and would serve these for the
        tunnel, as it does here for who has its password: what no client must be able to send.
        """
        for request, name in DECEPTIONS.items():
            heard = self.slapd.log
            with socket.create_connection(("127.0.0.1", self.slapd.port)) as plain:
                plain.sendall(_BIND.written(()))
                plain.recv(1000)
                plain.sendall(request.written([actingFor(b"u:alice@test.example")]))
                plain.recv(1000)
            said = self.slapd.log.removeprefix(heard)
            self.assertIn(name, said)
            self.assertNotIn("PROXYAUTHZ", said)
        tunnel = self.serve(None)
        context = ssl.create_default_context(cafile=str(self.stage.authority.anchors))
        context.load_cert_chain(self.alice.chain, self.alice.key)
        before = len(self.slapd.log)
        for request in DECEPTIONS:
            with (
                socket.create_connection(("127.0.0.1", tunnel.port)) as sock,
                context.wrap_socket(sock, server_hostname=NAME) as inside,
                contextlib.suppress(ConnectionResetError),
            ):
                inside.sendall(request.written(()))
                self.assertEqual(inside.recv(1000), b"")
        until(lambda: tunnel.log.count("malformed") == len(DECEPTIONS), "the reasons")
        # Each time the tunnel has asked for nobody, and for alice.
        self.assertEqual(self.slapd.log[before:].count("WHOAMI"), 2 * len(DECEPTIONS))
        self.assertNotIn("SRCH", self.slapd.log[before:])

    def test_aWrongPasswordOfTheTunnelIsNamed(self) -> None:
        """
        With what to do about it.
        """
        tunnel = self.serve(password="jabberwocky")
        self.ask("ldapwhoami", self.alice, *EXTERNAL).expectFailure()
        until(lambda: "invalidCredentials (49) to our Bind" in tunnel.log, "the reason")
        self.assertSays("--ldap-bind-password-file", tunnel)
