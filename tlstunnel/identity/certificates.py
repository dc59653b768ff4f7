"""
What the certificates are like that are made here: of identities, and of the authorities that issue
them.

Nothing is read or written: keys and certificates come in, and certificates go out.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPublicKeyTypes,
    CertificatePublicKeyTypes,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tlstunnel.identity.names import Identity, Kind

#: How far behind the clocks of others may be.
CLOCK_SKEW = timedelta(hours=1)


def newKey() -> ec.EllipticCurvePrivateKey:
    """Make a key of the kind that all our identities have."""
    return ec.generate_private_key(ec.SECP256R1())


def certify(
    issuer: x509.Certificate,
    issuerKey: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    identity: Identity,
    public: CertificatePublicKeyTypes,
    start: datetime,
    end: datetime,
    hasSubject: bool = True,
) -> x509.Certificate:
    """
    Make a certificate for C{identity}, with which it can be server and client, and nothing else.

    @param public: the key to certify.
    @param hasSubject: whether it stands in the subject, too, where it can.
    """
    # The upper bound of a common name is 64 (RFC 5280, appendix A); nobody looks at it anyway, but
    # for those who take an address there for a domain that name constraints are about.
    isNamed = hasSubject and len(str(identity)) <= 64 and identity.address is None
    subject = commonName(str(identity)) if isNamed else x509.Name([])
    builder = builderOf(subject, issuer.subject, public, start, end)
    builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
    builder = builder.add_extension(_keyUsage(digital_signature=True), critical=True)
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    builder = builder.add_extension(
        x509.SubjectAlternativeName([alternativeName(identity)]), critical=not list(subject)
    )
    builder = builder.add_extension(identifying(issuer), critical=False)
    return builder.sign(issuerKey, SHA256())


def certifying(builder: x509.CertificateBuilder, below: int) -> x509.CertificateBuilder:
    """
    What makes a certificate that of an authority.

    @param below: how many others may stand below it, on the way to a certificate.
    """
    builder = builder.add_extension(x509.BasicConstraints(True, path_length=below), critical=True)
    return builder.add_extension(_keyUsage(key_cert_sign=True, crl_sign=True), critical=True)


def identifying(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """
    The key of an issuer, as its certificate calls it.
    """
    try:
        known = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        public = cast(CertificateIssuerPublicKeyTypes, issuer.public_key())
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known)


def commonName(name: str) -> x509.Name:
    """A subject that is known by a common name alone."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def alternativeName(identity: Identity) -> x509.GeneralName:
    """An identity as certificates have it."""
    if identity.user is not None:
        return x509.RFC822Name(str(identity))
    if identity.address is not None:
        return x509.IPAddress(identity.address)
    if identity.kind is Kind.WORKLOAD:
        return x509.UniformResourceIdentifier(str(identity))
    return x509.DNSName(identity.domain)


def _keyUsage(
    digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def builderOf(
    subject: x509.Name,
    issuer: x509.Name,
    key: CertificatePublicKeyTypes,
    start: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    """What all our certificates have in common."""
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
