"""
Tests for L{tlstunnel.tls.dane}: servers that are judged by TLSA records, in real TLS.
"""

from __future__ import annotations

from datetime import timedelta
from math import inf
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from OpenSSL import SSL

from tests.certificates import (
    CLIENT,
    Issued,
    Recipe,
    alternative,
    authorityRecipe,
    constraints,
    deep,
    dns,
    intermediate,
    make,
    named,
    root,
    signedWithSHA1,
    srv,
)
from tests.identity.test_tlsa import record
from tests.revoked import makeList
from tests.tls.test_verification import PeersTestCase
from tlstunnel.errors import IdentityRefused, TunnelError
from tlstunnel.identity.crl import RevocationList
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pins import Pins, keyOf
from tlstunnel.identity.revocation import Revocations
from tlstunnel.identity.tlsa import TLSA, TLSARecords
from tlstunnel.tls import dane
from tlstunnel.tls.creators import ClientCreator
from tlstunnel.tls.dane import TLSAVerifier, tlsaContext, verifyServer

HOST = "mx.example.org"
WHERE = "_25._tcp.mx.example.org"
NAME = alternative(dns(HOST))
ELSE = alternative(dns("else.example.net"))

LONG_AGO: dict[str, Any] = {"start": timedelta(days=-9), "end": timedelta(days=-1)}

GOOD = make(Recipe(san=NAME), intermediate())
OTHER = make(Recipe(san=NAME), root("Other"))
NAMED_ELSE = make(Recipe(san=ELSE), intermediate())
NAMELESS = make(Recipe(), intermediate())
EXPIRED = make(Recipe(san=NAME, **LONG_AGO), intermediate())
ALONE = make(Recipe(san=ELSE, subject=named("alone"), **LONG_AGO))
FOR_CLIENTS = make(Recipe(san=NAME, purposes=(CLIENT,)), intermediate())
WEAK_KEY = make(Recipe(san=NAME, key="rsa1024"), intermediate())
CARELESS = signedWithSHA1(GOOD, intermediate())
EXPIRED_AUTHORITY = make(authorityRecipe("Old", **LONG_AGO))
BELOW_EXPIRED = make(Recipe(san=NAME), EXPIRED_AUTHORITY)
NARROW = make(authorityRecipe("Narrow", extra=constraints([x509.DNSName("example.net")])), root())
IN_NARROW = make(Recipe(san=NAME), NARROW)
NOT_CA = make(Recipe(san=NAME, subject=named("leaf")), root())
BY_LEAF = make(Recipe(san=NAME), NOT_CA)


def showing(issued: Issued, *more: Issued) -> Issued:
    """The same with more certificates behind its chain."""
    chain = (*issued.chain, *(each.certificate for each in more))
    return Issued(issued.certificate, issued.key, chain)


def alone(issued: Issued) -> Issued:
    """The same with nobody behind it."""
    return Issued(issued.certificate, issued.key, (issued.certificate,))


class Case(NamedTuple):
    """
    @ivar what: what is tried.
    @ivar shown: what the server shows.
    @ivar records: what the domain says.
    @ivar by: the record that vouches for it; empty where it is refused.
    @ivar said: why; a part of it.
    @ivar alert: what the server is told.
    """

    what: str
    shown: Issued
    records: tuple[TLSA, ...]
    by: str = ""
    said: str = ""
    alert: str = "unknown ca"


_NO_MATCH = "no certificate that the server shows is that of TLSA"

