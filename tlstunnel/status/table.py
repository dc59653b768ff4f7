"""
The document as a table on a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from tlstunnel.net.spreading import atOnce
from tlstunnel.status.document import Document
from tlstunnel.status.tiles import tilesOf
from tlstunnel.status.words import (
    WITHDRAWN,
    clean,
    inBytes,
    inDays,
    inNumbers,
    inTime,
    moment,
    protocolOf,
    summary,
)

#: Columns on the right of which numbers stand one below the other.
_RIGHT = frozenset(
    (
        "OPEN",
        "CONNECTIONS",
        "FAILED",
        "REFUSED",
        "TO NETWORK",
        "FROM NETWORK",
        "SENT",
        "RECEIVED",
        "AGE",
    )
)

#: On a narrow terminal texts are cut to so few characters before columns fall out of sight.
_NARROWEST = 12


def lines(document: Document, columns: int = sys.maxsize) -> Iterator[str]:
    """
    All of it, a line at a time: what matters most first.

    @param columns: how wide tables should be.
    """
    table = partial(_table, columns)
    software = document["software"]
    yield (
        f"tlstunnel {software['version']} on {clean(document['host'])}: "
        f"{summary(document['problems'], len(document['tunnels']))}  "
        f"{moment(document['time'])}"
    )
    yield from (f"  ! {clean(each)}" for each in document["problems"])
    yield "; ".join(f"{each.title.lower()} {each.figure}" for each in atOnce(tilesOf(document)))
    yield ""
    yield from table(
        "TUNNEL,STATE,MODE,PROTOCOL,OPEN,CONNECTIONS,FAILED,REFUSED,TO NETWORK,FROM NETWORK,"
        "FROM,TO",
        (
            (
                each["name"] or "-",
                each["state"],
                each["mode"],
                protocolOf(each["dialect"]),
                inNumbers(each["open"]),
                inNumbers(each["connections"]),
                inNumbers(sum(each["ended"].values()) - each["ended"].get("clean", 0)),
                inNumbers(sum(each["refused"].values())),
                inBytes(each["to_network"]),
                inBytes(each["to_plain"]),
                ", ".join(each["local"]),
                ", ".join(each["remote"]) or "-",
            )
            for each in document["tunnels"]
        ),
    )
    yield from table(
        "BACKEND,STATE,OPEN,CONNECTIONS,FAILED,TUNNEL",
        (
            (
                backend["backend"],
                backend["state"],
                inNumbers(backend["open"]),
                inNumbers(backend["connections"]),
                inNumbers(backend["failures"]),
                each["name"] or "-",
            )
            for each in document["tunnels"]
            for backend in each["backends"]
            # Of one that is alone and well, the tunnel has said all.
            if len(each["backends"]) > 1 or backend["state"] != "up"
        ),
    )
    yield from table(
        "IDENTITY,LEFT,UNTIL,TUNNEL",
        (
            row
            for each in document["tunnels"]
            for row in (
                *((name, WITHDRAWN, "-", each["name"] or "-") for name in each["withdrawn"]),
                *(
                    (
                        identity["identity"],
                        "not valid yet"
                        if identity["state"] == "early"
                        else inDays(identity["days_left"]),
                        moment(identity["not_after"]),
                        each["name"] or "-",
                    )
                    for identity in each["identities"]
                ),
            )
        ),
    )
    yield from _failures(document)
    yield from _reloads(document)
    yield from table(
        "PEER,IDENTITY,TUNNEL,TLS,SENT,RECEIVED,AGE,BACKEND",
        (
            (
                each["peer"],
                each["identity"] or "-",
                each["tunnel"] or "-",
                each["version"] or each["stage"],
                inBytes(each["to_network"]),
                inBytes(each["to_plain"]),
                inTime(each["age"]),
                each["backend"] or "-",
            )
            for each in document["connections"]["shown"]
        ),
    )


def _failures(document: Document) -> Iterator[str]:
    if document["failures"]:
        yield "LAST FAILURES"
        for each in document["failures"]:
            ago = inTime(document["time"] - each["last"])
            hint = f"; {clean(each['hint'])}" if each["hint"] else ""
            yield f"{each['count']:>4} x {clean(each['outcome'])}, last {ago} ago{hint}"
        yield ""


def _reloads(document: Document) -> Iterator[str]:
    if document["reloads"]["last"]:
        yield "RELOADS"
        for each in document["reloads"]["last"]:
            yield f"  {moment(each['time'])} {clean(each['result'])}"
            yield from (f"    {clean(line)}" for line in (*each["changes"], *each["problems"]))
        yield ""


def _table(columns: int, titles: str, rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """
    Rows below their titles, and an empty line; nothing where there are no rows.
    """
    names = titles.split(",")
    cells = [names, *([clean(each) for each in row] for row in rows)]
    if len(cells) == 1:
        return
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    _narrow(widths, [number for number, name in enumerate(names) if name not in _RIGHT], columns)
    for row in cells:
        yield "  ".join(
            cell.rjust(width) if name in _RIGHT else _cut(cell, width).ljust(width)
            for name, cell, width in zip(names, row, widths, strict=True)
        ).rstrip()
    yield ""


def _narrow(widths: list[int], texts: Sequence[int], columns: int) -> None:
    """
    Take from the widest of the columns with C{texts} until all fit.
    """
    excess = sum(widths) + 2 * (len(widths) - 1) - columns
    while excess > 0:
        widest = max(texts, key=lambda number: widths[number])
        if widths[widest] <= _NARROWEST:
            break
        widths[widest] -= 1
        excess -= 1


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 2]}.."
