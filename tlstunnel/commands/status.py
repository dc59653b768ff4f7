"""
C{tlstunnel status}: how the one that runs is, as a table.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from itertools import islice
from pathlib import Path

from twisted.python import usage

from tlstunnel.address import TCPAddress, UNIXAddress, parseAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.program.output import complain, isRead
from tlstunnel.program.syntax import ProgramOptions
from tlstunnel.status.client import document, foreign

#: Seconds between two looks with C{--watch}.
WATCH_SECONDS = 2.0

# To the upper left corner, and nothing below it (ECMA-48).
_CLEAR = "\x1b[H\x1b[J"


class AskingOptions(ProgramOptions):
    """
    The options of a command that asks the one that runs.
    """

    optParameters = [
        ["config", None, None, "its file, which says in [status] where it tells how it is"],
        ["status", None, None, "where it tells how it is: HOST:PORT, or a UNIX socket"],
    ]

    def valueOf(self, option: str) -> str:
        """
        What the help calls the value of an option.
        """
        return {"config": "FILE", "status": "ADDR"}[option]

    def postOptions(self) -> None:
        """
        See that it is said where to ask.

        @raise usage.UsageError: it is not.
        """
        given = [each for each in ("config", "status") if self[each] is not None]
        if len(given) != 1:
            problem = "both are given" if given else "one of them is missing"
            raise usage.UsageError(f"--config, --status: {problem}; write --config FILE alone")
        if self["status"] is not None:
            try:
                self["address"] = parseAddress(self["status"])
            except ValueError as error:
                raise usage.UsageError(f"--status: {error}") from None

    @property
    def address(self) -> TCPAddress | UNIXAddress:
        """
        Where to ask.

        @raise ConfigurationError: the file does not say it.
        """
        if self["status"] is None:
            # Only now: who gives the address need not wait for what reads files.
            from tlstunnel.program.configuration import readStatus

            self["address"] = readStatus(Path(self["config"])).local[0]
        address: TCPAddress | UNIXAddress = self["address"]
        return address


class StatusOptions(AskingOptions):
    """
    The options of C{status}.
    """

    optFlags = [
        ["json", None, "as JSON, as /status.json has it"],
        ["watch", None, "again every two seconds, until Ctrl-C"],
    ]
    synopsis = "Usage: tlstunnel status [--json] [--watch] --config FILE | --status ADDR"
    longdesc = "Show how the one that runs is: tunnels, identities, failures, connections."


def show(address: TCPAddress | UNIXAddress, isJSON: bool, rows: int | None, columns: int) -> str:
    """
    What is to be printed.

    @param rows: no more of them; C{None} for all.
    @param columns: no wider than that.
    @raise ConfigurationError: nobody answers, or nobody whom we understand.
    """
    # Only now: a container asks for its health every few seconds, and needs no table.
    from tlstunnel.status.table import lines

    found = document(address)
    if isJSON:
        return json.dumps(found) + "\n"
    try:
        return "".join(f"{line[:columns]}\n" for line in islice(lines(found, columns), rows))
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError):
        # It has our version, and not what that has in it.
        raise foreign(address) from None


def main(options: StatusOptions) -> int:
    """
    Show the status.

    @return: 0, or 1 if nobody answers.
    """
    isTerminal = sys.stdout.isatty()
    isScreen = isTerminal and options["watch"] and not options["json"]
    try:
        address = options.address
        while True:
            size = shutil.get_terminal_size()
            rows = size.lines - 1 if isScreen else None
            columns = size.columns if isTerminal else sys.maxsize
            text = show(address, options["json"], rows, columns)
            print((_CLEAR if isScreen else "") + text, end="", flush=True)
            if not options["watch"]:
                return 0
            time.sleep(WATCH_SECONDS)
            if not isRead():
                return 0
    except ConfigurationError as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 0
