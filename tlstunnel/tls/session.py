"""
What is known of the TLS of one connection.  Its peer is judged by L{tlstunnel.tls.verification}.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from time import time

from cryptography import x509
from OpenSSL import SSL, crypto

from tlstunnel.errors import IdentityRefused, TLSFailed, TunnelError
from tlstunnel.identity.names import Identity
from tlstunnel.identity.revocation import OLD
from tlstunnel.tls.binding import negotiated
from tlstunnel.tls.verification import Verifier


class Session:
    """
    What is known of the TLS of one connection.

    @ivar verifier: what judges who is at the other end; C{None} where that may be anybody.
    @ivar chain: the certificates that OpenSSL has accepted so far, by their depth; C{None} once
        they are judged.
    @ivar resumes: whose certificate a resumed session must have, and who that is: the session of
        another, verified connection is offered for resumption; C{None} for none.
    @ivar goodUntil: when the response of OCSP ends that its peer has stapled, if it has to, in
        seconds since 1970: behind that its session is not resumed.
    @ivar sameAs: the L{identity} that it must have, if any: that of another connection.
    @ivar shown: whose certificate the peer has shown, if that is whom we expect; it has not proved
        yet that the key is its own.
    @ivar provenBy: what vouches for that, where it is not the anchors of C{verifier}.
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
        "chain",
        "goodUntil",
        "group",
        "identity",
        "offered",
        "provenBy",
        "refusal",
        "requireALPN",
        "resumes",
        "sameAs",
        "serverName",
        "shown",
        "showsCertificate",
        "suite",
        "verifier",
        "version",
    )

    def __init__(
        self,
        verifier: Verifier | None,
        offered: Sequence[bytes] = (),
        showsCertificate: bool = False,
        requireALPN: bool = False,
    ) -> None:
        self.verifier = verifier
        self.chain: dict[int, crypto.X509] | None = None if verifier is None else {}
        self.offered = offered
        self.showsCertificate = showsCertificate
        self.requireALPN = requireALPN
        self.resumes: tuple[x509.Certificate, Identity] | None = None
        self.goodUntil = inf
        self.sameAs: Identity | None = None
        self.shown: Identity | None = None
        self.provenBy = ""
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
        self.version, self.suite, self.group = negotiated(connection)
        if self.offered:
            self.alpn = connection.get_alpn_proto_negotiated()
        if self.resumes is not None and self.shown is None and self.refusal is None:
            # OpenSSL has called nobody, as it resumed a session that was verified when it began.
            certificate, identity = self.resumes
            if connection.get_peer_certificate(as_cryptography=True) == certificate:
                self._resume(connection, identity)
        refusal = self.refusal or self._remainingRefusal()
        if refusal is None:
            self.identity = self.shown
        return refusal

    def _resume(self, connection: SSL.Connection, identity: Identity) -> None:
        """
        Take the peer of a session that is resumed for who it was, unless that is too long ago.
        """
        shown = connection.get_peer_certificate()
        assert self.verifier is not None and shown is not None
        if time() < min(self.goodUntil, self.verifier.goodUntil(shown)):
            self.shown = identity
        else:
            self.refusal = IdentityRefused(
                "what has expired says that the certificate was not revoked", cause=OLD
            )

    def _remainingRefusal(self) -> TunnelError | None:
        """
        What only shows once the handshake is complete.
        """
        if self.verifier is not None and self.shown is None:
            return IdentityRefused("the peer was not verified")
        if self.alpn and self.offered and self.alpn not in self.offered:
            return TLSFailed("the server chose a protocol that was not offered", self.alpn)
        if self.requireALPN and not self.alpn:
            return TLSFailed("the client offers no application protocol (ALPN)")
        return None
