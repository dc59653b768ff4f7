"""
Tests for L{tlstunnel.tls.psk} and L{tlstunnel.tls.keyverifier}: tunnels with pre-shared keys, over
real TLS in memory, in both roles and versions; also against peers that do not play fair.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Recipe, alternative, dns, mail, make
from tests.tls.test_verification import HOST, MEMORY, OURS
from tlstunnel.address import TCPAddress
from tlstunnel.errors import ConfigurationError, IdentityRefused, TLSFailed, TunnelError
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.names import Identity, KeyIdentity, Selector
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.psk import PresharedKey, keepPSK
from tlstunnel.protocols.registry import find
from tlstunnel.tls import psk, pskbinding
from tlstunnel.tls.checkup import handshake
from tlstunnel.tls.creators import Creator
from tlstunnel.tls.failures import handshakeFailure
from tlstunnel.tls.keyverifier import KeyVerifier
from tlstunnel.tls.session import Session
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.servedname import ServedName

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


class ServerTests(KeysTestCase):
    """
    Clients that come with keys.
    """

    def test_whoHasTheKeyIsWhoItBelongsTo(self) -> None:
        """
        In both versions, with ephemeral keys besides.
        """
        ours = self.server(sharedBy(), sharedBy(OTHER, OTHER_KEY))
        for version in VERSIONS:
            for who, key in (DEVICE, KEY), (OTHER, OTHER_KEY):
                failure, _, session = self.meet(ours, client(str(who).encode(), key), version)
                self.assertIsNone(failure)
                self.assertEqual(session.identity, who)
                self.assertEqual(session.provenBy, "its pre-shared key")
                self.assertFalse(session.isResumed)
                self.assertTrue(session.group)
                self.assertTrue("PSK" in session.suite or "SHA256" in session.suite)

    def test_aWrongKeyAndAnUnknownNameLookAlikeToTheClient(self) -> None:
        """
        Our log knows.
        """
        ours = self.server(sharedBy())
        alerts = "bad record mac", "decrypt error"
        self.assertRefused(
            ours, client(key=OTHER_KEY), f"says that it is {DEVICE}", "another key", *alerts
        )
        self.assertRefused(
            ours,
            client(b"nobody"),
            'no key here for the name "nobody"',
            "unknown name",
            *alerts,
        )

    def test_whoIsNotSelectedIsUnknown(self) -> None:
        """
        By a selector, and by one that denies.
        """
        for remoteID in (
            Selector.parse("@other.example"),
            Selector.parse("."),
            AccessList((Selector.parse("@."),), (Selector.parse(str(DEVICE)),)),
        ):
            ours = self.server(sharedBy(), remoteID=remoteID)
            self.assertRefused(ours, client(), "no key here", "unknown name")

    def test_namesAreBytes(self) -> None:
        """
        Whatever a client sends, it comes to a clear word in the log, in ASCII.
        """
        ours = self.server(sharedBy())
        for name in b"\xff\xfe", b"a" * 255, NAME.upper(), NAME + b" ", b"x\ny", "ä".encode():
            self.assertRefused(ours, client(name), "no key here for the name", "unknown name")
        named = self.server(sharedBy(name=b"\xff\xfe"))
        for version in VERSIONS:
            failure, _, session = self.meet(named, client(b"\xff\xfe"), version)
            self.assertEqual((failure, session.identity), (None, DEVICE))

    def test_anEmptyNameIsNobodys(self) -> None:
        """
        It is refused, by us or by OpenSSL.
        """
        ours = self.server(sharedBy())
        for version in VERSIONS:
            failure, _, session = self.meet(ours, client(b""), version)
            self.assertIsNotNone(failure)
            self.assertIsNone(session.identity)

    def test_whoHasACertificateAloneIsRefused(self) -> None:
        """
        He is not asked for it.
        """
        ours = self.server(sharedBy())
        theirs = client(key=b"", isCertified=True)
        self.assertRefused(
            ours, theirs, "offers no pre-shared key", "no key", *["handshake failure"] * 2
        )

    def test_whoHasACertificateBesidesIsKnownByTheKey(self) -> None:
        """
        And has to have the right one.
        """
        ours = self.server(sharedBy())
        for version in VERSIONS:
            failure, _, session = self.meet(ours, client(isCertified=True), version)
            self.assertEqual((failure, session.identity), (None, DEVICE))
        theirs = client(key=OTHER_KEY, isCertified=True)
        self.assertRefused(ours, theirs, "has another key", "another key")

    def test_aKeyOfAnotherHashIsRefused(self) -> None:
        """
        A client of TLS 1.3 with SHA-384 alone, and one of TLS 1.2 without forward secrecy.
        """
        ours = self.server(sharedBy())
        theirs = client(suites=b"TLS_AES_256_GCM_SHA384")
        failure, told, session = self.meet(ours, theirs, SSL.TLS1_3_VERSION)
        self.assertIsInstance(failure, TLSFailed)
        self.assertIn("handshake failure", told)
        theirs = client()
        theirs.set_cipher_list(b"PSK-AES128-GCM-SHA256:DHE-PSK-AES256-GCM-SHA384:ECDHE+AESGCM")
        failure, told, session = self.meet(ours, theirs, SSL.TLS1_2_VERSION)
        assert failure is not None
        self.assertEqual(failure.cause, "no key")
        self.assertIsNone(session.identity)

    def test_aClientThatPrefersAnotherHashHasToTakeOurs(self) -> None:
        """
        The key is not passed over for a suite.
        """
        theirs = client(suites=b"TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256")
        failure, _, session = self.meet(self.server(sharedBy()), theirs, SSL.TLS1_3_VERSION)
        self.assertEqual((failure, session.identity), (None, DEVICE))
        self.assertEqual(session.suite, "TLS_AES_128_GCM_SHA256")

    def test_nothingIsResumed(self) -> None:
        """
        A ticket would stand for a key that may be gone.
        """
        ours, theirs = self.server(sharedBy()), client()
        for version in VERSIONS:
            session = ours.session()
            first = stranger(theirs, version, isClient=True)
            own = ours.connection(MEMORY, session)
            self.assertEqual(handshake(own, first), [None, None])
            self.assertIsNone(session.completed(own))
            own.send(b"x")
            first.bio_write(own.bio_read(1 << 16))
            self.assertEqual(first.recv(1), b"x")
            kept = first.get_session()
            # The same session, and a key that is no more.
            withdrawn = self.server(remoteID=Selector.parse("@other.example"))
            for creator, isGood in (ours, True), (withdrawn, False):
                again = stranger(theirs, version, isClient=True)
                if kept is not None:
                    again.set_session(kept)
                record = creator.session()
                end = creator.connection(MEMORY, record)
                error, _ = handshake(end, again)
                failure = (
                    record.completed(end) if error is None else handshakeFailure(error, record)
                )
                self.assertEqual(failure is None, isGood)
                self.assertEqual(record.identity, DEVICE if isGood else None)

    def test_theProtocolIsChosen(self) -> None:
        """
        ALPN goes with keys as with certificates.
        """
        ours = self.server(sharedBy(), alpn=(b"mqtt",))
        for offered, isGood in ([b"mqtt", b"x"], True), ([b"x"], False):
            for version in VERSIONS:
                theirs = client()
                theirs.set_alpn_protos(offered)
                failure, _, session = self.meet(ours, theirs, version)
                self.assertEqual(failure is None, isGood)
                self.assertEqual(session.alpn, b"mqtt" if isGood else b"")

    def test_otherConnectionsHaveToBeOfTheSame(self) -> None:
        """
        Data connections of FTP.
        """
        ours = self.server(sharedBy(), sharedBy(OTHER, OTHER_KEY))
        for version in VERSIONS:
            session = ours.session()
            own = ours.connection(MEMORY, session)
            handshake(own, stranger(client(), version, isClient=True))
            self.assertIsNone(session.completed(own))
            beside = ours.beside(own, session)
            failure, _, same = self.meet(beside, client(), version)
            self.assertEqual((failure, same.identity), (None, DEVICE))
            theirs = client(str(OTHER).encode(), OTHER_KEY)
            failure, _, other = self.meet(beside, theirs, version)
            self.assertIsInstance(failure, IdentityRefused)
            self.assertIsNone(other.identity)

    def test_whatIsAskedOftenComesToNothing(self) -> None:
        """
        A client may give so many names, and no more.
        """
        session = self.server(sharedBy()).session()
        keys = {NAME: sharedBy()}
        found = [psk._claim(session, keys, NAME) for _ in range(psk.MOST_NAMES + 1)]
        self.assertEqual(found[0], sharedBy())
        self.assertIsNone(found[-1])
        assert session.claim is not None
        self.assertIsNone(session.claim.identity)

    def refused(self, names: Sequence[bytes]) -> tuple[Session, TunnelError]:
        """
        Say hello with these names.
        """
        ours = self.server(sharedBy())
        session = ours.session()
        own = ours.connection(MEMORY, session)
        own.bio_write(hello(names))
        error = self.assertRaises(SSL.Error, own.do_handshake)
        assert isinstance(error, SSL.Error)
        self.assertIsNone(session.identity)
        return session, handshakeFailure(error, session)

    def test_manyNamesInOneMessage(self) -> None:
        """
        After so many tickets even the right name is not looked for, nor is anything else read.
        """
        tickets = [b"\xff%d" % number for number in range(psk.MOST_NAMES)]
        _, failure = self.refused([*tickets[1:], NAME])
        self.assertEqual(failure.cause, "another key")
        session, failure = self.refused([*tickets, NAME, *tickets * 60])
        self.assertEqual(failure.cause, "unknown name")
        assert session.claim is not None
        self.assertEqual(session.claim.names, psk.MOST_NAMES + 1)

    @given(st.binary(max_size=1000))
    def test_whateverStandsInAName(self, name: bytes) -> None:
        """
        It is nobody, and said in ASCII; OpenSSL itself refuses an empty one.
        """
        _, failure = self.refused([NAME + name if name != b"" else b"\0"])
        self.assertEqual(failure.cause, "unknown name")
        self.assertTrue(str(failure).isascii())
        self.assertLess(len(str(failure)), 1000)

    def test_aMistakeOfOursLetsNobodyIn(self) -> None:
        """
        What OpenSSL calls raises nothing.
        """

        class Broken(dict[bytes, PresharedKey]):
            def get(self, *_: Any) -> Any:
                raise ZeroDivisionError

        context = psk.serverContext(Broken(), "1.2")
        ours = Creator(context, KeyVerifier(DEVICE))
        for version in VERSIONS:
            failure, _, session = self.meet(ours, client(), version)
            self.assertIsNotNone(failure)
            self.assertIsNone(session.identity)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_theSameIsDoneForAWrongKeyAndAnUnknownName(self) -> None:
        """
        Else the time would tell which of them it was.
        """
        asked: list[bytes] = []
        original = psk._nobodys

        def nobodys(name: bytes) -> bytes:
            asked.append(name)
            return original(name)

        self.patch(psk, "_nobodys", nobodys)
        ours = self.server(sharedBy())
        for version in VERSIONS:
            for name in NAME, b"nobody":
                self.meet(ours, client(name, OTHER_KEY), version)
                self.assertEqual(asked.pop(), name)
                self.assertEqual(asked, [])

    def test_aTicketOfAnotherServerIsPassedOver(self) -> None:
        """
        Clients offer it before their key, and must not fail by that.
        """
        elsewhere, theirs = server({NAME: KEY}), client()
        elsewhere.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
        first = stranger(theirs, SSL.TLS1_3_VERSION, isClient=True)
        end = stranger(elsewhere, SSL.TLS1_3_VERSION, isClient=False)
        self.assertEqual(handshake(end, first), [None, None])
        end.send(b"x")
        first.bio_write(end.bio_read(1 << 16))
        self.assertEqual(first.recv(1), b"x")
        ours = self.server(sharedBy())
        session = ours.session()
        own = ours.connection(MEMORY, session)
        again = stranger(theirs, SSL.TLS1_3_VERSION, isClient=True)
        kept = first.get_session()
        assert kept is not None
        again.set_session(kept)
        self.assertEqual(handshake(own, again), [None, None])
        self.assertIsNone(session.completed(own))
        self.assertEqual(session.identity, DEVICE)
        assert session.claim is not None
        self.assertEqual(session.claim.names, 2)

    def test_whatIsBehindANameIsNotLookedAt(self) -> None:
        """
        Of a name nobody finds out by a second one whether it is known.
        """
        for names in [NAME, b"nobody"], [b"nobody", NAME]:
            session, _ = self.refused(names)
            assert session.claim is not None
            self.assertEqual(session.claim.names, 1)

    def test_aClaimAloneProvesNothing(self) -> None:
        """
        Not even where a handshake has succeeded by something else.
        """
        ours = self.server(sharedBy())
        # As if OpenSSL had passed over the key.
        self.patch(pskbinding, "isByKey", lambda connection: False)
        for version in VERSIONS:
            failure, _, session = self.meet(ours, client(), version)
            self.assertIsInstance(failure, IdentityRefused)
            self.assertIsNone(session.identity)
            self.assertEqual(session.provenBy, "")


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
        (doubt,) = prepared.warnings(datetime.now(UTC))
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
        (doubt,) = self.tunnel(Mode.SERVER, *keys, random).warnings(datetime.now(UTC))
        self.assertIn("d0@example.org/psk: the key looks as if somebody had made it up, as", doubt)
        self.assertIn("2 more", doubt)
        self.assertNotIn("horse", doubt)
        self.pool = Pool(Path(self.mktemp()))
        self.pool.path.mkdir()
        self.assertEqual(self.tunnel(Mode.SERVER, random).warnings(datetime.now(UTC)), [])

    def test_aTunnelWithCertificatesKnowsNoKeys(self) -> None:
        """
        And says where one was meant.
        """
        error = self.mistake(Mode.SERVER, sharedBy(), trust=(), localID=DEVICE)
        self.assertIn("--trust psk", str(error))
