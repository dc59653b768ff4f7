"""
Tests for L{benchmarks}: that it counts right what it measures.  Nothing here is timed.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import accounting, plot, report, revision, wire
from benchmarks.against import alternate
from benchmarks.backend import Flooded
from benchmarks.contenders import CHECKOUT
from benchmarks.demands import demands
from benchmarks.figures import Results, Value
from benchmarks.floods import FLOODS, PING, Flood, FloodClient
from benchmarks.load import Broken, Client
from benchmarks.measures import FULL, QUICK
from benchmarks.running import Failed, Running
from benchmarks.tunnels import tunnelIn
from tlstunnel.protocols.registry import find
from tlstunnel.testing.dialogues import isFiltered
from tlstunnel.testing.memory import Driver


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
        # In a process of its own: this one gives back what other tests have left, meanwhile.
        program = (
            "import mmap, os, sys\n"
            "kept = mmap.mmap(-1, 1 << 24, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
            "for _ in range(2):\n"
            "    print(flush=True)\n"
            "    sys.stdin.readline()\n"
            "    kept[:] = bytes(1) * len(kept)\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            process.stdout.readline()
            before = accounting.memory(process.pid)["anonymous"]
            process.stdin.write(b"\n")
            process.stdin.flush()
            process.stdout.readline()
            grown = accounting.memory(process.pid)["anonymous"] - before
            process.stdin.close()
        self.assertGreater(grown, 0.9 * (1 << 24))


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


class FloodTests(SynchronousTestCase):
    """Floods that are poured through a tunnel in server mode."""

    def relayed(self, flood: Flood) -> Driver:
        """A tunnel in whose relay the client of C{flood} is."""
        driver = Driver(find(flood.dialect), "server")
        driver.plain.feed(flood.greeting)
        for say, awaited in flood.clear:
            driver.network.feed(say)
            heard = driver.network.takeWritten()
            self.assertTrue(re.search(awaited, heard) if awaited else not heard, flood.dialect)
        driver.handshake()
        self.assertEqual(driver.stage, "relay", (flood.dialect, driver.error))
        driver.network.takeWritten()
        return driver

    def test_everyDialogueLeadsToTheRelay(self) -> None:
        """There whoever asks for an answer gets one, again and again."""
        for flood in FLOODS:
            driver = self.relayed(flood)
            for ask in (flood.hello, flood.ping, flood.ping):
                driver.network.feed(ask)
                self.assertIn(PING, driver.plain.takeWritten(), flood.dialect)
                driver.plain.feed(flood.answer)
                heard = driver.network.takeWritten()
                self.assertTrue(FloodClient(0, None, flood).isAnswered(heard), flood.dialect)

    def test_theTunnelReadsAlong(self) -> None:
        """A flood that no filter reads is none; nor is what follows an answer."""
        for flood in FLOODS:
            if flood.piece:
                driver = self.relayed(flood)
                driver.network.feed(flood.prelude)
                for _ in range(2):
                    driver.network.feed(flood.piece * 1000 + flood.ping)
                    driver.plain.feed(flood.answer)
                    self.assertIsNone(driver.error, flood.dialect)
                    self.assertTrue(isFiltered(driver.network), flood.dialect)

    def test_theBackendAnswersWhatIsAsked(self) -> None:
        """However much comes before it."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            near = socket.create_connection(listener.getsockname(), timeout=5)
            far, _ = listener.accept()
        with near, far:
            peer = Flooded(far, b"hello\n", b"200 ok\r\n")
            peer.greet()
            for said in (b"\n" * 1000 + b"RSET\r\nNO", b"OP\r\n" + PING, b"x" * 70_000):
                peer.received += said
                peer.answer()
            wanted = b"hello\n" + 2 * b"200 ok\r\n"
            self.assertEqual(near.recv(len(wanted), socket.MSG_WAITALL), wanted)
            self.assertEqual(peer.received, b"")

    def test_theTableHasARowForEachDialect(self) -> None:
        """With the ratio to whoever knows it too, in the order of the floods."""
        results = Results()
        for dialect in ("smtp", "imap", "mysql"):
            results.add("server", "tlstunnel", {f"flood@{dialect}": 2.0})
        results.add("server", "stunnel", {"flood@imap": 4.0})
        run = report.Run(results, {}, {}, "2026-01-01", 1.0, {})
        rows = [
            line
            for line in report.markdown(run).splitlines()
            if "flood" in line and "server" not in line
        ]
        self.assertEqual(
            rows,
            [
                "| longest turn under a flood, smtp, ms | 2.0 |  |",
                "| longest turn under a flood, imap, ms | 2.0 | 4.0 |",
                "| longest turn under a flood, mysql, ms | 2.0 |  |",
                "| longest turn under a flood, smtp |  |  |",
                "| longest turn under a flood, imap | 0.50 | 1.00 |",
                "| longest turn under a flood, mysql |  |  |",
            ],
        )
        self.assertEqual(
            [(each.name, each.compared, each.reached) for each in demands(results)],
            [
                ("flood@smtp", "50 ms", True),
                ("flood@imap", "50 ms", True),
                ("flood@imap", "stunnel", True),
                ("flood@mysql", "50 ms", True),
            ],
        )


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

    def test_ratiosAreThoseOfTheRounds(self) -> None:
        """A machine that was slow in one round was slow for both: the ratio knows nothing of it."""
        results = Results()
        for slowness in (1.0, 3.0, 2.0):
            results.add("client", "before", {"p50": 100.0 * slowness})
            results.add("client", "tlstunnel", {"p50": 110.0 * slowness})
        ratio = results.ratio("client", "p50", "tlstunnel", "before")
        assert ratio is not None
        self.assertEqual([round(sample, 6) for sample in ratio.samples], [1.1, 1.1, 1.1])
        self.assertIs(results.ratio("client", "p50", "tlstunnel", "nginx"), None)

    def test_halfOfTheSamplesAreInTheMiddle(self) -> None:
        """The quartiles are not moved by what is far away; one sample is its own middle."""
        self.assertEqual(Value((1.0, 2.0, 3.0, 4.0, 1000.0)).middle, (2.0, 4.0))
        self.assertEqual(Value((7.0,)).middle, (7.0, 7.0))


