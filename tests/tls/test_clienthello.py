"""
Tests for L{tlstunnel.tls.clienthello}: the name in the first bytes of a client.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.tls.clienthello import Incomplete, NoHello, serverName


def hello(name: bytes = b"", minimum: int | None = None) -> bytes:
    """
    What OpenSSL says first.
    """
    context = SSL.Context(SSL.TLS_METHOD)
    if minimum is not None:
        context.set_max_proto_version(minimum)
    connection = SSL.Connection(context)
    if name:
        connection.set_tlsext_host_name(name)
    connection.set_connect_state()
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        pass
    said: bytes = connection.bio_read(65536)
    return said


HELLO = hello(b"www.example.org")


def vector(size: int, data: bytes) -> bytes:
    """
    C{data}, counted.
    """
    return len(data).to_bytes(size, "big") + data


def records(message: bytes, sizes: list[int]) -> bytes:
    """
    C{message} in records of C{sizes}, and one of the rest.
    """
    data, at = b"", 0
    for size in [*sizes, max(1, len(message))]:
        piece = message[at : at + size]
        if piece:
            data += b"\x16\x03\x01" + vector(2, piece)
        at += size
    return data


def made(extensions: bytes | None) -> bytes:
    """
    A message with these extensions.
    """
    body = b"\x03\x03" + bytes(32) + vector(1, b"id") + vector(2, b"\x13\x01") + vector(1, b"\0")
    if extensions is not None:
        body += vector(2, extensions)
    return b"\x01" + vector(3, body)


def extension(kind: int, value: bytes) -> bytes:
    """
    One of them.
    """
    return kind.to_bytes(2, "big") + vector(2, value)


def names(*entries: tuple[int, bytes]) -> bytes:
    """
    The extension server_name.
    """
    listed = b"".join(kind.to_bytes(1, "big") + vector(2, name) for kind, name in entries)
    return extension(0, vector(2, listed))


class ServerNameTests(SynchronousTestCase):
    """
    What is found, and when.
    """

    def test_theNameOfAHelloIsFound(self) -> None:
        for minimum in None, SSL.TLS1_2_VERSION:
            self.assertEqual(serverName(hello(b"www.example.org", minimum)), b"www.example.org")

    def test_aHelloWithoutANameHasNone(self) -> None:
        self.assertEqual(serverName(hello()), b"")
        self.assertEqual(serverName(records(made(None), [])), b"")
        self.assertEqual(serverName(records(made(b""), [])), b"")
        self.assertEqual(serverName(records(made(names()), [])), b"")
        self.assertEqual(serverName(records(made(names((1, b"other"))), [])), b"")

    def test_theNameIsFoundAmongOthers(self) -> None:
        extensions = extension(10, b"groups") + names((5, b"?"), (0, b"a.test")) + extension(9, b"")
        self.assertEqual(serverName(records(made(extensions), [])), b"a.test")

    @given(st.integers(0, len(HELLO) - 1))
    def test_moreIsWaitedForAtEveryByte(self, count: int) -> None:
        self.assertRaises(Incomplete, serverName, HELLO[:count])

    @given(st.lists(st.integers(1, 200), max_size=8))
    def test_itDoesNotMatterHowAHelloIsCutIntoRecords(self, sizes: list[int]) -> None:
        self.assertEqual(serverName(records(HELLO[5:], sizes)), b"www.example.org")

    @given(st.binary(max_size=40))
    def test_whatComesBehindDoesNotMatter(self, more: bytes) -> None:
        self.assertEqual(serverName(HELLO + more), b"www.example.org")

    @given(st.binary(max_size=200))
    def test_anyBytesAreAHelloOrNone(self, data: bytes) -> None:
        try:
            serverName(data)
        except (Incomplete, NoHello):
            pass

    @given(st.binary(max_size=120))
    def test_anyExtensionsAreReadOrRefused(self, extensions: bytes) -> None:
        try:
            serverName(records(made(extensions), []))
        except NoHello:
            pass

    @given(st.integers(5, len(HELLO) - 1), st.integers(0, 255))
    def test_aHelloWithAWrongByteIsReadOrRefused(self, at: int, byte: int) -> None:
        try:
            serverName(HELLO[:at] + bytes((byte,)) + HELLO[at + 1 :])
        except (Incomplete, NoHello):
            pass

    def test_whatIsNotTLSIsRefusedAtItsFirstByte(self) -> None:
        for data in b"G", b"GET / HTTP/1.1\r\n", b"\x15\x03\x01\x00\x02\x01\x00", b"\x16\x02":
            self.assertRaises(NoHello, serverName, data)

    def test_anotherMessageOfTLSIsRefused(self) -> None:
        self.assertRaises(NoHello, serverName, records(b"\x02" + vector(3, b"hello"), []))

    def test_emptyAndOverlongRecordsAreRefused(self) -> None:
        self.assertRaises(NoHello, serverName, b"\x16\x03\x01\x00\x00")
        self.assertRaises(NoHello, serverName, b"\x16\x03\x01\x40\x01")

    def test_aHelloThatWouldBeTooLongIsRefusedByItsLength(self) -> None:
        self.assertRaises(NoHello, serverName, b"\x16\x03\x01\x00\x04\x01\x02\x00\x00")
