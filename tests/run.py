"""
Runs the tests with trial, and ends with one line for programs: C{N passed, N failed, N skipped}.

Without arguments: everything beside this file in two processes, then the modules of
C{tests.interop}, each in a process of its own, three at a time.  Else: the modules named.  Anything
that fails, or no test at all, is exit code 1.  A run of all of C{tests.interop} as root writes
docs/interop.md.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Timer

from tests.interop import matrix

#: Seconds that one run of trial may take; a test that never ends must not hold up everything.
LIMIT = 1200.0

#: Processes that run tests at the same time; more of them where tests wait for programs to start.
PROCESSES = 2
WAITING = 3

#: The modules of C{tests.interop} that take longest; they begin, as one alone at the end is slow.
LONGEST = ("scanners", "mysql", "probe", "reveal_sql", "negotiate", "stdio_life", "pull", "vnc")

#: What containers set, so that no image has the bytecode of what was run in it.
DONT_WRITE = "PYTHONDONTWRITEBYTECODE"

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


def environment() -> dict[str, str]:
    """
    What trial and the programs that tests start get: with bytecode, each of them begins in half
    the time.
    """
    inherited = {name: os.environ[name] for name in os.environ if name != DONT_WRITE}
    return inherited | {"PYTHONUNBUFFERED": "1"}


def shown(text: str) -> None:
    """
    Write at once.
    """
    print(text, end="", flush=True)


def trial(*arguments: str, show: Callable[[str], object] = shown) -> Counter[str]:
    """
    Run trial once.

    @param show: gets each line that it writes.
    @return: how many tests ended in which way.
    """
    total: Counter[str] | None = None
    with subprocess.Popen(
        [sys.executable, "-m", "twisted.trial", *arguments],
        env=environment(),
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
            show(line)
            total = total if (found := counts(line)) is None else found
        watchdog.cancel()
    if total is None:
        show(f"trial {' '.join(arguments)} ended without a result\n")
        return Counter(errors=1)
    if process.returncode and not any(total[name] for name in FAILURES):
        total["errors"] += 1
    return total


def modules() -> tuple[list[str], list[str]]:
    """
    Name every test module: those of C{tests.interop}, the longest first, and all others.
    """
    here = Path(__file__).parent
    paths = (path.relative_to(here.parent) for path in sorted(here.rglob("test_*.py")))
    names = [".".join(path.with_suffix("").parts) for path in paths]
    real = [name for name in names if name.startswith("tests.interop.")]
    first = [f"tests.interop.test_{name}" for name in LONGEST]
    real.sort(key=lambda name: first.index(name) if name in first else len(first))
    return real, [name for name in names if name not in real]


def together(names: list[str]) -> Counter[str]:
    """
    Run modules in processes of their own, and show what each of them has written when it ends.
    """

    def one(name: str) -> Counter[str]:
        lines: list[str] = []
        total = trial(name, show=lines.append)
        shown("".join(lines))
        return total

    with ThreadPoolExecutor(WAITING) as pool:
        return sum(pool.map(one, names), Counter())


def interop() -> Counter[str]:
    """
    Run what talks to real programs, and show in the documentation what passed, unless something
    did not, or was left out as this machine does not have it.
    """
    matrix.forget()
    total = together(modules()[0])
    failed = any(total[name] for name in FAILURES)
    if os.geteuid() == 0 and not failed and not matrix.main(["--check"]):
        matrix.main([])
    return total


def main(names: list[str]) -> int:
    """
    Run what is asked for, and give the exit code.
    """
    # Under nohup the programs that tests start would not hear of reloads.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if not names:
        total = trial(f"-j{PROCESSES}", *modules()[1]) + interop()
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
