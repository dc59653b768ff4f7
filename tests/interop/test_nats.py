"""
nats with nats-server and nats-py, in both modes, with INFO before TLS and inside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from base64 import b32encode, urlsafe_b64encode
from binascii import crc_hqx
from typing import Any, ClassVar

import nats
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.interop.dialogue import Dialogue
from tests.interop.harness import (
    InteropTestCase,
    Stage,
    TunnelProcess,
    openssl,
    record,
    tlstunnel,
    until,
    verified,
)
from tests.interop.servers.nats import (
    NATS,
    PASSWORD,
    USER,
    LaterNATS,
    LenientNATS,
    TLSFirstNATS,
)

NAME = "nats.test.example"
FIRST = ("--dialect-option", "handshake-first")
PAYLOAD = bytes(range(256)) * 1000


def exchange(port: int, **options: Any) -> None:
    """
    Have a request with headers answered, which is larger than a record of TLS, from one client to
    the other; neither is told of more servers.
    """

    async def go() -> None:
        words = {"user": USER, "password": PASSWORD, "allow_reconnect": False, **options}
        scheme = "tls" if "tls" in options else "nats"
        alice, bob = [await nats.connect(f"{scheme}://127.0.0.1:{port}", **words) for _ in "ab"]

        async def answer(message: Any) -> None:
            assert message.headers == {"title": "Snark"}, message.headers
            await message.respond(message.data[::-1])

        await bob.subscribe("books.>", cb=answer)
        # nats-py writes PING past what waits to be sent; the second comes behind that.
        for _ in range(2):
            await bob.flush()
        heard = await alice.request("books.one", PAYLOAD, 10, headers={"title": "Snark"})
        assert heard.data == PAYLOAD[::-1]
        await bob.drain()
        await alice.close()
        assert not alice.discovered_servers

    asyncio.run(go())


def info(line: str) -> dict[str, Any]:
    """
    What a server says of itself.
    """
    word, _, said = line.partition(" ")
    assert word == "INFO", line
    values: dict[str, Any] = json.loads(said)
    return values


def login(password: str = PASSWORD) -> str:
    """
    The command by which a client logs in.
    """
    return "CONNECT " + json.dumps({"user": USER, "pass": password, "verbose": True})


def publicKey(key: Ed25519PrivateKey) -> str:
    """
    What NATS calls an nkey of a user: a prefix, the key, and a sum.
    """
    words = bytes((20 << 3,)) + key.public_key().public_bytes_raw()
    words += crc_hqx(words, 0).to_bytes(2, "little")
    return b32encode(words).decode().rstrip("=")


class ServerTests(InteropTestCase):
    """
    Clients that know no TLS, and a server that has it.
    """

    kind: ClassVar[type[NATS]]
    options: ClassVar[tuple[str, ...]] = ()
    server: ClassVar[NATS]
    key: ClassVar[Ed25519PrivateKey]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.key = Ed25519PrivateKey.generate()
        server = cls.kind(stage.directory("nats"), stage.authority.issue(NAME))
        server.nkey = publicKey(cls.key)
        cls.server = stage.start(server)

    def setUp(self) -> None:
        super().setUp()
        self.remote = f"127.0.0.1:{self.server.port}"

    def check(self) -> None:
        """
        By nats-py with a password, which has to be the right one; and with a key, by the nonce,
        which is the server's.  Nothing else shows that there is TLS, or where.
        """
        port = self.clientMode(self.remote, NAME, "nats", *self.options).port
        exchange(port)
        record("nats", "client", self.server, "request and answer by nats-py")
        with Dialogue("127.0.0.1", port) as client:
            said = info(client.line())
            self.assertFalse({each for each in said if "tls" in each or "url" in each})
            self.assertEqual(said["host"], NAME)
            self.assertTrue(said["auth_required"])
            signature = urlsafe_b64encode(self.key.sign(said["nonce"].encode())).decode()
            words = {"nkey": publicKey(self.key), "sig": signature.rstrip("="), "verbose": True}
            client.ask(f"CONNECT {json.dumps(words)}", "+OK")
            client.ask("PING", "PONG")
        record("nats", "client", self.server, "login by nkey")
        with Dialogue("127.0.0.1", port) as client:
            client.ask(login("x"), "-ERR 'Authorization Violation'")


class ClientModeTests(ServerTests):
    """
    Debian's server, which demands TLS.
    """

    kind = NATS

    def test_aRequestIsAnswered(self) -> None:
        """
        And users have to be who they say.
        """
        self.check()

    def test_aServerThatIsSomebodyElseGetsNoPassword(self) -> None:
        """
        The client gets the end of its connection, and no INFO; the log names both.
        """
        tunnel = self.clientMode(self.remote, "other.test.example", "nats")
        with Dialogue("127.0.0.1", tunnel.port) as client:
            client.send(login())
            self.assertRaises((EOFError, ConnectionError), client.line)
        until(lambda: "other.test.example" in tunnel.log and NAME in tunnel.log, "the reason")


class LenientTests(ServerTests):
    """
    A server that takes clients without TLS as well.
    """

    kind = LenientNATS

    def test_whatIsOfferedIsEnough(self) -> None:
        """
        It is tls_available then, and the probe sees it.
        """
        self.check()
        words = ("-R", NAME, "--pool", str(self.stage.authority.pool))
        tlstunnel("probe", self.remote, "--starttls", "nats", *words).expect(f"good: {NAME}")


class LaterClientModeTests(ServerTests):
    """
    A later server, which says INFO again once somebody has logged in.
    """

    kind = LaterNATS

    def test_aRequestIsAnswered(self) -> None:
        """
        As by the older one.
        """
        self.check()


class TLSFirstClientModeTests(ServerTests):
    """
    A server with TLS before INFO.
    """

    kind = TLSFirstNATS
    options = FIRST

    def test_aRequestIsAnswered(self) -> None:
        """
        And to the probe it is as all with TLS from the first byte, or what it is.
        """
        self.check()
        words = ("-R", NAME, "--pool", str(self.stage.authority.pool))
        for ways in (("none",), ("nats", *FIRST)):
            tlstunnel("probe", self.remote, "--starttls", *ways, *words).expect(f"good: {NAME}")
        said = tlstunnel("probe", self.remote, "--starttls", "nats", *words)
        self.assertIn("give --dialect-option handshake-first", str(said))

    def test_withoutTheOptionThereIsAHint(self) -> None:
        """
        The server closes when it has waited for TLS long enough.
        """
        tunnel = self.clientMode(self.remote, NAME, "nats")
        with Dialogue("127.0.0.1", tunnel.port) as client:
            self.assertRaises((EOFError, ConnectionError), client.line)
        until(lambda: "--dialect-option handshake-first" in tunnel.log, "the hint")


class BackendTests(InteropTestCase):
    """
    A server without TLS, and clients that insist on it.
    """

    kind: ClassVar[type[NATS]]
    server: ClassVar[NATS]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME)
        cls.server = stage.start(cls.kind(stage.directory("nats")))

    def setUp(self) -> None:
        super().setUp()
        self.context = verified(self.stage.authority.anchors)
        self.backend = f"127.0.0.1:{self.server.port}"

    def check(self, *options: str, **more: Any) -> TunnelProcess:
        """
        By nats-py, which verifies the name.
        """
        tunnel = self.serverMode(self.backend, NAME, "nats", *options)
        exchange(tunnel.port, tls=self.context, tls_hostname=NAME, **more)
        words = " ".join(("request and answer, to", type(self.server).packages[0], *more))
        record("nats", "server", "nats-py", words)
        return tunnel


class ServerModeTests(BackendTests):
    """
    Debian's server.
    """

    kind = NATS

    def test_aRequestIsAnswered(self) -> None:
        """
        TLS is demanded in clear, in values of the backend, which says itself that there is none;
        who logs in all the same is not forwarded.
        """
        tunnel = self.check()
        with Dialogue("127.0.0.1", self.server.port) as direct:
            theirs = info(direct.line())
        with Dialogue("127.0.0.1", tunnel.port) as client:
            ours = info(client.line())
            self.assertIs(ours.pop("tls_required"), True)
            self.assertFalse({each for each in ours if "tls" in each or "url" in each})
            self.assertEqual((ours["host"], theirs["host"]), (NAME, "192.0.2.1"))
            self.assertEqual(ours["server_id"], theirs["server_id"])
            client.send(login())
            self.assertRaises((EOFError, ConnectionError), client.line)
        self.assertNotIn(PASSWORD, tunnel.log)

    def test_theHandshakeMayBeFirst(self) -> None:
        """
        For clients that begin with it; nothing is said in clear to others.
        """
        tunnel = self.check(*FIRST, tls_handshake_first=True)
        said = openssl(tunnel.port, NAME, self.stage.authority.anchors, say="PING x\r\n")
        self.assertIn("INFO {", said.expect())
        record("nats", "server", "openssl", "INFO inside TLS")
        with Dialogue("127.0.0.1", tunnel.port) as client:
            client.send(login())
            self.assertRaises((EOFError, ConnectionError), client.line)

    def test_whereTheHandshakeIsFirstScannersDoNotReachTheServer(self) -> None:
        """
        It counts its clients; those that say nothing, or no TLS, or do no handshake it never sees.
        """
        tunnel = self.serverMode(self.backend, NAME, "nats", *FIRST)

        def number() -> int:
            with Dialogue("127.0.0.1", self.server.port) as direct:
                return int(info(direct.line())["client_id"])

        before = number()
        for said in (b"", b"", login().encode() + b"\r\n", b"\x16\x03\x01\x00\x05hello"):
            with socket.create_connection(("127.0.0.1", tunnel.port), 10) as scanner:
                scanner.sendall(said)
                scanner.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionError):
                    while scanner.recv(1000):
                        pass
        until(lambda: tunnel.log.count(" to no backend: ") == 4, "the end of all four")
        self.assertEqual(number(), before + 1)


class LaterServerModeTests(BackendTests):
    """
    A later server.
    """

    kind = LaterNATS

    def test_aRequestIsAnswered(self) -> None:
        """
        It says INFO again once somebody has logged in, without TLS, and nats-py goes on.
        """
        self.check()