class RevisionTests(SynchronousTestCase):
    """A commit is run with its own code, or not at all."""

    if shutil.which("git") is None:
        skip = "git is not installed"

    def setUp(self) -> None:
        """A repository in which tlstunnel has version 7.1, then 7.2, and in the end is missing."""
        self.repository = Path(self.mktemp()).resolve()
        package = self.repository / "tlstunnel"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        self._git("init", "--quiet")
        for version in ("7.1", "7.2"):
            (package / "__main__.py").write_text(f"print('version {version}')\n")
            self._commit()
        shutil.rmtree(package)
        self._commit()

    def _git(self, *words: str) -> None:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        command = ["git", "-C", str(self.repository), *identity, *words]
        subprocess.run(command, check=True, capture_output=True)

    def _commit(self) -> None:
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message=x")

    def _tree(self, name: str) -> Path:
        commit = revision.resolve(self.repository, name)
        return revision.extract(self.repository, commit, Path(self.mktemp()).resolve())

    def _environment(self, name: str, value: str) -> None:
        """Set a variable for the rest of the test."""
        before = os.environ.get(name)

        def restore() -> None:
            del os.environ[name]
            if before is not None:
                os.environ[name] = before

        self.addCleanup(restore)
        os.environ[name] = value

    def test_theCodeOfTheCommitRuns(self) -> None:
        """Neither what is installed runs, nor what is in the directory we are started in."""
        self.addCleanup(os.chdir, Path.cwd())
        tree = self._tree("HEAD~2")
        os.chdir(CHECKOUT)
        self.assertEqual(tunnelIn(tree, "before").installedVersion(), "7.1")

    def test_theCheckoutRuns(self) -> None:
        """What is compared with the commit is the tree of these tests, wherever we are started."""
        self.assertTrue(revision.importedFrom(CHECKOUT))

    def test_aCommitWithoutTheCodeIsRefused(self) -> None:
        """There the code that is installed would be imported, and measured instead."""
        self.assertRaises(revision.Unusable, self._tree, "HEAD")

    def test_whatIsNoCommitIsNamed(self) -> None:
        """An unknown name, an option of git and the name of a directory are errors of one line."""
        for name in ("nothing", "--all", "HEAD~1:tlstunnel"):
            problem = self.assertRaises(revision.Unusable, revision.resolve, self.repository, name)
            self.assertIn(f"there is no commit {name!r}", str(problem))

    def test_withoutARepositoryGitExplains(self) -> None:
        """A release that was unpacked has no earlier commits."""
        self._environment("GIT_CEILING_DIRECTORIES", str(self.repository.parent))
        shutil.rmtree(self.repository / ".git")
        problem = self.assertRaises(revision.Unusable, revision.resolve, self.repository, "HEAD")
        self.assertIn("not a git repository", str(problem))
        self.assertNotIn("\n", str(problem))

    def test_withoutGitItIsAskedFor(self) -> None:
        """The error says what is missing."""
        self._environment("PATH", str(self.repository))
        problem = self.assertRaises(revision.Unusable, revision.resolve, self.repository, "HEAD")
        self.assertIn("git is not installed", str(problem))


