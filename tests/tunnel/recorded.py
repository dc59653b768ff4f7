"""
What tests have of the records of connections: observers that keep what they are told.
"""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

from tests.loopback import PATIENCE, Plain, TunnelTests, reactor, wait
from tlstunnel.identity.names import Identity
from tlstunnel.proxy import ProxyFactory
from tlstunnel.tunnel.observers import Observer
from tlstunnel.tunnel.record import Record

#: The content of an object identifier: prime256v1 (RFC 5480).
P_256 = bytes.fromhex("2a8648ce3d030107")


QUESTION, ANSWER = b"EHLO client.example.org\r\n", b"250 mx\r\n"


class Notes(Observer):
    """
    Notes what it is told, and what the record has at that moment.

    @ivar noted: pairs of what happened, a stage where the connection has come to one, and all that
        was known.
    """

    def __init__(self) -> None:
        self.noted: list[tuple[str, dict[str, Any]]] = []

    def _note(self, what: str, record: Record) -> None:
        known = {name: getattr(record, name) for name in KNOWN}
        self.noted.append((what, known))

    def began(self, record: Record) -> None:
        """Note it."""
        self._note("began", record)

    def verified(self, record: Record) -> None:
        """Note it."""
        self._note("verified", record)

    def advanced(self, record: Record) -> None:
        """Note it."""
        self._note(record.stage.value, record)

    def ended(self, record: Record) -> None:
        """Note it."""
        self._note("ended", record)

    @property
    def story(self) -> list[str]:
        """
        What happened, in order.
        """
        return [what for what, _ in self.noted]


#: All that a record has.
KNOWN = (
    *("tunnel", "mode", "dialect", "peer", "backend", "stage", "serverName", "alpn", "version"),
    *("suite", "group", "identity", "certificate", "isVerified", "negotiated", "handshaken"),
    *("toNetwork", "toPlain", "seconds", "error", "outcome"),
)

#: What is known of a peer once it is verified, and what there is before, or instead.
UNVERIFIED = {
    "serverName": "",
    "alpn": b"",
    "version": "",
    "suite": "",
    "group": "",
    "identity": None,
    "certificate": None,
    "isVerified": False,
    "handshaken": None,
    "toNetwork": 0,
    "toPlain": 0,
}


class ObservedTests(TunnelTests):
    """
    Base class of tests with an observer at a tunnel.

    @ivar notes: the observer.
    """

    def setUp(self) -> None:
        """
        Nothing is noted yet.
        """
        super().setUp()
        self.notes = Notes()

    def tunnel(self, backend: str, dialect: str = "none", **settings: Any) -> Any:
        """
        Start a tunnel that is observed.
        """
        tunnel = self.described(backend, dialect, **settings)
        factory = ProxyFactory(tunnel, reactor, (self.notes,))
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(factory.deadlines.clear)
        self.addCleanup(factory.linger.closeAll)
        self.addCleanup(factory.stop)
        self.addCleanup(port.stopListening)
        return SimpleNamespace(addresses=[f"127.0.0.1:{port.getHost().port}"])

    async def ended(self) -> dict[str, Any]:
        """
        Wait for the end of the connection.

        @return: what was known then.
        """
        await wait(lambda: self.notes.story[-1:] == ["ended"])
        return self.notes.noted[-1][1]

    def credentials(self, context: Any, identity: Identity) -> None:
        """
        Let a peer have an identity of the pool.
        """
        directory = self.pool.path / str(identity)
        context.use_certificate_chain_file(str(directory / "fullchain.pem"))
        context.use_privatekey_file(str(directory / "privkey.pem"))


def converse(client: Plain, server: Plain) -> None:
    """
    A question, an answer that is shorter, and a clean end.
    """
    client.write(QUESTION)
    server.read(len(QUESTION))
    server.write(ANSWER)
    client.read(len(ANSWER))
    for one, other in (server, client), (client, server):
        one.end()
        other.read(1)


def connection(service: Any) -> socket.socket:
    """
    A connection to a tunnel.
    """
    host, port = service.addresses[0].rsplit(":", 1)
    return socket.create_connection((host, int(port)), PATIENCE)
