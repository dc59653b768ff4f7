"""
Tests for L{tlstunnel.tunnel.showing} and L{tlstunnel.tunnel.clientcreators}: who client tunnels are
to servers.
"""

from __future__ import annotations

import socket
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.x509 import RFC822Name, SubjectAlternativeName
from OpenSSL import SSL
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.keyfiles import noteExaminations, withRSA
from tests.loopback import CLIENT, PATIENCE, SERVER, Encrypted, Plain, TunnelTests, wait
from tlstunnel.address import TCPAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import createIdentity, keep
from tlstunnel.identity.names import Identity, KeyIdentity
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.tlsa import TLSA, TLSARecords
from tlstunnel.program.service import TunnelService
from tlstunnel.protocols.registry import find
from tlstunnel.tunnel import clientcreators, showing
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.notices import noticesOf
from tlstunnel.tunnel.prepared import Prepared

FORUM = Identity.parse("forum.test")
SHOP = Identity.parse("shop.test")
ALICE = Identity.parse("alice@example.test")
THERE = TCPAddress("192.0.2.1", 1)


def rule(pool: Pool, selector: str, *lines: object) -> None:
    """Write a rule."""
    file = pool.path / "disclose" / f"{selector}.txt"
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(f"{each}\n" for each in lines))
    file.chmod(0o644)


