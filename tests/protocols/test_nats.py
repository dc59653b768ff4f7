"""
Tests for L{tlstunnel.protocols.nats} and L{tlstunnel.protocols.natsinfo}.
"""

from __future__ import annotations

import contextlib
import json
from time import perf_counter, process_time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import (
    BackendRefused,
    Closed,
    ForeignProtocol,
    Malformed,
    NotOffered,
    Oversize,
    PlaintextAfterStartTLS,
    Refused,
    TimedOut,
    TLSFailed,
    TunnelError,
)
from tlstunnel.protocols.nats import HANDSHAKE_FIRST, nats
from tlstunnel.protocols.natsinfo import MAX_INFO_BYTES, parseInfo
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.dialogues import CLIENT_HELLO, OURS, THEIRS, client, inside, server

# As it came from nats-server 2.15.1, but for what is behind "nonce".
REAL: dict[str, Any] = {
    "server_id": "NDRFWUXVSGBB6HSG3GQ4QTCEGFQQ247I6HISKKUONT5RXEQVZA24Q7MZ",
    "server_name": "NDRFWUXVSGBB6HSG3GQ4QTCEGFQQ247I6HISKKUONT5RXEQVZA24Q7MZ",
    "version": "2.15.1",
    "proto": 1,
    "git_commit": "b2fd3ef",
    "go": "go1.27.2",
    "port": 4222,
    "headers": True,
    "max_payload": 1048576,
    "client_id": 5,
    "client_ip": "127.0.0.1",
    "api_lvl": 5,
    "xkey": "XACPMUB2RSMP6JJBETEWW5WSSR7ZAJPVSMF4RBVLTSD2JUUX42NEMCJ6",
    "nonce": "5vPxLvmYJ9NqYjQ",
    "auth_required": True,
    "jetstream": True,
}
DROPPED: dict[str, Any] = {
    "tls_required": True,
    "tls_available": True,
    "tls_verify": True,
    "connect_urls": ["192.0.2.1:4222", "[2001:db8::1]:4222"],
    "ws_connect_urls": ["192.0.2.1:443"],
    "host": "192.0.2.1",
    "ip": "nats://192.0.2.1:6222",
    "tomorrow": {"a": [1.5, None]},
}


def line(**values: object) -> bytes:
    """
    INFO, as a server writes it.
    """
    return b"INFO " + json.dumps(values, separators=(",", ":")).encode() + b" \r\n"


def told(**values: object) -> bytes:
    """
    INFO, as the tunnel writes it.
    """
    return line(**values).replace(b" \r", b"\r")


OFFER = line(**REAL, **DROPPED)
PLAIN = line(**REAL, **{**DROPPED, "tls_required": False})
FOR_APP = told(**REAL, host="server.example.org")
FOR_CLIENT = told(**REAL, host="tunnel.example.net", tls_required=True)
ERROR = b"-ERR 'maximum connections exceeded'\r\n"

# Lines that are no INFO.
IMPOSSIBLE = {
    "another protocol": b"220 mail.example.org ESMTP",
    "an empty line": b"",
    "no object": b"INFO",
    "a list": b"INFO []",
    "no word": b'INFOX {"tls_required":true}',
    "no space": b'INFO{"tls_required":true}',
    "more behind it": b'INFO {"tls_required":true} x',
    "two objects": b'INFO {"tls_required":true}{"a":1}',
    "half an object": b'INFO {"tls_required":true',
    "a comma too many": b'INFO {"tls_required":true,}',
    "a name without quotes": b"INFO {tls_required:true}",
    "a name twice": b'INFO {"tls_required":true,"tls_required":false}',
    "a name twice, once escaped": b'INFO {"tls_required":true,"\\u0074ls_required":false}',
    "a name twice further inside": b'INFO {"tls_required":true,"x":{"a":1,"a":2}}',
    "TLS as a number": b'INFO {"tls_required":1}',
    "TLS as a text": b'INFO {"tls_required":"true"}',
    "no TLS, as nothing": b'INFO {"tls_required":true,"tls_available":null}',
    "NaN": b'INFO {"tls_required":true,"x":NaN}',
    "an infinity": b'INFO {"tls_required":true,"x":-Infinity}',
    "an endless number": b'INFO {"tls_required":true,"x":' + b"9" * 5000 + b"}",
    "a port that cannot be": b'INFO {"tls_required":true,"port":65536}',
    "a port below zero": b'INFO {"tls_required":true,"port":-1}',
    "a port with a fraction": b'INFO {"tls_required":true,"port":1.0}',
    "a port that is true": b'INFO {"tls_required":true,"port":true}',
    "a name that is a number": b'INFO {"tls_required":true,"server_name":1}',
    "a long name": b'INFO {"tls_required":true,"server_name":"' + b"x" * 256 + b'"}',
    "a control character": b'INFO {"tls_required":true,"go":"\\u001b[2J"}',
    "an end of line": b'INFO {"tls_required":true,"go":"a\\r\\nPING"}',
    "a tab in a text": b'INFO {"tls_required":true,"x":"\t"}',
    "half a character": b'INFO {"tls_required":true,"go":"\\ud800"}',
    "a name within a text": b'INFO {"tls_required":true,"go":"\\",\\"connect_urls\\":[\\"x"}',
    "a backslash in a text": b'INFO {"tls_required":true,"go":"\\\\u0022"}',
    "a flag that is a text": b'INFO {"tls_required":true,"headers":"yes"}',
    "no UTF-8": b'INFO {"tls_required":true,"x":"\xff"}',
    "a byte order mark": b'INFO {"tls_required":true,"x":\xef\xbb\xbf1}',
    "depth": b'INFO {"tls_required":true,"x":' + b"[" * 9 + b"]" * 9 + b"}",
    "more depth": b'INFO {"tls_required":true,"x":' + b'{"a":' * 6000,
}


