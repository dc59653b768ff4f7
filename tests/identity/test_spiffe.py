"""
Tests for L{tlstunnel.identity.spiffe}, and for the workloads of L{tlstunnel.identity.names}.
"""

from __future__ import annotations

import string

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.identity.test_names import concreteness
from tlstunnel.identity.names import Identity, KeyIdentity, Kind, Selector, selectorsFor

_names = st.text(string.ascii_lowercase + string.digits + "-_", min_size=1, max_size=6)
domains = st.lists(_names, min_size=1, max_size=3).map(".".join)
segments = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=6).filter(
    lambda each: each not in {".", ".."}
)
paths = st.lists(segments, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
workloads = st.builds(Identity, st.none(), domains, paths)
workloadSelectors = st.builds(
    Selector, st.none(), domains, paths | paths.map(lambda path: f"{path}/") | st.just("/")
)
#: Text that is nearly one.
nearly = st.text("spife:/@?#%.-_AZ09ü\0 ", max_size=30).map(lambda text: f"spiffe://{text}")

REFUSED = (
    "spiffe:///a",
    "spiffe://",
    "spiffe://Example.org/a",
    "SPIFFE://example.org/a",
    "https://example.org/a",
    "spiffe://example.org//a",
    "spiffe://example.org/a//b",
    "spiffe://example.org/./a",
    "spiffe://example.org/a/..",
    "spiffe://example.org/a?b",
    "spiffe://example.org/a#b",
    "spiffe://example.org/a%20b",
    "spiffe://example.org:8081/a",
    "spiffe://user@example.org/a",
    "spiffe://[::1]/a",
    "spiffe://.example.org/a",
    "spiffe://example..org/a",
    "spiffe://example.org./a",
    "spiffe://b\u00fccher.example/a",
    "spiffe://example.org/\u00fc",
    "spiffe://example.org/a b",
    "spiffe://example.org/a\n",
    "spiffe://example.org/" + "a" * 2048,
    "spiffe://" + "a" * 256 + "/a",
)


class WorkloadTests(SynchronousTestCase):
    """
    Identities that are SPIFFE IDs.
    """

    def test_anIDIsReadAsItIs(self) -> None:
        """
        The case of a path counts.
        """
        for text in (
            "spiffe://example.org/ns/prod/sa/Api",
            "spiffe://a/b",
            "spiffe://127.0.0.1/x",
            "spiffe://my_domain-1/9eebccd2-12bf-40a6-b262-65fe0487d453",
            "spiffe://example.org/.../a",
        ):
            identity = Identity.parse(text)
            self.assertEqual(str(identity), text)
            self.assertEqual((identity.kind, identity.address), (Kind.WORKLOAD, None))

    def test_everythingElseIsRefused(self) -> None:
        """
        By SPIFFE's own rules, as an identity and as a selector, in one line.
        """
        for text in REFUSED:
            for parse in Identity.parse, Selector.parse:
                with self.subTest(f"{parse} {text}"):
                    error = self.assertRaises(ValueError, parse, text)
                    self.assertTrue(str(error).isprintable())
                    self.assertLess(len(str(error)), 400)

    def test_oneThatMayStandForSeveralIsNoIdentity(self) -> None:
        """
        A trust domain, and what has a slash at its end.
        """
        for text in ("spiffe://example.org", "spiffe://example.org/", "spiffe://example.org/a/"):
            error = self.assertRaises(ValueError, Identity.parse, text)
            self.assertIn("may stand for several", str(error))

    def test_matches(self) -> None:
        """
        Whole segments from the beginning on, and only in the same trust domain.
        """
        for selector, matching, others in (
            ("spiffe://a.b", "spiffe://a.b/x spiffe://a.b/x/y", "spiffe://b/x spiffe://x.a.b/x"),
            ("spiffe://a.b/", "spiffe://a.b/x", "a.b x@a.b spiffe://a.bc/x"),
            ("spiffe://a/ns/", "spiffe://a/ns/x spiffe://a/ns/x/y", "spiffe://a/ns spiffe://a/nsx"),
            ("spiffe://a/ns", "spiffe://a/ns", "spiffe://a/ns/x spiffe://a/NS"),
            (".", "a.b", "spiffe://a.b/x"),
            ("a.b", "a.b", "spiffe://a.b/x"),
        ):
            pattern = Selector.parse(selector)
            for text in matching.split():
                self.assertTrue(pattern.matches(Identity.parse(text)), (selector, text))
            for text in others.split():
                self.assertFalse(pattern.matches(Identity.parse(text)), (selector, text))

    def test_aPatternOfOthersIsAnsweredWithOurs(self) -> None:
        """
        As ghostunnel has them.
        """
        error = self.assertRaises(ValueError, Selector.parse, "spiffe://example.org/ns/*")
        self.assertIn("write spiffe://example.org/ns/ for all", str(error))

    def test_aKeyIsNobodyElse(self) -> None:
        """
        No selector matches it, however broad.
        """
        key = KeyIdentity.of(b"k" * 32)
        for text in (".", "@.", "spiffe://a"):
            self.assertFalse(Selector.parse(text).matches(key))
        self.assertEqual(list(selectorsFor(key)), [])
        self.assertNotEqual(key, KeyIdentity.of(b"l" * 32))
        self.assertEqual(str(key), "sha256//a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=")

    @given(workloads)
    def test_textIsReadBack(self, identity: Identity) -> None:
        """
        The text of an ID is that ID.
        """
        self.assertEqual(Identity.parse(str(identity)), identity)

    @given(workloads)
    def test_namesOfFilesAreReadBack(self, identity: Identity) -> None:
        """
        The name of a file is that of one identity, and leads nowhere else.
        """
        self.assertNotIn("/", identity.fileName)
        self.assertEqual(Identity.ofFileName(identity.fileName), identity)

    @given(st.text("spife:,./@a", max_size=30) | nearly)
    def test_anyNameOfAFileIsReadOrRefused(self, name: str) -> None:
        """
        No two names are those of one identity.
        """
        try:
            identity = Identity.ofFileName(name)
        except ValueError:
            return
        self.assertEqual(identity.fileName, name)

    @given(workloadSelectors)
    def test_selectorsAreReadBack(self, selector: Selector) -> None:
        """
        The text of a selector is that selector.
        """
        self.assertEqual(Selector.parse(str(selector)), selector)

    @given(workloadSelectors, workloads)
    @example(Selector(None, "a", "/"), Identity(None, "a", "/b"))
    def test_matchingIsBeingAmongTheSelectors(self, selector: Selector, identity: Identity) -> None:
        """
        A selector matches exactly those identities whose selectors it is among.
        """
        found = list(selectorsFor(identity))
        self.assertEqual(selector.matches(identity), selector in found)
        order = [concreteness(each) for each in found]
        self.assertEqual(order, sorted(set(order), reverse=True))

    @given(workloadSelectors, workloadSelectors)
    def test_oneIsAboveWhatItMatchesAllOf(self, one: Selector, other: Selector) -> None:
        """
        Then both overlap, and in no other case.
        """
        isAbove = one in selectorsFor(other) or other in selectorsFor(one)
        self.assertEqual(one.overlaps(other), isAbove)

    @given(nearly | st.text(max_size=20).map(lambda text: f"x://{text}"))
    def test_anyTextIsReadOrRefused(self, text: str) -> None:
        """
        No text makes anything but a canonical identity or a C{ValueError}.
        """
        for kind in Identity, Selector:
            try:
                found = kind.parse(text)
            except ValueError:
                continue
            self.assertEqual(kind.parse(str(found)), found)
            self.assertTrue(str(found).isascii())
            self.assertNotIn("..", str(found).split("/"))
