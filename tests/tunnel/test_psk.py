"""
Tests for L{tlstunnel.tunnel.psk} and L{tlstunnel.tunnel.keyednames}: tunnels with pre-shared keys,
over sockets, as they are asked for on a command line and in a file.
"""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tests.loopback import PATIENCE, TunnelTests, readLine, wait
from tests.program.configurations import ConfigurationTests
from tlstunnel.address import TCPAddress, parseAddress
from tlstunnel.errors import TunnelError
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.psk import createPSK
from tlstunnel.program.check import check
from tlstunnel.program.commandline import TunnelOptions
from tlstunnel.program.configuration import Configuration, Status
from tlstunnel.program.watch import filesOf
from tlstunnel.protocols.registry import find
from tlstunnel.tls.keyverifier import KeyVerifier
from tlstunnel.tls.session import Session
from tlstunnel.tunnel.description import Mode, Tunnel

DEVICE = Identity.parse("device7@example.org")
GATE = Identity.parse("gate.example.net")
DEVICES = Selector.parse("@example.org")
PSK = ("psk",)


def dial(where: str) -> socket.socket:
    """
    A connection to a tunnel.
    """
    return socket.create_connection(("127.0.0.1", int(where.rpartition(":")[2])), PATIENCE)


class ThroughTests(TunnelTests):
    """
    A tunnel in client mode, and one that accepts TLS behind it.
    """

    def setUp(self) -> None:
        """
        A pool with keys, and a server.
        """
        super().setUp()
        createPSK(self.pool, DEVICE)
        createPSK(self.pool, GATE)
        self.backend = socket.create_server(("127.0.0.1", 0))
        self.backend.settimeout(PATIENCE)
        self.addCleanup(self.backend.close)

    @property
    def behind(self) -> str:
        """
        Where the server is.
        """
        return f"127.0.0.1:{self.backend.getsockname()[1]}"

    def client(self, remote: str, dialect: str = "none", **settings: Any) -> str:
        """
        A tunnel in client mode.

        @return: where it listens.
        """
        self.mode = Mode.CLIENT
        given = {"localID": DEVICE, "remoteID": Identity.parse("srv.example.org"), "trust": PSK}
        return str(self.tunnel(remote, dialect, **(given | settings)).addresses[0])

    def server(self, remote: str, dialect: str = "none", **settings: Any) -> str:
        """
        A tunnel in server mode.
        """
        self.mode = Mode.SERVER
        given = {"localID": None, "remoteID": DEVICES, "trust": PSK}
        return str(self.tunnel(remote, dialect, **(given | settings)).addresses[0])

    async def talk(self, where: str) -> bytes:
        """
        Send a word to and fro.

        @return: what comes back.
        """

        def run() -> bytes:
            with dial(where) as sock:
                sock.sendall(b"ping")
                accepted, _ = self.backend.accept()
                accepted.settimeout(PATIENCE)
                with accepted:
                    self.assertEqual(accepted.recv(4), b"ping")
                    accepted.sendall(b"pong")
                    return sock.recv(4)

        return bytes(await deferToThread(run))

    def ended(self, count: int) -> Any:
        """
        Fires once so many connections were logged.
        """
        return wait(lambda: len(self.ends) >= count)

    async def test_bothEnds(self) -> None:
        """
        Each knows who the other is, and by what.
        """
        where = self.client(self.server(self.behind))
        self.assertEqual(await self.talk(where), b"pong")
        await self.ended(2)
        found = {(str(each["identity"]), each["anchors"]) for each in self.ends}
        self.assertEqual(
            found,
            {
                (str(DEVICE), "its pre-shared key"),
                ("srv.example.org", f"the key of {DEVICE}"),
            },
        )
        self.assertEqual([each["resumed"] for each in self.ends], [False, False])

    async def test_otherKeysAreNotMixedUp(self) -> None:
        """
        Of two clients each is who it is.
        """
        server = self.server(self.behind, remoteID=None, remoteIDFiles=(self.listed(),))
        for who in DEVICE, GATE:
            self.assertEqual(await self.talk(self.client(server, localID=who)), b"pong")
        await self.ended(4)
        found = {str(each["identity"]) for each in self.ends}
        self.assertLessEqual({str(DEVICE), str(GATE)}, found)

    def listed(self) -> str:
        """
        A file of those who may come.
        """
        file = self.pool.path / "list"
        file.write_text(f"{DEVICE}\n{GATE}\n")
        return str(file)

    async def test_whoIsNotLetIn(self) -> None:
        """
        Is refused, and the backend hears nothing.
        """
        where = self.client(self.server(self.behind), localID=GATE)

        def run() -> bytes:
            with dial(where) as sock:
                try:
                    return sock.recv(1)
                except ConnectionResetError:
                    return b""

        self.assertEqual(await deferToThread(run), b"")
        await self.ended(2)
        outcomes = {each["outcome"]: each for each in self.ends}
        self.assertEqual(set(outcomes), {"identity", "tls"})
        self.assertIn("identity import --psk", outcomes["identity"]["hint"])
        self.assertIn("--local-id", outcomes["tls"]["hint"])
        self.assertEqual({each["identity"] for each in self.ends}, {None})

    async def test_throughABridge(self) -> None:
        """
        Keys in, and keys out; another one each.
        """
        inner = self.server(self.behind, remoteID=Selector.parse("."))
        self.mode = Mode.CLIENT
        onward = self.described(inner, localID=GATE, trust=PSK)
        self.mode = Mode.SERVER
        where = self.server(inner, mode=Mode.BRIDGE, onward=onward)
        self.assertEqual(await self.talk(self.client(where)), b"pong")
        await self.ended(3)
        self.assertIn(str(GATE), {str(each["identity"]) for each in self.ends})
        self.assertIn(str(DEVICE), {each.get("client_identity") for each in self.ends})

    async def test_behindAnUpgrade(self) -> None:
        """
        After STARTTLS as from the first byte.
        """
        inner = self.server(self.behind, "smtp")
        where = self.client(inner, "smtp")

        def serve() -> None:
            accepted, _ = self.backend.accept()
            accepted.settimeout(PATIENCE)
            with accepted:
                accepted.sendall(b"220 mx.example.org\r\n")
                while line := readLine(accepted):
                    if line.startswith(b"QUIT"):
                        accepted.sendall(b"221 bye\r\n")
                        return
                    accepted.sendall(b"250 mx.example.org\r\n")

        def run() -> bytes:
            with dial(where) as sock:
                readLine(sock)
                sock.sendall(b"EHLO me\r\n")
                found = readLine(sock)
                sock.sendall(b"QUIT\r\n")
                readLine(sock)
                return found

        serving = deferToThread(serve)
        self.assertEqual(await deferToThread(run), b"250 mx.example.org\r\n")
        await serving
        await self.ended(2)
        self.assertIn(str(DEVICE), {str(each["identity"]) for each in self.ends})


