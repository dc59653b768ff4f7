"""
Tests for L{tlstunnel.identity.names}.
"""

from __future__ import annotations

import string
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.identity.names import Identity, Selector, selectorsFor

labels = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=8).filter(
    lambda label: label.strip("-") == label and not label.isdigit() and label[2:4] != "--"
)
domains = st.lists(labels, min_size=1, max_size=5).map(".".join)
users = st.from_regex(r"[a-zA-Z0-9+_-]{1,8}(\.[a-zA-Z0-9]{1,4})?", fullmatch=True)
identities = st.builds(Identity, st.none() | users, domains)
selectors = st.builds(
    Selector,
    st.none() | st.just("") | users,
    domains | domains.map(lambda domain: "." + domain) | st.just("."),
)


def concreteness(selector: Selector) -> tuple[bool, int, bool]:
    """
    How much one says: of two that match an identity, the greater is meant.
    """
    if selector.path is not None:
        return selector.isExact, selector.path.rstrip("/").count("/"), False
    exact = not selector.domain.startswith(".")
    labels = sum(1 for label in selector.domain.split(".") if label)
    return exact, labels, bool(selector.user)


class IdentityTests(SynchronousTestCase):
    """Reading an identity."""

    def test_domainAndUser(self) -> None:
        """Both forms of an identity are read, and an address is one too."""
        for text, user, domain in (
            ("example.org", None, "example.org"),
            ("Example.ORG", None, "example.org"),
            ("example.org.", None, "example.org"),
            ("localhost", None, "localhost"),
            ("_dmarc.example.org", None, "_dmarc.example.org"),
            ("testsrv@tlspool.arpa2.lab", "testsrv", "tlspool.arpa2.lab"),
            ("John.Doe+sales@EXAMPLE.org.", "John.Doe+sales", "example.org"),
            ("b\u00fccher.example", None, "xn--bcher-kva.example"),
            ("B\u00dcCHER\u3002example", None, "xn--bcher-kva.example"),
            ("x@stra\u00dfe.example", "x", "xn--strae-oqa.example"),
            ("XN--BCHER-KVA.example", None, "xn--bcher-kva.example"),
            ("192.0.2.1", None, "192.0.2.1"),
            ("[2001:DB8:0::1]", None, "2001:db8::1"),
            ("2001:db8::1", None, "2001:db8::1"),
        ):
            with self.subTest(text):
                self.assertEqual(Identity.parse(text), Identity(user, domain))

    def test_everythingElseIsRefused(self) -> None:
        """What is neither form is refused, in one line that quotes what was wrong."""
        for text in (
            "",
            ".",
            "..",
            "@",
            "@.",
            ".org",
            "@example.org",
            "x@.org",
            "x@",
            "x@y@example.org",
            "a b",
            " example.org",
            "example.org\n",
            "example..org",
            "example.org..",
            "-a.org",
            "a-.org",
            "*.example.org",
            "*@example.org",
            "a/b@example.org",
            "../etc",
            ".x@example.org",
            "x.@example.org",
            "x..y@example.org",
            "j\u00f6rg@example.org",
            '"x"@example.org',
            "x@192.0.2.1",
            "x@[2001:db8::1]",
            "192.0.2",
            "192.0.2.256",
            "\uff11\uff19\uff12.0.2.1",
            "[example.org]",
            "[192.0.2.1",
            "fe80::1%eth0",
            "example.org:443",
            "example.org\0",
            "a" * 64 + ".org",
            "a." * 127 + "org",
            "\u2665\u2028.org",
            "j\u00f6\x1b.example",
        ):
            with self.subTest(text):
                error = self.assertRaises(ValueError, Identity.parse, text)
                self.assertRegex(str(error), r"\A(['\"]).*\1 (is|has) ")
                self.assertTrue(str(error).isprintable())

    def test_userKeepsItsCase(self) -> None:
        """Users differ by case; only the domain does not."""
        self.assertNotEqual(Identity.parse("John@example.org"), Identity.parse("john@example.org"))

    def test_addressIsAnObject(self) -> None:
        """An identity that is an address says which; a domain has none."""
        self.assertEqual(Identity.parse("[2001:db8::1]").address, ip_address("2001:db8::1"))
        self.assertIsNone(Identity.parse("example.org").address)
        self.assertIsNone(Identity.parse("x@example.org").address)

    @given(identities)
    def test_textIsReadBack(self, identity: Identity) -> None:
        """The text of an identity is that identity."""
        self.assertEqual(Identity.parse(str(identity)), identity)

    @given(st.text(max_size=40))
    def test_anyTextIsReadOrRefused(self, text: str) -> None:
        """No text makes anything but a canonical identity or a C{ValueError}."""
        try:
            identity = Identity.parse(text)
        except ValueError:
            return
        self.assertEqual(Identity.parse(str(identity)), identity)
        self.assertTrue(str(identity).isascii())
        self.assertNotIn("/", str(identity))
        self.assertFalse(str(identity).startswith("."))


