"""
Tests for L{tlstunnel.protocols.mysql} and L{tlstunnel.protocols.mysqlpackets}.
"""

from __future__ import annotations

import struct
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import (
    BackendRefused,
    ForeignProtocol,
    Malformed,
    NotOffered,
    Oversize,
    PlaintextAfterStartTLS,
    Refused,
    TunnelError,
)
from tlstunnel.protocols.filters import PIECE_BYTES
from tlstunnel.protocols.mysql import Login, mysql
from tlstunnel.protocols.mysqlpackets import Greeting, Renumbered, Verdict
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.dialogues import client, filtered, said, server, split
from tlstunnel.testing.memory import Driver

SSL = 1 << 11
PLUGIN_AUTH = 1 << 19


def packet(number: int, payload: bytes) -> bytes:
    """
    One packet.
    """
    return len(payload).to_bytes(3, "little") + bytes((number % 256,)) + payload


# As they came from the servers.
MYSQL = bytes.fromhex(
    "0a 382e302e3432 00 08000000 0102030405060708 00 ffff ff 0200 ffdf 15 00000000000000000000"
    "1112131415161718191a1b1c 00 63616368696e675f736861325f70617373776f7264 00"
)
MARIADB = (
    b"\x0a5.5.5-10.11.6-MariaDB-0+deb12u1\0"
    + struct.pack("<I8sx", 5, b"abcdefgh")
    + struct.pack("<HBHHB", 0xFFFE, 45, 2, 0x81BF, 21)
    + bytes(6)
    + struct.pack("<I", 0x1D)
    + b"ijklmnopqrst\0mysql_native_password\0"
)

# Fields that the protocol does not bound: Manticore's kind of version, the longest salt, a plugin.
LONG = (
    b"\x0a6.3.9 d7a9a2d4c@24111416 dev (columnar 3.0.1 6f4f7a5@24110516)"
    b" (secondary 3.0.1 6f4f7a5)\0"
    + struct.pack("<I8sx", 7, b"abcdefgh")
    + struct.pack("<HBHHB10x", 0xFFFF, 33, 2, 0x81BF, 255)
    + b"s" * 246
    + b"\0authentication_"
    + b"x" * 100
    + b"\0"
)

TOO_MANY = b"\xff\x10\x04Too many connections from <you>"

CAPABILITIES = 0x000FA68D | PLUGIN_AUTH
LOGIN = (
    struct.pack("<IIB23s", CAPABILITIES, 1 << 24, 45, b"")
    + b"alice\0\x14"
    + b"x" * 20
    + b"mysql_native_password\0"
)


def withFlags(payload: bytes, flags: int) -> bytes:
    """
    A client's packet with some flags set.
    """
    return struct.pack("<I", struct.unpack("<I", payload[:4])[0] | flags) + payload[4:]


def cleared(greeting: bytes) -> bytes:
    """
    A greeting without the flag for TLS.
    """
    parsed = Greeting.parse(greeting)
    return replace(parsed, capabilities=parsed.capabilities & ~SSL).payload()


REQUEST = packet(1, withFlags(LOGIN, SSL)[:32])

OK = b"\0\0\0\2\0\0\0"
ERR = b"\xff\x15\x04#28000Access denied"
SWITCH = b"\xfemysql_native_password\0" + b"s" * 20 + b"\0"

# Greetings that cannot be.
IMPOSSIBLE = {
    "protocol 9": b"\x09" + MYSQL[1:],
    "nothing": b"",
    "only a version": b"\x0a8.0.42\0",
    "a version that does not end": b"\x0a" + b"8" * 200,
    "no version": b"\x0a\0" + MYSQL[8:],
    "an escape sequence as version": b"\x0a8.0\x1b[2J" + MYSQL[7:],
    "a version beyond ASCII": b"\x0a8.0\xc3\xa4" + MYSQL[7:],
    "a plugin that is no word": MYSQL[:-1] + b" or <b>this</b>\0",
    "two names": MYSQL + b"x\0",
    "a salt that is longer than all": MYSQL[:28] + b"\xff" + MYSQL[29:],
    "a salt that is cut": MYSQL[:45],
    "a text protocol": b"220 mail.example.org ESMTP\r\n",
}


