"""
What is answered to whom: from the path of a request to the bytes of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.web.template import flattenString

from tlstunnel.net.spreading import spread
from tlstunnel.status import metrics
from tlstunnel.status.combine import combining
from tlstunnel.status.document import Document, inJSON
from tlstunnel.status.facts import Gathered
from tlstunnel.status.page import SITE, Page
from tlstunnel.status.shared import Shared
from tlstunnel.status.tiles import tilesOf
from tlstunnel.status.words import ALL_UP

_T = TypeVar("_T")

_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Answer:
    """
    An answer of HTTP, but for what all have.
    """

    code: int
    kind: str
    body: bytes


#: Asks all processes.
Gather = Callable[[], Deferred[Gathered]]


def plain(code: int, line: str) -> Answer:
    """
    One line.
    """
    return Answer(code, _TEXT, f"{line}\n".encode())


def _asset(name: str, kind: str) -> Callable[[], Deferred[Answer]]:
    answer = Answer(200, kind, (SITE / name).read_bytes())
    return lambda: succeed(answer)


class Answers:
    """
    All that can be asked for.
    """

    def __init__(self, clock: IReactorTime, gather: Gather) -> None:
        """
        @param clock: the reactor, which gives long answers a turn for each of their parts.
        """
        self._clock = clock
        self._gather = gather
        self._document: Shared[Document] = Shared(clock, self._coroutine(self._makeDocument))
        page: Shared[Answer] = Shared(clock, self._coroutine(self._makePage))
        texts: Shared[Answer] = Shared(clock, self._coroutine(self._makeMetrics))
        facts: Shared[Answer] = Shared(clock, self._coroutine(self._makeJSON))
        self._known: dict[bytes, Callable[[], Deferred[Answer]]] = {
            b"/": page.get,
            b"/status.json": facts.get,
            b"/metrics": texts.get if metrics.isAvailable() else self._noMetrics,
            b"/health": self._coroutine(self._makeHealth),
            b"/status.css": _asset("status.css", "text/css; charset=utf-8"),
            b"/status.js": _asset("status.js", "text/javascript; charset=utf-8"),
            b"/icon.svg": _asset("icon.svg", "image/svg+xml"),
        }

    def to(self, path: bytes) -> Deferred[Answer]:
        """
        The answer to a request for C{path}.
        """
        known = self._known.get(path)
        if known is None:
            paths = ", ".join(each.decode() for each in self._known)
            return succeed(plain(404, f"there is nothing here; there are {paths}"))
        return known()

    @staticmethod
    def _coroutine(make: Callable[[], Coroutine[Any, Any, _T]]) -> Callable[[], Deferred[_T]]:
        return lambda: Deferred.fromCoroutine(make())

    async def _makeDocument(self) -> Document:
        gathered = await self._gather()
        return await spread(self._clock, combining(gathered, self._clock.seconds()))

    def _later(self, call: Callable[[], Any]) -> object:
        return self._clock.callLater(0, call)

    async def _makePage(self) -> Answer:
        document = await self._document.get()
        page = Page(document, await spread(self._clock, tilesOf(document)), self._later)
        html = await flattenString(None, page)
        return Answer(200, "text/html; charset=utf-8", b"<!DOCTYPE html>\n" + html + b"\n")

    async def _makeJSON(self) -> Answer:
        text = await spread(self._clock, inJSON(await self._document.get()))
        return Answer(200, "application/json", text.encode() + b"\n")

    async def _makeMetrics(self) -> Answer:
        text = await spread(self._clock, metrics.texts(await self._document.get()))
        return Answer(200, metrics.CONTENT_TYPE, text)

    @staticmethod
    def _noMetrics() -> Deferred[Answer]:
        return succeed(plain(501, metrics.MISSING))

    async def _makeHealth(self) -> Answer:
        document = await self._document.get()
        if document["healthy"]:
            return plain(200, ALL_UP)
        return plain(503, "; ".join(document["problems"]))
