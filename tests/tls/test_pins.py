"""
Tests for L{tlstunnel.tls.pins}, and for pins beside a chain: over real TLS, in both roles and
versions.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from tests.certificates import (
    OTHER_USE,
    Issued,
    Recipe,
    alternative,
    authorityRecipe,
    constraints,
    dns,
    mail,
    make,
    named,
    root,
    uri,
)
from tests.tls.peers import HOST, MEMORY, PeersTestCase, shown
from tlstunnel.address import TCPAddress, parseAddress
from tlstunnel.errors import IdentityRefused
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pins import keyOf
from tlstunnel.identity.pool import Pool
from tlstunnel.protocols.registry import find
from tlstunnel.tls.checkup import problemsOf
from tlstunnel.tls.creators import Creator, ServerCreator
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.prepared import Prepared

VERSIONS = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)
GOOD = alternative(dns(HOST), mail("x@example.org"))


class PinsTestCase(PeersTestCase):
    """
    Tunnels that pin keys.
    """

    def setUp(self) -> None:
        """
        A pool with an identity of ours.
        """
        self.pool = Pool(Path(self.mktemp()))
        createIdentity(self.pool, Identity.parse("ours.example"))
        self.anchor = Path(self.mktemp())
        self.anchor.write_bytes(root().certificate.public_bytes(Encoding.PEM))
        self.trust: tuple[str, ...] = ("pins",)

    def tunnel(self, mode: Mode, *pinned: Issued, **settings: Any) -> Prepared:
        """
        A tunnel that pins these keys.
        """
        defaults: dict[str, Any] = {
            "mode": mode,
            "local": (),
            "remote": (TCPAddress("127.0.0.1", 1),),
            "dialect": find("none"),
            "pool": self.pool,
            "trust": self.trust,
            "pins": tuple(keyOf(each.certificate) for each in pinned),
        }
        return Prepared(Tunnel(**(defaults | settings)))

    def serverOf(self, *pinned: Issued, remoteID: str | None = None, **settings: Any) -> Creator:
        """
        What a server tunnel makes connections with.
        """
        return self.tunnel(
            Mode.SERVER,
            *pinned,
            localID=Identity.parse("ours.example"),
            remoteID=Selector.parse(remoteID) if remoteID else None,
            **settings,
        ).serverCreator

    def creators(self, *pinned: Issued, remoteID: str | None = None) -> tuple[Creator, Creator]:
        """
        What a client tunnel and a server tunnel make connections with.
        """
        identity = Identity.parse(remoteID) if remoteID else None
        client = self.tunnel(Mode.CLIENT, *pinned, remoteID=identity)
        assert client.expected is not None
        return client.creatorFor(client.expected), self.serverOf(*pinned, remoteID=remoteID)

    def assertLetIn(self, issued: Issued, who: str, *creators: Creator) -> None:
        """
        A peer is let in.
        """
        for creator in creators:
            for version in VERSIONS:
                failure, told, session = self.meet(creator, issued, version)
                self.assertEqual((failure, told), (None, ""))
                self.assertEqual(str(session.identity), who)

    def assertRefused(self, issued: Issued, because: str, alert: str, *creators: Creator) -> None:
        """
        A peer is not.
        """
        for creator in creators:
            for version in VERSIONS:
                failure, told, session = self.meet(creator, issued, version)
                self.assertIsInstance(failure, IdentityRefused)
                self.assertRegex(str(failure), because)
                self.assertIn(f"alert {alert}", told)
                self.assertIsNone(session.identity)


class PinsAloneTests(PinsTestCase):
    """
    C{--trust pins}: the key decides, and nobody's word.
    """

    def test_whoeverHasTheKeyIsKnownByIt(self) -> None:
        """
        Whoever has issued the certificate, and whatever name it has.
        """
        selfSigned = make(Recipe(san=GOOD, subject=named("x")))
        # As openssl req -x509 makes them.
        authority = make(Recipe(subject=named("x"), isAuthority=True, usage=None, purposes=None))
        known = Issued(authority.certificate, authority.key, (authority.certificate,))
        below = make(Recipe(san=None), make(authorityRecipe("Unknown"), root("Unknown")))
        expired = {"start": timedelta(days=-9), "end": timedelta(days=-1)}
        ended = make(Recipe(san=GOOD), make(authorityRecipe("Old", **expired), root("Unknown")))
        for issued in selfSigned, known, below, ended, shown(None), shown(GOOD):
            self.assertLetIn(issued, str(keyOf(issued.certificate)), *self.creators(issued))

    def test_anyOfThemWillDo(self) -> None:
        """
        The next key is pinned before it is used.
        """
        one, other = shown(GOOD), shown(None)
        creators = self.creators(one, other)
        for each in one, other:
            self.assertLetIn(each, str(keyOf(each.certificate)), *creators)

    def test_anotherKeyIsRefused(self) -> None:
        """
        Also where everything else is the same, and whoever has issued it.
        """
        pinned = shown(GOOD)
        creators = self.creators(pinned)
        for issued in shown(GOOD), make(Recipe(san=GOOD, subject=named("x"))):
            because = f"{keyOf(issued.certificate)}, which is not pinned"
            self.assertRefused(issued, because.replace("+", r"\+"), "bad certificate", *creators)

    def test_theKeyOfAnAuthorityIsNotThatOfThePeer(self) -> None:
        """
        Whoever has a certificate of somebody who is pinned is not pinned.
        """
        issuer = make(authorityRecipe("Issuer"), root())
        issued = make(Recipe(san=GOOD), issuer)
        for pinned in issuer, root():
            self.assertRefused(issued, "not pinned", "bad certificate", *self.creators(pinned))

    def test_datesCount(self) -> None:
        """
        A certificate that has ended does not count, whatever its key.
        """
        for start, end, because, alert in (
            (timedelta(days=-2), timedelta(minutes=-1), "has expired", "certificate expired"),
            (timedelta(minutes=5), timedelta(days=1), "not yet valid", "bad certificate"),
        ):
            for issuer in None, root():
                recipe = Recipe(san=GOOD, subject=named("x"), start=start, end=end)
                issued = make(recipe, issuer)
                self.assertRefused(issued, because, alert, *self.creators(issued))

    def test_purposesAndStrengthCount(self) -> None:
        """
        A key that is too weak, or a certificate for something else, is refused.
        """
        weak = make(Recipe(san=GOOD, key="rsa1024", subject=named("x")))
        self.assertRefused(weak, "too weak", "", *self.creators(weak))
        odd = shown(GOOD, purposes=(OTHER_USE,))
        self.assertRefused(odd, "not for this purpose", "", *self.creators(odd))

    def test_aNameThatIsGivenCountsToo(self) -> None:
        """
        With -R the certificate has to have that, which makes it nobody's all the same.
        """
        issued = make(Recipe(san=GOOD, subject=named("x")))
        key = str(keyOf(issued.certificate))
        self.assertLetIn(issued, key, *self.creators(issued, remoteID=HOST))
        self.assertLetIn(issued, key, *self.creators(issued, remoteID="x@example.org"))
        creators = self.creators(issued, remoteID="other.example")
        self.assertRefused(issued, "not for other.example", "bad certificate", *creators)

    def test_whoIsDeniedIsRefused(self) -> None:
        """
        Whatever key that one has.
        """
        issued = make(Recipe(san=GOOD, subject=named("x")))
        denied = (Selector.parse("x@example.org"),)
        server = self.serverOf(issued, remoteID=".", denyID=denied)
        self.assertRefused(issued, "denies", "bad certificate", server)

    def test_theHostOfRemoteIsAskedFor(self) -> None:
        """
        It need not have that name in its certificate; of an address nobody asks.
        """
        issued = shown(None)
        for remotes, asked in (
            (("localhost:1",), b"localhost"),
            (("a.example:1", "a.example:2"), b"a.example"),
            (("a.example:1", "b.example:1"), None),
            (("a.example:1", "127.0.0.1:1"), None),
            (("127.0.0.1:1",), None),
            (("/run/x",), None),
        ):
            addresses = tuple(map(parseAddress, remotes))
            prepared = self.tunnel(Mode.CLIENT, issued, remote=addresses)
            assert prepared.expected is not None
            creator = prepared.creatorFor(prepared.expected)
            connection = creator.connection(MEMORY, creator.session())
            self.assertEqual(connection.get_servername(), asked)
            self.assertEqual(prepared.whom, f"the key {keyOf(issued.certificate)}")
            self.assertEqual(prepared.anchors, "")

    def test_dataConnectionsAreOfTheSameKey(self) -> None:
        """
        Not only of any that is pinned.
        """
        one, other = shown(GOOD), shown(GOOD)
        _, server = self.creators(one, other)
        session = server.session()
        assert isinstance(server, ServerCreator)
        session.turn(server.faces.default)
        session.identity = keyOf(one.certificate)
        beside = server.beside(server.connection(MEMORY, session), session)
        self.assertLetIn(one, str(keyOf(one.certificate)), beside)
        self.assertRefused(other, "and not .* as before", "bad certificate", beside)


class PinsBesideTests(PinsTestCase):
    """
    Pins beside a chain: both have to be right.
    """

    def setUp(self) -> None:
        """
        A file of anchors counts.
        """
        super().setUp()
        self.trust = (str(self.anchor),)

    def test_bothAreRight(self) -> None:
        """
        Then the peer is who it says.
        """
        issued = shown(GOOD)
        self.assertLetIn(issued, HOST, *self.creators(issued, remoteID=HOST))

    def test_anotherKeyIsRefused(self) -> None:
        """
        Although an authority that we believe has issued it, again and again.
        """
        creators = self.creators(shown(GOOD), remoteID=HOST)
        other = shown(GOOD)
        for _ in range(2):
            self.assertRefused(other, "which is not pinned", "bad certificate", *creators)

    def test_theKeyAloneIsNotEnough(self) -> None:
        """
        Without the chain or the name it is refused as ever.
        """
        selfSigned = make(Recipe(san=GOOD, subject=named("x")))
        creators = self.creators(selfSigned, remoteID=HOST)
        self.assertRefused(selfSigned, "self-signed", "unknown ca", *creators)
        other = shown(alternative(dns("other.example")))
        creators = self.creators(other, remoteID=HOST)
        self.assertRefused(other, "and not for", "bad certificate", *creators)

    def test_aCertificateCanBeJudgedByItsKeyAgain(self) -> None:
        """
        For sessions that are resumed.
        """
        issued, other = shown(GOOD), shown(GOOD)
        for creator in self.creators(issued, remoteID=HOST):
            verifier = creator._verifier
            assert verifier is not None
            verifier.checkKey(issued.certificate)
            self.assertRaises(IdentityRefused, verifier.checkKey, other.certificate)

    def test_bothAreSaid(self) -> None:
        """
        For whoever reads the log.
        """
        issued = shown(GOOD)
        said = self.tunnel(Mode.CLIENT, issued, remote=(TCPAddress("localhost", 1),)).whom
        self.assertEqual(said, f"localhost with the key {keyOf(issued.certificate)}")


class WorkloadsTests(PinsTestCase):
    """
    SPIFFE IDs in tunnels.
    """

    SVID = alternative(uri("spiffe://example.org/ns/prod/api"))

    def setUp(self) -> None:
        """
        A file of anchors counts.
        """
        super().setUp()
        self.trust = (str(self.anchor),)

    def test_inBothModes(self) -> None:
        """
        A server by its ID, and clients by selectors.
        """
        issued = shown(self.SVID)
        who = "spiffe://example.org/ns/prod/api"
        self.assertLetIn(issued, who, *self.creators(remoteID=who))
        for selector in "spiffe://example.org/", "spiffe://example.org/ns/prod/":
            self.assertLetIn(issued, who, self.server(selector))
        for selector in "spiffe://example.org/ns/test/", "spiffe://example.net", ".", "@.":
            self.assertRefused(issued, "and not for", "bad certificate", self.server(selector))

    def test_ourOwn(self) -> None:
        """
        We can be one, and greet nobody with the trust domain.
        """
        ours = Identity.parse("spiffe://example.org/ns/prod/proxy")
        createIdentity(self.pool, ours)
        prepared = self.tunnel(
            Mode.SERVER, localID=ours, remoteID=Selector.parse("spiffe://example.org")
        )
        self.assertNotIn(b"example.org", prepared.setting.ourName)
        issued = shown(self.SVID)
        self.assertLetIn(issued, "spiffe://example.org/ns/prod/api", prepared.serverCreator)
        self.assertEqual(problemsOf(self.pool, ours, datetime.now(UTC)), [])

    def test_OpenSSLKeepsConstraintsOfURIs(self) -> None:
        """
        It looks at all names, also where we are content with another one.
        """
        for subtrees, alert in (
            (([x509.UniformResourceIdentifier("example.net")], None), "permitted"),
            ((None, [x509.UniformResourceIdentifier("example.org")]), "excluded"),
        ):
            issuer = make(authorityRecipe("Odd", extra=constraints(*subtrees)), root())
            issued = make(Recipe(san=alternative(uri("spiffe://example.org/a"), dns(HOST))), issuer)
            for creator in self.creators(remoteID=HOST):
                failure, _, session = self.meet(creator, issued)
                self.assertIn(alert, str(failure))
                self.assertIsNone(session.identity)

    def test_theHostOfRemoteIsAskedFor(self) -> None:
        """
        A trust domain is no host.
        """
        expected = Identity.parse("spiffe://example.org/a")
        remote = (TCPAddress("api.internal", 1),)
        prepared = self.tunnel(Mode.CLIENT, remote=remote, remoteID=expected)
        assert prepared.expected is not None
        creator = prepared.creatorFor(prepared.expected)
        connection = creator.connection(MEMORY, creator.session())
        self.assertEqual(connection.get_servername(), b"api.internal")


class ListsTests(PinsTestCase):
    """
    Long lists of who may come, and of who may not.
    """

    def test_tenThousand(self) -> None:
        """
        Each is let in, or not, as if there were nobody else.
        """
        self.trust = (str(self.anchor),)
        allowed, denied = Path(self.mktemp()), Path(self.mktemp())
        allowed.write_text("".join(f"u{number}@example.org\n" for number in range(10_000)))
        denied.write_text("".join(f"u{number}@example.org\n" for number in range(5000)))
        server = self.serverOf(remoteIDFiles=(str(allowed),), denyIDFiles=(str(denied),))
        verifier = server._verifier
        assert verifier is not None and isinstance(verifier.expected, AccessList)
        self.assertEqual(len(verifier.expected.selectors), 10_000)
        self.assertLetIn(shown(alternative(mail("u9999@example.org"))), "u9999@example.org", server)
        refused = shown(alternative(mail("u9999@example.org"), mail("u4999@example.org")))
        because = rf"which u4999@example.org in {denied}, line 5000 denies"
        self.assertRefused(refused, because, "bad certificate", server)
        stranger = shown(alternative(mail("x@example.org")))
        self.assertRefused(stranger, "9993 others", "bad certificate", server)
