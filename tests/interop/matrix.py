"""
C{python -m tests.interop.matrix}: shows what L{tests.interop.results} collected, as
docs/interop.md.  The same results make the same page: there is no date in it, and no path.

With C{--check} nothing is written; the exit code is 1 when a dialect and role was tested with
nothing.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

from tests.interop.results import directory

DIALECTS = (
    *("none", "smtp", "lmtp", "imap", "pop3", "nntp", "sieve", "ftp", "xmpp-client"),
    *("xmpp-server", "ldap", "postgresql", "mysql", "irc", "telnet", "http", "nut"),
    *("munin", "nats", "nbd", "vnc"),
)

#: Where no other program exists to test with, or none is installed: the reason, shown in its cell.
REASONS: dict[tuple[str, str], str] = {}

HEAD = """\
# What was tested with what

Written by the test run (`make interop`), which talks to the real programs named here, unmodified,
on loopback. *Client mode*: a plaintext program reaches this server through the tunnel. *Server
mode*: this client reaches a plaintext-only server through the tunnel, verifying the tunnel's
certificate. `none` is TLS from the first byte.

| protocol | client mode: servers | server mode: clients |
|---|---|---|
"""

#: By peer and its version: what was done with it.
Cell = dict[tuple[str, str], set[str]]


def results() -> Path:
    """
    The file that the results are in.
    """
    return directory() / "results.jsonl"


def forget() -> None:
    """
    Begin anew.
    """
    results().unlink(missing_ok=True)


def collected(source: Path) -> dict[tuple[str, str], Cell]:
    """
    What was done, by dialect and role.
    """
    cells: dict[tuple[str, str], Cell] = defaultdict(lambda: defaultdict(set))
    if source.exists():
        for line in source.read_text().splitlines():
            entry = json.loads(line)
            cell = cells[entry["dialect"], entry["role"]]
            cell[entry["peer"], entry["version"]].add(entry["what"])
    return cells


def render(cells: dict[tuple[str, str], Cell]) -> str:
    """
    The page.
    """

    def cell(dialect: str, role: str) -> str:
        tested = cells.get((dialect, role), {})
        order = sorted(tested, key=lambda which: (which[0].lower(), which))
        peers = [f"**{' '.join(which)}**: {'; '.join(sorted(tested[which]))}" for which in order]
        reason = REASONS.get((dialect, role), "" if peers else "not tested")
        return "<br>".join([*peers, *([reason] if reason else [])])

    rows = [f"| {name} | {cell(name, 'client')} | {cell(name, 'server')} |" for name in DIALECTS]
    return HEAD + "\n".join(rows) + "\n"


def main(arguments: list[str]) -> int:
    """
    @return: the exit code.
    """
    cells = collected(results())
    if arguments == ["--check"]:
        wanted = {(dialect, role) for dialect in DIALECTS for role in ("client", "server")}
        empty = sorted(wanted - set(cells) - set(REASONS))
        for dialect, role in empty:
            print(f"not tested: {dialect}, {role} mode", file=sys.stderr)
        return 1 if empty else 0
    page = Path(__file__).resolve().parents[2] / "docs" / "interop.md"
    page.parent.mkdir(exist_ok=True)
    page.write_text(render(cells))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
