"""
What may be wrong with a pre-shared key.
"""

from __future__ import annotations

import socket
from typing import cast

from OpenSSL import SSL

from tlstunnel.errors import ConfigurationError, TunnelError
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.psk import KEY_BYTES, PresharedKey, loadPSK
from tlstunnel.tls.checkup import handshake
from tlstunnel.tls.creators import ClientCreator, Creator
from tlstunnel.tls.failures import handshakeFailure
from tlstunnel.tls.keyverifier import KeyVerifier
from tlstunnel.tls.psk import clientContext, serverContext

_MEMORY = cast(socket.socket, None)


def problemsOfPSK(pool: Pool, identity: Identity) -> list[str]:
    """
    Find everything that is wrong with the pre-shared key of C{identity}, a line for each problem.
    """
    try:
        key = loadPSK(pool, identity)
        refused = _refusal(key)
    except ConfigurationError as error:
        return [str(error)]
    problems = [] if refused is None else [f"{key.source}: OpenSSL does not take it: {refused}"]
    if key.isMadeUp:
        problems.append(
            f"{key.source}: the key looks as if somebody had made it up, and whoever records a "
            f"handshake can try what people make up; take {KEY_BYTES} random bytes"
        )
    return problems


def _refusal(key: PresharedKey) -> TunnelError | None:
    """
    Whether the two ends of a connection come together by it, in memory.
    """
    server = Creator(serverContext({key.name: key}, "1.2"), KeyVerifier(key.identity))
    client = ClientCreator(clientContext(key, "1.2"), KeyVerifier(key.identity, key.identity))
    sessions = server.session(), client.session()
    ends = server.connection(_MEMORY, sessions[0]), client.connection(_MEMORY, sessions[1])
    for end, session, error in zip(ends, sessions, handshake(*ends), strict=True):
        found = session.completed(end) if error is None else _failure(error, end)
        if found is not None:
            return found
    return None


def _failure(error: SSL.Error, end: SSL.Connection) -> TunnelError:
    return handshakeFailure(error, end.get_app_data())
