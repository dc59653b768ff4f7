"""
The command C{tlstunnel identity}, called on a pool, for tests.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Issued, root
from tlstunnel.commands.identity import IdentityOptions, main
from tlstunnel.identity.files import makeDirectory, writeFile
from tlstunnel.identity.pool import Pool


class Terminal(io.StringIO):
    """Standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


class CommandTestCase(SynchronousTestCase):
    """A test that runs commands on a pool in a temporary directory."""

    def setUp(self) -> None:
        """Name the pool, which is not there yet."""
        self.base = Path(self.mktemp()).absolute()
        self.base.mkdir()
        self.path = self.base / "pool"
        self.pool = Pool(self.path)
        self.patch(os, "environ", {"HOME": str(self.base)})

    def call(self, *words: str, terminal: bool = False) -> tuple[int, str, str]:
        """
        Run a command.

        @return: its exit code, what it printed, and what it complained about.
        """
        out, err = (Terminal() if terminal else io.StringIO()), io.StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        options = IdentityOptions()
        command, *rest = words
        options.parseOptions([command, "--pool", str(self.path), *rest])
        try:
            return main(options), out.getvalue(), err.getvalue()
        finally:
            self.patch(sys, "stdout", sys.__stdout__)
            self.patch(sys, "stderr", sys.__stderr__)

    def succeed(self, *words: str, terminal: bool = False) -> str:
        """Run a command that works, and return what it printed."""
        code, out, err = self.call(*words, terminal=terminal)
        self.assertEqual((code, err), (0, ""))
        return out

    def fail_(self, *words: str) -> str:
        """Run a command that does not, and return its one line."""
        code, out, err = self.call(*words)
        self.assertEqual((code, out), (1, ""))
        self.assertRegex(err, r"\Atlstunnel: [^\n]+\n\Z")
        return err

    def put(self, identity: str, issued: Issued) -> Path:
        """Put credentials into the pool without the command, and return their directory."""
        directory = self.path / identity
        makeDirectory(directory)
        for name, content in (("fullchain", issued.chainPEM()), ("privkey", issued.keyPEM())):
            writeFile(directory / f"{name}.pem", content, 0o600, replace=True)
        return directory

    def trust(self, name: str = "anchors", authority: str = "Root") -> Path:
        """Make somebody an anchor without the command."""
        makeDirectory(self.path / "trust")
        file = self.path / "trust" / f"{name}.pem"
        file.write_bytes(root(authority).certificate.public_bytes(Encoding.PEM))
        return file
