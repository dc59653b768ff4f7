"""
Where a tunnel has its own certificates from: its pool, or an agent that gives them for minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.lease import LEASES
from tlstunnel.identity.names import Identity
from tlstunnel.tunnel.description import Mode, Tunnel


def checkAgent(tunnel: Tunnel) -> None:
    """
    An agent gives certificates for identities that are named.

    @raise ConfigurationError: there are none, or nothing is certified.
    """
    if tunnel.agent is None:
        return
    subject = f"`agent` {tunnel.agent}"
    if tunnel.byRules:
        raise ConfigurationError(
            subject,
            "gives certificates for `local-id`, and the rules of the pool are about those in it",
            "name the identity of the tunnel, or leave out `agent`",
        )
    if tunnel.sharesKeys:
        raise ConfigurationError(
            subject, "gives certificates, and with `trust` psk there are none", "leave out `agent`"
        )
    if tunnel.mode is Mode.CLIENT and tunnel.localID is None:
        raise ConfigurationError(
            subject,
            "gives certificates for `local-id`, and none is given",
            "say who we are, or leave out `agent`",
        )


def credentialsOf(tunnel: Tunnel, identity: Identity) -> Credentials:
    """
    What a tunnel shows as C{identity}.

    @raise ConfigurationError: it is missing, or something about it is wrong.
    """
    if tunnel.agent is None:
        return tunnel.pool.credentials(identity)
    return LEASES.find(tunnel.agent, identity)


def wantedOf(tunnel: Tunnel) -> tuple[Identity, ...]:
    """
    The identities for which it needs an agent.
    """
    if tunnel.agent is None or tunnel.negotiatesOnly:
        return ()
    own = (each.identity for each in tunnel.names if not each.isWild)
    return tuple(dict.fromkeys((*tunnel.localIDs, *own)))


def keyFilesOf(tunnel: Tunnel) -> Iterator[Path]:
    """
    Where the keys are that a tunnel loads while it is prepared, as far as they can be found.
    """
    if tunnel.onward is not None:
        yield from keyFilesOf(tunnel.onward)
    if tunnel.agent is not None or tunnel.negotiatesOnly or tunnel.sharesKeys:
        return
    own = (each.identity for each in tunnel.names)
    for identity in dict.fromkeys((*tunnel.localIDs, *own)):
        with suppress(ConfigurationError):
            yield tunnel.pool.filesOf(identity)[1]
    if tunnel.byRules:
        yield from tunnel.pool.keyFiles()
