"""
Listens where the status is shown.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure

from tlstunnel.address import TCPAddress, UNIXAddress, addressOf
from tlstunnel.errors import ConfigurationError
from tlstunnel.net.listen import Bound, bindAll
from tlstunnel.status.answers import Answers
from tlstunnel.status.hosts import Hosts
from tlstunnel.status.web import StatusSite

Address = TCPAddress | UNIXAddress

T = TypeVar("T")


def checkPublic(addresses: Sequence[Address], isPublic: bool) -> None:
    """
    The status is for this host alone, unless the administrator says otherwise.

    @raise ConfigurationError: one of C{addresses} can be reached from elsewhere.
    """
    for each in addresses:
        if not each.isLocal and not isPublic:
            raise ConfigurationError(
                f"`local` {each}",
                "would show the status to other hosts",
                "give an address such as 127.0.0.1 or a UNIX socket, or allow it with "
                "`public` = true",
            )


class StatusService(Service):
    """
    Shows the status at some addresses.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, addresses: Sequence[Address], answers: Answers, isPublic: bool = False
    ) -> None:
        """
        @param isPublic: whether others than this host may be among those that reach C{addresses}.
        """
        self._reactor = reactor
        self._wanted = tuple(addresses)
        self._answers = answers
        self._isPublic = isPublic
        self._bound: list[Bound] = []
        self._ports: list[IListeningPort] = []
        self._sites: list[StatusSite] = []

    def privilegedStartService(self) -> None:
        """
        Bind while we may.

        @raise ConfigurationError: an address cannot be had, or would show the status to others.
        """
        if not self._bound:
            checkPublic(self._wanted, self._isPublic)
            self._bound = bindAll(self._wanted)

    @property
    def addresses(self) -> list[str]:
        """
        Where it listens, as it came out.
        """
        return [str(addressOf(each.sock.getsockname())) for each in self._bound]

    def startService(self) -> None:
        """
        Answer from now on.
        """
        self.privilegedStartService()
        super().startService()
        hosts = Hosts(self._wanted, socket.gethostname())
        for each in self._bound:
            isUNIX = each.sock.family == socket.AF_UNIX
            site = StatusSite(self._answers, None if isUNIX else hosts, self._reactor)
            self._sites.append(site)
            self._ports.append(
                self._reactor.adoptStreamPort(each.sock.fileno(), each.sock.family, site)
            )
        self._reactor.callWhenRunning(self._announce)

    def _announce(self) -> None:
        for each in self.addresses:
            where = each if each.startswith(("/", "unix")) else f"http://{each}/"
            self._log.info("status at {local}", event="status", local=where)

    def stopService(self) -> Deferred[Any]:
        """
        Answer nobody any more.

        @return: fires when the addresses are free again.
        """
        super().stopService()
        for site in self._sites:
            site.closeAll()
        stopped = [
            maybeDeferred(port.stopListening).addErrback(_trapOSError).addBoth(_closing, each)
            for port, each in zip(self._ports, self._bound, strict=bool(self._ports))
        ]
        if not self._ports:
            for each in self._bound:
                each.close()
        self._bound, self._ports, self._sites = [], [], []
        return gatherResults(stopped)


def _trapOSError(failure: Failure) -> None:
    """
    A UNIX socket may not be ours to remove any more.
    """
    failure.trap(OSError)


def _closing(result: T, bound: Bound) -> T:
    bound.sock.close()
    return result
