"""
How much of the service one user may have at the same time, whatever protocol it speaks with us.
"""

from __future__ import annotations

from collections import Counter
from weakref import WeakValueDictionary

from tlstunnel.poolservice.closing import Closings
from tlstunnel.poolservice.refusals import TooMany


class Quotas:
    """
    Counts what each user has.

    @ivar perUser: how much that may be; 0 for no limit.
    """

    def __init__(self, perUser: int = 0) -> None:
        self.perUser = perUser
        self._taken: Counter[int] = Counter()
        self._closings: WeakValueDictionary[int, Closings] = WeakValueDictionary()

    def __len__(self) -> int:
        """
        How many users have anything.
        """
        return len(self._taken)

    def enter(self, uid: int) -> None:
        """
        One more for that user.

        @raise TooMany: there may be none; nothing has changed.
        """
        if self.perUser and self._taken[uid] >= self.perUser:
            raise TooMany(
                f"user {uid} has {self.perUser} connections here already; close some, or let the "
                "administrator raise max-per-user"
            )
        self._taken[uid] += 1

    def leave(self, uid: int) -> None:
        """
        One less.
        """
        self._taken[uid] -= 1
        if not self._taken[uid]:
            del self._taken[uid]

    def closingsOf(self, uid: int) -> Closings:
        """
        What is being closed for that user.
        """
        return self._closings.setdefault(uid, Closings())
