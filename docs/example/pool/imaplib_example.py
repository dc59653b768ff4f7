"""
List the folders of a mailbox, with C{imaplib}.

The pool does the STARTTLS of IMAP: the program sees a server that greets, and knows nothing of it.
To run it::

    python3 imaplib_example.py mail.example.org 143 john < password
"""

from __future__ import annotations

import imaplib
import socket
import sys

from tlstunnel.client import asClient


class PoolIMAP4(imaplib.IMAP4):
    """
    IMAP inside of the pool's TLS.
    """

    def __init__(self, host: str, port: int, remote: str) -> None:
        self.remote = remote
        super().__init__(host, port, timeout=15)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        connection = socket.create_connection((self.host, self.port), timeout)
        return asClient(connection, self.remote, starttls="imap")


def main(host: str, port: str, user: str, name: str = "") -> None:
    """
    List them; the password is on standard input.
    """
    with PoolIMAP4(host, int(port), name or host) as client:
        client.login(user, sys.stdin.readline().rstrip("\n"))
        for line in client.list()[1]:
            sys.stdout.write(f"{line.decode()}\n" if isinstance(line, bytes) else f"{line}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
