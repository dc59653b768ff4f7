"""
Dialling: from addresses, tried in order, to a connected leg.

Literal addresses and UNIX sockets are connected to directly; names are resolved for each
connection by the reactor's resolver, and their addresses are tried one shortly after the other, so
that a silent one delays the rest but little (RFC 8305, section 5).  This module knows addresses,
sockets and limits, and nothing of what is spoken on the leg.

Twisted's HostnameEndpoint does the same for names, but gives a stock transport that owns the
socket: to take the socket out of it, it would have to be kept for as long as the leg lives.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Coroutine, Iterable, Sequence
from errno import EAGAIN, EALREADY, EINPROGRESS, EISCONN, ETIMEDOUT, errorcode
from typing import Any, NamedTuple

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from tlstunnel.address import TCPAddress, UNIXAddress, addressOf
from tlstunnel.errors import ConnectFailed
from tlstunnel.interfaces import IDialler
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.descriptor import Descriptor
from tlstunnel.net.kernel import tune
from tlstunnel.net.leg import Leg
from tlstunnel.net.linger import Linger
from tlstunnel.net.resolve import resolve

#: Seconds to the next address of one name while the one before has not answered (RFC 8305).
STAGGER_SECONDS = 0.25

#: Addresses of one name that are tried, however many it has: whoever answers for it says so.
ADDRESSES_PER_NAME = 50

#: Seconds to the next try of a UNIX socket whose queue is full.
FULL_QUEUE_SECONDS = 0.05


# Plain numbers: an Enum costs each time that it is looked at.  macOS has no SOCK_NONBLOCK.
_NONBLOCKING = int(getattr(socket, "SOCK_NONBLOCK", 0))
_STREAM = int(socket.SOCK_STREAM) | _NONBLOCKING
_UNIX, _IPV4, _IPV6 = int(socket.AF_UNIX), int(socket.AF_INET), int(socket.AF_INET6)


class Target(NamedTuple):
    """
    One place to connect to.

    @ivar family: of the socket.
    @ivar where: what C{connect} wants.
    @ivar address: the same as a value.
    """

    family: int
    where: Any
    address: TCPAddress | UNIXAddress


class _Attempt(Descriptor):
    """
    A socket on its way to one place.
    """

    __slots__ = ("_deadlines", "_ready", "_where")

    def __init__(self, reactor: Any, deadlines: Deadlines, target: Target) -> None:
        """
        @raise OSError: if there is no socket for it.
        """
        super().__init__(reactor, socket.socket(target.family, _STREAM, 0))
        if not _NONBLOCKING:
            self.sock.setblocking(False)
        self._deadlines = deadlines
        self._where = target.where
        self._ready: Deferred[None] | None = None

    def begin(self) -> int:
        """
        Begin to connect, or look how far it is; on this host it is often done at once.

        @return: 0 once it is connected, else the error that says why it is not yet.
        @raise OSError: if it failed.
        """
        code = self.sock.connect_ex(self._where)
        if code == EINPROGRESS:
            code = self.sock.connect_ex(self._where)
        if code in (0, EISCONN):
            return 0
        if code in (EINPROGRESS, EALREADY, EAGAIN):
            return code
        raise OSError(code, os.strerror(code))

    async def finish(self, code: int, seconds: float) -> None:
        """
        Go on until it is connected.

        @param code: what L{begin} gave.
        @raise OSError: if it fails, or nobody answers within C{seconds}.
        """
        late = TimeoutError(ETIMEDOUT, "no answer")
        with self._deadlines.after(seconds, lambda: self._wake(late)):
            while code:
                await self._wait(code)
                code = self.begin()

    async def _wait(self, code: int) -> None:
        """
        Wait until there is reason to look again.
        """
        self._ready = Deferred(lambda _: None)
        if code == EAGAIN:
            with self._deadlines.after(FULL_QUEUE_SECONDS, self._wake):
                await self._ready
        else:
            self.startWriting()
            try:
                await self._ready
            finally:
                self.stopWriting()

    def _wake(self, error: OSError | None = None) -> None:
        ready, self._ready = self._ready, None
        if ready is None:
            return
        if error is None:
            ready.callback(None)
        else:
            ready.errback(error)

    def doWrite(self) -> None:
        """
        The socket is connected, or failed.
        """
        self._wake()

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor saw a hang-up, and has forgotten us already.
        """
        super().connectionLost(reason)
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._wake(OSError(code, os.strerror(code) if code else "hung up"))


