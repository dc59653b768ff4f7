"""
C{tlstunnel health}: whether the one that runs answers and serves all its tunnels, for containers
and whoever else restarts what is ill.
"""

from __future__ import annotations

from tlstunnel.commands.status import AskingOptions
from tlstunnel.errors import ConfigurationError
from tlstunnel.program.output import complain
from tlstunnel.status.client import problemAt


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
        problem = problemAt(address)
    except ConfigurationError as error:
        complain(str(error))
        return 1
    if problem:
        complain(f"{address}: {problem}")
    return 1 if problem else 0
