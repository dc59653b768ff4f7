"""
C{tlstunnel pool pull LDAP-URL}: keeps a pool up with a directory.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from twisted.internet.error import ReactorNotRunning

from tlstunnel.commands.pools import PoolOptions
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Identity
from tlstunnel.provisioning.url import LDAPURL


class DirectoryOptions(PoolOptions):
    """What those subcommands have in common that go to a directory."""

    optParameters = [
        [
            "local-id",
            "L",
            None,
            "Who we are to the directory: an identity of the pool. By default none.",
        ],
        [
            "remote-id",
            "R",
            None,
            "Who the directory has to be; by default the host in its URL.",
        ],
    ]

    def place(self) -> Any:
        """
        Where the directory is.

        @raise ConfigurationError: that is not said as it should be.
        """
        # Only now: who wants to know what the options are need not wait for all that is needed.
        from tlstunnel.provisioning.connection import Place

        try:
            url = LDAPURL.parse(self["ldap-url"])
        except ValueError as error:
            raise ConfigurationError.of("LDAP-URL", error) from None
        return Place(url, self.pool, self._identity("local-id"), self._identity("remote-id"))

    def _identity(self, option: str) -> Identity | None:
        if self[option] is None:
            return None
        try:
            return Identity.parse(self[option])
        except ValueError as error:
            raise ConfigurationError.of(f"`{option}`", error) from None


class Pull(DirectoryOptions):
    """C{pull LDAP-URL [-L ID] [-R ID] [--allow-removal]}"""

    arguments = ("LDAP-URL",)
    synopsis = "[options] LDAP-URL"
    longdesc = (
        "Keeps the certificates, anchors and rules of a pool as they are below the base in a "
        "directory, and goes on until it is ended. Keys are never there: 'tlstunnel identity "
        "create --request ID' makes one here. Files that did not come from the directory stay as "
        "they are. LDAP-URL is ldap://HOST/BASE, with StartTLS, ldaps://HOST/BASE, or "
        "ldapi://%2FPATH/BASE."
    )
    optFlags = [
        [
            "allow-removal",
            None,
            "Let the first look remove more than half of what is there, which else is refused.",
        ],
        ["verbose", "v", "Log more."],
        ["log-json", None, "Log one JSON object a line."],
    ]

    def run(self) -> int:
        """Go on until a signal comes."""
        from tlstunnel.commands.run import reactor, startLogging
        from tlstunnel.program import signals
        from tlstunnel.program.lookups import abandonAtEnd
        from tlstunnel.provisioning.pull import Pull as Following

        following = Following(self.place(), reactor, bool(self["allow-removal"]))
        following.privilegedStartService()
        startLogging(bool(self["verbose"]), bool(self["log-json"]))
        abandonAtEnd(reactor)

        def stop() -> None:
            with suppress(ReactorNotRunning):
                reactor.stop()

        soon = reactor.callFromThread
        reactor.callWhenRunning(following.startService)
        reactor.callWhenRunning(
            signals.take, lambda: soon(stop), lambda: soon(following.lookAround)
        )
        reactor.addSystemEventTrigger("before", "shutdown", following.stopService)
        reactor.run()
        return 0
