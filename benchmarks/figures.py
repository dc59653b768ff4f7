"""
The figures: what each is called, how samples become one, and what is demanded of them.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from benchmarks.contenders import Mode

#: The contender that is the checkout, and the one that is an earlier commit of it.
NOW = "tlstunnel"
BEFORE = "before"

#: What is called a flood, and is none: what others wait for anyway.
NO_FLOOD = "nobody"


@dataclass(frozen=True)
class Figure:
    """
    @ivar name: as in the results; C{idle@} stands for each number of connections measured, and
        C{flood@} for each flood.
    @ivar form: how a value is printed.
    @ivar counted: what a number behind the C{@} is one of.
    """

    name: str
    title: str
    unit: str
    form: str
    counted: str = "idle"

    @property
    def isAlone(self) -> bool:
        """Whether a ratio to that of others says nothing."""
        return self.isCount or self.unit == "%"

    @property
    def isCount(self) -> bool:
        """Whether it is a number of instructions, which no mood of the machine changes."""
        return self.name.lower().endswith("instructions")

    def show(self, value: float) -> str:
        return format(value, self.form)


FIGURES = (
    Figure("decrypt", "CPU, TLS to plain", "s/GB", ".2f"),
    Figure("encrypt", "CPU, plain to TLS", "s/GB", ".2f"),
    Figure("decryptRate", "throughput, TLS to plain", "GB/s", ".2f"),
    Figure("encryptRate", "throughput, plain to TLS", "GB/s", ".2f"),
    Figure("connection", "CPU per connection", "us", ".0f"),
    Figure("starttls", "CPU per connection, smtp STARTTLS", "us", ".0f"),
    Figure("default", "CPU per connection, defaults of each", "us", ".0f"),
    Figure("resumed", "connections that resume a session, defaults of each", "%", ".0f"),
    Figure("p50", "latency, 1 connection, p50", "us", ".0f"),
    Figure("p99", "latency, 1 connection, p99", "us", ".0f"),
    Figure("p50of100", "latency, 100 connections, p50", "us", ".0f"),
    Figure("p99of100", "latency, 100 connections, p99", "us", ".0f"),
    Figure("flood", "longest turn under a flood", "ms", ".1f"),
    Figure("idle", "memory per idle connection", "KiB", ".1f"),
    Figure("carried", "memory per connection, idle after 64 MiB each way", "KiB", ".1f"),
    Figure("capacity", "connections a second that are possible", "1/s", ",.0f", "workers"),
    Figure("scaling", "the same, as times of 1 worker", "", ".2f", "workers"),
    Figure("shared", "CPU per connection, all workers", "us", ".0f", "workers"),
    Figure("rate", "connections a second that there were", "1/s", ",.0f", "workers"),
    Figure("busiest", "how busy the busiest worker was", "%", ".0f", "workers"),
    Figure("instructions", "instructions per connection", "k", ",.0f"),
    Figure("starttlsInstructions", "instructions per connection, smtp STARTTLS", "k", ",.0f"),
    Figure("decryptInstructions", "instructions per MiB, TLS to plain", "k", ",.0f"),
    Figure("encryptInstructions", "instructions per MiB, plain to TLS", "k", ",.0f"),
)


def describing(name: str) -> Figure:
    """@return: the figure that C{name}, perhaps with an C{@} and more, is a value of."""
    stem = name.partition("@")[0]
    return next(figure for figure in FIGURES if figure.name == stem)


def title(name: str) -> str:
    """@return: the title for a row or a panel, with the number of idle ones or the dialect."""
    figure = describing(name)
    text = figure.title
    _, _, which = name.partition("@")
    if which.isdigit():
        which = f"{int(which):,} {figure.counted}".removesuffix("s" if which == "1" else "")
    return f"{text}, {which}" if which else text


@dataclass(frozen=True)
class Value:
    """A median with what it is the median of."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def middle(self) -> tuple[float, float]:
        """The first and the third quartile: half of the samples lie between."""
        if len(self.samples) == 1:
            return self.samples[0], self.samples[0]
        first, _, third = statistics.quantiles(self.samples, n=4, method="inclusive")
        return first, third

    @property
    def spread(self) -> float:
        """Half the way from the least to the greatest sample, as a part of the median."""
        if not self.median:
            return 0.0
        return abs((max(self.samples) - min(self.samples)) / 2 / self.median)


class Results:
    """
    All samples of a run: by mode, contender and name of figure.
    """

    def __init__(self) -> None:
        self._samples: dict[tuple[Mode, str], dict[str, list[float]]] = {}
        self.notes: list[str] = []

    def add(self, mode: Mode, contender: str, figures: dict[str, float]) -> None:
        into = self._samples.setdefault((mode, contender), {})
        for name, value in figures.items():
            into.setdefault(name, []).append(value)

    def value(self, mode: Mode, contender: str, name: str) -> Value | None:
        """@return: C{None} where it was not measured."""
        samples = self._samples.get((mode, contender), {}).get(name)
        return Value(tuple(samples)) if samples else None

    def ratio(self, mode: Mode, name: str, of: str, to: str) -> Value | None:
        """
        Compare contenders that were measured in the same rounds.

        @return: the ratios of C{of} to C{to}, one for each round; C{None} where there are none.
        """
        ours, theirs = self.value(mode, of, name), self.value(mode, to, name)
        if ours is None or theirs is None:
            return None
        return Value(tuple(a / b for a, b in zip(ours.samples, theirs.samples, strict=True)))

    def names(self, mode: Mode) -> list[str]:
        """
        @return: the figures measured in this mode, ordered as L{FIGURES}, then by number, and those
            of dialects as they were measured.
        """
        found = {
            name: None
            for (of, _), figures in self._samples.items()
            if of == mode
            for name in figures
        }
        order = [figure.name for figure in FIGURES]

        def place(name: str) -> tuple[int, int]:
            stem, _, which = name.partition("@")
            return order.index(stem), int(which) if which.isdigit() else 0

        return sorted(found, key=place)

    def contenders(self, mode: Mode) -> list[str]:
        return [name for of, name in self._samples if of == mode]

    def plainly(self) -> dict[str, dict[str, dict[str, dict[str, object]]]]:
        """@return: everything, in what JSON can say."""
        plain: dict[str, dict[str, dict[str, dict[str, object]]]] = {}
        for (mode, contender), figures in self._samples.items():
            plain.setdefault(mode, {})[contender] = {
                name: {
                    "median": round(statistics.median(samples), 4),
                    "least": round(min(samples), 4),
                    "greatest": round(max(samples), 4),
                    "samples": [round(sample, 4) for sample in samples],
                    "unit": describing(name).unit,
                }
                for name, samples in figures.items()
            }
        return plain
