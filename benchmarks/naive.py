"""
The tunnel one writes in Twisted in an afternoon: portforward between stock TLS.  Our floor.

    python -m benchmarks.naive server|client PORT BACKEND PEM

PEM holds key and certificate of a server; for a client it is the CA to trust.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor, ssl
from twisted.protocols import portforward

from benchmarks.credentials import HOST

# The module is a reactor by the time it is used; that it is one cannot be said in its type.
_reactor: Any = reactor


class EncryptingServer(portforward.ProxyServer):
    """Portforward, with TLS on the way out."""

    options: Any = None

    def connectionMade(self) -> None:
        self.transport.pauseProducing()
        client = self.clientProtocolFactory()
        client.setServer(self)
        _reactor.connectSSL(self.factory.host, self.factory.port, client, self.options)


def main(mode: str, port: str, backend: str, pem: str) -> None:
    """Serve until killed."""
    factory: Any = portforward.ProxyFactory("127.0.0.1", int(backend))
    content = Path(pem).read_bytes()
    listening = {"interface": "127.0.0.1", "backlog": 4096}
    if mode == "server":
        identity = ssl.PrivateCertificate.loadPEM(content)
        _reactor.listenSSL(int(port), factory, identity.options(), **listening)
    else:
        factory.protocol = EncryptingServer
        anchor = ssl.Certificate.loadPEM(content)
        EncryptingServer.options = ssl.optionsForClientTLS(HOST, anchor)
        _reactor.listenTCP(int(port), factory, **listening)
    _reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
