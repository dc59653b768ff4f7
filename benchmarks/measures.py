"""
What is measured on a running tunnel, and how much of it.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.contenders import Mode
from benchmarks.floods import FloodClient, longestWait
from benchmarks.latency import latencies, pacedLatencies
from benchmarks.running import Running

GB = 1e9
MiB = 1 << 20
KiB = 1 << 10

#: Names of figures to values; a figure about many idle connections ends in C{@} and their number.
Figures = dict[str, float]


@dataclass(frozen=True)
class Scale:
    """
    How much is done of everything: enough for figures that repeat within a few per cent.

    @ivar rounds: turns of every contender.
    @ivar bulk: bytes of one bulk transfer.
    @ivar carriers: connections that carry C{carried} bytes each way before they are weighed.
    @ivar idle: numbers of open idle connections at which to weigh and measure again.
    @ivar floods: how often each flood is poured, and C{tlsFloods} each of those of TLS itself.
    @ivar workers: how often each number of workers is measured.
    @ivar counted: how many connections are counted in instructions, and then twice as many.
    @ivar everybody: whether also those take part whom nothing is compared with, and all floods.
    @ivar budget: seconds after which no new turn begins.
    """

    rounds: int
    connections: int
    bulk: int
    roundTrips: int
    pacedRoundTrips: int
    carriers: int
    carried: int
    idle: dict[Mode, tuple[int, ...]]
    repeats: int
    budget: float
    floods: int
    tlsFloods: int
    workers: int
    counted: int
    everybody: bool

    def within(self, descriptors: int) -> Scale:
        """@return: the same for a machine where a process may open only so many descriptors."""
        # Two for each connection; stunnel allows itself 125 connections for 256 descriptors.
        most = descriptors * 125 // 256 - 100

        def fitting(steps: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(sorted({min(step, most) for step in steps}))

        return replace(self, idle={mode: fitting(steps) for mode, steps in self.idle.items()})


FULL = Scale(
    rounds=5,
    connections=500,
    bulk=192 * MiB,
    roundTrips=2000,
    pacedRoundTrips=1000,
    carriers=20,
    carried=64 * MiB,
    idle={"server": (10, 1_000, 10_000), "client": (10, 1_000)},
    repeats=3,
    budget=1680,
    floods=5,
    tlsFloods=3,
    workers=3,
    counted=40,
    everybody=True,
)

QUICK = Scale(
    rounds=2,
    connections=250,
    bulk=96 * MiB,
    roundTrips=800,
    pacedRoundTrips=500,
    carriers=8,
    carried=64 * MiB,
    idle={"server": (10, 1_000), "client": ()},
    repeats=1,
    budget=270,
    floods=3,
    tlsFloods=1,
    workers=1,
    counted=20,
    everybody=False,
)

CONCURRENT = 32
#: stunnel's SMTP server waits 200 ms for clients that do TLS at once: many must wait together.
_CONCURRENT_SMTP = 64
_FIRST_CARRIERS = 4
_PACED_CONNECTIONS = 100
_PACED_RATE = 1000.0


def connections(running: Running, count: int, concurrent: int = CONCURRENT) -> float:
    """@return: CPU microseconds per connection."""
    count = count // 4 if running.contender.forks else count
    before = running.processorTime()
    running.client.churn(count, concurrent)
    return (running.processorTime() - before) / count * 1e6


def starttls(running: Running, count: int) -> Iterator[Figures]:
    """Connections with an SMTP negotiation before the handshake."""
    running.client.churn(CONCURRENT, CONCURRENT)
    yield {"starttls": connections(running, count, _CONCURRENT_SMTP)}


def bulk(running: Running, size: int, quiet: float = 0.1) -> Figures:
    """CPU seconds per GB and GB per second, by what the tunnel does with the bytes."""
    decrypt, encrypt = ("up", "down") if running.mode == "server" else ("down", "up")
    figures: Figures = {}
    for name, direction in (("decrypt", decrypt), ("encrypt", encrypt)):
        transfer = running.client.bulk()
        with transfer.connection:
            before = running.processorTime(quiet)
            seconds = getattr(transfer, direction)(size)
            spent = running.processorTime(quiet) - before
        figures[name] = spent / size * GB
        figures[f"{name}Rate"] = size / seconds / GB
    return figures


def _percentiles(times: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(times, n=100)
    return cuts[49] * 1e6, cuts[98] * 1e6


def latency(running: Running, scale: Scale) -> Figures:
    """Microseconds of a request and its response."""
    p50, p99 = _percentiles(latencies(running.client, scale.roundTrips))
    paced = pacedLatencies(running.client, _PACED_CONNECTIONS, scale.pacedRoundTrips, _PACED_RATE)
    p50paced, p99paced = _percentiles(paced)
    return {"p50": p50, "p99": p99, "p50of100": p50paced, "p99of100": p99paced}


def turn(running: Running, scale: Scale) -> Iterator[Figures]:
    """One contender's turn in a round."""
    running.client.churn(CONCURRENT, CONCURRENT)
    yield {"connection": connections(running, scale.connections)}
    yield latency(running, scale)
    yield bulk(running, scale.bulk)


def flooded(running: Running, samples: int) -> Iterator[Figures]:
    """Milliseconds that somebody waits for an answer at most while somebody else floods."""
    assert isinstance(running.client, FloodClient)
    for _ in range(samples):
        yield {f"flood@{running.client.name}": longestWait(running.client) * 1e3}


@contextlib.contextmanager
def _closing(opened: list[socket.socket]) -> Iterator[None]:
    try:
        yield
    finally:
        for connection in opened:
            connection.close()


def growth(running: Running, scale: Scale) -> Iterator[Figures]:
    """KiB per idle connection, and what a connection and a byte cost while they are open."""
    opened: list[socket.socket] = []
    with _closing(opened):
        empty = 0
        steps = scale.idle[running.mode]
        for step in steps:
            if step > running.contender.idleLimit:
                break
            first = len(opened)
            opened += running.client.idle(step - first)
            if empty:
                used = running.anonymousMemory() - empty
                yield {f"idle@{step}": used / (step - steps[0]) / KiB}
            samples: dict[str, list[float]] = {"connection": [], "decrypt": [], "encrypt": []}
            for _ in range(scale.repeats):
                samples["connection"].append(connections(running, scale.connections))
                for name, value in bulk(running, scale.bulk // 2).items():
                    samples.setdefault(name, []).append(value)
            for name, values in samples.items():
                if not name.endswith("Rate"):
                    yield {f"{name}@{step}": statistics.median(values)}
            empty = empty or running.anonymousMemory()


def carried(running: Running, scale: Scale) -> Iterator[Figures]:
    """
    KiB per connection that has carried bulk each way and is idle again.  The first few are not
    counted: they take over what the connections before them have left behind.
    """
    opened: list[socket.socket] = []
    weights = []
    with _closing(opened):
        for count in (_FIRST_CARRIERS, scale.carriers):
            for _ in range(count):
                carrier = running.client.bulk()
                opened.append(carrier.connection)
                carrier.both(scale.carried)
            weights.append(running.anonymousMemory())
    yield {"carried": (weights[1] - weights[0]) / scale.carriers / KiB}
