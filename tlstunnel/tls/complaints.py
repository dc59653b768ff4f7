"""
What OpenSSL has against a chain of certificates, as a refusal of ours.
"""

from __future__ import annotations

from OpenSSL import SSL, crypto

from tlstunnel.errors import IdentityRefused, quote
from tlstunnel.identity.pem import quietly
from tlstunnel.identity.spki import issuerOf
from tlstunnel.tls import binding

#: A name of an issuer that is shown.  Anybody can show one with thousands of parts, and to read it
#: takes milliseconds.
LONGEST_NAME_BYTES = 1000

_Codes = SSL.X509VerificationCodes

# What X509_verify_cert(3) says most often, in words for an administrator.
_VERIFY_ERRORS = {
    _Codes.ERR_CERT_HAS_EXPIRED: "the certificate has expired",
    _Codes.ERR_CERT_NOT_YET_VALID: "the certificate is not yet valid",
    _Codes.ERR_CERT_SIGNATURE_FAILURE: "a signature in the chain is wrong",
    _Codes.ERR_INVALID_CA: "an issuer in the chain is not a CA",
    _Codes.ERR_INVALID_PURPOSE: "the certificate is not for this purpose",
    _Codes.ERR_CERT_CHAIN_TOO_LONG: "the chain has too many authorities",
    _Codes.ERR_PATH_LENGTH_EXCEEDED: "the chain is longer than its CA permits",
    _Codes.ERR_CERT_REVOKED: "the certificate was revoked",
    _Codes.ERR_KEYUSAGE_NO_CERTSIGN: "an issuer may not sign certificates",
    _Codes.ERR_UNHANDLED_CRITICAL_EXTENSION: (
        "a certificate has a critical extension that nobody knows"
    ),
    _Codes.ERR_PERMITTED_VIOLATION: "a name constraint of its CA is violated: not permitted",
    _Codes.ERR_EXCLUDED_VIOLATION: "a name constraint of its CA is violated: excluded",
    1: "the chain cannot be verified",
    53: "a name in a certificate, or a name constraint of its CA, cannot be understood",
    66: "a key in the chain is too weak",
    67: "the key of a CA in the chain is too weak",
    68: "a signature in the chain is too weak (SHA-1 or older)",
}

#: The same where nobody is known who would stand for the chain.
UNKNOWN = {
    _Codes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: "the certificate is self-signed, and no anchor",
    _Codes.ERR_SELF_SIGNED_CERT_IN_CHAIN: "the chain ends in an unknown CA",
    _Codes.ERR_UNABLE_TO_GET_ISSUER_CERT: "the issuer of a CA is unknown",
    _Codes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: (
        "the issuer is unknown, or an intermediate certificate is missing"
    ),
    _Codes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: "the issuer is unknown",
}

# What L{TunnelError.cause} says of them.
_CAUSES = {
    **dict.fromkeys(UNKNOWN, "unknown CA"),
    _Codes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "unknown issuer",
    _Codes.ERR_CERT_HAS_EXPIRED: "expired",
    _Codes.ERR_CERT_NOT_YET_VALID: "not yet valid",
}


def _reason(code: int, certificate: crypto.X509, source: str) -> str:
    """
    Say what OpenSSL has found.
    """
    unknown = UNKNOWN.get(code)
    if unknown is None:
        known = _VERIFY_ERRORS.get(code) or binding.verifyErrorText(code)
        return known or "the chain cannot be verified"
    try:
        with quietly():
            shown = certificate.to_cryptography()
            if len(issuerOf(shown)) > LONGEST_NAME_BYTES:
                return unknown
            issuer = shown.issuer.rfc4514_string()
    except Exception:  # noqa: BLE001 - there are many ways to be a broken certificate
        return unknown
    whose = f" of {source}" if source else ""
    return f"{unknown}: {quote(issuer.encode())} is not among the anchors{whose}"


def refusalOf(code: int, certificate: crypto.X509, depth: int, source: str) -> IdentityRefused:
    """
    The refusal that an error of X509_verify_cert(3) means.

    @param depth: how far above the peer's own it has found C{certificate}.
    @param source: whose anchors decide.
    """
    reason = _reason(code, certificate, source)
    return IdentityRefused(f"{reason} (at depth {depth})", cause=_CAUSES.get(code, ""))
