"""
A server that says to each client who it is, and what it has said, with C{socketserver}.

Clients have to show a certificate that SELECTOR matches; without one anybody may come.  To run
it::

    python3 server_example.py 4433 www.example.org @example.org
"""

from __future__ import annotations

import socketserver
import sys
from typing import Any

from tlstunnel.client import PoolError, asServer


class Echo(socketserver.StreamRequestHandler):
    """
    One client; C{request} is the plaintext.
    """

    def handle(self) -> None:
        """
        Say what it has said.
        """
        who = self.request.proven.remote or "whoever you are"
        self.wfile.write(f"hello, {who}\n".encode())
        for line in self.rfile:
            self.wfile.write(line)


class PoolServer(socketserver.ThreadingTCPServer):
    """
    Connections are handed over each in its thread, so that none waits for another.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, local: str, remote: str | None) -> None:
        self.local, self.remote = local, remote
        super().__init__(("127.0.0.1", port), Echo)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """
        Called in that thread.
        """
        try:
            with asServer(request, self.local, remote=self.remote, timeout=15) as plain:
                plain.settimeout(None)
                super().finish_request(plain, client_address)
        except PoolError as error:
            sys.stderr.write(f"{client_address[0]}: {error}\n")


if __name__ == "__main__":
    port, local, *selectors = sys.argv[1:]
    with PoolServer(int(port), local, selectors[0] if selectors else None) as server:
        server.serve_forever()
