"""
Addresses as people write them: on the command line, in the file, and in descriptions.

Names of services become ports here; names of hosts are resolved when dialling.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv6Address, ip_address

from tlstunnel.address.places import (
    SERVICE,
    DescriptorAddress,
    InheritedAddress,
    Listening,
    SRVAddress,
    TCPAddress,
    UNIXAddress,
)
from tlstunnel.address.services import SERVICES
from tlstunnel.identity.names import normalDomain

# What is often given where an address is wanted (RFC 3986, section 3).
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#]*)", re.IGNORECASE)

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
    if "/" in text:
        return f"{text!r} is no host; write the whole path of a UNIX socket, from / on"
    return f"{text!r} has no port; write {text or 'HOST'}:PORT"


def _withColons(text: str) -> str:
    """What is wrong with an address in which there is more than one colon."""
    name, _, port = text.partition("::")
    try:
        IPv6Address(text)
    except ValueError:
        if name and port and ":" not in name + port:
            # As viewers of VNC have it.
            return f"{text!r} has two colons; write {name}:{port}"
    return f"{text!r} has several colons; put an IPv6 address into brackets"


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
            raise ValueError(_withColons(text))
    if host == "*":
        raise ValueError(f"{text!r} is not an address; write :{port} for all addresses")
    if separated:
        number = _parsePort(text, port)
    elif defaultPort is not None and host:
        number = defaultPort
    else:
        raise ValueError(_withoutPort(text))
    return TCPAddress(_parseHost(text, host, bracketed), number)
