"""
Whom we believe about the identities of others: trust anchors (RFC 5280, section 6.1.1), and which
of them decide about whom.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography import x509

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.files import entries, isDirectory, isFile
from tlstunnel.identity.names import Identity, Selector, selectorsFor
from tlstunnel.identity.pem import loadReadable


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
            certificates, more = loadReadable(file)
            found |= dict.fromkeys(certificates)
            skipped += more
            sources.append(f"{file} (the pool's own CA)" if file == authority else str(file))
        if system:
            sources.append("the system's store")
        return cls(tuple(found), system, ", ".join(sources), skipped)


def together(several: Iterable[Anchors]) -> Anchors:
    """
    All anchors of several.
    """
    each = tuple(several)
    return Anchors(
        tuple(dict.fromkeys(certificate for one in each for certificate in one.certificates)),
        any(one.system for one in each),
        ", ".join(dict.fromkeys(one.source for one in each)),
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
        self.all = together(each.all for each in trusts.values())

    def anchorsFor(self, identity: Identity) -> Anchors:
        """
        Find who decides about C{identity}.
        """
        for selector, trust in self._trusts.items():
            if selector.matches(identity):
                return trust.anchorsFor(identity)
        return Anchors((), False, "nobody")


def eitherTrust(trusts: Mapping[Selector, Trust]) -> Trust:
    """
    Whom to believe where those may come whom one of several selectors matches.

    @param trusts: whom to believe about those whom each of them matches.
    """
    alone, *others = trusts.values()
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
    if not isDirectory(path):
        return Anchors.read([path])
    files = [file for file in entries(path) if file.suffix in _SUFFIXES and isFile(file)]
    if not files:
        raise ConfigurationError(
            where, "has no certificates", "name a file, or a directory with *.pem or *.crt files"
        )
    return replace(Anchors.read(files), source=where)


_SUFFIXES = frozenset({".pem", ".crt", ".cer"})
