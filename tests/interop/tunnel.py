"""
The program under test, as a process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.interop.clients import Outcome, run
from tests.interop.processes import Process
from tests.ports import freePort

#: The checkout, whose code the process runs.
CHECKOUT = Path(__file__).resolve().parents[2]

#: C{make interop WORKERS=2} runs every tunnel in so many processes.
WORKERS = os.environ.get("WORKERS", "1")

ENVIRONMENT = {"PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1"}


def tlstunnel(*arguments: str) -> Outcome:
    """
    Run C{tlstunnel ARGUMENTS} to its end.
    """
    return run([sys.executable, "-m", "tlstunnel", *arguments], environment=ENVIRONMENT)


class TunnelProcess(Process):
    """
    C{tlstunnel ARGUMENTS -l 127.0.0.1:PORT}, or C{-l SOCKET}.

    @ivar port: where it listens; a free one of its own.
    @ivar workers: in how many processes it serves.
    @ivar within: what starts it, if anything does.
    @ivar environment: what is in its environment besides.
    """

    workers = WORKERS
    within: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}

    def __init__(self, directory: Path, *arguments: str, socket: Path | None = None) -> None:
        """
        @param arguments: all options but C{-l}.
        @param socket: listen on this UNIX socket instead of a port.
        """
        super().__init__(directory)
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.arguments = arguments
        self.socket = socket
        self.port = freePort()

    def start(self) -> None:
        """
        @raise AssertionError: it ended, or does not listen in time; carries its log.
        """
        address: int | Path = self.socket or self.port
        local = str(self.socket or f"127.0.0.1:{self.port}")
        workers = () if "--workers" in self.arguments else ("--workers", self.workers)
        # Options come first: what follows a bare "--" belongs to a chat script.
        self.spawn(
            [
                *self.within,
                *(sys.executable, "-m", "tlstunnel", "-l", local, *workers),
                *self.arguments,
            ],
            [address],
            environment={**ENVIRONMENT, **self.environment},
        )

    def stop(self) -> int:
        """
        @raise AssertionError: it ran, and its answer to SIGTERM was not an orderly end.
        """
        code = super().stop()
        if code != 0:
            raise AssertionError(
                f"tlstunnel {' '.join(self.arguments)} ended with {code}:\n{self.log}"
            )
        return code


class TunnelsProcess(Process):
    """
    Several tunnels in one program, of which a file tells.

    @ivar ports: where they listen, by name.
    """

    def __init__(
        self, directory: Path, pool: Path, tunnels: Mapping[str, Mapping[str, str]]
    ) -> None:
        """
        @param tunnels: what else each says, by its name.
        """
        super().__init__(directory)
        directory.mkdir(mode=0o755, parents=True)
        self.ports = {name: freePort() for name in tunnels}
        lines = [f'[defaults]\npool = "{pool}"']
        for name, said in tunnels.items():
            lines.append(f'[tunnel."{name}"]\nlocal = "127.0.0.1:{self.ports[name]}"')
            lines += [f'{key} = "{value}"' for key, value in said.items()]
        self.file = directory / "tlstunnel.toml"
        self.file.write_text("\n".join(lines))

    def start(self) -> None:
        """
        Start it.

        @raise AssertionError: it ended, or does not listen in time; carries its log.
        """
        command = [sys.executable, "-m", "tlstunnel", "--config", str(self.file)]
        ports = list(self.ports.values())
        self.spawn([*command, "--workers", WORKERS], ports, environment=ENVIRONMENT)
