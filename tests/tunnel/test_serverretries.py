"""
Tests for what L{tlstunnel.tunnel.serverpair} does where a backend does not serve: another one is
tried, as long as that can harm nobody (rule 15).
"""

from __future__ import annotations

import socket

from twisted.internet.threads import deferToThread

from tests.loopback import SERVER, Encrypted, Plain, readUntil, wait
from tests.tunnel.retrying import RetryTests, Serve
from tlstunnel.program.service import TunnelService


def ask(sock: socket.socket) -> None:
    """
    The client's words before TLS.
    """
    plain = Plain(sock)
    plain.read(len(b"220 server.example.org ESMTP\r\n"))
    plain.write(b"STARTTLS\r\n")
    plain.read(len(b"220 2.0.0 Ready to start TLS\r\n"))


class ServerModeTests(RetryTests):
    """
    Mode -s: connecting to a backend, and its greeting.
    """

    def converse(self, service: TunnelService, preamble: Serve = ask) -> bytes:
        """
        A client that quits.

        @return: all that it hears inside TLS.
        """
        with self.dial(service) as sock:
            preamble(sock)
            network = Encrypted(sock, self.context(True), True, SERVER.domain.encode())
            network.handshake()
            network.write(b"QUIT\r\n")
            heard = network.read(1 << 16)
            network.end()
        assert isinstance(heard, bytes)
        return heard

    def greet(self, greeting: bytes, bye: bytes = b"") -> Serve:
        """
        A backend.
        """

        def serve(sock: socket.socket) -> None:
            sock.sendall(greeting)
            if bye:
                self.assertEqual(Plain(sock).read(6), b"QUIT\r\n")
                sock.sendall(bye)

        return serve

    async def test_theNextIsTriedWhereOneDoesNotGreet(self) -> None:
        """
        The client hears only of the one that does.
        """
        for greeting in (b"554 go away\r\n", b"421 too busy\r\n", b"nonsense\r\n", b""):
            with self.subTest(greeting):
                self.ends.clear()
                listeners = [self.listen(), self.listen()]
                service = self.before(listeners, "smtp")
                client = deferToThread(self.converse, service)
                await self.serving(
                    (listeners[0], self.greet(greeting)),
                    (listeners[1], self.greet(b"220 mx\r\n", b"221 bye\r\n")),
                )
                self.assertEqual(await client, b"221 bye\r\n")
                await wait(lambda: bool(self.ends))
                self.assertEnded("clean")
                self.assertEqual(self.states(service), [False, True])

    async def test_whatTheLastSaysIsPassedOn(self) -> None:
        """
        As it is where there is but one.
        """
        listeners = [self.listen(), self.listen()]
        service = self.before(listeners, "smtp")
        client = deferToThread(self.converse, service)
        await self.serving(
            (listeners[0], self.greet(b"554 first\r\n")),
            (listeners[1], self.greet(b"421 second\r\n")),
        )
        self.assertEqual(await client, b"221 2.0.0 Bye\r\n")
        await wait(lambda: bool(self.ends))
        self.assertEnded("backend")
        self.assertIn("421 second", self.ends[0]["detail"])
        self.assertEqual(self.states(service), [False, False])

    async def test_theNextIsTriedWhereOneCannotBeReached(self) -> None:
        """
        Whatever is spoken.
        """
        down = self.listen()
        up = self.listen()
        service = self.before([down, up], "none")
        down.close()
        client = deferToThread(self.converse, service, lambda sock: None)
        await self.serving((up, self.greet(b"", b"bye")))
        self.assertEqual(await client, b"bye")
        self.assertEqual(self.states(service), [False, True])

    async def test_theDataConnectionsOfFTPAreThoseOfWhomItCameTo(self) -> None:
        """
        Whoever did not greet has none.
        """
        listeners = [self.listen(), self.listen()]
        service = self.before(listeners, "ftp")

        def authorise(sock: socket.socket) -> None:
            Plain(sock).read(len(b"220 server.example.org\r\n"))
            sock.sendall(b"AUTH TLS\r\n")
            readUntil(sock, b"234")
            readUntil(sock, b"\r\n")

        client = deferToThread(self.converse, service, authorise)
        await self.serving(
            (listeners[0], self.greet(b"421 no\r\n")),
            (listeners[1], self.greet(b"220 ftp\r\n", b"221 bye\r\n")),
        )
        self.assertEqual(await client, b"221 bye\r\n")
