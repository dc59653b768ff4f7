"""
C{tlstunnel pool push LDAP-URL ID FILE}: puts a certificate into a directory.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.x509 import Certificate
from twisted.internet.defer import Deferred

from tlstunnel.commands import INTERRUPTED
from tlstunnel.commands.poolpull import DirectoryOptions
from tlstunnel.errors import ConfigurationError, IdentityRefused, TunnelError
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pem import loadCertificates
from tlstunnel.identity.verify import verifyIdentity
from tlstunnel.program.output import complain


class Push(DirectoryOptions):
    """C{push LDAP-URL ID FILE [-L ID] [-R ID]}"""

    arguments = ("LDAP-URL", "ID", "FILE")
    synopsis = "[options] LDAP-URL ID FILE"
    longdesc = (
        "Adds the first certificate in FILE to the entry of ID in a directory; pools that follow "
        "it and have the key take it up. Other certificates of ID stay, as other replicas have "
        "keys of their own."
    )

    def run(self) -> int:
        """Add it."""
        place = self.place()
        try:
            identity = Identity.parse(self["id"])
        except ValueError as error:
            raise ConfigurationError.of("ID", error) from None
        leaf, *others = loadCertificates(Path(self["file"]))
        self._check(leaf, identity)

        # Only now: it takes its time to have all that goes to servers.
        from tlstunnel.commands.asking import ask

        async def put(reactor: Any) -> str:
            from tlstunnel.provisioning.connection import Connector
            from tlstunnel.provisioning.push import push

            connector = Connector(reactor)
            running: list[Deferred[str]] = []

            def cancel() -> None:
                running[0].cancel()

            putting = push(connector, place, identity, leaf, cancel)
            try:
                running.append(Deferred.fromCoroutine(putting))
                return await running[0]
            finally:
                connector.leave()

        try:
            done = ask(put)
        except TunnelError as error:
            complain(f"{place.url}: {error}")
            return 1
        if done is None:
            complain("interrupted")
            return INTERRUPTED
        if others:
            done += (
                "; what else is in the file is not: intermediates belong into its "
                "cACertificate;binary"
            )
        print(done)
        return 0

    def _check(self, leaf: Certificate, identity: Identity) -> None:
        """
        @raise ConfigurationError: a certificate is of no use to C{identity}.
        """
        try:
            verifyIdentity(leaf, identity)
        except IdentityRefused as refused:
            raise ConfigurationError(
                self["file"], refused.detail, "give the name that the certificate has"
            ) from None
        if leaf.not_valid_after_utc < datetime.now(UTC):
            raise ConfigurationError(
                self["file"],
                f"expired at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC",
                "let the authority make another one",
            )
