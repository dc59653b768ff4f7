"""
Dialling: from addresses, tried in order, to a connected leg.

Literal addresses and UNIX sockets are connected to directly; names are resolved for each
connection by the reactor's resolver, and their addresses are tried one shortly after the other, so
that a silent one delays the rest but little (RFC 8305, section 5).  This module knows addresses,
sockets and limits, and nothing of what is spoken on the leg.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from errno import EAGAIN, EALREADY, EINPROGRESS, EISCONN
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadWriteDescriptor, IResolutionReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from tlstunnel.address import TCPAddress, UNIXAddress, addressOf
from tlstunnel.errors import ConnectFailed
from tlstunnel.net.deadlines import Deadline, Deadlines
from tlstunnel.net.leg import Leg, tune

#: The family of an address, what C{connect} wants for it, and what the log calls it.
Target = tuple[int, Any, str]

#: Seconds to the next address of one name while the one before has not answered (RFC 8305).
STAGGER = 0.25

#: Seconds to the next try of a UNIX socket whose queue is full.
_AGAIN = 0.05


@implementer(IReadWriteDescriptor)
class _Attempt:
    """
    One socket on its way to one address.
    """

    def __init__(
        self, dial: Dial, family: int, target: Any, name: str, begun: socket.socket | None = None
    ) -> None:
        """
        @param begun: a socket that is on its way already.
        """
        self._dial = dial
        self._target = target
        self.name = name
        self._pending: Deadline | None = None
        self._writing = False
        self.sock = begun or socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)

    def start(self) -> None:
        """
        Connect; on this host that is often done at once.
        """
        self._pending = None
        code = self.sock.connect_ex(self._target)
        if code == EINPROGRESS:
            code = self.sock.connect_ex(self._target)
        if code in (0, EISCONN):
            self._dial.connected(self)
        elif code == EAGAIN:
            self._pending = self._dial.deadlines.after(_AGAIN, self.start)
        elif code in (EINPROGRESS, EALREADY):
            self._writing = True
            self._dial.reactor.addWriter(self)
        else:
            self._dial.failed(self, os.strerror(code))

    def doWrite(self) -> None:
        """
        The socket is connected, or failed.
        """
        self._stopWriting()
        self.start()

    def doRead(self) -> None:
        """
        Never asked for.
        """

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor saw a hang-up, and has forgotten us already.
        """
        self._writing = False
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._dial.failed(self, os.strerror(code) if code else "hung up")

    def fileno(self) -> int:
        """
        The descriptor of the socket.
        """
        return self.sock.fileno()

    def logPrefix(self) -> str:
        """
        What the reactor calls us in its own messages.
        """
        return "dial"

    def _stopWriting(self) -> None:
        if self._writing:
            self._writing = False
            self._dial.reactor.removeWriter(self)

    def release(self) -> socket.socket:
        """
        Give the socket away.
        """
        self._stopWriting()
        if self._pending is not None:
            self._pending.cancel()
        return self.sock

    def abandon(self) -> None:
        """
        Close the socket.
        """
        self.release().close()


@implementer(IResolutionReceiver)
class _Addresses:
    """
    Collects what the resolver finds for one name.
    """

    def __init__(self) -> None:
        self.found: list[Any] = []
        self.complete: Deferred[None] = Deferred(lambda _: None)

    def resolutionBegan(self, resolutionInProgress: object) -> None:
        """
        Nothing to remember: a resolution that comes too late is ignored.
        """

    def addressResolved(self, address: object) -> None:
        """
        One more.
        """
        self.found.append(address)

    def resolutionComplete(self) -> None:
        """
        That was all.
        """
        if not self.complete.called:
            self.complete.callback(None)


class Dial:
    """
    One dialling of one address, or of all addresses of a name.

    @ivar begun: a socket that is on its way to the first of them already.
    """

    begun: socket.socket | None = None

    def __init__(self, reactor: Any, deadlines: Deadlines, perAddress: float) -> None:
        self.reactor = reactor
        self.deadlines = deadlines
        self._perAddress = perAddress
        self._attempts: dict[_Attempt, Deadline] = {}
        self._waiting: list[Target] = []
        self._stagger: Deadline | None = None
        self._problems: list[str] = []
        self._outcome: Deferred[tuple[socket.socket, str]] = Deferred(lambda _: self._clear())

    async def to(self, *targets: Target) -> tuple[socket.socket, str]:
        """
        Connect to one of C{targets}.

        @return: a connected, non-blocking socket, and what the log calls its other end.
        @raise ConnectFailed: if none of them answers.
        """
        self._waiting = list(targets)
        self._next()
        return await self._outcome

    async def byName(self, address: TCPAddress) -> tuple[socket.socket, str]:
        """
        Connect to one of the addresses of a name.

        @raise ConnectFailed: if it has none, or none of them answers.
        """
        addresses = _Addresses()
        self.reactor.nameResolver.resolveHostName(
            addresses, address.host, address.port, transportSemantics="TCP"
        )
        timeout = self.deadlines.after(self._perAddress, addresses.resolutionComplete)
        try:
            await addresses.complete
        finally:
            timeout.cancel()
        if not addresses.found:
            raise ConnectFailed(f"the name {address.host} could not be resolved")
        found = _interleave(addresses.found)
        return await self.to(*(_target(each.host, each.port) for each in found))

    def _next(self) -> None:
        """
        Begin with the next address.
        """
        if self._stagger is not None:
            self._stagger.cancel()
            self._stagger = None
        if not self._waiting:
            if not self._attempts:
                self._clear()
                self._outcome.errback(ConnectFailed(", ".join(self._problems)))
            return
        family, target, name = self._waiting.pop(0)
        begun, self.begun = self.begun, None
        try:
            attempt = _Attempt(self, family, target, name, begun)
        except OSError as error:
            self._problems.append(f"{name}: {error.strerror}")
            self._next()
            return
        self._attempts[attempt] = self.deadlines.after(
            self._perAddress, lambda: self.failed(attempt, "no answer")
        )
        if self._waiting:
            self._stagger = self.deadlines.after(STAGGER, self._next)
        attempt.start()

    def connected(self, attempt: _Attempt) -> None:
        """
        C{attempt} was the first to succeed.
        """
        self._attempts.pop(attempt).cancel()
        sock = attempt.release()
        self._clear()
        self._outcome.callback((sock, attempt.name))

    def failed(self, attempt: _Attempt, problem: str) -> None:
        """
        C{attempt} has come to nothing.
        """
        deadline = self._attempts.pop(attempt, None)
        if deadline is None:
            return
        deadline.cancel()
        attempt.abandon()
        self._problems.append(f"{attempt.name}: {problem}")
        self._next()

    def _clear(self) -> None:
        if self._stagger is not None:
            self._stagger.cancel()
        self._waiting = []
        for attempt, deadline in self._attempts.items():
            deadline.cancel()
            attempt.abandon()
        self._attempts.clear()


