"""
Tests for C{tlstunnel unit}, and for the units that it prints.
"""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.python import usage
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.program.processes import TOP, WAIT_SECONDS
from tlstunnel.address import InheritedAddress
from tlstunnel.commands import unit as command
from tlstunnel.commands.agent import Agent
from tlstunnel.commands.pool import Serve
from tlstunnel.commands.run import RunOptions
from tlstunnel.commands.unit import SERVICES, UNITS, UnitOptions, findProgram, obstacles, unit
from tlstunnel.errors import ConfigurationError
from tlstunnel.program.poolsettings import SOCKET

#: What systemd-analyze(1) may say of the exposure of the units: 10 is no protection at all.
MOST_EXPOSURE = 2.0


class UnitsTests(SynchronousTestCase):
    """
    The units.
    """

    def setUp(self) -> None:
        """
        Units that run a program there is.
        """
        self.program = Path(sys.executable).resolve()
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        for name in UNITS:
            (self.directory / name).write_text(unit(name, self.program))

    def settings(self, name: str) -> configparser.SectionProxy:
        """
        The section about the service, with the last one of several values.
        """
        parsed = configparser.ConfigParser(strict=False, interpolation=None)
        parsed.optionxform = str  # type: ignore[assignment, method-assign]
        parsed.read(self.directory / name)
        return parsed["Service"]

    def analyze(self, *words: str) -> str:
        """
        What systemd-analyze says.
        """
        tool = shutil.which("systemd-analyze")
        if tool is None:
            raise SkipTest("there is no systemd-analyze")
        done = subprocess.run(
            [tool, *words],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.directory,
            env={"SYSTEMD_COLORS": "0", "SYSTEMD_UNIT_PATH": f"{self.directory}:"},
        )
        return done.stdout + done.stderr

    def test_systemdUnderstandsThem(self) -> None:
        """
        Without any complaint; a template by an instance of it.
        """
        for name in (UNITS[0], "tlstunnel@submission.service", *UNITS[2:]):
            self.assertEqual(self.analyze("verify", "--man=no", name), "")

    def test_systemdFindsMistakes(self) -> None:
        """
        So that the test above shows something.
        """
        path = self.directory / UNITS[0]
        path.write_text(path.read_text().replace("Type=notify", "Type=notfy"))
        self.assertIn("notfy", self.analyze("verify", "--man=no", UNITS[0]))

    def test_theyAreHardened(self) -> None:
        """
        More than nearly all of what systemd runs.
        """
        if "--offline" not in self.analyze("--help"):
            raise SkipTest("this systemd-analyze looks at running units only")
        for name in SERVICES:
            said = self.analyze("security", "--offline=true", "--no-pager", name)
            found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
            assert found is not None, said
            self.assertLessEqual(float(found[1]), MOST_EXPOSURE)

    def test_noneLeavesItsMemory(self) -> None:
        """
        There are keys in it.
        """
        for name in SERVICES:
            self.assertIn("\nLimitCORE=0\n", unit(name, Path("/usr/bin/tlstunnel")), name)

    def test_callbacksOfOpenSSLWork(self) -> None:
        """
        pyOpenSSL's callbacks need memory that is written and executed.
        """
        for name in SERVICES:
            self.assertEqual(self.settings(name)["NoNewPrivileges"], "yes")
            self.assertNotIn("MemoryDenyWriteExecute", self.settings(name))

    def test_UNIXSocketsCanBeMadeAndGivenAway(self) -> None:
        """
        There is a directory for them, and chown(2) is one of the calls that are left.
        """
        for name, directory in zip(SERVICES, ("tlstunnel", "tlstunnel/%i"), strict=False):
            self.assertEqual(self.settings(name)["RuntimeDirectory"], directory)
            # Later ones win (systemd.exec(5)), and @privileged has it.
            self.assertEqual(self.settings(name)["SystemCallFilter"], "@chown")

    def test_systemdHearsOfUs(self) -> None:
        """
        When we are ready, and that we run; nobody but the process that it has started may say so.
        """
        for name in SERVICES:
            settings = self.settings(name)
            self.assertEqual(settings["Type"], "notify")
            self.assertEqual(settings["NotifyAccess"], "main")
            self.assertGreater(int(settings["WatchdogSec"]), 0)
            # Workers are told by their parent.
            self.assertEqual(settings["KillMode"], "mixed")

    def test_stoppingMayTakeAsLongAsItMay(self) -> None:
        """
        More than an hour, which is what connections have to end; an agent has none that last.
        """
        for name in SERVICES[:3]:
            minutes = self.settings(name)["TimeoutStopSec"].removesuffix("min")
            self.assertGreater(int(minutes) * 60, 3600)

    def test_theProgramUnderstandsWhatTheyGiveIt(self) -> None:
        """
        Of the template that is what an administrator writes.
        """
        _, *words = shlex.split(self.settings(UNITS[0])["ExecStart"])
        options = RunOptions()
        options.parseOptions(words)
        self.assertEqual(options["config"], "/etc/tlstunnel/tlstunnel.toml")

    def test_thePoolServiceTakesTheSocketThatItsUnitMakes(self) -> None:
        """
        By name, and in the form that it has to have; it is there before any program that wants it.
        """
        words = shlex.split(self.settings("tlstunnel-pool.service")["ExecStart"])
        self.assertEqual(words[1:3], ["pool", "serve"])
        options = Serve()
        options.parseOptions([each for each in words[3:] if each != "$OPTIONS"])
        self.assertEqual(options["socket"], InheritedAddress("pool"))
        text = (self.directory / "tlstunnel-pool.socket").read_text()
        self.assertIn(f"\nListenSequentialPacket={SOCKET}\nFileDescriptorName=pool\n", text)
        self.assertIn("\nWantedBy=sockets.target\n", text)

    def test_theAgentIsNotTheUserOfItsTunnels(self) -> None:
        """
        Who are let to its socket; and it has a directory that they may look into.
        """
        settings = self.settings("tlstunnel-agent.service")
        words = shlex.split(settings["ExecStart"])
        self.assertEqual(words[1:3], ["identity", "agent"])
        options = Agent()
        options.parseOptions([each for each in words[3:] if each != "$OPTIONS"])
        tunnels = self.settings(UNITS[0])["User"]
        self.assertNotEqual(settings["User"], tunnels)
        self.assertEqual([str(each) for each in options["allow"]], [f"user:{tunnels}"])
        self.assertEqual(options["socket"].path, f"/run/{settings['RuntimeDirectory']}/agent.sock")
        self.assertEqual(settings["RuntimeDirectoryMode"], "0755")

    def test_reloadIsASignal(self) -> None:
        """
        Sent by a program that is there.
        """
        for name in SERVICES:
            command = shlex.split(self.settings(name)["ExecReload"])
            self.assertTrue(Path(command[0]).exists())
            self.assertEqual(command[1:], ["-HUP", "$MAINPID"])


