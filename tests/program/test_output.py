"""
Tests for L{tlstunnel.program.output}.
"""

from __future__ import annotations

import fcntl
import io
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.program.output import MAX_LINE_BYTES, LineOutput, complain

TOP = Path(__file__).resolve().parents[2]


class PipeTests(SynchronousTestCase):
    """
    L{LineOutput} to a pipe that may be full.
    """

    def setUp(self) -> None:
        """
        One that would block.
        """
        self.reading, writing = os.pipe()
        self.addCleanup(os.close, self.reading)
        self.addCleanup(os.close, writing)
        self.output = LineOutput(writing)

    def unread(self) -> bytes:
        """
        All that is in it.
        """
        fcntl.fcntl(self.reading, fcntl.F_SETFL, os.O_NONBLOCK)
        data = b""
        try:
            while True:
                data += os.read(self.reading, 1 << 20)
        except BlockingIOError:
            return data

    def test_linesAreWritten(self) -> None:
        """
        At once, as UTF-8.
        """
        self.assertTrue(self.output.write("one\n"))
        self.assertTrue(self.output.write("zwölf\n"))
        self.assertEqual(self.unread(), "one\nzwölf\n".encode())

    def test_aFullPipeBlocksNobody(self) -> None:
        """
        Whole lines are dropped, and none once there is room.
        """
        sent = [f"{number:04}" * 50 + "\n" for number in range(5000)]
        taken = [line for line in sent if self.output.write(line)]
        self.assertLess(len(taken), len(sent))
        self.assertEqual(self.unread(), "".join(taken).encode())
        self.assertTrue(self.output.write("again\n"))
        self.assertEqual(self.unread(), b"again\n")

    def test_aLongLineIsWrittenInParts(self) -> None:
        """
        Its rest before any other line.
        """
        filler = "x" * 99 + "\n"
        while self.output.write(filler):
            pass
        os.read(self.reading, 8192)
        long = "y" * 40000 + "\n"
        self.assertTrue(self.output.write(long))
        self.assertFalse(self.output.write("z\n"))
        data = self.unread()
        self.assertTrue(self.output.write("z\n"))
        data += self.unread()
        self.assertTrue(data.endswith((long + "z\n").encode()))

    def test_anEndlessLineIsCut(self) -> None:
        """
        It would be kept in memory.
        """
        self.assertTrue(self.output.write("y" * 10 * MAX_LINE_BYTES + "\n"))
        data = self.unread()
        while not self.output.write("z\n"):
            data += self.unread()
        data += self.unread()
        self.assertEqual(data, b"y" * (MAX_LINE_BYTES - 1) + b"\nz\n")

    def test_whoeverHasClosedItHurtsNobody(self) -> None:
        """
        The lines are dropped.
        """
        reading, writing = os.pipe()
        output = LineOutput(writing)
        os.close(reading)
        self.addCleanup(os.close, writing)
        for _ in range(3):
            self.assertFalse(output.write("x\n"))


class FileTests(SynchronousTestCase):
    """
    L{LineOutput} to a file.
    """

    def test_aFullDiskHurtsNobody(self) -> None:
        """
        The lines are dropped.
        """
        descriptor = os.open("/dev/full", os.O_WRONLY)
        self.addCleanup(os.close, descriptor)
        self.assertFalse(LineOutput(descriptor).write("x\n"))

    def test_linesAreWritten(self) -> None:
        """
        Long ones too.
        """
        path = Path(self.mktemp())
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        self.addCleanup(os.close, descriptor)
        output = LineOutput(descriptor)
        for line in ("one\n", "y" * 20000 + "\n"):
            self.assertTrue(output.write(line))
        self.assertEqual(path.read_text(), "one\n" + "y" * 20000 + "\n")


class StandardTests(SynchronousTestCase):
    """
    L{tlstunnel.program.output.openStandard}.
    """

    def test_whatIsClosedLeadsNowhere(self) -> None:
        """
        No descriptor of ours has its number.
        """
        program = (
            "import os, sys; from tlstunnel.program.output import openStandard; openStandard();"
            "print('x', file=sys.stderr); os.write(int(sys.argv[1]),"
            "os.readlink('/proc/self/fd/2').encode() + str(os.open('/dev/zero', 0)).encode())"
        )
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        shell = 'exec "$0" -c "$1" "$2" <&- >&- 2>&-'
        subprocess.run(
            ["/bin/sh", "-c", shell, sys.executable, program, str(writing)],
            env={**os.environ, "PYTHONPATH": str(TOP)},
            pass_fds=(writing,),
            check=True,
        )
        os.close(writing)
        self.assertRegex(os.read(reading, 100).decode(), r"\A/dev/null([3-9]|\d\d)\Z")


class LossTests(SynchronousTestCase):
    """
    The program, where what it prints is lost.
    """

    def outcome(self, words: str, redirection: str) -> tuple[int, str]:
        """
        Run it.

        @return: its exit code, and what it wrote to standard error.
        """
        shell = f'exec "$0" -m tlstunnel {words} {redirection}'
        done = subprocess.run(
            ["/bin/sh", "-c", shell, sys.executable],
            env={**os.environ, "PYTHONPATH": str(TOP)},
            stderr=subprocess.PIPE,
            check=False,
        )
        return done.returncode, done.stderr.decode()

    def test_aClosedOutputIsNoSuccess(self) -> None:
        """
        What was asked for is not there; so it is where the disk is full.
        """
        for redirection, problem in (
            (">&-", "it is closed"),
            (">/dev/full", "No space left on device"),
        ):
            self.assertEqual(
                self.outcome("--list-protocols", redirection),
                (1, f"tlstunnel: standard output: {problem}\n"),
            )

    def test_anErrorThatNobodyCanHearOfIsOneByItsCode(self) -> None:
        """
        Which is the same as else: 2 for a mistake in the command line.
        """
        for redirection in ("", "2>&-", "2>/dev/full", "<&- >&- 2>&-"):
            code, _ = self.outcome("-s -l :1", redirection)
            self.assertEqual(code, 2, redirection)

    def test_whoPrintsNothingNeedsNoOutput(self) -> None:
        """
        As a program that checks how we are.
        """
        code, said = self.outcome("health --status 127.0.0.1:1", ">&-")
        self.assertEqual((code, said.count("\n")), (1, 1))
        self.assertIn("--status 127.0.0.1:1: nothing answers there", said)


class ComplaintTests(SynchronousTestCase):
    """
    L{tlstunnel.program.output.complain}.
    """

    def test_eachLineSaysWhoseItIs(self) -> None:
        """
        A log may have lines of others between them.
        """
        error = io.StringIO()
        self.patch(sys, "stderr", error)
        complain("one\ntwo")
        self.assertEqual(error.getvalue(), "tlstunnel: one\ntlstunnel: two\n")
