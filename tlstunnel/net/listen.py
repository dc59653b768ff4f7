"""
Listening: from addresses to sockets.

This module knows what the system lets us do, and nothing of who accepts.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from errno import (
    EACCES,
    EADDRINUSE,
    EADDRNOTAVAIL,
    EAFNOSUPPORT,
    ECONNREFUSED,
    EMFILE,
    ENFILE,
    ENOENT,
)
from pathlib import Path
from typing import Any

from tlstunnel.address import (
    DescriptorAddress,
    InheritedAddress,
    Listening,
    TCPAddress,
    UNIXAddress,
)
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.permission import ourName
from tlstunnel.net import inherit
from tlstunnel.net.claim import Claim

#: Connections that the kernel keeps for us until we accept them.
WAITING_CONNECTIONS = 1024

_ABSENT = frozenset((EADDRNOTAVAIL, EAFNOSUPPORT))


@dataclass(frozen=True)
class Bound:
    """
    A listening socket.

    @ivar unlink: a path to remove when it is closed, as long as this socket is there.
    @ivar isInherited: whether somebody else has made it, who hands it down only once.
    """

    sock: socket.socket
    unlink: str = ""
    isInherited: bool = False
    _place: tuple[int, int] | None = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_place", _placeOf(self.unlink) if self.unlink else None)

    @property
    def isThere(self) -> bool:
        """
        Whether C{unlink} still leads here, and not to what somebody else has put there, or nowhere.
        """
        return not self.unlink or (self._place is not None and _placeOf(self.unlink) == self._place)

    def giveUp(self) -> None:
        """
        Close it, unless somebody else has made it: that one listens on, and another tunnel may want
        it later.
        """
        if not self.isInherited:
            self.close()

    def close(self) -> None:
        """
        Stop listening; the second time nothing happens.
        """
        if self.sock.fileno() < 0:
            return
        if self.unlink and self.isThere:
            with suppress(OSError):
                Path(self.unlink).unlink()
        self.sock.close()


def _placeOf(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def bindAll(claim: Claim) -> list[Bound]:
    """
    Make the sockets of C{claim}.

    @raise ConfigurationError: if one address cannot be listened at; then none is.
    """
    bound: list[Bound] = []
    try:
        for address in claim.addresses:
            bound += bindOne(address, claim)
    except ConfigurationError:
        for each in bound:
            each.close()
        raise
    return bound


def bindOne(address: Listening, claim: Claim, leaving: Sequence[socket.socket] = ()) -> list[Bound]:
    """
    Make the sockets that listen at one of the addresses of C{claim}.

    @param leaving: see L{bind}.
    @raise ConfigurationError: if it cannot be listened at.
    """
    unlink = address.path if isinstance(address, UNIXAddress) else ""
    isInherited = isinstance(address, InheritedAddress)
    return [Bound(sock, unlink, isInherited) for sock in bind(address, claim, leaving)]


def _handedDown(address: InheritedAddress | DescriptorAddress, claim: Claim) -> list[socket.socket]:
    """
    The sockets that somebody else has made.
    """
    if isinstance(address, DescriptorAddress):
        raise ConfigurationError(
            claim.subject(address),
            "is a connection that was made already, which twistd does not take",
            "give an address to listen at, or start tlstunnel itself",
        )
    return inherit.take(address.name, claim)


def bind(
    address: Listening, claim: Claim | None = None, leaving: Sequence[socket.socket] = ()
) -> list[socket.socket]:
    """
    Make the sockets that listen at C{address}: one, or one a family where it is a name.

    @param claim: what it is one of the addresses of; by default there are no others.
    @param leaving: sockets of ours that will be closed.  What needs their place is bound, but does
        not listen yet: C{listenFrom} lets it do so.
    @raise ConfigurationError: if it cannot be listened at.
    """
    claim = claim or Claim((address,))
    if isinstance(address, InheritedAddress | DescriptorAddress):
        return _handedDown(address, claim)
    if isinstance(address, UNIXAddress):
        return [_bindUNIX(address, claim)]
    flags = socket.AI_PASSIVE | (socket.AI_NUMERICHOST if address.isLiteral else 0)
    try:
        found: list[Any] = socket.getaddrinfo(
            address.host or None, address.port, type=socket.SOCK_STREAM, flags=flags
        )
    except OSError as error:
        if error.errno in (EMFILE, ENFILE):
            raise _refused(address, claim, error) from None
        raise ConfigurationError(
            claim.subject(address),
            f"the name cannot be resolved ({error.strerror})",
            "check its spelling",
        ) from None
    if not address.host:
        # One socket of IPv6 serves both families where the system has it.
        found.sort(key=lambda each: each[0] != socket.AF_INET6)
    without4 = claim.leavesIPv4(address)
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    for family, kind, protocol, _, target in dict.fromkeys(found):
        try:
            sockets.append(_bindTCP(family, kind, protocol, target, without4, leaving))
        except OSError as error:
            if error.errno in _ABSENT:
                # A name has addresses of a family that this host may not have.
                absent = error
                continue
            for each in sockets:
                each.close()
            raise _refused(address, claim, error) from None
        if not address.host:
            break
    if not sockets and absent is not None:
        raise _refused(address, claim, absent)
    return sockets


def _refused(address: TCPAddress | UNIXAddress, claim: Claim, error: OSError) -> ConfigurationError:
    remedy = {
        EADDRINUSE: "stop what listens there, or choose another port",
        EADDRNOTAVAIL: "give an address of this host",
        EAFNOSUPPORT: "this host does not have that family of addresses",
        EACCES: "ports below 1024 need root or CAP_NET_BIND_SERVICE",
        EMFILE: "raise the limit of open files (LimitNOFILE in a unit)",
    }.get(error.errno or 0, "choose another address")
    return ConfigurationError(claim.subject(address), error.strerror or "failed", remedy)


def _bindTCP(
    family: int,
    kind: int,
    protocol: int,
    target: Any,
    without4: bool,
    leaving: Sequence[socket.socket],
) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # "[::]" and ":443" mean all interfaces, as they do for the peers.
            isAll = target[0] == "::" and not without4
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not isAll)
        sock.setblocking(False)
        try:
            sock.bind(target)
        except OSError as error:
            if error.errno != EADDRINUSE or not leaving:
                raise
            share([sock, *leaving], True)
            sock.bind(target)
        else:
            sock.listen(WAITING_CONNECTIONS)
    except OSError:
        sock.close()
        raise
    return sock


def share(sockets: Sequence[socket.socket], isShared: bool) -> None:
    """
    Let C{sockets} have the same place; other programs of the same user could then take it, too.
    """
    for each in sockets:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, isShared)


def listenFrom(sockets: Sequence[socket.socket]) -> None:
    """
    Let those of C{sockets} listen that do not yet.
    """
    for each in sockets:
        if not each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            each.listen(WAITING_CONNECTIONS)


def _bindUNIX(address: UNIXAddress, claim: Claim) -> socket.socket:
    try:
        sock = socket.socket(socket.AF_UNIX, claim.kind)
    except OSError as error:
        raise _refused(address, claim, error) from None
    try:
        _removeStale(address.path)
        claim.access.bind(sock, address.path)
    except OSError as error:
        sock.close()
        raise _refusedPath(address, claim, error) from None
    try:
        claim.access.give(address.path)
        sock.listen(WAITING_CONNECTIONS)
    except BaseException:
        Bound(sock, address.path).close()
        raise
    sock.setblocking(False)
    return sock


def _refusedPath(address: UNIXAddress, claim: Claim, error: OSError) -> ConfigurationError:
    directory = Path(address.path).absolute().parent
    remedy = {
        EACCES: f"let user {ourName()} write in {directory}",
        ENOENT: f"make the directory {directory}",
    }.get(error.errno or 0, "choose another path")
    if error.errno == EADDRINUSE:
        isOther = os.path.lexists(address.path) and not Path(address.path).is_socket()
        remedy = "something else is there: remove it" if isOther else "stop what listens there"
    return ConfigurationError(claim.subject(address), error.strerror or "failed", remedy)


def _removeStale(path: str) -> None:
    """
    Remove a socket at C{path} that nobody listens at any more.
    """
    try:
        if not stat.S_ISSOCK(Path(path).stat().st_mode):
            return
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        # One of another kind that is alive says so with EPROTOTYPE (unix(7)).
        if probe.connect_ex(path) == ECONNREFUSED:
            Path(path).unlink()
