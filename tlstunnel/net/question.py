"""
One question to one resolver of the DNS, by a datagram.

Twisted's own port of UDP writes two lines into the log for each; and a socket that is connected
hears nobody but the resolver, and at once where nobody is there.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tlstunnel.net.descriptor import Descriptor

#: The most bytes of a datagram.
MOST_BYTES = 65535


def questionOf(owner: str, kind: int) -> Any:
    """
    A C{twisted.names.dns.Message} that asks for the records of a name.

    @param kind: of the records.
    """
    from twisted.names import dns

    message = dns.Message(dns.randomSource(), recDes=1)
    message.addQuery(owner.encode(), kind)
    return message


def answerIn(data: bytes, question: Any) -> Any:
    """
    What a datagram has as the answer to C{question}.

    @return: a C{twisted.names.dns.Message}; C{None} if it is no answer to that.
    """
    from twisted.names import dns

    answer = dns.Message()
    try:
        answer.fromStr(data)
        asked = [(each.name.name.lower(), each.type, each.cls) for each in answer.queries]
    except Exception:  # noqa: BLE001 - whatever a stranger can make of it
        return None
    wanted = [(each.name.name.lower(), each.type, each.cls) for each in question.queries]
    isAnswer = answer.answer and answer.id == question.id and asked == wanted
    return answer if isAnswer else None


def connected(server: tuple[str, int]) -> socket.socket:
    """
    A socket for datagrams to and from C{server}.

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


class _Listening(Descriptor):
    """
    Waits for the answer.
    """

    __slots__ = ("_question", "answered")

    def __init__(self, reactor: Any, sock: socket.socket, question: Any) -> None:
        super().__init__(reactor, sock)
        self._question = question
        self.answered: Deferred[Any] = Deferred(lambda _: None)

    def doRead(self) -> None:
        """
        A datagram, or word that nobody is there.
        """
        try:
            data = self.sock.recv(MOST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.end(None)
            return
        answer = answerIn(data, self._question)
        if answer is not None:
            self.end(answer)

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor stops, or has seen the same.
        """
        super().connectionLost(reason)
        self.end(None)

    def end(self, answer: Any) -> None:
        """
        Wait no longer.
        """
        self.stopReading()
        if not self.answered.called:
            self.answered.callback(answer)


async def asked(reactor: Any, server: tuple[str, int], question: Any, seconds: float) -> Any:
    """
    Ask.

    @param seconds: how long the answer may take.
    @return: the answer; C{None} if there is none.
    """
    try:
        sock = connected(server)
    except OSError:
        return None
    try:
        sock.setblocking(False)
        sock.send(question.toStr())
        listening = _Listening(reactor, sock, question)
        listening.startReading()
        due = reactor.callLater(seconds, listening.end, None)
        try:
            return await listening.answered
        finally:
            listening.stopReading()
            if due.active():
                due.cancel()
    except OSError:
        return None
    finally:
        sock.close()
