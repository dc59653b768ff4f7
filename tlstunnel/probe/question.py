"""
What is asked of a probe: where to look, what should be spoken there, and who should be there.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from tlstunnel.address import TCPAddress, parseAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Identity
from tlstunnel.protocols import registry
from tlstunnel.protocols.registry import IMPLICIT_PORTS, STARTTLS_PORTS
from tlstunnel.tunnel.description import Tunnel

#: Where a host is looked at of which nothing else is said: HTTPS.
USUAL_PORT = 443

#: The dialect of TLS from the first byte.
IMPLICIT = "none"

# The port of a protocol that has several, and the first is not the one that people mean.
_PREFERRED = {"submission": 587}


@dataclass(frozen=True)
class Question:
    """
    One question.

    @ivar tunnel: a client tunnel that would connect there.
    @ivar guesses: what was not said, and is guessed: C{port}, C{starttls}.
    @ivar isThorough: whether to look at every address, and for every version of TLS.
    """

    tunnel: Tunnel
    guesses: frozenset[str] = frozenset()
    isThorough: bool = False

    @property
    def address(self) -> TCPAddress:
        """Where to look."""
        (found,) = self.tunnel.remote
        assert isinstance(found, TCPAddress)
        return found

    @property
    def expected(self) -> Identity:
        """Who should be there; where a pinned key says enough, the host that has the address."""
        if isinstance(self.tunnel.remoteID, Identity):
            return self.tunnel.remoteID
        return identityAt(self.address)

    @property
    def host(self) -> str | None:
        """The name to ask for with SNI; L{None} for none."""
        if self.expected.isHost:
            return self.expected.domain
        return None if self.address.isLiteral else self.address.domain


def identityAt(address: TCPAddress) -> Identity:
    """
    Who should be there where nobody says it: the host, also if that is an address.
    """
    return Identity.parse(address.domain.partition("%")[0])


@dataclass(frozen=True)
class Place:
    """
    Where to look, and what should be spoken there.

    @ivar dialect: the name of a dialect.
    @ivar guesses: see L{Question.guesses}.
    """

    address: TCPAddress
    dialect: str
    guesses: frozenset[str] = frozenset()


def placeOf(text: str, starttls: str | None) -> Place:
    """
    Guess port and dialect from each other.

    @param text: C{HOST} or C{HOST:PORT}.
    @param starttls: the name of a dialect, if one was given.
    @raise ConfigurationError: C{text} is no such thing, or there is no such dialect.
    """
    dialect = None if starttls is None else registry.find(starttls)
    isEnclosed = text.startswith("[") and text.endswith("]")
    bare = text[1:-1] if isEnclosed else text
    try:
        # What stands behind % is anything to ip_address, a bracket and a port, too.
        hasPort = "]" in bare
        ip_address(bare)
    except ValueError:
        hasPort = ":" in text
    try:
        if hasPort:
            address = parseAddress(text)
        else:
            port = USUAL_PORT
            if dialect is not None and dialect.ports:
                port = _PREFERRED.get(str(starttls).lower(), dialect.ports[0])
            host = f"[{bare}]" if ":" in bare else bare
            address = parseAddress(host, port)
    except ValueError as error:
        raise ConfigurationError.of("HOST", error) from None
    if not isinstance(address, TCPAddress) or not address.host or not address.port:
        raise ConfigurationError(
            f"HOST {text}", "is not an address to connect to", "write HOST:PORT"
        )
    guesses = frozenset(() if hasPort else ("port",))
    if dialect is not None:
        return Place(address, dialect.name, guesses)
    name = STARTTLS_PORTS.get(address.port, IMPLICIT)
    return Place(address, name, guesses | {"starttls"})


def spokenAt(port: int) -> str:
    """
    What servers with TLS from the first byte speak at a port; empty where that is not known.
    """
    return IMPLICIT_PORTS.get(port, "")
