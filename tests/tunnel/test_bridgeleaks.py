"""
What served a connection through a bridge that failed is gone with it: two roles know each other
there, and must not do so for ever.
"""

from __future__ import annotations

import contextlib
import gc
import socket

from OpenSSL import SSL
from twisted.internet.threads import deferToThread

from tests.loopback import PATIENCE, Encrypted, Plain, wait
from tests.tunnel.bridgestage import TALKS, BridgeTests, both
from tlstunnel.net.leg import Leg
from tlstunnel.protocols.base import Role
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.tls.session import Session
from tlstunnel.tunnel.pair import Pair

_KINDS = (Leg, Pair, Role, Conversation, Session)
_NUMBER = 5


def living() -> int:
    """
    How many objects there are that belong to a connection.
    """
    return sum(isinstance(each, _KINDS) for each in gc.get_objects())


class LeakTests(BridgeTests):
    """
    Connections that fail, and others, without the garbage collector.
    """

    async def leavesNothing(
        self, dialect: str, said: bytes, reset: bool, isClient: bool, whole: bool = False
    ) -> None:
        """
        Let a client, or the server behind one, say C{said} and go before it comes to TLS.

        @param whole: let both come to it, talk, and end cleanly.
        """
        before, _, behind = dialect.partition("-")
        with self.listening() as (listening, where):
            service = self.tunnel(where, dialect)
            host, port = service.addresses[0].rsplit(":", 1)

            def one() -> None:
                with socket.create_connection((host, int(port)), PATIENCE) as dialled:
                    if isClient:
                        dialled.sendall(said)
                        Plain(dialled).reset() if reset else dialled.close()
                        return
                    TALKS[before][0](dialled)
                    client = self.client(dialled)
                    accepted, _ = listening.accept()
                    with accepted:
                        accepted.settimeout(PATIENCE)
                        if whole:
                            TALKS[behind or before][1](accepted)
                            server = Encrypted(accepted, self.context(False), False)
                            server.handshake()
                            both(client, server)
                            return
                        accepted.sendall(said)
                        Plain(accepted).reset() if reset else accepted.close()
                    with contextlib.suppress(OSError, SSL.Error):
                        client.read(1)

            def run() -> None:
                for _ in range(_NUMBER):
                    one()

            for _ in range(2):
                # The first time, modules and caches are filled.
                gc.collect()
                known = living()
                gc.disable()
                try:
                    await deferToThread(run)
                    await wait(lambda: len(self.ends) == _NUMBER)
                    # A circle is of several objects for each connection.
                    await self.fewerThan(known + _NUMBER)
                finally:
                    gc.enable()
                self.ends.clear()

    async def fewerThan(self, most: int) -> None:
        """
        Wait until so few are left.
        """
        await wait(lambda: living() < most)

    async def test_failuresLeaveNothingForTheGarbageCollector(self) -> None:
        """
        Of strangers, and of servers.
        """
        for said, reset in ((b"", False), (b"GET / HTTP/1.0\r\n\r\n", True)):
            for dialect in ("none", "smtp", "ldap", "smtp-none", "none-smtp"):
                for isClient in (True, False):
                    await self.leavesNothing(dialect, said, reset, isClient)

    async def test_neitherDoConnectionsThatEndWell(self) -> None:
        """
        The roles are gone when the relay begins.
        """
        for dialect in ("none", "ldap", "none-ldap", "ldap-none"):
            await self.leavesNothing(dialect, b"", reset=False, isClient=False, whole=True)
