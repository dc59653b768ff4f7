"""
Listens where the status is shown, through all reloads.

What a new configuration wants is bound before anything is given up, so that it can be undone; an
address that stays keeps its socket.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twisted.application.service import Service
from twisted.logger import Logger

from tlstunnel.address import Address, addressOf
from tlstunnel.net.claim import Claim
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.listen import Bound, bindAll
from tlstunnel.net.port import ListeningPort
from tlstunnel.status.answers import Answers
from tlstunnel.status.hosts import Hosts
from tlstunnel.status.web import StatusSite


@dataclass
class _Place:
    """
    One socket.

    @ivar port: what accepts there, once it does, for C{site}.
    """

    bound: Bound
    site: StatusSite | None = None
    port: ListeningPort | None = None

    @property
    def name(self) -> str:
        return str(addressOf(self.bound.sock.getsockname()))

    def close(self) -> None:
        """
        Answer nobody any more.
        """
        if self.port is None or self.site is None:
            self.bound.close()
        else:
            self.port.stopListening()
            self.site.closeAll()


class StatusService(Service):
    """
    Shows the status at some addresses.
    """

    _log = Logger()

    def __init__(self, reactor: Any, answers: Answers) -> None:
        self._reactor = reactor
        self._answers = answers
        self._deadlines = Deadlines(reactor)
        self._hosts = Hosts((), "")
        self._places: dict[Address, list[_Place]] = {}
        self._next: dict[Address, list[_Place]] | None = None

    def bind(self, addresses: Sequence[Address]) -> None:
        """
        Get ready to show the status at C{addresses}, and nowhere else.  To look up a name may take
        its time.

        @raise ConfigurationError: one of them cannot be had; then nothing has changed.
        """
        self._next = {}
        try:
            for each in addresses:
                known = self._places.get(each)
                self._next[each] = known or [_Place(bound) for bound in bindAll(Claim((each,)))]
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """
        Forget what we are ready for.
        """
        wanted, self._next = self._next or {}, None
        _close(wanted, self._places)

    def commit(self) -> None:
        """
        Show it there from now on.  This cannot fail.
        """
        assert self._next is not None
        before, self._places, self._next = self._places, self._next, None
        self._hosts = Hosts(self._places, socket.gethostname())
        _close(before, self._places)
        if self.running:
            self._open()

    @property
    def addresses(self) -> list[str]:
        """
        Where it listens, as it came out.
        """
        return [each.name for places in self._places.values() for each in places]

    def startService(self) -> None:
        """
        Answer from now on.
        """
        super().startService()
        self._reactor.callWhenRunning(self._begun)

    def _begun(self) -> None:
        if self.running:
            self._open()

    def _open(self) -> None:
        for places in self._places.values():
            for each in places:
                if each.site is None:
                    self._answerAt(each)

    def _answerAt(self, place: _Place) -> None:
        family = place.bound.sock.family
        isUNIX = family == socket.AF_UNIX
        # No browser comes over UNIX sockets.
        site = StatusSite(self._answers, None if isUNIX else self._allow, self._reactor)

        def accepted(sock: socket.socket, peer: Address) -> None:
            # The reactor makes a copy, for which there may be no descriptor; if so, accepting fails
            # too, which the log says.
            with sock, suppress(OSError):
                self._reactor.adoptStreamConnection(sock.fileno(), family, site)

        place.site = site
        place.port = ListeningPort(self._reactor, self._deadlines, place.bound, accepted)
        place.port.startListening()
        where = place.name if isUNIX else f"http://{place.name}/"
        self._log.info("status at {local}", event="status", local=where)

    def _allow(self, host: str) -> bool:
        return self._hosts.allow(host)

    def stopService(self) -> None:
        """
        Answer nobody any more.
        """
        super().stopService()
        self.abort()
        before, self._places = self._places, {}
        _close(before, {})
        self._deadlines.clear()


def _close(places: dict[Address, list[_Place]], kept: dict[Address, list[_Place]]) -> None:
    """
    Close all that is in C{places} and not in C{kept}.
    """
    for address, several in places.items():
        if kept.get(address) is not several:
            for each in several:
                each.close()
