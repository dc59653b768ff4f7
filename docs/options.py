"""
Writes the options of the table, and the keys of a configuration file, into the manual pages,
between the comments that mark their places.

C{python docs/options.py PAGE...} rewrites pages; C{make docs} does so with docs/tlstunnel.8 and
docs/tlstunnel.toml.5.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tlstunnel.program.keys import INCLUDE, PROCESS_KEYS, STATUS_KEYS, TUNNEL_KEYS
from tlstunnel.program.option import Option, Section
from tlstunnel.program.options import OPTIONS
from tlstunnel.program.poolsettings import POOL_SERVICE_OPTIONS
from tlstunnel.program.pullsettings import POOL_PULL_KEYS

_PLACE = re.compile(r'(?ms)^(\.\\" (options|keys): (\w+)\n).*?^(\.\\" end of \2\n)')

#: The keys of tables that a page has in one list; those of tunnels are in sections.
TABLES = {
    "include": (INCLUDE,),
    "process": PROCESS_KEYS,
    "status": STATUS_KEYS,
    "POOL_SERVICE": POOL_SERVICE_OPTIONS,
    "POOL_PULL": POOL_PULL_KEYS,
}

# What has a macro of its own: options, and pages of the manual; with the punctuation behind it.
_MACROS = re.compile(
    r"(?:`(?P<key>[a-z0-9-]+)`|(?P<page>[\w.]+)\((?P<part>\d)\))(?P<end>[.,;:)]*) ?"
)

_SHORT = {option.name: option.short for option in OPTIONS}


def page(text: str) -> str:
    """
    The manual page C{text} with its lists of options and keys as the tables have them.
    """
    return _PLACE.sub(_place, text)


def _place(found: re.Match[str]) -> str:
    name = found[3]
    if found[2] == "options":
        options = (*OPTIONS, *POOL_SERVICE_OPTIONS)
        text = _list((each for each in options if each.section is Section[name]), _item, _option)
    else:
        keys = TABLES.get(name) or [each for each in TUNNEL_KEYS if each.section is Section[name]]
        text = _list(keys, _keyItem, _key)
    return found[1] + text + found[4]


def _list(
    options: Iterable[Option],
    item: Callable[[Option], str],
    mention: Callable[[str], str],
) -> str:
    """
    @param item: how an option is written at the head of its text.
    @param mention: how another one is mentioned, by its key.
    """
    lines = [".Bl -tag -width Ds"]
    for option in options:
        lines += [item(option), *_prose(option, mention)]
    return "\n".join([*lines, ".El"]) + "\n"


def _item(option: Option) -> str:
    names = [f"Fl {option.short}"] if option.short else []
    item = f".It {' , '.join([*names, f'Fl -{option.name}'])}"
    return f"{item} {_values(option)}" if option.argument else item


def _keyItem(option: Option) -> str:
    values = _values(option) if option.argument else "Cm true | Cm false"
    return f".It Cm {option.name} No = {f'[ {values} , ... ]' if option.isRepeatable else values}"


def _values(option: Option) -> str:
    return " | ".join(
        f"Ar {each.lower()}" if each.isupper() else f"Cm {each}"
        for each in option.argument.split("|")
    )


def _prose(option: Option, mention: Callable[[str], str]) -> Iterator[str]:
    """
    What it means, in lines of mdoc(7): a sentence begins on a line of its own.
    """
    text = f"{option.modes}, {option.help}" if option.modes else option.help
    text = f"{text[0].upper()}{text[1:]}."
    if option.shownDefault:
        text += f" The default is {option.shownDefault}."
    elif option.default is True:
        text += " The default is true."
    for sentence in re.split(r"(?<=\.) (?=[A-Z])", f"{text} {option.more}".strip()):
        # Of a key this is to be seen.
        if sentence == "Repeatable." and mention is _key:
            continue
        at = 0
        for found in _MACROS.finditer(sentence):
            if before := sentence[at : found.start()].strip():
                yield before
            yield f"{_macro(found, mention)} {' '.join(found['end'])}".rstrip()
            at = found.end()
        if at < len(sentence):
            yield sentence[at:]


def _macro(found: re.Match[str], mention: Callable[[str], str]) -> str:
    if found["page"]:
        return f".Xr {found['page']} {found['part']}"
    return mention(found["key"])


def _option(key: str) -> str:
    return f".Fl {_SHORT.get(key) or '-' + key}"


def _key(key: str) -> str:
    return f".Cm {key}"


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(page(path.read_text()))
