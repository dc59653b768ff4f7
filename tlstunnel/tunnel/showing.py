"""
Who a client tunnel is to servers that ask for a certificate: always the same identity, nobody, or
whom the rules of the pool show to the one that is expected.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from tlstunnel.errors import ConfigurationError, Withdrawn
from tlstunnel.identity.caller import Caller
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.disclosure import ruleDoubts, ruleFor, whomToShow
from tlstunnel.identity.files import reading
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pem import unexamined
from tlstunnel.identity.verify import coversName
from tlstunnel.identity.withdrawal import WithdrawnIdentity
from tlstunnel.tls.checkup import checkUsable
from tlstunnel.tls.keycheck import KeyUnexamined
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.leased import credentialsOf

#: What C{local-id} is where the rules of the pool say who we are.
AUTO = "auto"

#: Why that is not for server tunnels, and what to do about it.
NOT_FOR_SERVERS = (
    "is for client tunnels: the rules of a pool say who we are to a server",
    f"name the identity of the tunnel; a host that is called so is '{AUTO}.'",
)

#: Identities, pseudonyms among them, whose credentials are kept.
CREDENTIALS_KEPT = 200


def checkShowing(tunnel: Tunnel) -> None:
    """
    Rules are about servers whose name is known.

    @raise ConfigurationError: there are none that they could be about.
    """
    if not tunnel.byRules:
        return
    if tunnel.mode is not Mode.CLIENT:
        raise ConfigurationError(f"`local-id` {AUTO}", *NOT_FOR_SERVERS)
    if tunnel.negotiatesOnly:
        problem = "is about TLS, which with `negotiate-only` is for others to speak"
        raise ConfigurationError(f"`local-id` {AUTO}", problem, "leave it out")
    if tunnel.believesPins and tunnel.remoteID is None:
        problem = "needs the name of the server, and with these pins it may have any"
        raise ConfigurationError(f"`local-id` {AUTO}", problem, "give `remote-id` too")


class Showing:
    """
    Who one tunnel always is, or that it is nobody.

    """

    def __init__(
        self, credentials: Credentials | None = None, why: WithdrawnIdentity | None = None
    ) -> None:
        """
        @param why: the one that it should be is withdrawn.
        """
        self._credentials = credentials
        self._why = why
        # Those who were shown, and are not any more.
        self._gone: dict[Identity, WithdrawnIdentity] = {}

    @property
    def withdrawn(self) -> Collection[Identity]:
        """
        Whom it should be, and is not, as that one is withdrawn.
        """
        return () if self._why is None else (self._why.identity,)

    def withdraw(self, several: Mapping[Identity, WithdrawnIdentity]) -> None:
        """
        Be none of C{several} any more.
        """
        for each in self.known:
            self._why = several.get(each.identity, self._why)
        self._gone.update(several)

    def check(self, shown: Identity | None) -> None:
        """
        See, before TLS begins, whether that may be shown which was chosen before.

        @raise Withdrawn: it is withdrawn meanwhile.
        """
        why = None if shown is None else self._gone.get(shown)
        if why is not None:
            raise Withdrawn(str(why))

    def to(self, expected: Identity) -> Credentials | None:
        """
        What is shown to a server that must be C{expected}.

        @raise ConfigurationError: that cannot be found out, or is not as it should be.
        """
        if self._why is not None:
            raise self._why
        return self._credentials

    @property
    def known(self) -> Iterable[Credentials]:
        """
        What is shown to anybody, as far as that is known; pseudonyms do not count.
        """
        if self._credentials is None or self._why is not None:
            return ()
        return (self._credentials,)

    def covers(self, domain: str) -> bool:
        """
        Whether a certificate of ours is for C{domain}.
        """
        return any(coversName(each.certificates[0], domain) for each in self.known)

    def doubts(self, expected: object) -> Iterable[str]:
        """
        What should be said about who is shown.

        @param expected: who is at the other end, where that is known.
        """
        return ()


class _ByRules(Showing):
    """
    Whom the rules of the pool show, which are read for each connection, on behalf of the tunnel
    itself.  Certificates are read when they are shown first, and when they have changed.
    """

    def __init__(self, tunnel: Tunnel) -> None:
        super().__init__()
        self._pool = tunnel.pool
        self._minimum = tunnel.minimum
        self._known: dict[Identity, tuple[object, Credentials]] = {}

    def to(self, expected: Identity) -> Credentials | None:
        """
        What is shown to a server that must be C{expected}.

        @raise KeyUnexamined: it takes a key that is to be examined before.
        """
        identity = whomToShow(self._pool, Caller(os.geteuid()), expected)
        if identity is None:
            return None
        certificates, key = self._pool.filesOf(identity)
        state = _stateOf(certificates)
        known = self._known.get(identity)
        if known is None or known[0] != state:
            if unexamined(key) is not None:
                raise KeyUnexamined(key)
            credentials = self._pool.credentials(identity)
            checkUsable(credentials, self._minimum)
            if len(self._known) >= CREDENTIALS_KEPT:
                self._known.clear()
            known = self._known[identity] = state, credentials
        self._gone.pop(identity, None)
        return known[1]

    def withdraw(self, several: Mapping[Identity, WithdrawnIdentity]) -> None:
        """
        Be none of C{several} any more, until the pool, which is asked each time, has them again.
        """
        self._gone.update(several)
        for each in several:
            self._known.pop(each, None)

    @property
    def known(self) -> Iterable[Credentials]:
        """
        What has been shown.
        """
        return [each for who, (_, each) in self._known.items() if not self._pool.isPseudonym(who)]

    def doubts(self, expected: object) -> Iterable[str]:
        """
        What is wrong with rules, or that there is none.
        """
        yield from ruleDoubts(self._pool)
        if isinstance(expected, Identity) and self._hasNone(expected):
            make = self._pool.command("disclose", str(expected), "ID")
            yield f"`local-id` {AUTO}: no rule says who we are to {expected}; {make} makes one"

    def _hasNone(self, expected: Identity) -> bool:
        try:
            return ruleFor(self._pool, expected) is None
        except ConfigurationError:
            # There is one that is broken.
            return False


def _stateOf(file: Path) -> object:
    with reading(file):
        found = file.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def showingOf(tunnel: Tunnel) -> Showing:
    """
    Who a tunnel is.

    @raise ConfigurationError: its certificate is missing, or no handshake succeeds with it.
    """
    if tunnel.byRules:
        return _ByRules(tunnel)
    if tunnel.localID is None or tunnel.sharesKeys:
        return Showing()
    try:
        credentials = credentialsOf(tunnel, tunnel.localID)
    except WithdrawnIdentity as why:
        return Showing(why=why)
    checkUsable(credentials, tunnel.minimum)
    return Showing(credentials)
