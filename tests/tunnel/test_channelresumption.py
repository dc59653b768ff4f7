"""
Data connections of ftp in server mode that resume the session of their control connection, on real
sockets: who gets one, and who does not.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from OpenSSL import SSL

from tests.loopback import CLIENT, PATIENCE, SERVER, Encrypted, Plain, Reset, wait
from tests.ports import freePort
from tests.tunnel.datatransfers import (
    ServerMode,
    becomesRefused,
    connect,
    expect,
    isResumed,
    line,
    listener,
    passiveReply,
    portCommand,
    portIn,
    portOf,
)
from tlstunnel.identity.names import Selector
from tlstunnel.protocols.ftp import REQUIRE_RESUMPTION
from tlstunnel.protocols.ftpdata import ACTIVE


class ResumptionTests(ServerMode):
    """
    Clients of one server.
    """

    def offering(self, sock: socket.socket, network: Encrypted) -> Encrypted:
        """
        The client of C{network} on a data connection, which offers its session; the handshake is
        still to do.
        """
        client = Encrypted(sock, network.tls.get_context(), True, SERVER.domain.encode())
        session = network.tls.get_session()
        assert session is not None
        client.tls.set_session(session)
        return client

    def fetch(self, client: Encrypted, backend: Plain) -> None:
        """
        A file arrives.
        """
        backend.write(b"a file")
        backend.close()
        self.assertEqual(client.read(100), b"a file")
        client.end()
        client.close()

    def assertRefused(self, client: Encrypted, backend: Plain) -> None:
        """
        A client gets nothing, and the backend has no end of data.
        """
        backend.write(b"a file")
        self.assertRaises((SSL.Error, ConnectionError), client.handshake)
        self.assertTrue(backend.isReset())

    def refusals(self) -> list[str]:
        """
        Why data connections were refused.
        """
        return [each["detail"] for each in self.ends if each["outcome"] == "identity"]

    def fetchResuming(self, network: Encrypted, plain: Plain) -> None:
        """
        Fetch a file over a data connection that resumes the session of C{network}.
        """
        sock, backend = self.data(network, plain)
        client = self.offering(sock, network)
        client.handshake()
        self.assertTrue(isResumed(client))
        self.fetch(client, backend)

    async def test_aFileIsFetchedByAClientThatResumes(self) -> None:
        """
        One after the other.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            for _ in range(3):
                self.fetchResuming(network, plain)

        await self.ftp(script)
        self.assertEqual(self.refusals(), [])

    async def test_itProvesItsIdentityByThat(self) -> None:
        """
        As it has done it by a certificate before.
        """
        context = self.context(True)
        directory = self.pool.path / str(CLIENT)
        context.use_certificate_chain_file(str(directory / "fullchain.pem"))
        context.use_privatekey_file(str(directory / "privkey.pem"))
        self.patch(self, "context", lambda _: context)

        def script(network: Encrypted, plain: Plain) -> None:
            self.fetchResuming(network, plain)

        await self.ftp(script, remoteID=Selector.parse("@example.org"))
        await wait(lambda: len(self.ends) == 2)
        self.assertEqual({str(each["identity"]) for each in self.ends}, {str(CLIENT)})

    async def test_aStrangerAtTheSameAddressIsRefused(self) -> None:
        """
        Without a session, where the client has resumed one before; the next one is the client's.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            self.fetchResuming(network, plain)
            sock, backend = self.data(network, plain)
            stranger = Encrypted(sock, self.context(True), True, SERVER.domain.encode())
            self.assertRefused(stranger, backend)
            self.fetchResuming(network, plain)

        await self.ftp(script)
        await wait(lambda: bool(self.refusals()))
        self.assertEqual(len(self.refusals()), 1)
        self.assertIn("the client has done so before", self.refusals()[0])

    async def test_theFirstOneCanHaveToResumeAsWell(self) -> None:
        """
        If the administrator says so.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            sock, backend = self.data(network, plain)
            stranger = Encrypted(sock, self.context(True), True, SERVER.domain.encode())
            self.assertRefused(stranger, backend)
            self.fetchResuming(network, plain)

        await self.ftp(script, options=frozenset({REQUIRE_RESUMPTION}))
        await wait(lambda: bool(self.refusals()))
        self.assertIn("that is demanded here", self.refusals()[0])

    async def test_inActiveModeTheClientProvesItselfLikewise(self) -> None:
        """
        It listens, and is the client in TLS: whoever else is there is refused.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as waiting, listener() as awaiting:
                for isStranger in (False, True, False):
                    network.write(portCommand(portOf(waiting)))
                    expect(plain, b"PASV")
                    plain.write(passiveReply(portOf(awaiting)))
                    expect(network, b"200 PORT understood")
                    backend = Plain(awaiting.accept()[0])
                    sock = waiting.accept()[0]
                    if isStranger:
                        stranger = Encrypted(sock, self.context(True), True)
                        self.assertRefused(stranger, backend)
                        continue
                    client = self.offering(sock, network)
                    client.handshake()
                    self.assertTrue(isResumed(client))
                    self.fetch(client, backend)

        await self.ftp(script, options=frozenset({ACTIVE, REQUIRE_RESUMPTION}))
        await wait(lambda: bool(self.refusals()))
        self.assertEqual(len(self.refusals()), 1)

    def contested(self, network: Encrypted, plain: Plain) -> tuple[Any, Any, Plain]:
        """
        Two at the same address connect to the port of one data connection.

        @return: their sockets, the faster one first, and the backend's end.
        """
        network.write(b"PASV\r\n")
        expect(plain, b"PASV")
        with listener() as awaiting:
            plain.write(passiveReply(awaiting.getsockname()[1]))
            port = portIn(line(network))
            first = connect(port).sock
            sock, _ = awaiting.accept()
            second = connect(port)
            self.assertIn(second.read(1), (b"", Reset), "served as well")
            second.close()
        sock.settimeout(PATIENCE)
        return first, port, Plain(sock)

    async def test_whoIsFasterThanTheClientIsRefused(self) -> None:
        """
        Also where the client may not be able to resume a session, as nobody can tell them apart.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            sock, port, backend = self.contested(network, plain)
            stranger = Encrypted(sock, self.context(True), True, SERVER.domain.encode())
            backend.write(b"a file")
            with contextlib.suppress(ConnectionError, SSL.Error):
                # In TLS 1.3 the stranger believes it to be complete.
                stranger.handshake()
                self.assertIn(stranger.read(100), (b"", Reset))
            self.assertTrue(backend.isReset())
            becomesRefused(port)

        await self.ftp(script)
        await wait(lambda: bool(self.refusals()))
        self.assertIn("somebody else at the same address", self.refusals()[0])

    async def test_aClientTakesOnePortOfARangeWhateverItBegins(self) -> None:
        """
        Where TLS is not up yet on the connections before, whose port is free for the next ones;
        whose they are is still known.
        """
        only = freePort()

        def script(network: Encrypted, plain: Plain) -> None:
            first, port, _ = self.contested(network, plain)
            self.assertEqual(port, only)
            kept = [self.data(network, plain) for _ in range(3)]
            stranger = Encrypted(first, self.context(True), True, SERVER.domain.encode())
            with contextlib.suppress(ConnectionError, SSL.Error):
                stranger.handshake()
                self.assertIn(stranger.read(100), (b"", Reset))
            for sock, backend in kept:
                client = self.offering(sock, network)
                client.handshake()
                self.fetch(client, backend)

        await self.ftp(script, options=frozenset((f"ports={only}-{only}",)))
        await wait(lambda: bool(self.refusals()))
        self.assertIn("somebody else at the same address", self.refusals()[0])

    async def test_whoIsSlowerThanTheClientDisturbsNothing(self) -> None:
        """
        If the client proves who it is.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            sock, port, backend = self.contested(network, plain)
            client = self.offering(sock, network)
            client.handshake()
            becomesRefused(port)
            self.fetch(client, backend)

        await self.ftp(script)
        self.assertEqual(self.refusals(), [])


class ResumptionTLS12Tests(ResumptionTests):
    """
    The same with TLS 1.2.
    """

    version = "1.2"
