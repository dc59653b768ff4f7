"""
Tests for L{tlstunnel.protocols.mysqlapp}: apps that encrypt their passwords, by the client role.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from dataclasses import replace
from queue import Queue
from unittest import mock

from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.protocols.mysqlpackets import (
    CACHING_SHA2,
    ERR,
    FAST,
    FULL,
    LENENC,
    OK,
    OTHER_SALT,
    PASSWORD,
    SALT,
    SHA256,
    SSL,
    WITH_DB,
    Pieces,
    combined,
    greeting,
    login,
    packet,
    sealed,
    switch,
    whole,
)
from tlstunnel.errors import Closed, Farewell, Malformed, Oversize, Reset, TimedOut, TunnelError
from tlstunnel.identity.names import Identity
from tlstunnel.protocols import mysql as mysqldialect
from tlstunnel.protocols import mysqlapp
from tlstunnel.protocols.conversation import MAX_HELD_BYTES
from tlstunnel.protocols.mysql import NO_FULL_AUTHENTICATION, capabilitiesOf, mysql
from tlstunnel.protocols.mysqlapp import AppAnswers, AppQuestions, Decryption, Proof, keyFor
from tlstunnel.protocols.mysqlexchange import MOST_PASSWORDS
from tlstunnel.protocols.mysqlkey import KEY_BYTES, PasswordKey, generate
from tlstunnel.protocols.mysqlmaker import Maker
from tlstunnel.protocols.mysqlpackets import Renumbered, Verdict
from tlstunnel.protocols.setting import Setting
from tlstunnel.testing.conformance import ClientConformance
from tlstunnel.testing.dialogues import (
    Dialogue,
    client,
    crumbs,
    filtered,
    isFiltered,
    setting,
)
from tlstunnel.testing.memory import Driver
from tlstunnel.tls.records import RECORD_BYTES

OURS = keyFor(setting())
KEY = b"\x01" + OURS.public

#: What asks for the key, and is answered with it.
REQUESTS = {CACHING_SHA2: b"\x02", SHA256: b"\x01"}


def inTLS(message: bytes) -> bytes:
    """
    A login as it is sent inside TLS.
    """
    return struct.pack("<I", capabilitiesOf(message) | SSL) + message[4:]


def begin(
    said: bytes, server: bytes = CACHING_SHA2, *options: str, verified: bool = True
) -> Driver:
    """
    Up to the login, which is sent inside TLS.

    @param said: the login of the app.
    @param server: the plugin in the greeting.
    """
    driver = client(mysql, *options)
    driver.network.feed(packet(0, greeting(server)))
    driver.plain.takeWritten()
    driver.plain.feed(packet(1, said))
    driver.network.takeWritten()
    if verified:
        driver.handshake()
    return driver


class Dialogues(SynchronousTestCase):
    """
    What is common to them.
    """

    def play(self, driver: Driver, dialogue: Dialogue, pieces: Pieces = whole) -> None:
        """
        Let C{S} and C{A} speak, and see that C{C} and C{T} do.
        """
        for who, words in dialogue:
            if who in "SA":
                for piece in pieces(words):
                    driver.feed(who, piece)
            else:
                leg = driver.network if who == "C" else driver.plain
                self.assertEqual(leg.takeWritten(), words)

    def assertOver(self, driver: Driver) -> None:
        """
        Nothing is looked at any more, and nothing left to be said.
        """
        self.assertIsNone(driver.error)
        self.assertFalse(isFiltered(driver.network) or isFiltered(driver.plain))
        self.assertEqual(driver.network.written + driver.plain.written, b"")


def key(app: int, salt: bytes, plugin: bytes) -> Dialogue:
    """
    An app gives its password.

    @param app: the number of what it says first.
    """
    return [
        ("A", packet(app, REQUESTS[plugin])),
        ("T", packet(app + 1, KEY)),
        ("A", packet(app + 2, sealed(OURS.public, salt))),
        ("C", packet(app + 1, PASSWORD)),
    ]


def verdict(server: int, app: int, words: bytes = OK) -> Dialogue:
    """
    The server decides, and all that follows passes as it is.
    """
    return [
        ("S", packet(server, words) + b"bytes"),
        ("T", packet(app, words) + b"bytes"),
        ("A", packet(0, b"\3SELECT 1") + b"\x01"),
        ("C", packet(0, b"\3SELECT 1") + b"\x01"),
    ]


def question(server: int, words: bytes) -> Dialogue:
    """
    The server says something that the app hears.
    """
    return [("S", packet(server, words)), ("T", packet(server - 1, words))]


def answer(app: int, words: bytes) -> Dialogue:
    """
    The app says something that the server hears.
    """
    return [("A", packet(app, words)), ("C", packet(app + 1, words))]


CACHING = login(CACHING_SHA2)
NATIVE = login(b"mysql_native_password", b"x" * 20)

#: An app's login, and what follows it.
DIALOGUES: dict[str, tuple[bytes, Dialogue]] = {
    "as the server greets": (
        CACHING,
        [*question(3, FULL), *key(3, SALT, CACHING_SHA2), *verdict(5, 6)],
    ),
    "a wrong password": (
        CACHING,
        [*question(3, FULL), *key(3, SALT, CACHING_SHA2), *verdict(5, 6, ERR)],
    ),
    "after a switch": (
        NATIVE,
        [
            *question(3, switch(CACHING_SHA2)),
            *answer(3, b"x" * 32),
            *question(5, FULL),
            *key(5, OTHER_SALT, CACHING_SHA2),
            *verdict(7, 8),
        ],
    ),
    "after a switch without a NUL behind its scramble": (
        NATIVE,
        [
            *question(3, switch(CACHING_SHA2)[:-1]),
            *answer(3, b"x" * 32),
            *question(5, FULL),
            *key(5, OTHER_SALT, CACHING_SHA2),
            *verdict(7, 8),
        ],
    ),
    "after a switch without a scramble": (
        NATIVE,
        [
            *question(3, b"\xfe" + SHA256 + b"\0"),
            *key(3, SALT, SHA256),
            *verdict(5, 6),
        ],
    ),
    "the outdated plugin": (
        CACHING,
        [*question(3, switch(SHA256)), *key(3, OTHER_SALT, SHA256), *verdict(5, 6)],
    ),
    "several factors": (
        CACHING,
        [
            *question(3, FULL),
            *key(3, SALT, CACHING_SHA2),
            ("S", packet(5, b"\x02" + SHA256 + b"\0" + OTHER_SALT + b"\0")),
            ("T", packet(6, b"\x02" + SHA256 + b"\0" + OTHER_SALT + b"\0")),
            # By now the app is two packets ahead, and so it goes on.
            ("A", packet(7, b"\x01")),
            ("T", packet(8, KEY)),
            ("A", packet(9, sealed(OURS.public, OTHER_SALT))),
            ("C", packet(6, PASSWORD)),
            *verdict(7, 10),
        ],
    ),
    "the server has the password": (
        CACHING,
        [*question(3, FAST), *verdict(4, 3)],
    ),
    "an app that has the key of an earlier connection": (
        CACHING,
        [
            *question(3, FULL),
            ("A", packet(3, sealed(OURS.public, SALT))),
            ("C", packet(4, PASSWORD)),
            *verdict(5, 4),
        ],
    ),
    "another plugin that says the same": (
        NATIVE,
        [*question(3, FULL), *answer(3, b"\x02"), *question(5, b"\x01x"), *verdict(6, 5)],
    ),
    "an app on a UNIX socket": (
        CACHING,
        [*question(3, FULL), *answer(3, PASSWORD), *verdict(5, 4)],
    ),
    "one whose password is as long as what is encrypted": (
        CACHING,
        [*question(3, FULL), *answer(3, b"x" * 255 + b"\0"), *verdict(5, 4)],
    ),
    "no password": (
        CACHING,
        [*question(3, switch(SHA256)), *answer(3, b"\0"), *verdict(5, 4)],
    ),
    "nothing, and then a request": (
        CACHING,
        [*question(3, switch(SHA256)), *answer(3, b""), *answer(4, b"\x01"), *verdict(6, 5)],
    ),
    "the key of the server": (
        CACHING,
        [*question(3, FULL), *answer(3, b"\xff" * 256), *verdict(5, 4, ERR)],
    ),
    "a request that nobody has asked for": (
        CACHING,
        [*question(3, b"\x01x"), *answer(3, b"\x02"), *verdict(5, 4, ERR)],
    ),
    "that of the other plugin": (
        CACHING,
        [*question(3, FULL), *answer(3, b"\x01"), *verdict(5, 4, ERR)],
    ),
    "a second request": (
        CACHING,
        [
            *question(3, FULL),
            *key(3, SALT, CACHING_SHA2)[:2],
            ("A", packet(5, b"\x02")),
            ("C", packet(4, b"\x02")),
            *verdict(5, 6, ERR),
        ],
    ),
    "a password for another scramble": (
        CACHING,
        [
            *question(3, FULL),
            *key(3, SALT, CACHING_SHA2)[:2],
            ("A", packet(5, (wrong := sealed(OURS.public, OTHER_SALT)))),
            ("C", packet(4, wrong)),
            *verdict(5, 6, ERR),
        ],
    ),
    "a password in clear after all": (
        CACHING,
        [
            *question(3, FULL),
            *key(3, SALT, CACHING_SHA2)[:2],
            ("A", packet(5, PASSWORD)),
            ("C", packet(4, PASSWORD)),
            *verdict(5, 6),
        ],
    ),
    "a server that waits no longer": (
        CACHING,
        [*question(3, FULL), *key(3, SALT, CACHING_SHA2)[:2], *verdict(4, 5, ERR)],
    ),
    "a switch of a length that no plugin has": (
        CACHING,
        [
            *question(3, switch(b"x" * 300)),
            *answer(3, b"\x01"),
            *question(5, switch(SHA256, OTHER_SALT * 20)),
            *key(5, OTHER_SALT, SHA256),
            *verdict(7, 8),
        ],
    ),
    "what has been the old authentication": (
        CACHING,
        [*question(3, b"\xfe"), *answer(3, b"\x01"), *verdict(5, 4, ERR)],
    ),
}


class AppTests(Dialogues):
    """
    What apps and servers say.
    """

    def test_passwordsReachTheServer(self) -> None:
        """
        In clear within TLS, and nothing of that reaches anybody else; numbers are those that both
        ends await.
        """
        for name, (said, dialogue) in DIALOGUES.items():
            for pieces in (whole, crumbs):
                with self.subTest(name):
                    driver = begin(said)
                    self.play(driver, [("C", packet(2, inTLS(said))), *dialogue], pieces)
                    self.assertOver(driver)

    def test_theLoginMayAskForTheKey(self) -> None:
        """
        Of the outdated plugin, if the server begins with that; its password is in the login then.
        """
        for flags in (0, WITH_DB):
            said = login(SHA256, b"\x01", flags)
            driver = begin(said, SHA256)
            self.assertEqual(driver.network.written, b"")
            self.play(driver, [("T", packet(2, KEY))])
            driver.plain.feed(packet(3, sealed(OURS.public, SALT)))
            wanted = login(SHA256, PASSWORD, flags)
            self.play(driver, [("C", packet(2, inTLS(wanted))), *verdict(3, 4)])
            self.assertOver(driver)

    def test_aLoginMayHaveTheKeyAlready(self) -> None:
        """
        From an earlier connection.
        """
        driver = begin(login(SHA256, sealed(OURS.public, SALT)), SHA256)
        self.play(driver, [("C", packet(2, inTLS(login(SHA256, PASSWORD)))), *verdict(3, 2)])
        self.assertOver(driver)

    def test_aLoginThatCannotBeReadIsTheServersToJudge(self) -> None:
        """
        Of what is not understood nothing is changed.
        """
        short = CACHING[:34]
        old = login(SHA256, b"\x01")
        old = struct.pack("<I", capabilitiesOf(old) & ~(1 << 19)) + old[4:]
        for said in (short, old, login(SHA256, PASSWORD), login(SHA256, b"\xff" * 256)):
            driver = begin(said, SHA256)
            self.play(driver, [("C", packet(2, inTLS(said))), *verdict(3, 2, ERR)])
            self.assertOver(driver)

    def test_aLoginWhosePasswordCannotBeReadIsAsItWas(self) -> None:
        """
        The server refuses it, in its own words.
        """
        said = login(SHA256, b"\x01")
        for wrong in (b"", b"x", b"\xff" * 256, sealed(OURS.public, OTHER_SALT)):
            driver = begin(said, SHA256)
            driver.plain.takeWritten()
            driver.plain.feed(packet(3, wrong))
            self.play(driver, [("C", packet(2, inTLS(said))), *verdict(3, 4, ERR)])
            self.assertOver(driver)

    def test_anAppThatGivesNoPasswordIsCutOff(self) -> None:
        """
        The server has heard nothing of it.
        """
        said = login(SHA256, b"\x01")
        wrong: dict[bytes, type[TunnelError]] = {
            packet(2, b"x"): Malformed,
            b"\xff\xff\xff\x03" + bytes(70000): Oversize,
        }
        for words, error in wrong.items():
            driver = begin(said, SHA256)
            driver.plain.feed(words)
            self.assertIsInstance(driver.error, error)
            assert driver.error is not None
            self.assertEqual(driver.error.who, "the app")
            self.assertEqual(driver.network.written, b"")
        driver = begin(said, SHA256)
        driver.plain.end()
        self.assertIsInstance(driver.error, Closed)
        self.assertEqual(driver.network.written, b"")

    def test_anAppHearsNoKeyBeforeTheServerIsVerified(self) -> None:
        """
        Whatever it has asked for.
        """
        driver = begin(login(SHA256, b"\x01"), SHA256, verified=False)
        self.assertEqual(driver.plain.written, b"")
        driver.plain.feed(packet(3, sealed(OURS.public, SALT)))
        self.assertEqual(driver.plain.written + driver.network.written, b"")

    def test_theKeyIsNotPutIntoAPacketOfTheServer(self) -> None:
        """
        It waits for the end of one.
        """
        driver = begin(CACHING)
        driver.network.takeWritten()
        self.play(driver, question(3, FULL))
        late = packet(4, b"\x01late")
        for cut in (1, 4, 6):
            driver = begin(CACHING)
            driver.network.takeWritten()
            self.play(driver, question(3, FULL))
            driver.network.feed(late[:cut])
            driver.plain.feed(packet(3, b"\x02"))
            driver.plain.takeWritten()
            driver.network.feed(late[cut:])
            self.assertTrue(driver.plain.takeWritten().endswith(packet(4, KEY)))

    def test_theKeyComesBeforeWhatTheServerSaysLater(self) -> None:
        """
        Although both are there in the same turn.
        """
        authentication = Decryption(CACHING_SHA2, SALT, OURS)
        answers = AppAnswers(+1, authentication)
        questions = AppQuestions(-1, answers, authentication)
        questions.feed(packet(3, FULL))
        self.assertEqual(answers.feed(packet(3, b"\x02")), b"")
        self.assertEqual(questions.feed(packet(4, ERR)), packet(4, KEY) + packet(5, ERR))

    def test_onlySomePasswordsAreDecrypted(self) -> None:
        """
        However often the server asks: nobody can make others wait by that.
        """
        decrypted = 0

        def count(answer: bytes, scramble: bytes) -> None:
            nonlocal decrypted
            decrypted += 1

        self.patch(OURS, "decrypted", count)
        driver = begin(CACHING)
        for number in range(3, 40, 2):
            driver.network.feed(packet(number, FULL))
            driver.plain.feed(packet(number, b"\xff" * 256))
        self.assertIsNone(driver.error)
        self.assertEqual(decrypted, MOST_PASSWORDS)

    def test_theAppMaySendNoMoreThanOneAnswer(self) -> None:
        """
        To one question only one password is decrypted.
        """
        driver = begin(CACHING)
        driver.network.takeWritten()
        self.play(driver, question(3, FULL))
        first = sealed(OURS.public, SALT)
        driver.plain.feed(packet(3, first) + packet(4, first))
        self.play(driver, [("C", packet(4, PASSWORD) + packet(5, first))])

    def test_withTheOptionNothingIsLookedAt(self) -> None:
        """
        The server gets the app's request, and may say no.
        """
        for said, server in ((CACHING, CACHING_SHA2), (login(SHA256, b"\x01"), SHA256)):
            driver = begin(said, server, NO_FULL_AUTHENTICATION)
            self.play(
                driver,
                [
                    ("C", packet(2, inTLS(said))),
                    *question(3, FULL),
                    *answer(3, b"\x02"),
                    *verdict(5, 4, ERR),
                ],
            )
            self.assertOver(driver)

    def test_withTheOptionThereIsNoKey(self) -> None:
        """
        It is made for nobody.
        """
        prepared: list[None] = []
        self.patch(PasswordKey, "prepare", lambda key: prepared.append(None))
        mysql.beginClient(setting(NO_FULL_AUTHENTICATION))
        self.assertEqual(prepared, [])
        mysql.beginClient(setting())
        self.assertEqual(prepared, [None])

    def test_eachServerHasAKeyOfItsOwn(self) -> None:
        """
        One that has a scramble of its own choice cannot have decrypted what was recorded on the way
        to another.
        """
        ours = Setting(remoteID=Identity.parse("db.example.org"), peerName=b"db.example.org")
        theirs = Setting(remoteID=Identity.parse("evil.example.com"), peerName=b"evil.example.com")
        recorded = sealed(keyFor(ours).public, SALT)
        self.assertEqual(Decryption(CACHING_SHA2, SALT, keyFor(ours)).decrypted(recorded), PASSWORD)
        for other in (theirs, replace(ours, tunnel="other"), replace(theirs, tunnel="other")):
            decryption = Decryption(CACHING_SHA2, SALT, keyFor(other))
            self.assertIsNone(decryption.decrypted(recorded))

    def test_halfAnAnswerPassesAsItCame(self) -> None:
        """
        When the app ends in it.
        """
        for cut in (3, 4, 100):
            driver = begin(CACHING)
            driver.network.takeWritten()
            self.play(driver, question(3, FULL))
            answer = packet(3, sealed(OURS.public, SALT))[:cut]
            driver.plain.feed(answer)
            driver.plain.end()
            self.assertEqual(driver.network.takeWritten()[4:], answer[4:])


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


def goLogin(plugin: bytes, value: bytes) -> bytes:
    """
    As go-sql-driver 1.9 writes it: no size of packets, and attributes behind the plugin.
    """
    attributes = b"\x0c_client_name\x0fGo-MySQL-Driver\x03_os\x05linux"
    flags = 1 | 4 | WITH_DB | 1 << 7 | 1 << 9 | 1 << 13 | 1 << 15 | 1 << 17 | 1 << 19
    flags |= 1 << 20 | LENENC | 1 << 24
    return (
        struct.pack("<IIB23x", flags, 0, 45)
        + b"alice\0"
        + (bytes((len(value),)) if len(value) < 251 else b"\xfc" + struct.pack("<H", len(value)))
        + value
        + b"books\0"
        + plugin
        + b"\0"
        + bytes((len(attributes),))
        + attributes
    )


class GoTests(Dialogues):
    """
    What go-sql-driver says (auth.go, packets.go): C{handleAuthResult}, replayed.
    """

    def test_aServerWithTheDefaultPlugin(self) -> None:
        """
        Which is that of the account, too.
        """
        said = goLogin(CACHING_SHA2, b"x" * 32)
        driver = begin(said)
        dialogue = [*question(3, FULL), *key(3, SALT, CACHING_SHA2), *verdict(5, 6)]
        self.play(driver, [("C", packet(2, inTLS(said))), *dialogue])
        self.assertOver(driver)

    def test_aSwitchToTheOutdatedPlugin(self) -> None:
        """
        It answers with a request at once.
        """
        said = goLogin(CACHING_SHA2, b"x" * 32)
        driver = begin(said)
        dialogue = [*question(3, switch(SHA256)), *key(3, OTHER_SALT, SHA256), *verdict(5, 6)]
        self.play(driver, [("C", packet(2, inTLS(said))), *dialogue])
        self.assertOver(driver)

    def test_aServerThatBeginsWithTheOutdatedPlugin(self) -> None:
        """
        Its login has the request, and attributes behind it.
        """
        driver = begin(goLogin(SHA256, b"\x01"), SHA256)
        self.play(driver, [("T", packet(2, KEY))])
        driver.plain.feed(packet(3, sealed(OURS.public, SALT)))
        wanted = inTLS(goLogin(SHA256, PASSWORD))
        self.play(driver, [("C", packet(2, wanted)), *verdict(3, 4)])
        self.assertOver(driver)


class AppRules(ClientConformance, SynchronousTestCase):
    """
    The client role with a password in the login: the rules.
    """

    dialect = mysql
    dialogue = [
        ("S", packet(0, greeting(SHA256))),
        ("T", packet(0, greeting(SHA256, 0xDFFFFFFF & ~SSL))),
        ("A", packet(1, login(SHA256, b"\x01"))),
        ("C", packet(1, inTLS(login(SHA256, b""))[:32])),
    ]
    inside = [
        ("T", packet(2, KEY)),
        ("A", packet(3, sealed(OURS.public, SALT))),
        ("C", packet(2, inTLS(login(SHA256, PASSWORD)))),
        ("S", packet(3, OK)),
        ("T", packet(4, OK)),
    ]
    early = packet(7, b"x" * 100)
    earlySent = packet(6, b"x" * 100)
    appTLS = Malformed

    def test_aFloodOfTheAppIsHeldBack(self) -> None:
        """
        As long as the server is not verified; once the app has given its password, it is the relay
        that does so.
        """
        driver = self.start(len(self.dialogue))
        driver.plain.feed(self.early * 5000)
        self.assertLessEqual(len(driver.role.plain.unread), MAX_HELD_BYTES + RECORD_BYTES)
        self.assertTrue(driver.plain.paused)


class FilterTests(SynchronousTestCase):
    """
    The filters, and what logins are made of.
    """

    @given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40))))
    def test_whereNoPasswordIsAwaitedOnlyNumbersAreChanged(
        self, packets: list[tuple[int, bytes]]
    ) -> None:
        """
        As they are by those who look at nothing.
        """
        stream = b"".join(packet(number, words) for number, words in packets)
        authentication = Decryption(b"mysql_native_password", SALT, OURS)
        answers, plain = AppAnswers(+1, authentication), Renumbered(+1)
        self.assertEqual(filtered(answers, [stream]), filtered(plain, [stream]))
        questions = AppQuestions(-1, AppAnswers(+1, authentication), authentication)
        simple = Verdict(-1, Renumbered(+1))
        self.assertEqual(filtered(questions, [stream]), filtered(simple, [stream]))

    @given(
        st.lists(st.tuples(st.booleans(), st.binary(max_size=300))),
        st.sampled_from([CACHING_SHA2, SHA256]),
    )
    def test_whateverIsSaidErrorsAreOurs(
        self, said: list[tuple[bool, bytes]], plugin: bytes
    ) -> None:
        """
        By either side, in any order.
        """
        authentication = Decryption(plugin, SALT, OURS)
        answers = AppAnswers(+1, authentication)
        questions = AppQuestions(-1, answers, authentication)
        questions.feed(packet(3, switch(plugin)) + packet(4, FULL))
        for isServer, words in said:
            (questions if isServer else answers).feed(words)

    @given(st.binary(max_size=80), st.integers(0, (1 << 32) - 1))
    def test_everyLoginCanBeReadOrIsLeftAlone(self, words: bytes, flags: int) -> None:
        """
        What it is made of is all of it.
        """
        said = bytes(32) + words
        proof = Proof.of(said, flags)
        if proof.plugin:
            self.assertTrue(said.startswith(proof.head) and said.endswith(proof.tail))
            self.assertIn(proof.value, said)
        else:
            self.assertIsInstance(proof, mysqlapp.Proof)

    def test_aPasswordIsPutWhereItsRequestWas(self) -> None:
        """
        Whatever stands before and behind.
        """
        said = login(SHA256, b"\x01")
        proof = Proof.of(said, capabilitiesOf(said))
        self.assertEqual(proof.by(PASSWORD), login(SHA256, PASSWORD))
        self.assertEqual(proof.by(b"\x01"), said)

    def test_theScrambleIsRepeated(self) -> None:
        """
        Passwords are longer than that, and the NUL counts.
        """
        password = b"x" * 100 + b"\0"
        self.assertEqual(OURS.decrypted(sealed(OURS.public, SALT, password), SALT), password)
        self.assertEqual(combined(combined(password, SALT), SALT), password)
