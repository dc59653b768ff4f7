"""
Dialling: from addresses to a connected leg.

A L{Dialler} knows what a tunnel connects to, and how; which of it is tried, and when, is the
business of the L{tlstunnel.net.search.Search} that each connection has.  Names are resolved anew
when their time is over, and their addresses are tried one shortly after the other, so that a silent
one delays the rest but little (RFC 8305, section 5).  This module knows addresses, sockets and
limits, and nothing of what is spoken on the leg.

Twisted's HostnameEndpoint does the same for names, but gives a stock transport that owns the
socket: to take the socket out of it, it would have to be kept for as long as the leg lives.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from errno import errorcode
from itertools import islice
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from tlstunnel.address import Remote, SRVAddress, TCPAddress, UNIXAddress
from tlstunnel.errors import ConnectFailed, TunnelError
from tlstunnel.interfaces import ILeg
from tlstunnel.net.attempt import ANY, UNIX, Attempt, Target, begin, targetAt
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.destination import IDestination, IDialler
from tlstunnel.net.kernel import tune
from tlstunnel.net.leg import Leg
from tlstunnel.net.linger import Linger
from tlstunnel.net.remotes import Backend, Balance, Remotes
from tlstunnel.net.resolve import Directory
from tlstunnel.net.search import Search

if TYPE_CHECKING:
    from tlstunnel.tunnel.record import Record

#: Places that are shown at most.
BACKENDS_SHOWN = 200

#: Addresses of one name that are tried, however many it has: whoever answers for it says so.
ADDRESSES_PER_NAME = 50


@implementer(IDialler, IDestination)
class Dialler:
    """
    Connects to the first of some addresses that serves.

    @ivar addresses: those that were given.
    @ivar only: where to connect to, if there is one place and it is known.
    """

    def __init__(
        self,
        reactor: Any,
        deadlines: Deadlines,
        linger: Linger,
        addresses: Sequence[Remote],
        perAddress: float,
        keepAlive: float = 0,
        unixLeg: Callable[[socket.socket, TCPAddress | UNIXAddress], Leg] | None = None,
        via: Callable[[TCPAddress | UNIXAddress], Awaitable[Leg]] | None = None,
        remotes: Remotes | None = None,
        directory: Directory | None = None,
        balance: Balance | None = None,
        source: str = "",
    ) -> None:
        """
        @param linger: for the legs that come of it.
        @param perAddress: seconds that each address may take.
        @param keepAlive: see L{tune}.
        @param unixLeg: makes the legs that are UNIX sockets, if they are not like the others.
        @param via: connects through a proxy, which resolves the names.
        @param remotes: what is known of the places, where others connect to them as well.
        @param directory: knows what names mean.
        @param balance: chooses among several; by default in their order.
        @param source: the address of ours to connect from; by default the system chooses.
        """
        self._reactor = reactor
        self.deadlines = deadlines
        self._linger = linger
        self._perAddress = perAddress
        self._keepAlive = keepAlive
        self._unixLeg = unixLeg
        self._via = via
        self._source = source
        self.remotes = Remotes(reactor) if remotes is None else remotes
        self.directory = Directory(reactor) if directory is None else directory
        self.balance = Balance() if balance is None else balance
        self.addresses = tuple(dict.fromkeys(addresses))
        # The places that stay what they are; those of names, by what was given or is the target of
        # a service; and names that mean nothing at the moment.
        self._fixed: dict[Remote, dict[Backend, Target]] = {}
        self._found: dict[Remote, dict[Backend, Target]] = {}
        self._lost: dict[Remote, Backend] = {}
        self._targets: dict[Remote, Sequence[Remote]] = {}
        for each in self.addresses:
            target = _fixed(each) if via is None else _behind(each)
            if target is not None:
                self._fixed[each] = {self.remotes.backend(each): target}
        self.only: tuple[Backend, Target] | None = None
        if len(self.addresses) == len(self._fixed) == 1:
            (self.only,) = self._fixed[self.addresses[0]].items()

    @property
    def backends(self) -> list[Backend]:
        """
        The places as far as they are known, and not more than make sense to be shown.
        """
        found: dict[Backend, None] = {}
        for given in self.addresses:
            for each in (given, *self._targets.get(given, ())):
                if each in self._lost:
                    found[self._lost[each]] = None
                else:
                    found |= dict.fromkeys(self._fixed.get(each) or self._found.get(each) or ())
        return list(islice(found, BACKENDS_SHOWN))

    def follow(self, before: Dialler) -> None:
        """
        Know what C{before} has found out about addresses that are ours, too.
        """
        ours = set(self.addresses)
        self._targets |= {each: some for each, some in before._targets.items() if each in ours}
        ours.update(*self._targets.values())
        self._found |= {each: places for each, places in before._found.items() if each in ours}
        self._lost |= {each: lost for each, lost in before._lost.items() if each in ours}

    def search(self, record: Record | None = None, accepted: ILeg | None = None) -> Search:
        """
        See L{IDestination.search}; whose connection it is does not matter.
        """
        return Search(self)

    async def dial(self) -> ILeg:
        """
        See L{IDialler.dial}.
        """
        return await self.search().dial()

    # What a search asks for

    def fixed(self, address: Remote) -> dict[Backend, Target] | None:
        """
        Where to connect for C{address}, if that stays what it is.
        """
        return self._fixed.get(address)

    def lost(self, address: Remote) -> Backend | None:
        """
        What is known of C{address}, if it is a name that meant nothing when it was resolved last.
        """
        return self._lost.get(address)

    async def places(self, address: Remote) -> dict[Backend, Target]:
        """
        Where to connect for C{address}: at the moment, as interfaces come and go, and so do the
        addresses of a name.

        @raise ConnectFailed: there is no such place.
        """
        fixed = self._fixed.get(address)
        if fixed is not None:
            return fixed
        assert isinstance(address, TCPAddress)
        hosts: Sequence[str] = (address.host,)
        if not address.isLiteral:
            hosts = await self.directory.hosts(self.deadlines, address.host, self._perAddress)
            if not hosts:
                raise self._unresolved(address, f"the name {address.host} could not be resolved")
            self._resolved(address)
        try:
            targets = [targetAt(each, address.port) for each in hosts[:ADDRESSES_PER_NAME]]
        except OSError as error:
            raise ConnectFailed(f"{address}: {error.strerror or error}") from None
        found = self._found[address] = {
            self.remotes.backend(each.address): each for each in targets
        }
        return found

    async def targets(self, address: SRVAddress) -> Sequence[TCPAddress]:
        """
        The hosts that have a service, in the order in which to try them.

        @raise ConnectFailed: there is none.
        """
        found = await self.directory.service(self.deadlines, address, self._perAddress)
        if not found:
            why = f"no SRV record of {address.owner} could be found"
            if found is not None:
                why = f"{address.domain} says that it has no {address.service}"
            raise self._unresolved(address, why)
        self._resolved(address)
        self._targets[address] = found
        known = {*self.addresses, *(each for some in self._targets.values() for each in some)}
        for places in (self._found, self._lost):
            for gone in places.keys() - known:
                del places[gone]
        return found

    def _unresolved(self, address: Remote, why: str) -> ConnectFailed:
        """
        A name means nothing at the moment: that is left alone, too.
        """
        backend = self._lost[address] = self.remotes.backend(address)
        error = ConnectFailed(why, cause="unresolved")
        self.failed(backend, self.remotes.clock.seconds(), error)
        return error

    def _resolved(self, address: Remote) -> None:
        backend = self._lost.pop(address, None)
        if backend is not None:
            self.served(backend)

    async def hosts(self, address: Remote) -> Sequence[str]:
        """
        The addresses that C{address} means at the moment, for whoever wants only to know them.
        """
        if isinstance(address, SRVAddress):
            targets = await self.directory.service(self.deadlines, address, self._perAddress)
            return [host for each in targets or () for host in await self.hosts(each)]
        if address.isLiteral:
            return (address.host,)
        return await self.directory.hosts(self.deadlines, address.host, self._perAddress)

    async def connect(self, target: Target) -> Leg:
        """
        Connect to one place; if it is on this host that is often done at once.

        @raise ConnectFailed: it does not answer.
        """
        if self._via is not None:
            return await self._via(target.address)
        try:
            sock, code = begin(target, self._source)
            if code:
                try:
                    attempt = Attempt(self._reactor, self.deadlines, sock, target.where)
                    await attempt.finish(code, self._perAddress)
                except BaseException:
                    sock.close()
                    raise
        except OSError as error:
            cause = errorcode.get(error.errno or 0, "")
            raise ConnectFailed(f"{target.address}: {error.strerror}", cause=cause) from None
        if target.family != UNIX:
            tune(sock, self._keepAlive)
        elif self._unixLeg is not None:
            return self._unixLeg(sock, target.address)
        return Leg(self._reactor, self._linger, sock, target.address)

    def failed(self, backend: Backend, began: float, error: TunnelError) -> None:
        """
        C{backend} did not serve; see L{Remotes.failed}.
        """
        self.remotes.failed(backend, began, error, self._areSeveral)

    def served(self, backend: Backend) -> None:
        """
        C{backend} did serve.
        """
        self.remotes.served(backend, self._areSeveral)

    @property
    def _areSeveral(self) -> bool:
        return len(self.addresses) > 1 or (self.only is None and len(self.backends) > 1)


def _behind(address: Remote) -> Target | None:
    """
    Where to connect for C{address} through a proxy: there it is for the proxy to find out.
    """
    if isinstance(address, TCPAddress | UNIXAddress):
        return Target(ANY, None, address)
    return None


def _fixed(address: Remote) -> Target | None:
    """
    Where to connect for C{address}; C{None} if that is to be found out each time: interfaces come
    and go, as do the addresses of a name.
    """
    if isinstance(address, UNIXAddress):
        return Target(UNIX, address.path, address)
    if isinstance(address, TCPAddress) and address.isLiteral and "%" not in address.host:
        return targetAt(address.host, address.port)
    return None
