"""
Tests for what L{tlstunnel.tunnel.clientpair} does where a server does not serve: another one is
tried, as long as that can harm nobody (rule 15).
"""

from __future__ import annotations

import socket
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher

from tests import loopback
from tests.loopback import SERVER, Encrypted, Plain, reactor, readUntil, smtpServer, wait
from tests.tunnel.retrying import SECRET, Named, RetryTests, Serve
from tlstunnel.address import SRVAddress, TCPAddress
from tlstunnel.errors import Refused
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.net.dial import Dialler
from tlstunnel.net.resolve import Directory
from tlstunnel.program.service import TunnelService
from tlstunnel.protocols.base import ClientRole, Dialect, ServerRole
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.limits import Limits


class ClientModeTests(RetryTests):
    """
    Mode -c: the whole way to a verified server.
    """

    mode = Mode.CLIENT

    def contextOf(self, name: str) -> SSL.Context:
        """
        A server of another name, by the same authority.
        """
        createIdentity(self.pool, Identity(None, name))
        context = SSL.Context(SSL.TLS_METHOD)
        directory = self.pool.path / name
        context.use_certificate_chain_file(str(directory / "fullchain.pem"))
        context.use_privatekey_file(str(directory / "privkey.pem"))
        return context

    def good(self, preamble: Serve = smtpServer, expected: bytes = SECRET) -> Serve:
        """
        A server that is who it has to be, and hears the app.
        """

        def serve(sock: socket.socket) -> None:
            preamble(sock)
            network = Encrypted(sock, self.context(False), False)
            network.handshake()
            self.assertEqual(network.read(len(expected)), expected)
            network.end()

        return serve

    async def assertFollowed(self, serve: Serve) -> None:
        """
        Where the first server does C{serve}, the app comes to the second one.
        """
        listeners = [self.listen(), self.listen()]
        service = self.before(listeners, "smtp")
        self.ends.clear()
        app = deferToThread(self._hear, service)
        await self.serving((listeners[0], serve), (listeners[1], self.good()))
        self.assertIn(b"220 server.example.org", await app)
        await wait(lambda: bool(self.ends))
        self.assertEnded("clean")
        self.assertEqual(self.ends[0]["backend"], str(TCPAddress(*listeners[1].getsockname())))
        self.assertEqual(self.states(service), [False, True])

    async def test_theNextIsTriedWhereverTheFirstFails(self) -> None:
        """
        At the connection, in the negotiation, in the handshake, or with its certificate.
        """
        other = self.contextOf("other.example.org")

        def refuse(sock: socket.socket) -> None:
            smtp = Plain(sock)
            smtp.write(b"220 mx\r\n")
            smtp.read(len(b"EHLO "))
            smtp.write(b"250 mx\r\n454 no TLS now\r\n")
            smtp.read(1 << 16)

        def garble(sock: socket.socket) -> None:
            smtpServer(sock)
            sock.sendall(b"\x16\x03\x03\x00\x02\x02\x28" + bytes(50))
            Plain(sock).read(1 << 16)

        def lie(sock: socket.socket) -> None:
            smtpServer(sock)
            network = Encrypted(sock, other, False)
            try:
                network.handshake()
                network.read(1)
            except (SSL.Error, ConnectionError):
                pass

        def leave(sock: socket.socket) -> None:
            Plain(sock).reset()

        for serve in (
            lambda sock: None,
            leave,
            lambda sock: sock.sendall(b"554 go away\r\n"),
            refuse,
            lambda sock: sock.sendall(b"\0" * 100),
            smtpServer,
            garble,
            lie,
        ):
            with self.subTest(serve):
                await self.assertFollowed(serve)

    async def test_whoHasFailedIsNamedAsEverywhere(self) -> None:
        """
        In the line about it.
        """
        events: Any = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        await self.assertFollowed(lambda sock: sock.sendall(b"554 go away\r\n"))
        (said,) = [each["detail"] for each in events if each.get("state") == "down"]
        self.assertIn("the server said", said)

    async def test_eachMustProveTheSame(self) -> None:
        """
        Another name is no better for being the second one: the app hears nothing, and is not heard.
        """
        other = self.contextOf("other.example.org")
        listeners = [self.listen(), self.listen()]
        service = self.before(listeners, "smtp")

        def lie(sock: socket.socket) -> None:
            smtpServer(sock)
            network = Encrypted(sock, other, False)
            try:
                network.handshake()
                heard = network.read(1)
            except (SSL.Error, ConnectionError):
                return
            assert not isinstance(heard, bytes) or heard == b"", heard

        app = deferToThread(self._hear, service)
        await self.serving((listeners[0], lambda sock: None), (listeners[1], lie))
        self.assertEqual(await app, b"")
        await wait(lambda: bool(self.ends))
        self.assertEnded("identity")

    def _hear(self, service: TunnelService, said: bytes = SECRET) -> bytes:
        with self.dial(service) as sock:
            sock.sendall(said)
            heard = Plain(sock).read(1 << 20)
        return heard if isinstance(heard, bytes) else b""

    async def test_noneOfThemIsSpokenToWithoutTLS(self) -> None:
        """
        All refuse: there is no plaintext continuation (rule 4), and the app hears none of them.
        """
        listeners = [self.listen() for _ in range(3)]
        service = self.before(listeners, "smtp")
        heard: list[Any] = []

        def refuse(sock: socket.socket) -> None:
            sock.sendall(b"220 mx\r\n")
            Plain(sock).read(len(b"EHLO "))
            sock.sendall(b"250 mx\r\n554 no TLS here\r\n")
            heard.append(Plain(sock).read(1 << 16))

        app = deferToThread(self._hear, service)
        await self.serving(*((each, refuse) for each in listeners))
        self.assertEqual(await app, b"")
        await wait(lambda: bool(self.ends))
        self.assertEnded("refused")
        self.assertEqual(len(heard), 3)
        for each in heard:
            self.assertNotIn(b"secret", each if isinstance(each, bytes) else b"")

    async def test_whoeverPutsWordsIntoThePlaintextEndsIt(self) -> None:
        """
        That is an attack, and has to be seen: the connection ends with its name.
        """
        listeners = [self.listen(), self.listen()]
        service = self.before(listeners, "smtp")

        def inject(sock: socket.socket) -> None:
            sock.sendall(b"220 mx\r\n")
            readUntil(sock, b"EHLO")
            sock.sendall(b"250 mx\r\n")
            readUntil(sock, b"STARTTLS\r\n")
            sock.sendall(b"220 go\r\n250 injected\r\n")
            Plain(sock).read(1 << 16)

        app = deferToThread(self._hear, service)
        await self.serving((listeners[0], inject))
        self.assertEqual(await app, b"")
        await wait(lambda: bool(self.ends))
        self.assertEnded("plaintext-after-starttls")
        self.assertTrue(self.isLeftOut(listeners[1]))
        self.assertEqual(self.states(service), [False, True])

    async def test_onceTheAppWasToldAnythingNobodyElseIsTried(self) -> None:
        """
        It would be told twice.
        """

        class Telling(ClientRole):
            async def negotiate(self) -> None:
                self.plain.write(b"greeting")
                raise Refused("the server does not serve")

        await self.assertLeftOut(Dialect("telling", Telling, ServerRole), b"greeting")

    async def test_onceTheAppWasHeardNobodyElseIsTried(self) -> None:
        """
        What it has said would be missing.
        """

        class Hearing(ClientRole):
            async def negotiate(self) -> None:
                await self.plain.readExactly(3)
                raise Refused("the server does not serve")

        await self.assertLeftOut(Dialect("hearing", Hearing, ServerRole), b"")

    async def assertLeftOut(self, dialect: Dialect, expected: bytes) -> None:
        """
        With C{dialect} the second server is not tried.

        @param expected: what the app hears.
        """
        listeners = [self.listen(), self.listen()]
        self.patch(loopback, "find", lambda name: dialect)
        service = self.before(listeners, dialect.name)
        self.assertEqual(await deferToThread(self._hear, service), expected)
        await wait(lambda: bool(self.ends))
        self.assertEnded("refused")
        self.assertTrue(self.isLeftOut(listeners[1]))

    async def test_theOthersAreTriedAsLongAsOneMayTakeToConnect(self) -> None:
        """
        All of them together are bounded.
        """
        listeners = [self.listen(), self.listen()]
        limits = Limits(connectTotal=0.05, greeting=0.2)
        service = self.before(listeners, "smtp", limits=limits)
        app = deferToThread(self._hear, service)
        await self.serving((listeners[0], lambda sock: Plain(sock).read(1)))
        await app
        await wait(lambda: bool(self.ends))
        self.assertEnded("timeout")
        self.assertTrue(self.isLeftOut(listeners[1]))
        self.assertEqual(self.states(service), [False, True])

    async def test_whatPostgreSQLsAppBeganWithIsHeld(self) -> None:
        """
        It is answered once, whoever serves it in the end.
        """
        startup = struct.pack(">II", 17, 3 << 16) + b"user\0a\0\0\0"
        listeners = [self.listen(), self.listen()]
        service = self.before(listeners, "postgresql")

        def say(answer: bytes) -> Serve:
            def serve(sock: socket.socket) -> None:
                Plain(sock).read(8)
                sock.sendall(answer)

            return serve

        app = deferToThread(self._hear, service, struct.pack(">II", 8, 80877103) + startup)
        await self.serving((listeners[0], say(b"N")), (listeners[1], self.good(say(b"S"), startup)))
        self.assertEqual(await app, b"N")
        await wait(lambda: bool(self.ends))
        self.assertEqual(self.states(service), [False, True])

    async def test_theStreamOfXMPPIsHeld(self) -> None:
        """
        The domain is asked of the next server too; it was for the app to choose it, and that the
        first one does not have it is no reason for others to leave it alone.
        """
        header = (
            b"<stream:stream to='server.example.org' version='1.0' xmlns='jabber:client' "
            b"xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        answer = header.replace(b" to=", b" from=")
        features = b"<stream:features>%s</stream:features>"
        startTLS = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
        listeners = [self.listen(), self.listen()]
        service = self.before(listeners, "xmpp-client", remoteID=None)

        def none(sock: socket.socket) -> None:
            sock.recv(1000)
            sock.sendall(answer + features % b"")
            Plain(sock).read(1 << 16)

        def some(sock: socket.socket) -> None:
            self.assertIn(b"to='server.example.org'", sock.recv(1000))
            sock.sendall(answer + features % startTLS)
            sock.recv(1000)
            sock.sendall(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")

        app = deferToThread(self._hear, service, header)
        await self.serving((listeners[0], none), (listeners[1], self.good(some, header)))
        await app
        await wait(lambda: bool(self.ends))
        self.assertEqual(self.states(service), [True, True])

    async def test_recordsSayWhereAndNeverWho(self) -> None:
        """
        Whoever forges the DNS sends us to a server with a good certificate of its own: the app is
        not heard there.  It hears the one that is whose service it is.
        """
        evil = self.contextOf("evil.example.org")
        listeners = [self.listen(), self.listen()]
        targets = [TCPAddress(*each.getsockname()) for each in listeners]
        names: list[bytes | None] = []

        class Forged(Directory):
            async def service(self, *words: Any) -> list[TCPAddress]:
                return [TCPAddress("evil.example.org.", targets[0].port), targets[1]]

            async def hosts(self, *words: Any) -> tuple[str, ...]:
                return ("127.0.0.1",)

        def lie(sock: socket.socket) -> None:
            evil.set_tlsext_servername_callback(lambda each: names.append(each.get_servername()))
            network = Encrypted(sock, evil, False)
            try:
                network.handshake()
                heard = network.read(1)
            except (SSL.Error, ConnectionError):
                return
            assert not isinstance(heard, bytes) or heard == b"", heard

        service = self.tunnel(
            "127.0.0.1:1", remoteID=None, remote=(SRVAddress("_imaps._tcp", SERVER.domain),)
        )
        assert service.factory is not None
        assert isinstance(service.factory.dialler, Dialler)
        service.factory.dialler.directory = Forged(reactor)
        app = deferToThread(self._hear, service)
        good = self.good(lambda sock: None)
        await self.serving((listeners[0], lie), (listeners[1], good))
        await app
        await wait(lambda: bool(self.ends))
        self.assertEqual(names, [SERVER.domain.encode()])
        self.assertEqual(self.ends[0]["identity"], SERVER.domain)
        self.assertEqual(self.ends[0]["backend"], str(targets[1]))
        self.assertEqual(self.states(service), [False, True])

    async def test_aReloadRemembersWhoDoesNotServe(self) -> None:
        """
        Of remotes that stay; one that is new is tried.
        """
        up, other = self.listen(), self.listen()
        down = self.listen()
        service = self.before([down, up], "none")
        down.close()
        app = deferToThread(self._hear, service)
        await self.serving((up, self.good(lambda sock: None)))
        await app
        self.assertEqual(self.states(service), [False, True])
        assert service.factory is not None
        tunnel = service.factory.tunnel
        remote = (TCPAddress(*other.getsockname()), *tunnel.remote)
        service.factory.renew(replace(tunnel, remote=remote))
        self.assertEqual(self.states(service), [True, False, True])
        service.factory.renew(replace(tunnel, remote=remote[:1]))
        self.assertEqual(self.states(service), [True])

    async def test_soItDoesOfThoseThatHaveNames(self) -> None:
        """
        Whatever else the list has now, and wherever they stand in it.
        """
        up = self.listen()
        names = "a.example", "b.example"
        remote = tuple(TCPAddress(each, up.getsockname()[1]) for each in names)
        service = self.tunnel("127.0.0.1:1", remote=remote)
        assert service.factory is not None
        assert isinstance(service.factory.dialler, Dialler)
        service.factory.dialler.directory = Named(reactor)
        app = deferToThread(self._hear, service)
        await self.serving((up, self.good(lambda sock: None)))
        await app
        self.assertEqual(self.states(service), [False, True])
        more = TCPAddress("127.0.0.3", 1)
        for now in (remote[1], more, remote[0]), (remote[0],):
            service.factory.renew(replace(service.factory.tunnel, remote=now))
            known = {str(each.address): each.isUp for each in service.factory.backends}
            self.assertIs(known[f"127.0.1.1:{up.getsockname()[1]}"], False)

    async def test_aServerOfAnotherAuthorityIsLeftAlone(self) -> None:
        """
        With TLS from the first byte, too.
        """
        pool = Pool(Path(self.mktemp()), asked=False)
        createIdentity(pool, SERVER)
        directory = pool.path / str(SERVER)
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_certificate_chain_file(str(directory / "fullchain.pem"))
        context.use_privatekey_file(str(directory / "privkey.pem"))

        listeners = [self.listen(), self.listen()]
        service = self.before(listeners, "none")
        app = deferToThread(self._hear, service)

        def impostor(sock: socket.socket) -> None:
            network = Encrypted(sock, context, False)
            try:
                network.handshake()
                network.read(1)
            except (SSL.Error, ConnectionError):
                pass

        await self.serving((listeners[0], impostor), (listeners[1], self.good(lambda sock: None)))
        await app
        await wait(lambda: bool(self.ends))
        self.assertEnded("clean")
        self.assertEqual(self.states(service), [False, True])
