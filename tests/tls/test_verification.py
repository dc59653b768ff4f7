"""
Tests for L{tlstunnel.tls.verification} and L{tlstunnel.tls.binding}: what a peer that is refused is
told, and whose word counts.  Odd certificates are in L{tests.tls.test_matrix}.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import (
    CLIENT,
    OTHER_USE,
    SERVER,
    Issued,
    Recipe,
    alternative,
    authorityRecipe,
    constraints,
    deep,
    dns,
    intermediate,
    mail,
    make,
    numberedZero,
    root,
    srv,
)
from tlstunnel.address import TCPAddress
from tlstunnel.errors import IdentityRefused, TLSFailed, TunnelError
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pool import Credentials, Pool
from tlstunnel.identity.revocation import Revocations
from tlstunnel.identity.trust import Anchors, Trust, eitherTrust
from tlstunnel.protocols.registry import find
from tlstunnel.tls import binding, chain, complaints, stores, verification
from tlstunnel.tls.binding import CLIENTS, SERVERS
from tlstunnel.tls.checkup import handshake
from tlstunnel.tls.context import clientContext, serverContext
from tlstunnel.tls.creators import ClientCreator, Creator
from tlstunnel.tls.failures import handshakeFailure
from tlstunnel.tls.session import Session
from tlstunnel.tls.verification import LONGEST_CHAIN, Proof, Verifier, judgeChain, verifyPeer
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.prepared import Prepared

HOST = "srv.example.org"
USER = "alice@partner.example"
MEMORY = cast(socket.socket, None)

OURS = make(Recipe(san=alternative(dns("ours.example"))), root())


def anchors(*authorities: Issued, source: str = "general") -> Anchors:
    """Anchors of a file."""
    return Anchors(tuple(each.certificate for each in authorities), False, source)


def shown(san: bytes | None, issuer: Issued | None = None, **recipe: Any) -> Issued:
    """A certificate for a peer to show."""
    return make(Recipe(san=san, **recipe), issuer or root())


def peer(method: int, issued: Issued | None, version: int | None = None) -> SSL.Connection:
    """A peer that shows a certificate, and believes everything."""
    context = SSL.Context(method)
    # It may be careless.
    context.set_cipher_list(b"DEFAULT:@SECLEVEL=0")
    if version is not None:
        context.set_max_proto_version(version)
    if issued is not None:
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
        context.use_certificate(issued.certificate)
        context.use_privatekey(issued.key)
        for certificate in issued.chain[1:]:
            context.add_extra_chain_cert(certificate)
    return SSL.Connection(context, MEMORY)


class PeersTestCase(SynchronousTestCase):
    """We meet peers in memory, in both modes."""

    revocations: Revocations | None = None

    def client(self, expected: str = HOST, trust: Trust | None = None) -> Creator:
        """Ours that play the client."""
        trust = trust or Trust(anchors(root()))
        verifier = Verifier(
            Identity.parse(expected), trust, purpose=SERVERS, revocations=self.revocations
        )
        return ClientCreator(clientContext(trust), verifier)

    def server(
        self, expected: str = HOST, trust: Trust | None = None, service: str | None = None
    ) -> Creator:
        """Ours that play the server, and want a certificate."""
        trust = trust or Trust(anchors(root()))
        credentials = Credentials(Identity.parse("ours.example"), OURS.chain, OURS.key)
        selector = Selector.parse(expected)
        verifier = Verifier(selector, trust, service, CLIENTS, revocations=self.revocations)
        return Creator(serverContext(credentials, trust), verifier)

    def loseBinding(self) -> None:
        """From now on pyOpenSSL's binding is not what we know it to be."""
        for module in (binding, chain):
            self.patch(module, "_lib", None)
        for known in ("_TELLS_GROUP", "_HAS_MODES", "TELLS_ASKED"):
            self.patch(binding, known, False)

    def meet(
        self,
        creator: Creator,
        issued: Issued | None,
        version: int | None = None,
        between: Callable[[SSL.Connection, SSL.Connection], Any] = handshake,
    ) -> tuple[TunnelError | None, str, Session]:
        """
        Let a connection of ours meet a peer that shows a certificate.

        @return: why ours failed, if it did; what the peer was told; what is known.
        """
        session = creator.session()
        ours = creator.connection(MEMORY, session)
        if creator.isClient:
            theirs = peer(SSL.TLS_SERVER_METHOD, issued, version)
            theirs.set_accept_state()
            told, error = between(theirs, ours)
        else:
            theirs = peer(SSL.TLS_CLIENT_METHOD, issued, version)
            theirs.set_connect_state()
            error, told = between(ours, theirs)
        if told is None:
            # In TLS 1.3 a client hears only now what the server thinks of it.
            try:
                theirs.recv(1)
            except SSL.WantReadError:
                pass
            except SSL.Error as late:
                told = late
        failure = session.completed(ours) if error is None else handshakeFailure(error, session)
        return failure, str(told or ""), session


