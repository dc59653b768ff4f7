"""
Tests for L{tlstunnel.poolservice.messages}: what a message looks like.
"""

from __future__ import annotations

import string

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.poolservice.messages import (
    MESSAGE_BYTES,
    MOST_FIELDS,
    PROSE,
    Message,
    prose,
    read,
)
from tlstunnel.poolservice.refusals import BadRequest

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True)
PRINTABLE = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "))

# What is sent, and what the refusal says of it.
MISTAKES = {
    b"": "begins with ''",
    b"\n": "begins with ''",
    b"TLS\nrole=client\n": "begins with 'TLS'",
    b"role=client\n": "begin it with a verb on a line of its own",
    b"t" * 33: "begins with",
    b"tls\nrole client\n": "line 2 is 'role client'; write KEY=VALUE",
    b"tls\n=client\n": "line 2 is '=client'",
    b"tls\nRole=client\n": "line 2 is 'Role=client'",
    b"tls\nrole=client\n\nremote=a.test\n": "line 3 is ''",
    b"tls\nrole=client\n\n": "line 3 is ''",
    b"tls\nrole=client\nrole=client\n": "role= is there twice",
    b"tls\r\nrole=client\r\n": "the verb has the control character U+000D; end lines with a line",
    b"tls\nrole=client\r\n": "line 2 has the control character U+000D",
    b"tls\nrole=client\n\0": "line 3 has the control character U+0000; send no NUL",
    b"tls\nrole=cli\x7fent\n": "U+007F",
    "tls\nrole=\u2028\n".encode(): "U+2028",
    "tls\nrole=\u0085\n".encode(): "U+0085",
    b"tls\nrole=\xff\n": "byte 9 of the message is not UTF-8",
    b"tls\nrole=\xed\xa0\x80\n": "is not UTF-8",
    b"tls\n" + b"".join(b"a%d=\n" % each for each in range(MOST_FIELDS + 1)): "more than 64 lines",
    b"a" * MESSAGE_BYTES: "begins with 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...'",
    b"tls\n" + b"\n" * 65000: "more than 64 lines",
}


class ReadTests(SynchronousTestCase):
    """
    Reading.
    """

    def test_aMessageHasAVerbAndFields(self) -> None:
        """
        The order of fields is kept, and a value may have the sign that ends a key, or nothing.
        """
        message = read("tls\nrole=client\nremote=a=b \u00e9\nlocal=\n".encode())
        self.assertEqual(message.verb, "tls")
        self.assertEqual(
            list(message.fields.items()),
            [("role", "client"), ("remote", "a=b \u00e9"), ("local", "")],
        )

    def test_theLastLineFeedMayBeLeftOut(self) -> None:
        """
        A shell drops it.
        """
        self.assertEqual(read(b"hello"), read(b"hello\n"))
        self.assertEqual(read(b"tls\nrole=client"), read(b"tls\nrole=client\n"))

    def test_whatIsNoMessageIsRefusedInWords(self) -> None:
        """
        What is wrong is said, and nothing else is raised.
        """
        for data, words in MISTAKES.items():
            with self.subTest(data=data[:40]):
                refused = self.assertRaises(BadRequest, read, data)
                self.assertIn(words, refused.detail)
                self.assertLess(len(refused.detail), 300)

    def test_asManyFieldsAsAllowedAreRead(self) -> None:
        """
        One more is one too many.
        """
        data = b"tls\n" + b"".join(b"a%d=\n" % each for each in range(MOST_FIELDS))
        self.assertEqual(len(read(data).fields), MOST_FIELDS)

    @given(st.binary())
    @example(b"a\n")
    def test_anythingIsAMessageOrRefused(self, data: bytes) -> None:
        """
        Nothing else is raised, and what is read can be written.
        """
        self.assertReadOrRefused(data)

    @given(st.text(string.ascii_lowercase[:3] + "=\n\r\0-1 \x85\u2028\u00e9"))
    def test_whatLooksLikeOneIsAMessageOrRefused(self, text: str) -> None:
        """
        The same of texts that come near.
        """
        self.assertReadOrRefused(text.encode())

    def assertReadOrRefused(self, data: bytes) -> None:
        """
        One of the two.
        """
        try:
            message = read(data)
        except BadRequest:
            return
        self.assertEqual(read(message.data), message)


class WriteTests(SynchronousTestCase):
    """
    Writing.
    """

    @given(NAMES, st.dictionaries(NAMES, PRINTABLE, max_size=10))
    def test_whatIsWrittenIsReadAgain(self, verb: str, fields: dict[str, str]) -> None:
        """
        As it was.
        """
        message = Message(verb, fields)
        self.assertEqual(read(message.data), message)

    @given(st.text(max_size=200))
    def test_noValueCanBeTakenForTwo(self, value: str) -> None:
        """
        Whatever is in it, there is one line, also for who splits lines as Python does.
        """
        written = Message("error", {"detail": value}).data.decode()
        self.assertEqual(len(written.splitlines()), 2)
        self.assertEqual(list(read(written.encode()).fields), ["detail"])

    def test_aTextStandsBehindAnEmptyLine(self) -> None:
        """
        As it is.
        """
        written = Message("ok", {"a": "b"}, "-----BEGIN\n").data
        self.assertEqual(written, b"ok\na=b\n\n-----BEGIN\n")

    def test_noMessageIsLongerThanItMayBe(self) -> None:
        """
        To the byte.
        """
        most = MESSAGE_BYTES - len("ok\na=\n")
        self.assertEqual(len(Message("ok", {"a": "x" * most}).data), MESSAGE_BYTES)
        tooLong = Message("ok", {"a": "x" * (most + 1)})
        self.assertRaises(ValueError, lambda: tooLong.data)

    def test_proseIsCut(self) -> None:
        """
        And it shows.
        """
        self.assertEqual(prose("x" * PROSE), "x" * PROSE)
        self.assertEqual(prose("x" * (PROSE + 1)), "x" * PROSE + "...")
