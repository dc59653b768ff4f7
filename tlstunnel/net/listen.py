"""
Listening: from addresses to sockets, and from sockets to accepted connections.

A L{ListeningPort} accepts until the queue is dry, and stops for a while when the process has no
descriptor left, or as long as whoever it accepts for wants no more.  It knows sockets and the
reactor, and nothing of what becomes of a connection.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from errno import (
    EACCES,
    EADDRINUSE,
    EADDRNOTAVAIL,
    EAFNOSUPPORT,
    EAGAIN,
    ECONNABORTED,
    ECONNREFUSED,
    EINTR,
    EMFILE,
    ENFILE,
    ENOENT,
)
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from tlstunnel.address import InheritedAddress, TCPAddress, UNIXAddress, addressOf
from tlstunnel.errors import ConfigurationError
from tlstunnel.net import inherit
from tlstunnel.net.access import SocketAccess
from tlstunnel.net.deadlines import Deadline, Deadlines
from tlstunnel.net.descriptor import Descriptor
from tlstunnel.net.kernel import tune

Listening = TCPAddress | UNIXAddress | InheritedAddress

#: Connections accepted in one turn of the reactor, so that those there are get their turn too.
ACCEPTS_PER_TURN = 32

# A plain number: an Enum costs each time that it is looked at.
_STREAM = int(socket.SOCK_STREAM)

#: Seconds to the next try when accepting fails, as it does without descriptors.
ACCEPT_RETRY_SECONDS = 1.0

#: Connections that the kernel keeps for us until we accept them.
WAITING_CONNECTIONS = 1024

#: The system decides, by its umask, who may connect to a UNIX socket.
BY_UMASK = SocketAccess()

_ABSENT = frozenset((EADDRNOTAVAIL, EAFNOSUPPORT))


@dataclass(frozen=True)
class Bound:
    """
    A listening socket.

    @ivar unlink: a path to remove when it is closed.
    """

    sock: socket.socket
    unlink: str = ""

    def close(self) -> None:
        """
        Stop listening; the second time nothing happens.
        """
        if self.sock.fileno() < 0:
            return
        self.sock.close()
        if self.unlink:
            try:
                Path(self.unlink).unlink()
            except OSError:
                pass


def bindAll(addresses: Sequence[Listening], access: SocketAccess = BY_UMASK) -> list[Bound]:
    """
    Make the sockets that listen at C{addresses}.

    @param access: who may connect to those that are UNIX sockets.
    @raise ConfigurationError: if one cannot be listened at; then none is.
    """
    bound: list[Bound] = []
    try:
        for address in addresses:
            bound += bindBeside(address, addresses, access)
    except ConfigurationError:
        for each in bound:
            each.close()
        raise
    return bound


def bindBeside(
    address: Listening, addresses: Sequence[Listening], access: SocketAccess = BY_UMASK
) -> list[Bound]:
    """
    Make the sockets that listen at one of the C{addresses} of a tunnel.

    @raise ConfigurationError: if it cannot be listened at.
    """
    unlink = address.path if isinstance(address, UNIXAddress) else ""
    without4 = hasIPv4Beside(address, addresses)
    return [Bound(sock, unlink) for sock in bind(address, access, without4)]


def hasIPv4Beside(address: Listening, addresses: Sequence[Listening]) -> bool:
    """
    Whether another of C{addresses} is all of IPv4 at the same port.
    """
    if not isinstance(address, TCPAddress) or not address.port:
        return False
    return TCPAddress("0.0.0.0", address.port) in addresses


def bind(
    address: Listening, access: SocketAccess = BY_UMASK, without4: bool = False
) -> list[socket.socket]:
    """
    Make the sockets that listen at C{address}: one, or one a family where it is a name.

    @param access: who may connect, where it is a UNIX socket.
    @param without4: leave IPv4 to another socket, where it means all interfaces.
    @raise ConfigurationError: if it cannot be listened at.
    """
    if isinstance(address, InheritedAddress):
        return inherit.take(address.name)
    if isinstance(address, UNIXAddress):
        return [_bindUNIX(address, access)]
    flags = socket.AI_PASSIVE | (socket.AI_NUMERICHOST if address.isLiteral else 0)
    try:
        found: list[Any] = socket.getaddrinfo(
            address.host or None, address.port, type=socket.SOCK_STREAM, flags=flags
        )
    except OSError as error:
        if error.errno in (EMFILE, ENFILE):
            raise _refused(address, error) from None
        raise ConfigurationError(
            f"`local` {address}",
            f"the name cannot be resolved ({error.strerror})",
            "check its spelling",
        ) from None
    if not address.host:
        # One socket of IPv6 serves both families where the system has it.
        found.sort(key=lambda each: each[0] != socket.AF_INET6)
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    for family, kind, protocol, _, target in dict.fromkeys(found):
        try:
            sockets.append(_bindTCP(family, kind, protocol, target, without4))
        except OSError as error:
            if error.errno in _ABSENT:
                # A name has addresses of a family that this host may not have.
                absent = error
                continue
            for each in sockets:
                each.close()
            raise _refused(address, error) from None
        if not address.host:
            break
    if not sockets and absent is not None:
        raise _refused(address, absent)
    return sockets


def _refused(address: TCPAddress | UNIXAddress, error: OSError) -> ConfigurationError:
    remedy = {
        EADDRINUSE: "stop what listens there, or choose another port",
        EADDRNOTAVAIL: "give an address of this host",
        EAFNOSUPPORT: "this host does not have that family of addresses",
        EACCES: "ports below 1024 need root or CAP_NET_BIND_SERVICE",
        EMFILE: "raise the limit of open files (LimitNOFILE in a unit)",
    }.get(error.errno or 0, "choose another address")
    return ConfigurationError(f"`local` {address}", error.strerror or "failed", remedy)


def _bindTCP(family: int, kind: int, protocol: int, target: Any, without4: bool) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # "[::]" and ":443" mean all interfaces, as they do for the peers.
            isAll = target[0] == "::" and not without4
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not isAll)
        sock.bind(target)
        sock.listen(WAITING_CONNECTIONS)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _bindUNIX(address: UNIXAddress, access: SocketAccess) -> socket.socket:
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError as error:
        raise _refused(address, error) from None
    try:
        _removeStale(address.path)
        access.bind(sock, address.path)
    except OSError as error:
        sock.close()
        directory = Path(address.path).absolute().parent
        remedy = {
            EACCES: f"let user {os.geteuid()} write in {directory}",
            ENOENT: f"make the directory {directory}",
        }.get(error.errno or 0, "choose another path")
        if error.errno == EADDRINUSE:
            isOther = os.path.lexists(address.path) and not Path(address.path).is_socket()
            remedy = "something else is there: remove it" if isOther else "stop what listens there"
        raise ConfigurationError(f"`local` {address}", error.strerror or "failed", remedy) from None
    try:
        access.give(address.path)
        sock.listen(WAITING_CONNECTIONS)
    except BaseException:
        Bound(sock, address.path).close()
        raise
    sock.setblocking(False)
    return sock


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
        if probe.connect_ex(path) == ECONNREFUSED:
            Path(path).unlink()


class ListeningPort(Descriptor):
    """
    One listening socket.

    @ivar address: where it listens, as it came out.
    @ivar name: the same, for the log.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        deadlines: Deadlines,
        bound: Bound,
        accepted: Callable[[socket.socket, TCPAddress | UNIXAddress], None],
        keepAlive: float = 0,
        tunnel: str = "",
    ) -> None:
        """
        @param bound: the socket, non-blocking; ours from now on.
        @param accepted: called with each connection, which is non-blocking, and its peer.
        @param keepAlive: see L{tune}.
        @param tunnel: what the log calls the tunnel that it is for, if that has a name.
        """
        super().__init__(reactor, bound.sock)
        self._deadlines = deadlines
        self._bound = bound
        self._accepted = accepted
        self._tunnel = tunnel
        self._family = int(bound.sock.family)
        if bound.sock.family != socket.AF_UNIX:
            # What is accepted inherits it; the socket may have been another tunnel's.
            bound.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
            tune(bound.sock, keepAlive)
        self._paused = False
        # Connections to accept in the next turn.
        self._accepts = 1
        self._retry: Deadline | None = None
        self.address = addressOf(bound.sock.getsockname())
        self.name = str(self.address)

    def startListening(self) -> None:
        """
        Accept connections from now on.
        """
        self._paused = False
        if self._retry is None:
            self.startReading()

    def pauseListening(self) -> None:
        """
        Leave connections in the kernel's queue until C{startListening} is called again.
        """
        self._paused = True
        self.stopReading()

    def stopListening(self) -> None:
        """
        Close the socket.
        """
        self.letGo()
        self._bound.close()

    def letGo(self) -> None:
        """
        Leave the socket to somebody else, with the connections that wait in its queue.
        """
        self.pauseListening()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def doRead(self) -> None:
        """
        Accept what is waiting.
        """
        for _ in range(self._accepts):
            try:
                sock, address = self._accept()
            except OSError as error:
                if error.errno == ECONNABORTED or error.errno == EINTR:
                    continue
                if error.errno != EAGAIN:
                    self._wait(error)
                self._accepts = 1
                return
            sock.setblocking(False)
            self._accepted(sock, addressOf(address))
            if self._paused:
                return
        # There may be more: asking costs, unless they come faster than one a turn.
        self._accepts = min(ACCEPTS_PER_TURN, self._accepts * 2)

    def _accept(self) -> tuple[socket.socket, Any]:
        """
        As C{socket.accept} does it, which makes Enums of two numbers for every connection.
        """
        descriptor, address = self.sock._accept()  # type: ignore[attr-defined]
        return socket.socket(self._family, _STREAM, 0, descriptor), address

    def _wait(self, error: OSError) -> None:
        """
        Accepting failed: try again later, so that we neither spin nor give up.
        """
        self._log.warn(
            "accepting at {name} failed, trying again in {seconds} s: {error}",
            tunnel=self._tunnel or None,
            name=self.name,
            seconds=ACCEPT_RETRY_SECONDS,
            error=error.strerror,
        )
        self.stopReading()
        self._retry = self._deadlines.after(ACCEPT_RETRY_SECONDS, self._acceptAgain)

    def _acceptAgain(self) -> None:
        self._retry = None
        if not self._paused:
            self.startReading()
