"""
Tests for L{tlstunnel.tunnel.channels} in client mode, and for what it needs of
L{tlstunnel.tls.context}: data connections of ftp on real sockets.
"""

from __future__ import annotations

import gc
import socket
import threading
import time
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from tests.loopback import PATIENCE, SERVER, Encrypted, Plain, Reset, TunnelTests, reactor, wait
from tests.tunnel.datatransfers import (
    LARGE,
    ClientMode,
    becomesRefused,
    connect,
    expect,
    isResumed,
    listener,
)
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.tunnel import quiet
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.upgrade import Upgrade


class ClientModeTests(ClientMode):
    """
    Mode -c: C{network} is an FTP server with TLS, C{plain} an app without.
    """

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
