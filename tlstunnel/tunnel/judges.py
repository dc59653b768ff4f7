"""
Who judges the peers of a tunnel: by anchors, by keys, or by both; or by keys that both sides were
given beforehand.
"""

from __future__ import annotations

from tlstunnel.identity.access import AccessList
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pins import Pins
from tlstunnel.identity.psk import PresharedKey, loadPSK
from tlstunnel.identity.revocation import Revocations
from tlstunnel.identity.trust import Trust
from tlstunnel.tls import psk
from tlstunnel.tls.binding import CLIENTS
from tlstunnel.tls.context import SSLContext, clientContext
from tlstunnel.tls.keyverifier import KeyVerifier
from tlstunnel.tls.pins import NO_ANCHORS, PinVerifier, demandKey
from tlstunnel.tls.verification import Verifier
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.psk import checkPSK
from tlstunnel.tunnel.trust import TunnelTrust


class Judges:
    """
    Those of one tunnel, as its pool is when this is made.

    @ivar pins: the keys that a peer may have; C{None} for any.
    @ivar byTLSA: whether TLSA records decide first, where there are any.
    @ivar hasAnchors: whether anybody decides where there are none.
    @ivar revocations: the lists of what was revoked; none where anybody may come.
    """

    def __init__(self, tunnel: Tunnel) -> None:
        """
        @raise ConfigurationError: what the tunnel is told to believe cannot be read.
        """
        checkPSK(tunnel)
        self._key: PresharedKey | None = None
        if tunnel.sharesKeys and tunnel.mode is Mode.CLIENT:
            assert tunnel.localID is not None
            self._key = loadPSK(tunnel.pool, tunnel.localID)
        self.pins = Pins.of(tunnel.pins)
        self._trust = TunnelTrust(tunnel)
        self.byTLSA, self.hasAnchors = self._trust.byTLSA, self._trust.hasAnchors
        isOpen = tunnel.isOpen and all(each.remoteID is None for each in tunnel.names)
        isCertified = not (isOpen or tunnel.sharesKeys)
        self.revocations = self._trust.revocations() if isCertified else Revocations()
        self._believesPins = tunnel.believesPins
        self._believesAnchors = tunnel.believesAnchors
        self._resumes = tunnel.resumes
        self._requestsOnly = tunnel.requestsOnly
        self._service = tunnel.dialect.srvService

    def trustIn(self, expected: Identity | Selector | AccessList) -> Trust:
        """
        Whom to believe about C{expected}; nobody is needed where keys decide.

        @raise ConfigurationError: if there are no anchors for it.
        """
        return self._trust.about(expected) if self._believesAnchors else NO_ANCHORS

    def judge(
        self,
        expected: Identity | Selector | AccessList,
        trust: Trust,
        purpose: int,
        isNamed: bool = True,
    ) -> Verifier:
        """
        What judges peers that must be C{expected}.

        @param purpose: see L{Verifier}.
        @param isNamed: whether they must have that name where keys decide.
        """
        if self._key is not None:
            return KeyVerifier(expected, self._key.identity)
        remembers = purpose == CLIENTS and self._resumes
        if self._believesPins:
            assert self.pins is not None
            return PinVerifier(expected, self.pins, isNamed, self._service, remembers)
        return Verifier(
            expected,
            trust,
            self._service,
            purpose,
            pins=self.pins,
            revocations=self.revocations,
            remembers=remembers,
            isOptional=self._requestsOnly,
        )

    def clientContext(
        self,
        trust: Trust,
        credentials: Credentials | None,
        alpn: tuple[bytes, ...],
        minimum: str,
        tickets: bool,
    ) -> SSLContext:
        """
        The context of connections to servers; see L{tlstunnel.tls.context.clientContext}.
        """
        if self._key is not None:
            return psk.clientContext(self._key, minimum, alpn)
        context = clientContext(trust, credentials, alpn, minimum, tickets)
        self.prepare(context)
        return context

    def prepare(self, context: SSLContext) -> None:
        """
        Let a context that demands certificates ask the right one.
        """
        if self._believesPins:
            demandKey(context)
