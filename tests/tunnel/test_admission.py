"""
Tests for L{tlstunnel.tunnel.admission}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.tunnel.admission import Admission
from tlstunnel.tunnel.limits import Limits


class AdmissionTests(SynchronousTestCase):
    """
    Who may come in.
    """

    def admission(self, **limits: int) -> Admission:
        """
        One that notes when it is full and when it is not.
        """
        self.told: list[bool] = []
        return Admission(Limits(**limits), self.told.append)

    def test_theLastThatFitsStopsAccepting(self) -> None:
        """
        And the first that goes starts it again.
        """
        admission = self.admission(connections=2, unverified=2)
        self.assertTrue(admission.enter())
        self.assertEqual(self.told, [])
        self.assertTrue(admission.enter())
        self.assertEqual(self.told, [True])
        self.assertFalse(admission.enter())
        admission.verify()
        self.assertEqual(self.told, [True])
        admission.leave()
        self.assertEqual(self.told, [True, False])

    def test_strangersAreAQuarterUnlessItIsSaidOtherwise(self) -> None:
        """
        Who is verified makes room for another stranger.
        """
        admission = self.admission(connections=8)
        self.assertTrue(admission.enter())
        self.assertTrue(admission.enter())
        self.assertFalse(admission.enter())
        admission.verify()
        self.assertTrue(admission.enter())

    @given(st.lists(st.sampled_from(["enter", "verify", "leave"]), max_size=60))
    def test_noLimitIsEverExceeded(self, steps: list[str]) -> None:
        """
        Whatever the order, and all places are free again in the end.
        """
        admission = self.admission(connections=4, unverified=2)
        strangers = verified = 0
        for step in steps:
            if step == "enter" and admission.enter():
                strangers += 1
            elif step == "verify" and strangers:
                strangers -= 1
                verified += 1
                admission.verify()
            elif step == "leave" and verified:
                verified -= 1
                admission.leave()
            self.assertLessEqual(strangers, 2)
            self.assertLessEqual(strangers + verified, 4)
        for _ in range(strangers):
            admission.verify()
        for _ in range(strangers + verified):
            admission.leave()
        self.assertTrue(admission.enter())
