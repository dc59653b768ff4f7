"""
Tests for L{tlstunnel.commands.agent}, L{tlstunnel.program.agentsettings} and
L{tlstunnel.tunnel.leased}: what can be asked for.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tests.commands.identities import CommandTestCase
from tlstunnel.commands.agent import Agent
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.intermediate import Intermediate
from tlstunnel.identity.names import Identity
from tlstunnel.program.agentsettings import describeAgent
from tlstunnel.program.configure import describe
from tlstunnel.program.option import read
from tlstunnel.program.options import TUNNEL_OPTIONS
from tlstunnel.tunnel.description import Tunnel

AGENT = Path("/run/agent.sock")


class IssuerTests(CommandTestCase):
    """
    C{identity issuer}.
    """

    def test_oneIsMade(self) -> None:
        """
        That certifies what was permitted, for as long as it was said.
        """
        directory = self.base / "issuer"
        permitted = ("--permit", "example.org", "--permit", "@example.com", "--days", "7")
        code, said, _ = self.call("issuer", str(directory), *permitted)
        self.assertEqual(code, 0)
        self.assertIn("may certify example.org, @example.com, good until", said)
        self.assertIn("/ca: is a new authority; nobody believes it", said)
        made = Intermediate.load(directory, datetime.now(UTC))
        self.assertLess((made.end - datetime.now(UTC)).days, 7)
        for name, isPermitted in (("www.example.org", True), ("alice@example.org", False)):
            self.assertIs(made.permits(Identity.parse(name)), isPermitted)
        code, _, error = self.call("issuer", str(directory), *permitted)
        self.assertEqual(code, 1)
        self.assertIn("give --force to replace it", error)
        code, said, _ = self.call("issuer", str(directory), *permitted, "-f")
        self.assertEqual((code, said.count("\n")), (0, 1))

    def test_whatMakesNoneIsSaid(self) -> None:
        """
        In a line, and nothing is made.
        """
        directory = self.base / "issuer"
        for words, problem in (
            ((), "--permit: is missing"),
            (("--permit", "a b"), "--permit a b: "),
            (("--permit", "192.0.2.0/99"), "is no network; write one such as 192.0.2.0/24"),
            (("--permit", "a.example", "--days", "0"), "--days 0: is no number of days"),
            (("--permit", "a.example", "--days", "1000000000"), "is no number of days"),
        ):
            code, _, error = self.call("issuer", str(directory), *words)
            self.assertEqual((code, len(error.splitlines())), (1, 1))
            self.assertIn(problem, error)
        self.assertFalse(directory.exists())


class AgentOptionsTests(SynchronousTestCase):
    """
    C{identity agent}.
    """

    def parsed(self, *words: str) -> Agent:
        """
        The options that words make.
        """
        options = Agent()
        options.parseOptions(["--socket", "/a", "--issuer", "/b", *words])
        return options

    def test_whoMayConnect(self) -> None:
        """
        Ourselves alone, unless it is said who gets anything, or who may.
        """
        for words, mode in (
            ((), 0o600),
            (("--allow", "user:www-data"), 0o666),
            (("--socket-mode", "0660"), 0o660),
            (("--allow", "user:www-data", "--socket-mode", "0660"), 0o660),
        ):
            self.assertEqual(describeAgent(self.parsed(*words)).access.mode, mode)

    def test_whatMakesNoneIsSaid(self) -> None:
        """
        Before anything is done.
        """
        for words, problem in (
            (("--lifetime", "4.9"), "4.9 s leave no time to get the next certificate; give 5 to "),
            (("--lifetime", "8640000"), "are no short life; give 5 to "),
            (("--lifetime", "x"), "--lifetime: "),
            (("--allow", "www-data"), "is no user and no group; write user:NAME"),
            (("--allow", "user:a=b c"), "--allow: "),
        ):
            error = self.assertRaises(usage.UsageError, self.parsed, *words)
            self.assertIn(problem, str(error))
        for each in (["--issuer", "/b"], ["--socket", "/a"]):
            error = self.assertRaises(usage.UsageError, Agent().parseOptions, each)
            self.assertIn("is missing; ", str(error))


class TunnelTests(SynchronousTestCase):
    """
    C{--agent}.
    """

    def tunnel(self, mode: str, **given: Any) -> Tunnel:
        """
        The tunnel of such options.
        """
        words = {
            mode: [True],
            "local": ["127.0.0.1:1"],
            "remote": ["a.example:2"],
            "agent": [str(AGENT)],
        }
        several = {key.replace("_", "-"): value for key, value in given.items()}
        return describe(read(words | several, TUNNEL_OPTIONS))

    def test_itIsForAllModes(self) -> None:
        """
        With a bridge for the side that has an identity.
        """
        for mode in ("server", "client"):
            self.assertEqual(self.tunnel(mode, local_id=["a.example"]).agent, AGENT)
        for more, agent in (({}, None), ({"remote_as": ["b@a.example"]}, AGENT)):
            bridge = self.tunnel("bridge", local_id=["a.example"], **more)
            assert bridge.onward is not None
            self.assertEqual((bridge.agent, bridge.onward.agent), (AGENT, agent))

    def test_itIsAPath(self) -> None:
        """
        Also where it is written as for the agent itself; what no tunnel can connect to is none.
        """
        given = {"local_id": ["a.example"]}
        self.assertEqual(self.tunnel("server", agent=[f"unix:{AGENT}"], **given).agent, AGENT)
        for each in ("systemd:agent", "@agent", "unix:"):
            error = self.assertRaises(
                ConfigurationError, self.tunnel, "server", agent=[each], **given
            )
            self.assertIn("is no path; give that of the agent's socket", str(error))

    def test_whereItGivesNothingItIsRefused(self) -> None:
        """
        In words.
        """
        for mode, given, problem in (
            ("client", {}, "gives certificates for `local-id`, and none is given"),
            ("client", {"local_id": ["auto"]}, "the rules of the pool are about those in it"),
            (
                "client",
                {"local_id": ["a@a.example"], "trust": ["psk"]},
                "with `trust` psk there are none",
            ),
        ):
            error = self.assertRaises(ConfigurationError, self.tunnel, mode, **given)
            self.assertIn(problem, error.problem)
            self.assertEqual(error.key, "agent")
