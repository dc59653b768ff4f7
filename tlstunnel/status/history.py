"""
What was counted by workers that tell it no more.

Prometheus takes a counter that falls for one that began again at 0, and what is left of it for new
events.  So a sum over workers must not fall while the tunnel is there: what a worker said last goes
on counting when another one takes its place, or while it does not answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tlstunnel.status.facts import BackendFacts, Durations, Past, Snapshot, Totals


def total(several: Sequence[Totals]) -> Totals:
    """
    The sum of at least one.
    """
    return {
        "connections": sum(each["connections"] for each in several),
        "refused": _byName([each["refused"] for each in several]),
        "outcomes": _byName([each["outcomes"] for each in several]),
        "negotiation": _durations([each["negotiation"] for each in several]),
        "handshake": _durations([each["handshake"] for each in several]),
        "resumed": sum(each["resumed"] for each in several),
        "to_network": sum(each["to_network"] for each in several),
        "to_plain": sum(each["to_plain"] for each in several),
        "backends": _backends([each["backends"] for each in several]),
    }


def _byName(several: Sequence[Mapping[str, int]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for each in several:
        for name, count in each.items():
            counts[name] = counts.get(name, 0) + count
    return counts


def _backends(several: Sequence[Mapping[str, BackendFacts]]) -> dict[str, BackendFacts]:
    """
    The sums, and of what is so or not, what was heard last.
    """
    found: dict[str, BackendFacts] = {}
    for each in several:
        for name, facts in each.items():
            known = found.get(name)
            if known is None:
                found[name] = facts
                continue
            last = max(known, facts, key=lambda one: one["heard"])
            found[name] = {
                "up": last["up"],
                "heard": last["heard"],
                "open": known["open"] + facts["open"],
                "connections": known["connections"] + facts["connections"],
                "failures": known["failures"] + facts["failures"],
            }
    return found


def _durations(several: Sequence[Durations]) -> Durations:
    return {
        "counts": [sum(same) for same in zip(*(each["counts"] for each in several), strict=True)],
        "seconds": sum(each["seconds"] for each in several),
    }


class History:
    """
    Remembers what each worker said last.
    """

    def __init__(self) -> None:
        # By the numbers of workers, and by the names of tunnels.
        self._last: dict[int, dict[str, Totals]] = {}
        self._processes: dict[int, int] = {}
        self._gone: dict[str, Totals] = {}
        self._lastDropped: dict[int, int] = {}
        self._goneDropped = 0

    def add(self, answered: Mapping[int, Snapshot]) -> Past:
        """
        Take down what workers have said.

        @param answered: by their numbers; those that are silent are not in it.
        @return: what is not in C{answered} and counts nevertheless.
        """
        for number, snapshot in answered.items():
            self._take(number, snapshot)
        silent = [last for number, last in self._last.items() if number not in answered]
        known = {name for last in self._last.values() for name in last}
        # A tunnel that nobody has any more begins at 0 if it comes back.
        self._gone = {name: gone for name, gone in self._gone.items() if name in known}
        found: dict[str, list[Totals]] = {name: [gone] for name, gone in self._gone.items()}
        for last in silent:
            for name, totals in last.items():
                found.setdefault(name, []).append(totals)
        silentDropped = sum(
            count for number, count in self._lastDropped.items() if number not in answered
        )
        return Past(
            {name: total(several) for name, several in found.items()},
            self._goneDropped + silentDropped,
        )

    def _take(self, number: int, snapshot: Snapshot) -> None:
        before = self._last.get(number, {})
        self._last[number] = now = {each["name"]: total([each]) for each in snapshot["tunnels"]}
        process = snapshot["process"]["pid"]
        isAnother = self._processes.get(number) != process
        self._processes[number] = process
        if isAnother:
            self._goneDropped += self._lastDropped.get(number, 0)
        self._lastDropped[number] = snapshot["process"]["log_lines_dropped"]
        for name, totals in before.items():
            isNew = isAnother or name not in now
            if isNew or now[name]["connections"] < totals["connections"]:
                gone = self._gone.get(name)
                self._gone[name] = totals if gone is None else total([gone, totals])
            # A place that nobody knows any more would be kept for ever.
            gone = self._gone.get(name)
            if gone is not None and name in now:
                known = now[name]["backends"]
                places = {place: each for place, each in gone["backends"].items() if place in known}
                self._gone[name] = {**gone, "backends": places}
