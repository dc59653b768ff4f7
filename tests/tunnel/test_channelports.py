"""
Tests for L{tlstunnel.tunnel.channels} and L{tlstunnel.tunnel.dataports}: who may connect for a data
connection, and where.
"""

from __future__ import annotations

import os
import re
import resource
import socket
from typing import Any, cast

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from tests.loopback import PATIENCE, Encrypted, Plain, Reset
from tests.ports import freePort
from tests.tunnel.datatransfers import (
    ClientMode,
    becomesRefused,
    becomesReset,
    connect,
    expect,
    isRefused,
    isResumed,
    line,
    listener,
    passiveReply,
    portOf,
)
from tlstunnel.address import TCPAddress
from tlstunnel.protocols.ftpdata import ACTIVE
from tlstunnel.tunnel import channels, dataports
from tlstunnel.tunnel.channels import MAX_DATA_CONNECTIONS
from tlstunnel.tunnel.limits import Limits


class PortTests(ClientMode):
    """
    Ports for data connections, in client mode.
    """

    async def test_onlyTheHostOfTheControlConnectionMayConnect(self) -> None:
        """
        Another one gets nothing, and does not take the place of the right one.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as awaiting:
                port = self.passive(network, plain, awaiting)
                for _ in range(3):
                    self.assertIn(connect(port, "127.0.0.2").read(1), (b"", Reset))
                app = connect(port)
                sock, _ = awaiting.accept()
            server = Encrypted(sock, network.tls.get_context(), False)
            server.handshake()
            server.write(b"a file")
            self.assertEqual(app.read(6), b"a file")
            self.assertTrue(isRefused(port))

        await self.ftp(script)

    async def test_oneConnectionIsAccepted(self) -> None:
        """
        For each reply to PASV.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as awaiting:
                port = self.passive(network, plain, awaiting)
                app = connect(port)
                awaiting.accept()[0].close()
            self.assertTrue(isRefused(port))
            app.close()

        await self.ftp(script)

    async def test_aSecondReplyTakesTheFirstBack(self) -> None:
        """
        A port where nobody came is closed.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as awaiting:
                ports = [
                    self.passive(network, plain, awaiting) for _ in range(2 * MAX_DATA_CONNECTIONS)
                ]
                self.assertTrue(all(isRefused(port) for port in ports[:-1]))
                app = connect(ports[-1])
                awaiting.accept()[0].close()
                app.close()

        await self.ftp(script)

    async def test_withoutADescriptorThereIsNoPort(self) -> None:
        """
        The app is told so, and the session goes on.
        """
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

        def script(network: Encrypted, plain: Plain) -> None:
            free = os.open(os.devnull, os.O_RDONLY)
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
            plain.write(b"PASV\r\n")
            expect(network, b"PASV")
            network.write(passiveReply(1))
            expect(plain, b"425 Cannot listen: no port to listen at (Too many open files)")
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            _, app = self.data(network, plain)
            app.close()

        await self.ftp(script)

    async def test_thereAreNotTooMany(self) -> None:
        """
        Where that many are open the app is told.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            opened = [self.data(network, plain) for _ in range(MAX_DATA_CONNECTIONS)]
            plain.write(b"PASV\r\n")
            expect(network, b"PASV")
            network.write(passiveReply(1))
            expect(plain, b"425 Cannot listen: too many data connections")
            server, app = opened[0]
            server.end()
            self.assertTrue(app.atEnd())
            app.close()
            self.assertTrue(server.atEnd())
            server.write = None  # type: ignore[assignment]
            opened.append(self.data(network, plain))
            for server, app in opened:
                server.close()
                app.close()

        await self.ftp(script)

    async def test_nobodyAtTheServersPortIsAReset(self) -> None:
        """
        The control connection stays.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as awaiting:
                port = self.passive(network, plain, awaiting)
            self.assertTrue(becomesReset(port))
            plain.write(b"NOOP\r\n")
            expect(network, b"NOOP")

        await self.ftp(script)
        await self.ended("connect")

    async def test_aPortWhereNobodyComesIsClosed(self) -> None:
        """
        And so is a connection on which the server does not speak TLS.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as awaiting:
                becomesRefused(self.passive(network, plain, awaiting))
                app = connect(self.passive(network, plain, awaiting))
                sock, _ = awaiting.accept()
                self.assertTrue(app.isReset())
                sock.close()

        await self.ftp(script, limits=Limits(greeting=0.5, closeTotal=0.5))

    async def test_overIPv6ThereIsEPSV(self) -> None:
        """
        Towards an app that came over IPv6, also where the server knows nothing of it.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            plain.write(b"EPSV 2\r\n")
            expect(network, b"EPSV")
            network.write(b"500 what?\r\n")
            expect(network, b"PASV")
            with listener() as awaiting:
                network.write(passiveReply(awaiting.getsockname()[1]))
                reply = line(plain)
                found = re.fullmatch(
                    rb"229 Entering Extended Passive Mode \(\|\|\|(\d+)\|\)", reply
                )
                assert found is not None, reply
                app = Plain(socket.create_connection(("::1", int(found[1])), PATIENCE))
                sock, _ = awaiting.accept()
            server = Encrypted(sock, network.tls.get_context(), False)
            server.handshake()
            server.write(b"a file")
            self.assertEqual(app.read(6), b"a file")

        self.listenAt("::1")
        await self.ftp(script, local=(TCPAddress("::1", 0),))

    async def test_overIPv6ThereIsEPRT(self) -> None:
        """
        For an app that came over IPv6.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener(socket.AF_INET6) as app, listener() as awaiting:
                plain.write(b"EPRT |2|::1|%d|\r\n" % portOf(app))
                expect(network, b"EPSV")
                network.write(b"229 (|||%d|)\r\n" % portOf(awaiting))
                expect(plain, b"200 EPRT understood")
                server = Encrypted(awaiting.accept()[0], network.tls.get_context(), False)
                sock, (host, *_) = app.accept()
                self.assertEqual(host, "::1")
                server.handshake()
                server.write(b"a file")
                self.assertEqual(Plain(sock).read(6), b"a file")

        self.listenAt("::1")
        await self.ftp(script, local=(TCPAddress("::1", 0),), options=frozenset((ACTIVE,)))

    async def test_IPv4MappedIntoIPv6HasPORT(self) -> None:
        """
        As where the tunnel listens at all addresses.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as app, listener() as awaiting:
                self.active(network, plain, portOf(app), portOf(awaiting))
                server = Encrypted(awaiting.accept()[0], network.tls.get_context(), False)
                sock, (host, _) = app.accept()
                self.assertEqual(host, "127.0.0.1")
                server.handshake()
                server.write(b"a file")
                self.assertEqual(Plain(sock).read(6), b"a file")

        self.listenAt("127.0.0.1")
        await self.ftp(script, local=(TCPAddress("::", 0),), options=frozenset((ACTIVE,)))

    async def test_IPv4MappedIntoIPv6HasPASV(self) -> None:
        """
        As where the tunnel listens at all addresses.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            server, app = self.data(network, plain)
            server.write(b"a file")
            self.assertEqual(app.read(6), b"a file")

        self.listenAt("127.0.0.1")
        await self.ftp(script, local=(TCPAddress("::", 0),))

    async def test_inActiveModeTheAppIsConnectedTo(self) -> None:
        """
        From the address at which it has found the tunnel; the server is connected to, and resumes
        the session of the control connection.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as app, listener() as awaiting:
                for number in range(3):
                    self.active(network, plain, portOf(app), portOf(awaiting))
                    server = Encrypted(awaiting.accept()[0], network.tls.get_context(), False)
                    sock, (host, _) = app.accept()
                    self.assertEqual(host, "127.0.0.1")
                    server.handshake()
                    self.assertTrue(isResumed(server), number)
                    client = Plain(sock)
                    client.write(b"a file")
                    self.assertEqual(server.read(6), b"a file")
                    client.close()
                    self.assertTrue(server.atEnd())
                    server.end()
                    server.close()

        await self.ftp(script, options=frozenset((ACTIVE,)))
        ends = await self.ended("clean", "clean", "clean")
        self.assertEqual({event["identity"] for event in ends}, {"server.example.org"})

    async def test_whereNobodyListensInActiveModeTheOtherEndHearsOfIt(self) -> None:
        """
        The control connection stays, and the app is not connected to before the server is.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as app, listener() as awaiting:
                with listener() as gone:
                    nowhere = portOf(gone)
                self.active(network, plain, nowhere, portOf(awaiting))
                server = Plain(awaiting.accept()[0])
                self.assertTrue(server.isReset())
                self.active(network, plain, portOf(app), nowhere)
                plain.write(b"NOOP\r\n")
                expect(network, b"NOOP")
                network.write(b"425 nobody came\r\n")
                expect(plain, b"425 nobody came")
                app.settimeout(0.1)
                self.assertRaises(TimeoutError, app.accept)

        await self.ftp(script, options=frozenset((ACTIVE,)))
        await self.ended("connect", "connect")

    async def test_inActiveModeASecondRequestTakesTheFirstBack(self) -> None:
        """
        As long as it is on its way.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as app, listener() as awaiting:
                for _ in range(3 * MAX_DATA_CONNECTIONS):
                    self.passive(network, plain, awaiting)
                    self.active(network, plain, portOf(app), portOf(awaiting))
                    server = awaiting.accept()[0]
                    app.accept()[0].close()
                    server.close()

        await self.ftp(script, options=frozenset((ACTIVE,)))

    async def test_aRangeOfPortsIsKeptTo(self) -> None:
        """
        Where all of it is in use, the app is told, and the log says what to do, once.
        """
        events: list[LogEvent] = []
        observe = cast("ILogObserver", events.append)
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.patch(channels, "FULL_SECONDS", 0.0)
        only = freePort()

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as awaiting:
                for _ in range(4):
                    self.assertEqual(self.passive(network, plain, awaiting), only)
            for _ in range(4):
                # At once, although the system remembers the last connection there.
                server, app = self.data(network, plain)
                self.assertEqual(app.sock.getpeername()[1], only)
                server.close()
                app.close()
            with socket.create_server(("127.0.0.1", only)):
                for _ in range(3):
                    plain.write(b"PASV\r\n")
                    expect(network, b"PASV")
                    network.write(passiveReply(1))
                    expect(
                        plain,
                        b"425 Cannot listen: all ports from %d to %d are in use" % (only, only),
                    )
            self.data(network, plain)

        await self.ftp(script, name="files", options=frozenset((f"ports={only}-{only}",)))
        told = [event for event in events if "wider range" in event.get("log_format", "")]
        self.assertEqual([event["peer"] for event in told], ["127.0.0.1"])
        self.assertEqual([event["tunnel"] for event in told], ["files"])

    async def test_whoAsksForAPortAgainAndAgainIsToldAtOnce(self) -> None:
        """
        Nobody looks through all of the range for each of many requests.
        """
        self.patch(channels, "FULL_SECONDS", PATIENCE)
        only = freePort()
        tries = []
        listen = dataports.listenBeside

        def noted(*arguments: Any) -> socket.socket:
            tries.append(arguments)
            return listen(*arguments)

        self.patch(channels, "listenBeside", noted)

        def script(network: Encrypted, plain: Plain) -> None:
            with socket.create_server(("127.0.0.1", only)):
                plain.write(b"PASV\r\n" * 100)
                for _ in range(100):
                    expect(network, b"PASV")
                network.write(passiveReply(1) * 100)
                for _ in range(100):
                    self.assertTrue(line(plain).startswith(b"425 Cannot listen: all ports from "))

        await self.ftp(script, options=frozenset((f"ports={only}-{only}",)))
        self.assertEqual(len(tries), 1)


class PortTLS12Tests(PortTests):
    """
    The same with TLS 1.2.
    """

    version = "1.2"