class GreetingTests(SynchronousTestCase):
    """
    Greetings, read and written.
    """

    def test_realOnesAreMadeAnewAsTheyWere(self) -> None:
        """
        Byte for byte.
        """
        self.assertEqual(Greeting.parse(MYSQL).payload(), MYSQL)
        self.assertEqual(Greeting.parse(MARIADB).payload(), MARIADB)

    def test_theFieldsAreFound(self) -> None:
        """
        Those of MariaDB beyond 32 bits, too.
        """
        greeting = Greeting.parse(MARIADB)
        self.assertEqual(greeting.version, b"5.5.5-10.11.6-MariaDB-0+deb12u1")
        self.assertEqual(greeting.salt, b"abcdefghijklmnopqrst")
        self.assertEqual(greeting.plugin, b"mysql_native_password")
        self.assertEqual((greeting.thread, greeting.charset, greeting.status), (5, 45, 2))
        self.assertEqual((greeting.capabilities, greeting.extended), (0x81BFFFFE, 0x1D))

    def test_onlyTheWholeIsBounded(self) -> None:
        """
        Not the version, the salt or the name of the plugin.
        """
        greeting = Greeting.parse(LONG)
        self.assertEqual(greeting.payload(), LONG)
        self.assertEqual(len(greeting.version), 88)
        self.assertEqual(len(greeting.salt), 254)
        self.assertEqual(len(greeting.plugin), 115)

    def test_freeBytesAreDropped(self) -> None:
        """
        Of what is reserved, and in MySQL has no meaning, nothing is passed on.
        """
        at = MYSQL.index(bytes(10))
        dirty = MYSQL[:at] + b"0123456789" + MYSQL[at + 10 :]
        self.assertEqual(Greeting.parse(dirty).payload(), MYSQL)

    def test_oldServersAreUnderstood(self) -> None:
        """
        Those that forgot the last NUL, and those without plugins.
        """
        self.assertEqual(Greeting.parse(MYSQL[:-1]).payload(), MYSQL)
        head = Greeting.parse(MYSQL)
        old = replace(head, capabilities=head.capabilities & ~PLUGIN_AUTH, plugin=b"").payload()
        self.assertTrue(old.endswith(b"\x1c\0"))
        self.assertEqual(Greeting.parse(old + b"<b>"), Greeting.parse(old))
        # A length of the salt, which nobody reads there.
        at = MYSQL.index(bytes(10)) - 1
        longer = old[:at] + b"\xff" + old[at + 1 :] + bytes(300)
        self.assertEqual(Greeting.parse(longer), Greeting.parse(old))

    def test_impossibleOnesAreRefused(self) -> None:
        """
        Whatever is wrong in them.
        """
        for what, payload in IMPOSSIBLE.items():
            with self.assertRaises(Malformed, msg=what):
                Greeting.parse(payload)

    @given(st.one_of(st.binary(max_size=120), st.binary(max_size=90).map(MYSQL[:25].__add__)))
    def test_whateverIsReadCanBeWritten(self, payload: bytes) -> None:
        """
        And reads as the same again; else the error is ours.
        """
        try:
            greeting = Greeting.parse(payload)
        except Malformed:
            return
        self.assertEqual(Greeting.parse(greeting.payload()), greeting)


NO_TLS = replace(Greeting.parse(MYSQL), capabilities=SSL).payload()


class ClientRules(ClientConformance, SynchronousTestCase):
    """
    The client role: the rules.
    """

    dialect = mysql
    dialogue = [
        ("S", packet(0, MYSQL)),
        ("T", packet(0, cleared(MYSQL))),
        ("A", packet(1, LOGIN)),
        ("C", REQUEST),
    ]
    inside = [
        ("C", packet(2, withFlags(LOGIN, SSL))),
        ("S", packet(3, OK)),
        ("T", packet(2, OK)),
    ]
    early = packet(7, b"x" * 100)
    earlySent = packet(8, b"x" * 100)
    appTLS = Malformed
    # The first byte of the length of the last one is 0.
    farewells = [
        packet(2, b"\xff\x1d\x04#08S01Shutdown"),
        packet(2, b"\xff\x13\x04"),
        packet(2, b"\xff\x1d\x04#08S01".ljust(256, b"x")),
    ]
    variants = [
        (0, packet(0, MYSQL[:-1])),
        (0, packet(0, MYSQL.replace(bytes(10), b"0123456789"))),
        (2, packet(1, LOGIN[:9] + b"x" * 23 + LOGIN[32:])),
    ]
    failures = [
        (0, packet(0, cleared(MYSQL)), NotOffered),
        (0, packet(0, TOO_MANY), Refused),
        (0, packet(0, b"\xff"), Refused),
        (0, packet(0, NO_TLS), Refused),
        (0, packet(1, MYSQL), Malformed),
        (0, b"\xff\xff\xff\0", Oversize),
        *((0, packet(0, each), Malformed) for each in IMPOSSIBLE.values()),
    ]


