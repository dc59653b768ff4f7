"""
Tests for L{tlstunnel.status.service}: where the status is shown.
"""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

from twisted.internet.threads import deferToThread

from tests.loopback import PATIENCE
from tests.status.stage import LOOPBACK, StatusTests, fetch
from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.status.service import checkPublic


class AddressTests(StatusTests):
    """
    L{tlstunnel.status.service.StatusService}.
    """

    def test_isForThisHostAlone(self) -> None:
        """
        An address that others can reach has to be asked for.
        """
        for address in (TCPAddress("", 9290), TCPAddress("192.0.2.1", 9290), TCPAddress("a.b", 1)):
            with self.assertRaises(ConfigurationError) as caught:
                checkPublic([LOOPBACK, address], False)
            self.assertEqual(caught.exception.key, "local")
            self.assertIn("`public` = true", caught.exception.remedy)
            checkPublic([address], True)

    def test_loopbackAndUNIXNeedNoLeave(self) -> None:
        """
        Nobody else reaches them.
        """
        checkPublic(
            [LOOPBACK, TCPAddress("::1", 1), TCPAddress("localhost", 1), UNIXAddress("/a")], False
        )

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
        await service.stopService()
        self.assertFalse(path.exists())

    async def test_stoppedItIsFree(self) -> None:
        """
        Another one can listen there at once, also if somebody was connected.
        """
        address = self.status.addresses[0]
        host, port = address.rsplit(":", 1)
        held = await deferToThread(socket.create_connection, (host, int(port)), PATIENCE)
        self.addCleanup(held.close)
        await self.status.stopService()
        again = self.show((TCPAddress(host, int(port)),))
        self.assertEqual((await deferToThread(fetch, again.addresses[0], "/status.js"))[0], 200)
