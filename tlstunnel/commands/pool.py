"""
The C{pool} command: the pool for others, as a service; and the pool of a directory.
"""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.python import usage

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.commands.poolpull import Pull
from tlstunnel.commands.poolpush import Push
from tlstunnel.commands.pools import PoolOptions
from tlstunnel.errors import ConfigurationError
from tlstunnel.program.addressvalues import address
from tlstunnel.program.configuration import Status
from tlstunnel.program.makeprocess import processSettings
from tlstunnel.program.option import Option, Scope, Section
from tlstunnel.program.options import LOG_OPTIONS
from tlstunnel.program.output import complain
from tlstunnel.program.poolsettings import POOL_SERVICE_KEYS, describePool
from tlstunnel.program.sources import PoolServiceSource
from tlstunnel.program.syntax import ProgramOptions
from tlstunnel.program.tableoptions import ServingOptions, accepting
from tlstunnel.program.values import shown

_USAGE = """
Let programs of this host hand over connections, and get back what is inside TLS, and who is at the
other end. Which of them may be whom is in the pool, as 'tlstunnel identity allow' has put it there.

  For all programs, with the identities of this machine:
    tlstunnel pool serve --socket /run/tlstunnel/pool.sock --pool /etc/tlstunnel/pool
"""


def _status(value: object) -> TCPAddress | UNIXAddress:
    """
    Where to tell how the process is.
    """
    where = address(value)
    if not where.isLocal:
        raise ValueError(
            f"{shown(value)} can be reached by other hosts; give a loopback address or a UNIX "
            "socket, or write a file with [status]"
        )
    return where


_STATUS = Option(
    "status",
    Section.STATUS,
    "where to tell, by HTTP, how it is, as [status] in a file does; without it nowhere",
    argument="ADDR",
    parse=_status,
    default=None,
    scope=Scope.STATUS,
)


@accepting((*POOL_SERVICE_KEYS, _STATUS, *LOG_OPTIONS))
class Serve(ServingOptions):
    """C{serve}"""

    sections = (Section.POOL_SERVICE, Section.STATUS, Section.LOG)
    introduction = _USAGE

    def getSynopsis(self) -> str:
        """
        How it is written.
        """
        return "Usage: tlstunnel pool serve [options]"

    def describe(self) -> object:
        """
        The service that they make.
        """
        return describePool(self)

    def run(self) -> int:
        """
        Serve until a signal ends it.

        @return: 0 after an orderly stop, 1 if it could not start.
        """
        # The reactor is for those who serve.
        from tlstunnel.commands.run import serving

        status = Status(() if self["status"] is None else (self["status"],))
        return serving(PoolServiceSource(self, processSettings(self), status))


class PoolCommandOptions(ProgramOptions):
    """C{tlstunnel pool}"""

    synopsis = "Usage: tlstunnel pool"
    longdesc = (
        "The pool as a service, and the pool of a directory. Each command has a --help of its own."
    )
    subCommands: ClassVar[list[list[Any]]] = [
        ["serve", None, Serve, "Let programs of this host hand over connections."],
        ["pull", None, Pull, "Keep the pool as a directory has it."],
        ["push", None, Push, "Put a certificate into a directory."],
    ]

    def postOptions(self) -> None:
        """Insist on something to do."""
        if self.subCommand is None:
            raise usage.UsageError("say what to do: serve, pull or push")


def main(options: PoolCommandOptions) -> int:
    """
    Run what was asked for.

    @return: the exit code: 1 with one line on standard error where it was not possible.
    """
    command = options.subOptions
    assert isinstance(command, Serve | PoolOptions)
    try:
        return command.run()
    except ConfigurationError as error:
        complain(str(error))
    return 1
