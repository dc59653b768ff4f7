"""
A pool that has somebody in it, for tests.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Issued, Recipe, alternative, dns, intermediate, make
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool

HOST = Identity.parse("example.org")
USER = Identity.parse("john@example.org")


class PoolTestCase(SynchronousTestCase):
    """A test with a pool in a temporary directory."""

    def setUp(self) -> None:
        """Make the pool."""
        self.path = Path(self.mktemp())
        self.path.mkdir()
        self.pool = Pool(self.path)

    def write(self, name: str, content: bytes, mode: int = 0o600) -> Path:
        """Write a file of the pool."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(mode)
        return file

    def add(self, identity: Identity, issued: Issued | None = None) -> Issued:
        """Add credentials to the pool."""
        issued = issued or make(Recipe(san=alternative(dns(str(identity)))), intermediate())
        self.write(f"{identity}/fullchain.pem", issued.chainPEM())
        self.write(f"{identity}/privkey.pem", issued.keyPEM())
        return issued

    def problem(self, call: Callable[..., object], *arguments: object) -> ConfigurationError:
        """The error that a call raises, which is one line that a person can act upon."""
        error = self.assertRaises(ConfigurationError, call, *arguments)
        assert isinstance(error, ConfigurationError)
        self.assertTrue(str(error).isprintable())
        self.assertTrue(error.remedy, error)
        return error
