"""
Tests for L{tlstunnel.tunnel.channels} in server mode.
"""

from __future__ import annotations

from OpenSSL import SSL

from tests.loopback import CLIENT, SERVER, Encrypted, Plain, Reset, TunnelTests, reactor
from tests.tunnel.datatransfers import (
    ServerMode,
    becomesRefused,
    becomesReset,
    expect,
    line,
    listener,
    passiveReply,
    portCommand,
    portIn,
    portOf,
)
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.protocols.ftpdata import ACTIVE, ALLOW_TRUNCATED_UPLOADS


class ServerModeTests(ServerMode):
    """
    What data connections do there.
    """

    async def test_aFileIsFetched(self) -> None:
        """
        By a client that resumes no session, as most.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            for _ in range(2):
                sock, backend = self.data(network, plain)
                backend.write(b"a file")
                backend.close()
                client = self.encrypted(sock, self.context(True))
                self.assertEqual(client.read(100), b"a file")
                client.end()
                client.close()

        await self.ftp(script)

    async def test_aFileIsStored(self) -> None:
        """
        The backend gets all of it and a clean end, and the client the backend's.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            sock, backend = self.data(network, plain)
            client = self.encrypted(sock, self.context(True))
            client.write(b"a file")
            client.end()
            self.assertEqual(backend.read(100), b"a file")
            backend.close()
            self.assertTrue(client.atEnd())
            client.close()

        await self.ftp(script)

    async def test_truncatedDataDoesNotEndCleanly(self) -> None:
        """
        Who cuts the connection does not make the backend believe that this was the file.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            sock, backend = self.data(network, plain)
            client = self.encrypted(sock, self.context(True))
            client.write(b"half a file")
            self.assertEqual(backend.read(11), b"half a file")
            client.truncate()
            self.assertTrue(backend.isReset())

        await self.ftp(script)

    async def test_anUploadThatIsNotEndedIsTakenByName(self) -> None:
        """
        Some clients, those of .NET for one, close the TCP connection only: where the option allows
        it, that is a clean end.  Data of the backend that is cut is still a failure.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            sock, backend = self.data(network, plain)
            client = self.encrypted(sock, self.context(True))
            client.write(b"a file")
            client.truncate()
            self.assertEqual(backend.read(100), b"a file")
            backend.close()
            client.close()
            sock, backend = self.data(network, plain)
            client = self.encrypted(sock, self.context(True))
            backend.write(b"half a file")
            self.assertEqual(client.read(11), b"half a file")
            client.truncate()
            self.assertTrue(backend.isReset())
            sock, backend = self.data(network, plain)
            client = self.encrypted(sock, self.context(True))
            client.write(b"half a file")
            self.assertEqual(backend.read(11), b"half a file")
            client.reset()
            self.assertTrue(backend.isReset())

        await self.ftp(script, options=frozenset((ALLOW_TRUNCATED_UPLOADS,)))

    async def test_inActiveModeTheClientIsConnectedTo(self) -> None:
        """
        It speaks TLS as the client all the same (RFC 4217, section 7); data goes either way.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as waiting, listener() as awaiting:
                for isUpload in (False, True):
                    network.write(portCommand(portOf(waiting)))
                    expect(plain, b"PASV")
                    plain.write(passiveReply(awaiting.getsockname()[1]))
                    expect(network, b"200 PORT understood")
                    backend = Plain(awaiting.accept()[0])
                    client = self.encrypted(waiting.accept()[0], self.context(True))
                    if isUpload:
                        client.write(b"a file")
                        client.end()
                        self.assertEqual(backend.read(100), b"a file")
                        backend.close()
                    else:
                        backend.write(b"a file")
                        backend.close()
                        self.assertEqual(client.read(100), b"a file")
                        client.end()
                    client.close()

        await self.ftp(script, options=frozenset((ACTIVE,)))

    async def test_inActiveModeTheClientMustBeTheSame(self) -> None:
        """
        With -R, whoever listens there has to show the certificate of the control connection.
        """
        context = self.context(True)
        directory = self.pool.path / str(CLIENT)
        context.use_certificate_chain_file(str(directory / "fullchain.pem"))
        context.use_privatekey_file(str(directory / "privkey.pem"))
        self.patch(self, "context", lambda _: context)

        def script(network: Encrypted, plain: Plain) -> None:
            with listener() as waiting, listener() as awaiting:
                for made in (context, TunnelTests.context(self, True)):
                    network.write(portCommand(portOf(waiting)))
                    expect(plain, b"PASV")
                    plain.write(passiveReply(awaiting.getsockname()[1]))
                    expect(network, b"200 PORT understood")
                    backend = Plain(awaiting.accept()[0])
                    client = Encrypted(waiting.accept()[0], made, True, SERVER.domain.encode())
                    backend.write(b"secret")
                    try:
                        client.handshake()
                        heard = client.read(6)
                    except (SSL.Error, ConnectionError):
                        heard = Reset
                    self.assertEqual(heard, b"secret" if made is context else Reset)

        await self.ftp(
            script, remoteID=Selector.parse("@example.org"), options=frozenset((ACTIVE,))
        )

    async def test_withoutTLSNothingPasses(self) -> None:
        """
        In neither direction.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            sock, backend = self.data(network, plain)
            backend.write(b"secret")
            sock.sendall(b"a file\r\n")
            self.assertTrue(backend.isReset())
            heard = Plain(sock).read(100)
            self.assertNotIn(b"secret", heard if isinstance(heard, bytes) else b"")

        await self.ftp(script)

    async def test_theClientMustBeTheSame(self) -> None:
        """
        With -R, who connects for data has to show the certificate of the control connection's
        client; another one that -R selects will not do.
        """
        other = Identity("other", "example.org")
        createIdentity(self.pool, other)
        shown = CLIENT

        def context(isClient: bool) -> SSL.Context:
            made = TunnelTests.context(self, isClient)
            directory = self.pool.path / str(shown)
            made.use_certificate_chain_file(str(directory / "fullchain.pem"))
            made.use_privatekey_file(str(directory / "privkey.pem"))
            return made

        self.context = context  # type: ignore[method-assign]

        def script(network: Encrypted, plain: Plain) -> None:
            nonlocal shown
            sock, backend = self.data(network, plain)
            client = self.encrypted(sock, self.context(True))
            backend.write(b"a file")
            self.assertEqual(client.read(6), b"a file")
            for certificate in (True, False):
                shown = other
                sock, backend = self.data(network, plain)
                backend.write(b"secret")
                made = self.context(True) if certificate else TunnelTests.context(self, True)
                client = Encrypted(sock, made, True)
                try:
                    client.handshake()
                    self.assertIs(client.read(6), Reset)
                except (SSL.Error, ConnectionError):
                    pass
                self.assertTrue(backend.isReset())

        await self.ftp(script, remoteID=Selector.parse("@example.org"))

    async def test_aBackendThatIsGoneIsAReset(self) -> None:
        """
        The control connection stays.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            network.write(b"PASV\r\n")
            expect(plain, b"PASV")
            with listener() as awaiting:
                port = awaiting.getsockname()[1]
            plain.write(passiveReply(port))
            self.assertTrue(becomesReset(portIn(line(network))))
            network.write(b"NOOP\r\n")
            expect(plain, b"NOOP")

        await self.ftp(script)

    async def test_aStopClosesThePort(self) -> None:
        """
        And what moves is over.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            sock, backend = self.data(network, plain)
            client = self.encrypted(sock, self.context(True))
            backend.write(b"half a file")
            self.assertEqual(client.read(11), b"half a file")
            network.write(b"PASV\r\n")
            expect(plain, b"PASV")
            with listener() as awaiting:
                plain.write(passiveReply(awaiting.getsockname()[1]))
                port = portIn(line(network))
                reactor.callFromThread(self.services[0].hurry)
                becomesRefused(port)
            self.assertIs(client.read(1), Reset)
            self.assertTrue(backend.isReset())

        self.remember()
        await self.ftp(script)


class ServerModeTLS12Tests(ServerModeTests):
    """
    The same with TLS 1.2.
    """

    version = "1.2"
