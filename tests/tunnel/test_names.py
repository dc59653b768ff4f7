"""
Tests for the way from a name to its backend, on loopback: with and without STARTTLS, behind a name
that was said in clear, and for data connections.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from OpenSSL import SSL
from twisted.internet.threads import deferToThread

from tests.loopback import PATIENCE, SERVER, Encrypted, TunnelTests, smtpClient, wait
from tlstunnel.address import TCPAddress
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.program.service import TunnelService
from tlstunnel.tunnel.servedname import ServedName

A, B = "a.example.org", "b.example.org"

Preamble = Callable[[socket.socket], object]


def _until(sock: socket.socket, end: bytes) -> None:
    heard = b""
    while not heard.endswith(end):
        data = sock.recv(4096)
        assert data, heard
        heard += data


def xmpp(domain: str) -> Preamble:
    """A client of xmpp that asks for C{domain} in clear, and then for TLS."""

    def ask(sock: socket.socket) -> None:
        sock.sendall(
            f"<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xmlns='jabber:client'"
            " xmlns:stream='http://etherx.jabber.org/streams'>".encode()
        )
        _until(sock, b"</stream:features>")
        sock.sendall(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        _until(sock, b"/>")

    return ask


def http(host: str) -> Preamble:
    """A client of HTTP that upgrades."""

    def ask(sock: socket.socket) -> None:
        sock.sendall(
            f"OPTIONS * HTTP/1.1\r\nHost: {host}\r\nUpgrade: TLS/1.0\r\n"
            "Connection: Upgrade\r\n\r\n".encode()
        )
        _until(sock, b"\r\n\r\n")

    return ask


class BackendTests(TunnelTests):
    """
    Which backend is connected to.
    """

    def setUp(self) -> None:
        """
        Three backends: of the tunnel, and of two names; the second name demands a certificate.
        """
        super().setUp()
        createIdentity(self.pool, Identity.parse("client.example.org"))
        self.backends: dict[str, socket.socket] = {}
        for name in ("", A, B):
            if name:
                createIdentity(self.pool, Identity.parse(name))
            sock = socket.create_server(("127.0.0.1", 0))
            self.addCleanup(sock.close)
            self.backends[name] = sock
        self.names = (
            ServedName(A, remote=(self.at(A),)),
            ServedName(B, remote=(self.at(B),), remoteID=Selector.parse("client.example.org")),
        )

    def at(self, name: str) -> TCPAddress:
        """
        Where a backend is.
        """
        return TCPAddress("127.0.0.1", self.backends[name].getsockname()[1])

    def serve(self, dialect: str = "none", **settings: Any) -> TunnelService:
        """
        A tunnel in front of them.
        """
        return self.tunnel(str(self.at("")), dialect, **({"names": self.names} | settings))

    async def reached(
        self,
        service: TunnelService,
        name: str,
        preamble: Preamble | None = None,
        isVerified: bool = False,
    ) -> str | None:
        """
        Which backend a client comes to that asks for C{name}; C{None} if it comes to none.
        """
        port = int(service.addresses[0].rsplit(":", 1)[1])
        self.ends.clear()

        def run() -> str | None:
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
                if preamble is not None:
                    preamble(sock)
                context = self.context(True)
                if isVerified:
                    directory = self.pool.path / "client.example.org"
                    context.use_certificate_chain_file(str(directory / "fullchain.pem"))
                    context.use_privatekey_file(str(directory / "privkey.pem"))
                client = Encrypted(sock, context, True, name.encode())
                try:
                    client.handshake()
                except (SSL.Error, ConnectionError):
                    pass
                limit = time.monotonic() + PATIENCE
                while time.monotonic() < limit:
                    waiting, _, _ = select.select(list(self.backends.values()), [], [], 0.05)
                    for found, backend in self.backends.items():
                        if backend in waiting:
                            accepted, _ = backend.accept()
                            accepted.close()
                            return found
                    if self.ends:
                        return None
                raise AssertionError("nothing happens")

        found = await deferToThread(run)
        await wait(lambda: bool(self.ends))
        return found

    async def test_TLSFromTheFirstByte(self) -> None:
        """
        The name decides; who asks for none comes to the tunnel's.
        """
        service = self.serve()
        self.assertEqual(await self.reached(service, A), A)
        self.assertEqual(str(self.ends[0]["backend"]), str(self.at(A)))
        self.assertEqual(await self.reached(service, ""), "")
        self.assertIsNone(await self.reached(service, B))
        self.assertIn("certificate", str(self.ends[0]["detail"]))
        self.assertEqual(await self.reached(service, B, isVerified=True), B)
        self.assertEqual(str(self.ends[0]["identity"]), "client.example.org")

    async def test_insideSTARTTLS(self) -> None:
        """
        Likewise; the greeting before it has the name of the tunnel.
        """
        service = self.serve("smtp")
        for name, verified, backend in (
            (A, False, A),
            ("", False, ""),
            (B, False, None),
            (B, True, B),
        ):
            found = await self.reached(service, name, smtpClient, verified)
            self.assertEqual(found, backend)

    async def test_inXMPPTheStreamAndSNIAgree(self) -> None:
        """
        A client that asks for one domain in clear, and for another in TLS, comes to neither; one
        that asks in clear alone comes where that leads, if it is let in there.
        """
        service = self.serve("xmpp-client")
        self.assertEqual(await self.reached(service, A, xmpp(A)), A)
        self.assertEqual(await self.reached(service, "", xmpp(A)), A)
        for said, name in ((A, B), (B, A), (A, SERVER.domain), (SERVER.domain, A)):
            self.assertIsNone(await self.reached(service, name, xmpp(said), True))
            self.assertIn("another name before", str(self.ends[0]["detail"]))
        self.assertIsNone(await self.reached(service, "", xmpp(B)))
        self.assertEqual(await self.reached(service, "", xmpp(B), True), B)
        self.assertEqual(await self.reached(service, B, xmpp(B), True), B)

    async def test_inHTTPTheHostAndSNIAgree(self) -> None:
        """
        A host that is none of our names says nothing.
        """
        service = self.serve("http", options=frozenset(["allow-upgrade-desync"]))
        for host in (A, f"{A.upper()}:631", "localhost", "127.0.0.1:631", "[::1]"):
            self.assertEqual(await self.reached(service, A, http(host)), A)
        self.assertEqual(await self.reached(service, "", http(A)), A)
        for said, name in ((A, B), (f"{B}:80", A)):
            self.assertIsNone(await self.reached(service, name, http(said), True))
        self.assertIsNone(await self.reached(service, "", http(B)))

    async def test_aReloadTakesUpAnotherBackend(self) -> None:
        """
        And another policy.
        """
        service = self.serve()
        assert service.factory is not None
        names = (replace(self.names[0], remote=(self.at(B),)), replace(self.names[1], anybody=True))
        self.assertEqual(await self.reached(service, A), A)
        service.factory.renew(replace(service.tunnel, names=names))
        self.assertEqual(await self.reached(service, A), B)
        self.assertEqual(await self.reached(service, B), B)

    async def test_aConnectionGoesOnAsItBegan(self) -> None:
        """
        A reload between its acceptance and its handshake changes nothing for it.
        """
        service = self.serve("smtp")
        assert service.factory is not None
        factory = service.factory
        names = (replace(self.names[0], remote=(self.at(B),)),)

        def ask(sock: socket.socket) -> None:
            smtpClient(sock)
            factory.renew(replace(service.tunnel, names=names))

        self.assertEqual(await self.reached(service, A, ask), A)
        self.assertEqual(await self.reached(service, A, smtpClient), B)
