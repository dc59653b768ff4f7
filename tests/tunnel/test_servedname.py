"""
Tests for L{tlstunnel.tunnel.servedname}, and for how L{tlstunnel.tls.faces} finds a name.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.tls.faces import Face, Faces
from tlstunnel.tunnel.servedname import normalName


class DescriptionTests(SynchronousTestCase):
    """
    L{ServedName}, and how names are written.
    """

    def test_aNameHasOneForm(self) -> None:
        """
        Tunnels are compared by it.
        """
        for text, name in (
            ("WWW.Example.org.", "www.example.org"),
            ("*.Example.org", "*.example.org"),
            ("bücher.example", "xn--bcher-kva.example"),
        ):
            self.assertEqual(normalName(text), name)

    def test_whatIsNoNameIsRefused(self) -> None:
        """
        An asterisk stands for a whole label, and for the first one only.
        """
        for text in ("", "*", "*.", "w*.example.org", "a.*.example.org", "192.0.2.1", "a b", "u@x"):
            self.assertRaises(ValueError, normalName, text)

    @given(st.text(max_size=12) | st.from_regex(r"[a*.\-A]{1,8}", fullmatch=True))
    def test_whateverIsTakenIsTakenAgain(self, text: str) -> None:
        """
        And nothing but C{ValueError} is raised.
        """
        try:
            name = normalName(text)
        except ValueError:
            return
        self.assertEqual(normalName(name), name)


_LABELS = st.sampled_from(("a", "b", "c"))
_DOMAINS = st.lists(_LABELS, min_size=1, max_size=3).map(".".join)
_TABLE = st.dictionaries(_DOMAINS | _DOMAINS.map("*.{}".format), st.integers(0, 9), max_size=6)


class FindTests(SynchronousTestCase):
    """
    L{Faces.find}.
    """

    def test_aWildcardStandsForALabel(self) -> None:
        """
        And not for nothing.
        """
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        faces = Faces(Face(context), {"*.example.org": Face(context)}, {})
        self.assertTrue(faces.covers("a.example.org"))
        self.assertFalse(faces.covers(".example.org"))

    @given(_TABLE, _TABLE, _DOMAINS)
    def test_itFindsWhatItShould(
        self, given: dict[str, int], certified: dict[str, int], domain: str
    ) -> None:
        """
        As somebody would who goes through both tables again and again.
        """
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        tables = [
            {name: Face(context, name=f"{number} {place}") for name, number in table.items()}
            for place, table in enumerate((given, certified))
        ]
        faces = Faces(Face(context), tables[0], tables[1])
        expected = None
        for table in tables:
            for name in table:
                if expected is None and name == domain:
                    expected = table[name]
            for name in table:
                _, dot, parent = domain.partition(".")
                isWild = bool(dot) and name == f"*.{parent}"
                if expected is None and isWild:
                    expected = table[name]
        self.assertIs(faces.find(domain), expected)
