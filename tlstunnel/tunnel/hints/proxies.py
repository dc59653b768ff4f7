"""
What to do where the proxy on the way out, or what is behind it, is the reason of a failure.
"""

from __future__ import annotations

#: What the causes of such failures begin with; see L{tlstunnel.net.viadial}.
PROXY = "proxy "

_UNREACHABLE = "check the host of the proxy in --via, and whether a firewall is in the way"
_OTHER_KIND = "check that a proxy of the kind in --via listens there; its log should say more"

_HINTS = {
    # We do not reach it.
    "ECONNREFUSED": "no proxy listens there: start it, or check the host and the port in --via",
    "ETIMEDOUT": _UNREACHABLE,
    "EHOSTUNREACH": _UNREACHABLE,
    "ENETUNREACH": _UNREACHABLE,
    "unresolved": _UNREACHABLE,
    # It is something else.
    "speaks http": "write --via http://HOST:PORT",
    "speaks socks5": "write --via socks5://HOST:PORT",
    "speaks TLS": "give a port in --via at which the proxy takes connections in clear",
    "broken": _OTHER_KIND,
    "mute": _OTHER_KIND,
    "refuses": _OTHER_KIND,
    # It does not let us.
    "no login": "write a line user:password into a file, and give --via-auth-file",
    "login": (
        "check user and password in the file of --via-auth-file; a proxy of HTTP has to take Basic"
    ),
    "forbids": (
        "the proxy has to allow connections to the host and the port in --remote; many do so for "
        "port 443 alone (Squid: SSL_ports)"
    ),
    # It does not reach the remote.
    "cannot": (
        "the proxy is there, and cannot connect: check the host and the port in --remote, as the "
        "proxy sees them"
    ),
}


def hintOfProxy(cause: str) -> str:
    """
    The hint; empty where there is none.

    @param cause: that of the error, which begins with L{PROXY}.
    """
    return _HINTS.get(cause.removeprefix(PROXY), "")
