"""
The pool: a directory where the credentials of our identities are kept, and whom we believe about
those of others.

The layout is that of certbot's C{live/} directory, which therefore is a pool as it is::

    POOL/ID/fullchain.pem, privkey.pem     one directory for each identity; that of a workload is
                                           called C{spiffe:DOMAIN,PATH}, with commas for slashes
    POOL/ID/withdrawn                      see L{tlstunnel.identity.withdrawal}
    POOL/ID/psk                            a pre-shared key, see L{tlstunnel.identity.psk}
    POOL/trust/SELECTOR.pem                anchors for the remote identities that SELECTOR matches
    POOL/trust/spiffe:DOMAIN.pem           anchors for the workloads of a trust domain
    POOL/trust/anchors.pem                 anchors where no selector matches
    POOL/ca/cert.pem, key.pem              the pool's own certificate authority
    POOL/ID/users                          who may use an identity
    POOL/disclose/SELECTOR.txt             who we are to the remote identities that SELECTOR matches
    POOL/pseudonyms/USER@DOMAIN.pem        somebody without a name, whom such a rule has made up
    POOL/key-provider, pkcs11-module       links to what keys need that C{privkey.pem} refers to,
                                           see L{tlstunnel.identity.keyprovider}

This module reads; L{tlstunnel.identity.issuer}, L{tlstunnel.identity.pseudonyms} and the
C{identity} command write.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity import spiffe
from tlstunnel.identity.credentials import Credentials, loadCredentials
from tlstunnel.identity.files import entries, isDirectory, present
from tlstunnel.identity.keyprovider import MODULE, PROVIDER
from tlstunnel.identity.names import Identity, Kind, Selector
from tlstunnel.identity.permission import toEnter
from tlstunnel.identity.pooltrust import PoolTrust
from tlstunnel.identity.trust import Anchors, Trust
from tlstunnel.identity.withdrawal import WITHDRAWN_FILE, WithdrawnIdentity, isWithdrawn

#: What can be in a pool beside the directories of identities.
RESERVED = frozenset({"trust", "ca", "disclose", "pseudonyms", PROVIDER, MODULE})

#: What the file of a pre-shared key is called.
PSK_FILE = "psk"

#: Where the pool is of users for whom there is no place: it is empty.
NOWHERE = Path("/nonexistent/tlstunnel/pool")


# How certbot calls a directory for a domain that has one already.
_AGAIN = re.compile(r"(.+)-[0-9]{4}")


def certifiedAs(identity: Identity) -> Identity | None:
    """
    Whom certificates are for in a directory of certbot that has the name of C{identity} and a
    number at the end of it, C{example.org-0001}.
    """
    found = _AGAIN.fullmatch(identity.domain)
    if found is None or identity.kind is not Kind.DOMAIN:
        return None
    return Identity(None, found[1])


@dataclass(frozen=True)
class Pool:
    """
    A pool in a directory.

    @ivar path: the directory.
    @ivar asked: whether the user named it, so that it must be there.
    """

    path: Path
    asked: bool = True

    @cached_property
    def rules(self) -> Path:
        """
        Where the rules are about who is shown to whom, if there are any.
        """
        return self.path / "disclose"

    def checkPlace(self) -> None:
        """
        Make sure that there can be such a pool.

        @raise ConfigurationError: there is no place for it.
        """
        if self.path == NOWHERE:
            raise ConfigurationError(
                "`pool`", "is needed, as we have no home directory to look in", "name a directory"
            )

    def directoryOf(self, identity: Identity) -> Path:
        """
        Where the credentials of one of our identities are.

        @raise ConfigurationError: no identity of that name can be kept in a pool, or nothing can.
        """
        self.checkPlace()
        name = identity.fileName
        if name in RESERVED:
            raise ConfigurationError(
                name, "is no name for an identity: the pool uses it itself", "choose another one"
            )
        return self.path / name

    def identities(self, having: str = "fullchain.pem") -> Iterator[Identity]:
        """
        Find all identities whose credentials are here, in the order of their names.

        @param having: the file that makes them some.
        @raise ConfigurationError: there is no pool, or we may not look into it.
        """
        self._checkThere()
        for directory in entries(self.path) if isDirectory(self.path) else ():
            try:
                identity = Identity.ofFileName(directory.name)
            except ValueError:
                continue
            if present(directory / having) and directory.name not in RESERVED:
                yield identity

    def existingDirectoryOf(self, identity: Identity) -> Path:
        """
        Like L{directoryOf}.

        @raise ConfigurationError: besides, it is not there.
        """
        self._checkThere()
        directory = self.directoryOf(identity)
        if not present(directory):
            raise ConfigurationError(
                str(directory),
                f"is not there: the pool has no identity {identity}",
                self.remedyFor(identity),
            )
        return directory

    def remedyFor(self, identity: Identity) -> str:
        """What to do where the credentials of one of our identities are not there."""
        if not self.isOfCertbot:
            return f"run {self.command('create', str(identity))}"
        if identity.user is not None:
            return "certbot has no certificates of users: give another `pool`"
        there = ", ".join(map(str, self.identities())) or "none"
        return f"run 'certbot certonly -d {identity}', or give one that is there: {there}"

    @property
    def isOfCertbot(self) -> bool:
        """Whether certbot keeps this pool, so that nothing else should be put into it."""
        above = self.path.parent
        return self.path.name == "live" and (
            above.name == "letsencrypt" or present(above / "renewal")
        )

    def command(self, name: str, *words: str) -> str:
        """A command for this pool, as the user can type it, in quotation marks."""
        pool = ["--pool", str(self.path)] if self.asked else []
        return f"'{shlex.join(['tlstunnel', 'identity', name, *pool, *words])}'"

    def holds(self, identity: Identity) -> bool:
        """
        Whether there is a certificate of one of our identities, pseudonyms left out.

        @raise ConfigurationError: we are not let to see, or there can be none.
        """
        return present(self.directoryOf(identity) / "fullchain.pem")

    def credentials(self, identity: Identity) -> Credentials:
        """
        Read the credentials of one of our identities, or of a pseudonym.

        @raise ConfigurationError: they are not there, or something about them is wrong.
        """
        files = self.filesOf(identity)
        try:
            return loadCredentials(identity, *files)
        except ConfigurationError:
            if files[0] != files[1]:
                raise
            # That of a pseudonym may have been replaced between the one look and the other.
            return loadCredentials(identity, *files)

    def keyFiles(self) -> Iterator[Path]:
        """
        Where the keys of all identities are, and that of our own authority.
        """
        yield self.path / "ca" / "key.pem"
        with suppress(ConfigurationError):
            for identity in self.identities():
                yield self.directoryOf(identity) / "privkey.pem"

    def withdrawn(self) -> Iterator[Identity]:
        """
        Find all identities that have no certificate on purpose, in the order of their names.

        @raise ConfigurationError: there is no pool.
        """
        for identity in self.identities(having=WITHDRAWN_FILE):
            if isWithdrawn(self.directoryOf(identity)):
                yield identity

    def filesOf(self, identity: Identity) -> tuple[Path, Path]:
        """
        The file of the certificates and that of the key which L{credentials} reads; both are the
        same for a pseudonym.

        @raise ConfigurationError: there is no place with credentials of that name, or they are
            withdrawn.
        """
        if self.isPseudonym(identity):
            return self.pseudonymFile(identity), self.pseudonymFile(identity)
        directory = self.existingDirectoryOf(identity)
        certificates = directory / "fullchain.pem"
        if not present(certificates):
            if isWithdrawn(directory):
                raise WithdrawnIdentity(identity, directory)
            if present(directory / PSK_FILE):
                raise ConfigurationError(
                    str(directory),
                    "has a pre-shared key and no certificate",
                    f"give `trust` psk, or {self.remedyFor(identity)}",
                )
        return certificates, directory / "privkey.pem"

    def isPseudonym(self, identity: Identity) -> bool:
        """
        Whether somebody without a name is called like that, and none of our identities.

        @raise ConfigurationError: we are not let to see.
        """
        if identity.user is None or present(self.directoryOf(identity)):
            return False
        return present(self.pseudonymFile(identity))

    def pseudonymFile(self, pseudonym: Identity) -> Path:
        """Where the certificate and the key of a pseudonym are, or would be."""
        return self.path / "pseudonyms" / f"{pseudonym.fileName}.pem"

    def usersFile(self, identity: Identity) -> Path:
        """
        Where it says who may use one of our identities.

        @raise ConfigurationError: there can be no such identity.
        """
        return self.directoryOf(identity) / "users"

    def ruleFile(self, selector: Selector) -> Path:
        """Where it says who we are to those whom C{selector} matches."""
        return self.rules / f"{selector.fileName}.txt"

    def trustFile(self, selector: Selector) -> Path:
        """
        Where the anchors for C{selector} are, or would be.

        @raise ConfigurationError: there can be none: those for workloads are for a whole trust
            domain.
        """
        if selector.path not in (None, "/"):
            raise ConfigurationError(
                str(selector),
                "is a part of a trust domain, which has its anchors as a whole",
                f"give {spiffe.SCHEME}{selector.domain}",
            )
        return self.path / "trust" / f"{selector.fileName}.pem"

    def anchorsFor(self, remote: Identity | Selector) -> Anchors:
        """
        Find out whom to believe about C{remote}.

        The most concrete selector decides; else C{anchors.pem}, together with our own authority;
        else our own authority and the system's store, but the latter only about domains and
        addresses: the public web PKI knows no users and no workloads.

        @raise ConfigurationError: nobody, or there is something wrong with the files.
        """
        return self._trustNow().anchorsFor(remote)

    def trustFor(self, remote: Identity | Selector) -> Trust:
        """
        Find out whom to believe about everybody whom C{remote} matches, as it is now: a selector
        may be about some of them only.

        @raise ConfigurationError: as L{anchorsFor}, for C{remote} and for every such selector.
        """
        return self._trustNow().trustFor(remote)

    def trustForAll(self, several: Iterable[Selector]) -> dict[Selector, Trust]:
        """
        The same of each of many, with every file read once.

        @raise ConfigurationError: as L{trustFor}.
        """
        now = self._trustNow()
        return {each: now.trustFor(each) for each in several}

    def _trustNow(self) -> PoolTrust:
        self._checkThere()
        return PoolTrust(self)

    def _checkThere(self) -> None:
        if self.asked and isDirectory(self.path):
            remedy = "" if self.isOfCertbot else toEnter(self.path)
            if remedy:
                raise ConfigurationError(f"`pool` {self.path}", "is closed to us", remedy)
        elif self.asked:
            if os.path.lexists(self.path):
                raise ConfigurationError(
                    "`pool`", f"{self.path} is no directory", "give the one that the pool is"
                )
            raise ConfigurationError(
                "`pool`",
                f"there is no directory {self.path}",
                "run 'certbot certificates' to see where certbot keeps them"
                if self.isOfCertbot
                else f"run {self.command('create', 'ID')} to make it",
            )


def defaultPool() -> Pool:
    """
    The pool of whoever runs this: the machine's for root, else in the user's configuration
    directory (XDG Base Directory Specification).  It need not be there, and is L{NOWHERE} for users
    without a home directory.
    """
    if os.geteuid() == 0:
        return Pool(Path("/etc/tlstunnel/pool"), asked=False)
    home = os.environ.get("XDG_CONFIG_HOME", "")
    try:
        base = Path(home) if Path(home).is_absolute() else Path.home() / ".config"
    except RuntimeError:
        return Pool(NOWHERE, asked=False)
    return Pool(base / "tlstunnel" / "pool", asked=False)
