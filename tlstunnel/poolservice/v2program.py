"""
A program that speaks the TLS Pool's protocol V2: its requests, and its answers to what we ask.

All that it does wrong is answered with an error, to itself alone; its connection is never closed
for that, as the library of the TLS Pool does not survive it before the first answer.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from tlstunnel.errors import Stopped, TimedOut, TunnelError
from tlstunnel.identity.caller import Caller
from tlstunnel.local.closing import closeHanded
from tlstunnel.local.refusals import TooMany
from tlstunnel.net.deadlines import Deadline
from tlstunnel.poolservice.descriptors import connected
from tlstunnel.poolservice.handover import HandOver
from tlstunnel.poolservice.refusals import Gone
from tlstunnel.poolservice.v2connection import Enclosed, V2Connection
from tlstunnel.poolservice.v2control import Controlled
from tlstunnel.poolservice.v2errors import Code, V2Error, errorFrame
from tlstunnel.poolservice.v2exchange import Exchange
from tlstunnel.poolservice.v2frames import (
    Command,
    Control,
    Flag,
    Frame,
    Info,
    Ping,
    Random,
    StartTLS,
    field,
)
from tlstunnel.poolservice.v2queries import exported, told
from tlstunnel.poolservice.v2request import answerSeconds, check

if TYPE_CHECKING:
    from tlstunnel.poolservice.v2port import V2Port

#: What PING says of us: the protocol, as the TLS Pool has called it since 2015.
PRODUCER = b"20151111api@tlspool.arpa2.net"

#: What we do of what PING knows: STARTTLS.
FACILITIES = 0x1

#: Requests of one program that are not answered yet.
MOST_REQUESTS = 256

#: How many questions without an answer are remembered: one that comes too late is not wrong.
LATE_ANSWERS = 64

_CBIDS = 0xFFFF


class _Question:
    """
    What a program was asked.
    """

    def __init__(
        self,
        reqid: int,
        cmd: Command,
        due: Deadline,
        answer: Deferred[tuple[StartTLS, int | None]],
    ) -> None:
        self.reqid = reqid
        self.cmd = cmd
        self.due = due
        self.answer = answer


class V2Program:
    """
    One of them, by one control connection.

    @ivar caller: which process it is.
    @ivar handOvers: what its connections are handed to.
    """

    _log = Logger()

    def __init__(
        self, port: V2Port, sock: socket.socket, caller: Caller, refusal: TunnelError | None
    ) -> None:
        """
        @param sock: the control connection, non-blocking; ours from now on.
        @param refusal: why nothing is done for it; that is the answer to its first request.
        """
        self.caller = caller
        self.handOvers = port.handOvers
        self._port = port
        self._refusal = refusal
        self._exchanges: dict[int, Exchange] = {}
        self._controlled: dict[Exchange, Controlled] = {}
        self._questions: dict[int, _Question] = {}
        self._late: deque[int] = deque(maxlen=LATE_ANSWERS)
        self._cbid = 0
        closings = port.quotas.closingsOf(caller.uid)
        self._connection = V2Connection(
            self.handOvers.reactor, sock, self._received, self._lost, closings
        )
        self._connection.startReading()

    # What it says

    def _received(self, frame: Frame, enclosed: Enclosed) -> None:
        if self._refusal is not None:
            self._connection.send(errorFrame(frame.reqid, self._refusal))
            self._connection.end()
            return
        try:
            if frame.cbid:
                self._answered(frame, enclosed)
            else:
                self._requested(frame, enclosed)
        except TunnelError as error:
            self._refuse(frame, error.bare())
        except Exception:  # noqa: BLE001 - a bug of ours must not spread
            self._log.failure("a frame to the pool service failed")
            self._refuse(frame, TunnelError("see the log of the pool service"))

    def _refuse(self, frame: Frame, error: TunnelError) -> None:
        self._connection.send(errorFrame(frame.reqid, error))
        if frame.cmd == Command.STARTTLS:
            self.handOvers.refusals.add(self.caller, error)

    def _requested(self, frame: Frame, enclosed: Enclosed) -> None:
        handle = self._REQUESTS.get(frame.cmd)
        if frame.cmd == Command.STARTTLS:
            self._startTLS(frame, enclosed)
            return
        if enclosed.count:
            raise V2Error(Code.SUPERFLUOUS_SOCKET, "no socket belongs to this command")
        if handle is None:
            raise V2Error(Code.COMMAND_UNKNOWN, f"there is no command {frame.cmd:#x}")
        handle(self, frame)

    def _startTLS(self, frame: Frame, enclosed: Enclosed) -> None:
        if frame.reqid in self._exchanges:
            raise V2Error(errno.EALREADY, "there is a request with that reqid already")
        descriptor = _onlyOf(enclosed)
        if descriptor is None:
            raise V2Error(Code.NO_CIPHERTEXT_SOCKET, "STARTTLS came without a socket")
        sock, _ = connected([descriptor], self.drop)
        try:
            request = StartTLS.unpack(frame.payload)
            check(request)
            if len(self._exchanges) >= MOST_REQUESTS:
                raise TooMany(f"there are {MOST_REQUESTS} requests without an answer")
            outlives = bool(request.flags & Flag.FORK)
            uid = self.caller.uid
            controlled = self._port.keys.add(uid, request.ctlkey, self, outlives)
            try:
                self._port.quotas.enter(uid)
            except TooMany:
                self._port.keys.remove(controlled)
                raise
        except BaseException:
            closeHanded(sock)
            raise
        exchange = Exchange(self, frame.reqid, request, sock)
        self._exchanges[frame.reqid] = exchange
        self._controlled[exchange] = controlled
        exchange.start()

    def _ping(self, frame: Frame) -> None:
        asked = Ping.unpack(frame.payload)
        answer = Ping(field(PRODUCER, len(asked.producer)), asked.facilities & FACILITIES)
        self._reply(frame, answer.pack())

    def _random(self, frame: Frame) -> None:
        asked = Random.unpack(frame.payload)
        self._reply(frame, exported(self._meant(asked.buffer[:16]), asked).pack())

    def _info(self, frame: Frame) -> None:
        asked = Info.unpack(frame.payload)
        self._reply(frame, told(self._meant(asked.ctlkey), asked).pack())

    def _detach(self, frame: Frame) -> None:
        asked = Control.unpack(frame.payload)
        self._port.keys.detach(self.caller.uid, asked.ctlkey, self)
        self._connection.send(Frame(frame.reqid, 0, Command.SUCCESS))

    def _reattach(self, frame: Frame) -> None:
        asked = Control.unpack(frame.payload)
        self._port.keys.reattach(self.caller.uid, asked.ctlkey, self)
        self._connection.send(Frame(frame.reqid, 0, Command.SUCCESS))

    def _chooser(self, frame: Frame) -> None:
        raise V2Error(
            Code.NO_LIDENTRY, "files of the pool say who is shown to whom here, and no program"
        )

    def _pin(self, frame: Frame) -> None:
        raise V2Error(Code.NO_PINENTRY, "no PIN is asked for here")

    _REQUESTS: dict[int, Callable[[V2Program, Frame], None]] = {
        Command.PING: _ping,
        Command.PRNG: _random,
        Command.INFO: _info,
        Command.CONTROL_DETACH: _detach,
        Command.CONTROL_REATTACH: _reattach,
        Command.LIDENTRY_REGISTER: _chooser,
        Command.PINENTRY: _pin,
    }

    def _reply(self, frame: Frame, payload: bytes) -> None:
        self._connection.send(Frame(frame.reqid, 0, frame.cmd, payload))

    def _meant(self, ctlkey: bytes) -> HandOver:
        return self._port.keys.find(self.caller.uid, ctlkey)

    def _answered(self, frame: Frame, enclosed: Enclosed) -> None:
        """
        It answers a question of ours.
        """
        question = self._questions.get(frame.cbid)
        if question is None or question.reqid != frame.reqid:
            if frame.cbid in self._late:
                self._late.remove(frame.cbid)
                return
            error = V2Error(Code.BAD_ANSWER, f"nothing was asked by cbid {frame.cbid}")
            exchange = self._exchanges.get(frame.reqid)
            if exchange is None:
                raise error
            exchange.end(error)
            return
        del self._questions[frame.cbid]
        question.due.cancel()
        try:
            result = self._answerIn(question, frame, enclosed)
        except TunnelError as error:
            question.answer.errback(error)
        else:
            question.answer.callback(result)

    def _answerIn(
        self, question: _Question, frame: Frame, enclosed: Enclosed
    ) -> tuple[StartTLS, int | None]:
        if frame.cmd == Command.ERROR:
            raise V2Error(Code.CLIENT_REFUSED, "the program refuses it")
        if frame.cmd != question.cmd:
            raise V2Error(Code.BAD_ANSWER, "the answer is not to what was asked")
        return StartTLS.unpack(frame.payload), _onlyOf(enclosed)

    # What its exchanges want

    def ask(
        self, reqid: int, cmd: Command, about: StartTLS
    ) -> Deferred[tuple[StartTLS, int | None]]:
        """
        See L{tlstunnel.poolservice.v2exchange.Asking}.
        """
        cbid = self._nextCbid()
        answer: Deferred[tuple[StartTLS, int | None]] = Deferred(lambda _: self._drop(cbid))
        seconds = answerSeconds(about)

        def late() -> None:
            self._drop(cbid)
            answer.errback(TimedOut(f"the program did not answer within {seconds:g} s"))

        due = self.handOvers.deadlines.after(seconds, late)
        self._questions[cbid] = _Question(reqid, cmd, due, answer)
        self._connection.send(Frame(reqid, cbid, cmd, about.pack()))
        return answer

    def _nextCbid(self) -> int:
        while True:
            self._cbid = self._cbid % _CBIDS + 1
            if self._cbid not in self._questions:
                return self._cbid

    def _drop(self, cbid: int) -> None:
        """
        Its answer is not waited for any longer.
        """
        question = self._questions.pop(cbid, None)
        if question is not None:
            question.due.cancel()
            self._late.append(cbid)

    def drop(self, descriptors: list[int]) -> None:
        """
        See L{tlstunnel.poolservice.v2exchange.Asking}.
        """
        self._connection.drop(descriptors)

    def finish(self, exchange: Exchange, answer: Frame) -> None:
        """
        See L{tlstunnel.poolservice.v2exchange.Asking}.
        """
        self._exchanges.pop(exchange.reqid, None)
        self._connection.send(answer)

    def ready(self, exchange: Exchange, handOver: HandOver) -> None:
        """
        See L{tlstunnel.poolservice.v2exchange.Asking}.
        """
        controlled = self._controlled[exchange]
        controlled.handOver = handOver
        if exchange.request.flags & Flag.DETACH:
            self._port.keys.letGo(controlled)

    def forget(self, exchange: Exchange) -> None:
        """
        See L{tlstunnel.poolservice.v2exchange.Asking}.
        """
        self._port.keys.remove(self._controlled.pop(exchange))
        self._port.quotas.leave(self.caller.uid)

    # Its end

    def close(self) -> None:
        """
        Close its control connection, as the service ends; what it has handed over goes on.
        """
        self._connection.close()
        self._port.keys.closed(self)
        self._leave(Stopped())

    def _lost(self) -> None:
        gone = Gone("the program has closed its control connection")
        ending = self._port.keys.closed(self)
        self._leave(gone)
        for each in ending:
            if each.handOver is not None:
                each.handOver.end(gone)

    def _leave(self, why: TunnelError) -> None:
        for each in tuple(self._exchanges.values()):
            each.end(why)
        self._port.left(self, self._refusal is None)


def _onlyOf(enclosed: Enclosed) -> int | None:
    """
    The one descriptor that came, if one did.

    @raise V2Error: there were several, or there was no room for one.
    """
    if enclosed.count > 1:
        raise V2Error(Code.SUPERFLUOUS_SOCKET, f"{enclosed.count} sockets came, where one is due")
    descriptor = enclosed.take()
    if enclosed.count and descriptor is None:
        raise V2Error(errno.EMFILE, os.strerror(errno.EMFILE))
    return descriptor