class Dialler:
    """
    Connects to the first of some addresses that answers.
    """

    def __init__(
        self,
        reactor: Any,
        deadlines: Deadlines,
        addresses: Sequence[TCPAddress | UNIXAddress],
        perAddress: float,
    ) -> None:
        """
        @param perAddress: seconds that each address may take.
        """
        self._reactor = reactor
        self._deadlines = deadlines
        self._perAddress = perAddress
        self._places = [(each, _targetOf(each)) for each in addresses]
        self._here = self._places[0][1] if addresses[0].isLocal else None
        self._begun: tuple[socket.socket, int] | None = None

    async def dial(self) -> Leg:
        """
        Connect.

        @raise ConnectFailed: if no address answers.
        """
        leg = self.dialHere()
        if leg is not None:
            return leg
        problems = []
        begun, self._begun = self._begun, None
        for address, target in self._places:
            try:
                sock, name = await self._connect(address, target, begun)
            except ConnectFailed as error:
                problems.append(error.detail)
                begun = None
            else:
                if sock.family != socket.AF_UNIX:
                    tune(sock)
                return Leg(self._reactor, sock, addressOf(sock.getpeername()))
        raise ConnectFailed(", ".join(problems))

    async def _connect(
        self,
        address: TCPAddress | UNIXAddress,
        target: Target | None,
        begun: tuple[socket.socket, int] | None,
    ) -> tuple[socket.socket, str]:
        dial = Dial(self._reactor, self._deadlines, self._perAddress)
        if begun is not None:
            sock, code = begun
            if code not in (EINPROGRESS, EALREADY, EAGAIN):
                sock.close()
                raise ConnectFailed(f"{address}: {os.strerror(code)}")
            dial.begun = sock
        if target is not None:
            return await dial.to(target)
        assert isinstance(address, TCPAddress)
        if not address.isLiteral:
            return await dial.byName(address)
        try:
            target = _target(address.host, address.port)
        except OSError as error:
            raise ConnectFailed(f"{address}: {error.strerror or error}") from None
        return await dial.to(target)

    def dialHere(self) -> Leg | None:
        """
        Connect to the first address if it is one of this host: that is done when it has begun.

        @return: C{None} if it is another one, or takes longer, or fails: L{dial}, which must be
            called at once, goes on from there.
        """
        if self._here is None:
            return None
        family, where, name = self._here
        try:
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError:
            return None
        code = sock.connect_ex(where)
        if code == EINPROGRESS:
            code = sock.connect_ex(where)
        if code not in (0, EISCONN):
            self._begun = sock, code
            return None
        if family != socket.AF_UNIX:
            tune(sock)
        return Leg(self._reactor, sock, addressOf(sock.getpeername()))


def _targetOf(address: TCPAddress | UNIXAddress) -> Target | None:
    """
    Where to connect for C{address}; C{None} if that is to be found out each time: interfaces come
    and go, as do the addresses of a name.
    """
    if isinstance(address, UNIXAddress):
        return socket.AF_UNIX, address.path, str(address)
    isFixed = address.isLiteral and "%" not in address.host
    return _target(address.host, address.port) if isFixed else None


def _target(host: str, port: int) -> Target:
    """
    What C{connect} wants for a literal address.
    """
    name = str(TCPAddress(host, port))
    if ":" not in host:
        return socket.AF_INET, (host, port), name
    address, _, zone = host.partition("%")
    scope = (int(zone) if zone.isdigit() else socket.if_nametoindex(zone)) if zone else 0
    return socket.AF_INET6, (address, port, 0, scope), name


def _interleave(found: Iterable[Any]) -> list[Any]:
    """
    The families in turn, in the resolver's order (RFC 8305, section 4).
    """
    six = [each for each in found if isinstance(each, IPv6Address)]
    four = [each for each in found if isinstance(each, IPv4Address)]
    first, second = (
        (four, six) if found and isinstance(next(iter(found)), IPv4Address) else (six, four)
    )
    longest = max(len(first), len(second))
    return [each[n] for n in range(longest) for each in (first, second) if n < len(each)]
