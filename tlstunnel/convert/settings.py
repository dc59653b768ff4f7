"""
The settings of one stunnel service together with those that count for all of them, and their
values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import NoReturn

from tlstunnel.convert.stunnelfile import BrokenFile, Place, Setting
from tlstunnel.convert.stunneloptions import BY_NAME, StunnelOption
from tlstunnel.errors import nearest

#: From the oldest version of TLS to the newest; C{all} is below them.
VERSIONS = ("all", "sslv2", "sslv3", "tlsv1", "tlsv1.1", "tlsv1.2", "tlsv1.3")

_LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")

# The PIN of a token in a URI (RFC 7512, section 2.4).
_PIN = re.compile("(pin-value=)[^;&?]*", re.IGNORECASE)

# What others may take for a comment; stunnel takes it for a part of the value.
_COMMENT = re.compile(r"\s[;#]")

#: Above what anybody waits for: some 30 years.
_LONGEST_TIME = 999_999_999


def optionOf(setting: Setting) -> StunnelOption:
    """
    The option that is set.
    """
    return BY_NAME[setting.name.lower()]


def unknown(settings: Iterable[Setting]) -> Iterator[str]:
    """
    The mistakes in the names of settings, a line each.
    """
    known = {option.lower(): each.name for option, each in BY_NAME.items()}
    for setting in settings:
        name = setting.name.lower()
        if name not in known:
            near = nearest(name, known)
            for small, proper in known.items():
                near = near.replace(f" {small}?", f" {proper}?")
            remedy = near or "remove it, or see stunnel(8)"
            yield f"{setting.place}: stunnel has no option {setting.name!r}; {remedy}"


class Settings:
    """
    What counts for a service.

    @ivar own: what stands in its section.
    @ivar inherited: what stands above all sections, and counts for it too.
    """

    def __init__(self, own: Sequence[Setting], inherited: Sequence[Setting] = ()) -> None:
        self.own = tuple(own)
        self.inherited = tuple(inherited)
        self._numbered: dict[str, list[tuple[int, Setting]]] = {}
        for numbered in enumerate((*self.inherited, *self.own)):
            self._numbered.setdefault(numbered[1].name.lower(), []).append(numbered)

    def all(self, *names: str) -> list[Setting]:
        """
        Every setting of these options, in their order: of an option that is a list, or of several
        that replace each other.
        """
        found = [each for name in names for each in self._numbered.get(name.lower(), ())]
        return [setting for _, setting in sorted(found, key=itemgetter(0))]

    def last(self, name: str) -> Setting | None:
        """
        The setting of an option that decides.
        """
        found = self.all(name)
        return found[-1] if found else None

    def text(self, name: str) -> str:
        """
        The value of an option; empty if it is not set.
        """
        setting = self.last(name)
        return setting.value if setting is not None else ""

    def flag(self, name: str) -> bool:
        """
        Whether an option is on.

        @raise BrokenFile: the value is neither yes nor no.
        """
        setting = self.last(name)
        if setting is None:
            return False
        if setting.value.lower() not in {"yes", "no"}:
            broken(setting, "is neither yes nor no")
        return setting.value.lower() == "yes"

    def seconds(self, name: str) -> int | None:
        """
        The time that an option has; C{None} if it is not set.

        @raise BrokenFile: the value is no number.
        """
        setting = self.last(name)
        if setting is None:
            return None
        isNumber = setting.value.isascii() and setting.value.isdigit()
        if not isNumber or len(setting.value) > 12 or int(setting.value) > _LONGEST_TIME:
            broken(setting, "is no number of seconds that makes sense")
        return int(setting.value)

    def level(self, name: str) -> int | None:
        """
        The level of the log that an option has; C{None} if it is not set.

        @raise BrokenFile: there is no such level.
        """
        setting = self.last(name)
        if setting is None:
            return None
        word = setting.value.lower().rpartition(".")[2]
        if word in _LEVELS:
            return _LEVELS.index(word)
        if len(word) != 1 or word not in "01234567":
            broken(setting, "is no level of the log")
        return int(word)


def version(setting: Setting) -> int:
    """
    The place in L{VERSIONS} of the version that an option has.

    @raise BrokenFile: there is no such version.
    """
    if setting.value.lower() not in VERSIONS:
        broken(setting, "is no version of TLS")
    return VERSIONS.index(setting.value.lower())


def broken(setting: Setting, problem: str, remedy: str = "see stunnel(8)") -> NoReturn:
    """
    Refuse the value of a setting.

    @raise BrokenFile: always.
    """
    if _COMMENT.search(setting.value):
        remedy = "put the comment on a line of its own"
    elif setting.value.startswith(('"', "'")):
        remedy = "leave out the quotation marks"
    about = f"{setting.place}: {setting.name}"
    raise BrokenFile([f"{about}: {setting.value!r} {problem}; {remedy}"])


def shown(setting: Setting) -> str:
    """
    A setting as it was written, but for what is secret.
    """
    if optionOf(setting).isSecret and not setting.value.lower().startswith("module_path:"):
        return f"{setting.name} = ..."
    return _PIN.sub(r"\1...", str(setting))


def at(place: Place, path: str) -> str:
    """
    Where something stands, for a reader who knows C{path}.
    """
    return f"line {place.line}" if place.file == path else str(place)
