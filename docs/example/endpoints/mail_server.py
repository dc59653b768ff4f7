"""
A mail server that accepts nothing without TLS, and knows who delivers.

Its protocol is Twisted's SMTP server, which knows nothing of TLS.  To run it::

    tlstunnel identity create mail.example.org --pool pool
    python mail_server.py 'starttls:smtp:tcp\\:8025:local=mail.example.org:pool=pool'
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react
from twisted.mail.smtp import ESMTP, IMessage, IMessageDelivery, SMTPFactory
from zope.interface import implementer


@implementer(IMessage)
class Letter:
    """
    Prints what it hears.
    """

    def lineReceived(self, line: bytes) -> None:
        """A line of it."""
        print(f"  {line.decode(errors='replace')}")

    def eomReceived(self) -> Deferred[None]:
        """That was all."""
        print("end of the letter", flush=True)
        return succeed(None)

    def connectionLost(self) -> None:
        """That was not all."""
        print("cut")


@implementer(IMessageDelivery)
class Delivery:
    """
    Takes letters for everybody.
    """

    def __init__(self, transport: Any) -> None:
        self.transport = transport

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        """What stands above each."""
        return b"Received: by TLS"

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        """Who has written it."""
        print(f"from {origin}, brought by {self.transport.identity}, {self.transport.version}")
        return origin

    def validateTo(self, user: Any) -> Any:
        """Whom it is for."""
        return Letter


class MailFactory(SMTPFactory):
    """
    Makes a server for each client.
    """

    protocol = ESMTP

    def buildProtocol(self, addr: Any) -> Any:
        """One more."""
        protocol = super().buildProtocol(addr)
        made = protocol.connectionMade

        def connectionMade() -> None:
            protocol.delivery = Delivery(protocol.transport)
            made()

        protocol.connectionMade = connectionMade
        return protocol


async def main(reactor: Any, endpoint: str) -> None:
    """
    Serve.
    """
    port = await serverFromString(reactor, endpoint).listen(MailFactory())
    print(f"listening at port {port.getHost().port}", flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
