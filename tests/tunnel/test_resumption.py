"""
Tests of resumption in tunnels as a whole, on real sockets.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet.threads import deferToThread

from tests.loopback import (
    CLIENT,
    PATIENCE,
    SERVER,
    Encrypted,
    Plain,
    Script,
    TunnelTests,
    readLine,
    smtpServer,
    wait,
)
from tests.tunnel.test_withdrawal import takeAway
from tlstunnel.identity.names import Selector
from tlstunnel.identity.pins import keyOf
from tlstunnel.program.service import TunnelService
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.prepared import Prepared


def greeted(network: Encrypted, plain: Plain) -> None:
    """
    The server says something, and tickets come before it.
    """
    network.write(b"hello")
    assert plain.read(5) == b"hello"


def clean(network: Encrypted, plain: Plain) -> None:
    """
    Besides, both say that it is over.
    """
    greeted(network, plain)
    for each, other in ((plain, network), (network, plain)):
        each.end()
        assert other.atEnd()


def cut(network: Encrypted, plain: Plain) -> None:
    """
    Besides, there is no more, and no word of it.
    """
    greeted(network, plain)
    network.truncate()


def tacit(network: Encrypted, plain: Plain) -> None:
    """
    Besides, the app has no more to say, and the server says nothing to that.
    """
    greeted(network, plain)
    plain.end()
    assert network.atEnd()
    network.truncate()


def broken(network: Encrypted, plain: Plain) -> None:
    """
    Besides, what comes next is not what the server has sent.
    """
    greeted(network, plain)
    network.tls.send(b"more")
    record = bytearray(network.tls.bio_read(1 << 14))
    record[-1] ^= 1
    network.sock.sendall(record)
    plain.read(1)


def reset(network: Encrypted, plain: Plain) -> None:
    """
    Besides, the server resets the connection.
    """
    greeted(network, plain)
    network.reset()


def abort(network: Encrypted, plain: Plain) -> None:
    """
    Besides, the app resets the connection.
    """
    greeted(network, plain)
    plain.reset()
    network.read(1)


def mail(network: Encrypted, plain: Plain) -> None:
    """
    A dialogue of SMTP.
    """
    readLine(plain.sock)
    plain.write(b"QUIT\r\n")
    assert network.read(6) == b"QUIT\r\n"
    network.write(b"221 bye\r\n")
    readLine(plain.sock)
    for each, other in ((plain, network), (network, plain)):
        each.end()
        assert other.atEnd()


class ClientModeTests(TunnelTests):
    """
    Mode -c: servers let us resume.
    """

    mode = Mode.CLIENT

    def setUp(self) -> None:
        """
        A server, which is always the same.
        """
        super().setUp()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.settimeout(PATIENCE)
        self.addCleanup(self.listening.close)
        self.server = self.context(False)

    def before(self, listening: socket.socket | None = None, **settings: Any) -> TunnelService:
        """
        A tunnel to it.
        """
        port = (listening or self.listening).getsockname()[1]
        return self.tunnel(f"127.0.0.1:{port}", **settings)

    async def connect(
        self,
        tunnel: TunnelService,
        script: Script = clean,
        listening: socket.socket | None = None,
        preamble: Callable[[socket.socket], Any] = lambda _: None,
    ) -> bool:
        """
        Connect through a tunnel, and do something with it.

        @return: whether a session was resumed.
        """
        host, port = tunnel.addresses[0].rsplit(":", 1)
        count = len(self.ends)

        def run() -> None:
            with contextlib.ExitStack() as stack:
                plain = Plain(stack.enter_context(socket.create_connection((host, int(port)))))
                sock, _ = (listening or self.listening).accept()
                stack.enter_context(sock)
                for each in plain.sock, sock:
                    each.settimeout(PATIENCE)
                preamble(sock)
                network = Encrypted(sock, self.server, False)
                network.handshake()
                script(network, plain)
                network.tls.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)

        await deferToThread(run)
        await wait(lambda: len(self.ends) > count)
        return bool(self.ends[-1]["resumed"])

    async def test_sessionsAreResumed(self) -> None:
        """
        Unless somebody says no; and the log tells.
        """
        tunnel = self.before()
        found = [await self.connect(tunnel) for _ in range(3)]
        self.assertEqual(found, [False, True, True])
        self.assertEqual({str(each["identity"]) for each in self.ends}, {str(SERVER)})
        self.assertEqual({each["outcome"] for each in self.ends}, {"clean"})

    async def test_theyAreNotWhereSomebodySaysNo(self) -> None:
        """
        --resumption off.
        """
        tunnel = self.before(resumption=False)
        self.assertEqual([await self.connect(tunnel) for _ in range(2)], [False, False])

    async def test_aConnectionThatWasResetGivesNone(self) -> None:
        """
        Nor does it use up that of another.
        """
        for script in (reset, abort):
            tunnel = self.before()
            self.assertFalse(await self.connect(tunnel, script))
            self.assertEqual(self.ends[-1]["outcome"], "reset")
            self.assertFalse(await self.connect(tunnel))
            self.assertTrue(await self.connect(tunnel))

    async def test_norDoesOneWhoseTLSFailed(self) -> None:
        """
        As by an alert (RFC 5246, section 7.2.2), or that was cut.
        """
        for script, outcome in ((broken, "tls"), (cut, "truncated")):
            tunnel = self.before()
            self.assertFalse(await self.connect(tunnel, script))
            self.assertEqual(self.ends[-1]["outcome"], outcome)
            self.assertFalse(await self.connect(tunnel))

    async def test_aServerNeedNotSayThatItIsOver(self) -> None:
        """
        Once we have: many do not (RFC 5246, section 7.2.1).
        """
        tunnel = self.before()
        self.assertFalse(await self.connect(tunnel, tacit))
        self.assertEqual(self.ends[-1]["outcome"], "truncated")
        self.assertTrue(await self.connect(tunnel))

    async def test_thoseBeforeAReloadAreNotResumed(self) -> None:
        """
        Everything is verified anew by what is in force now.
        """
        tunnel = self.before()
        await self.connect(tunnel)
        self.assertTrue(await self.connect(tunnel))
        assert tunnel.factory is not None
        tunnel.factory.prepared = Prepared(tunnel.tunnel)
        self.assertFalse(await self.connect(tunnel))
        self.assertTrue(await self.connect(tunnel))

    async def test_thoseOfAnotherAddressAreNotResumed(self) -> None:
        """
        Though the same server is there, and nobody knows.
        """
        with socket.create_server(("127.0.0.1", 0)) as other:
            other.settimeout(PATIENCE)
            remote = self.before().tunnel.remote + self.before(other).tunnel.remote
            tunnel = self.before(remote=remote)
            await self.connect(tunnel)
            self.assertTrue(await self.connect(tunnel))
            self.listening.close()
            self.assertFalse(await self.connect(tunnel, listening=other))
            self.assertTrue(await self.connect(tunnel, listening=other))

    async def test_soItIsBehindSTARTTLS(self) -> None:
        """
        A tunnel has its own: that of another one is not offered, though its server is the same.
        """
        implicit = self.before()
        await self.connect(implicit)
        tunnel = self.before(dialect="smtp")
        found = [await self.connect(tunnel, mail, preamble=smtpServer) for _ in range(3)]
        self.assertEqual(found, [False, True, True])
        self.assertTrue(await self.connect(implicit))

    async def test_aServerThatFailsByOneIsOfferedNoMore(self) -> None:
        """
        As those do that want a certificate and say nothing of sessions: else every other connection
        would fail.
        """
        self.server.set_verify(SSL.VERIFY_PEER)
        tunnel = self.before(localID=CLIENT)
        self.assertFalse(await self.connect(tunnel))
        with self.assertRaises(SSL.Error):
            await self.connect(tunnel)
        await wait(lambda: len(self.ends) == 2)
        self.assertEqual(self.ends[-1]["outcome"], "tls")
        for _ in range(2):
            self.assertFalse(await self.connect(tunnel))

    async def test_soItIsWithACertificateOfOurs(self) -> None:
        """
        Each tunnel shows its own, or none.
        """
        self.server.set_verify(SSL.VERIFY_PEER)
        self.server.set_session_id(b"tests")
        for identity in (CLIENT, None):
            tunnel = self.before(localID=identity)
            found = [await self.connect(tunnel) for _ in range(2)]
            self.assertEqual(found, [False, True])

    async def test_soItIsWhereKeysDecide(self) -> None:
        """
        --trust pins.
        """
        key = keyOf(self.pool.credentials(SERVER).certificates[0])
        tunnel = self.before(trust=("pins",), pins=(key,))
        self.assertEqual([await self.connect(tunnel) for _ in range(2)], [False, True])
        self.assertEqual({str(each["identity"]) for each in self.ends}, {str(key)})


class ClientModeTLS12Tests(ClientModeTests):
    """
    The same with TLS 1.2.
    """

    version = "1.2"


class ServerModeTests(TunnelTests):
    """
    Mode -s: clients want to resume.
    """

    def setUp(self) -> None:
        """
        A client with a certificate, which remembers its last session.
        """
        super().setUp()
        self.client = self.context(True)
        directory = self.pool.path / str(CLIENT)
        self.client.use_certificate_chain_file(str(directory / "fullchain.pem"))
        self.client.use_privatekey_file(str(directory / "privkey.pem"))
        self.backend = socket.create_server(("127.0.0.1", 0))
        self.backend.settimeout(PATIENCE)
        self.addCleanup(self.backend.close)
        self.resumable: SSL.Session | None = None

    def behind(self, **settings: Any) -> TunnelService:
        """
        A tunnel that wants certificates.
        """
        where = f"127.0.0.1:{self.backend.getsockname()[1]}"
        defaults: dict[str, Any] = {"remoteID": Selector.parse("@example.org")}
        return self.tunnel(where, **(defaults | settings))

    async def connect(self, tunnel: TunnelService) -> bool:
        """
        Connect through a tunnel, hear something, and end.

        @return: whether a session was resumed.
        """
        host, port = tunnel.addresses[0].rsplit(":", 1)
        count = len(self.ends)

        def run() -> None:
            with contextlib.ExitStack() as stack:
                sock = stack.enter_context(socket.create_connection((host, int(port)), PATIENCE))
                network = Encrypted(sock, self.client, True, SERVER.domain.encode())
                if self.resumable is not None:
                    network.tls.set_session(self.resumable)
                network.handshake()
                accepted, _ = self.backend.accept()
                stack.enter_context(accepted)
                accepted.settimeout(PATIENCE)
                plain = Plain(accepted)
                plain.write(b"hello")
                assert network.read(5) == b"hello"
                self.resumable = network.tls.get_session()
                for each, other in ((network, plain), (plain, network)):
                    each.end()
                    assert other.atEnd()

        await deferToThread(run)
        await wait(lambda: len(self.ends) > count)
        return bool(self.ends[-1]["resumed"])

    async def test_sessionsAreNotResumed(self) -> None:
        """
        Unless somebody says so.
        """
        tunnel = self.behind()
        self.assertEqual([await self.connect(tunnel) for _ in range(2)], [False, False])

    async def test_theyAreWhereSomebodySaysSo(self) -> None:
        """
        --resumption on; the identity is that of the client each time, and in the log.
        """
        tunnel = self.behind(resumption=True)
        self.assertEqual([await self.connect(tunnel) for _ in range(3)], [False, True, True])
        self.assertEqual({str(each["identity"]) for each in self.ends}, {str(CLIENT)})

    async def test_thoseOfAnotherTunnelAreNotResumed(self) -> None:
        """
        Though it has the same certificate, and asks for the same clients.
        """
        await self.connect(self.behind(resumption=True))
        another = self.behind(resumption=True)
        self.assertEqual([await self.connect(another) for _ in range(2)], [False, True])

    async def test_thoseBeforeAReloadAreNotResumed(self) -> None:
        """
        Everything is verified anew by what is in force now.
        """
        tunnel = self.behind(resumption=True)
        await self.connect(tunnel)
        assert tunnel.factory is not None
        tunnel.factory.prepared = Prepared(tunnel.tunnel)
        self.assertEqual([await self.connect(tunnel) for _ in range(2)], [False, True])

    async def test_nobodyComesBackWhoIsWithdrawn(self) -> None:
        """
        Whoever has a ticket of his is refused as all others are.
        """
        tunnel = self.behind(resumption=True)
        self.assertEqual([await self.connect(tunnel) for _ in range(2)], [False, True])
        takeAway(self.pool, SERVER)
        tunnel.reload()
        with self.assertRaises(SSL.Error):
            await self.connect(tunnel)
        await wait(lambda: len(self.ends) == 3)
        self.assertEqual(self.ends[-1]["outcome"], "withdrawn")

    async def test_soItIsWhereKeysDecide(self) -> None:
        """
        --trust pins.
        """
        key = keyOf(self.pool.credentials(CLIENT).certificates[0])
        settings: dict[str, Any] = {"trust": ("pins",), "pins": (key,), "remoteID": None}
        tunnel = self.behind(resumption=True, **settings)
        self.assertEqual([await self.connect(tunnel) for _ in range(2)], [False, True])
        self.assertEqual({str(each["identity"]) for each in self.ends}, {str(key)})


class ServerModeTLS12Tests(ServerModeTests):
    """
    The same with TLS 1.2.
    """

    version = "1.2"
