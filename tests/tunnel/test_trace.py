"""
Tests for L{tlstunnel.tunnel.trace} and L{tlstunnel.tls.keylog}: what is written down of connections
for who looks for a fault.
"""

from __future__ import annotations

import os
import re
import socket
import stat
from typing import Any

from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from tests.loopback import (
    CLIENT,
    SERVER,
    Encrypted,
    Plain,
    TunnelTests,
    readLine,
    smtpClient,
    smtpServer,
    wait,
)
from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import Closed, TLSFailed
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.tlsa import TLSARecords
from tlstunnel.tls import binding
from tlstunnel.tls.keylog import KeyLog
from tlstunnel.tls.messages import Message, alert
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.observers import Observers
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.record import GREETING, HANDSHAKING, NEGOTIATING, Record
from tlstunnel.tunnel.trace import MOST_ALERTS, MOST_LINES, Trace

_HEAD = re.compile(r"[0-9-]{10}T[0-9:]{8}[.][0-9]{6}Z (\S+) ([0-9]+[.][0-9]+) (.*)")


def exchange(network: Encrypted, plain: Plain) -> None:
    """
    Something in both directions, and a clean end.
    """
    network.write(b"secret\r\n")
    assert plain.read(8) == b"secret\r\n"
    plain.write(b"250 ok\r\n")
    assert network.read(8) == b"250 ok\r\n"
    network.end()
    assert plain.atEnd()
    plain.close()
    assert network.atEnd()


def greeted(network: Encrypted, plain: Plain) -> None:
    """
    The same behind the greeting of a backend.
    """
    plain.write(b"220 backend\r\n")
    exchange(network, plain)


def greeting(network: Encrypted, plain: Plain) -> None:
    """
    The same of an app, which is greeted.
    """
    readLine(plain.sock)
    plain.write(b"secret")
    assert network.read(6) == b"secret"
    network.write(b"answer")
    assert plain.read(6) == b"answer"
    plain.end()
    assert network.atEnd()
    network.end()
    assert plain.atEnd()


class TracingTests(TunnelTests):
    """
    Base class: a tunnel that writes down what happens.
    """

    def setUp(self) -> None:
        """
        Files for that.
        """
        super().setUp()
        self.traced = self.pool.path.resolve().with_name("trace")
        self.keys = self.traced.with_name("keys")
        for each in (self.traced, self.keys):
            each.unlink(missing_ok=True)

    def lines(self) -> list[str]:
        """
        What was written, without its time and its connection.
        """
        found = []
        for line in self.traced.read_text().splitlines():
            head = _HEAD.fullmatch(line)
            assert head is not None, line
            found.append(head[3])
        return found

    def messages(self, lines: list[str]) -> list[str]:
        """
        The messages of TLS among them.
        """
        found = [re.sub(", .*", "", each) for each in lines if re.match("[a-z]+ TLS ", each)]
        # Whether there are such depends on how OpenSSL was loaded.
        return [each for each in found if "new_session_ticket" not in each]

    async def traceOf(self, *arguments: Any, **settings: Any) -> list[str]:
        """
        What is written of one connection.
        """
        await self.through(*arguments, trace=self.traced, **settings)
        await wait(lambda: bool(self.ends))
        return self.lines()


