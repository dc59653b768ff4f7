"""
Tests for L{tlstunnel.identity.verify}; those for odd certificates are in L{tests.tls.test_matrix}.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cryptography import x509
from cryptography.x509.oid import ExtensionOID
from hypothesis import given
from hypothesis import strategies as st
from service_identity import CertificateError
from service_identity.hazmat import DNSPattern
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Recipe, alternative, der, dns, ip, mail, make, srv, uri
from tlstunnel.errors import IdentityRefused
from tlstunnel.identity import presented
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.verify import coversName, namesIn, verifyIdentity

HOST = Identity.parse("srv.example.org")


def _someName(kind: Callable[[str], bytes]) -> st.SearchStrategy[bytes]:
    """Any name of some kind."""
    texts = st.text("ab.@*-_/:", max_size=12)
    return texts.map(lambda text: kind(f"spiffe://{text}" if kind is uri else text))


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

    def test_aCertificateWithThousandsOfNamesIsForNobody(self) -> None:
        """Whoever looks for one among so many keeps everybody else waiting."""
        for count, said in ((1999, None), (2000, "more than 2000 names")):
            names = [dns(f"{number}.example") for number in range(count)]
            certificate = make(Recipe(san=alternative(*names, dns(str(HOST)))), key=KEY).certificate
            if said is None:
                self.assertEqual(verifyIdentity(certificate, HOST), HOST)
            else:
                self.assertIn(said, self.refusal(alternative(*names, dns(str(HOST)))))

    def test_namesBeyondThatAreNotRead(self) -> None:
        """They are counted as bytes: to make objects of them all takes longest."""
        self.patch(presented, "alternativeNames", lambda certificate: self.fail("they were read"))
        many = alternative(*(dns(f"{number}.example") for number in range(10_000)))
        self.assertIn("more than 2000 names", self.refusal(many))

    def test_noExtensionIsReadWhereThereIsTooMuch(self) -> None:
        """
        In the certificate, or in one of an authority: to read one is to read them all.
        """
        self.patch(presented, "alternativeNames", lambda certificate: self.fail("it was read"))
        names = der(0x30, *[uri("a")] * presented.MOST_ELEMENTS)
        much = x509.UnrecognizedExtension(ExtensionOID.ISSUER_ALTERNATIVE_NAME, names)
        proper = Recipe(san=alternative(dns(str(HOST))))
        long = replace(proper, extra=((much, False),))
        for leaf, authority in ((long, proper), (proper, long)):
            shown, above = (make(each, key=KEY).certificate for each in (leaf, authority))
            error = self.assertRaises(
                IdentityRefused, verifyIdentity, shown, HOST, authorities=[above]
            )
            self.assertIn(f"more than {presented.MOST_ELEMENTS} elements", str(error))

    def test_manyNamesAreNotTooMuch(self) -> None:
        """
        As many as may be, with all that else is in a certificate.
        """
        names = [dns(f"{number}.example") for number in range(presented.MOST_NAMES - 1)]
        extra = x509.UnrecognizedExtension(
            ExtensionOID.ISSUER_ALTERNATIVE_NAME, der(0x30, *[uri("a")] * 500)
        )
        recipe = Recipe(san=alternative(*names, dns(str(HOST))), extra=((extra, False),))
        certificate = make(recipe, key=KEY).certificate
        self.assertEqual(verifyIdentity(certificate, HOST), HOST)

    @given(st.from_regex(r"[-0-9_.ax*]{1,9}", fullmatch=True))
    def test_addressesAreNoDomains(self, name: str) -> None:
        """What service-identity takes for an address spoils a certificate; nothing else does."""
        certificate = make(Recipe(san=alternative(dns(name), dns(str(HOST)))), key=KEY).certificate
        try:
            DNSPattern.from_bytes(name.encode())
            isGood = presented._DNS_NAME.fullmatch(name) is not None
        except CertificateError:
            isGood = False
        try:
            found = verifyIdentity(certificate, HOST)
        except IdentityRefused:
            self.assertFalse(isGood)
        else:
            self.assertEqual((found, isGood), (HOST, True))

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
        names = alternative(srv("_XMPP-Server.a.Example.org"))
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


class DeniedTests(SynchronousTestCase):
    """A certificate of which any name is denied is that of nobody."""

    def come(self, denied: str, *names: bytes, allowed: str = "@. .") -> str:
        """Who a client with a certificate of these names is; else why it is refused."""
        certificate = make(Recipe(san=alternative(*names)), key=KEY).certificate
        may, mayNot = (tuple(map(Selector.parse, each.split())) for each in (allowed, denied))
        access = AccessList(may, mayNot, dict.fromkeys(mayNot, "DENY, line 7"))
        try:
            return str(verifyIdentity(certificate, access))
        except IdentityRefused as refused:
            self.assertTrue(refused.detail.isascii() and refused.detail.isprintable())
            return refused.detail

    def assertDenied(self, denied: str, *names: bytes, allowed: str = "@. .") -> None:
        """It is, and the reason says by which entry, and where that stands."""
        said = self.come(denied, *names, allowed=allowed)
        self.assertRegex(said, r'is for ".*", which \S+ in DENY, line 7 denies\Z')

    def test_whoeverIsDenied(self) -> None:
        """By any selector, of any kind."""
        for denied, name, allowed in (
            ("x@example.org", mail("x@Example.org"), "@."),
            ("@example.org", mail("x@example.org"), "x@example.org"),
            ("@.org", mail("x@example.org"), "@example.org"),
            ("a.example.org", dns("A.example.org"), "."),
            (".example.org", dns("a.example.org"), "a.example.org"),
            (".", dns("a.example.org"), "."),
            ("192.0.2.1", ip("192.0.2.1"), "192.0.2.1"),
            ("2001:db8::1", ip("2001:db8::1"), "2001:db8::1"),
            ("spiffe://example.org/a", uri("spiffe://example.org/a"), "spiffe://example.org"),
            ("spiffe://example.org", uri("spiffe://example.org/a"), "spiffe://example.org/a"),
            ("spiffe://a/ns/", uri("spiffe://a/ns/b/c"), "spiffe://a/"),
        ):
            with self.subTest(denied):
                self.assertDenied(denied, name, allowed=allowed)

    def test_byAnotherNameOfTheSameCertificate(self) -> None:
        """Whichever kind that has, and wherever it stands among names that may come."""
        good = dns("good.example"), mail("good@example.net")
        for denied, name in (
            ("x@example.org", mail("x@example.org")),
            ("a.example.org", dns("a.example.org")),
            ("a.example.org", dns("*.example.org")),
            (".example.org", dns("*.Example.org")),
            ("a.example.org", srv("_xmpp-server.a.example.org")),
            ("a.example.org", srv("_imap.a.example.org")),
            ("192.0.2.1", ip("192.0.2.1")),
            ("spiffe://example.org", uri("spiffe://example.org/a")),
            ("spiffe://example.org", uri("spiffe://example.org")),
        ):
            for names in ((name, *good), (*good, name)):
                with self.subTest(denied):
                    self.assertDenied(denied, *names)

    def test_ofSeveralURIsAny(self) -> None:
        """Also where none of them would count, as there are two."""
        self.assertDenied(
            "spiffe://example.org/b",
            *(uri("spiffe://example.org/a"), uri("spiffe://example.org/b"), dns("good.example")),
        )

    def test_nobodyElse(self) -> None:
        """Users, domains and workloads are apart; and so is all that only looks alike."""
        for denied, name, who in (
            ("example.org", mail("x@example.org"), "x@example.org"),
            ("@example.org", dns("example.org"), "example.org"),
            ("example.org @example.org", uri("spiffe://example.org/a"), "spiffe://example.org/a"),
            ("spiffe://example.org", dns("example.org"), "example.org"),
            ("x@example.org", mail("X@example.org"), "X@example.org"),
            ("example.org", dns("a.example.org"), "a.example.org"),
            (".a.example.org", dns("a.example.org"), "a.example.org"),
            ("spiffe://example.org/a/", uri("spiffe://example.org/a"), "spiffe://example.org/a"),
        ):
            with self.subTest(denied):
                allowed = "@. . spiffe://example.org"
                self.assertEqual(self.come(denied, name, allowed=allowed), who)

    def test_aNameThatCannotBeReadCouldBeAnybodys(self) -> None:
        """Where somebody is denied, every name has to be readable; else those of one kind."""
        good = mail("good@example.net")
        for bad in (
            dns("a b"),
            mail("x y"),
            ip(b"\x01\x02"),
            srv("a b"),
            uri("spiffe://EXAMPLE.org/a"),
            uri("SPIFFE://example.org/a"),
        ):
            said = self.come("a.example", good, bad)
            self.assertRegex(said, "has a bad name|is unreadable")
        self.assertEqual(self.come("", good, dns("a b"), allowed="@."), "good@example.net")

    def test_URIsOfOthersAreNobody(self) -> None:
        """They are no identities."""
        names = mail("good@example.net"), uri("urn:a:b"), uri("https://example.org/")
        self.assertEqual(self.come("example.org", *names), "good@example.net")

    def test_whoIsNotOnTheListIsRefusedForThat(self) -> None:
        """Denied or not."""
        self.assertIn("and not for @.", self.come("a.example", dns("a.example"), allowed="@."))

    def test_anEmptyListLetsNobodyIn(self) -> None:
        """Whatever the certificate says."""
        said = self.come("", dns("a.example"), mail("x@a.example"), allowed="")
        self.assertIn("and not for an empty list", said)

    @given(
        st.lists(st.sampled_from((dns, mail, uri, srv)).flatmap(_someName), min_size=1, max_size=4)
    )
    def test_anyNamesOfWhomOneIsDenied(self, names: list[bytes]) -> None:
        """Never is a certificate taken that has the name of somebody who is denied."""
        who = mail("victim@example.org")
        denied = "victim@example.org"
        said = self.come(denied, *names, who)
        self.assertRegex(said, "denies|has a bad name|is unreadable")


class NamesInTests(SynchronousTestCase):
    """What people are shown of a certificate."""

    def test_allKinds(self) -> None:
        """Names of every kind are listed in their order; none where there are none."""
        names = uri("x:y"), dns("a"), mail("b@c"), ip("::1"), der(0x88, b"\x2a\x03")
        certificate = make(Recipe(san=alternative(*names)), key=KEY).certificate
        self.assertEqual(namesIn(certificate)[:4], ["x:y", "a", "b@c", "::1"])
        self.assertEqual(namesIn(make(Recipe(), key=KEY).certificate), [])
