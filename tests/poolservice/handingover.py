"""
Hand-overs in the pool's own protocol, for tests.
"""

from __future__ import annotations

import socket
from typing import Any

from tests.loopback import SERVER, Encrypted

Fields = dict[str, Any]

AS_CLIENT: Fields = {"role": "client", "remote": SERVER}
AS_SERVER: Fields = {"role": "server", "local": SERVER}


def exchange(network: Encrypted, plain: socket.socket) -> None:
    """
    Some bytes each way.
    """
    plain.sendall(b"hello")
    assert network.read(5) == b"hello"
    network.write(b"world")
    assert plain.recv(5) == b"world"
