"""
How much of the service one user may have at the same time, whatever protocol it speaks with us.

Beside the limit for each user there is what the system allows this process: where it may have few
descriptors, one user must not get all of them.
"""

from __future__ import annotations

from collections import Counter
from weakref import WeakValueDictionary

from tlstunnel.local.closing import Closings
from tlstunnel.local.refusals import TooMany
from tlstunnel.net.kernel import descriptorLimit

#: Descriptors that go with a connection: of the control connection, the network, and the plaintext.
DESCRIPTORS_EACH = 3

#: The part of all descriptors that one user may have.
PART = 4


def share() -> int:
    """
    How many connections one user can have without taking too many descriptors.
    """
    return max(1, descriptorLimit() // (DESCRIPTORS_EACH * PART))


class Quotas:
    """
    Counts what each user has.

    @ivar perUser: how much that may be, if L{share} is not less; 0 for no limit.
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
        if self.perUser and self._taken[uid] >= self.most:
            limit = "max-per-user" if self.most == self.perUser else "the limit of open files"
            raise TooMany(
                f"user {uid} has {self.most} connections here already; close some, or let the "
                f"administrator raise {limit}"
            )
        self._taken[uid] += 1

    @property
    def most(self) -> int:
        """
        How much one user may have now; 0 for no limit.
        """
        return min(self.perUser, share())

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
        found = self._closings.get(uid)
        if found is None:
            found = self._closings[uid] = Closings()
        return found
