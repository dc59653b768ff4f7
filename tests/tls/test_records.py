"""
Tests for L{tlstunnel.tls.records} and L{tlstunnel.tls.binding}: both ways to the same, that which
needs what pyOpenSSL does not promise, and that which does not.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL

from tests.legs import creator
from tests.net.wires import WireTests
from tlstunnel.tls import records
from tlstunnel.tls.records import (
    RECORD_BYTES,
    CleanEnd,
    SSLError,
    WantWrite,
    handshaker,
    recordReader,
    recordWriter,
)


class RecordReaderTests(WireTests):
    """
    Both ways to read a record do the same: the private one of pyOpenSSL, and the public one where
    that is not what we know it to be.
    """

    def setUp(self) -> None:
        """
        Look who calls the public one.
        """
        super().setUp()
        self.calls = 0
        self.buffer = bytearray(3 * RECORD_BYTES)
        public = SSL.Connection.recv_into

        def counted(connection: SSL.Connection, buffer: Any) -> int:
            self.calls += 1
            return public(connection, buffer)

        self.patch(SSL.Connection, "recv_into", counted)

    def check(self, read: Callable[[SSL.Connection, int], int], isPublic: bool) -> None:
        """
        C{read}, which reads to C{self.buffer} in one of the two ways, comes to each outcome.
        """
        buffer = self.buffer
        near, far = self.secured()
        self.assertEqual(read(near, 0), 0)
        far.send(b"a" * RECORD_BYTES)
        far.send(b"bc")
        self.assertEqual(read(near, 5), RECORD_BYTES)
        self.assertEqual(read(near, 5 + RECORD_BYTES), 2)
        self.assertEqual(buffer[:5], bytes(5))
        self.assertEqual(buffer[5 : 7 + RECORD_BYTES], b"a" * RECORD_BYTES + b"bc")
        far.shutdown()
        self.assertRaises(CleanEnd, read, near, 0)
        near, far = self.secured()
        self.far.shutdown(socket.SHUT_WR)
        self.assertRaises(SSLError, read, near, 0)
        self.assertEqual(self.calls, 5 if isPublic else 0)

    def test_thePrivateWay(self) -> None:
        """
        It is there, in the version of pyOpenSSL that we test with.
        """
        self.check(recordReader(self.buffer), isPublic=False)

    def test_thePublicWayWhereThereIsNoBinding(self) -> None:
        """
        It may go.
        """
        self.patch(records, "_lib", None)
        self.check(recordReader(self.buffer), isPublic=True)

    def test_thePublicWayWhereTheBindingIsAnother(self) -> None:
        """
        It may become something else.
        """
        self.patch(records, "_lib", object())
        self.check(recordReader(self.buffer), isPublic=True)

    def test_thePublicWayWhereErrorsCannotBeRaised(self) -> None:
        """
        An error that went unnoticed would be worse than a slow read.
        """
        patched = self.patch(SSL, "Connection", object())
        read = recordReader(self.buffer)
        patched.restore()
        self.check(read, isPublic=True)


class RecordWriterTests(WireTests):
    """
    L{recordWriter}, in both ways.
    """

    def check(self, write: Callable[[SSL.Connection, bytes | memoryview], int]) -> None:
        """
        C{write} comes to each outcome.
        """
        near, far = self.secured()
        for data in (b"abc", memoryview(b"abcd")[1:], memoryview(bytearray(b"de"))):
            self.assertEqual(write(near, data), len(data))
        self.assertEqual(far.recv(3) + far.recv(3) + far.recv(2), b"abcbcdde")
        flood = bytes(RECORD_BYTES)
        with self.assertRaises(WantWrite):
            while True:
                self.assertEqual(write(near, flood), RECORD_BYTES)
        near, far = self.secured()
        near.shutdown()
        self.assertRaises(SSLError, write, near, b"x")
        near, far = self.secured()
        self.far.close()
        with self.assertRaises(SSLError):
            for _ in range(3):
                write(near, b"x")

    def test_thePrivateWay(self) -> None:
        """
        It asks for an error only where there is one.
        """
        write = recordWriter()
        self.assertEqual(write.__name__, "direct")
        self.check(write)

    def test_thePublicWayWhereTheBindingIsAnother(self) -> None:
        """
        The outcomes are the same.
        """
        self.patch(records, "_lib", object())
        write = recordWriter()
        self.assertEqual(write.__name__, "send")
        self.check(write)


class HandshakerTests(WireTests):
    """
    L{handshaker}, in both ways.
    """

    def check(self, shake: Callable[[SSL.Connection], bool]) -> None:
        """
        C{shake} comes to each outcome.
        """
        made = creator()
        context = made.context
        near, far = (
            SSL.Connection(context, self.near),
            SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), self.far),
        )
        near.set_app_data(made.session())
        near.set_accept_state()
        far.set_connect_state()
        self.assertFalse(shake(near))
        self.assertFalse(shake(far))
        self.assertFalse(shake(near))
        self.assertTrue(shake(far))
        self.assertTrue(shake(near))
        ours, theirs = self.pair()
        refused = SSL.Connection(context, ours)
        refused.set_accept_state()
        theirs.send(b"GET / HTTP/1.0\r\n\r\n")
        self.assertRaises(SSLError, shake, refused)
        ended = SSL.Connection(context, self.pair()[0])
        ended.set_accept_state()
        ended.sock_shutdown(socket.SHUT_RD)
        self.assertRaises(SSLError, shake, ended)

    def test_thePrivateWay(self) -> None:
        """
        It spares an exception for each flight.
        """
        shake = handshaker()
        self.assertEqual(shake.__name__, "direct")
        self.check(shake)

    def test_thePublicWayWhereTheBindingIsAnother(self) -> None:
        """
        The outcomes are the same.
        """
        self.patch(records, "_lib", object())
        shake = handshaker()
        self.assertEqual(shake.__name__, "public")
        self.check(shake)
