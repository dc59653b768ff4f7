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

import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from errno import errorcode
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from zope.interface import implementer

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import ConnectFailed
from tlstunnel.interfaces import IDialler
from tlstunnel.net.attempt import UNIX, Attempt, Race, Target, targetAt
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.kernel import tune
from tlstunnel.net.leg import Leg
from tlstunnel.net.linger import Linger
from tlstunnel.net.resolve import resolve

#: Seconds to the next address of one name while the one before has not answered (RFC 8305).
STAGGER_SECONDS = 0.25

#: Addresses of one name that are tried, however many it has: whoever answers for it says so.
ADDRESSES_PER_NAME = 50


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
        via: Callable[[TCPAddress | UNIXAddress], Awaitable[Leg]] | None = None,
    ) -> None:
        """
        @param linger: for the legs that come of it.
        @param perAddress: seconds that each address may take.
        @param keepAlive: see L{tune}.
        @param unixLeg: makes the legs that are UNIX sockets, if they are not like the others.
        @param via: connects through a proxy, which resolves the names.
        """
        self._reactor = reactor
        self._deadlines = deadlines
        self._linger = linger
        self._perAddress = perAddress
        self._keepAlive = keepAlive
        self._unixLeg = unixLeg
        self._via = via
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
                if self._via is not None:
                    return await self._via(address)
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
            attempt = Attempt(self._reactor, self._deadlines, target)
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
        if target.family != UNIX:
            tune(attempt.sock, self._keepAlive)
        elif self._unixLeg is not None:
            return self._unixLeg(attempt.sock, target.address)
        return Leg(self._reactor, self._linger, attempt.sock, target.address)

    async def _connectFirst(self, targets: Sequence[Target]) -> Leg:
        """
        Connect to the place that answers first: the next one is tried when one has failed, or has
        not answered for a moment.
        """
        race = Race()
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
                return [targetAt(address.host, address.port)]
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
        return [targetAt(each.host, each.port) for each in found]


def _fixed(address: TCPAddress | UNIXAddress) -> Target | None:
    """
    Where to connect for C{address}; C{None} if that is to be found out each time: interfaces come
    and go, as do the addresses of a name.
    """
    if isinstance(address, UNIXAddress):
        return Target(UNIX, address.path, address)
    isFixed = address.isLiteral and "%" not in address.host
    return targetAt(address.host, address.port) if isFixed else None


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
