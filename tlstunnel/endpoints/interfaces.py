"""
What a protocol finds at its transport, beside what Twisted's own TLS transports have.
"""

from __future__ import annotations

from twisted.internet.interfaces import IConsumer, INegotiated, IPushProducer
from zope.interface import Attribute


class IVerifiedTransport(INegotiated, IConsumer, IPushProducer):
    """
    The transport of a connection on which TLS was verified before anything passed.

    C{connectionLost} of the protocol gets C{ConnectionDone} where both directions have ended
    cleanly, C{ConnectionAborted} where the protocol has called C{abortConnection}, and else
    C{ConnectionLost}, which has the L{tlstunnel.errors.TunnelError} as its C{__cause__}.
    """

    identity = Attribute(
        "L{tlstunnel.identity.names.Identity} or C{None}: who the peer has proved to be; C{None} "
        "where nobody in particular had to be there, or a dialect has the protocol speak first, "
        "before TLS."
    )
    version = Attribute("L{str}: of TLS, such as C{TLSv1.3}; empty before there is TLS.")
    suite = Attribute("L{str}: the cipher suite, likewise.")
    group = Attribute("L{str}: the group of the key exchange, likewise; empty if unknown.")
    alpn = Attribute("L{bytes}: the application protocol agreed on; empty for none.")
    serverName = Attribute("L{str}: the name that the client has asked for with SNI, raw.")
    channelBinding = Attribute(
        "L{tlstunnel.tls.channelbinding.ChannelBinding} or C{None}: what both ends of this TLS "
        "know alone, while the connection lasts."
    )
    record = Attribute("L{tlstunnel.tunnel.record.Record}: all that is known of the connection.")
