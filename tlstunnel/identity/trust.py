"""
Whom we believe about the identities of others: trust anchors (RFC 5280, section 6.1.1), and which
of them decide about whom.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from tlstunnel.errors import ConfigurationError, nearest
from tlstunnel.identity.files import entries, isDirectory, isThere, present, reading
from tlstunnel.identity.names import Identity, Selector, selectorsFor
from tlstunnel.identity.pem import NoCertificates, loadReadable, readFile


@dataclass(frozen=True)
class Anchors:
    """
    Whom to believe.

    @ivar certificates: trust anchors.
    @ivar system: whether those of the operating system's store are anchors too.
    @ivar source: where this comes from, for the log.
    @ivar skipped: a sentence for each anchor that was passed over.
    """

    certificates: tuple[x509.Certificate, ...]
    system: bool
    source: str
    skipped: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def read(
        cls, files: Iterable[Path], system: bool = False, authority: Path | None = None
    ) -> Anchors:
        """
        Read files of anchors.

        @param system: whether the system's store counts as well.
        @param authority: which of the files is that of a pool's own authority.
        @raise ConfigurationError: there is something wrong with one.
        """
        found: dict[x509.Certificate, None] = {}
        skipped: tuple[str, ...] = ()
        sources = []
        for file in files:
            try:
                certificates, more = loadReadable(file)
            except NoCertificates:
                if not saysNobody(file):
                    raise
                sources.append(f"{file} (no anchors)")
                continue
            found |= dict.fromkeys(certificates)
            skipped += more
            sources.append(f"{file} (the pool's own CA)" if file == authority else str(file))
        if system:
            sources.append("the system's store")
        return cls(tuple(found), system, ", ".join(sources), skipped)


#: The line that an otherwise empty file of anchors has where that is what it should say.
NOBODY_LINE = "# Nobody is believed."


def saysNobody(file: Path) -> bool:
    """
    Whether a file says that nobody is to be believed: it has no anchors, and has L{NOBODY_LINE}.

    @raise ConfigurationError: it cannot be read.
    """
    # What was a pipe has nothing any more.
    lines = readFile(file).split(b"\n") if file.is_file() else []
    return NOBODY_LINE.encode() in lines and all(each[:1] in (b"", b"#") for each in lines)


#: Where nobody is believed about anybody.
NOBODY = Anchors((), False, "")


def together(several: Iterable[Anchors]) -> Anchors:
    """
    All anchors of several.
    """
    each = tuple(several)
    return Anchors(
        tuple(dict.fromkeys(certificate for one in each for certificate in one.certificates)),
        any(one.system for one in each),
        ", ".join(dict.fromkeys(part for one in each for part in one.source.split(", ") if part)),
        tuple(dict.fromkeys(sentence for one in each for sentence in one.skipped)),
    )


class Trust:
    """
    Whom to believe about everybody who may be at the other end.

    @ivar all: every anchor that decides about anybody.
    """

    def __init__(self, general: Anchors, concrete: Mapping[Selector, Anchors] | None = None):
        """
        @param general: who decides where no selector of C{concrete} matches.
        """
        self._general = general
        self._concrete = dict(concrete or {})
        self.all = together([general, *self._concrete.values()]) if concrete else general

    def decidesAlike(self, other: Trust) -> bool:
        """
        Whether the same anchors decide as of C{other}, about whomever.
        """
        return not (self._concrete or other._concrete) and self._general == other._general

    def anchorsFor(self, identity: Identity) -> Anchors:
        """
        Find who decides about C{identity}: the most concrete selector does.
        """
        for selector in selectorsFor(identity) if self._concrete else ():
            if selector in self._concrete:
                return self._concrete[selector]
        return self._general


class _AnyTrust(Trust):
    """
    Several, each about those whom its selector matches, and about nobody else.
    """

    def __init__(self, trusts: Mapping[Selector, Trust]):
        self._trusts = dict(trusts)
        self.all = together(each.all for each in dict.fromkeys(trusts.values()))

    def anchorsFor(self, identity: Identity) -> Anchors:
        """
        Find who decides about C{identity}.
        """
        for selector in selectorsFor(identity):
            if selector in self._trusts:
                return self._trusts[selector].anchorsFor(identity)
        return NOBODY


def eitherTrust(trusts: Mapping[Selector, Trust]) -> Trust:
    """
    Whom to believe where those may come whom one of several selectors matches.

    @param trusts: whom to believe about those whom each of them matches; nobody, where it is empty.
    """
    if not trusts:
        return Trust(NOBODY)
    alone, *others = dict.fromkeys(trusts.values())
    isSame = all(each.decidesAlike(alone) for each in others)
    return alone if isSame else _AnyTrust(trusts)


def loadAnchors(where: str) -> Anchors:
    """
    Read what C{--trust} names: a PEM file, a directory of them, or the word C{system}.

    @raise ConfigurationError: there are no certificates there.
    """
    if where == "system":
        return Anchors((), system=True, source="system")
    path = Path(where)
    if isDirectory(path):
        return _readDirectory(path)
    if not present(path):
        remedy = nearest(where, ["system"]) or "see whether its name is right"
        raise ConfigurationError(f"`trust` {where}", "there is no such file", remedy)
    return Anchors.read([path])


# What is read in a directory: files with the usual endings, and what openssl-rehash(1) makes there.
_CERTIFICATE = re.compile(r".*\.(pem|crt|cer)|[0-9a-f]{8}\.[0-9]+", re.DOTALL)


def _readDirectory(directory: Path) -> Anchors:
    """
    Read all certificates of a directory, each once; what has such a name and is none is passed
    over.

    @raise ConfigurationError: there are none, or a file was cut or cannot be read.
    """
    found: dict[x509.Certificate, None] = {}
    skipped: dict[str, None] = {}
    for file, refusal in _filesIn(directory):
        if refusal:
            skipped[refusal] = None
            continue
        try:
            certificates, more = loadReadable(file)
        except NoCertificates as error:
            skipped[f"{file} is passed over: it {error.problem}; {error.remedy}"] = None
        else:
            found |= dict.fromkeys(certificates)
            skipped |= dict.fromkeys(more)
    if not found:
        raise ConfigurationError(
            f"`trust` {directory}",
            "has no certificates in files that are called *.pem, *.crt or *.cer, or as "
            "'openssl rehash' does it",
            "give a file, or put certificates there",
        )
    return Anchors(tuple(found), False, str(directory), tuple(skipped))


def _filesIn(directory: Path) -> Iterator[tuple[Path, str]]:
    """
    The files of a directory that should hold certificates, each once, however many links lead to
    it; with a sentence where there is nothing to read.
    """
    seen = set()
    for file in entries(directory):
        if not _CERTIFICATE.fullmatch(file.name):
            continue
        if not isThere(file):
            yield file, f"{file} is passed over: it is a link that leads nowhere"
            continue
        with reading(file):
            status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            what = "a directory" if stat.S_ISDIR(status.st_mode) else "no file"
            yield file, f"{file} is passed over: it is {what}"
        elif (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            yield file, ""
