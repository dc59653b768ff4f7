"""
A conversion, written as a configuration file: TOML, with comments.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping

from tlstunnel.convert.draft import Conversion, Draft, LeftOut, NameDraft, Value
from tlstunnel.program.options import OPTIONS

# The mode first, then the order of the manual.
_ORDER = {option.name: number for number, option in enumerate(OPTIONS)}

_WIDTH = 99

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\t": "\\t"}


def _string(text: str) -> str:
    """
    A basic string, with escapes for what TOML or a terminal does not take.
    """
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def written(value: Value) -> str:
    """
    A value, as TOML has it.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(_string, value)) + "]"
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def printable(text: str) -> str:
    """
    C{text} as one line that does nothing to a terminal, or to the file that it is a comment in.
    """
    return "".join(each if each.isprintable() else "?" for each in text)


def _comment(text: str) -> Iterator[str]:
    """
    A sentence, in as many lines as it needs.
    """
    yield from textwrap.wrap(
        printable(text),
        _WIDTH,
        initial_indent="# ",
        subsequent_indent="#   ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _verbatim(lines: Iterable[str]) -> Iterator[str]:
    """
    Lines that somebody may want to copy, as they are.
    """
    for line in lines:
        yield f"#     {printable(line)}"


def _table(values: Mapping[str, Value]) -> Iterator[str]:
    for key, value in values.items():
        yield f"{key} = {written(value)}"


def _head(conversion: Conversion) -> Iterator[str]:
    yield from _comment(f"Converted from {conversion.source} by 'tlstunnel convert'.")
    yield from _comment(
        "Read the comments; then 'tlstunnel --config FILE --check' says what is still missing."
    )
    if conversion.commands:
        yield "#"
        yield from _comment("Run first, so that keys and certificates are in the pool:")
        yield from _verbatim(conversion.commands)
    if conversion.notes:
        yield "#"
    for note in conversion.notes:
        yield from _comment(note)


def _draft(draft: Draft) -> Iterator[str]:
    yield from _section(f"tunnel.{draft.name}", draft)
    for name in draft.names:
        yield ""
        yield from _section(f"tunnel.{draft.name}.name.{_string(name.name)}", name)


def _section(table: str, draft: Draft | NameDraft) -> Iterator[str]:
    yield f"[{table}]"
    for note in draft.notes:
        yield from _comment(note)
    keys = sorted(draft.values, key=lambda key: _ORDER.get(key, -1))
    yield from _table({key: draft.values[key] for key in keys})


def _leftOut(tunnel: LeftOut) -> Iterator[str]:
    yield from _comment(f"Left out: [{tunnel.name}]")
    for reason in tunnel.reasons:
        yield from _comment(reason)
    yield from _verbatim(tunnel.original)


def write(conversion: Conversion) -> str:
    """
    The text of the file.
    """
    parts = [_head(conversion)]
    for name, values in (("process", conversion.process), ("status", conversion.status)):
        if values:
            parts.append(iter([f"[{name}]", *_table(values)]))
    for tunnel in conversion.tunnels:
        parts.append(_draft(tunnel) if isinstance(tunnel, Draft) else _leftOut(tunnel))
    return "\n\n".join("\n".join(part) for part in parts) + "\n"
