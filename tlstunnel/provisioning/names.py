"""
Distinguished names as strings (RFC 4514): compared, taken apart and put together, and never paths.
"""

from __future__ import annotations

import re

#: One relative name: the attributes and values that it has, in order.
Relative = tuple[tuple[str, str], ...]

_ESCAPED = re.compile(rb"\\([0-9a-fA-F]{2}|[ \"#+,;<=>\\])")
_PARTS = re.compile(r"(?:[^\\,]|\\.)*", re.DOTALL)
_VALUES = re.compile(r"(?:[^\\+]|\\.)*", re.DOTALL)

# What has to be escaped wherever it stands.
_SPECIAL = re.compile(r'([\\",+;<>=])')


def normal(name: str) -> tuple[Relative, ...]:
    """
    Take a name apart, in a form in which equal names are equal: case and spaces do not matter.

    @raise ValueError: it is none; the message is a sentence for the user.
    """
    return tuple(
        tuple(sorted(_pair(name, each) for each in _split(_VALUES, part))) for part in parts(name)
    )


def parts(name: str) -> list[str]:
    """
    The relative names that a name has, as they are written.
    """
    return _split(_PARTS, name) if name.strip() else []


def _split(form: re.Pattern[str], text: str) -> list[str]:
    found, at = [], 0
    while True:
        match = form.match(text, at)
        assert match is not None
        found.append(match[0])
        at = match.end() + 1
        if at > len(text):
            return found


def _pair(name: str, text: str) -> tuple[str, str]:
    kind, sign, value = text.partition("=")
    kind = kind.strip().lower()
    if not sign or not re.fullmatch(r"[a-z0-9.-]+", kind):
        raise ValueError(
            f"{name[:200]!r} is no distinguished name; give one such as ou=pool,dc=org"
        )
    # A space that is escaped is one of the value.
    value = value.lstrip()
    if not re.search(r"\\ *\Z", value):
        value = value.rstrip()
    plain = _ESCAPED.sub(_unescaped, value.encode("utf-8", "surrogateescape"))
    return kind, " ".join(plain.decode("utf-8", "replace").casefold().split())


def _unescaped(match: re.Match[bytes]) -> bytes:
    text = match[1]
    return bytes.fromhex(text.decode()) if len(text) == 2 else text


def escaped(value: str) -> str:
    """
    A value as it stands in a name.
    """
    text = _SPECIAL.sub(r"\\\1", value)
    if text[:1] in ("#", " "):
        text = "\\" + text
    if text.endswith(" ") and len(value) > 1:
        text = text[:-1] + "\\ "
    return text.replace("\0", "\\00")
