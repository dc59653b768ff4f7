"""
Certificates that are dear to read and to verify, though an authority that is trusted issued them.
"""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.credentials import Credentials, keyOf

NAMES = 10_000
CHAIN = 100


def _certificate(
    subject: str,
    public: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuerKey: ec.EllipticCurvePrivateKey,
    names: list[x509.GeneralName] | None = None,
) -> x509.Certificate:
    """@param names: of one that issues nothing; whoever has none is an authority."""
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(names is None, None), critical=True)
    )
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuerKey, hashes.SHA256())


def write(credentials: Credentials, path: Path, names: int, length: int) -> Path:
    """
    Write a certificate that is not for our host, with its key and its chain, to C{path}.

    @param names: how many it has; L{NAMES} of them fit into what OpenSSL accepts of a peer.
    @param length: how many certificates there are in the chain, its own and not the anchor's
        included.
    @return: C{path}.
    """
    anchor = x509.load_pem_x509_certificate(credentials.ca.read_bytes())
    issuer = anchor.subject
    key = serialization.load_pem_private_key(credentials.caKey.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    chain = []
    for number in range(length - 1):
        own = ec.generate_private_key(ec.SECP256R1())
        chain.append(_certificate(f"authority {number}", own.public_key(), issuer, key))
        issuer, key = chain[-1].subject, own
    own = ec.generate_private_key(ec.SECP256R1())
    alternatives: list[x509.GeneralName] = [
        x509.DNSName(f"{number:x}.x") for number in range(names)
    ]
    chain.append(_certificate("hostile", own.public_key(), issuer, key, alternatives))
    encoded = [each.public_bytes(serialization.Encoding.PEM) for each in reversed(chain)]
    path.write_bytes(keyOf(own) + b"".join(encoded))
    return path
