"""
The sockets at which a process listens, through all its reloads.

An address that stays keeps its socket, with the connections that wait in its queue, also when
another tunnel has it from now on.  What changes is bound before anything is given up, so that it
can be undone.  This module knows addresses and sockets, and nothing of who accepts.
"""

from __future__ import annotations

import socket
from collections.abc import Container, Generator, Hashable, Sequence
from dataclasses import dataclass

from tlstunnel.address import InheritedAddress, Listening, TCPAddress, UNIXAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.net.access import Permissions, SocketAccess
from tlstunnel.net.claim import Claim
from tlstunnel.net.listen import Bound, bindOne, listenFrom, share
from tlstunnel.net.spreading import atOnce
from tlstunnel.program.plan import Refusal, Refused


@dataclass
class _Place:
    """
    One address, and what listens there.
    """

    bound: tuple[Bound, ...]
    access: SocketAccess


class Binding:
    """
    The sockets for a new state of all that is served; to be kept, or to be undone.

    @ivar bound: those of each tunnel, and of the pool service, by their names.
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

    def bind(self, claim: Claim) -> None:
        """
        Find or make the sockets of C{claim}.

        @raise ConfigurationError: at one of its addresses we cannot listen.
        """
        found: list[Bound] = []
        for index, address in enumerate(claim.addresses):
            key = _key(claim, index, address)
            if key in self._places:
                raise ConfigurationError(
                    claim.subject(address), "is there twice", "leave one of them out"
                )
            place = self._sockets.find(key)
            if place is None:
                fresh = bindOne(address, claim, self._leavingAt(address))
                self._fresh += fresh
                place = _Place(tuple(fresh), claim.access)
            elif isinstance(address, UNIXAddress) and place.access != claim.access:
                self._permit(address, claim)
                place = _Place(place.bound, claim.access)
            self._places[key] = place
            found += place.bound
        self.bound[claim.name] = (*self.bound.get(claim.name, ()), *found)

    def _leavingAt(self, address: Listening) -> list[socket.socket]:
        port = address.port if isinstance(address, TCPAddress) else None
        return [each for each in self._leaving if each.getsockname()[1] == port]

    def _permit(self, address: UNIXAddress, claim: Claim) -> None:
        try:
            before = Permissions.of(address.path)
        except OSError as error:
            raise ConfigurationError(
                claim.subject(address), f"{error.strerror}", "restart the program to make it again"
            ) from None
        self._before.append(before)
        before.change(claim.access)

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

    def bind(self, claims: Sequence[Claim]) -> Binding:
        """
        The same as L{binding}, at once.
        """
        return atOnce(self.binding(claims))

    def binding(self, claims: Sequence[Claim]) -> Generator[None, None, Binding]:
        """
        Find or make the sockets of C{claims}, those of one a step.

        @raise Refused: some cannot be made; then none is.
        """
        wanted = {
            _key(claim, index, address)
            for claim in claims
            for index, address in enumerate(claim.addresses)
        }
        binding = Binding(self, self._leaving(wanted))
        refusals: list[Refusal] = []
        try:
            for claim in claims:
                try:
                    binding.bind(claim)
                except ConfigurationError as error:
                    refusals.append((claim.name, error))
                yield
            if refusals:
                raise Refused(refusals)
        except BaseException:
            # Also where nobody waits for it any more.
            binding.undo()
            raise
        return binding

    def asksResolver(self, claims: Sequence[Claim]) -> bool:
        """
        Whether to bind C{claims} takes the resolver of the system, which may take its time.
        """
        return any(
            isinstance(address, TCPAddress)
            and bool(address.host)
            and not address.isLiteral
            and _key(claim, index, address) not in self._places
            for claim in claims
            for index, address in enumerate(claim.addresses)
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


def _key(claim: Claim, index: int, address: Listening) -> Hashable:
    """
    What it takes to be the same socket.
    """
    if isinstance(address, UNIXAddress):
        return address, claim.kind
    if not isinstance(address, TCPAddress):
        return address
    if not address.port:
        # Each is another one, which the system chooses.
        return claim.name, address, claim.addresses[:index].count(address)
    return address, address.host in ("", "::") and claim.leavesIPv4(address)
