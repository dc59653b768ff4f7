"""
Data connections that are only noted: what a dialect asks of them, for tests of dialects.
"""

from __future__ import annotations

from zope.interface import implementer

from tlstunnel.errors import TunnelError
from tlstunnel.protocols.channels import IChannels


@implementer(IChannels)
class MemoryChannels:
    """
    Stands for L{tlstunnel.tunnel.channels.Channels}: nothing is listened at, and nothing dialled.

    @ivar opened: the ports that were to be dialled.
    @ivar connected: those that were to be dialled, each with that of whoever accepts it.
    @ivar ports: among which one was to be listened at the last time.
    @ivar acceptsCut: whether the last of them may be cut.
    @ivar demandsResumption: whether they have to resume the session.
    @ivar refusal: raised instead, if there is one.
    """

    moved = 0

    def __init__(self) -> None:
        self.host = "192.0.2.1"
        self.peer = "192.0.2.9"
        self.opened: list[int] = []
        self.connected: list[tuple[int, int]] = []
        self.ports: range | None = None
        self.acceptsCut = False
        self.demandsResumption = False
        self.refusal: TunnelError | None = None

    def demandResumption(self) -> None:
        """
        Note it.
        """
        self.demandsResumption = True

    def open(self, port: int, acceptsCut: bool = False, ports: range | None = None) -> int:
        """
        Note C{port}.

        @return: 50000 the first time, then counting.
        """
        if self.refusal is not None:
            raise self.refusal
        self.opened.append(port)
        self.acceptsCut = acceptsCut
        self.ports = ports
        return 49999 + len(self.opened)

    def connect(self, port: int, towards: int, acceptsCut: bool = False) -> None:
        """
        Note C{port} and C{towards}.
        """
        if self.refusal is not None:
            raise self.refusal
        self.connected.append((port, towards))
        self.acceptsCut = acceptsCut

    async def finish(self) -> None:
        """
        There is nothing to wait for.
        """

    def close(self) -> None:
        """
        There is nothing to close.
        """
