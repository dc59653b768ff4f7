"""
That what is written is a configuration file, as L{tlstunnel.program.configuration} reads it.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.convert.examples import converted, ofGhostunnel, ofStunnel
from tlstunnel.convert.writing import write

_READER = "tlstunnel.program.configuration"


class ConfigurationTests(SynchronousTestCase):
    """
    Each file of the data that has a tunnel.
    """

    if find_spec(_READER) is None:
        skip = "NOT TESTED: configuration files cannot be read yet"

    def test_whatIsWrittenIsRead(self) -> None:
        """Tunnels with their names, and all else that is in it."""
        readConfiguration = import_module(_READER).readConfiguration
        for file in (*ofStunnel(), *ofGhostunnel()):
            conversion = converted(file)
            names = [each.name for each in conversion.drafts]
            if names:
                path = Path(self.mktemp()).absolute()
                path.write_text(write(conversion))
                path.chmod(0o600)
                read = [each.name for each in readConfiguration(path).tunnels]
                self.assertEqual(read, names, file.name)
