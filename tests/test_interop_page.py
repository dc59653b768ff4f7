"""
docs/interop.md, which the test run writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.interop import matrix

LINES = [
    {"dialect": dialect, "role": role, "peer": "Peer", "version": "1.0", "what": what}
    for dialect in matrix.DIALECTS
    for role in ("client", "server")
    for what in ("mail sent", "mail fetched")
]


class PageTests(SynchronousTestCase):
    """
    What is made of the results.
    """

    def setUp(self) -> None:
        """
        Results of our own.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        self.results = directory / "results.jsonl"
        self.patch(matrix, "results", lambda: self.results)

    def collect(self, lines: Iterable[dict[str, str]]) -> str:
        """
        Let C{lines} be the results.

        @return: the page.
        """
        self.results.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return matrix.render(matrix.collected(self.results))

    def test_orderAndRepetitionDoNotShow(self) -> None:
        """
        Another run that passes leaves the page as it is.
        """
        self.assertEqual(self.collect(LINES), self.collect([*reversed(LINES), *LINES]))

    def test_nothingElseShows(self) -> None:
        """
        A cell has what was tested with, and what was done.
        """
        self.assertIn(
            "| smtp | **Peer 1.0**: mail fetched; mail sent | **Peer 1.0**:", self.collect(LINES)
        )

    def test_twoVersionsOfAPeerBothShow(self) -> None:
        """
        Whichever was tested with first.
        """
        old = LINES[0] | {"version": "0.9"}
        for lines in ([old, LINES[0]], [LINES[0], old]):
            page = self.collect(lines)
            self.assertIn("| **Peer 0.9**: mail sent<br>**Peer 1.0**: mail sent |", page)

    def test_emptyCellIsAFailure(self) -> None:
        """
        A dialect and role that nothing was tested with does not go unnoticed.
        """
        self.collect(LINES)
        self.assertEqual(matrix.main(["--check"]), 0)
        self.collect(LINES[2:])
        self.assertEqual(matrix.main(["--check"]), 1)

    def test_forgottenResultsAreEmptyCells(self) -> None:
        """
        A run begins with nothing.
        """
        self.collect(LINES)
        matrix.forget()
        self.assertEqual(matrix.main(["--check"]), 1)
        matrix.forget()
