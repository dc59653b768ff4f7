"""
Tests for L{tlstunnel.tunnel.announcing}: headers of the PROXY protocol that real tunnels send.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.loopback import CLIENT, SERVER, Encrypted, Plain, TunnelTests, wait
from tests.tunnel.test_reception import LOOPBACK, askForTLS
from tlstunnel.address import TCPAddress, UNIXAddress, parseAddress
from tlstunnel.errors import ConfigurationError, Reset
from tlstunnel.identity.names import Selector
from tlstunnel.identity.pins import keyOf
from tlstunnel.net import proxywriting
from tlstunnel.net.proxyheader import Header, lengthOf, parse
from tlstunnel.protocols.registry import find
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.reveal.proxyout import ProxyOut
from tlstunnel.reveal.tlvs import TLVS
from tlstunnel.testing.legs import MemoryLeg
from tlstunnel.testing.memory import Driver
from tlstunnel.tunnel.announcing import announce, headerOf
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.disclosures import checkDisclosure
from tlstunnel.tunnel.observers import Observers
from tlstunnel.tunnel.record import Record

EVERYTHING = Disclosure(proxyOut="v2", proxyTLVs=TLVS)


def readHeader(plain: Plain) -> Header:
    """
    A header, and not a byte more.
    """
    data = b""
    while not (length := lengthOf(data)) or len(data) < length:
        more = plain.read(length - len(data) if length else 1)
        assert isinstance(more, bytes)
        assert more, data
        data += more
    return parse(data)


def within(value: bytes) -> tuple[int, int, dict[int, bytes]]:
    """
    What stands in the TLV of TLS: flags, the result, other TLVs.
    """
    flags, verified = struct.unpack("!BI", value[:5])
    found, at = {}, 5
    while at < len(value):
        kind, length = struct.unpack_from("!BH", value, at)
        found[kind] = value[at + 3 : at + 3 + length]
        at += 3 + length
    assert at == len(value)
    return flags, verified, found


class ServerTests(TunnelTests):
    """
    Towards the backend.
    """

    def showCertificate(self) -> x509.Certificate:
        """
        Let the client show its certificate.
        """
        directory = self.pool.path / str(CLIENT)
        self.clientContext = context = TunnelTests.context(self, True)
        context.use_certificate_chain_file(str(directory / "fullchain.pem"))
        context.use_privatekey_file(str(directory / "privkey.pem"))
        self.patch(self, "context", lambda isClient: context)
        return x509.load_pem_x509_certificate((directory / "fullchain.pem").read_bytes())

    async def told(
        self,
        disclosure: Disclosure,
        dialect: str = "none",
        preamble: Callable[[socket.socket], object] | None = None,
        **settings: Any,
    ) -> Header:
        """
        What the backend is told of a client.
        """
        ours: list[Any] = []

        def script(network: Encrypted, plain: Plain) -> Header:
            header = readHeader(plain)
            if dialect == "smtp":
                plain.write(b"220 mx\r\n")
            ours.extend((network.sock.getsockname(), network.sock.getpeername()))
            network.write(b"NOOP\r\n")
            self.assertEqual(plain.read(6), b"NOOP\r\n")
            network.end()
            plain.end()
            return header

        header: Header = await self.through(
            script, dialect, preamble, disclosure=disclosure, **settings
        )
        self.assertEqual(header.source, TCPAddress(*ours[0]))
        self.assertEqual(header.destination, TCPAddress(*ours[1]))
        await wait(lambda: bool(self.ends))
        return header

    async def test_anybody(self) -> None:
        """
        Who shows no certificate has proved nothing.
        """
        header = await self.told(EVERYTHING, alpn=(b"h2",))
        kinds = [kind for kind, _ in header.tlvs]
        self.assertEqual(kinds, [0x02, 0x20, 0x05, 0x03])
        self.assertEqual(header.value(0x02), b"server.example.org")
        self.assertEqual(self.ends[0]["unique_id"].encode(), header.value(0x05))
        value = header.value(0x20)
        assert value is not None
        flags, verified, found = within(value)
        self.assertEqual((flags, verified > 0), (0x01, True))
        event = self.ends[0]
        self.assertEqual(
            found,
            {
                0x21: b"TLSv1.3",
                0x23: event["suite"].encode(),
                0x24: b"ecdsa-with-SHA256",
                0x25: b"EC256",
                0x26: event["group"].encode(),
            },
        )

    async def test_somebody(self) -> None:
        """
        Who was verified is told with all that was, also with TLS 1.2.
        """
        for version in "1.2", "1.3":
            self.version = version
            certificate = self.showCertificate()
            self.ends.clear()
            header = await self.told(EVERYTHING, remoteID=Selector.parse("@example.org"))
            self.assertEqual(header.value(0xED), b"client@example.org")
            value = header.value(0x20)
            assert value is not None
            flags, verified, found = within(value)
            self.assertEqual((flags, verified), (0x07, 0))
            self.assertEqual(found[0x22], b"client@example.org")
            der = certificate.public_bytes(Encoding.DER)
            self.assertEqual(found[0x28], der)

    async def test_onlyWhatWasAskedFor(self) -> None:
        """
        The certificate has to be asked for by its name; all else of TLS has one name.
        """
        self.showCertificate()
        user = Selector.parse("@.")
        for names, kinds, parts in (
            ((), [], None),
            (("identity",), [0xED], None),
            (("ssl",), [0x20], {0x21, 0x22, 0x23, 0x24, 0x25, 0x26}),
            (("ssl-cn", "crc32c"), [0x20, 0x03], {0x22}),
            (("ssl-client-cert",), [0x20], {0x28}),
        ):
            self.ends.clear()
            told = Disclosure(proxyOut="v2", proxyTLVs=names)
            header = await self.told(told, remoteID=user)
            self.assertEqual([kind for kind, _ in header.tlvs], kinds)
            if parts is not None:
                self.assertEqual({*within(header.value(0x20) or b"")[2]}, parts)

    async def test_whoIsKnownByAKeyAloneHasNoName(self) -> None:
        """
        Nobody vouches for what stands in such a certificate.
        """
        certificate = self.showCertificate()
        pin = keyOf(certificate)
        header = await self.told(EVERYTHING, trust=("pins",), pins=(pin,))
        flags, verified, found = within(header.value(0x20) or b"")
        self.assertEqual((flags, verified > 0), (0x07, True))
        self.assertNotIn(0x22, found)
        self.assertEqual(header.value(0xED), str(pin).encode())

    async def test_aResumedSession(self) -> None:
        """
        The certificate was shown in another connection of the session.
        """
        self.showCertificate()
        kept: list[Any] = []
        self.clientContext.set_session_cache_mode(SSL.SESS_CACHE_CLIENT)

        def script(network: Encrypted, plain: Plain) -> Header:
            header = readHeader(plain)
            plain.write(b"x")
            network.read(1)
            kept.append(network.tls.get_session())
            network.end()
            plain.end()
            return header

        backend = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(backend.close)
        service = self.tunnel(
            f"127.0.0.1:{backend.getsockname()[1]}",
            disclosure=EVERYTHING,
            resumption=True,
            remoteID=Selector.parse("@example.org"),
        )

        def run() -> list[Header]:
            headers = []
            for _ in range(2):
                host, port = service.addresses[0].split(":")
                dialled = socket.create_connection((host, int(port)), 20)
                network = Encrypted(dialled, self.clientContext, True, SERVER.domain.encode())
                if kept:
                    network.tls.set_session(kept[-1])
                network.handshake()
                accepted, _ = backend.accept()
                accepted.settimeout(20)
                headers.append(script(network, Plain(accepted)))
                accepted.close()
                dialled.close()
            return headers

        headers = await deferToThread(run)
        flags = [within(each.value(0x20) or b"")[:2] for each in headers]
        self.assertEqual(flags, [(0x07, 0), (0x05, 0)])
        for each in headers:
            self.assertEqual(each.value(0xED), b"client@example.org")
            self.assertEqual(within(each.value(0x20) or b"")[2][0x22], b"client@example.org")

    async def test_version1(self) -> None:
        """
        Addresses alone.
        """
        header = await self.told(Disclosure(proxyOut="v1"))
        self.assertEqual(header.tlvs, ())

    async def test_withSTARTTLS(self) -> None:
        """
        Before the backend greets, and with all of TLS.
        """
        header = await self.told(EVERYTHING, "smtp", askForTLS)
        self.assertEqual(within(header.value(0x20) or b"")[0], 0x01)

    async def test_anotherBackendIsToldAsWell(self) -> None:
        """
        Each that is tried.
        """
        first = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(first.close)
        heard: list[Header] = []

        real = self.described

        def described(backend: str, dialect: str = "none", **settings: Any) -> Tunnel:
            both = (
                parseAddress(f"127.0.0.1:{first.getsockname()[1]}"),
                parseAddress(backend),
            )
            return real(backend, dialect, **(settings | {"remote": both}))

        self.patch(self, "described", described)
        backend = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(backend.close)
        backend.settimeout(20)
        service = self.tunnel(
            f"127.0.0.1:{backend.getsockname()[1]}",
            "smtp",
            disclosure=Disclosure(proxyOut="v2", proxyTLVs=("unique-id",)),
        )

        def run() -> Header:
            host, port = service.addresses[0].split(":")
            with socket.create_connection((host, int(port)), 20) as dialled:
                network = Encrypted(dialled, self.context(True), True, SERVER.domain.encode())
                askForTLS(dialled)
                network.handshake()
                accepted, _ = first.accept()
                with accepted:
                    accepted.settimeout(20)
                    heard.append(readHeader(Plain(accepted)))
                    accepted.sendall(b"421 busy\r\n")
                accepted, _ = backend.accept()
                with accepted:
                    accepted.settimeout(20)
                    return readHeader(Plain(accepted))

        second = await deferToThread(run)
        self.assertEqual(heard, [second])

    async def test_whatCannotBeSaidIsNobodysFault(self) -> None:
        """
        The connection ends, and the backend is not left alone for that.
        """
        self.patch(proxywriting, "LONGEST_BYTES", 20)
        backend = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(backend.close)
        backend.setblocking(False)
        told = Disclosure(proxyOut="v2", proxyTLVs=("unique-id",))
        where = f"127.0.0.1:{backend.getsockname()[1]}"
        for dialect in "none", "smtp":
            self.ends.clear()
            service: Any = self.tunnel(where, dialect, disclosure=told)

            def run(dialect: str = dialect, service: Any = service) -> Any:
                host, port = service.addresses[0].split(":")
                with socket.create_connection((host, int(port)), 20) as dialled:
                    network = Encrypted(dialled, self.context(True), True, SERVER.domain.encode())
                    if dialect == "smtp":
                        askForTLS(dialled)
                    network.handshake()
                    return network.read(1)

            await deferToThread(run)
            await wait(lambda: bool(self.ends))
            self.assertEnded("oversize")
            self.assertRaises(BlockingIOError, backend.accept)
            self.assertEqual([each.failures for each in service.factory.backends], [0])


class ClientTests(TunnelTests):
    """
    Towards the network, in client mode.
    """

    mode = Mode.CLIENT

    async def test_beforeTLS(self) -> None:
        """
        In clear, and only with what is known.
        """
        told = Disclosure(proxyOut="v2", toNetwork=True, proxyTLVs=("unique-id", "crc32c"))
        headers: list[Header] = []

        def script(network: Encrypted, plain: Plain) -> tuple[Any, Any]:
            network.write(b"x")
            plain.read(1)
            return plain.sock.getsockname(), plain.sock.getpeername()

        ours, theirs = await self.through(
            script,
            preamble=lambda sock: headers.append(readHeader(Plain(sock))),
            disclosure=told,
        )
        (header,) = headers
        self.assertEqual(header.source, TCPAddress(*ours))
        self.assertEqual(header.destination, TCPAddress(*theirs))
        self.assertEqual([kind for kind, _ in header.tlvs], [0x05, 0x03])


class UnitTests(SynchronousTestCase):
    """
    In memory.
    """

    def record(self) -> Record:
        """
        One that has only begun.
        """
        peer = TCPAddress("192.0.2.9", 1)
        return Record(Clock(), Observers(()), "", Mode.SERVER, "none", peer)

    def test_aBackendThatTakesNothing(self) -> None:
        """
        Is an error, however it comes to be known.
        """
        refusing = MemoryLeg()
        refusing.refuse()
        self.assertRaises(Reset, announce, b"PROXY UNKNOWN\r\n", refusing)

    def test_theAddressThatAHeaderHasSaidIsPassedOn(self) -> None:
        """
        And not that of our socket.
        """
        record = self.record()
        record.cameBy(
            TCPAddress("127.0.0.1", 9), Header(record.peer, TCPAddress("198.51.100.7", 25))
        )
        header = headerOf(ProxyOut("v1", ()), record, MemoryLeg())
        self.assertEqual(header, b"PROXY TCP4 192.0.2.9 198.51.100.7 1 25\r\n")

    def test_whereTheBackendIsDialledFirst(self) -> None:
        """
        mysql: it comes before the backend is heard.
        """
        peer = TCPAddress("192.0.2.9", 1)
        driver = Driver(find("mysql"), "server", peer=peer, proxyOut=ProxyOut("v2", ("crc32c",)))
        header = proxywriting.binary(peer, UNIXAddress("memory"), hasChecksum=True)
        self.assertEqual(driver.plain.written, header)

    def check(self, mode: Mode, dialect: str = "none", **settings: Any) -> str:
        """
        What is wrong with a tunnel.
        """
        where = (TCPAddress("127.0.0.1", 1),)
        tunnel = Tunnel(mode, where, where, find(dialect), **settings)
        try:
            checkDisclosure(tunnel)
        except ConfigurationError as error:
            return str(error)
        return ""

    def test_whatIsNotKnownYetCannotBeTold(self) -> None:
        """
        Before TLS.
        """
        early = Disclosure(proxyOut="v2", proxyTLVs=("unique-id", "crc32c"))
        self.assertEqual(self.check(Mode.SERVER, "mysql", disclosure=early), "")
        for name in set(TLVS) - {"unique-id", "crc32c"}:
            late = Disclosure(proxyOut="v2", proxyTLVs=("crc32c", name))
            said = self.check(Mode.SERVER, "mysql", disclosure=late)
            self.assertIn(f"--proxy-tlv {name}: is not known before TLS", said)
            self.assertIn("mysql", said)
            first = {"options": frozenset({"handshake-first"})}
            self.assertEqual(self.check(Mode.SERVER, "nats", disclosure=late, **first), "")
            late = Disclosure(proxyOut="v2", proxyTLVs=(name,), toNetwork=True)
            self.assertIn("before TLS", self.check(Mode.CLIENT, disclosure=late))

    def test_dataConnectionsHaveNoHeaders(self) -> None:
        """
        So that there is none of the control connection either.
        """
        for settings in ({"proxyFrom": LOOPBACK}, {"proxyFromUNIX": True}):
            said = self.check(Mode.SERVER, "ftp", **settings)
            self.assertIn("--proxy-from: is not for ftp", said)
