"""
An empty file in the place of each file that the program reads: it does not start, and one line says
why.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.__main__ import main
from tlstunnel.program import signals

#: Words, of which {} is the file, and what is said about it.
WORDS = (
    ("--config {}", "has no tunnel; add a table [tunnel.NAME]"),
    (
        "-c -l 127.0.0.1:1 -r a.example:1 --skip-resolve --trust {}",
        "is empty; give a file with certificates in PEM form",
    ),
    (
        "-c -l :1 -r a.example:1 --skip-resolve --via http://u@127.0.0.1:3 --via-auth-file {}",
        "does not have one line user:password, of printable characters, and nothing else; write",
    ),
    ("-c -l 127.0.0.1:1 -r a.example:1 --skip-resolve --chat {}", "the script is empty; write"),
    ("identity import a.example --cert {}", "is empty; give a file with certificates"),
    ("identity import --psk {}", "has no keys; give lines of NAME:KEY"),
    ("identity trust .example {}", "is empty; give a file with certificates"),
    ("chat-check {}", "the script is empty; write into it what is said before TLS"),
    ("convert {}", "has no settings; give a configuration file of stunnel"),
    ("status --config {}", "status.local: is missing"),
)


class EmptyFileTests(SynchronousTestCase):
    """
    The program.
    """

    def test_anEmptyFileIsRefusedInOneLine(self) -> None:
        """
        With what should be in it, and an exit code that tells of it.
        """
        self.patch(signals, "hold", lambda code: None)
        empty = Path(self.mktemp()).absolute()
        empty.touch(0o600)
        for words, problem in WORDS:
            error, out = io.StringIO(), io.StringIO()
            self.patch(sys, "stderr", error)
            self.patch(sys, "stdout", out)
            code: object = main([each.format(empty) for each in words.split()])
            first, *others = error.getvalue().splitlines()
            self.assertIn(f"{empty}:", first, words)
            self.assertIn(problem, first, words)
            self.assertIn((code, bool(others)), ((1, False), (2, True)), words)
            self.assertEqual(out.getvalue(), "", words)
