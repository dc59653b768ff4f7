"""
Tests for L{tlstunnel.program.poolsettings}, and for C{[pool-service]} in a configuration file.
"""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tests.program.configurations import TUNNEL, ConfigurationTests
from tlstunnel.address import InheritedAddress, UNIXAddress
from tlstunnel.commands.pool import PoolCommandOptions, Serve
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.net.access import SocketAccess
from tlstunnel.net.spreading import atOnce
from tlstunnel.poolservice.description import NAME, PoolDescription
from tlstunnel.program.check import check
from tlstunnel.program.configuration import readConfiguration
from tlstunnel.program.plan import Changes, Plan, Planned, Refused
from tlstunnel.program.problems import Problems
from tlstunnel.program.show import show
from tlstunnel.program.tunnels import Tunnels
from tlstunnel.program.workers import Workers
from tlstunnel.tunnel.limits import Limits


class TableTests(ConfigurationTests):
    """
    The table.
    """

    def described(self, text: str) -> PoolDescription:
        """The service that a file with it makes."""
        described = self.read(f"[pool-service]\n{text}").poolService
        assert described is not None
        return described

    def test_byDefaultEverybodyMayConnectWhereProgramsLook(self) -> None:
        """
        And there is one socket; a file needs no tunnel beside it.
        """
        described = self.described("")
        self.assertEqual(described.local, (UNIXAddress("/run/tlstunnel/pool.sock"),))
        self.assertEqual(described.v2, ())
        self.assertEqual(described.access, SocketAccess(mode=0o666))
        self.assertEqual((described.perUser, described.limits), (100, Limits()))

    def test_allOfItCanBeSaid(self) -> None:
        """
        Limits and permissions as of a tunnel; paths are from the folder of the file.
        """
        described = self.described(
            'socket = "unix:a"\nv2-socket = "systemd:pool-v2"\nsocket-mode = "0660"\n'
            'socket-group = "mail"\npool = "pool"\nmax-per-user = 0\nmax-connections = 7\n'
            "handshake-timeout = 3\nidle-timeout = 5\nquiet = true\n"
        )
        expected = PoolDescription(
            Pool(self.folder / "pool"),
            (UNIXAddress(f"{self.folder}/a"),),
            (InheritedAddress("pool-v2"),),
            SocketAccess(0o660, None, "mail"),
            0,
            Limits(handshake=3.0, idle=5.0, connections=7),
            True,
        )
        self.assertEqual(described, expected)

    def test_whatItIsMustBeAUNIXSocket(self) -> None:
        """
        The system does not know who is at the other end of others.
        """
        (problem,) = self.problems('[pool-service]\nsocket = "127.0.0.1:80"')
        self.assertIn("tlstunnel.toml:2: pool-service.socket: '127.0.0.1:80' is no UNIX", problem)

    def test_eachProtocolHasASocketOfItsOwn(self) -> None:
        """
        It is seen what the other one is.
        """
        (problem,) = self.problems('[pool-service]\nsocket = "/a"\nv2-socket = "/a"')
        self.assertEqual(
            problem,
            "tlstunnel.toml:3: pool-service.v2-socket: /a: is `socket` too; give each protocol a "
            "socket of its own".replace("`", ""),
        )

    def test_aSocketThatATunnelHasIsSeen(self) -> None:
        """
        Or the status.
        """
        for table in (TUNNEL.replace("127.0.0.1:5432", "/a"), '[status]\nlocal = "/a"\n'):
            (problem,) = self.problems(f'[pool-service]\nv2-socket = "/a"\n{table}')
            self.assertIn("/a: belongs to ", problem)

    def test_severalProcessesAreAMistake(self) -> None:
        """
        At the line that wants them, and with the reason.
        """
        (problem,) = self.problems("[process]\nworkers = 2\n[pool-service]\n")
        self.assertIn("tlstunnel.toml:2: process.workers: are several, and a pool service", problem)
        self.assertIn("counts what each user has", problem)
        path = self.write("[pool-service]\n")
        with self.assertRaises(Problems) as raised:
            readConfiguration(path, {"workers": 2})
        said = raised.exception.inWords(str)
        self.assertTrue(said.startswith("command line: --workers: are several, and a pool "), said)

    def test_noTunnelHasItsName(self) -> None:
        """
        Log and status could not tell them apart.
        """
        (problem,) = self.problems(TUNNEL.replace("tunnel.pg", "tunnel.pool-service"))
        self.assertIn("is what log and status call the pool service", problem)

    def test_itIsInTheMainFile(self) -> None:
        """
        And its keys are in its table.
        """
        self.write("[pool-service]\n", "other.toml")
        (problem,) = self.problems(f'include = ["other.toml"]\n{TUNNEL}')
        self.assertIn("other.toml:1: pool-service: does not belong here", problem)
        (problem,) = self.problems(f"{TUNNEL}\nmax-per-user = 3\n")
        self.assertIn("does not belong here; move it to [pool-service]", problem)

    def test_whatIsShownMakesTheSame(self) -> None:
        """
        With the defaults.
        """
        before = self.read('[pool-service]\nsocket = "unix:a"\nmax-per-user = 3\npool = "p"\n')
        shown = show(before)
        self.assertIn("\nmax-connections = 16000  # default\n", shown)
        self.assertEqual(self.read(shown), before)
        self.assertIn('\nsocket = "/run/tlstunnel/pool.sock"  # default\n', show(self.read(_EMPTY)))

    def test_itServesThePoolOfTheTunnels(self) -> None:
        """
        Unless it says which; and no other default is for it.
        """
        defaults = '[defaults]\npool = "p"\nquiet = true\n'
        described = self.read(f"{defaults}[pool-service]\n").poolService
        assert described is not None
        self.assertEqual((described.pool.path, described.quiet), (self.folder / "p", False))
        described = self.read(f'{defaults}[pool-service]\npool = "q"\n').poolService
        assert described is not None
        self.assertEqual(described.pool.path, self.folder / "q")
        self.write('[defaults]\npool = "r"\n', "other.toml")
        text = f'include = ["other.toml"]\n{defaults}[pool-service]\n'
        shown = show(self.read(text))
        self.assertIn(f'\npool = "{self.folder}/p"  # defaults, ', shown)

    def test_theCheckLooksIntoThePool(self) -> None:
        """
        Whether it can be used, and at what is worth a warning.
        """
        pool = Pool(self.folder / "pool")
        now = datetime.now(UTC)
        text = '[pool-service]\npool = "pool"\nsocket-group = "nobody-is-this"\n'

        def found(text: str) -> list[str]:
            problems = check(self.read(text), now)
            return [str(each).replace(f"{self.folder}/", "") for each in problems]

        missing, group = found(text)
        self.assertIn("tlstunnel.toml:2: pool-service.pool: there is no directory", missing)
        self.assertIn("tlstunnel.toml:3: pool-service.socket-group: nobody-is-this: ", group)
        createIdentity(pool, Identity.parse("www.example.org"))
        (pool.path / "disclose").mkdir()
        (pool.path / "disclose" / "x").write_text("")
        (warning,) = found('[pool-service]\npool = "pool"\n')
        self.assertIn("tlstunnel.toml:2: pool-service.pool: warning: ", warning)
        self.assertIn("never counts", warning)

    def test_aReloadSaysWhatItChanges(self) -> None:
        """
        In words of its own.
        """
        before = self.described("")
        changes = atOnce(Changes.between([], [before]))
        self.assertEqual(changes.sentences(), ["pool-service: added"])
        changes = atOnce(Changes.between([before], [replace(before, quiet=True)]))
        self.assertEqual(changes.sentences(), ["pool-service: changed"])


