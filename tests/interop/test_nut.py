"""
nut with upsd, in both modes.
"""

from __future__ import annotations

from typing import ClassVar

from tests.interop.dialogue import LFDialogue
from tests.interop.harness import (
    InteropTestCase,
    Stage,
    find,
    record,
    run,
    tlstunnel,
    until,
    verified,
)
from tests.interop.servers.nut import PASSWORD, STATUS, UPS, UPSD, USER, UPSMon

NAME = "ups.test.example"


def upsc(port: int) -> None:
    """
    Read the status of the power supply, which has to be there.
    """
    program = find("upsc", "nut-client")
    said = run([program, f"{UPS}@127.0.0.1:{port}", "ups.status"]).expect()
    assert STATUS in said.splitlines(), said


class ClientModeTests(InteropTestCase):
    """
    A server with TLS.
    """

    upsd: ClassVar[UPSD]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        certificate = stage.authority.issue(NAME)
        cls.upsd = stage.start(UPSD(stage.directory("upsd"), certificate))

    def setUp(self) -> None:
        super().setUp()
        self.remote = f"127.0.0.1:{self.upsd.port}"

    def test_theStatusIsRead(self) -> None:
        """
        By upsc, which asks for TLS itself inside TLS, is refused, and goes on.
        """
        tunnel = self.clientMode(self.remote, NAME, "nut")
        upsc(tunnel.port)
        record("nut", "client", self.upsd, "status read by upsc")

    def test_aPowerSupplyIsLookedAfter(self) -> None:
        """
        By upsmon, which asks for TLS inside TLS, too; it is not to insist on that.
        """
        tunnel = self.clientMode(self.remote, NAME, "nut")
        upsmon = UPSMon(self.stage.directory("upsmon"), tunnel.port)
        self.addCleanup(upsmon.stop)
        upsmon.start()
        until(lambda: f"User {USER}@127.0.0.1 logged into UPS" in self.upsd.log, "the login")
        until(lambda: f"parse_status: [{STATUS}]" in upsmon.log, "the status")
        record("nut", "client", self.upsd, "login by upsmon")

    def test_aLoginArrives(self) -> None:
        """
        Of a program that knows no TLS.
        """
        tunnel = self.clientMode(self.remote, NAME, "nut")
        with LFDialogue("127.0.0.1", tunnel.port) as client:
            client.ask(f"USERNAME {USER}", "OK")
            client.ask(f"PASSWORD {PASSWORD}", "OK")
            client.ask(f"LOGIN {UPS}", "OK")
            client.ask("LOGOUT", "OK Goodbye")
        record("nut", "client", self.upsd, "login")

    def test_aServerThatIsSomebodyElseGetsNoPassword(self) -> None:
        """
        The client gets the end of its connection, and the log names both.
        """
        tunnel = self.clientMode(self.remote, "other.test.example", "nut")
        with LFDialogue("127.0.0.1", tunnel.port) as client:
            client.send(f"USERNAME {USER}")
            self.assertRaises((EOFError, ConnectionError), client.line)
        until(lambda: "other.test.example" in tunnel.log and NAME in tunnel.log, "the reason")

    def test_theProbeLooksAtIt(self) -> None:
        """
        Also where another protocol is said, whose servers would greet.
        """
        words = ("-R", NAME, "--pool", str(self.stage.authority.pool))
        tlstunnel("probe", self.remote, "--starttls", "nut", *words).expect(f"good: {NAME}")
        other = tlstunnel("probe", self.remote, "--starttls", "smtp", "--timeout", "2", *words)
        self.assertEqual(other.code, 3, other)


class ServerModeTests(InteropTestCase):
    """
    A server without TLS, and clients that insist on it.
    """

    upsd: ClassVar[UPSD]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME, "127.0.0.1")
        cls.upsd = stage.start(UPSD(stage.directory("upsd")))

    def setUp(self) -> None:
        super().setUp()
        self.anchors = self.stage.authority.anchors
        self.backend = f"127.0.0.1:{self.upsd.port}"
        self.port = self.serverMode(self.backend, NAME, "nut").port

    def test_upsc(self) -> None:
        """
        It asks for TLS, and verifies nothing.
        """
        upsc(self.port)
        record("nut", "server", "nut-client", "status read by upsc")

    def test_upsmon(self) -> None:
        """
        It verifies chain and name, and logs in inside TLS only.
        """
        upsmon = UPSMon(self.stage.directory("upsmon"), self.port, NAME, self.anchors)
        self.addCleanup(upsmon.stop)
        upsmon.start()
        until(lambda: f"User {USER}@127.0.0.1 logged into UPS" in self.upsd.log, "the login")
        until(lambda: f"parse_status: [{STATUS}]" in upsmon.log, "the status")
        record("nut", "server", "nut-client", "login by upsmon, which verifies the name")

    def test_python(self) -> None:
        """
        Line by line, with what upsd itself answers inside TLS.
        """
        with LFDialogue("127.0.0.1", self.port) as client:
            client.ask("STARTTLS", "OK STARTTLS")
            client.startTLS(verified(self.anchors), NAME)
            client.ask("STARTTLS", "ERR FEATURE-NOT-CONFIGURED")
            client.ask(f"GET VAR {UPS} ups.status", f'VAR {UPS} ups.status "{STATUS}"')
        record("nut", "server", "ssl", "status read")

    def test_aLoginBeforeTLSIsRefused(self) -> None:
        """
        The password is not forwarded, and a query is not taken for HTTP.
        """
        with LFDialogue("127.0.0.1", self.port) as client:
            client.ask(f"GET VAR {UPS} ups.status", "ERR ACCESS-DENIED")
            client.ask(f"USERNAME {USER}", "ERR ACCESS-DENIED")
            client.ask(f"PASSWORD {PASSWORD}", "ERR ACCESS-DENIED")
            client.ask("VER", "tlstunnel")
            client.ask("LOGOUT", "OK Goodbye")

    def test_aServerWithoutACertificateSaysSo(self) -> None:
        """
        In client mode; the log has it in words, and what to do.
        """
        tunnel = self.clientMode(self.backend, NAME, "nut")
        with LFDialogue("127.0.0.1", tunnel.port) as client:
            self.assertRaises((EOFError, ConnectionError), client.line)
        until(lambda: "the server has no certificate for TLS" in tunnel.log, "the reason")
        self.assertSays("FEATURE-NOT-CONFIGURED", tunnel)
        self.assertSays("CERTIDENT", tunnel)
