"""
What an authority says about one certificate now (OCSP, RFC 6960): where to ask, what to ask, and
whether an answer may be believed.  Here nothing is sent.

Servers staple the answer about their own certificate to the handshake (RFC 6066, section 8), so
that it is judged at both ends: before it is stapled, and where it is required.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import (
    AuthorityInformationAccessOID,
    ExtendedKeyUsageOID,
    SignatureAlgorithmOID,
)

from tlstunnel.errors import IdentityRefused
from tlstunnel.identity.pem import quietly
from tlstunnel.identity.revocation import REVOKED

#: The largest answer, in bytes; they have some hundreds, or 2,000 with a certificate.
LARGEST_ANSWER = 1 << 16

#: So many seconds the clock of who answers may be ahead of ours.
SKEW_SECONDS = 300

#: What L{TunnelError.cause} says of an answer that is no good, and where there is none.
BAD, ABSENT = "bad staple", "no staple"

# Certificates in an answer that are looked at.
_MOST_RESPONDERS = 8

# Signatures are made with these, or with others that have digests as long.
_SHORTEST_DIGEST = 28

_CERTIFICATE_HASHES = (hashes.SHA1, hashes.SHA256, hashes.SHA384, hashes.SHA512)


class _Refused(Exception):
    """
    This answer is no good.
    """


@dataclass(frozen=True)
class Answer:
    """
    The word of an authority that a certificate is good, and was judged.

    @ivar der: as it is sent.
    @ivar start: since when it holds, in seconds since 1970.
    @ivar end: until when.
    """

    der: bytes
    start: float
    end: float


def responderOf(certificate: x509.Certificate) -> str:
    """
    Where a certificate says that its authority can be asked about it (RFC 5280, section 4.2.2.1):
    an URL of http, as answers are signed; empty if there is none that can be used.
    """
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except (ValueError, x509.ExtensionNotFound):
        return ""
    for each in access.value:
        place = each.access_location
        isOCSP = each.access_method == AuthorityInformationAccessOID.OCSP
        if isOCSP and isinstance(place, x509.UniformResourceIdentifier) and _isUsable(place.value):
            return place.value
    return ""


def _isUsable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    isPlain = url.isascii() and url.isprintable() and " " not in url
    isUsual = parts.scheme == "http" and bool(parts.hostname) and "@" not in parts.netloc
    return isPlain and isUsual and port != 0


def demandsStaple(certificate: x509.Certificate) -> bool:
    """
    Whether clients have to refuse a certificate where nothing is stapled, if they go by it (RFC
    7633).
    """
    try:
        features = certificate.extensions.get_extension_for_class(x509.TLSFeature).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    return x509.TLSFeatureType.status_request in features


def questionAbout(certificate: x509.Certificate, issuer: x509.Certificate) -> bytes:
    """
    The request, in DER: by SHA-1, which all responders know, and without a nonce, so that they can
    give an answer that is ready.
    """
    algorithm = hashes.SHA1()  # noqa: S303 - it only says which certificate is meant
    return _question(certificate, issuer, algorithm).public_bytes(Encoding.DER)


def _question(
    certificate: x509.Certificate, issuer: x509.Certificate, algorithm: hashes.HashAlgorithm
) -> ocsp.OCSPRequest:
    return ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, algorithm).build()


def judge(
    der: bytes, certificate: x509.Certificate, issuer: x509.Certificate, now: float
) -> Answer:
    """
    Demand that an answer says that a certificate is good.

    @param der: what a responder, or a server that staples, has sent.
    @param issuer: whose certificate it is.
    @param now: in seconds since 1970.
    @raise IdentityRefused: it does not, or it is no good, or anything else.
    """
    try:
        with quietly():
            return _judge(der, certificate, issuer, now)
    except (IdentityRefused, KeyboardInterrupt, SystemExit):
        raise
    except _Refused as refused:
        reason = str(refused)
    except BaseException as error:  # noqa: BLE001 - also the panics of cryptography's Rust
        reason = f"is unreadable ({type(error).__name__})"
    raise IdentityRefused(f"the response of OCSP {reason}", cause=BAD)


def _judge(
    der: bytes, certificate: x509.Certificate, issuer: x509.Certificate, now: float
) -> Answer:
    if len(der) > LARGEST_ANSWER:
        raise _Refused("is too large")
    response = ocsp.load_der_ocsp_response(der)
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise _Refused(f"says {response.response_status.name}")
    about = [each for each in response.responses if _isAbout(each, certificate, issuer)]
    if len(about) != 1:
        raise _Refused("is not about this certificate" if not about else "is ambiguous")
    if any(each.critical for each in response.extensions):
        raise _Refused("has a critical extension that is not known here")
    if not any(_hasSigned(each, response) for each in _responders(response, issuer, now)):
        raise _Refused("is not signed by the issuer, nor by whom it has charged with that")
    (single,) = about
    if single.certificate_status is ocsp.OCSPCertStatus.REVOKED:
        when = single.revocation_time_utc
        raise IdentityRefused(
            f"the certificate was revoked on {when:%Y-%m-%d %H:%M} UTC, as OCSP says",
            cause=REVOKED,
        )
    if single.certificate_status is not ocsp.OCSPCertStatus.GOOD:
        raise _Refused("says that this certificate is not known")
    start, end = single.this_update_utc.timestamp(), single.next_update_utc
    if start > now + SKEW_SECONDS:
        raise _Refused(f"is from the future ({single.this_update_utc:%Y-%m-%d %H:%M} UTC)")
    if end is None:
        raise _Refused("does not say until when it holds (nextUpdate)")
    if end.timestamp() <= now:
        raise _Refused(f"has expired on {end:%Y-%m-%d %H:%M} UTC")
    return Answer(der, start, end.timestamp())


def _isAbout(
    single: ocsp.OCSPSingleResponse, certificate: x509.Certificate, issuer: x509.Certificate
) -> bool:
    if single.serial_number != certificate.serial_number:
        return False
    algorithm = single.hash_algorithm
    if not isinstance(algorithm, _CERTIFICATE_HASHES):
        return False
    asked = _question(certificate, issuer, algorithm)
    return (single.issuer_name_hash, single.issuer_key_hash) == (
        asked.issuer_name_hash,
        asked.issuer_key_hash,
    )


def _responders(
    response: ocsp.OCSPResponse, issuer: x509.Certificate, now: float
) -> Iterator[x509.Certificate]:
    """
    Who may sign an answer about certificates of C{issuer} (RFC 6960, section 4.2.2.2).
    """
    yield issuer
    for each in response.certificates[:_MOST_RESPONDERS]:
        if _isCharged(each, issuer, datetime.fromtimestamp(now, UTC)):
            yield each


def _isCharged(responder: x509.Certificate, issuer: x509.Certificate, now: datetime) -> bool:
    if not responder.not_valid_before_utc <= now <= responder.not_valid_after_utc:
        return False
    try:
        purposes = responder.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if ExtendedKeyUsageOID.OCSP_SIGNING not in purposes:
            return False
        responder.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, ValueError, x509.ExtensionNotFound):
        return False
    return True


def _hasSigned(responder: x509.Certificate, response: ocsp.OCSPResponse) -> bool:
    key = responder.public_key()
    signature, signed = response.signature, response.tbs_response_bytes
    try:
        if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(signature, signed)
            return True
        algorithm = response.signature_hash_algorithm
        if algorithm is None or algorithm.digest_size < _SHORTEST_DIGEST:
            return False
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(algorithm))
            return True
        isPSS = response.signature_algorithm_oid == SignatureAlgorithmOID.RSASSA_PSS
        if isinstance(key, rsa.RSAPublicKey) and not isPSS:
            key.verify(signature, signed, padding.PKCS1v15(), algorithm)
            return True
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        pass
    return False
