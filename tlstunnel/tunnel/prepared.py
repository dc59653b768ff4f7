"""
How the description of a tunnel becomes what its connections are made with.

Here keys and trust are read, and no name is looked up.  What is wrong is a L{ConfigurationError}.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import partial

from cryptography import x509

from tlstunnel.address import SRVAddress, TCPAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.expiry import warningsOf
from tlstunnel.identity.names import AccessList, Identity, Selector
from tlstunnel.identity.pool import Credentials
from tlstunnel.identity.trust import Anchors, Trust
from tlstunnel.identity.verify import coversName
from tlstunnel.net.via import Login, readLogin
from tlstunnel.protocols.setting import Setting
from tlstunnel.tls.binding import CLIENTS, SERVERS
from tlstunnel.tls.checkup import checkUsable
from tlstunnel.tls.context import SSLContext, clientContext, serverContext
from tlstunnel.tls.creators import ClientCreator, Creator
from tlstunnel.tls.verification import Verifier
from tlstunnel.tunnel import hostname
from tlstunnel.tunnel.description import (
    Mode,
    Tunnel,
    checkRemoteID,
    checkVia,
    identityOfRemote,
)
from tlstunnel.tunnel.trust import TunnelTrust

#: Where servers with TLS from the first byte greet: those of smtp, nntp, ftp, imap, and pop3.
SERVER_FIRST = frozenset((465, 563, 990, 993, 995))

#: Creators that a client tunnel keeps at the same time: one for each identity that it expects,
#: where the app says which.
CREATORS_KEPT = 1000

# What a server is called whose name cannot be written in a greeting.
_NOBODY = b"tlstunnel"


class Prepared:
    """
    A tunnel with its credentials, anchors and contexts: what its connections are made with.

    @ivar tunnel: what it was made from.
    @ivar login: how to log in at the proxy on the way to the remote address.
    @ivar awaitsGreeting: whether the server has to speak first, although no dialect says so.
    @ivar setting: what the roles of its dialect may know.
    @ivar expected: who must be at the other end; C{None} if anybody may, or the app will say who.
    """

    def __init__(self, tunnel: Tunnel) -> None:
        """
        @raise ConfigurationError: if something that it needs is missing or wrong.
        """
        _checkIdentities(tunnel)
        checkRisk(tunnel)
        checkVia(tunnel)
        self.tunnel = tunnel
        self.login: Login | None = None
        if tunnel.via is not None and tunnel.viaAuthFile is not None:
            self.login = readLogin(tunnel.viaAuthFile, tunnel.via)
        self._credentials: Credentials | None = None
        if tunnel.localID is not None:
            self._credentials = tunnel.pool.credentials(tunnel.localID)
            checkUsable(self._credentials, tunnel.minimum)
        self._trust = TunnelTrust(tunnel)
        self._contexts: dict[Anchors, SSLContext] = {}
        self._creators: dict[Identity, Creator] = {}
        self._believed: Trust | None = None
        self.expected = tunnel.remoteID
        self.awaitsGreeting = tunnel.dialect.name == "none" and all(
            isinstance(each, TCPAddress | SRVAddress) and each.port in SERVER_FIRST
            for each in tunnel.remote
        )
        learns = tunnel.dialect.learnsPeer
        if tunnel.mode is Mode.CLIENT and self.expected is None and not learns:
            self.expected = identityOfRemote(tunnel.remote)
        self.setting = Setting(
            ourName=_ourName(tunnel),
            peerName=_peerName(tunnel),
            authority=_authority(tunnel),
            localID=tunnel.localID,
            remoteID=None if isinstance(self.expected, AccessList) else self.expected,
            explicit=tunnel.remoteID is not None,
            options=tunnel.options,
            tunnel=tunnel.name,
            covers=partial(_covers, tunnel.anyName, self._credentials),
        )
        if tunnel.mode is Mode.SERVER:
            self.serverCreator = self._serverCreator()
        elif self.expected is not None:
            self.creatorFor(self.expected)

    @property
    def alpn(self) -> tuple[bytes, ...]:
        """
        The ids to offer or to select from.
        """
        own = self.tunnel.alpn
        return tuple(self.tunnel.dialect.alpn) if own is None else own

    @property
    def anchors(self) -> str:
        """
        Whose word counts about those whom we expect; empty where it is not known yet who that is,
        or where it may be anybody.
        """
        return self._believed.all.source if self._believed is not None else ""

    @property
    def certificates(self) -> dict[Identity, x509.Certificate]:
        """
        Our identities, each with the certificate that we show for it.
        """
        ours = self._credentials
        return {} if ours is None else {ours.identity: ours.certificates[0]}

    def warnings(self, now: datetime, since: datetime | None = None) -> list[str]:
        """
        What should be said of our certificate and of the anchors.

        @param since: given, what was said then is not repeated.
        """
        found = []
        if self._credentials is not None:
            found += warningsOf(self._credentials, now, since)
        if self._believed is not None and since is None:
            found += self._believed.all.skipped
        return found

    def _serverCreator(self) -> Creator:
        tunnel = self.tunnel
        assert self._credentials is not None
        trust = verifier = None
        if tunnel.remoteID is not None:
            trust = self._believed = self._trust.about(tunnel.remoteID)
            verifier = self._verifier(tunnel.remoteID, trust, CLIENTS)
        context = serverContext(
            self._credentials,
            trust,
            self.alpn,
            tunnel.minimum,
            tunnel.anyName,
        )
        return Creator(context, verifier, self.alpn, requireALPN=tunnel.requireALPN)

    def _verifier(
        self, expected: Identity | Selector | AccessList, trust: Trust, purpose: int
    ) -> Verifier:
        return Verifier(expected, trust, self.tunnel.dialect.srvService, purpose)

    def creatorFor(self, expected: Identity | Selector | AccessList) -> Creator:
        """
        What makes TLS to a server that must be C{expected}, in client mode.

        @raise ConfigurationError: if there are no anchors for it.
        """
        assert isinstance(expected, Identity)
        creator = self._creators.get(expected)
        if creator is None:
            if len(self._creators) >= CREATORS_KEPT:
                self._creators.clear()
            creator = self._creators[expected] = self._clientCreator(expected)
        return creator

    def _clientCreator(self, expected: Identity) -> Creator:
        trust = self._trust.about(expected)
        if expected == self.expected:
            self._believed = trust
        context = self._contexts.get(trust.all)
        if context is None:
            context = self._contexts[trust.all] = clientContext(
                trust,
                self._credentials,
                self.alpn,
                self.tunnel.minimum,
                tickets=self.tunnel.dialect.opensChannels,
            )
        verifier = self._verifier(expected, trust, SERVERS)
        return ClientCreator(context, verifier, self.alpn, self._credentials is not None)


def _checkIdentities(tunnel: Tunnel) -> None:
    """
    A tunnel must know whom it expects, or whom it stands for.

    @raise ConfigurationError: if it does not.
    """
    if tunnel.mode is Mode.CLIENT:
        checkRemoteID(tunnel)
    elif tunnel.localID is None:
        raise ConfigurationError("`local-id`", "is missing", "say whom a server tunnel stands for")


def checkRisk(tunnel: Tunnel) -> None:
    """
    What is dangerous by its nature has to be asked for by a name that says so.

    @raise ConfigurationError: if it was not.
    """
    demands = tunnel.dialect.demands
    if tunnel.mode is Mode.SERVER and demands and demands not in tunnel.options:
        raise ConfigurationError(
            f"`starttls` {tunnel.dialect.name}",
            "is a risk in server mode, which has to be accepted",
            f"`dialect-option` {demands} does so ({tunnel.dialect.options[demands]})",
        )


def _covers(anyName: bool, credentials: Credentials | None, domain: str) -> bool:
    """
    Whether a certificate is for C{domain}; nothing here refers to what is prepared, which is gone
    at once when it is replaced.
    """
    return anyName or (credentials is not None and coversName(credentials.certificates[0], domain))


def _ourName(tunnel: Tunnel) -> bytes:
    """
    What we call ourselves to the network.
    """
    ours = hostname.written(tunnel.localID.domain) if tunnel.localID is not None else b""
    return ours or hostname.inGreeting(tunnel.hostName)


def _peerName(tunnel: Tunnel) -> bytes:
    """
    What the app is told whom it speaks to.
    """
    remote = tunnel.remoteID or identityOfRemote(tunnel.remote)
    if remote is None or isinstance(remote, AccessList):
        return _NOBODY
    return hostname.written(remote.domain.lstrip(".")) or _NOBODY


def _authority(tunnel: Tunnel) -> bytes:
    """
    What a client of HTTP calls the place that it connects to (RFC 9110, section 7.2).
    """
    for address in tunnel.remote:
        if isinstance(address, TCPAddress):
            # A zone is this host's own business (RFC 6874, section 4).
            host = address.domain.partition("%")[0]
            return str(replace(address, host=host)).removesuffix(":80").encode()
    return _peerName(tunnel)
