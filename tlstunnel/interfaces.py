"""
The interfaces between the parts of tlstunnel, and to those who extend it.
"""

from __future__ import annotations

from zope.interface import Attribute, Interface


class IDialect(Interface):
    """
    How one protocol upgrades to TLS, on either side.

    A plugin module in C{tlstunnel.plugins} adds a dialect by holding an object that provides this;
    L{tlstunnel.protocols.base.Dialect} is the implementation that all built-in ones use.
    """

    name = Attribute("L{str}: the IANA service name, which --starttls takes.")
    aliases = Attribute("L{tuple} of L{str}: other names that --starttls takes.")
    summary = Attribute("L{str}: what protocol it is and where it is specified, in one line.")
    ports = Attribute("L{tuple} of L{int}: where servers that upgrade listen.")
    implicitPort = Attribute(
        "L{int} or C{None}: where servers with TLS from the first byte listen."
    )
    alpn = Attribute("L{tuple} of L{bytes}: the registered ALPN ids (RFC 7301).")
    options = Attribute("L{dict}: what --dialect-option takes for it, each with its explanation.")
    notices = Attribute("L{tuple} of L{str}: what the log should say about it at start-up.")
    client = Attribute("Subclass of L{tlstunnel.protocols.base.ClientRole}.")
    server = Attribute("Subclass of L{tlstunnel.protocols.base.ServerRole}.")

    def renewed() -> IDialect:
        """
        Make it again from what it was made from, at a reload; usually it is the same.

        @raise tlstunnel.errors.ConfigurationError: if that has become wrong; the old one stays.
        """


class IFilter(Interface):
    """
    Looks at, and changes, what flows in one direction of the relay, until it is done.
    """

    done = Attribute("L{bool}: whether all that follows may pass without being looked at.")

    def feed(data: bytes) -> bytes:
        """
        Take what arrived.

        @return: what is to be passed on now; what was kept back comes with a later call.
        @raise tlstunnel.errors.TunnelError: if the connection must end; both legs are reset.
        """

    def flush() -> bytes:
        """
        The direction ended cleanly.

        @return: what was kept back.
        """


class IChannels(Interface):
    """
    The data connections of one control connection.
    """

    host = Attribute(
        "L{str}: the address at which they are accepted, that of the control connection; empty if "
        "that has none."
    )

    def open(port: int) -> int:
        """
        Listen for a data connection to the host at the control connection's far end.

        @param port: where that host listens for it.
        @return: the port at which we do.
        @raise tlstunnel.errors.TunnelError: if there cannot be one.
        """
