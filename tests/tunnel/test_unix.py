"""
Tests for L{tlstunnel.net.unixleg} and what it is made of, in tunnels whose plain leg is a UNIX
socket: data that was cut is never taken for whole.
"""

from __future__ import annotations

import os
import select
import socket
import time
from dataclasses import replace
from errno import EMFILE
from types import SimpleNamespace
from typing import Any

from twisted.logger import LogEvent, globalLogPublisher

from tests.loopback import (
    SERVER,
    Encrypted,
    Plain,
    Script,
    TunnelTests,
    reactor,
    readLine,
    smtpClient,
    smtpServer,
    wait,
)
from tests.tunnel.test_relaycells import MIB, Cells, concurrently
from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.net import edges
from tlstunnel.net.kernel import unread
from tlstunnel.program.service import TunnelService
from tlstunnel.proxy import ProxyFactory
from tlstunnel.tunnel import quiet
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.limits import Limits


class SpokenCells(Cells):
    """
    The table of closings, where the app has said something before.
    """

    fits = MIB // 4

    # The byte that is left unread counts with all that belongs to it.
    mostLeft = 65536


class SpokenTunnel(TunnelTests):
    """
    Whatever the script, the app speaks first.
    """

    onUNIX = True

    async def through(
        self, script: Script, dialect: str = "none", preamble: Any = None, **settings: Any
    ) -> Any:
        """
        Let it.
        """

        def spoken(network: Encrypted, plain: Plain) -> Any:
            plain.write(b"!")
            assert network.read(1) == b"!"
            return script(network, plain)

        return await super().through(spoken, dialect, preamble, **settings)


class ServerSpokenTests(SpokenCells, SpokenTunnel):
    """
    Server mode.
    """


class ClientSpokenTests(SpokenCells, SpokenTunnel):
    """
    Client mode.
    """

    mode = Mode.CLIENT


def untilReset(sock: socket.socket) -> bytes:
    """
    What comes before the reset.
    """
    data = b""
    try:
        while chunk := sock.recv(65536):
            data += chunk
    except ConnectionResetError:
        return data
    raise AssertionError("this was a clean end")


