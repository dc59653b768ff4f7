"""
FTP's data connections: which a client may ask for, how the server is asked, and what is agreed.

Towards the server all of them are passive, whatever the client has asked for: a server that is
behind a firewall or address translation cannot connect to us, while one that knows no passive mode
is hard to find.  Towards the client they are what it asks for, in active mode only to itself.
This module knows commands and replies, the options that are about them, and L{IChannels}.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from tlstunnel.errors import TunnelError
from tlstunnel.protocols.channels import IChannels
from tlstunnel.protocols.ftpports import (
    UnknownFamily,
    activeTarget,
    passivePort,
    passiveReply,
)
from tlstunnel.protocols.options import OptionValue

#: The options.
ALLOW_TRUNCATED_UPLOADS = "allow-truncated-uploads"
ACTIVE = "active"

#: How a server is asked first, for what the client asks for.
ASKED_AS = {b"PASV": b"PASV", b"EPSV": b"EPSV", b"PORT": b"PASV", b"EPRT": b"EPSV"}

#: How then, where it refuses.
INSTEAD = {b"PASV": b"EPSV", b"EPSV": b"PASV"}

#: The replies that name a port.
NAMING = frozenset((b"227", b"228", b"229"))

_PASSIVE_ARGUMENTS = {b"PASV": (b"",), b"EPSV": (b"", b"1", b"2", b"ALL")}

#: Ports below this are not of programs that transfer files (RFC 2577, section 3), and a range of
#: them is not ours to have once we are nobody.
LOWEST_PORT = 1024


def parseAddress(text: str) -> str:
    """
    An address that clients can connect to.

    @raise ValueError: if it is none.
    """
    try:
        address = IPv4Address(text)
    except ValueError:
        raise ValueError("not an address of IPv4, and PASV knows no others") from None
    if address.is_unspecified or address.is_multicast or int(address) == 0xFFFFFFFF:
        raise ValueError("nobody can connect to that address")
    return str(address)


def parsePorts(text: str) -> range:
    """
    A range of ports.

    @raise ValueError: if it is none.
    """
    low, _, high = text.partition("-")
    if not all(each.isascii() and each.isdigit() and len(each) <= 5 for each in (low, high)):
        raise ValueError("not two numbers with a hyphen between them")
    ports = range(int(low), int(high) + 1)
    if not ports:
        raise ValueError("the first port is above the last")
    if ports[0] < LOWEST_PORT or ports[-1] > 65535:
        raise ValueError(f"ports are from {LOWEST_PORT} to 65535")
    return ports


ADDRESS = OptionValue("address", "ADDRESS", "198.51.100.7", parseAddress)
PORTS = OptionValue("ports", "LOW-HIGH", "50000-50999", parsePorts)


@dataclass(frozen=True)
class Terms:
    """
    What the options say about data connections.

    @ivar address: what the reply to PASV names; if empty, where they are accepted.
    @ivar ports: where they are accepted; by default the system chooses.
    @ivar isActive: whether a client may listen for them.
    @ivar acceptsCut: see L{IChannels.open}.
    """

    address: str = ""
    ports: range | None = None
    isActive: bool = False
    acceptsCut: bool = False

    @classmethod
    def of(cls, options: Collection[str], isServer: bool) -> Terms:
        """
        Those that the options of the dialect say.
        """
        return cls(
            address=ADDRESS.given(options) or "",
            ports=PORTS.given(options),
            isActive=ACTIVE in options,
            acceptsCut=isServer and ALLOW_TRUNCATED_UPLOADS in options,
        )


class DataConnections:
    """
    The data connections of one control connection.
    """

    def __init__(self, channels: IChannels, terms: Terms) -> None:
        self._channels = channels
        self._terms = terms

    def refusal(self, verb: bytes, argument: bytes) -> bytes:
        """
        Why what a client asks for is not possible here; empty if it is.

        @param verb: one of L{ASKED_AS}.
        """
        isPassive = verb in _PASSIVE_ARGUMENTS
        if isPassive and argument.upper() not in _PASSIVE_ARGUMENTS[verb]:
            return b"501 Syntax error"
        if not self._channels.host or not self._channels.peer:
            return b"502 There are no data connections on a UNIX socket"
        if verb in (b"PASV", b"PORT") and not isinstance(self._us, IPv4Address):
            instead = b"EPSV" if isPassive else b"EPRT"
            return b"522 There is no %b over IPv6: use %b" % (verb, instead)
        return b"" if isPassive else self._refusalOfTarget(verb, argument)

    def _refusalOfTarget(self, verb: bytes, argument: bytes) -> bytes:
        try:
            host, port = activeTarget(verb, argument)
        except UnknownFamily:
            return b"522 Unknown family: use (1,2)"
        except ValueError:
            return b"501 Syntax error"
        if host != ip_address(self._channels.peer.partition("%")[0]):
            # We connect to nobody else on behalf of whoever says so (RFC 2577, section 3).
            return b"504 Data connections lead to the address of this one, and nowhere else"
        if port < LOWEST_PORT:
            return b"504 Data connections lead to ports from %d up" % LOWEST_PORT
        return b""

    @property
    def _us(self) -> IPv4Address | IPv6Address:
        return ip_address(self._channels.host.partition("%")[0])

    def agree(self, verb: bytes, argument: bytes, code: bytes, text: bytes) -> bytes:
        """
        Do what has become possible: the server has named its port.

        @param verb: what the client has asked for, and got no L{refusal}.
        @return: the reply to that.
        """
        theirs = passivePort(code, text)
        if not theirs:
            return b"425 The server names no port"
        terms = self._terms
        try:
            if verb in _PASSIVE_ARGUMENTS:
                ours = self._channels.open(theirs, terms.acceptsCut, terms.ports)
                return passiveReply(verb, terms.address or self._channels.host, ours)
            _, port = activeTarget(verb, argument)
            self._channels.connect(theirs, port, terms.acceptsCut)
        except TunnelError as error:
            what = b"listen" if verb in _PASSIVE_ARGUMENTS else b"connect"
            return b"425 Cannot %b: %b" % (what, error.detail.encode("ascii", "replace"))
        return b"200 " + verb + b" understood"
