"""
stunnel, in the foreground, with the configuration that it is given.
"""

from __future__ import annotations

from pathlib import Path

from tests.interop.processes import Process, find


class Stunnel(Process):
    """
    @ivar port: where the service that is of interest listens.
    """

    def __init__(self, directory: Path, configuration: str, port: int) -> None:
        super().__init__(directory)
        self.port = port
        directory.mkdir(mode=0o755)
        self._file = directory / "stunnel.conf"
        self._file.write_text(f"foreground = yes\npid =\n{configuration}")

    def start(self) -> None:
        """
        @raise AssertionError: it ended, or does not listen in time; carries its log.
        """
        self.spawn([find("stunnel", "stunnel4"), str(self._file)], [self.port])
