"""
Tests for L{tlstunnel.tls.psk} and L{tlstunnel.tls.keyverifier} in server mode, over real TLS in
memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from tests.tls.peers import MEMORY
from tests.tls.sharedkeys import (
    DEVICE,
    KEY,
    NAME,
    OTHER,
    OTHER_KEY,
    VERSIONS,
    KeysTestCase,
    client,
    hello,
    server,
    sharedBy,
    stranger,
)
from tlstunnel.errors import IdentityRefused, TLSFailed, TunnelError
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.names import Selector
from tlstunnel.identity.psk import PresharedKey
from tlstunnel.tls import psk, pskbinding
from tlstunnel.tls.checkup import handshake
from tlstunnel.tls.creators import Creator
from tlstunnel.tls.failures import handshakeFailure
from tlstunnel.tls.keyverifier import KeyVerifier
from tlstunnel.tls.session import Session


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
