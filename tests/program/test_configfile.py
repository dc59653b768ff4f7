"""
Tests for L{tlstunnel.program.configfile} and L{tlstunnel.program.tomllines}: what is read of one
file, and where its keys stand.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from time import process_time
from typing import Any
from unittest import skipUnless

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.program.configurations import NAMES, VALUES, ConfigurationTests, written
from tests.users import STRANGER
from tlstunnel.program.configfile import MAX_FILE_BYTES, dotted, quoted, readFile
from tlstunnel.program.problems import Place, Problems
from tlstunnel.program.tomllines import MAX_PARTS, Lines

EXAMPLE = '''\
title = "a [not.a.table]"
"quoted key" = 1
'literal.key' = 2
a . b = 3 # = 4
text = """
[not.a.table]
key = 1 \\""" more
"""
raw = \'\'\'
x = "\'\'\'
after = 1

[table.sub]
array = [
  "one", # ]
  [2, 3],
  { inner = 4, deep.er = [
    5 ] },
]
date = 1979-05-27 07:32:00
inline = { x = { y = 1 }, "z" = 2 }

[[many]]
key = 1
[[many]]
key = 2
[many.below]
key = 3
'''

LINES = {
    ("title",): 1,
    ("quoted key",): 2,
    ("literal.key",): 3,
    ("a",): 4,
    ("a", "b"): 4,
    ("text",): 5,
    ("raw",): 9,
    ("after",): 11,
    ("table",): 13,
    ("table", "sub"): 13,
    ("table", "sub", "array"): 14,
    ("table", "sub", "array", 0): 15,
    ("table", "sub", "array", 1): 16,
    ("table", "sub", "array", 1, 1): 16,
    ("table", "sub", "array", 2, "inner"): 17,
    ("table", "sub", "array", 2, "deep", "er"): 17,
    ("table", "sub", "array", 2, "deep", "er", 0): 18,
    ("table", "sub", "date"): 20,
    ("table", "sub", "inline", "x", "y"): 21,
    ("table", "sub", "inline", "z"): 21,
    ("many", 0, "key"): 24,
    ("many", 1): 25,
    ("many", 1, "key"): 26,
    ("many", 1, "below", "key"): 28,
}


class LinesTests(SynchronousTestCase):
    """
    L{Lines}.
    """

    def test_everyKeyHasItsLine(self) -> None:
        """
        Whatever strings, comments, arrays and inline tables are around it.
        """
        tomllib.loads(EXAMPLE)
        lines = Lines(EXAMPLE)
        self.assertEqual({key: lines.of(key) for key in LINES}, LINES)

    def test_whatIsNotThereHasTheLineOfWhatItWouldBeIn(self) -> None:
        """
        Its table, or else the first line.
        """
        lines = Lines(EXAMPLE)
        self.assertEqual(lines.of(("table", "sub", "missing")), 13)
        self.assertEqual(lines.of(("table", "sub", "array", 9)), 14)
        self.assertEqual(lines.of(("missing", "key")), 1)
        self.assertEqual(lines.of(()), 1)
        self.assertEqual(Lines("").of(("key",)), 1)

    @given(st.text("[]{}=,.\"'\\#ab \n\t1"))
    def test_anyTextIsRead(self, text: str) -> None:
        """
        Also what is not TOML; no line is beyond the end.
        """
        lines = Lines(text)
        for key in lines._lines:
            self.assertLessEqual(1, lines.of(key))
            self.assertLessEqual(lines.of(key), text.count("\n") + 1)

    def test_nothingTakesLong(self) -> None:
        """
        Of what could make one look twice.
        """
        for piece in ("[", "a.", '"', '"""', "'''", "{a=", "[[a]]\n", "[a.b]\nc=1\n", "\\", "#"):
            text = piece * (MAX_FILE_BYTES // 8 // len(piece))
            before = process_time()
            Lines(text)
            self.assertLess(process_time() - before, 5, piece)

    def test_deepKeysAreCut(self) -> None:
        """
        Beyond what any key of ours has.
        """
        key = ("a",) * (MAX_PARTS * 2)
        lines = Lines(f"\n{'.'.join(key)} = 1\n")
        self.assertEqual(lines.of(key), 2)


def _keys(value: object, key: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """
    All keys in what tomllib has read.
    """
    pairs: Any = value.items() if isinstance(value, dict) else ()
    pairs = enumerate(value) if isinstance(value, list) else pairs
    for name, each in pairs:
        yield (*key, name)
        yield from _keys(each, (*key, name))


class PropertyTests(SynchronousTestCase):
    """
    L{Lines} of any TOML.
    """

    @given(
        st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=3), max_size=4),
        st.sampled_from(("", "\n", "\n# ]\n")),
    )
    def test_everyKeyOfATableIsFound(self, tables: dict[str, Any], newline: str) -> None:
        """
        Where it was written, and nothing else is.
        """
        text = ""
        expected: dict[tuple[str | int, ...], int] = {}
        for name, table in tables.items():
            text += f"\n[{quoted(name)}]\n"
            expected[(name,)] = text.count("\n")
            for key, value in table.items():
                expected[name, key] = text.count("\n") + 1
                text += f"{quoted(key)} = {written(value, newline)}\n"
        content = tomllib.loads(text)
        self.assertEqual(content, tables)
        lines = Lines(text)
        self.assertEqual({key: lines.of(key) for key in expected}, expected)
        self.assertEqual(set(lines._lines), set(_keys(content)))


class FileTests(ConfigurationTests):
    """
    L{readFile}.
    """

    def refused(self, line: int, *words: str) -> None:
        """
        The file is refused, in one line that has C{words}.
        """
        error = self.assertRaises(Problems, readFile, self.path)
        (problem,) = error.problems
        self.assertEqual((problem.path, problem.line), (self.path, line))
        self.assertEqual(len(str(error).splitlines()), 1)
        self.assertIn("; ", str(error))
        for each in words:
            self.assertIn(each, str(error))

    def test_whatIsRead(self) -> None:
        """
        The content, and places in it; also behind a byte order mark.
        """
        self.path.write_bytes(b"\xef\xbb\xbf\r\n[a]\r\nb = 1\r\n")
        file = readFile(self.path)
        self.assertEqual(file.content, {"a": {"b": 1}})
        self.assertEqual(file.place("a", "b"), Place(self.path, 3))
        self.assertEqual(file.folder, self.folder)

    def test_mistakesOfSyntax(self) -> None:
        """
        With the line, and words of ours.
        """
        for text, line, word in (
            ("a = 1\nb\n", 2, "has no = after a key"),
            ("a = 1\na = 2\n", 2, ": a: is at line 1 already; leave one"),
            ("a = [\n1,\n", 1, ": a: has no ] at its end; write one"),
            ("[t]\na = \n", 2, ": t.a: has no value; write one"),
            ("\n\na = '\x01'", 3, "cannot be printed, at column 6; leave it out"),
        ):
            self.write(text)
            self.refused(line, word)

    def test_whatPythonCannotRead(self) -> None:
        """
        Numbers without end, and brackets: an error, and no traceback.
        """
        self.write(f"a = {'[' * 100_000}")
        self.refused(1, "brackets")
        self.write(f"b = [1]\n\na = {'[' * 10_000}\n[c]\n")
        self.refused(3, "brackets")
        self.write(f"\n{'a.' * 20_000}b = 1\n{'b.' * 20_000}b = 1")
        self.refused(2, "too many parts")
        self.write(f"\na = {'9' * 5000}")
        self.refused(2, ": a: has thousands of digits; give a smaller number")

    def test_otherEncodings(self) -> None:
        """
        The line is named.
        """
        self.path.write_bytes(b"a = 1\nb = '\xe9'\n")
        self.refused(2, "is not UTF-8")

    def test_filesThatAreTooLarge(self) -> None:
        """
        Just as large is fine.
        """
        self.path.write_bytes(b"#" * MAX_FILE_BYTES)
        readFile(self.path)
        self.path.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
        self.refused(0, "more than 1048576 bytes")

    def test_whatIsNoFile(self) -> None:
        """
        Nobody waits for what somebody writes into a pipe.
        """
        self.refused(0, "No such file")
        error = self.assertRaises(Problems, readFile, self.path)
        self.assertTrue(str(error).startswith(f"{self.path}: cannot be read: "), str(error))
        self.assertEqual(error.subject, str(self.path))
        self.path.mkdir()
        self.refused(0, "is a directory")
        self.path.rmdir()
        os.mkfifo(self.path)
        self.refused(0, "is not a file")
        self.path.unlink()
        self.path.symlink_to(self.path)
        self.refused(0, "symbolic links")
        self.path = Path("a\0b")
        error = self.assertRaises(Problems, readFile, self.path)
        self.assertIn("null byte", str(error))

    @skipUnless(os.geteuid() == 0, "needs root")
    def test_rootObeysNobodyElse(self) -> None:
        """
        A file or a folder that others can write to, or that belongs to somebody else.
        """
        self.write("")
        for path, isFolder in ((self.path, False), (self.folder, True)):
            mode = 0o755
            for other in (0o775, 0o757):
                path.chmod(other)
                self.refused(0, f"write to {path} (mode 0{other:o})", f"chmod go-w {path}")
            if isFolder:
                path.chmod(0o1777)
                readFile(self.path)
            path.chmod(mode)
            os.chown(path, STRANGER, -1)
            self.refused(0, f"{path} belongs to user {STRANGER}", f"chown root {path}")
            os.chown(path, 0, -1)
            readFile(self.path)

    @skipUnless(os.geteuid() == 0, "needs root")
    def test_othersKnowWhatTheyDo(self) -> None:
        """
        Whoever is not root is not asked; but has to be able to read.
        """
        self.folder.chmod(0o755)
        self.write("")
        self.path.chmod(0o666)
        self.addCleanup(os.seteuid, 0)
        os.seteuid(STRANGER)
        readFile(self.path)
        os.seteuid(0)
        self.path.chmod(0o600)
        os.seteuid(STRANGER)
        self.refused(0, "Permission denied", f"run 'chown {STRANGER} {self.path}'")

    def test_keysAsTOMLHasThem(self) -> None:
        """
        Quoted where that is needed.
        """
        self.assertEqual(dotted(("tunnel", "a-b_1", 0)), "tunnel.a-b_1.0")
        self.assertEqual(dotted(("a.b", 'c"\\', "\n")), '"a.b"."c\\"\\\\"."\\U0000000a"')

    @given(st.text())
    def test_quotedTextIsReadBack(self, text: str) -> None:
        """
        Whatever is in it.
        """
        self.assertEqual(tomllib.loads(f"a = {quoted(text)}"), {"a": text})
