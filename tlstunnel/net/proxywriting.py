"""
The header of the PROXY protocol, as bytes: how one is written; see L{tlstunnel.net.proxyheader}.
"""

from __future__ import annotations

import os
from socket import AF_INET, AF_INET6, inet_pton
from struct import pack

from tlstunnel.address import Address, TCPAddress, UNIXAddress
from tlstunnel.errors import Oversize
from tlstunnel.net.crc32c import crc32c
from tlstunnel.net.proxyheader import CRC32C, FIXED, IPV4, IPV6, PROXY, SIGNATURE, UNIX

#: What its length can say (section 2.2).
LONGEST_BYTES = 0xFFFF

_UNKNOWN = b"PROXY UNKNOWN\r\n"

# The 14th byte: family, and STREAM; or neither.
_UNSPEC, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31

_MAPPED = bytes(10) + b"\xff\xff"
_PATH_BYTES = UNIX.size // 2


def text(source: Address, destination: Address) -> bytes:
    """
    A header of version 1 (section 2.1).

    @return: one that says nothing, where the two are not of the same family of TCP.
    """
    if isinstance(source, UNIXAddress) or isinstance(destination, UNIXAddress):
        return _UNKNOWN
    ours, theirs = (each.withoutZone for each in (source, destination))
    isSix = ":" in ours
    if isSix != (":" in theirs):
        return _UNKNOWN
    ports = f"{source.port} {destination.port}"
    return f"PROXY TCP{6 if isSix else 4} {ours} {theirs} {ports}\r\n".encode()


def tlv(kind: int, value: bytes) -> bytes:
    """
    One TLV.

    @raise Oversize: its length cannot be said.
    """
    if len(value) > LONGEST_BYTES:
        raise _tooLong(len(value))
    return pack("!BH", kind, len(value)) + value


def binary(
    source: Address, destination: Address, tlvs: bytes = b"", hasChecksum: bool = False
) -> bytes:
    """
    A header of version 2 (section 2.2).

    @param tlvs: what else it says.
    @raise Oversize: its length cannot be said.
    """
    family, addresses = _addresses(source, destination)
    if hasChecksum:
        tlvs += tlv(CRC32C, bytes(4))
    length = len(addresses) + len(tlvs)
    if length > LONGEST_BYTES:
        raise _tooLong(length)
    header = FIXED.pack(SIGNATURE, PROXY, family, length) + addresses + tlvs
    return header[:-4] + crc32c(header).to_bytes(4) if hasChecksum else header


def _tooLong(length: int) -> Oversize:
    return Oversize(f"a header of the PROXY protocol cannot have {length} bytes")


def _addresses(source: Address, destination: Address) -> tuple[int, bytes]:
    """
    The family, and the addresses; none where one is of TCP, and the other is none.
    """
    if isinstance(source, TCPAddress) and isinstance(destination, TCPAddress):
        ours, theirs = source.withoutZone, destination.withoutZone
        if ":" not in ours and ":" not in theirs:
            packed = inet_pton(AF_INET, ours), inet_pton(AF_INET, theirs)
            return _TCP4, IPV4.pack(*packed, source.port, destination.port)
        return _TCP6, IPV6.pack(_six(ours), _six(theirs), source.port, destination.port)
    if isinstance(source, UNIXAddress) and isinstance(destination, UNIXAddress):
        return _UNIX, UNIX.pack(_path(source), _path(destination))
    return _UNSPEC, b""


def _six(host: str) -> bytes:
    """
    An address of IPv6, also for one of IPv4 (RFC 4291, section 2.5.5.2).
    """
    if ":" not in host:
        return _MAPPED + inet_pton(AF_INET, host)
    return inet_pton(AF_INET6, host)


def _path(address: UNIXAddress) -> bytes:
    path = os.fsencode(address.path)
    if len(path) > _PATH_BYTES:
        # It was escaped, and is what people call it.
        return b""
    return b"\0" + path[1:] if path.startswith(b"@") else path
