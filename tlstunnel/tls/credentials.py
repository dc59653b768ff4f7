"""
Our own certificates and keys, as OpenSSL takes them.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import PublicKeyAlgorithmOID
from OpenSSL import SSL, crypto

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.keyreference import KeyReference
from tlstunnel.identity.pem import quietly
from tlstunnel.tls import separation
from tlstunnel.tls.references import loadReferred


def present(context: SSL.Context, credentials: Credentials) -> None:
    """
    Let a context show our certificate, with those above it.

    @raise ConfigurationError: OpenSSL does not want to; or it does not go with what this process
        does besides.
    """
    separation.process.check(credentials)
    leaf, *chain = credentials.certificates
    key = credentials.key
    referred = None
    if isinstance(key, KeyReference):
        referred = loadReferred(key, credentials.keySource)
    separation.process.signs(credentials)
    try:
        context.use_certificate(leaf)
        if referred is not None:
            with quietly():  # which discourages passing what only OpenSSL can understand
                context.use_privatekey(referred)
        elif leaf.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS:
            with quietly():  # which discourages passing what only OpenSSL can tell apart
                context.use_privatekey(_pssKey(credentials))
        else:
            context.use_privatekey(key)  # type: ignore[arg-type]  # refuses others
        context.check_privatekey()
        for certificate in chain:
            context.add_extra_chain_cert(certificate)
    except (SSL.Error, crypto.Error, TypeError, ValueError) as error:
        raise refusal(credentials, error) from None


def whyNotShown(certificate: x509.Certificate) -> str:
    """
    What OpenSSL has against showing a certificate of ours, or one above it, whatever its key; empty
    if nothing.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    try:
        context.use_certificate(certificate)
    except (SSL.Error, crypto.Error, TypeError, ValueError) as error:
        return _reasonOf(error)
    return ""


# What OpenSSL says of keys that do not fit; those of another kind push the certificate out.
_MISMATCHES = ("key values mismatch", "key type mismatch", "no certificate assigned")


def refusal(credentials: Credentials, error: Exception) -> ConfigurationError:
    """
    Say what OpenSSL has against credentials.
    """
    reason = _reasonOf(error)
    if credentials.isReferred and any(each in reason for each in _MISMATCHES):
        return ConfigurationError(
            credentials.keySource,
            f"refers to a key that does not fit the first certificate in {credentials.source}",
            "put a pair there that belongs together",
        )
    return ConfigurationError(
        credentials.source or str(credentials.identity),
        f"OpenSSL does not take this certificate and its key ({reason})",
        "use a key of a common kind: ECDSA with P-256, or RSA with 2048 bits or more",
    )


def _reasonOf(error: Exception) -> str:
    queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return ", ".join(entry[2] for entry in queue if entry[2]) or str(error)


def _pssKey(credentials: Credentials) -> crypto.PKey:
    """
    The key that fits a certificate for RSASSA-PSS alone (RFC 4055).  C{cryptography} knows it as
    one for RSA of any kind, so that it gets the algorithm of the certificate (RFC 5208, section 5).
    """
    key = credentials.key
    if not isinstance(key, RSAPrivateKey):
        raise TypeError("the certificate is for an RSA key, and the key is none")
    with quietly():
        certified = crypto.X509.from_cryptography(credentials.certificates[0]).get_pubkey()
    subjectPublicKeyInfo = crypto.dump_publickey(crypto.FILETYPE_ASN1, certified)
    algorithm = _firstOf(subjectPublicKeyInfo)
    private = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    info = _der(0x30, b"\x02\x01\x00" + algorithm + _der(0x04, private))
    return crypto.load_privatekey(crypto.FILETYPE_ASN1, info)


def _firstOf(sequence: bytes) -> bytes:
    """The first element of a sequence (X.690), itself a sequence, which OpenSSL has written."""
    start, _ = _extent(sequence, 0)
    _, end = _extent(sequence, start)
    return sequence[start:end]


def _extent(der: bytes, at: int) -> tuple[int, int]:
    """Where the contents of an element begin and end."""
    length = der[at + 1]
    start = at + 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[at + 2 : start])
    return start, start + length


def _der(tag: int, content: bytes) -> bytes:
    """An element (X.690) of up to 65,535 bytes."""
    return bytes([tag, 0x82]) + len(content).to_bytes(2) + content
