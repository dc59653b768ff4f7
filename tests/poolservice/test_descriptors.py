"""
Tests for L{tlstunnel.poolservice.descriptors} and L{tlstunnel.local.closing}: what may be
handed over, and how the rest is closed.
"""

from __future__ import annotations

import os
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.local.closing import closeHanded, drop
from tlstunnel.poolservice.descriptors import connected
from tlstunnel.poolservice.refusals import NotConnected

#: Seconds that an evil socket would wait.
LINGER = 30

#: Seconds in which whatever does not wait is done.
SOON = 5.0


def descriptorsInUse() -> set[int]:
    """
    All that this process has.
    """
    return {int(each.name) for each in Path("/proc/self/fd").iterdir()}


def eventually(isSo: Callable[[], bool]) -> bool:
    """
    Whether it comes to be so soon.
    """
    until = time.monotonic() + SOON
    while not isSo():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


@contextmanager
def pairOf(
    *, isTCP: bool, host: str = "127.0.0.1"
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """
    Two sockets, connected to each other.
    """
    with ExitStack() as stack:
        if isTCP:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listening = stack.enter_context(socket.create_server((host, 0), family=family))
            one = stack.enter_context(socket.create_connection(listening.getsockname()[:2]))
            other = stack.enter_context(listening.accept()[0])
        else:
            one, other = map(stack.enter_context, socket.socketpair())
        yield one, other


def evil() -> tuple[socket.socket, socket.socket]:
    """
    A socket that takes L{LINGER} seconds to be closed, and its peer, which does not read.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        peer = socket.create_connection(listening.getsockname())
        sock, _ = listening.accept()
    sock.setblocking(False)
    try:
        while True:
            sock.send(bytes(65536))
    except BlockingIOError:
        pass
    setLinger(sock)
    return sock, peer


def setLinger(sock: socket.socket) -> None:
    """
    What a program would set.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, LINGER))


def _file() -> int:
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _path() -> int:
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / "socket")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path)
            return os.open(path, os.O_PATH)


def _datagrams() -> int:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    other.close()
    return one.detach()


def _packets() -> int:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    other.close()
    return one.detach()


def _udp() -> int:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", 9))
    return sock.detach()


def _netlink() -> int:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).detach()


def _listening() -> int:
    return socket.create_server(("127.0.0.1", 0)).detach()


def _listeningOnUNIX() -> int:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(b"\0tlstunnel-test-%d" % os.getpid())
    sock.listen()
    return sock.detach()


def _unconnected() -> int:
    return socket.socket().detach()


def _reset() -> int:
    with pairOf(isTCP=True) as (one, other):
        setLinger(other)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        other.close()
        try:
            one.recv(1)
        except ConnectionResetError:
            pass
        return os.dup(one.fileno())


# What is handed over, and what the refusal says of it.
MISTAKES: dict[str, tuple[Callable[[], int], str]] = {
    "a file": (_file, "not of a socket"),
    "a pipe": (lambda: _oneOf(os.pipe()), "not of a socket"),
    "a device": (lambda: os.open("/dev/null", os.O_RDWR), "not of a socket"),
    "the path of a socket": (_path, "not of a socket"),
    "UDP": (_udp, "no DTLS"),
    "UNIX datagrams": (_datagrams, "no DTLS"),
    "UNIX packets": (_packets, "no DTLS"),
    "netlink": (_netlink, "neither of TCP nor a UNIX socket"),
    "a listening socket": (_listening, "hand over what it has accepted"),
    "a listening UNIX socket": (_listeningOnUNIX, "hand over what it has accepted"),
    "an unconnected socket": (_unconnected, "is not connected"),
    "a socket that was reset": (_reset, "is not connected, or not any more"),
}


def _oneOf(two: tuple[int, int]) -> int:
    os.close(two[1])
    return two[0]


