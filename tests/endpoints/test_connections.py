"""
Tests for connections between both endpoints, over real sockets: what protocols see of them, from
the first byte to the last.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import tempfile
from pathlib import Path
from typing import Any

from OpenSSL.crypto import X509
from twisted.internet.address import IPv4Address
from twisted.internet.address import UNIXAddress as UNIXPath
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import TCP4ServerEndpoint, UNIXServerEndpoint
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost, NoProtocol
from twisted.internet.interfaces import ISSLTransport, ITCPTransport
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from zope.interface.verify import verifyObject

from tests.endpoints.stage import CLIENT, SERVER, EndpointTests, HalfTalker, Made, Talker, reactor
from tests.loopback import wait
from tlstunnel.address import UNIXAddress
from tlstunnel.endpoints.interfaces import IVerifiedTransport
from tlstunnel.errors import (
    ConfigurationError,
    ConnectFailed,
    IdentityRefused,
    LimitReached,
    Reset,
    Stopped,
    TimedOut,
    Truncated,
)
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pool import Pool
from tlstunnel.net.networks import Networks, parseNetwork
from tlstunnel.tunnel.limits import Limits

LONG = b"0123456789abcdef" * (1 << 17)


class ConnectionTests(EndpointTests):
    """
    One connection.
    """

    async def test_bytesPassBothWays(self) -> None:
        """
        However many.
        """
        near, far = await self.both()
        near.transport.write(LONG)
        far.transport.writeSequence([b"to ", b"you"])
        await wait(lambda: far.heard == LONG and near.heard == b"to you")
        near.transport.loseConnection()
        await near.lost
        await far.lost
        assert near.reason.check(ConnectionDone) and far.reason.check(ConnectionDone)
        self.assertEqual(near.calls, ["made", "data", "lost"])
        self.assertEqual(far.calls, ["made", "data", "lost"])

    async def test_itIsATransportOfTwisted(self) -> None:
        """
        With TLS, so that protocols regard it as secure.
        """
        for protocol in await self.both():
            transport = protocol.transport
            verifyObject(IVerifiedTransport, transport)
            verifyObject(ISSLTransport, transport)
            verifyObject(ITCPTransport, transport)
            self.assertTrue(transport.getTcpNoDelay())

    async def test_whoIsThereIsKnown(self) -> None:
        """
        Proven, on both sides, from C{connectionMade} to the end.
        """

        class Curious(Talker):
            def connectionMade(self) -> None:
                super().connectionMade()
                transport: Any = self.transport
                self.first = transport.identity, transport.version, transport.getPeer()

        self.factory = Made(Curious)
        port = await self.server(self.factory, remoteID=Selector.parse("@example.org"))
        near: Any = await self.client(port, localID=CLIENT).connect(Made(Curious))
        await wait(lambda: bool(self.factory.made))
        far = self.factory.made[0]
        self.assertEqual(near.first, (SERVER, "TLSv1.3", IPv4Address("TCP", "127.0.0.1", port)))
        self.assertEqual(far.first, (CLIENT, "TLSv1.3", near.transport.getHost()))
        self.assertEqual(far.transport.getHost(), near.transport.getPeer())
        for each, name in ((near, SERVER), (far, CLIENT)):
            shown = each.transport.getPeerCertificate()
            self.assertIsInstance(shown, X509)
            self.assertTrue(each.transport.suite)
            each.transport.loseConnection()
            await each.lost
            self.assertEqual(each.transport.identity, name)
            self.assertIsNotNone(each.transport.getPeerCertificate())

    async def test_theRulesSayWhoWeAre(self) -> None:
        """
        They are read for each connection; a broken one fails it, and shows nobody.
        """
        self.factory = Made()
        port = await self.server(self.factory, remoteID=Selector.parse("@example.org"))
        rule = self.pool.ruleFile(Selector.parse(str(SERVER)))
        rule.parent.mkdir()
        rule.write_text(f"{CLIENT}\n")
        await self.client(port, byRules=True).connect(Made())
        await wait(lambda: bool(self.factory.made))
        self.assertEqual(self.factory.made[0].transport.identity, CLIENT)
        rule.write_text("non sense\n")
        with self.assertRaises(ConfigurationError) as raised:
            await self.client(port, byRules=True).connect(Made())
        self.assertIn("txt, line 1", str(raised.exception))

    async def test_clientsNeedNotSayWhoTheyAre(self) -> None:
        """
        Where nobody asks.
        """
        near, far = await self.both()
        self.assertIsNone(far.transport.identity)
        self.assertIsNone(far.transport.getPeerCertificate())
        self.assertEqual(near.transport.identity, SERVER)

    async def test_theProtocolAgreedOnIsKnown(self) -> None:
        """
        As Twisted has it, and as the record does.
        """
        self.factory = Made()
        port = await self.server(self.factory, alpn=(b"h2", b"x"))
        for offered, agreed in (((b"x", b"y"), b"x"), (None, None)):
            near: Any = await self.client(port, alpn=offered).connect(Made())
            self.assertEqual(near.transport.negotiatedProtocol, agreed)
            self.assertEqual(near.transport.alpn, agreed or b"")

    async def test_bothEndsKnowWhatNobodyElseDoes(self) -> None:
        """
        As long as they are connected.
        """
        near, far = await self.both()
        known = [
            each.transport.channelBinding.export(b"EXPORTER-Channel-Binding", b"", 32)
            for each in (near, far)
        ]
        self.assertEqual(known[0], known[1])
        near.transport.loseConnection()
        await near.lost
        self.assertIsNone(near.transport.channelBinding)

    async def test_theNameThatWasAskedForIsKnown(self) -> None:
        """
        By SNI.
        """
        _, far = await self.both()
        self.assertEqual(far.transport.serverName, str(SERVER))

    async def test_aProxyMaySayWhoIsThere(self) -> None:
        """
        In a header of the PROXY protocol, from where that is believed.
        """
        self.factory = Made()
        port = await self.server(self.factory, proxyFrom=Networks.of([parseNetwork("127.0.0.0/8")]))

        def talk() -> None:
            context = ssl.create_default_context(cafile=str(self.pool.path / "ca" / "cert.pem"))
            with socket.create_connection(("127.0.0.1", port), 20) as sock:
                sock.sendall(b"PROXY TCP4 192.0.2.1 198.51.100.1 1111 443\r\n")
                with context.wrap_socket(sock, server_hostname=str(SERVER)) as encrypted:
                    encrypted.sendall(b"hello")
                    encrypted.unwrap()

        await deferToThread(talk)
        await wait(lambda: bool(self.factory.made and self.factory.made[0].reason))
        transport = self.factory.made[0].transport
        self.assertEqual(transport.getPeer(), IPv4Address("TCP", "192.0.2.1", 1111))
        self.assertEqual(transport.getHost(), IPv4Address("TCP", "198.51.100.1", 443))

    async def test_aSocketHasNoName(self) -> None:
        """
        A UNIX socket will do for a network.
        """
        path = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, path)
        self.factory = Made()
        inner = UNIXServerEndpoint(reactor, f"{path}/socket")
        await self.server(self.factory, inner=inner)
        near: Any = await self.client(0, remote=(UNIXAddress(f"{path}/socket"),)).connect(Made())
        near.transport.write(b"hello")
        await wait(lambda: bool(self.factory.made and self.factory.made[0].heard))
        far = self.factory.made[0].transport
        self.assertEqual(near.transport.getPeer(), UNIXPath(f"{path}/socket"))
        self.assertEqual(far.getHost(), UNIXPath(f"{path}/socket"))
        self.assertEqual(far.getPeer(), UNIXPath(None))


class EndTests(EndpointTests):
    """
    How connections end.
    """

    async def test_whatWasWrittenIsSentBeforeTheEnd(self) -> None:
        """
        All of it, and C{connectionLost} comes after that.
        """
        near, far = await self.both()
        near.transport.write(LONG)
        near.transport.loseConnection()
        near.transport.write(b"too late")
        await near.lost
        await far.lost
        self.assertEqual(far.heard, LONG)

    async def test_nothingIsHeardAfterLeaving(self) -> None:
        """
        Whatever the peer has still to say.
        """
        near, far = await self.both()
        near.transport.loseConnection()
        far.transport.write(b"wait!")
        await near.lost
        await far.lost
        self.assertEqual(near.calls, ["made", "lost"])

    async def test_eachDirectionEndsOnItsOwn(self) -> None:
        """
        For protocols that can do with half a connection, in TLS as without.
        """
        near, far = await self.both(HalfTalker, HalfTalker)
        near.transport.write(b"question")
        near.transport.loseWriteConnection()
        near.transport.write(b"too late")
        await wait(lambda: "read lost" in far.calls)
        self.assertEqual(far.heard, b"question")
        await wait(lambda: "write lost" in near.calls)
        far.transport.write(b"answer")
        await wait(lambda: near.heard == b"answer")
        far.transport.loseConnection()
        await far.lost
        await near.lost
        assert near.reason.check(ConnectionDone) and far.reason.check(ConnectionDone)
        self.assertEqual(near.calls, ["made", "write lost", "data", "read lost", "lost"])
        self.assertEqual(far.calls, ["made", "data", "read lost", "lost"])

    async def test_othersEndWithTheirPeer(self) -> None:
        """
        And what they had written before is still sent.
        """
        near, far = await self.both(HalfTalker)
        far.transport.write(LONG)
        near.transport.loseWriteConnection()
        await far.lost
        await near.lost
        self.assertEqual(near.heard, LONG)
        assert far.reason.check(ConnectionDone)

    async def test_anAbortIsAReset(self) -> None:
        """
        Which is no clean end to anybody.
        """
        near, far = await self.both()
        near.transport.abortConnection()
        await near.lost
        await far.lost
        assert near.reason.check(ConnectionAborted)
        assert far.reason.check(ConnectionLost)
        self.assertIsInstance(far.reason.value.__cause__, (Truncated, Reset))

    async def test_thePortStopsAndItsConnectionsGoOn(self) -> None:
        """
        As with other endpoints; C{stop} ends those as well.
        """
        near, far = await self.both()
        self.assertEqual(self.factory.running, 1)
        await self.port.stopListening()
        self.assertEqual(self.factory.running, 0)
        near.transport.write(b"still there?")
        await wait(lambda: bool(far.heard))
        await self.endpoint.stop()
        await far.lost
        await near.lost
        self.assertIsInstance(far.reason.value.__cause__, Stopped)
        assert near.reason.check(ConnectionDone)

    async def test_nothingIsLeftInTheReactor(self) -> None:
        """
        Once the last connection has ended; neither a call nor a trigger.
        """
        near, far = await self.both()
        near.transport.loseConnection()
        await near.lost
        await far.lost
        await self.endpoint.stop()
        await self.port.stopListening()
        ours = [each for each in reactor.getDelayedCalls() if "tlstunnel" in str(each)]
        self.assertEqual(ours, [])
        during = str(reactor._eventTriggers["shutdown"].during)
        self.assertNotIn("_shutdown", during)

    async def test_manyConnectionsAreServed(self) -> None:
        """
        At the same time, of one endpoint.
        """
        self.factory = Made()
        endpoint = self.client(await self.server(self.factory))
        connecting = [endpoint.connect(Made()) for _ in range(100)]
        all_: list[Any] = [await each for each in connecting]
        for number, each in enumerate(all_):
            each.transport.write(b"%d" % number)
            each.transport.loseConnection()
            await each.lost
        await wait(lambda: all(each.reason for each in self.factory.made))
        heard = sorted(int(each.heard) for each in self.factory.made)
        self.assertEqual(heard, list(range(100)))


class RefusalTests(EndpointTests):
    """
    What C{connect} fails with.
    """

    async def fails(self, kind: type[BaseException], port: int, **settings: Any) -> BaseException:
        """
        Connect, with a factory that must not be asked for anything.
        """
        factory = Made()
        connecting: Any = self.client(port, **settings).connect(factory)
        error: BaseException = await self.assertFailure(connecting, kind)
        self.assertEqual((factory.made, factory.running), ([], 0))
        return error

    async def test_nobodyListens(self) -> None:
        """
        It says so.
        """
        port = await self.server(Made())
        await self.port.stopListening()
        await self.fails(ConnectFailed, port)

    async def test_somebodyElseIsThere(self) -> None:
        """
        Who proves to be another one than was expected.
        """
        port = await self.server(Made())
        error = await self.fails(IdentityRefused, port, remoteID=Identity("other", "example.org"))
        self.assertIn("other@example.org", str(error))

    async def test_nobodyCanVouchForAnybody(self) -> None:
        """
        That is found out when it is first tried.
        """
        empty = Pool(Path(self.mktemp()), asked=True)
        await self.fails(ConfigurationError, 1, pool=empty)

    async def test_itTakesTooLong(self) -> None:
        """
        All of it together.
        """
        silent = Made()
        port: Any = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(silent)
        self.addCleanup(port.stopListening)
        error = await self.fails(TimedOut, port.getHost().port, timeout=0.2)
        self.assertIn("0.2 s", str(error))
        await wait(lambda: bool(silent.made and silent.made[0].reason))

    async def test_aStepTakesTooLong(self) -> None:
        """
        Each has its limit.
        """
        silent = Made()
        port: Any = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(silent)
        self.addCleanup(port.stopListening)
        number = port.getHost().port
        await self.fails(TimedOut, number, limits=Limits(handshake=0.1))
        await self.fails(TimedOut, number, dialect="smtp", limits=Limits(greeting=0.1))
        await wait(lambda: all(each.reason for each in silent.made))

    async def test_whoeverWantedItMayChangeHisMind(self) -> None:
        """
        Then everything is closed, however far it has come.
        """
        silent = Made()
        port: Any = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(silent)
        self.addCleanup(port.stopListening)
        for seconds in (0, 0.05):
            factory = Made()
            connecting = self.client(port.getHost().port).connect(factory)
            await deferLater(reactor, seconds)
            connecting.cancel()
            await self.assertFailure(connecting, CancelledError)
            await wait(lambda: not factory.running)  # noqa: B023
            self.assertEqual(factory.made, [])
        await wait(lambda: all(each.reason for each in silent.made))

    async def test_thereAreTooMany(self) -> None:
        """
        Of one endpoint.
        """
        factory = Made()
        endpoint = self.client(await self.server(factory), limits=Limits(connections=1))
        await endpoint.connect(Made())
        await self.assertFailure(endpoint.connect(Made()), LimitReached)

    async def test_theFactoryMakesNothing(self) -> None:
        """
        Or raises.
        """
        port = await self.server(Made())
        for make, kind in ((lambda: None, NoProtocol), (lambda: 1 / 0, ZeroDivisionError)):
            factory = Made(make)
            await self.assertFailure(self.client(port).connect(factory), kind)
            await wait(lambda: not factory.running)  # noqa: B023
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_theFactoryDoesNotStart(self) -> None:
        """
        Then nothing else does.
        """
        factory = Made()
        factory.startFactory = lambda: 1 / 0  # type: ignore[assignment,method-assign]
        endpoint = self.client(await self.server(Made()))
        await self.assertFailure(endpoint.connect(factory), ZeroDivisionError)
        assert endpoint.connections is not None
        self.assertEqual(endpoint.connections.pairs, set())

    async def test_aServersFactoryMakesNothing(self) -> None:
        """
        The client hears that in TLS, where else; nobody else is harmed.
        """
        port = await self.server(Made(lambda: None))
        near: Any = await self.client(port).connect(Made())
        await near.lost
        assert near.reason.check(ConnectionLost, ConnectionDone)
