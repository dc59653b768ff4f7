"""
Send a mail to a server that has to prove who it is.

Twisted's SMTP client is used as it is; that there is STARTTLS, and who must be there, is in the
endpoint string.  To run it::

    endpoint=tlstunnel:mail.example.org:587:starttls=smtp
    echo Words. | python send_mail.py $endpoint me@example.org you@example.net Subject
"""

from __future__ import annotations

import sys
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.task import react
from twisted.mail.smtp import ESMTPSenderFactory


async def main(reactor: Any, endpoint: str, sender: str, recipient: str, subject: str) -> None:
    """
    Send what stands on standard input.
    """
    head = f"From: {sender}\r\nTo: {recipient}\r\nSubject: {subject}\r\n\r\n"
    letter = head.encode() + sys.stdin.buffer.read()
    sent: Deferred[Any] = Deferred()
    factory = ESMTPSenderFactory(
        None, None, sender, recipient, BytesIO(letter), sent, requireAuthentication=False
    )
    protocol: Any = await clientFromString(reactor, endpoint).connect(factory)
    print(f"{protocol.transport.identity} by {protocol.transport.version}")
    await sent
    print("sent")


if __name__ == "__main__":
    react(main, sys.argv[1:])
