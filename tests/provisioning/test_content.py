"""
What the directory has, as it tells it: refreshes of all kinds, changes, and removals that look like
a mishap.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.provisioning.examples import entry, uuid
from tlstunnel.errors import Malformed, Oversize
from tlstunnel.provisioning import content as module
from tlstunnel.provisioning.content import Content
from tlstunnel.provisioning.errors import Withheld
from tlstunnel.provisioning.messages import Entry
from tlstunnel.provisioning.sync import EntryState, Info, State

DONE = Info(b"done", endsRefresh=True)
PRESENT_DONE = Info(b"done", endsPresent=True, endsRefresh=True)


def some(*numbers: int) -> dict[bytes, Entry]:
    """
    Entries of these numbers.
    """
    return {uuid(number): entry("identities", f"host{number}.test") for number in numbers}


class ContentTests(SynchronousTestCase):
    """
    Entries that are told.
    """

    def content(self, *numbers: int, cookie: bytes = b"before") -> Content:
        """
        With some of them, and a search that has begun.
        """
        content = Content(some(*numbers), cookie)
        content.begin()
        return content

    def add(self, content: Content, number: int, cookie: bytes = b"") -> None:
        """
        One more.
        """
        state = EntryState(State.ADD, uuid(number), cookie)
        content.changed(state, some(number)[uuid(number)])

    def numbers(self, content: Content) -> list[int]:
        """
        Which ones there are.
        """
        return sorted(int.from_bytes(each, "big") for each in content.entries)

    def test_aRefreshCountsAsAWhole(self) -> None:
        """
        Not before it is over, and neither does its cookie.
        """
        content = self.content(1, 2)
        self.add(content, 3)
        content.told(Info(b"half", gone=frozenset((uuid(1),))))
        self.assertEqual((self.numbers(content), content.cookie), ([1, 2], b"before"))
        content.told(DONE)
        self.assertEqual((self.numbers(content), content.cookie), ([2, 3], b"done"))
        self.assertTrue(content.isFresh)

    def test_aRefreshThatIsCutLeavesNothing(self) -> None:
        """
        The next one begins as this one did.
        """
        content = self.content(1)
        self.add(content, 2)
        content.begin()
        content.told(DONE)
        self.assertEqual(self.numbers(content), [1])

    def test_whatIsNotNamedInThePresentPhaseIsGone(self) -> None:
        """
        However it is named: alone, in a set, or as it was changed.
        """
        content = self.content(1, 2, 3, 4)
        content.changed(EntryState(State.PRESENT, uuid(1)), None)
        content.told(Info(present=frozenset((uuid(2),))))
        self.add(content, 5)
        self.add(content, 3)
        content.told(PRESENT_DONE)
        self.assertEqual(self.numbers(content), [1, 2, 3, 5])

    def test_whatIsNotNamedInTheDeletePhaseStays(self) -> None:
        """
        It names what is gone.
        """
        content = self.content(1, 2)
        content.changed(EntryState(State.DELETE, uuid(1)), None)
        content.told(DONE)
        self.assertEqual(self.numbers(content), [2])

    def test_onePhaseMayFollowTheOther(self) -> None:
        """
        RFC 4533, section 3.3.2.
        """
        content = self.content(1, 2, 3)
        content.told(Info(present=frozenset((uuid(1), uuid(2)))))
        content.told(Info(endsPresent=True))
        self.assertFalse(content.isFresh)
        content.told(Info(gone=frozenset((uuid(1),))))
        content.told(DONE)
        self.assertEqual(self.numbers(content), [2])

    def test_whoAskedForEverythingHasNothingElse(self) -> None:
        """
        Whatever the phase is called that it ends with.
        """
        content = self.content(1, 2, cookie=b"")
        self.add(content, 2)
        content.told(DONE)
        self.assertEqual(self.numbers(content), [2])

    def test_changesCountAtOnce(self) -> None:
        """
        After the refresh, each with its cookie.
        """
        content = self.content(1)
        content.told(DONE)
        self.add(content, 2, b"next")
        self.assertEqual((self.numbers(content), content.cookie), ([1, 2], b"next"))
        content.changed(EntryState(State.DELETE, uuid(1), b"last"), None)
        content.changed(EntryState(State.DELETE, uuid(9)), None)
        self.assertEqual((self.numbers(content), content.cookie), ([2], b"last"))

    def test_aMassRemovalIsWithheld(self) -> None:
        """
        More than half of all, and more than three.
        """
        for there, left, isWithheld in (
            (10, 4, True),
            (10, 5, False),
            (10, 1, True),
            (10, 0, True),
            (4, 0, True),
            (3, 0, False),
            (4, 1, False),
        ):
            content = self.content(*range(there))
            content.told(Info(present=frozenset(map(uuid, range(left)))))
            if not isWithheld:
                content.told(PRESENT_DONE)
                self.assertEqual(len(content.entries), left)
                continue
            self.assertRaises(Withheld, content.told, PRESENT_DONE)
            self.assertEqual((len(content.entries), content.cookie), (there, b"before"))
            self.assertFalse(content.isFresh)

    def test_aRemovalIsAllowedOnce(self) -> None:
        """
        The first refresh that ends uses it up.
        """
        content = Content(some(*range(10)), b"before", mayRemove=True)
        content.told(PRESENT_DONE)
        self.assertEqual(content.entries, {})
        for number in range(10):
            self.add(content, number)
        content.begin()
        self.assertRaises(Withheld, content.told, PRESENT_DONE)

    def test_aMessageThatRemovesTooManyIsWithheld(self) -> None:
        """
        Also after the refresh; one after the other they may go.
        """
        content = self.content(*range(10))
        content.told(DONE)
        gone = frozenset(map(uuid, range(6)))
        self.assertRaises(Withheld, content.told, Info(gone=gone))
        self.assertEqual(len(content.entries), 10)
        for each in gone:
            content.changed(EntryState(State.DELETE, each), None)
        self.assertEqual(len(content.entries), 4)

    def test_everythingIsBounded(self) -> None:
        """
        Entries, what is said of them, and their bytes.
        """
        self.patch(module, "MAX_ENTRIES", 5)
        content = self.content()
        many = frozenset(map(uuid, range(6)))
        self.assertRaises(Oversize, content.told, Info(present=many))
        content = self.content()
        for number in range(5):
            self.add(content, number)
        self.assertRaises(Oversize, self.add, content, 5)
        content.begin()
        self.patch(module, "MAX_BYTES", sum(each.weight for each in some(1).values()))
        self.add(content, 1)
        self.assertRaises(Oversize, self.add, content, 2)

    def test_aChangeWithoutItsEntryIsRefused(self) -> None:
        """
        There is nothing to be added.
        """
        content = self.content()
        self.assertRaises(Malformed, content.changed, EntryState(State.ADD, uuid(1)), None)

    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), max_size=30))
    def test_whateverIsToldTheContentIsThatOfOneMoment(self, steps: list[tuple[int, int]]) -> None:
        """
        Never of half a refresh; and the bytes are counted as they are.
        """
        content = Content(some(1, 2, 3, 4, 5), b"before", mayRemove=False)
        for kind, number in steps:
            before = dict(content.entries)
            try:
                if kind < 4:
                    state = EntryState(State(kind), uuid(number), b"c")
                    content.changed(state, some(number)[uuid(number)])
                else:
                    content.told(Info(b"d", endsPresent=kind == 4, endsRefresh=True))
            except Withheld:
                self.assertEqual(content.entries, before)
                content.begin()
            if not content.isFresh:
                self.assertEqual(content.entries, before)
        if content.isFresh:
            size = sum(each.weight for each in content.entries.values())
            self.assertEqual(content._bytes, size)