class SelectorTests(SynchronousTestCase):
    """What a selector matches."""

    def test_matches(self) -> None:
        """The table of the DoNAI specification, with what it says does not match."""
        for selector, matching, others in (
            ("example.org", "example.org", "a.example.org x@example.org"),
            (".org", "example.org a.b.org", "org x@example.org aorg"),
            (".", "org example.org", "x@org 192.0.2.1"),
            ("x@example.org", "x@example.org", "X@example.org y@example.org example.org"),
            ("@example.org", "x@example.org y@example.org", "example.org x@a.example.org"),
            ("@.org", "x@example.org x@a.b.org", "x@org example.org"),
            ("x@.org", "x@example.org", "y@example.org x@org"),
            ("@.", "x@org x@example.org", "org"),
            ("x@.", "x@org", "y@org org"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("[2001:DB8::1]", "2001:db8::1", "2001:db8::2"),
            ("B\u00fccher.example", "xn--bcher-kva.example", "bcher.example"),
            (".B\u00fccher.example", "a.xn--bcher-kva.example", "xn--bcher-kva.example"),
        ):
            pattern = Selector.parse(selector)
            for text in matching.split():
                with self.subTest(f"{selector} {text}"):
                    self.assertTrue(pattern.matches(Identity.parse(text)))
            for text in others.split():
                with self.subTest(f"{selector} not {text}"):
                    self.assertFalse(pattern.matches(Identity.parse(text)))

    def test_everythingElseIsRefused(self) -> None:
        """What is no selector is refused, with a sentence."""
        for text in ("", "@", "x@", "..", ".org..", "@..", "*@x", "*.org", "a@b@c", "x@192.0.2.1",
                     ".192.0.2.1", "a/b@."):  # fmt: skip
            with self.subTest(text):
                self.assertRaises(ValueError, Selector.parse, text)

    def test_theMostConcreteFirst(self) -> None:
        """The selectors of an identity come in the order of the DoNAI specification."""
        for identity, expected in (
            ("a.example.org", "a.example.org .example.org .org ."),
            ("org", "org ."),
            ("john@example.org", "john@example.org @example.org john@.org @.org john@. @."),
            ("192.0.2.1", "192.0.2.1"),
        ):
            with self.subTest(identity):
                found = map(str, selectorsFor(Identity.parse(identity)))
                self.assertEqual(" ".join(found), expected)

    def test_selectorsOfASelector(self) -> None:
        """A selector has its own, more general ones: those that match whatever it matches."""
        for selector, expected in (
            (".example.org", ".example.org .org ."),
            ("@example.org", "@example.org @.org @."),
            ("x@.org", "x@.org @.org x@. @."),
            (".", "."),
            ("@.", "@."),
        ):
            with self.subTest(selector):
                found = map(str, selectorsFor(Selector.parse(selector)))
                self.assertEqual(" ".join(found), expected)

    @given(selectors)
    def test_textIsReadBack(self, selector: Selector) -> None:
        """The text of a selector is that selector."""
        self.assertEqual(Selector.parse(str(selector)), selector)

    @given(identities)
    def test_allMatchAndAreInOrder(self, identity: Identity) -> None:
        """Each selector of an identity matches it, and each is less concrete than the last."""
        found = list(selectorsFor(identity))
        self.assertTrue(all(selector.matches(identity) for selector in found))
        order = [concreteness(selector) for selector in found]
        self.assertEqual(order, sorted(set(order), reverse=True))

    @given(selectors, identities)
    def test_matchingIsBeingAmongTheSelectors(self, selector: Selector, identity: Identity) -> None:
        """A selector matches exactly those identities whose selectors it is among."""
        self.assertEqual(selector.matches(identity), selector in selectorsFor(identity))

    def test_overlaps(self) -> None:
        """Two selectors overlap where an identity may be matched by both, and nowhere else."""
        for one, other, expected in (
            ("@.", "john@example.org", True),
            ("@.org", "john@.", True),
            ("@.example.org", "@.org", True),
            ("@example.org", "@.org", True),
            ("@example.org", "@.example.org", False),
            ("@.org", "@.net", False),
            ("john@.", "jane@.org", False),
            (".", "@.", False),
            (".", "192.0.2.1", False),
            ("192.0.2.1", "192.0.2.1", True),
            (".org", "xorg", False),
        ):
            with self.subTest(f"{one} {other}"):
                pair = Selector.parse(one), Selector.parse(other)
                self.assertEqual(pair[0].overlaps(pair[1]), expected)
                self.assertEqual(pair[1].overlaps(pair[0]), expected)

    @given(identities)
    def test_whatMatchesTheSameOverlaps(self, identity: Identity) -> None:
        """All selectors of one identity overlap."""
        found = list(selectorsFor(identity))
        self.assertTrue(all(one.overlaps(other) for one in found for other in found))

    @given(st.text(max_size=40))
    def test_anyTextIsReadOrRefused(self, text: str) -> None:
        """No text makes anything but a canonical selector or a C{ValueError}."""
        try:
            selector = Selector.parse(text)
        except ValueError:
            return
        self.assertEqual(Selector.parse(str(selector)), selector)
        self.assertNotIn("/", str(selector))
