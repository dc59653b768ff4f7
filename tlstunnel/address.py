"""
Where something listens, or who is at the other end: the addresses of the command line and those
that the system tells.

It knows names of services, and nothing of names of hosts: those are resolved when dialling.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from tlstunnel.identity.names import normalDomain

#: The services of our dialects and their implicit TLS ports, as IANA registered them, for machines
#: whose list of services lacks them.
SERVICES = {
    "ftp": 21,
    "ftps": 990,
    "http": 80,
    "https": 443,
    "imap": 143,
    "imaps": 993,
    "ipp": 631,
    "irc": 6667,
    "ircs": 6697,
    "ircs-u": 6697,
    "ldap": 389,
    "ldaps": 636,
    "lmtp": 24,
    "managesieve": 4190,
    "mysql": 3306,
    "nnsp": 433,
    "nntp": 119,
    "nntps": 563,
    "pop3": 110,
    "pop3s": 995,
    "postgresql": 5432,
    "sieve": 4190,
    "smtp": 25,
    "smtps": 465,
    "submission": 587,
    "submissions": 465,
    "telnet": 23,
    "telnets": 992,
    "xmpp-client": 5222,
    "xmpp-server": 5269,
    "xmpps-client": 5223,
    "xmpps-server": 5270,
}

# What is often given where an address is wanted (RFC 3986, section 3).
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#]*)", re.IGNORECASE)

# What stands before an IPv4 address that is mapped into IPv6 (RFC 4291, section 2.5.5.2).
_MAPPED = "::ffff:"

#: How the address of a service begins.
SERVICE = "srv:"

#: The same of a program.
PROGRAM = "exec:"

# The rest of it: two labels, and whose service it is.
_OWNER = re.compile(r"(_[A-Za-z0-9](?:-?[A-Za-z0-9])*)\.(_[A-Za-z]+)\.([^_].*)", re.DOTALL)

#: The most characters in the name of a service (RFC 6335, section 5.1).
LONGEST_SERVICE = 15

# What ends a domain that is complete (RFC 3490, section 3.1).
_DOTS = (".", "\u3002", "\uff0e", "\uff61")

#: The most characters in a name of the DNS (RFC 1035, section 2.3.4), without its last dot.
LONGEST_NAME = 253

#: The most bytes in the path of a UNIX socket: C{sun_path} of Linux, less the NUL at its end.
LONGEST_PATH = 107


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


def _parseHost(text: str, host: str, bracketed: bool) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        if bracketed:
            raise ValueError(_notBracketed(text)) from None
        return normalDomain(host) + ("." if host.endswith(_DOTS) else "") if host else ""
    if not isinstance(address, IPv6Address):
        if bracketed:
            raise ValueError(_notBracketed(text))
        return str(address)
    return str(address.ipv4_mapped or address)


def _notBracketed(text: str) -> str:
    return f"{text!r} has no IPv6 address between its brackets; write others without them"


def _parsePort(text: str, port: str) -> int:
    if port.isascii() and port.isdigit():
        if len(port) > 5 or int(port) > 65535:
            raise ValueError(f"{text!r} has a port above 65535; give a smaller one")
        return int(port)
    try:
        return socket.getservbyname(port, "tcp")
    except (OSError, ValueError):
        if port.lower() in SERVICES:
            return SERVICES[port.lower()]
    raise ValueError(f"{text!r} has no known port or service after its last colon; give a number")


def _parsePath(text: str, path: str) -> UNIXAddress:
    if not path or not path.isprintable():
        raise ValueError(f"{text!r} is not the path of a UNIX socket; give one that can be printed")
    if len(path.encode()) > LONGEST_PATH:
        raise ValueError(
            f"{text!r} is longer than a UNIX socket's path can be; give one of at most "
            f"{LONGEST_PATH} bytes"
        )
    return UNIXAddress(path)


def _addressIn(url: re.Match[str]) -> str:
    """What a URL has that we can connect to or listen at."""
    scheme, authority = url[1].lower(), url[2].rpartition("@")[2]
    if re.search(r":[0-9]+\Z", authority):
        return authority
    return f"{authority}:{SERVICES.get(scheme, 'PORT')}"


def _withoutPort(text: str) -> str:
    """What is wrong with an address in which there is no colon before a port."""
    if text.isascii() and text.isdigit():
        return (
            f"{text!r} is a port alone; write 127.0.0.1:{text} for this host alone, or :{text} to "
            "listen at all its addresses"
        )
    return f"{text!r} has no port; write {text or 'HOST'}:PORT"


def parseService(text: str) -> SRVAddress:
    """
    Read C{srv:_SERVICE._tcp.DOMAIN}.

    @raise ValueError: it is something else; the message is a sentence for the user.
    """
    found = _OWNER.fullmatch(text.removeprefix(SERVICE))
    if found is None:
        raise ValueError(
            f"{text!r} names no service of a domain; write {SERVICE}_SERVICE._tcp.DOMAIN, such as "
            f"{SERVICE}_submission._tcp.example.org"
        )
    service, below, domain = found.groups()
    if ":" in domain:
        raise ValueError(f"{text!r} has a port, which is for the records to say; leave it out")
    if below.lower() != "_tcp":
        raise ValueError(
            f"{text!r} is a service over {below[1:]}, and we connect by TCP; write _tcp"
        )
    if len(service) > LONGEST_SERVICE + 1:
        raise ValueError(
            f"{text!r} has a service of more than {LONGEST_SERVICE} characters; give one as IANA "
            "registered it"
        )
    address = SRVAddress(f"{service}._tcp".lower(), normalDomain(domain))
    if len(address.owner) > LONGEST_NAME:
        raise ValueError(f"{text!r} is longer than a name can be; give a shorter domain")
    return address


def parseListening(text: str) -> Listening:
    """
    Read what L{parseAddress} reads, or C{systemd:NAME}, C{stdio}, or C{fd:NUMBER}.

    @raise ValueError: it is none of these; the message is a sentence for the user.
    """
    if text == "stdio":
        return DescriptorAddress()
    if text.startswith("fd:"):
        number = text.removeprefix("fd:")
        if not (number.isascii() and number.isdigit() and len(number) < 7):
            raise ValueError(f"{text!r} has no number of a descriptor; write fd:0, as for inetd")
        return DescriptorAddress(int(number))
    if text == "systemd" or text.startswith("systemd:"):
        return InheritedAddress(text.removeprefix("systemd").removeprefix(":"))
    return parseAddress(text)


def parseAddress(text: str, defaultPort: int | None = None) -> TCPAddress | UNIXAddress:
    """
    Read C{host:port}, C{host:service}, C{192.0.2.1:25}, C{[2001:db8::1]:443}, C{:443} for all
    interfaces, C{/unix/socket}, or C{unix:PATH}.

    @param defaultPort: the port where C{text} is just a host; L{None} to insist on one.
    @raise ValueError: it is none of these; the message is a sentence for the user.
    """
    if text.startswith("/"):
        return _parsePath(text, text)
    if text.startswith("unix:"):
        return _parsePath(text, text.removeprefix("unix:"))
    if found := _URL.match(text):
        raise ValueError(f"{text!r} is a URL; write {_addressIn(found)}")
    bracketed = text.startswith("[")
    if bracketed:
        host, closing, rest = text[1:].partition("]")
        if not closing:
            raise ValueError(f"{text!r} has no closing bracket; write [HOST]:PORT")
        separated, port = rest.startswith(":"), rest.removeprefix(":")
        if rest and not separated:
            raise ValueError(f"{text!r} has no port after its brackets; write [HOST]:PORT")
    else:
        host, colon, port = text.rpartition(":")
        separated = bool(colon)
        if not separated:
            host, port = text, ""
        elif ":" in host:
            raise ValueError(f"{text!r} has several colons; put an IPv6 address into brackets")
    if host == "*":
        raise ValueError(f"{text!r} is not an address; write :{port} for all addresses")
    if separated:
        number = _parsePort(text, port)
    elif defaultPort is not None and host:
        number = defaultPort
    else:
        raise ValueError(_withoutPort(text))
    return TCPAddress(_parseHost(text, host, bracketed), number)
