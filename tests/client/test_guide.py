"""
That docs/integrate.md says what is so; its code is that of the examples, which Sphinx includes.
"""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.client.scripted import TOP
from tlstunnel import errors
from tlstunnel.client import __main__ as command
from tlstunnel.poolservice import refusals

GUIDE = (TOP / "docs" / "integrate.md").read_text()


class GuideTests(SynchronousTestCase):
    """
    The tables of the page.
    """

    def table(self, heading: str) -> list[list[str]]:
        """
        The first cells of the rows of a table, as words.
        """
        text = GUIDE.partition(f"| {heading} |")[2].partition("\n\n")[0]
        return [row.split("|")[1].split() for row in text.splitlines()[2:]]

    def test_everyReasonIsOneThatThereIs(self) -> None:
        """
        Of the pool or of the client.
        """
        words = {word.strip("`,") for row in self.table("reason") for word in row}
        ours = {
            each.reason
            for each in vars(refusals).values()
            if isinstance(each, type) and issubclass(each, errors.TunnelError)
        }
        self.assertGreater(len(words), 10)
        self.assertEqual(words - errors.reasons() - ours, {"gone"} - ours)
        self.assertIn("gone", words)

    def test_theExitCodesAreThoseOfTheCommand(self) -> None:
        """
        All of them, in order.
        """
        codes = [row[0] for row in self.table("code")]
        last = command.CUT
        self.assertEqual(codes, [*map(str, range(last + 1)), "another"])
        for code, meaning in re.findall(r"(?m)^  (\d)  (.*)$", command._EPILOG):
            self.assertIn(code, codes, meaning)

    def test_everyExampleIsMentioned(self) -> None:
        """
        Or included.
        """
        files = sorted((TOP / "docs" / "example" / "pool").iterdir())
        self.assertGreater(len(files), 8)
        words = {"psycopg_example.py": "`psycopg`"}
        for each in files:
            if each.is_file():
                self.assertIn(words.get(each.name, each.name), GUIDE, each.name)
