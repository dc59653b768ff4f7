"""
What is known of the TLS of one connection, and the judgement on its peer.

The chain is judged by OpenSSL, the identity by L{tlstunnel.identity.verify}, both within the
handshake, so that a peer that is not believed gets a fatal alert and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from sys import intern

from OpenSSL import SSL, crypto

from tlstunnel.errors import IdentityRefused, TLSFailed, TunnelError
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.verify import verifyIdentity

# X509_V_ERR_EE_KEY_TOO_SMALL, which pyOpenSSL has no name for.
_KEY_TOO_SMALL = 66

# What X509_verify_cert(3) says most often, in words for an administrator.
_VERIFY_ERRORS = {
    SSL.X509VerificationCodes.ERR_CERT_HAS_EXPIRED: "the certificate has expired",
    SSL.X509VerificationCodes.ERR_CERT_NOT_YET_VALID: "the certificate is not yet valid",
    SSL.X509VerificationCodes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: (
        "the certificate is self-signed, and no anchor"
    ),
    SSL.X509VerificationCodes.ERR_SELF_SIGNED_CERT_IN_CHAIN: "the chain ends in an unknown CA",
    SSL.X509VerificationCodes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: (
        "the issuer is unknown, or an intermediate certificate is missing"
    ),
    SSL.X509VerificationCodes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: "the issuer is unknown",
    SSL.X509VerificationCodes.ERR_CERT_SIGNATURE_FAILURE: "a signature in the chain is wrong",
    SSL.X509VerificationCodes.ERR_INVALID_CA: "an issuer in the chain is not a CA",
    SSL.X509VerificationCodes.ERR_INVALID_PURPOSE: "the certificate is not for this purpose",
    SSL.X509VerificationCodes.ERR_PATH_LENGTH_EXCEEDED: "the chain is longer than its CA permits",
    SSL.X509VerificationCodes.ERR_CERT_REVOKED: "the certificate was revoked",
    SSL.X509VerificationCodes.ERR_KEYUSAGE_NO_CERTSIGN: "an issuer may not sign certificates",
    SSL.X509VerificationCodes.ERR_UNHANDLED_CRITICAL_EXTENSION: (
        "a certificate has a critical extension that nobody knows"
    ),
    SSL.X509VerificationCodes.ERR_PERMITTED_VIOLATION: (
        "a name constraint of its CA is violated: not permitted"
    ),
    SSL.X509VerificationCodes.ERR_EXCLUDED_VIOLATION: (
        "a name constraint of its CA is violated: excluded"
    ),
    _KEY_TOO_SMALL: "a key in the chain is too weak",
}


class Session:
    """
    What is known of the TLS of one connection.

    @ivar expected: who must be at the other end; C{None} where nobody in particular need be.
    @ivar service: the dialect's service name, for SRV-IDs.
    @ivar resumes: whether the session of another, verified connection is offered for resumption.
    @ivar sameAs: the L{identity} that it must have, if any: that of another connection.
    @ivar shown: whose certificate the peer has shown, if that is whom we expect; it has not proved
        yet that the key is its own.
    @ivar identity: who the peer has proved to be, once the handshake is complete.
    @ivar refusal: why the handshake must not succeed, once that is known.
    @ivar version: such as C{TLSv1.3}; like all that follow empty until the handshake is complete.
    @ivar suite: the cipher suite.
    @ivar group: the key agreement.
    @ivar alpn: the protocol agreed on.
    @ivar serverName: the name asked for (server only).
    """

    __slots__ = (
        "alpn",
        "expected",
        "group",
        "identity",
        "offered",
        "refusal",
        "requireALPN",
        "resumes",
        "sameAs",
        "serverName",
        "service",
        "shown",
        "showsCertificate",
        "suite",
        "version",
    )

    def __init__(
        self,
        expected: Identity | Selector | None,
        service: str | None,
        offered: Sequence[bytes] = (),
        showsCertificate: bool = False,
        requireALPN: bool = False,
    ) -> None:
        self.expected = expected
        self.service = service
        self.offered = offered
        self.showsCertificate = showsCertificate
        self.requireALPN = requireALPN
        self.resumes = False
        self.sameAs: Identity | None = None
        self.shown: Identity | None = None
        self.identity: Identity | None = None
        self.refusal: TunnelError | None = None
        self.version = ""
        self.suite = ""
        self.group = ""
        self.alpn = b""
        self.serverName = ""

    def completed(self, connection: SSL.Connection) -> TunnelError | None:
        """
        The handshake is over: record what it came to.

        @return: why the connection must end nevertheless, if it must; then nothing is proved.
        """
        # Few values, many connections: each is kept once.
        self.version = intern(connection.get_protocol_version_name())
        self.suite = intern(connection.get_cipher_name() or "")
        self.group = intern(connection.get_group_name() or "")
        if self.offered:
            self.alpn = connection.get_alpn_proto_negotiated()
        if self.resumes and self.shown is None and self.refusal is None:
            self._judgeResumed(connection)
        refusal = self.refusal or self._remainingRefusal()
        if refusal is None:
            self.identity = self.shown
        return refusal

    def _remainingRefusal(self) -> TunnelError | None:
        """
        What only shows once the handshake is complete.
        """
        if self.expected is not None and self.shown is None:
            return IdentityRefused("the peer was not verified")
        if self.sameAs is not None and self.shown != self.sameAs:
            return IdentityRefused(f"the peer is {self.shown}, and not {self.sameAs} as before")
        if self.alpn and self.offered and self.alpn not in self.offered:
            return TLSFailed("the server chose a protocol that was not offered", self.alpn)
        if self.requireALPN and not self.alpn:
            return TLSFailed("the client offers no application protocol (ALPN)")
        return None

    def _judgeResumed(self, connection: SSL.Connection) -> None:
        """
        Judge a peer for which OpenSSL called no L{_verify}: it resumed the session that we offered,
        whose chain was verified when it began, and whose keys only its peer has.
        """
        certificate = connection.get_peer_certificate(as_cryptography=True)
        if certificate is None or self.expected is None:
            self.refusal = IdentityRefused("a session without a certificate was resumed")
            return
        try:
            self.shown = verifyIdentity(certificate, self.expected, self.service)
        except IdentityRefused as refusal:
            self.refusal = refusal


def verifyPeer(
    connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, ok: int
) -> bool:
    """
    OpenSSL's verify callback: called for each certificate, the peer's own (depth 0) last.
    """
    session: Session = connection.get_app_data()
    try:
        if not ok:
            reason = _VERIFY_ERRORS.get(code, f"certificate verification failed (code {code})")
            session.refusal = IdentityRefused(f"{reason} (at depth {depth})")
            return False
        if depth == 0:
            assert session.expected is not None
            session.shown = verifyIdentity(
                certificate.to_cryptography(), session.expected, session.service
            )
        return True
    except IdentityRefused as refusal:
        session.refusal = refusal
    except Exception as error:  # noqa: BLE001 - whatever happens, the peer is not believed
        session.refusal = IdentityRefused(f"the certificate could not be judged: {error!r}")
    return False
