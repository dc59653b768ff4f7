"""
munin with munin-node and munin-update, in both modes.
"""

from __future__ import annotations

from typing import ClassVar

from tests.interop.dialogue import LFDialogue
from tests.interop.harness import (
    InteropTestCase,
    ServerCertificate,
    Stage,
    record,
    tlstunnel,
    until,
    verified,
)
from tests.interop.servers.munin import MUNIN, NODE, MuninNode, update

MASTER = "master.test.example"

#: All that the plugin measures, as munin-update writes it down.
MEASURED = "[FETCH from snarks] Storing 1 in boojums", "[FETCH from snarks] Storing 42 in snarks"


class ClientModeTests(InteropTestCase):
    """
    A node with TLS.
    """

    node: ClassVar[MuninNode]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue("bridge.test.example")
        certificate = stage.authority.issue(NODE)
        cls.node = stage.start(MuninNode(stage.directory("node"), certificate))

    def setUp(self) -> None:
        super().setUp()
        self.remote = f"127.0.0.1:{self.node.port}"

    def test_whatItMeasuresIsFetched(self) -> None:
        """
        By munin-update, which is told of no TLS.
        """
        tunnel = self.clientMode(self.remote, NODE, "munin")
        update(self.stage.directory("master"), tunnel.port).expect(*MEASURED)
        record("munin", "client", self.node, "values fetched by munin-update")

    def test_commandsMayComeTogether(self) -> None:
        """
        A node takes a record of TLS for one command, and gets one in each.
        """
        tunnel = self.clientMode(self.remote, NODE, "munin")
        with LFDialogue("127.0.0.1", tunnel.port) as client:
            client.expect(f"# munin node at {NODE}")
            client.send("config snarks\nfetch snarks")
            client.expect("snarks.label")
            client.expect("snarks.value 42")
            client.expect(".")

    def test_aMasterWithTLSIsServedByABridge(self) -> None:
        """
        Both ends take a record for a line, each with TLS of its own.
        """
        words = ("-L", "bridge.test.example", "-R", NODE, "-r", self.remote)
        ways = ("--starttls-in", "munin", "--starttls-out", "munin")
        tunnel = self.tunnel("-b", *words, *ways)
        master = self.stage.directory("master")
        update(master, tunnel.port, self.stage.authority.anchors).expect(*MEASURED)

    def test_theVersionIsSaidPastTLS(self) -> None:
        """
        That is how munin-node answers this one command, and it is not taken for anything.
        """
        tunnel = self.clientMode(self.remote, NODE, "munin")
        with LFDialogue("127.0.0.1", tunnel.port) as client:
            client.expect(f"# munin node at {NODE}")
            client.send("version")
            self.assertRaises((EOFError, ConnectionError), client.line)

    def test_aNodeThatIsSomebodyElseIsNotBelieved(self) -> None:
        """
        The client is not greeted, and the log names both.
        """
        tunnel = self.clientMode(self.remote, "other.test.example", "munin")
        with LFDialogue("127.0.0.1", tunnel.port) as client:
            self.assertRaises((EOFError, ConnectionError), client.line)
        until(lambda: "other.test.example" in tunnel.log and NODE in tunnel.log, "the reason")

    def test_theProbeLooksAtIt(self) -> None:
        """
        And finds out what it is where another protocol is said.
        """
        words = ("-R", NODE, "--pool", str(self.stage.authority.pool))
        tlstunnel("probe", self.remote, "--starttls", "munin", *words).expect(f"good: {NODE}")
        other = tlstunnel("probe", self.remote, "--starttls", "pop3", *words)
        self.assertIn("--starttls munin", other.text)


class ServerModeTests(InteropTestCase):
    """
    A node without TLS, and masters that insist on it.
    """

    node: ClassVar[MuninNode]
    master: ClassVar[ServerCertificate]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NODE, "127.0.0.1")
        cls.master = stage.authority.issue(MASTER)
        cls.node = stage.start(MuninNode(stage.directory("node")))

    def setUp(self) -> None:
        super().setUp()
        self.anchors = self.stage.authority.anchors
        self.backend = f"127.0.0.1:{self.node.port}"
        self.port = self.serverMode(self.backend, NODE, "munin").port

    def test_muninUpdate(self) -> None:
        """
        It verifies the chain, and takes a record for a line.
        """
        master = self.stage.directory("master")
        update(master, self.port, self.anchors).expect("[TLS] Verified certificate", *MEASURED)
        record("munin", "server", "munin", "values fetched by munin-update")

    def test_aMasterThatShowsWhoItIs(self) -> None:
        """
        By a certificate, without which it is not served.
        """
        port = self.serverMode(self.backend, NODE, "munin", "-R", MASTER).port
        directory = self.stage.directory("master")
        stranger = update(directory, port, self.anchors).text
        self.assertNotIn(MEASURED[0], stranger)
        us = self.master.copied(self.stage.directory("us"), MUNIN)
        update(self.stage.directory("master"), port, self.anchors, us).expect(*MEASURED)
        record("munin", "server", "munin", "master known by its certificate")

    def test_python(self) -> None:
        """
        The name is verified, too.
        """
        with LFDialogue("127.0.0.1", self.port) as client:
            client.expect(f"# munin node at {NODE}")
            client.ask("STARTTLS", "TLS OK")
            client.startTLS(verified(self.anchors), NODE)
            client.ask("list", "snarks")
            client.ask("fetch snarks", "snarks.value 42")
        record("munin", "server", "ssl", "values fetched")

    def test_nothingIsFetchedWithoutTLS(self) -> None:
        """
        Nor is the node asked.
        """
        before = self.node.log.count("CONNECT TCP")
        with LFDialogue("127.0.0.1", self.port) as client:
            client.expect(f"# munin node at {NODE}")
            client.ask("cap multigraph", "# I require TLS")
            client.ask("fetch snarks", "# I require TLS")
        self.assertEqual(self.node.log.count("CONNECT TCP"), before)

    def test_aNodeWithoutAKeyIsRefused(self) -> None:
        """
        In client mode: it says C{TLS MAYBE}; the log has it in words, and what to do.
        """
        tunnel = self.clientMode(self.backend, NODE, "munin")
        with LFDialogue("127.0.0.1", tunnel.port) as client:
            self.assertRaises((EOFError, ConnectionError), client.line)
        until(lambda: "the server has no key" in tunnel.log, "the reason")
        self.assertSays("tls_private_key", tunnel)
