"""
Tests for L{tlstunnel.identity.constraints}; over real chains they are in L{tests.tls.test_matrix}.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import ExtensionOID
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import (
    Recipe,
    alternative,
    authorityRecipe,
    constraints,
    der,
    make,
    root,
    srv,
)
from tlstunnel.errors import IdentityRefused
from tlstunnel.identity.constraints import areConstrained, permitDomain, permitURI
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.verify import verifyIdentity

KEY = root().key


def authority(*extensions: tuple[x509.ExtensionType, bool]) -> x509.Certificate:
    """A certificate authority with more extensions."""
    return make(authorityRecipe("Some", extra=extensions), key=KEY).certificate


def raw(value: bytes) -> x509.Certificate:
    """One whose name constraints are written by hand."""
    return authority((x509.UnrecognizedExtension(ExtensionOID.NAME_CONSTRAINTS, value), True))


class PermitDomainTests(SynchronousTestCase):
    """Which domains an authority lets certificates be for."""

    def permits(self, domain: str, permitted: list[str], excluded: list[str]) -> bool:
        """Whether an authority with these subtrees permits a domain."""
        subtrees = [[x509.DNSName(each) for each in some] or None for some in (permitted, excluded)]
        return permitDomain([authority(*constraints(*subtrees))], domain)

    def test_subtrees(self) -> None:
        """A domain and all below it, or with a dot before it only those below (RFC 5280)."""
        for subtree, domain, within in (
            ("example.org", "example.org", True),
            ("example.org", "a.example.org", True),
            ("example.org", "b.a.example.org", True),
            ("Example.ORG", "a.example.org", True),
            ("example.org", "aexample.org", False),
            ("example.org", "org", False),
            (".example.org", "a.example.org", True),
            (".example.org", "example.org", False),
            ("", "example.org", True),
        ):
            with self.subTest(f"{subtree} {domain}"):
                self.assertEqual(self.permits(domain, [subtree], []), within)
                self.assertEqual(self.permits(domain, [], [subtree]), not within)

    def test_several(self) -> None:
        """One subtree that permits it is enough, and one that excludes it too."""
        self.assertTrue(self.permits("a.b", ["c.d", "a.b"], ["e.f"]))
        self.assertFalse(self.permits("a.b", ["c.d", "a.b"], ["e.f", "a.b"]))

    def test_allAuthorities(self) -> None:
        """Each has to permit it."""
        free = authority()
        good = authority(*constraints([x509.DNSName("a.b")]))
        bad = authority(*constraints([x509.DNSName("c.d")]))
        self.assertTrue(permitDomain([free, good], "a.b"))
        self.assertFalse(permitDomain([good, free, bad], "a.b"))

    def test_otherKinds(self) -> None:
        """Constraints of other kinds of names say nothing of domains, but they are constraints."""
        other = authority(*constraints([x509.RFC822Name("c.d")]))
        self.assertTrue(permitDomain([other], "a.b"))
        self.assertTrue(areConstrained([authority(), other]))
        self.assertFalse(areConstrained([authority()]))

    def test_hostsOfURIs(self) -> None:
        """A host and nothing below it, or with a dot before it only those below (RFC 5280)."""
        for subtree, host, within in (
            ("example.org", "example.org", True),
            ("Example.ORG", "example.org", True),
            ("example.org", "a.example.org", False),
            ("example.org", "aexample.org", False),
            (".example.org", "a.example.org", True),
            (".example.org", "b.a.example.org", True),
            (".example.org", "example.org", False),
            ("", "example.org", True),
        ):
            with self.subTest(f"{subtree} {host}"):
                subtrees = [x509.UniformResourceIdentifier(subtree)]
                self.assertEqual(permitURI([authority(*constraints(subtrees))], host), within)
                excluding = [authority(), authority(*constraints(None, subtrees))]
                self.assertEqual(permitURI(excluding, host), not within)

    def test_aConstraintThatIsNoHostRefuses(self) -> None:
        """OpenSSL takes it for the name of a host that nobody has, and excludes nothing."""
        subtrees = [x509.UniformResourceIdentifier("spiffe://example.org")]
        for odd in authority(*constraints(subtrees)), authority(*constraints(None, subtrees)):
            self.assertRaises(ValueError, permitURI, [odd], "example.org")

    def test_whatCannotBeReadRefuses(self) -> None:
        """Whatever is malformed makes a refusal of a name that depends on it."""
        wild = x509.SubjectAlternativeName([x509.DNSName("*.example.org")])
        leaf = make(authorityRecipe("Leaf", extra=((wild, False),)), key=KEY).certificate
        host = Identity.parse("a.example.org")
        self.assertEqual(verifyIdentity(leaf, host, None, [authority()]), host)
        for value in (
            b"",
            b"\x30",
            der(0x30, der(0xA0, der(0x30, der(0x82, b"exa mple.org")))),
            der(0x30, der(0xA0, der(0x30, der(0x82, b"*.example.org")))),
            der(0x30, der(0xA1, der(0x30, der(0x82, b"\xff")))),
            der(0x30, der(0xA1, der(0x30, der(0x82, b"example.org\0")))),
        ):
            with self.subTest(value.hex()):
                self.assertRaises(
                    IdentityRefused, verifyIdentity, leaf, host, None, [authority(), raw(value)]
                )

    def test_aServiceIsNobodyBelowConstraints(self) -> None:
        """Nor where a selector looks for it."""
        san = alternative(srv("_xmpp-server.a.example.org"))
        leaf = make(Recipe(san=san), key=KEY).certificate
        selector, service = Selector.parse(".example.org"), "xmpp-server"
        self.assertEqual(
            verifyIdentity(leaf, selector, service, [authority()]), Identity(None, "a.example.org")
        )
        bound = authority(*constraints([x509.DNSName("example.net")]))
        for expected in (selector, Identity.parse("a.example.org")):
            self.assertRaises(
                IdentityRefused, verifyIdentity, leaf, expected, service, [authority(), bound]
            )
