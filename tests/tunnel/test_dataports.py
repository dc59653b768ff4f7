"""
Where data connections are listened for: L{tlstunnel.tunnel.dataports}.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.ports import freePort
from tlstunnel.errors import LimitReached
from tlstunnel.tunnel import dataports
from tlstunnel.tunnel.dataports import MAX_RACES, MAX_TRIES, _candidates, listenBeside

RANGES = st.tuples(st.integers(1024, 65535), st.integers(1, 70000)).map(
    lambda each: range(each[0], min(sum(each), 65536))
)


class CandidatesTests(SynchronousTestCase):
    """
    Which ports of a range are tried.
    """

    @given(RANGES)
    def test_noPortIsTriedTwice(self, ports: range) -> None:
        """
        All of a small range are tried, and of a large one not too many.
        """
        tried = list(_candidates(ports))
        self.assertEqual(len(tried), min(len(ports), MAX_TRIES))
        self.assertEqual(len(set(tried)), len(tried))
        self.assertTrue(all(port in ports for port in tried))

    def test_nobodyCanGuessTheNext(self) -> None:
        """
        Whatever came before.
        """
        firsts = {next(_candidates(range(50000, 60000))) for _ in range(100)}
        self.assertGreater(len(firsts), 50)


class FakeControl:
    """
    A control connection at an address that this host has no more.
    """

    family = socket.AF_INET

    def getsockname(self) -> tuple[str, int]:
        """
        One for documentation.
        """
        return "192.0.2.1", 21


class ListenTests(SynchronousTestCase):
    """
    Sockets beside a control connection.
    """

    def setUp(self) -> None:
        self.control = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.control.close)

    def listen(self, ports: range | None = None) -> socket.socket:
        """
        One that listens.
        """
        sock = listenBeside(self.control, ports)
        self.addCleanup(sock.close)
        return sock

    def test_itListensWhereTheControlConnectionIs(self) -> None:
        """
        At a port of its own.
        """
        host, port = self.listen().getsockname()
        self.assertEqual(host, "127.0.0.1")
        self.assertNotEqual(port, self.control.getsockname()[1])
        socket.create_connection((host, port)).close()

    def test_twoTunnelsShareARange(self) -> None:
        """
        Nobody gets a port where another listens, until there is none.
        """
        port = freePort()
        wanted = range(port, port + 4)
        found = set()
        with self.assertRaises(LimitReached) as raised:
            for _ in range(5):
                found.add(self.listen(wanted).getsockname()[1])
        self.assertLessEqual(found, set(wanted))
        self.assertEqual(raised.exception.detail, f"all ports from {port} to {port + 3} are in use")

    def test_thePortThatIsFreeIsFound(self) -> None:
        """
        Among those that are not.
        """
        port = freePort()
        wanted = range(port, port + 4)
        found = [self.listen(wanted) for _ in range(4)]
        for each in found:
            place = each.getsockname()
            each.close()
            self.assertEqual(self.listen(wanted).getsockname(), place)

    def test_whoeverIsFasterHasIt(self) -> None:
        """
        Where two have bound a port before one of them listens, the other goes on to look.
        """
        port = freePort()
        bind = dataports._bind

        def late(sock: socket.socket, place: Any, ports: range | None) -> None:
            self.patch(dataports, "_bind", bind)
            bind(sock, place, ports)
            faster = socket.socket()
            self.addCleanup(faster.close)
            faster.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            faster.bind(sock.getsockname())
            faster.listen()

        self.patch(dataports, "_bind", late)
        self.assertRaises(LimitReached, self.listen, range(port, port + 1))

    def test_whoIsNeverFastestStopsLooking(self) -> None:
        """
        However many others there are: the system says each time that the port is in use.
        """
        binds: list[socket.socket] = []
        port = freePort()
        taken = self.listen(range(port, port + 1)).getsockname()

        def late(sock: socket.socket, place: Any, ports: range | None) -> None:
            binds.append(sock)
            # As listen(2) would say.
            sock.bind(taken)

        self.patch(dataports, "_bind", late)
        self.assertRaises(LimitReached, self.listen, range(port, port + 1))
        self.assertEqual(len(binds), MAX_RACES)
        self.assertEqual([each.fileno() for each in binds], [-1] * MAX_RACES)

    def test_whatNoOtherPortHelpsIsNotTriedAgain(self) -> None:
        """
        An address that is gone has none.
        """
        control: Any = FakeControl()
        error = self.assertRaises(OSError, listenBeside, control, range(50000, 50200))
        self.assertEqual(error.errno, errno.EADDRNOTAVAIL)

    def test_whatIsTriedInVainIsClosed(self) -> None:
        """
        By the time that the next is tried.
        """
        port = freePort()
        taken = self.listen(range(port, port + 1))
        for _ in range(3):
            self.assertRaises(LimitReached, self.listen, range(port, port + 1))
        taken.close()
        self.listen(range(port, port + 1))