CASES = (
    # The server's own: nothing else of it counts.
    *(
        Case(f"a leaf by {kind}", GOOD, (record(kind, GOOD),), kind)
        for kind in ("3 0 0", "3 0 1", "3 0 2", "3 1 0", "3 1 1", "3 1 2")
    ),
    Case("self-signed, expired, another name", ALONE, (record("3 1 1", ALONE),), "3 1 1"),
    Case("no issuer shown", alone(GOOD), (record("3 0 1", GOOD),), "3 0 1"),
    Case("no name", NAMELESS, (record("3 1 1", NAMELESS),), "3 1 1"),
    Case("expired", EXPIRED, (record("3 1 1", EXPIRED),), "3 1 1"),
    Case("one of several", GOOD, (record("3 1 1", OTHER), record("3 1 1", GOOD)), "3 1 1"),
    Case("a careless signature", CARELESS, (record("3 1 1", CARELESS),), "3 1 1"),
    Case("another key", GOOD, (record("3 1 1", OTHER),), said=_NO_MATCH),
    Case("another self-signed one", ALONE, (record("3 1 1", OTHER),), said=_NO_MATCH),
    Case("another alone", alone(GOOD), (record("3 1 1", OTHER),), said=_NO_MATCH),
    Case("an authority as a server", GOOD, (record("3 1 1", intermediate()),), said=_NO_MATCH),
    Case("a weak key", WEAK_KEY, (record("3 1 1", WEAK_KEY),), said="too weak"),
    # An authority.
    *(
        Case(f"an authority by {kind}", GOOD, (record(kind, intermediate()),), kind)
        for kind in ("2 0 0", "2 0 1", "2 0 2", "2 1 0", "2 1 1", "2 1 2")
    ),
    Case("a root that is shown", showing(GOOD, root()), (record("2 0 1", root()),), "2 0 1"),
    Case("a whole root that is not", GOOD, (record("2 0 0", root()),), "2 0 0"),
    Case("the key of a root that is not", GOOD, (record("2 1 0", root()),), said=_NO_MATCH),
    Case("the digest of one", GOOD, (record("2 0 1", root()),), said=_NO_MATCH),
    Case("a whole one of others", GOOD, (record("2 0 0", root("Other")),), said="is not good"),
    Case("no certificate at all", GOOD, (TLSA(2, 0, 0, b"nothing"),), said=_NO_MATCH),
    Case(
        "an authority that is only shown",
        showing(OTHER, intermediate()),
        (record("2 0 1", intermediate()),),
        said="is not good",
    ),
    Case(
        "another name",
        NAMED_ELSE,
        (record("2 0 1", intermediate()),),
        said="and not for mx.example.org",
        alert="bad certificate",
    ),
    Case(
        "no name",
        NAMELESS,
        (record("2 0 1", intermediate()),),
        said="no subject alternative name",
        alert="bad certificate",
    ),
    Case("expired", EXPIRED, (record("2 0 1", intermediate()),), said="expired"),
    Case(
        "an expired authority",
        showing(BELOW_EXPIRED, EXPIRED_AUTHORITY),
        (record("2 0 1", EXPIRED_AUTHORITY),),
        said="expired",
    ),
    Case("a long chain", deep(Recipe(san=NAME), 12), (record("2 0 0", root()),), said="too many"),
    Case("for clients", FOR_CLIENTS, (record("2 0 1", intermediate()),), said="is not good"),
    Case("a leaf as an authority", GOOD, (record("2 0 1", GOOD),), said=_NO_MATCH),
    Case("a weak key", WEAK_KEY, (record("2 0 1", intermediate()),), said="too weak"),
    Case("a careless signature", CARELESS, (record("2 0 1", intermediate()),), said="too weak"),
    Case(
        "a name that its authority may not give",
        IN_NARROW,
        (record("2 0 1", NARROW),),
        said="permitted subtree violation",
    ),
    Case("whom a leaf has signed", BY_LEAF, (record("2 0 0", root()),), said="is not good"),
    # Both.
    Case(
        "an authority where the leaf is another",
        GOOD,
        (record("3 1 1", OTHER), record("2 1 1", intermediate())),
        "2 1 1",
    ),
    Case(
        "the leaf where its name is another",
        NAMED_ELSE,
        (record("2 1 1", intermediate()), record("3 1 1", NAMED_ELSE)),
        "3 1 1",
    ),
)


