"""
Tests for L{tlstunnel.program.notify}: messages to a service manager.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import tempfile

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.program.notify import (
    KEPT_MESSAGES,
    MAX_VALUE,
    RETRY_SECONDS,
    NotifySocket,
    connect,
)


class ConnectTests(SynchronousTestCase):
    """
    L{connect}.
    """

    def hears(self, bound: str, address: str) -> None:
        """
        Who listens at C{bound} gets what is sent to C{address}.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(bound)
            with connect(address) as sock:
                sock.send(b"x")
                self.assertEqual(server.recv(10), b"x")
                self.assertEqual(sock.gettimeout(), 0)
                self.assertFalse(sock.get_inheritable())

    def test_aPath(self) -> None:
        """
        As systemd has it.
        """
        # Paths of sockets are short.
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        self.hears(f"{directory}/s", f"{directory}/s")

    def test_anAbstractName(self) -> None:
        """
        C{@} stands for the byte 0 (unix(7)).
        """
        name = f"tlstunnel-test-{os.getpid()}"
        self.hears(f"\0{name}", f"@{name}")

    def test_whatNamesNoSocketIsSaidSo(self) -> None:
        """
        Such as a path that is not absolute, and what only virtual machines have.
        """
        for address in ("run/notify", "@", "/", "vsock:2:1234"):
            error = self.assertRaises(ValueError, connect, address)
            self.assertIn(f"NOTIFY_SOCKET {address!r} is neither an absolute path", str(error))

    def test_nobodyThereIsAnError(self) -> None:
        """
        Of the system.
        """
        error = self.assertRaises(OSError, connect, "/nonexistent/notify")
        self.assertEqual(error.errno, errno.ENOENT)

    @given(st.text())
    def test_anythingElseIsAnErrorToo(self, text: str) -> None:
        """
        Whatever the variable says, it is one of the two kinds of errors.
        """
        try:
            connect(text).close()
        except (OSError, ValueError):
            pass
        else:
            self.fail(text)


class NotifySocketTests(SynchronousTestCase):
    """
    L{NotifySocket}.
    """

    def setUp(self) -> None:
        """
        A service manager, and what is logged.
        """
        self.clock = Clock()
        self.server, client = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for sock in (self.server, client):
            self.addCleanup(sock.close)
            sock.setblocking(False)
        self.client = client
        self.notify = NotifySocket(self.clock, client)
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)  # type: ignore[arg-type]

    def heard(self) -> list[str]:
        """
        All messages that have come.
        """
        messages = []
        while True:
            try:
                messages.append(self.server.recv(65536).decode())
            except BlockingIOError:
                return messages

    def fill(self) -> int:
        """
        Send messages until there is no room for more.
        """
        sent = 0
        while not self.notify.isBehind:
            self.notify.tell(NUMBER=sent)
            sent += 1
        return sent

    def test_aMessageIsOneDatagramOfLines(self) -> None:
        """
        Each name with its value.
        """
        self.notify.tell(READY=1, STATUS="1 tunnel up")
        self.notify.tell(WATCHDOG=1)
        self.assertEqual(self.heard(), ["READY=1\nSTATUS=1 tunnel up\n", "WATCHDOG=1\n"])

    def test_aValueIsOneLine(self) -> None:
        """
        Nothing in it can be taken for another name, and it is not too long.
        """
        self.notify.tell(STATUS="refused:\nREADY=1\r\n" + "x" * 9999)
        (message,) = self.heard()
        self.assertTrue(message.startswith("STATUS=refused: READY=1 xxx"))
        self.assertTrue(message.endswith("x...\n"))
        self.assertEqual(len(message), len("STATUS=\n") + MAX_VALUE)

    def test_whereThereIsNoRoomItIsSaidLater(self) -> None:
        """
        In order, nothing is lost, and nobody waits.
        """
        sent = self.fill()
        self.notify.tell(READY=1)
        heard = self.heard()
        self.assertEqual(len(heard), sent - 1)
        self.clock.advance(RETRY_SECONDS)
        self.assertFalse(self.notify.isBehind)
        heard += self.heard()
        self.assertEqual(heard, [f"NUMBER={number}\n" for number in range(sent)] + ["READY=1\n"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_whatWaitsIsBounded(self) -> None:
        """
        The latest messages are kept.
        """
        self.fill()
        for number in range(KEPT_MESSAGES * 2):
            self.notify.tell(LATE=number)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        heard = self.heard()
        while self.notify.isBehind:
            self.clock.advance(RETRY_SECONDS)
            heard += self.heard()
        late = [message for message in heard if "LATE" in message]
        expected = range(KEPT_MESSAGES, KEPT_MESSAGES * 2)
        self.assertEqual(late, [f"LATE={number}\n" for number in expected])

    def test_oneThatIsGoneIsSaidOnce(self) -> None:
        """
        In one line, and nothing is raised, whatever is told it.
        """
        self.server.close()
        for _ in range(3):
            self.notify.tell(READY=1)
        (event,) = self.events
        self.assertEqual(event["event"], "notice")
        self.assertIn("the service manager cannot be told how we are: ", event["notice"])
        self.assertFalse(self.notify.isBehind)
