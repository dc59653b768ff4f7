"""
Where FTP says that data connections lead: the commands PORT and EPRT, and the replies to PASV and
EPSV.  It knows texts and numbers, and nobody's connections.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

# Servers agree on the six numbers, and on nothing around them.
_ADDRESS = re.compile(rb"(?<![0-9])([0-9]{1,3}(?: *, *[0-9]{1,3}){5})(?![0-9])")

_PORT = re.compile(rb"\(([!-~])\1\1 *([0-9]{1,5}) *\1\)")

# A client's command, other than a server's reply, may be held to the letter.
_SIX = re.compile(rb"[0-9]{1,3}(?:,[0-9]{1,3}){5}")

_EXTENDED = re.compile(rb"([!-~])([0-9]{1,5})\1([0-9A-Fa-f.:]{2,45})\1([0-9]{1,5})\1")


class Target(NamedTuple):
    """
    Where a client listens, as it says.
    """

    host: IPv4Address | IPv6Address
    port: int


class UnknownFamily(ValueError):
    """
    An address that is neither of IPv4 nor of IPv6.
    """


def activeTarget(verb: bytes, argument: bytes) -> Target:
    """
    What PORT (RFC 959, section 4.1.2) or EPRT (RFC 2428, section 2) names.

    @raise ValueError: if that is nothing.
    """
    return _ofPORT(argument) if verb == b"PORT" else _ofEPRT(argument)


def _ofPORT(argument: bytes) -> Target:
    if not _SIX.fullmatch(argument):
        raise ValueError("not six numbers")
    # Above 255 there is no byte for one.
    numbers = bytes(int(number) for number in argument.split(b","))
    return Target(IPv4Address(numbers[:4]), int.from_bytes(numbers[4:], "big"))


def _ofEPRT(argument: bytes) -> Target:
    found = _EXTENDED.fullmatch(argument)
    if found is None:
        raise ValueError("not a family, an address and a port")
    family, host, port = int(found[2]), found[3].decode(), int(found[4])
    if port > 65535:
        raise ValueError("no such port")
    if family == 1:
        return Target(IPv4Address(host), port)
    if family == 2:
        address = IPv6Address(host)
        return Target(address.ipv4_mapped or address, port)
    raise UnknownFamily()


def passivePort(code: bytes, text: bytes) -> int:
    """
    The port in a reply 227 (RFC 959, section 4.1.2) or 229 (RFC 2428, section 3).  The address in
    the former is nobody's business.

    @return: 0 if there is none.
    """
    port = 0
    if code == b"227":
        address = _ADDRESS.search(text)
        numbers = [int(number) for number in address[1].split(b",")] if address else []
        if numbers and max(numbers) < 256:
            port = numbers[4] << 8 | numbers[5]
    else:
        found = _PORT.search(text)
        port = int(found[2]) if found else 0
    return port if port < 65536 else 0


def passiveReply(verb: bytes, host: str, port: int) -> bytes:
    """
    The reply to PASV or EPSV.

    @param host: what the former names, of IPv4.
    """
    if verb == b"EPSV":
        return b"229 Entering Extended Passive Mode (|||%d|)" % port
    numbers = ip_address(host).packed + port.to_bytes(2, "big")
    return b"227 Entering Passive Mode (" + b",".join(b"%d" % n for n in numbers) + b")"
