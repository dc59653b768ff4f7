"""
The judgement on a peer within the handshake, so that one that is not believed gets a fatal alert
and nothing else.

OpenSSL judges the chain, by all anchors that decide about anybody who may be there;
L{tlstunnel.identity.verify} then finds who the peer is; and if not all of these anchors decide
about that identity, those that do have the last word.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from time import time
from typing import TYPE_CHECKING

from cryptography import x509
from OpenSSL import SSL, crypto

from tlstunnel.errors import IdentityRefused
from tlstunnel.identity import revocation
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.ocsp import Answer
from tlstunnel.identity.pem import quietly
from tlstunnel.identity.pins import Pins
from tlstunnel.identity.revocation import Revocations
from tlstunnel.identity.trust import Anchors, Trust
from tlstunnel.identity.verify import verifyIdentity
from tlstunnel.tls import binding
from tlstunnel.tls.chain import printsOf, setVerify
from tlstunnel.tls.complaints import refusalOf
from tlstunnel.tls.stores import believe

if TYPE_CHECKING:
    from tlstunnel.tls.session import Session

#: Chains of which a verifier remembers to whom they belong.
CHAINS_KEPT = 1000

#: Clients of which it remembers what their certificates have proved, where they may resume a
#: session, which has their own certificate and nothing of what it was verified by.
CLIENTS_KEPT = 10_000

#: Authorities between a peer and an anchor.  OpenSSL takes 100, and a chain of these keeps
#: everybody else waiting.
LONGEST_CHAIN = 10

_Codes = SSL.X509VerificationCodes

#: Where OpenSSL accepted what we refuse: the alerts are bad_certificate and unknown_ca.  pyOpenSSL
#: has no name for X509_V_ERRHOSTNAME_MISMATCH.
HOSTNAME_MISMATCH = 62
UNKNOWN_ISSUER = int(_Codes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY)

#: What stands for the refusals of L{tlstunnel.identity.revocation}: the alerts are
#: certificate_revoked, unknown_ca, certificate_expired and bad_certificate.
REVOCATION_ERRORS = {
    revocation.REVOKED: int(_Codes.ERR_CERT_REVOKED),
    revocation.MISSING: int(_Codes.ERR_UNABLE_TO_GET_CRL),
    revocation.OLD: int(_Codes.ERR_CRL_HAS_EXPIRED),
    revocation.EARLY: int(_Codes.ERR_CRL_NOT_YET_VALID),
}


@dataclass(frozen=True, slots=True)
class Proof:
    """
    What a verified chain of certificates has proved.

    @ivar identity: who the peer is.
    @ivar leaf: the fingerprint of its own certificate.
    @ivar until: when that ends, in seconds since 1970: with the first certificate of the chain.
    """

    identity: Identity
    leaf: bytes
    until: float


def endOf(chain: Sequence[x509.Certificate]) -> float:
    """
    When a verified chain has to be verified anew, in seconds since 1970.

    @param chain: the peer's certificate, and those above it up to and with the anchor.
    """
    return min(each.not_valid_after_utc.timestamp() for each in chain)


class _NotByTheseAnchors(IdentityRefused):
    """
    The chain is good, but not for those who decide about this identity.
    """


class Verifier:
    """
    What the connections of a context demand of their peer, and the verdict on it.

    @ivar expected: who must be there.
    @ivar trust: whom to believe about that.
    @ivar isOptional: whether the peer may also show no certificate at all.
    @ivar answers: responses of OCSP that were found to be good.
    """

    def __init__(
        self,
        expected: Identity | Selector | AccessList,
        trust: Trust,
        service: str | None = None,
        purpose: int = binding.SERVERS,
        pins: Pins | None = None,
        revocations: Revocations | None = None,
        remembers: bool = False,
        isOptional: bool = False,
    ) -> None:
        """
        @param service: the service whose SRVNames are names of a domain too.
        @param purpose: what the peer is: C{binding.SERVERS} or C{binding.CLIENTS}.
        @param pins: the keys that it may have besides; L{None} for any.
        @param revocations: the lists of what was revoked.
        @param remembers: whether it has to L{recall} whom it has verified.
        """
        self.expected = expected
        self.trust = trust
        self._service = service
        self.isOptional = isOptional
        self._purpose = purpose
        self._pins = pins
        self._revocations = revocations or None
        self.answers: dict[bytes, Answer] = {}
        # Until when chains, and leaves of such, are known not to be revoked.
        self._standing: dict[bytes, float] = {}
        self._remembers = remembers
        self._verdicts: dict[bytes, Proof] = {}
        self._remembered: OrderedDict[bytes, Proof] = OrderedDict()
        self._contexts: dict[Anchors, SSL.Context] = {}

    def verify(self, chain: Sequence[crypto.X509]) -> Proof:
        """
        Find to whom a chain belongs that OpenSSL has accepted.

        @param chain: the peer's certificate first, the anchor last.
        @raise IdentityRefused: to somebody else, or anchors that do not decide vouch for it.
        """
        # Parsing certificates costs more than all the rest.
        prints = printsOf(chain)
        key = b"".join(prints)
        proof = self._verdicts.get(key)
        if proof is None:
            proof = self._proofOf(chain, self.expected, prints[0])
            if len(self._verdicts) >= CHAINS_KEPT:
                self._verdicts.clear()
            self._verdicts[key] = proof
        decisive = self.trust.anchorsFor(proof.identity)
        if decisive is not self.trust.all:
            proof = self._checkAnchors(proof, chain, decisive)
        if self._revocations is not None:
            self._checkRevoked(self._revocations, key, chain)
        if self._remembers:
            self._remember(proof)
        return proof

    def _checkRevoked(
        self, revocations: Revocations, key: bytes, chain: Sequence[crypto.X509]
    ) -> float:
        """
        Demand that nobody has revoked a certificate of a chain.

        @return: until when that is known, in seconds since 1970.
        """
        now = time()
        until = self._standing.get(key, 0.0)
        if now < until:
            return until
        with quietly():
            certificates = [each.to_cryptography() for each in chain]
        until = revocations.judge(certificates, now, self.trust.all.certificates)
        while len(self._standing) > 2 * CHAINS_KEPT - 2:
            # Not all at once: sessions of those whom nobody knows any more are not resumed.
            del self._standing[next(iter(self._standing))]
        self._standing[key] = self._standing[binding.fingerprint(chain[0])] = until
        return until

    def goodUntil(self, leaf: bytes) -> float:
        """
        Until when a certificate that was verified is known not to be revoked, for connections that
        resume the session of another: then the peer shows no chain that could be judged.

        @param leaf: its fingerprint.
        @return: in seconds since 1970; 0 where nothing is known of it any more.
        """
        if self._revocations is None:
            return inf
        return self._standing.get(leaf, 0)

    def _remember(self, proof: Proof) -> None:
        self._remembered[proof.leaf] = proof
        self._remembered.move_to_end(proof.leaf)
        if len(self._remembered) > CLIENTS_KEPT:
            self._remembered.popitem(last=False)

    def recall(self, leaf: bytes) -> Proof | None:
        """
        What a certificate has proved, when a session began with it that is resumed now.

        @param leaf: its fingerprint.
        @return: C{None} if that is not known any more, or has ended.
        """
        proof = self._remembered.get(leaf)
        if proof is None or proof.until <= time():
            return None
        self._remember(proof)
        return proof

    def _proofOf(
        self,
        chain: Sequence[crypto.X509],
        expected: Identity | Selector | AccessList,
        fingerprint: bytes,
    ) -> Proof:
        with quietly():
            leaf, *authorities = certificates = [each.to_cryptography() for each in chain]
        self.checkKey(leaf)
        identity = verifyIdentity(leaf, expected, self._service, authorities)
        return Proof(identity, fingerprint, endOf(certificates))

    def checkKey(self, leaf: x509.Certificate) -> None:
        """
        Demand that the peer's own certificate has a key that is pinned, where keys are.

        @raise IdentityRefused: it has another.
        """
        if self._pins is not None:
            self._pins.check(leaf)

    def _checkAnchors(self, proof: Proof, chain: Sequence[crypto.X509], decisive: Anchors) -> Proof:
        """
        Demand that those who decide about this identity vouch for the chain.

        @return: what is proved by their word.
        """
        identity = proof.identity
        with quietly():
            if chain[-1].to_cryptography() in decisive.certificates:
                return proof
        try:
            store = self._storeOf(decisive)
            judged = crypto.X509StoreContext(store, chain[0], chain[1:])
            # It may have come to other authorities, which may have name constraints.
            decided = judged.get_verified_chain()
            found = self._proofOf(decided, identity, proof.leaf)
            if self._revocations is not None:
                key = b"".join(map(binding.fingerprint, decided))
                self._checkRevoked(self._revocations, key, decided)
            return found
        except Exception as error:  # noqa: BLE001 - whatever happens, the peer is not believed
            reason = error.args[0] if isinstance(error, crypto.X509StoreContextError) else error
            raise _NotByTheseAnchors(
                f"the certificate is for {identity}, about whom only {decisive.source} decides, "
                f"and not by an anchor there ({reason})",
                cause="unknown CA",
            ) from None

    def _storeOf(self, anchors: Anchors) -> crypto.X509Store:
        """
        A store with C{anchors} alone.
        """
        # It lives as long as its context.
        context = self._contexts.get(anchors)
        if context is None:
            context = SSL.Context(SSL.TLS_METHOD)
            believe(context, anchors, self._purpose)
            self._contexts[anchors] = context
        store = context.get_cert_store()
        assert store is not None
        return store


def demandCertificate(context: SSL.Context, trust: Trust, isOptional: bool = False) -> None:
    """
    Let the connections of a context demand a certificate, and judge it by their session.

    @param isOptional: whether they go on where there is none.
    """
    believe(context, trust.all)
    setVerify(context, verifyPeer, codeOf, isOptional, judgeChain)


def codeOf(connection: SSL.Connection) -> int:
    """
    The error of X509_verify_cert(3) that stands for a refusal of ours.
    """
    session: Session = connection.get_app_data()
    refusal = session.refusal
    if isinstance(refusal, _NotByTheseAnchors):
        return UNKNOWN_ISSUER
    cause = "" if refusal is None else refusal.cause
    return REVOCATION_ERRORS.get(cause, HOSTNAME_MISMATCH)


def notTheSame(shown: Identity, before: Identity) -> IdentityRefused:
    """
    Why a peer is refused that should be that of another connection.
    """
    return IdentityRefused(f"the peer is {shown}, and not {before} as before")


def verifyPeer(
    connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, ok: int
) -> bool:
    """
    OpenSSL's verify callback: called for each certificate, the peer's own (depth 0) last.
    """
    session: Session = connection.get_app_data()
    try:
        verifier = session.verifier
        assert verifier is not None
        if not ok:
            source = verifier.trust.all.source
            session.refusal = refusalOf(code, certificate, depth, source)
            return False
        seen = session.chain
        assert seen is not None
        seen[depth] = certificate
        return depth > 0 or judgeChain(connection, [seen[number] for number in range(len(seen))])
    except Exception as error:  # noqa: BLE001 - whatever happens, the peer is not believed
        session.refusal = _unjudged(error)
    return False


def judgeChain(connection: SSL.Connection, chain: Sequence[crypto.X509]) -> bool:
    """
    Whether the peer is who it has to be, as OpenSSL has accepted its C{chain}: once a connection.
    """
    session: Session = connection.get_app_data()
    try:
        verifier = session.verifier
        assert verifier is not None and session.chain is not None
        proof = verifier.verify(chain)
        session.proof, session.shown = proof, proof.identity
        if session.sameAs is not None and session.shown != session.sameAs:
            session.refusal = notTheSame(session.shown, session.sameAs)
            return False
        session.chain = None  # whatever else came would be a refusal
        return True
    except IdentityRefused as refusal:
        session.refusal = refusal
    except Exception as error:  # noqa: BLE001 - whatever happens, the peer is not believed
        session.refusal = _unjudged(error)
    return False


def _unjudged(error: Exception) -> IdentityRefused:
    return IdentityRefused(f"the certificate could not be judged: {error!r}")
