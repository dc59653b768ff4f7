"""
C{tlstunnel health}: whether the one that runs answers and serves all its tunnels, for containers
and whoever else restarts what is ill.
"""

from __future__ import annotations

import sys

from tlstunnel.commands.status import AskingOptions
from tlstunnel.errors import ConfigurationError
from tlstunnel.status.client import ask
from tlstunnel.status.words import clean


class HealthOptions(AskingOptions):
    """
    The options of C{health}.
    """

    synopsis = "Usage: tlstunnel health --config FILE | --status ADDR"
    longdesc = "Exit with 0 if the one that runs answers and all its tunnels are up, else with 1."


def main(options: HealthOptions) -> int:
    """
    Ask.

    @return: 0 if all is well, else 1, with one line that says why.
    """
    try:
        address = options.address
        code, body = ask(address, "/health")
    except ConfigurationError as error:
        print(f"tlstunnel: {error}", file=sys.stderr)
        return 1
    if code == 200:
        return 0
    line = body.decode("utf-8", "replace").strip().partition("\n")[0]
    print(f"tlstunnel: {address}: {clean(line[:1000])}", file=sys.stderr)
    return 1
