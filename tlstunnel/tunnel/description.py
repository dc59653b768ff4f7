"""
The frozen description of a tunnel: what the administrator said, checked.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tlstunnel.address import (
    ExecAddress,
    Listening,
    Remote,
    SRVAddress,
    TCPAddress,
    UNIXAddress,
)
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.names import Identity, KeyIdentity, Selector
from tlstunnel.identity.pool import Pool
from tlstunnel.interfaces import IDialect
from tlstunnel.net.access import SocketAccess
from tlstunnel.net.claim import Claim
from tlstunnel.net.networks import Networks
from tlstunnel.net.remotes import FIRST
from tlstunnel.net.via import Via
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.tunnel.execution import Execution
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.servedname import ServedName

#: What C{trust} is where the keys that are pinned decide, and no anchors.
PINS = "pins"

#: What it is where TLSA records decide, which are no anchors: see L{tlstunnel.tunnel.dane}.
DANE = "dane"

#: What it is where the pool's pre-shared keys decide, and no anchors either: see
#: L{tlstunnel.tunnel.psk}.
PSK = "psk"

#: What C{trust} may be that is no path.
WORDS = ("system", PINS, DANE, PSK)


class Mode(enum.Enum):
    """
    Where the network is: on the connected side, on the accepted one, or on both.
    """

    CLIENT = "client"
    SERVER = "server"
    BRIDGE = "bridge"

    @property
    def acceptsTLS(self) -> bool:
        """
        Whether those who connect to us speak TLS.
        """
        return self is not Mode.CLIENT

    @property
    def connectsTLS(self) -> bool:
        """
        Whether those whom we connect to do.
        """
        return self is not Mode.SERVER


@dataclass(frozen=True)
class Tunnel:
    """
    One mode, where to listen, where to forward, and one policy.

    In bridge mode it is what it would be in server mode, for the accepted side, and C{onward} is
    the connected side, as it would be in client mode.

    @ivar name: what the log calls it, where there are several.
    @ivar mode: where the network is.
    @ivar local: where to listen.
    @ivar access: who may connect, where that is a UNIX socket.
    @ivar remote: where to connect to.
    @ivar balance: whom of several to try first: one of L{tlstunnel.net.remotes.POLICIES}.
    @ivar via: the proxy through which that is connected to.
    @ivar viaAuthFile: says how to log in there.
    @ivar dialect: how both sides come to TLS.
    @ivar localID: who we are; in server mode to clients that ask for no name.
    @ivar byRules: whether the rules of the pool say who we are to each server (client only).
    @ivar otherIDs: who else we are, in server mode, to clients that ask for it.
    @ivar names: names that are served in another way than all others.
    @ivar remoteID: who must be at the other end; in server mode a selector or a list of them, and
        clients must then show a certificate that one matches.
    @ivar remoteIDFiles: paths of files with more of them (server only).
    @ivar denyID: whose certificates are refused all the same (server only).
    @ivar denyIDFiles: paths of files with more of them (server only).
    @ivar pins: the keys that the peer may have; any, where there are none.
    @ivar pool: where identities and trust are kept.
    @ivar agent: the socket of whoever gives us certificates, instead of those in C{pool}.
    @ivar trust: where the anchors are that count instead of those of the pool: paths of files and
        directories, C{system}, or L{DANE} for the TLSA records of the server; or L{PINS} or
        L{PSK} alone.
    @ivar daneResolver: where to look those records up.
    @ivar alpn: what to offer or to select from, instead of the ids of the dialect.
    @ivar options: those of the dialect that were asked for.
    @ivar requestsOnly: let clients in that show no certificate, where one is asked for; whoever
        shows one has to be whom C{remoteID} and the rest say (server only).
    @ivar anyName: serve clients that ask for a name that our certificate does not have.
    @ivar requireSNI: refuse clients that ask for no name.
    @ivar requireALPN: refuse clients that offer no ALPN.
    @ivar ocspStapling: let the certificate authority say of our certificate that it is good.
    @ivar requireStaple: refuse servers that have nothing of that kind.
    @ivar minimum: the lowest version of TLS.
    @ivar resumption: resume sessions with servers, or let clients resume theirs with us; C{None}:
        as it is best for the mode, see L{resumes}.
    @ivar skipResolve: let the program start even if a host of C{remote} does not resolve.
    @ivar hostName: what this host calls itself to the network where there is no C{localID}: a full
        name or an address; empty for the name that the kernel has.
    @ivar quiet: log no line for each connection.
    @ivar allow: whom to let in; everybody, where there is nothing in it.
    @ivar deny: whom not to let in, whatever C{allow} says.
    @ivar negotiatesOnly: leave TLS to others, and only say and hear what leads up to it.
    @ivar trace: the file for a transcript of its connections.
    @ivar keyLog: the file for the secrets of their TLS.
    @ivar limits: what its connections may take.
    @ivar execution: how programs in C{remote} run.
    @ivar disclosure: what the plaintext side is told of its peer.
    @ivar proxyFrom: from where headers of the PROXY protocol come.
    @ivar proxyFromUNIX: whether they come by UNIX sockets, too.
    @ivar onward: the connected side, in bridge mode.
    @ivar closesWithdrawn: end the connections that were made with a certificate of ours that is
        withdrawn.
    """

    mode: Mode
    local: tuple[Listening, ...]
    remote: tuple[Remote, ...]
    dialect: IDialect
    localID: Identity | None = None
    remoteID: Identity | Selector | AccessList | None = None
    remoteIDFiles: tuple[str, ...] = ()
    denyID: tuple[Selector, ...] = ()
    denyIDFiles: tuple[str, ...] = ()
    pins: tuple[KeyIdentity, ...] = ()
    pool: Pool = field(default_factory=lambda: Pool(Path("/nonexistent"), asked=False))
    trust: tuple[str, ...] = ()
    daneResolver: TCPAddress | None = None
    alpn: tuple[bytes, ...] | None = None
    options: frozenset[str] = frozenset()
    requestsOnly: bool = False
    anyName: bool = False
    requireALPN: bool = False
    ocspStapling: bool = False
    requireStaple: bool = False
    minimum: str = "1.2"
    resumption: bool | None = None
    skipResolve: bool = False
    hostName: str = ""
    quiet: bool = False
    balance: str = FIRST
    via: Via | None = None
    viaAuthFile: Path | None = None
    access: SocketAccess = field(default_factory=SocketAccess)
    allow: Networks = field(default_factory=Networks)
    deny: Networks = field(default_factory=Networks)
    limits: Limits = field(default_factory=Limits)
    name: str = ""
    otherIDs: tuple[Identity, ...] = ()
    names: tuple[ServedName, ...] = ()
    requireSNI: bool = False
    negotiatesOnly: bool = False
    trace: Path | None = None
    keyLog: Path | None = None
    disclosure: Disclosure = field(default_factory=Disclosure)
    execution: Execution = field(default_factory=Execution)
    proxyFrom: Networks = field(default_factory=Networks)
    proxyFromUNIX: bool = False
    onward: Tunnel | None = None
    byRules: bool = False
    closesWithdrawn: bool = False
    agent: Path | None = None

    @property
    def sides(self) -> tuple[Tunnel, ...]:
        """
        Each side that speaks TLS, the accepted one first.
        """
        return (self,) if self.onward is None else (self, self.onward)

    @property
    def claim(self) -> Claim:
        """
        What is to be listened at.
        """
        return Claim(self.local, self.access, name=self.name)

    @property
    def claims(self) -> tuple[Claim, ...]:
        """
        The same, as everything that is served has it.
        """
        return (self.claim,)

    @property
    def protocol(self) -> str:
        """
        The name of the dialect, on whichever side anything is said before TLS.
        """
        talking = [each.dialect.name for each in self.sides if each.dialect.talks]
        return talking[0] if talking else str(self.dialect.name)

    @property
    def localIDs(self) -> tuple[Identity, ...]:
        """
        All that C{localID} and C{otherIDs} have.
        """
        return () if self.localID is None else (self.localID, *self.otherIDs)

    @property
    def remotes(self) -> tuple[Remote, ...]:
        """
        All that is connected to, under whatever name; each once.
        """
        if not self.names:
            return self.remote
        own = (address for each in self.names for address in each.allRemotes)
        return tuple(dict.fromkeys((*self.remote, *own)))

    @property
    def believesPins(self) -> bool:
        """
        Whether the peer is known by its key alone.
        """
        return self.trust == (PINS,)

    @property
    def sharesKeys(self) -> bool:
        """
        Whether both sides have a key that was given to them beforehand, and no certificates.
        """
        return PSK in self.trust

    @property
    def believesAnchors(self) -> bool:
        """
        Whether anybody vouches for the peer.
        """
        return not (self.believesPins or self.sharesKeys)

    @property
    def isNamed(self) -> bool:
        """
        Whether the peer must have the name that is expected: a key alone says enough.
        """
        return not self.believesPins or self.remoteID is not None or bool(self.remoteIDFiles)

    @property
    def isOpen(self) -> bool:
        """
        Whether anybody may come, without a certificate: to a server, unless it says who.
        """
        named = self.remoteID is not None or self.remoteIDFiles or not self.believesAnchors
        return self.mode.acceptsTLS and not named

    @property
    def resumes(self) -> bool:
        """
        Whether sessions are resumed: unless somebody says so, with servers alone.
        """
        if self.sharesKeys:
            return False
        return self.mode is Mode.CLIENT if self.resumption is None else self.resumption


def identityOfRemote(remote: Sequence[Remote]) -> Identity | None:
    """
    Who must be at the other end where nobody says it: the host that is connected to, or the domain
    whose service it is, and never what its DNS says (RFC 6186, section 6; RFC 6125, section 6.2).
    """
    for address in remote:
        if isinstance(address, TCPAddress | SRVAddress) and not address.isLiteral:
            return Identity(None, address.domain)
    return None


def hostOfRemote(remote: Sequence[Remote]) -> str | None:
    """
    The name by which a server knows itself of which another is expected than that of a host: the
    one host, if all addresses are names, and the same.
    """
    hosts = {
        each.domain if isinstance(each, TCPAddress | SRVAddress) and not each.isLiteral else ""
        for each in remote
    }
    return min(hosts) or None if len(hosts) == 1 else None


def checkRemoteID(tunnel: Tunnel) -> None:
    """
    A client tunnel must know whom to expect, unless its dialect learns that from the app.

    @raise ConfigurationError: if it does not, or its remote addresses have several names.
    """
    if tunnel.negotiatesOnly:
        if tunnel.dialect.learnsPeer and identityOfRemote(tunnel.remote) is tunnel.remoteID is None:
            raise ConfigurationError(
                "`remote-id`", "is missing: the server is asked for a domain", "name that"
            )
        return
    if tunnel.remoteID is not None or tunnel.dialect.learnsPeer or tunnel.believesPins:
        return
    proves = "that has the key" if tunnel.sharesKeys else "in the server's certificate"
    hosts = set()
    for each in tunnel.remote:
        if not isinstance(each, TCPAddress | SRVAddress) or each.isLiteral:
            raise ConfigurationError(
                "`remote-id`",
                f"is missing, and {each} does not name the server",
                f"add `remote-id` with the name {proves}",
            )
        hosts.add(each.domain)
    if len(hosts) > 1:
        raise ConfigurationError(
            "`remote-id`",
            f"is missing, and `remote` has several names ({', '.join(sorted(hosts))})",
            "add `remote-id` with the one name that all of them prove",
        )


def checkIdentities(tunnel: Tunnel) -> None:
    """
    A tunnel must know whom it expects, or whom it stands for.

    @raise ConfigurationError: if it does not.
    """
    if tunnel.mode is Mode.CLIENT:
        checkRemoteID(tunnel)
    elif tunnel.localID is None and not tunnel.sharesKeys:
        raise ConfigurationError("`local-id`", "is missing", "give the name in our certificate")


def checkRisk(tunnel: Tunnel) -> None:
    """
    What is dangerous by its nature has to be asked for by a name that says so.

    @raise ConfigurationError: if it was not.
    """
    demands = tunnel.dialect.demands
    if tunnel.mode.acceptsTLS and demands and demands not in tunnel.options:
        raise ConfigurationError(
            f"`starttls` {tunnel.dialect.name}",
            "is a risk in server mode, which has to be accepted",
            f"`dialect-option` {demands} does so ({tunnel.dialect.options[demands]})",
        )


def checkVia(tunnel: Tunnel) -> None:
    """
    A proxy must be able to reach all remotes, and to know us where it has to.

    @raise ConfigurationError: if it is not.
    """
    via = tunnel.via
    if via is None:
        if tunnel.viaAuthFile is not None:
            raise ConfigurationError(
                "`via-auth-file`",
                "is for a proxy, and there is none",
                "give `via`, or leave it out",
            )
        return
    if via.user and tunnel.viaAuthFile is None:
        raise ConfigurationError(
            f"`via` {via}",
            "has a user, and there is no password",
            "give `via-auth-file` with a line user:password",
        )
    for each in tunnel.remotes:
        if isinstance(each, ExecAddress):
            raise ConfigurationError(
                f"`remote` {each}",
                "is a program of this host, which no proxy can reach",
                "leave out `via`",
            )
        if isinstance(each, SRVAddress):
            raise ConfigurationError(
                f"`remote` {each}",
                "is for the DNS of this host to resolve, and names are resolved by the proxy",
                "leave out `via`, or give the hosts in `remote`",
            )
        if isinstance(each, UNIXAddress) or "%" in each.host:
            what = "is a UNIX socket" if isinstance(each, UNIXAddress) else "has a zone"
            raise ConfigurationError(
                f"`remote` {each}",
                f"{what} of this host, which no proxy can reach",
                "leave out `via`, or give an address that the proxy reaches",
            )
