"""
The sockets at which a process listens, through all its reloads.

An address that stays keeps its socket, with the connections that wait in its queue, also when
another tunnel has it from now on.  What changes is bound before anything is given up, so that it
can be undone.  This module knows addresses and sockets, and nothing of who accepts.
"""

from __future__ import annotations

import socket
from collections.abc import Container, Hashable, Sequence
from dataclasses import dataclass

from tlstunnel.address import InheritedAddress, Listening, TCPAddress, UNIXAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.net.access import Permissions, SocketAccess
from tlstunnel.net.listen import Bound, bindBeside, hasIPv4Beside, listenFrom, share
from tlstunnel.program.plan import Refusal, Refused
from tlstunnel.tunnel.description import Tunnel


@dataclass
class _Place:
    """
    One address, and what listens there.
    """

    bound: tuple[Bound, ...]
    access: SocketAccess


class Binding:
    """
    The sockets for a new state of all tunnels; to be kept, or to be undone.

    @ivar bound: those of each tunnel, by its name.
    """

    def __init__(self, sockets: Sockets, leaving: Sequence[socket.socket] = ()) -> None:
        """
        @param leaving: the sockets of TCP at addresses that are not in the new state.
        """
        self._leaving = leaving
        self.bound: dict[str, tuple[Bound, ...]] = {}
        self._sockets = sockets
        self._places: dict[Hashable, _Place] = {}
        self._fresh: list[Bound] = []
        self._before: list[Permissions] = []

    def bind(self, tunnel: Tunnel) -> None:
        """
        Find or make the sockets of one tunnel.

        @raise ConfigurationError: at one of its addresses we cannot listen.
        """
        found: list[Bound] = []
        for index, address in enumerate(tunnel.local):
            key = _key(tunnel, index, address)
            if key in self._places:
                raise ConfigurationError(
                    f"`local` {address}", "is there twice", "leave one of them out"
                )
            place = self._sockets.find(key)
            if place is None:
                fresh = bindBeside(address, tunnel.local, tunnel.access, self._leavingAt(address))
                self._fresh += fresh
                place = _Place(tuple(fresh), tunnel.access)
            elif isinstance(address, UNIXAddress) and place.access != tunnel.access:
                self._permit(address.path, tunnel.access)
                place = _Place(place.bound, tunnel.access)
            self._places[key] = place
            found += place.bound
        self.bound[tunnel.name] = tuple(found)

    def _leavingAt(self, address: Listening) -> list[socket.socket]:
        port = address.port if isinstance(address, TCPAddress) else None
        return [each for each in self._leaving if each.getsockname()[1] == port]

    def _permit(self, path: str, access: SocketAccess) -> None:
        try:
            before = Permissions.of(path)
        except OSError as error:
            raise ConfigurationError(
                f"`local` {path}", f"{error.strerror}", "restart the program to make it again"
            ) from None
        self._before.append(before)
        before.change(access)

    def listen(self) -> None:
        """
        Let all of them listen, also at places that we still have in another form.
        """
        fresh = [each.sock for each in self._fresh if not each.unlink]
        listenFrom(fresh)
        share([*fresh, *self._leaving], False)

    def keep(self) -> None:
        """
        It is what we have from now on; what is not in it is closed.
        """
        self._sockets.keep(self._places)

    def undo(self) -> None:
        """
        All is as before.
        """
        for each in self._fresh:
            each.close()
        share(self._leaving, False)
        for permissions in reversed(self._before):
            permissions.restore()


class Sockets:
    """
    All of them.
    """

    def __init__(self) -> None:
        self._places: dict[Hashable, _Place] = {}

    def bind(self, tunnels: Sequence[Tunnel]) -> Binding:
        """
        Find or make the sockets of C{tunnels}.

        @raise Refused: some cannot be made; then none is.
        """
        wanted = {
            _key(tunnel, index, address)
            for tunnel in tunnels
            for index, address in enumerate(tunnel.local)
        }
        binding = Binding(self, self._leaving(wanted))
        refusals: list[Refusal] = []
        for tunnel in tunnels:
            try:
                binding.bind(tunnel)
            except ConfigurationError as error:
                refusals.append((tunnel.name, error))
        if refusals:
            binding.undo()
            raise Refused(refusals)
        return binding

    def asksResolver(self, tunnels: Sequence[Tunnel]) -> bool:
        """
        Whether to bind C{tunnels} takes the resolver of the system, which may take its time.
        """
        return any(
            isinstance(address, TCPAddress)
            and bool(address.host)
            and not address.isLiteral
            and _key(tunnel, index, address) not in self._places
            for tunnel in tunnels
            for index, address in enumerate(tunnel.local)
        )

    def _leaving(self, wanted: Container[Hashable]) -> list[socket.socket]:
        return [
            each.sock
            for key, place in self._places.items()
            for each in place.bound
            if key not in wanted
            and not isinstance(key, InheritedAddress)
            and each.sock.family != socket.AF_UNIX
        ]

    def find(self, key: Hashable) -> _Place | None:
        """
        What listens there now, and can be reached.
        """
        place = self._places.get(key)
        isThere = place is not None and all(each.isThere for each in place.bound)
        return place if isThere else None

    def keep(self, places: dict[Hashable, _Place]) -> None:
        """
        Have only C{places} from now on.
        """
        before, self._places = self._places, dict(places)
        kept = {each for place in places.values() for each in place.bound}
        for key, place in before.items():
            if isinstance(key, InheritedAddress):
                # Who made it listens on, and hands it down only once: another tunnel may want it.
                self._places[key] = place
                continue
            for each in place.bound:
                if each not in kept:
                    each.close()

    def close(self) -> None:
        """
        Listen no more.
        """
        for place in self._places.values():
            for each in place.bound:
                each.close()
        self._places = {}


def _key(tunnel: Tunnel, index: int, address: Listening) -> Hashable:
    """
    What it takes to be the same socket.
    """
    if not isinstance(address, TCPAddress):
        return address
    if not address.port:
        # Each is another one, which the system chooses.
        return tunnel.name, address, tunnel.local[:index].count(address)
    return address, address.host in ("", "::") and hasIPv4Beside(address, tunnel.local)
