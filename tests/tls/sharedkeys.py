"""
Tunnels with pre-shared keys, over real TLS in memory, for tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Recipe, alternative, dns, mail, make
from tests.tls.peers import HOST, MEMORY, OURS
from tlstunnel.address import TCPAddress
from tlstunnel.errors import TunnelError
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.psk import PresharedKey, keepPSK
from tlstunnel.protocols.registry import find
from tlstunnel.tls import pskbinding
from tlstunnel.tls.checkup import handshake
from tlstunnel.tls.creators import Creator
from tlstunnel.tls.failures import handshakeFailure
from tlstunnel.tls.session import Session
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.prepared import Prepared

VERSIONS = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)
DEVICE = Identity.parse("device7@example.org")
OTHER = Identity.parse("device8@example.org")
NAME = str(DEVICE).encode()
KEY = bytes(range(32))
OTHER_KEY = bytes(range(32, 64))


def sharedBy(
    identity: Identity = DEVICE, key: bytes = KEY, name: bytes | None = None
) -> PresharedKey:
    """
    A key.
    """
    return PresharedKey(identity, str(identity).encode() if name is None else name, key)


def stranger(context: SSL.Context, version: int, isClient: bool) -> SSL.Connection:
    """
    A connection that is none of ours.
    """
    connection = SSL.Connection(context, MEMORY)
    others = {SSL.TLS1_2_VERSION: SSL.OP_NO_TLSv1_3, SSL.TLS1_3_VERSION: SSL.OP_NO_TLSv1_2}
    connection.set_options(others[version])
    if isClient:
        connection.set_connect_state()
    else:
        connection.set_accept_state()
    return connection


def client(
    name: bytes = NAME,
    key: bytes = KEY,
    suites: bytes = b"",
    isCertified: bool = False,
) -> SSL.Context:
    """
    What others have that play the client, with all suites of OpenSSL.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_cipher_list(b"ALL")
    if suites:
        context.set_tls13_ciphersuites(suites)
    if key:
        pskbinding.useKey(context, name, key)
    if isCertified:
        shown = make(Recipe(san=alternative(dns(HOST), mail(str(DEVICE)))))
        context.use_certificate(shown.certificate)
        context.use_privatekey(shown.key)
    return context


def server(keys: dict[bytes, bytes], isCertified: bool = False, suites: bytes = b"") -> SSL.Context:
    """
    The same for the server, which may have a certificate besides.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_cipher_list(b"ALL")
    if suites:
        context.set_tls13_ciphersuites(suites)
    if keys:
        pskbinding.findKeys(context, lambda _, name: keys.get(name, b""))
    if isCertified:
        context.use_certificate(OURS.certificate)
        context.use_privatekey(OURS.key)
    return context


def sized(bytesOfSize: int, *parts: bytes) -> bytes:
    """
    A vector of TLS (RFC 8446, section 3.4).
    """
    content = b"".join(parts)
    return len(content).to_bytes(bytesOfSize, "big") + content


def hello(names: Sequence[bytes]) -> bytes:
    """
    A ClientHello of TLS 1.3 (RFC 8446, section 4.1.2) with keys of these names, and none of these
    keys.
    """
    identities = sized(2, *(sized(2, name) + bytes(4) for name in names))
    binders = sized(2, *(sized(1, bytes(32)) for _ in names))
    extensions = (
        (43, sized(1, b"\3\4")),
        (45, sized(1, b"\1")),
        (10, sized(2, b"\0\x1d")),
        (13, sized(2, b"\4\3")),
        (51, sized(2, b"\0\x1d", sized(2, bytes(31) + b"\1"))),
        (41, identities + binders),
    )
    body = b"\3\3" + bytes(32) + sized(1) + sized(2, b"\x13\x01") + sized(1, b"\0")
    body += sized(2, *(kind.to_bytes(2, "big") + sized(2, value) for kind, value in extensions))
    message = b"\1" + sized(3, body)
    pieces = (message[at : at + 0x4000] for at in range(0, len(message), 0x4000))
    return b"".join(b"\x16\3\1" + sized(2, piece) for piece in pieces)


class KeysTestCase(SynchronousTestCase):
    """
    Tunnels with C{--trust psk}.
    """

    def setUp(self) -> None:
        """
        A pool with nobody in it.
        """
        self.pool = Pool(Path(self.mktemp()))
        self.pool.path.mkdir()

    def tunnel(self, mode: Mode, *keys: PresharedKey, **settings: Any) -> Prepared:
        """
        A tunnel whose pool has these keys.
        """
        for key in keys:
            keepPSK(self.pool, key, replace=True)
        isClient = mode is Mode.CLIENT
        defaults: dict[str, Any] = {
            "mode": mode,
            "local": (),
            "remote": (TCPAddress(HOST, 1),),
            "dialect": find("none"),
            "pool": self.pool,
            "trust": ("psk",),
            "localID": DEVICE if isClient else Identity.parse(HOST),
            "remoteID": None if isClient else Selector.parse("@."),
        }
        return Prepared(Tunnel(**(defaults | settings)))

    def client(self, *keys: PresharedKey, **settings: Any) -> Creator:
        """
        What a client tunnel makes connections with.
        """
        prepared = self.tunnel(Mode.CLIENT, *(keys or [sharedBy()]), **settings)
        assert prepared.expected is not None
        return prepared.creatorFor(prepared.expected)

    def server(self, *keys: PresharedKey, **settings: Any) -> Creator:
        """
        What a server tunnel makes connections with.
        """
        return self.tunnel(Mode.SERVER, *keys, **settings).serverCreator

    def meet(
        self, ours: Creator, theirs: SSL.Context, version: int
    ) -> tuple[TunnelError | None, str, Session]:
        """
        Let a connection of ours meet one of others.

        @return: why ours failed, if it did; what the other one was told; what is known.
        """
        other = stranger(theirs, version, not ours.isClient)
        session = ours.session()
        own = ours.connection(MEMORY, session)
        if ours.isClient:
            told, error = handshake(other, own)
        else:
            error, told = handshake(own, other)
        failure = session.completed(own) if error is None else handshakeFailure(error, session)
        return failure, str(told or ""), session

    def assertRefused(
        self, ours: Creator, theirs: SSL.Context, because: str, cause: str, *alerts: str
    ) -> None:
        """
        The peer is refused, in both versions, and hears the alert of each.
        """
        for version, alert in zip(VERSIONS, alerts or ("", ""), strict=True):
            with self.subTest(f"{version:x}"):
                failure, told, session = self.meet(ours, theirs, version)
                assert failure is not None
                self.assertRegex(str(failure), because)
                self.assertEqual(failure.cause, cause)
                self.assertIn(alert, told)
                self.assertIsNone(session.identity)
                self.assertEqual(session.provenBy, "")
