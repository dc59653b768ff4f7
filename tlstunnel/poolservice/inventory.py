"""
What is in the pool of a service when it starts: whether the pool can be used at all, whose
certificates will expire, and what is wrong with identities and rules that nobody has needed yet.

Connections do not depend on it: for each of them the pool is looked at anew.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from cryptography import x509

from tlstunnel.address import UNIXAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.disclosure import doubts
from tlstunnel.identity.expiry import warningsAbout
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.withdrawal import withdrawnWarnings
from tlstunnel.poolservice.description import PoolDescription
from tlstunnel.tls import separation


class Inventory:
    """
    That of one service.

    @ivar description: the service.
    @ivar certificates: those of the identities that can be used.
    @ivar withdrawn: those that have none, as they are withdrawn.
    @ivar notices: what is wrong, in sentences.
    """

    def __init__(self, description: PoolDescription) -> None:
        self.description = description
        self.certificates: dict[Identity, x509.Certificate] = {}
        self.notices: list[str] = []
        self.withdrawn: list[Identity] = []
        self._sources: dict[Identity, str] = {}

    def steps(self) -> Iterator[None]:
        """
        Read it, an identity a step.

        @raise ConfigurationError: there is no pool that can be used.
        """
        pool = self.description.pool
        self._checkDirectory(pool)
        # Its programs may be clients, or want to know who theirs are.
        separation.process.verifies("the pool service")
        for identity in pool.identities():
            yield
            try:
                credentials = pool.credentials(identity)
            except ConfigurationError as error:
                self.notices.append(f"{identity} cannot be used: {error}")
                continue
            if credentials.isReferred:
                self.notices.append(
                    f"{identity} cannot be used: {credentials.keySource} refers to a key in a "
                    "token, which cannot be used where others are verified; let a server tunnel "
                    "in a process of its own have it"
                )
                continue
            self.certificates[identity] = credentials.certificates[0]
            self._sources[identity] = credentials.source
        yield
        self.withdrawn = list(pool.withdrawn())
        self.notices += doubts(pool)
        self.notices += self._exposed()

    def _exposed(self) -> Iterator[str]:
        """
        Where others could listen in our place, and be handed connections.
        """
        for each in (*self.description.local, *self.description.v2):
            folder = Path(each.path).parent if isinstance(each, UNIXAddress) else None
            with suppress(OSError):
                if folder is not None and folder.stat().st_mode & stat.S_IWOTH:
                    yield (
                        f"{each}: everybody can write to {folder}, and so listen there in our "
                        "place; choose a directory that only we can write to"
                    )

    def _checkDirectory(self, pool: Pool) -> None:
        pool.checkPlace()
        # Whether it was named or not: without one there would be nothing to serve.
        next(replace(pool, asked=True).identities(), None)
        mode = Path(pool.path).stat().st_mode
        if mode & stat.S_IWOTH:
            raise ConfigurationError(
                f"`pool` {pool.path}",
                "can be changed by everybody, who then says who we are and whom we believe",
                f"run 'chmod o-w {pool.path}', and see who has changed it",
            )
        if mode & stat.S_IWGRP:
            self.notices.append(f"{pool.path} can be changed by its group; run 'chmod g-w' on it")

    def warnings(self, now: datetime, since: datetime | None = None) -> list[str]:
        """
        What should be said of our certificates.

        @param since: given, what was said then is not repeated.
        """
        gone = [] if since is not None else withdrawnWarnings(self.withdrawn)
        return gone + [
            sentence
            for identity, leaf in self.certificates.items()
            for sentence in warningsAbout(leaf, self._sources[identity], now, since)
        ]
