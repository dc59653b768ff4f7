"""
irc with InspIRCd and ngIRCd, in both modes.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from tests.interop.dialogue import Dialogue
from tests.interop.harness import (
    InteropTestCase,
    Stage,
    openssl,
    record,
    run,
    until,
    verified,
)
from tests.interop.servers.irc import InspIRCd, NgIRCd

NAME = "irc.test.example"
TEXT = "the Snark was a Boojum"

#: Of irssi: as soon as it is registered it writes to alice, and goes.
CONFIGURATION = """\
chatnets = {{
  test = {{
    type = "IRC";
    autosendcmd = "/msg alice {text};/wait 300;/quit";
  }};
}};
settings = {{ "irc/core" = {{ cmds_max_at_once = "100"; }}; }};
"""


def register(client: Dialogue, nick: str) -> None:
    """
    Become a user of the network.
    """
    client.send(f"NICK {nick}")
    client.ask(f"USER {nick} 0 * :{nick}", f":{NAME} 001 {nick}")


def irssi(directory: Path, port: int, *options: str) -> None:
    """
    Send L{TEXT} to alice as C{hatter}, by irssi, which wants a terminal.

    @param options: of its command C{/connect}.
    """
    directory.mkdir()
    (directory / "config").write_text(CONFIGURATION.format(text=TEXT))
    connect = f"/connect {' '.join(options)} -network test localhost {port}\n"
    (directory / "startup").write_text(connect)
    run(
        ["script", "--quiet", "--command", f"irssi --home={directory} --nick=hatter", "/dev/null"],
        environment={"TERM": "xterm"},
    )


class ClientModeTests(InteropTestCase):
    """
    Clients that know no TLS, and a server that registers nobody without.
    """

    server: ClassVar[InspIRCd]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.server = stage.start(InspIRCd(stage.directory("inspircd"), stage.authority.issue(NAME)))

    def setUp(self) -> None:
        super().setUp()
        self.remote = f"127.0.0.1:{self.server.port}"

    def test_aMessageArrives(self) -> None:
        """
        From one user to another, both through the tunnel.
        """
        tunnel = self.clientMode(self.remote, NAME, "irc")
        with (
            Dialogue("127.0.0.1", tunnel.port) as alice,
            Dialogue("127.0.0.1", tunnel.port) as bob,
        ):
            register(alice, "alice")
            register(bob, "bob")
            alice.send(f"PRIVMSG bob :{TEXT}")
            self.assertTrue(bob.expect(":alice!")[-1].endswith(f"PRIVMSG bob :{TEXT}"))
        record("irc", "client", self.server, "message sent")

    def test_aMessageOfIrssiArrives(self) -> None:
        """
        From a real client that would not use TLS if it were offered.
        """
        tunnel = self.clientMode(self.remote, NAME, "irc")
        with Dialogue("127.0.0.1", tunnel.port) as alice:
            register(alice, "alice")
            irssi(self.stage.directory("irssi"), tunnel.port, "-disallow_starttls")
            self.assertTrue(alice.expect(":hatter!")[-1].endswith(f"PRIVMSG alice :{TEXT}"))
        record("irc", "client", self.server, "message sent by irssi")

    def test_aUserWithoutTLSIsNotRegistered(self) -> None:
        """
        Which shows that the server means it.
        """
        with Dialogue("127.0.0.1", self.server.port) as client:
            client.send("NICK eve")
            client.ask("USER eve 0 * :eve", "ERROR")

    def test_aServerThatIsSomebodyElseIsNotBelieved(self) -> None:
        """
        The client gets the end of its connection, and the log names both.
        """
        tunnel = self.clientMode(self.remote, "other.test.example", "irc")
        with Dialogue("127.0.0.1", tunnel.port) as client:
            client.send("NICK alice")
            self.assertRaises((EOFError, ConnectionError), client.line)
        until(lambda: "other.test.example" in tunnel.log and NAME in tunnel.log, "the reason")


class ServerModeTests(InteropTestCase):
    """
    A server that knows no TLS, and clients that insist on it.
    """

    server: ClassVar[NgIRCd]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME, "localhost")
        cls.server = stage.start(NgIRCd(stage.directory("ngircd")))

    def setUp(self) -> None:
        super().setUp()
        self.anchors = self.stage.authority.anchors
        self.port = self.serverMode(f"127.0.0.1:{self.server.port}", NAME, "irc").port

    def test_openssl(self) -> None:
        """
        C{s_client} verifies chain and name, and talks to ngIRCd.
        """
        talk = "NICK alice\r\nUSER alice 0 * :alice\r\nQUIT\r\n"
        openssl(self.port, NAME, self.anchors, say=talk, starttls="irc").expect(
            "Verification: OK", f"Verified peername: {NAME}", f":{NAME} 001 alice"
        )
        record("irc", "server", "openssl", "registered with ngIRCd")

    def test_irssi(self) -> None:
        """
        irssi verifies the name, and asks for STARTTLS, whether it looks at capabilities or not.
        """
        with Dialogue("127.0.0.1", self.server.port) as alice:
            register(alice, "alice")
            options = ("-starttls", "-tls_verify", f"-tls_cafile {self.anchors}")
            for more in ((), ("-nocap",)):
                irssi(self.stage.directory("irssi"), self.port, *options, *more)
                self.assertTrue(alice.expect(":hatter!")[-1].endswith(f"PRIVMSG alice :{TEXT}"))
        record("irc", "server", "irssi", "message sent")

    def test_python(self) -> None:
        """
        A client that looks for the capability, and asks for TLS only then.
        """
        with Dialogue("127.0.0.1", self.port) as client:
            self.assertIn("tls", client.ask("CAP LS", f":{NAME} CAP")[-1].split(":")[-1])
            client.ask("STARTTLS", f":{NAME} 670")
            client.startTLS(verified(self.anchors), NAME)
            register(client, "alice")
            client.ask("PRIVMSG alice :to myself", ":alice!")
        record("irc", "server", "ssl", "message sent")

    def test_aUserWithoutTLSIsNotRegistered(self) -> None:
        """
        The password is not forwarded.
        """
        before = self.server.log.count("Accepted connection")
        with Dialogue("127.0.0.1", self.port) as client:
            client.ask("PASS wonderland", f":{NAME} 451")
            client.ask("NICK alice", f":{NAME} 451")
        self.assertEqual(self.server.log.count("Accepted connection"), before)
