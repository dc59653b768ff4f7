"""
Data connections of ftp on real sockets: L{tlstunnel.tunnel.channels}, and what it needs of
L{tlstunnel.tls.context}.
"""

from __future__ import annotations

import gc
import os
import re
import resource
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from OpenSSL import SSL
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from tests.loopback import (
    CLIENT,
    PATIENCE,
    SERVER,
    Encrypted,
    Plain,
    Reset,
    TunnelTests,
    reactor,
    wait,
)
from tests.ports import freePort
from tlstunnel.address import TCPAddress
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.protocols.ftpdata import ACTIVE, ALLOW_TRUNCATED_UPLOADS
from tlstunnel.tunnel import channels, dataports, quiet
from tlstunnel.tunnel.channels import MAX_DATA_CONNECTIONS
from tlstunnel.tunnel.description import (
    Mode,
)
from tlstunnel.tunnel.limits import (
    Limits,
)
from tlstunnel.tunnel.upgrade import Upgrade

T = TypeVar("T")

#: More than all buffers on the way take.
LARGE = os.urandom(1 << 20) * 8


def line(peer: Plain) -> bytes:
    """
    The next line, without its end.
    """
    text = b""
    while not text.endswith(b"\r\n"):
        byte = peer.read(1)
        assert isinstance(byte, bytes) and byte, (text, byte)
        text += byte
    return text[:-2]


def expect(peer: Plain, *lines: bytes) -> None:
    """
    Exactly these lines come next.
    """
    for each in lines:
        found = line(peer)
        assert found == each, f"expected {each!r}, heard {found!r}"


def tell(sock: socket.socket, *steps: bytes) -> None:
    """
    Say the first of some lines on a raw socket, hear the second, and so on.
    """
    for number, text in enumerate(steps):
        if number % 2 == 0:
            sock.sendall(text + b"\r\n")
        else:
            expect(Plain(sock), text)


def listener(family: int = socket.AF_INET) -> socket.socket:
    """
    Where a server awaits a data connection.
    """
    sock = socket.socket(family)
    sock.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    sock.listen()
    sock.settimeout(PATIENCE)
    return sock


def connect(port: int, source: str = "127.0.0.1") -> Plain:
    """
    A connection to the tunnel.
    """
    return Plain(socket.create_connection(("127.0.0.1", port), PATIENCE, (source, 0)))


def isRefused(port: int) -> bool:
    """
    Whether nobody listens at C{port} any more; asked from an address that is not served there.
    """
    try:
        connect(port, "127.0.0.2").close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass
    return False


def becomesReset(port: int) -> bool:
    """
    Whether a connection is made, and reset.
    """
    try:
        return connect(port).isReset()
    except ConnectionResetError:
        return True


def becomesRefused(port: int) -> None:
    """
    Soon nobody listens at C{port} any more.
    """
    due = time.monotonic() + PATIENCE
    while not isRefused(port):
        assert time.monotonic() < due, "the port stays open"
        time.sleep(0.01)


def isResumed(peer: Encrypted) -> bool:
    """
    Whether the handshake resumed a session.
    """
    return bool(SSL._lib.SSL_session_reused(peer.tls._ssl))  # type: ignore[attr-defined]


def portOf(sock: socket.socket) -> int:
    """
    Where it listens.
    """
    port: int = sock.getsockname()[1]
    return port


def passiveReply(port: int, host: bytes = b"10,9,8,7") -> bytes:
    """
    A reply 227, with an address that must not matter.
    """
    return b"227 Entering Passive Mode (%s,%d,%d).\r\n" % (host, port >> 8, port & 255)


def portCommand(port: int) -> bytes:
    """
    The command PORT of whoever listens there.
    """
    return b"PORT 127,0,0,1,%d,%d\r\n" % (port >> 8, port & 255)


def portIn(reply: bytes) -> int:
    """
    The port in a reply 227 with the address of the tunnel.
    """
    found = re.fullmatch(rb"227 Entering Passive Mode \(127,0,0,1,(\d+),(\d+)\)", reply)
    assert found is not None, reply
    return int(found[1]) << 8 | int(found[2])


class DataTests(TunnelTests):
    """
    What both modes have in common.
    """

    def remember(self) -> None:
        """
        Keep the services of tunnels that are started.
        """
        self.services: list[Any] = []
        start = self.tunnel

        def tunnel(*arguments: Any, **settings: Any) -> Any:
            self.services.append(start(*arguments, **settings))
            return self.services[-1]

        self.tunnel = tunnel  # type: ignore[method-assign]


