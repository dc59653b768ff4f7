"""
Hearing of news on sockets that always have something to read.

The reactor tells of a socket as long as something lies in it, which for one in which a byte is left
on purpose (L{tlstunnel.net.unixwire}) is always.  Epoll can tell of what is new instead: an edge.
L{Edges} is an epoll of that kind, which the reactor, whichever it is, watches like any descriptor.
It knows whom to tell, and nothing of what is read.

What is new is told once.  Who has not read all of it says so by C{again}, and is told in the next
turn; who begins to listen is told at once if there is anything, new or not.
"""

from __future__ import annotations

import select
from typing import Any, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

#: Whether there is epoll here.
AVAILABLE = hasattr(select, "epoll")

#: Events that one turn looks at; the others are still there in the next.
EVENTS_PER_TURN = 256

_IN: int = getattr(select, "EPOLLIN", 0)
_RDHUP: int = getattr(select, "EPOLLRDHUP", 0)
_NEWS: int = _IN | _RDHUP | getattr(select, "EPOLLET", 0)

#: The peer has closed.
GONE: int = getattr(select, "EPOLLHUP", 0) | getattr(select, "EPOLLERR", 0)

#: It says no more.
ENDED: int = _RDHUP | GONE


class Watched(Protocol):
    """
    Who is told.
    """

    def changed(self, event: int) -> None:
        """
        Something is new, or is to be looked at again.

        @param event: bits, among which may be those of L{ENDED} and L{GONE}.
        """

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor is stopping, or C{changed} failed; nothing more is told.
        """


@implementer(IReadDescriptor)
class Edges:
    """
    Tells what is new on any number of sockets.
    """

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._epoll: Any = None
        self._watched: dict[int, Watched] = {}
        self._fresh: set[int] = set()

    def open(self) -> None:
        """
        Have the descriptor of epoll, if there is none yet.

        @raise OSError: there can be none.
        """
        if self._epoll is None:
            self._epoll = select.epoll()

    def watch(self, fd: int, watched: Watched) -> None:
        """
        Tell C{watched} what is new on C{fd}, and first what there is already.
        """
        self.open()
        if not self._watched:
            self._reactor.addReader(self)
        self._epoll.register(fd, _NEWS)
        self._watched[fd] = watched
        self._fresh.add(fd)

    def again(self, fd: int) -> None:
        """
        Tell in the next turn what there is still on C{fd}.
        """
        self._epoll.modify(fd, _NEWS)

    def forget(self, fd: int) -> None:
        """
        Tell no more of C{fd}, which is still open; nothing happens where that is so already, as
        when the reactor stops.
        """
        if self._watched.pop(fd, None) is None:
            return
        self._epoll.unregister(fd)
        if not self._watched:
            self._reactor.removeReader(self)

    def close(self) -> None:
        """
        Give up the descriptor of epoll, if nobody is watched.
        """
        if self._epoll is not None and not self._watched:
            self._epoll.close()
            self._epoll = None

    # IReadDescriptor

    def doRead(self) -> None:
        """
        Something is new somewhere.
        """
        watched, fresh = self._watched, self._fresh
        events = self._epoll.poll(0, EVENTS_PER_TURN)
        fresh.clear()
        for fd, event in events:
            each = watched.get(fd)
            if each is None or fd in fresh:
                # The event was for who had this number before.
                continue
            try:
                each.changed(event)
            except Exception:  # noqa: BLE001 - a bug of ours must not spread
                self._log.failure("{watched} failed", watched=type(each).__name__)
                if watched.get(fd) is each:
                    self.forget(fd)
                each.connectionLost(Failure())

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor is stopping, and has forgotten us already.
        """
        watched = tuple(self._watched.items())
        for fd, _ in watched:
            self.forget(fd)
        for _, each in watched:
            each.connectionLost(reason)

    def fileno(self) -> int:
        """
        Epoll's descriptor.
        """
        return -1 if self._epoll is None else int(self._epoll.fileno())

    def logPrefix(self) -> str:
        """
        What the reactor calls us in its own messages.
        """
        return type(self).__name__
