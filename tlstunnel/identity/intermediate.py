"""
An authority between a root and certificates that live for minutes: what it may certify stands in
its own certificate, as critical name constraints, so that nobody can do more with its key.

It is two files, C{DIR/fullchain.pem} (its certificate, and those up to the root) and
C{DIR/privkey.pem}.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.certificates import builderOf, certify, certifying, commonName, identifying
from tlstunnel.identity.constraints import constrainSubjects, permitsExpressly
from tlstunnel.identity.files import makeDirectory, present
from tlstunnel.identity.issuer import authorityOf, writeCertificates, writeKey
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pem import areChained, fits, loadCertificates, loadSigningKey
from tlstunnel.identity.pool import Pool

#: How far behind the clocks of peers may be.
CLOCK_SKEW = timedelta(minutes=5)

#: For how long an intermediate is good, unless its authority ends before.
LIFETIME = timedelta(days=365)

#: What no certificate is for (RFC 6761): where names of a kind are to be none at all.
_NOWHERE = "invalid"

_MAKE = "make another one with 'tlstunnel identity issuer'"

Subtree = x509.DNSName | x509.RFC822Name | x509.IPAddress | x509.UniformResourceIdentifier


@dataclass(frozen=True)
class Intermediate:
    """
    One that may be used.

    @ivar chain: its certificate, and those above it but for the root.
    @ivar end: when the first of all these ends.
    """

    chain: tuple[x509.Certificate, ...]
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    end: datetime

    @property
    def start(self) -> datetime:
        """
        When the last of them begins.
        """
        return max(each.not_valid_before_utc for each in self.chain)

    @classmethod
    def load(cls, directory: Path, now: datetime) -> Intermediate:
        """
        Read one.

        @raise ConfigurationError: there is none, or it must not be used.
        """
        certificateFile, keyFile = directory / "fullchain.pem", directory / "privkey.pem"
        chain = loadCertificates(certificateFile)
        key = loadSigningKey(keyFile)
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise ConfigurationError(str(keyFile), "is neither for ECDSA nor for RSA", _MAKE)
        if not fits(key, chain[0]):
            raise ConfigurationError(str(keyFile), f"does not fit {certificateFile}", _MAKE)
        try:
            problem = _problemOf(chain, now)
        except Exception as error:  # noqa: BLE001 - there are many ways to be a broken certificate
            problem = f"has a certificate that is unreadable: {error}"
        if problem:
            raise ConfigurationError(str(certificateFile), problem, _MAKE)
        end = min(each.not_valid_after_utc for each in chain)
        shown = chain[:-1] if _isRoot(chain[-1]) else chain
        return cls(shown, key, end)

    def permits(self, identity: Identity) -> bool:
        """
        Whether there may be certificates for C{identity}.
        """
        try:
            return permitsExpressly(self.chain, identity)
        except ValueError:
            return False

    def issue(
        self,
        identity: Identity,
        public: CertificatePublicKeyTypes,
        now: datetime,
        lifetime: timedelta,
    ) -> tuple[x509.Certificate, ...]:
        """
        Certify a key, which is good then for C{lifetime}, or until the intermediate ends.

        @return: the certificate, and those above it but for the root.
        """
        end = min(now + lifetime, self.end)
        start = min(max(now - CLOCK_SKEW, self.start), now)
        hasSubject = not constrainSubjects(self.chain)
        leaf = certify(self.chain[0], self.key, identity, public, start, end, hasSubject)
        return (leaf, *self.chain)


def _isRoot(certificate: x509.Certificate) -> bool:
    return certificate.issuer == certificate.subject


def _problemOf(chain: Sequence[x509.Certificate], now: datetime) -> str:
    """
    Why nobody would believe what such a chain of authorities has issued, or why it may issue too
    much; empty if neither is so.

    @raise Exception: whatever an unreadable certificate makes C{cryptography} raise.
    """
    if _isRoot(chain[0]):
        return "is a root, whose name constraints do not bind everybody"
    for below, each in enumerate(chain):
        who = "" if not below else f"has certificate {below + 1}, which "
        problem = _authorityProblemOf(each, below, now)
        if problem:
            return who + problem
    if not areChained(chain):
        return "is no chain: each certificate has to be issued by the next one"
    try:
        constraints = chain[0].extensions.get_extension_for_class(x509.NameConstraints)
    except x509.ExtensionNotFound:
        return "has no name constraints: whoever gets its key could be anybody"
    if not constraints.critical:
        return "has name constraints that are not critical, so that peers may pass them over"
    if not constraints.value.permitted_subtrees:
        return "has name constraints that permit everything but what they exclude"
    return ""


def _authorityProblemOf(certificate: x509.Certificate, below: int, now: datetime) -> str:
    if certificate.not_valid_after_utc <= now:
        return f"has expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    if now < certificate.not_valid_before_utc:
        start = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M}"
        return f"is not valid before {start} UTC; check the clock"
    found = certificate.extensions
    try:
        basic = found.get_extension_for_class(x509.BasicConstraints).value
        usage = found.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        basic, usage = x509.BasicConstraints(False, None), False
    if not (basic.ca and usage):
        return "is not that of an authority (CA:TRUE, keyCertSign)"
    if basic.path_length is not None and basic.path_length < below:
        return f"permits {basic.path_length} authorities below it (pathlen), and there are {below}"
    return ""


def subtreeOf(text: str) -> Subtree:
    """
    Read what may be certified: C{example.org} for that and all below it, C{@example.org} for all
    its users, C{user@example.org}, a network or an address, or C{spiffe://example.org/}.

    @raise ValueError: it is none of these; the message is a sentence for the user.
    """
    scheme, separator, rest = text.partition("://")
    if separator:
        if scheme != "spiffe" or rest.rstrip("/") == "" or "/" in rest.rstrip("/"):
            raise ValueError(
                f"{text!r} is no trust domain, which is permitted as a whole; write spiffe://DOMAIN/"
            )
        return x509.UniformResourceIdentifier(Identity.parse(rest.rstrip("/")).domain)
    user, at, host = text.rpartition("@")
    if at:
        whole = Identity.parse(text if user else f"anybody@{host}")
        return x509.RFC822Name(str(whole) if user else whole.domain)
    network = _networkOf(text)
    if network is not None:
        return x509.IPAddress(network)
    return x509.DNSName(Identity.parse(text).domain)


def _networkOf(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text)
    except ValueError:
        if "/" in text:
            raise ValueError(f"{text!r} is no network; write one such as 192.0.2.0/24") from None
        return None


def constraintsOf(permitted: Iterable[Subtree]) -> x509.NameConstraints:
    """
    What permits names in these subtrees, and no others of any kind that is judged: constraints that
    are silent about a kind permit all of it.
    """
    subtrees: list[x509.GeneralName] = list(permitted)
    excluded: list[x509.GeneralName] = []
    for kind in (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier):
        if not any(isinstance(each, kind) for each in subtrees):
            subtrees.append(kind(_NOWHERE))
    for everything in (ip_network("0.0.0.0/0"), ip_network("::/0")):
        addresses = [each.value for each in subtrees if isinstance(each, x509.IPAddress)]
        if not any(each.version == everything.version for each in addresses):
            excluded.append(x509.IPAddress(everything))
    return x509.NameConstraints(subtrees, excluded or None)


def makeIntermediate(
    pool: Pool,
    directory: Path,
    permitted: Sequence[Subtree],
    lifetime: timedelta = LIFETIME,
    replace: bool = False,
) -> Intermediate:
    """
    Let the authority of a pool make one.

    @param replace: whether one that may be there already is lost.
    @raise ConfigurationError: there is one already; or the authority permits none below it.
    """
    files = directory / "fullchain.pem", directory / "privkey.pem"
    for file in files:
        if present(file) and not replace:
            raise ConfigurationError(
                str(file), "is there already", "give --force to replace it, which cannot be undone"
            )
    authority = authorityOf(pool)
    basic = authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    if basic.path_length == 0:
        raise ConfigurationError(
            str(pool.path / "ca" / "cert.pem"),
            "permits no authority below it (pathlen 0), as those that were made by former versions",
            f"move {pool.path / 'ca'} away, and make its identities again with a new one, which "
            "peers have to believe",
        )
    now = datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate
    builder = builderOf(
        commonName(f"tlstunnel agent {os.urandom(4).hex()}"),
        issuer.subject,
        key.public_key(),
        now - CLOCK_SKEW,
        min(now + lifetime, issuer.not_valid_after_utc),
    )
    builder = certifying(builder, below=0)
    builder = builder.add_extension(constraintsOf(permitted), critical=True)
    builder = builder.add_extension(identifying(issuer), critical=False)
    certificate = builder.sign(authority.key, SHA256())
    makeDirectory(directory)
    writeKey(files[1], key, replace)
    writeCertificates(files[0], [certificate])
    return Intermediate((certificate,), key, certificate.not_valid_after_utc)
