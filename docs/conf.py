"""
How Sphinx makes the documentation; see the target docs of the Makefile.
"""

from __future__ import annotations

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

html_theme = "furo"
html_title = f"tlstunnel {release}"
html_show_copyright = False


def setup(app: Sphinx) -> None:
    """
    Let blocks say that they are chat scripts, which tests look for and no highlighter knows.
    """
    for language in ("chat", "chat-server"):
        app.add_lexer(language, TextLexer)
