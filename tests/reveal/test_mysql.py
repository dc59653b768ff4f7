"""
Tests for L{tlstunnel.reveal.mysql} and L{tlstunnel.reveal.mysqllogin}.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.protocols.mysqllogins import LOGIN, MARIADB, MYSQL, OK, REQUEST, packet, withFlags
from tests.protocols.mysqlpackets import PASSWORD, SHA256, switch
from tests.reveal.mysqlsessions import ALICE, BASE, QUERY, change, driver, login, session
from tlstunnel.address import TCPAddress
from tlstunnel.errors import BackendRefused, Malformed, Oversize, Refused, TunnelError
from tlstunnel.protocols.implicit import implicit
from tlstunnel.protocols.mysql import mysql as dialect
from tlstunnel.protocols.mysqlfields import counted
from tlstunnel.protocols.mysqlkey import PasswordKey
from tlstunnel.protocols.mysqlpackets import (
    COMPRESS,
    COMPRESSIONS,
    CONNECT_ATTRS,
    CONNECT_WITH_DB,
    LENENC_CLIENT_DATA,
    PROTOCOL_41,
    SSL,
    ZSTD,
    Greeting,
)
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.reveal.identitymap import IdentityMap, OwnNames
from tlstunnel.reveal.mysql import mysql
from tlstunnel.reveal.mysqllogin import ATTRIBUTE, LARGEST_BYTES, readLogin
from tlstunnel.testing.dialogues import setting, split
from tlstunnel.testing.memory import Driver

# Logins that are refused in words.
REFUSED = {
    "another user": login(b"ann"),
    "no user": login(b""),
    "another case": login(b"Alice"),
    "a space behind": login(b"alice "),
    "apostrophes, which servers take off": login(b"'alice'"),
    "letters that are alike": login("\u0430lice".encode()),
    "no UTF-8": login(b"alice\xff"),
    "the administrator": login(b"root"),
    "a domain in capitals": login(b"alice@EXAMPLE.ORG"),
    "another domain": login(b"alice@example.com"),
    "compression": login(flags=COMPRESS),
    "another compression": login(flags=ZSTD),
}

# Logins that no server should be asked to understand.
BROKEN = {
    "another id": packet(1, login()),
    "a command": packet(0, b"\3SELECT 1"),
    "no end of the user": packet(2, LOGIN[:37]),
    "the head alone": packet(2, LOGIN[:32]),
    "another request for TLS": packet(2, withFlags(LOGIN, SSL)[:32]),
    "less than a head": packet(2, b"\x85\xa6"),
    "nothing": packet(2, b""),
    "the old protocol": packet(2, bytes(2) + LOGIN[2:]),
    "a header of the PROXY protocol": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
}


class LoginTests(SynchronousTestCase):
    """
    How sessions begin.
    """

    def test_oneIsAsOneself(self) -> None:
        """
        By either name, and in the numbers of the plain leg.
        """
        for user in (b"alice", b"alice@example.org"):
            taken = driver()
            taken.feed("C", packet(2, login(user, SSL)))
            self.assertIsNone(taken.error)
            self.assertEqual(taken.plain.written, packet(1, login(user)))
            taken.feed("B", packet(2, OK))
            self.assertEqual(taken.network.written, packet(3, OK))

    def test_aPasswordMayBeEncryptedOnItsWay(self) -> None:
        """
        That shifts the numbers of packets, and nobody gets a command past by that: what counts is
        the one with which it reaches the backend.
        """
        for after, number, words in ((b"", 255, b""), (packet(6, OK), 0, OK)):
            taken = driver()
            taken.plain.peer = TCPAddress("127.0.0.1", 3306)
            taken.feed("C", packet(2, login()))
            taken.feed("B", packet(2, switch(SHA256)))
            taken.feed("C", packet(4, PASSWORD))
            taken.plain.takeWritten()
            taken.feed("B", packet(4, b"\x01" + PasswordKey().public))
            self.assertEqual(taken.plain.takeWritten()[:4], b"\0\1\0\5")
            taken.network.takeWritten()
            taken.feed("B", after)
            self.assertEqual(taken.network.takeWritten()[4:], words)
            taken.feed("C", change(b"bob", number))
            self.assertIsInstance(taken.error, Refused)
            self.assertEqual(taken.plain.takeWritten(), b"")

    def test_itIsReadHoweverItArrives(self) -> None:
        """
        Cut anywhere, with a command behind it.
        """
        query = packet(0, b"\3SELECT 1")
        for pieces in split(packet(2, login())):
            taken = driver()
            for piece in pieces:
                taken.feed("C", piece)
            taken.feed("B", packet(2, OK))
            taken.feed("C", query)
            self.assertEqual(taken.plain.written, packet(1, login()) + query)

    def test_aLoginIsAnswered(self) -> None:
        """
        By plugins as long as they like, whatever they send.
        """
        taken = driver()
        taken.feed("C", packet(2, login()))
        for number in range(2, 252, 2):
            taken.feed("B", packet(number, b"\x01more"))
            taken.feed("C", packet(number + 2, b"\x11ann\0"))
        taken.feed("B", packet(252, OK))
        taken.feed("C", packet(0, b"\x0e"))
        self.assertIsNone(taken.error)
        self.assertTrue(taken.plain.written.endswith(packet(0, b"\x0e")))

    def test_somebodyElseIsRefused(self) -> None:
        """
        In words, with the number that the client awaits, and the backend hears nothing.
        """
        for title, said in REFUSED.items():
            taken = driver()
            taken.feed("C", packet(2, said))
            assert isinstance(taken.error, Refused), title
            self.assertEqual(taken.error.who, "the client", title)
            self.assertEqual(taken.plain.written, b"", title)
            start = taken.network.written[3:13]
            self.assertEqual(start, b"\x03\xff" + struct.pack("<H", 1045) + b"#28000", title)
            size = int.from_bytes(taken.network.written[:3], "little")
            self.assertEqual(size, len(taken.network.written) - 4, title)
            self.assertEqual(taken.network.ending, "closed")

    def test_whatIsBrokenIsRefused(self) -> None:
        """
        Nothing of it is passed.
        """
        for title, said in BROKEN.items():
            taken = driver()
            taken.feed("C", said)
            assert isinstance(taken.error, Malformed), title
            self.assertNotIn(b"alice", taken.error.said, title)
            self.assertEqual(taken.plain.written, b"", title)

    def test_attributesHaveRoomWithinBounds(self) -> None:
        """
        They may be most of a login.
        """
        long = login() + b"a" * (LARGEST_BYTES - len(login()))
        taken = driver()
        taken.feed("C", packet(2, long))
        self.assertEqual(taken.plain.written, packet(1, long))
        taken = driver()
        taken.feed("C", packet(2, b"")[:0] + b"\xff\xff\xff\x02" + long)
        self.assertIsInstance(taken.error, Oversize)

    def test_compressionIsNotOffered(self) -> None:
        """
        Neither kind, by neither server; all else is as it was.
        """
        for greeting in (MYSQL, MARIADB):
            self.assertTrue(Greeting.parse(greeting).capabilities & COMPRESSIONS)
            known = replace(setting(), words=frozenset(("mysql",)))
            taken = Driver(dialect, "server", known, words=[(mysql, OwnNames())], identity=ALICE)
            taken.feed("B", packet(0, greeting))
            parsed = Greeting.parse(greeting)
            flags = (parsed.capabilities | SSL) & ~COMPRESSIONS
            offered = packet(0, replace(parsed, capabilities=flags).payload())
            self.assertEqual(taken.network.written, offered)

    def test_withoutTheWordNothingIsTouched(self) -> None:
        """
        Compression is offered, and users are for the backend to judge.
        """
        taken = Driver(dialect, "server", identity=ALICE)
        taken.feed("B", packet(0, MYSQL))
        self.assertIn(struct.pack("<H", 0xFFFF), taken.network.takeWritten())
        taken.feed("C", REQUEST)
        taken.handshake()
        said = login(b"ann", COMPRESS)
        taken.feed("C", packet(2, said))
        self.assertEqual(taken.plain.written, packet(1, said))

    def test_aMapSaysWhoMayBeWho(self) -> None:
        """
        And the own name is none, if it is not there; nor is one that servers read differently.
        """
        path = Path(self.mktemp())
        path.write_text(
            "mysql alice@example.org ann\nmysql alice@example.org 'bob'\n"
            f"mysql alice@example.org {'a' * 32}\nmysql alice@example.org {'a' * 33}\n"
            "mysql alice@example.org b|b\nmysql alice@example.org bäb\n"
        )
        names = IdentityMap.read(path, "mysql")
        for user, isPassed in (
            *((b"ann", True), (b"alice", False), (b"'bob'", False), (b"bob", False)),
            *((b"a" * 32, True), (b"a" * 33, False), (b"b|b", False), ("bäb".encode(), False)),
        ):
            taken = driver(names=names)
            taken.feed("C", packet(2, login(user)))
            self.assertEqual(bool(taken.plain.written), isPassed, user)

    def test_theWordReadsItsMap(self) -> None:
        """
        When the tunnel is prepared.
        """
        path = Path(self.mktemp())
        path.write_text("mysql alice@example.org ann\n")
        names = mysql.prepare(Disclosure(identityMap=path))
        self.assertEqual(tuple(names.names(ALICE)), ("ann",))
        self.assertTrue(mysql.needsIdentity)

    def test_nobodyIsRefused(self) -> None:
        """
        Nobody has proved anything.
        """
        taken = driver(identity=None)
        taken.feed("C", packet(2, login()))
        self.assertIsInstance(taken.error, Refused)


def withAttributes(*pairs: tuple[bytes, bytes], user: bytes = b"alice", flags: int = 0) -> bytes:
    """
    A login, with these.
    """
    said = b"".join(counted(name) + counted(value) for name, value in pairs)
    return login(user, CONNECT_ATTRS | flags) + counted(said)


WHO = (ATTRIBUTE, b"alice@example.org")
CLIENT = (b"_client_name", b"libmysql")


class AttributesTests(SynchronousTestCase):
    """
    What a client tells of itself.
    """

    def passed(self, said: bytes) -> bytes:
        """
        What the backend is given of a login.

        @raise TunnelError: if it ends the connection.
        """
        taken = driver()
        taken.feed("C", packet(2, said))
        if taken.error is not None:
            assert not taken.plain.written
            raise taken.error
        return taken.plain.written

    def test_theIdentityIsTheFirst(self) -> None:
        """
        However many there are.
        """
        for pairs in ((), (CLIENT,), (CLIENT, (b"_pid", b"1")), ((b"x", b"y" * 300),)):
            said = withAttributes(*pairs)
            self.assertEqual(self.passed(said), packet(1, withAttributes(WHO, *pairs)))
        said = login(flags=CONNECT_ATTRS)
        self.assertEqual(self.passed(said), packet(1, withAttributes(WHO)))

    def test_itIsWhereverTheyBegin(self) -> None:
        """
        Behind a database, or a long password.
        """
        attributes = counted(counted(CLIENT[0]) + counted(CLIENT[1]))
        told_ = withAttributes(WHO, CLIENT)[len(login()) :]
        base = BASE + LOGIN[4:37]
        for flags, middle in (
            (0, b"\0\x14" + b"x" * 20 + b"plugin\0"),
            (CONNECT_WITH_DB, b"\0\x14" + b"\0" * 20 + b"books\0plugin\0"),
            (0, b"\0\xfc" + b"x" * 0xFC + b"plugin\0"),
            (LENENC_CLIENT_DATA, b"\0\xfc\x2c\x01" + b"x" * 300 + b"plugin\0"),
            (LENENC_CLIENT_DATA, b"\0\x00plugin\0"),
        ):
            said = withFlags(base, flags | CONNECT_ATTRS) + middle
            self.assertEqual(self.passed(said + attributes), packet(1, said + told_))

    def test_nobodyElseGivesIt(self) -> None:
        """
        In no spelling.
        """
        for name in (ATTRIBUTE, ATTRIBUTE.upper(), ATTRIBUTE + b" ", b" " + ATTRIBUTE):
            for pairs in (
                ((name, b"bob@example.org"),),
                (CLIENT, (name, b"bob@example.org")),
                ((name, b"bob@example.org"), CLIENT, (name, b"")),
            ):
                kept = [each for each in pairs if each is CLIENT]
                said = self.passed(withAttributes(*pairs))
                self.assertEqual(said, packet(1, withAttributes(WHO, *kept)))

    def test_whatCouldBeReadInTwoWaysIsRefused(self) -> None:
        """
        Nothing of it is passed.
        """
        whole = withAttributes(CLIENT)
        for title, said in {
            "something behind them": whole + b"\0",
            "a second list": whole + counted(counted(ATTRIBUTE) + counted(b"bob")),
            "an end within them": whole[:-1],
            "a name without a value": login(flags=CONNECT_ATTRS) + counted(counted(b"a")),
            "a size that is none": login(flags=CONNECT_ATTRS) + b"\xfb",
            "another one": login(flags=CONNECT_ATTRS) + b"\xff",
            "a size that is cut": login(flags=CONNECT_ATTRS) + b"\xfc\1",
            "a size beyond all": login(flags=CONNECT_ATTRS) + b"\xfe" + b"\xff" * 8,
            "an old client": struct.pack("<I", PROTOCOL_41 | CONNECT_ATTRS) + whole[4:],
        }.items():
            error = self.assertRaises(TunnelError, self.passed, said)
            self.assertIsInstance(error, Malformed, title)
            # There is a password in it, or nearly one.
            self.assertEqual(error.said, b"", title)

    def test_withoutThemThereIsNone(self) -> None:
        """
        What a client sends that has no attributes is for no server to read.
        """
        said = login() + counted(counted(ATTRIBUTE) + counted(b"bob"))
        self.assertEqual(self.passed(said), packet(1, said))

    def test_aChangeOfUserHasItToo(self) -> None:
        """
        Unless it has no place for it.
        """
        taken = driver()
        taken.feed("C", packet(2, withAttributes(CLIENT)))
        taken.feed("B", packet(2, OK))
        taken.plain.takeWritten()
        forged = counted(counted(ATTRIBUTE) + counted(b"bob") + counted(b"a") + counted(b"b"))
        ours = counted(counted(ATTRIBUTE) + counted(WHO[1]) + counted(b"a") + counted(b"b"))
        start = b"\x11alice\0\x02xxbooks\0"
        for pieces in split(packet(0, start + b"\x2d\0plugin\0" + forged) + QUERY):
            for piece in pieces:
                taken.feed("C", piece)
            expected = packet(0, start + b"\x2d\0plugin\0" + ours) + QUERY
            self.assertEqual(taken.plain.takeWritten(), expected)
        for end in (b"", b"\x2d\0"):
            taken.feed("C", packet(0, start + end))
            self.assertEqual(taken.plain.takeWritten(), packet(0, start + end))
        taken.feed("C", packet(0, start + b"\x2d\0plugin\0" + forged + b"\0"))
        self.assertIsInstance(taken.error, Malformed)
        self.assertEqual(taken.plain.written, b"")

    @given(st.binary(max_size=80), st.sampled_from([0, CONNECT_WITH_DB, LENENC_CLIENT_DATA]))
    def test_whateverPassesHasTheIdentityOnce(self, rest: bytes, flags: int) -> None:
        """
        And nothing before the attributes was touched.
        """
        said = withFlags(BASE + LOGIN[4:38], CONNECT_ATTRS | flags) + rest
        try:
            passed = self.passed(said)
        except TunnelError:
            return
        self.assertIn(counted(ATTRIBUTE) + counted(WHO[1]), passed)
        _, at = readLogin(said, int.from_bytes(said[:4], "little"))
        assert at is not None
        self.assertEqual(passed[4 : 4 + at], said[:at])


class ImplicitTests(SynchronousTestCase):
    """
    The same with TLS from the first byte, where the greeting is within it.
    """

    def setUp(self) -> None:
        self.driver = Driver(implicit, "server", words=[(mysql, OwnNames())], identity=ALICE)
        self.driver.handshake()

    def test_oneIsAsOneself(self) -> None:
        """
        In the numbers that there are; the greeting promises no TLS and no compression.
        """
        self.driver.feed("B", packet(0, MYSQL))
        parsed = Greeting.parse(MYSQL)
        flags = parsed.capabilities & ~(SSL | COMPRESSIONS)
        offered = packet(0, replace(parsed, capabilities=flags).payload())
        self.assertEqual(self.driver.network.takeWritten(), offered)
        self.driver.feed("C", packet(1, login()))
        self.assertEqual(self.driver.plain.takeWritten(), packet(1, login()))
        self.driver.feed("B", packet(2, OK))
        self.assertEqual(self.driver.network.written, packet(2, OK))
        self.driver.feed("C", change(b"ann"))
        self.assertIsInstance(self.driver.error, Refused)
        self.assertEqual(self.driver.plain.written, b"")

    def test_somebodyElseIsRefused(self) -> None:
        """
        Also who asks for TLS within TLS.
        """
        for said in (login(b"ann"), login(flags=SSL)):
            self.setUp()
            self.driver.feed("B", packet(0, MYSQL))
            self.driver.network.takeWritten()
            self.driver.feed("C", packet(1, said))
            self.assertIsInstance(self.driver.error, Refused)
            self.assertEqual(self.driver.network.written[3:5], b"\2\xff")
            self.assertEqual(self.driver.plain.written, b"")

    def test_aBackendMayRefuse(self) -> None:
        """
        Then another one may be tried.
        """
        self.driver.feed("B", packet(0, b"\xff\x10\x04Too many connections"))
        self.assertIsInstance(self.driver.error, BackendRefused)


class SessionTests(SynchronousTestCase):
    """
    The same in a tunnel.
    """

    def test_theUserIsCheckedAsLongAsTheSessionLasts(self) -> None:
        """
        The backend hears nothing of a change to somebody else, and both legs end.
        """
        taken = session()
        for _ in range(3):
            taken.feed("C", QUERY + change(b"alice"))
            taken.feed("B", packet(1, OK) * 2)
        self.assertEqual(taken.plain.takeWritten(), (QUERY + change(b"alice")) * 3)
        taken.feed("C", QUERY + change(b"ann") + QUERY)
        self.assertIsInstance(taken.error, Refused)
        self.assertEqual(taken.plain.written, b"")

    def test_aPipelinedChangeIsCheckedToo(self) -> None:
        """
        Behind the login, before the backend has answered; what its number becomes is what counts.
        """
        for number in range(256):
            taken = driver()
            taken.feed("C", packet(2, login()) + change(b"ann", number))
            written = taken.plain.written[len(packet(1, login())) :]
            if number == 1:
                self.assertIsInstance(taken.error, Refused)
            else:
                self.assertEqual(written[3], (number - 1) % 256)
            self.assertNotEqual(written[3:4], b"\0")

    def test_theBackendIsNotFiltered(self) -> None:
        """
        Once the login is over.
        """
        taken = session()
        self.assertEqual([type(each) for each in taken.role.toNetwork], [])
        taken.feed("B", b"\x11" * 100_000)
        self.assertEqual(len(taken.network.written), 100_000)

    def test_errorsAreOfTunnels(self) -> None:
        """
        Nothing that a client says is a bug of ours.
        """
        for said in (*BROKEN.values(), b"\xff" * 40, bytes(40)):
            taken = driver()
            taken.feed("C", said)
            if taken.error is not None:
                self.assertNotEqual(type(taken.error), TunnelError)
