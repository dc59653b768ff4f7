"""
Our chat against the real chat(8): the same script and the same peer, the same sends, the same exit
code, the same reports, and the same bytes left unread.

Nothing here is about what differs on purpose: keywords where a send is due, BREAK, missing values,
C{@file}, NUL and bytes over 127 in what is expected, the end of the input.
"""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.chat.original import CHAT, Case, differences

# How a peer that answers is described: what it says once it has received so many bytes.
LOGIN = ((1, b"login: "), (5, b"password: rest"))

#: Scripts that only expect and send, each with what the peer says at once.
PLAIN: list[tuple[bytes, bytes]] = [
    # Words
    (b"a b", b"xxaz"),
    (b"a b c d e", b"a c e f"),
    (b"a b\nc\td\n\n\ne f", b"ace"),
    (b"#x y\na b\n# c d\nc d", b"ac"),
    (b" # x", b"#"),
    (b"a b#c", b"a"),
    (b"a #c", b"a"),
    (b"'a b' 'c d'", b"xa by"),
    (b"\"a 'b\" 'c \"d'", b"a 'b"),
    (b'"a\\"b" c', b'a"b'),
    (b"'a\\'b' c", b"a'b"),
    (b'"a"b c d', b"acbd"),
    (b'"a""b" c d', b"ac"),
    (b"a\"b c'd", b'a"b'),
    (b'a"b" c', b'a"b"'),
    (b"it's x", b"it's"),
    (b"a\\ b c d", b"ac"),
    (b"a\\\\ b c d", b"a\\c"),
    (b'"" ""', b"x"),
    (b"'' ''", b"x"),
    (b'"" a', b""),
    (b"a", b"ba"),
    (b"", b"x"),
    (b"\n\n", b"x"),
    (b"# only", b"x"),
    # Escapes of an expect
    (rb"\b x", b"a\bb"),
    (rb"\n x", b"a\nb"),
    (rb"\r x", b"a\rb"),
    (rb"\s x", b"a b"),
    (rb"\t x", b"a\tb"),
    (rb"\\ x", b"a\\b"),
    (rb"a\cb x", b"acbz"),
    (rb"ab\c x", b"abcz"),
    (rb"\d\p\K x", b"dpKz"),
    (rb"\101\12\7 x", b"A\n\7z"),
    (rb"\1234 x", b"S4z"),
    (rb"\8\9 x", b"89z"),
    (rb"a\qb x", b"abz"),
    (rb"\q x", b"z"),
    (rb"\T\U x", rb"\T\Uz"),
    (rb"\^\$\-\x\z x", b"^$-xzy"),
    (b"a\\ x", b"az"),
    (b"^A^b^[ x", b"\1\2\x1bz"),
    (b"^? x", b"a\x1fz"),
    (b"a^@b x", b"abz"),
    (b"a^ x", b"a^z"),
    (b"^@ x", b"z"),
    (b"^^ x", b"\x1ez"),
    (b"^\\a x", b"\x1caz"),
    (b"$HOME x", b"$HOMEz"),
    # Escapes of a send
    (rb'"" \b\n\r\s\t', b""),
    (rb'"" \\', b""),
    (rb'"" a\\c', b""),
    (rb'"" a\c', b""),
    (rb'"" a\cb', b""),
    (rb'"" a\c\c', b""),
    (rb'"" \c', b""),
    (rb'"" \pa\p\pb', b""),
    (rb'"" \da', b""),
    (rb'"" a\Nb\0c\000d', b""),
    (rb'"" \1\12\101\377\1234\c', b""),
    (rb'"" \134c\134', b""),
    (rb'"" \134d\c', b""),
    (rb'"" \400\777', b""),
    (rb'"" \8\9', b""),
    (rb'"" a\qb', b""),
    (rb'"" \x\z\^\$\-\"', b""),
    (b'"" a\\', b""),
    (b'"" "^A^?^[^@x^"', b""),
    (b'"" ^\\\\c', b""),
    (b'"" $HOME', b""),
    (b'"" a-b-c', b""),
    (b'"" EOT', b""),
    (b'"" "EOT"', b""),
    (b'"" EOTX', b""),
    (b'"" \\EOT', b""),
    (b'"" @', b""),
    (b'"" "@  "', b""),
    (b'"" "caf\xc3\xa9"', b""),
    # Matching
    (b"aab x", b"aaab"),
    (b"abab x", b"abaabab"),
    (b"a x a y a z", b"aaa"),
    (b"ab x bc y", b"abc"),
    (b"ab x c y", b"abc"),
    (b"A x", b"aA"),
    (b"250 x", b"251 250-250 "),
    # Sub-expects
    (rb"250\-STARTTLS x", b"250-STARTTLS"),
    (b"a-b-c x", b"a-b-c"),
    (b"a- x", b"a"),
    (b"a-- x", b"a"),
    (b"-b x", b"z"),
    (b"- x", b"z"),
    (b"-- x", b"z"),
    (b"-b-c x", b"c"),
    (rb"\-b x", b"-b"),
    (rb"a\\-b x", b"a\\"),
    (b"a^-b x", b"a^"),
    # ABORT and REPORT
    (b"ABORT ab ab c", b"ab"),
    (b"ABORT b ab c", b"ab"),
    (b"ABORT ab b c", b"ab"),
    (b"ABORT b abc c", b"abc"),
    (b"ABORT x ABORT b abc c", b"abc"),
    (b"ABORT ab ABORT b z y", b"ab"),
    (b"ABORT b ABORT ab z y", b"ab"),
    (b"ABORT BUSY BU x SY y", b"BUSY"),
    (b"'ABORT' b a x z y", b"ab"),
    (rb'ABORT "a\sb" z y', b"a b"),
    (rb'ABORT "a-b" z y', b"a-b"),
    (b"ABORT a ABORT b CLR_ABORT a c x", b"abc"),
    (b"ABORT a ABORT a ABORT b CLR_ABORT a z x", b"abz"),
    (b"ABORT a CLR_ABORT b CLR_ABORT a a x", b"a"),
    (b'ABORT a "" x', b"a"),
    (b"REPORT CON x y", b"aaCONNECT 9600\r\nxq"),
    (b"REPORT CON O a x y", b"aaCONNECT 9600\r\nxq"),
    (b"REPORT a REPORT b x y", b"abcd\nbcd\nacd\nx"),
    (b"REPORT a x y", b"a1\na2\nx"),
    (b"REPORT a a b c d", b"za1 2\t3c"),
    (b"REPORT a CLR_REPORT a x y", b"a1\nx"),
    (rb"REPORT x\s x\s y z", b"x ab\nz"),
    # Keywords
    (b"TIMEOUT 0 TIMEOUT -5 TIMEOUT 1 a b", b"a"),
    (b"ECHO ON a ECHO OFF b", b"a b"),
    (b"HANGUP OFF a b", b"a"),
    (b"SAY hello a b", b"a"),
    (b"abort a b c", b"abort ac"),
    (b"ABORTS a b c", b"ABORTSb"),
    (b"ab-TIMEOUT-cd x", b"cab"),
]