class AlertsTests(PeersTestCase):
    """Which alert (RFC 8446, section 6.2) a peer gets that is refused."""

    def assertTold(self, alert: str, issued: Issued | None, expected: str = HOST) -> None:
        """Peers in both roles get an alert, in both versions."""
        for creator in (self.client(expected), self.server(expected)):
            for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
                with self.subTest(f"{type(creator).__name__} {version:x}"):
                    failure, told, session = self.meet(creator, issued, version)
                    self.assertIsInstance(failure, IdentityRefused)
                    self.assertIn(f"alert {alert}", told)
                    self.assertIsNone(session.identity)

    def test_anotherName(self) -> None:
        """Its certificate is bad here, but nothing is wrong with us."""
        self.assertTold("bad certificate", shown(alternative(dns("other.example"))))

    def test_aNameThatCannotBeRead(self) -> None:
        """The same for what is malformed."""
        self.assertTold("bad certificate", shown(alternative(dns("a\0b"))))

    def test_anUnknownCA(self) -> None:
        """Nobody vouches for it."""
        self.assertTold("unknown ca", shown(alternative(dns(HOST)), root("Unknown")))

    def test_dates(self) -> None:
        """It was good once."""
        end = timedelta(minutes=-1)
        self.assertTold("certificate expired", shown(alternative(dns(HOST)), end=end))

    def test_anotherPurpose(self) -> None:
        """It is for something else than TLS."""
        purposes = (OTHER_USE,)
        self.assertTold("unsupported certificate", shown(alternative(dns(HOST)), purposes=purposes))

    def test_aChainThatIsTooLongIsRefused(self) -> None:
        """OpenSSL would verify a hundred signatures, and everybody else would wait."""
        name = Recipe(san=alternative(dns(HOST)))
        for creator in self.client(), self.server():
            failure, *_ = self.meet(creator, deep(name, LONGEST_CHAIN))
            self.assertIsNone(failure)
        self.assertTold("unknown ca", deep(name, LONGEST_CHAIN + 1))

    def test_noCertificate(self) -> None:
        """A client without one is told that it needs one; TLS 1.2 has no word for that."""
        for version, alert in (
            (SSL.TLS1_3_VERSION, "certificate required"),
            (SSL.TLS1_2_VERSION, "handshake failure"),
        ):
            failure, told, _ = self.meet(self.server(), None, version)
            self.assertIsInstance(failure, TLSFailed)
            self.assertIn(f"alert {alert}", told)

    def test_anchorsThatDoNotDecide(self) -> None:
        """Whoever vouches for it has no say about it."""
        trust = Trust(anchors(root()), {Selector.parse("@partner.example"): anchors(root("Two"))})
        failure, told, _ = self.meet(self.server("@.", trust), shown(alternative(mail(USER))))
        self.assertIsInstance(failure, IdentityRefused)
        self.assertIn("alert unknown ca", told)

    def test_withoutTheBinding(self) -> None:
        """Where pyOpenSSL's binding is not what it was, it is refused all the same."""
        good, bad = shown(alternative(dns(HOST))), shown(alternative(dns("other.example")))
        self.loseBinding()
        for creator in (self.client(), self.server()):
            self.assertIsNone(self.meet(creator, good)[0])
            failure, told, _ = self.meet(creator, bad)
            self.assertIsInstance(failure, IdentityRefused)
            self.assertIn("alert internal error", told)


class NegotiatedTests(PeersTestCase):
    """What was agreed on, by the binding and without it."""

    def test_bothWaysSayTheSame(self) -> None:
        """In each version, and once more where it is remembered."""
        issued = shown(alternative(dns(HOST)))
        expected = []
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            for _ in range(2):
                session = self.meet(self.client(), issued, version)[2]
                expected.append((session.version, session.suite, session.group))
        self.assertEqual([each[0] for each in expected], ["TLSv1.2"] * 2 + ["TLSv1.3"] * 2)
        self.assertTrue(all(all(each) for each in expected))
        self.loseBinding()
        for version, found in zip(
            (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION), expected[::2], strict=True
        ):
            session = self.meet(self.client(), issued, version)[2]
            self.assertEqual((session.version, session.suite, session.group), found)
        self.assertEqual(expected[::2], expected[1::2])