class CutTests(TunnelTests):
    """
    What an app sees of a stream that was cut in the network, in server mode.
    """

    onUNIX = True
    service: TunnelService

    def setUp(self) -> None:
        """
        Listen to what administrators are told.
        """
        super().setUp()
        self.notices: list[str] = []

        def observe(event: LogEvent) -> None:
            if event.get("event") == "notice":
                self.notices.append(event["notice"])

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)  # type: ignore[arg-type]

    def tunnel(self, backend: str, dialect: str = "none", **settings: Any) -> TunnelService:
        """
        Remember the service.
        """
        self.service = super().tunnel(backend, dialect, **settings)
        return self.service

    @property
    def held(self) -> int:
        """
        How many sockets are held.
        """
        assert self.service.factory is not None
        return len(self.service.factory.unixLegs.hold)

    def cut(self, network: Encrypted) -> None:
        """
        End without close_notify, and wait until the tunnel has ended the connection.
        """
        network.truncate()
        self.until(lambda: self.ends)

    def until(self, condition: Any) -> None:
        """
        Wait in a thread for what happens in the other one.
        """
        until = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < until
            time.sleep(0.005)

    def seesNothing(self, plain: Plain) -> None:
        """
        There is neither data nor an end.
        """
        self.assertEqual(select.select([plain.sock], [], [], 0.05)[0], [])

    # Apps that have spoken

    async def test_anAppThatHasSpokenIsResetBehindWhatWasOnItsWay(self) -> None:
        """
        Whatever it was at, and whether it has ended its direction or not.
        """
        data = os.urandom(MIB)
        for ended in False, True:
            self.ends.clear()

            def script(network: Encrypted, plain: Plain, ended: bool = ended) -> None:
                plain.write(b"give me something")
                self.assertEqual(network.read(17), b"give me something")
                if ended:
                    plain.end()
                    self.assertTrue(network.atEnd())

                def send() -> None:
                    network.write(data)
                    network.truncate()

                got, _ = concurrently(lambda: untilReset(plain.sock), send)
                self.assertTrue(data.startswith(got))

            await self.through(script)
            await wait(lambda: bool(self.ends))
            self.assertEnded("truncated")
            self.assertEqual(self.notices, [])

    async def test_soIsOneThatHasSaidALot(self) -> None:
        """
        Behind megabytes in both directions, none of which is lost.
        """
        there, back = os.urandom(10 * MIB), os.urandom(10 * MIB)

        def script(network: Encrypted, plain: Plain) -> None:
            def talk() -> bytes:
                got = b""
                for start in range(0, len(there), 65536):
                    network.write(there[start : start + 65536])
                    got += network.read(65536)  # type: ignore[operator]
                return got

            got, _, read = concurrently(
                talk, lambda: plain.write(back), lambda: plain.read(len(there))
            )
            self.assertTrue(read == there)
            self.assertTrue(got == back)
            plain.write(b"that was all")
            self.assertEqual(network.read(12), b"that was all")
            self.cut(network)
            self.assertTrue(plain.isReset())

        await self.through(script)
        self.assertEnded("truncated")

    async def test_aCleanEndIsACleanEnd(self) -> None:
        """
        Also of the app: what it said last arrives to the last byte.
        """
        for size in 1, 2, 4096, 4097, 65536, 65537, MIB:
            data = os.urandom(size)
            self.ends.clear()

            def script(network: Encrypted, plain: Plain, data: bytes = data) -> None:
                network.write(b"x")
                network.end()
                self.assertEqual(plain.read(2), b"x")

                def write() -> None:
                    plain.write(data)
                    plain.close()

                got, _ = concurrently(lambda: network.read(len(data) + 1), write)
                self.assertTrue(got == data)

            await self.through(script)
            await wait(lambda: bool(self.ends))
            self.assertEnded("clean")

    async def test_anAppWithASmallBufferIsNotHeldUp(self) -> None:
        """
        By the byte that is left unread, which counts with all that it came with.
        """
        for size in 10000, 16384, 32768, 65536:
            data = os.urandom(MIB)
            self.ends.clear()

            def script(
                network: Encrypted, plain: Plain, size: int = size, data: bytes = data
            ) -> None:
                plain.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

                def write() -> None:
                    plain.write(data)
                    plain.end()

                got, _ = concurrently(lambda: network.read(len(data) + 1), write)
                self.assertTrue(got == data)
                network.end()
                self.assertTrue(plain.atEnd())

            await self.through(script)
            await wait(lambda: bool(self.ends))
            self.assertEnded("clean")

    # Apps that have not

    async def test_anAppThatHasSaidNothingSeesNoEnd(self) -> None:
        """
        Until it says something, which resets it.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            network.write(b"half of it")
            self.assertEqual(plain.read(10), b"half of it")
            self.cut(network)
            self.seesNothing(plain)
            self.assertEqual(self.held, 1)
            plain.write(b"go on")
            self.assertTrue(plain.isReset())
            self.assertEqual(self.held, 0)

        await self.through(script)
        self.assertEnded("truncated")
        self.assertEqual(self.notices, [])

    async def test_itsSocketIsClosedWhenItCloses(self) -> None:
        """
        And not when it ends its direction only.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            network.write(b"half of it")
            self.assertEqual(plain.read(10), b"half of it")
            self.cut(network)
            plain.end()
            self.seesNothing(plain)
            self.assertEqual(self.held, 1)
            plain.close()
            self.until(lambda: not self.held)

        await self.through(script)
        self.assertEqual(self.notices, [])

    async def test_whoGotNothingIsNotHeld(self) -> None:
        """
        It has nothing to take for whole, and may wait for a greeting.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            self.cut(network)
            self.assertTrue(plain.atEnd())

        await self.through(script)
        self.assertEqual(self.held, 0)

    async def test_whoSawACleanEndIsNotHeld(self) -> None:
        """
        Whatever happens to the connection then.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            network.write(b"all of it")
            network.end()
            self.assertEqual(plain.read(10), b"all of it")
            network.reset()
            self.until(lambda: self.ends)

        await self.through(script, limits=Limits(close=0.2))
        self.assertEqual(self.held, 0)

    async def test_theIdleLimitIsForThemToo(self) -> None:
        """
        What must not be seen is told to the administrator.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            network.write(b"half of it")
            self.assertEqual(plain.read(10), b"half of it")
            self.cut(network)
            self.assertTrue(plain.atEnd())

        await self.through(script, limits=Limits(idle=0.5))
        await wait(lambda: bool(self.notices))
        self.assertEqual(self.held, 0)
        (notice,) = self.notices
        self.assertIn("as nothing moved for 0.5 s", notice)

    async def test_theyAreClosedWithTheService(self) -> None:
        """
        No descriptor is left.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            network.write(b"half of it")
            self.assertEqual(plain.read(10), b"half of it")
            self.cut(network)
            self.plain = Plain(plain.sock.dup())

        await self.through(script)
        self.assertEqual(self.held, 1)
        await self.service.stopService()
        self.assertEqual(self.held, 0)
        self.assertTrue(self.plain.atEnd())
        self.plain.close()
        assert self.service.factory is not None
        self.assertEqual(self.service.factory.unixLegs.edges.fileno(), -1)
        (notice,) = self.notices
        self.assertIn("as the tunnel stops", notice)

    async def test_aStopWaitsForNoProgramThatReadsLater(self) -> None:
        """
        It can do so when all is over; and another tunnel leaves a byte unread for good.
        """
        self.patch(quiet, "QUIET_SECONDS", 0.1)
        data = os.urandom(1000)

        def script(network: Encrypted, plain: Plain) -> None:
            network.write(data)
            plain.write(b"!")
            self.assertEqual(network.read(1), b"!")
            self.until(lambda: unread(plain.sock) == len(data))
            reactor.callFromThread(self.service.stopService)
            self.until(lambda: self.ends)
            self.assertEqual(plain.read(len(data)), data)

        await self.through(script)
        self.assertEnded("stopped")

    # Dialects

    async def test_soIsItBehindSTARTTLS(self) -> None:
        """
        The backend has greeted, at least; and what a filter looks at arrives whole.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            plain.write(b"220 mx\r\n")
            network.write(b"EHLO a\r\n")
            self.assertEqual(plain.read(8), b"EHLO a\r\n")
            plain.write(b"250 mx\r\n")
            self.assertEqual(network.read(8), b"250 mx\r\n")
            network.write(b"DATA\r\n")
            self.cut(network)
            self.assertEqual(untilReset(plain.sock), b"DATA\r\n")

        await self.through(script, "smtp", smtpClient)
        self.assertEnded("truncated")


class ClientCutTests(CutTests):
    """
    The same in client mode.
    """

    mode = Mode.CLIENT

    async def test_soIsItBehindSTARTTLS(self) -> None:
        """
        The app has said something, or its protocol says itself where data ends: then it is not
        held, though it has got a greeting.
        """

        for speaks in True, False:
            self.ends.clear()

            def script(network: Encrypted, plain: Plain, speaks: bool = speaks) -> None:
                self.assertEqual(readLine(plain.sock)[:3], b"220")
                if speaks:
                    plain.write(b"EHLO a\r\n")
                    self.assertEqual(network.read(8), b"EHLO a\r\n")
                    network.write(b"250-mx\r\n")
                self.cut(network)
                if speaks:
                    self.assertEqual(untilReset(plain.sock), b"250-mx\r\n")
                else:
                    self.assertTrue(plain.atEnd())

            await self.through(script, "smtp", smtpServer)
            self.assertEnded("truncated")
            self.assertEqual(self.held, 0)


class WatchTests(TunnelTests):
    """
    What news of UNIX sockets on the plain side are told by.
    """

    def factory(self, **settings: Any) -> ProxyFactory:
        """
        For a tunnel to nowhere.
        """
        factory = ProxyFactory(self.described("127.0.0.1:1", **settings), reactor)
        self.addCleanup(factory.stop)
        return factory

    def lackDescriptors(self) -> None:
        """
        From now on none is left for epoll.
        """

        def epoll() -> None:
            raise OSError(EMFILE, os.strerror(EMFILE))

        self.patch(edges, "select", SimpleNamespace(epoll=epoll))

    def test_itIsThereBeforeTheFirstConnection(self) -> None:
        """
        In both modes, also where nobody has said yet what will listen; for TCP nothing is needed.
        """
        path, network = UNIXAddress("/tmp/app"), TCPAddress("127.0.0.1", 4000)
        server: dict[str, Any] = {"mode": Mode.SERVER, "localID": SERVER}
        client: dict[str, Any] = {"mode": Mode.CLIENT, "localID": None, "remoteID": SERVER}
        for isThere, settings in (
            (True, {**server, "remote": (network, path)}),
            (False, {**server, "local": (path,)}),
            (True, {**client, "local": (path,)}),
            (True, {**client, "local": ()}),
            (False, {**client, "remote": (path,)}),
        ):
            factory = self.factory(**settings)
            self.assertEqual(factory.unixLegs.edges.fileno() != -1, isThere, settings)

    def test_whereThereCanBeNoneNoTunnelIsMade(self) -> None:
        """
        One line says so, before anybody connects.
        """
        self.lackDescriptors()
        error = self.assertRaises(
            ConfigurationError, self.factory, remote=(UNIXAddress("/tmp/backend"),)
        )
        self.assertIn("--remote: has UNIX sockets", str(error))
        self.assertIn("raise the limit of open files", str(error))

    def test_whereThereCanBeNoneTheOldStateStays(self) -> None:
        """
        As whatever else is wrong with what is read again.
        """
        factory = self.factory()
        prepared, dialler = factory.prepared, factory.dialler
        self.lackDescriptors()
        changed = replace(factory.tunnel, name="new", remote=(UNIXAddress("/tmp/backend"),))
        self.assertRaises(ConfigurationError, factory.renew, changed)
        self.assertIs(factory.prepared, prepared)
        self.assertIs(factory.dialler, dialler)
        self.assertEqual(factory.unixLegs.hold.name, "")
