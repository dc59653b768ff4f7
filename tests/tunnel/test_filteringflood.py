"""
Tests for L{tlstunnel.tunnel.filtering} on real sockets: floods, and what comes behind them.
"""

from __future__ import annotations

import socket
import threading
import time

from tests.loopback import Encrypted, Plain, TunnelTests, wait
from tests.loopback import Reset as WasReset


class SocketTests(TunnelTests):
    """
    On real legs, with imap in between, whose filters stay until a client has logged in.
    """

    commands = b"".join(b"%d NOOP\r\n" % number for number in range(60_000))

    def ask(self, sock: socket.socket) -> None:
        """
        Lead the client to TLS.
        """
        sock.recv(1000)
        sock.sendall(b"a STARTTLS\r\n")
        sock.recv(1000)

    async def test_aFloodArrivesWholeAtASlowReader(self) -> None:
        """
        And its end behind it, although it has long been sent.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            plain.write(b"* OK ready\r\n")

            def write() -> None:
                network.write(self.commands)
                network.end()

            def read() -> bytes:
                got = b""
                while chunk := plain.read(50_000):
                    time.sleep(0.01)
                    got += chunk  # type: ignore[operator]
                return got

            writing = threading.Thread(target=write)
            writing.start()
            self.assertEqual(read(), self.commands)
            writing.join()
            plain.write(b"* BYE\r\n")
            plain.end()
            self.assertEqual(network.read(100), b"* BYE\r\n")

        await self.through(script, "imap", self.ask)
        await wait(lambda: bool(self.ends))
        self.assertEnded("clean")

    async def test_aResetBehindAFloodIsAReset(self) -> None:
        """
        The backend sees no clean end, whatever of it has arrived.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            plain.write(b"* OK ready\r\n")
            network.write(self.commands[:100_000])
            network.reset()
            got = plain.read(1 << 20)
            self.assertIs(got, WasReset)

        await self.through(script, "imap", self.ask)
        await wait(lambda: bool(self.ends))
        self.assertEnded("reset")
