"""
What is risky where the same pre-shared key is used in both directions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.psk import isAmong
from tlstunnel.tunnel.access import whoMayCome
from tlstunnel.tunnel.description import Mode, Tunnel


def reflected(tunnel: Tunnel, others: Iterable[Tunnel]) -> Iterator[str]:
    """
    Whoever is on the way can connect a host with itself, where it would let its own key in (RFC
    9257, section 4.1).

    @param others: the tunnels of the same file.
    @return: a sentence for each of them that would do so.
    """
    client = tunnel.sides[-1]
    ours = client.localID
    if not client.sharesKeys or client.mode is not Mode.CLIENT or ours is None:
        return
    for other in others:
        if not (other.mode.acceptsTLS and other.sharesKeys and other.pool.path == client.pool.path):
            continue
        try:
            expected = whoMayCome(other)
        except ConfigurationError:
            # Which is told where it stands.
            continue
        if expected is not None and isAmong(ours, expected):
            yield (
                f"the key of {ours} is let in by {other.name} too, so that whoever is on the way "
                "could connect the two with each other; give each direction a key of its own, or "
                f"let {other.name} deny {ours}"
            )
