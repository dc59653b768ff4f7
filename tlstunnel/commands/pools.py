"""
What commands have in common that work on a pool.
"""

from __future__ import annotations

import getpass
import sys
from contextlib import suppress
from pathlib import Path

from cryptography import x509

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Identity
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


class OneIdentityOptions(PoolOptions):
    """What those subcommands have in common that are about one identity."""

    arguments = ("ID",)
    synopsis = "[options] ID"

    @property
    def identity(self) -> Identity:
        """
        The identity that is meant.

        @raise ConfigurationError: it is none.
        """
        return identityOf(self["id"])


def identityOf(text: str) -> Identity:
    """
    Read the name of an identity.

    @raise ConfigurationError: it is none.
    """
    try:
        return Identity.parse(text)
    except ValueError as error:
        raise ConfigurationError.of("ID", error) from None


def secretOf(what: str) -> str:
    """
    Ask the user for a secret; without a terminal it is the next line of standard input.

    @param what: what it is of, in words.
    """
    if sys.stdin.isatty():
        with suppress(EOFError):  # who wants to give none
            return getpass.getpass(f"{what}: ")
        return ""
    return sys.stdin.readline().rstrip("\r\n")


def lastDayOf(certificate: x509.Certificate) -> str:
    """Until when a certificate is good, in words."""
    return f"{certificate.not_valid_after_utc:%Y-%m-%d}"
