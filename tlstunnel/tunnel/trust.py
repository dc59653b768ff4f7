"""
Whom a tunnel believes: what it was told, or else what its pool says.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.names import Identity, Kind, Selector
from tlstunnel.identity.revocation import Revocations, loadRevocations
from tlstunnel.identity.trust import Trust, eitherTrust, loadAnchors, together
from tlstunnel.tunnel.description import PINS, WORDS, Tunnel


class TunnelTrust:
    """
    The trust of one tunnel, as it is when this is made.
    """

    def __init__(self, tunnel: Tunnel) -> None:
        """
        @raise ConfigurationError: what the tunnel is told to believe cannot be read.
        """
        self._pool = tunnel.pool
        told = [Path(each) for each in tunnel.trust if each not in WORDS]
        self._places = [tunnel.pool.path / "trust", *told]
        self._anchors = [
            replace(loadAnchors(where), source=f"--trust {where}")
            for where in tunnel.trust
            if where != PINS
        ]
        self._told: dict[bool, Trust] = {}

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
        if not isinstance(remote, AccessList):
            return self._believed(remote) if self._anchors else self._pool.trustFor(remote)
        if not self._anchors:
            return eitherTrust(self._pool.trustForAll(remote.selectors))
        return eitherTrust({each: self._believed(each) for each in remote.selectors})

    def _believed(self, remote: Identity | Selector) -> Trust:
        """
        Those whom the tunnel is told to believe, about C{remote}.
        """
        # The public web PKI knows no users and no workloads.
        isPublic = remote.kind is Kind.DOMAIN
        known = self._told.get(isPublic)
        if known is not None:
            return known
        counting = [each for each in self._anchors if isPublic or not each.system]
        if not counting:
            raise ConfigurationError(
                "`trust` system",
                f"knows nobody to believe about {remote}: the public web PKI knows domains alone",
                "give a file of anchors",
            )
        return self._told.setdefault(isPublic, Trust(together(counting)))
