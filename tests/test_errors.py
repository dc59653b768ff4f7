"""
Tests for L{tlstunnel.errors}: what a log line may say.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel import errors
from tlstunnel.errors import ConfigurationError, Refused, Reset, TunnelError, oneOf, quote
from tlstunnel.program.options import OPTIONS
from tlstunnel.program.poolsettings import POOL_SERVICE_KEYS
from tlstunnel.program.pullsettings import POOL_PULL_KEYS

#: What a file has and no command line: a word here has to be shown as a key, and not as an option.
KEYS = {"name", "status"}


def textsOf(path: Path) -> Iterator[str]:
    """
    The strings in a module of ours.
    """
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


class QuoteTests(SynchronousTestCase):
    """
    A peer's words (rule 12).
    """

    def test_whatIsHarmlessIsShownAsItIs(self) -> None:
        """
        Between quotation marks, so that it is not taken for our own.
        """
        self.assertEqual(quote(b"454 4.7.0 TLS not available"), '"454 4.7.0 TLS not available"')

    def test_whatCouldHarmIsEscaped(self) -> None:
        """
        Ends of lines, terminal escapes, NUL, all beyond ASCII, and what would end the quotation.
        """
        self.assertEqual(
            quote(b'a\r\nb\x1b[2J\0\x7f\xc3\xa4"c\\d'),
            r'"a\x0d\x0ab\x1b[2J\x00\x7f\xc3\xa4\x22c\x5cd"',
        )

    def test_itIsCut(self) -> None:
        """
        And says so.
        """
        self.assertEqual(quote(b"x" * 200), '"' + "x" * 200 + '"')
        self.assertEqual(quote(b"x" * 201), '"' + "x" * 200 + '"...')

    @given(st.binary(max_size=300))
    def test_nothingOfAPeerCanHarmALog(self, said: bytes) -> None:
        """
        Whatever it is, one line of printable ASCII comes out, of bounded length.
        """
        text = str(Refused("our words", said))
        self.assertTrue(text.isascii() and text.isprintable())
        self.assertLess(len(text), 4 * 200 + 60)


class ReasonTests(SynchronousTestCase):
    """
    The names of failures.
    """

    def test_eachHasItsOwn(self) -> None:
        """
        They are words that logs and counters can carry.
        """
        kinds = [
            each
            for each in vars(errors).values()
            if isinstance(each, type) and issubclass(each, TunnelError)
        ]
        reasons = {each.reason for each in kinds}
        self.assertEqual(len(reasons), len(kinds))
        for reason in reasons:
            self.assertRegex(reason, r"\A[a-z]+(-[a-z]+)*\Z")

    def test_aLineSaysWhatIsKnown(self) -> None:
        """
        The name, our words, the peer's; and of a configuration the file and the remedy.
        """
        self.assertEqual(str(Refused()), "refused")
        self.assertEqual(str(Refused("expected 220")), "refused: expected 220")
        self.assertEqual(
            str(Refused("expected 220", b"554 no\r")),
            'refused: expected 220; the peer said "554 no\\x0d"',
        )
        refused = Refused("the peer says no", b"no").by("the app").by("nobody")
        self.assertEqual(str(refused), 'refused: the app says no; the app said "no"')
        self.assertEqual(str(Reset("Broken pipe")), "reset: Broken pipe")
        self.assertEqual(str(Reset("Broken pipe").by("the app")), "reset: Broken pipe (the app)")
        path = ConfigurationError("/etc/pool", "is odd", "try another")
        self.assertEqual(str(path), "/etc/pool: is odd; try another")
        self.assertEqual(path.key, "")

    def test_alternativesAreListedAsInASentence(self) -> None:
        """
        With one "or", before the last.
        """
        self.assertEqual(oneOf(["a"]), "a")
        self.assertEqual(oneOf(["a", "b"]), "a or b")
        self.assertEqual(oneOf(["a", "b", "c"]), "a, b or c")

    def test_onlySettingsAreMentioned(self) -> None:
        """
        Any other word in backquotes would be shown with hyphens before it.
        """
        known = KEYS | {option.name for option in (*OPTIONS, *POOL_SERVICE_KEYS, *POOL_PULL_KEYS)}
        for path in Path(errors.__file__).parent.rglob("*.py"):
            for text in textsOf(path):
                mentioned = set(re.findall("`([a-z][a-z0-9-]*)`", text))
                self.assertEqual(mentioned - known, set(), f"{path}: {text}")

    def test_aSettingIsMentionedAsTheUserKnowsIt(self) -> None:
        """
        As an option of the command line, unless whoever shows the error says otherwise.
        """
        error = ConfigurationError("`local` :1", "is as odd as `remote`", "see `dialect-option`")
        self.assertEqual(error.key, "local")
        self.assertEqual(str(error), "--local :1: is as odd as --remote; see --dialect-option")
        self.assertEqual(
            error.inWords("tunnel.web.{}".format),
            "tunnel.web.local :1: is as odd as tunnel.web.remote; see tunnel.web.dialect-option",
        )
