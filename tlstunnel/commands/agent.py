"""
C{tlstunnel identity agent}: gives certificates for minutes; and C{identity issuer}, by whose word.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from tlstunnel.commands.pools import PoolOptions
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.files import present
from tlstunnel.identity.intermediate import LIFETIME, Subtree, makeIntermediate, subtreeOf
from tlstunnel.program.agentsettings import AGENT_OPTIONS, describeAgent
from tlstunnel.program.option import Section
from tlstunnel.program.options import LOG_OPTIONS
from tlstunnel.program.tableoptions import ServingOptions, accepting

_USAGE = """
Give certificates that are good for minutes to tunnels of this host, which make their own keys.

  For the tunnels of one user, run as another one who alone can read the issuer's key:
    tlstunnel identity agent --socket /run/tlstunnel-agent/agent.sock --issuer /etc/tlstunnel/issuer
      --allow user:tlstunnel
"""


@accepting((*AGENT_OPTIONS, *LOG_OPTIONS))
class Agent(ServingOptions):
    """C{agent --socket PATH --issuer DIR}"""

    sections = (Section.AGENT, Section.LOG)
    introduction = _USAGE

    def getSynopsis(self) -> str:
        """
        How it is written.
        """
        return "Usage: tlstunnel identity agent --socket PATH --issuer DIR [options]"

    def describe(self) -> object:
        """
        The agent that they make.
        """
        return describeAgent(self)

    def run(self) -> int:
        """
        Serve until a signal ends it.

        @return: 0 after an orderly stop.
        @raise ConfigurationError: it cannot start.
        """
        # The reactor is for those who serve.
        from tlstunnel.agent.service import AgentService
        from tlstunnel.commands.run import reactor, serve, startLogging
        from tlstunnel.program.lookups import abandonAtEnd
        from tlstunnel.program.process import Process
        from tlstunnel.program.supervision import Supervision

        abandonAtEnd(reactor)
        process = Process(reactor)
        process.observers.append(Supervision(os.environ, reactor, process.tally))
        process.addService(AgentService(describeAgent(self), reactor))
        process.privilegedStartService()
        startLogging(self["verbose"], self["log-json"])
        serve(process)
        return 0


class Issuer(PoolOptions):
    """C{issuer --permit NAME... DIR}"""

    arguments = ("DIR",)
    synopsis = "[options] --permit NAME... DIR"
    longdesc = (
        "Makes an intermediate for 'tlstunnel identity agent': a certificate of the pool's own "
        "authority, and its key, in DIR. It can certify what is permitted, and nothing else, "
        "whoever has its key: example.org stands for that and all below it, @example.org for "
        "all users there, 192.0.2.0/24 for its addresses, spiffe://example.org/ for the "
        "workloads of a trust domain. Let DIR belong to the user that the agent runs as."
    )
    optFlags = [["force", "f", "Replace one that is there already; its key is lost."]]
    optParameters = [["days", None, str(LIFETIME.days), "For how long it is good, at most."]]

    def __init__(self) -> None:
        super().__init__()
        self["permit"] = []

    def opt_permit(self, name: str) -> None:
        """What may be certified; repeatable."""
        self["permit"].append(name)

    def valueOf(self, option: str) -> str:
        """What the help calls the value of an option."""
        return "NAME" if option == "permit" else super().valueOf(option)

    def run(self) -> int:
        """Make it."""
        permitted = [_subtree(each) for each in self["permit"]]
        if not permitted:
            raise ConfigurationError("--permit", "is missing", "say what may be certified")
        directory, authority = Path(self["dir"]), self.pool.path / "ca"
        isNew = not present(authority)
        made = makeIntermediate(
            self.pool, directory, permitted, self._lifetime(), bool(self["force"])
        )
        print(
            f"{directory}: may certify {', '.join(self['permit'])}, good until {made.end:%Y-%m-%d}"
        )
        if isNew:
            # As where the name of the pool is mistyped.
            print(
                f"{authority}: is a new authority; nobody believes it who is not given its cert.pem"
            )
        return 0

    def _lifetime(self) -> timedelta:
        days = self["days"]
        if not (days.isascii() and days.isdigit() and 0 < int(days[:6]) <= 3650):
            raise ConfigurationError(f"--days {days}", "is no number of days", "give 1 to 3650")
        return timedelta(days=int(days))


def _subtree(text: str) -> Subtree:
    try:
        return subtreeOf(text)
    except ValueError as error:
        raise ConfigurationError.of(f"--permit {text}", error) from None
