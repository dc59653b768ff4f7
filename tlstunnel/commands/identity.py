"""
The C{identity} command: keeps a pool.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from cryptography import x509
from cryptography.x509.oid import NameOID
from twisted.python import usage

from tlstunnel.commands.agent import Agent, Issuer
from tlstunnel.commands.allow import Allow, unknownIn
from tlstunnel.commands.create import Create
from tlstunnel.commands.disclose import Disclose
from tlstunnel.commands.pools import (
    OneIdentityOptions,
    PoolOptions,
    identityOf,
    lastDayOf,
    secretOf,
)
from tlstunnel.commands.psk import importKeys, keyRows
from tlstunnel.commands.ruletables import rulesOf
from tlstunnel.commands.trust import Trust
from tlstunnel.errors import ConfigurationError, IdentityRefused
from tlstunnel.identity.credentials import Credentials, loadCredentials
from tlstunnel.identity.disclosure import doubtsAbout, rules
from tlstunnel.identity.expiry import inWords, isDue
from tlstunnel.identity.files import present
from tlstunnel.identity.forms import isPKCS12
from tlstunnel.identity.issuer import keep, renew, renewable
from tlstunnel.identity.names import Identity, Kind
from tlstunnel.identity.pem import loadCertificates, readFile
from tlstunnel.identity.pins import keyOf
from tlstunnel.identity.pkcs12 import loadPKCS12
from tlstunnel.identity.pool import PSK_FILE, Pool
from tlstunnel.identity.psk import keyed
from tlstunnel.identity.verify import coversName, verifyIdentity
from tlstunnel.identity.withdrawal import WithdrawnIdentity, isWithdrawn
from tlstunnel.program.keyproviders import loadProviderFor, loadProviderOf
from tlstunnel.program.output import complain
from tlstunnel.program.syntax import ProgramOptions
from tlstunnel.tls.checkup import checkUsable, problemsOf
from tlstunnel.tls.pskcheckup import problemsOfPSK

_RED, _YELLOW, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[0m"


class Import(OneIdentityOptions):
    """C{import [--force] ID --cert FILE [--key FILE]}, C{import [--force] [ID] --psk FILE}"""

    synopsis = "[options] ID --cert FILE [--key FILE], or [ID] --psk FILE"
    longdesc = (
        "Puts a key and certificates that somebody else issued into the pool. Of a file in the "
        "form PKCS#12 the pass phrase is asked for; without a terminal it is the first line of "
        "standard input. A certificate for '*.example.org' is for the names of that in a server "
        "tunnel, and is kept as example.org. A file for --psk has lines NAME:KEY, as those of "
        "stunnel (PSKsecrets), GnuTLS (psktool) and mosquitto (psk_file); each name becomes an "
        "identity, or ID is the identity for the name of the only line."
    )
    optFlags = [["force", "f", "Replace a key that is there already."]]
    optParameters = [
        [
            "cert",
            None,
            None,
            "The certificate of ID and those between it and its root, as PEM or PKCS#12.",
        ],
        ["key", None, None, "The private key as PEM, unless it is in the same file."],
        ["psk", None, None, "A file of pre-shared keys, instead of a certificate."],
    ]

    def parseArgs(self, *identities: str) -> None:
        """Take the identity, of which a file of pre-shared keys may say more."""
        self["id"] = None
        if identities or self["psk"] is None:
            super().parseArgs(*identities)

    def postOptions(self) -> None:
        """Insist on a file."""
        if self["psk"] is not None:
            if self["cert"] is not None or self["key"] is not None:
                raise usage.UsageError("--psk is a file of its own; leave out --cert and --key")
        elif self["cert"] is None:
            raise usage.UsageError(f"--cert is missing; write '{self.synopsisAlone()}'")

    @property
    def identity(self) -> Identity:
        """
        The identity that is meant; of a wildcard the domain behind the asterisk, as tunnels look
        for it there.
        """
        return identityOf(self["id"].removeprefix(self._wild))

    @property
    def _wild(self) -> str:
        return "*." if self["id"].startswith("*.") else ""

    def run(self) -> int:
        """Copy them."""
        if self["psk"] is not None:
            identity = None if self["id"] is None else self.identity
            return importKeys(self.pool, identity, Path(self["psk"]), bool(self["force"]))
        credentials = self._credentials()
        loadProviderFor(self.pool, credentials)
        checkUsable(credentials)
        leaf = credentials.certificates[0]
        try:
            self._verify(leaf, credentials.identity)
        except IdentityRefused as refused:
            remedy = "give the name that the certificate has"
            raise ConfigurationError(self["cert"], refused.detail, remedy) from None
        directory = keep(self.pool, credentials, bool(self["force"]))
        print(f"{self._wild}{credentials.identity}: in {directory}, good until {lastDayOf(leaf)}")
        return 0

    def _verify(self, leaf: x509.Certificate, identity: Identity) -> None:
        """
        @raise IdentityRefused: the certificate is for somebody else.
        """
        if not self._wild:
            verifyIdentity(leaf, identity)
        elif identity.kind is not Kind.DOMAIN or not coversName(leaf, f"*.{identity.domain}"):
            detail = f"the certificate is not for *.{identity}"
            raise IdentityRefused(detail, cause="wrong name")

    def _credentials(self) -> Credentials:
        identity, file = self.identity, Path(self["cert"])
        if isPKCS12(readFile(file)):
            if self["key"] is not None:
                raise ConfigurationError(
                    "--key", f"is for PEM, and {file} is PKCS#12 with a key in it", "leave it out"
                )
            return loadPKCS12(identity, file, lambda: secretOf(f"Pass phrase of {file}").encode())
        key = file if self["key"] is None else Path(self["key"])
        return loadCredentials(identity, file, key, private=False)


class List(PoolOptions):
    """C{list}"""

    longdesc = "Shows the identities of the pool, who may use them, and who is shown to whom."

    def run(self) -> int:
        """Print a table."""
        pool = self.pool
        now = datetime.now(UTC)
        rows = [("IDENTITY", "KIND", "ISSUER", "EXPIRES IN", "")]
        for identity in pool.identities():
            try:
                leaf = loadCertificates(pool.directoryOf(identity) / "fullchain.pem")[0]
                issuer, left = _issuer(leaf), _left(leaf, now)
            except (ConfigurationError, ValueError):
                rows.append((str(identity), _kind(identity), "unreadable", "-", _RED))
            else:
                colour = "" if left[0].isdigit() else _RED
                if not colour and isDue(leaf, now):
                    colour = _YELLOW
                rows.append((str(identity), _kind(identity), issuer, left, colour))
        for identity in pool.withdrawn():
            rows.append((str(identity), _kind(identity), "withdrawn", "-", _RED))
        for name, what, isGood in keyRows(pool):
            rows.append((name, "psk", what, "-", "" if isGood else _RED))
        if len(rows) == 1:
            print(f"No identities in {pool.path}")
            rows = []
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
        for *cells, last, colour in rows:
            line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
            shown = f"{colour}{last}{_PLAIN}" if colour and _colourful() else last
            print(f"{line}  {shown}")
        for line in rulesOf(pool):
            print(line)
        return 0


class Renew(PoolOptions):
    """C{renew [--force] [ID...]}"""

    synopsis = "[options] [ID...]"
    longdesc = (
        "Renews certificates that the pool's own authority has issued, of all identities or of "
        "those named, as soon as they have less than 30 days or a third of their life left. Keys "
        "stay the same. Fit to be run every day; the tunnels have to be reloaded."
    )
    optFlags = [["force", "f", "Renew whatever time is left."]]

    def parseArgs(self, *identities: str) -> None:
        """Take the identities."""
        self["identities"] = identities

    def run(self) -> int:
        """Renew what is due, and say what has been renewed."""
        pool, now = self.pool, datetime.now(UTC)
        ours = {each.identity: each for each in renewable(pool)}
        wanted = [identityOf(text) for text in self["identities"]]
        for identity in wanted:
            if identity not in ours:
                directory = pool.existingDirectoryOf(identity)
                if isWithdrawn(directory):
                    raise WithdrawnIdentity(identity, directory)
                raise ConfigurationError(
                    str(directory),
                    "was not issued by the pool's own authority",
                    "renew it where it comes from",
                )
        for identity in wanted or ours:
            leaf = ours[identity].certificates[0]
            if self["force"] or isDue(leaf, now):
                leaf = renew(pool, ours[identity], now).certificates[0]
                print(f"{identity}: renewed, good until {lastDayOf(leaf)}")
        return 0


class Check(PoolOptions):
    """C{check [ID...]}"""

    synopsis = "[options] [ID...]"
    longdesc = (
        "Checks all identities, or those named: whether the key fits and is private, and whether a "
        "peer that has all anchors of this machine and its pool would believe the certificates, "
        "today and for some time; and whether the rules about its use can be read. If so, it shows "
        "what others give to --pin who pin that key."
    )

    def parseArgs(self, *identities: str) -> None:
        """Take the identities."""
        self["identities"] = identities

    def run(self) -> int:
        """Print the problems of each, or that there are none, and then those of all rules."""
        pool = self.pool
        wanted = [identityOf(text) for text in self["identities"]] or _allIn(pool)
        ofRules = [str(each) for each in rules(pool) if isinstance(each, ConfigurationError)]
        isWell = not ofRules
        for identity in wanted:
            problems = _problemsOf(pool, identity)
            isWell = isWell and not problems
            for line in problems or ([] if ofRules else _praise(pool, identity)):
                print(line)
        for line in ofRules:
            print(line)
        return 0 if isWell else 1


def _allIn(pool: Pool) -> list[Identity]:
    """
    All identities of a pool, whatever makes them some.

    @raise ConfigurationError: there are none.
    """
    found = sorted({*pool.identities(), *keyed(pool), *pool.withdrawn()}, key=str)
    if not found:
        remedy = f"make one with {pool.command('create', 'ID')}"
        raise ConfigurationError(str(pool.path), "has no identities", remedy)
    return found


def _isShared(pool: Pool, identity: Identity) -> bool:
    """
    Whether an identity has a pre-shared key, beside certificates or without.

    @raise ConfigurationError: it is not in the pool.
    """
    return present(pool.existingDirectoryOf(identity) / PSK_FILE)


def _problemsOf(pool: Pool, identity: Identity) -> list[str]:
    """
    A line for everything that is wrong with an identity.

    @raise ConfigurationError: it is not in the pool.
    """
    isShared = _isShared(pool, identity)
    problems = problemsOfPSK(pool, identity) if isShared else []
    if not isShared or identity in pool.identities():
        loadProviderOf(pool, identity)
        problems += problemsOf(pool, identity, datetime.now(UTC))
    return [*problems, *doubtsAbout(pool, identity), *unknownIn(pool, identity)]


def _praise(pool: Pool, identity: Identity) -> Iterator[str]:
    """What is said of an identity with which nothing is wrong."""
    if _isShared(pool, identity):
        yield f"{identity}: all is well with its pre-shared key"
        if identity not in pool.identities():
            return
    leaf = pool.credentials(identity).certificates[0]
    yield f"{identity}: all is well until {lastDayOf(leaf)}; its key is {keyOf(leaf)}"


class IdentityOptions(ProgramOptions):
    """C{tlstunnel identity}"""

    synopsis = "Usage: tlstunnel identity"
    longdesc = (
        "Keeps a pool: the keys and certificates of our identities, and whom we believe about "
        "those of others. Each command has a --help of its own."
    )
    subCommands: ClassVar[list[list[Any]]] = [
        ["create", None, Create, "Make a key and a certificate."],
        ["import", None, Import, "Take over a key and its certificates."],
        ["list", None, List, "Show who is in the pool."],
        ["renew", None, Renew, "Renew what the pool's own authority has issued."],
        ["check", None, Check, "Look for problems."],
        ["trust", None, Trust, "Trust an authority about the identities of others."],
        ["allow", None, Allow, "Say which programs may use an identity through the pool."],
        ["disclose", None, Disclose, "Say who is shown to a remote identity."],
        ["issuer", None, Issuer, "Make an intermediate for an agent."],
        ["agent", None, Agent, "Give tunnels certificates for minutes."],
    ]

    def postOptions(self) -> None:
        """Insist on something to do."""
        if self.subCommand is None:
            raise usage.UsageError(
                "say what to do: create, import, list, renew, check, trust, allow, disclose, "
                "issuer or agent"
            )


def main(options: IdentityOptions) -> int:
    """
    Run what was asked for.

    @return: the exit code: 1 with one line on standard error where it was not possible.
    """
    command = options.subOptions
    assert isinstance(command, PoolOptions | Agent)
    try:
        return command.run()
    except ConfigurationError as error:
        complain(str(error))
    return 1


def _kind(identity: Identity) -> str:
    return "address" if identity.address is not None else identity.kind.value


def _issuer(certificate: x509.Certificate) -> str:
    """Who issued a certificate, in a few words."""
    if certificate.issuer == certificate.subject:
        return "itself"
    for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        for attribute in certificate.issuer.get_attributes_for_oid(oid):
            text = str(attribute.value)
            return "".join(each if each.isprintable() else "?" for each in text)
    return "somebody"


def _left(certificate: x509.Certificate, now: datetime) -> str:
    """For how long a certificate is good, or why it is not."""
    if now < certificate.not_valid_before_utc:
        return "not valid yet"
    left = certificate.not_valid_after_utc - now
    return inWords(left) if left > timedelta() else "expired"


def _colourful() -> bool:
    """Whether the output is a terminal of somebody who does not mind (https://no-color.org/)."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and sys.stdout.isatty()
