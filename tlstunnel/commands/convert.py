"""
The C{convert} command: makes a configuration file from one of stunnel, or from a command line of
ghostunnel.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tlstunnel.convert import ghostunnel, stunnel
from tlstunnel.convert.draft import Conversion
from tlstunnel.convert.ghostwords import BadWords
from tlstunnel.convert.stunnelfile import LARGEST_FILE, BrokenFile, parse
from tlstunnel.convert.writing import printable, write
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.files import reading
from tlstunnel.program.output import complain
from tlstunnel.program.syntax import ProgramOptions

#: The word behind which the words of ghostunnel stand.
GHOSTUNNEL = "ghostunnel"

#: The exit code where something could not be converted.
INCOMPLETE = 3


class ConvertOptions(ProgramOptions):
    """
    The options of C{convert}.

    @ivar words: those of ghostunnel.
    """

    arguments = ("FILE",)
    longdesc = (
        "Reads a configuration file of stunnel, - for standard input, or all that is behind the "
        "word ghostunnel as its command line, and writes a configuration file of tlstunnel. "
        "Whatever has no counterpart is in its comments. The exit code is 3 if a service had to "
        "be left out, or has lost a protection; 1 if the file cannot be read; else 0."
    )
    optParameters = [["output", "o", None, "Write there instead of standard output."]]
    optFlags = [["force", "f", "Replace that file if it is there already."]]

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def getSynopsis(self) -> str:
        """
        How it is called.
        """
        return "Usage: tlstunnel convert [options] FILE|ghostunnel WORD..."

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Like Twisted's, but what stands behind C{ghostunnel} are no options of ours.
        """
        words = list(sys.argv[1:] if options is None else options)
        for at, word in enumerate(words):
            if word == GHOSTUNNEL and words[at - 1 : at] not in (["-o"], ["--output"]):
                self.words, words = words[at + 1 :], words[: at + 1]
                break
        super().parseOptions(words)


def main(options: ConvertOptions) -> int:
    """
    Convert, and say on standard error what could not be converted.

    @return: the exit code, as the help has it.
    """
    try:
        conversion = _convert(options)
        _write(write(conversion), options["output"], bool(options["force"]))
    except BrokenFile as error:
        _complain(error.mistakes)
        return 1
    except ConfigurationError as error:
        complain(printable(str(error)))
        return 1
    except BadWords as error:
        complain(printable(str(error)))
        return 2
    except FileExistsError as error:
        problem = "is there already; choose another name, or give --force"
        complain(printable(f"{error.filename}: {problem}"))
        return 1
    _complain(conversion.warnings)
    return INCOMPLETE if conversion.warnings else 0


def _complain(lines: Iterable[str]) -> None:
    sys.stderr.writelines(f"{printable(line)}\n" for line in lines)


def _convert(options: ConvertOptions) -> Conversion:
    """
    Read what is to be converted.

    @raise ConfigurationError: the file cannot be read.
    """
    name, host = options["file"], socket.gethostname()
    if name == GHOSTUNNEL:
        return ghostunnel.convert(options.words, Path(), host)
    if name == "-":
        folder, path = Path(), "stdin"
        content = sys.stdin.buffer.read(LARGEST_FILE + 1)
    else:
        folder, path = Path(name).parent, name
        with reading(Path(name)):
            content = _read(Path(name))

    def include(text: str) -> Iterator[tuple[str, bytes]]:
        for file in sorted((folder / text).iterdir()):
            if file.is_file():
                yield str(file), _read(file)

    found = parse(path, content, include)
    if not (found.general or found.services):
        raise ConfigurationError(path, "has no settings", "give a configuration file of stunnel")
    return stunnel.convert(found, folder, host)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LARGEST_FILE + 1)


def _write(text: str, output: str | None, isForced: bool) -> None:
    if output is None:
        # As a file has it, whatever the terminal has.
        sys.stdout.buffer.write(text.encode())
        return
    flags = os.O_TRUNC if isForced else os.O_EXCL
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | flags, 0o644)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