class JudgementTests(PeersTestCase):
    """Who is believed."""

    def creator(
        self,
        *records: TLSA,
        context: SSL.Context | None = None,
        service: str | None = None,
        pins: Pins | None = None,
        revocations: Revocations | None = None,
    ) -> ClientCreator:
        """What makes connections to the server of a domain with these records."""
        verifier = TLSAVerifier(
            Identity.parse(HOST), TLSARecords(WHERE, records), service, pins, revocations
        )
        return ClientCreator(context or tlsaContext(), verifier)

    def check(self, case: Case, version: int | None, creator: ClientCreator) -> None:
        """Try one."""
        failure, told, session = self.meet(creator, case.shown, version)
        if case.by:
            self.assertIsNone(failure, case)
            self.assertEqual(told, "")
            self.assertEqual(session.identity, Identity.parse(HOST))
            self.assertEqual(session.provenBy, f"TLSA {case.by} of {WHERE}")
        else:
            self.assertIsInstance(failure, IdentityRefused)
            self.assertIn(case.said, str(failure), case.what)
            self.assertIn(case.alert, told, case.what)
            self.assertIsNone(session.identity)
            self.assertEqual(session.provenBy, "")

    def test_cases(self) -> None:
        """All of them, in both versions, by contexts that are used again; the second time too."""
        context = tlsaContext()
        for case in CASES:
            creator = self.creator(*case.records, context=context)
            for version in SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION:
                self.check(case, version, creator)

    def test_withoutRecordsNobodyIsBelieved(self) -> None:
        """However good the certificate is."""
        failure, _, session = self.meet(self.creator(), GOOD)
        self.assertIsInstance(failure, IdentityRefused)
        self.assertIsNone(session.identity)

    def test_otherRecordsAreAnotherVerdict(self) -> None:
        """What was found by some says nothing for others of the same context."""
        context = tlsaContext()
        good = self.creator(record("3 1 1", GOOD), context=context)
        bad = self.creator(record("3 1 1", OTHER), context=context)
        for _ in range(2):
            self.assertIsNone(self.meet(good, GOOD)[0])
            self.assertIsInstance(self.meet(bad, GOOD)[0], IdentityRefused)

    def test_aServiceIsAName(self) -> None:
        """Where the dialect has one, as everywhere."""
        issued = make(Recipe(san=alternative(srv("_xmpp-server." + HOST))), intermediate())
        by = record("2 0 1", intermediate())
        self.assertIsNone(self.meet(self.creator(by, service="xmpp-server"), issued)[0])
        self.assertIsInstance(self.meet(self.creator(by), issued)[0], IdentityRefused)

    def test_pinsCountBeside(self) -> None:
        """Whatever kind of record vouches for it, the server has to have one of the keys."""
        for by in record("3 1 1", GOOD), record("2 0 1", intermediate()):
            for pinned, isGood in (GOOD, True), (OTHER, False):
                pins = Pins.of([keyOf(pinned.certificate)])
                creator = self.creator(by, pins=pins)
                for _ in range(2):
                    failure, _, session = self.meet(creator, GOOD)
                    self.assertEqual(failure is None, isGood)
                    self.assertEqual(session.identity is not None, isGood)

    def test_whatAnAuthorityHasRevoked(self) -> None:
        """It counts where the record is about the authority, and not where it is the server's."""
        for revoked, cause in ((), ""), ((GOOD,), "revoked"):
            lists = Revocations([RevocationList(makeList(*revoked, issuer=intermediate()))])
            by = self.creator(record("2 0 1", intermediate()), revocations=lists)
            for _ in range(2):
                failure, told, _ = self.meet(by, GOOD)
                self.assertEqual("" if failure is None else failure.cause, cause)
                self.assertIn("certificate revoked" if cause else "", told)
            creator = self.creator(record("3 1 1", GOOD), revocations=lists)
            self.assertIsNone(self.meet(creator, GOOD)[0])
            verifier, leaf = creator._verifier, GOOD.certificate.fingerprint(SHA256())
            assert verifier is not None
            self.assertEqual(verifier.goodUntil(leaf), inf)

    def test_whoHasNoKeyIsRefused(self) -> None:
        """The certificate of the domain with another key behind it proves nothing."""
        for issued in GOOD, ALONE:
            stolen = Issued(issued.certificate, OTHER.key, issued.chain)
            self.assertRaises(SSL.Error, self.meet, self.creator(record("3 1 1", issued)), stolen)

    def test_whateverGoesWrongIsARefusal(self) -> None:
        """No exception leaves the callback."""

        def fail(*arguments: object) -> str:
            raise MemoryError("no luck")

        self.patch(TLSAVerifier, "judge", fail)
        failure, _, session = self.meet(self.creator(record("3 1 1", GOOD)), GOOD)
        self.assertIn("could not be judged", str(failure))
        self.assertIsNone(session.identity)

    def test_whatIsNotJudgedIsRefused(self) -> None:
        """Should OpenSSL never come to the server's own certificate without an error."""

        def silent(*arguments: object) -> bool:
            return True

        self.patch(dane, "verifyServer", silent)
        failure, _, session = self.meet(self.creator(record("3 1 1", GOOD)), GOOD)
        self.assertIn("was not verified", str(failure))
        self.assertIsNone(session.identity)

    def test_aRefusalIsForGood(self) -> None:
        """Whatever else OpenSSL asks about."""
        session = self.creator(record("3 1 1", GOOD)).session()
        session.refusal = TunnelError("no")

        class Connection:
            def get_app_data(self) -> object:
                return session

        for depth, ok in (0, 1), (1, 1), (1, 0):
            self.assertFalse(verifyServer(Connection(), None, 0, depth, ok))  # type: ignore[arg-type]

    def test_theVerdictsAreBounded(self) -> None:
        """A server with many certificates of one key costs no memory."""
        self.patch(dane, "CHAINS_KEPT", 2)
        creator = self.creator(record("3 1 1", GOOD))
        verifier = creator._verifier
        assert isinstance(verifier, TLSAVerifier)
        for _ in range(4):
            again = make(Recipe(san=NAME), intermediate(), GOOD.key)
            self.assertIsNone(self.meet(creator, again)[0])
            self.assertLessEqual(len(verifier._matched), 2)
