"""
The frozen description of a tunnel, and how it becomes what connections are made with.

A L{Tunnel} is what the administrator said, checked; L{prepare} reads the pool and makes of it what
every connection uses.  Whatever is wrong is a L{ConfigurationError} that names the option.
"""

from __future__ import annotations

import enum
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tlstunnel import tls
from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity import Identity, Selector
from tlstunnel.interfaces import IDialect
from tlstunnel.listen import Listening
from tlstunnel.pool import Anchors, Credentials, Pool, loadAnchors
from tlstunnel.protocols.base import Setting
from tlstunnel.verify import coversName

Address = TCPAddress | UNIXAddress

#: Where servers with TLS from the first byte greet: those of smtp, nntp, ftp, imap, and pop3.
SERVER_FIRST = frozenset((465, 563, 990, 993, 995))


#: Identities that a client tunnel keeps what it needs for, where the app says whom to expect.
MOST_CREATORS = 1000


class Mode(enum.Enum):
    """
    Where the network is: on the connected side, or on the accepted one.
    """

    CLIENT = "client"
    SERVER = "server"


@dataclass(frozen=True)
class Limits:
    """
    What everything before the relay, and its end, may take at most; seconds unless said otherwise.

    @ivar connect: to connect to one address.
    @ivar connectTotal: to connect to any.
    @ivar greeting: for a server's greeting: 30 s occur by intent.
    @ivar negotiation: from there to the switch; in server mode from accepting.
    @ivar handshake: for the TLS handshake and verification.
    @ivar close: without progress, for one direction after the other ended.
    @ivar closeTotal: for that direction in all.
    @ivar idle: without traffic; 0 for no limit.
    @ivar connections: number of connections at the same time.
    @ivar unverified: number of those whose network peer is not verified yet; 0 for a quarter.
    @ivar perAddress: number of those from one address; 0 for no limit.
    """

    connect: float = 10.0
    connectTotal: float = 20.0
    greeting: float = 60.0
    negotiation: float = 30.0
    handshake: float = 15.0
    close: float = 60.0
    closeTotal: float = 3600.0
    idle: float = 0.0
    connections: int = 16000
    unverified: int = 0
    perAddress: int = 0


@dataclass(frozen=True)
class Tunnel:
    """
    One mode, where to listen, where to forward, and one policy.

    @ivar remoteID: -R; in server mode clients must then show a certificate that it selects.
    @ivar trust: what --trust gave, over the anchors of the pool.
    @ivar alpn: what --alpn gave, over the ids of the dialect.
    @ivar anyName: serve clients that ask for a name that our certificate does not have.
    @ivar requireALPN: refuse clients that offer no ALPN.
    @ivar minimum: the lowest version of TLS.
    @ivar skipResolve: start even if a host of C{remote} does not resolve.
    """

    mode: Mode
    local: tuple[Listening, ...]
    remote: tuple[Address, ...]
    dialect: IDialect
    localID: Identity | None = None
    remoteID: Identity | Selector | None = None
    pool: Pool = field(default_factory=lambda: Pool(Path("/nonexistent"), asked=False))
    trust: str = ""
    alpn: tuple[bytes, ...] | None = None
    options: frozenset[str] = frozenset()
    anyName: bool = False
    requireALPN: bool = False
    minimum: str = "1.2"
    skipResolve: bool = False
    limits: Limits = Limits()

    def prepare(self) -> Prepared:
        """
        Read what the pool has for this tunnel.

        @raise ConfigurationError: if something is missing or wrong.
        """
        return Prepared(self)


