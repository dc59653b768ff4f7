"""
Tests for L{tlstunnel.tunnel.reception}: connections that say first on whose behalf they come,
through a real tunnel.
"""

from __future__ import annotations

import json
import socket
import struct
from ipaddress import ip_network
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests import loopback
from tests.loopback import PATIENCE, Encrypted, Plain, TunnelTests, readLine, wait
from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.net import proxywriting
from tlstunnel.net.networks import Networks
from tlstunnel.net.proxyheader import SIGNATURE, UNIQUE_ID
from tlstunnel.program.jsonlines import jsonLine
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.tunnel import reception
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.reception import Senders

LOOPBACK = Networks.of([ip_network("127.0.0.0/8")])
ELSEWHERE = Networks.of([ip_network("192.0.2.0/24")])

CALLER, FRONT = TCPAddress("203.0.113.9", 40123), TCPAddress("198.51.100.7", 443)
SIX = TCPAddress("2001:db8::9", 40123)
TEXT = proxywriting.text(CALLER, FRONT)
BINARY = proxywriting.binary(CALLER, FRONT, proxywriting.tlv(UNIQUE_ID, b"id-1"), True)
WORD = b"NOOP\r\n"
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"


def askForTLS(sock: socket.socket) -> None:
    """
    What a client of SMTP says and hears.
    """
    readLine(sock)
    sock.sendall(b"EHLO me\r\n")
    while readLine(sock)[3:4] == b"-":
        pass
    sock.sendall(b"STARTTLS\r\n")
    readLine(sock)


class SendersTests(SynchronousTestCase):
    """
    L{Senders}.
    """

    def test_fromThere(self) -> None:
        """
        By network, and by UNIX sockets only where that was said.
        """
        senders = Senders(ELSEWHERE, False)
        self.assertIn(TCPAddress("192.0.2.9", 1), senders)
        self.assertNotIn(TCPAddress("192.0.3.9", 1), senders)
        self.assertNotIn(TCPAddress("2001:db8::1", 1), senders)
        self.assertNotIn(UNIXAddress(""), senders)
        self.assertIn(UNIXAddress("/a"), Senders(ELSEWHERE, True))


