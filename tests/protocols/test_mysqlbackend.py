"""
Tests for L{tlstunnel.protocols.mysqlbackend}: backends without TLS, by the server role.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.protocols.mysqlpackets import (
    CACHING_SHA2,
    ERR,
    FAST,
    FULL,
    OK,
    OTHER_SALT,
    PASSWORD,
    SALT,
    SHA256,
    SSL,
    Pieces,
    greeting,
    login,
    packet,
    switch,
    whole,
)
from tlstunnel.address import Address, TCPAddress, UNIXAddress
from tlstunnel.errors import Malformed
from tlstunnel.protocols.mysql import NO_FULL_AUTHENTICATION, mysql
from tlstunnel.protocols.mysqlbackend import (
    MAX_KEY_BYTES,
    BackendQuestions,
    ClientAnswers,
    Pending,
)
from tlstunnel.protocols.mysqlexchange import MOST_PASSWORDS
from tlstunnel.protocols.mysqlkey import PasswordKey
from tlstunnel.testing.dialogues import crumbs, isFiltered, server
from tlstunnel.testing.memory import Driver

TCP = TCPAddress("127.0.0.1", 3306)
SOCKET = UNIXAddress("/run/mysqld/mysqld.sock")

#: That of the backend.
THEIRS = PasswordKey()
KEY = b"\x01" + THEIRS.public

LOGIN = login(CACHING_SHA2)

#: An SSLRequest.
REQUEST = packet(1, login(CACHING_SHA2, flags=SSL)[:32])


class BackendTests(SynchronousTestCase):
    """
    What clients and backends say.
    """

    def begin(self, backend: Address, *options: str, plugin: bytes = CACHING_SHA2) -> Driver:
        """
        Up to the login.
        """
        driver = server(mysql, *options)
        driver.plain.peer = backend
        driver.plain.feed(packet(0, greeting(plugin)))
        driver.network.feed(REQUEST)
        driver.handshake()
        driver.network.takeWritten()
        driver.network.feed(packet(2, LOGIN))
        self.assertEqual(driver.plain.takeWritten(), packet(1, LOGIN))
        return driver

    def hear(self, driver: Driver, said: bytes, heard: bytes, pieces: Pieces = whole) -> None:
        """
        Of C{said} by the backend the client has C{heard}.
        """
        for piece in pieces(said):
            driver.plain.feed(piece)
        self.assertEqual(driver.network.takeWritten(), heard)

    def say(self, driver: Driver, said: bytes, heard: bytes, pieces: Pieces = whole) -> None:
        """
        Of C{said} by the client the backend has C{heard}.
        """
        for piece in pieces(said):
            driver.network.feed(piece)
        self.assertEqual(driver.plain.takeWritten(), heard)

    def assertOver(self, driver: Driver, backend: int, client: int, words: bytes = OK) -> None:
        """
        The backend decides, and all that follows passes as it is.
        """
        end = b"bytes"
        self.hear(driver, packet(backend, words) + end, packet(client, words) + end)
        self.say(driver, packet(0, b"\3SELECT 1") + b"\x01", packet(0, b"\3SELECT 1") + b"\x01")
        self.assertIsNone(driver.error)
        self.assertFalse(isFiltered(driver.network) or isFiltered(driver.plain))

    def assertEncrypted(self, driver: Driver, number: int, salt: bytes) -> None:
        """
        The backend has got the password, for its key and its scramble.
        """
        said = driver.plain.takeWritten()
        self.assertEqual(said[:4], b"\0\1\0" + bytes((number,)))
        self.assertEqual(THEIRS.decrypted(said[4:], salt), PASSWORD)

    def test_thePasswordIsEncryptedForTheBackend(self) -> None:
        """
        With its key, of which the client hears nothing; numbers are those that both ends await.
        """
        for words in (OK, ERR):
            for pieces in (whole, crumbs):
                driver = self.begin(TCP)
                self.hear(driver, packet(2, FULL), packet(3, FULL), pieces)
                self.say(driver, packet(4, PASSWORD), packet(3, b"\x02"), pieces)
                self.hear(driver, packet(4, KEY), b"", pieces)
                self.assertEncrypted(driver, 5, SALT)
                self.assertOver(driver, 6, 5, words)

    def test_theScrambleIsThatOfTheSwitch(self) -> None:
        """
        By either plugin.
        """
        driver = self.begin(TCP)
        self.hear(driver, packet(2, switch(CACHING_SHA2)), packet(3, switch(CACHING_SHA2)))
        self.say(driver, packet(4, b"x" * 32), packet(3, b"x" * 32))
        self.hear(driver, packet(4, FULL), packet(5, FULL))
        self.say(driver, packet(6, PASSWORD), packet(5, b"\x02"))
        self.hear(driver, packet(6, KEY), b"")
        self.assertEncrypted(driver, 7, OTHER_SALT)
        self.assertOver(driver, 8, 7)

    def test_theOutdatedPluginTakesNoLegForSecure(self) -> None:
        """
        Neither TCP nor a UNIX socket.
        """
        for backend in (TCP, SOCKET):
            driver = self.begin(backend)
            self.hear(driver, packet(2, switch(SHA256)), packet(3, switch(SHA256)))
            self.say(driver, packet(4, PASSWORD), packet(3, b"\x01"))
            self.hear(driver, packet(4, KEY), b"")
            self.assertEncrypted(driver, 5, OTHER_SALT)
            self.assertOver(driver, 6, 5)

    def test_severalFactorsAreNumberedThroughout(self) -> None:
        """
        Each with its own scramble.
        """
        driver = self.begin(TCP)
        self.hear(driver, packet(2, FULL), packet(3, FULL))
        self.say(driver, packet(4, PASSWORD), packet(3, b"\x02"))
        self.hear(driver, packet(4, KEY), b"")
        self.assertEncrypted(driver, 5, SALT)
        factor = b"\x02" + SHA256 + b"\0" + OTHER_SALT + b"\0"
        self.hear(driver, packet(6, factor), packet(5, factor))
        self.say(driver, packet(6, PASSWORD), packet(7, b"\x01"))
        self.hear(driver, packet(8, KEY), b"")
        self.assertEncrypted(driver, 9, OTHER_SALT)
        self.assertOver(driver, 10, 7)

    def test_aSocketIsSecure(self) -> None:
        """
        There the password passes as it is.
        """
        driver = self.begin(SOCKET)
        self.hear(driver, packet(2, FULL), packet(3, FULL))
        self.say(driver, packet(4, PASSWORD), packet(3, PASSWORD))
        self.assertOver(driver, 4, 5)

    def test_whatIsNoPasswordPasses(self) -> None:
        """
        None, one without an end, one that is too long, and what clients say who know no secret.
        """
        for said in (b"", b"\0", b"\x02", b"x" * 32, PASSWORD[:-1], b"x" * 300 + b"\0"):
            driver = self.begin(TCP)
            self.hear(driver, packet(2, FULL), packet(3, FULL))
            self.say(driver, packet(4, said), packet(3, said))
            self.assertOver(driver, 4, 5, ERR)

    def test_whereNoPasswordIsAwaitedNothingIsEncrypted(self) -> None:
        """
        By another plugin, or another question.
        """
        for plugin, question in (
            (b"mysql_native_password", FULL),
            (CACHING_SHA2, FAST),
            (CACHING_SHA2, b"\x01"),
            (SHA256, FULL),
            (CACHING_SHA2, switch(b"mysql_clear_password")),
        ):
            driver = self.begin(TCP, plugin=plugin)
            self.hear(driver, packet(2, question), packet(3, question))
            self.say(driver, packet(4, PASSWORD), packet(3, PASSWORD))
            self.assertOver(driver, 4, 5)

    def test_aBackendThatGivesNoKeyIsHeard(self) -> None:
        """
        Its error is the answer to the password.
        """
        driver = self.begin(TCP)
        self.hear(driver, packet(2, FULL), packet(3, FULL))
        self.say(driver, packet(4, PASSWORD), packet(3, b"\x02"))
        self.assertOver(driver, 4, 5, ERR)

    def test_whatIsNoKeyEndsTheConnection(self) -> None:
        """
        The backend is blamed, and neither it nor the log gets the password.
        """
        curve = ec.generate_private_key(ec.SECP256R1()).public_key()
        short = rsa.generate_private_key(65537, 1024).public_key()
        pem = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        none = "no RSA key with which a password could be encrypted"
        wrong = {
            "nothing": (PASSWORD, b"", none),
            "no PEM": (PASSWORD, b"x" * 451, none),
            "another kind": (PASSWORD, curve.public_bytes(*pem), none),
            "one that is too short": (
                PASSWORD * 5,
                short.public_bytes(*pem),
                "a key of 1024 bits is too short for the password",
            ),
            "a password that is too long": (
                b"rabbit" * 40 + b"\0",
                THEIRS.public,
                "a key of 2048 bits is too short for the password",
            ),
        }
        for what, (password, key, why) in wrong.items():
            driver = self.begin(TCP)
            self.hear(driver, packet(2, FULL), packet(3, FULL))
            self.say(driver, packet(4, password), packet(3, b"\x02"))
            driver.plain.feed(packet(4, b"\x01" + key))
            self.assertIsInstance(driver.error, Malformed, what)
            assert driver.error is not None
            self.assertIn(why, str(driver.error))
            self.assertEqual(driver.error.who, "the backend")
            self.assertNotIn("rabbit", repr(driver.error))
            self.assertEqual(driver.network.written + driver.plain.written, b"")

    def test_aKeyOfAnyLengthIsNotAwaited(self) -> None:
        """
        What is longer than all keys is none, and passes.
        """
        driver = self.begin(TCP)
        self.hear(driver, packet(2, FULL), packet(3, FULL))
        self.say(driver, packet(4, PASSWORD), packet(3, b"\x02"))
        long = packet(4, b"\x01".ljust(MAX_KEY_BYTES + 1, b"x"))
        self.hear(driver, long, long[:3] + b"\x05" + long[4:])
        self.assertIsNone(driver.error)

    def test_aBackendThatAsksForMorePasswordsIsCutOff(self) -> None:
        """
        It gets no further one, not even as it is.
        """
        driver = self.begin(TCP)
        for number in range(2, 2 + 3 * MOST_PASSWORDS, 3):
            driver.plain.feed(packet(number, FULL))
            driver.network.feed(packet(4, PASSWORD))
            self.assertTrue(driver.plain.takeWritten().endswith(b"\x02"))
            driver.plain.feed(packet(number + 2, b"\x04x"))
        driver.plain.feed(packet(20, FULL))
        self.assertIsInstance(driver.error, Malformed)
        assert driver.error is not None
        self.assertEqual(driver.error.who, "the backend")

    def test_onASocketItMayAskAsOftenAsItLikes(self) -> None:
        """
        Nothing is encrypted there.
        """
        driver = self.begin(SOCKET)
        for number in range(2, 20, 2):
            self.hear(driver, packet(number, FULL), packet(number + 1, FULL))
            self.say(driver, packet(number + 2, PASSWORD), packet(number + 1, PASSWORD))
        self.assertOver(driver, 20, 21)

    def test_withTheOptionNothingIsLookedAt(self) -> None:
        """
        The backend gets the password as it is, and may say no.
        """
        driver = self.begin(TCP, NO_FULL_AUTHENTICATION)
        self.hear(driver, packet(2, FULL), packet(3, FULL))
        self.say(driver, packet(4, PASSWORD), packet(3, PASSWORD))
        self.assertOver(driver, 4, 5, ERR)

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
        pending = Pending(plugin, SALT)
        answers = ClientAnswers(-1, pending, (CACHING_SHA2, SHA256))
        questions = BackendQuestions(+1, answers, pending)
        questions.feed(packet(2, switch(plugin)) + packet(4, FULL))
        answers.feed(packet(4, PASSWORD))
        for isServer, words in said:
            try:
                (questions if isServer else answers).feed(words)
            except Malformed:
                return