#: Scripts that run into a time-out.
TIMEOUTS: list[Case] = [
    Case(b"TIMEOUT 1 " + script, says, replies)
    for script, says, replies in [
        (b"a b", b"", ()),
        (b"a b", b"xyz", ()),
        (b"a- b", b"", ()),
        (b"a-- b", b"", ()),
        (b"a--c b", b"", ()),
        (b"a-b c d", b"cx", ()),
        (b"a-b c d", b"", ((2, b"c"),)),
        (b"ogin:--ogin: ppp ssword: hello", b"", LOGIN),
        (b"ogin:-EOT-ogin: ppp ssword: hello", b"", LOGIN),
        (rb"ogin:-a\c-ogin: ppp ssword: hello", b"", LOGIN),
        (b"a-b-c-d-e f", b"", ((4, b"e"),)),
        (b"a-b-c-d-e f", b"", ((2, b"c"),)),
        (b"a-b--d-e f", b"x", ()),
        (b"a-b-c", b"bbb", ()),
        (b'ab-""-ab x', b"a", ((3, b"b"),)),
        (b"ab--ab x", b"a", ((1, b"ab"),)),
        (b"ABORT z a-b-c x", b"", ((2, b"z"),)),
        (b"ABORT z a-b-c x", b"z", ()),
        (b"REPORT z a--b x", b"z12", ((1, b"34\nb"),)),
        (b"a b TIMEOUT 45 c d", b"a", ((2, b"c"),)),
        (rb"\T-x-\U y", b"", ((2, rb"\U"),)),
        (rb"^@-x y", b"z", ()),
        (rb"\q--b y", b"z", ()),
    ]
]

