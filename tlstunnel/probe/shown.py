"""
The certificates that a server shows, each in our words, and what is wrong with them.

Nothing is decided here: whether a server is believed was decided in the handshake.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.hashes import HashAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID

from tlstunnel.errors import quote
from tlstunnel.identity.pem import quietly
from tlstunnel.identity.pins import keyOf
from tlstunnel.identity.presented import alternativeNames

#: The least bits of keys and digests that count as strong (OpenSSL's security level 2).
LEAST_FACTORED, LEAST_CURVE, LEAST_DIGEST = 2048, 224, 224

_MOST_SHOWN = 200

#: Certificates of one chain of which it is tried who has signed whom: nobody has half as many.
MOST_TRIED = 16

# How algorithms of signatures begin (RFC 8017, RFC 5758, RFC 8410).
_SIGNATURES = (
    ("1.2.840.113549.1.1.", "RSA"),
    ("1.2.840.10045.4.", "ECDSA"),
    ("1.2.840.10040.4.", "DSA"),
    ("2.16.840.1.101.3.4.3.", "DSA or ML-DSA"),
    ("1.3.101.112", "Ed25519"),
    ("1.3.101.113", "Ed448"),
)

_KINDS: dict[type[x509.GeneralName], str] = {
    x509.DNSName: "domain",
    x509.IPAddress: "address",
    x509.RFC822Name: "user",
    x509.UniformResourceIdentifier: "URI",
    x509.OtherName: "other",
    x509.DirectoryName: "directory",
    x509.RegisteredID: "registered",
}


def safe(text: str) -> str:
    """
    What a peer says of itself, as a terminal may show it.
    """
    if text.isascii() and text.isprintable() and len(text) <= _MOST_SHOWN:
        return text
    return quote(text.encode("utf-8", "backslashreplace"))


@dataclass(frozen=True)
class Name:
    """
    One name of a certificate.

    @ivar text: it, raw and untrusted.
    @ivar kind: what it is a name of.
    """

    text: str
    kind: str


@dataclass(frozen=True)
class Shown:
    """
    One certificate; texts are raw and untrusted.

    @ivar der: it.
    @ivar certificate: the same, if we can read it.
    @ivar subject: whose it is, as RFC 4514 has it.
    @ivar issuer: who has signed it.
    @ivar names: its alternative names.
    @ivar key: kind and size of its key.
    @ivar pin: what others give to --pin who pin that key; empty where that cannot be read.
    @ivar signature: how it was signed.
    @ivar start: since when it is valid.
    @ivar end: until when.
    @ivar left: how long that is.
    @ivar problems: what is wrong with it.
    """

    der: bytes
    certificate: x509.Certificate | None = None
    subject: str = ""
    issuer: str = ""
    names: tuple[Name, ...] = ()
    key: str = ""
    pin: str = ""
    signature: str = ""
    start: datetime | None = None
    end: datetime | None = None
    left: timedelta = timedelta()
    problems: list[str] = field(default_factory=list)

    @property
    def sha256(self) -> str:
        """Its fingerprint, in hexadecimal digits."""
        return sha256(self.der).hexdigest()

    @property
    def isSelfSigned(self) -> bool:
        """Whether it names itself as its issuer."""
        return self.certificate is not None and self.subject == self.issuer


def describe(chain: Sequence[bytes], now: datetime) -> tuple[Shown, ...]:
    """
    All certificates of a chain, as they came.

    @param chain: each in DER.
    """
    return tuple(_described(der, number, now) for number, der in enumerate(chain))


def _described(der: bytes, number: int, now: datetime) -> Shown:
    try:
        with quietly():
            return _read(der, number, now)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - also the panics of cryptography's Rust
        return Shown(der, problems=[f"it cannot be read: {safe(' '.join(str(error).split()))}"])


def _read(der: bytes, number: int, now: datetime) -> Shown:
    certificate = x509.load_der_x509_certificate(der)
    found = alternativeNames(certificate)
    names = [] if found is None else [_named(each) for each in found]
    shown = Shown(
        der,
        certificate,
        certificate.subject.rfc4514_string(),
        certificate.issuer.rfc4514_string(),
        tuple(names),
        _key(certificate),
        _pin(certificate),
        _signature(certificate),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        certificate.not_valid_after_utc - now,
    )
    shown.problems.extend(_problems(certificate, number, now))
    return shown


def _named(name: x509.GeneralName) -> Name:
    value = getattr(name, "value", name)
    if isinstance(value, x509.Name):
        value = value.rfc4514_string()
    return Name(str(value), _KINDS.get(type(name), "other"))


def _key(certificate: x509.Certificate) -> str:
    try:
        key = certificate.public_key()
    except Exception:  # noqa: BLE001 - keys that the library does not know
        return f"unknown ({certificate.public_key_algorithm_oid.dotted_string})"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    if isinstance(key, dsa.DSAPublicKey):
        return f"DSA {key.key_size}"
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "Ed25519"
    if isinstance(key, ed448.Ed448PublicKey):
        return "Ed448"
    return type(key).__name__.removesuffix("PublicKey")


def _pin(certificate: x509.Certificate) -> str:
    try:
        return str(keyOf(certificate))
    except ValueError:
        return ""


def _signature(certificate: x509.Certificate) -> str:
    dotted = certificate.signature_algorithm_oid.dotted_string
    kind = next((kind for start, kind in _SIGNATURES if dotted.startswith(start)), dotted)
    digest = _digest(certificate)
    return f"{kind} with {digest.name.upper()}" if digest is not None else kind


def _digest(certificate: x509.Certificate) -> HashAlgorithm | None:
    try:
        return certificate.signature_hash_algorithm
    except Exception:  # noqa: BLE001 - signatures that the library does not know
        return None


def _problems(certificate: x509.Certificate, number: int, now: datetime) -> list[str]:
    """
    What is wrong with one certificate.

    @param number: how far above the server's own it stands.
    """
    found = []
    if now < certificate.not_valid_before_utc:
        found.append(
            f"it is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        )
    if certificate.not_valid_after_utc < now:
        found.append(f"it expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    if _isWeak(certificate):
        found.append(f"its key is weak: {_key(certificate)}")
    digest = _digest(certificate)
    isRoot = certificate.issuer == certificate.subject
    if digest is not None and digest.digest_size * 8 < LEAST_DIGEST and not isRoot:
        found.append(f"its signature is weak: {_signature(certificate)}")
    if number:
        if not _isAuthority(certificate):
            found.append("it is no authority, and stands where one should")
    else:
        found += _problemsOfLeaf(certificate)
    return found


def _isWeak(certificate: x509.Certificate) -> bool:
    try:
        key = certificate.public_key()
    except Exception:  # noqa: BLE001 - keys that the library does not know
        return False
    if isinstance(key, rsa.RSAPublicKey | dsa.DSAPublicKey):
        return key.key_size < LEAST_FACTORED
    return isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < LEAST_CURVE


def _isAuthority(certificate: x509.Certificate) -> bool:
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return found.value.ca


def _problemsOfLeaf(certificate: x509.Certificate) -> list[str]:
    found = []
    if alternativeNames(certificate) is None:
        found.append("it has no subject alternative name, and a common name does not count")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return found
    if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & {*usage}:
        found.append("it is not for servers (extendedKeyUsage)")
    return found


def path(chain: Sequence[Shown]) -> list[Shown]:
    """
    The certificates that lead upwards from the server's own, each signed by the next, as far as
    they do.
    """
    if not chain or chain[0].certificate is None:
        return []
    found = [chain[0]]
    left = [each for each in chain[1:MOST_TRIED] if each.certificate is not None]
    while not found[-1].isSelfSigned:
        above = next((each for each in left if _hasIssued(each, found[-1])), None)
        if above is None:
            break
        left.remove(above)
        found.append(above)
    return found


def _hasIssued(issuer: Shown, issued: Shown) -> bool:
    assert issuer.certificate is not None and issued.certificate is not None
    try:
        with quietly():
            issued.certificate.verify_directly_issued_by(issuer.certificate)
    except Exception:  # noqa: BLE001 - whatever it is, it does not vouch for it
        return False
    return True


def problemsOf(chain: Sequence[Shown]) -> list[str]:
    """
    What is wrong with the certificates together.
    """
    leading = path(chain)
    if not leading:
        return []
    found = []
    if [each.der for each in leading] != [each.der for each in chain[: len(leading)]]:
        found.append(
            "the order is wrong: each certificate has to be followed by that of its issuer"
        )
    idle = len(chain) - len(leading)
    if idle:
        vouch = "one certificate vouches" if idle == 1 else f"{idle} certificates vouch"
        found.append(f"{vouch} for none of the others")
    return found
