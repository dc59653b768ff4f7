"""
What a header of the PROXY protocol tells of certificates, in the words of OpenSSL, as all senders
have them.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.dsa import DSAPublicKey
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID

_SIGNATURES = {
    SignatureAlgorithmOID.RSA_WITH_SHA1: "RSA-SHA1",
    SignatureAlgorithmOID.RSA_WITH_SHA224: "RSA-SHA224",
    SignatureAlgorithmOID.RSA_WITH_SHA256: "RSA-SHA256",
    SignatureAlgorithmOID.RSA_WITH_SHA384: "RSA-SHA384",
    SignatureAlgorithmOID.RSA_WITH_SHA512: "RSA-SHA512",
    SignatureAlgorithmOID.RSASSA_PSS: "RSASSA-PSS",
    SignatureAlgorithmOID.ECDSA_WITH_SHA1: "ecdsa-with-SHA1",
    SignatureAlgorithmOID.ECDSA_WITH_SHA224: "ecdsa-with-SHA224",
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: "ecdsa-with-SHA256",
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: "ecdsa-with-SHA384",
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: "ecdsa-with-SHA512",
    SignatureAlgorithmOID.ED25519: "ED25519",
    SignatureAlgorithmOID.ED448: "ED448",
}


def signatureOf(certificate: x509.Certificate) -> str:
    """
    By which algorithm it was signed, as C{RSA-SHA256}; the number of one that has no name here.
    """
    oid = certificate.signature_algorithm_oid
    return _SIGNATURES.get(oid, oid.dotted_string)


def keyOf(certificate: x509.Certificate) -> str:
    """
    What its key is, as C{RSA2048} or C{EC256}; empty for one that has no name here.
    """
    key = certificate.public_key()
    if isinstance(key, RSAPublicKey):
        return f"RSA{key.key_size}"
    if isinstance(key, EllipticCurvePublicKey):
        return f"EC{key.key_size}"
    if isinstance(key, DSAPublicKey):
        return f"DSA{key.key_size}"
    if isinstance(key, Ed25519PublicKey):
        return "ED25519"
    return "ED448" if isinstance(key, Ed448PublicKey) else ""


def commonNameOf(certificate: x509.Certificate) -> str:
    """
    Its common name; empty where it has none, or several, or one that cannot be printed: receivers
    take it for the name of a user.
    """
    try:
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError:
        return ""
    name = names[0].value if len(names) == 1 else ""
    return name if isinstance(name, str) and name.isprintable() else ""
