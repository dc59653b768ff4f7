"""
Requests of LDAP for tests, of all kinds and in all forms of BER; and a reader that is as careless
as servers are.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from tlstunnel.identity.names import Identity
from tlstunnel.protocols.ber import element, elements
from tlstunnel.protocols.ldap import BIND_REQUEST, readResult
from tlstunnel.protocols.ldap import message as answered
from tlstunnel.reveal.ldapcontrols import HARMLESS, PROXIED_AUTHORIZATION, WHO_AM_I
from tlstunnel.reveal.ldaplogin import ANONYMOUS

#: An element in any form: its tag, and its content or what it consists of.
Tree = tuple[int, "bytes | list[Tree]"]

CONTROLS = 0xA0


def string(text: bytes, tag: int = 4) -> Tree:
    """
    A string.
    """
    return tag, text


def number(value: int, tag: int = 2) -> Tree:
    """
    A small number.
    """
    return tag, bytes((value,))


def canonical(tree: Tree) -> bytes:
    """
    An element with the shortest lengths.
    """
    tag, content = tree
    if isinstance(content, list):
        content = b"".join(map(canonical, content))
    return element(tag, content)


def loose(tree: Tree, size: Callable[[], int]) -> bytes:
    """
    The same with other lengths.

    @param size: how many bytes more than needed the next length has.
    """
    tag, content = tree
    if isinstance(content, list):
        content = b"".join([loose(each, size) for each in content])
    more = size()
    if not more:
        return element(tag, content)
    length = len(content)
    count = min(126, (length.bit_length() + 7) // 8 + more)
    return bytes((tag, 0x80 | count)) + length.to_bytes(count, "big") + content


def message(operation: Tree, *controls: Tree, messageID: int = 7) -> Tree:
    """
    A whole message.
    """
    behind: list[Tree] = [(CONTROLS, list(controls))] if controls else []
    return 0x30, [number(messageID), operation, *behind]


def control(name: bytes, isCritical: bool = False, value: bytes | None = None) -> Tree:
    """
    A control.
    """
    truth: list[Tree] = [(1, b"\xff")] if isCritical else []
    return 0x30, [string(name), *truth, *([] if value is None else [string(value)])]


#: What means something to a server, or is like what a message consists of.
_WORDS = [
    *(b"cn", b"uid", b"objectClass", b"entryUUID", b"telephoneNumber", b"cn;lang-en", b"+", b"*"),
    *(b"2.5.13.2", b"caseIgnoreMatch", b"20300101000000Z", b"TRUE", b"\xff\xfe", b"a\0b"),
    *(b"", b"dc=example,dc=org", b"uid=alice,ou=people,dc=example,dc=org", b"\x82\x00"),
    *(b"\xa0\x00", b"\x30\x00", b"\x30\x03\x04\x01x"),
]
_text = st.sampled_from(_WORDS) | st.binary(max_size=20)
_strings = st.builds(string, _text)
_entries = st.builds(string, st.sampled_from([b"", b"dc=example,dc=org"]) | _text)


def _of(tag: int, *parts: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    return st.tuples(st.just(tag), st.tuples(*parts).map(list))


def _list(tag: int, part: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    return st.tuples(st.just(tag), st.lists(part, max_size=3))


def _parts(initial: bytes, middle: list[bytes], final: bytes) -> Tree:
    parts = [string(each, 0x81) for each in middle if each]
    if initial:
        parts.insert(0, string(initial, 0x80))
    if final or not parts:
        parts.append(string(final or b"x", 0x82))
    return 0x30, parts


_assertions = [_of(tag, _strings, _strings) for tag in (0xA3, 0xA5, 0xA6, 0xA8)]
_leaves = st.one_of(
    *_assertions,
    _of(0xA4, _strings, st.builds(_parts, _text, st.lists(_text, max_size=3), _text)),
    st.builds(string, _text, st.just(0x87)),
    _of(0xA9, st.builds(string, _text, st.just(0x83))),
    _of(0xA9, *[st.builds(string, _text, st.just(tag)) for tag in (0x81, 0x82, 0x83)]),
    _of(0xA9, st.builds(string, _text, st.just(0x83)), st.just((0x84, b"\xff"))),
)
filters: st.SearchStrategy[Tree] = st.recursive(
    _leaves,
    lambda inner: st.one_of(_list(0xA0, inner), _list(0xA1, inner), _of(0xA2, inner)),
    max_leaves=6,
)
_small = st.integers(0, 3)
_enumerated = st.builds(number, _small, st.just(10))
_truths = st.sampled_from([(1, b"\0"), (1, b"\xff")])
_attributes = _of(0x30, _strings, _list(0x31, _strings))

operations: st.SearchStrategy[Tree] = st.one_of(
    _of(
        *(0x63, _entries, _enumerated, _enumerated),
        *(st.builds(number, _small), st.builds(number, _small), _truths),
        *(filters, _list(0x30, _strings)),
    ),
    _of(0x66, _entries, _list(0x30, _of(0x30, _enumerated, _attributes))),
    _of(0x68, _entries, _list(0x30, _attributes)),
    st.builds(string, _text, st.just(0x4A)),
    _of(0x6C, _entries, _strings, _truths),
    _of(0x6C, _entries, _strings, _truths, st.builds(string, _text, st.just(0x80))),
    _of(0x6E, _entries, _of(0x30, _strings, _strings)),
    st.just((0x77, [string(WHO_AM_I, 0x80)])),
    st.builds(lambda value: (0x77, [string(WHO_AM_I, 0x80), string(value, 0x81)]), _text),
)
_harmless = st.builds(control, st.sampled_from(sorted(HARMLESS)), st.booleans(), st.none() | _text)

#: Whole messages that pass.
messages: st.SearchStrategy[Tree] = st.builds(
    lambda operation, controls: message(operation, *controls),
    operations,
    st.lists(_harmless, max_size=3),
)


def bindRequest(
    messageID: int = 7,
    name: bytes = b"",
    method: Tree = (0x80, b""),
    version: int = 3,
    controls: tuple[Tree, ...] = (),
) -> bytes:
    """
    A Bind, anonymous if nothing else is said.
    """
    fields = [number(version), string(name), method]
    return canonical(message((BIND_REQUEST, fields), *controls, messageID=messageID))


def external(
    messageID: int = 7, authzID: bytes | None = None, mechanism: bytes = b"EXTERNAL"
) -> bytes:
    """
    A Bind with SASL.
    """
    credentials = [] if authzID is None else [string(authzID)]
    return bindRequest(messageID, method=(0xA3, [string(mechanism), *credentials]))


ALICE = Identity.parse("alice@example.org")
DN = b"dn:uid=alice,ou=people,dc=example,dc=org"

AUTHZ_ID = b"u:alice@example.org"
NOBODY = b""

#: Result codes.
SUCCESS = 0
PROTOCOL_ERROR = 2
OTHER_METHOD = 7
NOT_CRITICAL = 12
INAPPROPRIATE = 48
INVALID = 49
UNWILLING = 53
DENIED = 123

SEARCH: Tree = (
    0x63,
    [
        *(string(b"dc=example"), number(0, 10), number(0, 10), number(0), number(0)),
        *((1, b"\0"), string(b"cn", 0x87), (0x30, [])),
    ],
)
WHO: Tree = (0x77, [string(WHO_AM_I, 0x80)])


def response(messageID: int, tag: int, code: int, *behind: Tree, words: bytes = b"") -> bytes:
    """
    What a server answers.
    """
    return canonical(
        message((tag, [number(code, 10), string(b""), string(words), *behind]), messageID=messageID)
    )


def acting(operation: Tree, authzID: bytes, *controls: Tree, messageID: int = 7) -> bytes:
    """
    A request as the server is to have it.
    """
    ours = control(PROXIED_AUTHORIZATION, True, authzID)
    return canonical(message(operation, ours, *controls, messageID=messageID))


def codes(said: bytes) -> list[tuple[int, int]]:
    """
    The answers to a client: for which request, and which result.
    """
    found = []
    for _, content in elements(said):
        messageID, _, operation = answered(content)
        found.append((messageID[-1], readResult(operation)[0]))
    return found


def parts(tree: Tree) -> tuple[Tree, list[Tree]]:
    """
    The operation of a message, and its controls.
    """
    _, content = tree
    assert isinstance(content, list)
    controls = content[2][1] if len(content) > 2 else []
    assert isinstance(controls, list)
    return content[1], controls


class Careless:
    """
    Reads a message as liblber and slapd do: one element after the other, whatever they are part of.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def _peek(self) -> tuple[int, int, int]:
        data, at = self._data, self._at
        if at + 2 > len(data):
            return -1, at, at
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            if not 1 <= size <= 8 or at + size > len(data):
                return -1, at, at
            length = int.from_bytes(data[at : at + size], "big")
            at += size
        return (tag, at, at + length) if at + length <= len(data) else (-1, at, at)

    def _into(self) -> int:
        """
        Enter what comes next, whatever that is.

        @return: where it ends.
        """
        tag, self._at, end = self._peek()
        if tag < 0:
            raise ValueError("disconnected")
        return end

    def _next(self) -> bytes:
        tag, start, end = self._peek()
        if tag < 0:
            raise ValueError("disconnected")
        self._at = end
        return self._data[start:end]

    def _skip(self, count: int) -> None:
        for _ in range(count):
            self._next()

    def _filter(self) -> None:
        tag, _, _ = self._peek()
        if tag in (0xA0, 0xA1):
            end = self._into()
            while self._at < end:
                self._filter()
        elif tag == 0xA2:
            self._into()
            self._filter()
        elif tag in (0xA3, 0xA5, 0xA6, 0xA8):
            self._into()
            self._skip(2)
        elif tag == 0xA4:
            self._substrings()
        elif tag == 0xA9:
            self._into()
            for each in (0x81, 0x82, 0x83, 0x84):
                if self._peek()[0] == each:
                    self._next()
        else:
            self._next()

    def _substrings(self) -> None:
        self._into()
        self._next()
        end = self._into()
        last = 0
        while self._at < end:
            tag = self._peek()[0]
            if not self._next() or tag < last or tag == last != 0x81:
                # It is given up here, and goes on behind the filter.
                return
            last = tag

    def controls(self) -> list[tuple[bytes, bytes]]:
        """
        The controls, each with its value.

        @raise ValueError: if the reader gives up altogether.
        """
        self._into()
        self._next()
        operation = self._peek()[0]
        if operation in (0x4A, 0x42, 0x50):
            self._next()
        else:
            self._into()
            self._operation(operation)
        found: list[tuple[bytes, bytes]] = []
        if self._peek()[0] != CONTROLS:
            return found
        end = self._into()
        while self._at < end:
            self._into()
            name = self._next()
            if self._peek()[0] == 1:
                self._next()
            value = self._next() if self._peek()[0] == 4 else ANONYMOUS
            found.append((name, value))
        return found

    def _operation(self, operation: int) -> None:
        if operation == 0x63:
            self._skip(6)
            self._filter()
            self._next()
        elif operation in (0x66, 0x68):
            self._next()
            end = self._into()
            while self._at < end:
                self._into()
                if operation == 0x66:
                    self._next()
                    self._into()
                self._skip(2)
        elif operation == 0x6C:
            self._skip(3)
            if self._peek()[0] == 0x80:
                self._next()
        elif operation == 0x6E:
            self._next()
            self._into()
            self._skip(2)
        elif operation == 0x77:
            self._next()
            if self._peek()[0] == 0x81:
                self._next()
