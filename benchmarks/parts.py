"""
The parts of a run: which contenders do what, in which order.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks import defaults, instructions, measures, scaling, tlsfloods
from benchmarks.bench import Bench, Part
from benchmarks.contenders import MODES, Contender, Mode
from benchmarks.figures import NOW
from benchmarks.floods import FLOODS
from benchmarks.load import IMPLICIT, SMTP

#: Who is flooded, who of them also in the quick form, and who may have several workers.
_FLOODED = (NOW, "stunnel", "nginx", "hitch", "haproxy")
_FLOODED_QUICKLY = _FLOODED[:3]
_WITH_WORKERS = (NOW, "nginx", "hitch", "haproxy")


def _pairs(bench: Bench) -> Iterator[tuple[Contender, Mode]]:
    for mode in MODES:
        for contender in bench.contenders:
            if mode in contender.modes:
                yield contender, mode


def floods(bench: Bench) -> None:
    """Those of dialects, of what can be compared or of all, and those of TLS."""
    scale = bench.scale
    for flood in FLOODS:
        able = [each for each in bench.contenders if each.canSpeak(flood.dialect)]
        if scale.everybody or (flood.piece and len(able) > 1):
            work = partial(measures.flooded, samples=scale.floods)
            for contender in able:
                title = f"flood, {flood.dialect}"
                bench.measure(title, contender, "server", work, flood.speaking)
    tlsFloods(bench)


def tlsFloods(bench: Bench) -> None:
    """What TLS has to flood with, in either direction."""
    scale = bench.scale
    for flood in tlsfloods.TLS_FLOODS:
        if not (scale.everybody or flood.quick):
            continue
        for contender, mode in _pairs(bench):
            if contender.name not in (_FLOODED if scale.everybody else _FLOODED_QUICKLY):
                continue
            with tempfile.TemporaryDirectory() as directory:
                speaking = tlsfloods.speaking(flood, mode, bench.credentials, Path(directory))
                work = partial(measures.flooded, samples=scale.tlsFloods)
                bench.measure(f"flood, {flood.name}", contender, mode, work, speaking)


def rounds(bench: Bench) -> None:
    """What changes with the machine's mood, in turns."""
    scale = bench.scale
    for number in range(1, scale.rounds + 1):
        title = f"round {number} of {scale.rounds}"
        if number > 1 and bench.left() < scale.budget / 2:
            bench.results.notes.append(f"{title}: no time left beside the other parts")
            return
        for contender, mode in _pairs(bench):
            bench.measure(title, contender, mode, partial(measures.turn, scale=scale))
            if SMTP.dialect in contender.dialects:
                work = partial(measures.starttls, count=scale.connections)
                bench.measure(f"{title}, starttls", contender, mode, work, SMTP)
        if scale.everybody or number == 1:
            _defaults(bench, f"{title}, defaults")


def byDefault(bench: Bench) -> None:
    """Defaults beside defaults, in as many rounds."""
    for number in range(1, bench.scale.rounds + 1):
        _defaults(bench, f"round {number} of {bench.scale.rounds}, defaults")


def _defaults(bench: Bench, title: str) -> None:
    work = partial(defaults.connections, count=bench.scale.connections)
    names = [each.name for each in bench.contenders]
    for mode in MODES:
        for contender in defaults.DEFAULTS:
            if contender.name in names:
                bench.measure(title, contender, mode, work, defaults.NEW)
                if mode == "server":
                    what = f"{title}, returning"
                    bench.measure(what, contender, mode, work, defaults.RETURNING)


def idle(bench: Bench) -> None:
    """With many connections open."""
    scale = bench.scale
    for contender, mode in _pairs(bench):
        if scale.idle[mode]:
            work = partial(measures.growth, scale=scale)
            bench.measure("idle connections", contender, mode, work)
            bench.measure("after bulk", contender, mode, partial(measures.carried, scale=scale))


def workers(bench: Bench) -> None:
    """More of them, where they can be had."""
    scale = bench.scale
    for _ in range(scale.workers):
        for contender in bench.contenders:
            numbers = scaling.WORKERS if scale.everybody else scaling.WORKERS[:2]
            for count in numbers if contender.name in _WITH_WORKERS else ():
                cores = bench.cores.forWorkers(count)
                os.sched_setaffinity(0, cores.load)
                work = partial(
                    scaling.scaled,
                    workers=count,
                    count=scale.connections * 2,
                    loads=len(cores.load),
                )
                bench.measure(f"{count} workers", contender, "server", work, IMPLICIT, count)
    os.sched_setaffinity(0, bench.cores.load)
    scaling.judge(bench.results)


def counts(bench: Bench) -> None:
    """Instructions of the checkout, which are the same whatever else the machine does."""
    for contender in bench.contenders:
        if contender.name != NOW:
            continue
        for mode in MODES:
            for speaking in (IMPLICIT, SMTP) if bench.scale.everybody else (IMPLICIT,):
                with tempfile.TemporaryDirectory() as directory:
                    callgrind = instructions.Callgrind(Path(directory))
                    work = partial(
                        instructions.counted, callgrind=callgrind, connections=bench.scale.counted
                    )
                    what = f"instructions{', starttls' if speaking.dialect else ''}"
                    bench.measure(what, callgrind.over(contender), mode, work, speaking)


#: Idle connections are what may be left out.
EVERYTHING: tuple[Part, ...] = (rounds, floods, counts, workers, idle)
