"""
Tests for L{tlstunnel.protocols.mysqlapp}: apps that encrypt their passwords, by the client role.
"""

from __future__ import annotations

import struct
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.protocols.mysqlapps import (
    CACHING,
    DIALOGUES,
    KEY,
    OURS,
    Dialogues,
    answer,
    begin,
    inTLS,
    key,
    question,
    verdict,
)
from tests.protocols.mysqlpackets import (
    CACHING_SHA2,
    ERR,
    FULL,
    LENENC,
    OK,
    OTHER_SALT,
    PASSWORD,
    SALT,
    SHA256,
    SSL,
    WITH_DB,
    combined,
    greeting,
    login,
    packet,
    sealed,
    switch,
    whole,
)
from tlstunnel.errors import Closed, Malformed, Oversize, TunnelError
from tlstunnel.identity.names import Identity
from tlstunnel.protocols import mysqlapp
from tlstunnel.protocols.conversation import MAX_HELD_BYTES
from tlstunnel.protocols.mysql import NO_FULL_AUTHENTICATION, capabilitiesOf, mysql
from tlstunnel.protocols.mysqlapp import AppAnswers, AppQuestions, Decryption, Proof, keyFor
from tlstunnel.protocols.mysqlexchange import MOST_PASSWORDS
from tlstunnel.protocols.mysqlkey import PasswordKey
from tlstunnel.protocols.mysqlpackets import Renumbered, Verdict
from tlstunnel.protocols.setting import Setting
from tlstunnel.testing.conformance import ClientConformance
from tlstunnel.testing.dialogues import crumbs, filtered, setting
from tlstunnel.tls.records import RECORD_BYTES


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
