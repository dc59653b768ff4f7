"""
Tests for L{tlstunnel.poolservice.v2request}: what the fields and flags of a STARTTLS mean.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import TunnelError
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.poolservice.v2errors import V2Error
from tlstunnel.poolservice.v2frames import PAYLOAD_BYTES, StartTLS, text
from tlstunnel.poolservice.v2request import answerSeconds, check, nameField, wantedOf
from tlstunnel.poolservice.wanted import Demand

SERVER, CLIENT = 0x2, 0x1


def request(
    flags: int, localid: bytes = b"", remoteid: bytes = b"", timeout: int = 0, ipproto: int = 6
) -> StartTLS:
    """
    One of them.
    """
    return StartTLS(flags, 0, ipproto, 0, localid, remoteid, bytes(16), b"", timeout)


class RequestTests(SynchronousTestCase):
    """
    From the frame to what is wanted.
    """

    def test_flagsSayWhatAServerAsksOfItsClients(self) -> None:
        table: list[tuple[int, bytes, Demand, Any]] = [
            (0, b"", Demand.REQUIRE, None),
            (0x800, b"", Demand.REQUEST, None),
            (0x1000, b"", Demand.IGNORE, None),
            (0x1800, b"", Demand.IGNORE, None),
            (0, b"@.example.org", Demand.REQUIRE, Selector.parse("@.example.org")),
            (0x800, b"john@example.org", Demand.REQUIRE, Selector.parse("john@example.org")),
        ]
        for flags, remoteid, demand, remote in table:
            wanted = wantedOf(request(SERVER | flags, remoteid=remoteid))
            self.assertEqual(
                (wanted.isClient, wanted.demand, wanted.remote), (False, demand, remote)
            )

    def test_rolesComeFromBothSides(self) -> None:
        for flags, isClient in (
            (0x1, True),
            (0x1 | 0x8, True),
            (0x1 | 0xC, True),
            (0x2, False),
            (0x2 | 0x4, False),
            (0x2 | 0xC, False),
            (0x3 | 0x4, False),
            (0x3 | 0x8, True),
        ):
            asked = request(flags, remoteid=b"a.test")
            self.assertEqual(wantedOf(asked).isClient, isClient, hex(flags))
        for flags in 0x0, 0x4, 0x3, 0xF, 0x1 | 0x4, 0x2 | 0x8:
            self.assertRaises(TunnelError, check, request(flags, remoteid=b"a.test"))

    def test_unknownFlagsArePassedOver(self) -> None:
        known = 0x1 | 0x8 | 0x200 | 0x20000
        check(request(CLIENT | (0xFFFFFFFF & ~known & ~0xF), remoteid=b"a.test"))

    def test_whatLiesBehindTheNULMeansNothing(self) -> None:
        wanted = wantedOf(request(CLIENT, remoteid=b"a.test\0b.test".ljust(128, b"x")))
        self.assertEqual(wanted.remote, Identity(None, "a.test"))

    def test_timesAreBounded(self) -> None:
        for timeout, seconds, waits in (
            (0, None, 15.0),
            (0xFFFFFFFF, None, 300.0),
            (1500, 1.5, 1.5),
            (0xFFFFFFFE, 4294967.294, 300.0),
        ):
            asked = request(CLIENT, remoteid=b"a.test", timeout=timeout)
            self.assertEqual((wantedOf(asked).seconds, answerSeconds(asked)), (seconds, waits))

    def test_anIdentityHasRoomOrIsRefused(self) -> None:
        fits = Identity(None, ("a" * 62 + ".") * 2 + "b")
        self.assertEqual(len(str(fits)), 127)
        self.assertEqual(text(nameField(fits)), str(fits).encode())
        self.assertRaises(V2Error, nameField, Identity(None, ("a" * 62 + ".") * 2 + "bb"))

    @given(st.binary(max_size=PAYLOAD_BYTES))
    def test_anyBytesAreARequestOrAnError(self, payload: bytes) -> None:
        try:
            check(StartTLS.unpack(payload))
        except TunnelError as error:
            self.assertNotEqual(str(error), "")

    @given(st.binary(max_size=128), st.booleans())
    def test_anyNameIsOneOrAnError(self, name: bytes, isClient: bool) -> None:
        try:
            check(request(CLIENT if isClient else SERVER, localid=name, remoteid=name))
        except TunnelError:
            pass
