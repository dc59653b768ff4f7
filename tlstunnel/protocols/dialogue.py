"""
What is said before TLS, as a person reads it: the dialogue at the head of the module in which the
roles of a dialect are.
"""

from __future__ import annotations

import inspect
import sys

from tlstunnel.interfaces import IDialect

# What a line of a block is indented by, at the least.
_INDENT = "    "


def dialogueOf(dialect: IDialect) -> list[str]:
    """
    The lines of the dialogue of C{dialect}; none where nothing is said, or nobody has written it
    down (or Python has left it out, as with C{-OO}).
    """
    text = inspect.cleandoc(sys.modules[dialect.client.__module__].__doc__ or "")
    found: list[str] = []
    isInside = False
    for line in text.splitlines():
        if isInside and line.startswith(_INDENT):
            found.append(line.removeprefix(_INDENT))
        elif isInside and not line and found:
            found.append("")
        elif found and line:
            break
        isInside = isInside or line.endswith("::")
    while found and not found[-1]:
        found.pop()
    return found
