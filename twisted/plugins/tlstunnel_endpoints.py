"""
Makes endpoint strings known: C{tlstunnel:HOST:PORT} for clients, C{starttls:DIALECT:INNER} for
servers.

Twisted imports this module whenever a program looks for endpoints: it imports nothing of ours.
"""

from twisted.internet.interfaces import (
    IStreamClientEndpointStringParserWithReactor,
    IStreamServerEndpointStringParser,
)
from twisted.plugin import IPlugin
from zope.interface import implementer


@implementer(IPlugin, IStreamClientEndpointStringParserWithReactor)
class _Client:
    """
    See L{tlstunnel.endpoints.strings.clientEndpoint}.
    """

    prefix = "tlstunnel"

    def parseStreamClient(self, reactor, /, *args, **kwargs):
        """
        The endpoint of a string.
        """
        from tlstunnel.endpoints.strings import clientEndpoint

        return clientEndpoint(reactor, *args, **kwargs)


@implementer(IPlugin, IStreamServerEndpointStringParser)
class _Server:
    """
    See L{tlstunnel.endpoints.strings.serverEndpoint}.
    """

    prefix = "starttls"

    def parseStreamServer(self, reactor, /, *args, **kwargs):
        """
        The endpoint of a string.
        """
        from tlstunnel.endpoints.strings import serverEndpoint

        return serverEndpoint(reactor, *args, **kwargs)


client = _Client()
server = _Server()
