"""
Tests for L{tlstunnel.tls.staple}: responses of OCSP in real handshakes, in both versions.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import (
    Issued,
    Recipe,
    alternative,
    authorityRecipe,
    dns,
    intermediate,
    make,
    root,
)
from tests.revoked import HOUR, makeAnswer
from tests.tls.peers import HOST, MEMORY, anchors
from tlstunnel.address import TCPAddress
from tlstunnel.errors import IdentityRefused, TunnelError
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.names import Identity
from tlstunnel.identity.ocsp import ABSENT, BAD, Answer, judge
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.trust import Trust
from tlstunnel.protocols.registry import find
from tlstunnel.tls import session as sessions
from tlstunnel.tls import staple as staples
from tlstunnel.tls.checkup import handshake
from tlstunnel.tls.context import clientContext, serverContext
from tlstunnel.tls.creators import ClientCreator, Creator
from tlstunnel.tls.failures import handshakeFailure
from tlstunnel.tls.session import Session
from tlstunnel.tls.staple import Staple, demand, offer
from tlstunnel.tls.verification import Verifier
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.notices import noticesOf
from tlstunnel.tunnel.prepared import Prepared

VERSIONS = SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION
URL = "http://ocsp.example/"


def askedAt(url: str) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    """Where to ask about a certificate, as its C{extra}."""
    place = x509.UniformResourceIdentifier(url)
    description = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, place)
    return ((x509.AuthorityInformationAccess([description]), False),)


LEAF = make(Recipe(san=alternative(dns(HOST)), extra=askedAt(URL)), root())
BELOW = make(Recipe(san=alternative(dns(HOST)), extra=askedAt(URL)), intermediate())
SIBLING = make(Recipe(), root())
RESPONDER = make(Recipe(purposes=(ExtendedKeyUsageOID.OCSP_SIGNING,)), root())
NAMESAKE = make(authorityRecipe("Root"))
PINNED = make(Recipe(san=alternative(dns(HOST)), subject=((x509.NameOID.COMMON_NAME, "x"),)))


def stapleFor(issued: Issued, *above: Issued) -> Staple:
    """What is stapled for an identity."""
    chain = (*issued.chain, *(each.certificate for each in above))
    return Staple(Credentials(Identity.parse(HOST), chain, issued.key, "fullchain.pem"))


class OfferingTests(SynchronousTestCase):
    """Server mode."""

    def stapled(self, staple: Staple, version: int, isAsking: bool = True) -> list[bytes]:
        """What a client gets to see, once the handshake is complete."""
        context = serverContext(Credentials(Identity.parse(HOST), LEAF.chain, LEAF.key))
        offer(context, staple)
        seen: list[bytes] = []
        theirs = SSL.Context(SSL.TLS_CLIENT_METHOD)
        theirs.set_max_proto_version(version)

        def see(_: SSL.Connection, der: bytes, __: None) -> bool:
            seen.append(der)
            return True

        theirs.set_ocsp_client_callback(see)
        client = SSL.Connection(theirs, MEMORY)
        client.set_connect_state()
        if isAsking:
            client.request_ocsp()
        creator = Creator(context)
        session = creator.session()
        ours = creator.connection(MEMORY, session)
        self.assertEqual(handshake(ours, client), [None, None])
        return seen

    def test_nothingYet(self) -> None:
        """No handshake waits for an answer."""
        for version in VERSIONS:
            self.assertEqual(self.stapled(stapleFor(LEAF, root()), version), [b""])

    def test_whatWasFetched(self) -> None:
        """Clients that ask get it; others are left alone."""
        staple, der = stapleFor(LEAF, root()), makeAnswer(LEAF)
        staple.take(der, time())
        for version in VERSIONS:
            self.assertEqual(self.stapled(staple, version), [der])
            self.assertEqual(self.stapled(staple, version, isAsking=False), [])

    def test_nothingThatHasExpired(self) -> None:
        """A stale one is worse than none."""
        staple = stapleFor(LEAF, root())
        staple.answer = Answer(makeAnswer(LEAF), time() - 2, time() - 1)
        for version in VERSIONS:
            self.assertEqual(self.stapled(staple, version), [b""])

    def test_whatIsNoGoodIsNotTaken(self) -> None:
        """The one before goes on to be stapled."""
        staple, der = stapleFor(LEAF, root()), makeAnswer(LEAF)
        staple.take(der, time())
        for bad in (makeAnswer(SIBLING), makeAnswer(LEAF, signer=NAMESAKE), b"garbage"):
            self.assertRaises(IdentityRefused, staple.take, bad, time())
        self.assertEqual(staple.read(), der)

    def test_nothingOnceItIsRevoked(self) -> None:
        """Whatever was said before; others cannot say so."""
        staple = stapleFor(LEAF, root())
        staple.take(makeAnswer(LEAF), time())
        forged = makeAnswer(LEAF, status=ocsp.OCSPCertStatus.REVOKED, signer=NAMESAKE)
        self.assertRaises(IdentityRefused, staple.take, forged, time())
        self.assertTrue(staple.read())
        revoked = makeAnswer(LEAF, status=ocsp.OCSPCertStatus.REVOKED)
        self.assertRaises(IdentityRefused, staple.take, revoked, time())
        self.assertEqual(staple.read(), b"")

    def test_whereNobodyCanBeAsked(self) -> None:
        """It is said why."""
        self.assertEqual(stapleFor(LEAF, root()).problem, "")
        self.assertIn("issuer", stapleFor(LEAF).problem)
        self.assertIn("responder", stapleFor(SIBLING, root()).problem)


class RequiringTests(SynchronousTestCase):
    """Client mode."""

    def creator(self, *authorities: Issued) -> ClientCreator:
        """What makes connections that require it."""
        trust = Trust(anchors(*(authorities or (root(),))))
        context = clientContext(trust, tickets=True)
        demand(context)
        verifier = Verifier(Identity.parse(HOST), trust)
        return ClientCreator(context, verifier, requireStaple=True)

    def server(self, der: bytes, issued: Issued, version: int) -> SSL.Context:
        """A server that staples something."""
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_max_proto_version(version)
        context.use_certificate(issued.certificate)
        context.use_privatekey(issued.key)
        for certificate in issued.chain[1:]:
            context.add_extra_chain_cert(certificate)
        context.set_ocsp_server_callback(lambda _, __: der)
        return context

    def meet(
        self, creator: Creator, context: SSL.Context
    ) -> tuple[TunnelError | None, str, SSL.Connection, Session]:
        """
        Meet such a server.

        @return: why it is refused, if it is, and what it was told; our connection.
        """
        session = creator.session()
        ours = creator.connection(MEMORY, session)
        theirs = SSL.Connection(context, MEMORY)
        theirs.set_accept_state()
        told, error = handshake(theirs, ours)
        if error is None:
            # The tickets of TLS 1.3 come behind the handshake.
            try:
                ours.recv(1)
            except SSL.WantReadError:
                pass
        failure = session.completed(ours) if error is None else handshakeFailure(error, session)
        return failure, str(told or ""), ours, session

    def assertRefused(
        self, der: bytes, cause: str, issued: Issued = LEAF, *authorities: Issued
    ) -> None:
        """Such a server is refused, within the handshake."""
        for version in VERSIONS:
            context = self.server(der, issued, version)
            failure, told, _, session = self.meet(self.creator(*authorities), context)
            assert isinstance(failure, IdentityRefused), failure
            self.assertEqual(failure.cause, cause)
            self.assertIn("bad certificate status response", told)
            self.assertIsNone(session.identity)

    def test_good(self) -> None:
        """By the issuer, or by whom it has charged; also below an intermediate."""
        for issued, der in (
            (LEAF, makeAnswer(LEAF)),
            (LEAF, makeAnswer(LEAF, signer=RESPONDER, carried=(RESPONDER,))),
            (BELOW, makeAnswer(BELOW, issuer=intermediate())),
        ):
            for version in VERSIONS:
                context = self.server(der, issued, version)
                failure, _, _, session = self.meet(self.creator(), context)
                self.assertIsNone(failure)
                self.assertEqual(str(session.identity), HOST)

    def test_nothing(self) -> None:
        """It has to be there."""
        self.assertRefused(b"", ABSENT)

    def test_bad(self) -> None:
        """OpenSSL drops what it cannot read, or what is about others; we refuse the rest."""
        self.assertRefused(makeAnswer(LEAF, start=-3 * HOUR, end=-HOUR), BAD)
        self.assertRefused(makeAnswer(LEAF, start=HOUR), BAD)
        self.assertRefused(makeAnswer(LEAF, end=None), BAD)
        self.assertRefused(makeAnswer(LEAF, signer=NAMESAKE), BAD)
        self.assertRefused(makeAnswer(LEAF, signer=SIBLING, carried=(SIBLING,)), BAD)
        self.assertRefused(makeAnswer(LEAF, status=ocsp.OCSPCertStatus.UNKNOWN), BAD)
        self.assertRefused(b"garbage", ABSENT)

    def test_whatWasGoodIsLookedAtAgain(self) -> None:
        """Once it has expired; until then it is known."""
        creator, context = self.creator(), self.server(makeAnswer(LEAF), LEAF, SSL.TLS1_3_VERSION)
        judged: list[bytes] = []

        def judging(der: bytes, *others: Any) -> Answer:
            judged.append(der)
            return judge(der, *others)

        self.patch(staples, "judge", judging)
        for _ in range(2):
            self.assertIsNone(self.meet(creator, context)[0])
        self.assertEqual(len(judged), 1)
        self.patch(staples, "time", lambda: time() + 8 * 86400)
        failure, *_ = self.meet(creator, context)
        assert failure is not None
        self.assertEqual(failure.cause, BAD)

    def test_revoked(self) -> None:
        """That is what it is for."""
        self.assertRefused(makeAnswer(LEAF, status=ocsp.OCSPCertStatus.REVOKED), "revoked")

    def test_aboutOthers(self) -> None:
        """What is good for another certificate, or for the intermediate, is of no use."""
        for der in (makeAnswer(SIBLING), makeAnswer(intermediate())):
            for version in VERSIONS:
                failure, _, _, _ = self.meet(self.creator(), self.server(der, LEAF, version))
                self.assertIsInstance(failure, IdentityRefused)

    def test_ofACertificateThatIsAnAnchorItself(self) -> None:
        """Nobody can say anything of it."""
        for der in b"", makeAnswer(PINNED, issuer=PINNED):
            self.assertRefused(der, ABSENT, PINNED, PINNED)

    def test_whoeverIsRefusedAnywayIsRefusedForThat(self) -> None:
        """A good staple does not make up for another name."""
        other = make(Recipe(san=alternative(dns("other.example"))), root())
        failure, *_ = self.meet(
            self.creator(), self.server(makeAnswer(other), other, SSL.TLS1_3_VERSION)
        )
        assert failure is not None
        self.assertEqual(failure.cause, "wrong name")

    def resume(self, seconds: float, version: int) -> TunnelError | None:
        """
        Resume a session whose server has stapled what is good for an hour.

        @param seconds: so long after it began.
        """
        der = makeAnswer(LEAF, end=HOUR)
        context = self.server(der, LEAF, version)
        first = self.creator()
        failure, _, ours, session = self.meet(first, context)
        self.assertIsNone(failure)
        creator = first.beside(ours, session)
        ours.set_shutdown(SSL.SENT_SHUTDOWN)
        self.patch(sessions, "time", lambda: time() + seconds)
        failure, _, ours, session = self.meet(creator, context)
        self.assertEqual(session.chain, {}, "it was not resumed")
        return failure

    def test_resumedSessions(self) -> None:
        """They bring none, and are as good as the one was with which they began."""
        for version in VERSIONS:
            self.assertIsNone(self.resume(60, version))
            failure = self.resume(3700, version)
            self.assertIsInstance(failure, IdentityRefused)

    def test_noChainOfResumedSessionsGetsBehindIt(self) -> None:
        """Data connections beside a control connection that was resumed itself end with it too."""
        for version in VERSIONS:
            context = self.server(makeAnswer(LEAF, end=HOUR), LEAF, version)
            creator: Creator = self.creator()
            for seconds, isGood in ((0, True), (60, True), (3700, False)):
                self.patch(sessions, "time", lambda passed=seconds: time() + passed)
                failure, _, ours, session = self.meet(creator, context)
                self.assertEqual(failure is None, isGood)
                self.assertEqual(session.isResumed, seconds > 0)
                creator = creator.beside(ours, session)
                ours.set_shutdown(SSL.SENT_SHUTDOWN)


class PreparedTests(SynchronousTestCase):
    """What the options come to."""

    def prepare(self, mode: Mode, issued: Issued = LEAF, **settings: object) -> Prepared:
        """A tunnel."""
        directory = Path(self.mktemp()) / HOST
        directory.mkdir(parents=True)
        chain = issued.chainPEM() + root().certificate.public_bytes(Encoding.PEM)
        (directory / "fullchain.pem").write_bytes(chain)
        key = directory / "privkey.pem"
        key.write_bytes(issued.keyPEM())
        key.chmod(0o600)
        tunnel = Tunnel(
            mode=mode,
            local=(TCPAddress("127.0.0.1", 0),),
            remote=(TCPAddress("127.0.0.1", 1),),
            dialect=find("none"),
            localID=Identity.parse(HOST),
            pool=Pool(directory.parent),
            **settings,  # type: ignore[arg-type]
        )
        return Prepared(tunnel)

    def test_stapling(self) -> None:
        """Is there only where it was asked for."""
        self.assertEqual(self.prepare(Mode.SERVER).staples, [])
        (staple,) = self.prepare(Mode.SERVER, ocspStapling=True).staples
        self.assertEqual((staple.url, staple.problem), (URL, ""))

    def test_whatIsSaid(self) -> None:
        """Of certificates with which nothing can be stapled, and of those that demand it."""
        feature = x509.TLSFeature([x509.TLSFeatureType.status_request])
        strict = make(Recipe(san=alternative(dns(HOST)), extra=((feature, False),)), root())
        for issued, isOn, word in (
            (LEAF, False, ""),
            (LEAF, True, ""),
            (SIBLING, True, "names no responder"),
            (strict, False, "must-staple"),
            (strict, True, "names no responder"),
        ):
            prepared = self.prepare(Mode.SERVER, issued, ocspStapling=isOn)
            found = " ".join(noticesOf(prepared, datetime.now(UTC)))
            self.assertIn(word, found)
            self.assertEqual(bool(word), bool(found))

    def test_requiring(self) -> None:
        """So is that."""
        expected = Identity.parse(HOST)
        for requires in (False, True):
            prepared = self.prepare(
                Mode.CLIENT, remoteID=expected, trust=("system",), requireStaple=requires
            )
            creator = prepared.creatorFor(expected)
            assert isinstance(creator, ClientCreator)
            self.assertEqual(creator._requireStaple, requires)
