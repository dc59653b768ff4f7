"""
How much of an agent each user may have, so that nobody keeps the tunnels of somebody else waiting,
nor another process of their own user.

Of those that come each user has a few, and a number in a second.  Who was given a certificate may
stay, and ask for the next ones on the same connection: those are counted by themselves, so that
whoever floods the socket does not get between a tunnel and its agent.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from tlstunnel.identity.caller import Caller
from tlstunnel.identity.leafrequest import Answer, Verdict
from tlstunnel.local.quotas import Quotas
from tlstunnel.local.refusals import TooMany
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.tunnel.buckets import Buckets
from tlstunnel.tunnel.refusals import RefusalLines
from tlstunnel.tunnel.sources import TOO_FAST

#: Connections of one user at the same time that have not got anything yet.
PER_USER = 32

#: Those of one user that stay: some for each process, or tunnel.
STAYING_PER_USER = 64

#: Questions in a second: of one user on new connections; and of one process on those that stay.
RATE_PER_USER = 500.0


class TurnedAway(RefusalLines):
    """
    The lines about those who were told to come again: a user and a reason have one a minute.
    """

    _log = Logger()

    first = "{name} is told to come again: {detail}"
    more = "told {name} to come again since then: {count}; {detail}"
    others = "other users"
    urgent = frozenset((TooMany.reason, TOO_FAST))


class Guest:
    """
    A process that has connected, and the place of its user that it takes.
    """

    def __init__(self, admission: Admission, caller: Caller) -> None:
        self._admission = admission
        self.caller = caller
        self.stays = False

    def mayAsk(self) -> bool:
        """
        Whether its next question is not one too many; the first one was counted when it entered.
        """
        return not self.stays or self._admission.takes(
            self.caller, (self.caller.uid, self.caller.pid)
        )

    def mayStay(self, answer: Answer) -> bool:
        """
        Whether its connection may stay for the next question, now that it has this answer.
        """
        if not self.stays and answer.verdict is Verdict.ISSUED:
            self.stays = self._admission.keep(self.caller.uid)
        return self.stays

    def left(self) -> None:
        """
        It has gone.
        """
        self._admission.left(self)


class Admission:
    """
    Counts the connections and the questions of each user.
    """

    def __init__(self, clock: Any, deadlines: Deadlines) -> None:
        self._coming = Quotas(PER_USER)
        self._staying = Quotas(STAYING_PER_USER)
        self._rates = Buckets(clock, RATE_PER_USER)
        self._lines = TurnedAway(deadlines, "")

    def enter(self, caller: Caller) -> Guest:
        """
        Take a place for a process that has connected.

        @raise TooMany: it has to come again; the words are for it.
        """
        if not self.takes(caller, caller.uid):
            raise TooMany(f"user {caller.uid} asks too often")
        try:
            self._coming.enter(caller.uid)
        except TooMany:
            most = self._coming.most
            detail = f"there are {most} connections of that user already"
            self._note(caller, TooMany.reason, detail)
            words = f"user {caller.uid} has {most} connections here already"
            raise TooMany(words) from None
        return Guest(self, caller)

    def takes(self, caller: Caller, whose: object) -> bool:
        """
        Count a question.

        @param whose: with whose questions it is counted.
        @return: whether it is not one too many.
        """
        isIn = self._rates.take(whose)
        if not isIn:
            detail = f"more than {RATE_PER_USER:g} questions in a second"
            self._note(caller, TOO_FAST, detail)
        return isIn

    def keep(self, uid: int) -> bool:
        """
        Let one of a user stay, if there is room.
        """
        try:
            self._staying.enter(uid)
        except TooMany:
            return False
        self._coming.leave(uid)
        return True

    def left(self, guest: Guest) -> None:
        """
        Give its place back.
        """
        (self._staying if guest.stays else self._coming).leave(guest.caller.uid)

    def _note(self, caller: Caller, reason: str, detail: str) -> None:
        user = caller.uid, f"user {caller.uid}"
        peer, process = f"unix:uid={caller.uid}", f"process {caller.pid}"
        self._lines.note(user, reason, detail, peer, process)
