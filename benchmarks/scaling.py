"""
What more workers are worth.

Each worker has a core of its own as far as there are so many.  What a tunnel can do is told by the
CPU time of its busiest worker, process or thread: it is the first that can do no more, and the
others help only with what reaches them.  That also counts where the load, and not the tunnel, is
what there is to wait for; how busy that worker was meanwhile says whether it was.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

from benchmarks import accounting
from benchmarks.figures import Results
from benchmarks.load import Broken, Client
from benchmarks.measures import CONCURRENT, Figures
from benchmarks.running import Running

#: Those of each contender.
WORKERS = (1, 2, 4)

#: Per cent of the time that a worker must be busy, or the load is what there is to wait for.
BUSY = 90.0

_PATIENCE_SECONDS = 60.0
_QUIET = 0.1


def threadTimes(pid: int) -> dict[int, float]:
    """@return: CPU seconds of each thread in the tree of processes, by its number."""
    times = {}
    for member in accounting.tree(pid):
        try:
            for path in Path(f"/proc/{member}/task").iterdir():
                times[int(path.name)] = int((path / "schedstat").read_text().split()[0]) / 1e9
        except (FileNotFoundError, ProcessLookupError):
            continue
    return times


def _load(client: Client, barrier: Barrier, count: int) -> None:
    client.churn(CONCURRENT, CONCURRENT)
    for _ in range(2):
        barrier.wait(_PATIENCE_SECONDS)
    client.churn(count, CONCURRENT)


def scaled(running: Running, workers: int, count: int, loads: int) -> Iterator[Figures]:
    """
    Connections from several processes at once.

    @param loads: how many of these.
    """
    # They begin before they have threads: a lock that a thread holds stays locked in them.
    fork = multiprocessing.get_context("fork")
    barrier = fork.Barrier(loads + 1)
    arguments = (running.client, barrier, count // loads)
    others = [fork.Process(target=_load, args=arguments, daemon=True) for _ in range(loads)]
    try:
        for other in others:
            other.start()
        barrier.wait(_PATIENCE_SECONDS)
        time.sleep(_QUIET)
        before = threadTimes(running.pid)
        barrier.wait(_PATIENCE_SECONDS)
        start = time.monotonic()
        for other in others:
            other.join(_PATIENCE_SECONDS)
            if other.exitcode != 0:
                raise Broken("a process of the load has failed")
        seconds = time.monotonic() - start
    finally:
        for other in others:
            other.kill()
    spent = [now - before.get(thread, 0.0) for thread, now in threadTimes(running.pid).items()]
    yield figures(workers, count // loads * loads, seconds, spent)


def figures(workers: int, count: int, seconds: float, spent: list[float]) -> Figures:
    """
    @param spent: the CPU seconds of each worker, for C{count} connections in C{seconds}.
    @return: what C{workers} did, and can do.
    """
    busiest = max(spent)
    return {
        f"rate@{workers}": count / seconds,
        f"capacity@{workers}": count / busiest,
        f"busiest@{workers}": busiest / seconds * 100,
        f"shared@{workers}": sum(spent) / count * 1e6,
    }


def judge(results: Results) -> None:
    """Say what workers are worth, and where the load was what there was to wait for."""
    idle = []
    for contender in results.contenders("server"):
        one = results.value("server", contender, "capacity@1")
        for workers in WORKERS:
            many = results.value("server", contender, f"capacity@{workers}")
            busiest = results.value("server", contender, f"busiest@{workers}")
            if one is None or many is None or busiest is None:
                continue
            if workers > 1:
                scaling = many.median / one.median
                results.add("server", contender, {f"scaling@{workers}": scaling})
            if busiest.median < BUSY:
                idle.append(f"{contender} with {workers} ({busiest.median:.0f} % busy)")
    if idle:
        results.notes.append(f"workers: the load was what there was to wait for: {', '.join(idle)}")
