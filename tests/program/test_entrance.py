"""
Tests for L{tlstunnel.program.entrance}: who may come in, as it is said on a command line and in a
file, checked and renewed.
"""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

from OpenSSL import SSL
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.loopback import PATIENCE, SERVER, Encrypted, TunnelTests
from tests.program.configurations import TUNNEL, ConfigurationTests
from tests.program.test_check import SERVER as TABLE
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity, KeyIdentity, Selector
from tlstunnel.identity.pool import Pool
from tlstunnel.program.check import check
from tlstunnel.program.configure import describe
from tlstunnel.program.option import read
from tlstunnel.program.options import TUNNEL_OPTIONS
from tlstunnel.tls.credentials import present
from tlstunnel.tunnel.description import Mode, Tunnel

PIN = "sha256//" + "A" * 43 + "="


def described(mode: str, **given: Any) -> Tunnel:
    """
    A tunnel of these settings.
    """
    values: dict[str, object] = {mode: True, "local": "127.0.0.1:1", "remote": "127.0.0.1:2"}
    if mode == "server":
        values["local-id"] = "a.example"
    values |= {name.replace("_", "-"): value for name, value in given.items()}
    return describe(read(values, TUNNEL_OPTIONS))


class SettingsTests(SynchronousTestCase):
    """
    What the settings mean together.
    """

    def mistake(self, mode: str, **given: Any) -> str:
        """
        What is wrong with them.
        """
        error = self.assertRaises(ConfigurationError, described, mode, **given)
        self.assertTrue(error.remedy)
        return str(error)

    def test_listsOfAServer(self) -> None:
        """
        Selectors and files.
        """
        tunnel = described(
            "server",
            remote_id="spiffe://example.org/",
            remote_id_file=["/a", "/b"],
            deny_id=["x@example.org", "@.net"],
            deny_id_file="/c",
        )
        self.assertEqual(tunnel.remoteID, Selector(None, "example.org", "/"))
        self.assertEqual(tunnel.remoteIDFiles, ("/a", "/b"))
        self.assertEqual(tunnel.denyID, (Selector("x", "example.org"), Selector("", ".net")))
        self.assertEqual(tunnel.denyIDFiles, ("/c",))
        self.assertFalse(tunnel.isOpen)
        self.assertFalse(described("server", remote_id_file="/a").isOpen)
        self.assertTrue(described("server").isOpen)
        self.assertFalse(described("client", remote_id="a.example").isOpen)

    def test_whoeverIsDeniedHasToBeAskedFirst(self) -> None:
        """
        Else somebody would believe in a list that decides nothing.
        """
        for key in "deny_id", "deny_id_file":
            said = self.mistake("server", **{key: "x.example"})
            self.assertIn("without --remote-id clients are not asked", said)
            said = self.mistake("server", trust="pins", pin=PIN, **{key: "x.example"})
            self.assertIn("without --remote-id", said)

    def test_aClientExpectsOneServer(self) -> None:
        """
        There is nothing to choose from.
        """
        for key in "deny_id", "deny_id_file", "remote_id_file":
            said = self.mistake("client", remote_id="a.example", **{key: "x.example"})
            self.assertIn("means nothing with --client", said)
        self.assertIn("may stand for several", self.mistake("client", remote_id="spiffe://a/"))

    def test_aServerExpectsAWorkload(self) -> None:
        """
        Also in client mode.
        """
        tunnel = described("client", remote_id="spiffe://example.org/ns/api")
        self.assertEqual(tunnel.remoteID, Identity(None, "example.org", "/ns/api"))

    def test_pins(self) -> None:
        """
        In both modes, beside a chain or instead of one.
        """
        key = KeyIdentity.of(bytes(32))
        self.assertEqual(described("client", remote_id="a.example", pin=PIN).pins, (key,))
        self.assertEqual(described("server", remote_id=".", pin=[PIN]).pins, (key,))
        for mode in "server", "client":
            tunnel = described(mode, pin=PIN, trust="pins")
            self.assertTrue(tunnel.believesPins)
            self.assertFalse(tunnel.isOpen)

    def test_pinsThatDecideNothing(self) -> None:
        """
        A server that asks for no certificate sees no key.
        """
        said = self.mistake("server", pin=PIN)
        self.assertIn("without --remote-id clients are not asked for a certificate", said)
        self.assertIn("--trust pins", said)

    def test_keysDecideAloneOrNotAtAll(self) -> None:
        """
        Not beside anchors, and not without any.
        """
        for mode in "server", "client":
            said = self.mistake(mode, remote_id="a.example", trust=["pins", "system"], pin=PIN)
            self.assertIn("and others too", said)
            said = self.mistake(mode, remote_id="a.example", trust="pins")
            self.assertIn("none is pinned", said)

    def test_whatIsNoPin(self) -> None:
        """
        The line says how to get one.
        """
        self.assertIn("openssl", self.mistake("client", remote_id="a.example", pin="sha256//x"))


