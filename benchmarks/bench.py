"""
One run: every contender in turn, round after round, then those things that need only one.
"""

from __future__ import annotations

import datetime
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks import machine, measures, plot, report
from benchmarks.contenders import CONTENDERS, MODES, Contender, Mode
from benchmarks.credentials import Credentials, create
from benchmarks.figures import Results
from benchmarks.floods import FLOODS
from benchmarks.load import IMPLICIT, SMTP, Speaking
from benchmarks.measures import Figures, Scale
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
        self.failures: Counter[tuple[str, Mode, str]] = Counter()
        self.begun = time.monotonic()

    def _pairs(self) -> Iterator[tuple[Contender, Mode]]:
        for mode in MODES:
            for contender in self.contenders:
                if mode in contender.modes:
                    yield contender, mode

    def _measure(
        self,
        title: str,
        contender: Contender,
        mode: Mode,
        measure: Measure,
        speaking: Speaking = IMPLICIT,
    ) -> None:
        what = f"{title}: {contender.name}, {mode} mode"
        if self.failures[contender.name, mode, speaking.dialect] > 1:
            return
        if time.monotonic() - self.begun > self.scale.budget:
            self.results.notes.append(f"{what}: no time left")
            return
        say(f"[{time.monotonic() - self.begun:4.0f} s] {what}")
        try:
            with started(contender, mode, self.credentials, self.cores, speaking) as running:
                for figures in measure(running):
                    self.results.add(mode, contender.name, figures)
        except Exception as problem:  # noqa: BLE001 - what was measured before must not be lost
            say(str(problem) if isinstance(problem, Failed) else traceback.format_exc())
            self.failures[contender.name, mode, speaking.dialect] += 1
            first, _, _ = str(problem).partition("\n")
            self.results.notes.append(f"{what}: {first or repr(problem)}")

    def run(self) -> None:
        """Measure everything that there is time for."""
        os.sched_setaffinity(0, {self.cores.load})
        # The rounds are what may take longer than they should.
        self._floods()
        self._rounds()
        self._idle()

    def _floods(self) -> None:
        """In the dialects that can be compared, or in all."""
        scale = self.scale
        for flood in FLOODS:
            able = [each for each in self.contenders if each.canSpeak(flood.dialect)]
            if scale.everybody or (flood.piece and len(able) > 1):
                for contender in able:
                    self._measure(
                        f"flood, {flood.name}",
                        contender,
                        "server",
                        lambda run: measures.flooded(run, scale.floods),
                        flood.speaking,
                    )

    def _rounds(self) -> None:
        """What changes with the machine's mood, in turns."""
        scale = self.scale
        for number in range(1, scale.rounds + 1):
            title = f"round {number} of {scale.rounds}"
            for contender, mode in self._pairs():
                self._measure(title, contender, mode, lambda run: measures.turn(run, scale))
                if SMTP.dialect in contender.dialects:
                    self._measure(
                        f"{title}, starttls",
                        contender,
                        mode,
                        lambda run: measures.starttls(run, scale.connections),
                        SMTP,
                    )

    def _idle(self) -> None:
        """With many connections open."""
        scale = self.scale
        for contender, mode in self._pairs():
            if scale.idle[mode]:
                self._measure(
                    "idle connections", contender, mode, lambda run: measures.growth(run, scale)
                )
                self._measure(
                    "after bulk", contender, mode, lambda run: measures.carried(run, scale)
                )


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


def main(scale: Scale, only: list[str] | None, output: Path) -> int:
    """
    Measure, print the tables, and write C{latest.json}, C{table.md} and C{plot.svg}.

    @return: an exit status.
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
        return 1
    described = machine.describe()
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(scale, contenders, create(Path(directory)))
        bench.run()
    run = report.Run(
        bench.results,
        described,
        versions,
        datetime.datetime.now(datetime.UTC).date().isoformat(),
        time.monotonic() - bench.begun,
        asdict(scale),
    )
    output.mkdir(parents=True, exist_ok=True)
    text = report.markdown(run)
    (output / "table.md").write_text(text)
    (output / "latest.json").write_text(report.jsonText(run))
    (output / "plot.svg").write_text(plot.svg(run))
    print(text)
    return 0
