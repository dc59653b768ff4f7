"""
The grammar of stunnel's configuration file: settings, and the sections that they stand in.

It knows lines, and nothing of what the settings mean.  Whatever a file has in it, what comes out is
a L{StunnelFile} or a L{BrokenFile} with all that is wrong, a line each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

#: More than any configuration has: bytes of one file and of a line, sections and settings in all,
#: files in all, and how deep one may include the next.
LARGEST_FILE = 1 << 20
LONGEST_LINE = 16384
MOST_SETTINGS = 10000
MOST_FILES = 1000
DEEPEST = 10

#: How many mistakes are told.
MOST_MISTAKES = 20

_BOM = b"\xef\xbb\xbf"

#: Reads the files of a folder that C{include} names: gives the path and the content of each, in the
#: order of their names.  It may raise C{OSError}.
Include = Callable[[str], Iterable[tuple[str, bytes]]]


@dataclass(frozen=True)
class Place:
    """
    A line of a file.
    """

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class BrokenFile(Exception):
    """
    It cannot be read.

    @ivar mistakes: what is wrong, a line each: C{file:line: what is wrong; what to do}.
    """

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__(*self.mistakes)


@dataclass(frozen=True)
class Setting:
    """
    One line with a value.

    @ivar name: as it was written; stunnel does not tell capitals from small letters.
    @ivar value: without spaces around it.
    """

    name: str
    value: str
    place: Place

    def __str__(self) -> str:
        return f"{self.name} = {self.value}"


@dataclass(frozen=True)
class Service:
    """
    A section.

    @ivar settings: in the order of the file.
    """

    name: str
    place: Place
    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class StunnelFile:
    """
    All of it, with the files that it includes.

    @ivar general: what stands before the first section: settings of the process, and those that
        count for every service.
    @ivar services: in the order of the file.
    """

    path: str
    general: tuple[Setting, ...]
    services: tuple[Service, ...]


@dataclass
class _Parser:
    """
    What has been read so far.
    """

    include: Include
    general: list[Setting] = field(default_factory=list)
    services: list[tuple[str, Place, list[Setting]]] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)
    files: int = 0
    settings: int = 0

    def read(self, path: str, content: bytes, depth: int = 0) -> None:
        """
        Read one file.
        """
        self.files += 1
        if len(content) > LARGEST_FILE:
            self.complain(Place(path, 1), "the file is too large for a configuration")
            return
        lines = content.removeprefix(_BOM).replace(b"\r\n", b"\n").split(b"\n")
        for number, raw in enumerate(lines, 1):
            if len(self.mistakes) > MOST_MISTAKES:
                return
            line = raw.strip()
            # The manual knows semicolons alone, the program number signs as well.
            if line and not line.startswith((b";", b"#")):
                self._line(line, Place(path, number), depth)

    def _line(self, line: bytes, place: Place, depth: int) -> None:
        if len(line) > LONGEST_LINE:
            self.complain(place, f"the line has more than {LONGEST_LINE} bytes; break it up")
            return
        try:
            text = line.decode()
        except UnicodeDecodeError:
            self.complain(place, "the line is not UTF-8; convert the file with iconv(1)")
            return
        if not text.replace("\t", " ").isprintable():
            self.complain(place, "the line has characters that cannot be printed; remove them")
            return
        self.settings += 1
        if self.settings > MOST_SETTINGS:
            self.complain(place, f"there are more than {MOST_SETTINGS} settings; set less")
            raise BrokenFile(self.mistakes)
        if text.startswith("[") and text.endswith("]"):
            self.services.append((text[1:-1].strip(), place, []))
            return
        name, separator, value = (part.strip() for part in text.partition("="))
        if not separator or not name:
            self.complain(place, "the line has no '='; write NAME = VALUE, or [SERVICE]")
        elif name.lower() == "include":
            self._include(value, place, depth)
        else:
            settings = self.services[-1][2] if self.services else self.general
            settings.append(Setting(name, value, place))

    def _include(self, folder: str, place: Place, depth: int) -> None:
        if depth >= DEEPEST:
            self.complain(place, f"include goes more than {DEEPEST} files deep; include less")
            return
        try:
            for path, content in self.include(folder):
                if self.files >= MOST_FILES:
                    self.complain(place, f"there are more than {MOST_FILES} files; include fewer")
                    return
                self.read(path, content, depth + 1)
        except (OSError, ValueError) as error:
            what, reason, remedy = folder, str(error), "name a folder of files"
            if isinstance(error, OSError) and error.strerror:
                what, reason = str(error.filename or folder), error.strerror
            if isinstance(error, PermissionError):
                remedy = "see who may read it"
            self.complain(place, f"{what!r} cannot be read: {reason}; {remedy}")

    def complain(self, place: Place, problem: str) -> None:
        """
        Keep what is wrong.
        """
        if len(self.mistakes) < MOST_MISTAKES:
            self.mistakes.append(f"{place}: {problem}")


def parse(path: str, content: bytes, include: Include) -> StunnelFile:
    """
    Read a configuration file.

    @param path: what to call it.
    @raise BrokenFile: it is none.
    """
    parser = _Parser(include)
    parser.read(path, content)
    if parser.mistakes:
        raise BrokenFile(parser.mistakes)
    services = (Service(name, place, tuple(found)) for name, place, found in parser.services)
    return StunnelFile(path, tuple(parser.general), tuple(services))