#: Options of the command line.
OPTIONS: list[Case] = [
    Case((b"a b", b"c d"), b"a b"),
    Case((b'"a"', b"'b'"), b'"a"'),
    Case((b"#a", b"b"), b"#a"),
    Case((b"TIMEOUT", b"1", b"a-b", b"c"), b""),
    Case((b"a\\-b", b"c"), b"a-b"),
    Case((b"", b""), b""),
    Case(rb'"" "\T \U\c"', t=b"phone", u=b"two"),
    Case(rb'"" "\T"', t=b"a", u=b"b"),
    Case(rb"\T x", rb"\T", t=b"a", u=b"b"),
    Case(b'"" $A$B.$A1\\$A', environment=((b"A", b"one"), (b"A1", b"two"))),
    Case(b'"" "$A_B-$"', environment=((b"A_B", b"one"),)),
    Case(b"$A x", b"one", environment=((b"A", b"one"),)),
    Case(b"a-$A-c x", b"a", environment=((b"A", b"one"),)),
    Case(b'"250-STARTTLS" x', b"250 STARTTLS", strict=True),
    Case(b'TIMEOUT 1 "250-STARTTLS" x', b"", strict=True),
    Case(b'"" TIMEOUT 10 x', b"10", strict=True),
    Case(b"ABORT TIMEOUT a b", b"xTIMEOUTa", strict=True),
    Case(b"CONNECT TIMEOUT 10 x", b"CONNECT 10", strict=True),
]

_piece = st.sampled_from(
    [
        r"\n",
        r"\s",
        r"\q",
        r"\c",
        r"\-",
        r"\\",
        r"\141",
        r"\x",
        r"\p",
        "^A",
        "^",
        "$a",
        "a",
        "b",
        "-",
    ]
)
# No lone backslash, which would leave a quote open, and no file name.
_text = st.lists(st.one_of(_piece, st.just(" ")), max_size=5).map("".join)
_word = st.one_of(
    st.sampled_from(["a", "b", "ab", "ba", "aab", "a-b-a", "b--a", '""', "ab-a", "EOT"]),
    st.lists(_piece, min_size=1, max_size=4).map("".join),
    _text.map(lambda text: f'"{text}"'),
    _text.map(lambda text: f"'{text}'"),
)
_keyword = st.one_of(
    st.tuples(
        st.sampled_from(["ABORT", "CLR_ABORT", "REPORT"]), st.sampled_from(["a", "bb", "ab"])
    ),
    st.tuples(st.sampled_from(["ECHO", "HANGUP", "SAY"]), st.sampled_from(["ON", "OFF"])),
)
_pairs = st.lists(st.one_of(st.tuples(_word, _word), _keyword), max_size=6)
_generated = st.builds(
    lambda pairs, says, answer: Case(
        b"TIMEOUT 1 " + "\n".join(" ".join(pair) for pair in pairs).encode(),
        says.encode(),
        ((1, answer.encode()),),
        strict=True,
    ),
    _pairs,
    st.text(alphabet="ab-\n \\x", max_size=20),
    st.text(alphabet="ab\n", max_size=4),
)


class ComparedWithTheOriginal(SynchronousTestCase):
    """
    Where we claim to agree, we do.
    """

    if CHAT is None:
        skip = "chat(8) is not installed (Debian package ppp): nothing was compared"

    def assertAgreement(self, cases: list[Case]) -> None:
        """Both do the same in each of C{cases}."""
        shown = [
            f"{case}\n  ours {mine}\n  chat {theirs}" for case, mine, theirs in differences(cases)
        ]
        self.assertEqual(shown, [], "\n".join(shown))

    def test_scriptsWithoutTimeout(self) -> None:
        """Words, escapes, matching, ABORT and REPORT; quoted hyphens as chat(8) has them."""
        self.assertAgreement(
            [Case(b"TIMEOUT 1\n" + script, says, strict=True) for script, says in PLAIN]
        )

    def test_scriptsWithTimeouts(self) -> None:
        """Sub-expects, and failing."""
        self.assertAgreement(TIMEOUTS)

    def test_commandLines(self) -> None:
        """Words, values, the environment, and what --chat-strict restores."""
        self.assertAgreement(OPTIONS)

    def test_theTableIsLong(self) -> None:
        """At least a hundred scripts are compared."""
        self.assertGreaterEqual(len(PLAIN) + len(TIMEOUTS) + len(OPTIONS), 100)

    @settings(
        max_examples=4,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(st.lists(_generated, min_size=48, max_size=48))
    def test_generatedScripts(self, cases: list[Case]) -> None:
        """Any words, over a small alphabet, so that something matches."""
        self.assertAgreement(cases)
