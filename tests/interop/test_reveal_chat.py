"""
Who is there, as servers of XMPP and IRC tell it: the words C{xmpp} and C{irc}.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any, ClassVar

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from tests.interop.dialogue import Dialogue
from tests.interop.harness import (
    InteropTestCase,
    ServerCertificate,
    Stage,
    TunnelProcess,
    openssl,
    record,
    until,
    verified,
)
from tests.interop.servers.ejabberd import KEY, Ejabberd
from tests.interop.servers.inn import NNRPD
from tests.interop.servers.irc import NAME as IRC
from tests.interop.servers.irc import InspIRCd, NgIRCd
from tests.interop.servers.prosody import Prosody, TrustingProsody
from tests.interop.test_irc import register
from tests.interop.test_xmpp import NAME, TEXT, Correspondent

#: A login of somebody who is no bare JID.
EXTERNAL = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>YWxpY2U=</auth>"


async def say(port: int, words: str, content: str = "jabber:client", before: bytes = b"") -> str:
    """
    What a server answers in clear, up to its end.

    @param words: what a stream carries.
    @param before: what comes before it.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    header = (
        f"<stream:stream from='peer.example' to='{NAME}' version='1.0' xmlns='{content}'"
        f" xmlns:stream='http://etherx.jabber.org/streams'>{words}</stream:stream>"
    )
    writer.write(before + header.encode())
    said = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return said.decode()


class Certified(Correspondent):
    """
    A user who shows a certificate.
    """

    def __init__(
        self, resource: str, port: int, certificate: ServerCertificate, mechanism: str
    ) -> None:
        super().__init__(NAME, resource, port, certificate.anchors)
        context: Any = self.ssl_context
        context.load_cert_chain(certificate.chain, certificate.key)
        mechanisms: Any = self["feature_mechanisms"]
        mechanisms.use_mech = mechanism
        self.credentials = {"authzid": "", "password": "not the right one"}
        self.failed = asyncio.get_running_loop().create_future()
        self.add_event_handler("failed_all_auth", self._fail)

    def _fail(self, event: object) -> None:
        if not self.failed.done():
            self.failed.set_result(None)


class XMPPClientTests(InteropTestCase):
    """
    Prosody believes a tunnel, and clients log in by certificate.
    """

    prosody: ClassVar[TrustingProsody]
    alice: ClassVar[ServerCertificate]
    bob: ClassVar[ServerCertificate]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME)
        cls.alice = stage.authority.issue(f"alice@{NAME}")
        cls.bob = stage.authority.issue(f"bob@{NAME}")
        cls.prosody = TrustingProsody(stage.directory("prosody"))
        cls.prosody.inClear = False
        stage.start(cls.prosody)

    def tunnelled(self, dialect: str | None = "xmpp-client") -> TunnelProcess:
        """
        A tunnel that reveals its clients.
        """
        backend = f"127.0.0.1:{self.prosody.ports['tunnel-c2s']}"
        return self.serverMode(backend, NAME, dialect, "-R", f"@{NAME}", "--reveal", "xmpp")

    def test_aCertificateIsTheLogin(self) -> None:
        """
        With EXTERNAL, and for programs that only know PLAIN with any password.
        """
        port = self.tunnelled().port

        async def exchange() -> tuple[str, str]:
            async with (
                Certified("first", port, self.alice, "EXTERNAL") as first,
                Certified("second", port, self.alice, "PLAIN") as second,
            ):
                self.assertEqual(first.boundjid.full, f"alice@{NAME}/first")
                self.assertEqual(second.boundjid.full, f"alice@{NAME}/second")
                return await first.correspond(second)

        self.assertEqual(asyncio.run(exchange()), (TEXT, f"Re: {TEXT}"))
        self.assertIn(f"Authenticated as alice@{NAME}", self.prosody.log)
        record("xmpp-client", "server", "slixmpp", "login by certificate (EXTERNAL, PLAIN)")

    def test_anotherCertificateIsNot(self) -> None:
        """
        Whatever it says, and whether Prosody knows its user or not.
        """
        port = self.tunnelled().port
        before = self.prosody.log.count("Authenticated as")

        async def attempt(mechanism: str) -> None:
            client = Certified("first", port, self.bob, mechanism)
            client.connect("127.0.0.1", port)
            await asyncio.wait_for(client.failed, 20)
            await client.disconnect(wait=1)

        for mechanism in "EXTERNAL", "PLAIN":
            asyncio.run(attempt(mechanism))
        self.assertEqual(self.prosody.log.count("Authenticated as"), before)

    def test_openssl(self) -> None:
        """
        TLS from the first byte; the bytes on the wire.
        """
        header = (
            f"<stream:stream to='{NAME}' version='1.0' xmlns='jabber:client'"
            " xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        login = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>"
        files = ("-cert", str(self.alice.chain), "-key", str(self.alice.key))
        port = self.tunnelled(None).port
        talk = f"{header}{login}{header}</stream:stream>"
        said = openssl(port, NAME, self.alice.anchors, *files, say=talk).expect("<success", "<bind")
        self.assertNotIn("starttls", said)

    def test_nobodyGoesRoundTheTunnel(self) -> None:
        """
        On the other port Prosody wants TLS and a password, whoever asks.
        """
        ports = self.prosody.ports
        said = asyncio.run(say(ports["c2s"], EXTERNAL))
        self.assertNotIn("EXTERNAL", said)
        self.assertNotIn("<success", said)
        self.assertIn("<invalid-authzid", asyncio.run(say(ports["tunnel-c2s"], EXTERNAL)))


class EjabberdTests(InteropTestCase):
    """
    ejabberd believes a key.
    """

    ejabberd: ClassVar[Ejabberd]
    alice: ClassVar[ServerCertificate]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME)
        cls.alice = stage.authority.issue(f"alice@{NAME}")
        cls.ejabberd = stage.start(Ejabberd(stage.directory("ejabberd")))

    def tunnelled(self, *options: str) -> TunnelProcess:
        """
        A tunnel that reveals its clients.
        """
        backend = f"127.0.0.1:{self.ejabberd.ports['c2s']}"
        words = ("-R", f"@{NAME}", "--reveal", "xmpp", *options)
        return self.serverMode(backend, NAME, "xmpp-client", *words)

    def test_aCertificateIsTheLogin(self) -> None:
        """
        By a token that the tunnel signs.
        """
        path = self.stage.base / "key"
        path.touch(mode=0o600)
        path.write_text(f"jwt:{KEY}\n")
        port = self.tunnelled("--login-auth-file", str(path)).port

        async def exchange() -> tuple[str, str]:
            async with (
                Certified("first", port, self.alice, "EXTERNAL") as first,
                Certified("second", port, self.alice, "PLAIN") as second,
            ):
                self.assertEqual(first.boundjid.full, f"alice@{NAME}/first")
                return await first.correspond(second)

        self.assertEqual(asyncio.run(exchange()), (TEXT, f"Re: {TEXT}"))
        self.assertIn(f"for alice@{NAME} by jwt backend", self.ejabberd.log)
        record("xmpp-client", "server", self.ejabberd, "login by certificate (JWT)")

    def test_itKnowsNoExternalWithoutTLS(self) -> None:
        """
        Not for clients, where a header of the PROXY protocol tells of TLS neither, nor for servers.
        """
        tls = b"\x20\0\x0d\x07\0\0\0\0\x22\0\x05alice"
        addresses = bytes([192, 0, 2, 7, 192, 0, 2, 1, 160, 0, 20, 102]) + tls
        head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + len(addresses).to_bytes(2, "big") + addresses
        for service, content, before in (
            ("c2s", "jabber:client", b""),
            ("proxied", "jabber:client", head),
            ("s2s", "jabber:server", b""),
        ):
            said = asyncio.run(say(self.ejabberd.ports[service], EXTERNAL, content, before))
            self.assertNotIn("EXTERNAL<", said)
            self.assertIn("unsupported_mechanism", said)
        tunnel = self.tunnelled()

        async def attempt() -> None:
            client = Certified("first", tunnel.port, self.alice, "EXTERNAL")
            client.connect("127.0.0.1", tunnel.port)
            await asyncio.wait_for(client.failed, 20)
            await client.disconnect(wait=1)

        asyncio.run(attempt())
        self.assertIn("it does not let us log in for others", tunnel.log)
        self.assertIn("hint: let the server believe the tunnel", tunnel.log)


