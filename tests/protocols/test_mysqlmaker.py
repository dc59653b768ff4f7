"""
Tests for L{tlstunnel.protocols.mysqlmaker}.
"""

from __future__ import annotations

import threading

from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.protocols.mysqlmaker import Made, Make, Maker

#: Any key.
KEY = rsa.generate_private_key(65537, 1024)


class MakerTests(SynchronousTestCase):
    """
    In which order keys are made.
    """

    def setUp(self) -> None:
        """
        A thread that makes its first key, and has nothing to do behind that.
        """
        self.maker = Maker()
        self.made: list[str] = []
        self.mayGo = threading.Event()
        self.addCleanup(self.mayGo.set)
        began = threading.Event()

        def wait() -> rsa.RSAPrivateKey:
            began.set()
            self.mayGo.wait(20)
            return KEY

        self.first = self.maker.begin(wait)
        self.assertTrue(began.wait(20))

    def makes(self, name: str) -> Make:
        """
        What notes that C{name} was made.
        """

        def make() -> rsa.RSAPrivateKey:
            self.made.append(name)
            return KEY

        return make

    def want(self, name: str, user: int | None) -> Made:
        """
        A user waits for a key.
        """
        make = self.makes(name)
        made = self.maker.begin(make)
        self.maker.hurry(made, make, user)
        return made

    def finish(self) -> None:
        """
        See all of them made, and nothing left.
        """
        last = self.maker.begin(lambda: KEY)
        self.mayGo.set()
        last.result(20)

    def test_whoWantsManyMakesNobodyElseWaitForThem(self) -> None:
        """
        Users have their turns; who comes later waits for one key of each other user.
        """
        kept = [self.want(f"many {number}", 1) for number in range(5)]
        kept += [self.want("some 0", 2), self.want("some 1", 2), self.want("one", 3)]
        self.finish()
        self.assertEqual(
            self.made,
            ["many 0", "some 0", "one", "many 1", "some 1", "many 2", "many 3", "many 4"],
        )
        self.assertTrue(all(each.done() for each in kept))

    def test_whatIsWaitedForComesBeforeWhatIsMadeAhead(self) -> None:
        """
        There may be hundreds of tunnels, whose keys are made one after the other.
        """
        kept = [self.maker.begin(self.makes(f"tunnel {number}")) for number in range(3)]
        make = self.makes("last tunnel")
        kept.append(self.maker.begin(make))
        self.maker.hurry(kept[-1], make, None)
        self.finish()
        self.assertEqual(self.made, ["last tunnel", "tunnel 0", "tunnel 1", "tunnel 2"])

    def test_whatNobodyWantsAnyMoreIsNotMade(self) -> None:
        """
        Its connection has ended meanwhile.
        """
        gone, kept = self.want("gone", 1), self.want("kept", 1)
        del gone
        self.finish()
        self.assertEqual(self.made, ["kept"])
        self.assertIs(kept.result(20), KEY)

    def test_whereThereIsNoThreadItIsMadeOnceThereCanBeOne(self) -> None:
        """
        The system allows so many of a user.  No turn of the reactor makes a key meanwhile.
        """

        def refuse(*words: object) -> None:
            raise RuntimeError("can't start new thread")

        self.maker = Maker()
        patched = self.patch(threading.Thread, "start", refuse)
        early = self.want("early", 1)
        patched.restore()
        self.assertFalse(early.done())
        self.assertEqual(self.made, [])
        late = self.want("late", 2)
        self.assertIs(early.result(20), KEY)
        self.assertIs(late.result(20), KEY)

    def test_whatCannotBeMadeDoesNotEndTheThread(self) -> None:
        """
        Whoever waits is told.
        """

        def fail() -> rsa.RSAPrivateKey:
            raise MemoryError

        failing, other = self.maker.begin(fail), self.want("other", 1)
        self.finish()
        self.assertIsInstance(failing.exception(20), MemoryError)
        self.assertIs(other.result(20), KEY)
