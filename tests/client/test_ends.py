"""
Tests for L{tlstunnel.client}: how connections end, for whoever reads in whatever way.
"""

from __future__ import annotations

import asyncio
import http.client
import selectors
import socket
import threading

from tests.client.scripted import PATIENCE, ClientTests, Control
from tlstunnel.client import Plaintext, PoolError


class EndTests(ClientTests):
    """
    How a connection ends.
    """

    def ended(self, *said: str, sends: bytes = b"half") -> Plaintext:
        """
        A connection that the pool has said C{said} of.
        """

        def script(control: Control) -> None:
            with control.accepts() as plain:
                for each in said:
                    control.says(each)
                plain.sendall(sends)
                plain.shutdown(socket.SHUT_WR)
                if said:
                    # What is said in the other direction does not matter.
                    plain.recv(99)

        return self.handOver(script)

    def test_aTruncationIsNotTakenForAnEnd(self) -> None:
        """
        By none of the ways to read.
        """

        def asyncRead(plain: Plaintext) -> None:
            async def read() -> None:
                reader, writer = await asyncio.open_connection(sock=plain)
                try:
                    await reader.read()
                finally:
                    writer.close()

            asyncio.run(read())

        def recv(plain: Plaintext) -> None:
            self.assertEqual(plain.recv(9), b"half")
            plain.recv(9)

        def recvInto(plain: Plaintext) -> None:
            buffer = bytearray(9)
            self.assertEqual(plain.recv_into(buffer), 4)
            plain.recv_into(buffer)

        def makefile(plain: Plaintext) -> None:
            with plain.makefile("rb") as file:
                file.read()

        for read in recv, recvInto, makefile, asyncRead:
            for said, reason in (["end\nreason=truncated\n"], "truncated"), ([], "gone"):
                plain = self.ended(*said)
                error = self.assertRaises(PoolError, read, plain)
                self.assertEqual(error.reason, reason)
                plain.close()
                self.assertEqual(plain.howEnded(), reason)

    def test_anEndIsAnEnd(self) -> None:
        """
        Nothing that was asked for is one.
        """
        with self.ended("end\nreason=closed\n") as plain:
            self.assertEqual(plain.recv(0), b"")
            self.assertEqual(plain.recv_into(bytearray()), 0)
            self.assertEqual(plain.recv(9), b"half")
            self.assertEqual(plain.recv(9), b"")
        self.assertEqual(plain.howEnded(), "closed")

    def test_whoWaitsForTheEndInVainIsTold(self) -> None:
        """
        That it takes too long.
        """
        done = threading.Event()

        def script(control: Control) -> None:
            with control.accepts():
                self.assertTrue(done.wait(PATIENCE))

        plain = self.handOver(script)
        error = self.assertRaises(PoolError, plain.howEnded, 0.02)
        self.assertEqual(error.reason, "timeout")
        plain.close()
        self.assertEqual(plain.howEnded(), "unread")
        done.set()

    def test_bodiesThatEndWithTheConnection(self) -> None:
        """
        C{http.client} closes its socket before it reads such a body: what is known by then is
        enough.
        """
        head = b"HTTP/1.0 200 OK\r\n\r\nhalf"
        for said, body in ("closed", b"half"), ("truncated", None):
            plain = self.ended(f"end\nreason={said}\n", sends=head)
            connection = http.client.HTTPConnection("mail.example.org")
            connection.sock = plain
            connection.putrequest("GET", "/")
            connection.endheaders()
            response = connection.getresponse()
            if body is None:
                self.assertRaises(PoolError, response.read)
            else:
                self.assertEqual(response.read(), body)
            response.close()
            self.assertEqual(plain.howEnded(), said)

    def test_selectorsKnowIt(self) -> None:
        """
        As any other socket.
        """
        with self.ended("end\nreason=closed\n") as plain, selectors.DefaultSelector() as selector:
            plain.setblocking(False)
            selector.register(plain, selectors.EVENT_READ)
            self.assertEqual(len(selector.select(PATIENCE)), 1)
            self.assertEqual(plain.recv(9), b"half")