class UnitTests(SynchronousTestCase):
    """
    What the command makes of them.
    """

    def test_thePathIsThatOfTheProgram(self) -> None:
        """
        And no other remains.
        """
        for name in SERVICES:
            text = unit(name, Path("/opt/tlstunnel/bin/tlstunnel"))
            self.assertIn("\nExecStart=/opt/tlstunnel/bin/tlstunnel ", text)
            self.assertNotIn("/usr/bin/tlstunnel", text)

    def test_oddPathsAreQuoted(self) -> None:
        """
        As systemd.service(5) wants it.
        """
        for path, quoted in (
            ("/opt/a b/tlstunnel", '"/opt/a b/tlstunnel"'),
            ("/opt/100%/tlstunnel", "/opt/100%%/tlstunnel"),
            ('/opt/"\\/tlstunnel', '"/opt/\\"\\\\/tlstunnel"'),
        ):
            self.assertIn(f"ExecStart={quoted} --config", unit(UNITS[0], Path(path)))

    def test_theNameIsOneOfThem(self) -> None:
        """
        The first one where there is none.
        """
        for words, name in (([], UNITS[0]), *(([each], each) for each in UNITS)):
            options = UnitOptions()
            options.parseOptions(words)
            self.assertEqual(options["name"], name)
        for words, problem in (
            (["tlstunnel"], "there is no unit 'tlstunnel'; did you mean tlstunnel.service?"),
            (["x"], "there is no unit 'x'; there are tlstunnel.service, tlstunnel@.service, "),
            ([*UNITS], "'tlstunnel@.service' is one word too many; write 'tlstunnel unit "),
        ):
            error = self.assertRaises(usage.UsageError, UnitOptions().parseOptions, words)
            self.assertIn(problem, str(error))