class AskingTests(SynchronousTestCase):
    """
    C{--trust psk}, on a command line.
    """

    def parsed(self, words: str) -> Tunnel:
        """
        The tunnel that it makes.
        """
        options = TunnelOptions()
        options.parseOptions(words.split())
        tunnel = options["tunnel"]
        assert isinstance(tunnel, Tunnel)
        return tunnel

    def refusal(self, words: str) -> str:
        """
        What is wrong with it.
        """
        return str(self.assertRaises(usage.UsageError, self.parsed, words))

    def test_aServerNeedsNoNameOfItsOwn(self) -> None:
        """
        It has no certificate that could be for one.
        """
        found = self.parsed("-s -l 127.0.0.1:0 -r 127.0.0.1:1 -R @. --trust psk")
        self.assertTrue(found.sharesKeys)
        self.assertEqual((found.localIDs, found.isOpen, found.resumes), ((), False, False))
        without = self.refusal("-s -l 127.0.0.1:0 -r 127.0.0.1:1 -R @.")
        self.assertIn("--local-id: is missing", without)

    def test_theServerIsTheHostOfTheRemoteAddress(self) -> None:
        """
        Where there is none, somebody has to say who has the key.
        """
        line = "-c -l 127.0.0.1:0 -L d@example.org --trust psk"
        self.assertFalse(self.parsed(f"{line} -r mqtt.example.org:8883").resumes)
        self.assertIn("the name that has the key", self.refusal(f"{line} -r 192.0.2.1:8883"))

    def test_whatIsRefused(self) -> None:
        """
        In words.
        """
        client = "-c -l 127.0.0.1:0 -r a.example:1 --trust psk"
        server = "-s -l 127.0.0.1:0 -r 127.0.0.1:1 --trust psk"
        for words, key in (
            (client, "local-id"),
            (f"{client} -L auto", "local-id auto"),
            (f"{client} -L d@example.org --trust system", "trust"),
            (f"{client} -L d@example.org --trust dane", "trust"),
            (f"{client} -L d@example.org --trust pins", "trust"),
            (f"{client} -L d@example.org --require-staple", "require-staple"),
            (f"{client} -L d@example.org --resumption on", "resumption"),
            (f"{client} -L d@example.org --pin sha256//{'A' * 43}=", "pin"),
            (server, "remote-id"),
            (f"{server} -R @. -L a.example -L b.example", "local-id"),
            (f"{server} -R @. --ocsp-stapling", "ocsp-stapling"),
            (f"{server} -R @. --any-name", "any-name"),
            (f"{server} -R @. --require-sni", "require-sni"),
            (f"{server} -R @. --starttls xmpp-client", "local-id"),
            ("-b -l 127.0.0.1:0 -r a.example:1 -L a.example --client-trust psk", "client-id"),
            ("-b -l 127.0.0.1:0 -r a.example:1 -L a.example --trust psk", "remote-as"),
        ):
            with self.subTest(words):
                self.assertIn(f"--{key}", self.refusal(words))

    def test_whatIsWatched(self) -> None:
        """
        The keys that may count, and the folder in which more may come.
        """
        pool = Pool(Path(self.mktemp()))
        createPSK(pool, DEVICE)
        rows = (
            (Mode.CLIENT, DEVICE, {pool.path / str(DEVICE) / "psk"}),
            (Mode.SERVER, None, {pool.path, pool.path / str(DEVICE) / "psk"}),
        )
        for mode, ours, expected in rows:
            tunnel = Tunnel(
                mode,
                (TCPAddress("127.0.0.1", 0),),
                (parseAddress("a.example:1"),),
                find("none"),
                localID=ours,
                remoteID=DEVICES if mode is Mode.SERVER else None,
                pool=pool,
                trust=PSK,
            )
            configuration = Configuration(pool.path, {}, Status(), (tunnel,), files=())
            self.assertLessEqual(expected, set(filesOf(configuration)))