class AlternationTests(SynchronousTestCase):
    """Tunnels take their turns one after the other."""

    def setUp(self) -> None:
        """Two contestants, of which the second has printed something."""
        self.contestants = [
            Running(tunnelIn(CHECKOUT, name), "server", os.getpid(), Client(1, None), output)
            for name, output in (("before", io.BytesIO()), ("tlstunnel", io.BytesIO(b"ouch")))
        ]

    def test_turnsAlternate(self) -> None:
        """No contestant has two turns while another one has none; each keeps its own results."""
        order: list[str] = []

        def turn(running: Running) -> int:
            order.append(running.contender.name)
            return len(order)

        self.assertEqual(alternate(self.contestants, 3, turn), [[1, 3, 5], [2, 4, 6]])
        self.assertEqual(order, ["before", "tlstunnel"] * 3)

    def test_whoBrokeIsNamed(self) -> None:
        """With what it printed, though others run beside it."""

        def turn(running: Running) -> None:
            if running.contender.name == "tlstunnel":
                raise Broken("no answer")

        problem = self.assertRaises(Failed, alternate, self.contestants, 1, turn)
        self.assertEqual(str(problem), "tlstunnel, server mode: no answer\nouch")


class ReportTests(SynchronousTestCase):
    """What is shown."""

    def test_theTableNamesMachineVersionsAndVerdicts(self) -> None:
        """All that is needed to compare two runs is in the page."""
        page = report.markdown(_run())
        for part in ("A <fast> one", "tlstunnel 1.0", "| 0.70 ±0% |", "**no**"):
            self.assertIn(part, page)

    def test_aComparisonShowsBothAndTheirRatio(self) -> None:
        """A row for each figure of each mode; further contenders are only compared with."""
        results = _results()
        for factor in (2.0, 1.0, 4.0):
            results.add("server", "before", {"decrypt": 0.7 * factor})
        versions = {"before": "1.0", "tlstunnel": "1.1", "stunnel": "5.68"}
        run = report.Run(results, {"cores": "2"}, versions, "2026-01-01", 1.0, {"rounds": 3})
        page = report.comparison(run, "HEAD~1", "c0ffee")
        self.assertIn("c0ffee", page)
        self.assertIn("| spread of ratio over rounds | now to stunnel 5.68 |", page)
        rows = [line for line in page.splitlines() if line.startswith("| CPU")]
        self.assertEqual(
            rows,
            ["| CPU, TLS to plain, s/GB | server | 1.40 | 0.70 | 0.500 | 0.375 to 0.750 | 0.70 |"],
        )

    def test_theDrawingIsXMLWithAPanelForEachFigure(self) -> None:
        """Names from the machine are escaped."""
        drawing = ElementTree.fromstring(plot.svg(_run()))
        titles = [text.text for text in drawing.iter() if text.get("class") == "title"]
        self.assertEqual(len(titles), 3)
