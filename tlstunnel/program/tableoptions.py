"""
Command lines whose options are rows of the table of settings: the options, as L{usage.Options} has
them, and the help for them.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from twisted.python import usage

from tlstunnel.errors import ConfigurationError
from tlstunnel.program.option import Option, Section, read
from tlstunnel.program.options import OPTIONS
from tlstunnel.program.syntax import ProgramOptions

# Where the explanations of the help begin at the least, and where they end.
_COLUMN, _WIDTH = 29, 96

_SHORT = {option.name: option.short for option in OPTIONS}

_Kind = TypeVar("_Kind", bound="TableOptions")


def accepting(options: Sequence[Option]) -> Callable[[type[_Kind]], type[_Kind]]:
    """
    A class decorator that adds C{options} to those of a L{TableOptions}.
    """

    def decorate(kind: type[_Kind]) -> type[_Kind]:
        kind.settings = (*kind.settings, *options)
        for option in options:
            # What usage.Options looks for are methods of the class.
            method = _taking(option) if option.argument else _turningOn(option)
            for name in filter(None, (option.name, option.short)):
                setattr(kind, "opt_" + name.replace("-", "_"), method)
        return kind

    return decorate


def _taking(option: Option) -> Callable[..., None]:
    def take(self: TableOptions, value: str) -> None:
        self.given.setdefault(option.name, []).append(value)

    take.__doc__ = option.help
    return take


def _turningOn(option: Option) -> Callable[..., None]:
    def turnOn(self: TableOptions) -> None:
        self.given[option.name] = [True]

    turnOn.__doc__ = option.help
    return turnOn


class TableOptions(ProgramOptions):
    """
    Options of the table.

    @cvar settings: what can be given.
    @ivar given: what was, by name, as often as it was.
    """

    settings: tuple[Option, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, list[Any]] = {}

    def valueOf(self, option: str) -> str:
        """
        What the help calls the value of an option.
        """
        return next(each.argument for each in self.settings if option in (each.name, each.short))


class ServingOptions(TableOptions):
    """
    Options of a command that serves until a signal ends it.

    @cvar sections: those of its help.
    @cvar introduction: what its help says before them.
    """

    sections: tuple[Section, ...] = ()
    introduction = ""

    def describe(self) -> object:
        """
        What they make of the command.

        @raise ConfigurationError: they make nothing that could serve.
        """
        raise NotImplementedError

    def getUsage(self, width: int | None = None) -> str:
        """
        The help text, for people.
        """
        return self.introduction + "".join(
            sectionHelp(section, [each for each in self.settings if each.section is section])
            for section in self.sections
        )

    def postOptions(self) -> None:
        """
        Check the options.

        @raise usage.UsageError: nothing can serve by them; the message names the option.
        """
        try:
            self.update(read(self.given, self.settings))
            self.describe()
        except ConfigurationError as error:
            raise usage.UsageError(str(error)) from None


def sectionHelp(section: Section, options: Sequence[Option], more: str = "") -> str:
    """
    One section of the help, with an empty line before it.

    @param more: what is said behind its options.
    """
    if not options:
        return ""
    names = [_names(option) for option in options]
    column = max(_COLUMN, *(len(each) + 2 for each in names))
    text = f"\n{section.value}:\n"
    for name, option in zip(names, options, strict=True):
        first, *rest = textwrap.wrap(_meaning(option), _WIDTH - column, break_on_hyphens=False)
        text += name.ljust(column) + first + "\n"
        text += "".join(" " * column + line + "\n" for line in rest)
    return text + more


def _names(option: Option) -> str:
    names = f"-{option.short}, --" if option.short else "    --"
    return f"  {names}{option.name} {option.argument}".rstrip()


def _meaning(option: Option) -> str:
    """
    What it means, with other options mentioned as briefly as can be.
    """
    text = f"{option.modes}, {option.help}" if option.modes else option.help
    if option.shownDefault:
        text += f" (default: {option.shownDefault})"
    return re.sub("`([a-z0-9-]+)`", lambda found: asOption(found[1]), text)


def asOption(name: str) -> str:
    """
    An option as one types it.
    """
    short = _SHORT.get(name)
    return f"-{short}" if short else f"--{name}"
