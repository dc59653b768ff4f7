"""
One small CA and one ECDSA P-256 certificate, in every layout that some contender wants.
"""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOST = "bench.example"


@dataclass(frozen=True)
class Credentials:
    """
    Paths: C{pool} is tlstunnel's, with everything in it; C{pem} holds key and chain in one file,
    and C{caKey} is the authority's.
    """

    pool: Path
    ca: Path
    chain: Path
    key: Path
    pem: Path
    caKey: Path


def keyOf(key: ec.EllipticCurvePrivateKey) -> bytes:
    """@return: C{key} as PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def create(directory: Path) -> Credentials:
    """Write fresh credentials for L{HOST} below C{directory}, good for two days."""
    now = datetime.datetime.now(datetime.UTC)
    caKey = ec.generate_private_key(ec.SECP256R1())
    caName = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Benchmark CA")])
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(caName)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(caKey.public_key()),
                critical=False,
            )
        )

    def usage(*, signs: bool) -> x509.KeyUsage:
        return x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=signs,
            crl_sign=signs,
            encipher_only=False,
            decipher_only=False,
        )

    ca = (
        builder(caName, caKey.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage(signs=True), critical=True)
        .sign(caKey, hashes.SHA256())
    )
    leaf = (
        builder(name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs=False), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .sign(caKey, hashes.SHA256())
    )
    caPEM = ca.public_bytes(serialization.Encoding.PEM)
    leafPEM = leaf.public_bytes(serialization.Encoding.PEM)
    keyPEM = keyOf(key)

    def write(path: Path, content: bytes, mode: int) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        return path

    pool = directory / "pool"
    return Credentials(
        pool=pool,
        ca=write(pool / "trust" / "anchors.pem", caPEM, 0o644),
        chain=write(pool / HOST / "fullchain.pem", leafPEM, 0o644),
        key=write(pool / HOST / "privkey.pem", keyPEM, 0o600),
        pem=write(directory / "combined.pem", keyPEM + leafPEM, 0o600),
        caKey=write(directory / "ca.pem", keyOf(caKey), 0o600),
    )
