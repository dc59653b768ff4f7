"""
Tests for revocation lists in L{tlstunnel.tls}: what a peer is told whose certificate was revoked,
and what counts where sessions are resumed.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import time

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto

from tests.certificates import (
    Issued,
    Recipe,
    alternative,
    authorityRecipe,
    dns,
    intermediate,
    mail,
    make,
    root,
)
from tests.revoked import HOUR, makeList, pem
from tests.tls.peers import HOST, MEMORY, USER, PeersTestCase, anchors, shown
from tlstunnel.address import TCPAddress
from tlstunnel.errors import ConfigurationError, IdentityRefused, TunnelError
from tlstunnel.identity.crl import RevocationList
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.revocation import OLD, REVOKED, Revocations
from tlstunnel.identity.trust import Trust
from tlstunnel.protocols.registry import find
from tlstunnel.tls import session as sessions
from tlstunnel.tls import verification
from tlstunnel.tls.checkup import handshake
from tlstunnel.tls.context import clientContext
from tlstunnel.tls.creators import ClientCreator, Creator
from tlstunnel.tls.verification import Verifier
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.notices import noticesOf
from tlstunnel.tunnel.prepared import Prepared

LEAF = make(Recipe(san=alternative(dns(HOST))), root())
BELOW = make(Recipe(san=alternative(dns(HOST))), intermediate())
VERSIONS = SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION
DAY = timedelta(days=1)


class ListsTests(PeersTestCase):
    """Peers in both roles, in both versions."""

    def use(self, *lists: x509.CertificateRevocationList) -> None:
        """Let lists count for what is made from now on."""
        self.revocations = Revocations(map(RevocationList, lists))

    def assertTold(self, alert: str, cause: str, issued: Issued = LEAF) -> None:
        """They are refused."""
        for creator in (self.client(), self.server(HOST)):
            for version in VERSIONS:
                with self.subTest(f"{type(creator).__name__} {version:x}"):
                    failure, told, session = self.meet(creator, issued, version)
                    assert isinstance(failure, IdentityRefused), failure
                    self.assertEqual(failure.cause, cause)
                    self.assertIn(f"alert {alert}", told)
                    self.assertIsNone(session.identity)

    def test_whoWasNotRevokedIsServed(self) -> None:
        """Again and again."""
        self.use(makeList())
        for creator in (self.client(), self.server(HOST)):
            for version in VERSIONS * 2:
                self.assertIsNone(self.meet(creator, LEAF, version)[0])

    def test_revoked(self) -> None:
        """The leaf."""
        self.use(makeList(LEAF))
        self.assertTold("certificate revoked", "revoked")

    def test_anAuthorityThatWasRevoked(self) -> None:
        """The intermediate."""
        self.use(makeList(intermediate()), makeList(issuer=intermediate()))
        self.assertTold("certificate revoked", "revoked", BELOW)

    def test_noList(self) -> None:
        """Of the intermediate."""
        self.use(makeList())
        self.assertTold("unknown ca", "no CRL", BELOW)

    def test_anOldList(self) -> None:
        """It refuses everybody."""
        self.use(makeList(start=-DAY, end=-HOUR))
        self.assertTold("certificate expired", "old CRL")

    def test_aListFromTheFuture(self) -> None:
        """So does that."""
        self.use(makeList(start=HOUR))
        self.assertTold("bad certificate", "early CRL")

    def test_whoIsKnownIsLookedAtAgain(self) -> None:
        """Once the list has expired by which it was good."""
        self.use(makeList())
        creator = self.client()
        self.assertIsNone(self.meet(creator, LEAF)[0])
        self.patch(verification, "time", lambda: time() + DAY.total_seconds() * 8)
        failure, _, _ = self.meet(creator, LEAF)
        assert failure is not None
        self.assertEqual(failure.cause, OLD)

    def test_theOldestAreForgottenFirst(self) -> None:
        """Where many are known: what is resumed is mostly young."""
        self.patch(verification, "CHAINS_KEPT", 2)
        self.use(makeList())
        creator = self.server(HOST)
        many = [make(Recipe(san=alternative(dns(HOST))), root()) for _ in range(3)]
        for each in many:
            self.assertIsNone(self.meet(creator, each)[0])
        verifier = creator._verifier
        assert verifier is not None
        leaves = [each.certificate.fingerprint(SHA256()) for each in many]
        self.assertEqual([verifier.goodUntil(each) > 0 for each in leaves], [False, True, True])

    def test_theChainOfThoseWhoDecide(self) -> None:
        """Where the anchors that decide are further up, what they have revoked counts too."""
        issued = shown(alternative(mail(USER)), intermediate())
        trust = Trust(
            anchors(intermediate()),
            {Selector.parse("@.partner.example"): anchors(root(), source="partner")},
        )
        other = makeList(issuer=intermediate())
        for lists, isRefused in (
            ((makeList(), other), False),
            ((makeList(intermediate()), other), True),
        ):
            self.use(*lists)
            failure, _, _ = self.meet(self.server("@.", trust), issued)
            self.assertEqual(failure is not None, isRefused, str(failure))

    def test_anotherWayToThoseWhoDecide(self) -> None:
        """Where their chain leads to them by another certificate, that one must be good too."""
        ours = make(authorityRecipe("Crossed"), root())
        theirs = make(authorityRecipe("Crossed"), root("Partner"), key=ours.key)
        issued = shown(alternative(mail("bob@partner.example")), ours)
        trust = Trust(
            anchors(ours),
            {Selector.parse("@partner.example"): anchors(theirs, root("Partner"))},
        )
        lists = (makeList(issuer=ours),)
        for revoked, isRefused in ((), False), ((theirs,), True):
            self.use(*lists, makeList(*revoked, issuer=root("Partner")))
            failure, _, _ = self.meet(self.server("@.", trust), issued)
            self.assertEqual(failure is not None, isRefused, str(failure))


class ResumptionTests(PeersTestCase):
    """Connections that resume the session of another: nobody shows a chain there."""

    def resume(self, seconds: float, *lists: x509.CertificateRevocationList) -> TunnelError | None:
        """
        Resume a session.

        @param seconds: so long after it began.
        @return: why that fails, if it does.
        """
        trust = Trust(anchors(root()))
        revocations = Revocations(map(RevocationList, lists))
        verifier = Verifier(Identity.parse(HOST), trust, revocations=revocations)
        creator: Creator = ClientCreator(clientContext(trust, tickets=True), verifier)
        context = serverOf(LEAF)
        failure: TunnelError | None = None
        for later in (0.0, seconds):
            self.patch(sessions, "time", lambda later=later: time() + later)
            session = creator.session()
            ours = creator.connection(MEMORY, session)
            theirs = SSL.Connection(context, MEMORY)
            theirs.set_accept_state()
            self.assertEqual(handshake(theirs, ours), [None, None])
            failure = session.completed(ours)
            self.assertEqual(session.offers is not None, session.chain is not None)
            creator = creator.beside(ours, session)
            ours.set_shutdown(SSL.SENT_SHUTDOWN)
        return failure

    def test_whileTheListIsGood(self) -> None:
        """Or where there is none."""
        self.assertIsNone(self.resume(1.0, makeList()))
        self.assertIsNone(self.resume(1.0))

    def test_behindTheEndOfTheList(self) -> None:
        """Nothing says any more that its certificate was not revoked."""
        failure = self.resume(DAY.total_seconds() * 8, makeList())
        assert isinstance(failure, IdentityRefused)
        self.assertEqual(failure.cause, OLD)

    def test_untilWhen(self) -> None:
        """What nobody has verified is good for no time at all."""
        verifier = Verifier(
            Identity.parse(HOST),
            Trust(anchors(root())),
            revocations=Revocations([RevocationList(makeList())]),
        )
        leaf = crypto.X509.from_cryptography(LEAF.certificate)
        known = LEAF.certificate.fingerprint(SHA256())
        self.assertEqual(verifier.goodUntil(known), 0)
        verifier.verify([leaf, crypto.X509.from_cryptography(root().certificate)])
        self.assertGreater(verifier.goodUntil(known), time())


class PreparedTests(PeersTestCase):
    """Lists of a tunnel."""

    def setUp(self) -> None:
        self.pool = Pool(Path(self.mktemp()))
        createIdentity(self.pool, Identity.parse("ours.example"))
        (self.pool.path / "trust").mkdir()
        self.anchors = self.pool.path / "trust" / "anchors.pem"
        self.anchors.write_bytes(root().certificate.public_bytes(Encoding.PEM))

    def prepare(self, mode: Mode, **settings: object) -> Prepared:
        """A tunnel."""
        tunnel = Tunnel(
            mode=mode,
            local=(TCPAddress("127.0.0.1", 0),),
            remote=(TCPAddress("127.0.0.1", 1),),
            dialect=find("none"),
            localID=Identity.parse("ours.example"),
            pool=self.pool,
            **settings,  # type: ignore[arg-type]
        )
        return Prepared(tunnel)

    def refusal(self, prepared: Prepared) -> str:
        """Why a peer whose certificate was revoked is refused; empty if it is not."""
        isServer = prepared.tunnel.mode is Mode.SERVER
        host = Identity.parse(HOST)
        creator = prepared.serverCreator if isServer else prepared.creatorFor(host)
        failure, _, _ = self.meet(creator, LEAF)
        return "" if failure is None else failure.cause

    def test_besideTheAnchorsOfThePool(self) -> None:
        """In both modes, and also where the anchors are elsewhere."""
        (self.pool.path / "trust" / "any.crl").write_bytes(pem(makeList(LEAF)))
        server, client = Selector.parse("."), Identity.parse(HOST)
        for trust in ((), (str(self.anchors),)):
            for mode, remote in ((Mode.SERVER, server), (Mode.CLIENT, client)):
                prepared = self.prepare(mode, remoteID=remote, trust=trust)
                self.assertEqual(self.refusal(prepared), REVOKED)

    def test_inADirectoryThatIsTrusted(self) -> None:
        """As openssl-rehash(1) leaves it."""
        place = Path(self.mktemp())
        place.mkdir()
        (place / "root.pem").write_bytes(self.anchors.read_bytes())
        (place / "0a1b2c3d.r0").write_bytes(pem(makeList(LEAF)))
        prepared = self.prepare(
            Mode.CLIENT, remoteID=Identity.parse(HOST), trust=("system", str(place))
        )
        self.assertEqual(self.refusal(prepared), REVOKED)

    def test_oneThatIsBrokenIsAnErrorAtOnce(self) -> None:
        """Unless anybody may come, so that it is about nobody."""
        (self.pool.path / "trust" / "any.crl").write_bytes(b"none")
        for mode, remote in (
            (Mode.SERVER, Selector.parse(".")),
            (Mode.CLIENT, Identity.parse(HOST)),
        ):
            self.assertRaises(ConfigurationError, self.prepare, mode, remoteID=remote)
        self.assertEqual(noticesOf(self.prepare(Mode.SERVER), datetime.now(UTC)), [])

    def test_whatIsToBeSaidOfThem(self) -> None:
        """With what is said of certificates and anchors."""
        (self.pool.path / "trust" / "any.crl").write_bytes(pem(makeList(start=-DAY, end=-HOUR)))
        prepared = self.prepare(Mode.CLIENT, remoteID=Identity.parse(HOST))
        (notice,) = noticesOf(prepared, datetime.now(UTC))
        self.assertIn("revocation list", notice)


def serverOf(issued: Issued) -> SSL.Context:
    """The context of a server that lets its clients resume sessions."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.use_certificate(issued.certificate)
    context.use_privatekey(issued.key)
    return context
