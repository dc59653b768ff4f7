"""
C{tlstunnel provision}: what will be subcommands of C{tlstunnel pool}.
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar

from twisted.python import usage

from tlstunnel.commands.poolpull import Pull
from tlstunnel.commands.poolpush import Push
from tlstunnel.commands.pools import PoolOptions
from tlstunnel.errors import ConfigurationError
from tlstunnel.program.syntax import ProgramOptions


class ProvisionOptions(ProgramOptions):
    """C{tlstunnel provision}"""

    synopsis = "Usage: tlstunnel provision"
    longdesc = "Keeps a pool up with a directory. Each command has a --help of its own."
    subCommands: ClassVar[list[list[Any]]] = [
        ["pull", None, Pull, "Keep a pool up with a directory."],
        ["push", None, Push, "Put a certificate into a directory."],
    ]

    def postOptions(self) -> None:
        """Insist on something to do."""
        if self.subCommand is None:
            raise usage.UsageError("say what to do: pull or push")


def main(options: ProvisionOptions) -> int:
    """
    Run what was asked for.

    @return: the exit code: 1 with one line on standard error where it was not possible.
    """
    command = options.subOptions
    assert isinstance(command, PoolOptions)
    try:
        return command.run()
    except ConfigurationError as error:
        print(f"tlstunnel: {error}", file=sys.stderr)
    return 1
