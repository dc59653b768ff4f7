"""
How the description of a tunnel becomes what its connections are made with.

Here keys and trust are read, and no name is looked up.  What is wrong is a L{ConfigurationError}.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from copy import copy
from dataclasses import replace
from functools import partial
from time import time

from cryptography import x509

from tlstunnel.address import SRVAddress, TCPAddress
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.lease import Lease, checkTime
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.tlsa import TLSARecords
from tlstunnel.identity.trust import Trust
from tlstunnel.identity.withdrawal import WithdrawnIdentity
from tlstunnel.net.via import Login, readLogin
from tlstunnel.protocols.setting import Setting
from tlstunnel.tls import separation
from tlstunnel.tls.creators import Creator, ServerCreator
from tlstunnel.tls.keycheck import examining
from tlstunnel.tls.keylog import KeyLog
from tlstunnel.tls.staple import Staple
from tlstunnel.tunnel.bridge import OF_CONNECTED, about, checkBridge, keysOf
from tlstunnel.tunnel.clientcreators import ClientCreators
from tlstunnel.tunnel.description import Mode, Tunnel, checkRisk
from tlstunnel.tunnel.disclosures import alpnOf, checkDisclosure, preparedHeader, preparedWords
from tlstunnel.tunnel.expected import checkIdentities, expectedBy
from tlstunnel.tunnel.judges import Judges
from tlstunnel.tunnel.keyednames import namesOf
from tlstunnel.tunnel.leased import checkAgent
from tlstunnel.tunnel.programs import checkPrograms, launches
from tlstunnel.tunnel.servernames import ServerNames
from tlstunnel.tunnel.settings import settingOf
from tlstunnel.tunnel.showing import Showing, checkShowing, showingOf
from tlstunnel.tunnel.trace import Trace
from tlstunnel.tunnel.verifying import verifying
from tlstunnel.tunnel.via import checkVia

#: Where servers with TLS from the first byte greet: those of smtp, nntp, ftp, imap, and pop3.
SERVER_FIRST = frozenset((465, 563, 990, 993, 995))


class Prepared:
    """
    A tunnel with its credentials, anchors and contexts: what its connections are made with.

    @ivar tunnel: what it was made from.
    @ivar login: how to log in at the proxy on the way to the remote address.
    @ivar awaitsGreeting: whether the server has to speak first, although no dialect says so.
    @ivar setting: what the roles of its dialect may know.
    @ivar expected: who must be at the other end; C{None} if anybody may, or the app will say who.
    @ivar pins: the keys that it may have; C{None} for any.
    @ivar revocations: the lists of what was revoked; none where anybody may come.
    @ivar showing: who we are to servers; nobody in server mode.
    @ivar staples: what our certificates are shown with, where that was asked for.
    @ivar launches: how the programs are started that are among its remotes.
    @ivar alpn: the protocols (ALPN) to offer, or to select from.
    @ivar dialsEarly: whether the backend is dialled before the negotiation.
    @ivar words: how a backend is told who is there, in its own protocol, each with what it needs.
    @ivar proxyOut: makes the headers of the PROXY protocol that connections begin with; C{None} for
        none.
    @ivar names: who we are by which name; C{None} in client mode.
    @ivar onward: what the connected side of a bridge is made with.
    @ivar keyLog: writes down the secrets of its TLS, if anything does.
    @ivar traces: what writes down what happens on its connections, likewise.
    """

    setting: Setting
    serverCreator: ServerCreator
    _creators: ClientCreators

    def __init__(self, tunnel: Tunnel, read: bool = True) -> None:
        """
        @param read: do all of L{steps}.
        @raise ConfigurationError: if something that it needs is missing or wrong.
        """
        checkIdentities(tunnel)
        checkRisk(tunnel)
        checkVia(tunnel)
        checkShowing(tunnel)
        checkAgent(tunnel)
        self.tunnel = tunnel
        self.login: Login | None = None
        if tunnel.via is not None and tunnel.viaAuthFile is not None:
            self.login = readLogin(tunnel.viaAuthFile, tunnel.via)
        with about(keysOf(tunnel.mode)):
            self._judges = Judges(tunnel)
        self.staples: list[Staple] = []
        self.showing = Showing()
        self._believed: Trust | None = None
        self.expected = expectedBy(tunnel)
        self.pins = self._judges.pins
        self.revocations = self._judges.revocations
        self.awaitsGreeting = tunnel.dialect.name == "none" and all(
            isinstance(each, TCPAddress | SRVAddress) and each.port in SERVER_FIRST
            for each in tunnel.remote
        )
        self.names: ServerNames | None = None
        self.keyLog = None if tunnel.keyLog is None else KeyLog(tunnel.keyLog)
        self.traces = () if tunnel.trace is None else (Trace(tunnel.trace),)
        checkPrograms(tunnel)
        self.launches = launches(tunnel)
        checkDisclosure(tunnel)
        self.words = preparedWords(tunnel)
        ofProtocol = tunnel.dialect.alpn or alpnOf(tunnel)
        self.dialsEarly = tunnel.dialect.dialsEarly(tunnel.options)
        self.alpn = ofProtocol if tunnel.alpn is None else tunnel.alpn
        self.proxyOut = preparedHeader(tunnel)
        self.onward: Prepared | None = None
        if tunnel.onward is not None:
            checkBridge(tunnel)
            onward = replace(tunnel.onward, hostName=tunnel.hostName, trace=None)
            with about(OF_CONNECTED):
                self.onward = Prepared(onward, read=False)
        if read:
            for _ in self.steps():
                pass

    def steps(self) -> Iterator[None]:
        """
        Read our certificates, one a step: a server may have thousands of names.

        @raise ConfigurationError: if one is missing or wrong.
        """
        tunnel = self.tunnel
        if tunnel.negotiatesOnly:
            # Certificates are for those who speak TLS.
            self.setting = settingOf(tunnel, self.expected, lambda domain: False)
            return
        for subject in verifying(tunnel):
            separation.process.verifies(subject)
        if self.onward is not None:
            with about(OF_CONNECTED):
                yield from self.onward.steps()
        if tunnel.mode.acceptsTLS:
            names = namesOf(tunnel, self.alpn, self._judges, self.keyLog)
            if self.names is not None:
                names.judgeAs(self.names)
            with about(keysOf(tunnel.mode)):
                yield from names.prepare()
            self.names, self._believed = names, names.believed
            self.staples = names.staples
            self.serverCreator = names.creator
            covers = names.faces.covers
        else:
            self.showing = showingOf(tunnel)
            self._creators = ClientCreators(tunnel, self._judges, self.showing, self.keyLog)
            # Nothing here refers to what is prepared, which is gone at once when it is replaced.
            covers = self.showing.covers
        self.setting = settingOf(tunnel, self.expected, covers)
        if tunnel.mode is Mode.CLIENT and self.expected is not None and self._judges.hasAnchors:
            with suppress(WithdrawnIdentity):
                examining(partial(self.creatorFor, self.expected))

    def renewed(self) -> Prepared:
        """
        The same, with whatever certificates of ours there are now; who is believed, and who may
        come, stays as it is.  L{steps} makes it.
        """
        fresh = copy(self)
        if self.onward is not None:
            fresh.onward = self.onward.renewed()
        return fresh

    def open(self) -> None:
        """
        Open the files that are written to, and begin what the dialect needs.

        @raise ConfigurationError: one of them cannot be, or is not for us alone.
        """
        for each in (*self.traces, self.keyLog):
            if each is not None:
                each.notes.open()
        if self.tunnel.mode is Mode.CLIENT and not self.tunnel.negotiatesOnly:
            self.tunnel.dialect.beginClient(self.setting)
        if self.onward is not None:
            self.onward.open()

    @property
    def anchors(self) -> str:
        """
        Whose word counts about those whom we expect; empty where it is not known yet who that is,
        or where it may be anybody.
        """
        if self.onward is not None:
            return self.onward.anchors
        others = self._believed.all.source if self._believed is not None else ""
        if not self._judges.byTLSA or self.expected is None:
            return others
        return "TLSA records" + (f", else {others}" if others else "")

    @property
    def believesOthers(self) -> bool:
        """
        Whether anybody decides about a server that has no TLSA records.
        """
        return self._judges.hasAnchors

    @property
    def certificates(self) -> dict[Identity, x509.Certificate]:
        """
        Our identities, each with the certificate that we show for it; where the rules of the pool
        choose among them, those that were shown.
        """
        return {each.identity: each.certificates[0] for each in self._ours}

    @property
    def leases(self) -> list[Lease]:
        """
        Those of them that an agent gave.
        """
        return [each for each in self._ours if isinstance(each, Lease)]

    def checkTime(self) -> None:
        """
        See that what is shown to a server has not ended.

        @raise IdentityRefused: it has.
        """
        for each in self.showing.known:
            checkTime(each, time())

    @property
    def _ours(self) -> Iterable[Credentials]:
        ours = self.ownCredentials
        return ours if self.onward is None else [*ours, *self.onward._ours]

    @property
    def ownCredentials(self) -> Iterable[Credentials]:
        """
        What is shown, of a bridge on the accepted side.
        """
        if self.names is not None:
            return self.names.credentials
        return self.showing.known

    @property
    def withdrawn(self) -> list[Identity]:
        """
        Those of our identities that should be used, and are withdrawn.
        """
        sides = [self] if self.onward is None else [self, self.onward]
        return list(dict.fromkeys(identity for each in sides for identity in each.ownWithdrawn))

    @property
    def ownWithdrawn(self) -> Collection[Identity]:
        """
        The same, of a bridge on the accepted side.
        """
        return (self.showing if self.names is None else self.names).withdrawn

    def withdraw(self, several: Mapping[Identity, WithdrawnIdentity]) -> None:
        """
        Use none of C{several} any more.
        """
        (self.showing if self.names is None else self.names).withdraw(several)
        if self.onward is not None:
            self.onward.withdraw(several)

    @property
    def contexts(self) -> int:
        """
        How many contexts of OpenSSL it has for servers.
        """
        return self._creators.contexts

    @property
    def trusts(self) -> Iterable[Trust]:
        """
        Whom to believe about those who connect to us, or about whom we expect.
        """
        if self.names is not None:
            return self.names.trusts
        return () if self._believed is None else (self._believed,)

    @property
    def clients(self) -> str:
        """
        The same of the clients of a bridge.
        """
        return self._whomItself if self.onward is not None else ""

    @property
    def whom(self) -> str:
        """
        Who must be at the other end, for people; empty if anybody may, or the app will say who.
        """
        return self._whomItself if self.onward is None else self.onward.whom

    @property
    def _whomItself(self) -> str:
        isNamed = self.expected is not None and self.tunnel.isNamed
        parts = [str(self.expected)] if isNamed else []
        if self.pins is not None:
            parts.append(f"{'with ' if parts else ''}the key {self.pins}")
        return " ".join(parts)

    def creatorFor(
        self,
        expected: Identity | Selector | AccessList,
        alpn: tuple[bytes, ...] | None = None,
    ) -> Creator:
        """
        What makes TLS to a server that must be C{expected}, in client mode.

        @param alpn: the ids to offer, of which the server has to take one; by default L{alpn}, of
            which it may.
        @raise ConfigurationError: if there are no anchors for it, or it cannot be found out who we
            are there.
        """
        assert isinstance(expected, Identity)
        creator, trust = self._creators.creatorFor(expected, self.alpn, alpn)
        isNew = trust is not self._believed
        if isNew and expected == self.expected and self.tunnel.believesAnchors:
            self._believed = trust
        return creator

    def creatorByTLSA(self, expected: Identity, records: TLSARecords) -> Creator:
        """
        What makes TLS to a server that must be C{expected}, by these records of it.

        @raise ConfigurationError: if it cannot be found out who we are there.
        """
        return self._creators.creatorByTLSA(expected, records, self.alpn)
