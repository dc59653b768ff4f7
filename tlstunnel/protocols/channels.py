"""
What a dialect may ask of the data connections that its protocol has beside the control connection;
how they come about, it does not know.
"""

from __future__ import annotations

from zope.interface import Attribute, Interface


class IChannels(Interface):
    """
    The data connections of one control connection.
    """

    host = Attribute(
        "L{str}: the address at which they are accepted, that of the control connection; empty if "
        "that has none."
    )
    peer = Attribute(
        "L{str}: the address of whoever made the control connection; empty if it has none."
    )

    def open(port: int, acceptsCut: bool = False, ports: range | None = None) -> int:
        """
        Listen for a data connection to the host at the control connection's far end.

        @param port: where that host listens for it.
        @param acceptsCut: if all data comes from the network, take the end of its TCP connection
            for the end of it, also without the end of TLS: whoever cuts it then cuts the data.
        @param ports: those at which we may; by default the system chooses.
        @return: the port at which we do.
        @raise tlstunnel.errors.TunnelError: if there cannot be one.
        """

    def demandResumption() -> None:
        """
        Have each client resume the session of the control connection on data connections; by
        default that is demanded only of one that has done so before.  A key that is shared takes
        its place.

        @raise tlstunnel.errors.TunnelError: that cannot be had.
        """

    def connect(port: int, towards: int, acceptsCut: bool = False) -> None:
        """
        Make a data connection from the host at the control connection's far end to C{peer}.

        @param port: where the former listens for it.
        @param towards: where C{peer} does.
        @param acceptsCut: as for L{open}.
        @raise tlstunnel.errors.TunnelError: if there cannot be one.
        """
