"""
Tests for L{tlstunnel.net.proxyheader} and L{tlstunnel.net.proxywriting}: headers of the PROXY
protocol, as bytes.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import Address, TCPAddress, UNIXAddress
from tlstunnel.errors import Malformed, Oversize, TunnelError
from tlstunnel.net import proxywriting
from tlstunnel.net.crc32c import crc32c
from tlstunnel.net.proxyheader import (
    ALPN,
    CRC32C,
    LONGEST_TEXT,
    MOST_BYTES,
    SIGNATURE,
    UNIQUE_ID,
    Header,
    lengthOf,
    parse,
)
from tlstunnel.net.proxywriting import tlv

HERE, THERE = TCPAddress("192.0.2.1", 56324), TCPAddress("198.51.100.7", 443)
SIX = TCPAddress("2001:db8::1", 40000)

_ports = st.integers(0, 65535)
_fours = st.builds(lambda host, port: TCPAddress(str(host), port), st.ip_addresses(v=4), _ports)
_sixes = st.builds(
    lambda host, port: TCPAddress(str(host.ipv4_mapped or host), port),
    st.ip_addresses(v=6).filter(lambda each: isinstance(each, IPv6Address)),
    _ports,
)
_paths = st.builds(
    UNIXAddress,
    st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), max_size=108).filter(
        lambda path: not path.startswith("@")
    ),
)


def binary(
    command: int, family: int, addresses: bytes = b"", tlvs: bytes = b"", length: int | None = None
) -> bytes:
    """
    A header of version 2, as somebody else might write it.
    """
    rest = addresses + tlvs
    said = len(rest) if length is None else length
    return SIGNATURE + struct.pack("!BBH", command, family, said) + rest


_FOUR = IPv4Address("192.0.2.1").packed + IPv4Address("198.51.100.7").packed + b"\xdc\x04\x01\xbb"


class ExamplesTests(SynchronousTestCase):
    """
    What stands in the specification, and what others send.
    """

    def test_theLineOfTheSpecification(self) -> None:
        """
        Section 2.1.
        """
        header = parse(b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n")
        self.assertEqual(header.source, TCPAddress("192.168.0.1", 56324))
        self.assertEqual(header.destination, TCPAddress("192.168.0.11", 443))

    def test_theLongestLines(self) -> None:
        """
        Section 2.1, with their lengths.
        """
        six = b":".join([b"ffff"] * 8)
        for line, length in (
            (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", 56),
            (b"PROXY TCP6 " + six + b" " + six + b" 65535 65535\r\n", 104),
            (b"PROXY UNKNOWN\r\n", 15),
            (b"PROXY UNKNOWN " + six + b" " + six + b" 65535 65535\r\n", LONGEST_TEXT),
        ):
            self.assertEqual(len(line), length)
            self.assertEqual(lengthOf(line), length)
            header = parse(line)
            self.assertEqual(header.source is None, b"UNKNOWN" in line)

    def test_aHeaderOfVersion2(self) -> None:
        """
        Section 2.2, byte by byte.
        """
        header = parse(binary(0x21, 0x11, _FOUR, tlv(ALPN, b"h2")))
        self.assertEqual(header, Header(HERE, THERE, ((ALPN, b"h2"),)))
        self.assertEqual(header.value(ALPN), b"h2")
        self.assertIsNone(header.value(UNIQUE_ID))

    def test_whoSendsForItselfIsWhoItIs(self) -> None:
        """
        LOCAL, whatever else stands there; and where nobody knows who it is.
        """
        for data in (
            binary(0x20, 0x00),
            binary(0x20, 0x11, _FOUR),
            binary(0x20, 0x11),
            binary(0x20, 0xFF, b"whatever"),
            binary(0x21, 0x00),
            binary(0x21, 0x12, _FOUR),
        ):
            self.assertEqual(parse(data), Header(), data)

    def test_socketsOfUNIX(self) -> None:
        """
        With a path, with an abstract name, with nothing.
        """
        for source, expected in (
            (b"/run/app", "/run/app"),
            (b"\0name", "@name"),
            (b"", ""),
            (b"/" + b"x" * 107, "/" + "x" * 107),
            (b"/a\nb", "/a\\nb"),
        ):
            header = parse(binary(0x21, 0x31, source.ljust(108, b"\0") + b"/b".ljust(108, b"\0")))
            self.assertEqual(header, Header(UNIXAddress(expected), UNIXAddress("/b")))

    def test_IPv4IsIPv4HoweverItComes(self) -> None:
        """
        Mapped into IPv6.
        """
        mapped = bytes(10) + b"\xff\xff" + IPv4Address("192.0.2.1").packed
        for data in (
            binary(0x21, 0x21, mapped * 2 + b"\0\1\0\2"),
            b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c000:201 1 2\r\n",
        ):
            header = parse(data)
            self.assertEqual(header.source, TCPAddress("192.0.2.1", 1))
            self.assertEqual(header.destination, TCPAddress("192.0.2.1", 2))

    def test_theChecksum(self) -> None:
        """
        The value that everybody gives for the digits, and RFC 3720's for zeroes (appendix B.4).
        """
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)
        self.assertEqual(crc32c(bytes(32)).to_bytes(4, "little"), bytes.fromhex("aa36918a"))

    def test_aWrongChecksum(self) -> None:
        """
        Wherever a bit is wrong, but for that it is a checksum at all; also in one for LOCAL.
        """
        good = proxywriting.binary(HERE, THERE, tlv(UNIQUE_ID, b"id"), hasChecksum=True)
        self.assertEqual(parse(good).source, HERE)
        for at in {*range(16, len(good))} - {len(good) - 7}:
            bad = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
            self.assertRaises(Malformed, parse, bad)
        self.assertRaises(Malformed, parse, binary(0x20, 0x00, b"", tlv(CRC32C, b"0000")))
        self.assertRaises(Malformed, parse, binary(0x21, 0x11, _FOUR, tlv(CRC32C, b"000")))


class RefusedTests(SynchronousTestCase):
    """
    What is no header.
    """

    def test_wrongLines(self) -> None:
        """
        Not one byte may be different.
        """
        for line in (
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\r\n",
            b"PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.256 1 2\r\n",
            b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 2001:db8::1 2001:db8::1 1 2\r\n",
            b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY TCP6 fe80::1%eth0 fe80::1 1 2\r\n",
            b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY UNKNOWNS\r\n",
            b"PROXY UNKNOWN\n",
            b"PROXY UNKNOWN \0\r\n",
            b"PROXY \r\n",
            b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 mail.example.org 192.0.2.2 1 2\r\n",
            b"\xef\xbb\xbfPROXY UNKNOWN\r\n",
        ):
            self.assertRaises(Malformed, parse, line)

    def test_aLineWithoutAnEnd(self) -> None:
        """
        107 bytes, and not one more.
        """
        line = b"PROXY UNKNOWN ".ljust(LONGEST_TEXT, b"x")
        self.assertEqual(lengthOf(line[:-1]), 0)
        self.assertRaises(Malformed, lengthOf, line)
        self.assertRaises(Malformed, lengthOf, line + b"\r\n")

    def test_whatOthersSay(self) -> None:
        """
        TLS, HTTP, SMTP, and what only begins like a header: at the first byte that is different.
        """
        for data in (
            b"\x16\x03\x01",
            b"GET / HTTP/1.1\r\n",
            b"EHLO",
            b"\r\n\r\n\r",
            b"PROPFIND",
            b"\r\nQUIT",
        ):
            self.assertRaises(Malformed, lengthOf, data)

    def test_wrongVersion2(self) -> None:
        """
        Versions, commands, families and protocols that there are not, and what does not fit.
        """
        for data in (
            binary(0x11, 0x11, _FOUR),
            binary(0x31, 0x11, _FOUR),
            binary(0x22, 0x11, _FOUR),
            binary(0x21, 0x41, _FOUR),
            binary(0x21, 0x13, _FOUR),
            binary(0x21, 0x11, _FOUR[:-1]),
            binary(0x21, 0x21, _FOUR),
            binary(0x21, 0x11),
            binary(0x21, 0x11, _FOUR, b"\1"),
            binary(0x21, 0x11, _FOUR, b"\1\0"),
            binary(0x21, 0x11, _FOUR, b"\1\0\1"),
            binary(0x21, 0x11, _FOUR, tlv(1, b"ab")[:-1]),
            binary(0x21, 0x11, _FOUR, tlv(UNIQUE_ID, bytes(129))),
            binary(0x21, 0x11, _FOUR, tlv(UNIQUE_ID, b"a") + tlv(UNIQUE_ID, b"b")),
            binary(0x21, 0x11, _FOUR, b"", length=11),
            binary(0x21, 0x11, _FOUR, b"", length=13),
        ):
            self.assertRaises(Malformed, parse, data)

    def test_tooLong(self) -> None:
        """
        It is said before any of it is read.
        """
        first = binary(0x21, 0x11, b"", length=MOST_BYTES)
        self.assertEqual(lengthOf(first), MOST_BYTES + 16)
        self.assertRaises(Oversize, lengthOf, binary(0x21, 0x11, b"", length=MOST_BYTES + 1))


class PropertyTests(SynchronousTestCase):
    """
    What is written is read, and nothing else is.
    """

    @given(st.binary(max_size=300))
    def test_anythingIsReadOrRefused(self, data: bytes) -> None:
        """
        And nothing else happens.
        """
        for said in (
            data,
            SIGNATURE + data,
            b"PROXY " + data + b"\r\n",
            SIGNATURE + b"\x21\x11" + data,
        ):
            try:
                length = lengthOf(said)
                if 0 < length <= len(said):
                    parse(said[:length])
            except TunnelError:
                pass

    @given(
        st.one_of(*(st.tuples(each, each) for each in (_fours, _sixes, _paths))),
        st.lists(st.tuples(st.integers(6, 255), st.binary(max_size=40)), max_size=5),
        st.binary(max_size=128),
        st.booleans(),
    )
    def test_whatIsWrittenIsRead(
        self,
        addresses: tuple[Address, Address],
        tlvs: list[tuple[int, bytes]],
        uniqueID: bytes,
        hasChecksum: bool,
    ) -> None:
        """
        With version 2; and however it is cut, its length is known from the first 16 bytes on.
        """
        tlvs = [*tlvs, (UNIQUE_ID, uniqueID)]
        written = proxywriting.binary(
            *addresses, b"".join(tlv(*each) for each in tlvs), hasChecksum
        )
        header = parse(written)
        self.assertEqual((header.source, header.destination), addresses)
        self.assertEqual([each for each in header.tlvs if each[0] != CRC32C], tlvs)
        for end in range(len(written)):
            self.assertEqual(lengthOf(written[:end]), len(written) if end >= 16 else 0)

    @given(st.one_of(st.tuples(_fours, _fours), st.tuples(_sixes, _sixes)))
    def test_soAreLines(self, addresses: tuple[TCPAddress, TCPAddress]) -> None:
        """
        With version 1; its end is its end.
        """
        written = proxywriting.text(*addresses)
        header = parse(written)
        isSame = len({":" in each.host for each in addresses}) == 1
        self.assertEqual((header.source, header.destination), addresses if isSame else (None, None))
        for end in range(len(written)):
            self.assertEqual(lengthOf(written[:end]), 0)
        self.assertEqual(lengthOf(written + b"PROXY"), len(written))


class WritingTests(SynchronousTestCase):
    """
    Addresses that do not go together, and what is too long.
    """

    def test_differentFamiliesInALine(self) -> None:
        """
        It has no word for that.
        """
        for pair in (
            (HERE, SIX),
            (SIX, HERE),
            (UNIXAddress("/a"), UNIXAddress("/b")),
            (HERE, UNIXAddress("")),
        ):
            self.assertEqual(proxywriting.text(*pair), b"PROXY UNKNOWN\r\n")

    def test_differentFamiliesInVersion2(self) -> None:
        """
        IPv4 is written as IPv6; what has no such form is left out.
        """
        self.assertEqual(parse(proxywriting.binary(HERE, SIX)), Header(HERE, SIX))
        self.assertEqual(parse(proxywriting.binary(HERE, UNIXAddress("/a"))), Header())

    def test_aZoneIsForNobodyElse(self) -> None:
        """
        It is the name of an interface of ours.
        """
        zoned = TCPAddress("fe80::1%eth0", 1)
        self.assertEqual(proxywriting.text(zoned, zoned), b"PROXY TCP6 fe80::1 fe80::1 1 1\r\n")
        self.assertEqual(parse(proxywriting.binary(zoned, zoned)).source, TCPAddress("fe80::1", 1))

    def test_nothingIsCut(self) -> None:
        """
        What is too long is refused.
        """
        room = 0xFFFF - len(_FOUR) - 3
        whole = proxywriting.binary(HERE, THERE, tlv(0xE0, bytes(room)))
        self.assertEqual(len(whole), 16 + 0xFFFF)
        self.assertRaises(Oversize, proxywriting.binary, HERE, THERE, tlv(0xE0, bytes(room + 1)))
        self.assertRaises(Oversize, tlv, 0xE0, bytes(65536))

    def test_aPathThatWasEscapedIsNone(self) -> None:
        """
        It would not be that of the socket.
        """
        long = UNIXAddress("\\x01" * 100)
        self.assertEqual(parse(proxywriting.binary(long, long)).source, UNIXAddress(""))
