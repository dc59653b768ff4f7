"""
How Sphinx makes the documentation; see the target docs of the Makefile.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

import tlstunnel

project = "tlstunnel"
author = "The tlstunnel authors"
version = release = tlstunnel.__version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
# Two hyphens are an option, not a dash.
smartquotes = False

html_theme = "furo"
html_title = f"tlstunnel {release}"
html_show_copyright = False


HERE = Path(__file__).parent

#: The manual pages, and the words that introduce them.
MANUALS = {"manual": HERE / "tlstunnel.8", "keys": HERE / "tlstunnel.toml.5"}


def manual(page: Path) -> str:
    """
    A manual page in Markdown, or as text where there is no mandoc(1).
    """
    if shutil.which("mandoc"):
        text = _written("mandoc", "-T", "markdown", page)
        # The page has a title; a first line and a last one repeat it.
        return re.sub("(?m)^#", "##", text).partition("\n\n")[2].rpartition("\n\n")[0]
    if shutil.which("groff"):
        text = _written("groff", "-mandoc", "-rHY=0", "-rLL=100n", "-T", "utf8", "-P-cbou", page)
    else:
        text = page.read_text()
    return f"```text\n{text}\n```\n"


def _written(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def append(app: Sphinx, name: str, source: list[str]) -> None:
    """
    Put each manual page under the words that introduce it.
    """
    if name in MANUALS:
        app.env.note_dependency(str(MANUALS[name]))
        source[0] += manual(MANUALS[name])


def setup(app: Sphinx) -> None:
    """
    Let blocks say that they are chat scripts, which tests look for and no highlighter knows.
    """
    app.connect("source-read", append)
    for language in ("chat", "chat-server"):
        app.add_lexer(language, TextLexer)
