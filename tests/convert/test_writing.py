"""
Tests for L{tlstunnel.convert.writing} and L{tlstunnel.convert.draft}.
"""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.convert.draft import LONGEST_NAME, Conversion, Draft, LeftOut, Value, nameFor
from tlstunnel.convert.writing import write, written

TEXTS = st.text(st.characters(codec="utf-8"))
VALUES: st.SearchStrategy[Value] = st.one_of(
    TEXTS,
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False, min_value=1e-6, max_value=1e9),
    st.lists(TEXTS),
)


class WritingTests(SynchronousTestCase):
    """
    Whatever is written is read again.
    """

    @given(VALUES)
    def test_valuesAreReadAsTheyWere(self, value: Value) -> None:
        """With all characters that TOML wants escaped."""
        found = tomllib.loads(f"key = {written(value)}")["key"]
        if isinstance(value, float):
            self.assertAlmostEqual(found, value, 6 if value < 1e6 else 3)
        else:
            self.assertEqual(found, value)

    @given(TEXTS)
    def test_commentsAreNothingElse(self, text: str) -> None:
        """Whatever is in what was read, no line of it becomes a setting."""
        conversion = Conversion(text, [text], [text], {"workers": 1})
        conversion.tunnels = [
            Draft("a", {"mode": "server"}, [text]),
            LeftOut(text, "t:1", [text], [text]),
        ]
        self.assertEqual(
            tomllib.loads(write(conversion)),
            {"process": {"workers": 1}, "tunnel": {"a": {"mode": "server"}}},
        )

    def test_keysComeInTheOrderOfTheManual(self) -> None:
        """The mode first."""
        draft = Draft("a", {"trust": ["x"], "remote": ["r"], "mode": "client", "local": ["l"]})
        text = write(Conversion("t", tunnels=[draft]))
        self.assertEqual(
            text.partition("[tunnel.a]\n")[2],
            'mode = "client"\nlocal = ["l"]\nremote = ["r"]\ntrust = ["x"]\n',
        )


class NameTests(SynchronousTestCase):
    """
    What tunnels are called.
    """

    def test_aPlainNameStays(self) -> None:
        """It needs no quotation marks."""
        self.assertEqual(nameFor("smtp-out_2", []), "smtp-out_2")

    def test_othersAreMadePlain(self) -> None:
        """Spaces and dots would need them."""
        self.assertEqual(nameFor("my mail.example", []), "my-mail-example")

    def test_noNameIsTaken(self) -> None:
        """What is left of an empty one."""
        self.assertEqual(nameFor("...", []), "tunnel")

    def test_theSameNameTwice(self) -> None:
        """The second gets a number."""
        self.assertEqual(nameFor("a", ["a", "a-2"]), "a-3")

    def test_aLongName(self) -> None:
        """It is cut, so that there is room for a number."""
        self.assertEqual(len(nameFor("a" * 100, [])), LONGEST_NAME)
        self.assertEqual(nameFor("a" * 100, ["a" * LONGEST_NAME])[-3:], "a-2")

    @given(TEXTS, st.lists(TEXTS))
    def test_aNameIsABareKey(self, text: str, taken: list[str]) -> None:
        """It can stand in the head of a table."""
        name = nameFor(text, taken)
        self.assertEqual(tomllib.loads(f"[tunnel.{name}]"), {"tunnel": {name: {}}})
        self.assertLessEqual(len(name), 64)
        self.assertNotIn(name, taken)
