"""
What an error of OpenSSL means, as one of our own errors.
"""

from __future__ import annotations

from OpenSSL import SSL

from tlstunnel.errors import ForeignProtocol, Reset, TLSFailed, Truncated, TunnelError
from tlstunnel.tls.session import Session

# What a peer that speaks no TLS looks like to OpenSSL.
_FOREIGN = ("http request", "https proxy request", "wrong version number", "packet length too long")

_CERTIFICATE_ALERTS = (
    "bad certificate",
    "unsupported certificate",
    "certificate revoked",
    "certificate expired",
    "certificate unknown",
    "unknown ca",
    "access denied",
    "certificate required",
)


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
    reasons = [entry[2] for entry in queue if entry[2]]
    if not reasons:
        # What OpenSSL says of a connection after the error that ended it.
        return Truncated("the connection had failed")
    reason = reasons[0]
    if "alert" in reason:
        alert = reason.split("alert ")[-1]
        if (first or session is None or not session.version) and alert in _CERTIFICATE_ALERTS:
            ours = "our certificate" if session and session.showsCertificate else "us"
            return TLSFailed(f"the peer refused {ours} (alert: {alert})")
        return TLSFailed(f"the peer sent the alert {alert!r}")
    return TLSFailed(reason)


def handshakeFailure(error: Exception, session: Session | None) -> TunnelError:
    """
    Why a handshake failed: what one of our callbacks found, else what OpenSSL says.
    """
    if session is not None and session.refusal is not None:
        return session.refusal
    if isinstance(error, SSL.SysCallError):
        number, text = error.args
        if number > 0:
            return Reset(f"during the TLS handshake: {text}")
        return TLSFailed("the peer closed the connection during the handshake")
    if isinstance(error, SSL.Error):
        told = recordFailure(error, session, first=True)
        if any(word in told.detail for word in _FOREIGN):
            return ForeignProtocol(f"the peer does not speak TLS here ({told.detail})")
        return TLSFailed(told.detail)
    return TLSFailed(f"the handshake raised {error!r}")
