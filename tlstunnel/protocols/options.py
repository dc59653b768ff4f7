"""
What C{--dialect-option} gives a dialect: names, some with a value behind an equals sign.

A dialect lists in C{options} the names that it knows, and in C{values} those that take a value,
each with its kind.  L{checkOptions} holds what was given against them, once, where a tunnel is
described; afterwards a role looks with C{in} for a name, and asks an L{OptionValue} for its value.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from tlstunnel.errors import ConfigurationError, nearest
from tlstunnel.interfaces import IDialect

T = TypeVar("T")


@dataclass(frozen=True)
class OptionValue(Generic[T]):
    """
    The value of one option.

    @ivar name: the option.
    @ivar form: what help calls the value.
    @ivar example: one that is right.
    @ivar parse: makes of a text what it means; raises C{ValueError} with a sentence that says what
        is wrong with it.
    """

    name: str
    form: str
    example: str
    parse: Callable[[str], T]

    def given(self, words: Iterable[str]) -> T | None:
        """
        The value among what was given, and checked; C{None} if it was not.
        """
        for word in words:
            name, isThere, value = word.partition("=")
            if isThere and name == self.name:
                return self.parse(value)
        return None


def nameOf(word: object) -> str:
    """
    The name of an option that was given, without its value.
    """
    return str(word).partition("=")[0]


def written(dialect: IDialect) -> Iterator[tuple[str, str]]:
    """
    The options of a dialect as they are given, each with its explanation.
    """
    forms = {each.name: each.form for each in dialect.values}
    for name, meaning in dialect.options.items():
        mode = dialect.onlyIn.get(name)
        explained = f"{mode} mode: {meaning}" if mode else meaning
        yield (f"{name}={forms[name]}" if name in forms else name), explained


def optionsIn(mode: str, dialect: IDialect) -> set[str]:
    """
    The options that mean something in C{client} or C{server} mode.
    """
    return {name for name in dialect.options if dialect.onlyIn.get(name, mode) == mode}


def checkOptions(words: Collection[str], dialect: IDialect, mode: str) -> frozenset[str]:
    """
    @param words: what was given.
    @param mode: C{client} or C{server}.
    @return: the same, each once.
    @raise ConfigurationError: if the dialect has no such option in this mode, or not with such a
        value.
    """
    values = {each.name: each for each in dialect.values}
    seen: dict[str, str] = {}
    for word in words:
        name = nameOf(word)
        _checkOption(word, values.get(name), dialect)
        if name not in optionsIn(mode, dialect):
            raise ConfigurationError(
                f"`dialect-option` {word}", f"means nothing with `{mode}`", "leave it out"
            )
        if seen.setdefault(name, word) != word:
            raise ConfigurationError(
                f"`dialect-option` {word}", f"{seen[name]} was given too", "leave one of them out"
            )
    return frozenset(words)


def _checkOption(word: str, value: OptionValue[object] | None, dialect: IDialect) -> None:
    name, hasValue, text = word.partition("=")
    subject = f"`dialect-option` {word}"
    if name not in dialect.options:
        if not dialect.talks:
            remedy = "give `starttls` too, or leave it out"
            raise ConfigurationError(subject, "TLS from the first byte has no options", remedy)
        known = ", ".join(each for each, _ in written(dialect))
        if not known:
            raise ConfigurationError(subject, f"{dialect.name} has no options", "leave it out")
        remedy = nearest(name, dialect.options) or f"it has: {known}"
        raise ConfigurationError(subject, f"{dialect.name} has no such option", remedy)
    if value is None:
        if hasValue:
            raise ConfigurationError(subject, f"{name} takes no value", f"give {name} alone")
        return
    remedy = f"give {name}={value.form}, as {name}={value.example}"
    if not text:
        raise ConfigurationError(subject, f"{name} needs a value", remedy)
    try:
        value.parse(text)
    except ValueError as error:
        raise ConfigurationError(subject, str(error), remedy) from None
