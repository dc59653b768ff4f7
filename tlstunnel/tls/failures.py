"""
What an error of OpenSSL means, as one of our own errors.
"""

from __future__ import annotations

from OpenSSL import SSL

from tlstunnel.errors import ForeignProtocol, Reset, TLSFailed, Truncated, TunnelError
from tlstunnel.tls.binding import alertReasons
from tlstunnel.tls.keyverifier import KeyVerifier
from tlstunnel.tls.openssl import PROVIDER_NAME
from tlstunnel.tls.session import Session

# What a peer that speaks no TLS looks like to OpenSSL.
_FOREIGN = ("http request", "https proxy request", "wrong version number", "packet length too long")

# What OpenSSL says, how we say it, and what a hint is given by.
_CAUSES = {
    "peer did not return a certificate": ("the peer has shown no certificate", "no certificate"),
    "unsupported protocol": ("unsupported protocol", "old version"),
}

#: The cause of an end that comes where a server wanted a certificate, and we had none.
OWED = "certificate owed"

# What it says where a provider has failed that keeps a key of ours.
_OF_PROVIDERS = frozenset({"provider signature failure", "provider signature not supported"})

#: The alerts of TLS, by their numbers (RFC 8446, section 6, and IANA's registry).
ALERTS = {
    0: "close_notify",
    10: "unexpected_message",
    20: "bad_record_mac",
    21: "decryption_failed",
    22: "record_overflow",
    30: "decompression_failure",
    40: "handshake_failure",
    41: "no_certificate",
    42: "bad_certificate",
    43: "unsupported_certificate",
    44: "certificate_revoked",
    45: "certificate_expired",
    46: "certificate_unknown",
    47: "illegal_parameter",
    48: "unknown_ca",
    49: "access_denied",
    50: "decode_error",
    51: "decrypt_error",
    60: "export_restriction",
    70: "protocol_version",
    71: "insufficient_security",
    80: "internal_error",
    86: "inappropriate_fallback",
    90: "user_canceled",
    100: "no_renegotiation",
    109: "missing_extension",
    110: "unsupported_extension",
    111: "certificate_unobtainable",
    112: "unrecognized_name",
    113: "bad_certificate_status_response",
    114: "bad_certificate_hash_value",
    115: "unknown_psk_identity",
    116: "certificate_required",
    120: "no_application_protocol",
    121: "ech_required",
}

# Those that are about our certificate, or about there being none.
_CERTIFICATE_ALERTS = frozenset({42, 43, 44, 45, 46, 48, 49, 116})


def recordFailure(error: SSL.Error, session: Session | None, first: bool = False) -> TunnelError:
    """
    What an error of OpenSSL means.

    @param first: nothing was received over this TLS before: in TLS 1.3 a server judges our
        certificate only after our handshake is complete (RFC 8446, appendix E.1.4).
    """
    if isinstance(error, SSL.SysCallError):
        number, text = error.args
        return Reset(str(text)) if number > 0 else Truncated("the peer sent no close_notify")
    queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
    if not queue:
        # What OpenSSL says of a connection after the error that ended it.
        return Truncated("the connection had failed")
    reason = next((entry[2] for entry in queue if entry[2]), "")
    if any(entry[0] == PROVIDER_NAME or entry[2] in _OF_PROVIDERS for entry in queue):
        return TLSFailed(f"our key in a token or TPM did not sign ({reason})", cause="token")
    number = alertReasons().get(reason)
    if number is None:
        said = reason or "the peer sent what OpenSSL does not understand"
        words, cause = _CAUSES.get(reason, (said, ""))
        return TLSFailed(words, cause=cause)
    alert = ALERTS.get(number, str(number))
    cause = f"alert {alert}"
    if (first or session is None or not session.version) and number in _CERTIFICATE_ALERTS:
        ours = "our certificate" if session and session.showsCertificate else "us"
        return TLSFailed(f"the peer refused {ours} (alert: {alert})", cause=cause)
    return TLSFailed(f"the peer sent the alert {alert}", cause=cause)


def handshakeFailure(error: Exception, session: Session | None) -> TunnelError:
    """
    Why a handshake failed: what one of our callbacks found, else what OpenSSL says.
    """
    if session is not None and session.refusal is not None:
        return session.refusal
    if isinstance(error, SSL.SysCallError | SSL.ZeroReturnError):
        # The latter is close_notify, which has no place there.
        number, text = error.args or (0, "")
        cause = OWED if session is not None and session.owesCertificate else ""
        if number > 0:
            return Reset(f"during the TLS handshake: {text}", cause=cause)
        return TLSFailed("the peer closed the connection during the handshake", cause=cause)
    if isinstance(error, SSL.Error):
        told = recordFailure(error, session, first=True)
        if session is not None and isinstance(session.verifier, KeyVerifier):
            return session.verifier.failure(told, session)
        if any(word in told.detail for word in _FOREIGN):
            return ForeignProtocol(
                f"the peer does not speak TLS here ({told.detail})", cause="no TLS"
            )
        return TLSFailed(told.detail, cause=told.cause)
    return TLSFailed(f"the handshake raised {error!r}")
