"""
The checkout beside an earlier commit of itself: a refactoring is judged by the ratios of one run.

Both are started together on the same core, and one waits while the other has its turn.  Turns are
a few hundredths of a second and alternate, so that what else happens on the machine meets both;
a new round starts both again, the other one first.
"""

from __future__ import annotations

import datetime
import itertools
import os
import statistics
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

from benchmarks import machine, measures, report, revision
from benchmarks.bench import present, say
from benchmarks.contenders import CHECKOUT, MODES, Contender, Mode
from benchmarks.credentials import HOST, Credentials, create
from benchmarks.figures import BEFORE, NOW, Results
from benchmarks.latency import latencies
from benchmarks.load import HEADERS, IMPLICIT, SMTP, TICKETS, Broken, Speaking
from benchmarks.measures import CONCURRENT, Figures, KiB, MiB
from benchmarks.peers import CONTENDERS
from benchmarks.running import Cores, Failed, Running, started
from benchmarks.tunnels import NAMES, poolIn, tunnelIn, tunnelOfFile, tunnelOfNames

T = TypeVar("T")

#: Seconds for the whole run; a round begins if one as long as the last fits into them.
QUICK = 175.0
FULL = 690.0

_CONNECTION_TURNS = 32
_BULK_TURNS = 32
_BULK = 8 * MiB
_LATENCY_TURNS = 16
_ROUND_TRIPS = 250
#: Memory does not depend on what else the machine does: it is weighed only in the first rounds.
_WEIGHED_ROUNDS = 2
#: What a resumed connection may cost, as a part of one with all of the handshake.
MOST_RESUMED = 0.75
#: The same of one whose backend is told of its client.
MOST_HEADED = 1.03
#: The same of one that a program hands over to the pool service, beside one of a tunnel.
MOST_HANDED = 1.3
_FEW_IDLE = 10
_MANY_IDLE = 1_000


def alternate(
    contestants: list[Running], turns: int, work: Callable[[Running], T]
) -> list[list[T]]:
    """
    Let every contestant do C{work}, one after the other, C{turns} times.

    @return: what the work gave, for each contestant.
    @raise Failed: with the name of the one that broke.
    """
    results: list[list[T]] = [[] for _ in contestants]
    for _ in range(turns):
        for contestant, into in zip(contestants, results, strict=True):
            try:
                into.append(work(contestant))
            except (Broken, OSError, EOFError) as problem:
                raise contestant.failure(problem) from problem
    return results


def _connections(contestants: list[Running]) -> list[float]:
    """CPU microseconds per connection."""

    def turn(contestant: Running) -> None:
        contestant.client.churn(CONCURRENT, CONCURRENT)

    before = [contestant.processorTime() for contestant in contestants]
    alternate(contestants, _CONNECTION_TURNS, turn)
    after = [contestant.processorTime() for contestant in contestants]
    count = _CONNECTION_TURNS * CONCURRENT
    return [(end - start) / count * 1e6 for start, end in zip(before, after, strict=True)]


def _growth(contestant: Running) -> float:
    """KiB per idle connection."""
    with ExitStack() as opened:
        for connection in contestant.client.idle(_FEW_IDLE):
            opened.enter_context(connection)
        before = contestant.anonymousMemory()
        for connection in contestant.client.idle(_MANY_IDLE - _FEW_IDLE):
            opened.enter_context(connection)
        return (contestant.anonymousMemory() - before) / (_MANY_IDLE - _FEW_IDLE) / KiB


def _implicit(contestants: list[Running]) -> list[Figures]:
    """What is measured where TLS begins at once."""
    figures: list[Figures] = [{"connection": cost} for cost in _connections(contestants)]
    bulk = alternate(contestants, _BULK_TURNS, partial(measures.bulk, size=_BULK, quiet=0))
    times = alternate(
        contestants, _LATENCY_TURNS, lambda running: latencies(running.client, _ROUND_TRIPS)
    )
    for into, transfers, answers in zip(figures, bulk, times, strict=True):
        for name in ("decrypt", "encrypt"):
            into[name] = statistics.fmean(transfer[name] for transfer in transfers)
        into["p50"] = statistics.median(itertools.chain(*answers)) * 1e6
    return figures


def _weighed(contestants: list[Running]) -> list[Figures]:
    """What is measured on tunnels that have had few connections."""
    return [{f"idle@{_MANY_IDLE}": grown} for (grown,) in alternate(contestants, 1, _growth)]


def _starttls(contestants: list[Running]) -> list[Figures]:
    """What is measured where smtp is negotiated first."""
    return [{"starttls": cost} for cost in _connections(contestants)]


