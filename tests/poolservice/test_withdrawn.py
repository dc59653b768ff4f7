"""
What becomes of connections that programs have handed over when an identity is withdrawn.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

from OpenSSL import SSL
from twisted.internet.threads import deferToThread

from tests.loopback import CLIENT, SERVER, Encrypted
from tests.poolservice.stage import HandOverTests, Program
from tests.poolservice.test_handovers import Meet
from tests.tunnel.test_withdrawal import giveBack, takeAway
from tlstunnel.errors import Withdrawn
from tlstunnel.poolservice import handovers
from tlstunnel.poolservice.inventory import Inventory
from tlstunnel.poolservice.refusals import BadPool

_SSL_REQUEST = bytes.fromhex("0000000804d2162f")


class WithdrawnTests(HandOverTests):
    """
    A pool from which identities go.
    """

    def closing(self) -> None:
        """
        End what there is of them, soon.
        """
        self.patch(handovers, "LOOK_SECONDS", 0.05)
        self.handOvers.use(replace(self.handOvers.description, closesWithdrawn=True))

    def gone(self, network: Encrypted, meet: Meet) -> Any:
        """
        The identity of the server goes while a connection is up; both sides hear of the end.
        """
        plain = meet()
        plain.write(b"hello")
        network.read(5)
        takeAway(self.pool, CLIENT)
        takeAway(self.pool, SERVER)
        ends = network.atEnd(), plain.atEnd()
        network.end()
        plain.end()
        return ends

    async def test_itsConnectionsEndInOrderWhereThatIsWanted(self) -> None:
        """
        With close_notify, and a reason in the log.
        """
        self.closing()
        program, _, said = await self.handOver(self.wanted(False, local=SERVER), self.gone)
        self.assertEqual(said, (True, True))
        self.assertIsInstance(await program.over, Withdrawn)

    async def test_thoseOfOthersGoOn(self) -> None:
        """
        As if nothing were.
        """
        self.closing()

        def go(network: Encrypted, meet: Meet) -> Any:
            content = takeAway(self.pool, CLIENT)
            plain = meet()
            plain.write(b"hello")
            network.sock.settimeout(0.3)
            self.assertRaises(TimeoutError, lambda: network.read(6))
            giveBack(self.pool, CLIENT, content)
            network.end()
            plain.end()

        program, _, _ = await self.handOver(self.wanted(False, local=SERVER), go)
        self.assertIsNone(await program.over)

    async def test_whoHasNotComeToTLSYetDoesNotGetThere(self) -> None:
        """
        The pool was read before the peer took its time to ask for TLS, or to agree.
        """

        def ask(sock: socket.socket) -> None:
            takeAway(self.pool, SERVER)
            sock.sendall(_SSL_REQUEST)
            sock.recv(1)

        def agree(sock: socket.socket) -> None:
            sock.recv(len(_SSL_REQUEST))
            takeAway(self.pool, CLIENT)
            sock.sendall(b"S")

        for wanted, preamble in (
            (self.wanted(True, "postgresql", local=CLIENT), agree),
            (self.wanted(False, "postgresql", local=SERVER), ask),
        ):
            sock, theirs = self.pair()
            program = Program(self.handOvers)
            self.handOvers.begin(program, wanted, sock)
            isClient = not wanted.isClient
            network = Encrypted(theirs, self.context(isClient), isClient, str(SERVER).encode())
            await deferToThread(preamble, theirs)
            with self.assertRaises((SSL.Error, ConnectionError)):
                await deferToThread(network.handshake)
            self.assertIsInstance(await program.over, Withdrawn)

    def test_theNextRequestIsRefusedInWords(self) -> None:
        """
        And whoever starts the service is told.
        """
        takeAway(self.pool, SERVER)
        sock, _ = self.pair()
        self.addCleanup(sock.close)
        wanted = self.wanted(False, local=SERVER)
        refused = self.assertRaises(
            BadPool, self.handOvers.begin, Program(self.handOvers), wanted, sock
        )
        self.assertIn(f"{SERVER} is withdrawn", str(refused))
        inventory = Inventory(self.handOvers.description)
        for _ in inventory.steps():
            pass
        self.assertEqual(inventory.withdrawn, [SERVER])
        self.assertNotIn(SERVER, inventory.certificates)
