"""
Tests for L{tlstunnel.status.service}: where the status is shown.
"""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from pathlib import Path
from unittest.mock import Mock

from twisted.internet.threads import deferToThread

from tests.loopback import PATIENCE, reactor
from tests.ports import freePort
from tests.status.stage import LOOPBACK, StatusTests, fetch
from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import ConfigurationError


class AddressTests(StatusTests):
    """
    L{tlstunnel.status.service.StatusService}.
    """

    def test_anAddressInUseIsOneLine(self) -> None:
        """
        With the key, and what to do.
        """
        taken = self.listen()
        address = TCPAddress("127.0.0.1", taken.getsockname()[1])
        with self.assertRaises(ConfigurationError) as caught:
            self.show((address,))
        self.assertEqual(caught.exception.key, "local")
        self.assertIn("already in use", caught.exception.problem)

    async def test_itIsShownAgainOnceThereAreDescriptors(self) -> None:
        """
        Without one for a connection that connection ends, and nothing else.
        """
        adopt = reactor.adoptStreamConnection
        refused = OSError(errno.EMFILE, "Too many open files")
        adopting = Mock(side_effect=[refused, refused])
        self.patch(reactor, "adoptStreamConnection", adopting)

        def ask() -> None:
            for _ in range(2):
                with self.assertRaises(OSError):
                    fetch(self.status.addresses[0], "/health")

        await deferToThread(ask)
        adopting.side_effect = adopt
        self.assertEqual((await self.ask("/health"))[0], 503)

    async def test_severalAddressesShowTheSame(self) -> None:
        """
        A TCP port and a UNIX socket, on which the name does not matter.
        """
        directory = tempfile.mkdtemp()
        path = Path(directory) / "status"
        self.addCleanup(os.rmdir, directory)
        service = self.show((LOOPBACK, UNIXAddress(str(path))))

        def ask() -> bytes:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(PATIENCE)
                sock.connect(str(path))
                sock.sendall(b"GET /health HTTP/1.1\r\nHost: status\r\n\r\n")
                said = b""
                while chunk := sock.recv(65536):
                    said += chunk
                return said

        said = await deferToThread(ask)
        code, _, body = await deferToThread(fetch, service.addresses[0], "/health")
        self.assertIn(f" {code} ".encode(), said)
        self.assertTrue(said.endswith(body.encode()))
        service.stopService()
        self.assertFalse(path.exists())

    async def test_stoppedItIsFree(self) -> None:
        """
        Another one can listen there at once, also if somebody was connected.
        """
        address = self.status.addresses[0]
        host, port = address.rsplit(":", 1)
        held = await deferToThread(socket.create_connection, (host, int(port)), PATIENCE)
        self.addCleanup(held.close)
        self.status.stopService()
        again = self.show((TCPAddress(host, int(port)),))
        self.assertEqual((await deferToThread(fetch, again.addresses[0], "/status.js"))[0], 200)

    async def test_anAddressThatStaysKeepsItsSocket(self) -> None:
        """
        Through a reload that adds another one, and one that takes that away again.
        """
        first = self.status.addresses[0]
        other = TCPAddress("::1", 0)
        self.status.bind((LOOPBACK, other))
        self.status.commit()
        kept, added = self.status.addresses
        self.assertEqual(kept, first)
        self.assertEqual((await deferToThread(fetch, added, "/status.js"))[0], 200)
        self.status.bind((LOOPBACK,))
        self.status.commit()
        self.assertEqual(self.status.addresses, [first])
        self.assertEqual((await self.ask("/status.js"))[0], 200)
        with self.assertRaises(ConnectionRefusedError):
            await deferToThread(fetch, added, "/status.js")

    async def test_whatCannotBeHadChangesNothing(self) -> None:
        """
        Of several new addresses none is taken if one cannot be.
        """
        taken = self.listen()
        port = freePort()
        wanted = (
            TCPAddress("127.0.0.1", port),
            TCPAddress("127.0.0.1", taken.getsockname()[1]),
        )
        with self.assertRaises(ConfigurationError):
            self.status.bind(wanted)
        self.assertEqual((await self.ask("/status.js"))[0], 200)
        self.assertEqual(len(self.status.addresses), 1)
        socket.create_server(("127.0.0.1", port)).close()

    async def test_whatIsGivenUpIsFree(self) -> None:
        """
        A new state that was prepared, and is not to be.
        """
        port = freePort()
        self.status.bind((LOOPBACK, TCPAddress("127.0.0.1", port)))
        self.status.abort()
        self.assertEqual((await self.ask("/status.js"))[0], 200)
        socket.create_server(("127.0.0.1", port)).close()
