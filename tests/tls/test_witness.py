"""
Handshakes that are looked at come to the same verdict as those of a tunnel, and nothing succeeds in
them that would not there.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import timedelta
from typing import cast

from cryptography import x509
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import (
    CLIENT,
    Issued,
    Recipe,
    alternative,
    constraints,
    dns,
    intermediate,
    make,
    named,
    root,
    signedWithSHA1,
    srv,
)
from tests.probe.servers import NAME, context, leaf
from tlstunnel.errors import TunnelError
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pins import Pins, keyOf
from tlstunnel.identity.tlsa import TLSA, TLSARecords
from tlstunnel.identity.trust import Anchors, Trust
from tlstunnel.tls.checkup import handshake
from tlstunnel.tls.context import clientContext
from tlstunnel.tls.creators import ClientCreator, Creator
from tlstunnel.tls.dane import TLSAVerifier, tlsaContext
from tlstunnel.tls.failures import handshakeFailure
from tlstunnel.tls.pins import NO_ANCHORS, PinVerifier, demandKey
from tlstunnel.tls.verification import Verifier
from tlstunnel.tls.witness import AnyServer, Sight, Witness

_MEMORY = cast(socket.socket, None)
_EXPECTED = Identity(None, NAME)


def _byAnchors() -> Creator:
    """What believes the usual root."""
    trust = Trust(Anchors((root().certificate,), False, "the test"))
    return ClientCreator(clientContext(trust, alpn=(b"test",)), Verifier(_EXPECTED, trust))


def _byKey(issued: Issued) -> Callable[[], Creator]:
    """What believes a key, whoever has it."""

    def make_() -> Creator:
        pins = Pins.of((keyOf(issued.certificate),))
        assert pins is not None
        found = clientContext(NO_ANCHORS)
        demandKey(found)
        return ClientCreator(found, PinVerifier(_EXPECTED, pins, isNamed=True))

    return make_


def _byRecord(issued: Issued) -> Callable[[], Creator]:
    """What believes a TLSA record."""

    def make_() -> Creator:
        record = TLSA.parse(b"\3\1\1" + keyOf(issued.certificate).digest)
        records = TLSARecords(f"_25._tcp.{NAME}", (record,))
        return ClientCreator(tlsaContext(), TLSAVerifier(_EXPECTED, records))

    return make_


def _servers() -> dict[str, tuple[Issued, tuple[x509.Certificate, ...] | None]]:
    """Servers of all kinds: a certificate, and what is shown with it, if that is not its chain."""
    good = leaf(intermediate())
    constrained = make(
        Recipe(
            subject=named("Constrained"),
            isAuthority=True,
            usage=("key_cert_sign",),
            purposes=None,
            extra=constraints(permitted=[x509.DNSName("example.com")]),
        ),
        root(),
    )
    late = timedelta(days=-3)
    return {
        "good": (good, None),
        "expired": (leaf(start=timedelta(days=-9), end=late), None),
        "early": (leaf(start=timedelta(days=3)), None),
        "wrong name": (leaf(san=alternative(dns("www.example.org"))), None),
        "no name": (leaf(san=None), None),
        "bad name": (leaf(san=alternative(dns("*.*.example.org"))), None),
        "only SRV": (leaf(san=alternative(srv(f"_smtp.{NAME}"))), None),
        "unknown": (leaf(root("Other")), None),
        "unknown and expired": (leaf(root("Other"), start=timedelta(days=-9), end=late), None),
        "self-signed": (make(Recipe(san=alternative(dns(NAME)), subject=named(NAME))), None),
        "cut": (good, ()),
        "weak": (leaf(key="rsa1024"), None),
        "SHA-1": (signedWithSHA1(leaf(), root()), None),
        "for clients": (leaf(purposes=(CLIENT,)), None),
        "below no authority": (leaf(leaf()), None),
        "not permitted": (leaf(constrained), None),
        "unordered": (good, (root().certificate, intermediate().certificate)),
    }


def _shake(creator: Creator, issued: Issued, chain: tuple[x509.Certificate, ...] | None,
           version: int) -> tuple[TunnelError | None, Sight]:  # fmt: skip
    """
    A handshake in memory.

    @return: what came of it for the client.
    """
    with_ = context(issued, chain)
    with_.set_min_proto_version(version)
    with_.set_max_proto_version(version)
    server = SSL.Connection(with_, _MEMORY)
    server.set_accept_state()
    session = creator.session()
    client = creator.connection(_MEMORY, session)
    error = handshake(server, client)[1]
    if error is not None:
        result: TunnelError | None = handshakeFailure(error, session)
    else:
        result = session.completed(client)
    return result, creator.look() if isinstance(creator, Witness) else Sight()


class WitnessTests(SynchronousTestCase):
    """
    In memory, without sockets.
    """

    def test_theVerdictIsThatOfATunnel(self) -> None:
        count = 0
        for title, (issued, chain) in _servers().items():
            for choose in (_byAnchors, _byKey(issued), _byKey(leaf()), _byRecord(issued)):
                for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
                    tunnels, _ = _shake(choose(), issued, chain, version)
                    seen, sight = _shake(Witness(choose()), issued, chain, version)
                    self.assertEqual(str(seen), str(tunnels), title)
                    self.assertEqual(bool(sight.complaints), tunnels is not None, title)
                    if tunnels is not None:
                        self.assertEqual(str(sight.complaints[0]), str(tunnels), title)
                    count += tunnels is None
        self.assertGreater(count, 10)

    def test_allIsSeenAlsoOfWhomNobodyTrusts(self) -> None:
        issued = leaf(root("Other"))
        for version, name in ((SSL.TLS1_2_VERSION, "TLSv1.2"), (SSL.TLS1_3_VERSION, "TLSv1.3")):
            refused, sight = _shake(Witness(_byAnchors()), issued, None, version)
            self.assertIsNotNone(refused)
            self.assertEqual(sight.version, name)
            self.assertTrue(sight.suite and sight.group)
            self.assertEqual(len(sight.chain), 1)
            self.assertEqual(sight.verified, ())

    def test_whoVouchesIsSeen(self) -> None:
        issued = leaf(intermediate())
        _, sight = _shake(Witness(_byAnchors()), issued, None, SSL.TLS1_3_VERSION)
        self.assertEqual(sight.verified[-1], root().certificate)
        wrong = leaf(intermediate(), san=alternative(dns("www.example.org")))
        _, sight = _shake(Witness(_byAnchors()), wrong, None, SSL.TLS1_3_VERSION)
        self.assertEqual(sight.verified[-1], root().certificate)

    def test_beforeAServerHasSpokenThereIsNothing(self) -> None:
        self.assertEqual(Witness(_byAnchors()).look(), Sight())

    def test_oldVersionsAreSeenAndNobodyIsBelieved(self) -> None:
        for version, number in (("1.0", SSL.TLS1_VERSION), ("1.1", SSL.TLS1_1_VERSION)):
            creator = Witness(AnyServer(NAME, version))
            result, sight = _shake(creator, leaf(root("Other")), None, number)
            self.assertIsNone(result)
            self.assertEqual(sight.version, "TLSv1" if version == "1.0" else "TLSv1.1")