class ProgramPathTests(SynchronousTestCase):
    """
    L{findProgram} and L{obstacles}.
    """

    def setUp(self) -> None:
        """
        A virtual environment with the program, and a link to that.
        """
        self.directory = Path(self.mktemp()).resolve()
        self.bin = self.directory / "venv" / "bin"
        self.bin.mkdir(parents=True)
        self.program = self.bin / "tlstunnel"
        self.program.touch(0o755)
        self.python = str(self.bin / "python3")

    def test_linksAreFollowed(self) -> None:
        """
        As those that pipx and administrators make.
        """
        link = self.directory / "tlstunnel"
        link.symlink_to(self.program)
        for started in (link, self.program):
            self.assertEqual(findProgram(str(started), self.python), self.program)

    def test_aModuleStandsForTheProgramBesideItsPython(self) -> None:
        """
        As in C{python -m tlstunnel unit}.
        """
        module = self.directory / "site-packages" / "tlstunnel" / "__main__.py"
        self.assertEqual(findProgram(str(module), self.python), self.program)

    def test_whatIsNotInstalledIsAnError(self) -> None:
        """
        That says where the program should be.
        """
        self.program.chmod(0o644)
        error = self.assertRaises(ConfigurationError, findProgram, "__main__.py", self.python)
        self.assertIn(f"{self.program}: there is no such program; install", str(error))

    def test_whatTheUnitHidesIsSaid(self) -> None:
        """
        By which of its settings.
        """
        for path, setting in (
            ("/home/a/.local/bin/tlstunnel", "hides /home from it (ProtectHome=yes)"),
            (str(Path("/root", "tlstunnel")), "hides /root from it (ProtectHome=yes)"),
            ("/tmp/venv/bin/tlstunnel", "hides /tmp from it (PrivateTmp=yes)"),
        ):
            (obstacle,) = obstacles(Path(path))
            self.assertIn(setting, obstacle)

    def test_whatOthersMayNotRunIsSaid(self) -> None:
        """
        With what keeps them from it.
        """
        self.patch(command, "_HIDDEN", {})
        top = Path(tempfile.mkdtemp()).resolve()
        self.addCleanup(shutil.rmtree, top)
        program = top / "tlstunnel"
        program.touch()
        program.chmod(0o750)
        (obstacle,) = obstacles(program)
        self.assertIn(f"because of the mode of {top}", obstacle)
        top.chmod(0o755)
        (obstacle,) = obstacles(program)
        self.assertIn(f"because of the mode of {program}", obstacle)
        program.chmod(0o755)
        self.assertEqual(list(obstacles(program)), [])


class CommandTests(SynchronousTestCase):
    """
    The command, run.
    """

    def run_(self, *words: str) -> subprocess.CompletedProcess[str]:
        """
        Run the program of a virtual environment, or what is like one.
        """
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        python = directory / "python"
        python.symlink_to(sys.executable)
        program = directory / "tlstunnel"
        program.write_text("from tlstunnel.__main__ import main; raise SystemExit(main())\n")
        program.chmod(0o755)
        self.program = program
        return subprocess.run(
            [sys.executable, str(program), *words],
            env={**os.environ, "PYTHONPATH": str(TOP)},
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )

    def test_theUnitIsPrintedAndWhereToPutIt(self) -> None:
        """
        The latter on standard error, so that a shell can do it.
        """
        for words, name, instance in (
            ((), UNITS[0], "tlstunnel"),
            (UNITS[1:2], UNITS[1], "tlstunnel@NAME"),
            (UNITS[2:3], UNITS[2], "tlstunnel-pool"),
            (UNITS[3:4], UNITS[3], "tlstunnel-agent"),
            (UNITS[4:5], UNITS[4], "tlstunnel-pool.socket"),
        ):
            done = self.run_("unit", *words)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(done.stdout, unit(name, self.program))
            *warnings, last = done.stderr.splitlines()
            self.assertEqual(
                last,
                f"tlstunnel: put this into /etc/systemd/system/{name}; then: "
                f"systemctl daemon-reload && systemctl enable --now {instance}",
            )
            for warning in warnings:
                self.assertTrue(warning.startswith("tlstunnel: warning: "), warning)

    def test_aMistakeIsOneLine(self) -> None:
        """
        And another one that says where there is help.
        """
        done = self.run_("unit", "tlstunnel.servce")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        first, second = done.stderr.splitlines()
        self.assertIn("there is no unit 'tlstunnel.servce'; did you mean tlstunnel", first)
        self.assertIn("see 'tlstunnel unit --help'", second)
