"""
The C{convert} command: files, standard input and output, and exit codes.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tests.convert.examples import DATA
from tlstunnel.commands.convert import ConvertOptions, main

GOOD = "[a]\nclient = yes\naccept = 127.0.0.1:1\nconnect = a.example.org:2\n"


class ConvertTests(SynchronousTestCase):
    """
    The command as a whole.
    """

    def setUp(self) -> None:
        """Make a folder for files."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def call(self, *words: str, stdin: str = "") -> tuple[int, str, str]:
        """
        Run it.

        @return: its exit code, what it printed, and what it complained about.
        """
        out, err = io.TextIOWrapper(io.BytesIO(), "ascii"), io.StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        self.patch(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stdin.encode())))
        options = ConvertOptions()
        options.parseOptions(list(words))
        code = main(options)
        return code, out.buffer.getvalue().decode(), err.getvalue()

    def test_whatIsGoodBecomesAFile(self) -> None:
        """On standard output, with nothing to complain about."""
        file = self.folder / "stunnel.conf"
        file.write_text(GOOD)
        code, out, err = self.call(str(file))
        self.assertEqual((code, err), (0, ""))
        self.assertIn("[tunnel.a]\n", out)

    def test_standardInput(self) -> None:
        """It has a name of its own in messages."""
        self.assertEqual(self.call("-", stdin=GOOD)[0], 0)
        code, out, err = self.call("-", stdin="x")
        self.assertEqual((code, out), (1, ""))
        self.assertEqual(err, "stdin:1: the line has no '='; write NAME = VALUE, or [SERVICE]\n")

    def test_whatIsLeftOutIsTold(self) -> None:
        """The rest is written all the same."""
        service = "[b]\nclient = yes\nexec = /bin/true\naccept = 3\n"
        code, out, err = self.call("-", stdin=GOOD + service)
        self.assertEqual(code, 3)
        self.assertIn("[tunnel.a]\n", out)
        self.assertIn("stdin:5: [b] is left out: exec with client = yes: ", err)

    def test_aFileThatIsNotThere(self) -> None:
        """The program says so, as of every file."""
        code, out, err = self.call(str(self.folder / "no"))
        self.assertEqual((code, out), (1, ""))
        self.assertRegex(err, r"\Atlstunnel: .*/no: cannot be read: No such file .*; put it there")

    def test_foldersThatAreIncluded(self) -> None:
        """They are looked for from the folder of the file."""
        (self.folder / "parts").mkdir()
        (self.folder / "parts" / "a.conf").write_text(GOOD)
        (self.folder / "parts" / "more").mkdir()
        file = self.folder / "stunnel.conf"
        file.write_text("include = parts\n")
        self.assertIn("[tunnel.a]\n", self.call(str(file))[1])

    def test_certificatesAreReadFromTheFolderOfTheFile(self) -> None:
        """So that the name is known."""
        out = self.call(str(DATA / "https-front.conf"))[1]
        self.assertIn("identity import mail.example.org --cert mail.pem", out)

    def test_anOutputFile(self) -> None:
        """It is never replaced, unless that is asked for."""
        output = self.folder / "new.toml"
        self.assertEqual(self.call("-", "--output", str(output), stdin=GOOD), (0, "", ""))
        self.assertIn("[tunnel.a]\n", output.read_text())
        output.write_text("x" * 10000)
        code, _, err = self.call("-o", str(output), "-", stdin=GOOD)
        self.assertEqual(code, 1)
        self.assertIn("is there already; choose another name, or give --force", err)
        self.assertEqual(output.read_text(), "x" * 10000)
        self.assertEqual(self.call("-fo", str(output), "-", stdin=GOOD)[0], 0)
        self.assertNotIn("xxx", output.read_text())

    def test_aBrokenFileLeavesNoOutput(self) -> None:
        """Nothing is half done."""
        output = self.folder / "new.toml"
        self.assertEqual(self.call("-o", str(output), "-", stdin="x")[0], 1)
        self.assertFalse(output.exists())

    def test_theOutputIsUTF8(self) -> None:
        """Whatever the terminal has, as it is to become a file."""
        out = self.call("-", stdin=f"{GOOD}CAfile = /etc/\N{GREEK SMALL LETTER PI}.pem\n")[1]
        self.assertIn('trust = ["/etc/\N{GREEK SMALL LETTER PI}.pem"]', out)

    def test_namesOfFilesDoNothingToATerminal(self) -> None:
        """Whoever made them."""
        (self.folder / "parts").mkdir()
        (self.folder / "parts" / "a\x1b[2J\n.conf").write_text("x\n")
        err = self.call("-", stdin=f"include = {self.folder}/parts\n")[2]
        self.assertIn("parts/a?[2J?.conf:1: the line has no '='", err)

    def test_wordsOfGhostunnel(self) -> None:
        """What stands behind them is no option of ours."""
        words = "ghostunnel client --listen localhost:1 --target a.example.org:2".split()
        code, out, err = self.call(*words, "--disable-authentication")
        self.assertEqual((code, err), (0, ""))
        self.assertIn("[tunnel.ghostunnel]\n", out)
        code, out, err = self.call("ghostunnel", "server", "--output", "x")
        self.assertEqual((code, out), (2, ""))
        self.assertIn("ghostunnel has no flag --output", err)

    def test_aFileOfThatName(self) -> None:
        """It needs its folder."""
        (self.folder / "ghostunnel").write_text(GOOD)
        self.assertEqual(self.call(str(self.folder / "ghostunnel"))[0], 0)

    def test_nothingToConvert(self) -> None:
        """It is a mistake."""
        error = self.assertRaises(usage.UsageError, ConvertOptions().parseOptions, [])
        self.assertIn("FILE is missing", str(error))
