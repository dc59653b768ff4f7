"""
Tests for L{tlstunnel.tls.psk} and L{tlstunnel.tls.keyverifier}: clients with pre-shared keys, and
both ends together, over real TLS in memory, in both versions.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from tests.tls.peers import HOST, MEMORY
from tests.tls.sharedkeys import (
    DEVICE,
    KEY,
    NAME,
    OTHER,
    OTHER_KEY,
    VERSIONS,
    KeysTestCase,
    server,
    sharedBy,
    stranger,
)
from tlstunnel.address import TCPAddress
from tlstunnel.errors import ConfigurationError, TunnelError
from tlstunnel.identity.names import Identity, KeyIdentity, Selector
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.psk import PresharedKey
from tlstunnel.protocols.registry import find
from tlstunnel.tls import pskbinding
from tlstunnel.tls.checkup import handshake
from tlstunnel.tls.failures import handshakeFailure
from tlstunnel.tls.session import Session
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.notices import noticesOf
from tlstunnel.tunnel.servedname import ServedName


class ClientTests(KeysTestCase):
    """
    Servers that have the key of ours, or should.
    """

    def test_whoHasTheKeyIsWhomWeExpect(self) -> None:
        """
        In both versions.
        """
        for version in VERSIONS:
            failure, _, session = self.meet(self.client(), server({NAME: KEY}), version)
            self.assertIsNone(failure)
            self.assertEqual(str(session.identity), HOST)
            self.assertEqual(session.provenBy, f"the key of {DEVICE}")

    def test_aServerWithACertificateBesidesHasToUseTheKey(self) -> None:
        """
        And does.
        """
        theirs = server({NAME: KEY}, isCertified=True)
        for version in VERSIONS:
            failure, _, session = self.meet(self.client(), theirs, version)
            self.assertIsNone(failure)
            self.assertEqual(session.provenBy, f"the key of {DEVICE}")

    def test_anotherKey(self) -> None:
        """
        The server says so.
        """
        for version, alert in zip(VERSIONS, ("bad_record_mac", "decrypt_error"), strict=True):
            failure, _, session = self.meet(self.client(), server({NAME: OTHER_KEY}), version)
            assert failure is not None
            self.assertIn(f"does not take the key of {DEVICE}", failure.detail)
            self.assertEqual(failure.cause, f"key refused {alert}")
            self.assertIsNone(session.identity)

    def test_aServerThatKnowsNobodyOfThatName(self) -> None:
        """
        It may have a certificate or not: neither counts.
        """
        for isCertified in False, True:
            theirs = server({b"other": KEY}, isCertified)
            for version in VERSIONS:
                failure, _, session = self.meet(self.client(), theirs, version)
                assert failure is not None
                self.assertRegex(failure.detail, f"the key of {DEVICE}")
                self.assertRegex(failure.cause, "key refused|certificate for a key")
                self.assertIsNone(session.identity)

    def test_aServerWithACertificateAlone(self) -> None:
        """
        However good that is: nothing of ours goes there.
        """
        causes = ("key refused handshake_failure", "certificate for a key")
        for version, cause in zip(VERSIONS, causes, strict=True):
            failure, told, session = self.meet(self.client(), server({}, True), version)
            assert failure is not None
            self.assertEqual(failure.cause, cause)
            self.assertTrue(told)
            self.assertIsNone(session.identity)

    def test_aServerThatPassesOverTheKeyForItsHash(self) -> None:
        """
        The trap of OpenSSL: then it goes on with its certificate, in TLS 1.3.
        """
        theirs = server({NAME: KEY}, True, b"TLS_AES_256_GCM_SHA384")
        failure, _, session = self.meet(self.client(), theirs, SSL.TLS1_3_VERSION)
        assert failure is not None
        self.assertEqual(failure.cause, "key refused handshake_failure")
        self.assertIsNone(session.identity)

    def test_nothingIsKeptForLater(self) -> None:
        """
        Whatever tickets a server gives: every connection uses the key.
        """
        prepared = self.tunnel(Mode.CLIENT, sharedBy())
        self.assertFalse(prepared.tunnel.resumes)
        assert prepared.expected is not None
        ours = prepared.creatorFor(prepared.expected)
        session = ours.session(TCPAddress("192.0.2.1", 1))
        own = ours.connection(MEMORY, session)
        theirs = stranger(server({NAME: KEY}), SSL.TLS1_3_VERSION, isClient=False)
        handshake(theirs, own)
        self.assertIsNone(session.completed(own))
        ours.keep(own, session)
        self.assertIsNone(ours.session(TCPAddress("192.0.2.1", 1)).offers)
        self.assertIs(ours.beside(own, session), ours)

    def test_noCertificateIsShown(self) -> None:
        """
        Although our identity has one.
        """
        asked = []

        def verify(*arguments: Any) -> bool:
            asked.append(arguments)
            return True

        for version in VERSIONS:
            theirs = server({NAME: KEY}, isCertified=True)
            theirs.set_verify(SSL.VERIFY_PEER, verify)
            theirs.set_session_id(b"x")
            failure, _, session = self.meet(self.client(), theirs, version)
            self.assertIsNone(failure)
            self.assertFalse(session.showsCertificate)
        self.assertEqual(asked, [])

    def test_theProtocolIsAgreedOn(self) -> None:
        """
        ALPN goes with keys as with certificates.
        """
        ours = self.client(alpn=(b"mqtt",))
        for version in VERSIONS:
            theirs = server({NAME: KEY})
            theirs.set_alpn_select_callback(lambda _, offered: offered[0])
            failure, _, session = self.meet(ours, theirs, version)
            self.assertEqual((failure, session.alpn), (None, b"mqtt"))


class BothTests(KeysTestCase):
    """
    Both ends are ours.
    """

    def together(
        self, ours: PresharedKey, theirs: PresharedKey, version: int
    ) -> tuple[TunnelError | None, TunnelError | None, Session]:
        """
        Let them meet.
        """
        clients, servers = self.client(ours), self.server(theirs)
        sessions = servers.session(), clients.session()
        ends = servers.connection(MEMORY, sessions[0]), clients.connection(MEMORY, sessions[1])
        ends[1].set_options(
            SSL.OP_NO_TLSv1_3 if version == SSL.TLS1_2_VERSION else SSL.OP_NO_TLSv1_2
        )
        failures = [
            session.completed(end) if error is None else handshakeFailure(error, session)
            for error, session, end in zip(handshake(*ends), sessions, ends, strict=True)
        ]
        return failures[0], failures[1], sessions[0]

    @given(
        key=st.binary(min_size=16, max_size=512),
        name=st.binary(min_size=1, max_size=255).filter(
            lambda name: not any(byte < 0x20 or byte == 0x7F for byte in name)
        ),
        version=st.sampled_from(VERSIONS),
    )
    def test_whateverCanBeKeptCanBeUsed(self, key: bytes, name: bytes, version: int) -> None:
        """
        Names and keys of all lengths, through the files of the pool.
        """
        shared = sharedBy(DEVICE, key, name)
        failed, refused, session = self.together(shared, shared, version)
        self.assertEqual((failed, refused), (None, None))
        self.assertEqual(session.identity, DEVICE)

    def test_newKeyAgreement(self) -> None:
        """
        TLS 1.3 mixes one in that is safe from quantum computers, where OpenSSL has it.
        """
        _, _, session = self.together(sharedBy(), sharedBy(), SSL.TLS1_3_VERSION)
        self.assertEqual(session.group, "X25519MLKEM768")

    def test_manyConnectionsTakeNoMemory(self) -> None:
        """
        OpenSSL frees what it is given.
        """
        clients, servers = self.client(), self.server(sharedBy())

        def connect(times: int) -> int:
            for _ in range(times):
                ends = (
                    servers.connection(MEMORY, servers.session()),
                    clients.connection(MEMORY, clients.session()),
                )
                self.assertEqual(handshake(*ends), [None, None])
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE")

        before = connect(100)
        self.assertLess(connect(300) - before, 4 << 20)


class RefusalTests(KeysTestCase):
    """
    What cannot be asked for.
    """

    def mistake(self, mode: Mode, *keys: PresharedKey, **settings: Any) -> ConfigurationError:
        """
        What is wrong.
        """
        error = self.assertRaises(ConfigurationError, self.tunnel, mode, *keys, **settings)
        assert isinstance(error, ConfigurationError)
        return error

    def test_withoutTheBinding(self) -> None:
        """
        It is said at the start what is missing.
        """
        self.patch(pskbinding, "_NEEDED", (*pskbinding._NEEDED, "SSL_not_there"))
        for mode in Mode.CLIENT, Mode.SERVER:
            error = self.mistake(mode, sharedBy())
            self.assertIn("pyOpenSSL", error.problem)
            self.assertEqual(error.key, "trust")

    def test_withoutOpenSSLsWord(self) -> None:
        """
        The same where it was built without, and where pyOpenSSL knows its connections no more.
        """
        self.patch(SSL.Connection, "_reverse_mapping", None)
        self.assertFalse(pskbinding.isThere())

    def test_mixtures(self) -> None:
        """
        What is about certificates.
        """
        server, client = Mode.SERVER, Mode.CLIENT
        rows: list[tuple[Mode, dict[str, Any], str]] = [
            (server, {"trust": ("psk", "system")}, "trust"),
            (client, {"trust": ("dane", "psk")}, "trust"),
            (server, {"pins": (KeyIdentity.of(b"x" * 32),)}, "pin"),
            (server, {"ocspStapling": True}, "ocsp-stapling"),
            (client, {"requireStaple": True}, "require-staple"),
            (server, {"resumption": True}, "resumption"),
            (client, {"resumption": True}, "resumption"),
            (server, {"names": (ServedName("a.example"),)}, "name"),
            (server, {"otherIDs": (Identity.parse("b.example"),)}, "local-id"),
            (server, {"requireSNI": True}, "require-sni"),
            (server, {"anyName": True}, "any-name"),
            (server, {"remoteID": None}, "remote-id"),
            (client, {"localID": None}, "local-id"),
            (client, {"dialect": find("xmpp-client")}, "remote-id"),
        ]
        for mode, settings, key in rows:
            with self.subTest(str(settings)):
                error = self.mistake(mode, sharedBy(), **settings)
                self.assertEqual(error.key, key)

    def test_aKeyThatIsNotThere(self) -> None:
        """
        Of a client; a server waits for clients, and says that it has none.
        """
        error = self.mistake(Mode.CLIENT, sharedBy(OTHER))
        self.assertIn("identity create", str(error))
        prepared = self.tunnel(Mode.SERVER, remoteID=Selector.parse("@other.example"))
        (doubt,) = noticesOf(prepared, datetime.now(UTC))
        self.assertIn("no client is let in", doubt)

    def test_aKeyThatSomebodyHasMadeUp(self) -> None:
        """
        A server says so at its start, once for all.
        """
        keys = [
            sharedBy(Identity.parse(f"d{number}@example.org"), b"correct horse battery")
            for number in range(3)
        ]
        random = sharedBy(OTHER, os.urandom(32))
        (doubt,) = noticesOf(self.tunnel(Mode.SERVER, *keys, random), datetime.now(UTC))
        self.assertIn("d0@example.org/psk: the key looks as if somebody had made it up, as", doubt)
        self.assertIn("2 more", doubt)
        self.assertNotIn("horse", doubt)
        self.pool = Pool(Path(self.mktemp()))
        self.pool.path.mkdir()
        self.assertEqual(noticesOf(self.tunnel(Mode.SERVER, random), datetime.now(UTC)), [])

    def test_aTunnelWithCertificatesKnowsNoKeys(self) -> None:
        """
        And says where one was meant.
        """
        error = self.mistake(Mode.SERVER, sharedBy(), trust=(), localID=DEVICE)
        self.assertIn("--trust psk", str(error))
