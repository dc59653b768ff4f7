"""
The addresses there are, and those that the system tells.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from tlstunnel.address.services import SERVICES

# What stands before an IPv4 address that is mapped into IPv6 (RFC 4291, section 2.5.5.2).
_MAPPED = "::ffff:"

#: How the address of a service begins.
SERVICE = "srv:"

#: The same of a program.
PROGRAM = "exec:"


@dataclass(frozen=True, slots=True)
class TCPAddress:
    """
    A host and a port.

    @ivar host: a domain or an address in canonical text; C{""} for all interfaces.  A dot at the
        end of a domain keeps resolvers from appending others to it.
    @ivar port: 0 lets the system choose, where we listen.
    """

    host: str
    port: int

    @property
    def _literal(self) -> IPv4Address | IPv6Address | None:
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def domain(self) -> str:
        """The host as certificates and SNI have it: without a dot at the end (RFC 6066)."""
        return self.host.removesuffix(".")

    @property
    def withoutZone(self) -> str:
        """The host as others know it: a zone means something to us alone (RFC 4007, section 6)."""
        return self.host.partition("%")[0]

    @property
    def isLiteral(self) -> bool:
        """Whether the host is an address, so that no name is resolved and no SNI sent."""
        return self._literal is not None

    @property
    def isLocal(self) -> bool:
        """Whether only this machine is reached: a loopback address or C{localhost} (RFC 6761)."""
        literal = self._literal
        if literal is None:
            return self.domain == "localhost" or self.domain.endswith(".localhost")
        mapped = literal.ipv4_mapped if isinstance(literal, IPv6Address) else None
        return (mapped or literal).is_loopback

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UNIXAddress:
    """
    A UNIX socket.

    @ivar path: its path, absolute or not; C{""} for a socket that has none, as most that dial.
    """

    path: str

    #: It names no host, so there is no name to resolve or to verify.
    host = ""
    isLiteral = True

    #: It never leaves this machine.
    isLocal = True

    def __str__(self) -> str:
        if self.path.startswith("/"):
            return self.path
        return f"unix:{self.path}" if self.path else "unix"


@dataclass(frozen=True, slots=True)
class SRVAddress:
    """
    A service of a domain, whose places are in its DNS (RFC 2782).

    @ivar service: its name, and the protocol below it: C{_submission._tcp}.
    @ivar domain: whose service it is, and whose name is in the certificate of whoever serves it
        (RFC 6186, section 4; RFC 6120, section 13.7.2.1).
    """

    service: str
    domain: str

    #: What the records say is not known before.
    host = ""
    isLiteral = False
    isLocal = False

    @property
    def owner(self) -> str:
        """The name that has the records."""
        return f"{self.service}.{self.domain}"

    @property
    def port(self) -> int:
        """The port that the service usually has; 0 if that is not known."""
        return SERVICES.get(self.service[1:].partition(".")[0], 0)

    def __str__(self) -> str:
        return f"{SERVICE}{self.owner}"


@dataclass(frozen=True, slots=True)
class ExecAddress:
    """
    A program that is started for each connection.

    @ivar words: what it is called, and its arguments.
    """

    words: tuple[str, ...]

    #: It is on this host, and has no name.
    host = ""
    isLiteral = True
    isLocal = True

    def __str__(self) -> str:
        return f"{PROGRAM}{shlex.join(self.words)}"


#: A place to connect to, or the other end of a connection.
Address = TCPAddress | UNIXAddress

#: Who is at the other end of a connection, or a program that is.
Peer = Address | ExecAddress

#: Where to connect to: a place, a service that has places, or a program that is started.
Remote = TCPAddress | UNIXAddress | SRVAddress | ExecAddress


def addressOf(sockaddr: Any) -> TCPAddress | UNIXAddress:
    """
    The address that the system means.

    @param sockaddr: what C{getsockname}, C{getpeername} or C{accept} give for TCP and UNIX sockets.
    @return: IPv4 also where it comes mapped into IPv6; of a UNIX socket a path that is safe to
        print, in which C{@} stands for the NUL of a name that is no file's (unix(7)).
    """
    if isinstance(sockaddr, tuple):
        host, port = sockaddr[:2]
        if host.startswith(_MAPPED) and "." in host:
            host = host[len(_MAPPED) :]
        return TCPAddress(host, port)
    path = os.fsdecode(sockaddr).replace("\0", "@")
    return UNIXAddress(path if path.isprintable() else ascii(path)[1:-1])


@dataclass(frozen=True)
class InheritedAddress:
    """
    Sockets that whoever started us listens at already (sd_listen_fds(3)).

    @ivar name: their C{FileDescriptorName}; C{""} for all there are.
    """

    name: str

    def __str__(self) -> str:
        return f"systemd:{self.name}"


@dataclass(frozen=True)
class DescriptorAddress:
    """
    The one connection that whoever started us has made already, as inetd does it.

    @ivar number: its descriptor; C{None} for standard input and standard output, which may be two.
    """

    number: int | None = None

    #: Nobody else can connect there.
    isLocal = True

    def __str__(self) -> str:
        return "stdio" if self.number is None else f"fd:{self.number}"


#: Where to listen.
Listening = TCPAddress | UNIXAddress | InheritedAddress | DescriptorAddress
