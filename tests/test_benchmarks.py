"""
Tests for L{benchmarks}: that it counts right what it measures.  Nothing here is timed.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import accounting, plot, report, wire
from benchmarks.figures import Results, Value, demands
from benchmarks.measures import FULL, QUICK


def _results() -> Results:
    """Two contenders of which ours is better by bytes and worse by connections."""
    results = Results()
    for _ in range(3):
        results.add("server", "tlstunnel", {"decrypt": 0.7, "connection": 900.0, "idle@1000": 23.0})
        results.add("server", "stunnel", {"decrypt": 1.0, "connection": 1000.0, "idle@1000": 70.0})
    return results


def _run() -> report.Run:
    machine = {"processor": "A <fast> one", "kernel": "Linux", "system": "Debian"}
    return report.Run(_results(), machine, {"tlstunnel": "1.0"}, "2026-01-01", 1.0, {})


class AccountingTests(SynchronousTestCase):
    """What a process has cost is read from the kernel."""

    def test_processorTimeOfAnotherProcessGrowsWithItsWork(self) -> None:
        """The CPU clock of a child that computes advances; that of one that sleeps does not."""
        busy = "sum(range(10**6)); print(flush=True); input()"
        with subprocess.Popen(
            [sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            self.assertGreater(accounting.processorTime(child.pid), 0.0)
            child.kill()

    def test_endedChildrenCount(self) -> None:
        """Work done by a grandchild that has ended is part of the cost."""
        script = (
            "import subprocess, sys, time;"
            "subprocess.run([sys.executable, '-c',"
            " 'import time\\nwhile time.process_time() < 0.2: pass']);"
            "print(flush=True); input()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            self.assertGreater(accounting.processorTime(child.pid), 0.15)
            child.kill()

    def test_sleepIsFree(self) -> None:
        """Waiting costs nothing: a slow load changes no figure."""
        before = accounting.processorTime(os.getpid())
        time.sleep(0.05)
        self.assertLess(accounting.processorTime(os.getpid()) - before, 0.04)

    def test_memoryIsThatOfTheProcess(self) -> None:
        """Anonymous memory grows by what was allocated and touched."""
        before = accounting.memory(os.getpid())["anonymous"]
        kept = bytearray(os.urandom(1 << 24))
        grown = accounting.memory(os.getpid())["anonymous"] - before
        self.assertGreater(grown, 0.9 * len(kept))


class WireTests(SynchronousTestCase):
    """Bulk is counted without being decrypted."""

    def _receive(self, content: bytes, size: int, cuts: int) -> bytes:
        """@return: what is left unread when C{size} bytes of bulk have been counted."""
        near, far = socket.socketpair()
        with near, far:
            near.settimeout(5)
            far.settimeout(5)

            def send() -> None:
                for start in range(0, len(content), cuts):
                    far.sendall(content[start : start + cuts])
                far.shutdown(socket.SHUT_WR)

            sender = threading.Thread(target=send)
            sender.start()
            wire.receiveRecords(near, size)
            sender.join()
            return near.recv(1024)

    def test_recordsAreCountedWhereverTheyAreCut(self) -> None:
        """Any cutting of a row of records leaves nothing behind and nothing missing."""
        sizes = [1, 100, 16384, 7]
        content = b"".join(
            b"\x17\x03\x03" + (size + 17).to_bytes(2, "big") + bytes(size + 17) for size in sizes
        )
        for cuts in (1, 3, 5, 1000, len(content)):
            self.assertEqual(self._receive(content, sum(sizes), cuts), b"")

    def test_aShortBulkIsAnError(self) -> None:
        """A tunnel that loses bytes is not fast but broken."""
        record = b"\x17\x03\x03" + (10 + 17).to_bytes(2, "big") + bytes(10 + 17)
        self.assertRaises(EOFError, self._receive, record, 11, 100)

    def test_plainBulkHasTheSizeAskedFor(self) -> None:
        """Also where it is no multiple of the blocks it is made of."""
        for size in (0, 1, 1 << 20, (1 << 20) + 1):
            self.assertEqual(sum(map(len, wire.plain(size))), size)


class ScaleTests(SynchronousTestCase):
    """How much is measured."""

    def test_idleConnectionsFitTheDescriptors(self) -> None:
        """Where few descriptors are allowed, fewer connections are opened, not none."""
        self.assertEqual(FULL.within(20_000).idle["server"], (10, 1_000, 9_665))
        self.assertEqual(FULL.within(1 << 20).idle, FULL.idle)
        self.assertEqual(QUICK.within(1024).idle["server"], (10, 400))


class FiguresTests(SynchronousTestCase):
    """Samples become figures and figures are judged."""

    def test_spreadIsHalfTheRange(self) -> None:
        """The median and how far the samples are apart."""
        value = Value((90.0, 100.0, 120.0))
        self.assertEqual((value.median, value.spread), (100.0, 0.15))

    def test_demandsAreJudgedByRatio(self) -> None:
        """What is better than demanded is reached, what is worse is not."""
        judged = {(demand.name, demand.compared): demand.reached for demand in demands(_results())}
        self.assertEqual(
            judged,
            {
                ("decrypt", "stunnel"): True,
                ("connection", "stunnel"): False,
                ("idle@1000", "24 KiB"): True,
                ("idle@1000", "stunnel"): True,
            },
        )


class ReportTests(SynchronousTestCase):
    """What is shown."""

    def test_theTableNamesMachineVersionsAndVerdicts(self) -> None:
        """All that is needed to compare two runs is in the page."""
        page = report.markdown(_run())
        for part in ("A <fast> one", "tlstunnel 1.0", "| 0.70 ±0% |", "**no**"):
            self.assertIn(part, page)

    def test_theDrawingIsXMLWithAPanelForEachFigure(self) -> None:
        """Names from the machine are escaped."""
        drawing = ElementTree.fromstring(plot.svg(_run()))
        titles = [text.text for text in drawing.iter() if text.get("class") == "title"]
        self.assertEqual(len(titles), 3)