class ClientModeTests(DataTests):
    """
    Mode -c: C{network} is an FTP server with TLS, C{plain} an app without.
    """

    mode = Mode.CLIENT

    async def ended(self, *reasons: str) -> list[LogEvent]:
        """
        So many data connections ended, for these reasons.
        """
        await wait(lambda: len(self.dataEnds) >= len(reasons))
        self.assertEqual([event["outcome"] for event in self.dataEnds], list(reasons))
        return self.dataEnds

    @property
    def dataEnds(self) -> list[LogEvent]:
        """
        The data connections that ended.
        """
        return [event for event in self.ends if event["dialect"] == "ftp-data"]

    async def ftp(self, script: Callable[[Encrypted, Plain], T], **settings: Any) -> T:
        """
        Run C{script} once the app is greeted.
        """

        def greeted(network: Encrypted, plain: Plain) -> T:
            expect(network, b"PBSZ 0")
            network.write(b"200 PBSZ=0\r\n")
            expect(network, b"PROT P")
            network.write(b"200 ok\r\n")
            expect(plain, b"220 server.example.org ready")
            return script(network, plain)

        def preamble(sock: socket.socket) -> None:
            tell(sock, b"220 ready", b"AUTH TLS", b"234 go")

        result: T = await self.through(greeted, "ftp", preamble, **settings)
        return result

    def passive(self, network: Encrypted, plain: Plain, awaiting: socket.socket) -> int:
        """
        Ask for a data connection.

        @return: where the app is to connect.
        """
        plain.write(b"PASV\r\n")
        expect(network, b"PASV")
        network.write(passiveReply(awaiting.getsockname()[1]))
        return portIn(line(plain))

    def data(
        self, network: Encrypted, plain: Plain, context: SSL.Context | None = None
    ) -> tuple[Encrypted, Plain]:
        """
        Make a data connection.

        @return: its ends at the server and at the app.
        """
        with listener() as awaiting:
            app = connect(self.passive(network, plain, awaiting))
            sock, _ = awaiting.accept()
        sock.settimeout(PATIENCE)
        server = Encrypted(sock, context or network.tls.get_context(), False)
        server.handshake()
        return server, app

    async def test_aFileIsFetched(self) -> None:
        """
        It arrives whole and ends cleanly, over a connection that resumes the control session.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            server, app = self.data(network, plain)
            self.assertTrue(isResumed(server))
            server.write(b"a file")
            server.end()
            self.assertEqual(app.read(100), b"a file")
            app.close()
            self.assertTrue(server.atEnd())
            server.close()

        await self.ftp(script)
        (ended,) = await self.ended("clean")
        self.assertEqual(ended["identity"], "server.example.org")
        self.assertEqual(ended["to_plain"], 6)

    async def test_aFileIsStored(self) -> None:
        """
        The server gets all of it and a clean end.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            server, app = self.data(network, plain)
            app.write(b"a file")
            app.close()
            self.assertEqual(server.read(100), b"a file")
            server.end()
            server.close()

        await self.ftp(script)

    async def test_oneFileAfterAnotherIsTransferred(self) -> None:
        """
        Each over a connection that resumes the session, also after one that the app has reset.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            for number in range(6):
                server, app = self.data(network, plain)
                self.assertTrue(isResumed(server), number)
                if number % 2 == 0:
                    server.write(b"a file")
                    server.end()
                    self.assertEqual(app.read(100), b"a file")
                    app.close()
                    # The session is the server's as well: it must not be spoilt on this side.
                    self.assertTrue(server.atEnd())
                else:
                    app.reset()
                    self.assertIs(server.read(1), Reset)
                    server.tls.set_shutdown(SSL.SENT_SHUTDOWN)
                server.close()

        await self.ftp(script)

    async def test_afterTruncationFilesAreTransferred(self) -> None:
        """
        In TLS 1.2 OpenSSL regards the session as spoilt then; the server is verified anew.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            server, app = self.data(network, plain)
            server.truncate()
            self.assertTrue(app.isReset())
            server.tls.set_shutdown(SSL.SENT_SHUTDOWN)
            server, app = self.data(network, plain)
            self.assertEqual(isResumed(server), self.version == "1.3")
            server.write(b"a file")
            self.assertEqual(app.read(6), b"a file")

        await self.ftp(script)

    async def test_aLotOfDataArrivesAtASlowReader(self) -> None:
        """
        Nothing is lost where buffers run full.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            server, app = self.data(network, plain)

            def write() -> None:
                server.write(LARGE)
                server.end()

            writer = threading.Thread(target=write)
            writer.start()
            time.sleep(0.2)
            self.assertTrue(app.read(len(LARGE) + 1) == LARGE)
            writer.join()
            app.close()
            server.close()

        await self.ftp(script)

    async def test_truncatedDataDoesNotEndCleanly(self) -> None:
        """
        Without close_notify nobody knows whether it was all.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            server, app = self.data(network, plain)
            server.write(b"half a file")
            self.assertEqual(app.read(11), b"half a file")
            server.truncate()
            self.assertTrue(app.isReset())

        await self.ftp(script)
        (ended,) = await self.ended("truncated")
        self.assertEqual(ended["detail"], "truncated: the server sent no close_notify")

    async def test_whatTheAppDidNotEndDoesNotEndCleanly(self) -> None:
        """
        A file that is stored is not complete where the app crashed.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            server, app = self.data(network, plain)
            app.write(b"half a file")
            self.assertEqual(server.read(11), b"half a file")
            app.reset()
            self.assertIs(server.read(1), Reset)

        await self.ftp(script)

    async def test_aServerThatDoesNotResumeIsVerifiedAnew(self) -> None:
        """
        With a certificate that is right it is believed.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            server, app = self.data(network, plain, self.context(False))
            self.assertFalse(isResumed(server))
            self.assertEqual(server.tls.get_servername(), SERVER.domain.encode())
            server.write(b"a file")
            self.assertEqual(app.read(6), b"a file")

        await self.ftp(script)

    async def test_somebodyElseIsNotBelieved(self) -> None:
        """
        Who took the server's port for data needs its certificate too; the app's file stays here.
        """
        other = Identity(None, "other.example.org")
        createIdentity(self.pool, other)

        def script(network: Encrypted, plain: Plain) -> None:
            context = self.context(False)
            directory = self.pool.path / str(other)
            context.use_certificate_chain_file(str(directory / "fullchain.pem"))
            context.use_privatekey_file(str(directory / "privkey.pem"))
            with listener() as awaiting:
                app = connect(self.passive(network, plain, awaiting))
                app.write(b"secret")
                sock, _ = awaiting.accept()
            server = Encrypted(sock, context, False)
            with self.assertRaises((SSL.Error, ConnectionError)):
                server.handshake()
                # In TLS 1.3 our judgement comes after the server's part is done.
                self.assertIs(server.read(6), Reset)
            self.assertTrue(app.isReset())
            plain.write(b"NOOP\r\n")
            expect(network, b"NOOP")

        await self.ftp(script)
        await self.ended("identity")

    async def test_aServerWithoutTLSGetsNothing(self) -> None:
        """
        There is no data connection in clear.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as awaiting:
                app = connect(self.passive(network, plain, awaiting))
                app.write(b"secret")
                server, _ = awaiting.accept()
            server.settimeout(PATIENCE)
            self.assertTrue(server.recv(3).startswith(b"\x16\x03"))
            server.sendall(b"a file\r\n")
            self.assertTrue(app.isReset())
            server.close()

        await self.ftp(script)

    async def test_onlyTheHostOfTheControlConnectionMayConnect(self) -> None:
        """
        Another one gets nothing, and does not take the place of the right one.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as awaiting:
                port = self.passive(network, plain, awaiting)
                for _ in range(3):
                    self.assertIn(connect(port, "127.0.0.2").read(1), (b"", Reset))
                app = connect(port)
                sock, _ = awaiting.accept()
            server = Encrypted(sock, network.tls.get_context(), False)
            server.handshake()
            server.write(b"a file")
            self.assertEqual(app.read(6), b"a file")
            self.assertTrue(isRefused(port))

        await self.ftp(script)

    async def test_oneConnectionIsAccepted(self) -> None:
        """
        For each reply to PASV.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as awaiting:
                port = self.passive(network, plain, awaiting)
                app = connect(port)
                awaiting.accept()[0].close()
            self.assertTrue(isRefused(port))
            app.close()

        await self.ftp(script)

    async def test_aSecondReplyTakesTheFirstBack(self) -> None:
        """
        A port where nobody came is closed.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as awaiting:
                ports = [
                    self.passive(network, plain, awaiting) for _ in range(2 * MAX_DATA_CONNECTIONS)
                ]
                self.assertTrue(all(isRefused(port) for port in ports[:-1]))
                app = connect(ports[-1])
                awaiting.accept()[0].close()
                app.close()

        await self.ftp(script)

    async def test_withoutADescriptorThereIsNoPort(self) -> None:
        """
        The app is told so, and the session goes on.
        """
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

        def script(network: Encrypted, plain: Plain) -> None:
            free = os.open(os.devnull, os.O_RDONLY)
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
            plain.write(b"PASV\r\n")
            expect(network, b"PASV")
            network.write(passiveReply(1))
            expect(plain, b"425 Cannot listen: no port to listen at (Too many open files)")
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            _, app = self.data(network, plain)
            app.close()

        await self.ftp(script)

    async def test_thereAreNotTooMany(self) -> None:
        """
        Where that many are open the app is told.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            opened = [self.data(network, plain) for _ in range(MAX_DATA_CONNECTIONS)]
            plain.write(b"PASV\r\n")
            expect(network, b"PASV")
            network.write(passiveReply(1))
            expect(plain, b"425 Cannot listen: too many data connections")
            server, app = opened[0]
            server.end()
            self.assertTrue(app.atEnd())
            app.close()
            self.assertTrue(server.atEnd())
            server.write = None  # type: ignore[assignment]
            opened.append(self.data(network, plain))
            for server, app in opened:
                server.close()
                app.close()

        await self.ftp(script)

    async def test_nobodyAtTheServersPortIsAReset(self) -> None:
        """
        The control connection stays.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as awaiting:
                port = self.passive(network, plain, awaiting)
            self.assertTrue(becomesReset(port))
            plain.write(b"NOOP\r\n")
            expect(network, b"NOOP")

        await self.ftp(script)
        await self.ended("connect")

    async def test_aPortWhereNobodyComesIsClosed(self) -> None:
        """
        And so is a connection on which the server does not speak TLS.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as awaiting:
                becomesRefused(self.passive(network, plain, awaiting))
                app = connect(self.passive(network, plain, awaiting))
                sock, _ = awaiting.accept()
                self.assertTrue(app.isReset())
                sock.close()

        await self.ftp(script, limits=Limits(greeting=0.5, closeTotal=0.5))

    async def test_TLSMayBeginLate(self) -> None:
        """
        A server says 150 first, and a tape library looks for the tape before: what ends the wait
        is not the limit for greetings, nor that for handshakes.
        """
        waited = []
        secure = Upgrade.secure

        def noted(upgrade: Upgrade, leg: Any, start: Any, creator: Any, seconds: Any = None) -> Any:
            waited.append(seconds)
            return secure(upgrade, leg, start, creator, seconds)

        self.patch(Upgrade, "secure", noted)
        await self.ftp(self.data, limits=Limits(closeTotal=77))
        self.assertEqual(waited, [None, 77])

    async def test_withTheControlConnectionAllIsGone(self) -> None:
        """
        Where that was reset, the port and what moves.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            server, app = self.data(network, plain)
            server.write(b"half a file")
            self.assertEqual(app.read(11), b"half a file")
            with listener() as awaiting:
                port = self.passive(network, plain, awaiting)
                network.reset()
                self.assertTrue(app.isReset())
                self.assertIs(server.read(1), Reset)
                becomesRefused(port)

        await self.ftp(script)

    async def test_whatMovesArrivesAfterTheControlConnectionEnded(self) -> None:
        """
        Where that was a clean end; but no new data connection is accepted.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            server, app = self.data(network, plain)
            with listener() as awaiting:
                port = self.passive(network, plain, awaiting)
                network.end()
                self.assertTrue(plain.atEnd())
                plain.close()
                self.assertTrue(network.atEnd())
                becomesRefused(port)
            server.write(b"a file")
            server.end()
            self.assertEqual(app.read(100), b"a file")
            app.close()

        await self.ftp(script)
        await self.ended("clean")

    async def test_itDoesNotDelayAStop(self) -> None:
        """
        It is reset like everything else.
        """
        self.remember()

        def script(network: Encrypted, plain: Plain) -> None:
            server, app = self.data(network, plain)
            network.end()
            self.assertTrue(plain.atEnd())
            plain.close()
            self.assertTrue(network.atEnd())
            reactor.callFromThread(self.services[0].hurry)
            self.assertTrue(app.isReset())
            self.assertIs(server.read(1), Reset)

        await self.ftp(script)
        await self.ended("closed")
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_itDoesNotArriveForever(self) -> None:
        """
        After the limit for a second direction it is reset.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            server, app = self.data(network, plain)
            network.end()
            plain.close()
            self.assertTrue(app.isReset())
            self.assertIs(server.read(1), Reset)

        await self.ftp(script, limits=Limits(close=0.3))

    async def test_whileDataMovesNothingIsIdle(self) -> None:
        """
        The control connection is silent during a transfer, and the data connection afterwards.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            server, app = self.data(network, plain)
            for _ in range(15):
                time.sleep(0.1)
                server.write(b"x")
                self.assertEqual(app.read(1), b"x")
            plain.write(b"NOOP\r\n")
            expect(network, b"NOOP")

        await self.ftp(script, limits=Limits(idle=0.6))

    async def test_whileDataMovesAStopWaits(self) -> None:
        """
        The control connection is silent, but not without use.
        """
        self.patch(quiet, "QUIET_SECONDS", 0.2)
        self.remember()

        def script(network: Encrypted, plain: Plain) -> None:
            server, app = self.data(network, plain)
            reactor.callFromThread(self.services[0].stopService)
            for _ in range(10):
                time.sleep(0.1)
                server.write(b"x")
                self.assertEqual(app.read(1), b"x")
            server.end()
            self.assertTrue(app.atEnd())

        await self.ftp(script)

    async def test_urgentDataIsNotLost(self) -> None:
        """
        ftplib sends ABOR so; its last byte is the urgent one.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            plain.sock.sendall(b"ABOR\r\n", socket.MSG_OOB)
            expect(network, b"ABOR")

        await self.ftp(script)

    def listenAt(self, host: str) -> None:
        """
        Let the app find the tunnel at C{host}.
        """
        start = self.tunnel

        def tunnel(*arguments: Any, **settings: Any) -> Any:
            port = start(*arguments, **settings).addresses[0].rpartition(":")[2]
            return SimpleNamespace(addresses=[f"{host}:{port}"])

        self.tunnel = tunnel  # type: ignore[method-assign]

    async def test_overIPv6ThereIsEPSV(self) -> None:
        """
        Towards an app that came over IPv6, also where the server knows nothing of it.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            plain.write(b"EPSV 2\r\n")
            expect(network, b"EPSV")
            network.write(b"500 what?\r\n")
            expect(network, b"PASV")
            with listener() as awaiting:
                network.write(passiveReply(awaiting.getsockname()[1]))
                reply = line(plain)
                found = re.fullmatch(
                    rb"229 Entering Extended Passive Mode \(\|\|\|(\d+)\|\)", reply
                )
                assert found is not None, reply
                app = Plain(socket.create_connection(("::1", int(found[1])), PATIENCE))
                sock, _ = awaiting.accept()
            server = Encrypted(sock, network.tls.get_context(), False)
            server.handshake()
            server.write(b"a file")
            self.assertEqual(app.read(6), b"a file")

        self.listenAt("::1")
        await self.ftp(script, local=(TCPAddress("::1", 0),))

    async def test_overIPv6ThereIsEPRT(self) -> None:
        """
        For an app that came over IPv6.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener(socket.AF_INET6) as app, listener() as awaiting:
                plain.write(b"EPRT |2|::1|%d|\r\n" % portOf(app))
                expect(network, b"EPSV")
                network.write(b"229 (|||%d|)\r\n" % portOf(awaiting))
                expect(plain, b"200 EPRT understood")
                server = Encrypted(awaiting.accept()[0], network.tls.get_context(), False)
                sock, (host, *_) = app.accept()
                self.assertEqual(host, "::1")
                server.handshake()
                server.write(b"a file")
                self.assertEqual(Plain(sock).read(6), b"a file")

        self.listenAt("::1")
        await self.ftp(script, local=(TCPAddress("::1", 0),), options=frozenset((ACTIVE,)))

    async def test_IPv4MappedIntoIPv6HasPORT(self) -> None:
        """
        As where the tunnel listens at all addresses.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as app, listener() as awaiting:
                self.active(network, plain, portOf(app), portOf(awaiting))
                server = Encrypted(awaiting.accept()[0], network.tls.get_context(), False)
                sock, (host, _) = app.accept()
                self.assertEqual(host, "127.0.0.1")
                server.handshake()
                server.write(b"a file")
                self.assertEqual(Plain(sock).read(6), b"a file")

        self.listenAt("127.0.0.1")
        await self.ftp(script, local=(TCPAddress("::", 0),), options=frozenset((ACTIVE,)))

    async def test_IPv4MappedIntoIPv6HasPASV(self) -> None:
        """
        As where the tunnel listens at all addresses.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            server, app = self.data(network, plain)
            server.write(b"a file")
            self.assertEqual(app.read(6), b"a file")

        self.listenAt("127.0.0.1")
        await self.ftp(script, local=(TCPAddress("::", 0),))

    def active(self, network: Encrypted, plain: Plain, app: int, awaiting: int) -> None:
        """
        Have a connection made from the port C{awaiting}, at the server, to C{app}.
        """
        plain.write(portCommand(app))
        expect(network, b"PASV")
        network.write(passiveReply(awaiting))
        expect(plain, b"200 PORT understood")

    async def test_inActiveModeTheAppIsConnectedTo(self) -> None:
        """
        From the address at which it has found the tunnel; the server is connected to, and resumes
        the session of the control connection.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as app, listener() as awaiting:
                for number in range(3):
                    self.active(network, plain, portOf(app), portOf(awaiting))
                    server = Encrypted(awaiting.accept()[0], network.tls.get_context(), False)
                    sock, (host, _) = app.accept()
                    self.assertEqual(host, "127.0.0.1")
                    server.handshake()
                    self.assertTrue(isResumed(server), number)
                    client = Plain(sock)
                    client.write(b"a file")
                    self.assertEqual(server.read(6), b"a file")
                    client.close()
                    self.assertTrue(server.atEnd())
                    server.end()
                    server.close()

        await self.ftp(script, options=frozenset((ACTIVE,)))
        ends = await self.ended("clean", "clean", "clean")
        self.assertEqual({event["identity"] for event in ends}, {"server.example.org"})

    async def test_whereNobodyListensInActiveModeTheOtherEndHearsOfIt(self) -> None:
        """
        The control connection stays, and the app is not connected to before the server is.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as app, listener() as awaiting:
                with listener() as gone:
                    nowhere = portOf(gone)
                self.active(network, plain, nowhere, portOf(awaiting))
                server = Plain(awaiting.accept()[0])
                self.assertTrue(server.isReset())
                self.active(network, plain, portOf(app), nowhere)
                plain.write(b"NOOP\r\n")
                expect(network, b"NOOP")
                network.write(b"425 nobody came\r\n")
                expect(plain, b"425 nobody came")
                app.settimeout(0.1)
                self.assertRaises(TimeoutError, app.accept)

        await self.ftp(script, options=frozenset((ACTIVE,)))
        await self.ended("connect", "connect")

    async def test_inActiveModeASecondRequestTakesTheFirstBack(self) -> None:
        """
        As long as it is on its way.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as app, listener() as awaiting:
                for _ in range(3 * MAX_DATA_CONNECTIONS):
                    self.passive(network, plain, awaiting)
                    self.active(network, plain, portOf(app), portOf(awaiting))
                    server = awaiting.accept()[0]
                    app.accept()[0].close()
                    server.close()

        await self.ftp(script, options=frozenset((ACTIVE,)))

    async def test_aRangeOfPortsIsKeptTo(self) -> None:
        """
        Where all of it is in use, the app is told, and the log says what to do, once.
        """
        events: list[LogEvent] = []
        observe = cast("ILogObserver", events.append)
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.patch(channels, "FULL_SECONDS", 0.0)
        only = freePort()

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as awaiting:
                for _ in range(4):
                    self.assertEqual(self.passive(network, plain, awaiting), only)
            for _ in range(4):
                # At once, although the system remembers the last connection there.
                server, app = self.data(network, plain)
                self.assertEqual(app.sock.getpeername()[1], only)
                server.close()
                app.close()
            with socket.create_server(("127.0.0.1", only)):
                for _ in range(3):
                    plain.write(b"PASV\r\n")
                    expect(network, b"PASV")
                    network.write(passiveReply(1))
                    expect(
                        plain,
                        b"425 Cannot listen: all ports from %d to %d are in use" % (only, only),
                    )
            self.data(network, plain)

        await self.ftp(script, name="files", options=frozenset((f"ports={only}-{only}",)))
        told = [event for event in events if "wider range" in event.get("log_format", "")]
        self.assertEqual([event["peer"] for event in told], ["127.0.0.1"])
        self.assertEqual([event["tunnel"] for event in told], ["files"])

    async def test_whoAsksForAPortAgainAndAgainIsToldAtOnce(self) -> None:
        """
        Nobody looks through all of the range for each of many requests.
        """
        self.patch(channels, "FULL_SECONDS", PATIENCE)
        only = freePort()
        tries = []
        listen = dataports.listenBeside

        def noted(*arguments: Any) -> socket.socket:
            tries.append(arguments)
            return listen(*arguments)

        self.patch(channels, "listenBeside", noted)

        def script(network: Encrypted, plain: Plain) -> None:
            with socket.create_server(("127.0.0.1", only)):
                plain.write(b"PASV\r\n" * 100)
                for _ in range(100):
                    expect(network, b"PASV")
                network.write(passiveReply(1) * 100)
                for _ in range(100):
                    self.assertTrue(line(plain).startswith(b"425 Cannot listen: all ports from "))

        await self.ftp(script, options=frozenset((f"ports={only}-{only}",)))
        self.assertEqual(len(tries), 1)

    async def test_noDescriptorIsLeft(self) -> None:
        """
        Whatever became of the data connections.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            for number in range(4):
                server, app = self.data(network, plain)
                if number == 0:
                    app.reset()
                elif number == 1:
                    server.truncate()
                    app.isReset()
                elif number == 2:
                    server.end()
                    app.close()
                app.close()
                server.close()
            with listener() as awaiting:
                connect(self.passive(network, plain, awaiting)).close()
                self.passive(network, plain, awaiting)

        def descriptors() -> int:
            gc.collect()
            return len(list(Path("/proc/self/fd").iterdir()))

        await self.ftp(script)
        await wait(lambda: sum(event["dialect"] == "ftp" for event in self.ends) == 1)
        before = descriptors()
        for count in range(2, 5):
            await self.ftp(script)
            await wait(
                lambda count=count: (  # type: ignore[misc]
                    sum(event["dialect"] == "ftp" for event in self.ends) == count
                )
            )
        # Each run leaves its tunnel and its server listening until the end of the test.
        self.assertEqual(descriptors(), before + 3 * 2)


