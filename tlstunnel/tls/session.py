"""
What is known of the TLS of one connection.  Its peer is judged by L{tlstunnel.tls.verification}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from time import time
from typing import TYPE_CHECKING

from OpenSSL import SSL, crypto

from tlstunnel.errors import IdentityRefused, TLSFailed, TunnelError
from tlstunnel.identity.names import Identity
from tlstunnel.identity.revocation import OLD
from tlstunnel.tls.belonging import spoil
from tlstunnel.tls.binding import TELLS_ASKED, isResumed, negotiated, peerFingerprint
from tlstunnel.tls.keyverifier import Claim, KeyVerifier
from tlstunnel.tls.resumption import LONGEST_SECONDS, Offer, Server
from tlstunnel.tls.verification import Proof, Verifier, notTheSame

if TYPE_CHECKING:
    from tlstunnel.tls.belonging import Belonging
    from tlstunnel.tls.faces import Face, Faces
    from tlstunnel.tls.messages import Message


class Session:
    """
    What is known of the TLS of one connection.

    @ivar verifier: what judges who is at the other end; C{None} where that may be anybody.
    @ivar chain: the certificates that OpenSSL has accepted so far, by their depth; C{None} once
        they are judged.
    @ivar server: where sessions with this server are kept; C{None} where none are.
    @ivar offers: the session of another, verified connection that is offered for resumption;
        C{None} for none.
    @ivar isAsked: whether the server has asked for our certificate, now or when the session began
        that is resumed; also where that cannot be known (client only).
    @ivar isResumed: whether the peer has agreed to one, so that nothing was verified anew.
    @ivar goodUntil: when the response of OCSP ends that its peer has stapled, if it has to, or the
        session that it resumes, in seconds since 1970: behind that its session is not resumed.
    @ivar faces: who we may be to a client; C{None} where nothing of it is asked.
    @ivar face: who we are, once that is chosen (server only).
    @ivar ours: who we show to be, where that is known to be an identity of ours.
    @ivar bound: who we must be, where the client has said before with whom it wants to speak.
    @ivar isBeside: whether this belongs to another connection, which the client has begun with the
        name that it wants.
    @ivar belonging: what it has in common with that one, or with those that belong to it (server
        only); C{None} where clients cannot prove by resumption that they are the same.
    @ivar givesTickets: whether the client gets what it needs to resume the session later (server
        only).
    @ivar claim: who a client with a pre-shared key says that it is, as long as nothing is proved.
    @ivar sameAs: the L{identity} that it must have, if any: that of another connection.
    @ivar shown: whose certificate the peer has shown, if that is whom we expect; it has not proved
        yet that the key is its own.
    @ivar proof: by what it has shown that; of the earlier connection, where a session is resumed.
    @ivar until: when it has to be verified anew, in seconds since 1970.
    @ivar provenBy: what vouches for that, where it is not the anchors of C{verifier}.
    @ivar identity: who the peer has proved to be, once the handshake is complete.
    @ivar refusal: why the handshake must not succeed, once that is known.
    @ivar hear: is told of each of its messages (L{tlstunnel.tls.messages}), if anything is.
    @ivar version: such as C{TLSv1.3}; like all that follow empty until the handshake is complete.
    @ivar suite: the cipher suite.
    @ivar group: the key agreement.
    @ivar alpn: the protocol agreed on.
    @ivar serverName: the name asked for (server only).
    """

    __slots__ = (
        "alpn",
        "belonging",
        "bound",
        "chain",
        "claim",
        "face",
        "faces",
        "givesTickets",
        "goodUntil",
        "group",
        "hear",
        "identity",
        "isAsked",
        "isBeside",
        "isResumed",
        "offered",
        "offers",
        "ours",
        "proof",
        "provenBy",
        "refusal",
        "requireALPN",
        "sameAs",
        "server",
        "serverName",
        "shown",
        "showsCertificate",
        "suite",
        "until",
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
        self.server: Server | None = None
        self.offers: Offer | None = None
        self.isAsked = not TELLS_ASKED
        self.isResumed = False
        self.proof: Proof | None = None
        self.until = 0.0
        self.faces: Faces | None = None
        self.face: Face | None = None
        self.ours: Identity | None = None
        self.bound: Face | None = None
        self.isBeside = False
        self.belonging: Belonging | None = None
        self.givesTickets = False
        self.goodUntil = inf
        self.claim: Claim | None = None
        self.sameAs: Identity | None = None
        self.shown: Identity | None = None
        self.provenBy = ""
        self.identity: Identity | None = None
        self.refusal: TunnelError | None = None
        self.hear: Callable[[Message], None] | None = None
        self.version = ""
        self.suite = ""
        self.group = ""
        self.alpn = b""
        self.serverName = ""

    @property
    def owesCertificate(self) -> bool:
        """
        Whether the server has asked for a certificate, or may have, and we had none to show.
        """
        return self.isAsked and not self.showsCertificate

    def turn(self, face: Face) -> None:
        """
        We are C{face} to the client, which is judged by that alone.
        """
        self.face = face
        self.ours = face.ours
        self.verifier = face.verifier
        self.chain = None if face.verifier is None else {}
        self.shown = None
        self.offered = face.alpn

    def completed(self, connection: SSL.Connection) -> TunnelError | None:
        """
        The handshake is over: record what it came to.

        @return: why the connection must end nevertheless, if it must; then nothing is proved.
        """
        self.version, self.suite, self.group = negotiated(connection)
        if self.offered:
            self.alpn = connection.get_alpn_proto_negotiated()
        if isinstance(self.verifier, KeyVerifier):
            self.verifier.conclude(self, connection)
        elif self.shown is None and self.refusal is None and isResumed(connection):
            # OpenSSL has called nobody, as it resumed a session that was verified when it began.
            self._judgeResumed(connection)
        elif self.server is not None and self.proof is not None:
            self.until = self._end(self.proof)
        if self.isBeside and self.belonging is not None and self.refusal is None:
            self.refusal = self.belonging.completed(self.isResumed)
            if not self.isResumed:
                # Who has proved nothing shall not do so later by this session.
                spoil(connection)
        refusal = self.refusal or self._remainingRefusal()
        if refusal is None:
            self.identity = self.shown
        return refusal

    def _end(self, proof: Proof) -> float:
        """
        Until when later connections may resume the session of this one, whose peer was verified
        just now, in seconds since 1970.
        """
        assert self.verifier is not None
        known = min(self.goodUntil, self.verifier.goodUntil(proof.leaf))
        return min(proof.until, known, time() + LONGEST_SECONDS)

    def _judgeResumed(self, connection: SSL.Connection) -> None:
        """
        Believe what was proved when the session began, if it is that, and has not ended.
        """
        self.isResumed = True
        if self.verifier is None:
            return
        leaf = peerFingerprint(connection)
        offer = self.offers
        if self.belonging is not None:
            if not leaf and self._mayBeAnybody:
                return
            # What was proved there holds as long as that connection.
            proof = self.belonging.proofOf(leaf)
        elif offer is None:
            # A client's, by a ticket of ours.
            proof = self.verifier.recall(leaf)
        elif leaf == offer.proof.leaf and time() < offer.until:
            proof, self.until = offer.proof, offer.until
            self.isAsked = offer.isAsked
            # That of another one, which does not staple again what it has stapled.
            self.goodUntil = offer.until
        else:
            proof = None
        if proof is None:
            self.refusal = IdentityRefused("what the session was verified by has ended", cause=OLD)
        elif self.belonging is None and self.verifier.goodUntil(leaf) <= time():
            self.refusal = IdentityRefused(
                "what has expired says that the certificate was not revoked", cause=OLD
            )
        elif self.sameAs is not None and proof.identity != self.sameAs:
            self.refusal = notTheSame(proof.identity, self.sameAs)
        else:
            self.proof, self.shown = proof, proof.identity

    @property
    def isOver(self) -> bool:
        """
        Whether nobody resumes its session any more once its connection is closed, so that OpenSSL
        has to forget it.
        """
        return self.belonging is not None and not self.isResumed

    @property
    def _mayBeAnybody(self) -> bool:
        """
        Whether the peer has shown no certificate, and need not: of one, some chain was judged.
        """
        assert self.verifier is not None
        isOpen = self.verifier.isOptional and self.chain == {}
        return isOpen and (not self.isResumed or self.belonging is not None)

    def _remainingRefusal(self) -> TunnelError | None:
        """
        What only shows once the handshake is complete.
        """
        if self.faces is not None and self.face is None:
            return TLSFailed("it was not decided for which name the client came")
        if self.verifier is not None and self.shown is None and not self._mayBeAnybody:
            return IdentityRefused("the peer was not verified")
        if self.alpn and self.offered and self.alpn not in self.offered:
            return TLSFailed("the server chose a protocol that was not offered", self.alpn)
        if self.requireALPN and not self.alpn:
            if self.faces is not None:
                return TLSFailed("the client offers no application protocol (ALPN)")
            return TLSFailed("the server takes no application protocol (ALPN)")
        return None
