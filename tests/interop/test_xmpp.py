"""
xmpp-client and xmpp-server with Prosody, in both modes.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from tests.interop.correspondents import (
    ALSO_FAR,
    ALSO_NEAR,
    BYE,
    FAR,
    NAME,
    NEAR,
    TEXT,
    Correspondent,
    Federated,
    Neighbours,
    betweenServers,
    exchange,
    federated,
)
from tests.interop.harness import (
    InteropTestCase,
    Stage,
    openssl,
    record,
    run,
    until,
)
from tests.interop.servers.ejabberd import FederatedEjabberd
from tests.interop.servers.prosody import BidirectionalProsody, Prosody

#: A host that has a certificate of its own.
GATE = "gate.test.example"


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
        stage.authority.issue(NEAR)
        cls.near = BidirectionalProsody(stage.directory("near"), None, NEAR)
        cls.far = federated(stage, cls.near, "s2s", other=BidirectionalProsody)

    def test_aMessageIsAnswered(self) -> None:
        """
        There through client mode, and back through server mode; on either stream both could write.
        """
        answers = asyncio.run(betweenServers(self.near, self.far, self.stage.authority.anchors))
        self.assertEqual(answers, (TEXT, f"Re: {TEXT}"))
        for server in (self.near, self.far):
            self.assertSays("Requested bidirectional stream", server)
        record("xmpp-server", "client", self.far, "message on a bidirectional stream (XEP-0288)")
        record("xmpp-server", "server", self.far, "message on a bidirectional stream (XEP-0288)")


class EjabberdAbroadTests(InteropTestCase):
    """
    Two servers with two domains each, of which the near one knows no TLS, and the other speaks to
    nobody without.  Either has one certificate for both.  The other is ejabberd.
    """

    neighbours: ClassVar[Neighbours]
    far: ClassVar[Federated]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NEAR, ALSO_NEAR)
        theirs = stage.authority.issue(FAR, ALSO_FAR)
        near = Prosody(stage.directory("near"), None, NEAR, ALSO_NEAR)
        cls.far = FederatedEjabberd(stage.directory("far"), theirs, FAR, ALSO_FAR)
        cls.neighbours = Neighbours(stage, near, cls.far, NEAR)

    def test_everybodyIsAnswered(self) -> None:
        """
        Users of all domains log in and write to those of all others.
        """
        answers = asyncio.run(self.neighbours.everybody())
        self.assertEqual(answers, [(TEXT, f"Re: {TEXT}")] * 4)
        for dialect in "xmpp-client", "xmpp-server":
            record(dialect, "client", self.far, "two domains with one certificate")
        record("xmpp-server", "server", self.far, "two domains with one certificate")
        record("xmpp-client", "server", "slixmpp", "two domains with one certificate")

    def test_aDomainThatIsNotOursIsUnknown(self) -> None:
        """
        Before TLS; all in the certificate are served.
        """
        anchors = self.stage.authority.anchors
        tunnels = self.neighbours.tunnels
        for domain in NEAR, ALSO_NEAR:
            openssl(
                tunnels.ports["back"],
                *(domain, anchors, "-xmpphost", domain),
                say=BYE,
                starttls="xmpp-server",
            ).expect(f"Verified peername: {domain}")
        for domain in FAR, f"x.{NEAR}":
            openssl(
                tunnels.ports["back"],
                *(NEAR, anchors, "-xmpphost", domain),
                starttls="xmpp-server",
            ).expectFailure()
            self.assertSays(f'"{domain}"', tunnels)


class EjabberdAtHomeTests(EjabberdAbroadTests):
    """
    The near one is ejabberd, and shows a certificate that is for none of its domains.
    """

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NEAR, ALSO_NEAR)
        stage.authority.issue(GATE)
        theirs = stage.authority.issue(FAR, ALSO_FAR)
        near = FederatedEjabberd(stage.directory("near"), None, NEAR, ALSO_NEAR)
        cls.far = Prosody(stage.directory("far"), theirs, FAR, ALSO_FAR)
        cls.neighbours = Neighbours(stage, near, cls.far, GATE)
