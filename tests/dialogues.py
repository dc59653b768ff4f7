"""
What is said up to TLS on both sides of a tunnel, for tests.
"""

from __future__ import annotations

import socket

from tests.loopback import Plain
from tlstunnel.program.service import TunnelService
from tlstunnel.tunnel.pair import Pair


def dialogue(sock: socket.socket, *steps: tuple[str, bytes]) -> None:
    """
    Hear (C{"hear"}) and say (C{"say"}) on a raw socket; what is heard must be exactly that.
    """
    for what, data in steps:
        if what == "say":
            sock.sendall(data)
        else:
            heard = Plain(sock).read(len(data))
            assert heard == data, f"expected {data!r}, heard {heard!r}"


def pairsOf(service: TunnelService) -> set[Pair]:
    """
    The connections of a tunnel.
    """
    assert service.factory is not None
    return service.factory.pairs


def closeAll(socks: list[socket.socket]) -> None:
    """
    Close all C{socks}.
    """
    for sock in socks:
        sock.close()


#: What precedes TLS for an SMTP client of a server tunnel.
ASK = (
    ("hear", b"220 server.example.org ESMTP\r\n"),
    ("say", b"EHLO client\r\n"),
    ("hear", b"250-server.example.org\r\n250 STARTTLS\r\n"),
    ("say", b"STARTTLS\r\n"),
    ("hear", b"220 2.0.0 Ready to start TLS\r\n"),
)