class XMPPServerTests(InteropTestCase):
    """
    Prosody believes a tunnel which server it is that calls.
    """

    near: ClassVar[TrustingProsody]
    far: ClassVar[Prosody]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        names = ("near.test.example", "far.test.example")
        stage.authority.issue(names[0])
        certificate = stage.authority.issue(names[1])
        near = TrustingProsody(stage.directory("near"), None, names[0])
        far = Prosody(stage.directory("far"), certificate, names[1])
        common = ("--pool", str(stage.authority.pool), "--starttls", "xmpp-server", "-r")
        there = stage.start(
            TunnelProcess(
                *(stage.directory("there"), *common, f"127.0.0.1:{far.ports['s2s']}", "-c")
            )
        )
        back = stage.start(
            TunnelProcess(
                *(stage.directory("back"), *common, f"127.0.0.1:{near.ports['tunnel-s2s']}"),
                *("-s", "-L", names[0], "-R", names[1], "--reveal", "xmpp"),
            )
        )
        near.peer = (names[1], there.port)
        far.peer = (names[0], back.port)
        cls.near, cls.far = stage.start(near), stage.start(far)

    def test_aServerLogsInByItsCertificate(self) -> None:
        """
        And delivers a message to a user.
        """

        async def federate() -> tuple[str, str]:
            near, far = self.near.ports["c2s"], self.far.ports["c2s"]
            anchors = self.stage.authority.anchors
            async with (
                Correspondent(self.near.domain, "here", near, None) as here,
                Correspondent(self.far.domain, "there", far, anchors) as there,
            ):
                return await there.correspond(here)

        self.assertEqual(asyncio.run(federate()), (TEXT, f"Re: {TEXT}"))
        self.assertIn(f"Accepting SASL EXTERNAL identity from {self.far.domain}", self.near.log)
        record("xmpp-server", "server", self.far, "login by certificate at Prosody (EXTERNAL)")


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
        server = stage.authority.issue(IRC)
        cls.alice = stage.authority.issue(f"alice@{NAME}")
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
        return self.serverMode(f"127.0.0.1:{port}", IRC, dialect, *words, *options)

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
            client.ask("STARTTLS", f":{IRC} 670")
        client.startTLS(context, IRC)
        return client

    def whois(self, client: Dialogue) -> str:
        """
        What the server knows of its client.
        """
        register(client, "alice")
        return "\n".join(client.ask("WHOIS alice", f":{IRC} 318"))

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
        inner = self.clientMode(f"127.0.0.1:{self.secure.port}", IRC, "irc")
        tunnel = self.tunnelled(inner.port, "irc", "-R", f"@{NAME}")
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
            self.assertIn("it does not take WEBIRC from us", tunnel.log)


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