class ServerTests(TracingTests):
    """
    In server mode.
    """

    async def test_fromTheGreetingToTheEnd(self) -> None:
        """
        And nothing of what TLS protects.
        """
        said = await self.traceOf(greeted, "smtp", smtpClient)
        self.assertEqual(
            said[:7],
            [
                "begins: smtp, server",
                "negotiating",
                'sent "220 server.example.org ESMTP"',
                'received "STARTTLS"',
                'sent "220 2.0.0 Ready to start TLS"',
                "handshaking",
                said[6],
            ],
        )
        self.assertEqual(
            self.messages(said),
            [
                "received TLS handshake client_hello",
                "sent TLS handshake server_hello",
                "sent TLS change_cipher_spec",
                "sent TLS handshake encrypted_extensions",
                "sent TLS handshake certificate",
                "sent TLS handshake certificate_verify",
                "sent TLS handshake finished",
                "received TLS change_cipher_spec",
                "received TLS handshake finished",
                "received TLS alert warning close_notify",
                "sent TLS alert warning close_notify",
            ],
        )
        up = next(each for each in said if each.startswith("TLS is up"))
        self.assertIn("SNI server.example.org, identity none", up)
        self.assertTrue(said[-1].startswith("ends: clean, 8 bytes sent inside TLS and 8 received,"))
        self.assertNotIn("secret", self.traced.read_text())

    async def test_everyLineHasItsPeerAndItsConnection(self) -> None:
        """
        Also where two go through one file.
        """
        for _ in range(2):
            await self.traceOf(exchange)
            self.ends.clear()
        heads = [_HEAD.fullmatch(each) for each in self.traced.read_text().splitlines()]
        whose = {each.group(1, 2) for each in heads if each is not None}
        self.assertEqual(len(whose), 2)
        for peer, name in whose:
            self.assertTrue(peer.startswith("127.0.0.1:"))
            self.assertTrue(name.startswith(f"{os.getpid()}."))
        self.assertEqual(stat.S_IMODE(self.traced.stat().st_mode), 0o600)

    async def test_alertsThatRefuse(self) -> None:
        """
        By name, and why.
        """

        def wrongName(sock: socket.socket) -> None:
            tls = Encrypted(sock, self.context(True), True, b"other.example.org")
            try:
                tls.handshake()
            except SSL.Error:
                pass
            raise ConnectionError

        with self.assertRaises(ConnectionError):
            await self.through(exchange, preamble=wrongName, trace=self.traced)
        await wait(lambda: bool(self.ends))
        self.assertIn("sent TLS alert fatal unrecognized_name, 2 bytes", self.lines())
        self.assertIn('a name that is not ours: "other.example.org"', self.lines()[-1])

    async def test_underEveryName(self) -> None:
        """
        OpenSSL takes another context within the handshake: messages are told of, and keys written,
        all the same.
        """
        other = Identity.parse("other.example.org")
        createIdentity(self.pool, other)
        await self.through(
            exchange, localID=other, otherIDs=(SERVER,), keyLog=self.keys, trace=self.traced
        )
        await wait(lambda: bool(self.ends))
        self.assertIn("received TLS alert warning close_notify", self.messages(self.lines()))
        self.assertIn(b"SERVER_HANDSHAKE_TRAFFIC_SECRET ", self.keys.read_bytes())

    async def test_whereMessagesCannotBeAskedFor(self) -> None:
        """
        There are the states of OpenSSL, and alerts.
        """
        self.patch(binding, "setMessages", lambda *arguments: False)
        said = self.messages(await self.traceOf(exchange))
        self.assertIn("received TLS alert warning close_notify", said)
        self.assertIn("sent TLS handshake SSLv3/TLS write server hello", said)
        self.assertIn("received TLS handshake SSLv3/TLS read client hello", said)

    async def test_nobodyElsePays(self) -> None:
        """
        A tunnel that is not traced asks OpenSSL nothing.
        """

        def fail(*arguments: object) -> bool:
            raise AssertionError("asked")

        self.patch(binding, "setMessages", fail)
        await self.through(exchange)
        await wait(lambda: bool(self.ends))
        self.assertEnded("clean")

    async def test_aFullDiskEndsNoConnection(self) -> None:
        """
        The lines are lost.
        """
        real = os.write

        def write(file: int, data: bytes) -> int:
            if data[:2] == b"20":
                raise OSError(28, "No space left on device")
            return real(file, data)

        self.patch(os, "write", write)
        await self.traceOf(exchange)
        self.assertEnded("clean")
        self.assertEqual(self.traced.read_bytes(), b"")

    async def test_aReloadOpensItAnew(self) -> None:
        """
        What has begun is written down to its end where it began.
        """
        moved = self.traced.with_suffix(".1")
        sock = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(sock.close)
        service = self.tunnel(
            f"127.0.0.1:{sock.getsockname()[1]}", trace=self.traced, keyLog=self.keys
        )

        def connect() -> tuple[Encrypted, Plain]:
            host, port = service.addresses[0].rsplit(":", 1)
            dialled = socket.create_connection((host, int(port)))
            network = Encrypted(dialled, self.context(True), True, SERVER.domain.encode())
            network.handshake()
            return network, Plain(sock.accept()[0])

        first = await deferToThread(connect)
        self.traced.rename(moved)
        self.keys.unlink()
        self.assertEqual(await service.reload(), "")
        second = await deferToThread(connect)
        for each in (first, second):
            await deferToThread(exchange, *each)
        await wait(lambda: len(self.ends) == 2)
        for path in (self.traced, moved):
            self.assertEqual(path.read_text().count(" begins: "), 1)
            self.assertEqual(path.read_text().count(" ends: clean"), 1)
        self.assertIn(b"SERVER_HANDSHAKE_TRAFFIC_SECRET ", self.keys.read_bytes())

    async def test_aReloadThatCannotOpenItChangesNothing(self) -> None:
        """
        The old file is written to.
        """
        service = self.tunnel("127.0.0.1:1", trace=self.traced)
        self.traced.chmod(0o644)
        self.assertIn("is open to others (mode 0644)", await service.reload())


