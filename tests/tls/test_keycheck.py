"""
Tests for L{tlstunnel.tls.keycheck}.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.keyfiles import noteExaminations, withRSA
from tlstunnel.identity import soundness
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pem import loadKey, unexamined
from tlstunnel.identity.pool import Pool
from tlstunnel.tls import keycheck
from tlstunnel.tls.keycheck import (
    MOST_LOOKS,
    KeyChecks,
    KeyUnexamined,
    examine,
    examining,
    isSound,
    whenExamined,
)


def unsound() -> Iterator[rsa.RSAPrivateNumbers]:
    """
    Numbers that are no key, each for a reason of its own.
    """
    one = rsa.generate_private_key(65537, 1024).private_numbers()
    rest = one.dmp1, one.dmq1, one.iqmp
    yield rsa.RSAPrivateNumbers(one.p, one.q, one.d - 2, *rest, one.public_numbers)
    public = rsa.RSAPublicNumbers(65537, 3 * one.p * one.q)
    yield rsa.RSAPrivateNumbers(3 * one.p, one.q, one.d, *rest, public)
    public = rsa.RSAPublicNumbers(65537, 2 * one.q)
    yield rsa.RSAPrivateNumbers(2, one.q, one.q - 2, *rest, public)
    yield rsa.RSAPrivateNumbers(one.p, one.q, one.d, one.dmp1 + 2, *rest[1:], one.public_numbers)


class IsSoundTests(SynchronousTestCase):
    """
    L{isSound}.
    """

    def test_itIsWhatCryptographySays(self) -> None:
        """
        Of keys that are sound, and of others.
        """
        self.assertTrue(isSound(rsa.generate_private_key(65537, 2048)))
        for numbers in unsound():
            self.assertRaises(ValueError, numbers.private_key)
            self.assertFalse(isSound(numbers.private_key(unsafe_skip_rsa_key_validation=True)))

    def test_withoutTheBindingCryptographyIsAsked(self) -> None:
        """
        It may be another one some day.
        """
        self.patch(keycheck, "GOES_ASIDE", False)
        self.test_itIsWhatCryptographySays()

    def test_otherThreadsGoOn(self) -> None:
        """
        The libraries that we test with have all that it takes.
        """
        self.assertTrue(keycheck.GOES_ASIDE)
        asked: list[object] = []
        check = keycheck._lib.RSA_check_key

        class Noted:
            """The library, as far as it is needed."""

            def __getattr__(self, name: str) -> object:
                return getattr(library, name)

            def RSA_check_key(self, key: object) -> object:
                asked.append(key)
                return check(key)

        library = keycheck._lib
        self.patch(keycheck, "_lib", Noted())
        self.assertTrue(isSound(rsa.generate_private_key(65537, 2048)))
        self.assertEqual(len(asked), 1)


class ExamineTests(SynchronousTestCase):
    """
    L{examine} and L{examining}.
    """

    def setUp(self) -> None:
        """
        A pool with a key.
        """
        self.pool = Pool(Path(self.mktemp()))
        self.file = withRSA(self.pool, Identity.parse("a.example.org"))
        self.examined = noteExaminations(self)

    def test_whatIsFoundOutIsKnown(self) -> None:
        """
        It is not asked again, neither here nor by whoever loads the key.
        """
        self.assertIsNotNone(unexamined(self.file))
        for _ in range(2):
            examine(self.file)
            self.assertIsNone(unexamined(self.file))
            loadKey(self.file)
        self.assertEqual(len(self.examined), 1)

    def test_onlyRSAKeysTakeLong(self) -> None:
        """
        Others, and what is none, are for whoever loads them.
        """
        other = Identity.parse("b.example.org")
        createIdentity(self.pool, other)
        broken, absent = Path(self.mktemp()), Path(self.mktemp())
        broken.write_bytes(b"-----BEGIN RSA PRIVATE KEY-----")
        for each in (self.pool.directoryOf(other) / "privkey.pem", broken, absent):
            self.assertIsNone(unexamined(each))
            examine(each)
        self.assertEqual(self.examined, [])

    def test_whereNobodyHasToBeServedItIsDoneAtOnce(self) -> None:
        """
        Whatever turns out to be needed.
        """

        def call() -> str:
            if unexamined(self.file) is not None:
                raise KeyUnexamined(self.file)
            return "done"

        self.assertEqual(examining(call), "done")


class KeyChecksTests(TestCase):
    """
    L{KeyChecks}.
    """

    def setUp(self) -> None:
        """
        Keys, the examination of which the test decides about.
        """
        self.pool = Pool(Path(self.mktemp()))
        names = [Identity.parse(f"{each}.example.org") for each in "abc"]
        self.files = [withRSA(self.pool, each, 1024) for each in names]
        self.patch(soundness, "known", soundness.Soundness())
        self.began: list[threading.Thread] = []
        self.hasBegun = threading.Event()
        self.mayGo = threading.Semaphore(0)
        self.patch(keycheck, "isSound", self.isSound)
        self.checks = KeyChecks(reactor)

    def isSound(self, key: rsa.RSAPrivateKey) -> bool:
        """
        It is.
        """
        self.began.append(threading.current_thread())
        self.hasBegun.set()
        return self.mayGo.acquire(timeout=20)

    async def test_itIsDoneInAThreadOneAfterTheOther(self) -> None:
        """
        However many want it; each is told as soon as his are known.
        """
        first, second = self.checks.settle(self.files[:2]), self.checks.settle(self.files)
        self.mayGo.release(2)
        await first
        self.assertFalse(second.called)
        self.mayGo.release()
        await second
        self.assertEqual(len(self.began), 3)
        self.assertNotIn(threading.main_thread(), self.began)
        self.assertEqual([unexamined(each) for each in self.files], [None] * 3)

    async def test_whoIsCancelledHoldsUpNobody(self) -> None:
        """
        Neither while one of his keys is examined nor before; the rest of them is left.
        """
        first, second = self.checks.settle(self.files[:2]), self.checks.settle(self.files[:2])
        third = self.checks.settle(self.files[2:])
        self.assertTrue(await deferToThread(self.hasBegun.wait, 20))
        for each in (first, second):
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.mayGo.release(2)
        await third
        self.assertIsNotNone(unexamined(self.files[1]))
        self.assertEqual(len(self.began), 2)

    async def test_filesThatCannotBeFoundAreLeftToWhoeverReadsThem(self) -> None:
        """
        Others do not suffer from that.
        """

        def files() -> Iterator[Path]:
            yield Path("/nonexistent")
            raise OSError

        await self.checks.settle(files())
        self.mayGo.release()
        await self.checks.settle(self.files[:1])
        self.assertIsNone(unexamined(self.files[0]))

    async def test_whatCannotBeFoundOutIsNotAskedForEver(self) -> None:
        """
        The reason shows.
        """
        asked: list[Path] = []

        def examined(file: Path) -> None:
            asked.append(file)
            raise ArithmeticError

        def call() -> None:
            raise KeyUnexamined(self.files[0])

        self.patch(keycheck, "examine", examined)
        with self.assertRaises(ArithmeticError):
            await whenExamined(reactor, call)
        self.assertEqual(len(asked), MOST_LOOKS + 1)
