"""
How many instructions a connection and a MiB take in the tunnel's own process.

callgrind (valgrind's) counts them, so the figures do not depend on what else the machine does, and
little on which machine it is: they repeat within a few parts in a thousand.  The kernel's work is
not among them.  Nothing is counted while the tunnel starts; then a count is begun and taken around
what is done with it, while it has nothing else to do.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.contenders import Contender, Setup
from benchmarks.measures import Figures, MiB
from benchmarks.running import Running

#: Where the tunnel's parts are, by what the names of their files contain.
_PARTS = {"openssl": "_rust", "python": "python"}

_WARMING = 20
_QUIET = 0.3
_BULK = 8 * MiB
#: The tunnel is some fifty times slower, and so are those that it waits for.
_PATIENT = tuple(
    word
    for name in ("connect", "greeting", "negotiation", "handshake")
    for word in (f"--{name}-timeout", "600")
)
#: The same hashes each time, and nothing that is written beside.
_ENVIRONMENT = ("PYTHONHASHSEED=0", "PYTHONDONTWRITEBYTECODE=1")


class Uncountable(Exception):
    """There is no callgrind, or it does not answer; the message is one line."""


def parts(text: str) -> Counter[str]:
    """
    @param text: what callgrind has written.
    @return: how many instructions were spent in each object file, and C{""} for all of them.
    @raise Uncountable: it is something else.
    """
    names: dict[str, str] = {}
    found: Counter[str] = Counter()
    current, isInclusive = "", False
    summary = re.search(r"^(?:summary|totals): (\d+)$", text, re.MULTILINE)
    if summary is None:
        raise Uncountable("callgrind has written no sum of instructions")
    for line in text.splitlines():
        if line.startswith("ob="):
            number, _, name = line[3:].partition(" ")
            current = names.setdefault(number, name)
        elif line.startswith("cob="):
            # A name may be given in a reference, too.
            number, _, name = line[4:].partition(" ")
            names.setdefault(number, name)
        elif line.startswith("calls="):
            isInclusive = True
        elif line[:1] in "+-*0123456789" and line:
            if not isInclusive:
                found[current] += int(line.split()[-1])
            isInclusive = False
    found[""] = int(summary[1])
    return found


def share(found: Counter[str], name: str) -> int:
    """@return: the instructions in object files whose names contain C{name}."""
    return sum(count for file, count in found.items() if name in Path(file).name)


@dataclass(frozen=True)
class Callgrind:
    """
    @ivar directory: where it writes; of this measurement alone.
    """

    directory: Path

    def over(self, contender: Contender) -> Contender:
        """@return: C{contender}, which has to be a tunnel of ours, counted."""

        def command(setup: Setup) -> list[str]:
            words = contender.command(setup)
            place = words.index(sys.executable)
            valgrind = [
                *("valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no"),
                f"--callgrind-out-file={self.directory}/count",
                f"--vgdb-prefix={self.directory}/vgdb",
            ]
            return [*words[:place], *_ENVIRONMENT, *valgrind, *words[place:]]

        return replace(contender, command=command, startSeconds=180.0)

    def _tell(self, word: str, pid: int) -> None:
        command = ["callgrind_control", f"--vgdb-prefix={self.directory}/vgdb", word, str(pid)]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        except FileNotFoundError:
            raise Uncountable("callgrind_control is missing: install valgrind") from None
        if done.returncode or "OK" not in done.stdout:
            last = (done.stdout + done.stderr).strip().rpartition("\n")[2]
            raise Uncountable(f"callgrind_control {word}: {last}")

    def begin(self, pid: int) -> None:
        """Count from now on."""
        self._tell("--instr=on", pid)

    def count(self, pid: int, work: Callable[[], object]) -> Counter[str]:
        """@return: what C{work} has taken, as L{parts} has it."""
        time.sleep(_QUIET)
        self._tell("--zero", pid)
        work()
        time.sleep(_QUIET)
        before = set(self.directory.glob("count.*"))
        self._tell("--dump", pid)
        (written,) = set(self.directory.glob("count.*")) - before
        return parts(written.read_text())


def counted(running: Running, callgrind: Callgrind, connections: int) -> Iterator[Figures]:
    """Thousands of instructions for a connection and a MiB; those of OpenSSL and of Python, too."""
    pid, client = running.pid, running.client
    callgrind.begin(pid)
    for _ in range(_WARMING):
        client.once()

    def difference(name: str, work: Callable[[int], None], less: int, unit: int) -> Figures:
        """Twice as much is done the second time: what is done once each time does not count."""
        few = callgrind.count(pid, lambda: work(less))
        many = callgrind.count(pid, lambda: work(2 * less))
        scale = less / unit * 1000
        figures = {name: (many[""] - few[""]) / scale}
        for part, file in _PARTS.items():
            figures[f"{name}@{part}"] = (share(many, file) - share(few, file)) / scale
        return figures

    def connect(count: int) -> None:
        for _ in range(count):
            client.once()

    def carry(size: int, direction: str) -> None:
        transfer = client.bulk()
        with transfer.connection:
            getattr(transfer, direction)(size)

    if client.smtp:
        yield difference("starttlsInstructions", connect, connections, 1)
        return
    yield difference("instructions", connect, connections, 1)
    up, down = ("decrypt", "encrypt") if running.mode == "server" else ("encrypt", "decrypt")
    for direction, name in (("up", up), ("down", down)):
        work = partial(carry, direction=direction)
        yield difference(f"{name}Instructions", work, _BULK, MiB)
