"""
Tests for L{tlstunnel.identity.leafrequest}: what a tunnel and an agent say to each other.
"""

from __future__ import annotations

from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.identity.test_names import identities
from tests.issuers import someKey
from tlstunnel.identity.certificates import commonName
from tlstunnel.identity.leafrequest import (
    LARGEST_QUESTION,
    LONGEST_WORDS,
    Answer,
    Question,
    Reading,
    Unreadable,
    Verdict,
    message,
    question,
)
from tlstunnel.identity.names import Identity

WWW = Identity.parse("www.example.org")


def requestOf(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, *names: str) -> bytes:
    """
    A request in DER, with these domains in it.
    """
    builder = x509.CertificateSigningRequestBuilder().subject_name(commonName("root"))
    if names:
        several = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
        builder = builder.add_extension(several, critical=True)
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


def slices(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """
    C{data}, in pieces.
    """
    places = [0, *sorted(each % (len(data) + 1) for each in cuts), len(data)]
    for begin, end in zip(places, places[1:], strict=False):  # noqa: RUF007 - as it reads
        yield data[begin:end]


class ReadingTests(SynchronousTestCase):
    """
    One message.
    """

    @given(st.binary(min_size=1, max_size=300), st.lists(st.integers(0, 400), max_size=5))
    def test_itIsReadHoweverItComes(self, content: bytes, cuts: list[int]) -> None:
        """
        Byte by byte, or all at once.
        """
        reading = Reading(300)
        for piece in slices(message(content), cuts):
            if piece:
                self.assertIsNone(reading.content)
                reading.take(piece)
        self.assertEqual(reading.content, content)

    @given(st.binary(max_size=2000))
    def test_nothingElseIsRaised(self, data: bytes) -> None:
        """
        Whatever comes, and no more is kept than may come.
        """
        reading = Reading(300)
        try:
            for piece in slices(data, [3, 7, 300]):
                reading.take(piece)
                self.assertLessEqual(len(reading._received), 304)
        except Unreadable:
            pass

    def test_whatIsTooLargeIsRefusedBeforeItComes(self) -> None:
        """
        By its length alone; so is what is empty, and what comes behind.
        """
        for data in (b"\0\0\1\x2d", b"\xff\xff\xff\xff", bytes(4), message(b"x") + b"y"):
            self.assertRaises(Unreadable, Reading(300).take, data)


class QuestionTests(SynchronousTestCase):
    """
    What is asked.
    """

    @given(identities)
    def test_itIsUnderstood(self, identity: Identity) -> None:
        """
        Whoever is meant.
        """
        asked = question(identity, someKey())
        self.assertLessEqual(len(asked), LARGEST_QUESTION)
        found = Question.parse(asked)
        self.assertEqual((found.identity, found.key), (identity, someKey().public_key()))

    @given(st.binary(max_size=300))
    def test_nothingElseIsRaised(self, data: bytes) -> None:
        """
        Whatever comes.
        """
        for content in (data, b"a.example\0" + data):
            self.assertRaises(Unreadable, Question.parse, content)

    @given(st.integers(0), st.integers(1, 255))
    def test_aRequestThatWasChangedIsNone(self, place: int, change: int) -> None:
        """
        At whatever place, as its key has signed it.
        """
        request = bytearray(requestOf(someKey()))
        request[place % len(request)] ^= change
        try:
            found = Question.parse(b"a.example\0" + request)
        except Unreadable:
            return
        self.fail(f"{found} was understood")

    def test_namesInARequestCountForNothing(self) -> None:
        """
        Nor does anything else that is asked for there.
        """
        found = Question.parse(b"www.example.org\0" + requestOf(someKey(), "victim.example"))
        self.assertEqual(found, Question(WWW, someKey().public_key()))

    def test_whatIsWrongIsSaid(self) -> None:
        """
        In words.
        """
        request = requestOf(someKey())
        large = rsa.generate_private_key(65537, 2048)
        odd = ec.generate_private_key(ec.SECP384R1())
        for content, problem in (
            (b"www.example.org", "has no request"),
            (b"\xff\0" + request, "not in UTF-8"),
            (b"1." * 2000 + b"\0" + request, "too long"),
            (b".example.org\0" + request, "not an identity"),
            (b"\0" + request, ""),
            (b"a.example\0", "cannot be read"),
            (b"a.example\0" + request[:-1], "cannot be read"),
            (b"a.example\0" + requestOf(large), "key of another kind"),
            (b"a.example\0" + requestOf(odd), "key of another kind"),
        ):
            error = self.assertRaises(Unreadable, Question.parse, content)
            self.assertIn(problem, str(error))


class AnswerTests(SynchronousTestCase):
    """
    What is answered.
    """

    @given(st.sampled_from([Verdict.REFUSED, Verdict.BUSY]), st.text(max_size=500))
    def test_wordsArrive(self, verdict: Verdict, words: str) -> None:
        """
        As far as they fit, and can be printed.
        """
        words = words.encode("utf-8", "replace").decode()
        found = Answer.parse(Answer(verdict, words=words).written())
        self.assertEqual(found.verdict, verdict)
        self.assertTrue(found.words.isprintable())
        self.assertLessEqual(len(found.words), LONGEST_WORDS)
        if words.isprintable():
            self.assertEqual(found.words, words[:LONGEST_WORDS])

    @given(st.binary(max_size=300))
    def test_nothingElseIsRaised(self, data: bytes) -> None:
        """
        Whatever comes.
        """
        for content in (data, b"+" + data):
            try:
                Answer.parse(content)
            except Unreadable:
                pass
