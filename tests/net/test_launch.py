"""
Tests for L{tlstunnel.net.launch}, for what becomes a program, and for what is told of its
complaints.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import ExecAddress
from tlstunnel.net import launcher
from tlstunnel.net.complaints import LINES_AT_ONCE, LINES_PER_SECOND, Allowance
from tlstunnel.net.launch import Launch, User

ADDRESS = ExecAddress(("cat", "-u"))


class CommandTests(SynchronousTestCase):
    """
    L{Launch.command}.
    """

    def test_aProgramIsExecutedItself(self) -> None:
        """
        Where there is nothing to set.
        """
        self.assertEqual(Launch(ADDRESS, "/bin/cat").command, ["/bin/cat", "-u"])

    def test_elsePythonBecomesIt(self) -> None:
        """
        Without a look at the environment, and at other packages.
        """
        described = Launch(
            ADDRESS, "/bin/cat", User("a", 1, 2, (2, 3)), ((7, 40),), isOnTerminal=True
        )
        python, *options, script, user, limit, terminal, path, name, argument = described.command
        self.assertEqual(python, sys.executable)
        self.assertEqual(options[:2], ["-I", "-S"])
        self.assertEqual(script, launcher.__file__)
        self.assertEqual((user, limit), ("user=1:2:2,3", "limit=7:40"))
        self.assertTrue(terminal.startswith("terminal="))
        self.assertEqual((path, name, argument), ("/bin/cat", "cat", "-u"))


class LauncherTests(SynchronousTestCase):
    """
    What becomes a program.
    """

    def launched(self, *words: str) -> tuple[int, str, str]:
        """
        Run it to its end.

        @return: its status, what it said, and what it complained of.
        """
        done = subprocess.run(
            [sys.executable, "-I", "-S", launcher.__file__, *words],
            check=False,
            capture_output=True,
            env={"PATH": "/usr/bin:/bin"},
            text=True,
        )
        return done.returncode, done.stdout, done.stderr

    def test_itHasItsNameAndItsEnvironment(self) -> None:
        """
        And nothing that Python has put there.
        """
        self.assertEqual(self.launched("/bin/sh", "me", "-c", "echo $0; exit 3")[:2], (3, "me\n"))
        self.assertEqual(self.launched("/usr/bin/env", "env"), (0, "PATH=/usr/bin:/bin\n", ""))

    def test_whereItCannotBeOneItSaysSo(self) -> None:
        """
        With the status that C{env} has for it.
        """
        plain = Path(self.mktemp()).absolute()
        plain.write_text("")
        for words, status in (
            (("/no/such", "x"), launcher.MISSING),
            ((str(plain), "x"), launcher.NOT_EXECUTABLE),
            (("/bin", "x"), launcher.NOT_EXECUTABLE),
            (("limit=999:1", "/bin/true", "true"), launcher.OURS),
        ):
            code, said, complaint = self.launched(*words)
            self.assertEqual((code, said), (status, ""), complaint)
            self.assertIn("cannot be started: ", complaint)

    def test_onlyRootBecomesSomebodyElse(self) -> None:
        """
        For good; and nobody else, whatever is asked.
        """
        words = ("user=64999:64999:64999", "/bin/sh", "sh", "-c", "id -u; id -g; id -G")
        code, said, complaint = self.launched(*words)
        if os.geteuid() == 0:
            self.assertEqual((code, said.split()), (0, ["64999"] * 3), complaint)
        else:
            self.assertEqual(code, launcher.NOT_EXECUTABLE)

    def test_limitsAreThoseOfTheProgram(self) -> None:
        """
        Also such as Python itself could not live with.
        """
        limits = (f"limit={resource.RLIMIT_AS}:20000000", f"limit={resource.RLIMIT_NOFILE}:7")
        code, said, _ = self.launched(*limits, "/bin/sh", "sh", "-c", "ulimit -v; ulimit -n")
        self.assertEqual((code, said), (0, "19531\n7\n"))


class AllowanceTests(SynchronousTestCase):
    """
    How many lines there may be.
    """

    def test_soManyAtOnceAndThenSoManyASecond(self) -> None:
        """
        And not more after a long silence.
        """
        clock = Clock()
        allowance = Allowance(clock)
        for seconds, lines in ((0, LINES_AT_ONCE), (1, LINES_PER_SECOND), (1e6, LINES_AT_ONCE)):
            clock.advance(seconds)
            taken = sum(allowance.take() for _ in range(2 * LINES_AT_ONCE))
            self.assertEqual(taken, lines)