class Prepared:
    """
    A tunnel with its credentials, anchors and contexts: what its connections are made with.

    @ivar tunnel: what it was made from.
    @ivar awaitsGreeting: whether the server has to speak first, although no dialect says so.
    @ivar setting: what the roles of its dialect may know.
    """

    def __init__(self, tunnel: Tunnel) -> None:
        _checkRisk(tunnel)
        self.tunnel = tunnel
        self._service = tunnel.dialect.name if tunnel.dialect.name != "none" else None
        self._credentials: Credentials | None = None
        if tunnel.localID is not None:
            self._credentials = tunnel.pool.credentials(tunnel.localID)
        self._trust: Anchors | None = loadAnchors(tunnel.trust) if tunnel.trust else None
        self._contexts: dict[Anchors, tls.SSLContext] = {}
        self._creators: dict[Identity, tls.Creator] = {}
        self.expected = tunnel.remoteID
        self.awaitsGreeting = tunnel.dialect.name == "none" and all(
            isinstance(each, TCPAddress) and each.port in SERVER_FIRST for each in tunnel.remote
        )
        learns = tunnel.dialect.client.learnsPeer
        if tunnel.mode is Mode.CLIENT and self.expected is None and not learns:
            self.expected = identityOfRemote(tunnel.remote)
        self.setting = Setting(
            ourName=_ourName(tunnel.localID),
            peerName=_peerName(tunnel),
            authority=_authority(tunnel),
            localID=tunnel.localID,
            remoteID=self.expected,
            explicit=tunnel.remoteID is not None,
            options=tunnel.options,
            covers=self._covers,
        )
        if not tunnel.skipResolve:
            _checkResolves(tunnel.remote)
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

    def _covers(self, domain: str) -> bool:
        credentials = self._credentials
        return self.tunnel.anyName or (
            credentials is not None and coversName(credentials.certificates[0], domain)
        )

    def _anchorsFor(self, remote: Identity | Selector) -> Anchors:
        if self._trust is None:
            return self.tunnel.pool.anchorsFor(remote)
        if self._trust.system and remote.user is not None:
            raise ConfigurationError(
                "--trust system",
                f"knows nobody to believe about {remote}: the public web PKI knows no users",
                "give a file of anchors",
            )
        return self._trust

    def _serverCreator(self) -> tls.Creator:
        tunnel = self.tunnel
        assert self._credentials is not None
        anchors = self._anchorsFor(tunnel.remoteID) if tunnel.remoteID is not None else None
        context = tls.serverContext(
            self._credentials,
            anchors,
            self.alpn,
            tunnel.minimum,
            tunnel.anyName,
        )
        return tls.Creator(
            context, tunnel.remoteID, self._service, self.alpn, requireALPN=tunnel.requireALPN
        )

    def creatorFor(self, expected: Identity | Selector) -> tls.Creator:
        """
        What makes TLS to a server that must be C{expected}, in client mode.

        @raise ConfigurationError: if there are no anchors for it.
        """
        assert isinstance(expected, Identity)
        creator = self._creators.get(expected)
        if creator is None:
            if len(self._creators) >= MOST_CREATORS:
                self._creators.clear()
            creator = self._creators[expected] = self._clientCreator(expected)
        return creator

    def _clientCreator(self, expected: Identity) -> tls.Creator:
        anchors = self._anchorsFor(expected)
        context = self._contexts.get(anchors)
        if context is None:
            context = self._contexts[anchors] = tls.clientContext(
                anchors,
                self._credentials,
                self.alpn,
                self.tunnel.minimum,
                tickets=self.tunnel.dialect.client.opensChannels,
            )
        return tls.ClientCreator(
            context, expected, self._service, self.alpn, self._credentials is not None
        )


def _checkRisk(tunnel: Tunnel) -> None:
    """
    What is dangerous by its nature has to be asked for by a name that says so.

    @raise ConfigurationError: if it was not.
    """
    demands = tunnel.dialect.server.demands
    if tunnel.mode is Mode.SERVER and demands and demands not in tunnel.options:
        raise ConfigurationError(
            f"--starttls {tunnel.dialect.name}",
            "is a risk in server mode, which has to be accepted",
            f"--dialect-option {demands} does so ({tunnel.dialect.options[demands]})",
        )


def _checkResolves(remote: Sequence[Address]) -> None:
    """
    A host that does not resolve is more often a typing error than a passing trouble.

    @raise ConfigurationError: if one does not.
    """
    for address in remote:
        if isinstance(address, TCPAddress) and (not address.isLiteral or "%" in address.host):
            try:
                socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            except OSError as error:
                raise ConfigurationError(
                    f"--remote {address}",
                    f"the host name does not resolve ({error.strerror})",
                    "check its spelling, or give --skip-resolve",
                ) from None


def identityOfRemote(remote: Sequence[Address]) -> Identity | None:
    """
    Who must be at the other end where -R does not say it: the host named in -r.
    """
    for address in remote:
        if isinstance(address, TCPAddress) and not address.isLiteral:
            return Identity(None, address.host)
    return None


def checkRemoteID(tunnel: Tunnel) -> None:
    """
    A client tunnel must know whom to expect, unless its dialect learns that from the app.

    @raise ConfigurationError: if it does not, or the hosts of -r would mean several.
    """
    if tunnel.remoteID is not None or tunnel.dialect.client.learnsPeer:
        return
    hosts = {each.host if isinstance(each, TCPAddress) else "" for each in tunnel.remote}
    for each in tunnel.remote:
        if isinstance(each, UNIXAddress) or each.isLiteral:
            raise ConfigurationError(
                "--remote-id",
                f"is missing, and {each} names nobody whom we could expect there",
                "add -R with the name in the server's certificate",
            )
    if len(hosts) > 1:
        raise ConfigurationError(
            "--remote-id",
            f"is missing, and --remote has several names ({', '.join(sorted(hosts))})",
            "add -R with the one name that all of them prove",
        )


def _ourName(identity: Identity | None) -> bytes:
    """
    What we call ourselves: the domain of -L, else the full name of this host, else its address as
    a literal (RFC 5321, section 4.1.3); never C{localhost}.
    """
    if identity is not None:
        return identity.domain.encode()
    name = socket.getfqdn()
    if "." in name and not name.startswith("localhost") and name.isascii():
        return name.encode()
    try:
        address = socket.gethostbyname(socket.gethostname())
    except OSError:
        address = "127.0.0.1"
    return b"[" + address.encode() + b"]"


def _peerName(tunnel: Tunnel) -> bytes:
    """
    What the app is told whom it speaks to.
    """
    remote = tunnel.remoteID or identityOfRemote(tunnel.remote)
    return remote.domain.lstrip(".").encode() if remote is not None else b"tlstunnel"


def _authority(tunnel: Tunnel) -> bytes:
    """
    What a client of HTTP calls the place that it connects to (RFC 9110, section 7.2).
    """
    for address in tunnel.remote:
        if isinstance(address, TCPAddress):
            return str(address).removesuffix(":80").encode()
    return _peerName(tunnel)
