"""
A builder of certificates, above all of odd ones, for all tests.

Alternative names are written in DER by hand (L{dns}, L{mail}, L{ip}, ...), because no library
makes them wrong.  A certificate is described by a L{Recipe} and issued by an L{Authority}; both are
made when they are first needed, since keys take time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
OTHER_USE = ExtendedKeyUsageOID.CODE_SIGNING

#: As long as the extension whose place it takes until a certificate with two of them is made.
_PLACEHOLDER = x509.ObjectIdentifier("2.5.29.99")

SRV_NAME = "1.3.6.1.5.5.7.8.7"
XMPP_ADDRESS = "1.3.6.1.5.5.7.8.5"


def der(tag: int, *parts: bytes) -> bytes:
    """One element of DER (X.690): its tag, its length, its contents."""
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + content


def _oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    content = bytearray([first * 40 + second])
    for number in rest:
        septets = [number & 0x7F]
        while number := number >> 7:
            septets.append(0x80 | number & 0x7F)
        content += bytes(reversed(septets))
    return der(0x06, bytes(content))


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def mail(name: str | bytes) -> bytes:
    """An rfc822Name."""
    return der(0x81, _bytes(name))


def dns(name: str | bytes) -> bytes:
    """A dNSName."""
    return der(0x82, _bytes(name))


def uri(name: str | bytes) -> bytes:
    """A uniformResourceIdentifier."""
    return der(0x86, _bytes(name))


def ip(address: str | bytes) -> bytes:
    """An iPAddress."""
    return der(0x87, ip_address(address).packed if isinstance(address, str) else address)


def other(oid: str, value: bytes) -> bytes:
    """An otherName; C{value} is DER."""
    return der(0xA0, _oid(oid), der(0xA0, value))


def srv(name: str | bytes) -> bytes:
    """An SRVName (RFC 4985)."""
    return other(SRV_NAME, der(0x16, _bytes(name)))


def alternative(*names: bytes) -> bytes:
    """The value of a subject alternative name."""
    return der(0x30, *names)


def makeKey(kind: str = "ec") -> Key:
    """A new private key."""
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:]))
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256K1() if kind == "secp256k1" else ec.SECP256R1())


def keyUsage(*uses: str) -> x509.KeyUsage:
    """A keyUsage with just C{uses}, named as C{cryptography} names them."""
    everything = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{use: use in uses for use in everything})


@dataclass(frozen=True)
class Recipe:
    """
    How a certificate is made.

    @ivar san: the value of the subject alternative name; L{None} for none.
    @ivar sanAgain: of a second one, which no certificate may have.
    @ivar subject: the subject.
    @ivar start: when it becomes valid, seen from now.
    @ivar end: when it expires, seen from now.
    @ivar isAuthority: what its basicConstraints say; L{None} for none.
    @ivar pathLength: the path length that they state.
    @ivar usage: its keyUsage.
    @ivar purposes: its extendedKeyUsage.
    @ivar extra: more extensions, each with whether it is critical.
    @ivar key: the kind of its key: C{ec}, C{rsa2048}, C{ed25519}.
    """

    san: bytes | None = None
    sanAgain: bytes | None = None
    sanCritical: bool = False
    subject: tuple[tuple[x509.ObjectIdentifier, str], ...] = ()
    start: timedelta = timedelta(hours=-1)
    end: timedelta = timedelta(days=30)
    isAuthority: bool | None = False
    pathLength: int | None = None
    usage: tuple[str, ...] | None = ("digital_signature",)
    purposes: tuple[x509.ObjectIdentifier, ...] | None = (SERVER, CLIENT)
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    key: str = "ec"

    def commonName(self) -> str | None:
        """The common name, if the subject has one."""
        return dict(self.subject).get(NameOID.COMMON_NAME)


def named(name: str) -> tuple[tuple[x509.ObjectIdentifier, str], ...]:
    """A subject of just a common name."""
    return ((NameOID.COMMON_NAME, name),)


@dataclass(frozen=True)
class Issued:
    """
    A certificate, its key, and what leads from it to its root.

    @ivar chain: itself, its issuer, that one's issuer, and so on, without the root.
    """

    certificate: x509.Certificate
    key: Key
    chain: tuple[x509.Certificate, ...] = field(default=())

    def chainPEM(self) -> bytes:
        """The chain as a file has it."""
        return b"".join(each.public_bytes(Encoding.PEM) for each in self.chain)

    def keyPEM(self) -> bytes:
        """The key as a file has it."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _sign(builder: x509.CertificateBuilder, key: Key) -> x509.Certificate:
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm)


def _signAgain(tbs: bytes, signed: x509.Certificate, key: Key) -> x509.Certificate:
    """Put a signature under something that no library would have built."""
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    algorithm = der(0x30, _oid(signed.signature_algorithm_oid.dotted_string))
    signature = key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return x509.load_der_x509_certificate(der(0x30, tbs, algorithm, der(0x03, b"\0", signature)))


