"""
Tests for L{tlstunnel.tls.anonymousfile}.
"""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.tls.anonymousfile import AnonymousFile

VARIABLE = "TLSTUNNEL_TEST_FILE"


class AnonymousFileTests(SynchronousTestCase):
    """
    A file that processes have open together.
    """

    def setUp(self) -> None:
        """
        One that we were handed, perhaps.
        """
        self.handed = os.memfd_create("test", 0)
        self.addCleanup(os.close, self.handed)

    def test_whatWasHandedToUsIsForNobodyElse(self) -> None:
        """
        Programs that we start get neither the descriptor nor the variable that tells of it.
        """
        self.patch(os, "environ", {VARIABLE: str(self.handed)})
        os.set_inheritable(self.handed, True)
        file = AnonymousFile(VARIABLE, self.fail)
        self.assertFalse(file.isOpen)
        file.accept()
        self.assertTrue(file.isOpen)
        self.assertEqual(file.descriptor, self.handed)
        self.assertEqual(os.environ, {})
        self.assertFalse(os.get_inheritable(self.handed))

    def test_whereNothingWasHandedItIsMadeOnce(self) -> None:
        """
        When somebody needs it.
        """
        made: list[int] = []

        def make() -> int:
            made.append(self.handed)
            return self.handed

        file = AnonymousFile(VARIABLE, make)
        file.accept()
        self.assertFalse(file.isOpen)
        self.assertEqual([file.descriptor, file.descriptor], made * 2)
        self.assertEqual(made, [self.handed])

    def test_aSystemWithoutRoomSaysSo(self) -> None:
        """
        And it can be tried again.
        """

        def make() -> int:
            raise OSError

        file = AnonymousFile(VARIABLE, make)
        for _ in range(2):
            with self.assertRaises(OSError):
                _ = file.descriptor
        self.assertFalse(file.isOpen)