class ClientTests(SynchronousTestCase):
    """
    The client role.
    """

    def switched(self, login: bytes = LOGIN, greeting: bytes = MYSQL) -> Driver:
        """
        After the switch.
        """
        driver = client(mysql)
        driver.network.feed(packet(0, greeting))
        self.assertEqual(driver.plain.takeWritten(), packet(0, cleared(greeting)))
        self.assertEqual(driver.network.written, b"")
        driver.plain.feed(packet(1, login))
        self.assertEqual(driver.stage, "switched", driver.error)
        self.assertEqual(driver.network.takeWritten(), packet(1, withFlags(login, SSL)[:32]))
        return driver

    def test_theLoginIsAnnouncedAndSentInsideTLS(self) -> None:
        """
        Both with the flag for TLS; the app sees none.
        """
        for greeting in (MYSQL, MARIADB, LONG):
            driver = self.switched(greeting=greeting)
            driver.handshake()
            self.assertEqual(driver.network.takeWritten(), packet(2, withFlags(LOGIN, SSL)))
            driver.network.feed(packet(3, OK))
            self.assertEqual(driver.plain.takeWritten(), packet(2, OK))

    def test_afterTheLoginNumbersAreThoseOfBothEnds(self) -> None:
        """
        Whether it succeeded or not.
        """
        for outcome in (OK, ERR):
            driver = self.switched()
            driver.handshake()
            driver.network.takeWritten()
            driver.network.feed(packet(3, outcome) + b"bytes")
            self.assertEqual(driver.plain.takeWritten(), packet(2, outcome) + b"bytes")
            driver.plain.feed(packet(0, b"\3SELECT 1") + b"\0\0")
            self.assertEqual(driver.network.takeWritten(), packet(0, b"\3SELECT 1") + b"\0\0")

    def test_aLongAuthenticationIsNumberedThroughout(self) -> None:
        """
        Another plugin, more data, another factor, data of plugins, and empty packets.
        """
        driver = self.switched()
        driver.handshake()
        driver.network.takeWritten()
        number = 3
        dialogue = [SWITCH, b"\x01\x03", b"\x02next_factor\0", b"\x04Password:", b"", b"\x01\x04"]
        for question in dialogue:
            driver.network.feed(packet(number, question))
            self.assertEqual(driver.plain.takeWritten(), packet(number - 1, question))
            driver.plain.feed(packet(number, b""))
            self.assertEqual(driver.network.takeWritten(), packet(number + 1, b""))
            driver.plain.feed(packet(number, b"\0secret"))
            self.assertEqual(driver.network.takeWritten(), packet(number + 1, b"\0secret"))
            number += 2
        driver.network.feed(packet(number, OK))
        self.assertEqual(driver.plain.takeWritten(), packet(number - 1, OK))

    def test_mariadbsCapabilitiesAreAnnounced(self) -> None:
        """
        Its clients say by a flag that they are none of MySQL.
        """
        login = withFlags(LOGIN, 0)[:28] + b"\x1d\0\0\0" + LOGIN[32:]
        mariadb = struct.pack("<I", CAPABILITIES & ~1) + login[4:]
        driver = self.switched(mariadb, MARIADB)
        driver.handshake()
        self.assertEqual(driver.network.written, packet(2, withFlags(mariadb, SSL)))

    def test_aLoginOfAnyLengthIsNotTakenForTLS(self) -> None:
        """
        A length of 790 looks like the start of a TLS record.
        """
        login = LOGIN.ljust(0x0316, b"x")
        self.assertEqual(packet(1, login)[:2], b"\x16\x03")
        driver = self.switched(login)
        driver.handshake()
        self.assertEqual(driver.network.written, packet(2, withFlags(login, SSL)))

    def test_nothingMayFollowTheGreeting(self) -> None:
        """
        Neither at once, in which case the app is not greeted, nor later.
        """
        for extra in (b"\0", packet(1, OK), b"\x16\x03\x03"):
            driver = client(mysql)
            driver.network.feed(packet(0, MYSQL) + extra)
            self.assertIsInstance(driver.error, PlaintextAfterStartTLS)
            self.assertEqual(driver.plain.written, b"")
            driver = client(mysql)
            driver.network.feed(packet(0, MYSQL))
            driver.network.feed(extra)
            driver.plain.feed(packet(1, LOGIN))
            self.assertIsInstance(driver.error, PlaintextAfterStartTLS)
            self.assertFalse(driver.network.isTLS)

    def test_anAppThatAsksForTLSGetsAnError(self) -> None:
        """
        Whether it does so by a request, or by a login with that flag.
        """
        for number, asking in enumerate((REQUEST, packet(1, withFlags(LOGIN, SSL)))):
            driver = client(mysql)
            driver.network.feed(packet(0, MYSQL))
            driver.plain.takeWritten()
            driver.plain.feed(asking)
            self.assertIsInstance(driver.error, ForeignProtocol, number)
            assert driver.error is not None
            self.assertEqual(driver.error.who, "the app")
            self.assertEqual(driver.plain.written[3:13], b"\x02\xff\x13\x04#08S01")
            self.assertEqual(driver.network.written, b"")

    def test_anAppThatDoesNotLogInIsCutOff(self) -> None:
        """
        Packets that are short, old, or out of order.
        """
        old = struct.pack("<I", CAPABILITIES & ~(1 << 9)) + LOGIN[4:]
        for wrong in (packet(1, LOGIN[:31]), packet(1, b""), packet(1, old), packet(0, LOGIN)):
            driver = client(mysql)
            driver.network.feed(packet(0, MYSQL))
            driver.plain.feed(wrong)
            self.assertIsInstance(driver.error, Malformed)
            self.assertEqual(driver.network.written, b"")

    @given(st.binary(max_size=200))
    def test_noOtherBytesAreTakenForAGreeting(self, data: bytes) -> None:
        """
        Errors are ours, whatever comes.
        """
        for stream in (data, packet(0, data), packet(0, b"\x0a" + data)):
            driver = client(mysql)
            driver.network.feed(stream)
            self.assertIsInstance(driver.error, TunnelError | None)
            self.assertEqual(driver.network.written, b"")


