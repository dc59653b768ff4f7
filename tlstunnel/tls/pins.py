"""
The judgement on a peer by its key alone, where keys are pinned instead of anchors.

OpenSSL builds the chain, and knows no anchor; that nobody whom it knows stands for the peer is no
error here, and what is above the peer's own certificate counts for nothing.  All else that OpenSSL
holds against that one is: its dates, its purpose, a key that is too weak.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from OpenSSL import SSL, crypto

from tlstunnel.errors import IdentityRefused
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pem import quietly
from tlstunnel.identity.pins import Pins
from tlstunnel.identity.trust import NOBODY, Trust
from tlstunnel.identity.verify import verifyIdentity
from tlstunnel.tls import binding
from tlstunnel.tls.chain import setVerify
from tlstunnel.tls.complaints import UNKNOWN, refusalOf
from tlstunnel.tls.verification import Proof, Verifier, codeOf, endOf, notTheSame

if TYPE_CHECKING:
    from tlstunnel.tls.session import Session

#: The trust of contexts whose peers are judged by their keys.
NO_ANCHORS = Trust(NOBODY)


class PinVerifier(Verifier):
    """
    Demands one of several keys.

    Whoever shows it is known by the key, and never by a name, for which nobody has vouched.
    """

    def __init__(
        self,
        expected: Identity | Selector | AccessList,
        pins: Pins,
        isNamed: bool,
        service: str | None = None,
        remembers: bool = False,
    ) -> None:
        """
        @param expected: who must be there.
        @param isNamed: whether the certificate must have that name besides.
        @param service: the service whose SRVNames are names of a domain too.
        @param remembers: whether it has to L{recall} whom it has verified.
        """
        super().__init__(expected, NO_ANCHORS, service, pins=pins, remembers=remembers)
        self._keys = pins
        self._isNamed = isNamed

    def judge(self, shown: crypto.X509) -> Proof:
        """
        Find out whose key it is.

        @raise IdentityRefused: nobody's who is expected.
        """
        with quietly():
            leaf = shown.to_cryptography()
        key = self._keys.check(leaf)
        if self._isNamed:
            verifyIdentity(leaf, self.expected, self._service)
        proof = Proof(key, binding.fingerprint(shown), endOf([leaf]))
        if self._remembers:
            self._remember(proof)
        return proof


def demandKey(context: SSL.Context) -> None:
    """
    Let the connections of a context demand a certificate, and their L{PinVerifier} judge it.
    """
    setVerify(context, verifyKey, codeOf)


def verifyKey(
    connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, ok: int
) -> bool:
    """
    OpenSSL's verify callback: called for each error, and then for each certificate, the peer's own
    (depth 0) last.
    """
    session: Session = connection.get_app_data()
    if session.refusal is not None:
        return False
    if depth or (not ok and code in UNKNOWN):
        return True
    try:
        verifier = session.verifier
        assert isinstance(verifier, PinVerifier)
        if not ok:
            session.refusal = refusalOf(code, certificate, depth, "the pinned keys")
            return False
        session.proof = proof = verifier.judge(certificate)
        session.shown = proof.identity
        if session.sameAs is not None and session.shown != session.sameAs:
            session.refusal = notTheSame(session.shown, session.sameAs)
        return session.refusal is None
    except IdentityRefused as refusal:
        session.refusal = refusal
    except Exception as error:  # noqa: BLE001 - whatever happens, the peer is not believed
        session.refusal = IdentityRefused(f"the certificate could not be judged: {error!r}")
    return False
