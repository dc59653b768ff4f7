"""
The http dialect.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import (
    ConfigurationError,
    Malformed,
    Oversize,
    Refused,
    ServerSpokeFirst,
    TunnelError,
)
from tlstunnel.identity.names import Identity
from tlstunnel.protocols.http import ALLOW_UPGRADE_DESYNC, HTTPClient, http
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.course import Assertions
from tlstunnel.testing.dialogues import CLIENT_HELLO, THEIRS, inside, setting
from tlstunnel.testing.memory import Driver
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.prepared import Prepared


def message(*lines: bytes) -> bytes:
    """
    The head of a message.
    """
    return b"\r\n".join(lines) + b"\r\n\r\n"


ASK = message(
    b"OPTIONS * HTTP/1.1",
    b"Host: " + THEIRS,
    b"Upgrade: TLS/1.0",
    b"Connection: Upgrade",
)
SWITCHING = message(
    b"HTTP/1.1 101 Switching Protocols", b"Upgrade: TLS/1.0, HTTP/1.1", b"Connection: Upgrade"
)
REQUIRED = message(
    b"HTTP/1.1 426 Upgrade Required",
    b"Upgrade: TLS/1.0, HTTP/1.1",
    b"Connection: Upgrade, close",
    b"Content-Length: 0",
)
OK = message(b"HTTP/1.1 200 OK", b"Content-Length: 0")
GET = message(b"GET / HTTP/1.1", b"Host: x", b"Authorization: Basic c2VjcmV0")


def client() -> Driver:
    """
    The client role.
    """
    return Driver(http, "client", replace(setting(), authority=THEIRS))


def upgraded() -> Driver:
    """
    The client role inside TLS, where the answer is awaited.
    """
    return inside(client(), [("C", ASK), ("S", SWITCHING)])


def answered(answer: bytes) -> Driver:
    """
    The same with that answer, and some silence.
    """
    driver = upgraded()
    driver.network.feed(answer)
    driver.clock.advance(1)
    return driver


LENGTH = b"Content-Length: "
CHUNKED = b"Transfer-Encoding: chunked"
START = b"HTTP/1.1 200 OK"

Answers = list[tuple[bytes, type[TunnelError] | None]]

TO_UPGRADE: Answers = [
    (SWITCHING, None),
    (SWITCHING.replace(b"\r\n", b"\n"), None),
    (SWITCHING.replace(b"Switching Protocols", b"").replace(b"101 ", b"101"), None),
    (SWITCHING.replace(b"Upgrade: ", b"UPGRADE:").replace(b"n: U", b"n:\tU"), None),
    (SWITCHING.replace(b"TLS/1.0, HTTP/1.1", b"TLS/1.2,TLS/1.1,TLS/1.0"), None),
    (SWITCHING.replace(b"TLS/1.0, HTTP/1.1", b"HTTP/1.1,, tls/1.3 "), None),
    (SWITCHING.replace(b"n: Upgrade", b"n: x, upgrade\r\nConnection: y"), None),
    (SWITCHING.replace(b"TLS/1.0, HTTP/1.1", b"HTTP/1.1"), Malformed),
    (SWITCHING.replace(b"TLS/1.0, HTTP/1.1", b"websocket"), Malformed),
    (SWITCHING.replace(b"TLS/1.0, HTTP/1.1", b"XTLS/1.0"), Malformed),
    (SWITCHING.replace(b"TLS/1.0, HTTP/1.1", b"TLS"), Malformed),
    (SWITCHING.replace(b"n: Upgrade", b"n: Keep-Alive"), None),
    (SWITCHING.replace(b"n: Upgrade", b"n: close"), Malformed),
    (SWITCHING.replace(b"Connection: Upgrade\r\n", b""), Malformed),
    (SWITCHING.replace(b"n: Upgrade", b"n: Upgrades"), Malformed),
    (message(b"HTTP/1.1 101 Switching Protocols"), Malformed),
    (OK, Refused),
    (REQUIRED, Refused),
    (message(b"HTTP/1.1 100 Continue") + SWITCHING, Refused),
    (message(b"HTTP/1.1 103 Early Hints") + SWITCHING, Refused),
    (message(b"HTTP/1.1 400 Bad Request"), Refused),
    (message(b"HTTP/1.1 503 Later"), Refused),
    (SWITCHING.replace(b"HTTP/1.1 101", b"HTTP/1.0 101"), Refused),
    (message(b"HTTP/1.0 400 Bad Request"), Refused),
    (SWITCHING.replace(b"HTTP/1.1 101", b"HTTP/2.0 101"), Malformed),
    (SWITCHING.replace(b" 101 ", b" 1010 "), Malformed),
    (SWITCHING.replace(b" 101 ", b" 101-"), Malformed),
    (SWITCHING.replace(b"HTTP", b"http", 1), Malformed),
    (b"\r\n" + SWITCHING, Malformed),
    (b"<html>\r\n", Malformed),
    (SWITCHING.replace(b"Connection:", b"Connection :"), Malformed),
    (SWITCHING.replace(b"Connection:", b" Connection:"), Malformed),
    (SWITCHING.replace(b"Connection:", b"Connection"), Malformed),
    (SWITCHING.replace(b"Connection:", b":"), Malformed),
    (SWITCHING.replace(b"Connection:", b"Connec\0tion:"), Malformed),
    (SWITCHING.replace(b"Upgrade\r\n", b"Upgrade\r\r\n"), Malformed),
    (b"HTTP/1.1 101 " + b"x" * 8192, Oversize),
    (b"HTTP/1.1 101 x\r\n" + b"a: b\r\n" * 128, Oversize),
]

# Each has to end where nobody can doubt it, and leave the connection open.
TO_OPTIONS: Answers = [
    (OK, None),
    (message(b"HTTP/1.1 404 Not Found", LENGTH + b"4") + b"\r\n\0x", None),
    (message(START, LENGTH + b"4", LENGTH + b"4") + b"body", None),
    (message(START, LENGTH + b"65536") + b"x" * 65536, None),
    (message(b"HTTP/1.1 204 No Content"), None),
    (message(b"HTTP/1.1 304 Not Modified"), None),
    (message(b"HTTP/1.1 100 Continue") * 2 + OK, None),
    (message(b"HTTP/1.1 103 Early Hints", b"Link: x") + OK, None),
    (message(START, CHUNKED) + b"0\r\n\r\n", None),
    (message(START, CHUNKED) + b"0" * 5000 + b"1\r\nx\r\n" + b"0" * 5000 + b"\r\n\r\n", None),
    (message(START, LENGTH + b"0" * 5000 + b"1") + b"x", None),
    (
        message(START, CHUNKED) + b"1\r\nx\r\n00a ;q\r\n" + b"y" * 10 + b"\r\n0\r\n\r\n",
        None,
    ),
    (message(START, CHUNKED) + b"10000\r\n" + b"y" * 65536 + b"\r\n0\r\n\r\n", None),
    (message(START), Malformed),
    (message(START, LENGTH), Malformed),
    (message(START, LENGTH + b"-1"), Malformed),
    (message(START, LENGTH + b"+1"), Malformed),
    (message(START, LENGTH + b"0x1"), Malformed),
    (message(START, LENGTH + b"1 1"), Malformed),
    (message(START, LENGTH + b"4", LENGTH + b"5"), Malformed),
    (message(START, LENGTH + b"0", CHUNKED), Malformed),
    (message(START, CHUNKED, CHUNKED), Malformed),
    (message(START, CHUNKED + b", gzip"), Malformed),
    (message(START, b"Transfer-Encoding: gzip, chunked"), Malformed),
    (message(START, b"Transfer-Encoding: identity", LENGTH + b"0"), Malformed),
    (message(START, CHUNKED) + b"\r\n", Malformed),
    (message(START, CHUNKED) + b"-1\r\n", Malformed),
    (message(START, CHUNKED) + b"0x1\r\n", Malformed),
    (message(START, CHUNKED) + b"1\r\nxy\r\n0\r\n\r\n", Malformed),
    (message(START, CHUNKED) + b"0\r\nbroken\r\n\r\n", Malformed),
    (message(START, LENGTH + b"65537"), Oversize),
    (message(START, LENGTH + b"9" * 5000), Oversize),
    (message(START, CHUNKED) + b"10001\r\n", Oversize),
    (message(START, CHUNKED) + b"f" * 5000 + b"\r\n", Oversize),
    (message(START, CHUNKED) + b"1\r\nx\r\n10000\r\n" + b"y" * 65538, Oversize),
    (message(START, CHUNKED) + b"1\r\nx\r\n" * 300, Oversize),
    (message(b"HTTP/1.1 100 Continue") * 300, Oversize),
    (message(START, LENGTH + b"0", b"Connection: close"), Refused),
    (message(START, LENGTH + b"0", b"Connection: x, Close"), Refused),
    (message(b"HTTP/1.0 200 OK", LENGTH + b"0"), Refused),
    (SWITCHING, Malformed),
    (b"220 mx ESMTP\r\n", Malformed),
]

BOTH = [(1, *each) for each in TO_UPGRADE] + [(2, *each) for each in TO_OPTIONS]


class ClientTests(ClientConformance, SynchronousTestCase):
    """
    Mode -c.
    """

    dialect = http
    dialogue = [("C", ASK), ("S", SWITCHING)]
    inside = [("S", OK)]
    # It speaks once: see below.
    silent = False
    farewells = [
        message(b"HTTP/1.1 408 Request Timeout", b"Content-Length: 3", b"Connection: close")
        + b"eh?",
        message(b"HTTP/1.1 408 \xe9", b"Date: x", b"content-length:0"),
    ]
    variants = [(place, answer) for place, answer, failure in BOTH if failure is None]
    failures = [(place, answer, failure) for place, answer, failure in BOTH if failure]
    endless = [(2, message(b"HTTP/1.1 100 Continue"))]

    def test_aFarewellHasOneEnd(self) -> None:
        """
        Whatever an app could take for another one is none.
        """
        start, five = b"HTTP/1.1 408 x", b"Content-Length: 5"
        driver = upgraded()
        role = driver.role
        assert isinstance(role, HTTPClient)
        self.assertTrue(role.isFarewell(message(start, five) + b"12345"))
        for fields in (
            (five, b"Content-Length: 0"),
            (five, five),
            (five, b"Transfer-Encoding: chunked"),
            (b"Content-Length : 5",),
            (b"Date: x\nContent-Length: 0", five),
            (b"Date: x\rContent-Length: 0", five),
            (b"Date: x\r", five),
            (b"Date: \0", five),
            (b"Content-Length: +5",),
            (),
        ):
            self.assertIs(role.isFarewell(message(start, *fields) + b"12345"), False, fields)

    def test_oneAnswerIsAll(self) -> None:
        """
        A second one would be taken for the answer to what the app asks; so the server has to stay
        silent until the app has spoken.
        """
        driver = answered(OK + b"H")
        self.assertIsInstance(driver.error, ServerSpokeFirst)
        driver = upgraded()
        driver.network.feed(OK)
        driver.network.feed(OK)
        self.assertIsInstance(driver.error, ServerSpokeFirst)
        driver = answered(OK)
        driver.network.feed(OK)
        self.assertIsInstance(driver.error, ServerSpokeFirst)
        driver = upgraded()
        driver.plain.feed(GET)
        driver.network.feed(OK)
        driver.network.feed(OK)
        self.assertIsInstance(driver.error, ServerSpokeFirst)
        self.assertEqual(driver.network.written, b"")
        self.assertEqual(driver.plain.written, b"")

    @settings(deadline=None)
    @given(st.binary(max_size=60), st.booleans())
    def test_noGarbageIsMistakenForConsent(self, garbage: bytes, inTLS: bool) -> None:
        """
        Whatever a server says, it ends with one of our own errors, and the app gets nothing.
        """
        driver = upgraded() if inTLS else client()
        driver.network.feed(garbage)
        driver.network.end()
        driver.clock.advance(1)
        self.assertIsInstance(driver.error, TunnelError)
        self.assertEqual(driver.plain.written, b"")


def server(request: bytes = b"") -> Driver:
    """
    The server role, with a client that has sent C{request}.
    """
    driver = Driver(http, "server", setting(ALLOW_UPGRADE_DESYNC))
    driver.network.feed(request)
    return driver


class ServerRules(ServerConformance, SynchronousTestCase):
    """
    Mode -s: the rules.
    """

    dialect = http
    options = (ALLOW_UPGRADE_DESYNC,)
    dialogue = [("C", ASK), ("S", SWITCHING)]
    inside = [("S", OK)]
    variants = [(0, b"\r\n" + ASK), (0, ASK.replace(b"\r\n", b"\n"))]
    needsTLS = {GET: REQUIRED, GET.replace(b"GET", b"POST") + b"secret": REQUIRED}
    farewells = [
        (b"EHLO x\r\n", b"", Malformed),
        (b"GET /\r\n", b"", Malformed),
        (b"GET / x HTTP/1.1\r\n", b"", Malformed),
        (b"GET  HTTP/1.1\r\n", b"", Malformed),
        (b"\r\n\r\n", b"", Malformed),
        (b"\0\r\n", b"", Malformed),
    ]
    foreign = (CLIENT_HELLO, b"SSH-2.0-OpenSSH_9.2\r\n")


class ServerTests(Assertions, SynchronousTestCase):
    """
    Mode -s.
    """

    def test_requestsForTLS(self) -> None:
        """
        As clients write them.
        """
        for ask in (
            ASK,
            b"\r\n" + ASK,
            ASK.replace(b"TLS/1.0", b"TLS/1.2,TLS/1.1,TLS/1.0"),
            ASK.replace(b"TLS/1.0", b"h2c, TLS/1.3"),
            ASK.replace(b"Upgrade\r\n\r\n", b"Keep-Alive, upgrade\r\nUser-Agent: CUPS/2.4\r\n\r\n"),
            ASK.replace(b"Host", b"Content-Length: 0\r\nHost"),
            ASK.replace(b"\r\n", b"\n"),
        ):
            driver = server(ask)
            self.assertEqual(driver.network.written, SWITCHING, ask)
            self.assertSwitched(driver)

    def test_everythingElseNeedsTLS(self) -> None:
        """
        Complete or not, and whatever is wrong with it; nothing of it goes anywhere.
        """
        for request, failure in (
            (GET, Refused),
            (GET[:20], Refused),
            (GET + GET, Refused),
            (GET.replace(b"1.1", b"1.0"), Refused),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refused),
            (b"POST /ipp HTTP/1.1\r\nContent-Length: 9999\r\n\r\nbody", Refused),
            (b"CONNECT x:25 HTTP/1.1\r\n\r\n", Refused),
            (ASK.replace(b"OPTIONS *", b"GET *"), Refused),
            (ASK.replace(b"OPTIONS *", b"OPTIONS /"), Refused),
            (ASK.replace(b"OPTIONS *", b"options *"), Refused),
            (ASK.replace(b"1.1\r", b"1.0\r"), Refused),
            (ASK.replace(b"Upgrade: TLS/1.0\r\n", b""), Refused),
            (ASK.replace(b"TLS/1.0", b"websocket"), Refused),
            (ASK.replace(b"Connection: Upgrade\r\n", b""), Refused),
            (ASK.replace(b"Host", b"Content-Length: 1\r\nHost"), Refused),
            (ASK.replace(b"Host", b"Content-Length: x\r\nHost"), Refused),
            (ASK.replace(b"Host", b"Content-Length: 0\r\nContent-Length: 5\r\nHost"), Refused),
            (ASK.replace(b"Host", b"Transfer-Encoding: chunked\r\nHost"), Refused),
            (ASK.replace(b"Host:", b"Host :"), Malformed),
            (ASK.replace(b"Host:", b" Host:"), Malformed),
            (ASK.replace(b"Host:", b"Host"), Malformed),
            (ASK.replace(THEIRS, b"a\rb"), Malformed),
        ):
            driver = server(request)
            self.assertEqual(driver.network.takeWritten(), REQUIRED, request)
            self.assertTrue(driver.network.ended)
            driver.network.end()
            self.assertEqual(driver.network.written, b"")
            self.assertFailed(driver, failure)

    def test_aClientThatIsToldToUpgradeIsHeardOut(self) -> None:
        """
        So that it gets to see the answer; for a while, and not without limit.
        """
        driver = server(GET)
        driver.network.feed(b"body" * 9)
        self.assertIsNone(driver.error)
        driver.clock.advance(2)
        self.assertFailed(driver, Refused)
        driver = server(GET)
        for _ in range(9):
            driver.network.feed(b"x" * 16384)
        self.assertFailed(driver, Refused)
        driver = server(GET)
        driver.network.reset()
        self.assertIsInstance(driver.error, Refused)

    def test_tooMuchIsNotRead(self) -> None:
        """
        Of a line, or of lines.
        """
        for first in (b"GET /" + b"x" * 8192, b"OPTIONS * HTTP/1.1\r\n" + b"a: b\r\n" * 128):
            driver = server(first)
            self.assertEqual(driver.network.written, b"")
            self.assertFailed(driver, Oversize)

    @settings(deadline=None)
    @given(st.binary(max_size=60), st.sampled_from([b"", ASK[:20], ASK[:-2]]))
    def test_garbageReachesNobody(self, garbage: bytes, before: bytes) -> None:
        """
        Whatever a client says, it ends with one of our own errors or with the upgrade.
        """
        driver = server(before)
        driver.network.feed(garbage)
        driver.network.end()
        self.assertFalse(driver.backendDialled)
        if driver.network.written != SWITCHING:
            self.assertFailed(driver, TunnelError)


class AuthorityTests(SynchronousTestCase):
    """
    What is asked for in clear.
    """

    def test_theHostIsWhereWeConnectTo(self) -> None:
        """
        As if a client of HTTP did it; RFC 9110, section 7.2.
        """
        for remote, authority in (
            (TCPAddress("www.example.org", 80), b"www.example.org"),
            (TCPAddress("www.example.org", 8080), b"www.example.org:8080"),
            (TCPAddress("print.example.org", 631), b"print.example.org:631"),
            (TCPAddress("192.0.2.1", 631), b"192.0.2.1:631"),
            (TCPAddress("2001:db8::1", 80), b"[2001:db8::1]"),
            (UNIXAddress("/run/cups"), b"example.org"),
        ):
            who = Identity(None, "example.org")
            prepared = Prepared(
                Tunnel(Mode.CLIENT, (), (remote,), http, remoteID=who, skipResolve=True)
            )
            self.assertEqual(prepared.setting.authority, authority)


class RiskTests(SynchronousTestCase):
    """
    The server role has to be asked for by the name of its risk.
    """

    def tunnel(self, mode: Mode, *options: str) -> Tunnel:
        """
        A tunnel that lacks everything but that.
        """
        remote = TCPAddress("127.0.0.1", 1)
        return Tunnel(
            mode,
            (),
            (remote,),
            http,
            Identity(None, "print.example.org") if mode is Mode.SERVER else None,
            Identity(None, "print.example.org") if mode is Mode.CLIENT else None,
            options=frozenset(options),
        )

    def test_serverModeIsRefusedWithoutTheOption(self) -> None:
        """
        The message names it.
        """
        error = self.assertRaises(ConfigurationError, Prepared, self.tunnel(Mode.SERVER))
        self.assertIn(f"--dialect-option {ALLOW_UPGRADE_DESYNC}", str(error))

    def test_withTheOptionItIsNot(self) -> None:
        """
        What is missing then is something else.
        """
        error = self.assertRaises(
            ConfigurationError, Prepared, self.tunnel(Mode.SERVER, ALLOW_UPGRADE_DESYNC)
        )
        self.assertNotIn(ALLOW_UPGRADE_DESYNC, str(error))

    def test_clientModeNeedsNoOption(self) -> None:
        """
        It takes the dangerous answer away.
        """
        Prepared(self.tunnel(Mode.CLIENT))
