"""
xmpp-client and xmpp-server with Prosody, in both modes.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any, ClassVar

import slixmpp

from tests.interop.harness import (
    InteropTestCase,
    Stage,
    TunnelProcess,
    openssl,
    record,
    run,
    until,
    verified,
)
from tests.interop.servers.prosody import PASSWORD, USER, Prosody

NAME = "test.example"
TEXT = "the Snark was a Boojum"

#: What makes a server close inside TLS.
BYE = "</stream:stream>"


class Correspondent(slixmpp.ClientXMPP):
    """
    A user who answers a message with the same message, and remembers all that came.
    """

    def __init__(self, domain: str, resource: str, port: int, anchors: Path | None) -> None:
        """
        @param anchors: STARTTLS with a good certificate for the domain; None: no TLS.
        """
        context = ssl.create_default_context() if anchors is None else verified(anchors)
        super().__init__(f"{USER}@{domain}/{resource}", PASSWORD, ssl_context=context)
        self.enable_direct_tls = False
        self.enable_starttls = anchors is not None
        self.enable_plaintext = anchors is None
        if anchors is None:
            mechanisms: Any = self["feature_mechanisms"]
            mechanisms.unencrypted_scram = True
            mechanisms.unencrypted_plain = True
        self.online = asyncio.get_running_loop().create_future()
        self.received: asyncio.Queue[str] = asyncio.Queue()
        self._port = port
        self.add_event_handler("session_start", self._begin)
        self.add_event_handler("message", self._message)

    async def __aenter__(self) -> Correspondent:
        self.connect("127.0.0.1", self._port)
        await asyncio.wait_for(asyncio.shield(self.online), 20)
        return self

    async def __aexit__(self, *reason: object) -> None:
        self.cancel_connection_attempt()
        await self.disconnect(wait=2)

    async def _begin(self, event: object) -> None:
        self.send_presence()
        self.online.set_result(None)

    def _message(self, message: slixmpp.Message) -> None:
        body = str(message["body"])
        self.received.put_nowait(body)
        if not body.startswith("Re: "):
            message.reply(f"Re: {body}").send()

    async def correspond(self, other: Correspondent) -> tuple[str, str]:
        """
        @return: what the other got, and what came back.
        """
        self.send_message(mto=other.boundjid, mbody=TEXT, mtype="chat")
        there = await asyncio.wait_for(other.received.get(), 20)
        return there, await asyncio.wait_for(self.received.get(), 20)


async def exchange(port: int, anchors: Path | None) -> tuple[str, str]:
    """
    A message between two resources of one user, and its answer, by slixmpp.
    """
    async with (
        Correspondent(NAME, "first", port, anchors) as first,
        Correspondent(NAME, "second", port, anchors) as second,
    ):
        return await first.correspond(second)


class ClientModeTests(InteropTestCase):
    """
    Clients that know no TLS, and a server where nobody logs in without.
    """

    prosody: ClassVar[Prosody]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.prosody = stage.start(Prosody(stage.directory("prosody"), stage.authority.issue(NAME)))

    def test_aMessageIsAnswered(self) -> None:
        """
        The domain that the client asks for is who the server must be; no C{-R} is needed.
        """
        remote = f"127.0.0.1:{self.prosody.ports['c2s']}"
        tunnel = self.tunnel("-c", "-r", remote, "--starttls", "xmpp-client")
        answers = asyncio.run(exchange(tunnel.port, None))
        self.assertEqual(answers, (TEXT, f"Re: {TEXT}"))
        record("xmpp-client", "client", self.prosody, "message sent and answered by slixmpp")

    def test_aServerThatIsSomebodyElseGetsNoPassword(self) -> None:
        """
        The client does not come online, and the log names both.
        """
        other = Prosody(
            self.stage.directory("other"), self.prosody.certificates, "other.test.example"
        )
        other.start()
        self.addCleanup(other.stop)
        remote = f"127.0.0.1:{other.ports['c2s']}"
        tunnel = self.tunnel("-c", "-r", remote, "--starttls", "xmpp-client")

        async def come() -> None:
            async with Correspondent("other.test.example", "first", tunnel.port, None):
                self.fail("online")

        async def attempt() -> None:
            coming = asyncio.ensure_future(come())
            reason = asyncio.to_thread(
                until, lambda: "other.test.example" in tunnel.log and NAME in tunnel.log, "reason"
            )
            await reason
            coming.cancel()

        asyncio.run(attempt())


class ServerModeTests(InteropTestCase):
    """
    A server that knows no TLS, and clients that insist on it.
    """

    prosody: ClassVar[Prosody]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME)
        stage.authority.issue("localhost")
        cls.prosody = stage.start(Prosody(stage.directory("prosody")))

    def setUp(self) -> None:
        super().setUp()
        self.anchors = self.stage.authority.anchors

    def started(self, service: str, dialect: str) -> int:
        """
        The port of a tunnel to one of Prosody's.
        """
        return self.serverMode(f"127.0.0.1:{self.prosody.ports[service]}", NAME, dialect).port

    def test_openssl(self) -> None:
        """
        C{s_client} verifies chain and name, for clients and for servers.
        """
        for service, dialect, starttls in (
            ("c2s", "xmpp-client", "xmpp"),
            ("s2s", "xmpp-server", "xmpp-server"),
        ):
            port = self.started(service, dialect)
            host = ("-xmpphost", NAME)
            openssl(port, NAME, self.anchors, *host, say=BYE, starttls=starttls).expect(
                "Verification: OK", f"Verified peername: {NAME}"
            )
            record(dialect, "server", "openssl", "verified")

    def test_gnutls(self) -> None:
        """
        C{gnutls-cli} verifies chain and name, and asks for the domain by which it connects.
        """
        backend = f"127.0.0.1:{self.prosody.ports['c2s']}"
        port = self.serverMode(backend, "localhost", "xmpp-client").port
        run(
            [
                *("gnutls-cli", "--starttls-proto=xmpp", f"--x509cafile={self.anchors}"),
                *(f"--port={port}", "localhost"),
            ],
            BYE,
        ).expect("certificate is trusted")
        record("xmpp-client", "server", "gnutls-cli", "verified")

    def test_slixmpp(self) -> None:
        """
        slixmpp verifies the domain.
        """
        port = self.started("c2s", "xmpp-client")
        answers = asyncio.run(exchange(port, self.anchors))
        self.assertEqual(answers, (TEXT, f"Re: {TEXT}"))
        record("xmpp-client", "server", "slixmpp", "message sent and answered")


class FederationTests(InteropTestCase):
    """
    Two servers, of which one knows no TLS, and the other speaks to nobody without: a tunnel in
    each mode stands between them.  They prove their domains to each other by dialback.
    """

    near: ClassVar[Prosody]
    far: ClassVar[Prosody]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        names = ("near.test.example", "far.test.example")
        stage.authority.issue(names[0])
        certificate = stage.authority.issue(names[1])
        near = Prosody(stage.directory("near"), None, names[0])
        far = Prosody(stage.directory("far"), certificate, names[1])
        common = ("--pool", str(stage.authority.pool), "--starttls", "xmpp-server", "-r")
        there = stage.start(
            TunnelProcess(
                *(stage.directory("there"), *common, f"127.0.0.1:{far.ports['s2s']}", "-c")
            )
        )
        back = stage.start(
            TunnelProcess(
                *(stage.directory("back"), *common, f"127.0.0.1:{near.ports['s2s']}"),
                *("-s", "-L", names[0]),
            )
        )
        near.peer = (names[1], there.port)
        far.peer = (names[0], back.port)
        cls.near, cls.far = stage.start(near), stage.start(far)

    def test_aMessageIsAnsweredByAnotherServer(self) -> None:
        """
        There through client mode, and back through server mode.
        """

        async def federate() -> tuple[str, str]:
            near, far = self.near.ports["c2s"], self.far.ports["c2s"]
            anchors = self.stage.authority.anchors
            async with (
                Correspondent(self.near.domain, "here", near, None) as here,
                Correspondent(self.far.domain, "there", far, anchors) as there,
            ):
                return await here.correspond(there)

        self.assertEqual(asyncio.run(federate()), (TEXT, f"Re: {TEXT}"))
        record("xmpp-server", "client", self.far, "message to another server")
        record("xmpp-server", "server", self.far, "message from another server")