class CheckTests(ConfigurationTests):
    """
    C{--check} of lists.
    """

    def setUp(self) -> None:
        """
        A pool with the identity of the server.
        """
        super().setUp()
        createIdentity(Pool(self.folder / "pool"), Identity.parse("www.example.org"))

    def found(self, text: str) -> list[str]:
        """
        What is found in a server tunnel with C{text}, without the folder.
        """
        found = check(self.read(TABLE + text), datetime.now(UTC))
        return [str(each).replace(f"{self.folder}/", "") for each in found]

    def test_listsAreRead(self) -> None:
        """
        From the folder of the file that names them; nothing is said of good ones.
        """
        self.write("@example.org\n", "allow")
        self.write("", "deny")
        text = "remote-id-file = 'allow'\ndeny-id-file = ['deny']\n"
        self.assertEqual(self.found(text), [])

    def test_brokenLinesAndMissingFiles(self) -> None:
        """
        Each is named, in the line of its setting.
        """
        self.write("# x\n*.a\n", "allow")
        text = "remote-id-file = ['allow']\ndeny-id-file = [\n'deny',\n'more',\n]\n"
        one, two, three = self.found(text)
        self.assertIn("8: tunnel.web.remote-id-file: allow, line 2: '*.a' is not a selector", one)
        self.assertIn("10: tunnel.web.deny-id-file: deny: cannot be read", two)
        self.assertIn("11: tunnel.web.deny-id-file: more: cannot be read", three)

    def test_aDefaultDeniesWhereSomebodyIsAsked(self) -> None:
        """
        One list for all tunnels; those that ask nobody, and those of clients, ignore it.
        """
        self.write("x@example.org\n", "deny")
        other = TABLE.replace("tunnel.web", "tunnel.api").replace("8443", "8444")
        table = TABLE + other + "remote-id = '@example.org'\n" + TUNNEL
        found = self.read("[defaults]\ndeny-id-file = 'deny'\ndeny-id = ['.net']\n" + table)
        tunnels = {each.name: each for each in found.tunnels}
        self.assertEqual(tunnels["api"].denyIDFiles, (str(self.folder / "deny"),))
        self.assertEqual(tunnels["api"].denyID, (Selector(None, ".net"),))
        for name in "web", "pg":
            self.assertEqual((tunnels[name].denyIDFiles, tunnels[name].denyID), ((), ()))

    def test_listsThatLetNobodyIn(self) -> None:
        """
        They are served, with a warning.
        """
        self.write("# nobody yet\n", "allow")
        (line,) = self.found("remote-id-file = 'allow'\n")
        self.assertIn("no client is let in", line)
        self.write("a.example\nx@a.example\n", "allow")
        (line,) = self.found("remote-id-file = 'allow'\ndeny-id = ['.example', '@.example']\n")
        self.assertIn("a.example may come, and is denied as a whole, as are 1 more", line)


class RenewalTests(TunnelTests):
    """
    Lists that change while a tunnel is up.
    """

    mode = Mode.SERVER

    def setUp(self) -> None:
        """
        A backend, clients, and files.
        """
        super().setUp()
        self.backend = socket.create_server(("127.0.0.1", 0))
        self.backend.settimeout(PATIENCE)
        self.addCleanup(self.backend.close)
        self.allow, self.deny = Path(self.mktemp()), Path(self.mktemp())
        for each in "one.example", "two.example":
            createIdentity(self.pool, Identity.parse(each))

    def isLetIn(self, service: Any, name: str) -> bool:
        """
        Whether a client reaches the backend; to be called in a thread.
        """
        credentials = self.pool.credentials(Identity.parse(name))
        context = SSL.Context(SSL.TLS_METHOD)
        present(context, credentials)
        host, port = service.addresses[0].rsplit(":", 1)
        with socket.create_connection((host, int(port)), PATIENCE) as sock:
            encrypted = Encrypted(sock, context, True, SERVER.domain.encode())
            try:
                encrypted.handshake()
                encrypted.write(b"x")
                if not encrypted.read(1):
                    return False
            except (SSL.Error, OSError):
                return False
        return True

    def comes(self, service: Any, name: str) -> bool:
        """
        The same, with a backend that answers.
        """
        self.backend.settimeout(PATIENCE)

        def answer() -> None:
            with self.backend.accept()[0] as sock:
                sock.settimeout(PATIENCE)
                sock.sendall(sock.recv(1))

        thread = Thread(target=answer, daemon=True)
        thread.start()
        isIn = self.isLetIn(service, name)
        if not isIn:
            socket.create_connection(self.backend.getsockname()).close()
        thread.join(PATIENCE)
        return isIn

    async def test_aReloadTakesUpTheLists(self) -> None:
        """
        Of two clients each is let in while it is on the one list and not on the other; a broken
        line changes nothing.
        """
        self.allow.write_text("one.example\n")
        self.deny.write_text("")
        port = self.backend.getsockname()[1]
        service = self.tunnel(
            f"127.0.0.1:{port}",
            remoteIDFiles=(str(self.allow),),
            denyIDFiles=(str(self.deny),),
        )

        async def letIn() -> list[bool]:
            return [
                await deferToThread(self.comes, service, name)
                for name in ("one.example", "two.example")
            ]

        self.assertEqual(await letIn(), [True, False])
        self.allow.write_text("one.example\ntwo.example\n")
        self.assertEqual(await letIn(), [True, False])
        service.reload()
        self.assertEqual(await letIn(), [True, True])
        self.deny.write_text("one.example # gone\n")
        service.reload()
        self.assertEqual(await letIn(), [False, True])
        self.deny.write_text("*\n")
        self.assertIn(f"{self.deny}, line 1", str(self.successResultOf(service.reload())))
        self.assertEqual(await letIn(), [False, True])
        self.allow.unlink()
        self.assertIn("cannot be read", str(self.successResultOf(service.reload())))
        self.assertEqual(await letIn(), [False, True])
        self.deny.write_text("")
        self.allow.write_text("")
        service.reload()
        self.assertEqual(await letIn(), [False, False])
