"""
Tests for L{tlstunnel.client}: servers that speak before TLS, and what is known when.
"""

from __future__ import annotations

import socket
from typing import Any

from tests.client.scripted import OK, PATIENCE, ClientTests, Control
from tlstunnel.client import Plaintext, PoolError, asClient, asServer


class ReadAheadTests(ClientTests):
    """
    What was read of the network before TLS must not be taken for what came inside it
    (CVE-2011-0411).
    """

    def reader(self, said: bytes) -> tuple[socket.socket, socket.socket, Any]:
        """
        A connection on which one line has come, and was read.
        """
        sock, peer = self.connection()
        file = sock.makefile("rb")
        peer.sendall(said)
        self.assertEqual(file.readline(), b"220 go ahead\n")
        return sock, peer, file

    def test_whatWasReadAheadIsRefused(self) -> None:
        """
        The pool is not even asked.
        """
        sock, peer, file = self.reader(b"220 go ahead\n250 injected\n")
        error = self.assertRaises(
            PoolError, asClient, sock, "a.test", file=file, path="/nonexistent"
        )
        self.assertEqual(error.reason, "read-ahead")
        self.assertEqual(peer.recv(1), b"")
        file.close()

    def test_whatIsStillInTheNetworkIsNot(self) -> None:
        """
        That may be TLS already, and is for the pool.
        """

        def script(control: Control) -> None:
            with control.accepts():
                self.assertEqual(control.handed.recv(9), b"\x16\x03\x01")

        self.pool(script)
        sock, peer, file = self.reader(b"220 go ahead\n")
        peer.sendall(b"\x16\x03\x01")
        asServer(sock, file=file, path=self.path).close()
        self.assertTrue(file.closed)


class EarlyTests(ClientTests):
    """
    Protocols in which a server speaks before TLS, such as MySQL.
    """

    def early(self, *said: str) -> Plaintext:
        """
        A connection whose plaintext comes before anything is known, and then C{said}.
        """

        def script(control: Control) -> None:
            with control.accepts("plain\n") as plain:
                self.assertEqual(plain.recv(8), b"greeting")
                for each in said:
                    control.says(each)

        self.pool(script)
        sock, _ = self.connection()
        plain = asServer(sock, starttls="mysql", path=self.path)
        self.addCleanup(plain.close)
        return plain

    def test_nothingIsProvenUntilItIs(self) -> None:
        """
        Nor can anything be asked.
        """
        plain = self.early(OK, "end\nreason=closed\n")
        for ask in (lambda: plain.proven, lambda: plain.export("x"), plain.certificate):
            error = self.assertRaises(PoolError, ask)
            self.assertEqual(error.reason, "unverified")
        plain.sendall(b"greeting")
        self.assertEqual(plain.verify(PATIENCE).remote, "mail.example.org")
        self.assertEqual(plain.recv(1), b"")
        plain.close()

    def test_whoReadsFirstHasProofAfterwards(self) -> None:
        """
        Whatever the end is, it is not forgotten that somebody was verified.
        """
        plain = self.early(OK, "end\nreason=closed\n")
        plain.sendall(b"greeting")
        self.assertEqual(plain.recv(1), b"")
        self.assertEqual(plain.proven.remote, "mail.example.org")
        plain.close()

    def test_aRefusalAfterTheGreetingIsAnError(self) -> None:
        """
        Whether the program waits for it, or reads.
        """
        for read in (lambda plain: plain.verify(PATIENCE)), (lambda plain: plain.recv(1)):
            plain = self.early("error\nreason=identity\ndetail=nobody knows it\n")
            plain.sendall(b"greeting")
            for each in read, lambda plain: plain.verify():
                error = self.assertRaises(PoolError, each, plain)
                self.assertEqual((error.reason, error.detail), ("identity", "nobody knows it"))
            plain.close()