def _connecting(contestants: list[Running]) -> list[Figures]:
    """What is measured where only connections differ."""
    return [{"connection": cost} for cost in _connections(contestants)]


_MEASURES = {IMPLICIT: _implicit, SMTP: _starttls, TICKETS: _connecting, HEADERS: _connecting}

Part = tuple[Mode, Speaking]

#: All of it, and where only whether sessions are resumed is of interest.
EVERYTHING: tuple[Part, ...] = tuple(itertools.product(MODES, (IMPLICIT, SMTP)))
RESUMPTION: tuple[Part, ...] = (("client", TICKETS),)
#: Where only whether backends are told of clients is of interest.
HEADED: tuple[Part, ...] = (("server", HEADERS),)
#: What the pool service is measured by.
HANDED: tuple[Part, ...] = (("client", IMPLICIT),)


class Comparison:
    """
    @ivar rounds: how many were begun.
    @ivar failures: how often a part of a round has failed; twice is enough.
    """

    def __init__(
        self,
        contenders: list[Contender],
        credentials: Credentials,
        parts: tuple[Part, ...] = EVERYTHING,
    ):
        self.contenders = contenders
        self.parts = parts
        self.credentials = credentials
        self.cores = Cores.available()
        self.results = Results()
        self.rounds = 0
        self.failures: Counter[tuple[Mode, str]] = Counter()
        self.begun = time.monotonic()

    def _part(self, mode: Mode, speaking: Speaking) -> None:
        """Measure all contenders, and keep the figures only if there are those of all."""
        contenders = [
            contender
            for contender in self.contenders
            if mode in contender.modes and speaking.dialect in ("", *contender.dialects)
        ]
        if self.rounds % 2 == 0:
            contenders.reverse()
        with ExitStack() as stack:
            contestants = [
                stack.enter_context(
                    started(contender, mode, self.credentials, self.cores, speaking)
                )
                for contender in contenders
            ]
            alternate(contestants, 1, lambda running: running.client.churn(CONCURRENT, CONCURRENT))
            taken = []
            if speaking is IMPLICIT and self.rounds <= _WEIGHED_ROUNDS:
                taken.append(_weighed(contestants))
            taken.append(_MEASURES[speaking](contestants))
        for figures in taken:
            for contender, found in zip(contenders, figures, strict=True):
                self.results.add(mode, contender.name, found)

    def _round(self) -> None:
        self.rounds += 1
        modes = {mode for each in self.contenders for mode in each.modes}
        for mode, speaking in (part for part in self.parts if part[0] in modes):
            what = f"round {self.rounds}: {mode} mode{', starttls' if speaking.dialect else ''}"
            if self.failures[mode, speaking.dialect] > 1:
                continue
            say(f"[{time.monotonic() - self.begun:4.0f} s] {what}")
            try:
                self._part(mode, speaking)
            except Exception as problem:  # noqa: BLE001 - what was measured before must not be lost
                say(str(problem) if isinstance(problem, Failed) else traceback.format_exc())
                self.failures[mode, speaking.dialect] += 1
                first, _, _ = str(problem).partition("\n")
                self.results.notes.append(f"{what}: {first or repr(problem)}")

    def run(self, seconds: float, rounds: int | None) -> None:
        """Measure in as many rounds as fit into C{seconds}, but at least one."""
        os.sched_setaffinity(0, self.cores.load)
        last = 0.0
        while self.rounds != rounds:
            start = time.monotonic()
            if start + last > self.begun + seconds:
                break
            self._round()
            last = time.monotonic() - start


def main(name: str, seconds: float, rounds: int | None, only: list[str]) -> int:
    """
    Measure the checkout, its commit C{name} and those in C{only}, and print the table.

    @param seconds: how long it may take.
    @return: an exit status.
    """
    with tempfile.TemporaryDirectory() as directory:
        try:
            commit = revision.resolve(CHECKOUT, name)
            tree = revision.extract(CHECKOUT, commit, Path(directory) / BEFORE)
        except revision.Unusable as problem:
            say(f"benchmarks: --against {name}: {problem}")
            return 2
        tunnels = [tunnelIn(tree, BEFORE), tunnelIn(CHECKOUT, NOW)]
        for tunnel in tunnels:
            if tunnel.installedVersion() is None:
                say(f"benchmarks: --against {name}: {tunnel.name}: 'tlstunnel --version' fails")
                return 2
        others = [other for other in CONTENDERS if other.name in only and other.name != NOW]
        run = _compare([*tunnels, *others], seconds, rounds)
    both = f"`before` is commit {commit}, `now` the checkout as it is."
    print(report.comparison(run, f"tlstunnel against {name}", both))
    return 0


