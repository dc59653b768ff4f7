"""
Tests for L{tlstunnel.program.tomlmistakes}: what is said of a text that is not TOML.
"""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.program.configurations import TUNNEL
from tlstunnel.program.tomlmistakes import Mistake, explained


def mistakeIn(text: str) -> Mistake | None:
    """
    What is wrong with C{text}, if anything is.
    """
    try:
        tomllib.loads(text)
    except ValueError as error:
        return explained(text, str(error))
    return None


class ExplainedTests(SynchronousTestCase):
    """
    L{explained}.
    """

    def assertSaid(self, rest: str, line: int, key: str, problem: str, remedy: str) -> None:
        """
        What is said where C{rest} stands behind a tunnel, the first line of it being the first.
        """
        text = f"{TUNNEL}{rest}"
        found = mistakeIn(text)
        assert found is not None, rest
        before = TUNNEL.count("\n")
        self.assertEqual(
            (found.line - before, ".".join(map(str, found.key))), (line, key), (rest, found)
        )
        self.assertIn(problem, found.problem, rest)
        self.assertIn(remedy, found.remedy, rest)
        # A file of Windows has the same lines.
        self.assertEqual(mistakeIn(text.replace("\n", "\r\n")), found)

    def test_values(self) -> None:
        """
        Each has the key that it is of.
        """
        key = "tunnel.pg.x"
        for value, problem, remedy in (
            ("smtp", "smtp is not a value", "between quotation marks"),
            ("yes", "yes is not a value", "write true or false"),
            ("True # or not", "True is not a value", "write true or false"),
            ("", "has no value", "write one after the ="),
            ("\u201csmtp\u201d", "begins with \u201c", "straight quotation marks"),
            ('"smtp', "has no quotation mark at its end", "write one"),
            ("'smtp", "has no quotation mark at its end", "write one"),
            ("10 s", "has something after its value", "between brackets"),
            ('"a\\d"', "has a backslash", "write two"),
            ('"a\\u12"', "has a backslash", "write two"),
            ("2026-02-30", "is a date that no calendar has", "between quotation marks"),
            ("9" * 5000, "has thousands of digits", "give a smaller number"),
            ("z" * 99, f"{'z' * 40}... is not a value", "between quotation marks"),
        ):
            self.assertSaid(f"\nx = {value}\ny = 1\n", 2, key, problem, remedy)

    def test_valuesThatDoNotEnd(self) -> None:
        """
        What has to be closed is looked for where it was opened.
        """
        self.assertSaid('x = ["a",\n"b"\ny = 1\n', 1, "tunnel.pg.x", "has no ]", "after the last")
        self.assertSaid("# \x85 \u2028\nx = [1\n", 2, "tunnel.pg.x", "has no ]", "after the last")
        self.assertSaid("x = {a = 1\n", 1, "tunnel.pg.x.a", "has no }", "after the last")
        self.assertSaid("x = \n\n\n", 1, "tunnel.pg.x", "has no value", "write one")
        self.assertSaid("x = # y", 1, "tunnel.pg.x", "has no value", "write one")
        self.assertSaid('x = """a\nb\n', 1, "tunnel.pg.x", "has no quotation mark", "write one")

    def test_whatIsThereAlready(self) -> None:
        """
        The line of the first is told.
        """
        there = "is at line 4 already"
        self.assertSaid("local = 'x'\n", 1, "tunnel.pg.local", there, "leave one")
        self.assertSaid("[tunnel.pg]\n", 1, "tunnel.pg", "is at line 2 already", "name of its own")
        self.assertSaid("x = {a = 1, a = 2}\n", 1, "tunnel.pg.x.a", "already", "leave one")

    def test_tablesWithoutAGoodName(self) -> None:
        """
        The line is shown, with what it should be; only a name that needs quotation marks is told
        of them.
        """
        for line, problem, remedy in (
            ("[defaults", "has no ] behind the name of a table: [defaults", "write [defaults]"),
            (" [defaults # x", "has no ] behind the name", "write [defaults]"),
            ("[defaults]]", "has brackets that do not match: [defaults]]", "write [defaults]"),
            ("[[tunnel.web]", "has brackets that do not match", "write [tunnel.web]"),
            ("[defaults] x", "has something behind the name of a table", "write [defaults]"),
            ("[tunnel web]", "has a space in the name of a table", "write [tunnel.NAME]"),
            ("[]", "has no name of a table", "write [tunnel.NAME]"),
            ("[tunnel.w\u00e9b]", "is not the name of a table", "between quotation marks"),
            ("[tunnel.a.name.*.b]", "is not the name of a table", "between quotation marks"),
        ):
            self.assertSaid(f"{line}\n", 1, "", problem, remedy)

    def test_linesThatAreNothing(self) -> None:
        """
        They have no key; the column is told.
        """
        for rest, problem, remedy in (
            ("; comment", "neither a key, nor a table, nor a comment, at column 1", "write key ="),
            ("x: 1", "has no = after a key, at column 2", "write key ="),
            ("# \0", "cannot be printed, at column 3", "leave it out"),
            ("x", "has no = after a key, at", "write key ="),
        ):
            self.assertSaid(f"{rest}\n", 1, "", problem, remedy)

    @given(st.text("ab.=[]{}\"'\\#,\n 1u\u201c", max_size=40))
    def test_whateverItIs(self, text: str) -> None:
        """
        There is a line of the text, and a sentence in words of ours.
        """
        found = mistakeIn(text)
        if found is not None:
            self.assertLessEqual(found.line, text.count("\n") + 1)
            self.assertNotIn("TOML", found.problem)
            self.assertTrue(found.remedy)
