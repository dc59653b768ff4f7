"""
Which certificate a tunnel shows under which name.

A name has that of its own directory in the pool, if there is one; else that of the first
C{local-id} that is for it.  Where an agent gives certificates, it gives one for each name.
"""

from __future__ import annotations

from collections.abc import Mapping

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.files import present
from tlstunnel.identity.names import Identity
from tlstunnel.identity.verify import coversName
from tlstunnel.identity.withdrawal import WithdrawnIdentity
from tlstunnel.tls.checkup import checkUsable
from tlstunnel.tunnel.description import Tunnel
from tlstunnel.tunnel.leased import credentialsOf
from tlstunnel.tunnel.servedname import ServedName


class OwnCredentials:
    """
    Those of one tunnel, each read when it is wanted first.

    @ivar known: what was read, by our identities.
    @ivar withdrawn: those of our identities that turned out to be withdrawn.
    @ivar minimum: the lowest version of TLS under any name.
    """

    def __init__(self, tunnel: Tunnel) -> None:
        self.known: dict[Identity, Credentials] = {}
        self.withdrawn: dict[Identity, WithdrawnIdentity] = {}
        own = (each.minimum for each in tunnel.names if each.minimum is not None)
        self.minimum = min([tunnel.minimum, *own])
        self._tunnel = tunnel

    def of(self, identity: Identity) -> Credentials:
        """
        What we show as C{identity}.

        @raise WithdrawnIdentity: it is withdrawn.
        @raise ConfigurationError: it is missing, or no handshake succeeds with it.
        """
        known = self.known.get(identity)
        if known is not None:
            return known
        if identity in self.withdrawn:
            raise self.withdrawn[identity]
        return self._take(self._read(identity))

    def _read(self, identity: Identity) -> Credentials:
        try:
            return credentialsOf(self._tunnel, identity)
        except WithdrawnIdentity as why:
            self.withdrawn[identity] = why
            raise

    def _take(self, found: Credentials) -> Credentials:
        checkUsable(found, self.minimum)
        self.known[found.identity] = found
        return found

    def withdraw(self, several: Mapping[Identity, WithdrawnIdentity]) -> None:
        """
        Have nothing of C{several} any more.
        """
        for identity, why in several.items():
            if self.known.pop(identity, None) is not None:
                self.withdrawn[identity] = why

    def under(self, served: ServedName) -> Credentials:
        """
        What we show under a name.

        @raise WithdrawnIdentity: what there would be for it is withdrawn.
        @raise ConfigurationError: there is nothing for it, or as L{of}.
        """
        tunnel = self._tunnel
        if tunnel.agent is not None and not served.isWild:
            return self.of(served.identity)
        directory = tunnel.pool.directoryOf(served.identity)
        isThere = tunnel.agent is None and present(directory)
        found = (self._ofItsOwn(served) if isThere else None) or self._ofLocalIDs(served)
        if found is not None:
            return found
        if tunnel.agent is not None:
            raise ConfigurationError(
                f"`agent` {tunnel.agent}",
                f"gives no certificates for wildcards, and {served.name} is one",
                "serve each name of it under a table of its own",
            )
        ours = ", ".join(map(str, tunnel.localIDs))
        raise ConfigurationError(
            str(directory / "fullchain.pem"),
            f"is not {'for' if isThere else 'there, so that there is no certificate for'} "
            f"{served.name}, and `local-id` ({ours}) has none for it either",
            tunnel.pool.remedyFor(served.identity),
        )

    def _ofItsOwn(self, served: ServedName) -> Credentials | None:
        """
        What is in the directory of a name; nothing, where that is for others below a wildcard.
        """
        known = self.known.get(served.identity)
        found = known or self._read(served.identity)
        if coversName(found.certificates[0], served.name):
            return known or self._take(found)
        if served.isWild:
            return None
        raise ConfigurationError(
            found.source,
            f"is not for {served.name}, which is to be served with it",
            "get a certificate that is, or remove the directory",
        )

    def _ofLocalIDs(self, served: ServedName) -> Credentials | None:
        """
        What the first of them has that is for a name.

        @raise WithdrawnIdentity: none is, and one is withdrawn.
        """
        withdrawn = None
        for identity in self._tunnel.localIDs:
            try:
                found = self.of(identity)
            except WithdrawnIdentity as why:
                # It may have been the one, and nobody knows any more.
                withdrawn = withdrawn or why
                continue
            if coversName(found.certificates[0], served.name):
                return found
        if withdrawn is not None:
            raise withdrawn
        return None
