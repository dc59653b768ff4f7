"""
The programs of C{docs/endpoints.md}, in processes of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
EXAMPLES = TOP / "docs" / "example" / "endpoints"

ENVIRONMENT = os.environ | {"PYTHONPATH": str(TOP), "PYTHONUNBUFFERED": "1"}

#: Seconds that a program may take.
PATIENCE = 60

# Installs a reactor, then runs a program.
_ON = """
import runpy, sys
from twisted.application.reactors import installReactor
installReactor(sys.argv[1])
sys.argv[:2] = []
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def command(program: str, *words: str, reactor: str = "default") -> list[str]:
    """
    How to run one.
    """
    # Twisted's readBody warns of a transport of its own.
    quiet = ("-W", "ignore::DeprecationWarning")
    return [sys.executable, *quiet, "-c", _ON, reactor, str(EXAMPLES / program), *words]


def runExample(program: str, *words: str, said: str = "", reactor: str = "default") -> str:
    """
    Run one to its end.

    @return: what it has printed.
    """
    done = subprocess.run(
        command(program, *words, reactor=reactor),
        input=said,
        env=ENVIRONMENT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        check=False,
    )
    return done.stdout


@contextmanager
def served(
    program: str, endpoint: str, reactor: str = "default"
) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """
    While one serves.

    @return: its port, and its process.
    """
    process = subprocess.Popen(
        command(program, endpoint, reactor=reactor),
        env=ENVIRONMENT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert "listening at port" in line, line + process.stdout.read()
        yield int(line.split()[-1]), process
    finally:
        process.terminate()
        process.wait(PATIENCE)
        process.stdout.close()
