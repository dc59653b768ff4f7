"""
Tests for L{tlstunnel.identity.caller}: who may be anybody.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.identity import caller
from tlstunnel.identity.caller import isAnybodys, numberOfStrangers


class StrangersTests(SynchronousTestCase):
    """
    The number of those who have none in our user namespace.
    """

    def setUp(self) -> None:
        """
        Nothing is known of the namespace yet.
        """
        self.proc = Path(self.mktemp())
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "sys" / "kernel").mkdir(parents=True)
        numberOfStrangers.cache_clear()
        self.addCleanup(numberOfStrangers.cache_clear)

    def found(self) -> list[int | None]:
        """
        The numbers of users and of groups.
        """
        numberOfStrangers.cache_clear()
        return [numberOfStrangers(kind, self.proc) for kind in ("user", "group")]

    def map(self, mapped: str) -> None:
        """
        Let a namespace have these numbers.
        """
        for own in "uid", "gid":
            (self.proc / "self" / f"{own}_map").write_text(mapped)

    def test_whereAllHaveNumbersThereAreNoStrangers(self) -> None:
        """
        As outside of all containers.
        """
        self.map("0 0 4294967295\n")
        self.assertEqual(self.found(), [None, None])

    def test_thoseOutsideOfAContainerHaveOneNumber(self) -> None:
        """
        The one that the system says, or its usual one.
        """
        for mapped in ("0 100000 65536\n", "0 0 1\n1 100000 65535\n", ""):
            self.map(mapped)
            self.assertEqual(self.found(), [65534, 65534])
        for own, number in (("uid", 7), ("gid", 8)):
            (self.proc / "sys" / "kernel" / f"overflow{own}").write_text(f"{number}\n")
        self.assertEqual(self.found(), [7, 8])

    def test_whereNothingIsKnownOfTheNamespaceThereMayBeStrangers(self) -> None:
        """
        As without /proc, or with something else there.
        """
        self.assertEqual(self.found(), [65534, 65534])
        self.map("what is that\n")
        self.assertEqual(self.found(), [65534, 65534])

    def test_theirNumberIsNobodys(self) -> None:
        """
        And no other one is theirs.
        """
        self.patch(caller, "numberOfStrangers", {"user": 7, "group": 8}.get)
        self.assertEqual([isAnybodys("user", each) for each in (6, 7, 8)], [False, True, False])
        self.assertEqual([isAnybodys("group", each) for each in (6, 7, 8)], [False, False, True])
        self.patch(caller, "numberOfStrangers", {}.get)
        self.assertFalse(isAnybodys("user", 65534))
