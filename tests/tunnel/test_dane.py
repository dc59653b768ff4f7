"""
Tests for L{tlstunnel.tunnel.dane}: which servers are believed, by records that come from DNS.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent
from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Issued
from tests.identity.test_tlsa import record
from tests.loopback import PATIENCE, SERVER, Encrypted, TunnelTests, smtpServer, wait
from tests.resolvers import Resolver, answer, tlsa
from tests.tls.test_dane import GOOD
from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import ConfigurationError, ConnectFailed, IdentityRefused
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.tlsa import TLSA
from tlstunnel.net import dnssec
from tlstunnel.net.dnsmessages import Answer, LookupFailed
from tlstunnel.protocols.registry import find
from tlstunnel.tls.dane import TLSAVerifier
from tlstunnel.tunnel import dane
from tlstunnel.tunnel.dane import TLSALookup
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.trust import TunnelTrust

MX = Identity(None, "mx.example.org")
RESOLVER = TCPAddress("127.0.0.1", 53)
REMOTE = TCPAddress("192.0.2.1", 25)


def wire(one: TLSA) -> bytes:
    """A record as DNS has it."""
    return bytes([one.usage, one.selector, one.matching]) + one.data


class _Scripted:
    """
    Stands for a resolver.

    @ivar asked: the names, with what waits for what is said of them.
    """

    address = RESOLVER

    def __init__(self) -> None:
        self.asked: list[tuple[str, Deferred[Answer]]] = []

    async def ask(self, name: str, kind: int) -> Answer:
        """Wait for what the test says."""
        assert kind == 52
        saying: Deferred[Answer] = Deferred()
        self.asked.append((name, saying))
        return await saying

    def say(self, *records: bytes, isSecure: bool = True, seconds: float = 60) -> None:
        """Answer the last question."""
        self.asked[-1][1].callback(Answer(isSecure, records, seconds))

    def fail(self, error: Exception) -> None:
        """Answer it with a failure."""
        self.asked[-1][1].errback(error)


class LookupTests(SynchronousTestCase):
    """Looking records up."""

    def setUp(self) -> None:
        """A lookup, and a tunnel that believes nobody else."""
        self.clock = Clock()
        self.resolver = _Scripted()
        asked: Any = self.resolver
        self.lookup = TLSALookup(asked, self.clock)
        self.pool = Pool(Path(self.mktemp()), asked=False)
        self.prepared = self.prepare("dane")

    def prepare(self, *trust: str) -> Prepared:
        """A tunnel."""
        tunnel = Tunnel(
            Mode.CLIENT,
            (),
            (REMOTE,),
            find("none"),
            remoteID=MX,
            pool=self.pool,
            trust=trust,
            daneResolver=RESOLVER,
        )
        return Prepared(tunnel)

    def creator(self, prepared: Prepared | None = None, server: Any = REMOTE) -> Deferred[Any]:
        """Ask what makes connections to the server."""
        prepared = prepared or self.prepared
        return Deferred.fromCoroutine(self.lookup.creatorFor(prepared, MX, server))

    def test_theNameThatIsAskedFor(self) -> None:
        """It has the configured name, and the port that was connected to."""
        self.creator(server=TCPAddress("192.0.2.9", 587)).addErrback(lambda _: None)
        self.assertEqual(self.resolver.asked[0][0], "_587._tcp.mx.example.org")

    def test_recordsDecide(self) -> None:
        """Those that count, of all there are."""
        creating = self.creator()
        self.assertNoResult(creating)
        self.resolver.say(wire(record("3 1 1", GOOD)), wire(record("3 1 2", GOOD)), b"\1\1\1x")
        verifier = self.successResultOf(creating)._verifier
        assert isinstance(verifier, TLSAVerifier)
        self.assertEqual(verifier.expected, MX)
        self.assertEqual(str(verifier._records), "TLSA 3 1 2 of _25._tcp.mx.example.org")

    def test_creatorsAndContextsAreUsedAgain(self) -> None:
        """For the same records the same creator; for others another one with the same context."""
        creators = []
        for one in "3 1 1", "3 1 1", "3 0 1":
            creating = self.creator()
            self.resolver.say(wire(record(one, GOOD)), seconds=0)
            creators.append(self.successResultOf(creating))
        self.assertIs(creators[0], creators[1])
        self.assertIsNot(creators[0], creators[2])
        self.assertIs(creators[0].context, creators[2].context)

    def test_whereThereAreNoneNobodyIsBelieved(self) -> None:
        """Neither by an answer that is not validated, nor by what is not usable."""
        good = wire(record("3 1 1", GOOD))
        for records, isSecure, cause in (
            ([], True, "no records"),
            ([], False, "insecure"),
            ([good], False, "insecure"),
            ([b"\1\1\1" + b"d" * 32], True, "unusable"),
            ([b"\3\1\1short"], True, "unusable"),
        ):
            creating = self.creator()
            self.resolver.say(*records, isSecure=isSecure, seconds=0)
            error = self.failureResultOf(creating, IdentityRefused).value
            self.assertEqual(error.cause, cause)

    def test_othersDecideOnlyWhereThereProvablyAreNone(self) -> None:
        """Beside dane; never where nobody knows, and never where there are records."""
        createIdentity(self.pool, MX)
        both = self.prepare("dane", str(self.pool.path / "ca" / "cert.pem"))
        for records, isSecure in ([], True), ([], False), ([b"\1\1\1x"], True):
            creating = self.creator(both)
            self.resolver.say(*records, isSecure=isSecure, seconds=0)
            self.assertIs(self.successResultOf(creating), both.creatorFor(MX))
        creating = self.creator(both)
        self.resolver.say(wire(record("3 1 1", GOOD)), seconds=0)
        self.assertIsInstance(self.successResultOf(creating)._verifier, TLSAVerifier)
        for error in LookupFailed("no", "servfail"), ValueError("a bug"):
            creating = self.creator(both)
            self.resolver.fail(error)
            self.failureResultOf(creating, ConnectFailed)
        creating = self.creator(both)
        self.resolver.say(b"\3\1")
        self.failureResultOf(creating, ConnectFailed)

    def test_anAnswerIsKeptForItsTime(self) -> None:
        """And no longer."""
        for expected, now in (1, 0), (1, 59), (2, 60), (2, 119), (3, 120):
            self.clock.advance(now - self.clock.seconds())
            creating = self.creator()
            self.assertEqual(len(self.resolver.asked), expected)
            if not self.resolver.asked[-1][1].called:
                self.resolver.say(wire(record("3 1 1", GOOD)))
            self.successResultOf(creating)

    def test_noLongerWhereTheClockIsPutBack(self) -> None:
        """A record that was taken away would be believed until the clock is where it was."""
        self.clock.advance(1000)
        for expected in 1, 2:
            creating = self.creator()
            self.assertEqual(len(self.resolver.asked), expected)
            self.resolver.say(wire(record("3 1 1", GOOD)))
            self.successResultOf(creating)
            self.clock.rightNow -= 500

    def test_alsoThatThereIsNothing(self) -> None:
        """But no failure."""
        for expected, say in (
            (1, lambda: self.resolver.fail(LookupFailed("no", "servfail"))),
            (2, self.resolver.say),
            (2, lambda: None),
        ):
            creating = self.creator()
            self.assertEqual(len(self.resolver.asked), expected)
            say()
            self.failureResultOf(creating, ConnectFailed, IdentityRefused)

    def test_manyAskOnce(self) -> None:
        """All who wait get the one answer, or each a failure of its own; who has left does not."""
        waiting = [self.creator() for _ in range(5)]
        self.assertEqual(len(self.resolver.asked), 1)
        waiting[2].cancel()
        self.failureResultOf(waiting.pop(2), CancelledError)
        self.resolver.say(wire(record("3 1 1", GOOD)), seconds=0)
        self.assertEqual(len({id(self.successResultOf(each)) for each in waiting}), 1)
        waiting = [self.creator() for _ in range(2)]
        self.resolver.fail(LookupFailed("no"))
        errors = {self.failureResultOf(each, ConnectFailed).value for each in waiting}
        self.assertEqual(len(errors), 2)
        self.assertEqual(len(self.resolver.asked), 2)
        self.assertEqual(self.lookup._waiting, {})

    def test_itBeginsWhileAServerIsConnectedTo(self) -> None:
        """Once for each port; what came of it is there when it is needed."""
        servers = (REMOTE, TCPAddress("192.0.2.2", 25), TCPAddress("192.0.2.2", 587))
        for _ in range(2):
            self.lookup.begin(MX, servers)
        names = [name for name, _ in self.resolver.asked]
        self.assertEqual(names, ["_25._tcp.mx.example.org", "_587._tcp.mx.example.org"])
        creating = self.creator(server=servers[2])
        self.assertEqual(len(self.resolver.asked), 2)
        self.resolver.say(wire(record("3 1 1", GOOD)))
        self.successResultOf(creating)
        self.lookup.begin(MX, servers)
        self.assertEqual(len(self.resolver.asked), 2)

    def test_nobodyButADomainHasRecords(self) -> None:
        """Where the app says whom to expect, or connects to what has no port."""
        for expected in Identity("u", "example.org"), Identity(None, "192.0.2.1"):
            self.lookup.begin(expected, (REMOTE,))
            creating = Deferred.fromCoroutine(
                self.lookup.creatorFor(self.prepared, expected, REMOTE)
            )
            self.failureResultOf(creating, IdentityRefused)
        self.failureResultOf(self.creator(server=UNIXAddress("/s")), IdentityRefused)
        self.assertEqual(self.resolver.asked, [])

    def test_whatIsKeptIsBounded(self) -> None:
        """However many names apps ask for."""
        self.patch(dane, "NAMES_KEPT", 3)
        for port in range(1, 9):
            creating = self.creator(server=TCPAddress("192.0.2.1", port))
            self.resolver.say()
            self.failureResultOf(creating, IdentityRefused)
            self.assertLessEqual(len(self.lookup._kept), 3)

    def test_whatIsSaidOfIt(self) -> None:
        """The line at the start names the records, and who else decides."""
        self.assertEqual(self.prepared.anchors, "TLSA records")
        createIdentity(self.pool, MX)
        file = str(self.pool.path / "ca" / "cert.pem")
        self.assertEqual(self.prepare("dane", file).anchors, f"TLSA records, else --trust {file}")

    def test_alone(self) -> None:
        """Then neither the pool nor the system decides about anybody."""
        createIdentity(self.pool, MX)
        self.assertRaises(ConfigurationError, self.prepared.creatorFor, MX)
        trust = TunnelTrust(self.prepared.tunnel)
        self.assertRaises(ConfigurationError, trust.about, MX)


class ConnectionTests(TunnelTests):
    """
    Whole connections, to a server that only its domain vouches for.

    @ivar resolver: what the tunnel asks.
    """

    mode = Mode.CLIENT

    def setUp(self) -> None:
        """A server with a certificate of its own, and its records."""
        super().setUp()
        stranger = Pool(Path(self.mktemp()), asked=False)
        createIdentity(stranger, SERVER)
        certificate = stranger.credentials(SERVER).certificates[0]
        issued = Issued(certificate, GOOD.key)
        self.good = wire(record("3 1 1", issued))
        self.context_ = SSL.Context(SSL.TLS_METHOD)
        for file, use in (
            ("fullchain.pem", self.context_.use_certificate_chain_file),
            ("privkey.pem", self.context_.use_privatekey_file),
        ):
            use(str(stranger.path / str(SERVER) / file))

    async def connect(
        self,
        script: Callable[[dns.Message], Sequence[bytes]],
        *trust: str,
        dialect: str = "none",
        speak: Callable[[socket.socket], object] = lambda sock: None,
        **settings: Any,
    ) -> LogEvent:
        """
        Let an app come, and a server meet the tunnel.

        @return: the end of the connection.
        """
        self.resolver = Resolver(script)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.settimeout(PATIENCE)
            service = self.tunnel(
                f"127.0.0.1:{listening.getsockname()[1]}",
                dialect,
                trust=("dane", *trust),
                daneResolver=self.resolver.address,
                **settings,
            )
            host, port = service.addresses[0].rsplit(":", 1)

            def run() -> None:
                with (
                    socket.create_connection((host, int(port)), PATIENCE) as app,
                    listening.accept()[0] as sock,
                    contextlib.suppress(SSL.Error, OSError),
                ):
                    sock.settimeout(PATIENCE)
                    speak(sock)
                    network = Encrypted(sock, self.context_, False)
                    network.handshake()
                    app.sendall(b"hello")
                    self.heard.append(network.read(5))
                    app.close()
                    network.read(1)
                    network.end()

            self.heard: list[Any] = []
            await deferToThread(run)
            await wait(lambda: bool(self.ends))
        await self.resolver.close()
        return self.ends.pop()

    def tells(self, data: bytes) -> Callable[[dns.Message], Sequence[bytes]]:
        """A resolver that has one record, whatever it is asked for."""
        return lambda query: [answer(query, tlsa(query.queries[0].name.name.decode(), data))]

    async def test_aServerByItsRecord(self) -> None:
        """It is who it should be, and the log says by what; the app is served."""
        end = await self.connect(self.tells(self.good))
        name = self.resolver.queries[0].queries[0].name.name.decode()
        self.assertRegex(name, r"\A_[0-9]+\._tcp\.server\.example\.org\Z")
        self.assertEqual(self.heard, [b"hello"])
        self.assertEqual(end["identity"], str(SERVER))
        self.assertEqual(end["anchors"], f"TLSA 3 1 1 of {name}")
        self.assertIn(f"identity {SERVER} by TLSA 3 1 1 of {name}, TLSv1.3", end["text"])

    async def test_withSTARTTLS(self) -> None:
        """The same."""
        end = await self.connect(self.tells(self.good), dialect="smtp", speak=smtpServer)
        self.assertIn("TLSA 3 1 1", end["anchors"])

    async def test_whereTheAppSaysWhomToExpect(self) -> None:
        """Its name is asked for."""
        end = await self.connect(
            self.tells(self.good), dialect="smtp", speak=smtpServer, remoteID=MX
        )
        self.assertEqual(end["identity"], str(MX))

    async def test_anotherCertificate(self) -> None:
        """Nothing of the app's is sent, and the log knows what to do."""
        end = await self.connect(self.tells(wire(record("3 1 1", GOOD))))
        self.assertEqual((end["outcome"], end["identity"]), ("identity", None))
        self.assertIsNone(end["anchors"])
        self.assertEqual(self.heard, [])
        self.assertIn("before it shows that", end["hint"])

    async def test_anotherTrustIsNoWayOut(self) -> None:
        """Where there are records, they alone decide; also about whom the others believe."""
        ours = str(self.pool.path / "ca" / "cert.pem")
        self.context_ = self.context(False)
        end = await self.connect(lambda query: [answer(query)], ours)
        self.assertEqual((end["identity"], end["anchors"]), (str(SERVER), None))
        end = await self.connect(self.tells(self.good), ours)
        self.assertEqual((end["outcome"], end["identity"]), ("identity", None))

    async def test_whatDNSDoesNotProve(self) -> None:
        """The connection is refused, with the reason and a hint."""
        for script, outcome, hint in (
            (
                lambda query: [answer(query, code=dns.ESERVER)],
                "connect",
                "look into the log of the resolver",
            ),
            (lambda query: [answer(query)], "identity", "has to publish"),
            (
                lambda query: [
                    answer(
                        query,
                        tlsa(query.queries[0].name.name.decode(), self.good),
                        isSecure=False,
                    )
                ],
                "identity",
                "the resolver does not validate",
            ),
        ):
            end = await self.connect(script)
            self.assertEqual(end["outcome"], outcome)
            self.assertIn(hint, end["hint"])
            self.assertEqual(self.heard, [])

    async def test_noResolver(self) -> None:
        """The same."""

        def script(query: dns.Message) -> Sequence[bytes]:
            raise AssertionError("nobody listens there")

        self.patch(dnssec, "TRY_SECONDS", (0.05, 0.05))
        end = await self.connect(lambda query: [])
        self.assertEqual(end["outcome"], "connect")
        self.assertIn("check --dane-resolver", end["hint"])

    async def test_aSlowResolver(self) -> None:
        """A connection waits for it no longer than to be connected."""
        resolver = Resolver(lambda query: [])
        with socket.create_server(("127.0.0.1", 0)) as listening:
            service = self.tunnel(
                f"127.0.0.1:{listening.getsockname()[1]}",
                trust=("dane",),
                daneResolver=resolver.address,
                limits=Limits(connectTotal=0.3),
            )
            host, port = service.addresses[0].rsplit(":", 1)
            with socket.create_connection((host, int(port)), PATIENCE):
                await wait(lambda: bool(self.ends))
        transport: Any = resolver.transport
        for query, peer in zip(resolver.queries, resolver.peers, strict=True):
            transport.write(answer(query), peer)
        factory = service.factory
        assert factory is not None
        await wait(lambda: not factory.tlsa(resolver.address)._waiting)
        await resolver.close()
        self.assertEqual(self.ends[0]["outcome"], "timeout")
        self.assertIn("looking up TLSA records took longer", self.ends[0]["detail"])

    async def test_aServerThatLeavesMeanwhile(self) -> None:
        """Before it is known by what to believe it."""
        asked: Deferred[None] = Deferred()

        def script(query: dns.Message) -> Sequence[bytes]:
            asked.callback(None)
            return []

        resolver = Resolver(script)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            service = self.tunnel(
                f"127.0.0.1:{listening.getsockname()[1]}",
                trust=("dane",),
                daneResolver=resolver.address,
            )
            host, port = service.addresses[0].rsplit(":", 1)
            with socket.create_connection((host, int(port)), PATIENCE):
                await asked
                listening.accept()[0].close()
                (query,), (peer,) = resolver.queries, resolver.peers
                name = query.queries[0].name.name.decode()
                transport: Any = resolver.transport
                transport.write(answer(query, tlsa(name, self.good)), peer)
                await wait(lambda: bool(self.ends))
        await resolver.close()
        self.assertIn(self.ends[0]["outcome"], ("tls", "closed", "reset"))

    async def test_eachRemoteHasTheRecordsOfItsPort(self) -> None:
        """Where one has none, or nobody knows, the next is tried, and the first is not blamed."""
        for code in dns.OK, dns.ESERVER:
            listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
            good = listeners[1].getsockname()[1]

            def script(query: dns.Message, good: int = good, code: int = code) -> Sequence[bytes]:
                name = query.queries[0].name.name.decode()
                if name.startswith(f"_{good}."):
                    return [answer(query, tlsa(name, self.good))]
                return [answer(query, code=code)]

            resolver = Resolver(script)
            service = self.tunnel(
                "127.0.0.1:1",
                trust=("dane",),
                daneResolver=resolver.address,
                remote=tuple(TCPAddress(*each.getsockname()) for each in listeners),
            )
            host, port = service.addresses[0].rsplit(":", 1)

            def run(
                here: tuple[str, int] = (host, int(port)),
                listeners: list[socket.socket] = listeners,
            ) -> Any:
                with socket.create_connection(here, PATIENCE) as app:
                    app.sendall(b"hello")
                    heard = []
                    for each in listeners:
                        each.settimeout(PATIENCE)
                        with each.accept()[0] as sock:
                            sock.settimeout(PATIENCE)
                            network = Encrypted(sock, self.context_, False)
                            try:
                                network.handshake()
                                heard.append(network.read(5))
                            except (OSError, SSL.Error):
                                heard.append(b"")
                    return heard

            self.assertEqual(await deferToThread(run), [b"", b"hello"])
            await wait(lambda: bool(self.ends))
            self.ends.clear()
            assert service.factory is not None
            self.assertEqual([each.isUp for each in service.factory.backends], [True, True])
            await resolver.close()
            for each in listeners:
                each.close()

    async def test_aReloadForgets(self) -> None:
        """What was found before is asked for again."""
        service = self.tunnel("127.0.0.1:1", trust=("dane",), daneResolver=RESOLVER)
        factory = service.factory
        assert factory is not None
        before = factory.tlsa(RESOLVER)
        self.assertIs(factory.tlsa(RESOLVER), before)
        factory.renew(factory.tunnel)
        self.assertIsNot(factory.tlsa(RESOLVER), before)


