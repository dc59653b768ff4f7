"""
Tests for L{tlstunnel.tls.verification}: whose word counts, and whom lists let in.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import crypto

from tests.certificates import (
    CLIENT,
    SERVER,
    Issued,
    alternative,
    authorityRecipe,
    constraints,
    dns,
    intermediate,
    mail,
    make,
    root,
    srv,
)
from tests.tls.peers import HOST, USER, PeersTestCase, Shaking, anchors, shown
from tlstunnel.address import TCPAddress
from tlstunnel.errors import IdentityRefused
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.trust import Trust, eitherTrust
from tlstunnel.protocols.registry import find
from tlstunnel.tls import chain
from tlstunnel.tls.creators import Creator
from tlstunnel.tls.verification import Proof, Verifier, judgeChain
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.prepared import Prepared


class AnchorsTests(PeersTestCase):
    """Those who decide about an identity, and nobody else."""

    def trust(self, *general: Issued, partner: Issued) -> Trust:
        """Anchors for partner.example, and others for everybody else."""
        selector = Selector.parse("@.partner.example")
        exact = Selector.parse("@partner.example")
        theirs = anchors(partner, source="partner")
        return Trust(anchors(*general), {selector: theirs, exact: theirs})

    def refusal(self, trust: Trust, issued: Issued) -> str:
        """Why a client is refused."""
        failure, _, session = self.meet(self.server("@.", trust), issued)
        self.assertEqual(session.identity is None, failure is not None)
        return str(failure or "")

    def test_theGeneralCADoesNotDecide(self) -> None:
        """It vouches for everybody but those for whom there is somebody else."""
        trust = self.trust(root(), partner=root("Partner"))
        said = self.refusal(trust, shown(alternative(mail(USER))))
        self.assertIn(f"for {USER}, about whom only partner decides", said)
        self.assertEqual(self.refusal(trust, shown(alternative(mail("x@y.example")))), "")

    def test_theOthersDecideAboutTheirOwnOnly(self) -> None:
        """They vouch for their own, and for nobody else."""
        trust = self.trust(root(), partner=root("Partner"))
        for name in (USER, "bob@sub.partner.example"):
            self.assertEqual(
                self.refusal(trust, shown(alternative(mail(name)), root("Partner"))), ""
            )
        said = self.refusal(trust, shown(alternative(mail("x@y.example")), root("Partner")))
        self.assertIn("about whom only general decides", said)

    def test_whatIsKnownIsLookedAtAgain(self) -> None:
        """A chain that was accepted for one is not accepted from the memory of a verdict."""
        trust = self.trust(root(), partner=root("Partner"))
        creator, issued = self.server("@.", trust), shown(alternative(mail(USER)))
        for _ in range(2):
            self.assertIsInstance(self.meet(creator, issued)[0], IdentityRefused)

    def test_anAnchorAboveAnother(self) -> None:
        """
        OpenSSL's chain ends at the first anchor that it comes to; one further up that decides
        counts too.
        """
        trust = self.trust(intermediate(), partner=root())
        self.assertEqual(self.refusal(trust, shown(alternative(mail(USER)), intermediate())), "")
        said = self.refusal(trust, shown(alternative(mail("x@y.example")), root()))
        self.assertIn("about whom only general decides", said)

    def test_purposesFurtherUp(self) -> None:
        """What an authority further up forbids is forbidden."""
        above = make(authorityRecipe("For servers", purposes=(SERVER,)))
        below = make(authorityRecipe("For clients", purposes=(CLIENT,)), above)
        trust = self.trust(below, partner=above)
        said = self.refusal(trust, shown(alternative(mail(USER)), below))
        self.assertIn("about whom only partner decides", said)

    def test_constraintsFurtherUp(self) -> None:
        """Name constraints further up hold for SRVNames too."""
        above = make(authorityRecipe("Constrained", extra=constraints([x509.DNSName("a.example")])))
        below = make(authorityRecipe("Below"), above)
        selector = Selector.parse("partner.example")
        issued = shown(alternative(srv("_xmpp-server.partner.example")), below)
        for partner, isRefused in ((above, True), (below, False)):
            trust = Trust(anchors(below), {selector: anchors(partner, source="partner")})
            creator = self.server(".", trust, "xmpp-server")
            failure, _, _ = self.meet(creator, issued)
            self.assertEqual(failure is not None, isRefused, str(failure))

    def test_withoutTheBinding(self) -> None:
        """Where purposes cannot be asked for, nobody is believed by a second look."""
        trust = self.trust(intermediate(), partner=root())
        issued = shown(alternative(mail(USER)), intermediate())
        self.loseBinding()
        self.assertIn("about whom only partner decides", self.refusal(trust, issued))

    def test_constraintsOfTheAnchor(self) -> None:
        """What an anchor forbids counts also where it is no root."""
        exclude = constraints(None, [x509.DNSName(HOST)])
        authority = make(authorityRecipe("Constrained", extra=exclude), root())
        issued = shown(alternative(dns("*.example.org")), authority)
        failure, _, _ = self.meet(self.client(trust=Trust(anchors(authority))), issued)
        self.assertIsInstance(failure, IdentityRefused)
        failure, _, _ = self.meet(self.client("a.example.org", Trust(anchors(authority))), issued)
        self.assertIsNone(failure)

    def test_inAPool(self) -> None:
        """A broad -R does not make the most concrete selector a broad one."""
        pool = Pool(Path(self.mktemp()))
        createIdentity(pool, Identity.parse("ours.example"))
        (pool.path / "trust").mkdir()
        for name, authority in (("anchors", root()), ("@.partner.example", root("Partner"))):
            file = pool.path / "trust" / f"{name}.pem"
            file.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
        tunnel = Tunnel(
            mode=Mode.SERVER,
            local=(TCPAddress("127.0.0.1", 0),),
            remote=(TCPAddress("127.0.0.1", 1),),
            dialect=find("none"),
            localID=Identity.parse("ours.example"),
            remoteID=Selector.parse("@."),
            pool=pool,
        )
        creator = Prepared(tunnel).serverCreator
        san = alternative(mail("bob@sub.partner.example"))
        failure, _, _ = self.meet(creator, shown(san))
        self.assertIn("only", str(failure))
        self.assertIn("@.partner.example.pem decides", str(failure))
        self.assertIsNone(self.meet(creator, shown(san, root("Partner")))[0])
        self.assertIsNone(self.meet(creator, shown(alternative(mail("x@y.example"))))[0])


class AccessListTests(PeersTestCase):
    """Several -R: whom any of them matches may come, by the anchors that decide about that one."""

    def setUp(self) -> None:
        """A pool with anchors for everybody, for users, and for those of a partner."""
        self.pool = Pool(Path(self.mktemp()))
        createIdentity(self.pool, Identity.parse("ours.example"))
        (self.pool.path / "trust").mkdir()
        for name, authority in (
            ("anchors", root()),
            ("@.partner.example", root("Partner")),
            (".partner.example", root("Hosts")),
        ):
            file = self.pool.path / "trust" / f"{name}.pem"
            file.write_bytes(authority.certificate.public_bytes(Encoding.PEM))

    def creator(self, *selectors: str, trust: tuple[str, ...] = ()) -> Creator:
        """What a server tunnel makes connections with."""
        tunnel = Tunnel(
            mode=Mode.SERVER,
            local=(TCPAddress("127.0.0.1", 0),),
            remote=(TCPAddress("127.0.0.1", 1),),
            dialect=find("none"),
            localID=Identity.parse("ours.example"),
            remoteID=AccessList(tuple(map(Selector.parse, selectors))),
            pool=self.pool,
            trust=trust,
        )
        return Prepared(tunnel).serverCreator

    def come(self, creator: Creator, san: bytes, issuer: Issued) -> str:
        """Who a client proves to be, else why it is refused."""
        failure, _, session = self.meet(creator, shown(san, issuer))
        self.assertEqual(session.identity is None, failure is not None)
        return str(failure or session.identity)

    def test_anyOfThem(self) -> None:
        """Users by one, hosts by another, and nobody else."""
        creator = self.creator("@a.example", "host.b.example")
        for name, kind in (("x@a.example", mail), ("host.b.example", dns)):
            self.assertEqual(self.come(creator, alternative(kind(name)), root()), name)
        for name, kind in (("x@b.example", mail), ("a.example", dns), ("x.b.example", dns)):
            said = self.come(creator, alternative(kind(name)), root())
            self.assertIn("not for @a.example or host.b.example", said)

    def test_theAnchorsOfEachDecide(self) -> None:
        """However broad another -R is, and whichever comes first."""
        bob, host = "bob@sub.partner.example", "h.partner.example"
        for selectors in (
            ("@.", "."),
            (".", "@."),
            ("@.", "@.partner.example", ".", ".partner.example"),
            (".partner.example", ".", "@.partner.example", "@."),
        ):
            creator = self.creator(*selectors)
            for name, kind, issuer in (
                (bob, mail, root("Partner")),
                (host, dns, root("Hosts")),
                ("x@y.example", mail, root()),
                ("y.example", dns, root()),
            ):
                for authority in root(), root("Partner"), root("Hosts"):
                    said = self.come(creator, alternative(kind(name)), authority)
                    if authority is issuer:
                        self.assertEqual(said, name)
                    else:
                        self.assertRegex(said, f"for {name}, about whom only .* decides")

    def test_whoIsOnTheListForNothingIsRefused(self) -> None:
        """Anchors that are only for those of another -R let nobody in."""
        creator = self.creator("@.partner.example", "y.example")
        said = self.come(creator, alternative(dns("y.example")), root("Partner"))
        self.assertIn("about whom only", said)
        said = self.come(creator, alternative(mail("x@other.example")), root("Partner"))
        self.assertIn("and not for", said)

    def test_theSystemKnowsNoUsers(self) -> None:
        """Beside a file it counts for hosts alone."""
        file = self.pool.path / "trust" / "anchors.pem"
        creator = self.creator("@.", ".", trust=("system", str(file)))
        verifier = creator._verifier
        assert verifier is not None
        self.assertFalse(verifier.trust.anchorsFor(Identity.parse("x@y.example")).system)
        self.assertTrue(verifier.trust.anchorsFor(Identity.parse("y.example")).system)
        for kind, name in (mail, "x@y.example"), (dns, "y.example"):
            self.assertEqual(self.come(creator, alternative(kind(name)), root()), name)

    def test_sameAnchorsAreLookedAtOnce(self) -> None:
        """Where all have the same, OpenSSL's verdict is enough."""
        verifier = self.creator("@a.example", "@b.example")._verifier
        assert verifier is not None
        anchors = verifier.trust.anchorsFor(Identity.parse("x@b.example"))
        self.assertIs(anchors, verifier.trust.all)

    def test_nobodyDecidesAboutStrangers(self) -> None:
        """Whoever asks about somebody who is not on the list."""
        trusts = {
            Selector.parse("@."): Trust(anchors(root())),
            Selector.parse("."): Trust(anchors()),
        }
        found = eitherTrust(trusts).anchorsFor(Identity.parse("192.0.2.1"))
        self.assertEqual((found.certificates, found.system), ((), False))


