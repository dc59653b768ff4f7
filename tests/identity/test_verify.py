"""
Tests for L{tlstunnel.identity.verify}; those for odd certificates are in L{tests.tls.test_matrix}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Recipe, alternative, der, dns, ip, mail, make, srv, uri
from tlstunnel.errors import IdentityRefused
from tlstunnel.identity import presented
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.verify import coversName, namesIn, verifyIdentity

HOST = Identity.parse("srv.example.org")
KEY = make(Recipe()).key


class VerifyIdentityTests(SynchronousTestCase):
    """What is returned, what is said, and that nothing else happens."""

    def refusal(self, san: bytes | None, expected: Identity | Selector = HOST) -> str:
        """The text of the refusal of a certificate."""
        certificate = make(Recipe(san=san), key=KEY).certificate
        return str(self.assertRaises(IdentityRefused, verifyIdentity, certificate, expected))

    def test_returnsWhoIsProved(self) -> None:
        """In its one form, however the certificate writes it."""
        names = dns("other.example"), dns("SRV.example.org"), mail("a@B.example"), ip("::1")
        certificate = make(Recipe(san=alternative(*names)), key=KEY).certificate
        for expected in ("srv.example.org", "a@b.example", "[0::1]"):
            with self.subTest(expected):
                identity = Identity.parse(expected)
                self.assertEqual(verifyIdentity(certificate, identity), identity)
                self.assertEqual(verifyIdentity(certificate, Selector.parse(expected)), identity)

    def test_aWildcardProvesWhomWeExpect(self) -> None:
        """It is nobody itself."""
        certificate = make(Recipe(san=alternative(dns("*.example.org"))), key=KEY).certificate
        self.assertEqual(verifyIdentity(certificate, HOST), HOST)

    def test_saysWhatTheCertificateHasInstead(self) -> None:
        """A refusal names all names of the certificate, and whom we wanted."""
        said = self.refusal(alternative(dns("a.example"), mail("x@b.example"), ip("192.0.2.1")))
        self.assertIn('"a.example, x@b.example, 192.0.2.1"', said)
        self.assertIn("not for srv.example.org", said)

    def test_whatACertificateSaysIsEscapedAndCut(self) -> None:
        """A hostile certificate cannot write what it wants, or as much, into the log."""
        for san in (
            alternative(uri("\x1b[2J\r\nfaked line")),
            alternative(dns("\x1b[2J\r\nfaked line")),
            alternative(*(dns(f"{n}.example") for n in range(10_000))),
            alternative(dns("a" * 100_000)),
            alternative(mail("a" * 100_000)),
            alternative(uri("\x1b" * 100_000)),
        ):
            said = self.refusal(san)
            self.assertTrue(said.isprintable() and said.isascii())
            self.assertLess(len(said), 1000)

    def test_selectorsOfSeveral(self) -> None:
        """A selector takes any name that it matches, of its own form."""
        names = dns("a.example.org"), mail("john@b.example.org"), ip("192.0.2.1")
        certificate = make(Recipe(san=alternative(*names)), key=KEY).certificate
        for selector, name in (
            (".", "a.example.org"),
            (".org", "a.example.org"),
            ("@.", "john@b.example.org"),
            ("@b.example.org", "john@b.example.org"),
            ("john@.example.org", "john@b.example.org"),
            ("192.0.2.1", "192.0.2.1"),
        ):
            with self.subTest(selector):
                found = verifyIdentity(certificate, Selector.parse(selector))
                self.assertEqual(found, Identity.parse(name))
        for selector in ("example.org", ".b.example.org", "@a.example.org", "jane@.", "192.0.2.2"):
            with self.subTest(selector):
                self.assertRaises(
                    IdentityRefused, verifyIdentity, certificate, Selector.parse(selector)
                )

    def test_anyDomainIsNoAddress(self) -> None:
        """The selector of all domains does not take an address, nor a wildcard."""
        for names in ([ip("192.0.2.1")], [dns("*.example.org")], [ip("::1"), mail("a@b")]):
            self.refusal(alternative(*names), Selector.parse("."))

    def test_selectorTakesTheService(self) -> None:
        """A client that shows an SRVName for the dialect's service is that domain."""
        names = alternative(srv("_xmpp-server.a.example.org"))
        certificate = make(Recipe(san=names), key=KEY).certificate
        selector = Selector.parse(".example.org")
        self.assertEqual(
            verifyIdentity(certificate, selector, "xmpp-server"), Identity(None, "a.example.org")
        )
        for service in (None, "xmpp-client"):
            self.assertRaises(IdentityRefused, verifyIdentity, certificate, selector, service)

    def test_everyExceptionIsARefusal(self) -> None:
        """Whatever goes wrong within is a refusal, even what is no C{Exception}."""

        class Panic(BaseException):
            """As those of Rust, which derive from C{BaseException}."""

        certificate = make(Recipe(san=alternative(dns(str(HOST)))), key=KEY).certificate
        for error in (ValueError("x"), RecursionError(), MemoryError(), AssertionError(), Panic()):

            def broken(certificate: object, error: BaseException = error) -> None:
                raise error

            self.patch(presented, "alternativeNames", broken)
            with self.subTest(type(error).__name__):
                self.assertRaises(IdentityRefused, verifyIdentity, certificate, HOST)

    def test_aNonsensicalServiceIsARefusal(self) -> None:
        """What is no service matches nothing, rather than everything."""
        certificate = make(Recipe(san=alternative(srv("_x.srv.example.org"))), key=KEY).certificate
        for service in ("", ".", "_x", "\xe4", "x.y"):
            with self.subTest(service):
                self.assertRaises(IdentityRefused, verifyIdentity, certificate, HOST, service)

    @given(st.binary(max_size=60))
    def test_anyExtensionIsRefusedOrHasTheName(self, san: bytes) -> None:
        """No alternative name makes anything but a verdict."""
        self.refusal(san)

    @given(st.lists(st.tuples(st.integers(0x80, 0x89), st.binary(max_size=12)), max_size=4))
    def test_anyNamesAreRefused(self, names: list[tuple[int, bytes]]) -> None:
        """No names but the right one are accepted, whatever is in them."""
        self.refusal(alternative(*(der(tag, content) for tag, content in names)))

    @given(st.sampled_from([dns, mail, uri, srv]), st.text(max_size=20), st.text(max_size=20))
    def test_nothingAroundTheNameIsTaken(self, kind: object, before: str, after: str) -> None:
        """A name with anything before or behind it is not that name."""
        text = f"{before}{HOST}{after}"
        if (before or after) and callable(kind):
            self.refusal(alternative(kind(text)))