_EMPTY = "[pool-service]\n"


class CommandTests(SynchronousTestCase):
    """
    The command line.
    """

    def test_itSaysWhatThereIsToDo(self) -> None:
        """
        And in the help of the command, what can be said.
        """
        error = self.assertRaises(usage.UsageError, PoolCommandOptions().parseOptions, [])
        self.assertIn("say what to do: serve", str(error))
        shown = io.StringIO()
        with redirect_stdout(shown), redirect_stderr(shown):
            self.assertRaises(SystemExit, Serve().parseOptions, ["--help"])
        text = shown.getvalue()
        self.assertEqual(text.count("Usage:"), 1)
        self.assertIn("--socket PATH", text)
        self.assertIn("(default: /run/tlstunnel/pool.sock)", text)

    def test_mistakesAreNamed(self) -> None:
        """
        In the words of the command line.
        """
        for words, message in (
            (["--socket", "x"], "--socket: 'x' is no UNIX socket"),
            (["--socket", "/a", "--v2-socket", "/a"], "--v2-socket /a: is --socket too"),
            (["--max-per-user", "-1"], "connections; give a whole number from 0 on"),
            (["--workers", "2"], "--workers: there is no such option"),
            (["--status", ":80"], "--status: ':80' can be reached by other hosts"),
            (["more"], "'more' is one word too many; write 'tlstunnel pool serve [options]'"),
        ):
            error = self.assertRaises(usage.UsageError, Serve().parseOptions, words)
            self.assertIn(message, str(error))


class PlanTests(SynchronousTestCase):
    """
    A pool service among what a process serves.
    """

    def plan(self) -> Plan:
        """One."""
        pool = Pool(Path(self.mktemp()).resolve())
        createIdentity(pool, Identity.parse("www.example.org"))
        return Plan((Planned(PoolDescription(pool), ()),))

    def test_itIsCountedAndDrained(self) -> None:
        """
        As a service of its own, which is no tunnel.
        """
        tunnels = Tunnels(MemoryReactorClock())
        tunnels.startService()
        tunnels.prepareNow(self.plan())
        tunnels.commit()
        self.assertEqual(tunnels.tally(), {"tunnel": 0, "pool service": 1, "connection": 0})
        tunnels.prepareNow(Plan())
        tunnels.commit()
        self.assertEqual(tunnels.services, {})
        self.assertEqual(tunnels.tally()["pool service"], 0)
        tunnels.stopService()

    def test_whatIsWrongIsSaidOfIt(self) -> None:
        """
        By its name, so that the file can say where.
        """
        tunnels = Tunnels(MemoryReactorClock())
        wrong = Plan((Planned(PoolDescription(Pool(Path("/nonexistent"))), ()),))
        refused = self.assertRaises(Refused, tunnels.prepareNow, wrong)
        ((name, error),) = refused.refusals
        self.assertEqual((name, error.key), (NAME, "pool"))

    def test_workersRefuseIt(self) -> None:
        """
        At the start, and where a reload brings it.
        """
        reactor = MemoryReactorClock()
        workers = Workers(reactor, 2, [], False)
        plan = self.plan()
        refused = self.assertRaises(Refused, workers.prepareNow, plan)
        ((name, error),) = refused.refusals
        self.assertEqual(name, NAME)
        self.assertIsInstance(error, ConfigurationError)
        self.failureResultOf(workers.prepare(plan), Refused)