# What real drivers said to real servers: the request, and the login inside TLS.
DRIVERS = {
    # What a buffer held before is where zeroes belong; the login has no flag for TLS.
    "go-sql-driver 1.5.0": (
        "20000001 8daa0a00 00000000 2d 2e31312e31392d4d6172696144422d302b646562313275",
        (
            "58000002 8daa0a00 00000000 2d 0000000000000000000000000000000000000000000000"
            "6e61746976650014424ed29a1b13958f050ddb9457378ffc32aeaf6b"
            "626f6f6b73006d7973716c5f6e61746976655f70617373776f726400"
        ),
    ),
    "MariaDB Connector/J 2.7.6": (
        "20000001 8aabbe01 00000040 e0 0000000000000000000000000000000000000000000000",
        (
            "59000002 8aa3be01 00000040 e0 0000000000000000000000000000000000000000000000"
            "6e617469766500148a4e00add83788c2e177b2e3355be774d6314e71"
            "626f6f6b73006d7973716c5f6e61746976655f70617373776f72640000"
        ),
    ),
    # MariaDB's own flags are in the login only.
    "asyncmy 0.2.18": (
        "20000001 0daa3b01 ffffff00 2d 0000000000000000000000000000000000000000000000",
        (
            "59000002 0caa3b01 ffffff00 2d 0000000000000000000000000000000000000004000000"
            "6e61746976650014 0d95be6db543c562ec28c1e223f06bbef187885a"
            "626f6f6b73006d7973716c5f6e61746976655f70617373776f72640000"
        ),
    ),
    # The flags and nothing else.
    "Connector/J 3.1": (
        "04000001 8faa0000",
        (
            "3e000002 8faa0000 ffffff00 21 0000000000000000000000000000000000000000000000"
            "616c69636500140d95be6db543c562ec28c1e223f06bbef187885a626f6f"
        ),
    ),
    "another character set": (
        "20000001 8daa0a00 00000001 21 0000000000000000000000000000000000000000000000",
        "24000002 8daa0a00 00000001 2d 000000000000000000000000000000000000000000000061620000",
    ),
    "another packet size, and other flags": (
        "20000001 00080000 00000000 21 0000000000000000000000000000000000000000000000",
        "24000002 8daa0a00 00000001 21 000000000000000000000000000000000000000000000061620000",
    ),
}

