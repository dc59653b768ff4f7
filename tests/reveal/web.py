"""
A tunnel before a web server, in memory, that tells who is there.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.certificates import Issued
from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.identity.names import Identity
from tlstunnel.protocols.implicit import implicit
from tlstunnel.reveal.http import http
from tlstunnel.reveal.httpfields import FieldNames
from tlstunnel.testing.memory import Driver

#: Who comes, from where, and to where.
JOHN = Identity("john", "example.org")
PEER = TCPAddress("192.0.2.7", 40007)
LOCAL = TCPAddress("192.0.2.1", 443)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CLOSING = b"Content-Length: 0\r\nConnection: close\r\n\r\n"


def message(*lines: bytes, body: bytes = b"") -> bytes:
    """
    A message with a head of these lines.
    """
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def get(*lines: bytes) -> bytes:
    """
    A request with these fields.
    """
    return message(b"GET / HTTP/1.1", b"Host: www.example.org", *lines)


class Web(Driver):
    """
    Both sides of it.
    """

    def __init__(
        self,
        others: Mapping[str, str] | None = None,
        identity: Identity | None = None,
        peer: TCPAddress | UNIXAddress = PEER,
        local: TCPAddress | UNIXAddress = LOCAL,
        chain: tuple[Issued, ...] = (),
    ) -> None:
        """
        @param others: as in C{http-header}.
        @param chain: what the client has shown, its own certificate first.
        """
        words = [(http, FieldNames.of(others or {}))]
        super().__init__(implicit, "server", words=words, identity=identity)
        # The connection is that of a test, whose record has these facts.
        self.network.local = local
        self.pair.record.peer = peer
        if chain:
            self.network.peerCertificate = chain[0].certificate
            self.network.peerChain = [each.certificate for each in chain[1:]]
        self.handshake()
        self.settle()

    def say(self, text: bytes, cut: int = 0) -> bytes:
        """
        Let the client say something, in pieces of C{cut} bytes.

        @return: what the backend hears of it.
        """
        return self._pass("C", text, cut)

    def answer(self, text: bytes, cut: int = 0) -> bytes:
        """
        The same of the backend.
        """
        return self._pass("B", text, cut)

    def _pass(self, who: str, text: bytes, cut: int) -> bytes:
        for start in range(0, len(text), cut or len(text) or 1):
            self.feed(who, text[start : start + (cut or len(text))])
        return self.atBackend() if who == "C" else self.atClient()

    def atBackend(self) -> bytes:
        """
        What the backend has heard since this was called last.
        """
        heard, self.plain.written = self.plain.written, b""
        return heard

    def atClient(self) -> bytes:
        """
        What the client was told, likewise.
        """
        told, self.network.written = self.network.written, b""
        return told
