"""
Tests for docs/completion: what shells complete.
"""

from __future__ import annotations

import runpy
import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tlstunnel.program.options import OPTIONS
from tlstunnel.protocols.registry import BUILT_IN

DOCS = Path(__file__).parent.parent / "docs"

_BASH = """\
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_tlstunnel tlstunnel "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


class CompletionTests(SynchronousTestCase):
    """
    The two files.
    """

    def completed(self, *words: str) -> set[str]:
        """
        What bash offers instead of the last of these words.
        """
        bash = shutil.which("bash")
        if bash is None:
            raise SkipTest("there is no bash")
        done = subprocess.run(
            [bash, "-c", _BASH, "bash", DOCS / "completion" / "tlstunnel", "tlstunnel", *words],
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual(done.stderr, "")
        return set(done.stdout.splitlines()) - {""}

    def test_theyHaveTheOptionsOfTheTable(self) -> None:
        """
        As docs/completion.py, which make docs runs, writes them.
        """
        written = runpy.run_path(str(DOCS / "completion.py"))
        for shell, name in (("bash", "tlstunnel"), ("zsh", "_tlstunnel")):
            text = (DOCS / "completion" / name).read_text()
            self.assertEqual(written[shell](), text, "run make docs")

    def test_optionsOfATunnel(self) -> None:
        """
        All of them, wherever they stand.
        """
        found = self.completed("-s", "-l", ":443", "--")
        self.assertEqual(found, {f"--{option.name}" for option in OPTIONS})
        self.assertEqual(self.completed("--skip-r"), {"--skip-resolve"})

    def test_commandsWithinCommands(self) -> None:
        """
        Their names, and then the options of each.
        """
        self.assertEqual(self.completed("pool", ""), {"serve", "pull", "push"})
        self.assertEqual(self.completed("pool", "serve", "--v2"), {"--v2-socket"})
        self.assertIn("create", self.completed("identity", ""))

    def test_values(self) -> None:
        """
        Of options whose values are known; nothing is offered for others.
        """
        self.assertEqual(self.completed("-c", "--minimum-tls", ""), {"1.2", "1.3"})
        self.assertLessEqual(set(BUILT_IN), self.completed("-c", "--starttls", ""))
        self.assertEqual(self.completed("--trust", "sys"), {"system"})
        self.assertEqual(self.completed("-c", "-r", ""), set())

    def test_files(self) -> None:
        """
        Whatever their names; directories alone where those are wanted.
        """
        directory = Path(self.mktemp()).absolute()
        (directory / "a dir").mkdir(parents=True)
        (directory / "a file").write_text("")
        for words, expected in (
            (["--trust"], {"a dir", "a file"}),
            (["--pool"], {"a dir"}),
            (["identity", "import", "x.y", "--cert"], {"a dir", "a file"}),
            (["identity", "trust", "x.y"], {"a dir", "a file"}),
            (["identity", "create"], set()),
        ):
            found = self.completed(*words, f"{directory}/a")
            self.assertEqual(found, {str(directory / name) for name in expected}, words)

    def test_commands(self) -> None:
        """
        The first word may be one, and some have commands of their own.
        """
        self.assertEqual(self.completed("ident"), {"identity"})
        self.assertEqual(self.completed("-c", "ident"), set())
        self.assertEqual(self.completed("identity", "cr"), {"create"})
        self.assertEqual(self.completed("identity", "create", "--f"), {"--force"})
        self.assertEqual(self.completed("demo", "--o"), {"--once"})

    def test_zshUnderstandsItsFile(self) -> None:
        """
        As far as that can be told without a terminal.
        """
        if not shutil.which("zsh"):
            raise SkipTest("there is no zsh")
        subprocess.run(["zsh", "-n", DOCS / "completion" / "_tlstunnel"], check=True)
