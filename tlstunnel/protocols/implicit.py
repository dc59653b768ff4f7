"""
TLS from the first byte: the dialect of a tunnel without C{--starttls}, with nothing to negotiate.
"""

from __future__ import annotations

from tlstunnel.protocols.base import ClientRole, Dialect, ServerRole


class ImplicitClient(ClientRole):
    """
    Starts TLS at once; which side speaks first inside it is for the protocol to know.
    """

    # What the server sends first is TLS, or nothing of ours to judge.
    exact = True
    directStart = True


class ImplicitServer(ServerRole):
    """
    Awaits TLS at once.
    """

    # What the client sends first is TLS, so that nothing of it is read before.
    exact = True
    directStart = True


implicit = Dialect(
    name="none",
    client=ImplicitClient,
    server=ImplicitServer,
    summary="TLS from the first byte (the default)",
    talks=False,
    silentServer=False,
)