class ClientModeTLS12Tests(ClientModeTests):
    """
    The same with TLS 1.2, where sessions are resumed otherwise.
    """

    version = "1.2"

    async def test_aServerThatKeepsNoSessionsGivesTickets(self) -> None:
        """
        We take them, although elsewhere we do without.
        """

        def context(isClient: bool) -> SSL.Context:
            made = TunnelTests.context(self, isClient)
            made.set_session_cache_mode(SSL.SESS_CACHE_OFF)
            return made

        self.context = context  # type: ignore[method-assign]

        def script(network: Encrypted, plain: Plain) -> None:
            server, _ = self.data(network, plain)
            self.assertTrue(isResumed(server))

        await self.ftp(script)


class ServerMode(DataTests):
    """
    Mode -s: C{network} is an FTP client with TLS, C{plain} a server without.
    """

    async def ftp(self, script: Callable[[Encrypted, Plain], T], **settings: Any) -> T:
        """
        Run C{script} once data is to be protected.
        """

        def greeted(network: Encrypted, plain: Plain) -> T:
            plain.write(b"220 ready\r\n")
            network.write(b"PBSZ 0\r\nPROT P\r\n")
            expect(network, b"200 PBSZ=0", b"200 Protection set to Private")
            return script(network, plain)

        def preamble(sock: socket.socket) -> None:
            expect(Plain(sock), b"220 server.example.org ready")
            tell(sock, b"AUTH TLS", b"234 Proceed with negotiation")

        result: T = await self.through(greeted, "ftp", preamble, **settings)
        return result

    def data(self, network: Encrypted, plain: Plain) -> tuple[socket.socket, Plain]:
        """
        Make a data connection, up to its handshake.

        @return: its ends at the client and at the backend, which is connected before there is TLS.
        """
        network.write(b"PASV\r\n")
        expect(plain, b"PASV")
        with listener() as awaiting:
            plain.write(passiveReply(awaiting.getsockname()[1]))
            client = connect(portIn(line(network))).sock
            sock, _ = awaiting.accept()
        sock.settimeout(PATIENCE)
        return client, Plain(sock)

    def encrypted(self, sock: socket.socket, context: SSL.Context) -> Encrypted:
        """
        Complete the handshake of a client.
        """
        client = Encrypted(sock, context, True, SERVER.domain.encode())
        client.handshake()
        return client


