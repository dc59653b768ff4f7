"""
Who is there, as servers of XMPP tell it: the word C{xmpp}.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from tests.interop.correspondents import (
    FAR,
    NAME,
    NEAR,
    TEXT,
    Correspondent,
    betweenServers,
    federated,
)
from tests.interop.harness import (
    InteropTestCase,
    ServerCertificate,
    Stage,
    TunnelProcess,
    openssl,
    record,
)
from tests.interop.servers.ejabberd import KEY, Ejabberd
from tests.interop.servers.prosody import Prosody, TrustingProsody

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
        self.assertSays(f"Authenticated as alice@{NAME}", self.prosody)
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

    def test_whatIsPipelinedIsNobodyElse(self) -> None:
        """
        Another login behind the first, another domain, another way: the connection ends, and
        Prosody hears of alice, or of nobody.
        """
        header = (
            f"<stream:stream to='{NAME}' version='1.0' xmlns='jabber:client'"
            " xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        login = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>{}</auth>"
        bob = login.format("Ym9iQHRlc3QuZXhhbXBsZQ==")
        alice = login.format("=")
        files = ("-cert", str(self.alice.chain), "-key", str(self.alice.key))
        tunnel = self.tunnelled(None)
        for words in (
            f"{header}{alice}{bob}",
            f"{header}{alice}{header.replace(NAME, 'other.example')}",
            f"{header}<!-- -->{bob}",
            f"{header}<authenticate xmlns='urn:xmpp:sasl:2' mechanism='EXTERNAL'/>",
            f"{header}<iq type='set' id='1'><query xmlns='jabber:iq:auth'/></iq>",
        ):
            said = openssl(tunnel.port, NAME, self.alice.anchors, *files, say=words).text
            self.assertNotIn("<bind", said)
        self.assertNotIn("Authenticated as bob", self.prosody.log)

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
        self.assertSays(f"for alice@{NAME} by jwt backend", self.ejabberd)
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
        self.assertSays("it does not let us log in for others", tunnel)
        self.assertSays("hint: let the server believe the tunnel", tunnel)


class XMPPServerTests(InteropTestCase):
    """
    Prosody believes a tunnel which server it is that calls.
    """

    near: ClassVar[TrustingProsody]
    far: ClassVar[Prosody]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NEAR)
        cls.near = TrustingProsody(stage.directory("near"), None, NEAR)
        cls.far = federated(stage, cls.near, "tunnel-s2s", "-R", FAR, "--reveal", "xmpp")

    def test_aServerLogsInByItsCertificate(self) -> None:
        """
        And delivers a message to a user.
        """
        anchors = self.stage.authority.anchors
        answers = asyncio.run(betweenServers(self.near, self.far, anchors, isFarFirst=True))
        self.assertEqual(answers, (TEXT, f"Re: {TEXT}"))
        self.assertSays(f"Accepting SASL EXTERNAL identity from {self.far.domain}", self.near)
        record("xmpp-server", "server", self.far, "login by certificate at Prosody (EXTERNAL)")

    def test_aServerIsNoOtherDomain(self) -> None:
        """
        Whatever its stream says: Prosody does not hear of it.
        """
        files = self.stage.authority.pool / self.far.domain
        shown = ("-cert", str(files / "fullchain.pem"), "-key", str(files / "privkey.pem"))
        backend = f"127.0.0.1:{self.near.ports['tunnel-s2s']}"
        options = ("-R", self.far.domain, "--reveal", "xmpp")
        tunnel = self.serverMode(backend, self.near.domain, None, *options)
        words = (
            f"<stream:stream from='evil.test.example' to='{self.near.domain}' version='1.0'"
            " xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        anchors = self.stage.authority.anchors
        said = openssl(tunnel.port, self.near.domain, anchors, *shown, say=words).text
        self.assertIn("<invalid-from", said)
        self.assertNotIn("evil.test.example", self.near.log)
