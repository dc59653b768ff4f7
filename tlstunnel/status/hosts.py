"""
For whom a request has to be.

A web page of somebody else can let its own name lead to an address of ours, and so ask our server
from within a browser that may reach it (DNS rebinding).  The browser then says that name in Host;
so that only addresses, C{localhost} and names that the administrator has given are answered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tlstunnel.address import TCPAddress, UNIXAddress

# RFC 9110, section 7.2: a host, and perhaps a port.
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::[0-9]{0,5})?")


class Hosts:
    """
    The hosts that may stand in a request.
    """

    def __init__(self, addresses: Iterable[TCPAddress | UNIXAddress], own: str) -> None:
        """
        @param addresses: where we listen, as the administrator has said it: names count.
        @param own: what this host calls itself.
        """
        self._names = {own.lower()} if own else set()
        self._names |= {each.domain.lower() for each in addresses if isinstance(each, TCPAddress)}

    def allow(self, header: str) -> bool:
        """
        Whether C{header}, as the client sent it, means us.
        """
        found = _HOST.fullmatch(header)
        if found is None:
            return False
        host = TCPAddress(found["host"].strip("[]").lower(), 0)
        return host.isLiteral or host.isLocal or host.domain in self._names
