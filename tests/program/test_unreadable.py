"""
Who can look into a process that has keys: nobody of the same user.
"""

from __future__ import annotations

import json
import os
import pwd
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.program.processes import TLSTUNNEL, TWISTD, WAIT_SECONDS
from tests.program.test_supervised import SupervisedTestCase

_SETPRIV = shutil.which("setpriv") or "setpriv"

# Root may look into everything, so be root without any of that.
_POWERLESS = (
    (_SETPRIV, "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")
    if os.geteuid() == 0
    else ()
)

# Tells what it could do to each of the processes.
_LOOK = """
import ctypes, json, os, sys
SEIZE, PIDFD_GETFD = 0x4206, 438
found = {}
for pid in sys.argv[1:]:
    can = found[pid] = []
    for name in "mem", "environ", "maps":
        try:
            with open(f"/proc/{pid}/{name}", "rb"):
                can.append(name)
        except PermissionError:
            pass
    try:
        os.readlink(f"/proc/{pid}/fd/1")
        can.append("fd")
    except PermissionError:
        pass
    libc = ctypes.CDLL(None)
    if libc.syscall(PIDFD_GETFD, os.pidfd_open(int(pid)), 1, 0) >= 0:
        can.append("descriptors")
    if libc.ptrace(SEIZE, int(pid), None, None) == 0:
        can.append("ptrace")
print(json.dumps(found))
"""


class LookingTests(SupervisedTestCase):
    """
    Another process of the same user, without privileges.
    """

    if sys.platform != "linux":
        skip = "only Linux can be told"

    def look(self, *pids: int, start: tuple[str, ...] = _POWERLESS) -> list[list[str]]:
        """
        What each of the processes lets the other one do.

        @param start: what starts that.
        """
        command = [*start, sys.executable, "-c", _LOOK, *map(str, pids)]
        done = subprocess.run(command, capture_output=True, check=True, timeout=WAIT_SECONDS)
        return list(json.loads(done.stdout).values())

    def checkThatOthersCanBeSeen(self, start: tuple[str, ...] = _POWERLESS) -> None:
        """
        @raise SkipTest: here nobody is let look at anybody, so that nothing is shown.
        """
        code = "import sys; print('here', flush=True); sys.stdin.read()"
        with subprocess.Popen(
            [*start, sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            if "mem" not in self.look(process.pid, start=start)[0]:
                raise SkipTest("NOT TESTED: this system keeps all processes from each other")

    def familyOf(self, process: subprocess.Popen[str]) -> list[int]:
        """
        It, and its workers.
        """
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        return [process.pid, *map(int, children.read_text().split())]

    def test_nobodyLooksIntoATunnel(self) -> None:
        """
        Nor into its workers, or the pool service.
        """
        self.checkThatOthersCanBeSeen()
        directory = tempfile.mkdtemp(prefix="tlstunnel-")
        self.addCleanup(shutil.rmtree, directory)
        serve = ("pool", "serve", "--socket", f"{directory}/sock", "--pool", str(self.pool))
        for words, count in (
            ((*TLSTUNNEL, *self.words()), 1),
            ((*TLSTUNNEL, *self.words("--workers", "2")), 3),
            ((*TLSTUNNEL, *serve), 1),
        ):
            self.supervise()
            process = self.start(*words, before=_POWERLESS)
            self.supervisor.await_("READY")
            if words[2] != "pool":
                self.greets(("127.0.0.1", self.port))
            family = self.familyOf(process)
            self.assertEqual(self.look(*family), [[]] * count, words)
            process.terminate()
            self.assertEqual(process.wait(WAIT_SECONDS), 0)

    def test_norWhereItHasBecomeSomebodyElse(self) -> None:
        """
        As under twistd, whatever the system makes of that.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can become somebody else")
        uid = pwd.getpwnam("nobody").pw_uid
        start = (_SETPRIV, f"--reuid={uid}", "--clear-groups")
        self.checkThatOthersCanBeSeen(start)
        process = self.start(*TWISTD[:-1], f"--uid={uid}", TWISTD[-1], *self.words())
        self.supervisor.await_("READY")
        self.assertEqual(self.look(process.pid, start=start), [[]])
        process.terminate()
        self.assertEqual(process.wait(WAIT_SECONDS), 0)

    def test_whoDebugsMayLook(self) -> None:
        """
        In Python's development mode, also at workers.
        """
        self.checkThatOthersCanBeSeen()
        words = self.words("--workers", "2")
        process = self.start(*TLSTUNNEL, *words, before=_POWERLESS, PYTHONDEVMODE="1")
        self.supervisor.await_("READY")
        for can in self.look(*self.familyOf(process)):
            self.assertIn("mem", can)
        process.terminate()
        self.assertEqual(process.wait(WAIT_SECONDS), 0)

    def test_aCrashLeavesNoMemory(self) -> None:
        """
        Also where the limit of core dumps would let it.
        """
        limits = resource.getrlimit(resource.RLIMIT_CORE)
        if limits[1] == 0:
            raise SkipTest("NOT TESTED: core dumps are switched off for us")
        resource.setrlimit(resource.RLIMIT_CORE, (limits[1], limits[1]))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_CORE, limits)
        process = self.start(*TLSTUNNEL, *self.words())
        self.supervisor.await_("READY")
        process.send_signal(signal.SIGABRT)
        _, status = os.waitpid(process.pid, 0)
        process.returncode = -signal.SIGABRT
        self.assertTrue(os.WIFSIGNALED(status))
        self.assertFalse(os.WCOREDUMP(status))