def ofStatus(seconds: float, rounds: int | None) -> int:
    """
    Measure the checkout with its status beside the checkout without, and print the table.

    @param seconds: how long it may take.
    @return: an exit status.
    """
    run = _compare([tunnelOfFile(BEFORE, False), tunnelOfFile(NOW, True)], seconds, rounds)
    both = "`before` shows no status, `now` does; connections are counted then."
    print(report.comparison(run, "What the status costs", both))
    return 0


def ofNames(seconds: float, rounds: int | None) -> int:
    """
    Measure the checkout with one name beside the checkout with many, and print the table.

    @return: an exit status.
    """
    run = _compare([tunnelOfNames(BEFORE, False), tunnelOfNames(NOW, True)], seconds, rounds)
    both = f"`before` has one name, `now` {NAMES} more, each with a certificate and a context."
    print(report.comparison(run, "What many names cost", both))
    return 0


def ofResumption(seconds: float, rounds: int | None) -> int:
    """
    Measure client connections that resume a session beside those that do not, to a server that lets
    both, and print the table.

    @param seconds: how long it may take.
    @return: an exit status.
    """
    tunnels = [
        tunnelIn(CHECKOUT, name, "--resumption", word)
        for name, word in ((BEFORE, "off"), (NOW, "on"))
    ]
    run = _compare(tunnels, seconds, rounds, RESUMPTION)
    both = (
        "`before` resumes no session, `now` does; the server lets it. The ratio must be "
        f"{MOST_RESUMED:.2f} at most."
    )
    print(report.comparison(run, "What a resumed connection costs", both))
    return _statusOf(run, "client", MOST_RESUMED)


def ofProxyOut(seconds: float, rounds: int | None) -> int:
    """
    Measure server connections whose backend is told in a header of the PROXY protocol who is there
    beside those without, all with the certificate of the client, and print the table.

    @return: an exit status.
    """
    demanding = ("--remote-id", HOST)
    header = ["--proxy-out", "v2"]
    for name in ("alpn", "authority", "ssl", "identity"):
        header += ["--proxy-tlv", name]
    tunnels = [
        tunnelIn(CHECKOUT, BEFORE, *demanding),
        tunnelIn(CHECKOUT, NOW, *demanding, *header),
    ]
    run = _compare(tunnels, seconds, rounds, HEADED)
    both = (
        "`before` tells the backend nothing, `now` who the client is, with version 2 of the PROXY "
        f"protocol; all clients show a certificate. The ratio must be {MOST_HEADED:.2f} at most."
    )
    print(report.comparison(run, "What the PROXY protocol costs", both))
    return _statusOf(run, "server", MOST_HEADED)


def ofPool(seconds: float, rounds: int | None) -> int:
    """
    Measure connections that are handed over to the pool service beside those of a tunnel, in client
    mode, and print the table.

    @return: an exit status.
    """
    contenders = [tunnelIn(CHECKOUT, BEFORE), poolIn(CHECKOUT, NOW)]
    run = _compare(contenders, seconds, rounds, HANDED)
    both = (
        "`before` is a tunnel, `now` the pool service, to which programs hand over connections of "
        f"their own. The ratio of a connection must be {MOST_HANDED:.2f} at most."
    )
    print(report.comparison(run, "What a connection costs that is handed over", both))
    return _statusOf(run, "client", MOST_HANDED)


def _statusOf(run: report.Run, side: Mode, most: float) -> int:
    """The exit status: whether a connection costs C{most} times as much, at most."""
    ratio = run.results.ratio(side, "connection", NOW, BEFORE)
    return 0 if ratio is not None and ratio.median <= most else 1


def _compare(
    wanted: list[Contender],
    seconds: float,
    rounds: int | None,
    parts: tuple[Part, ...] = EVERYTHING,
) -> report.Run:
    """Measure those of C{wanted} that are installed."""
    machine.raiseDescriptorLimit()
    described = machine.describe()
    versions = present(wanted)
    contenders = [contender for contender in wanted if contender.name in versions]
    with tempfile.TemporaryDirectory() as directory:
        comparison = Comparison(contenders, create(Path(directory)), parts)
        comparison.run(seconds, rounds)
    return report.Run(
        comparison.results,
        described,
        versions,
        datetime.datetime.now(datetime.UTC).date().isoformat(),
        time.monotonic() - comparison.begun,
        {"rounds": comparison.rounds},
    )
