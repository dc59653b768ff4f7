"""
A service that accepts connections: in two steps, so that a new state can be had by several services
at once or by none, and until all has ended in order.

What is done with a connection is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from tlstunnel.errors import Stopped
from tlstunnel.interfaces import IObserver
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.linger import LINGER_SECONDS, Linger
from tlstunnel.net.listen import Bound
from tlstunnel.net.port import ListeningPort
from tlstunnel.net.unixleg import UNIXLegs
from tlstunnel.tunnel.quiet import Moving, Quiet


class Serving(Protocol):
    """
    Whoever serves the connections that are accepted.
    """

    deadlines: Deadlines
    linger: Linger
    unixLegs: UNIXLegs
    #: Called when the last of them has ended, if anything is to be.
    idle: Callable[[], None] | None

    @property
    def isBusy(self) -> bool:
        """
        Whether there are any.
        """


_Described = TypeVar("_Described")
_Prepared = TypeVar("_Prepared")


class AcceptingService(Service, Generic[_Described, _Prepared]):
    """
    It leaves alone what there is once in a process, such as signals: any number of them run beside
    each other, and in any Twisted program.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._ports: list[ListeningPort] = []
        # Who waits for the end of all connections.
        self._ending: list[Deferred[None]] = []
        self._up: Deferred[None] = Deferred()

    # What each does in a way of its own

    @property
    def described(self) -> _Described:
        """
        What new connections are served by.
        """
        raise NotImplementedError

    @property
    def serving(self) -> Serving | None:
        """
        Who serves them, once anything is ready.
        """
        raise NotImplementedError

    def moving(self) -> Collection[Moving]:
        """
        The connections that there are.
        """
        raise NotImplementedError

    def dismiss(self) -> None:
        """
        End those of which nothing is known yet.
        """

    def ready(self, prepared: _Prepared) -> None:
        """
        Get ready to use what has been prepared.

        @raise ConfigurationError: something is missing or wrong; nothing has changed.
        """
        raise NotImplementedError

    def heed(self) -> Iterator[None]:
        """
        Serve nobody any more as somebody who is withdrawn by now, an identity a step.
        """
        # Who reads the pool for each connection need not be told.
        yield from ()

    def abandon(self) -> None:
        """
        Let go of what was prepared, where nothing has been used.
        """
        raise NotImplementedError

    def use(
        self, prepared: _Prepared, bound: Sequence[Bound], others: Sequence[IObserver] = ()
    ) -> None:
        """
        Serve new connections with what has been prepared from now on; those that there are go on as
        they began.  This cannot fail.

        @param bound: where they come from: at the sockets that we had and that are not among these,
            nothing is accepted any more, but they stay open.
        @param others: who else is told of new connections.
        """
        raise NotImplementedError

    def announce(self) -> None:
        """
        Say that all is up, and what should be said of it.
        """
        raise NotImplementedError

    def warn(self) -> None:
        """
        Say what should be said of certificates and anchors.
        """
        raise NotImplementedError

    def _opened(self) -> None:
        """
        Connections may come.
        """
        raise NotImplementedError

    def _closed(self) -> None:
        """
        No more come; those there are go on.
        """
        raise NotImplementedError

    # What all do

    @property
    def addresses(self) -> list[str]:
        """
        Where it listens, as it came out: with the port that the system chose for port 0.
        """
        return [port.name for port in self._ports]

    @property
    def bound(self) -> list[Bound]:
        """
        The sockets at which it listens.
        """
        return [port.bound for port in self._ports]

    @property
    def isBusy(self) -> bool:
        """
        Whether there are connections.
        """
        return self.serving is not None and self.serving.isBusy

    @property
    def connections(self) -> int:
        """
        How many there are.
        """
        return len(self.moving())

    def hurry(self) -> None:
        """
        Close all connections now.
        """
        for each in tuple(self.moving()):
            each.end(Stopped())
        self.dismiss()

    def acceptLast(self, kept: Container[Bound]) -> None:
        """
        Let go of our sockets, and give up those that are not among C{kept}.  What waits there is
        accepted first, as it has connected while we listened; what comes later would be reset, and
        finds another socket of ours if the address is there in another form.
        """
        leaving = [port for port in self._ports if port.bound not in kept]
        for port in leaving:
            port.acceptWaiting()
        self.letGo()
        for port in leaving:
            port.bound.giveUp()

    def letGo(self) -> None:
        """
        Accept nothing more until there is something to use again; the sockets stay open.
        """
        for port in self._ports:
            port.letGo()
        self._ports = []

    def startService(self) -> None:
        """
        Accept connections from now on.
        """
        self.privilegedStartService()
        self.accept()
        self._reactor.callWhenRunning(self._begun)

    def accept(self) -> None:
        """
        The same, with what it was given to use, and without a word about it.
        """
        super().startService()
        assert self.serving is not None
        self.serving.idle = None
        self._opened()

    def _begun(self) -> None:
        if self.running and not self._up.called:
            self._up.callback(None)
        self.announce()

    def whenUp(self) -> Deferred[None]:
        """
        Fires once connections are accepted; for one caller.
        """
        return self._up

    def stopService(self) -> Deferred[None]:
        """
        Accept no more, and let connections end; those that do not move are closed.

        @return: fires when all are.
        """
        for port in self._ports:
            port.stopListening()
        stopped = self._stopAccepting()
        if self.serving is not None and self.serving.isBusy:
            Quiet(self, self.serving.deadlines, self._reactor).look()
        return stopped.addCallback(self._clear)

    def drain(self, seconds: float) -> Deferred[None]:
        """
        Accept no more, and let connections go on, also those that do not move; the sockets that
        listened stay open.

        @param seconds: how long they may take; 0 for no limit.
        @return: fires when all have ended.
        """
        self.letGo()
        return Deferred.fromCoroutine(self._drained(self._stopAccepting(), seconds))

    async def _drained(self, ended: Deferred[None], seconds: float) -> None:
        serving = self.serving
        if serving is None:
            return
        due = serving.deadlines.after(seconds, self.hurry) if seconds else None
        await ended
        # What is closed has to be heard, too.
        while (due is None or due.isPending) and (
            len(serving.linger) or len(serving.unixLegs.hold)
        ):
            heard: Deferred[None] = Deferred()
            serving.deadlines.after(LINGER_SECONDS, partial(heard.callback, None))
            await heard
        self._clear(None)

    def _stopAccepting(self) -> Deferred[None]:
        """
        Be at the end of it.

        @return: fires when there are no connections any more.
        """
        super().stopService()
        self._ports = []
        self._closed()
        ended: Deferred[None] = Deferred()
        serving = self.serving
        if serving is None:
            ended.callback(None)
            return ended
        self._ending.append(ended)
        serving.idle = self._ended
        if not serving.isBusy:
            self._ended()
        return ended

    def _ended(self) -> None:
        ending, self._ending = self._ending, []
        for each in ending:
            each.callback(None)

    def _clear(self, result: None) -> None:
        serving = self.serving
        if serving is not None:
            serving.idle = None
            serving.deadlines.clear()
            serving.linger.closeAll()
            serving.unixLegs.closeAll()
