"""
What twistd needs: the options, and the service.
"""

from __future__ import annotations

from twisted.application.service import IService

from tlstunnel.errors import ConfigurationError
from tlstunnel.program import signals
from tlstunnel.program.commandline import TunnelOptions as Options
from tlstunnel.program.workers import makeProcess

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> IService:
    """
    The service for twistd, with its keys read and its sockets bound, so that what is wrong is said
    in one line before twistd goes to the background.
    """
    from twisted.internet import reactor

    try:
        signals.hold()
        process = makeProcess(options, reactor, ownLog=False)
        process.privilegedStartService()
    except ConfigurationError as error:
        raise SystemExit(f"tlstunnel: {error}") from None
    except OSError as error:
        raise SystemExit(f"tlstunnel: {error.strerror or error}") from None
    return process
