"""
The pool as a service, as a process; and programs that hand connections over to it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.interop.clients import Outcome, run
from tests.interop.processes import SYSTEM_PATH, Process
from tests.interop.tunnel import CHECKOUT, ENVIRONMENT

#: Where the example programs are.
EXAMPLES = CHECKOUT / "docs" / "example" / "pool"


class PoolProcess(Process):
    """
    C{tlstunnel pool serve --socket SOCKET}.

    @ivar socket: where programs find it.
    """

    def __init__(self, directory: Path, pool: Path) -> None:
        super().__init__(directory)
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.pool = pool
        self.socket = directory / "pool.sock"

    def start(self) -> None:
        """
        @raise AssertionError: it ended, or does not listen in time; carries its log.
        """
        self.spawn(
            [
                *(sys.executable, "-m", "tlstunnel", "pool", "serve"),
                *("--socket", str(self.socket), "--pool", str(self.pool)),
            ],
            [self.socket],
            environment=ENVIRONMENT,
        )

    @property
    def environment(self) -> dict[str, str]:
        """
        Of programs that are to find it; C{python3} is ours there.
        """
        return {
            **ENVIRONMENT,
            "TLSTUNNEL_POOL": str(self.socket),
            "PATH": f"{Path(sys.executable).parent}:{SYSTEM_PATH}",
        }

    def run(self, command: Sequence[str | Path], say: str = "", **variables: str) -> Outcome:
        """
        Run a program to its end.

        @param say: its standard input.
        @param variables: more of its environment.
        """
        return run([str(each) for each in command], say, environment=self.environment | variables)