class ReceptionTests(TunnelTests):
    """
    Server mode.
    """

    def setUp(self) -> None:
        """
        Listen to refusals as well.
        """
        super().setUp()
        self.refused: list[LogEvent] = []
        globalLogPublisher.addObserver(self._note)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, self._note)  # type: ignore[arg-type]

    def _note(self, event: LogEvent) -> None:
        if event.get("event") == "refused":
            self.refused.append(event)

    async def call(self, *pieces: bytes, dialect: str = "none", **settings: Any) -> bytes:
        """
        Send a header in C{pieces}, and get a word through.

        @return: what the backend has heard of us.
        """
        settings.setdefault("proxyFrom", LOOPBACK)

        def preamble(sock: socket.socket) -> None:
            for each in pieces:
                sock.sendall(each)
            if dialect == "smtp":
                askForTLS(sock)

        def script(network: Encrypted, plain: Plain) -> bytes:
            if dialect == "smtp":
                plain.write(b"220 mx\r\n")
            network.write(WORD)
            said = plain.read(len(WORD))
            network.end()
            plain.end()
            plain.sock.close()
            assert isinstance(said, bytes)
            return said

        heard: bytes = await self.through(script, dialect, preamble, **settings)
        await wait(lambda: bool(self.ends))
        return heard

    async def refusal(self, said: bytes, end: bool = False, **settings: Any) -> bytes:
        """
        Say something that is not let in.

        @return: what was answered.
        """
        settings.setdefault("proxyFrom", LOOPBACK)
        service: Any = self.tunnel("127.0.0.1:1", **settings)
        host, _, port = service.addresses[0].rpartition(":")

        def run() -> bytes:
            with socket.create_connection((host, int(port)), PATIENCE) as sock:
                sock.sendall(said)
                if end:
                    sock.shutdown(socket.SHUT_WR)
                try:
                    return sock.recv(4096)
                except ConnectionError:
                    return b"reset"

        answer: bytes = await deferToThread(run)
        return answer

    async def test_whoIsSaidToBeThereIsThere(self) -> None:
        """
        In the log, beside who says it; with both versions, and whatever is cut where.
        """
        for pieces in ((TEXT,), (BINARY,), (TEXT[:3], TEXT[3:]), (BINARY[:14], BINARY[14:])):
            self.ends.clear()
            self.assertEqual(await self.call(*pieces), WORD)
            (event,) = self.ends
            self.assertEqual(event["peer"], str(CALLER))
            self.assertTrue(event["proxied_by"].startswith("127.0.0.1:"), event["proxied_by"])
            said = f"{CALLER} by {event['proxied_by']} to 127.0.0.1:"
            self.assertTrue(event["text"].startswith(said), event["text"])
            line = json.loads(jsonLine(event))
            self.assertEqual(line["unique_id"], "id-1" if pieces[-1] in BINARY else None)
            self.assertEqual(line["proxied_by"], event["proxied_by"])

    async def test_withSTARTTLS(self) -> None:
        """
        It comes before the greeting.
        """
        for header in TEXT, BINARY:
            self.ends.clear()
            self.assertEqual(await self.call(header, dialect="smtp"), WORD)
            self.assertEqual(self.ends[0]["peer"], str(CALLER))

    async def test_whoSendsForItselfIsItself(self) -> None:
        """
        A check of its health, or on behalf of nobody known.
        """
        for header in LOCAL, b"PROXY UNKNOWN\r\n":
            self.ends.clear()
            self.assertEqual(await self.call(header), WORD)
            (event,) = self.ends
            self.assertEqual(event["peer"], event["proxied_by"])
            self.assertNotIn(" by ", event["text"].partition(";")[0])

    async def test_withoutOneNobodyIsServed(self) -> None:
        """
        From where one is required: TLS at once, a wrong one, a part of one, and nothing.
        """
        for said, outcome in (
            (b"\x16\x03\x01\x00\xa5\x01", "malformed"),
            (b"PROXY TCP4 203.0.113.9\r\n", "malformed"),
            (b"EHLO me\r\n", "malformed"),
            (BINARY[:-1] + b"x", "malformed"),
            (SIGNATURE + b"\x21\x11\xff\xff", "oversize"),
            (TEXT[:12], "closed"),
            (b"", "closed"),
        ):
            self.ends.clear()
            answer = await self.refusal(said, end=outcome == "closed")
            self.assertIn(answer, (b"", b"reset"))
            await wait(lambda: bool(self.ends))
            self.assertEnded(outcome)
            self.assertTrue(self.ends[0]["peer"].startswith("127.0.0.1:"))
            self.assertIn("PROXY protocol", self.ends[0]["detail"])
            isOther = said[:1] in (b"\x16", b"E")
            self.assertEqual("--proxy-from" in (self.ends[0]["hint"] or ""), isOther)

    async def test_fromElsewhereNoneIsUnderstood(self) -> None:
        """
        It is what it is: bytes where TLS is due, or an unknown command.
        """
        await self.refusal(TEXT + b"more" * 20, end=True, proxyFrom=ELSEWHERE)
        await wait(lambda: bool(self.ends))
        self.assertEnded("foreign-protocol")
        self.assertTrue(self.ends[0]["peer"].startswith("127.0.0.1:"))
        self.assertIsNone(self.ends[0]["proxied_by"])
        self.ends.clear()
        self.assertEqual(await self.call(proxyFrom=ELSEWHERE), WORD)
        self.assertIsNone(self.ends[0]["proxied_by"])

    async def test_fromElsewhereItIsAnUnknownCommand(self) -> None:
        """
        Of smtp, as cut as that may come; the client stays who it is.
        """
        for header in TEXT, BINARY:
            self.ends.clear()
            await self.refusal(header, end=True, proxyFrom=ELSEWHERE, dialect="smtp")
            await wait(lambda: bool(self.ends))
            self.assertTrue(self.ends[0]["peer"].startswith("127.0.0.1:"))
            self.assertNotEqual(self.ends[0]["outcome"], "clean")
            self.assertIsNone(self.ends[0]["unique_id"])

    async def test_theyHaveSecondsForIt(self) -> None:
        """
        And are strangers meanwhile, of which there are only so many.
        """
        self.patch(reception, "HEADER_SECONDS", 0.2)
        await self.refusal(TEXT[:-1])
        await wait(lambda: bool(self.ends))
        self.assertEnded("timeout")

    async def test_thereAreOnlySoManyStrangers(self) -> None:
        """
        Those that say nothing count.
        """
        service: Any = self.tunnel(
            "127.0.0.1:1", proxyFrom=LOOPBACK, limits=Limits(unverified=1, close=5.0)
        )
        admission = service.factory.admission
        sock = socket.create_connection(("127.0.0.1", int(service.addresses[0].split(":")[1])))
        self.addCleanup(sock.close)
        await wait(lambda: admission.isFull)
        sock.close()
        await wait(lambda: not admission.isFull)
        self.assertFalse(service.factory.isBusy)

    async def test_listsAndLimitsAreAboutWhoIsThere(self) -> None:
        """
        Not about who sends the header, which nobody is asked about.
        """
        theirs = Networks.of([ip_network("203.0.113.0/24")])
        self.assertEqual(await self.call(TEXT, allow=theirs), WORD)
        self.assertEqual(await self.call(TEXT, deny=LOOPBACK), WORD)
        refusing: tuple[dict[str, Any], ...] = {"deny": theirs}, {"allow": LOOPBACK}
        for settings in refusing:
            self.refused.clear()
            self.assertIn(await self.refusal(TEXT, **settings), (b"", b"reset"))
            await wait(lambda: bool(self.refused))
            self.assertEqual(self.refused[0]["peer"], str(CALLER))

    async def test_eachHasItsOwnConnections(self) -> None:
        """
        As many as one may have, although all come from the same sender; and gives them back.
        """
        limits = Limits(perAddress=1, close=5.0)
        service: Any = self.tunnel("127.0.0.1:1", proxyFrom=LOOPBACK, limits=limits)
        port = int(service.addresses[0].split(":")[1])
        factory = service.factory
        opened = []
        for header in TEXT, proxywriting.binary(SIX, SIX), LOCAL:
            sock = socket.create_connection(("127.0.0.1", port))
            opened.append(sock)
            sock.sendall(header)
        await wait(lambda: len(factory.pairs) == 3)
        with socket.create_connection(("127.0.0.1", port)) as late:
            late.sendall(TEXT)
            await wait(lambda: bool(self.refused))
        self.assertEqual(self.refused[0]["outcome"], "per-address")
        for sock in opened:
            sock.close()
        await wait(lambda: not factory.isBusy)
        self.assertEqual(factory._sources._open, {})
        self.assertEqual(factory.admission._all, 0)
        self.assertEqual(factory.admission._strangers, 0)

    async def test_aStopDoesNotWaitForThem(self) -> None:
        """
        Whoever says nothing is closed.
        """
        service: Any = self.tunnel("127.0.0.1:1", proxyFrom=LOOPBACK)
        port = int(service.addresses[0].split(":")[1])
        with socket.create_connection(("127.0.0.1", port)):
            await wait(lambda: bool(service.factory.receptions))
            stopped = service.stopService()
            service.hurry()
            await stopped
        self.assertEnded("stopped")

    async def test_aHeaderInsideTLSIsPayload(self) -> None:
        """
        The backend that awaits one has ours first, whatever a client says.
        """
        told = Disclosure(proxyOut="v2", proxyTLVs=("unique-id",))

        def script(network: Encrypted, plain: Plain) -> Any:
            network.write(TEXT + WORD)
            ours = plain.read(16)
            assert isinstance(ours, bytes)
            (length,) = struct.unpack("!H", ours[14:])
            rest = plain.read(length)
            behind = plain.read(len(TEXT + WORD))
            network.end()
            plain.end()
            return ours, rest, behind

        ours, rest, behind = await self.through(
            script, preamble=lambda sock: sock.sendall(BINARY), proxyFrom=LOOPBACK, disclosure=told
        )
        addresses = proxywriting.binary(CALLER, FRONT)
        self.assertEqual(ours[:14], addresses[:14])
        self.assertEqual(rest[:12], addresses[16:])
        self.assertEqual(rest[12:], proxywriting.tlv(UNIQUE_ID, b"id-1"))
        self.assertEqual(behind, TEXT + WORD)

    async def test_aSecondHeaderIsNone(self) -> None:
        """
        Where a client has its own sent behind that of the sender: TLS is due.
        """
        await self.refusal(TEXT + BINARY, end=True)
        await wait(lambda: bool(self.ends))
        self.assertEnded("foreign-protocol")
        self.assertEqual(self.ends[0]["peer"], str(CALLER))


class ClientReceptionTests(TunnelTests):
    """
    Client mode, whose apps come by TCP or a UNIX socket.
    """

    mode = Mode.CLIENT

    async def call(self, **settings: Any) -> None:
        """
        Get a word through behind a header.
        """
        dial = loopback._dial

        def dialHeaded(where: str) -> socket.socket:
            sock = dial(where)
            sock.sendall(TEXT)
            return sock

        def script(network: Encrypted, plain: Plain) -> None:
            plain.write(WORD)
            self.assertEqual(network.read(len(WORD)), WORD)
            plain.end()
            network.end()

        self.patch(loopback, "_dial", dialHeaded)
        await self.through(script, **settings)
        await wait(lambda: bool(self.ends))
        self.assertEqual(self.ends[0]["peer"], str(CALLER))

    async def test_overTCP(self) -> None:
        """
        From networks.
        """
        await self.call(proxyFrom=LOOPBACK)

    async def test_overAUNIXSocket(self) -> None:
        """
        Where that was said.
        """
        self.onUNIX = True
        await self.call(proxyFromUNIX=True)
        self.assertEqual(self.ends[0]["proxied_by"], "unix")
