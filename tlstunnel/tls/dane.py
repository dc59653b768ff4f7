"""
The judgement on a server by the TLSA records of its domain (DANE: RFC 6698, RFC 7671).

OpenSSL builds the chain here and accepts everybody, as its context has no anchors, and knows
nothing of DANE; all is decided by what the records say, at the server's own certificate.  Until
then, and wherever that is not reached, nobody is believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from OpenSSL import SSL, crypto

from tlstunnel.errors import IdentityRefused, quote
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pem import quietly
from tlstunnel.identity.pins import Pins
from tlstunnel.identity.pool import Credentials
from tlstunnel.identity.revocation import Revocations
from tlstunnel.identity.tlsa import TLSA, TLSARecords
from tlstunnel.identity.trust import NOBODY, Anchors, Trust
from tlstunnel.identity.verify import verifyIdentity
from tlstunnel.tls import binding
from tlstunnel.tls.chain import setVerify
from tlstunnel.tls.context import clientContext
from tlstunnel.tls.verification import (
    CHAINS_KEPT,
    HOSTNAME_MISMATCH,
    LONGEST_CHAIN,
    REVOCATION_ERRORS,
    UNKNOWN_ISSUER,
    Proof,
    Verifier,
    endOf,
)

if TYPE_CHECKING:
    from tlstunnel.tls.session import Session

# As OpenSSL's security level 2 has it, in bits (SSL_CTX_set_security_level(3)).
_LEAST_FACTORED, _LEAST_CURVE, _LEAST_DIGEST = 2048, 224, 224


class TLSAVerifier(Verifier):
    """
    What the connections to one server demand, while its domain has the same records.
    """

    def __init__(
        self,
        expected: Identity,
        records: TLSARecords,
        service: str | None = None,
        pins: Pins | None = None,
        revocations: Revocations | None = None,
    ) -> None:
        """
        @param expected: who must be there.
        @param records: those of it that count.
        @param service: the service whose SRVNames are names of a domain too.
        @param pins: the keys that it may have besides; L{None} for any.
        @param revocations: the lists of what the authorities have revoked that records are about.
        """
        trust = Trust(Anchors((), False, str(records)))
        super().__init__(expected, trust, service, pins=pins, revocations=revocations)
        self._expected = expected
        self._records = records
        self._ofServer = [each for each in records.records if each.isOfServer]
        self._ofAuthority = [each for each in records.records if not each.isOfServer]
        self._matched: dict[bytes, TLSA] = {}

    def judge(self, leaf: crypto.X509, shown: Sequence[x509.Certificate]) -> str:
        """
        Demand that a record vouches for a certificate.

        @param leaf: the server's own.
        @param shown: all that it has shown, with C{leaf}.
        @return: which record does, for people to read.
        @raise IdentityRefused: none.
        """
        # Parsing certificates costs more than all the rest; dates do not count for these records.
        key = binding.fingerprint(leaf)
        found = self._matched.get(key)
        if found is None:
            found = self._matchLeaf(leaf)
            if found is not None:
                if len(self._matched) >= CHAINS_KEPT:
                    self._matched.clear()
                self._matched[key] = found
            else:
                found = self._matchAuthority(leaf, shown)
        return f"TLSA {found} of {self._records.name}"

    def goodUntil(self, leaf: bytes) -> float:
        """
        See L{Verifier.goodUntil}: what its domain vouches for itself, it revokes there.
        """
        return inf if leaf in self._matched else super().goodUntil(leaf)

    def proofOf(self, leaf: crypto.X509, shown: Sequence[x509.Certificate]) -> Proof:
        """
        What is proved by a certificate that was judged to be good.
        """
        fingerprint = binding.fingerprint(leaf)
        until = inf if fingerprint in self._matched else endOf(shown)
        return Proof(self._expected, fingerprint, until)

    def _matchLeaf(self, leaf: crypto.X509) -> TLSA | None:
        with quietly():
            certificate = leaf.to_cryptography()
        found = next((each for each in self._ofServer if each.matches(certificate)), None)
        if found is not None:
            _demandStrength(certificate)
            self.checkKey(certificate)
        return found

    def _matchAuthority(self, leaf: crypto.X509, shown: Sequence[x509.Certificate]) -> TLSA:
        """
        Let the authorities that match be anchors, and nobody else, and judge the chain by them
        (RFC 7671, section 5.2).
        """
        anchors: dict[x509.Certificate, TLSA] = {}
        for record in self._ofAuthority:
            whole = record.authority
            candidates = shown[1:] if whole is None else [whole]
            anchors |= {each: record for each in candidates if record.matches(each)}
        if not anchors:
            raise IdentityRefused(
                f"no certificate that the server shows is that of {self._records}", cause="no match"
            )
        if len(shown) > LONGEST_CHAIN + 2:
            raise IdentityRefused("the chain has too many authorities")
        store = crypto.X509Store()
        for each in anchors:
            store.add_cert(crypto.X509.from_cryptography(each))
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        binding.setPurpose(store, binding.SERVERS)
        others = [crypto.X509.from_cryptography(each) for each in shown[1:]]
        try:
            verified = crypto.X509StoreContext(store, leaf, others).get_verified_chain()
        except crypto.X509StoreContextError as error:
            raise IdentityRefused(
                f"the chain to the authority of {self._records} is not good: {error}",
                cause="no match",
            ) from None
        with quietly():
            certificate, *authorities = (each.to_cryptography() for each in verified)
        verifyIdentity(certificate, self._expected, self._service, authorities)
        self.checkKey(certificate)
        if self._revocations is not None:
            self._checkRevoked(
                self._revocations, b"".join(map(binding.fingerprint, verified)), verified
            )
        for each in (certificate, *authorities):
            _demandStrength(each)
        for each in (certificate, *authorities[:-1]):
            _demandDigest(each)
        return anchors[(certificate, *authorities)[-1]]


def _demandStrength(certificate: x509.Certificate) -> None:
    """
    @raise IdentityRefused: others could have the same key.
    """
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey | dsa.DSAPublicKey):
        isStrong = key.key_size >= _LEAST_FACTORED
    else:
        isStrong = not isinstance(key, ec.EllipticCurvePublicKey) or key.key_size >= _LEAST_CURVE
    if not isStrong:
        raise IdentityRefused(f"the key of {_named(certificate)} is too weak")


def _demandDigest(certificate: x509.Certificate) -> None:
    """
    @raise IdentityRefused: others could have made the same signature.
    """
    algorithm = certificate.signature_hash_algorithm
    if algorithm is not None and algorithm.digest_size * 8 < _LEAST_DIGEST:
        raise IdentityRefused(
            f"the signature of {_named(certificate)} is too weak (SHA-1 or older)"
        )


def _named(certificate: x509.Certificate) -> str:
    return quote(certificate.subject.rfc4514_string().encode())


def tlsaContext(
    credentials: Credentials | None = None,
    alpn: Sequence[bytes] = (),
    minimum: str = "1.2",
    tickets: bool = False,
) -> SSL.Context:
    """
    The context of connections to servers that a L{TLSAVerifier} judges; see L{clientContext}.
    """
    context = clientContext(Trust(NOBODY), credentials, alpn, minimum, tickets)
    setVerify(context, verifyServer, _codeOf)
    return context


def _codeOf(connection: SSL.Connection) -> int:
    session: Session = connection.get_app_data()
    cause = "" if session.refusal is None else session.refusal.cause
    if cause in ("wrong name", "no name"):
        return HOSTNAME_MISMATCH
    return REVOCATION_ERRORS.get(cause, UNKNOWN_ISSUER)


def verifyServer(
    connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, ok: int
) -> bool:
    """
    OpenSSL's verify callback: called for each error, and then for each certificate, the server's
    own (depth 0) last.  Of errors OpenSSL finds at least one, as it knows no anchor.
    """
    session: Session = connection.get_app_data()
    if session.refusal is not None:
        return False
    if not ok or depth:
        return True
    try:
        verifier = session.verifier
        assert isinstance(verifier, TLSAVerifier)
        with quietly():
            shown = connection.get_peer_cert_chain(as_cryptography=True) or []
            session.provenBy = verifier.judge(certificate, shown)
            session.proof = verifier.proofOf(certificate, shown)
        assert isinstance(verifier.expected, Identity)
        session.shown = verifier.expected
        return True
    except IdentityRefused as refusal:
        session.refusal = refusal
    except Exception as error:  # noqa: BLE001 - whatever happens, the server is not believed
        session.refusal = IdentityRefused(f"the certificate could not be judged: {error!r}")
    return False
