"""
Writes the options of the table into the manual page, between the comments that mark their places.

C{python docs/options.py PAGE} rewrites a page; C{make docs} does so with docs/tlstunnel.8.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tlstunnel.program.option import Option, Section
from tlstunnel.program.options import OPTIONS

_PLACE = re.compile(r'(?ms)^(\.\\" options: (\w+)\n).*?^(\.\\" end of options\n)')

# What has a macro of its own: options, and pages of the manual; with the punctuation behind it.
_MACROS = re.compile(r"(?:`(?P<key>[a-z-]+)`|(?P<page>\w+)\((?P<part>\d)\))(?P<end>[.,;:)]*) ?")

_SHORT = {option.name: option.short for option in OPTIONS}


def page(text: str) -> str:
    """
    The manual page C{text} with its lists of options as the table has them.
    """
    return _PLACE.sub(lambda found: found[1] + _list(Section[found[2]]) + found[3], text)


def _list(section: Section) -> str:
    lines = [".Bl -tag -width Ds"]
    for option in OPTIONS:
        if option.section is section:
            lines += [_item(option), *_prose(option)]
    return "\n".join([*lines, ".El"]) + "\n"


def _item(option: Option) -> str:
    names = [f"Fl {option.short}"] if option.short else []
    item = f".It {' , '.join([*names, f'Fl -{option.name}'])}"
    if not option.argument:
        return item
    values = [
        f"Ar {each.lower()}" if each.isupper() else f"Cm {each}"
        for each in option.argument.split("|")
    ]
    return f"{item} {' | '.join(values)}"


def _prose(option: Option) -> Iterator[str]:
    """
    What it means, in lines of mdoc(7): a sentence begins on a line of its own.
    """
    text = option.help
    if option.mode is not None:
        text = f"with `{option.mode.value}`, {text}"
    text = f"{text[0].upper()}{text[1:]}."
    if option.shownDefault:
        text += f" The default is {option.shownDefault}."
    for sentence in re.split(r"(?<=\.) (?=[A-Z])", f"{text} {option.more}".strip()):
        at = 0
        for found in _MACROS.finditer(sentence):
            if before := sentence[at : found.start()].strip():
                yield before
            yield f"{_macro(found)} {' '.join(found['end'])}".rstrip()
            at = found.end()
        if at < len(sentence):
            yield sentence[at:]


def _macro(found: re.Match[str]) -> str:
    if found["page"]:
        return f".Xr {found['page']} {found['part']}"
    return f".Fl {_SHORT[found['key']] or '-' + found['key']}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(page(path.read_text()))
