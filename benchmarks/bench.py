"""
One run of some parts of L{benchmarks.parts}, within its time.
"""

from __future__ import annotations

import datetime
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from benchmarks import machine, plot, report
from benchmarks.contenders import Contender, Mode
from benchmarks.credentials import Credentials, create
from benchmarks.figures import Results
from benchmarks.load import IMPLICIT, Speaking
from benchmarks.measures import Figures, Scale
from benchmarks.peers import CONTENDERS
from benchmarks.running import Cores, Failed, Running, started

Measure = Callable[[Running], Iterable[Figures]]


def say(text: str) -> None:
    """Show progress; what is to be kept goes to standard output."""
    print(text, file=sys.stderr, flush=True)


class Bench:
    """
    @ivar failures: how often contenders have failed in a mode; twice is enough.
    """

    def __init__(self, scale: Scale, contenders: list[Contender], credentials: Credentials):
        self.scale = scale
        self.contenders = contenders
        self.credentials = credentials
        self.cores = Cores.available()
        self.results = Results()
        self.failures: Counter[tuple[str, Mode, Speaking]] = Counter()
        self.begun = time.monotonic()

    def measure(
        self,
        title: str,
        contender: Contender,
        mode: Mode,
        measure: Measure,
        speaking: Speaking = IMPLICIT,
        workers: int = 1,
    ) -> None:
        """Add what C{measure} finds out about C{contender}, or a note why it does not."""
        what = f"{title}: {contender.name}, {mode} mode"
        if self.failures[contender.name, mode, speaking] > 1:
            return
        if self.left() < 0:
            self.results.notes.append(f"{what}: no time left")
            return
        say(f"[{time.monotonic() - self.begun:4.0f} s] {what}")
        try:
            cores = self.cores if workers == 1 else self.cores.forWorkers(workers)
            with started(
                contender, mode, self.credentials, cores, speaking, workers=workers
            ) as running:
                for figures in measure(running):
                    self.results.add(mode, contender.name, figures)
        except Exception as problem:  # noqa: BLE001 - what was measured before must not be lost
            say(str(problem) if isinstance(problem, Failed) else traceback.format_exc())
            self.failures[contender.name, mode, speaking] += 1
            first, _, _ = str(problem).partition("\n")
            self.results.notes.append(f"{what}: {first or repr(problem)}")

    def run(self, parts: Iterable[Part]) -> None:
        """Measure as much of C{parts} as there is time for."""
        os.sched_setaffinity(0, self.cores.load)
        for part in parts:
            part(self)

    def left(self) -> float:
        """@return: seconds in which a new turn may begin."""
        return self.begun + self.scale.budget - time.monotonic()


Part = Callable[[Bench], None]


def present(contenders: list[Contender]) -> dict[str, str]:
    """@return: the versions of those that are installed, by name."""
    versions = {}
    for contender in contenders:
        version = contender.installedVersion()
        if version is None:
            say(f"{contender.name}: not installed")
        else:
            versions[contender.name] = version
    return versions


def main(
    scale: Scale, only: list[str] | None, parts: Iterable[Part], output: Path | None = None
) -> report.Run | None:
    """
    Measure and print the tables.

    @param output: where to write C{latest.json}, C{table.md} and C{plot.svg}.
    @return: what was measured, or C{None} if nothing could be.
    """
    scale = scale.within(machine.raiseDescriptorLimit())
    wanted = [
        contender
        for contender in CONTENDERS
        if (contender.name in only if only else scale.everybody or contender.quick)
    ]
    versions = present(wanted)
    contenders = [contender for contender in wanted if contender.name in versions]
    if not contenders:
        return None
    described = machine.describe()
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(scale, contenders, create(Path(directory)))
        bench.run(parts)
    run = report.Run(
        bench.results,
        described,
        versions,
        datetime.datetime.now(datetime.UTC).date().isoformat(),
        time.monotonic() - bench.begun,
        asdict(scale),
    )
    text = report.markdown(run)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        (output / "table.md").write_text(text)
        (output / "latest.json").write_text(report.jsonText(run))
        (output / "plot.svg").write_text(plot.svg(run))
    print(text)
    return run
