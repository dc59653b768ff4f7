"""
Fetch a page from a web server that has to prove who it is.

Twisted's web client is used as it is; it asks for connections at the endpoint.  To run it::

    python fetch.py tlstunnel:www.example.org:443 http://www.example.org/
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.endpoints import clientFromString
from twisted.internet.task import react
from twisted.web.client import Agent, readBody
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer


@implementer(IAgentEndpointFactory)
class Always:
    """
    Connects to one place, whatever stands in the URL.
    """

    def __init__(self, endpoint: Any) -> None:
        self.endpoint = endpoint

    def endpointForURI(self, uri: Any) -> Any:
        """There is no other."""
        return self.endpoint


async def main(reactor: Any, endpoint: str, url: str) -> None:
    """
    Print the page.
    """
    where = Always(clientFromString(reactor, endpoint))
    response = await Agent.usingEndpointFactory(reactor, where).request(b"GET", url.encode())
    print(response.code, (await readBody(response)).decode())


if __name__ == "__main__":
    react(main, sys.argv[1:])
