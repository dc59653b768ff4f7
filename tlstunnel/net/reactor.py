"""
A reactor for tunnels: Linux's epoll, and nothing between an event and who waits for it.

It is Twisted's reactor in all but three things: an event costs no logging context, a turn looks at
a bounded number of events, however many descriptors there are, and files that epoll does not know
cannot be waited for.  C{tlstunnel} installs it where there is epoll; C{twistd --reactor=tlstunnel}
does it for twistd; everything works with any other reactor too.
"""

from __future__ import annotations

from select import EPOLLIN, EPOLLOUT, epoll
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IFileDescriptor, IReactorFDSet, IWriteDescriptor
from twisted.internet.posixbase import PosixReactorBase
from twisted.logger import Logger
from zope.interface import implementer

#: Events that one turn looks at; the others are still there in the next.
EVENTS_PER_TURN = 64

_IN, _OUT = EPOLLIN, EPOLLOUT

# Below so many seconds nothing has to be cut for epoll, which takes milliseconds in an int of C.
_LONG_WAIT = 2147483.0

# Where Twisted's reactor has what is due; not public, so that it is asked whether they are there.
_DUE = ("threadCallQueue", "_newTimedCalls", "_pendingTimedCalls", "_justStopped")


@implementer(IReactorFDSet)
class TunnelReactor(PosixReactorBase):
    """
    Waits with epoll.
    """

    _log = Logger()

    def __init__(self) -> None:
        self._epoll = epoll()
        self._descriptors: dict[int, Any] = {}
        self._wanted: dict[int, int] = {}
        self._fresh: set[int] = set()
        super().__init__()

    # IReactorFDSet

    # Nearly all are watched for something to read alone, which therefore is one call each.

    def addReader(self, reader: IFileDescriptor, event: int = _IN) -> None:
        """
        Call C{reader.doRead} when there is something to read.

        @param event: for L{addWriter} to say.
        """
        fd = reader.fileno()
        wanted = self._wanted.get(fd, 0)
        if not wanted:
            self._epoll.register(fd, event)
            self._descriptors[fd] = reader
            self._fresh.add(fd)
        elif wanted & event:
            return
        else:
            event |= wanted
            self._epoll.modify(fd, event)
        self._wanted[fd] = event

    def addWriter(self, writer: IWriteDescriptor) -> None:
        """
        Call C{writer.doWrite} when there is room to write.
        """
        self.addReader(writer, _OUT)

    def removeReader(self, reader: IFileDescriptor, event: int = _IN) -> None:
        """
        Do not call C{reader.doRead} any more.

        @param event: for L{removeWriter} to say.
        """
        fd = reader.fileno()
        if fd == -1:
            # It closed its descriptor before it told us, and epoll has noticed.
            fd = next((fd for fd, each in self._descriptors.items() if each is reader), -1)
        wanted = self._wanted.get(fd, 0)
        left = wanted & ~event
        if left == wanted:
            return
        if left:
            self._epoll.modify(fd, left)
            self._wanted[fd] = left
            return
        del self._wanted[fd], self._descriptors[fd]
        try:
            self._epoll.unregister(fd)
        except OSError:
            pass

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        """
        Do not call C{writer.doWrite} any more.
        """
        self.removeReader(writer, _OUT)

    def removeAll(self) -> list[Any]:
        """
        Forget all descriptors but our own.
        """
        ours = {reader.fileno() for reader in self._internalReaders}
        found = [each for fd, each in self._descriptors.items() if fd not in ours]
        for each in found:
            self.removeReader(each, _IN | _OUT)
        return found

    def getReaders(self) -> list[Any]:
        """
        Who waits to read.
        """
        return [self._descriptors[fd] for fd, wanted in self._wanted.items() if wanted & _IN]

    def getWriters(self) -> list[Any]:
        """
        Who waits to write.
        """
        return [self._descriptors[fd] for fd, wanted in self._wanted.items() if wanted & _OUT]

    # What PosixReactorBase calls

    def mainLoop(self) -> None:
        """
        Run until the reactor is stopped: what is due, then what happens.
        """
        looks = all(hasattr(self, name) for name in _DUE)
        while self._started:
            try:
                self.runUntilCurrent()
                self._turn(self.timeout() if self.running else 0, goesOn=looks)
            except Exception:  # noqa: BLE001 - as in every reactor
                self._log.failure("unexpected error in the main loop")

    def doIteration(self, delay: float | None) -> None:
        """
        Wait for events at most C{delay} seconds, and pass them on.
        """
        self._turn(delay, goesOn=False)

    def _turn(self, delay: float | None, goesOn: bool) -> None:
        """
        The same, and again, until something may be due, or new that will be.

        Most turns end with nothing of that kind.  To see it here costs a fourth of what
        C{runUntilCurrent} and C{timeout} cost, which look several times.

        @param goesOn: whether to do so more than once.
        """
        descriptor: Any
        why: Any
        poll, seconds = self._epoll.poll, self.seconds
        descriptors, fresh = self._descriptors, self._fresh
        while True:
            events = poll(delay, EVENTS_PER_TURN)
            if fresh:
                fresh.clear()
            for fd, event in events:
                descriptor = descriptors.get(fd)
                if descriptor is None or fd in fresh:
                    # The event was for who had this number before.
                    continue
                reading = True
                try:
                    if event == _IN:
                        why = descriptor.doRead()
                    else:
                        reading, why = self._happened(fd, descriptor, event)
                except BaseException as error:  # noqa: BLE001 - as in every reactor
                    self._log.failure("{descriptor} failed", descriptor=descriptor.logPrefix())
                    why = error
                if why:
                    self._disconnectSelectable(descriptor, why, reading)
            if not (
                goesOn
                and (pending := self._pendingTimedCalls)
                and not (self._newTimedCalls or self.threadCallQueue or self._justStopped)
                and 0.0 < (delay := pending[0].time - seconds()) < _LONG_WAIT
                and self.running
            ):
                return

    def _happened(self, fd: int, descriptor: Any, event: int) -> tuple[bool, Any]:
        """
        Pass on C{event}, which is more than something to read.

        @return: whether the descriptor was read last, and why it is to be given up, if it is.
        """
        why: Any = None
        reading = False
        if event & _IN:
            reading = True
            why = descriptor.doRead()
        elif not event & _OUT or event & ~_OUT:
            # A hang-up with nothing left to read: clean, if reading was all we did.
            reading = bool(self._wanted[fd] & _IN)
            why = ConnectionDone() if reading else ConnectionLost()
        # Reading may have been its end, and the number be that of another by now.
        isStill = self._descriptors.get(fd) is descriptor
        if event & _OUT and not why and isStill and self._wanted[fd] & _OUT:
            reading = False
            why = descriptor.doWrite()
        return reading, why


def install() -> None:
    """
    Make this the reactor of the process.

    @raise twisted.internet.error.ReactorAlreadyInstalledError: if there is one already.
    """
    from twisted.internet.main import installReactor

    installReactor(TunnelReactor())
