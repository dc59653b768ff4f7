"""
The most important numbers of a document: what the page begins with.
"""

from __future__ import annotations

from dataclasses import dataclass

from tlstunnel.status.document import Document
from tlstunnel.status.rates import together
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


def tilesOf(document: Document) -> list[Tile]:
    """
    In the order of their importance.
    """
    interval = document["interval"]
    tunnels = document["tunnels"]

    def grown(name: str) -> list[int]:
        return together([each["rates"][name] for each in tunnels])

    def last(values: list[int]) -> float:
        return values[-1] / interval if values else 0.0

    new, failed = grown("connections"), grown("failures")
    sent, received = grown("to_network"), grown("to_plain")
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
