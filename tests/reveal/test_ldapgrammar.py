"""
Tests for L{tlstunnel.reveal.ldapgrammar} and L{tlstunnel.reveal.ldapmessages}: which requests of
LDAP are taken, and that nobody can read in another way what is written of them.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.reveal.ldaprequests import (
    Careless,
    Tree,
    canonical,
    control,
    filters,
    loose,
    message,
    messages,
    number,
    string,
)
from tlstunnel.errors import Malformed, Oversize, TunnelError
from tlstunnel.protocols.ber import element, measure
from tlstunnel.reveal.ldapcontrols import (
    PROXIED_AUTHORIZATION,
    WHO_AM_I,
    actingFor,
    objection,
    passing,
)
from tlstunnel.reveal.ldapelements import MAX_DEPTH, MAX_ELEMENTS
from tlstunnel.reveal.ldapmessages import Request, isName, readRequest

ALICE = b"u:alice@example.org"

WHO = string(WHO_AM_I, 0x80)
NAME, NUMBER, TRUTH = string(b"x"), number(0), (1, b"\xff")
ENUM = number(0, 10)
PRESENT = string(b"cn", 0x87)
_HEAD = [NAME, ENUM, ENUM, NUMBER, NUMBER, TRUTH]


def search(*behind: Tree) -> Tree:
    """
    A search with that filter and these attributes.
    """
    return 0x63, [*_HEAD, *behind]


def substrings(*parts: Tree) -> Tree:
    """
    A search with such a filter.
    """
    return search((0xA4, [NAME, (0x30, list(parts))]), (0x30, []))


def nested(depth: int) -> Tree:
    """
    A filter.
    """
    tree: Tree = PRESENT
    for _ in range(depth - 1):
        tree = (0xA2, [tree])
    return search(tree, (0x30, []))


#: Operations that are none, or not whole, or have something that they do not have.
BROKEN: dict[str, Tree] = {
    "an element too many in an extended one": (0x77, [WHO, string(b"", 0x85)]),
    "controls in an extended one": (0x77, [WHO, (0xA0, [])]),
    "two values": (0x77, [WHO, string(b"", 0x81), string(b"", 0x81)]),
    "a value before the name": (0x77, [string(b"", 0x81), WHO]),
    "no name": (0x77, []),
    "an element too many in a search": search(PRESENT, (0x30, []), (0xA0, [])),
    "no attributes": search(PRESENT),
    "no filter": search((0x30, [])),
    "a filter of a later version": search((0xAF, []), (0x30, [])),
    "two filters in not": search((0xA2, [PRESENT, PRESENT]), (0x30, [])),
    "none in not": search((0xA2, []), (0x30, [])),
    "an assertion with three parts": search((0xA3, [NAME, NAME, NAME]), (0x30, [])),
    "an assertion with one part": search((0xA3, [NAME]), (0x30, [])),
    "a matching rule without a value": search((0xA9, [string(b"x", 0x81)]), (0x30, [])),
    "one with its parts in another order": search(
        (0xA9, [string(b"x", 0x83), string(b"x", 0x81)]), (0x30, [])
    ),
    "no substrings": substrings(),
    "an empty substring": substrings(string(b"", 0x80), string(b"x", 0x82)),
    "an empty last substring": substrings(string(b"x", 0x80), string(b"", 0x82)),
    "an initial substring behind another": substrings(string(b"x", 0x81), string(b"x", 0x80)),
    "two initial substrings": substrings(string(b"x", 0x80), string(b"x", 0x80)),
    "two final substrings": substrings(string(b"x", 0x82), string(b"x", 0x82)),
    "three final substrings": substrings(*[string(b"x", 0x82)] * 2, (0x82, b"")),
    "a substring behind the final one": substrings(string(b"x", 0x82), string(b"x", 0x81)),
    "a substring of a later version": substrings(string(b"x", 0x83)),
    "a number without bytes": (0x63, [NAME, (10, b""), *_HEAD[2:], PRESENT, (0x30, [])]),
    "a number of five bytes": (0x63, [NAME, (10, bytes(5)), *_HEAD[2:], PRESENT, (0x30, [])]),
    "a truth of two bytes": (0x6C, [NAME, NAME, (1, b"\0\0")]),
    "an element too many in a change": (0x66, [NAME, (0x30, []), NAME]),
    "an element too many inside a change": (
        0x66,
        [NAME, (0x30, [(0x30, [ENUM, (0x30, [NAME, (0x31, [])]), NAME])])],
    ),
    "values in a sequence": (0x68, [NAME, (0x30, [(0x30, [NAME, (0x30, [])])])]),
    "an element too many in a new name": (0x6C, [NAME, NAME, TRUTH, string(b"", 0x81)]),
    "two new superiors": (0x6C, [NAME, NAME, TRUTH, string(b"", 0x80), string(b"", 0x80)]),
    "an element too many in a comparison": (0x6E, [NAME, (0x30, [NAME, NAME]), NAME]),
    "an element too many in an assertion": (0x6E, [NAME, (0x30, [NAME, NAME, NAME])]),
    "a string of pieces": (0x6E, [(0x24, [NAME]), (0x30, [NAME, NAME])]),
    "an unbind with something": (0x42, b"\0"),
    "an abandonment of nothing": (0x50, b""),
    "a response": (0x61, []),
    "an entry": (0x64, [NAME, (0x30, [])]),
    "an intermediate response": (0x79, []),
    "a tag of many bytes": (0x7F, b""),
}

_SEARCH = search(PRESENT, (0x30, []))
_BODY = canonical(_SEARCH)

#: Messages that are none; the content of the SEQUENCE.
BROKEN_MESSAGES: dict[str, bytes] = {
    "nothing": b"",
    "an id alone": b"\x02\x01\x01",
    "no id": _BODY,
    "the id 0": b"\x02\x01\x00" + _BODY,
    "a long id 0": b"\x02\x04\x00\x00\x00\x00" + _BODY,
    "a negative id": b"\x02\x01\xff" + _BODY,
    "an id without bytes": b"\x02\x00" + _BODY,
    "an id of five bytes": b"\x02\x05\x00\x00\x00\x00\x01" + _BODY,
    "an id that is enumerated": b"\x0a\x01\x01" + _BODY,
    "something behind it": b"\x02\x01\x01" + _BODY + b"\x04\x00",
    "a zero behind it": b"\x02\x01\x01" + _BODY + b"\x00",
    "two operations": b"\x02\x01\x01" + _BODY + _BODY,
    "controls twice": b"\x02\x01\x01" + _BODY + 2 * b"\xa0\x00",
    "something behind controls": b"\x02\x01\x01" + _BODY + b"\xa0\x00\x04\x00",
    "controls before the operation": b"\x02\x01\x01\xa0\x00" + _BODY,
    "controls that are longer than the message": b"\x02\x01\x01" + _BODY + b"\xa0\x01",
    "an indefinite length": b"\x02\x01\x01\x77\x80\x80\x00\x00\x00",
    "a length of 127 bytes": b"\x02\x01\x01\x4a\xff" + bytes(127),
    "a giant length": b"\x02\x01\x01\x4a\x84\xff\xff\xff\xff",
    "a length beyond 64 bits": b"\x02\x01\x01\x4a\x89\x01" + bytes(8),
    "half a length": b"\x02\x01\x01\x4a\x82\x01",
}

#: Controls that are none; the content of [0].
BROKEN_CONTROLS: dict[str, Tree] = {
    "no name": (0x30, []),
    "a set": (0x31, [string(b"1.2")]),
    "an empty name": control(b""),
    "a name with a NUL": control(PROXIED_AUTHORIZATION + b"\0x"),
    "a name with a NUL before it": control(b"\0" + PROXIED_AUTHORIZATION),
    "a name with a space": control(b" " + PROXIED_AUTHORIZATION),
    "a name with a line end": control(PROXIED_AUTHORIZATION + b"\n"),
    "a name in words": control(b"proxyAuthz"),
    "two values": (0x30, [string(b"1.2"), string(b"x"), string(b"x")]),
    "two truths": (0x30, [string(b"1.2"), (1, b"\0"), (1, b"\xff")]),
    "a truth behind the value": (0x30, [string(b"1.2"), string(b"x"), (1, b"\xff")]),
    "a truth without bytes": (0x30, [string(b"1.2"), (1, b"")]),
    "a value of pieces": (0x30, [string(b"1.2"), (0x24, [string(b"x")])]),
    "something else": (0x30, [string(b"1.2"), (0x80, b"")]),
}


def inner(tree: Tree) -> bytes:
    """
    The content of a message.
    """
    _, content = tree
    assert isinstance(content, list)
    return b"".join(map(canonical, content))


class GrammarTests(SynchronousTestCase):
    """
    L{readRequest}.
    """

    @given(messages, st.data())
    def test_aRequestIsWrittenInOneForm(self, tree: Tree, data: st.DataObject) -> None:
        """
        However long its lengths are.
        """
        written = loose(tree, lambda: data.draw(st.sampled_from([0, 0, 0, 1, 2, 4, 125])))
        measured = measure(written)
        assert measured is not None
        start, length = measured
        self.assertEqual(start + length, len(written))
        request = readRequest(written[start:])
        self.assertEqual(request.written(request.controls), canonical(tree))

    @given(messages)
    def test_aCarelessReaderFindsOurControlFirst(self, tree: Tree) -> None:
        """
        And those of the client behind it.
        """
        request = readRequest(inner(tree))
        written = request.written((actingFor(ALICE), *passing(request.controls)))
        found = Careless(written).controls()
        self.assertEqual(found[0], (PROXIED_AUTHORIZATION, ALICE))
        names = [each.name for each in request.controls]
        self.assertEqual([name for name, _ in found[1:]], names)

    @given(messages, st.data())
    def test_whatPassesOfABrokenRequestIsReadInOneWay(
        self, tree: Tree, data: st.DataObject
    ) -> None:
        """
        A byte that is another one makes no request that passes without our control.
        """
        content = bytearray(inner(tree))
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(content) - 1))
            content[at] = data.draw(st.integers(0, 255))
        try:
            request = readRequest(bytes(content))
        except TunnelError:
            return
        if objection(request) is not None or request.operation in (0x42, 0x50, 0x60):
            return
        written = request.written((actingFor(ALICE), *passing(request.controls)))
        found = Careless(written).controls()
        self.assertEqual(found[0], (PROXIED_AUTHORIZATION, ALICE))
        self.assertEqual([name for name, _ in found].count(PROXIED_AUTHORIZATION), 1)

    @given(st.binary(max_size=60))
    def test_whateverComesIsReadOrRefused(self, content: bytes) -> None:
        """
        By no other error.
        """
        try:
            readRequest(content)
        except TunnelError as error:
            self.assertIn(error.reason, ("malformed", "oversize"))

    def test_theCarelessReaderIsDeceived(self) -> None:
        """
        Else it would be no measure: it finds no control where a request has been broken so.
        """
        deceived = []
        for name, operation in BROKEN.items():
            written = canonical(message(operation, control(PROXIED_AUTHORIZATION, True, ALICE)))
            try:
                found = Careless(written).controls()
            except ValueError:
                continue
            if (PROXIED_AUTHORIZATION, ALICE) not in found:
                deceived.append(name)
        for name in (
            "an element too many in an extended one",
            "controls in an extended one",
            "an element too many in a search",
            "an empty substring",
            "three final substrings",
            "an element too many in a change",
            "an element too many in a comparison",
        ):
            self.assertIn(name, deceived)

    def test_noOtherElementIsTaken(self) -> None:
        """
        In whatever operation.
        """
        for name, operation in BROKEN.items():
            with self.subTest(name):
                self.assertRaises(Malformed, readRequest, inner(message(operation)))

    def test_noOtherMessageIsTaken(self) -> None:
        """
        Ids, lengths, and what stands behind.
        """
        for name, content in BROKEN_MESSAGES.items():
            with self.subTest(name):
                self.assertRaises(Malformed, readRequest, content)

    def test_noOtherControlIsTaken(self) -> None:
        """
        Above all no name that a reader up to a NUL understands in another way.
        """
        for name, tree in BROKEN_CONTROLS.items():
            with self.subTest(name):
                content = inner(message(_SEARCH, control(b"1.2"), tree))
                self.assertRaises(Malformed, readRequest, content)

    def test_aTruthIsWrittenInOneForm(self) -> None:
        """
        Whatever stands for true.
        """
        content = inner(message((0x6C, [NAME, NAME, (1, b"\x01")]), control(b"1.2", True)))
        request = readRequest(content.replace(b"\x01\x01\xff", b"\x01\x01\x40"))
        self.assertIn(b"\x01\x01\xff", request.body)
        self.assertTrue(request.controls[0].isCritical)

    def test_anEmptyValueIsNotNone(self) -> None:
        """
        An empty authorisation identity is somebody: nobody.
        """
        for value in (None, b""):
            request = readRequest(inner(message(_SEARCH, control(b"1.2", False, value))))
            self.assertEqual(request.controls[0].value, value)
        self.assertTrue(bytes(actingFor(b"")).endswith(b"\x01\x01\xff\x04\x00"))

    def test_filtersAreNestedSoDeep(self) -> None:
        """
        And no deeper.
        """
        readRequest(inner(message(nested(MAX_DEPTH))))
        self.assertRaises(Oversize, readRequest, inner(message(nested(MAX_DEPTH + 1))))

    def test_elementsAreCounted(self) -> None:
        """
        Those of one message.
        """
        for count, isTaken in ((MAX_ELEMENTS - 20, True), (MAX_ELEMENTS, False)):
            content = inner(message(search(PRESENT, (0x30, [NAME] * count))))
            if isTaken:
                readRequest(content)
            else:
                self.assertRaises(Oversize, readRequest, content)

    @given(filters)
    def test_filtersOfAllKindsPass(self, tree: Tree) -> None:
        """
        As they are.
        """
        operation = search(tree, (0x30, []))
        self.assertEqual(readRequest(inner(message(operation))).body, canonical(operation))

    def test_measuring(self) -> None:
        """
        As soon as a length is there, and of nothing but a message.
        """
        for start, expected in (
            (b"", None),
            (b"\x30", None),
            (b"\x30\x05", (2, 5)),
            (b"\x30\x81", None),
            (b"\x30\x81\x05", (3, 5)),
            (b"\x30\x84\x00\x00\x00\x05\x02", (6, 5)),
            (b"\x30\xfe" + bytes(125) + b"\x05", (128, 5)),
        ):
            self.assertEqual(measure(start), expected)
        for start in (b"\x31", b"\x30\x80", b"\x30\xff", b"GET /", b"\x16\x03"):
            self.assertRaises(Malformed, measure, start)

    def test_names(self) -> None:
        """
        Digits and dots.
        """
        self.assertTrue(isName(b"1.2.3"))
        for name in (b"", b"a", b"1.2\0", b"1.2 ", b"1\x002", b"\xb2"):
            self.assertFalse(isName(name))

    def test_writing(self) -> None:
        """
        Without controls there is no element for them.
        """
        body = element(0x42, b"")
        self.assertEqual(Request(b"\x07", 0x42, body).written(()), b"\x30\x05\x02\x01\x07\x42\x00")
