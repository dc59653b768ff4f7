"""
Identities of ours that are withdrawn: new connections do not get their certificate, and those that
there are end where that is wanted.
"""

from __future__ import annotations

import contextlib
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.loopback import CLIENT, PATIENCE, SERVER, Encrypted, Plain, TunnelTests, readLine, wait
from tests.tunnel.namestage import MEMORY, NamesTestCase
from tests.tunnel.programstage import OURSELVES
from tlstunnel.address import ExecAddress, parseAddress
from tlstunnel.errors import ConfigurationError, Withdrawn
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.withdrawal import markWithdrawn
from tlstunnel.tls.checkup import handshake
from tlstunnel.tunnel import withdrawal
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.execution import Execution
from tlstunnel.tunnel.notices import noticesOf
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.servedname import ServedName

FRONT, OPEN = Identity.parse("front.example"), Identity.parse("open.example")


def takeAway(pool: Pool, identity: Identity) -> bytes:
    """
    Withdraw an identity.

    @return: its certificates.
    """
    file = pool.path / identity.fileName / "fullchain.pem"
    content = file.read_bytes()
    markWithdrawn(file.parent)
    file.unlink()
    return content


def giveBack(pool: Pool, identity: Identity, content: bytes) -> None:
    """
    Let there be a certificate again; the mark is left.
    """
    (pool.path / identity.fileName / "fullchain.pem").write_bytes(content)


class NamesTests(NamesTestCase):
    """
    What a server is under the names of somebody who is withdrawn.
    """

    def several(self, *names: ServedName, **settings: Any) -> Prepared:
        """
        A tunnel with two identities.
        """
        return self.prepared(*names, otherIDs=(OPEN,), **settings)

    def assertRefused(self, prepared: Prepared, name: str | None, alert: str) -> None:
        """
        Clients of both versions are told, and the log has the reason.
        """
        for version in ("1.2", "1.3"):
            met = self.meet(prepared, name, version)
            self.assertIn(alert, met.told)
            self.assertIsInstance(met.why, Withdrawn)
            self.assertEqual(met.shown, "")

    def assertServed(self, prepared: Prepared, name: str) -> None:
        """
        A client gets what it asks for.
        """
        met = self.meet(prepared, name)
        self.assertEqual((met.shown, met.told), (name, ""))

    def test_theOthersAreServed(self) -> None:
        """
        Whoever it is, the first one too; and all are once there is a certificate again.
        """
        for gone, stays in ((FRONT, OPEN), (OPEN, FRONT)):
            content = takeAway(self.pool, gone)
            prepared = self.several()
            self.assertRefused(prepared, str(gone), "unrecognized name")
            self.assertServed(prepared, str(stays))
            self.assertEqual(prepared.withdrawn, [gone])
            self.assertEqual(list(prepared.certificates), [stays])
            self.assertIn(f"{gone} is withdrawn", noticesOf(prepared, datetime.now(UTC))[-1])
            giveBack(self.pool, gone, content)
            self.assertEqual(self.several().withdrawn, [])
            self.assertServed(self.several(), str(gone))

    def test_nobodyTakesThePlaceOfTheFirst(self) -> None:
        """
        Clients that ask for no name, or for any, are those of the first identity.
        """
        takeAway(self.pool, FRONT)
        self.assertRefused(self.several(), None, "handshake failure")
        self.assertRefused(self.several(anyName=True), "other.example", "unrecognized name")

    def test_aNameOfItsOwnHasNoOtherCertificate(self) -> None:
        """
        Neither where its own directory is withdrawn, nor where the certificate that was for it is.
        """
        served = ServedName("open.example")
        takeAway(self.pool, OPEN)
        prepared = self.prepared(served)
        self.assertRefused(prepared, "open.example", "unrecognized name")
        self.assertServed(prepared, "front.example")
        self.issue("wild.example", "*.wild.example")
        wild = Identity.parse("wild.example")
        takeAway(self.pool, wild)
        prepared = self.prepared(ServedName("a.wild.example"), otherIDs=(wild,))
        self.assertRefused(prepared, "a.wild.example", "unrecognized name")
        self.assertServed(prepared, "front.example")

    def test_whatIsPreparedAlreadyServesHimNoMore(self) -> None:
        """
        Connections that have begun with it come to TLS later.
        """
        prepared = self.several()
        self.assertServed(prepared, "open.example")
        takeAway(self.pool, OPEN)
        withdrawal.withdraw(self.pool, [OPEN], [prepared])
        self.assertRefused(prepared, "open.example", "unrecognized name")
        self.assertServed(prepared, "front.example")

    def test_noTicketBringsOneBackWhoIsAlone(self) -> None:
        """
        Where the tunnel has one identity, which sessions may be resumed with.
        """
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            prepared = self.prepared(resumption=True)
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.set_max_proto_version(version)
            kept = None
            for isGone in (False, False, True):
                if isGone:
                    withdrawal.withdraw(self.pool, [FRONT], [prepared])
                session = prepared.serverCreator.session()
                server = prepared.serverCreator.connection(MEMORY, session)
                client = SSL.Connection(context, MEMORY)
                client.set_connect_state()
                if kept is not None:
                    client.set_session(kept)
                error = handshake(server, client)[0]
                self.assertEqual(isinstance(session.refusal, Withdrawn), isGone)
                self.assertEqual(error is not None, isGone)
                with contextlib.suppress(SSL.Error):
                    client.recv(1)
                kept = client.get_session()
            self.assertEqual(prepared.withdrawn, [FRONT])
            self.assertEqual(prepared.certificates, {})

    def test_aMissingFileIsAMishap(self) -> None:
        """
        Nobody has said that it should be so.
        """
        (self.pool.path / "open.example" / "fullchain.pem").unlink()
        error = self.assertRaises(ConfigurationError, self.several)
        self.assertIn("cannot be read", str(error))


