"""
Tests for L{tlstunnel.protocols.dialogue}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.protocols.dialogue import dialogueOf
from tlstunnel.protocols.registry import builtIn, find


class DialogueTests(SynchronousTestCase):
    """
    What each dialect shows.
    """

    def test_everyOneThatTalksHasIt(self) -> None:
        """
        From somebody's first words to TLS.
        """
        for dialect in builtIn():
            lines = dialogueOf(dialect)
            if not dialect.talks:
                self.assertEqual(lines, [])
                continue
            self.assertRegex(lines[0], "^[CS]: ", dialect.name)
            self.assertTrue(any(line.startswith("== TLS ==") for line in lines), dialect.name)

    def test_itIsNothingElse(self) -> None:
        """
        The prose around it is for whoever reads the module.
        """
        self.assertEqual(
            [line[:12].rstrip() for line in dialogueOf(find("pop3"))],
            ["S: +OK ready", "C: STLS", "S: +OK Begin", "== TLS =="],
        )

    def test_severalPartsAreKeptTogether(self) -> None:
        """
        With the empty lines between them.
        """
        lines = dialogueOf(find("postgresql"))
        self.assertIn("", lines)
        self.assertTrue(lines[-1].startswith("C: len 04 d2 16 2e"))
