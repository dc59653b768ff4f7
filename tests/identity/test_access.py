"""
Tests for L{tlstunnel.identity.access}: lists of who may come in, and of who may not.
"""

from __future__ import annotations

from pathlib import Path
from time import process_time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.identity.test_names import concreteness, identities, selectors
from tests.identity.test_spiffe import workloads, workloadSelectors
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.access import AccessList, readList
from tlstunnel.identity.names import Identity, Selector, selectorsFor


def parsed(*texts: str) -> tuple[Selector, ...]:
    """
    Selectors.
    """
    return tuple(map(Selector.parse, texts))


class AccessListTests(SynchronousTestCase):
    """
    L{AccessList}.
    """

    @given(st.data(), identities | workloads)
    def test_whoeverIsDenied(self, data: st.DataObject, identity: Identity) -> None:
        """
        As if one looked at each.
        """
        near = st.sampled_from(list(selectorsFor(identity)))
        denied = data.draw(st.lists(near | selectors | workloadSelectors, max_size=3))
        found = AccessList((), tuple(denied)).denialOf(identity)
        matching = [each for each in denied if each.matches(identity)]
        self.assertEqual(found is not None, bool(matching))
        if found is not None:
            self.assertEqual(found, max(matching, key=concreteness))

    @given(st.data(), st.lists(identities | workloads, min_size=1, max_size=4))
    def test_theFirstSelectorDecidesWhoItIs(
        self, data: st.DataObject, candidates: list[Identity]
    ) -> None:
        """
        Of several names that of the first selector that matches any.
        """
        near = st.sampled_from([each for one in candidates for each in selectorsFor(one)])
        allowed = data.draw(st.lists(near | selectors | workloadSelectors, max_size=4))
        expected = next(
            (each for selector in allowed for each in candidates if selector.matches(each)), None
        )
        self.assertEqual(AccessList(tuple(allowed)).first(candidates), expected)

    def test_anEmptyOneLetsNobodyIn(self) -> None:
        """
        However many are on it that may not.
        """
        for denied in (), parsed("a.example"):
            self.assertIsNone(AccessList((), denied).first([Identity.parse("b.example")]))
        self.assertEqual(str(AccessList(())), "an empty list")

    def test_wildcardsThatCouldStandForWhoIsDenied(self) -> None:
        """
        They stand for one label, whatever it is.
        """
        for denied, parent, isDenied in (
            ("a.example.org", ".example.org", True),
            ("example.org", ".example.org", False),
            ("b.a.example.org", ".example.org", False),
            (".example.org", ".example.org", True),
            (".a.example.org", ".example.org", False),
            (".org", ".example.org", True),
            (".", ".example.org", True),
            ("@example.org", ".example.org", False),
            ("@.", ".example.org", False),
            ("nas", ".example.org", False),
            ("example.org", ".org", True),
        ):
            with self.subTest(f"{denied} *{parent}"):
                found = AccessList((), parsed(denied)).denialOfWildcard(parent)
                self.assertEqual(found, Selector.parse(denied) if isDenied else None)

    def test_aLongOneIsShownInPart(self) -> None:
        """
        In a line of the log there is little room.
        """
        several = parsed(*(f"h{number}.example" for number in range(10_000)))
        shown = str(AccessList(several, parsed("x.example")))
        self.assertIn("h0.example or h1.example", shown)
        self.assertTrue(shown.endswith("or 9993 others, but not x.example"), shown)

    def test_aLongOneIsNotSearched(self) -> None:
        """
        A hundred thousand entries are as fast as one.
        """
        several = parsed(*(f"@h{number}.example" for number in range(100_000)))
        access = AccessList(several, several[:50_000])
        identity = Identity.parse("john@h99999.example")
        self.assertEqual(access.first([identity]), identity)
        self.assertIsNone(access.denialOf(identity))
        began = process_time()
        for _ in range(1000):
            access.first([identity])
            access.denialOf(identity)
        # From one end to the other it would be an hour.
        self.assertLess(process_time() - began, 5)

    def test_whereADenialStands(self) -> None:
        """
        For whoever has to find it.
        """
        (one, other) = parsed("a.example", "@b.example")
        access = AccessList((), (one, other), {one: "deny, line 3"})
        self.assertEqual(access.placeOf(one), "a.example in deny, line 3")
        self.assertEqual(access.placeOf(other), "@b.example")


class ReadListTests(SynchronousTestCase):
    """
    L{readList}.
    """

    def setUp(self) -> None:
        """
        A place for it.
        """
        self.file = Path(self.mktemp())

    def read(self, content: bytes) -> dict[str, str]:
        """
        What stands in a file with C{content}.
        """
        self.file.write_bytes(content)
        found = readList(self.file)
        return {str(each): place.removeprefix(f"{self.file}, ") for each, place in found.items()}

    def problem(self, content: bytes) -> str:
        """
        What is wrong with it.
        """
        error = self.assertRaises(ConfigurationError, self.read, content)
        self.assertTrue(str(error).isprintable())
        return str(error).replace(str(self.file), "FILE")

    def test_aLineIsASelector(self) -> None:
        """
        Comments, empty lines and white space count for nothing; of equal ones the first counts.
        """
        self.assertEqual(
            self.read(
                b"\xef\xbb\xbf# who may come\n\n  @example.org  \r\n.B\xc3\xbccher.example # ours\n"
                b"x#y@example.org\nspiffe://example.org/ns/\t#below\n@example.org\nlast.example"
            ),
            {
                "@example.org": "line 3",
                ".xn--bcher-kva.example": "line 4",
                "x#y@example.org": "line 5",
                "spiffe://example.org/ns/": "line 6",
                "last.example": "line 8",
            },
        )

    def test_anEmptyOneIsAList(self) -> None:
        """
        Whoever writes none lets nobody in.
        """
        for content in b"", b"\n\n", b"# nobody\n":
            self.assertEqual(self.read(content), {})

    def test_aBrokenLineIsNamed(self) -> None:
        """
        With its number, what is wrong and what to do.
        """
        for line, problem in (
            (b"*.example.org", "is not a selector; write .example.org"),
            (b"a b", "'a b' is"),
            (b"\xff", "is not text in UTF-8"),
            (b"a.example, b.example", "is not a domain"),
        ):
            said = self.problem(b"# first\n" + line + b"\nlast.example\n")
            self.assertIn("FILE, line 2: ", said)
            self.assertIn(problem, said)

    def test_aMissingOneIsAMistake(self) -> None:
        """
        It is not an empty list, nor is a directory.
        """
        self.assertRaises(ConfigurationError, readList, self.file)
        self.file.mkdir()
        self.assertRaises(ConfigurationError, readList, self.file)

    def test_aHugeOneIsAMistake(self) -> None:
        """
        It is not read to its end.
        """
        self.assertIn("too large", self.problem(b"a.example\n" * 200_000))

    @given(st.binary(max_size=60))
    def test_anythingIsReadOrRefused(self, content: bytes) -> None:
        """
        No file makes anything but selectors or a C{ConfigurationError}.
        """
        try:
            found = self.read(content)
        except ConfigurationError as error:
            self.assertTrue(str(error).isprintable())
        else:
            for each in found:
                self.assertEqual(str(Selector.parse(each)), each)