class AcceptedChainTests(PeersTestCase):
    """What OpenSSL has accepted, with the binding and without it."""

    def watch(self) -> list[list[crypto.X509]]:
        """The chains that are judged from now on; their certificates are kept."""
        judged: list[list[crypto.X509]] = []
        verify = Verifier.verify

        def keeping(verifier: Verifier, accepted: Sequence[crypto.X509]) -> Proof:
            judged.append([*accepted])
            return verify(verifier, accepted)

        self.patch(Verifier, "verify", keeping)
        return judged

    def test_itIsTheSameBothWays(self) -> None:
        """The peer's own comes first, the anchor last; what was made of them outlives the chain."""
        issued = shown(alternative(dns(HOST)), intermediate())
        own = [each.certificate for each in (issued, intermediate(), root())]
        judged = self.watch()
        for prepare in (lambda: None, self.loseBinding):
            prepare()
            for creator in (self.client(), self.server()):
                self.assertIsNone(self.meet(creator, issued)[0])
                self.assertEqual([each.to_cryptography() for each in judged.pop()], own)
                self.assertEqual(judged, [])

    def test_whatOpenSSLRefusesIsNotJudgedAgain(self) -> None:
        """It has the first word, and nobody is asked for another one."""
        judged = self.watch()
        unknown = shown(alternative(dns(HOST)), root("Unknown"))
        failure, _, session = self.meet(self.client(), unknown)
        self.assertIsInstance(failure, IdentityRefused)
        self.assertEqual((judged, session.shown), ([], None))

    def test_aChainThatIsKnownIsRecognizedByItsFingerprints(self) -> None:
        """No certificate is made of it again."""
        creator, issued = self.client(), shown(alternative(dns(HOST)))
        self.assertIsNone(self.meet(creator, issued)[0])

        def fail(accepted: Sequence[crypto.X509], index: object) -> crypto.X509:
            raise AssertionError("a certificate was made")

        self.patch(chain.AcceptedChain, "__getitem__", fail)
        failure, _, session = self.meet(creator, issued)
        self.assertIsNone(failure)
        self.assertEqual(session.identity, Identity.parse(HOST))
        self.assertIsInstance(self.meet(creator, shown(alternative(dns(HOST))))[0], IdentityRefused)

    def test_thereIsOneVerdictOnEachConnection(self) -> None:
        """Whatever else OpenSSL asked about would be refused."""
        session = self.client().session()
        connection: Any = Shaking(session)
        accepted = [
            crypto.X509.from_cryptography(each.certificate)
            for each in (shown(alternative(dns(HOST))), root())
        ]
        self.assertTrue(judgeChain(connection, accepted))
        self.assertFalse(judgeChain(connection, accepted))
        self.assertIn("could not be judged", str(session.refusal))
