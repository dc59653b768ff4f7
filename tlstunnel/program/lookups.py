"""
What the resolver of the system is asked by the program.

Whoever asks it is kept waiting for as long as it likes.  So the program itself asks before the
reactor runs, and later in a thread: a reload, for what is new in it, and the reactor's resolver,
for what connections need.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Thread
from typing import Any

from tlstunnel.address import Remote, SRVAddress, TCPAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.net.services import NoRecords, askNow
from tlstunnel.program.plan import Refusal
from tlstunnel.tunnel import hostname
from tlstunnel.tunnel.description import Tunnel

#: Tunnels whose hosts are looked up at the same time.
LOOK_UPS = 16

#: Threads of the reactor, which begin when they are needed: of names that are looked up, each takes
#: one at most.
THREADS = 64


def checkRemote(tunnel: Tunnel) -> None:
    """
    Find out whether all hosts of C{remote} resolve: one that does not is more often a typing error
    than a passing trouble.  What a proxy resolves is looked up by nobody else.

    @raise ConfigurationError: if one does not, and that is not allowed.
    """
    key = "remote"
    addresses: Sequence[Remote] = tunnel.remotes
    if tunnel.via is not None:
        key, addresses = "via", (tunnel.via.address,)
    for address in () if tunnel.skipResolve else addresses:
        if isinstance(address, SRVAddress):
            _checkService(address)
        elif isinstance(address, TCPAddress) and (not address.isLiteral or "%" in address.host):
            try:
                socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            except OSError as error:
                raise ConfigurationError(
                    f"`{key}` {address}",
                    f"the host name does not resolve ({error.strerror})",
                    "check its spelling, or give `skip-resolve`",
                ) from None


def _checkService(address: SRVAddress) -> None:
    try:
        askNow(address.owner)
    except NoRecords:
        raise ConfigurationError(
            f"`remote` {address}",
            f"no SRV record of {address.owner} was found",
            "check its spelling, or give `skip-resolve`",
        ) from None


def checkRemotes(tunnels: Sequence[Tunnel]) -> list[Refusal]:
    """
    The same for several tunnels, at the same time: where the resolver does not answer, each would
    take half a minute.

    @return: what is wrong with which.
    """
    if len(tunnels) < 2:
        return [(each.name, error) for each in tunnels if (error := _errorOf(each)) is not None]
    with ThreadPoolExecutor(min(len(tunnels), LOOK_UPS)) as threads:
        errors = list(threads.map(_errorOf, tunnels))
    return [
        (tunnel.name, error)
        for tunnel, error in zip(tunnels, errors, strict=True)
        if error is not None
    ]


def _errorOf(tunnel: Tunnel) -> ConfigurationError | None:
    try:
        checkRemote(tunnel)
    except ConfigurationError as error:
        return error
    return None


class HostNames:
    """
    The name of this host, which is looked up once, if a tunnel needs it.
    """

    def __init__(self) -> None:
        self._name = ""

    def isMissing(self, tunnel: Tunnel) -> bool:
        """
        Whether C{tunnel} needs it, and it is not known yet.
        """
        return not self._name and self._isNeeded(tunnel)

    def _isNeeded(self, tunnel: Tunnel) -> bool:
        if not tunnel.mode.connectsTLS:
            return False
        ours = tunnel.sides[-1].localID
        return ours is None or not hostname.written(ours.domain)

    def lookUp(self) -> None:
        """
        Look it up, which may take its time.
        """
        self._name = hostname.lookUp()

    def named(self, tunnel: Tunnel) -> Tunnel:
        """
        Say in C{tunnel} what this host is called, if it needs that.

        @return: the same with that name.
        """
        if not self._isNeeded(tunnel):
            return tunnel
        if not self._name:
            self.lookUp()
        return replace(tunnel, hostName=self._name)


class _LookUp(Thread):
    """
    A thread that nobody waits for.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(daemon=True, **settings)

    def join(self, timeout: float | None = None) -> None:
        """
        What it is still asking, nobody wants to know any more.
        """


def abandonAtEnd(reactor: Any) -> None:
    """
    Let C{reactor} stop at once, also while its resolver waits for an answer; and let a name be
    looked up while others are waited for, each of which has a thread.
    """
    reactor.suggestThreadPoolSize(THREADS)
    reactor.getThreadPool().threadFactory = _LookUp
