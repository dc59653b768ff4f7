"""
Who is there, as servers of IRC tell it, by the word C{irc}; and that INN cannot be told.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import ClassVar

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from tests.interop.dialogue import Dialogue
from tests.interop.harness import (
    InteropTestCase,
    ServerCertificate,
    Stage,
    TunnelProcess,
    record,
    until,
    verified,
)
from tests.interop.servers.inn import NNRPD
from tests.interop.servers.irc import NAME, InspIRCd, NgIRCd
from tests.interop.test_irc import register

PASSWORD = "open-sesame"

#: Where a client of the tunnel is: not where the tunnel is.
SOURCE = "127.0.0.2"


class IRCTests(InteropTestCase):
    """
    InspIRCd and ngIRCd know the tunnel as a gateway.
    """

    alice: ClassVar[ServerCertificate]
    inspircd: ClassVar[InspIRCd]
    secure: ClassVar[InspIRCd]
    ngircd: ClassVar[NgIRCd]
    password: ClassVar[Path]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.password = stage.base / "password"
        cls.password.touch(mode=0o600)
        cls.password.write_text(f"{PASSWORD}\n")
        server = stage.authority.issue(NAME)
        cls.alice = stage.authority.issue("alice@test.example")
        cls.inspircd, cls.secure = (
            InspIRCd(stage.directory("inspircd"), each) for each in (None, server)
        )
        cls.ngircd = NgIRCd(stage.directory("ngircd"))
        for each in (cls.inspircd, cls.secure, cls.ngircd):
            each.password = PASSWORD
            stage.start(each)

    def tunnelled(self, port: int, dialect: str | None, *options: str) -> TunnelProcess:
        """
        A tunnel that reveals its clients.
        """
        words = ("--reveal", "irc", "--webirc-password-file", str(self.password))
        return self.serverMode(f"127.0.0.1:{port}", NAME, dialect, *words, *options)

    def connected(
        self, tunnel: TunnelProcess, dialect: str | None, certificate: ServerCertificate | None
    ) -> Dialogue:
        """
        A client inside TLS.
        """
        context: ssl.SSLContext = verified(self.stage.authority.anchors)
        if certificate is not None:
            context.load_cert_chain(certificate.chain, certificate.key)
        client = Dialogue("127.0.0.1", tunnel.port, source=SOURCE)
        if dialect is not None:
            client.ask("STARTTLS", f":{NAME} 670")
        client.startTLS(context, NAME)
        return client

    def whois(self, client: Dialogue) -> str:
        """
        What the server knows of its client.
        """
        register(client, "alice")
        return "\n".join(client.ask("WHOIS alice", f":{NAME} 318"))

    def test_theAddressIsTheClients(self) -> None:
        """
        With STARTTLS and with TLS from the first byte.
        """
        for server in self.inspircd, self.ngircd:
            for dialect in "irc", None:
                tunnel = self.tunnelled(server.port, dialect)
                with self.connected(tunnel, dialect, None) as client:
                    said = self.whois(client)
                self.assertIn(SOURCE, said)
                self.assertNotIn("127.0.0.1", said)
            record("irc", "server", server, "the client's address (WEBIRC)")

    def test_theFingerprintIsTheClients(self) -> None:
        """
        InspIRCd believes it where the gateway, too, connects by TLS: here by another tunnel.
        """
        inner = self.clientMode(f"127.0.0.1:{self.secure.port}", NAME, "irc")
        tunnel = self.tunnelled(inner.port, "irc", "-R", "@test.example")
        with self.connected(tunnel, "irc", self.alice) as client:
            said = self.whois(client)
        certificate = x509.load_pem_x509_certificate(self.alice.chain.read_bytes())
        self.assertIn(f"fingerprint {certificate.fingerprint(SHA256()).hex()}", said)
        self.assertIn("is using a secure connection", said)
        self.assertIn(SOURCE, said)
        record("irc", "server", self.secure, "the client's certificate (WEBIRC)")

    def test_noClientIsAGateway(self) -> None:
        """
        Although it knows the password, and the server would take it from where the tunnel is.
        """
        words = f"WEBIRC {PASSWORD} x 192.0.2.66 192.0.2.66"
        for server in self.inspircd, self.ngircd:
            with Dialogue("127.0.0.1", server.port) as client:
                client.send(words)
                self.assertIn("192.0.2.66", self.whois(client))
            tunnel = self.tunnelled(server.port, "irc")
            for spelling in (words, f":x {words.lower()}", f"NICK bob\nUSER b 0 * :b\n{words}"):
                with self.connected(tunnel, "irc", None) as client:
                    client.send(spelling)
                    self.assertRaises((EOFError, ConnectionError), client.expect, "nothing")
            until(lambda: tunnel.log.count("forged: ") == 3, "the reason")  # noqa: B023

    def test_aServerThatDoesNotKnowTheTunnelIsNotTakenForOneThatDoes(self) -> None:
        """
        The log says what is wrong.
        """
        self.password.write_text("open-rice\n")
        self.addCleanup(self.password.write_text, f"{PASSWORD}\n")
        for server in self.inspircd, self.ngircd:
            tunnel = self.tunnelled(server.port, "irc")
            with self.connected(tunnel, "irc", None) as client:
                client.send("NICK alice")
                self.assertRaises((EOFError, ConnectionError), client.expect, "nothing")
            hint = "hint: let the server know the tunnel as a WEBIRC gateway"
            until(lambda: hint in tunnel.log, "the hint")  # noqa: B023
            self.assertSays("it does not take WEBIRC from us", tunnel)


class NNTPTests(InteropTestCase):
    """
    INN cannot be told: nothing of it is for nntp.
    """

    def test_innKnowsNoWordForIt(self) -> None:
        """
        Neither a header of the PROXY protocol, nor XCLIENT, nor a login that is not a password.
        """
        inn = self.stage.start(NNRPD(self.stage.directory("inn")))
        for words in (
            "PROXY TCP4 192.0.2.7 192.0.2.1 41000 119",
            "XCLIENT ADDR=192.0.2.7",
            "AUTHINFO SASL EXTERNAL =",
        ):
            with Dialogue("127.0.0.1", inn.port) as client:
                client.expect("200 ")
                said = client.ask("CAPABILITIES", ".")
                self.assertFalse([line for line in said if "EXTERNAL" in line])
                client.send(words)
                self.assertRegex(client.line(), "^(50[0-3]|48[0-3]) ")
