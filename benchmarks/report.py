"""
A run's results as Markdown, for people, and as JSON, for comparing runs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from benchmarks.contenders import MODES, Mode
from benchmarks.demands import Demand, demands
from benchmarks.figures import BEFORE, NOW, Results, describing, title

_RATIOS_TO = ("stunnel", "nginx")
#: Of the figures that there are several of, those whose ratios are shown.
_COMPARED = ("idle@", "flood@", "default@", "capacity@")


@dataclass(frozen=True)
class Run:
    """
    @ivar when: the day, in ISO form.
    @ivar scale: how much was measured, and how often.
    """

    results: Results
    machine: dict[str, str]
    versions: dict[str, str]
    when: str
    seconds: float
    scale: dict[str, object]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return [_row(header), "|" + "---|" * len(header), *map(_row, rows), ""]


def _figures(results: Results, mode: Mode) -> list[str]:
    contenders = results.contenders(mode)
    rows = []
    for name in results.names(mode):
        figure = describing(name)
        cells = [f"{title(name)}, {figure.unit}".removesuffix(", ")]
        for contender in contenders:
            value = results.value(mode, contender, name)
            if value is None:
                cells.append("")
            elif len(value.samples) > 1:
                cells.append(f"{figure.show(value.median)} ±{value.spread:.0%}")
            else:
                cells.append(figure.show(value.median))
        rows.append(cells)
    return _table(["", *contenders], rows)


def _ratios(results: Results, mode: Mode) -> list[str]:
    contenders = results.contenders(mode)
    peers = [peer for peer in _RATIOS_TO if peer in contenders]
    if not peers:
        return []
    rows = []
    for name in results.names(mode):
        if describing(name).isAlone or ("@" in name and not name.startswith(_COMPARED)):
            continue
        cells = [title(name)]
        for contender in contenders:
            ours = results.value(mode, contender, name)
            ratios = []
            for peer in peers:
                theirs = results.value(mode, peer, name)
                if ours and theirs and theirs.median:
                    ratios.append(f"{ours.median / theirs.median:.2f}")
                else:
                    ratios.append("-")
            cells.append(" / ".join(ratios) if set(ratios) != {"-"} else "")
        rows.append(cells)
    return _table([f"ratio to {' / '.join(peers)}", *contenders], rows)


def _demands(found: list[Demand]) -> list[str]:
    rows = [
        [
            demand.mode,
            title(demand.name),
            demand.compared,
            f"{demand.most:.2f}",
            f"{demand.ratio:.2f}",
            "yes" if demand.reached else "**no**",
        ]
        for demand in found
    ]
    return _table(["mode", "figure", "compared with", "at most", "measured", "reached"], rows)


def markdown(run: Run) -> str:
    """@return: the tables, with machine and versions above them."""
    lines = [
        "# tlstunnel side by side",
        "",
        f"Measured on {run.when} in {run.seconds:.0f} s: "
        + ", ".join(f"{name} {value}" for name, value in run.machine.items())
        + ".",
        "",
        "Versions: " + ", ".join(f"{name} {value}" for name, value in run.versions.items()) + ".",
        "",
        "Cells are medians, ± half the range of the samples. `plain` is a relay without TLS.",
        "",
    ]
    for mode in MODES:
        if run.results.contenders(mode):
            lines += [f"## {mode.capitalize()} mode", ""]
            lines += _figures(run.results, mode)
            lines += _ratios(run.results, mode)
    if found := demands(run.results):
        lines += ["## What must be reached", "", *_demands(found)]
    if run.results.notes:
        lines += ["## Notes", "", *(f"- {note}" for note in run.results.notes), ""]
    return "\n".join(lines)


def _compared(results: Results, mode: Mode, peers: list[str]) -> list[list[str]]:
    rows = []
    for name in results.names(mode):
        figure = describing(name)
        before, now = results.value(mode, BEFORE, name), results.value(mode, NOW, name)
        ratio = results.ratio(mode, name, NOW, BEFORE)
        if before is None or now is None or ratio is None:
            continue
        cells = [f"{title(name)}, {figure.unit}", mode]
        cells += [figure.show(before.median), figure.show(now.median), f"{ratio.median:.3f}"]
        cells.append("{:.3f} to {:.3f}".format(*ratio.middle))
        for peer in peers:
            theirs = results.ratio(mode, name, NOW, peer)
            cells.append(f"{theirs.median:.2f}" if theirs else "")
        rows.append(cells)
    return rows


def comparison(run: Run, headline: str, both: str) -> str:
    """
    @param both: a sentence that says what C{before} and C{now} are.
    @return: the table of two contestants.
    """
    peers = [name for name in run.versions if name not in (BEFORE, NOW)]
    header = ["figure", "mode", "before", "now", "ratio", "spread of ratio over rounds"]
    header += [f"now to {peer} {run.versions[peer]}" for peer in peers]
    rows = [row for mode in MODES for row in _compared(run.results, mode, peers)]
    lines = [
        f"# {headline}",
        "",
        f"Measured on {run.when} in {run.seconds:.0f} s and {run.scale['rounds']} rounds: "
        + ", ".join(f"{name} {value}" for name, value in run.machine.items())
        + ".",
        "",
        both,
        "Each round gives a ratio; the median is shown, and between what limits half of them lie.",
        "",
        *_table(header, rows),
    ]
    if run.results.notes:
        lines += ["Not measured:", "", *(f"- {note}" for note in run.results.notes), ""]
    return "\n".join(lines)


def jsonText(run: Run) -> str:
    """@return: all samples, and what was demanded."""
    content = {
        "when": run.when,
        "seconds": round(run.seconds),
        "machine": run.machine,
        "versions": run.versions,
        "scale": run.scale,
        "figures": run.results.plainly(),
        "demands": [
            {
                "mode": demand.mode,
                "figure": demand.name,
                "compared": demand.compared,
                "most": demand.most,
                "ratio": round(demand.ratio, 3),
                "reached": demand.reached,
            }
            for demand in demands(run.results)
        ],
        "notes": run.results.notes,
    }
    return json.dumps(content, indent=1) + "\n"
