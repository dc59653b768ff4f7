"""
Tests for L{tlstunnel.protocols.rfb}: what is said before somebody is let in.
"""

from __future__ import annotations

import struct
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import Malformed, Refused, ServerSpokeFirst, TunnelError
from tlstunnel.protocols.rfb import NONE, PLAIN, VNC_AUTH, Login, Outcome, text
from tlstunnel.testing.dialogues import crumbs, filtered, split

OK, FAILED, TOO_MANY = (struct.pack(">I", each) for each in range(3))
CHALLENGE = bytes(range(16))
REASON = b"\0\0\0\2no"
REST = bytes(range(256)) * 3

#: The login, the versions of the server and of the client, whether the latter awaits to hear that
#: all is well; what the server says, and what passes.
OUTCOMES: tuple[tuple[Login, int, int, bool, bytes, bytes], ...] = (
    (NONE, 8, 8, True, OK + REST, OK + REST),
    (NONE, 8, 7, False, OK + REST, REST),
    (NONE, 8, 3, False, OK + REST, REST),
    (NONE, 7, 7, True, OK + REST, OK + REST),
    (NONE, 8, 8, True, FAILED + REASON, FAILED + REASON),
    (VNC_AUTH, 8, 8, True, CHALLENGE + OK + REST, CHALLENGE + OK + REST),
    (VNC_AUTH, 8, 3, True, CHALLENGE + OK + REST, CHALLENGE + OK + REST),
    (VNC_AUTH, 8, 8, True, CHALLENGE + FAILED + REASON, CHALLENGE + FAILED + REASON),
    (VNC_AUTH, 8, 7, True, CHALLENGE + FAILED + REASON, CHALLENGE + FAILED),
    (VNC_AUTH, 8, 3, True, CHALLENGE + TOO_MANY + REASON, CHALLENGE + TOO_MANY),
    (VNC_AUTH, 3, 3, True, CHALLENGE + TOO_MANY, CHALLENGE + TOO_MANY),
    (VNC_AUTH, 3, 8, True, CHALLENGE + FAILED, CHALLENGE + FAILED + text(b"Authentication failed")),
    (
        VNC_AUTH,
        7,
        8,
        True,
        CHALLENGE + TOO_MANY,
        CHALLENGE + TOO_MANY + text(b"Authentication failed"),
    ),
    (PLAIN, 8, 8, True, OK + REST, OK + REST),
    (PLAIN, 8, 7, True, FAILED + REASON, FAILED),
    # A challenge may have anything in it.
    (VNC_AUTH, 8, 8, True, b"RFB 003.008\r" + bytes(4) + OK, b"RFB 003.008\r" + bytes(4) + OK),
    (VNC_AUTH, 8, 8, True, FAILED * 4 + OK, FAILED * 4 + OK),
    (VNC_AUTH, 8, 8, True, CHALLENGE + OK + b"RFB 003.008\n", CHALLENGE + OK + b"RFB 003.008\n"),
)

#: The same of what ends the connection.
FAILURES: tuple[tuple[Login, bool, bytes, type[TunnelError]], ...] = (
    (NONE, True, b"RFB 003.008\n", ServerSpokeFirst),
    (NONE, False, b"RFB 003.008\n", ServerSpokeFirst),
    (PLAIN, True, b"RFB 003.008\n", ServerSpokeFirst),
    (VNC_AUTH, True, b"RFB 003.008\n", ServerSpokeFirst),
    (VNC_AUTH, True, b"RFB 005.000\n", ServerSpokeFirst),
    (NONE, True, b"\0\0\0\3", Malformed),
    (NONE, True, b"\1\0\0\0", Malformed),
    (NONE, False, FAILED + REASON, Refused),
    (VNC_AUTH, True, CHALLENGE + b"\xff\xff\xff\xff", Malformed),
    (VNC_AUTH, True, CHALLENGE * 2, Malformed),
)


class OutcomeTests(SynchronousTestCase):
    """
    What passes until somebody is let in.
    """

    def test_anOutcomeIsSaidAsTheOtherSideHasIt(self) -> None:
        """
        However it is cut.
        """
        for login, said, heard, isAwaited, words, passed in OUTCOMES:
            for pieces in ((words,), crumbs(words), *list(split(words))[:40]):
                outcome = Outcome(login, said, heard, isAwaited)
                self.assertEqual(filtered(outcome, pieces), passed, (login.option, words[:40]))

    def test_nothingIsHeldBackOnceItIsWhole(self) -> None:
        """
        A challenge is answered before anything else is said.
        """
        outcome = Outcome(VNC_AUTH, 8, 8)
        self.assertEqual(outcome.feed(CHALLENGE[:12]), b"")
        self.assertEqual(outcome.feed(CHALLENGE[12:]), CHALLENGE)
        self.assertFalse(outcome.done)
        self.assertEqual(outcome.feed(OK), OK)
        self.assertTrue(outcome.done)

    def test_whatIsNoneEndsTheConnection(self) -> None:
        """
        And nothing of it passes.
        """
        for login, isAwaited, words, error in FAILURES:
            for pieces in ((words,), crumbs(words)):
                outcome, passed = Outcome(login, 8, 8, isAwaited), b""
                with self.assertRaises(error):
                    for piece in pieces:
                        passed += outcome.feed(piece)
                self.assertIn(passed, (b"", CHALLENGE), words)

    @settings(deadline=None)
    @given(
        st.sampled_from((NONE, VNC_AUTH, PLAIN)),
        st.sampled_from((3, 7, 8)),
        st.sampled_from((3, 7, 8)),
        st.binary(max_size=40),
        st.lists(st.integers(0, 60), max_size=5),
    )
    def test_anyWordsMeanTheSameInAnyPieces(
        self, login: Login, said: int, heard: int, words: bytes, cuts: list[int]
    ) -> None:
        """
        They pass, or end the connection with an error of ours.
        """
        for start in (b"", CHALLENGE, CHALLENGE + OK, CHALLENGE + FAILED, OK, FAILED):
            found = []
            whole = start + words
            places = [0, *sorted(each for each in cuts if each < len(whole)), len(whole)]
            pieces = [whole[at:to] for at, to in pairwise(places)]
            for each in ([whole], pieces):
                try:
                    found.append(filtered(Outcome(login, said, heard), each))
                except TunnelError as error:
                    found.append(error.reason.encode())
            self.assertEqual(found[0], found[1], whole)
