"""
Configuration files for tests.
"""

from __future__ import annotations

import shutil
import string
import tempfile
from pathlib import Path

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.program.configfile import quoted
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


#: What keys can be called.
NAMES = st.text(string.ascii_letters + string.punctuation + " é", min_size=0, max_size=4)
_SCALARS = st.one_of(
    st.integers(0, 9),
    st.booleans(),
    st.text(string.printable, max_size=6),
    st.sampled_from(("[x]", "a = 1", "#", "'", '"""')),
)
#: What they can have.
VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


def written(value: object, newline: str) -> str:
    """
    A value in TOML; arrays have line ends wherever they may.
    """
    match value:
        case bool():
            return str(value).lower()
        case str():
            return quoted(value)
        case list():
            return f"[{newline}{''.join(f'{written(each, newline)},{newline}' for each in value)}]"
        case dict():
            pairs = (f"{quoted(key)} = {written(each, newline)}" for key, each in value.items())
            return f"{{{', '.join(pairs)}}}"
    return str(value)


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