class WordsTests(PeersTestCase):
    """What the log says."""

    def test_whomNobodyKnows(self) -> None:
        """The issuer that is missing is named, and where it was looked for."""
        failure, _, _ = self.meet(self.client(), shown(alternative(dns(HOST)), root("Unknown")))
        self.assertIn('"CN=Unknown" is not among the anchors of general', str(failure))

    def test_anIssuerWithThousandsOfPartsIsNotShown(self) -> None:
        """
        Anybody can show one: to read it would hold up everybody else.
        """
        code = SSL.X509VerificationCodes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT
        for count, isShown in ((50, True), (5000, False)):
            subject = tuple((NameOID.COMMON_NAME, "a") for _ in range(count))
            shown = crypto.X509.from_cryptography(make(Recipe(subject=subject)).certificate)
            said = complaints._reason(code, shown, "x")
            self.assertEqual("CN=a,CN=a" in said, isShown)
            self.assertIn("self-signed", said)

    def test_everyErrorHasWords(self) -> None:
        """No number of OpenSSL stands for itself, with and without its own words."""
        certificate = crypto.X509.from_cryptography(OURS.certificate)
        for code in range(1, 110):
            said = complaints._reason(code, certificate, "x")
            self.assertRegex(said, "[a-z]{3}")
            self.assertNotIn(str(code), said.replace("SHA-1", "").replace("RFC 3779", ""))
        self.patch(binding, "_lib", None)
        self.assertEqual(complaints._reason(9999, certificate, "x"), "the chain cannot be verified")


class ProofTests(PeersTestCase):
    """Showing a certificate proves nothing yet."""

    def test_aCertificateWithoutItsKey(self) -> None:
        """
        Whoever shows somebody's certificate and signs with another key is nobody: the signature
        that TLS 1.2 sends in clear (RFC 5246, sections 7.4.3 and 7.4.8) is spoilt on its way.
        """
        issued = shown(alternative(dns(HOST)))
        for creator in (self.client(), self.server()):
            spoil = _Spoiling(creator.isClient)
            failure, _, session = self.meet(creator, issued, SSL.TLS1_2_VERSION, spoil)
            self.assertEqual(spoil.count, 1)
            self.assertIsInstance(failure, TLSFailed)
            self.assertEqual(session.shown, Identity.parse(HOST))
            self.assertIsNone(session.identity)


class _Spoiling:
    """A handshake in which the signature of one side arrives with one bit changed."""

    def __init__(self, ofServer: bool) -> None:
        self.ofServer = ofServer
        self.count = 0

    def __call__(self, server: SSL.Connection, client: SSL.Connection) -> list[SSL.Error | None]:
        """Go as far as it goes, and return the errors of both."""
        errors: list[SSL.Error | None] = [None, None]
        for _ in range(6):
            for end, far in ((client, server), (server, client)):
                try:
                    if errors[end is client] is None:
                        end.do_handshake()
                except SSL.WantReadError:
                    pass
                except SSL.Error as error:
                    errors[end is client] = error
                with contextlib.suppress(SSL.WantReadError):
                    data = bytearray(end.bio_read(1 << 16))
                    at = _signature(bytes(data))
                    if at and (end is server) is self.ofServer:
                        data[at] ^= 1
                        self.count += 1
                    far.bio_write(bytes(data))
        return errors


def _signature(flight: bytes) -> int:
    """Where the last byte is of a signature among the messages of TLS 1.2 in clear, if there is."""
    at = 0
    while at < len(flight) and flight[at] == 22:
        end = at + 5 + int.from_bytes(flight[at + 3 : at + 5])
        message = at + 5
        while message < end:
            size = int.from_bytes(flight[message + 1 : message + 4])
            if flight[message] in {12, 15}:  # server_key_exchange, certificate_verify
                return message + 3 + size
            message += 4 + size
        at = end
    return 0


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