class InfoTests(SynchronousTestCase):
    """
    The line of a server, read and written.
    """

    def test_knownValuesAreKeptAndAllElseIsDropped(self) -> None:
        """
        In their order.
        """
        info = parseInfo(OFFER.strip())
        self.assertEqual(info.line(THEIRS), FOR_APP)
        self.assertEqual(info.line(OURS, demandsTLS=True), FOR_CLIENT)
        self.assertTrue(info.demandsTLS and info.offersTLS)

    def test_whatIsOfferedNeedNotBeDemanded(self) -> None:
        """
        With C{tls_available}; a server may also say so of neither.
        """
        for demands, offers in ((False, True), (True, False), (False, False)):
            info = parseInfo(line(tls_required=demands, tls_available=offers).strip())
            self.assertEqual((info.demandsTLS, info.offersTLS), (demands, demands or offers))
            self.assertEqual(info.line(b"x"), b'INFO {"host":"x"}\r\n')

    def test_otherLettersAreWrittenInASCII(self) -> None:
        """
        Of the name of a server.
        """
        info = parseInfo('info\t{"server_name":"Zürich \\u732b"}'.encode())
        self.assertTrue(info.line(b"x").startswith(b'INFO {"server_name":"Z\\u00fcrich \\u732b",'))

    def test_impossibleOnesAreRefused(self) -> None:
        """
        Whatever is wrong in them.
        """
        for what, said in IMPOSSIBLE.items():
            with self.assertRaises(Malformed, msg=what):
                parseInfo(said)

    def test_bracketsInTextsAreNoDepth(self) -> None:
        """
        Escaped quotes do not end them.
        """
        said = json.dumps({"x": "[{" * 50 + '"]\\' + "{[" * 50}).encode()
        self.assertEqual(dict(parseInfo(b"INFO " + said).values), {})

    def test_noLineTakesLong(self) -> None:
        """
        Of the most bytes that it may have.
        """
        for piece in (b'"', b'\\"', b'"\\', b"[", b"{", b'{"a":', b"[]", b" ", b"9", b"-", b"\\"):
            for start in (b"INFO {", b'INFO {"'):
                for end in (b"", b"}", b'"}'):
                    said = start + piece * ((MAX_INFO_BYTES - 10) // len(piece)) + end
                    began = perf_counter()
                    with contextlib.suppress(Malformed):
                        parseInfo(said)
                    self.assertLess(perf_counter() - began, 1.0, (start, piece))

    def test_bracesCostLittle(self) -> None:
        """
        Though there is nothing but them: all connections wait meanwhile.
        """
        said = b"INFO {" + b"}" * (MAX_INFO_BYTES - 8)
        seconds = []
        for _ in range(3):
            began = process_time()
            self.assertRaises(Malformed, parseInfo, said)
            seconds.append(process_time() - began)
        self.assertLess(min(seconds), 0.01)

    def test_depthIsTold(self) -> None:
        """
        To the level, in lists as in objects, and whatever else there is beside it.
        """
        for inner in (b"[" * 7 + b"]" * 7, b'{"a":[' * 3 + b"{}" + b"]}" * 3):
            said = b'INFO {"x":[],"y":%b,"z":{}}'
            self.assertEqual(parseInfo(said % inner).values, {})
            with self.assertRaises(Malformed):
                parseInfo(said % (b"[%b]" % inner))

    @settings(deadline=None)
    @given(st.one_of(st.binary(max_size=80), st.binary(max_size=60).map(b'INFO {"'.__add__)))
    def test_errorsAreOurs(self, said: bytes) -> None:
        """
        Whatever comes.
        """
        try:
            parseInfo(said)
        except Malformed:
            return

    @settings(deadline=None)
    @given(
        st.dictionaries(
            st.one_of(st.sampled_from((*REAL, *DROPPED)), st.text(max_size=5)),
            st.recursive(
                st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
                lambda each: st.lists(each, max_size=3),
                max_leaves=5,
            ),
            max_size=6,
        )
    )
    def test_whatIsReadCanBeWrittenAndIsTheSame(self, values: dict[str, object]) -> None:
        """
        In one line of ASCII, in which nothing tells of TLS.
        """
        try:
            info = parseInfo(b"INFO " + json.dumps(values).encode())
        except Malformed:
            return
        written = info.line(b"x")
        self.assertTrue(written.isascii())
        self.assertEqual(written.count(b"\n") + written.count(b"\r"), 2)
        again = parseInfo(written.removesuffix(b"\r\n"))
        self.assertEqual(again.values, info.values)
        self.assertFalse(again.offersTLS)
        self.assertLessEqual(info.values.keys(), REAL.keys() | {"cluster", "domain", "ldm"})


class ClientRules(ClientConformance, SynchronousTestCase):
    """
    The client role: the rules.
    """

    dialect = nats
    dialogue = [("S", OFFER)]
    inside = [("T", FOR_APP)]
    early = b'CONNECT {"user":"alice"}\r\nPING\r\n'
    farewells = [b"-ERR 'Authentication Timeout'\r\n", b"-err\n"]
    variants = [
        (0, line(**REAL, tls_required=True)),
        (0, line(**REAL, tls_available=True)),
        (0, line(**REAL, tls_required=True).replace(b"INFO ", b"info \t").replace(b" \r", b"")),
    ]
    failures = [
        (0, line(**REAL), NotOffered),
        (0, line(**REAL, tls_required=False, tls_available=False), NotOffered),
        (0, ERROR, Refused),
        (0, b'INFO {"tls_required":true,"x":"' + b"x" * MAX_INFO_BYTES + b'"}\r\n', Oversize),
        *((0, each + b"\r\n", Malformed) for each in IMPOSSIBLE.values()),
    ]


class TLSFirstClientRules(ClientConformance, SynchronousTestCase):
    """
    The client role, with TLS from the first byte: the rules.
    """

    dialect = nats
    options = (HANDSHAKE_FIRST,)
    dialogue = ()
    inside = [("S", OFFER), ("T", FOR_APP)]
    early = ClientRules.early
    silent = False
    variants = [
        (0, line(**REAL)),
        (0, line(**REAL, tls_available=True)),
    ]
    failures = [
        (0, ERROR, Refused),
        (0, b"INFO {}\0\r\n", Malformed),
        (0, b'INFO {"x":"' + b"x" * MAX_INFO_BYTES + b'"}\r\n', Oversize),
        *((0, each + b"\r\n", Malformed) for each in IMPOSSIBLE.values()),
    ]


class ServerRules(ServerConformance, SynchronousTestCase):
    """
    The server role: the rules.
    """

    dialect = nats
    dialogue = [("B", PLAIN), ("S", FOR_CLIENT)]
    variants = [
        (0, line(**REAL)),
        (0, line(**REAL, tls_available=True)),
    ]
    failures = [
        (0, OFFER, BackendRefused),
        (0, ERROR, BackendRefused),
        (0, b'INFO {"x":"' + b"x" * MAX_INFO_BYTES + b'"}\r\n', Oversize),
        (0, b"+OK ready\r\n", Malformed),
        (0, b'INFO {"port":"4222"}\r\n', Malformed),
    ]


class TLSFirstServerRules(ServerConformance, SynchronousTestCase):
    """
    The server role, with TLS from the first byte: the rules.
    """

    dialect = nats
    options = (HANDSHAKE_FIRST,)
    dialogue = ()
    inside = [("B", PLAIN), ("S", FOR_CLIENT)]
    tlsMayFollow = True
    variants = ServerRules.variants
    failures = ServerRules.failures


class ClientTests(SynchronousTestCase):
    """
    The client role.
    """

    def test_theAppIsToldOfNoServerInClear(self) -> None:
        """
        Nothing is said before the server is verified.
        """
        driver = client(nats)
        driver.network.feed(OFFER)
        self.assertEqual(driver.stage, "switched")
        self.assertEqual(driver.network.written + driver.plain.written, b"")

    def test_whoExpectsTLSFirstIsToldOfAServerThatDoesNot(self) -> None:
        """
        It may not have said anything yet that could be shown; but what speaks another protocol is
        no server of NATS.
        """
        for error, cause in (
            (PlaintextAfterStartTLS("by the test", OFFER), "INFO in clear"),
            (ForeignProtocol("by the test"), "INFO in clear"),
            (ForeignProtocol("by the test", b"SSH-2.0-x\r\n"), ""),
        ):
            driver = client(nats, HANDSHAKE_FIRST)
            driver.network.lose(error)
            assert isinstance(driver.error, ForeignProtocol)
            self.assertEqual((driver.error.cause, driver.error.said), (cause, error.said))

    def test_nothingMayFollowTheGreeting(self) -> None:
        """
        Neither an error, nor a second line, nor TLS.
        """
        for extra in (ERROR, OFFER, b" ", b"\x16\x03\x03"):
            driver = client(nats)
            driver.network.feed(OFFER + extra)
            self.assertIsInstance(driver.error, PlaintextAfterStartTLS)
            self.assertFalse(driver.network.isTLS)

    def test_laterLinesPassAsTheyAre(self) -> None:
        """
        The server says how it is again once somebody has logged in: that is true, and payload.
        """
        driver = inside(client(nats), ClientRules.dialogue)
        driver.clock.advance(1)
        driver.plain.takeWritten()
        driver.plain.feed(b"CONNECT {}\r\n")
        driver.network.feed(OFFER)
        self.assertEqual(driver.plain.takeWritten(), OFFER)

    def test_aServerThatClosesMayAwaitTLSFirst(self) -> None:
        """
        If it has not said a word; there is a hint for that.
        """
        for said, cause in ((b"", "no INFO"), (b"INFO {", "")):
            driver = client(nats)
            driver.network.feed(said)
            driver.network.end()
            assert isinstance(driver.error, Closed)
            self.assertEqual((driver.error.cause, driver.error.said), (cause, said))

    @settings(deadline=None)
    @given(st.binary(max_size=60))
    def test_noGarbageIsMistakenForAnOffer(self, garbage: bytes) -> None:
        """
        Whatever a server says.
        """
        for said in (garbage, b"INFO {" + garbage):
            driver = client(nats)
            driver.network.feed(said)
            driver.network.end()
            self.assertIsInstance(driver.error, TunnelError)
            self.assertEqual(driver.plain.written, b"")


class ServerTests(SynchronousTestCase):
    """
    The server role.
    """

    def test_aClientThatStartsTLSTooEarlyIsNamed(self) -> None:
        """
        It gets no greeting, which would be no TLS.
        """
        driver = server(nats)
        driver.network.feed(CLIENT_HELLO)
        driver.plain.feed(PLAIN)
        self.assertIsInstance(driver.error, PlaintextAfterStartTLS)
        assert driver.error is not None
        self.assertEqual(driver.error.cause, "TLS before INFO")
        self.assertEqual(driver.network.written, b"")

    def test_theBackendIsBlamed(self) -> None:
        """
        The client has said nothing yet.
        """
        for said in (OFFER, ERROR, b"SSH-2.0-x\r\n"):
            driver = server(nats)
            driver.plain.feed(said)
            assert driver.error is not None
            self.assertEqual(driver.error.who, "the backend")
            self.assertEqual(driver.network.written, b"")

    def test_whoIsTooSlowIsBlamed(self) -> None:
        """
        The backend as long as it has not spoken, but for the handshake, which is the client's.
        """
        for options, backend, isInside, who in (
            ((), b"", False, "the backend"),
            ((), PLAIN, False, "the client"),
            ((HANDSHAKE_FIRST,), b"", False, "the client"),
            ((HANDSHAKE_FIRST,), b"", True, "the backend"),
        ):
            driver = server(nats, *options)
            driver.plain.feed(backend)
            if isInside:
                driver.handshake()
            driver.clock.advance(61)
            assert isinstance(driver.error, TimedOut)
            self.assertEqual(driver.error.who, who, (options, backend, isInside))

    def test_whatTheBackendSaysBehindItsGreetingComesInsideTLS(self) -> None:
        """
        Such as that there are too many, though it is gone.
        """
        driver = server(nats)
        driver.plain.feed(PLAIN + ERROR)
        driver.plain.end()
        self.assertEqual(driver.network.takeWritten(), FOR_CLIENT)
        self.assertEqual(driver.stage, "switched", driver.error)
        driver.handshake()
        self.assertEqual(driver.network.takeWritten(), ERROR)

    def test_withTLSFirstTheBackendIsDialledOnceTheClientIsVerified(self) -> None:
        """
        Nothing is said in clear, and who does no handshake costs it nothing; it is dialled before
        TLS where the client awaits its INFO.
        """
        driver = server(nats)
        self.assertTrue(driver.backendDialled)
        driver = server(nats, HANDSHAKE_FIRST)
        driver.network.lose(TLSFailed("by the test"))
        self.assertIsInstance(driver.error, TLSFailed)
        self.assertFalse(driver.backendDialled)
        driver = server(nats, HANDSHAKE_FIRST)
        driver.clock.advance(1)
        self.assertFalse(driver.backendDialled)
        driver.handshake()
        self.assertTrue(driver.backendDialled)
        driver.plain.end()
        self.assertIsInstance(driver.error, Closed)
        self.assertEqual(driver.network.written, b"")
