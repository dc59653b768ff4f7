"""
What is said of a bridge names the side that it is about: where a server is not there, or speaks
another protocol, and where what one side is to believe is not there.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from OpenSSL import SSL
from twisted.internet.threads import deferToThread

from tests.loopback import PATIENCE, Encrypted, smtpClient
from tests.ports import freePort
from tests.tunnel.bridgestage import BridgeTests
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Selector
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.prepared import Prepared


class UnreachedTests(BridgeTests):
    """
    A client has come to TLS, and nobody answers behind.
    """

    async def reported(self, remote: str, dialect: str) -> Any:
        """
        What is logged of a client that wants to reach C{remote}.
        """
        service = self.tunnel(remote, dialect)

        def run() -> None:
            host, port = service.addresses[0].rsplit(":", 1)
            with socket.create_connection((host, int(port)), PATIENCE) as dialled:
                with contextlib.suppress(OSError, SSL.Error):
                    self.client(dialled).read(1)

        await deferToThread(run)
        return await self.ended("connect")

    async def test_aServerThatIsNotThereIsNotTheClientsFault(self) -> None:
        """
        On TCP and on a UNIX socket, whichever way it comes to TLS; the hint is about a server.
        """
        for remote in (f"127.0.0.1:{freePort()}", "/nonexistent/socket"):
            for dialect in ("none", "none-smtp"):
                self.ends.clear()
                event = await self.reported(remote, dialect)
                self.assertNotIn("the client: ", event["text"])
                self.assertIn("the server: ", event["text"])
                self.assertNotIn("backend", event["hint"])
                self.assertIn("--remote", event["hint"])


class GreetingTests(BridgeTests):
    """
    The client was greeted in clear, and what greets inside TLS is no server of that protocol.
    """

    async def test_theHintSaysWhatShouldBeBehindTLS(self) -> None:
        """
        Of a server that speaks another protocol, that says nothing, and that leaves.
        """
        for greeting, outcome in (
            (b"HTTP/1.0 400 Bad Request\r\n\r\n", "malformed"),
            (b"", "timeout"),
            (None, "closed"),
        ):
            self.ends.clear()
            with self.listening() as (listening, where):
                service = self.tunnel(where, "smtp-none", limits=Limits(greeting=0.3, close=5.0))

                def run(
                    listening: socket.socket = listening,
                    address: str = service.addresses[0],
                    greeting: bytes | None = greeting,
                ) -> None:
                    host, port = address.rsplit(":", 1)
                    with socket.create_connection((host, int(port)), PATIENCE) as dialled:
                        smtpClient(dialled)
                        client = self.client(dialled)
                        accepted, _ = listening.accept()
                        with accepted:
                            accepted.settimeout(PATIENCE)
                            server = Encrypted(accepted, self.context(False), False)
                            server.handshake()
                            server.end() if greeting is None else server.write(greeting)
                            with contextlib.suppress(OSError, SSL.Error):
                                client.read(1)

                await deferToThread(run)
                event = await self.ended(outcome)
                self.assertIn("a server of smtp is behind TLS", event["hint"])


class AnchorTests(BridgeTests):
    """
    What one side is told to believe is not there.
    """

    async def test_theOptionOfThatSideIsNamed(self) -> None:
        """
        Both have an option of their own for it.
        """
        missing = ("/nonexistent/anchors.pem",)
        come = Selector.parse("@example.org")
        for option, settings in (
            ("--client-trust", {"trust": missing, "remoteID": come}),
            ("--trust", {"out": {"trust": missing}}),
        ):
            with self.assertRaises(ConfigurationError) as raised:
                Prepared(self.described("127.0.0.1:1", "none", **settings))
            self.assertTrue(str(raised.exception).startswith(f"{option} {missing[0]}: "))