def signedWithSHA1(issued: Issued, issuer: Issued) -> Issued:
    """The same certificate as a careless authority signs it."""
    assert isinstance(issuer.key, ec.EllipticCurvePrivateKey)
    algorithm = der(0x30, _oid("1.2.840.10045.4.1"))
    before = issued.certificate.tbs_certificate_bytes
    replaced = before.replace(der(0x30, _oid("1.2.840.10045.4.3.2")), algorithm, 1)
    tbs = der(0x30, replaced[len(before) - _length(before) :])
    signature = der(0x03, b"\0", issuer.key.sign(tbs, ec.ECDSA(hashes.SHA1())))
    weak = x509.load_der_x509_certificate(der(0x30, tbs, algorithm, signature))
    return Issued(weak, issued.key, (weak, *issued.chain[1:]))


def forPSS(issued: Issued, issuer: Issued) -> Issued:
    """The same certificate of an RSA key as one for RSASSA-PSS alone (RFC 4055, section 1.2)."""
    info = issued.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    rsaEncryption = der(0x30, _oid("1.2.840.113549.1.1.1"), der(0x05))
    content = info[len(info) - _length(info) :]
    replaced = der(0x30, der(0x30, _oid("1.2.840.113549.1.1.10")), content[len(rsaEncryption) :])
    before = issued.certificate.tbs_certificate_bytes
    tbs = der(0x30, before[len(before) - _length(before) :].replace(info, replaced))
    certificate = _signAgain(tbs, issued.certificate, issuer.key)
    return Issued(certificate, issued.key, (certificate, *issued.chain[1:]))


def numberedZero(issued: Issued) -> Issued:
    """The same root with the serial number 0, as there are old ones (RFC 5280 forbids it)."""
    number = issued.certificate.serial_number
    before = issued.certificate.tbs_certificate_bytes
    content = before[len(before) - _length(before) :]
    old = der(0x02, number.to_bytes(number.bit_length() // 8 + 1))
    tbs = der(0x30, content.replace(old, der(0x02, b"\0"), 1))
    return Issued(_signAgain(tbs, issued.certificate, issued.key), issued.key)


def _length(element: bytes) -> int:
    """How long the contents of an element of DER are."""
    size = element[1] & 0x7F if element[1] & 0x80 else 0
    return int.from_bytes(element[2 : 2 + size]) if size else element[1]


def make(recipe: Recipe, issuer: Issued | None = None, key: Key | None = None) -> Issued:
    """
    Make a certificate.

    @param issuer: who signs it; L{None} for itself.
    @param key: its key, instead of a new one.
    """
    key = key or makeKey(recipe.key)
    subject = x509.Name([x509.NameAttribute(*attribute) for attribute in recipe.subject])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .not_valid_before(now + recipe.start)
        .not_valid_after(now + recipe.end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )
    signingKey = issuer.key if issuer else key
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signingKey.public_key()), False
    )
    extensions: list[tuple[x509.ExtensionType, bool]] = list(recipe.extra)
    if recipe.isAuthority is not None:
        extensions.append((x509.BasicConstraints(recipe.isAuthority, recipe.pathLength), True))
    if recipe.usage is not None:
        extensions.append((keyUsage(*recipe.usage), True))
    if recipe.purposes is not None:
        extensions.append((x509.ExtendedKeyUsage(recipe.purposes), False))
    if recipe.san is not None:
        oid = ExtensionOID.SUBJECT_ALTERNATIVE_NAME
        extensions.append((x509.UnrecognizedExtension(oid, recipe.san), recipe.sanCritical))
    if recipe.sanAgain is not None:
        extensions.append((x509.UnrecognizedExtension(_PLACEHOLDER, recipe.sanAgain), False))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    certificate = _sign(builder, signingKey)
    if recipe.sanAgain is not None:
        tbs = certificate.tbs_certificate_bytes.replace(
            _oid(_PLACEHOLDER.dotted_string),
            _oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME.dotted_string),
        )
        certificate = _signAgain(tbs, certificate, signingKey)
    above = issuer.chain if issuer else ()
    isRoot = issuer is None and recipe.isAuthority
    return Issued(certificate, key, () if isRoot else (certificate, *above))


def authorityRecipe(name: str, **changes: object) -> Recipe:
    """The recipe of a proper certificate authority, with C{changes}."""
    proper: dict[str, object] = {
        "subject": named(name),
        "isAuthority": True,
        "usage": ("key_cert_sign", "crl_sign"),
        "purposes": None,
    }
    return Recipe(**{**proper, **changes})  # type: ignore[arg-type]


@cache
def _root(name: str) -> Issued:
    return make(authorityRecipe(name))


@cache
def _intermediate(name: str) -> Issued:
    return make(authorityRecipe(name), root())


def root(name: str = "Root") -> Issued:
    """A proper root, always the same one under the same name."""
    return _root(name)


def intermediate(name: str = "Intermediate") -> Issued:
    """A proper authority below L{root}, always the same one under the same name."""
    return _intermediate(name)


def deep(recipe: Recipe, count: int) -> Issued:
    """A certificate with so many authorities between it and L{root}."""
    issuer = root()
    for number in range(count):
        issuer = make(authorityRecipe(f"Below {number}"), issuer)
    return make(recipe, issuer)


def constraints(
    permitted: Sequence[x509.GeneralName] | None = None,
    excluded: Sequence[x509.GeneralName] | None = None,
) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    """Name constraints, as the C{extra} of a recipe."""
    return ((x509.NameConstraints(permitted, excluded), True),)