class SecretsTests(TracingTests):
    """
    Key logs.
    """

    async def keysOf(
        self, script: Any = exchange, **settings: Any
    ) -> tuple[set[bytes], set[bytes]]:
        """
        The secrets that both ends have written down.
        """
        theirs: set[bytes] = set()
        made = self.context

        def context(isClient: bool) -> SSL.Context:
            found = made(isClient)
            found.set_keylog_callback(lambda _, line: theirs.add(line))
            return found

        self.patch(self, "context", context)
        await self.through(exchange, keyLog=self.keys)
        await wait(lambda: bool(self.ends))
        return set(self.keys.read_bytes().splitlines()), theirs

    async def test_theyAreThoseOfTheOtherEnd(self) -> None:
        """
        With each version, and in both modes.
        """
        for self.mode in (Mode.CLIENT, Mode.SERVER):
            for self.version, count in (("1.2", 1), ("1.3", 5)):
                ours, theirs = await self.keysOf()
                self.assertEqual((len(ours), ours), (count, theirs))
                self.keys.unlink()
                self.ends.clear()

    def test_everyContextHasThem(self) -> None:
        """
        Whoever decides about the peer.
        """
        used: list[SSL.Context] = []
        self.patch(KeyLog, "use", lambda _, context: used.append(context))
        self.mode = Mode.SERVER
        names = (SERVER, CLIENT)
        server = Prepared(self.described("127.0.0.1:1", otherIDs=names[1:], keyLog=self.keys))
        self.assertEqual(len(used), len(names))
        self.assertIn(server.serverCreator.context, used)
        self.mode = Mode.CLIENT
        client = Prepared(self.described("127.0.0.1:1", keyLog=self.keys))
        records = TLSARecords("_25._tcp.server.example.org", ())
        for creator in client.creatorFor(SERVER), client.creatorByTLSA(SERVER, records):
            self.assertIn(creator.context, used)

    async def test_nobodyElseCanReadThem(self) -> None:
        """
        Whatever the umask.
        """
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        await self.keysOf()
        self.assertEqual(stat.S_IMODE(self.keys.stat().st_mode), 0o600)

    async def test_theEnvironmentAloneDoesNothing(self) -> None:
        """
        Whoever sets it for all programs means others.
        """
        for name in ("SSLKEYLOGFILE",):
            self.patch(os, "environ", {**os.environ, name: str(self.keys)})
        await self.through(exchange)
        await wait(lambda: bool(self.ends))
        self.assertFalse(self.keys.exists())


class ClientTests(TracingTests):
    """
    In client mode.
    """

    mode = Mode.CLIENT
    version = "1.2"

    async def test_theServerIsThePeer(self) -> None:
        """
        Once it is connected to.
        """
        said = await self.traceOf(greeting, "smtp", smtpServer)
        peers = [each.split()[1] for each in self.traced.read_text().splitlines()]
        self.assertEqual(peers[:2], ["-", "-"])
        self.assertEqual({each.rpartition(":")[0] for each in peers[2:]}, {"127.0.0.1"})
        self.assertRegex(said[0], "^begins for 127.0.0.1:[0-9]+: smtp, client$")
        self.assertIn('sent "STARTTLS"', said)
        self.assertIn("received TLS handshake server_key_exchange", self.messages(said))
        self.assertIn("identity server.example.org", " ".join(said))


class RecordTests(TracingTests):
    """
    L{Trace} alone.
    """

    def begin(self, name: str = "") -> tuple[Trace, Record]:
        """
        One connection.
        """
        trace = Trace(self.traced)
        trace.notes.open()
        peer = TCPAddress("192.0.2.1", 40000)
        return trace, Record(Clock(), Observers([trace]), name, Mode.SERVER, "smtp", peer)

    def test_thereIsAnEndToEachConnection(self) -> None:
        """
        But its alerts, and how it ended, are told.
        """
        _, record = self.begin("mail")
        for _ in range(2 * MOST_LINES):
            record.exchange(Message(False, "handshake", "key_update", 5))
        for _ in range(2 * MOST_ALERTS):
            record.exchange(alert(False, 1, 90))
        record.end(None)
        said = self.lines()
        self.assertEqual(said[0], "begins: smtp, server, tunnel mail")
        self.assertEqual(said[MOST_LINES], "more than that is not told, but for alerts")
        self.assertEqual(
            said[MOST_LINES + 1 :],
            [
                *["received TLS alert warning user_canceled, 2 bytes"] * MOST_ALERTS,
                "ends: clean, 0 bytes sent inside TLS and 0 received, 0.000 s",
            ],
        )

    def test_errorsQuoteNothingThatMayBeSecret(self) -> None:
        """
        What was said in clear, or inside TLS; only who fails in between is quoted.
        """
        for stage, shown in (
            (NEGOTIATING, '"..."'),
            (HANDSHAKING, '"x\\x22y"'),
            (GREETING, '"..."'),
        ):
            _, record = self.begin()
            record.advance(stage)
            record.end(TLSFailed('the peer said "x\\x22y" there', b"secret"))
            self.assertIn(f"ends: tls (the peer said {shown} there)", self.lines()[-1])

    def test_aLineIsALine(self) -> None:
        """
        Whatever a peer is called.
        """
        trace = Trace(self.traced)
        trace.notes.open()
        peer = UNIXAddress("/tmp/x\n2026-11-29 forged \x1b[2J\u2028")
        Record(Clock(), Observers([trace]), "", Mode.SERVER, "smtp", peer).end(None)
        written = self.traced.read_text()
        self.assertEqual(written.count("\n"), 2)
        self.assertEqual(len(written.splitlines()), 2)
        self.assertTrue(written.isascii())
        self.assertNotIn("\x1b", written)

    def test_nothingIsKeptOfWhatHasEnded(self) -> None:
        """
        Of thousands of connections.
        """
        trace, record = self.begin()
        record.end(Closed("x"))
        record.say(True, b"x")
        record.exchange(alert(True, 1, 0))
        self.assertEqual((trace._connections, len(self.lines())), ({}, 2))
