"""
Fetch a page by https, with C{http.client}.

A page that was cut off is an error here, also one whose end is that of the connection.  To run
it::

    python3 httpclient_example.py www.example.org 443 /index.html
"""

from __future__ import annotations

import http.client
import shutil
import socket
import sys

from tlstunnel.client import asClient


class PoolHTTPSConnection(http.client.HTTPConnection):
    """
    HTTP inside of the pool's TLS.

    @ivar remote: who the server must be.
    """

    default_port = 443
    remote = ""

    def connect(self) -> None:
        """Called with the first request."""
        connection = socket.create_connection((self.host, self.port), self.timeout)
        remote = self.remote or self.host
        self.sock = asClient(connection, remote, alpn=["http/1.1"])


def main(host: str, port: str, path: str, name: str = "") -> None:
    """
    Fetch it to standard output.
    """
    connection = PoolHTTPSConnection(host, int(port), timeout=15)
    connection.remote = name
    connection.request("GET", path, headers={"Host": name or host})
    with connection.getresponse() as response:
        shutil.copyfileobj(response, sys.stdout.buffer)
    connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