class ServerTests(TunnelTests):
    """
    A server tunnel that runs.
    """

    async def before(self, **settings: Any) -> tuple[Any, socket.socket]:
        """
        A tunnel, and its backend.
        """
        backend = socket.create_server(("127.0.0.1", 0))
        backend.settimeout(PATIENCE)
        self.addCleanup(backend.close)
        where = f"127.0.0.1:{backend.getsockname()[1]}"
        return self.tunnel(where, otherIDs=(CLIENT,), **settings), backend

    async def connect(self, tunnel: Any, backend: socket.socket) -> tuple[Encrypted, Plain]:
        """
        A connection that is up.
        """

        def run() -> tuple[Encrypted, Plain]:
            host, port = tunnel.addresses[0].rsplit(":", 1)
            dialled = socket.create_connection((host, int(port)), PATIENCE)
            client = Encrypted(dialled, self.context(True), True, SERVER.domain.encode())
            client.handshake()
            accepted, _ = backend.accept()
            accepted.settimeout(PATIENCE)
            return client, Plain(accepted)

        both = await deferToThread(run)
        for each in both:
            self.addCleanup(each.close)
        return both

    def reload(self, tunnel: Any) -> str:
        """
        Read everything again.
        """
        told: list[str] = []
        ended: Deferred[str] = tunnel.reload()
        ended.addCallback(told.append)
        return told[0]

    async def test_connectionsGoOnUnlessSomebodySaysElse(self) -> None:
        """
        New ones are refused, with a reason of their own.
        """
        tunnel, backend = await self.before()
        client, plain = await self.connect(tunnel, backend)
        takeAway(self.pool, SERVER)
        self.assertEqual(self.reload(tunnel), "")
        with self.assertRaises(SSL.Error):
            await self.connect(tunnel, backend)
        await wait(lambda: bool(self.ends))
        self.assertEnded("withdrawn")
        plain.write(b"still")
        self.assertEqual(await deferToThread(client.read, 5), b"still")

    async def test_theyEndInOrderWhereThatIsWanted(self) -> None:
        """
        With close_notify on the one side and a clean end on the other; those of others stay.
        """
        self.patch(withdrawal, "ENDS_PER_TURN", 1)
        tunnel, backend = await self.before(closesWithdrawn=True)
        several = [await self.connect(tunnel, backend) for _ in range(3)]
        self.assertEqual(self.reload(tunnel), "")
        takeAway(self.pool, CLIENT)
        self.assertEqual(self.reload(tunnel), "")
        self.assertEqual(tunnel.connections, 3)
        takeAway(self.pool, SERVER)
        self.assertEqual(self.reload(tunnel), "")
        for client, plain in several:
            self.assertTrue(await deferToThread(client.atEnd))
            self.assertTrue(await deferToThread(plain.atEnd))
            client.end()
            plain.end()
        await wait(lambda: len(self.ends) == 3)
        self.assertEqual({each["outcome"] for each in self.ends}, {"withdrawn"})

    async def test_aProgramThatIsStillAtItIsLeftAlone(self) -> None:
        """
        Both ends of its connection are closed, whoever they belonged to.
        """
        gate, done = Path(self.mktemp()).absolute(), Path(self.mktemp()).absolute()
        os.mkfifo(gate)
        script = f"cat; exec <&- >&-; read line <{gate}; echo >{done}"
        tunnel = self.tunnel(
            "127.0.0.1:1",
            remote=(ExecAddress(("/bin/sh", "-c", script)),),
            execution=Execution(OURSELVES),
            closesWithdrawn=True,
        )
        factory = tunnel.factory
        assert factory is not None
        host, port = tunnel.addresses[0].rsplit(":", 1)

        def run() -> None:
            dialled = socket.create_connection((host, int(port)), PATIENCE)
            client = Encrypted(dialled, self.context(True), True, SERVER.domain.encode())
            client.handshake()
            client.end()
            self.assertTrue(client.atEnd())
            client.close()

        await deferToThread(run)
        await wait(lambda: any(each._isLeaving for each in factory.pairs))
        takeAway(self.pool, SERVER)
        for _ in range(2):
            self.assertEqual(self.reload(tunnel), "")
        await deferToThread(gate.write_text, "go\n")
        await wait(lambda: not tunnel.connections)
        self.assertTrue(done.exists())
        self.assertEnded("clean")

    async def test_whoHasNotComeToTLSYetDoesNotGetThere(self) -> None:
        """
        The connection was accepted before.
        """
        tunnel, _ = await self.before()
        host, port = tunnel.addresses[0].rsplit(":", 1)
        dialled = socket.create_connection((host, int(port)), PATIENCE)
        self.addCleanup(dialled.close)
        await wait(lambda: tunnel.connections == 1)
        takeAway(self.pool, SERVER)
        self.assertEqual(self.reload(tunnel), "")
        client = Encrypted(dialled, self.context(True), True, SERVER.domain.encode())
        with self.assertRaises(SSL.Error):
            await deferToThread(client.handshake)
        await wait(lambda: bool(self.ends))
        self.assertEnded("withdrawn")

    async def test_whoIsOnTheWayToTLSDoesNotGetThere(self) -> None:
        """
        The client has the certificate already, and takes its time.
        """
        tunnel, _ = await self.before()
        host, port = tunnel.addresses[0].rsplit(":", 1)
        dialled = socket.create_connection((host, int(port)), PATIENCE)
        self.addCleanup(dialled.close)
        client = Encrypted(dialled, self.context(True), True, SERVER.domain.encode())

        def begin() -> None:
            with contextlib.suppress(SSL.WantReadError):
                client.tls.do_handshake()
            client.flush()
            client.fill()

        await deferToThread(begin)
        takeAway(self.pool, SERVER)
        self.assertEqual(self.reload(tunnel), "")
        await wait(lambda: bool(self.ends))
        self.assertEnded("withdrawn")

    async def test_aMissingFileChangesNothing(self) -> None:
        """
        The old state stays.
        """
        tunnel, backend = await self.before()
        (Path(self.pool.path) / str(SERVER) / "fullchain.pem").unlink()
        self.assertIn("cannot be read", self.reload(tunnel))
        await self.connect(tunnel, backend)


