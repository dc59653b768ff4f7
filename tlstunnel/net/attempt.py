"""
Connecting to places: one attempt each, and several that race.

This module knows sockets and limits; which places there are is the business of
L{tlstunnel.net.dial}.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Coroutine
from errno import EAGAIN, EALREADY, EINPROGRESS, EISCONN, ETIMEDOUT
from typing import Any, NamedTuple

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from tlstunnel.address import TCPAddress, UNIXAddress, addressOf
from tlstunnel.errors import ConnectFailed
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.descriptor import Descriptor
from tlstunnel.net.leg import Leg

#: Seconds to the next try of a UNIX socket whose queue is full.
FULL_QUEUE_SECONDS = 0.05

# Plain numbers: an Enum costs each time that it is looked at.  macOS has no SOCK_NONBLOCK.
_NONBLOCKING = int(getattr(socket, "SOCK_NONBLOCK", 0))
_STREAM = int(socket.SOCK_STREAM) | _NONBLOCKING
ANY, UNIX = int(socket.AF_UNSPEC), int(socket.AF_UNIX)
IPV4, IPV6 = int(socket.AF_INET), int(socket.AF_INET6)


class Target(NamedTuple):
    """
    One place to connect to.

    @ivar family: of the socket.
    @ivar where: what C{connect} wants; C{None} if that is not for us to know.
    @ivar address: the same as a value.
    """

    family: int
    where: Any
    address: TCPAddress | UNIXAddress


def begin(target: Target, source: str = "") -> tuple[socket.socket, int]:
    """
    Begin to connect; on this host it is often done at once.

    @param source: the address of ours to connect from; by default the system chooses.
    @return: the socket, and 0 if it is connected, else the error that says why it is not yet; then
        it is for an L{Attempt}.
    @raise OSError: if it failed, or there is no socket for it.
    """
    sock = socket.socket(target.family, _STREAM, 0)
    try:
        if not _NONBLOCKING:
            sock.setblocking(False)
        if source:
            sock.bind((source, 0))
        return sock, _goOn(sock, target.where)
    except BaseException:
        sock.close()
        raise


def _goOn(sock: socket.socket, where: Any) -> int:
    """
    Begin to connect, or look how far it is.

    @return: 0 once it is connected, else the error that says why it is not yet.
    @raise OSError: if it failed.
    """
    code = sock.connect_ex(where)
    if code == EINPROGRESS:
        code = sock.connect_ex(where)
    if code == 0 or code == EISCONN:
        return 0
    if code in (EINPROGRESS, EALREADY, EAGAIN):
        return code
    raise OSError(code, os.strerror(code))


class Attempt(Descriptor):
    """
    A socket on its way to one place, where that takes a moment.
    """

    __slots__ = ("_deadlines", "_ready", "_where")

    def __init__(self, reactor: Any, deadlines: Deadlines, sock: socket.socket, where: Any) -> None:
        """
        @param sock: has begun to connect.
        @param where: see L{Target}.
        """
        super().__init__(reactor, sock)
        self._deadlines = deadlines
        self._where = where
        self._ready: Deferred[None] | None = None

    async def finish(self, code: int, seconds: float) -> None:
        """
        Go on until it is connected.

        @param code: what L{begin} gave.
        @raise OSError: if it fails, or nobody answers within C{seconds}.
        """
        late = TimeoutError(ETIMEDOUT, "no answer")
        with self._deadlines.after(seconds, lambda: self._wake(late)):
            while code:
                await self._wait(code)
                code = _goOn(self.sock, self._where)

    async def _wait(self, code: int) -> None:
        """
        Wait until there is reason to look again.
        """
        self._ready = Deferred(lambda _: None)
        if code == EAGAIN:
            with self._deadlines.after(FULL_QUEUE_SECONDS, self._wake):
                await self._ready
        else:
            self.startWriting()
            try:
                await self._ready
            finally:
                self.stopWriting()

    def _wake(self, error: OSError | None = None) -> None:
        ready, self._ready = self._ready, None
        if ready is None:
            return
        if error is None:
            ready.callback(None)
        else:
            ready.errback(error)

    def doWrite(self) -> None:
        """
        The socket is connected, or failed.
        """
        self._wake()

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor saw a hang-up, and has forgotten us already.
        """
        super().connectionLost(reason)
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._wake(OSError(code, os.strerror(code) if code else "hung up"))


class Race:
    """
    Attempts that run at the same time; the first that succeeds wins.

    @ivar won: its leg.
    @ivar problems: what came of the others.
    """

    def __init__(self) -> None:
        self.won: Leg | None = None
        self.problems: list[ConnectFailed] = []
        self._running: set[Deferred[None]] = set()
        self._news: Deferred[None] = Deferred(lambda _: None)

    @property
    def isOver(self) -> bool:
        """
        Whether there is nobody to wait for.
        """
        return self.won is not None or not self._running

    def enter(self, attempt: Coroutine[Deferred[Any], Any, Leg]) -> None:
        """
        One more.
        """
        running = Deferred.fromCoroutine(self._run(attempt))
        self._running.add(running)
        running.addBoth(self._ended, running)

    async def _run(self, attempt: Coroutine[Deferred[Any], Any, Leg]) -> None:
        try:
            self.won = await attempt
        except ConnectFailed as error:
            self.problems.append(error.bare())

    def _ended(self, result: Failure | None, running: Deferred[None]) -> Failure | None:
        self._running.discard(running)
        self.wake()
        if isinstance(result, Failure) and result.check(CancelledError):
            return None
        return result

    async def news(self) -> None:
        """
        Wait until one has ended, or L{wake} is called.
        """
        await self._news
        self._news = Deferred(lambda _: None)

    def wake(self) -> None:
        """
        Go on.
        """
        if not self._news.called:
            self._news.callback(None)

    def cancel(self) -> None:
        """
        Close the sockets of those that are still under way.
        """
        for each in tuple(self._running):
            each.cancel()


def targetAt(host: str, port: int) -> Target:
    """
    What C{connect} wants for a literal address.
    """
    address = addressOf((host, port))
    if ":" not in host:
        return Target(IPV4, (host, port), address)
    literal, _, zone = host.partition("%")
    scope = (int(zone) if zone.isdigit() else socket.if_nametoindex(zone)) if zone else 0
    return Target(IPV6, (literal, port, 0, scope), address)
