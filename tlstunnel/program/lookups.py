"""
What the resolver of the system is asked by the program.

Whoever asks it is kept waiting for as long as it likes.  So the program itself asks before the
reactor runs, and never again: a reload looks nothing up, and what connections need the reactor's
resolver finds in a thread.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from threading import Thread
from typing import Any

from tlstunnel.address import TCPAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.tunnel import hostname
from tlstunnel.tunnel.description import Mode, Tunnel


def checkRemote(tunnel: Tunnel) -> None:
    """
    Find out whether all hosts of C{remote} resolve: one that does not is more often a typing error
    than a passing trouble.

    @raise ConfigurationError: if one does not, and that is not allowed.
    """
    for address in () if tunnel.skipResolve else tunnel.remote:
        if isinstance(address, TCPAddress) and (not address.isLiteral or "%" in address.host):
            try:
                socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            except OSError as error:
                raise ConfigurationError(
                    f"`remote` {address}",
                    f"the host name does not resolve ({error.strerror})",
                    "check its spelling, or give `skip-resolve`",
                ) from None


def named(tunnel: Tunnel) -> Tunnel:
    """
    Find the name of this host, where C{tunnel} needs it.

    @return: the same with that name.
    """
    ours = tunnel.localID
    if tunnel.mode is Mode.CLIENT and (ours is None or not hostname.written(ours.domain)):
        return replace(tunnel, hostName=hostname.lookUp())
    return tunnel


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
    Let C{reactor} stop at once, also while its resolver waits for an answer.
    """
    reactor.getThreadPool().threadFactory = _LookUp
