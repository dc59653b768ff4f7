"""
C{/}: the document as a page for people.

The texts are in the template C{site/page.xml}; what comes from the document is put into it by
L{twisted.web.template}, which escapes all of it.  A long page takes several turns of the reactor,
so that no connection waits for it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.filepath import FilePath
from twisted.web.iweb import IRequest
from twisted.web.template import Element, Flattenable, Tag, XMLFile, renderer, slot, tags

from tlstunnel.status.document import Document, FailureGroup, Identity, TunnelStatus
from tlstunnel.status.facts import ProcessFacts
from tlstunnel.status.rates import INTERVALS
from tlstunnel.status.rows import (
    Slots,
    backendsOf,
    connectionRow,
    failureEntry,
    identityCard,
    refusalsOf,
    reloadRow,
)
from tlstunnel.status.sparkline import sparkline
from tlstunnel.status.tiles import Tile
from tlstunnel.status.words import (
    WITHDRAWN,
    inBytes,
    inNumbers,
    inTime,
    moment,
    protocolOf,
    summary,
)

#: Where the template is, and what else the page consists of.
SITE = Path(__file__).with_name("site")

#: Rows that are made in one turn of the reactor.
ROWS_PER_TURN = 5

_Item = TypeVar("_Item")


class Page(Element):
    """
    The page.
    """

    loader = XMLFile(FilePath(str(SITE / "page.xml")))

    def __init__(
        self,
        document: Document,
        tiles: Sequence[Tile],
        later: Callable[[Callable[[], Any]], object],
    ) -> None:
        """
        @param tiles: the most important numbers of C{document}.
        @param later: calls what it is given in another turn of the reactor.
        """
        super().__init__()
        self._document = document
        self._tiles = tiles
        self._later = later

    def _paced(
        self, tag: Tag, items: Sequence[_Item], slots: Callable[[_Item], Slots]
    ) -> Generator[Flattenable, None, None]:
        """
        A copy of C{tag} for each of C{items}, some at a time.
        """
        for start in range(0, len(items), ROWS_PER_TURN):
            some = items[start : start + ROWS_PER_TURN]
            turn: Deferred[Flattenable] = Deferred()
            self._later(partial(turn.callback, ""))
            yield turn
            yield [tag.clone().fillSlots(**slots(item)) for item in some]

    def _rows(
        self, tag: Tag, items: Sequence[_Item], slots: Callable[[_Item], Slots]
    ) -> Flattenable:
        """
        What is in C{tag}, for each of C{items}.
        """
        rows = tags.transparent(*tag.children)
        return tag.clone(deep=False).clear()(self._paced(rows, items, slots))

    # The head

    @renderer
    def title(self, request: IRequest, tag: Tag) -> Flattenable:
        """
        The name of this host, and the first thing that is wrong.
        """
        problems = self._document["problems"]
        state = f"{problems[0]} - " if problems else ""
        return tag(f"{state}tlstunnel on {self._document['host']}")

    @renderer
    def host(self, request: IRequest, tag: Tag) -> Flattenable:
        """
        Where this is.
        """
        return tag(f"{self._document['host']}, {moment(self._document['time'])}")

    @renderer
    def health(self, request: IRequest, tag: Tag) -> Flattenable:
        """
        Whether all is well, in a few words.
        """
        problems = self._document["problems"]
        state = tag(summary(problems, len(self._document["tunnels"])))
        return state(class_="ill") if problems else state

    @renderer
    def problems(self, request: IRequest, tag: Tag) -> Flattenable:
        """
        What is wrong.
        """
        found = self._document["problems"]
        return self._rows(tag, found, lambda each: {"problem": each}) if found else ""

    @renderer
    def tiles(self, request: IRequest, tag: Tag) -> Flattenable:
        """
        The most important numbers.
        """
        return self._paced(
            tag,
            self._tiles,
            lambda each: {
                "title": each.title,
                "figure": each.figure,
                "about": each.about,
                "chart": sparkline(each.values, INTERVALS, f"{each.title}, the last minutes"),
            },
        )

    # The sections

    @renderer
    def tunnels(self, request: IRequest, tag: Tag) -> Flattenable:
        """
        A row for each.
        """
        return self._rows(tag, self._document["tunnels"], self._tunnel)

    def _tunnel(self, tunnel: TunnelStatus) -> Slots:
        rates, interval = tunnel["rates"], self._document["interval"]
        carried = [sum(each) for each in zip(rates["to_network"], rates["to_plain"], strict=True)]
        failures = sum(tunnel["ended"].values()) - tunnel["ended"].get("clean", 0)
        expected = tunnel["expected"]
        return {
            "name": tunnel["name"] or "(no name)",
            "state": tags.span(tunnel["state"], class_=f"state {tunnel['state']}"),
            "local": ", ".join(tunnel["local"]),
            "remote": ", ".join(tunnel["remote"]) or "programs",
            "backends": backendsOf(tunnel["backends"]),
            "dialect": protocolOf(tunnel["dialect"]),
            "mode": tunnel["mode"],
            "expected": f"peer: {expected}" if expected else "peer: any",
            "open": inNumbers(tunnel["open"]),
            "connections": inNumbers(tunnel["connections"]),
            "failures": tags.span(f"{inNumbers(failures)} failed", class_="failing")
            if failures
            else "none failed",
            "refusals": refusalsOf(tunnel["refused"]),
            "connectionChart": sparkline(
                rates["connections"], INTERVALS, "new connections, the last minutes"
            ),
            "connectionRate": f"{sum(rates['connections'][-6:])} in the last minute",
            "byteChart": sparkline(carried, INTERVALS, "bytes, the last minutes"),
            "byteRate": f"{inBytes(carried[-1] / interval if carried else 0)}/s",
        }

    @renderer
    def noIdentities(self, request: IRequest, tag: Tag) -> Flattenable:
        """
        If there are none.
        """
        return "" if self._identities() else tag

    @renderer
    def identities(self, request: IRequest, tag: Tag) -> Flattenable:
        """
        A card for each, those that expire first before the others.
        """
        return self._paced(tag, self._identities(), identityCard)

    def _identities(self) -> list[tuple[Identity, list[str]]]:
        """
        Each certificate once, with the tunnels that show it.
        """
        found: dict[tuple[str, float], tuple[Identity, list[str]]] = {}
        for tunnel in self._document["tunnels"]:
            for name in tunnel["withdrawn"]:
                known = found.setdefault((name, 0.0), (_withdrawn(name), []))
                known[1].append(tunnel["name"])
            for each in tunnel["identities"]:
                key = each["identity"], each["not_after"]
                found.setdefault(key, (each, []))[1].append(tunnel["name"])
        return sorted(found.values(), key=lambda each: each[0]["not_after"])

    @renderer
    def openCount(self, request: IRequest, tag: Tag) -> Flattenable:
        """
        How many connections are open, and of how many there are rows.
        """
        count, shown = self._document["connections"].values()
        assert isinstance(count, int) and isinstance(shown, list)
        more = f", {len(shown)} of them shown" if len(shown) < count else ""
        return tag(inNumbers(count) + more)

    @renderer
    def noConnections(self, request: IRequest, tag: Tag) -> Flattenable:
        """
        If there are none.
        """
        return "" if self._document["connections"]["shown"] else tag

    @renderer
    def connectionTable(self, request: IRequest, tag: Tag) -> Flattenable:
        """
        If there are any.
        """
        return tag if self._document["connections"]["shown"] else ""

    @renderer
    def connections(self, request: IRequest, tag: Tag) -> Flattenable:
        """
        A row for each.
        """
        return self._rows(tag, self._document["connections"]["shown"], connectionRow)

    @renderer
    def noFailures(self, request: IRequest, tag: Tag) -> Flattenable:
        """
        If there were none.
        """
        return "" if self._document["failures"] else tag

    @renderer
    def failures(self, request: IRequest, tag: Tag) -> Flattenable:
        """
        The last failures, grouped.
        """
        return self._paced(tag, self._document["failures"], self._failures)

    def _failures(self, group: FailureGroup) -> Slots:
        hint = group["hint"] or ""
        ago = inTime(self._document["time"] - group["last"])
        return {
            "id": f"failure-{group['outcome']}-{zlib.crc32(hint.encode()):08x}",
            "outcome": group["outcome"],
            "count": f"{group['count']} \u00d7",
            "hint": hint,
            "last": f"last {ago} ago",
            "entries": self._paced(
                tags.li(
                    tags.span(slot("time"), class_="muted"),
                    " ",
                    tags.strong(slot("tunnel")),
                    " ",
                    tags.span(slot("way"), class_="address"),
                    slot("detail"),
                ),
                group["entries"],
                failureEntry,
            ),
        }

    @renderer
    def noReloads(self, request: IRequest, tag: Tag) -> Flattenable:
        """
        If there were none.
        """
        return "" if self._document["reloads"]["last"] else tag

    @renderer
    def reloads(self, request: IRequest, tag: Tag) -> Flattenable:
        """
        The last of them.
        """
        return self._rows(tag, self._document["reloads"]["last"], reloadRow)

    @renderer
    def processes(self, request: IRequest, tag: Tag) -> Flattenable:
        """
        A card for each.
        """
        return self._paced(tag, self._document["processes"], self._process)

    def _process(self, process: ProcessFacts) -> Slots:
        worker, resident = process["worker"], process["resident_bytes"]
        about = [
            f"up {inTime(self._document['time'] - process['started'])}",
            f"CPU {inTime(process['cpu_seconds'])}",
        ]
        if resident is not None:
            about.append(f"memory {inBytes(resident)}")
        if process["open_files"] is not None:
            files, most = process["open_files"], process["max_files"]
            about.append(f"{inNumbers(files)} of {inNumbers(most or 0)} descriptors")
        if process["log_lines_dropped"]:
            about.append(f"lines of the log dropped: {inNumbers(process['log_lines_dropped'])}")
        who = f"process {process['pid']}"
        return {
            "who": who if worker is None else f"worker {worker}, {who}",
            "about": ", ".join(about),
        }

    @renderer
    def software(self, request: IRequest, tag: Tag) -> Flattenable:
        """
        What runs.
        """
        software = self._document["software"]
        return tag(
            f"tlstunnel {software['version']}, OpenSSL {software['openssl']}, "
            f"Python {software['python']}"
        )


def _withdrawn(name: str) -> Identity:
    """
    One of which there is no certificate.
    """
    return {
        "identity": name,
        "not_before": 0.0,
        "not_after": 0.0,
        "is_due": False,
        "is_leased": False,
        "days_left": 0.0,
        "state": WITHDRAWN,
    }
