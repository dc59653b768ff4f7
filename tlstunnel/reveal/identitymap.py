"""
As whom an identity may log in at the plaintext side: a file in the form of PostgreSQL's
pg_ident.conf, or without one its own name.

::

    # MAP        IDENTITY                         NAME
    postgresql   john@example.org                 accounts
    postgresql   "/^([a-z]+)@example\\.org$"       \\1
    mysql        backup.example.org               dump

The map of a word of C{reveal} is the one that is called as it is: C{postgresql}, C{mysql},
C{login}, C{xmpp}.  Lines of other maps are left alone, so that one file can be for several, and for
a server beside.

An identity is compared in its one form, as L{tlstunnel.identity.names} has it: that of a user, of a
domain, of a workload or of a key.  A name is compared character by character.  What must never
happen: that somebody is somebody else to the backend because two names are alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Identity, Kind
from tlstunnel.identity.pem import readFile
from tlstunnel.identity.pins import parsePin
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.reveal.patterns import Pattern

_INCLUDES = ("include", "include_if_exists", "include_dir")

# A field is of characters and of quoted parts, in which two quotation marks stand for one.
_FIELD = re.compile(r'((?:[^\s",#]|"(?:[^"]|"")*")+)(?=[\s#]|$)', re.ASCII)
_SPACE = re.compile(r"\s*(?:#.*)?", re.ASCII)

_KEY = "sha256//"


class Names(Protocol):
    """
    As whom identities may log in.
    """

    def names(self, identity: Identity) -> Sequence[str]:
        """
        As whom C{identity} may, as far as they can be listed; the first is the one that is meant
        where nobody has said another.
        """

    def allows(self, identity: Identity, name: str) -> bool:
        """
        Whether C{identity} may log in as C{name}.
        """


def namesFor(disclosure: Disclosure, word: str) -> Names:
    """
    What a word of C{reveal} needs: the map that is called as it is, or where there is no file,
    everybody's own names.

    @raise ConfigurationError: the file is wrong, or has no such map.
    """
    if disclosure.identityMap is None:
        return OwnNames()
    return IdentityMap.read(disclosure.identityMap, word)


class OwnNames:
    """
    Everybody has the own name alone: the whole of it, or, of C{user@domain}, what is before the
    C{@}.

    A key has none, nor has a domain of a single label, which would be like the name of a user.
    """

    def names(self, identity: Identity) -> Sequence[str]:
        """
        See L{Names}.
        """
        whole = str(identity)
        match identity.kind:
            case Kind.USER if identity.user:
                return whole, identity.user
            case Kind.WORKLOAD:
                return (whole,)
            case Kind.DOMAIN if identity.address is not None or "." in identity.domain:
                return (whole,)
        return ()

    def allows(self, identity: Identity, name: str) -> bool:
        """
        See L{Names}.
        """
        return name in self.names(identity)


@dataclass(frozen=True)
class Line:
    """
    One line of a map.

    @ivar identity: whom it is about, in the one form, or what matches that.
    @ivar name: the name, in which C{\\1} stands for what a group has matched; or what matches it;
        or C{None}: any.
    """

    identity: str | Pattern
    name: str | Pattern | None

    @classmethod
    def of(cls, identity: Field, name: Field) -> Line:
        """
        @raise ValueError: something is wrong; the message is a sentence for the user.
        """
        who = _identityOf(identity)
        if name.begins("+"):
            raise ValueError(
                f"who is a member of {name.text} is known to the backend alone; name them"
            )
        if name.text == "all" and not name.isQuoted:
            return cls(who, None)
        if name.text.startswith("/"):
            return cls(who, Pattern(name.text[1:]))
        literal = name.text.replace(r"\1", "", 1)
        if "\\" in literal or not name.text.isprintable() or not name.text:
            raise ValueError(f"{name.text!r} is no name; write one, with \\1 once at most")
        if literal != name.text and not (isinstance(who, Pattern) and who.captures):
            raise ValueError(rf"there is nothing that \1 in {name.text!r} stands for; name it")
        return cls(who, name.text)

    def nameFor(self, identity: str) -> str | Pattern | None:
        """
        As whom C{identity} may log in by this line; empty for as nobody.
        """
        if isinstance(self.identity, str):
            return self.name if self.identity == identity else ""
        found = self.identity.match(identity)
        if found is None:
            return ""
        if not isinstance(self.name, str) or r"\1" not in self.name:
            return self.name
        return self.name.replace(r"\1", found[1]) if found[1] else ""


def _identityOf(field: Field) -> str | Pattern:
    if field.text.startswith("/"):
        return Pattern(field.text[1:])
    if field.begins("@"):
        raise ValueError(
            f"{field.text} is not one identity; write them one by one, or an expression as "
            r"/^.*@example\.org$"
        )
    if field.text == "all":
        raise ValueError("all is not one identity; write /^.*$ for everybody")
    if field.text.startswith(_KEY):
        return str(parsePin(field.text))
    return str(Identity.parse(field.text))


class IdentityMap:
    """
    The lines of one map, in their order.
    """

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = lines

    @classmethod
    def read(cls, path: Path, name: str) -> IdentityMap:
        """
        Read the map that is called C{name}.

        @raise ConfigurationError: the file cannot be read, is wrong, or has no such map.
        """
        try:
            text = readFile(path).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ConfigurationError(
                str(path), "is not text in UTF-8", "save it in that encoding"
            ) from None
        lines = []
        for number, line in _logicalLines(text):
            try:
                fields = list(_fieldsOf(line))
                if fields and fields[0].text == name:
                    lines.append(Line.of(*fields[1:]))
            except ValueError as error:
                raise ConfigurationError.of(f"{path}, line {number}", error) from None
        if not lines:
            raise ConfigurationError(
                str(path),
                f"has no line of the map {name}, so that no client may log in",
                f"begin lines with {name}",
            )
        return cls(lines)

    def names(self, identity: Identity) -> Sequence[str]:
        """
        See L{Names}.
        """
        found = (line.nameFor(str(identity)) for line in self._lines)
        return tuple(dict.fromkeys(name for name in found if isinstance(name, str) and name))

    def allows(self, identity: Identity, name: str) -> bool:
        """
        See L{Names}.
        """
        if not (name and name.isprintable()):
            return False
        who = str(identity)
        for line in self._lines:
            allowed = line.nameFor(who)
            if allowed is None or allowed == name:
                return True
            if isinstance(allowed, Pattern) and allowed.match(name):
                return True
        return False


@dataclass(frozen=True)
class Field:
    """
    A field of a line.

    @ivar text: what it says, without quotation marks.
    @ivar isQuoted: whether it began with one, so that its words mean nothing special.
    """

    text: str
    isQuoted: bool

    def begins(self, special: str) -> bool:
        """
        Whether it begins with something that means more than itself.
        """
        return self.text.startswith(special) and not self.isQuoted


def _logicalLines(text: str) -> Iterator[tuple[int, str]]:
    """
    Lines with their numbers, each with those that it goes on in, by a backslash at its end.
    """
    begun, start = "", 1
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if not begun:
            start = number
        if line.endswith("\\"):
            begun += line[:-1]
            continue
        yield start, begun + line
        begun = ""
    if begun:
        yield start, begun


def _fieldsOf(line: str) -> Iterator[Field]:
    """
    The three fields of a line; none, if it is empty.

    @raise ValueError: it has others.
    """
    if "\0" in line:
        raise ValueError("there is a NUL in it; take it out")
    fields = []
    at = _endOf(_SPACE, line, 0)
    while at < len(line):
        found = _FIELD.match(line, at)
        if found is None:
            raise ValueError(
                "it has a comma, or a quotation mark without another; quote what has one"
            )
        word = found[1]
        text = re.sub(r'"((?:[^"]|"")*)"', lambda part: part[1].replace('""', '"'), word)
        fields.append(Field(text, word.startswith('"')))
        at = _endOf(_SPACE, line, found.end())
    if fields and fields[0].text in _INCLUDES and not fields[0].isQuoted:
        raise ValueError("it includes others, which is not understood here; put their lines here")
    if len(fields) not in (0, 3):
        raise ValueError("it does not have three fields; write MAP IDENTITY NAME")
    yield from fields


def _endOf(pattern: re.Pattern[str], line: str, at: int) -> int:
    found = pattern.match(line, at)
    return found.end() if found is not None else at
