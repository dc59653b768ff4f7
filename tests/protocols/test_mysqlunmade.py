"""
Tests for L{tlstunnel.protocols.mysqlapp}: apps that come before our key is made.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Queue
from unittest import mock

from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.internet.task import Clock

from tests.protocols.mysqlapps import CACHING, REQUESTS, Dialogues, begin, inTLS, question, verdict
from tests.protocols.mysqlpackets import (
    CACHING_SHA2,
    ERR,
    FAST,
    FULL,
    PASSWORD,
    SALT,
    SHA256,
    login,
    packet,
    sealed,
)
from tlstunnel.errors import Farewell, Reset, TimedOut
from tlstunnel.protocols import mysql as mysqldialect
from tlstunnel.protocols.mysqlkey import KEY_BYTES, PasswordKey, generate
from tlstunnel.protocols.mysqlmaker import Maker
from tlstunnel.testing.dialogues import crumbs
from tlstunnel.testing.memory import Driver


class UnmadeKeyTests(Dialogues):
    """
    A server whose key is made only now: the thread that does so is held up by the test.
    """

    def setUp(self) -> None:
        """
        All who need a key have to wait.
        """
        self.mayGo = threading.Event()
        self.addCleanup(self.mayGo.set)
        self.turns: Queue[Callable[[], None]] = Queue()
        self.key = PasswordKey(self.make, user=1000)
        self.patch(mysqldialect, "keyFor", lambda setting: self.key)
        self.patch(PasswordKey, "_maker", Maker())
        patched = mock.patch.object(Clock, "callFromThread", self.turns.put, create=True)
        patched.start()
        self.addCleanup(patched.stop)

    def make(self) -> rsa.RSAPrivateKey:
        """
        What the thread does.
        """
        self.mayGo.wait(20)
        return generate()

    def finish(self) -> None:
        """
        The key is made, and the reactor has its turn.
        """
        self.mayGo.set()
        self.turns.get(timeout=20)()

    def asked(self) -> Driver:
        """
        A program that has asked for the key.
        """
        driver = begin(CACHING)
        driver.network.takeWritten()
        self.play(driver, [*question(3, FULL), ("A", packet(3, REQUESTS[CACHING_SHA2]))])
        return driver

    def test_itComesInALaterTurn(self) -> None:
        """
        And all else meanwhile has not waited.
        """
        driver = self.asked()
        driver.settle()
        self.assertEqual(driver.plain.takeWritten(), b"")
        self.finish()
        driver.settle()
        said = sealed(self.key.public, SALT)
        self.play(
            driver,
            [
                ("T", packet(4, b"\x01" + self.key.public)),
                ("A", packet(5, said)),
                ("C", packet(4, PASSWORD)),
                *verdict(5, 6),
            ],
        )
        self.assertOver(driver)

    def test_aServerThatEndsMeanwhileIsHeard(self) -> None:
        """
        Its error has the number that the program awaits, and no key follows.
        """
        driver = self.asked()
        self.play(driver, verdict(4, 4, ERR), crumbs)
        self.finish()
        driver.settle()
        self.assertOver(driver)

    def test_aServerThatEndsBeforeItHasThePasswordIsHeard(self) -> None:
        """
        The program has said two packets more than it then.
        """
        driver = self.asked()
        self.finish()
        driver.settle()
        driver.plain.takeWritten()
        driver.plain.feed(packet(5, sealed(self.key.public, SALT)))
        driver.network.takeWritten()
        self.play(driver, verdict(4, 6, ERR))
        self.assertOver(driver)

    def test_aServerThatEndsBeforeALoginThatAsksIsHeard(self) -> None:
        """
        The program has given its password, and awaits an answer to that.
        """
        driver = begin(login(SHA256, b"\x01"), SHA256)
        driver.network.feed(packet(2, ERR))
        self.finish()
        driver.settle()
        driver.plain.takeWritten()
        driver.plain.feed(packet(3, sealed(self.key.public, SALT)))
        self.assertEqual(driver.plain.takeWritten(), packet(4, ERR))
        self.assertIsInstance(driver.error, Farewell)

    def test_aServerThatEndsBeforeALoginThatWaitsIsHeard(self) -> None:
        """
        The program awaits an answer to its login.
        """
        self.key = PasswordKey(self.make)
        self.key.prepare()
        driver = begin(CACHING)
        driver.network.feed(packet(2, ERR))
        self.finish()
        driver.settle()
        self.assertEqual(driver.plain.takeWritten(), packet(2, ERR))
        self.assertIsInstance(driver.error, Farewell)

    def test_whoNeedsNoneDoesNotWait(self) -> None:
        """
        None is made at all.
        """
        driver = begin(CACHING)
        driver.network.takeWritten()
        self.play(driver, [*question(3, FAST), *verdict(4, 3)])
        self.assertOver(driver)
        self.assertFalse(self.key.isBegun)

    def test_aLoginThatAsksWaits(self) -> None:
        """
        The server gets it with the password.
        """
        said = login(SHA256, b"\x01")
        driver = begin(said, SHA256)
        driver.network.takeWritten()
        self.assertEqual(driver.plain.takeWritten(), b"")
        self.finish()
        driver.settle()
        self.play(
            driver,
            [
                ("T", packet(2, b"\x01" + self.key.public)),
                ("A", packet(3, sealed(self.key.public, SALT))),
                ("C", packet(2, inTLS(login(SHA256, PASSWORD)))),
                *verdict(3, 4),
            ],
        )
        self.assertOver(driver)

    def test_aLoginWaitsNoLongerThanAGreetingMayTake(self) -> None:
        """
        However many others want keys.
        """
        driver = begin(login(SHA256, b"\x01"), SHA256)
        driver.clock.advance(1000)
        driver.settle()
        self.assertIsInstance(driver.error, TimedOut)
        self.finish()

    def test_whatWasBegunBeforeIsWaitedFor(self) -> None:
        """
        A program may have had it from another worker.
        """
        self.key = PasswordKey(self.make)
        self.key.prepare()
        driver = begin(CACHING)
        self.assertEqual(driver.network.takeWritten(), b"")
        self.finish()
        driver.settle()
        self.play(driver, [("C", packet(2, inTLS(CACHING))), *question(3, FULL)])
        driver.plain.feed(packet(3, sealed(self.key.public, SALT)))
        self.play(driver, [("C", packet(4, PASSWORD)), *verdict(5, 4)])
        self.assertOver(driver)

    def test_aPasswordWithoutAKeyPassesAsItCame(self) -> None:
        """
        It was encrypted for somebody else.
        """
        driver = self.asked()
        said = b"\xff" * KEY_BYTES
        self.play(driver, [("A", packet(4, said)), ("C", packet(3, said))])

    def test_whoNeedsNoneDoesNotWaitForWhoDoes(self) -> None:
        """
        Nobody can have had it before.
        """
        asked = self.asked()
        driver = begin(CACHING)
        driver.network.takeWritten()
        self.play(driver, [*question(3, FAST), *verdict(4, 3)])
        self.assertOver(driver)
        self.finish()
        asked.settle()
        self.assertEqual(asked.plain.takeWritten(), packet(4, b"\x01" + self.key.public))

    def test_whoGoesMeanwhileIsForgotten(self) -> None:
        """
        Whether the program does, or its server; nothing waits for the garbage collector.
        """
        for end in ("plain", "network"):
            driver = self.asked()
            getattr(driver, end).reset()
            driver.settle()
            self.assertIsInstance(driver.error, Reset)
            self.assertEqual(len(self.key._waiting), 0)
        self.finish()

    def test_whereThereCanBeNoneItIsSaidInTheLog(self) -> None:
        """
        And nothing else happens.
        """
        self.key._make = self.fail
        driver = self.asked()
        self.finish()
        driver.settle()
        self.assertEqual(driver.plain.takeWritten(), b"")
        self.assertEqual(len(self.flushLoggedErrors(self.failureException)), 1)
