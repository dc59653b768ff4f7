"""
A web server that tells visitors who they have proved to be.

Twisted's web server is used as it is.  To run it::

    tlstunnel identity create www.example.org --pool pool
    tlstunnel identity create me@example.org --pool pool
    endpoint='starttls:none:tcp\\:8443:local=www.example.org:remote=@example.org:pool=pool'
    python who_am_i.py "$endpoint:alpn=http/1.1"
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import Site


class WhoAmI(Resource):
    """
    The one page.
    """

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        """For whoever is there."""
        transport = request.transport
        secure = "secure" if request.isSecure() else "not secure"
        return f"you are {transport.identity}, by {transport.version}, {secure}\n".encode()


async def main(reactor: Any, endpoint: str) -> None:
    """
    Serve.
    """
    port = await serverFromString(reactor, endpoint).listen(Site(WhoAmI()))
    print(f"listening at port {port.getHost().port}", flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
