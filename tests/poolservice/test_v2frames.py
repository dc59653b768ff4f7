"""
Tests for L{tlstunnel.poolservice.v2frames} and L{tlstunnel.poolservice.v2errors}: frames, as bytes.
"""

from __future__ import annotations

import errno
import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.poolservice import tlspool
from tlstunnel import errors
from tlstunnel.errors import TunnelError
from tlstunnel.poolservice import refusals
from tlstunnel.poolservice.v2errors import Code, V2Error, errorFrame, numberOf
from tlstunnel.poolservice.v2frames import (
    FRAME_BYTES,
    PAYLOAD_BYTES,
    Control,
    Failed,
    Frame,
    Info,
    Payload,
    Ping,
    Random,
    StartTLS,
    field,
    text,
)

#: Each kind of payload, with its layout as it was measured.
KINDS: list[tuple[type[Payload], tlspool.Layout]] = [
    (Failed, tlspool.ERROR),
    (Ping, tlspool.PING),
    (StartTLS, tlspool.STARTTLS),
    (Control, tlspool.CONTROL),
    (Random, tlspool.PRNG),
    (Info, tlspool.INFO),
]

_NUMBERS = {
    "B": st.integers(0, 255),
    "H": st.integers(0, 0xFFFF),
    "h": st.integers(-0x8000, 0x7FFF),
    "I": st.integers(0, 0xFFFFFFFF),
    "i": st.integers(-0x80000000, 0x7FFFFFFF),
}


def _values(form: str) -> st.SearchStrategy[Any]:
    size = struct.calcsize(form)
    found = _NUMBERS.get(form[-1])
    return st.binary(min_size=size, max_size=size) if found is None else found


_cases = st.sampled_from(KINDS).flatmap(
    lambda kind: st.tuples(
        st.just(kind), st.tuples(*(_values(form) for _, form in kind[1].values()))
    )
)


class FrameTests(SynchronousTestCase):
    """
    Bytes and fields.
    """

    @given(_cases)
    def test_everyFieldLiesWhereTheCompilerPutsIt(self, case: Any) -> None:
        (kind, layout), values = case
        payload = kind(*values)
        frame = Frame(1, 2, 3, payload.pack()).pack()
        expected = tlspool.build(
            layout, reqid=1, cbid=2, cmd=3, **dict(zip(layout, values, strict=True))
        )
        self.assertEqual(frame, expected)

    @given(_cases)
    def test_whatIsPackedIsReadAgain(self, case: Any) -> None:
        (kind, _), values = case
        self.assertEqual(kind.unpack(kind(*values).pack()), kind(*values))

    @given(st.sampled_from(KINDS), st.binary(max_size=PAYLOAD_BYTES))
    def test_noBytesAreWrong(self, case: Any, payload: bytes) -> None:
        kind, _ = case
        read = kind.unpack(payload)
        self.assertEqual(kind.unpack(read.pack()), read)

    @given(st.binary(min_size=FRAME_BYTES, max_size=FRAME_BYTES))
    def test_aFrameIsThe388BytesThatItWasReadFrom(self, data: bytes) -> None:
        self.assertEqual(Frame.unpack(data).pack(), data)

    @given(st.binary(max_size=300))
    def test_aFieldHasANULAtItsEnd(self, said: bytes) -> None:
        packed = field(said, 128)
        self.assertEqual((len(packed), packed[-1]), (128, 0))
        self.assertTrue(said.startswith(text(packed)))

    def test_numbersAreThoseOfTheHost(self) -> None:
        self.assertEqual(Frame(0x102, 0, 0x24).pack()[:2], struct.pack("=H", 0x102))

    def test_theLongestPayloadEndsWithTheFrame(self) -> None:
        at, form = tlspool.PINENTRY["label"]
        self.assertEqual(
            (at + struct.calcsize(form), PAYLOAD_BYTES), (FRAME_BYTES, tlspool.FRAME - 8)
        )


class ErrorTests(SynchronousTestCase):
    """
    Numbers and sentences.
    """

    def test_theNumbersAreThoseOfTheTLSPool(self) -> None:
        self.assertEqual(Code.COMMAND_UNKNOWN, tlspool.BASE + 8)
        packed = errorFrame(0, V2Error(Code.CTLKEY_UNKNOWN, "no")).pack()
        self.assertEqual(packed[8:12].hex(), "0f506bba")

    def test_everyReasonHasANumber(self) -> None:
        kinds = [
            each
            for module in (errors, refusals)
            for each in vars(module).values()
            if isinstance(each, type) and issubclass(each, TunnelError)
        ]
        self.assertGreater(len(kinds), 20)
        for kind in kinds:
            number = numberOf(kind("words"))
            isOfTheTable = tlspool.BASE <= number < tlspool.BASE + 30
            self.assertTrue(isOfTheTable or number in errno.errorcode, kind)

    def test_whoIsRefusedLearnsItAsOneWhoMayNot(self) -> None:
        self.assertEqual(numberOf(refusals.NotForCaller("no")), errno.EACCES)

    @given(st.text(max_size=300), st.binary(max_size=50))
    def test_aSentenceHasRoomOrIsCut(self, detail: str, said: bytes) -> None:
        frame = errorFrame(7, TunnelError(detail.replace("\0", ""), said)).pack()
        found = tlspool.read(tlspool.ERROR, frame)
        self.assertEqual((found["reqid"], found["cbid"], found["cmd"]), (7, 0, 1))
        self.assertLess(len(found["message"]), 128)
        found["message"].decode()