class PreparedTests(SynchronousTestCase):
    """What is prepared, before there is a connection."""

    def setUp(self) -> None:
        """A pool with one identity."""
        self.pool = Pool(Path(self.mktemp()), asked=False)
        createIdentity(self.pool, ALICE)

    def prepared(self, dialect: str = "none", **settings: Any) -> Prepared:
        """A client tunnel that goes by rules."""
        defaults: dict[str, Any] = {"remoteID": SHOP, "pool": self.pool, "byRules": True}
        settings = defaults | settings
        return Prepared(Tunnel(Mode.CLIENT, (), (THERE,), find(dialect), **settings))

    def test_theRuleIsReadAtTheStart(self) -> None:
        """Where it is known who is expected: what is shown, is known then."""
        rule(self.pool, "shop.test", ALICE)
        self.assertEqual(list(self.prepared().certificates), [ALICE])

    def test_withoutARuleItIsNobody(self) -> None:
        """Which is no mistake, but is said."""
        prepared = self.prepared()
        self.assertEqual(list(prepared.certificates), [])
        (said,) = noticesOf(prepared, datetime.now(UTC))
        self.assertIn("no rule says who we are to shop.test; 'tlstunnel identity disclose", said)

    def test_aBrokenRuleLetsNothingStart(self) -> None:
        """If it is the one that decides."""
        rule(self.pool, "shop.test", "non sense")
        error = self.assertRaises(ConfigurationError, self.prepared)
        assert isinstance(error, ConfigurationError)
        self.assertIn("shop.test.txt, line 1", error.subject)
        self.prepared(remoteID=FORUM)

    def test_doubtsAreAmongTheWarnings(self) -> None:
        """Also about rules that are not needed yet."""
        rule(self.pool, "Shop.test", ALICE)
        rule(self.pool, "other.test", "non sense")
        rule(self.pool, "shop.test", "-")
        found = noticesOf(self.prepared(), datetime.now(UTC))
        self.assertEqual(len(found), 2, found)
        self.assertIn("Shop.test.txt: never counts", found[0])
        self.assertEqual(noticesOf(self.prepared(), datetime.now(UTC), datetime.now(UTC)), [])

    def test_eachServerIsShownWhomItsRuleSays(self) -> None:
        """Where the app says who is expected, and as the rules are then."""
        prepared = self.prepared("xmpp", remoteID=None)
        nobody = prepared.creatorFor(SHOP)
        rule(self.pool, "shop.test", ALICE)
        alice = prepared.creatorFor(SHOP)
        self.assertEqual((nobody._shows, alice._shows), (None, ALICE))
        self.assertIsNone(prepared.creatorFor(FORUM)._shows)
        self.assertIs(prepared.creatorFor(SHOP), alice)
        rule(self.pool, "shop.test", "-")
        self.assertIs(prepared.creatorFor(SHOP), nobody)
        self.assertIsNot(alice.context, nobody.context)

    def test_sessionsOfOneIdentityAreNotResumedAsAnother(self) -> None:
        """Else the server would take us for the former."""
        rule(self.pool, "shop.test", ALICE)
        prepared = self.prepared(trust=(str(self.pool.path / "ca" / "cert.pem"),))
        server = prepared.creatorFor(SHOP).session(THERE).server
        self.assertIsNotNone(server)
        self.assertIs(prepared.creatorFor(SHOP).session(THERE).server, server)
        rule(self.pool, "shop.test", "-")
        self.assertIsNot(prepared.creatorFor(SHOP).session(THERE).server, server)

    def test_aCertificateThatIsReplacedIsTakenUp(self) -> None:
        """Without a reload; that of a pseudonym is replaced by itself."""
        rule(self.pool, "shop.test", ALICE)
        prepared = self.prepared()
        before = prepared.creatorFor(SHOP)
        keep(self.pool, createIdentity(self.pool, ALICE, replace=True), replace=True)
        self.assertIsNot(prepared.creatorFor(SHOP), before)

    def test_aPseudonymIsShown(self) -> None:
        """It does not count as one of our identities, of which all may know."""
        rule(self.pool, "shop.test", "@example.test")
        prepared = self.prepared()
        self.assertIsNotNone(prepared.creatorFor(SHOP)._shows)
        self.assertEqual(list(prepared.certificates), [])

    def test_onlySoMuchIsKept(self) -> None:
        """However many servers an app goes to, and whoever we are there."""
        self.patch(clientcreators, "CONTEXTS_KEPT", 3)
        self.patch(showing, "CREDENTIALS_KEPT", 3)
        rule(self.pool, ".", "@example.test")
        prepared = self.prepared("xmpp", remoteID=None)
        for number in range(8):
            prepared.creatorFor(Identity(None, f"host{number}.test"))
        creators = prepared._creators
        self.assertLessEqual(len(creators._contexts), 3)
        self.assertLessEqual(len(creators._creators), 3)
        assert isinstance(prepared.showing, showing._ByRules)
        self.assertLessEqual(len(prepared.showing._known), 3)

    def test_serversThatAreKnownByTLSARecordsGetToSeeItToo(self) -> None:
        """Each by its rule."""
        rule(self.pool, "shop.test", ALICE)
        resolver = TCPAddress("127.0.0.1", 53)
        prepared = self.prepared("xmpp", remoteID=None, trust=("dane",), daneResolver=resolver)
        records = TLSARecords("_443._tcp.shop.test", (TLSA(3, 1, 1, bytes(32)),))
        alice = prepared.creatorByTLSA(SHOP, records)
        self.assertIsNotNone(alice._shows)
        self.assertIs(prepared.creatorByTLSA(SHOP, records), alice)
        self.assertIsNone(prepared.creatorByTLSA(FORUM, records)._shows)
        self.patch(clientcreators, "CONTEXTS_KEPT", 2)
        rule(self.pool, "shop.test", "@example.test")
        self.assertIsNot(prepared.creatorByTLSA(SHOP, records), alice)
        self.assertEqual(len(prepared._creators._tlsaContexts), 1)

    def test_whereNoRuleCanBeAboutTheServer(self) -> None:
        """It is a mistake to wait for one."""
        pins = (KeyIdentity.of(bytes(32)),)
        several: tuple[dict[str, Any], ...] = (
            {"trust": ("pins",), "remoteID": None, "pins": pins},
            {"negotiatesOnly": True, "dialect": "smtp"},
        )
        for settings in several:
            error = self.assertRaises(ConfigurationError, self.prepared, **settings)
            self.assertIn("`local-id` auto", str(error.args))
        server = Tunnel(
            Mode.SERVER, (), (THERE,), find("none"), localID=ALICE, pool=self.pool, byRules=True
        )
        self.assertRaises(ConfigurationError, Prepared, server)


