"""
What commands have in common that work on a pool.
"""

from __future__ import annotations

from pathlib import Path

from tlstunnel.identity.pool import Pool, defaultPool
from tlstunnel.program.syntax import ProgramOptions


class PoolOptions(ProgramOptions):
    """What all subcommands have in common."""

    optParameters = [["pool", "p", None, "The pool; see tlstunnel(8) for the default."]]

    @property
    def pool(self) -> Pool:
        """
        The pool that is meant.

        @raise ConfigurationError: there is no place for one.
        """
        pool = Pool(Path(self["pool"])) if self["pool"] is not None else defaultPool()
        pool.checkPlace()
        return pool

    def run(self) -> int:
        """Do it, and return the exit code."""
        raise NotImplementedError
