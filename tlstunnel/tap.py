"""
What twistd needs: the options, and the service.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from twisted.application.service import IService, Service

from tlstunnel.address import InheritedAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.program.commandline import TunnelOptions as Options
from tlstunnel.program.service import TunnelService
from tlstunnel.program.workers import WORKER, WorkersService, socketName
from tlstunnel.tunnel.description import Tunnel

__all__ = ["Options", "makeService"]


def serviceFor(options: Options, reactor: Any, ownLog: bool) -> Service:
    """
    What runs the tunnel of C{options}: in this process, in workers, or as one of these.

    @param ownLog: whether workers log to standard error themselves.
    """
    tunnel: Tunnel = options["tunnel"]
    if WORKER in os.environ:
        handed = (InheritedAddress(socketName(index)) for index in range(len(tunnel.local)))
        return TunnelService(replace(tunnel, local=tuple(handed)), reactor)
    if options["workers"] > 1:
        return WorkersService(tunnel, reactor, options["workers"], options.words, ownLog)
    return TunnelService(tunnel, reactor)


def makeService(options: Options) -> IService:
    """
    The service for twistd, with its keys read and its sockets bound, so that what is wrong is said
    in one line before twistd goes to the background.
    """
    from twisted.internet import reactor

    service = serviceFor(options, reactor, ownLog=False)
    try:
        service.privilegedStartService()
    except ConfigurationError as error:
        raise SystemExit(f"tlstunnel: {error}") from None
    return service