REQUIRED = packet(2, b"\xff\x57\x0c#HY000TLS required")
OLD = struct.pack("<I", CAPABILITIES & ~(1 << 9)) + LOGIN[4:]


class ServerRules(ServerConformance, SynchronousTestCase):
    """
    The server role: the rules.
    """

    dialect = mysql
    dialogue = [("B", packet(0, cleared(MYSQL))), ("S", packet(0, MYSQL)), ("C", REQUEST)]
    inside = [
        ("C", packet(2, withFlags(LOGIN, SSL))),
        ("T", packet(1, LOGIN)),
        ("B", packet(2, OK)),
        ("S", packet(3, OK)),
    ]
    tlsMayFollow = True
    variants = [
        (0, packet(0, MYSQL)),
        (0, packet(0, cleared(MYSQL)[:-1])),
        (2, packet(1, withFlags(LOGIN, SSL)[:4])),
        (2, packet(1, withFlags(LOGIN, SSL)[:9] + b"x" * 23)),
    ]
    needsTLS = {
        packet(1, LOGIN): REQUIRED,
        packet(1, withFlags(LOGIN, SSL)): REQUIRED,
        packet(1, LOGIN[:32]): REQUIRED,
    }
    farewells = [
        (packet(1, LOGIN[:31]), b"", Malformed),
        (packet(1, b""), b"", Malformed),
        (packet(1, OLD), b"", Malformed),
        (packet(1, b"\x8d\xa6\0\0\0"), b"", Malformed),
        (packet(1, b"\x8d\xae\0\0\0"), b"", Malformed),
        (packet(1, b"\x8d\xa6\0\0"), b"", Malformed),
        (packet(0, LOGIN), b"", Malformed),
        (packet(2, LOGIN), b"", Malformed),
        (b"\xff\xff\xff\x01", b"", Oversize),
        (b"\xff\xff\xff\x02", b"", Malformed),
        (b"\x00\x10\x00\x01", b"", Oversize),
    ]
    failures = [
        (0, packet(0, replace(Greeting.parse(MYSQL), capabilities=0).payload()), BackendRefused),
        (0, packet(0, MYSQL[:30]), Malformed),
    ]


