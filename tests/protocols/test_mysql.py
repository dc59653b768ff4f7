"""
Tests for L{tlstunnel.protocols.mysql}.
"""

from __future__ import annotations

import struct
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.protocols.mysqllogins import (
    CAPABILITIES,
    ERR,
    IMPOSSIBLE,
    LOGIN,
    LONG,
    MARIADB,
    MYSQL,
    OK,
    REQUEST,
    SSL,
    SWITCH,
    TOO_MANY,
    cleared,
    packet,
    withFlags,
)
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
from tlstunnel.protocols.mysql import mysql
from tlstunnel.protocols.mysqlpackets import Greeting
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.dialogues import client, said, server, split
from tlstunnel.testing.memory import Driver

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
