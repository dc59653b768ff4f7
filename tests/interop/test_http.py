"""
http with the upgrade of RFC 2817, with CUPS, in both modes.
"""

from __future__ import annotations

from typing import ClassVar

from tests.interop.dialogue import Dialogue
from tests.interop.harness import InteropTestCase, Outcome, Stage, record, run, until, verified
from tests.interop.servers.cups import CUPS, QUEUE

NAME = "print.test.example"


def lpstat(port: int, *options: str) -> Outcome:
    """
    Ask for the queues.
    """
    return run(["lpstat", *options, "-h", f"127.0.0.1:{port}", "-r", "-p"])


def ipptool(port: int, *options: str) -> Outcome:
    """
    Ask for the queues, and check the answer.
    """
    return run(["ipptool", *options, "-t", f"ipp://127.0.0.1:{port}/", "get-printers.test"])


def head(client: Dialogue) -> list[str]:
    """
    The lines before the empty one.
    """
    lines = [client.line()]
    while lines[-1]:
        lines.append(client.line())
    return lines


class ClientModeTests(InteropTestCase):
    """
    Clients that are not told to use TLS, and a server that does not answer without.
    """

    cups: ClassVar[CUPS]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.cups = stage.start(CUPS(stage.directory("cups"), stage.authority.issue(NAME)))

    def setUp(self) -> None:
        super().setUp()
        self.remote = f"127.0.0.1:{self.cups.port}"

    def test_queuesAreListed(self) -> None:
        """
        By C{lpstat} and by C{ipptool}.
        """
        tunnel = self.clientMode(self.remote, NAME, "http")
        lpstat(tunnel.port).expect("scheduler is running", f"printer {QUEUE} is idle")
        record("http", "client", self.cups, "queues listed by lpstat")
        ipptool(tunnel.port).expect("PASS")
        record("http", "client", self.cups, "queues listed by ipptool")

    def test_aPageIsPrinted(self) -> None:
        """
        A request with a body.
        """
        tunnel = self.clientMode(self.remote, NAME, "http")
        say = "Just the place for a Snark!\n" * 10_000
        run(["lp", "-h", f"127.0.0.1:{tunnel.port}", "-d", QUEUE, "-o", "raw"], say).expect(QUEUE)
        until(lambda: "Job completed" in self.cups.log, "the job is done")
        record("http", "client", self.cups, "page printed by lp")

    def test_aServerThatIsSomebodyElseGetsNoRequest(self) -> None:
        """
        The client gets the end of its connection, and the log names both.
        """
        tunnel = self.clientMode(self.remote, "other.test.example", "http")
        lpstat(tunnel.port).expectFailure()
        until(lambda: "other.test.example" in tunnel.log and NAME in tunnel.log, "the reason")


class ServerModeTests(InteropTestCase):
    """
    A server that knows no TLS, and clients that are told to use it.
    """

    cups: ClassVar[CUPS]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        # As which the clients of CUPS ask for every loopback address.
        stage.authority.issue(NAME, "localhost")
        cls.cups = stage.start(CUPS(stage.directory("cups")))

    def setUp(self) -> None:
        super().setUp()
        backend = f"127.0.0.1:{self.cups.port}"
        option = ("--dialect-option", "allow-upgrade-desync")
        self.port = self.serverMode(backend, NAME, "http", *option).port

    def test_cups(self) -> None:
        """
        With C{-E} the clients of CUPS upgrade before anything else; they verify nothing.
        """
        lpstat(self.port, "-E").expect("scheduler is running", f"printer {QUEUE} is idle")
        record("http", "server", "lpstat", "queues listed")
        ipptool(self.port, "-E").expect("PASS")
        record("http", "server", "ipptool", "queues listed")

    def test_cupsIsToldToUpgrade(self) -> None:
        """
        Without C{-E} they upgrade when they are told 426.
        """
        lpstat(self.port).expect("scheduler is running", f"printer {QUEUE} is idle")
        record("http", "server", "lpstat", "queues listed after 426")

    def test_python(self) -> None:
        """
        A client that verifies chain and name, and takes the answer to its request inside TLS.
        """
        with Dialogue("127.0.0.1", self.port) as client:
            client.send("OPTIONS * HTTP/1.1\r\nHost: localhost")
            client.send("Upgrade: TLS/1.0\r\nConnection: Upgrade\r\n")
            self.assertEqual(head(client)[0], "HTTP/1.1 101 Switching Protocols")
            client.startTLS(verified(self.stage.authority.anchors), NAME)
            self.assertEqual(head(client)[0], "HTTP/1.1 200 OK")
            client.send("GET /robots.txt HTTP/1.1\r\nHost: localhost\r\n")
            self.assertIn("CUPS/", " ".join(head(client)))
        record("http", "server", "ssl", "verified")