class ConnectionTests(TunnelTests):
    """Servers that ask who we are."""

    mode = Mode.CLIENT

    def setUp(self) -> None:
        """Nobody was seen."""
        super().setUp()
        self.seen: list[str] = []
        self.hints: list[LogEvent] = []
        globalLogPublisher.addObserver(self.hints.append)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, self.hints.append)  # type: ignore[arg-type]

    def context(self, isClient: bool) -> SSL.Context:
        """Remember who came."""
        context = super().context(isClient)

        def look(_: object, certificate: Any, __: int, depth: int, isGood: int) -> bool:
            if depth == 0:
                names = certificate.to_cryptography().extensions.get_extension_for_class(
                    SubjectAlternativeName
                )
                self.seen.extend(names.value.get_values_for_type(RFC822Name))
            return bool(isGood)

        context.set_verify(SSL.VERIFY_PEER, look)
        return context

    async def go(self, **settings: Any) -> None:
        """One connection."""

        def talk(network: Encrypted, plain: Plain) -> None:
            plain.write(b"hello")
            assert network.read(5) == b"hello"
            network.write(b"world")
            assert plain.read(5) == b"world"

        await self.through(talk, **{"byRules": True, **settings})

    async def test_whomTheRuleShows(self) -> None:
        """That, and in the log the tunnel says that it goes by rules."""
        rule(self.pool, str(SERVER), CLIENT)
        await self.go()
        self.assertEqual(self.seen, [str(CLIENT)])
        (up,) = [each for each in self.hints if each.get("event") == "start"]
        self.assertEqual(up["who"], f"as whom the rules of the pool show ({CLIENT})")

    async def test_aKeyThatIsReadFirstIsExaminedInAThread(self) -> None:
        """Whoever the rules show from now on, others do not wait for it."""
        examined = noteExaminations(self)
        start = self.tunnel

        def startAndChange(*given: Any, **settings: Any) -> TunnelService:
            service = start(*given, **settings)
            withRSA(self.pool, CLIENT)
            rule(self.pool, str(SERVER), CLIENT)
            return service

        self.patch(self, "tunnel", startAndChange)
        await self.go()
        self.assertEqual(self.seen, [str(CLIENT)])
        self.assertEqual(len(examined), 1)
        self.assertNotIn(threading.main_thread(), examined)

    async def test_aPseudonym(self) -> None:
        """Always the same."""
        rule(self.pool, ".", "@example.test")
        await self.go()
        await self.go()
        self.assertEqual(len(self.seen), 2)
        self.assertEqual(len(set(self.seen)), 1)
        self.assertRegex(self.seen[0], r"\A[a-z2-7]{26}@example\.test\Z")

    async def test_nobody(self) -> None:
        """By rule, and without one."""
        rule(self.pool, ".", "-")
        await self.go()
        (self.pool.path / "disclose" / "..txt").unlink()
        await self.go()
        self.assertEqual(self.seen, [])

    async def test_aServerThatIsNotWhoItShouldBeLearnsNothing(self) -> None:
        """It is refused before we show who we are."""
        rule(self.pool, "other.example.org", CLIENT)
        rule(self.pool, str(SERVER), CLIENT)

        def fails(network: Encrypted, plain: Plain) -> None:
            raise AssertionError("it came to an end")

        with self.assertRaises((SSL.Error, ConnectionError)):
            await self.through(fails, byRules=True, remoteID=Identity.parse("other.example.org"))
        self.assertEqual(self.seen, [])

    async def test_aRuleThatIsBrokenMeanwhileRefusesTheConnection(self) -> None:
        """With its place, and what to do; nothing is connected to."""
        rule(self.pool, str(SERVER), CLIENT)
        service = self.tunnel("127.0.0.1:1", byRules=True)
        rule(self.pool, str(SERVER), "non sense")
        host, port = service.addresses[0].rsplit(":", 1)
        app = socket.create_connection((host, int(port)), PATIENCE)
        self.addCleanup(app.close)
        self.assertEqual(await deferToThread(app.recv, 1), b"")
        await wait(lambda: bool(self.ends))
        self.assertEnded("identity")
        self.assertIn(f"{SERVER}.txt, line 1", str(self.ends[0]["detail"]))


class OldConnectionTests(ConnectionTests):
    """The same with TLS 1.2."""

    version = "1.2"
