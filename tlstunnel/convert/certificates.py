"""
How the certificates that another tunnel was configured with come into the pool.

Whom they are for is read from their files, if that is possible; nothing is written.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tlstunnel.convert.certificatenames import Named, identity, namesIn
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import certifiedAs

# What is more likely the name of a host than that of a service, a folder or a file.
_HOST = re.compile(r"[^@]+\.(?!pem$|crt$|cer$|key$|conf$)[a-z][a-z0-9-]*[a-z0-9]")

#: Where distributions keep the certificates of all public authorities.
SYSTEM_STORES = frozenset(
    {
        "/etc/ssl/certs",
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/ssl/cert.pem",
        "/etc/ssl/ca-bundle.pem",
        "/etc/pki/tls/certs",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/pki/tls/cert.pem",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/usr/share/ca-certificates/mozilla",
    }
)


def trustIn(path: str) -> str:
    """
    The value of C{trust} for a file or folder of authorities.
    """
    return "system" if path.rstrip("/") in SYSTEM_STORES else path


@dataclass
class Credentials:
    """
    The credentials that tunnels show, and what has to be done before.

    @ivar folder: where relative paths begin.
    @ivar hostName: what to call us where nothing else says it.
    @ivar commands: what to run first, a line each.
    @ivar files: the file with the certificate of each identity.
    """

    folder: Path
    hostName: str
    commands: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    _known: dict[tuple[str, str], Known] = field(default_factory=dict)

    def find(self, certificate: str, key: str, hints: Sequence[str], isClient: bool) -> Known:
        """
        Who we are with the certificate in a file.

        @param key: the file of its key; empty if it is the same.
        @param hints: names that it may be for, the likeliest first.
        """
        found = self._known.get((certificate, key))
        if found is None:
            found = self._known[certificate, key] = self._look(certificate, key, hints, isClient)
        return found

    def showUnder(
        self, name: str, certificate: str, key: str, tunnel: Known, first: str
    ) -> tuple[str, ...]:
        """
        See to it that a tunnel shows the certificate in a file to clients that ask for C{name}.

        @param name: a domain, or a wildcard.
        @param key: as for L{find}.
        @param tunnel: who the tunnel is otherwise.
        @param first: the file of the certificate that it shows then.
        @return: what the reader should know about it.
        @raise ValueError: it cannot be; the message is a sentence for the user.
        """
        path = self.folder / certificate
        named = next(iter(namesIn(path)), None)
        isNameless = named is not None and not named.all and not named.patterns
        if named is not None and not named.covers(name) and not isNameless:
            raise ValueError(
                f"the certificate in {certificate} is not for {name}: have it issued again with "
                "that name"
            )
        if certificate == first and not isNameless:
            return ()
        whose = name.removeprefix("*.")
        if tunnel.pool:
            isThere = path == Path(tunnel.pool, whose, "fullchain.pem")
            if isThere and self.folder / (key or certificate) == path.with_name("privkey.pem"):
                return ()
            raise ValueError(
                f"the certificate in {certificate} has to be in {tunnel.pool}/{whose}, as the "
                f"tunnel has that of {tunnel.name} from there: have certbot make one with "
                f"--cert-name {whose}"
            )
        if isNameless and whose != name:
            raise ValueError(
                f"the certificate in {certificate} has no alternative name, and a common name does "
                f"not count: have it issued again for {name}"
            )
        return self._bring(whose, name, certificate, key, isNameless, named is None)

    def _bring(
        self, whose: str, name: str, certificate: str, key: str, isNameless: bool, isUnknown: bool
    ) -> tuple[str, ...]:
        """
        Have a certificate put into the pool as that of C{name}, once.
        """
        isNew = whose not in self.files
        first = self.files.setdefault(whose, certificate)
        if first != certificate:
            raise ValueError(
                f"the certificate of {whose} in the pool is that in {first}, and here it would be "
                f"that in {certificate}: let one certificate be for all that is served there"
            )
        words = ["tlstunnel", "identity", "import", name, "--cert", certificate]
        if isNameless:
            words = ["tlstunnel", "identity", "create", name]
        elif key:
            words += ["--key", key]
        if isNew:
            self.commands.append(shlex.join(words))
        if isNameless:
            return (_nameless(certificate, name),)
        unknown = f"{certificate} could not be read here: its certificate has to be for {name}."
        return (unknown,) if isUnknown else ()

    def _look(self, certificate: str, key: str, hints: Sequence[str], isClient: bool) -> Known:
        path = self.folder / certificate
        named = next(iter(namesIn(path)), None)
        kept = self._inPool(path, self.folder / (key or certificate), named)
        if kept is not None:
            return kept
        name, note = self._name(certificate, named, isClient, [path.stem, path.parent.name, *hints])
        notes = (note,) if note else ()
        first = self.files.setdefault(name, certificate)
        if first != certificate:
            again = (
                f"{certificate} is for {name} too, and an identity has one certificate: that of "
                f"{first} is shown here, unless you give the two different names."
            )
            return Known(name, "", (*notes, again))
        words = ["tlstunnel", "identity", "import", name, "--cert", certificate]
        if named is not None and not named.all and not named.patterns:
            words = ["tlstunnel", "identity", "create", name]
        elif key:
            words += ["--key", key]
        self.commands.append(shlex.join(words))
        return Known(name, "", notes)

    def _name(
        self, file: str, named: Named | None, isClient: bool, hints: Sequence[str]
    ) -> tuple[str, str]:
        """
        Who a certificate is for, and what is to be said about that.
        """
        if named is not None and named.all:
            return (named.users + named.all)[0] if isClient else named.all[0], ""
        if named is None:
            name = self._free(self._guesses(hints), file)
            return name, (
                f"{file} could not be read here, so that {name} is a guess: put the name that its "
                "certificate has in its place, here and in the command above."
            )
        if named.patterns:
            covered = (each for each in self._guesses(hints) if named.covers(each))
            name = next(covered, "") or f"host{named.patterns[0]}"
            return name, (
                f"The certificate in {file} is for all names of a kind, and {name} is a guess: put "
                "the one in its place that clients ask for, here and in the command above."
            )
        name = next(self._guesses([named.common, *hints]))
        return name, _nameless(file, name)

    def _inPool(self, certificate: Path, key: Path, named: Named | None) -> Known | None:
        """
        Who we are if the files are where certbot, or a pool, has them.
        """
        folder = certificate.parent
        if certificate.name != "fullchain.pem" or key != folder / "privkey.pem":
            return None
        try:
            whose = Identity.parse(folder.name)
        except ValueError:
            return None
        also = certifiedAs(whose)
        names = {str(whose), str(also or whose)}
        isTheirs = named is None or any(map(named.covers, names))
        isName = _HOST.fullmatch(folder.name) or whose.user is not None
        return Known(str(whose), str(folder.parent), ()) if isTheirs and isName else None

    def _free(self, guesses: Iterator[str], file: str) -> str:
        """
        A guess that no other file has; else one that nobody takes for the right name.
        """
        guess = ""
        for guess in guesses:
            if self.files.get(guess, file) == file:
                return guess
        numbered = (f"{number}.{guess}" for number in count(2))
        return next(each for each in numbered if self.files.get(each, file) == file)

    def _guesses(self, hints: Iterable[str]) -> Iterator[str]:
        yield from filter(_HOST.fullmatch, map(identity, hints))
        yield identity(self.hostName) or "localhost"


def _nameless(file: str, name: str) -> str:
    return (
        f"The certificate in {file} has no alternative name, and a common name does not count: "
        f"the command above makes another one for {name}, by an authority in the pool that "
        "peers have to believe; or have it issued again, with a name, and import that."
    )


@dataclass(frozen=True)
class Known:
    """
    Who we are.

    @ivar name: our identity.
    @ivar pool: the pool that has it already; empty for the default one, after the commands.
    @ivar notes: what the reader should know about it.
    """

    name: str
    pool: str
    notes: tuple[str, ...]