class ServerTests(SynchronousTestCase):
    """
    The server role.
    """

    def greeted(self, greeting: bytes = MYSQL) -> Driver:
        """
        After the greeting.
        """
        driver = server(mysql)
        driver.plain.feed(packet(0, greeting))
        parsed = Greeting.parse(greeting)
        offer = replace(parsed, capabilities=parsed.capabilities | SSL).payload()
        self.assertEqual(driver.network.takeWritten(), packet(0, offer))
        return driver

    def inside(self) -> Driver:
        """
        After the handshake.
        """
        driver = self.greeted(cleared(MYSQL))
        driver.network.feed(REQUEST)
        self.assertEqual(driver.stage, "switched", driver.error)
        driver.handshake()
        return driver

    def test_theLoginReachesTheBackendWithoutTheFlag(self) -> None:
        """
        With the number that it would have, had there been no request.
        """
        driver = self.inside()
        self.assertEqual(driver.network.written + driver.plain.written, b"")
        driver.network.feed(packet(2, withFlags(LOGIN, SSL)))
        self.assertEqual(driver.plain.takeWritten(), packet(1, LOGIN))
        driver.plain.feed(packet(2, SWITCH))
        self.assertEqual(driver.network.takeWritten(), packet(3, SWITCH))
        driver.network.feed(packet(4, b"answer"))
        self.assertEqual(driver.plain.takeWritten(), packet(3, b"answer"))
        driver.plain.feed(packet(4, OK))
        self.assertEqual(driver.network.takeWritten(), packet(5, OK))
        driver.network.feed(packet(0, b"\x0e"))
        self.assertEqual(driver.plain.takeWritten(), packet(0, b"\x0e"))

    def test_theClientsTLSMayFollowItsRequestAtOnce(self) -> None:
        """
        There is no go-ahead; what follows is left for OpenSSL.
        """
        hello = b"\x16\x03\x01\x02\x00"
        for pieces in split(REQUEST + hello):
            driver = self.greeted()
            for piece in pieces:
                driver.network.feed(piece)
            self.assertEqual(driver.stage, "switched")
            self.assertEqual(driver.network.pendingInput(100), hello)

    def test_theErrorThatABackendGreetsWithIsTheAnswerToTheLogin(self) -> None:
        """
        Inside TLS, as it came; before it the client has a greeting that says nothing of the
        backend.
        """
        driver = server(mysql)
        driver.plain.feed(packet(0, TOO_MANY))
        driver.plain.reset()
        greeting = Greeting.parse(driver.network.takeWritten()[4:])
        self.assertTrue(greeting.capabilities & SSL)
        self.assertEqual(len(greeting.salt), 20)
        driver.network.feed(REQUEST)
        self.assertEqual(driver.stage, "switched", driver.error)
        driver.handshake()
        self.assertEqual(driver.network.written, b"")
        driver.network.feed(packet(2, withFlags(LOGIN, SSL)))
        self.assertEqual(driver.network.takeWritten(), packet(3, TOO_MANY))
        self.assertIsInstance(driver.error, BackendRefused)
        self.assertIn("1040", str(driver.error))
        self.assertEqual(driver.network.ending, "closed")
        self.assertEqual(driver.plain.written, b"")

    def test_aBackendThatDoesNotGreetIsBlamed(self) -> None:
        """
        The client, which has said nothing yet, is not.
        """
        for greeting in (packet(1, MYSQL), packet(0, MYSQL[:30]), b"\xff\xff\xff\0"):
            driver = server(mysql)
            driver.plain.feed(greeting)
            self.assertIsInstance(driver.error, Malformed | Oversize)
            assert driver.error is not None
            self.assertEqual(driver.error.who, "the backend")

    def test_foreignProtocolsAreNamed(self) -> None:
        """
        Also a TLS record of such a length that it has the number 1.
        """
        for wrong in (b"SSH-2.0-OpenSSH_9.2\r\n", b"\x16\x03\x01\x01\x00\x01"):
            driver = self.greeted()
            self.assertEqual(said(driver, wrong), b"", wrong)
            self.assertIs(type(driver.error), ForeignProtocol, wrong)

    def test_nothingThatWasSaidInClearIsUsedOrHeldAgainstAClient(self) -> None:
        """
        Real drivers do not repeat it inside TLS; of the login only the flag for TLS is changed.
        """
        for name, (request, login) in DRIVERS.items():
            driver = self.greeted()
            driver.network.feed(bytes.fromhex(request))
            self.assertEqual(driver.stage, "switched", f"{name}: {driver.error}")
            driver.handshake()
            said = bytes.fromhex(login)
            driver.network.feed(said)
            flags = struct.unpack("<I", said[4:8])[0] & ~SSL
            wanted = said[:3] + b"\1" + struct.pack("<I", flags) + said[8:]
            self.assertEqual(driver.plain.takeWritten(), wanted, name)
            self.assertEqual(int.from_bytes(said[:3], "little"), len(said) - 4, name)

    def test_insideTLSTheClientBeginsWithItsLogin(self) -> None:
        """
        Nothing else is forwarded.
        """
        login = withFlags(LOGIN, SSL)
        for wrong in (
            packet(1, login),
            packet(3, login),
            packet(2, b"\0"),
            packet(2, login[:31]),
            packet(2, OLD),
            packet(2, withFlags(OLD, SSL)),
        ):
            driver = self.inside()
            driver.network.feed(wrong)
            self.assertIsInstance(driver.error, Malformed)
            self.assertEqual(driver.plain.written, b"")
            self.assertEqual(driver.network.ending, "aborted")

    def test_halfALoginIsForNobody(self) -> None:
        """
        When the client ends in it.
        """
        driver = self.inside()
        driver.network.feed(packet(2, withFlags(LOGIN, SSL))[:20])
        driver.network.end()
        self.assertEqual(driver.plain.written, b"")
        self.assertTrue(driver.plain.ended)

    @given(st.binary(max_size=200))
    def test_nothingInClearReachesTheBackend(self, data: bytes) -> None:
        """
        Errors are ours, whatever comes.
        """
        for stream in (data, packet(1, data), REQUEST[:20] + data):
            driver = self.greeted()
            driver.network.feed(stream)
            self.assertIsInstance(driver.error, TunnelError | None)
            self.assertEqual(driver.plain.written, b"")


