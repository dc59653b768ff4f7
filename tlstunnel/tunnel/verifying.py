"""
For what a tunnel verifies signatures of others.
"""

from __future__ import annotations

from collections.abc import Iterator

from tlstunnel.tunnel.description import Tunnel


def verifying(tunnel: Tunnel) -> Iterator[str]:
    """
    The settings that ask for it, or for new keys, as they stand in messages; nothing where nobody
    is verified, or those who share a key with us.
    """
    if tunnel.negotiatesOnly or tunnel.sharesKeys:
        return
    if tunnel.agent is not None:
        # Keys are made for it, which nobody but ourselves is to do.
        yield f"`agent` {tunnel.agent}"
    if tunnel.mode.connectsTLS:
        yield f"`{tunnel.mode.value}`"
    if not tunnel.mode.acceptsTLS:
        return
    if not tunnel.isOpen:
        yield "`pin`" if tunnel.believesPins else "`remote-id`"
    if any(each.remoteID is not None for each in tunnel.names):
        yield "`remote-id`"
    if tunnel.ocspStapling:
        yield "`ocsp-stapling`"