class CheckTests(SynchronousTestCase):
    """What a tunnel cannot be told, also by a program."""

    def test_mistakes(self) -> None:
        """Each says what to do."""
        pool = Pool(Path(self.mktemp()), asked=False)
        for settings, subject, remedy in (
            ({"daneResolver": None}, "`trust` dane", "give its address with `dane-resolver`"),
            ({"trust": ()}, "`dane-resolver`", "give `trust` dane too"),
            ({"mode": Mode.SERVER}, "`trust` dane", "give a file of anchors"),
            ({"remoteID": Identity("u", "example.org")}, "`remote-id` u@example.org", "the name"),
            ({"remoteID": Identity(None, "192.0.2.1")}, "`remote-id` 192.0.2.1", "the name"),
            ({"requireStaple": True}, "`require-staple`", "leave one of them out"),
            ({"remote": (UNIXAddress("/s"),)}, "`remote` /s", "give a host and a port"),
        ):
            given: dict[str, Any] = {
                "mode": Mode.CLIENT,
                "local": (),
                "remote": (REMOTE,),
                "dialect": find("none"),
                "remoteID": MX,
                "pool": pool,
                "trust": ("dane",),
                "daneResolver": RESOLVER,
            }
            error = self.assertRaises(ConfigurationError, TunnelTrust, Tunnel(**(given | settings)))
            assert isinstance(error, ConfigurationError)
            self.assertEqual(error.subject, subject)
            self.assertIn(remedy, error.remedy)
