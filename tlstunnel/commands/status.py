"""
C{tlstunnel status}: how the one that runs is, as a table.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from itertools import islice

from twisted.python import usage

from tlstunnel.address import TCPAddress, UNIXAddress, parseAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.program.syntax import ProgramOptions
from tlstunnel.status.client import document

#: Seconds between two looks with C{--watch}.
WATCH_SECONDS = 2.0

# To the upper left corner, and nothing below it (ECMA-48).
_CLEAR = "\x1b[H\x1b[J"


class AskingOptions(ProgramOptions):
    """
    The options of a command that asks the one that runs.
    """

    optParameters = [
        ["status", None, None, "where it tells how it is: ADDR:PORT, or a UNIX socket"],
    ]

    def valueOf(self, option: str) -> str:
        """
        What the help calls the value of an option.
        """
        return "ADDR"

    def postOptions(self) -> None:
        """
        Find out where to ask.

        @raise usage.UsageError: that is not said.
        """
        if self["status"] is None:
            raise usage.UsageError("nobody says whom to ask; write --status ADDR")
        try:
            self["address"] = parseAddress(self["status"])
        except ValueError as error:
            raise usage.UsageError(f"--status: {error}") from None


class StatusOptions(AskingOptions):
    """
    The options of C{status}.
    """

    optFlags = [
        ["json", None, "as JSON, as /status.json has it"],
        ["watch", None, "again every two seconds, until Ctrl-C"],
    ]
    synopsis = "Usage: tlstunnel status [--json] [--watch] --status ADDR"
    longdesc = "Show how the one that runs is: tunnels, identities, failures, connections."


def show(address: TCPAddress | UNIXAddress, isJSON: bool, rows: int | None, columns: int) -> str:
    """
    What is to be printed.

    @param rows: no more of them; C{None} for all.
    @param columns: no wider than that.
    @raise ConfigurationError: nobody answers.
    """
    # Only now: a container asks for its health every few seconds, and needs no table.
    from tlstunnel.status.table import lines

    found = document(address)
    if isJSON:
        return json.dumps(found) + "\n"
    return "".join(f"{line[:columns]}\n" for line in islice(lines(found), rows))


def main(options: StatusOptions) -> int:
    """
    Show the status.

    @return: 0, or 1 if nobody answers.
    """
    isTerminal = sys.stdout.isatty()
    isScreen = isTerminal and options["watch"] and not options["json"]
    try:
        while True:
            size = shutil.get_terminal_size()
            rows = size.lines - 1 if isScreen else None
            columns = size.columns if isTerminal else sys.maxsize
            text = show(options["address"], options["json"], rows, columns)
            print((_CLEAR if isScreen else "") + text, end="", flush=True)
            if not options["watch"]:
                return 0
            time.sleep(WATCH_SECONDS)
    except ConfigurationError as error:
        print(f"tlstunnel: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
