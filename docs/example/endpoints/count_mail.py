"""
Count the mails in a mailbox of a server that has to prove who it is.

Twisted's IMAP client is used as it is: it finds itself on TLS.  To run it::

    python count_mail.py tlstunnel:mail.example.org:143:starttls=imap me PASSWORD
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory
from twisted.internet.task import react
from twisted.mail.imap4 import IMAP4Client


async def main(reactor: Any, endpoint: str, user: str, password: str) -> None:
    """
    Print their number.
    """
    factory = Factory.forProtocol(IMAP4Client)
    client: Any = await clientFromString(reactor, endpoint).connect(factory)
    await client.login(user.encode(), password.encode())
    print("mails:", (await client.examine("INBOX"))["EXISTS"])
    await client.logout()


if __name__ == "__main__":
    react(main, sys.argv[1:])
