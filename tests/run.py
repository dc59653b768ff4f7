"""
Runs the tests with trial, and ends with one line for programs: C{N passed, N failed, N skipped}.

Without arguments: everything beside this file in two processes, then C{tests.interop} alone, since
its servers need the machine for themselves.  Else: the modules named.  Anything that fails, or no
test at all, is exit code 1.  A run of all of C{tests.interop} as root writes docs/interop.md.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from threading import Timer

from tests.interop import matrix

#: Seconds that one run of trial may take; a test that never ends must not hold up everything.
LIMIT = 1500.0

SUMMARY = re.compile(r"(?:PASSED|FAILED)(?: \((.+)\))?")
PASSES = ("successes", "expectedFailures")
FAILURES = ("failures", "errors", "unexpectedSuccesses")


def counts(line: str) -> Counter[str] | None:
    """
    Read trial's summary, as in C{FAILED (failures=1, successes=4)}; L{None} is any other line.
    """
    found = SUMMARY.fullmatch(line.strip())
    if found is None:
        return None
    pairs = (item.split("=") for item in found[1].split(", ")) if found[1] else ()
    return Counter({name: int(number) for name, number in pairs})


def trial(*arguments: str) -> Counter[str]:
    """
    Run trial once, showing what it shows.

    @return: how many tests ended in which way.
    """
    total: Counter[str] | None = None
    with subprocess.Popen(
        [sys.executable, "-m", "twisted.trial", *arguments],
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        watchdog = Timer(LIMIT, process.kill)
        watchdog.start()
        for line in process.stdout:
            print(line, end="", flush=True)
            total = total if (found := counts(line)) is None else found
        watchdog.cancel()
    if total is None:
        print(f"trial {' '.join(arguments)} ended without a result", flush=True)
        return Counter(errors=1)
    if process.returncode and not any(total[name] for name in FAILURES):
        total["errors"] += 1
    return total


def unitTests() -> list[str]:
    """
    Name every test module but those of C{tests.interop}.
    """
    here = Path(__file__).parent
    modules = (path.relative_to(here.parent) for path in sorted(here.rglob("test_*.py")))
    names = (".".join(module.with_suffix("").parts) for module in modules)
    return [name for name in names if not name.startswith("tests.interop.")]


def interop() -> Counter[str]:
    """
    Run what talks to real programs, and show in the documentation what passed, unless something
    did not, or was left out as this machine does not have it.
    """
    matrix.forget()
    total = trial("tests.interop")
    failed = any(total[name] for name in FAILURES)
    if os.geteuid() == 0 and not failed and not matrix.main(["--check"]):
        matrix.main([])
    return total


def main(names: list[str]) -> int:
    """
    Run what is asked for, and give the exit code.
    """
    if not names:
        total = trial("-j2", *unitTests()) + interop()
    elif names == ["tests.interop"]:
        total = interop()
    else:
        total = trial(*names)
    passed = sum(total[name] for name in PASSES)
    failed = sum(total[name] for name in FAILURES)
    print(f"{passed} passed, {failed} failed, {total['skips']} skipped", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
