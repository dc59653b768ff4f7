"""
Who is there, as servers of XMPP and IRC tell it: the words C{xmpp} and C{irc}.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from tests.interop.harness import (
    InteropTestCase,
    ServerCertificate,
    Stage,
    TunnelProcess,
    openssl,
    record,
)
from tests.interop.servers.prosody import Prosody, TrustingProsody
from tests.interop.test_xmpp import NAME, TEXT, Correspondent


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
        cls.prosody = stage.start(TrustingProsody(stage.directory("prosody")))

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
        On the other port Prosody wants a password, whoever asks.
        """
        login = (
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>YWxpY2U=</auth>"
        )
        self.assertIn("<invalid-mechanism", self.say("c2s", login))
        self.assertNotIn("EXTERNAL", self.say("c2s", ""))
        self.assertIn("<invalid-authzid", self.say("tunnel-c2s", login))

    def say(self, service: str, words: str) -> str:
        """
        What Prosody answers on one of its ports.
        """

        async def talk() -> str:
            port = self.prosody.ports[service]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                f"<stream:stream to='{NAME}' version='1.0' xmlns='jabber:client'"
                f" xmlns:stream='http://etherx.jabber.org/streams'>{words}</stream:stream>".encode()
            )
            said = await asyncio.wait_for(reader.read(), 20)
            writer.close()
            return said.decode()

        return asyncio.run(talk())


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
