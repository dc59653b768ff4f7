"""
The header of the PROXY protocol, as bytes: how one is read.

Who connects on behalf of somebody else says with it who that is (HAProxy's
C{doc/proxy-protocol.txt}, here "the specification").  Version 1 is a line of text, version 2 is
binary, and may tell more, in TLVs.  What does not follow the specification to the letter is
L{Malformed}: nobody may be in doubt about where the header ends.  This module knows no socket;
L{tlstunnel.net.proxyreading} has one.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from socket import AF_INET, AF_INET6, inet_ntop

from tlstunnel.address import Address, TCPAddress, addressOf
from tlstunnel.errors import Malformed, Oversize
from tlstunnel.net.crc32c import crc32c

#: What a header of version 2 begins with (section 2.2).
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

#: What one of version 1 begins with, and the bytes that it has at most (section 2.1).
TEXT = b"PROXY "
LONGEST_TEXT = 107

#: The bytes of version 2 before the addresses, and the most that may follow: more than anybody
#: sends who sends no certificates, and room for these.
FIXED = struct.Struct("!12sBBH")
MOST_BYTES = 16384

#: The types of TLVs (sections 2.2.1 to 2.2.6).
ALPN, AUTHORITY, CRC32C, NOOP, UNIQUE_ID, SSL = 0x01, 0x02, 0x03, 0x04, 0x05, 0x20

#: The most bytes in an id (section 2.2.5).
LONGEST_ID = 128

#: The addresses of version 2, source and destination, then their ports.
IPV4 = struct.Struct("!4s4sHH")
IPV6 = struct.Struct("!16s16sHH")
UNIX = struct.Struct("!108s108s")

#: The cause where something else comes.
NO_HEADER = "no header"

# The 13th byte: version and command; the 14th: family, and protocol.
LOCAL, PROXY = 0x20, 0x21
STREAM = 1
_FAMILIES = {1: IPV4, 2: IPV6, 3: UNIX}
_LAST_PROTOCOL = 2

_TLV = struct.Struct("!BH")

# Section 2.1: single spaces, and numbers without a zero that stands before others.
_PORT = rb"(0|[1-9][0-9]{0,4})"
_LINE = re.compile(rb"PROXY (TCP4|TCP6) ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+) " + _PORT + b" " + _PORT)
_UNKNOWN = re.compile(rb"PROXY UNKNOWN( [\x20-\x7e]*)?")

TLVs = tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Header:
    """
    What a header says.

    @ivar source: who is there; C{None} where that is whoever sends the header: it does so for
        itself (LOCAL), or does not know, or for something that we do not know.
    @ivar destination: the address that was connected to; C{None} likewise.
    @ivar tlvs: what else it says: types and values, in order.
    """

    source: Address | None = None
    destination: Address | None = None
    tlvs: TLVs = ()

    def value(self, kind: int) -> bytes | None:
        """
        The value of the first TLV of type C{kind}; C{None} where there is none.
        """
        return next((value for found, value in self.tlvs if found == kind), None)


def lengthOf(data: bytes) -> int:
    """
    How long the header is that C{data} begins with.

    @param data: what has arrived, as much as there is.
    @return: 0 while that is not known; where it is more than C{data} has, the rest is to come.
    @raise Malformed: it is no header.
    @raise Oversize: it is too long.
    """
    if data[:12] == SIGNATURE[: len(data)]:
        if len(data) < FIXED.size:
            return 0
        _, command, _, length = FIXED.unpack_from(data)
        if command >> 4 != 2:
            raise Malformed(
                "a header of an unknown version of the PROXY protocol", bytes(data[:16])
            )
        if length > MOST_BYTES:
            raise Oversize(f"a header of the PROXY protocol with {length} bytes")
        return FIXED.size + int(length)
    if data[:6] != TEXT[: len(data)]:
        raise Malformed("no header of the PROXY protocol", data[:LONGEST_TEXT], NO_HEADER)
    end = data.find(b"\n", 0, LONGEST_TEXT) + 1
    if not end and len(data) >= LONGEST_TEXT:
        raise Malformed("a header of the PROXY protocol without an end", data[:LONGEST_TEXT])
    return end


def parse(data: bytes) -> Header:
    """
    Read a header.

    @param data: all of it, and nothing else.
    @raise Malformed: it is none.
    """
    if not lengthOf(data) == len(data):
        raise Malformed("a header of the PROXY protocol that is cut", data)
    return _parseBinary(data) if data.startswith(SIGNATURE) else _parseText(data)


def _parseText(data: bytes) -> Header:
    """
    Section 2.1: C{PROXY TCP4 192.0.2.1 192.0.2.2 56324 443}, or C{PROXY UNKNOWN}.
    """
    line = data.removesuffix(b"\r\n")
    if _UNKNOWN.fullmatch(line) and len(line) < len(data):
        return Header()
    found = _LINE.fullmatch(line)
    if found is None or len(line) == len(data):
        raise Malformed("a header of the PROXY protocol that is no such line", data)
    family, source, destination, fromPort, toPort = map(bytes.decode, found.groups())
    try:
        return Header(
            TCPAddress(_host(family, source), _port(fromPort)),
            TCPAddress(_host(family, destination), _port(toPort)),
        )
    except ValueError:
        raise Malformed("a header of the PROXY protocol with a wrong address", data) from None


def _host(family: str, text: str) -> str:
    if family == "TCP4":
        return str(IPv4Address(text))
    address = IPv6Address(text)
    return str(address.ipv4_mapped or address)


def _port(text: str) -> int:
    if int(text) > 65535:
        raise ValueError(text)
    return int(text)


def _parseBinary(data: bytes) -> Header:
    """
    Section 2.2.
    """
    _, command, kind, _ = FIXED.unpack_from(data)
    family, protocol = kind >> 4, kind & 0x0F
    if command == LOCAL:
        _checkLocal(data, _FAMILIES.get(family))
        return Header()
    if command != PROXY:
        raise Malformed("an unknown command in a header of the PROXY protocol", data)
    if family > max(_FAMILIES) or protocol > _LAST_PROTOCOL:
        # "must be rejected as invalid by receivers"
        raise Malformed("an unknown family in a header of the PROXY protocol", data)
    layout = _FAMILIES.get(family)
    start = FIXED.size + (0 if layout is None else layout.size)
    spans = _spans(data, start)
    _check(data, spans)
    tlvs = tuple((found, data[at:end]) for found, at, end in spans)
    if layout is None or protocol != STREAM:
        # What comes by UDP is forwarded by nobody to us; so it is as if nothing was known.
        return Header(tlvs=tlvs)
    return Header(*_addresses(layout, data), tlvs)


def _addresses(layout: struct.Struct, data: bytes) -> tuple[Address, Address]:
    if layout is UNIX:
        source, destination = UNIX.unpack_from(data, FIXED.size)
        return _path(source), _path(destination)
    source, destination, fromPort, toPort = layout.unpack_from(data, FIXED.size)
    return addressOf((_text(source), fromPort)), addressOf((_text(destination), toPort))


def _text(packed: bytes) -> str:
    return inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)


def _path(padded: bytes) -> Address:
    # A NUL at its beginning belongs to the name of a socket that is no file (unix(7)).
    name = padded[:1] + padded[1:].partition(b"\0")[0]
    return addressOf(name.rstrip(b"\0") and name)


def _spans(data: bytes, at: int) -> list[tuple[int, int, int]]:
    """
    The TLVs from C{at} on: the type of each, and where its value begins and ends.

    @raise Malformed: they do not end where the header does.
    """
    found = []
    while at < len(data):
        if at + _TLV.size > len(data):
            at = len(data) + 1
            break
        kind, length = _TLV.unpack_from(data, at)
        at += _TLV.size
        found.append((kind, at, at + length))
        at += length
    if at != len(data):
        raise Malformed("a header of the PROXY protocol with TLVs that do not fit", data)
    return found


def _check(data: bytes, spans: list[tuple[int, int, int]]) -> None:
    """
    What must be true of TLVs.
    """
    sums = [(at, end) for kind, at, end in spans if kind == CRC32C]
    ids = [end - at for kind, at, end in spans if kind == UNIQUE_ID]
    if len(sums) > 1 or len(ids) > 1:
        raise Malformed("a header of the PROXY protocol that says the same twice", data)
    if any(length > LONGEST_ID for length in ids):
        raise Malformed("a header of the PROXY protocol with an id that is too long", data)
    for at, end in sums:
        # Section 2.2.3: the sum is that of the header with zeroes in its place.
        blank = data[:at] + bytes(end - at) + data[end:]
        if data[at:end] != crc32c(blank).to_bytes(4):
            raise Malformed("a header of the PROXY protocol with a wrong checksum", data)


def _checkLocal(data: bytes, layout: struct.Struct | None) -> None:
    """
    All that is in a header for LOCAL is discarded, so that only a checksum can be wrong.
    """
    start = FIXED.size + (0 if layout is None else layout.size)
    try:
        spans = _spans(data, start)
    except Malformed:
        return
    _check(data, [each for each in spans if each[0] == CRC32C])