class _Shaking:
    """Stands for a connection in its handshake."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def get_app_data(self) -> Session:
        """Its session."""
        return self.session


class VerifierTests(PeersTestCase):
    """The judgement itself."""

    def test_eachChainIsJudgedOnce(self) -> None:
        """Parsing takes time, so that the same chain is not parsed again; the bound holds."""
        judged = []

        def counting(*arguments: Any) -> Identity:
            judged.append(arguments)
            return Identity.parse(HOST)

        self.patch(verification, "verifyIdentity", counting)
        self.patch(verification, "CHAINS_KEPT", 2)
        creator = self.client()
        certificates = [shown(alternative(dns(HOST))) for _ in range(3)]
        for number, expected in ((0, 1), (0, 1), (1, 2), (0, 2), (2, 3), (0, 4)):
            self.meet(creator, certificates[number])
            self.assertEqual(len(judged), expected)

    def test_theSameLeafBelowAnotherCA(self) -> None:
        """What was found for one chain says nothing of another, even with the same leaf."""
        judged = []

        def counting(leaf: x509.Certificate, *rest: Any) -> Identity:
            judged.append(leaf)
            return Identity.parse(HOST)

        self.patch(verification, "verifyIdentity", counting)
        verifier = Verifier(Identity.parse(HOST), Trust(anchors(root())))
        leaf, one, two = (
            crypto.X509.from_cryptography(each.certificate)
            for each in (OURS, root(), root("Another"))
        )
        for found in ([leaf, one], [leaf, two], [leaf], [leaf, one]):
            verifier.verify(found)
        self.assertEqual(len(judged), 3)

    def test_whateverGoesWrongIsARefusal(self) -> None:
        """No exception leaves the callback, and none is taken for a yes."""
        session = self.client().session()
        connection: Any = _Shaking(session)
        leaf = crypto.X509.from_cryptography(shown(alternative(dns(HOST))).certificate)
        # The certificate at depth 1 was never seen.
        self.assertTrue(verifyPeer(connection, leaf, 0, 2, 1))
        self.assertFalse(verifyPeer(connection, leaf, 0, 0, 1))
        self.assertIn("could not be judged", str(session.refusal))
        session = self.client().session()
        connection.session = session
        self.assertTrue(verifyPeer(connection, leaf, 0, 0, 1))
        # There is one verdict on each connection.
        self.assertFalse(verifyPeer(connection, leaf, 0, 0, 1))
        self.assertIn("could not be judged", str(session.refusal))

    def test_aRootWithoutANumber(self) -> None:
        """What peers show makes no warnings of libraries, and is believed as before."""
        odd = numberedZero(root("Odd"))
        issued = shown(alternative(dns("*.example.org")), odd)
        creator = self.client(trust=Trust(anchors(odd)))
        self.flushWarnings()
        self.assertIsNone(self.meet(creator, issued)[0])
        self.assertEqual(self.flushWarnings(), [])

    def test_anAnchorThatOpenSSLRefuses(self) -> None:
        """It does no harm to the others, and has a line in the log."""
        real = crypto.X509.from_cryptography

        def picky(certificate: x509.Certificate) -> crypto.X509:
            if certificate == root("Odd").certificate:
                raise crypto.Error([("asn1", "", "odd")])
            return real(certificate)

        self.patch(crypto.X509, "from_cryptography", picky)
        logged: list[dict[str, Any]] = []
        self.patch(stores._log, "observer", logged.append)
        creator = self.client(trust=Trust(anchors(root("Odd"), root())))
        self.assertIsNone(self.meet(creator, shown(alternative(dns(HOST))))[0])
        self.assertEqual([event["name"] for event in logged], ['"CN=Odd"'])


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
        connection: Any = _Shaking(session)
        accepted = [
            crypto.X509.from_cryptography(each.certificate)
            for each in (shown(alternative(dns(HOST))), root())
        ]
        self.assertTrue(judgeChain(connection, accepted))
        self.assertFalse(judgeChain(connection, accepted))
        self.assertIn("could not be judged", str(session.refusal))


class BindingTests(SynchronousTestCase):
    """What is asked of OpenSSL directly, and what is done where that is not possible."""

    def test_fingerprints(self) -> None:
        """No two certificates have the same, with and without the binding."""
        certificates = [
            crypto.X509.from_cryptography(each.certificate)
            for each in (OURS, root(), intermediate())
        ]
        for lib in (binding._lib, None):
            self.patch(binding, "_lib", lib)
            prints = [binding.fingerprint(each) for each in certificates]
            self.assertEqual(len(set(prints)), 3)
            again = crypto.X509.from_cryptography(OURS.certificate)
            self.assertEqual(binding.fingerprint(again), prints[0])
        self.assertIn(OURS.certificate.public_bytes(Encoding.DER), prints)

    def test_alertsWithoutTheBinding(self) -> None:
        """None is known then, so that OpenSSL's own words stand."""
        binding.alertReasons.cache_clear()
        self.addCleanup(binding.alertReasons.cache_clear)
        self.patch(binding, "_lib", None)
        self.assertEqual(binding.alertReasons(), {})
