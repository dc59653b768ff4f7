"""
Counts of instructions that are kept in the repository, and what is counted now beside them.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from cryptography.hazmat.backends.openssl.backend import backend as openssl

from benchmarks.contenders import MODES, Mode
from benchmarks.figures import NOW, Results, describing, title
from benchmarks.report import Run

#: Where they are.
KEPT = Path(__file__).parent / "results" / "instructions.json"

#: What is counted may be so many times what is kept, at most.
MOST_KEPT = 1.05


def versions() -> dict[str, str]:
    """@return: what instructions depend on, beside our own code."""
    valgrind = subprocess.run(
        ["valgrind", "--version"], check=False, capture_output=True, text=True
    )
    return {
        "Python": platform.python_version(),
        "OpenSSL": re.sub(r"^OpenSSL (\S+).*", r"\1", openssl.openssl_version_text()),
        **{name: version(name) for name in ("Twisted", "pyOpenSSL", "cryptography")},
        "valgrind": valgrind.stdout.strip().removeprefix("valgrind-"),
        "libc": " ".join(platform.libc_ver()),
        "machine": platform.machine(),
    }


@dataclass(frozen=True)
class Counted:
    """
    @ivar counts: thousands of instructions, by mode and name of figure.
    """

    versions: dict[str, str]
    counts: dict[str, dict[str, float]]

    @classmethod
    def of(cls, results: Results, found: dict[str, str]) -> Counted:
        """@return: what of C{results} is a count of instructions."""
        counts = {
            mode: {
                name: round(value.median, 1)
                for name in results.names(mode)
                if describing(name).isCount and (value := results.value(mode, NOW, name))
            }
            for mode in MODES
        }
        return cls(found, {mode: each for mode, each in counts.items() if each})

    @classmethod
    def read(cls, path: Path) -> Counted | None:
        """@return: what is kept, or C{None} where nothing is."""
        try:
            content = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        return cls(content["versions"], content["thousands of instructions"])

    def write(self, path: Path) -> None:
        """Keep it; figures that were not counted this time stay as they are."""
        before = Counted.read(path)
        counts = {
            mode: {**(before.counts.get(mode, {}) if before else {}), **self.counts.get(mode, {})}
            for mode in MODES
        }
        content = {"versions": self.versions, "thousands of instructions": counts}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")


@dataclass(frozen=True)
class Change:
    """
    One figure, before and now.
    """

    mode: Mode
    name: str
    before: float
    now: float

    @property
    def ratio(self) -> float:
        return self.now / self.before

    @property
    def isJudged(self) -> bool:
        """Whether it is a sum, and no part of one."""
        return "@" not in self.name

    @property
    def isWorse(self) -> bool:
        return self.isJudged and self.ratio > MOST_KEPT


def changes(before: Counted, now: Counted) -> Iterator[Change]:
    """@return: of what both have."""
    for mode in MODES:
        for name, value in now.counts.get(mode, {}).items():
            if earlier := before.counts.get(mode, {}).get(name):
                yield Change(mode, name, earlier, value)


def compared(before: Counted, now: Counted) -> list[str]:
    """@return: a table, and what has to be known of it."""
    lines = [
        "| mode | thousands of instructions | kept | now | ratio | |",
        "|---|---|---|---|---|---|",
    ]
    for change in changes(before, now):
        verdict = "**worse**" if change.isWorse else ""
        lines.append(
            f"| {change.mode} | {title(change.name)} | {change.before:,.0f} | {change.now:,.0f} "
            f"| {change.ratio:.3f} | {verdict} |"
        )
    others = [
        f"{name} {before.versions.get(name, 'unknown')}, now {found}"
        for name, found in now.versions.items()
        if before.versions.get(name) != found
    ]
    if others:
        lines += ["", f"What is kept was counted with other versions: {'; '.join(others)}."]
    lines += ["", f"A ratio must be {MOST_KEPT:.2f} at most."]
    return lines


def show(run: Run, path: Path = KEPT) -> bool:
    """
    Print what was counted beside what is kept.

    @return: whether nothing is worse.
    """
    now, before = Counted.of(run.results, versions()), Counted.read(path)
    if before is None:
        print(f"There is no {path} to compare with: make it with --instructions --keep.")
        return True
    print("\n".join(["## Instructions, beside what is kept", "", *compared(before, now), ""]))
    return not any(change.isWorse for change in changes(before, now))


def main(run: Run | None, keep: bool, path: Path = KEPT) -> int:
    """
    Compare with what is kept, and keep what was counted now if that is asked for.

    @return: an exit status.
    """
    if run is None or not Counted.of(run.results, {}).counts:
        return 1
    isGood = show(run, path)
    if keep:
        Counted.of(run.results, versions()).write(path)
        return 0
    return 0 if isGood else 1
