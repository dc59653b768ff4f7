"""
The frozen description of one of the names that a server tunnel serves, beside what holds for all of
them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from tlstunnel.address import Remote
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.names import Identity, Selector, normalDomain

#: Where to forward to, in this order.
Addresses = tuple[Remote, ...]


def normalName(text: str) -> str:
    """
    Bring a name, or a wildcard for one label, into its one form.

    @raise ValueError: it is neither; the message is a sentence for the user.
    """
    star, dot, parent = text.partition(".")
    if star == "*" and dot:
        return f"*.{normalDomain(parent)}"
    if "*" in text:
        raise ValueError(f"{text!r} is not a name; an asterisk stands for the whole first label")
    return normalDomain(text)


@dataclass(frozen=True)
class ServedName:
    """
    One name of a server tunnel.  What it does not say is as the tunnel has it.

    @ivar name: what clients ask for: a domain as L{normalName} has it, or a wildcard such as
        C{*.example.org}.
    @ivar remote: where to connect to; empty for where the tunnel does.
    @ivar remoteID: whom clients must prove to be; C{None} for whom the tunnel demands.
    @ivar denyID: whose certificates are refused all the same, besides those whom the tunnel denies.
    @ivar anybody: demand nothing, whatever the tunnel does.
    @ivar alpn: what to select from; C{None} for what the tunnel has.
    @ivar minimum: the lowest version of TLS; C{None} for that of the tunnel.
    @ivar remotes: for each of these protocols where to connect to instead of C{remote}.
    """

    name: str
    remote: Addresses = ()
    remoteID: Identity | Selector | AccessList | None = None
    denyID: tuple[Selector, ...] = ()
    anybody: bool = False
    alpn: tuple[bytes, ...] | None = None
    minimum: str | None = None
    remotes: tuple[tuple[bytes, Addresses], ...] = ()

    @property
    def identity(self) -> Identity:
        """
        Who we are under this name, where the pool has that.  certbot keeps the certificate of a
        wildcard as that of what is behind the asterisk.
        """
        return Identity(None, self.name.removeprefix("*."))

    @property
    def allRemotes(self) -> Addresses:
        """
        All that is connected to under this name, where it says so itself.
        """
        return (*self.remote, *(each for _, remote in self.remotes for each in remote))

    @property
    def protocols(self) -> list[str]:
        """
        Those that may have other remote addresses, as the administrator writes them.
        """
        return [os.fsdecode(protocol) for protocol, _ in self.remotes]

    @property
    def isWild(self) -> bool:
        """
        Whether it stands for many.
        """
        return self.name.startswith("*.")
