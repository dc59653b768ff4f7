"""
Tests for L{tlstunnel.proxy}: nothing is left of a connection that has ended.
"""

from __future__ import annotations

import gc
import socket
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from tests.dialogues import pairsOf
from tests.loopback import PATIENCE, Encrypted, Plain, TunnelTests, wait
from tlstunnel.net.leg import Leg
from tlstunnel.protocols.base import Role
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.xmlstream import Tags
from tlstunnel.tls.session import Session
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.pair import Pair


class LeakTests(TunnelTests):
    """
    What connections that die leave behind: nothing.
    """

    timeout = 300

    def descriptors(self) -> int:
        """
        How many descriptors this process has open.
        """
        gc.collect()
        return len(list(Path("/dev/fd").iterdir()))

    async def leavesNothing(self, dialect: str, mode: Mode, states: int) -> None:
        """
        Let 1,000 connections die, each in one of C{states} states, from both ends.
        """
        self.mode = mode
        backend = socket.create_server(("127.0.0.1", 0), backlog=100)
        backend.settimeout(0.05)
        self.addCleanup(backend.close)
        service = self.tunnel(f"127.0.0.1:{backend.getsockname()[1]}", dialect)
        host, port = service.addresses[0].rsplit(":", 1)
        context = self.context(mode is Mode.SERVER)
        await deferToThread(self.descriptors)
        before = self.descriptors()

        def one(number: int) -> None:
            socks = [socket.create_connection((host, int(port)), PATIENCE)]
            state, reset = number % states, number // states % 2
            try:
                if mode is Mode.CLIENT:
                    accepted = backend.accept()[0]
                    accepted.settimeout(PATIENCE)
                    socks.append(accepted)
                network = Encrypted(socks[-1], context, mode is Mode.SERVER)
                if state >= 1:
                    # Half of a ClientHello, or of a ServerHello.
                    socks[-1].sendall(b"\x16\x03\x01\x00")
                if state >= 2:
                    socks[-1].close()
                    socks[-1] = socket.create_connection((host, int(port)), PATIENCE)
                    if mode is Mode.CLIENT:
                        socks.append(backend.accept()[0])
                    socks[-1].settimeout(PATIENCE)
                    network = Encrypted(socks[-1], context, mode is Mode.SERVER)
                    network.handshake()
                if state >= 3:
                    network.write(b"x" * 1000)
                if state >= 4:
                    network.end()
            except OSError:
                pass
            for sock in socks[:: -1 if number % 3 else 1]:
                Plain(sock).reset() if reset else sock.close()
            try:
                while mode is Mode.SERVER and state >= 2:
                    backend.accept()[0].close()
                    break
            except OSError:
                pass

        def run() -> None:
            for number in range(1000):
                one(number)

        await deferToThread(run)
        await wait(lambda: not pairsOf(service))
        # Some may linger for a moment, as their peers in the backend's queue never close.
        await wait(lambda: self.descriptors() == before)

    async def leavesNoCircles(self, mode: Mode, dialect: str, said: bytes, reset: bool) -> None:
        """
        Let the peer on the network leg say C{said} and go, before there is any TLS.
        """
        self.mode = mode
        backend = socket.create_server(("127.0.0.1", 0))
        backend.settimeout(PATIENCE)
        self.addCleanup(backend.close)
        service = self.tunnel(f"127.0.0.1:{backend.getsockname()[1]}", dialect)
        host, port = service.addresses[0].rsplit(":", 1)

        number = 5

        def run() -> None:
            for _ in range(number):
                with socket.create_connection((host, int(port)), PATIENCE) as dialled:
                    peer = dialled if mode is Mode.SERVER else backend.accept()[0]
                    peer.sendall(said)
                    Plain(peer).reset() if reset else peer.close()

        def living() -> int:
            kinds = (Leg, Pair, Role, Conversation, Session, Tags)
            return sum(isinstance(each, kinds) for each in gc.get_objects())

        async def nothingStays(before: int) -> None:
            await deferToThread(run)
            await wait(lambda: len(self.ends) == number and not pairsOf(service))
            # A circle is of several objects for each connection.
            await wait(lambda: living() < before + number)

        for _ in range(2):
            # The first time, modules and caches are filled.
            gc.collect()
            before = living()
            gc.disable()
            try:
                await nothingStays(before)
            finally:
                gc.enable()
            self.ends.clear()

    async def test_failuresLeaveNothingForTheGarbageCollector(self) -> None:
        """
        What served a connection that failed is gone with it, else strangers could fill the memory:
        an exception keeps all that was going on where it was raised.
        """
        for mode in (Mode.CLIENT, Mode.SERVER):
            for dialect in ("none", "smtp", "ldap", "xmpp-client"):
                for said in (b"", b"GET / HTTP/1.0\r\n\r\n", b"<?xml version='1.0'?>"):
                    for reset in (False, True):
                        if mode is Mode.SERVER or dialect != "xmpp-client":
                            await self.leavesNoCircles(mode, dialect, said, reset)

    async def test_silenceLeavesNothingForTheGarbageCollector(self) -> None:
        """
        The filters that wait for the app to speak know the role, which must not know them for ever.
        """
        self.mode = Mode.CLIENT

        def upgrade(network: socket.socket) -> None:
            network.recv(100)
            network.sendall(bytes.fromhex("300c02010178070a010004000400"))

        def script(network: Encrypted, plain: Plain) -> None:
            network.end()
            self.assertTrue(plain.atEnd())
            plain.close()
            self.assertTrue(network.atEnd())

        for _ in range(2):
            gc.collect()
            before = sum(isinstance(each, Role) for each in gc.get_objects())
            gc.disable()
            try:
                await self.through(script, "ldap", upgrade)
                await wait(lambda: bool(self.ends))
                after = sum(isinstance(each, Role) for each in gc.get_objects())
            finally:
                gc.enable()
            self.ends.clear()
        self.assertEqual(after, before)

    def test_serverModeLeavesNothing(self) -> Any:
        """
        Implicit TLS, server mode.
        """
        return self.leavesNothing("none", Mode.SERVER, 5)

    def test_clientModeLeavesNothing(self) -> Any:
        """
        Implicit TLS, client mode.
        """
        return self.leavesNothing("none", Mode.CLIENT, 5)

    def test_aNegotiationThatDiesLeavesNothing(self) -> Any:
        """
        SMTP in server mode, where TLS bytes in clear are a foreign protocol.
        """
        return self.leavesNothing("smtp", Mode.SERVER, 2)