class FileTests(ConfigurationTests):
    """
    The same in a file.
    """

    def test_names(self) -> None:
        """
        There is no certificate for one.
        """
        found = self.problems(
            '[tunnel.a]\nmode = "server"\nlocal = [":0"]\nremote = ["127.0.0.1:1"]\n'
            'trust = ["psk"]\nremote-id = ["@."]\n[tunnel.a.name."x.example"]\n'
            'remote = ["127.0.0.1:2"]\n'
        )
        self.assertIn("there is none", "\n".join(found))

    def found(self, text: str) -> list[str]:
        """
        What C{--check} finds.
        """
        return [
            str(each).replace(f"{self.folder}/", "")
            for each in check(self.read(text), datetime.now(UTC))
        ]

    def test_check(self) -> None:
        """
        A key that is missing, or broken, at the place that names it; and nobody who could come.
        """
        common = f'pool = "{self.folder}/pool"\ntrust = ["psk"]\n'
        client = (
            '[tunnel.a]\nmode = "client"\nlocal = ["127.0.0.1:1"]\nremote = ["192.0.2.1:2"]\n'
            f'local-id = "{DEVICE}"\nremote-id = "b.example"\n{common}'
        )
        server = (
            '[tunnel.b]\nmode = "server"\nlocal = ["127.0.0.1:3"]\nremote = ["127.0.0.1:4"]\n'
            f'remote-id = ["@."]\n{common}'
        )
        pool = Pool(self.folder / "pool")
        createPSK(pool, GATE)
        first, *_ = self.found(client)
        self.assertIn("tunnel.a.local-id: ", first)
        self.assertIn("identity create", first)
        (doubt,) = self.found(server)
        self.assertIn("warning: no client is let in", doubt)
        file = Path(createPSK(pool, DEVICE))
        self.assertEqual(self.found(client), [])
        self.assertEqual(self.found(server), [])
        (doubt,) = self.found(client + server)
        self.assertIn("tunnel.a.local-id: warning: the key of device7@example.org is let", doubt)
        denied = self.found(f'{client}{server}deny-id = ["{DEVICE}"]\n')
        self.assertNotIn("the key of", "".join(denied))
        file.write_text("broken")
        for text in client, server:
            self.assertIn("pool/device7@example.org/psk", "".join(self.found(text)))


class WordsTests(SynchronousTestCase):
    """
    L{KeyVerifier.failure}.
    """

    def test_whatHasNothingToDoWithKeysStays(self) -> None:
        """
        Other errors of OpenSSL, at both ends.
        """
        for ours in None, DEVICE:
            verifier = KeyVerifier(GATE, ours)
            error = TunnelError("unsupported protocol", cause="old version")
            self.assertIs(verifier.failure(error, Session(verifier)), error)
