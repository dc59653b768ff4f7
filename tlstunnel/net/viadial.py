"""
Dialling through a proxy: it is connected to like any remote, and asked for a connection to one.

What comes of it is a leg whose other end is the remote.  Nothing but the exchange with the proxy
has passed on it, and what the remote has said meanwhile lies in the socket, unread.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import ConnectFailed
from tlstunnel.net import viahttp, viasocks
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.descriptor import Descriptor
from tlstunnel.net.destination import IDialler
from tlstunnel.net.dial import Dialler
from tlstunnel.net.leg import Leg
from tlstunnel.net.linger import Linger
from tlstunnel.net.resolve import Directory
from tlstunnel.net.via import Login, Via
from tlstunnel.net.viaexchange import Exchange
from tlstunnel.net.wire import RETRIED, describe

#: Bytes that one turn of the reactor looks at.
LOOK_BYTES = 4096

_STORIES = {"http": viahttp.connect, "socks5": viasocks.connect}


class ViaDialler:
    """
    Connects to places through one proxy.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        deadlines: Deadlines,
        linger: Linger,
        via: Via,
        login: Login | None,
        perAddress: float,
        keepAlive: float = 0,
        directory: Directory | None = None,
    ) -> None:
        """
        @param perAddress: seconds that each address of the proxy may take, and then the exchange.
        @param keepAlive: see L{tlstunnel.net.kernel.tune}.
        @param directory: knows what the name of the proxy means.
        """
        self._reactor = reactor
        self._deadlines = deadlines
        self._via = via
        self._login = login
        self._seconds = perAddress
        self._toProxy: IDialler = Dialler(
            reactor, deadlines, linger, (via.address,), perAddress, keepAlive, directory=directory
        )

    async def connect(self, target: TCPAddress | UNIXAddress) -> Leg:
        """
        Connect to C{target}, whose name the proxy resolves.

        @raise ConnectFailed: the proxy cannot be reached, or does not connect.
        """
        if isinstance(target, UNIXAddress):
            raise ConnectFailed(f"{target}: no proxy reaches a UNIX socket")
        try:
            leg = await self._toProxy.dial()
        except ConnectFailed as error:
            problem = f"the proxy cannot be reached ({error.detail})"
            raise self._failed(target, problem, f"proxy {error.cause}") from None
        assert isinstance(leg, Leg)
        exchange = Exchange(_STORIES[self._via.scheme](target, self._login))
        try:
            await _Asking(self._reactor, leg.sock, exchange).run(self._deadlines, self._seconds)
        except ConnectFailed as error:
            leg.abortConnection()
            raise self._failed(target, error.detail, error.cause) from None
        except BaseException:
            leg.abortConnection()
            raise
        leg.peer = target
        self._log.debug("connected to {target} via {via}", target=target, via=self._via)
        return leg

    def _failed(self, target: TCPAddress, problem: str, cause: str) -> ConnectFailed:
        return ConnectFailed(f"{target} via {self._via}: {problem}", cause=cause)


class _Asking(Descriptor):
    """
    An exchange on a socket that is connected to a proxy.
    """

    __slots__ = ("_exchange", "_over")

    def __init__(self, reactor: Any, sock: socket.socket, exchange: Exchange) -> None:
        super().__init__(reactor, sock)
        self._exchange = exchange
        self._over: Deferred[None] = Deferred(lambda _: None)

    async def run(self, deadlines: Deadlines, seconds: float) -> None:
        """
        Ask, and wait until the proxy has connected.

        @raise ConnectFailed: it does not, or not within C{seconds}.
        """
        late = ConnectFailed(f"the proxy gave no answer in {seconds:g} s", cause="proxy mute")
        with deadlines.after(seconds, lambda: self._end(late)):
            self.startReading()
            self.doWrite()
            try:
                await self._over
            finally:
                self.stopReading()
                self.stopWriting()

    def _end(self, error: ConnectFailed | None = None) -> None:
        if self._over.called:
            return
        if error is None:
            self._over.callback(None)
        else:
            self._over.errback(error)

    def doRead(self) -> None:
        """
        The proxy has said something: what does not belong to its answers stays in the socket.
        """
        exchange = self._exchange
        try:
            data = self.sock.recv(LOOK_BYTES, socket.MSG_PEEK)
            if not data:
                raise exchange.ended()
            self.sock.recv(exchange.take(data))
        except ConnectFailed as error:
            self._end(error)
        except OSError as error:
            self._broke(error.errno or 0)
        else:
            if exchange.isOver:
                self._end()
            elif exchange.unsent:
                self.doWrite()

    def doWrite(self) -> None:
        """
        Say what is to be said, as far as the socket takes it.
        """
        exchange = self._exchange
        try:
            exchange.unsent = exchange.unsent[self.sock.send(exchange.unsent) :]
        except OSError as error:
            self._broke(error.errno or 0)
        if exchange.unsent and not self._over.called:
            self.startWriting()
        else:
            self.stopWriting()

    def _broke(self, code: int) -> None:
        if code not in RETRIED:
            what = f"the connection to the proxy broke: {describe(code)}"
            self._end(ConnectFailed(what, cause="proxy mute"))

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor saw a hang-up, or is stopping; it has forgotten us already.
        """
        super().connectionLost(reason)
        self._broke(self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
