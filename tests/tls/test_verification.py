"""
Tests for L{tlstunnel.tls.verification} and L{tlstunnel.tls.binding}: what a peer that is refused is
told.  Whose word counts is in L{tests.tls.test_anchors}, odd certificates in
L{tests.tls.test_matrix}.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import (
    OTHER_USE,
    Issued,
    Recipe,
    alternative,
    deep,
    dns,
    intermediate,
    mail,
    make,
    numberedZero,
    root,
)
from tests.tls.peers import HOST, OURS, USER, PeersTestCase, Shaking, Spoiling, anchors, shown
from tlstunnel.errors import IdentityRefused, TLSFailed
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.trust import Trust
from tlstunnel.tls import binding, complaints, stores, verification
from tlstunnel.tls.verification import LONGEST_CHAIN, Verifier, verifyPeer


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
            spoil = Spoiling(creator.isClient)
            failure, _, session = self.meet(creator, issued, SSL.TLS1_2_VERSION, spoil)
            self.assertEqual(spoil.count, 1)
            self.assertIsInstance(failure, TLSFailed)
            self.assertEqual(session.shown, Identity.parse(HOST))
            self.assertIsNone(session.identity)


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
        connection: Any = Shaking(session)
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
