"""
One question to one resolver of the DNS: by a datagram, and where the answer is too long for one,
by a connection.

Twisted's own port of UDP writes two lines into the log for each; and a socket that is connected
hears nobody but the resolver, and at once where nobody is there.  What counts as an answer is in
L{tlstunnel.net.dnsmessages}.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure

from tlstunnel.net.descriptor import Descriptor
from tlstunnel.net.dnsmessages import DATAGRAM, Ignored, Message, Question

#: The address of a resolver, and its port.
Server = tuple[str, int]


def connected(server: Server) -> socket.socket:
    """
    A socket for datagrams to and from C{server}; the system gives it a port by chance.

    @raise OSError: there is none.
    """
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.connect(server)
    except BaseException:
        sock.close()
        raise
    return sock


async def asked(reactor: Any, server: Server, question: Question, seconds: float) -> Message | None:
    """
    Ask.

    @param seconds: how long an answer may take, by a datagram and then by a connection.
    @return: the answer, if there is one in time.
    @raise OSError: nothing can be sent to C{server}.
    """
    heard = await _throughUDP(reactor, server, question, seconds)
    if heard is not None and heard.trunc:
        heard = await _throughTCP(reactor, server, question, seconds)
    return heard


async def _throughUDP(
    reactor: Any, server: Server, question: Question, seconds: float
) -> Message | None:
    asking = _Datagram(reactor, question, server)
    try:
        with _within(reactor, seconds, asking.giveUp):
            return await asking.heard
    finally:
        asking.close()


async def _throughTCP(
    reactor: Any, server: Server, question: Question, seconds: float
) -> Message | None:
    asking = _Stream(question)
    kind = TCP6ClientEndpoint if ":" in server[0] else TCP4ClientEndpoint
    connecting = kind(reactor, *server, timeout=seconds).connect(
        Factory.forProtocol(lambda: asking)
    )
    connecting.addErrback(lambda _: asking.giveUp())
    try:
        with _within(reactor, seconds, asking.giveUp):
            return await asking.heard
    finally:
        connecting.cancel()
        asking.close()


@contextmanager
def _within(reactor: Any, seconds: float, giveUp: Callable[[], None]) -> Iterator[None]:
    due = reactor.callLater(seconds, giveUp)
    try:
        yield
    finally:
        if due.active():
            due.cancel()


class _Datagram(Descriptor):
    """
    Asks by a datagram.

    @ivar heard: fires with the answer, or with C{None} once it is given up.
    """

    __slots__ = ("_question", "heard")

    def __init__(self, reactor: Any, question: Question, server: Server) -> None:
        """
        @raise OSError: that cannot be sent.
        """
        super().__init__(reactor, connected(server))
        self._question = question
        self.heard: Deferred[Message | None] = Deferred(lambda _: None)
        self.sock.setblocking(False)
        try:
            self.sock.send(question.wire)
        except OSError:
            self.sock.close()
            raise
        self.startReading()

    def doRead(self) -> None:
        """
        That may be the answer.
        """
        try:
            message = self._question.read(self.sock.recv(DATAGRAM))
        except (Ignored, BlockingIOError):
            return
        except OSError:
            self.giveUp()
            return
        if not self.heard.called:
            self.heard.callback(message)

    def connectionLost(self, reason: Failure) -> None:
        """
        Nobody is there: an error is the end of a socket to the reactor.
        """
        super().connectionLost(reason)
        self.giveUp()

    def giveUp(self) -> None:
        """
        Wait no longer.
        """
        if not self.heard.called:
            self.heard.callback(None)

    def close(self) -> None:
        """
        Have no socket any more.
        """
        self.stopReading()
        self.sock.close()


class _Stream(Int16StringReceiver):
    """
    Asks by a connection (RFC 7766); see L{_Datagram}.
    """

    def __init__(self, question: Question) -> None:
        self._question = question
        self.heard: Deferred[Message | None] = Deferred(lambda _: None)

    def connectionMade(self) -> None:
        """
        Ask.
        """
        self.sendString(self._question.wire)

    def stringReceived(self, string: bytes) -> None:
        """
        That has to be the answer.
        """
        try:
            message = self._question.read(string)
        except Ignored:
            self.giveUp()
            return
        if not self.heard.called:
            self.heard.callback(None if message.trunc else message)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        There will be no answer.
        """
        self.giveUp()

    def giveUp(self) -> None:
        """
        Wait no longer.
        """
        if not self.heard.called:
            self.heard.callback(None)

    def close(self) -> None:
        """
        Have no connection any more.
        """
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()