class _Race:
    """
    Attempts that run at the same time; the first that succeeds wins.

    @ivar won: its leg.
    @ivar problems: what came of the others.
    """

    def __init__(self) -> None:
        self.won: Leg | None = None
        self.problems: list[ConnectFailed] = []
        self._running: set[Deferred[None]] = set()
        self._news: Deferred[None] = Deferred(lambda _: None)

    @property
    def isOver(self) -> bool:
        """
        Whether there is nobody to wait for.
        """
        return self.won is not None or not self._running

    def enter(self, attempt: Coroutine[Deferred[Any], Any, Leg]) -> None:
        """
        One more.
        """
        running = Deferred.fromCoroutine(self._run(attempt))
        self._running.add(running)
        running.addBoth(self._ended, running)

    async def _run(self, attempt: Coroutine[Deferred[Any], Any, Leg]) -> None:
        try:
            self.won = await attempt
        except ConnectFailed as error:
            self.problems.append(error)

    def _ended(self, result: Failure | None, running: Deferred[None]) -> Failure | None:
        self._running.discard(running)
        self.wake()
        if isinstance(result, Failure) and result.check(CancelledError):
            return None
        return result

    async def news(self) -> None:
        """
        Wait until one has ended, or L{wake} is called.
        """
        await self._news
        self._news = Deferred(lambda _: None)

    def wake(self) -> None:
        """
        Go on.
        """
        if not self._news.called:
            self._news.callback(None)

    def cancel(self) -> None:
        """
        Close the sockets of those that are still under way.
        """
        for each in tuple(self._running):
            each.cancel()


@implementer(IDialler)
class Dialler:
    """
    Connects to the first of some addresses that answers.
    """

    def __init__(
        self,
        reactor: Any,
        deadlines: Deadlines,
        linger: Linger,
        addresses: Sequence[TCPAddress | UNIXAddress],
        perAddress: float,
        keepAlive: float = 0,
        unixLeg: Callable[[socket.socket, TCPAddress | UNIXAddress], Leg] | None = None,
    ) -> None:
        """
        @param linger: for the legs that come of it.
        @param perAddress: seconds that each address may take.
        @param keepAlive: see L{tune}.
        @param unixLeg: makes the legs that are UNIX sockets, if they are not like the others.
        """
        self._reactor = reactor
        self._deadlines = deadlines
        self._linger = linger
        self._perAddress = perAddress
        self._keepAlive = keepAlive
        self._unixLeg = unixLeg
        self._places = [(each, _fixed(each)) for each in addresses]

    async def dial(self) -> Leg:
        """
        Connect; to a place on this host that is often done at once.

        @raise ConnectFailed: if no address answers.
        """
        problems = []
        cause = ""
        for address, target in self._places:
            try:
                if target is not None:
                    return await self._connect(target)
                return await self._connectFirst(await self._lookUp(address))
            except ConnectFailed as error:
                problems.append(error.detail)
                cause = error.cause
        raise ConnectFailed(", ".join(problems), cause=cause)

    async def _connect(self, target: Target) -> Leg:
        """
        Connect to one place.
        """
        try:
            attempt = _Attempt(self._reactor, self._deadlines, target)
            try:
                code = attempt.begin()
                if code:
                    await attempt.finish(code, self._perAddress)
            except BaseException:
                attempt.sock.close()
                raise
        except OSError as error:
            cause = errorcode.get(error.errno or 0, "")
            raise ConnectFailed(f"{target.address}: {error.strerror}", cause=cause) from None
        if target.family != _UNIX:
            tune(attempt.sock, self._keepAlive)
        elif self._unixLeg is not None:
            return self._unixLeg(attempt.sock, target.address)
        return Leg(self._reactor, self._linger, attempt.sock, target.address)

    async def _connectFirst(self, targets: Sequence[Target]) -> Leg:
        """
        Connect to the place that answers first: the next one is tried when one has failed, or has
        not answered for a moment.
        """
        race = _Race()
        try:
            for target in targets:
                race.enter(self._connect(target))
                with self._deadlines.after(STAGGER_SECONDS, race.wake):
                    await race.news()
                if race.won is not None:
                    break
            while not race.isOver:
                await race.news()
        finally:
            race.cancel()
        if race.won is None:
            problems = ", ".join(each.detail for each in race.problems)
            raise ConnectFailed(problems, cause=race.problems[-1].cause)
        return race.won

    async def _lookUp(self, address: TCPAddress | UNIXAddress) -> Sequence[Target]:
        """
        The places that an address means at the moment.

        @raise ConnectFailed: if there are none.
        """
        assert isinstance(address, TCPAddress)
        if address.isLiteral:
            try:
                return [_target(address.host, address.port)]
            except OSError as error:
                raise ConnectFailed(f"{address}: {error.strerror or error}") from None
        found = await resolve(
            self._reactor, self._deadlines, address.host, address.port, self._perAddress
        )
        if not found:
            raise ConnectFailed(
                f"the name {address.host} could not be resolved", cause="unresolved"
            )
        found = _interleave(found)[:ADDRESSES_PER_NAME]
        return [_target(each.host, each.port) for each in found]


def _fixed(address: TCPAddress | UNIXAddress) -> Target | None:
    """
    Where to connect for C{address}; C{None} if that is to be found out each time: interfaces come
    and go, as do the addresses of a name.
    """
    if isinstance(address, UNIXAddress):
        return Target(_UNIX, address.path, address)
    isFixed = address.isLiteral and "%" not in address.host
    return _target(address.host, address.port) if isFixed else None


def _target(host: str, port: int) -> Target:
    """
    What C{connect} wants for a literal address.
    """
    address = addressOf((host, port))
    if ":" not in host:
        return Target(_IPV4, (host, port), address)
    literal, _, zone = host.partition("%")
    scope = (int(zone) if zone.isdigit() else socket.if_nametoindex(zone)) if zone else 0
    return Target(_IPV6, (literal, port, 0, scope), address)


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
