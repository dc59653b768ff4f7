"""
Configuration files for tests.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.program.configuration import Configuration, readConfiguration
from tlstunnel.program.problems import Problems

#: A tunnel that is right.
TUNNEL = """
[tunnel.pg]
mode = "client"
local = ["127.0.0.1:5432"]
remote = ["db.example.org:5432"]
starttls = "postgresql"
"""


class ConfigurationTests(SynchronousTestCase):
    """
    What tests of files have in common.
    """

    def setUp(self) -> None:
        """
        A folder for the files.
        """
        # The paths of sockets in it have to be short.
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = self.folder / "tlstunnel.toml"

    def write(self, text: str, name: str = "tlstunnel.toml") -> Path:
        """
        Write a file.
        """
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def read(self, text: str) -> Configuration:
        """
        The configuration that C{text} makes.
        """
        return readConfiguration(self.write(text))

    def problems(self, text: str | None = None) -> list[str]:
        """
        What is wrong with C{text}, or with the files that are there, without their folder.
        """
        if text is not None:
            self.write(text)
        error = self.assertRaises(Problems, readConfiguration, self.path)
        return str(error).replace(f"{self.folder}/", "").splitlines()
