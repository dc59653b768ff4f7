"""
Tests for L{tlstunnel.poolservice.v2control} and L{tlstunnel.poolservice.v2queries}: connections by
their keys, and what programs ask about them.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.poolservice.tlspool import (
    BASE,
    CONTROL,
    ERROR,
    FRAME,
    HEADER,
    INFO,
    PRNG,
    Library,
    build,
)
from tests.poolservice.v2stage import OCTETS, V2Tests
from tlstunnel.errors import TLSFailed
from tlstunnel.poolservice.v2errors import V2Error


class ControlTests(V2Tests):
    """
    Connections and control connections.
    """

    key = b"0123456789abcdef"

    def control(self, cmd: int, by: Library | None = None, **fields: Any) -> int:
        """
        Detach or attach.

        @return: 0, or the number of the error.
        """
        self.say(build(CONTROL, cmd=cmd, **{"ctlkey": self.key} | fields), by=by)
        found = self.hear(ERROR, by)
        return int(found["tlserrno"]) if found["cmd"] == 1 else int(found["cmd"])

    def close(self) -> None:
        """The program's first control connection is gone."""
        self.tlspool.close()
        self.reactor.settle()

    def test_withForkItOutlivesItsControlConnection(self) -> None:
        self.ready(flags=9 | 0x4000)
        self.close()
        self.assertFalse(self.handOver.isOver)
        self.handOver.leg.write(b"x")

    def test_whatIsDetachedOutlivesItsControlConnection(self) -> None:
        self.ready()
        self.assertEqual(self.control(0x100), 0)
        self.close()
        self.assertFalse(self.handOver.isOver)

    def test_itMayBeDetachedFromTheStart(self) -> None:
        self.ready(flags=9 | 0x2000)
        self.assertEqual(self.control(0x100), BASE + 17)
        self.close()
        self.assertFalse(self.handOver.isOver)

    def test_itIsAttachedToAnotherControlConnection(self) -> None:
        self.ready()
        other = self.connect()
        self.assertEqual(self.control(0x101, other), BASE + 18)
        self.assertEqual(self.control(0x100, other), BASE + 16)
        self.assertEqual(self.control(0x100), 0)
        self.close()
        self.assertEqual(self.control(0x101, other), 0)
        other.close()
        self.reactor.settle()
        self.assertTrue(self.handOver.isOver)

    def test_whatIsOverHasNoKey(self) -> None:
        self.ready()
        self.handOver.end(None)
        for cmd in 0x100, 0x101:
            self.assertEqual(self.control(cmd), BASE + 15)

    def test_whatIsNotReadyHasNoKey(self) -> None:
        self.startTLS()
        self.assertEqual(self.control(0x100, reqid=1), BASE + 15)

    def test_aKeyIsThatOfItsUser(self) -> None:
        """Another user may have the same, and learns nothing of this one."""
        self.ready()
        (program,) = self.port.programs
        uid = program.caller.uid
        keys = self.port.keys
        others = keys.add(uid + 1, self.key, "other", False)
        try:
            self.assertEqual(self.control(0x100), 0)
            with self.assertRaises(V2Error) as caught:
                keys.detach(uid + 2, self.key, "third")
            self.assertEqual(caught.exception.number, BASE + 15)
        finally:
            keys.remove(others)

    def test_theServiceEndsAndTLSGoesOn(self) -> None:
        """So that a stop can wait for it."""
        self.ready()
        self.startTLS(reqid=1, ctlkey=bytes(16))
        self.port.close()
        self.reactor.settle()
        self.assertEqual([each.isOver for each in self.handOvers.begun], [False, True])
        self.assertEqual(self.tlspool.receive(), b"")


class QueryTests(V2Tests):
    """
    PRNG, INFO, and what is no command.
    """

    key = b"0123456789abcdef"

    def prng(self, buffer: bytes = b"EXPORTER-a", **fields: Any) -> bytes | int:
        """Ask; either the octets, or the number of an error."""
        fields = {"labelBytes": 10, "contextBytes": -1, "wantedBytes": 32} | fields
        self.say(build(PRNG, cmd=0x2B, buffer=self.key + buffer, **fields))
        frame = self.tlspool.receive()
        if frame[4] == 1:
            return int.from_bytes(frame[8:12], "little", signed=True)
        return frame[14:].rstrip(b"\0")

    def test_keyingMaterialIsGivenAndNothingBeside(self) -> None:
        self.ready()
        self.assertEqual(self.prng(), OCTETS)

    def test_lengthsThatDoNotFitAreRefused(self) -> None:
        self.ready()
        tried: list[dict[str, Any]] = [
            {"labelBytes": 0},
            {"labelBytes": -1},
            {"labelBytes": 335},
            {"contextBytes": -2},
            {"contextBytes": 325},
            {"labelBytes": 0x7FFF, "contextBytes": 0x7FFF},
            {"wantedBytes": 0},
            {"wantedBytes": -1},
            {"wantedBytes": 351},
        ]
        for fields in tried:
            self.assertEqual(self.prng(**fields), BASE + 25, fields)
        self.assertEqual(len(self.prng(labelBytes=334, wantedBytes=350)), 32)  # type: ignore[arg-type]

    def test_anUnknownConnectionHasNoKeyingMaterial(self) -> None:
        self.assertEqual(self.prng(), BASE + 15)

    def test_certificatesThatWereNotShownAreNotFound(self) -> None:
        self.ready()
        for kind in 0x52800000, 0x52800102, 0x59290001:
            self.say(build(INFO, cmd=0x2C, ctlkey=self.key, kind=kind, size=0xFFFF))
            self.assertEqual(self.error(), BASE + 29)

    @settings(deadline=None, max_examples=60)
    @given(st.binary(min_size=FRAME, max_size=FRAME), st.booleans(), st.booleans())
    def test_anyFrameIsAnsweredAndHarmsNobody(self, frame: bytes, isKnown: bool, fd: bool) -> None:
        if isKnown:
            cmd = (0x10, 0x24, 0x28, 0x29, 0x2A, 0x2B, 0x2C, 0x100, 0x101, 0x200, 0x201)[
                frame[4] % 11
            ]
            frame = frame[:2] + bytes(2) + cmd.to_bytes(4, "little") + frame[8:]
        self.say(frame, *([self.pair()[0]] if fd else []))
        for handOver in self.handOvers.begun:
            handOver.end(TLSFailed("no"))
        self.reactor.advance(1000)
        self.reactor.settle()
        self.assertEqual(self.hear(HEADER)["reqid"], int.from_bytes(frame[:2], "little"))
        self.hearNothing()
