"""
The most important numbers of a document: what the page begins with.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from tlstunnel.status.document import Document
from tlstunnel.status.rates import Sum
from tlstunnel.status.words import inBytes, inNumbers


@dataclass(frozen=True)
class Tile:
    """
    A number, and how it went in the last minutes.
    """

    title: str
    figure: str
    about: str
    values: list[int]


def tilesOf(document: Document) -> Generator[None, None, list[Tile]]:
    """
    In the order of their importance, a tunnel a step.
    """
    interval = document["interval"]
    tunnels = document["tunnels"]
    rates = {name: Sum() for name in ("connections", "failures", "to_network", "to_plain")}
    for each in tunnels:
        for name, total in rates.items():
            total.add(each["rates"][name])
        yield

    def last(values: list[int]) -> float:
        return values[-1] / interval if values else 0.0

    new, failed, sent, received = (each.values for each in rates.values())
    minute = 60 // interval
    return [
        Tile(
            "Open connections",
            inNumbers(document["connections"]["open"]),
            f"{inNumbers(sum(new[-minute:]))} new in the last minute",
            new,
        ),
        Tile(
            "To the network",
            f"{inBytes(last(sent))}/s",
            f"{inBytes(sum(each['to_network'] for each in tunnels))} since the start",
            sent,
        ),
        Tile(
            "From the network",
            f"{inBytes(last(received))}/s",
            f"{inBytes(sum(each['to_plain'] for each in tunnels))} since the start",
            received,
        ),
        Tile(
            "Failures",
            inNumbers(sum(failed)),
            "in the last ten minutes",
            failed,
        ),
    ]
