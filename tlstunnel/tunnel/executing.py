"""
A program as the destination of connections: each gets one of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import errorcode
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from tlstunnel.errors import ConnectFailed, TunnelError
from tlstunnel.interfaces import ILeg
from tlstunnel.net.child import Child
from tlstunnel.net.complaints import Allowance, Complaints
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.destination import IDestination, ISearch
from tlstunnel.net.execleg import ExecLeg
from tlstunnel.net.launch import Launch, start
from tlstunnel.net.remotes import Backend, Remotes
from tlstunnel.net.unixleg import UNIXLegs
from tlstunnel.tunnel.environment import environmentOf
from tlstunnel.tunnel.record import Record


@implementer(IDestination)
class Executor:
    """
    Starts one program for each connection.

    @ivar backend: what is known of it.
    """

    def __init__(
        self,
        reactor: Any,
        deadlines: Deadlines,
        legs: UNIXLegs,
        launch: Launch,
        remotes: Remotes,
        allowance: Allowance,
        tunnel: str,
    ) -> None:
        """
        @param legs: makes sockets ends that can be told from cuts.
        @param remotes: notes whether it could be started.
        @param allowance: how much the programs of the tunnel may say in the log.
        @param tunnel: what the log calls the tunnel.
        """
        self.reactor = reactor
        self.deadlines = deadlines
        self.legs = legs
        self.launch = launch
        self.remotes = remotes
        self.allowance = allowance
        self.tunnel = tunnel
        self.backend = remotes.backend(launch.address)

    @property
    def backends(self) -> Sequence[Backend]:
        """
        It alone.
        """
        return [self.backend]

    def search(self, record: Record, accepted: ILeg) -> Running:
        """
        See L{IDestination.search}.
        """
        return Running(self, record, accepted)


@implementer(ISearch)
class Running:
    """
    The program of one connection.
    """

    __slots__ = ("_accepted", "_began", "_child", "_executor", "_record")

    isOver = True

    def __init__(self, executor: Executor, record: Record, accepted: ILeg) -> None:
        self._executor = executor
        self._record = record
        self._accepted = accepted
        self._began = 0.0
        self._child: Child | None = None

    async def dial(self) -> ILeg:
        """
        Start it.

        @raise ConnectFailed: that cannot be.
        """
        executor, record = self._executor, self._record
        address = executor.launch.address
        self._began = executor.remotes.clock.seconds()
        try:
            if not record.isVerified:
                raise ConnectFailed(f"{address} is for clients that have come by TLS alone")
            local = record.locate(self._accepted)
            try:
                launched = start(executor.launch, environmentOf(record, local))
            except UnicodeError:
                raise ConnectFailed(f"{address}: not in the encoding of this system") from None
            except OSError as error:
                cause = f"exec {errorcode.get(error.errno or 0, '')}"
                raise ConnectFailed(f"{address}: {error.strerror}", cause=cause) from None
        except ConnectFailed as error:
            self.failed(error)
            raise
        child = self._child = Child(executor.reactor, executor.deadlines, launched.pid)
        complaints = Complaints(
            executor.reactor,
            launched.complaints,
            executor.allowance,
            executor.tunnel,
            str(record.peer),
            Path(executor.launch.path).name,
            launched.pid,
        )
        child.tell(complaints.close)
        child.tell(self._note)
        backend = executor.backend
        backend.open += 1
        backend.connections += 1
        return ExecLeg(executor.legs, executor.deadlines, launched.sock, address, child)

    def _note(self) -> None:
        """
        It has ended.
        """
        self._executor.backend.open -= 1
        assert self._child is not None
        self._record.exit = self._child.exit

    def failed(self, error: TunnelError, isItsFault: bool = True) -> bool:
        """
        See L{ISearch.failed}: nothing else can be tried.
        """
        executor = self._executor
        executor.remotes.failed(executor.backend, self._began, error, False)
        return False

    def served(self) -> None:
        """
        See L{ISearch.served}.
        """
        self._executor.remotes.served(self._executor.backend, False)

    def end(self, isHurried: bool = False) -> Deferred[None] | None:
        """
        See L{ISearch.end}: a program takes its place until it has ended.
        """
        child = self._child
        if child is None or child.exit is not None:
            return None
        if isHurried:
            child.hurry()
        return child.whenGone()
