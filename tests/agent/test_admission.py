"""
Tests for L{tlstunnel.agent.admission}: how much of an agent one user may have.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.agent.admission import PER_USER, STAYING_PER_USER, Admission, Guest
from tlstunnel.identity.caller import Caller
from tlstunnel.identity.leafrequest import Answer, Verdict
from tlstunnel.local import quotas
from tlstunnel.local.refusals import TooMany
from tlstunnel.net.deadlines import Deadlines

ISSUED = Answer(Verdict.ISSUED)


class AdmissionTests(SynchronousTestCase):
    """
    L{Admission}, where the system allows any number of descriptors.
    """

    def setUp(self) -> None:
        """
        Nobody is there.
        """
        self.patch(quotas, "share", lambda: 10_000)
        clock = Clock()
        self.admission = Admission(clock, Deadlines(clock))

    def enter(self, uid: int = 1000, pid: int = 1) -> Guest:
        """
        One more.
        """
        return self.admission.enter(Caller(uid, pid=pid))

    def room(self, uid: int = 1000) -> int:
        """
        How many more may come, who leave at once.
        """
        guests: list[Guest] = []
        try:
            while True:
                guests.append(self.enter(uid))
        except TooMany:
            return len(guests)
        finally:
            for each in guests:
                each.left()

    def test_whoComesTakesAPlaceUntilItLeaves(self) -> None:
        """
        Of its own user, and of nobody else.
        """
        guest = self.enter()
        self.assertEqual((self.room(), self.room(1001)), (PER_USER - 1, PER_USER))
        guest.left()
        self.assertEqual(self.room(), PER_USER)

    def test_whoStaysGivesThatPlaceBack(self) -> None:
        """
        Else those who stay would keep out who comes; and it leaves the one that it has then.
        """
        guests = [self.enter() for _ in range(PER_USER)]
        self.assertTrue(all(each.mayStay(ISSUED) for each in guests))
        self.assertEqual(self.room(), PER_USER)
        for each in guests:
            each.left()
        self.assertEqual(self.room(), PER_USER)

    def test_onlyWhoWasGivenACertificateMayStay(self) -> None:
        """
        Who is refused, or told to come again, goes; whoever stays already does so whatever the next
        answer is.
        """
        guest = self.enter()
        self.assertFalse(guest.mayStay(Answer(Verdict.REFUSED)))
        self.assertFalse(guest.mayStay(Answer(Verdict.BUSY)))
        self.assertTrue(guest.mayStay(ISSUED))
        self.assertTrue(guest.mayStay(Answer(Verdict.REFUSED)))

    def test_soManyStay(self) -> None:
        """
        There is room again when one of them has left.
        """
        staying = []
        for _ in range(STAYING_PER_USER):
            staying.append(self.enter())
            self.assertTrue(staying[-1].mayStay(ISSUED))
        guest = self.enter()
        self.assertFalse(guest.mayStay(ISSUED))
        staying.pop().left()
        self.assertTrue(guest.mayStay(ISSUED))