class FilterTests(SynchronousTestCase):
    """
    The numbering, and its end.
    """

    def test_segmentsDoNotMatter(self) -> None:
        """
        Of what either side says.
        """
        packets = (
            packet(2, SWITCH) + packet(255, b"") + packet(4, b"\x01x") + packet(5, OK) + b"end"
        )
        wanted = packet(3, SWITCH) + packet(0, b"") + packet(5, b"\x01x") + packet(6, OK) + b"end"
        for pieces in ((packets,), *split(packets)):
            answers = Renumbered(-1)
            verdict = Verdict(+1, answers)
            self.assertEqual(filtered(verdict, pieces), wanted)
            self.assertTrue(verdict.done and answers.done)
        for pieces in ((packets,), *split(packets)):
            stream = packet(1, SWITCH) + packet(254, b"") + packet(3, b"\x01x") + packet(4, OK)
            self.assertEqual(filtered(Renumbered(-1), pieces), stream + b"end")

    def test_whatIsLeftOfAPacketIsTakenAtOnce(self) -> None:
        """
        Else a client that sends megabytes before its login is over costs a turn for each few bytes.
        """
        numbered = Renumbered(+1)
        stream = packet(3, bytes(1 << 20))
        numbered.feed(stream[:100])
        self.assertEqual(numbered.pieceBytes, len(stream) - 100)
        numbered.feed(stream[100:])
        self.assertEqual(numbered.pieceBytes, PIECE_BYTES)

    def test_theFirstOKOrErrorEndsItWhenItIsComplete(self) -> None:
        """
        Not one byte earlier, nor later; also where it is the first packet of all.
        """
        for last in (OK, ERR, b"\0", b"\xff"):
            answers = Renumbered(+1)
            verdict = Verdict(-1, answers)
            verdict.feed(packet(3, last)[:-1])
            self.assertFalse(verdict.done or answers.done)
            verdict.feed(packet(3, last)[-1:])
            self.assertTrue(verdict.done and answers.done)

    def test_whatIsNoVerdictDoesNotEndIt(self) -> None:
        """
        Whatever plugins say, and a NUL further inside.
        """
        verdict = Verdict(-1, Renumbered(+1))
        for first in range(1, 255):
            verdict.feed(packet(3, bytes((first, 0, 255))))
        verdict.feed(packet(3, b""))
        self.assertFalse(verdict.done)

    def test_whatWasKeptOfTheAnswersPassesAtTheEnd(self) -> None:
        """
        Before what follows it.
        """
        answers = Renumbered(+1)
        self.assertEqual(answers.feed(b"\x01\0"), b"")
        answers.done = True
        self.assertEqual(answers.feed(b"\0\0x"), b"\x01\0\0\0x")
        self.assertEqual(answers.flush(), b"")

    def test_theLoginIsReadHoweverItComes(self) -> None:
        """
        And passes from then on as it comes.
        """
        login = packet(2, withFlags(LOGIN, SSL))
        for pieces in ((login,), *split(login)):
            self.assertEqual(filtered(Login(), pieces), packet(2, LOGIN))

    def test_aPacketThatIsNoLoginIsNotAwaited(self) -> None:
        """
        Its header is enough.
        """
        for header in (b"\x1f\0\0\x02", b"\0\0\0\x02", b"\x60\0\0\x01"):
            each = Login()
            each.feed(header[:3])
            self.assertRaises(Malformed, each.feed, header[3:])

    @given(st.lists(st.binary(max_size=30)), st.integers(-1, 1))
    def test_nothingIsLostOrAdded(self, pieces: list[bytes], step: int) -> None:
        """
        Whatever comes has as many bytes afterwards, and without a step it is the same.
        """
        stream = b"".join(pieces)
        for each in (Renumbered(step), Verdict(step, Renumbered(-step))):
            passed = filtered(each, pieces)
            self.assertEqual(len(passed), len(stream))
            if not step:
                self.assertEqual(passed, stream)
