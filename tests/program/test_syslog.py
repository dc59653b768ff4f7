"""
Tests for L{tlstunnel.program.syslog}: with a socket such as that of the system's log.
"""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from typing import Any

from twisted.logger import Logger, LogLevel
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.program.syslog import MAX_MESSAGE_BYTES, SyslogOutput, syslogLines


class SyslogOutputTests(SynchronousTestCase):
    """
    L{SyslogOutput}.
    """

    def setUp(self) -> None:
        """
        A daemon, which reads when it is told to.
        """
        # Its path is short, as it has to be.
        directory = tempfile.mkdtemp()
        self.addCleanup(os.rmdir, directory)
        self.path = Path(directory, "log")
        self.daemon = self.listen()
        self.output = SyslogOutput(str(self.path))
        self.addCleanup(self.output.close)
        self.addCleanup(self.path.unlink)

    def listen(self) -> socket.socket:
        """
        The daemon's socket.
        """
        daemon = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(daemon.close)
        daemon.bind(str(self.path))
        daemon.setblocking(False)
        return daemon

    def test_eachLineIsAMessage(self) -> None:
        """
        A line too long is cut.
        """
        self.assertTrue(self.output.write("a\nb\n" + "c" * MAX_MESSAGE_BYTES + "d\n"))
        received = [self.daemon.recv(1 << 16) for _ in range(3)]
        self.assertEqual(received, [b"a", b"b", b"c" * MAX_MESSAGE_BYTES])

    def test_aDaemonThatStandsStillBlocksNobody(self) -> None:
        """
        What it has no room for is dropped, and nothing once it goes on.
        """
        sent = 0
        while self.output.write(f"{sent}\n"):
            sent += 1
        for number in range(sent):
            self.assertEqual(self.daemon.recv(100), str(number).encode())
        self.assertTrue(self.output.write("again\n"))
        self.assertEqual(self.daemon.recv(100), b"again")

    def test_aDaemonMayBeReplaced(self) -> None:
        """
        While there is none, messages are dropped.
        """
        self.daemon.close()
        self.assertFalse(self.output.write("lost\n"))
        self.path.unlink()
        self.assertFalse(self.output.write("lost\n"))
        daemon = self.listen()
        self.assertTrue(self.output.write("found\n"))
        self.assertEqual(daemon.recv(100), b"found")

    def test_whereThereIsNone(self) -> None:
        """
        That shows at once.
        """
        self.assertRaises(OSError, SyslogOutput, "/nowhere/log")


class SyslogLinesTests(SynchronousTestCase):
    """
    L{syslogLines}.
    """

    def test_everyLineHasItsHead(self) -> None:
        """
        Of a failure's too, with the severity of the event.
        """
        found: list[str] = []
        observer: Any = lambda event: found.append(syslogLines(event, "us"))  # noqa: E731
        log = Logger("here", observer=observer)
        log.info("up")
        log.warn("one\ntwo")
        pid = os.getpid()
        self.assertEqual(found, [f"<14>us[{pid}]: up", f"<12>us[{pid}]: one\n<12>us[{pid}]: two"])
        try:
            raise ValueError("such luck")
        except ValueError:
            log.failure("it failed")
        lines = found[2].splitlines()
        self.assertTrue(all(line.startswith(f"<10>us[{pid}]: ") for line in lines))
        self.assertTrue(lines[-1].endswith("ValueError: such luck"))

    def test_everyLevelHasItsSeverity(self) -> None:
        """
        None is unknown.
        """
        for level in LogLevel.iterconstants():
            event = {"log_level": level, "log_format": "x"}
            self.assertRegex(syslogLines(event, "us"), "^<1[0-5]>us")
