"""
telnet with C-Kermit at both ends, in both modes.
"""

from __future__ import annotations

from typing import ClassVar

from tests.interop.harness import (
    InteropTestCase,
    ServerCertificate,
    Stage,
    openssl,
    record,
    run,
    until,
)
from tests.interop.servers.kermit import ANSWER, GREETING, QUESTION, Kermit, call

NAME = "telnet.test.example"


class ClientModeTests(InteropTestCase):
    """
    A client that refuses TLS, and a server that insists on it.
    """

    certificate: ClassVar[ServerCertificate]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.certificate = stage.authority.issue(NAME)

    def setUp(self) -> None:
        super().setUp()
        self.kermit = Kermit(self.stage.directory("kermit"), self.certificate)
        self.kermit.start()
        self.addCleanup(self.kermit.stop)
        self.script = self.kermit.directory / "client.ksc"

    def test_aConversation(self) -> None:
        """
        Options of telnet are negotiated inside TLS, and lines go both ways.
        """
        tunnel = self.clientMode(f"127.0.0.1:{self.kermit.port}", NAME, "telnet")
        call(self.script, tunnel.port, None).expect(GREETING)
        record("telnet", "client", self.kermit, "conversation")

    def test_aServerThatIsSomebodyElseSaysNothing(self) -> None:
        """
        The client is not greeted, and the log names both.
        """
        tunnel = self.clientMode(f"127.0.0.1:{self.kermit.port}", "other.test.example", "telnet")
        said = call(self.script, tunnel.port, None).expectFailure()
        self.assertNotIn(GREETING, said)
        until(lambda: "other.test.example" in tunnel.log and NAME in tunnel.log, "the reason")


class ServerModeTests(InteropTestCase):
    """
    A server that refuses TLS, and clients that insist on it.
    """

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME, "localhost")

    def setUp(self) -> None:
        super().setUp()
        self.kermit = Kermit(self.stage.directory("kermit"))
        self.kermit.start()
        self.addCleanup(self.kermit.stop)
        self.anchors = self.stage.authority.anchors
        self.port = self.serverMode(f"127.0.0.1:{self.kermit.port}", NAME, "telnet").port

    def test_openssl(self) -> None:
        """
        C{s_client} verifies chain and name, and has the same conversation.
        """
        talk = f"{QUESTION}\r\nbye\r\n"
        openssl(self.port, NAME, self.anchors, say=talk, starttls="telnet").expect(
            "Verification: OK", f"Verified peername: {NAME}", GREETING, ANSWER
        )
        record("telnet", "server", "openssl", "conversation with C-Kermit")

    def test_kermit(self) -> None:
        """
        C-Kermit, which asks for START_TLS before it is told to, together with other options.
        """
        script = self.kermit.directory / "client.ksc"
        call(script, self.port, self.anchors).expect(GREETING, "TLSv1.3")
        record("telnet", "server", "kermit", "conversation")

    def test_s3270(self) -> None:
        """
        A terminal of mainframes, which verifies the name, and says FOLLOWS before it is asked to.
        """
        talk = (
            f"Connect(a:localhost:{self.port})",
            f'Expect("{GREETING}", 10)',
            "Query(Tls)",
            f'String("{QUESTION}\\n")',
            f'Expect("{ANSWER}", 10)',
            "Ascii()",
            "Quit()",
        )
        command = ["s3270", "-utf8", "-cafile", str(self.anchors)]
        run(command, "\n".join(talk)).expect("secure host-verified", GREETING, ANSWER)
        record("telnet", "server", "s3270", "conversation")
