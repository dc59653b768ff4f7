"""
Whom a tunnel believes: what it was told, or else what its pool says.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import AccessList, Identity, Selector
from tlstunnel.identity.revocation import Revocations, loadRevocations
from tlstunnel.identity.trust import Trust, eitherTrust, loadAnchors, together
from tlstunnel.tunnel.description import Tunnel


class TunnelTrust:
    """
    The trust of one tunnel, as it is when this is made.
    """

    def __init__(self, tunnel: Tunnel) -> None:
        """
        @raise ConfigurationError: what the tunnel is told to believe cannot be read.
        """
        self._pool = tunnel.pool
        told = [Path(each) for each in tunnel.trust if each != "system"]
        self._places = [tunnel.pool.path / "trust", *told]
        self._anchors = [
            replace(loadAnchors(where), source=f"--trust {where}") for where in tunnel.trust
        ]

    def revocations(self) -> Revocations:
        """
        The lists of what was revoked: those beside the pool's anchors, and those in directories
        that the tunnel is told to believe.

        @raise ConfigurationError: one cannot be read, or is not understood.
        """
        return loadRevocations(self._places)

    def about(self, remote: Identity | Selector | AccessList) -> Trust:
        """
        Find out whom to believe about C{remote}.

        @raise ConfigurationError: nobody.
        """
        if isinstance(remote, AccessList):
            return eitherTrust({each: self.about(each) for each in remote.selectors})
        if not self._anchors:
            return self._pool.trustFor(remote)
        # The public web PKI knows no users.
        isAboutUsers = remote.user is not None
        counting = [each for each in self._anchors if not (each.system and isAboutUsers)]
        if not counting:
            raise ConfigurationError(
                "`trust` system",
                f"knows nobody to believe about {remote}: the public web PKI knows no users",
                "give a file of anchors",
            )
        return Trust(together(counting))
