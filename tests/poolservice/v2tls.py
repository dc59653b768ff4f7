"""
Programs that speak the TLS Pool's protocol V2, over real sockets and with real TLS, for tests.
"""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.threads import deferToThread

from tests.loopback import SERVER, Encrypted, Plain
from tests.poolservice.stage import HandOverTests, reactor
from tests.poolservice.tlspool import Library
from tlstunnel.address import UNIXAddress
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.local.quotas import Quotas
from tlstunnel.net.listen import Bound, bind
from tlstunnel.net.port import ListeningPort
from tlstunnel.poolservice.v2port import V2Port

IS_CLIENT, IS_SERVER = 0x1 | 0x8, 0x2 | 0x4
IGNORING = IS_SERVER | 0x1000
OTHER = Identity(None, "other.example.org")
KEY = b"the key of a one"


class V2TLSTests(HandOverTests):
    """
    Base class.
    """

    def setUp(self) -> None:
        """Listen."""
        super().setUp()
        createIdentity(self.pool, OTHER)
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = f"{directory.name}/v2"
        self.port = V2Port(self.handOvers, Quotas(0))
        (sock,) = bind(UNIXAddress(self.path))
        listening = ListeningPort(
            reactor, self.handOvers.deadlines, Bound(sock, self.path), self.port.accepted
        )
        listening.startListening()
        self.addCleanup(self.port.close)
        self.addCleanup(listening.stopListening)

    def program(self) -> Library:
        """A program connects; in a thread."""
        found = Library.connect(self.path)
        self.addCleanup(found.close)
        return found

    def run_(self, story: Callable[[], Any]) -> Any:
        """Let a story happen in a thread."""
        return deferToThread(story)

    def peer(
        self, theirs: socket.socket, isClient: bool, showing: Any = None, version: Any = None
    ) -> Encrypted:
        """Whoever is at the network's other end."""
        context = self.context(isClient, showing)
        if version is not None:
            context.set_max_proto_version(version)
        return Encrypted(theirs, context, isClient, str(SERVER).encode() if isClient else b"")

    def meet(
        self,
        library: Library,
        flags: int,
        showing: Any = None,
        version: Any = None,
        **fields: Any,
    ) -> tuple[dict[str, Any], Plain, Encrypted]:
        """
        One exchange; in a thread.

        @return: its answer, the plaintext, and the peer with its TLS up.
        """
        sock, theirs = self.pair()
        peer = self.peer(theirs, not flags & 1, showing, version)
        failed: list[BaseException] = []

        def handshake() -> None:
            try:
                peer.handshake()
            except Exception as error:  # noqa: BLE001 - it is shown where the answer is not there
                failed.append(error)

        thread = threading.Thread(target=handshake)
        thread.start()
        try:
            answer, plain = library.startTLS(sock, flags=flags, **fields)
        finally:
            thread.join()
        if failed:
            raise failed[0]
        self.addCleanup(plain.close)
        return answer, Plain(plain), peer

    def talk(self, plain: Plain, peer: Encrypted) -> None:
        """Something each way, and a clean end."""
        plain.write(b"hello")
        assert peer.read(5) == b"hello"
        peer.write(b"world")
        assert plain.read(5) == b"world"
        peer.end()
        assert plain.atEnd()
        plain.end()
        assert peer.atEnd()