class ServerModeTests(ServerMode):
    """
    What data connections do there.
    """

    async def test_aFileIsFetched(self) -> None:
        """
        By a client that resumes no session, as most.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            for _ in range(2):
                sock, backend = self.data(network, plain)
                backend.write(b"a file")
                backend.close()
                client = self.encrypted(sock, self.context(True))
                self.assertEqual(client.read(100), b"a file")
                client.end()
                client.close()

        await self.ftp(script)

    async def test_aFileIsStored(self) -> None:
        """
        The backend gets all of it and a clean end, and the client the backend's.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            sock, backend = self.data(network, plain)
            client = self.encrypted(sock, self.context(True))
            client.write(b"a file")
            client.end()
            self.assertEqual(backend.read(100), b"a file")
            backend.close()
            self.assertTrue(client.atEnd())
            client.close()

        await self.ftp(script)

    async def test_truncatedDataDoesNotEndCleanly(self) -> None:
        """
        Who cuts the connection does not make the backend believe that this was the file.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            sock, backend = self.data(network, plain)
            client = self.encrypted(sock, self.context(True))
            client.write(b"half a file")
            self.assertEqual(backend.read(11), b"half a file")
            client.truncate()
            self.assertTrue(backend.isReset())

        await self.ftp(script)

    async def test_anUploadThatIsNotEndedIsTakenByName(self) -> None:
        """
        Some clients, those of .NET for one, close the TCP connection only: where the option allows
        it, that is a clean end.  Data of the backend that is cut is still a failure.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            sock, backend = self.data(network, plain)
            client = self.encrypted(sock, self.context(True))
            client.write(b"a file")
            client.truncate()
            self.assertEqual(backend.read(100), b"a file")
            backend.close()
            client.close()
            sock, backend = self.data(network, plain)
            client = self.encrypted(sock, self.context(True))
            backend.write(b"half a file")
            self.assertEqual(client.read(11), b"half a file")
            client.truncate()
            self.assertTrue(backend.isReset())
            sock, backend = self.data(network, plain)
            client = self.encrypted(sock, self.context(True))
            client.write(b"half a file")
            self.assertEqual(backend.read(11), b"half a file")
            client.reset()
            self.assertTrue(backend.isReset())

        await self.ftp(script, options=frozenset((ALLOW_TRUNCATED_UPLOADS,)))

    async def test_inActiveModeTheClientIsConnectedTo(self) -> None:
        """
        It speaks TLS as the client all the same (RFC 4217, section 7); data goes either way.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as waiting, listener() as awaiting:
                for isUpload in (False, True):
                    network.write(portCommand(portOf(waiting)))
                    expect(plain, b"PASV")
                    plain.write(passiveReply(awaiting.getsockname()[1]))
                    expect(network, b"200 PORT understood")
                    backend = Plain(awaiting.accept()[0])
                    client = self.encrypted(waiting.accept()[0], self.context(True))
                    if isUpload:
                        client.write(b"a file")
                        client.end()
                        self.assertEqual(backend.read(100), b"a file")
                        backend.close()
                    else:
                        backend.write(b"a file")
                        backend.close()
                        self.assertEqual(client.read(100), b"a file")
                        client.end()
                    client.close()

        await self.ftp(script, options=frozenset((ACTIVE,)))

    async def test_inActiveModeTheClientMustBeTheSame(self) -> None:
        """
        With -R, whoever listens there has to show the certificate of the control connection.
        """
        context = self.context(True)
        directory = self.pool.path / str(CLIENT)
        context.use_certificate_chain_file(str(directory / "fullchain.pem"))
        context.use_privatekey_file(str(directory / "privkey.pem"))
        self.patch(self, "context", lambda _: context)

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as waiting, listener() as awaiting:
                for made in (context, TunnelTests.context(self, True)):
                    network.write(portCommand(portOf(waiting)))
                    expect(plain, b"PASV")
                    plain.write(passiveReply(awaiting.getsockname()[1]))
                    expect(network, b"200 PORT understood")
                    backend = Plain(awaiting.accept()[0])
                    client = Encrypted(waiting.accept()[0], made, True, SERVER.domain.encode())
                    backend.write(b"secret")
                    try:
                        client.handshake()
                        heard = client.read(6)
                    except (SSL.Error, ConnectionError):
                        heard = Reset
                    self.assertEqual(heard, b"secret" if made is context else Reset)

        await self.ftp(
            script, remoteID=Selector.parse("@example.org"), options=frozenset((ACTIVE,))
        )

    async def test_withoutTLSNothingPasses(self) -> None:
        """
        In neither direction.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            sock, backend = self.data(network, plain)
            backend.write(b"secret")
            sock.sendall(b"a file\r\n")
            self.assertTrue(backend.isReset())
            heard = Plain(sock).read(100)
            self.assertNotIn(b"secret", heard if isinstance(heard, bytes) else b"")

        await self.ftp(script)

    async def test_theClientMustBeTheSame(self) -> None:
        """
        With -R, who connects for data has to show the certificate of the control connection's
        client; another one that -R selects will not do.
        """
        other = Identity("other", "example.org")
        createIdentity(self.pool, other)
        shown = CLIENT

        def context(isClient: bool) -> SSL.Context:
            made = TunnelTests.context(self, isClient)
            directory = self.pool.path / str(shown)
            made.use_certificate_chain_file(str(directory / "fullchain.pem"))
            made.use_privatekey_file(str(directory / "privkey.pem"))
            return made

        self.context = context  # type: ignore[method-assign]

        def script(network: Encrypted, plain: Plain) -> None:
            nonlocal shown
            sock, backend = self.data(network, plain)
            client = self.encrypted(sock, self.context(True))
            backend.write(b"a file")
            self.assertEqual(client.read(6), b"a file")
            for certificate in (True, False):
                shown = other
                sock, backend = self.data(network, plain)
                backend.write(b"secret")
                made = self.context(True) if certificate else TunnelTests.context(self, True)
                client = Encrypted(sock, made, True)
                try:
                    client.handshake()
                    self.assertIs(client.read(6), Reset)
                except (SSL.Error, ConnectionError):
                    pass
                self.assertTrue(backend.isReset())

        await self.ftp(script, remoteID=Selector.parse("@example.org"))

    async def test_aBackendThatIsGoneIsAReset(self) -> None:
        """
        The control connection stays.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            network.write(b"PASV\r\n")
            expect(plain, b"PASV")
            with listener() as awaiting:
                port = awaiting.getsockname()[1]
            plain.write(passiveReply(port))
            self.assertTrue(becomesReset(portIn(line(network))))
            network.write(b"NOOP\r\n")
            expect(plain, b"NOOP")

        await self.ftp(script)

    async def test_aStopClosesThePort(self) -> None:
        """
        And what moves is over.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            sock, backend = self.data(network, plain)
            client = self.encrypted(sock, self.context(True))
            backend.write(b"half a file")
            self.assertEqual(client.read(11), b"half a file")
            network.write(b"PASV\r\n")
            expect(plain, b"PASV")
            with listener() as awaiting:
                plain.write(passiveReply(awaiting.getsockname()[1]))
                port = portIn(line(network))
                reactor.callFromThread(self.services[0].hurry)
                becomesRefused(port)
            self.assertIs(client.read(1), Reset)
            self.assertTrue(backend.isReset())

        self.remember()
        await self.ftp(script)


class ServerModeTLS12Tests(ServerModeTests):
    """
    The same with TLS 1.2.
    """

    version = "1.2"