class ServerTLS12Tests(ServerTests):
    """
    The same with TLS 1.2.
    """

    version = "1.2"


class ClientTests(TunnelTests):
    """
    A client tunnel that shows a certificate.
    """

    mode = Mode.CLIENT

    async def test_nobodyIsConnectedToAnyMore(self) -> None:
        """
        The app is refused before anybody is dialled; a connection that there is ends if wanted.
        """
        backend = socket.create_server(("127.0.0.1", 0))
        backend.settimeout(PATIENCE)
        self.addCleanup(backend.close)
        where = f"127.0.0.1:{backend.getsockname()[1]}"
        tunnel = self.tunnel(where, localID=CLIENT, closesWithdrawn=True)
        host, port = tunnel.addresses[0].rsplit(":", 1)

        def run() -> tuple[Plain, Encrypted]:
            app = Plain(socket.create_connection((host, int(port)), PATIENCE))
            accepted, _ = backend.accept()
            accepted.settimeout(PATIENCE)
            server = Encrypted(accepted, self.context(False), False)
            server.handshake()
            app.write(b"x")
            server.read(1)
            return app, server

        app, server = await deferToThread(run)
        self.addCleanup(app.close)
        self.addCleanup(server.close)
        content = takeAway(self.pool, CLIENT)
        tunnel.reload()
        self.assertTrue(await deferToThread(server.atEnd))
        self.assertTrue(await deferToThread(app.atEnd))
        app.end()
        server.end()
        await wait(lambda: len(self.ends) == 1)
        other = Plain(socket.create_connection((host, int(port)), PATIENCE))
        self.addCleanup(other.close)
        self.assertTrue(await deferToThread(other.atEnd))
        await wait(lambda: len(self.ends) == 2)
        self.assertEqual([each["outcome"] for each in self.ends], 2 * ["withdrawn"])
        backend.setblocking(False)
        with self.assertRaises(BlockingIOError):
            backend.accept()
        backend.settimeout(PATIENCE)
        giveBack(self.pool, CLIENT, content)
        tunnel.reload()
        for each in await deferToThread(run):
            each.close()

    async def test_whoIsAboutToBeShownIsNot(self) -> None:
        """
        The server was connected to before, and takes its time until TLS; nor is another one tried.
        """
        backend = socket.create_server(("127.0.0.1", 0))
        backend.settimeout(PATIENCE)
        self.addCleanup(backend.close)
        where = f"127.0.0.1:{backend.getsockname()[1]}"
        tunnel = self.tunnel(
            where, remote=2 * (parseAddress(where),), localID=CLIENT, dialect="smtp"
        )
        host, port = tunnel.addresses[0].rsplit(":", 1)
        app = socket.create_connection((host, int(port)), PATIENCE)
        self.addCleanup(app.close)
        server, _ = await deferToThread(backend.accept)
        self.addCleanup(server.close)
        server.settimeout(PATIENCE)
        server.sendall(b"220 mx\r\n")
        await deferToThread(readLine, server)
        takeAway(self.pool, CLIENT)
        tunnel.reload()
        server.sendall(b"250 STARTTLS\r\n")
        await deferToThread(readLine, server)
        server.sendall(b"220 go\r\n")
        self.assertEqual(await deferToThread(server.recv, 1), b"")
        await wait(lambda: bool(self.ends))
        self.assertEnded("withdrawn")
        backend.setblocking(False)
        with self.assertRaises(BlockingIOError):
            backend.accept()