class ConnectedTests(SynchronousTestCase):
    """
    What is looked at.
    """

    def setUp(self) -> None:
        """
        Note which descriptors there are.
        """
        self.before = descriptorsInUse()

    def assertNothingLeft(self) -> None:
        """
        All descriptors are closed, or will be at once.
        """
        isSo = eventually(lambda: descriptorsInUse() <= self.before)
        self.assertTrue(isSo, descriptorsInUse() - self.before)

    def test_aConnectionIsTakenWithItsPeer(self) -> None:
        """
        Whatever family it is of.
        """
        for isTCP, host in ((True, "127.0.0.1"), (True, "::1"), (False, "")):
            with self.subTest(host=host), pairOf(isTCP=isTCP, host=host) as (one, other):
                descriptors = [os.dup(one.fileno())]
                sock, peer = connected(descriptors)
                with sock:
                    self.assertEqual(descriptors, [])
                    self.assertEqual(sock.getblocking(), False)
                    if isTCP:
                        self.assertEqual(peer, TCPAddress(host, other.getsockname()[1]))
                    else:
                        self.assertEqual(peer, UNIXAddress(""))
                    sock.send(b"x")
                    self.assertEqual(other.recv(1), b"x")
        self.assertNothingLeft()

    def test_oneThatItsPeerHasEndedIsTaken(self) -> None:
        """
        Its last words may be unread.
        """
        with pairOf(isTCP=True) as (one, other):
            other.send(b"x")
            other.shutdown(socket.SHUT_WR)
            with connected([os.dup(one.fileno())])[0] as sock:
                self.assertEqual(sock.recv(2), b"x")
        self.assertNothingLeft()

    def test_whatTheProgramHasSetDoesNotHold(self) -> None:
        """
        Closing will not wait.
        """
        with pairOf(isTCP=True) as (one, _):
            setLinger(one)
            with connected([os.dup(one.fileno())])[0] as sock:
                packed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
                self.assertEqual(struct.unpack("ii", packed)[0], 0)

    def test_whatIsNoConnectionIsRefusedInWords(self) -> None:
        """
        What it is is said, and it is closed.
        """
        for what, (make, words) in MISTAKES.items():
            with self.subTest(what=what):
                descriptors = [make()]
                refused = self.assertRaises(NotConnected, connected, descriptors)
                self.assertEqual(refused.reason, "not-connected")
                self.assertIn(words, refused.detail)
                self.assertEqual(descriptors, [])
                self.assertNothingLeft()

    def test_thereIsExactlyOne(self) -> None:
        """
        None, three and sixty are refused, and all are closed.
        """
        for count in (0, 3, 60):
            with self.subTest(count=count), pairOf(isTCP=True) as (one, _):
                descriptors = [os.dup(one.fileno()) for _ in range(count)]
                refused = self.assertRaises(NotConnected, connected, descriptors)
                self.assertIn(f"not {count or 'none'}", refused.detail)
            self.assertNothingLeft()

    def test_whatIsRefusedCanBeClosedByOthers(self) -> None:
        """
        Who counts them wants to know when.
        """
        refused: list[list[int]] = []
        for descriptors in ([_file()], [_unconnected()], [_file(), _file()]):
            self.assertRaises(NotConnected, connected, [*descriptors], refused.append)
            self.assertEqual(refused.pop(), descriptors)
            drop(descriptors)
        self.assertNothingLeft()


class ClosingTests(SynchronousTestCase):
    """
    Closing what may take its time.
    """

    def test_aSocketThatLingersDoesNotMakeUsWait(self) -> None:
        """
        Neither where it is none of ours, nor where it was handed over.
        """
        for close in (
            lambda sock: drop([sock.detach()]),
            lambda sock: connected([sock.detach(), *os.pipe()]),
            closeHanded,
        ):
            sock, peer = evil()
            began = time.monotonic()
            try:
                close(sock)
            except NotConnected:
                pass
            self.assertLess(time.monotonic() - began, SOON)
            # What it waits for comes about, so that no thread stays.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()

    def test_aHandedConnectionEndsAlthoughTheProgramHasACopy(self) -> None:
        """
        Closing alone would say nothing to the peer.
        """
        for isTCP in (True, False):
            with pairOf(isTCP=isTCP) as (one, other):
                other.settimeout(SOON)
                closeHanded(one.dup())
                self.assertEqual(other.recv(1), b"")

    def test_whatIsClosedAlreadyIsNoTrouble(self) -> None:
        """
        Nor what cannot be ended any more.
        """
        with pairOf(isTCP=True) as (one, other):
            other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            other.close()
            closeHanded(one)
        drop([10_000])
        drop([])

    def test_whoCountsIsToldWhenAllAreClosed(self) -> None:
        """
        In the thread of the reactor.
        """
        told: list[bool] = []

        class Reactor:
            """
            Calls at once.
            """

            def callFromThread(self, dropped: Callable[[], object]) -> None:
                """
                As a reactor's.
                """
                told.append(descriptors <= descriptorsInUse())
                dropped()

        descriptors = set(os.pipe())
        drop(descriptors, Reactor(), lambda: told.append(True))
        self.assertTrue(eventually(lambda: len(told) == 2))
        self.assertEqual(told, [False, True])
