"""
What a client tunnel makes its connections to servers with: a creator for each server that is
expected, where the app says which, and for each identity that we show there.
"""

from __future__ import annotations

from cryptography import x509

from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.names import Identity, Kind
from tlstunnel.identity.tlsa import TLSARecords
from tlstunnel.identity.trust import Anchors, Trust
from tlstunnel.tls.binding import SERVERS
from tlstunnel.tls.context import SSLContext
from tlstunnel.tls.creators import ClientCreator, Creator
from tlstunnel.tls.dane import TLSAVerifier, tlsaContext
from tlstunnel.tls.keylog import KeyLog
from tlstunnel.tls.resumption import Sessions
from tlstunnel.tls.staple import demand
from tlstunnel.tunnel.description import Tunnel
from tlstunnel.tunnel.expected import hostOfRemote
from tlstunnel.tunnel.judges import Judges
from tlstunnel.tunnel.showing import Showing

#: Creators that are kept at the same time.
CREATORS_KEPT = 1000

#: Contexts that are kept, each of which may have all anchors of the system in it.
CONTEXTS_KEPT = 100

_Protocols = tuple[bytes, ...]

# Whom we show; nobody, where that is empty.
_Shown = tuple[x509.Certificate, ...]


class ClientCreators:
    """
    Those of one tunnel.
    """

    def __init__(
        self, tunnel: Tunnel, judges: Judges, showing: Showing, keyLog: KeyLog | None
    ) -> None:
        """
        @param judges: who judges the servers.
        @param showing: who we are to them.
        @param keyLog: writes down the secrets of the connections, if anything does.
        """
        self._tunnel = tunnel
        self._judges = judges
        self._showing = showing
        self._keyLog = keyLog
        self._contexts: dict[tuple[Anchors, _Protocols, _Shown], SSLContext] = {}
        self._creators: dict[tuple[Identity, _Protocols | None, _Shown], tuple[Creator, Trust]] = {}
        self._byTLSA: dict[tuple[Identity, TLSARecords, _Shown], Creator] = {}
        self._tlsaContexts: dict[_Shown, SSLContext] = {}
        self._sessions = Sessions() if tunnel.resumes else None

    @property
    def contexts(self) -> int:
        """
        How many contexts there are.
        """
        return len(self._contexts)

    def creatorFor(
        self, expected: Identity, offered: _Protocols, demanded: _Protocols | None
    ) -> tuple[Creator, Trust]:
        """
        What makes TLS to a server that must be C{expected}, and who is believed about it.

        @param offered: the ids to offer.
        @param demanded: those to offer instead, of which the server has to take one.
        @raise ConfigurationError: if there are no anchors for it, or it cannot be found out who we
            are there.
        """
        shown = self._showing.to(expected)
        key = expected, demanded, _certificatesOf(shown)
        found = self._creators.get(key)
        if found is None:
            if len(self._creators) >= CREATORS_KEPT:
                self._creators.clear()
            found = self._creator(expected, offered, demanded, shown)
            self._creators[key] = found
        return found

    def _creator(
        self,
        expected: Identity,
        offered: _Protocols,
        demanded: _Protocols | None,
        shown: Credentials | None,
    ) -> tuple[Creator, Trust]:
        tunnel = self._tunnel
        offered = offered if demanded is None else demanded
        trust = self._judges.trustIn(expected)
        isElsewhere = expected.kind in {Kind.WORKLOAD, Kind.KEY}
        creator = ClientCreator(
            self._context(trust, offered, shown),
            self._judges.judge(expected, trust, SERVERS, tunnel.isNamed),
            offered,
            _identityOf(shown),
            hostOfRemote(tunnel.remote) if isElsewhere else None,
            tunnel.requireStaple,
            self._sessions,
            requireALPN=bool(demanded),
            checks=self._showing.check,
        )
        return creator, trust

    def _context(self, trust: Trust, offered: _Protocols, shown: Credentials | None) -> SSLContext:
        tunnel = self._tunnel
        key = trust.all, offered, _certificatesOf(shown)
        context = self._contexts.get(key)
        if context is None:
            if len(self._contexts) >= CONTEXTS_KEPT:
                # They would live on in what was made with them.
                self._contexts.clear()
                self._creators.clear()
            context = self._contexts[key] = self._judges.clientContext(
                trust,
                shown,
                offered,
                tunnel.minimum,
                tickets=tunnel.resumes or tunnel.dialect.opensChannels,
            )
            if self._keyLog is not None:
                self._keyLog.use(context)
            if tunnel.requireStaple:
                demand(context)
        return context

    def creatorByTLSA(
        self, expected: Identity, records: TLSARecords, offered: _Protocols
    ) -> Creator:
        """
        What makes TLS to a server that must be C{expected}, by these records of it.

        @raise ConfigurationError: if it cannot be found out who we are there.
        """
        shown = self._showing.to(expected)
        key = expected, records, _certificatesOf(shown)
        creator = self._byTLSA.get(key)
        if creator is None:
            context = self._tlsaContext(offered, shown)
            if len(self._byTLSA) >= CREATORS_KEPT:
                self._byTLSA.clear()
            verifier = TLSAVerifier(
                expected,
                records,
                self._tunnel.dialect.srvService,
                self._judges.pins,
                self._judges.revocations,
            )
            creator = self._byTLSA[key] = ClientCreator(
                context, verifier, offered, _identityOf(shown), checks=self._showing.check
            )
        return creator

    def _tlsaContext(self, offered: _Protocols, shown: Credentials | None) -> SSLContext:
        key = _certificatesOf(shown)
        context = self._tlsaContexts.get(key)
        if context is None:
            if len(self._tlsaContexts) >= CONTEXTS_KEPT:
                self._tlsaContexts.clear()
                self._byTLSA.clear()
            context = self._tlsaContexts[key] = tlsaContext(
                shown,
                offered,
                self._tunnel.minimum,
                tickets=self._tunnel.dialect.opensChannels,
            )
            if self._keyLog is not None:
                self._keyLog.use(context)
        return context


def _certificatesOf(shown: Credentials | None) -> _Shown:
    return () if shown is None else shown.certificates


def _identityOf(shown: Credentials | None) -> Identity | None:
    return None if shown is None else shown.identity
