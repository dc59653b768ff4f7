"""
The command line of a tunnel, for C{tlstunnel} and for C{twistd tlstunnel}.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from twisted.python import usage

from tlstunnel.errors import ConfigurationError
from tlstunnel.program.configuration import (
    Configuration,
    examineConfiguration,
    readConfiguration,
)
from tlstunnel.program.configure import checkModes, describe
from tlstunnel.program.option import Scope, Section, read
from tlstunnel.program.options import FILE_OPTIONS, OPTIONS, TUNNEL_OPTIONS
from tlstunnel.program.problems import Problem
from tlstunnel.program.tableoptions import TableOptions, accepting, sectionHelp
from tlstunnel.protocols import registry
from tlstunnel.protocols.dialogue import dialogueOf
from tlstunnel.protocols.options import written
from tlstunnel.tunnel.description import Mode

_USAGE = """\
Usage: tlstunnel -s|-c|-b -l ADDR -r ADDR [options]
       tlstunnel --config FILE [--check | --show] [options]
       tlstunnel COMMAND [options]

Put TLS around connections of programs that know none, or take it off for servers that know none.

  Take TLS off, before a web server that knows none:
    tlstunnel -s -l [::]:443 -L www.example.org -r 127.0.0.1:80
  Put TLS around, for a mail program that knows none:
    tlstunnel -c -l 127.0.0.1:2525 -r mail.example.org:587 --starttls smtp
  Do both, and more, as a file says:
    tlstunnel --config /etc/tlstunnel/tlstunnel.toml
"""

_CHAT_WORDS = """\
      -- [-t N] [-T S] [-U S] [-e] [-E] [-v] -f FILE | EXPECT SEND ...
                             upgrade as chat(8) would that is called like this
"""


@accepting((*FILE_OPTIONS, *TUNNEL_OPTIONS))
class TunnelOptions(TableOptions):
    """
    The options of one tunnel, or of a file with many, and of the process that they run in.

    Once they are parsed, C{self["config"]} is the path of a file, or C{self["tunnel"]} the
    L{tlstunnel.tunnel.description.Tunnel} that they make; beside it are the values of all of them.

    @ivar words: the whole command line.
    @ivar chatWords: what stands behind C{--}.
    """

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.chatWords: list[str] = []
        self._isListing = False

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Like Twisted's, but what stands behind C{--} is a chat script, and not for us to read.
        """
        words = self.words = list(sys.argv[1:] if options is None else options)
        if "--" in words:
            at = words.index("--")
            self.chatWords = words[at + 1 :]
            words = words[:at]
        super().parseOptions(words)

    def parseArgs(self, *words: str) -> None:
        """
        There are only options.
        """
        if words:
            raise usage.UsageError(f"{words[0]!r} is no option; each of them begins with a hyphen")

    def opt_list_protocols(self) -> None:
        """
        show all protocols, their ports and their options
        """
        self._isListing = True

    def getUsage(self, width: int | None = None) -> str:
        """
        The help text, for people.
        """
        scopes = {each.scope for each in self.settings} | {Scope.ACTION}
        shown = [each for each in OPTIONS if each.scope in scopes]
        return _USAGE + "".join(
            sectionHelp(
                section,
                [each for each in shown if each.section is section],
                _CHAT_WORDS if section is Section.PROTOCOL else "",
            )
            for section in Section
        )

    def getSynopsis(self) -> str:
        """
        Nothing: the help text has it.
        """
        return ""

    def postOptions(self) -> None:
        """
        Check the options, and make a tunnel of them, unless that is for a file to do.

        @raise usage.UsageError: if they make none; the message names the option.
        """
        if self._isListing:
            sys.stdout.write(listProtocols("verbose" in self.given))
            raise SystemExit(0)
        try:
            if "config" not in self.given:
                # First: all else is judged by the mode.
                checkModes([each.value for each in Mode if each.value in self.given])
            self.update(read(self.given, self.settings))
            if self["config"] is None:
                self["tunnel"] = describe(self, self.chatWords)
            else:
                self._checkBesideFile()
        except ConfigurationError as error:
            raise usage.UsageError(str(error)) from None

    def _checkBesideFile(self) -> None:
        """
        What is about one tunnel stands in the file.

        @raise ConfigurationError: something of that was given.
        """
        given = [
            f"`{option.name}`"
            for option in self.settings
            if option.name in self.given and option.scope is Scope.TUNNEL
        ]
        given += ["--"] if self.chatWords else []
        if given:
            raise ConfigurationError(
                ", ".join(given),
                "cannot stand beside `config`, which may have many tunnels",
                "put it into the table of a tunnel in that file",
            )

    def examination(self) -> tuple[Configuration, list[Problem]]:
        """
        Read the file, with what the command line says of the process.

        @return: what is right in it, and everything that is wrong.
        @raise Problems: it cannot be read at all.
        """
        return examineConfiguration(Path(self["config"]), self._overriding())

    def configuration(self) -> Configuration:
        """
        The same of a file that has to be right.

        @raise Problems: everything that is wrong with it.
        """
        return readConfiguration(Path(self["config"]), self._overriding())

    def _overriding(self) -> dict[str, object]:
        return {
            option.name: self[option.name]
            for option in self.settings
            if option.name in self.given and option.scope in {Scope.PROCESS, Scope.LOG}
        }


def listProtocols(isVerbose: bool = False) -> str:
    """
    All dialects, a line each, with their options below them.

    @param isVerbose: have what is said before TLS, too.
    """
    lines = [f"{'name':16}{'roles':16}{'ports':12}{'implicit':10}aliases; what it is"]
    for dialect in [*registry.builtIn(), *registry.plugins()]:
        ports = ",".join(map(str, dialect.ports)) or "-"
        aliases = ", ".join(dialect.aliases)
        about = f"{aliases}; {dialect.summary}" if aliases else dialect.summary
        lines.append(
            f"{dialect.name:16}{'client server':16}{ports:12}"
            f"{dialect.implicitPort or '-'!s:<10}{about}"
        )
        lines += [
            f"{'':16}--dialect-option {word}: {meaning}" for word, meaning in written(dialect)
        ]
        if isVerbose:
            lines += [f"{'':4}{line}".rstrip() for line in ("", *dialogueOf(dialect), "")]
    if isVerbose:
        lines.append("C: says the client, which we are with -c, and S: the server, as with -s")
    return "\n".join(lines) + "\n"
