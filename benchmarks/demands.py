"""
What is demanded of tlstunnel's figures, beside those of others in the same run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.contenders import MODES, Mode
from benchmarks.figures import NO_FLOOD, NOW, Results

#: Those that people use, of whom the best may be what is compared with.
PEERS = ("stunnel", "nginx", "hitch", "haproxy", "socat")

#: An idle connection's memory, and the longest turn of others under a flood.
IDLE_KIB: dict[Mode, int] = {"server": 24, "client": 30}
FLOODED_MS = 50

_BYTES = {"nginx": 0.90, "stunnel": 0.80}
#: By mode and figure, what it may be at most as a part of whose.
_RATIOS: dict[Mode, dict[str, dict[str, float]]] = {
    "server": {
        "decrypt": _BYTES,
        "encrypt": _BYTES,
        "connection": {"stunnel": 0.60, "nginx": 1.15},
        "starttls": {"stunnel": 0.60},
        "carried": {"stunnel": 1.0, "hitch": 1.0},
    },
    "client": {
        "decrypt": _BYTES,
        "encrypt": _BYTES,
        "connection": {"nginx": 1.05},
        "default": {"stunnel": 1.10},
        "starttls": {"stunnel": 0.60},
        "carried": {"stunnel": 1.0, "hitch": 1.0},
    },
}
_IDLE: dict[Mode, dict[str, float]] = {
    "server": {"nginx": 1.0, "hitch": 1.0, "stunnel": 1.0},
    "client": {"nginx": 1.0, "hitch": 1.0, "stunnel": 1.0, "haproxy": 1.0},
}


@dataclass(frozen=True)
class Demand:
    """
    A ratio that must be reached.

    @ivar compared: tlstunnel's figure with whose, or with which other figure of its own.
    """

    mode: Mode
    name: str
    compared: str
    most: float
    ratio: float

    @property
    def reached(self) -> bool:
        return self.ratio <= self.most


def demands(results: Results) -> list[Demand]:
    """@return: what was demanded of tlstunnel and could be judged in this run."""
    return [demand for mode in MODES for demand in _InMode(results, mode).all()]


@dataclass(frozen=True)
class _InMode:
    """
    What is demanded in one mode.
    """

    results: Results
    mode: Mode

    def _median(self, contender: str, name: str) -> float | None:
        value = self.results.value(self.mode, contender, name)
        return value.median if value else None

    def all(self) -> Iterator[Demand]:
        for name, limits in _RATIOS[self.mode].items():
            yield from self._against(name, limits)
        yield from self._best("p50", 1.05)
        for name in self.results.names(self.mode):
            stem, _, which = name.partition("@")
            if stem == "flood" and which != NO_FLOOD:
                yield from self._below(name, FLOODED_MS, "ms")
                yield from self._against(name, {"stunnel": 1.0})
            elif stem == "idle":
                yield from self._below(name, IDLE_KIB[self.mode], "KiB")
                yield from self._against(name, _IDLE[self.mode])
            elif which.isdigit() and int(which) > 10:
                yield from self._growing(name, stem)

    def _against(self, name: str, limits: dict[str, float]) -> Iterator[Demand]:
        """Beside the same figure of others."""
        ours = self._median(NOW, name)
        for contender, most in limits.items():
            theirs = self._median(contender, name)
            if ours and theirs:
                yield Demand(self.mode, name, contender, most, ours / theirs)

    def _best(self, name: str, most: float) -> Iterator[Demand]:
        """Beside the least figure of all."""
        medians = {peer: self._median(peer, name) for peer in PEERS}
        found = {peer: median for peer, median in medians.items() if median}
        if found:
            yield from self._against(name, {min(found, key=lambda peer: found[peer]): most})

    def _below(self, name: str, limit: int, unit: str) -> Iterator[Demand]:
        """Whatever others have."""
        if ours := self._median(NOW, name):
            yield Demand(self.mode, name, f"{limit} {unit}", 1.0, ours / limit)

    def _growing(self, name: str, stem: str) -> Iterator[Demand]:
        """Beside the same while few connections are idle."""
        ours, few = self._median(NOW, name), self._median(NOW, f"{stem}@10")
        if ours and few:
            yield Demand(self.mode, name, "10 idle", 1.15, ours / few)
