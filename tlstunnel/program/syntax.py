"""
What all our command lines have in common: C{-h} and C{-V}, and what is said about a mistake.

It knows words, and nothing of what they mean.
"""

from __future__ import annotations

import getopt
import sys
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from twisted.python import usage

from tlstunnel import __version__
from tlstunnel.errors import nearest


class ProgramOptions(usage.Options):
    """
    Options of our program.

    @cvar arguments: what has to stand beside the options, each a word, as the help calls it.
    """

    arguments: ClassVar[tuple[str, ...]] = ()

    def opt_version(self) -> None:
        """
        Show the version and exit.
        """
        sys.stdout.write(f"tlstunnel {__version__}\n")
        raise SystemExit(0)

    opt_V = opt_version

    def opt_help(self) -> None:
        """
        Show this help and exit.
        """
        sys.stdout.write(f"{self}\n")
        raise SystemExit(0)

    opt_h = opt_help

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Like Twisted's, but options may also stand behind arguments.

        @raise usage.UsageError: something is wrong; the message says also what to do about it.
        """
        words = list(sys.argv[1:] if options is None else options)
        # A shell that completes an unfinished command line asks Twisted.
        if words[-2:-1] != ["--_shell-completion"]:
            words = self._inOrder(words)
        super().parseOptions(words)

    def _inOrder(self, words: Sequence[str]) -> list[str]:
        """
        The options before the arguments, as Twisted wants them; what belongs to a command stays.
        """
        commands = [each[0] for each in getattr(self, "subCommands", ())]
        parse = getopt.getopt if commands else getopt.gnu_getopt
        try:
            found, arguments = parse(words, self.shortOpt, self.longOpt)
        except getopt.GetoptError as error:
            raise usage.UsageError(self._explain(error)) from None
        if commands and arguments and arguments[0] not in commands:
            remedy = nearest(arguments[0], commands) or f"there are {', '.join(commands)}"
            raise usage.UsageError(f"there is no command {arguments[0]!r}; {remedy}")
        ordered = []
        values: Counter[str] = Counter()
        for name, value in found:
            takesValue = name[2:] + "=" in self.longOpt or name[1:] + ":" in self.shortOpt
            ordered += [name, value] if takesValue else [name]
            plain = name.lstrip("-")
            values[self.synonyms.get(plain, plain)] += takesValue
        # What has a default has one value; others are counted where they are taken.
        for name in self.defaults:
            if values[name] > 1:
                raise usage.UsageError(f"--{name}: has {values[name]} values; give one")
        return [*ordered, "--", *arguments]

    def parseArgs(self, *words: str) -> None:
        """
        Keep each of the arguments under its name.
        """
        if len(words) < len(self.arguments):
            missing = self.arguments[len(words)]
            raise usage.UsageError(f"{missing} is missing; write '{self.synopsisAlone()}'")
        if len(words) > len(self.arguments):
            extra = words[len(self.arguments)]
            raise usage.UsageError(
                f"{extra!r} is one word too many; write '{self.synopsisAlone()}'"
            )
        self.update(zip(map(str.lower, self.arguments), words, strict=True))

    def __str__(self) -> str:
        """
        The help, which shows where a command stands.
        """
        synopsis = self.getSynopsis()
        if synopsis and getattr(self, "subCommands", None):
            synopsis += " COMMAND [options]"
        return f"{synopsis}\n{self.getUsage()}"

    def synopsisAlone(self) -> str:
        """
        How the command is written, for an error that says so.
        """
        return self.getSynopsis().removeprefix("Usage: ")

    def _explain(self, error: getopt.GetoptError) -> str:
        """
        What is wrong with an option, and what to do about it.
        """
        isShort = f"--{error.opt}" not in error.msg
        if isShort and f"{error.opt}:" not in self.shortOpt:
            return f"-{error.opt}: there is no such option"
        word = f"-{error.opt}" if isShort else f"--{error.opt}"
        if isShort or f"{error.opt}=" in self.longOpt:
            return f"{word}: its value is missing; write {word} {self.valueOf(error.opt)}"
        if error.opt in self.longOpt:
            return f"{word}: takes no value; write it alone"
        names = sorted(f"--{each.rstrip('=')}" for each in self.longOpt)
        candidates = [each for each in names if each.startswith(word)]
        if candidates:
            return f"{word}: may be {' or '.join(candidates)}; write more of it"
        return "; ".join(filter(None, (f"{word}: there is no such option", nearest(word, names))))

    def valueOf(self, option: str) -> str:
        """
        What the help calls the value of an option.

        @param option: its long name or its letter.
        """
        return "VALUE"
