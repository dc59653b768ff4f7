"""
Whom a tunnel believes: what it was told, or else what its pool says.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tlstunnel.address import SRVAddress, UNIXAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.names import Identity, Kind, Selector
from tlstunnel.identity.revocation import Revocations
from tlstunnel.identity.revocationfiles import loadRevocations
from tlstunnel.identity.trust import Trust, eitherTrust, loadAnchors, together
from tlstunnel.tunnel.description import DANE, PINS, PSK, WORDS, Mode, Tunnel
from tlstunnel.tunnel.expected import identityOfRemote


class TunnelTrust:
    """
    The trust of one tunnel, as it is when this is made.

    @ivar byTLSA: whether TLSA records decide first, where there are any.
    @ivar hasAnchors: whether anybody decides where there are none.
    """

    def __init__(self, tunnel: Tunnel) -> None:
        """
        @raise ConfigurationError: what the tunnel is told to believe cannot be read.
        """
        checkDANE(tunnel)
        self._pool = tunnel.pool
        told = [Path(each) for each in tunnel.trust if each not in WORDS]
        self._places = [tunnel.pool.path / "trust", *told]
        option = "--client-trust" if tunnel.mode is Mode.BRIDGE else "--trust"
        self._anchors = [
            replace(loadAnchors(where), source=f"{option} {where}")
            for where in tunnel.trust
            if where not in (DANE, PINS, PSK)
        ]
        self._told: dict[bool, Trust] = {}
        self.byTLSA = DANE in tunnel.trust
        self.hasAnchors = bool(self._anchors) or not self.byTLSA

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
        if not self.hasAnchors:
            raise ConfigurationError(
                f"`trust` {DANE}", f"knows no anchors for {remote}", "give a file of anchors too"
            )
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
                f"has no authority for {remote}: the public web PKI is for domains alone",
                "give a file of anchors",
            )
        return self._told.setdefault(isPublic, Trust(together(counting)))


def checkDANE(tunnel: Tunnel) -> None:
    """
    See that a tunnel can look up the records that it is told to believe.

    @raise ConfigurationError: it cannot.
    """
    if DANE not in tunnel.trust:
        if tunnel.daneResolver is not None:
            raise ConfigurationError(
                "`dane-resolver`", "is there for nothing", f"give `trust` {DANE} too"
            )
        return
    if tunnel.mode.acceptsTLS:
        raise ConfigurationError(
            f"`trust` {DANE}",
            "is about servers, and clients have no TLSA records",
            "give a file of anchors",
        )
    if tunnel.daneResolver is None:
        raise ConfigurationError(
            f"`trust` {DANE}",
            "needs a resolver that validates, on this host",
            "give its address with `dane-resolver`, such as 127.0.0.1",
        )
    if tunnel.requireStaple:
        raise ConfigurationError(
            "`require-staple`",
            f"is about authorities, and with `trust` {DANE} a server may have none",
            "leave one of them out",
        )
    expected = tunnel.remoteID or identityOfRemote(tunnel.remote)
    if isinstance(expected, Identity) and not expected.isHost:
        raise ConfigurationError(
            f"`remote-id` {expected}",
            f"is no domain, and with `trust` {DANE} it has to be the name of a host",
            "give the name that has the TLSA records",
        )
    for each in tunnel.remote:
        if isinstance(each, SRVAddress):
            raise ConfigurationError(
                f"`remote` {each}",
                f"names hosts that only DNS knows, and with `trust` {DANE} DNS may not say whom to "
                "expect",
                "give the host and its port",
            )
        if isinstance(each, UNIXAddress):
            raise ConfigurationError(
                f"`remote` {each}",
                f"has no port, which `trust` {DANE} looks up records for",
                "give a host and a port",
            )
