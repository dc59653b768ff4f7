"""
Questions to a resolver that validates: what it says of a name, and whether DNSSEC proves that.

The resolver says so by a bit of its answer (AD: RFC 4035, section 3.2.3), which anybody on the way
could set.  So it has to be one of this host.  This module knows sockets and limits; what of an
answer counts is in L{tlstunnel.net.dnsmessages}.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure

from tlstunnel.address import TCPAddress
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.descriptor import Descriptor
from tlstunnel.net.dnsmessages import (
    DATAGRAM,
    Answer,
    Ignored,
    LookupFailed,
    Message,
    Question,
    judged,
)

#: Seconds that the resolver has to answer, at the first and at the last try: who looks up a name
#: for the first time has to ask several servers.
TRY_SECONDS = (3.0, 5.0)


class ValidatingResolver:
    """
    A resolver of this host.

    @ivar address: where it is.
    """

    def __init__(self, reactor: Any, deadlines: Deadlines, address: TCPAddress) -> None:
        self._reactor = reactor
        self._deadlines = deadlines
        self.address = address

    async def ask(self, name: str, kind: int) -> Answer:
        """
        Look up the records of a name.

        @param kind: their type (RFC 1035, section 3.2.2).
        @raise LookupFailed: it is not known what there is; that is no reason to believe less.
        """
        for seconds in TRY_SECONDS:
            # Another number, and from another port: old answers are none.
            question = Question(name, kind)
            heard: Message | None = await self._throughUDP(question, seconds)
            if heard is not None and heard.trunc:
                heard = await self._throughTCP(question, seconds)
            if heard is not None:
                return judged(question, heard)
        raise LookupFailed(f"the resolver at {self.address} does not answer", "unreachable")

    async def _throughUDP(self, question: Question, seconds: float) -> Message | None:
        """
        Ask by a datagram.

        @return: the answer, if one comes in time.
        """
        try:
            asking = _Datagram(self._reactor, question, self.address)
        except OSError as error:
            raise LookupFailed(f"a resolver cannot be asked: {error.strerror}") from None
        try:
            with self._deadlines.after(seconds, asking.giveUp):
                return await asking.heard
        finally:
            asking.close()

    async def _throughTCP(self, question: Question, seconds: float) -> Message | None:
        """
        Ask by a connection, where the answer is too long for a datagram.
        """
        asking = _Stream(question)
        kind = TCP6ClientEndpoint if ":" in self.address.host else TCP4ClientEndpoint
        endpoint = kind(self._reactor, self.address.host, self.address.port, timeout=seconds)
        connecting = endpoint.connect(Factory.forProtocol(lambda: asking))
        connecting.addErrback(lambda _: asking.giveUp())
        try:
            with self._deadlines.after(seconds, asking.giveUp):
                return await asking.heard
        finally:
            connecting.cancel()
            asking.close()


class _Datagram(Descriptor):
    """
    Asks by a datagram.

    @ivar heard: fires with the answer, or with C{None} once it is given up.
    """

    __slots__ = ("_question", "heard")

    def __init__(self, reactor: Any, question: Question, address: TCPAddress) -> None:
        """
        @raise OSError: that cannot be sent.
        """
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        super().__init__(reactor, socket.socket(family, socket.SOCK_DGRAM))
        self._question = question
        self.heard: Deferred[Message | None] = Deferred(lambda _: None)
        self.sock.setblocking(False)
        try:
            # Nobody else is heard, and the system gives us a port by chance.
            self.sock.connect((address.host, address.port))
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
