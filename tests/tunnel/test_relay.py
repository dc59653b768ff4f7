"""
Tests for L{tlstunnel.tunnel.relay} and L{tlstunnel.net.leg} in both modes and both versions of TLS:
what they are is in L{tests.tunnel.test_relaycells}.
"""

from __future__ import annotations

import gc
import os
import socket
from pathlib import Path

from twisted.internet.threads import deferToThread

from tests.loopback import PATIENCE, Encrypted, Plain, TunnelTests, wait
from tests.tunnel.test_relaycells import Cells
from tlstunnel.address import UNIXAddress
from tlstunnel.net.kernel import LONGEST_KEEPALIVE
from tlstunnel.net.leg import Leg
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.limits import Limits


class TCPCells(Cells):
    """
    All of it, and what there is only in TCP.
    """

    async def test_theSystemAsksSilentPeersOnBothLegs(self) -> None:
        """
        After as many seconds as are set; never, where that is 0.
        """

        def script(network: Encrypted, plain: Plain) -> list[int]:
            plain.write(b"x")
            self.assertEqual(network.read(1), b"x")
            legs = [each for each in gc.get_objects() if type(each) is Leg and not each.isClosed]
            self.assertEqual(len(legs), 2)
            return [
                leg.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                and leg.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
                for leg in legs
            ]

        for seconds in (30, LONGEST_KEEPALIVE, 0):
            self.ends.clear()
            found = await self.through(script, limits=Limits(keepAlive=seconds))
            self.assertEqual(found, [seconds, seconds])
            await wait(lambda: bool(self.ends))

    async def test_anUrgentByteKeepsItsPlace(self) -> None:
        """
        TCP's urgent data, as telnet and ftp send it, is a byte of the stream.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            plain.write(b"a")
            plain.sock.send(b"b", socket.MSG_OOB)
            plain.write(b"c")
            self.assertEqual(network.read(3), b"abc")

        await self.through(script)


class ServerTLS13Tests(TCPCells, TunnelTests):
    """
    Server mode, TLS 1.3.
    """


class ServerTLS12Tests(TCPCells, TunnelTests):
    """
    Server mode, TLS 1.2.
    """

    version = "1.2"


class ClientTLS13Tests(TCPCells, TunnelTests):
    """
    Client mode, TLS 1.3.
    """

    mode = Mode.CLIENT


class ClientTLS12Tests(TCPCells, TunnelTests):
    """
    Client mode, TLS 1.2.
    """

    mode = Mode.CLIENT
    version = "1.2"


class UNIXTests(TunnelTests):
    """
    A network leg on a UNIX socket, where a peer that is gone shows at once.
    """

    async def test_theEndOfAPeerThatIsGoneIsRead(self) -> None:
        """
        Also where the other leg has ended before, and there is nobody any more to be told.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        path = os.path.relpath(directory / "s")
        backend = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(backend.close)
        backend.settimeout(PATIENCE)
        here = f"127.0.0.1:{backend.getsockname()[1]}"
        service = self.tunnel(here, local=(UNIXAddress(path),))
        sock = socket.socket(socket.AF_UNIX)
        self.addCleanup(sock.close)
        sock.settimeout(PATIENCE)
        network = Encrypted(sock, self.context(True), True, b"server.example.org")

        def begin() -> socket.socket:
            sock.connect(path)
            network.handshake()
            network.write(b"x")
            accepted, _ = backend.accept()
            accepted.settimeout(PATIENCE)
            accepted.sendall(accepted.recv(1))
            # Unread bytes would make its end a reset.
            network.read(1)
            return accepted

        accepted = await deferToThread(begin)
        assert service.factory is not None
        (pair,) = service.factory.pairs
        assert isinstance(pair.dialled, Leg)
        accepted.close()
        network.end()
        network.close()
        pair.dialled.doRead()
        await wait(lambda: bool(self.ends))
        self.assertEnded("clean")