class CoversNameTests(SynchronousTestCase):
    """Which names a client may ask us for."""

    def test_coversItsDomains(self) -> None:
        """Names and wildcards of our certificate are served, whatever their case; no others."""
        names = dns("Example.org"), dns("*.Example.org"), mail("x@user.example"), ip("192.0.2.1")
        certificate = make(Recipe(san=alternative(*names)), key=KEY).certificate
        for asked, expected in (
            ("192.0.2.1", True),
            ("192.0.2.2", False),
            ("example.org", True),
            ("EXAMPLE.org", True),
            ("example.org.", True),
            ("a.example.org", True),
            ("xn--bcher-kva.example.org", True),
            ("a.b.example.org", False),
            ("other.example", False),
            ("user.example", False),
            ("*.b.example.org", False),
            ("org", False),
            ("", False),
            (".", False),
            (".example.org", False),
            ("a\0.example.net", False),
            ("\xff", False),
        ):
            with self.subTest(asked):
                self.assertEqual(coversName(certificate, asked), expected)

    def test_withoutNamesNothingIsCovered(self) -> None:
        """A certificate without alternative names covers no name."""
        self.assertFalse(coversName(make(Recipe(), key=KEY).certificate, "example.org"))


class NamesInTests(SynchronousTestCase):
    """What people are shown of a certificate."""

    def test_allKinds(self) -> None:
        """Names of every kind are listed in their order; none where there are none."""
        names = uri("x:y"), dns("a"), mail("b@c"), ip("::1"), der(0x88, b"\x2a\x03")
        certificate = make(Recipe(san=alternative(*names)), key=KEY).certificate
        self.assertEqual(namesIn(certificate)[:4], ["x:y", "a", "b@c", "::1"])
        self.assertEqual(namesIn(make(Recipe(), key=KEY).certificate), [])
