"""
A builder of what says that certificates were revoked, for all tests: lists (RFC 5280) and responses
of OCSP (RFC 6960), above all odd ones.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from tests.certificates import Issued, root

HOUR = timedelta(hours=1)


def entry(
    serial: int,
    reason: x509.ReasonFlags | None = None,
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = (),
) -> x509.RevokedCertificate:
    """What a list says of one certificate."""
    builder = (
        x509.RevokedCertificateBuilder()
        .serial_number(serial)
        .revocation_date(datetime.now(UTC) - HOUR)
    )
    if reason is not None:
        builder = builder.add_extension(x509.CRLReason(reason), False)
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical)
    return builder.build()


def makeList(
    *revoked: Issued | x509.RevokedCertificate,
    issuer: Issued | None = None,
    number: int | None = 1,
    start: timedelta = -HOUR,
    end: timedelta = timedelta(days=7),
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    signer: Issued | None = None,
) -> x509.CertificateRevocationList:
    """
    A list.

    @param issuer: whose it is; by default the root's.
    @param start: when it was made, seen from now.
    @param end: when the next one comes, seen from now.
    @param signer: whose key signs it, if not the issuer's.
    """
    issuer = issuer or root()
    signer = signer or issuer
    now = datetime.now(UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now + start)
        .next_update(now + end)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False
        )
    )
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), False)
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical)
    for each in revoked:
        one = each if isinstance(each, x509.RevokedCertificate) else None
        builder = builder.add_revoked_certificate(
            one or entry(each.certificate.serial_number)  # type: ignore[union-attr]
        )
    isEdwards = isinstance(signer.key, ed25519.Ed25519PrivateKey)
    return builder.sign(signer.key, None if isEdwards else hashes.SHA256())


def pem(*lists: x509.CertificateRevocationList) -> bytes:
    """A file of lists."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in lists)


def part(
    place: str | None = None,
    onlyUsers: bool = False,
    onlyAuthorities: bool = False,
    indirect: bool = False,
    reasons: frozenset[x509.ReasonFlags] | None = None,
    onlyAttributes: bool = False,
) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    """Which certificates a list is about, as its C{extra}."""
    names = None if place is None else [x509.UniformResourceIdentifier(place)]
    return (
        (
            x509.IssuingDistributionPoint(
                names, None, onlyUsers, onlyAuthorities, reasons, indirect, onlyAttributes
            ),
            True,
        ),
    )


def place(url: str) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    """Where lists about a certificate are, as its C{extra}."""
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)
    return ((x509.CRLDistributionPoints([point]), False),)


def makeAnswer(
    about: Issued,
    issuer: Issued | None = None,
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    start: timedelta = -HOUR,
    end: timedelta | None = timedelta(days=7),
    signer: Issued | None = None,
    carried: tuple[Issued, ...] = (),
    algorithm: hashes.HashAlgorithm | None = None,
) -> bytes:
    """
    A response of OCSP.

    @param about: the certificate that it is about.
    @param issuer: of C{about}; by default the root.
    @param start: since when it holds, seen from now.
    @param end: until when.
    @param signer: whose key signs it, if not the issuer's.
    @param carried: certificates in it.
    """
    issuer = issuer or root()
    signer = signer or issuer
    now = datetime.now(UTC)
    builder = ocsp.OCSPResponseBuilder()
    isRevoked = status is ocsp.OCSPCertStatus.REVOKED
    builder = builder.add_response(
        cert=about.certificate,
        issuer=issuer.certificate,
        algorithm=algorithm or hashes.SHA1(),
        cert_status=status,
        this_update=now + start,
        next_update=None if end is None else now + end,
        revocation_time=now - HOUR if isRevoked else None,
        revocation_reason=None,
    ).responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
    if carried:
        builder = builder.certificates([each.certificate for each in carried])
    isEdwards = isinstance(signer.key, ed25519.Ed25519PrivateKey)
    response = builder.sign(signer.key, None if isEdwards else hashes.SHA256())
    return response.public_bytes(Encoding.DER)
