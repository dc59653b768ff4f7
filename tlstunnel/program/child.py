"""
One place for a worker, and the process that fills it: how it is started, told what to do, and
replaced when it dies.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from errno import EMFILE
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from tlstunnel.errors import ConfigurationError
from tlstunnel.net.messages import Messages
from tlstunnel.program import signals
from tlstunnel.program.orders import NUMBER, ORDER, PLAN, Known, Order, refusalsIn
from tlstunnel.program.plan import Plan, Refusal

#: A worker that lived this many seconds is replaced at once.
STEADY_SECONDS = 5.0

#: Seconds before one that did not is replaced, from the second time on; each time twice as many.
FIRST_DELAY_SECONDS = 0.25
LONGEST_DELAY_SECONDS = 30.0

#: Seconds in which a process has to be ready for a new state, to serve it, or to begin to stop.
ANSWER_SECONDS = 60.0

#: Seconds in which it has to have closed all connections.
HURRY_SECONDS = 5.0

_SEE_LOG = "see the log for why"
_MORE_FILES = "raise the limit of open files (LimitNOFILE in a unit)"


class Parent(Protocol):
    """
    Who has the places.
    """

    reactor: Any
    plan: Plan

    def spawn(self, child: Child, sock: socket.socket) -> None:
        """
        Start the process of C{child}, which takes its orders from C{sock}.
        """

    def isUp(self, child: Child) -> None:
        """
        It serves.
        """

    def isGone(self, child: Child) -> None:
        """
        Its process has ended.
        """


class Child(ProcessProtocol):
    """
    One place for a worker, and the process that fills it.

    @ivar isServing: whether there is a process that has taken up what it is to serve.
    """

    _log = Logger()

    def __init__(self, service: Parent, number: int) -> None:
        self._service = service
        self.number = number
        self._isAlive = False
        self.isServing = False
        self._messages: Messages | None = None
        self._known = Known()
        self._asked: dict[int, Deferred[Mapping[str, Any]]] = {}
        self._last = 0
        self._delay = 0.0
        self._started = 0.0
        self._pending: Any = None
        self._stopped: Deferred[None] | None = None
        self._partial = b""

    @property
    def isAlive(self) -> bool:
        """
        Whether there is a process.
        """
        return self._isAlive

    def start(self) -> None:
        """
        Start a process, and let it serve.
        """
        self._pending = self._stopped = None
        self._started = self._service.reactor.seconds()
        try:
            ours, theirs = socket.socketpair()
            try:
                self._service.spawn(self, theirs)
            except BaseException:
                ours.close()
                raise
            finally:
                theirs.close()
        except OSError as error:
            self._replace(f"it cannot be started: {error.strerror}")
            return
        self._isAlive = True
        self._known = Known()
        self._messages = Messages(self._service.reactor, ours, self._answered, lambda: None)
        self._messages.startReading()
        self.serve(self._service.plan)

    # Orders

    def serve(self, plan: Plan) -> None:
        """
        Let the process serve C{plan}, whatever it does now; one that cannot is replaced.
        """
        self._plan(Order.SERVE, plan).addCallbacks(self._serving, self._cannotBeTold)
        self._known.keep(plan)

    def prepare(self, plan: Plan) -> Deferred[list[Refusal]]:
        """
        Let the process get ready for C{plan}.

        @return: why it cannot serve that; nothing, if it can.
        """
        return self._plan(Order.PREPARE, plan).addCallback(refusalsIn)

    def commit(self, plan: Plan) -> Deferred[Any]:
        """
        Let it serve C{plan}, for which it is ready.

        @return: fires once it does, or is gone: if it does not answer, it is replaced.
        """
        self._known.keep(plan)
        return self._insist(Order.COMMIT, ANSWER_SECONDS)

    def abort(self) -> None:
        """
        Let it forget what it is ready for, or was to be.
        """
        self.tell(Order.ABORT)
        self._known.forget()

    def _plan(self, order: Order, plan: Plan) -> Deferred[Mapping[str, Any]]:
        said, fresh = self._known.add(plan)
        return self.ask(order, [each.sock for each in fresh], **{PLAN: said})

    def ask(
        self, order: Order, sockets: Sequence[socket.socket] = (), **more: object
    ) -> Deferred[Mapping[str, Any]]:
        """
        Give the process an order.

        @return: its answer; fails with L{ConfigurationError} if there is none.
        """
        self._last += 1
        answer: Deferred[Mapping[str, Any]] = Deferred()
        if self._messages is None:
            answer.errback(self._trouble("is not there"))
            return answer
        try:
            self._messages.send({NUMBER: self._last, ORDER: order.value, **more}, sockets)
        except OSError as error:
            remedy = _MORE_FILES if error.errno == EMFILE else _SEE_LOG
            answer.errback(self._trouble(f"cannot be told: {error.strerror or error}", remedy))
        else:
            self._asked[self._last] = answer
        return answer

    def tell(self, order: Order) -> None:
        """
        Give the process an order, if there is one; how it goes shows otherwise.
        """
        if self._isAlive:
            self.ask(order).addErrback(self._cannotBeTold)

    def _insist(self, order: Order, seconds: float) -> Deferred[Any]:
        """
        Give the process an order, and end it if it does not answer in time: it is stuck, or
        somebody has stopped it.

        @return: fires in either case.
        """

        def isStuck(result: object, seconds: float) -> None:
            raise self._trouble(f"has not answered within {seconds:g} s")

        answer = self.ask(order).addTimeout(seconds, self._service.reactor, isStuck)
        return answer.addErrback(self._cannotBeTold)

    def _answered(self, message: dict[str, Any], descriptors: list[int] | None) -> None:
        asked = self._asked.pop(message.get(NUMBER, 0), None)
        if asked is not None:
            asked.callback(message)

    def _serving(self, answer: Mapping[str, Any]) -> None:
        if not refusalsIn(answer):
            self.isServing = True
            self._service.isUp(self)

    def _cannotBeTold(self, failure: Failure) -> None:
        """
        It is gone, which we hear of otherwise, or so far behind that it can only be replaced.
        """
        if failure.check(CancelledError):
            # Nobody wants to know any more.
            return
        failure.trap(ConfigurationError)
        if self._isAlive and self._messages is not None and not self._messages.isClosed:
            self._kill(str(failure.value))

    def kill(self, why: str) -> None:
        """
        End the process at once, so that another one takes its place.

        @param why: goes on from its name.
        """
        self._kill(str(self._trouble(why)))

    def _kill(self, detail: str) -> None:
        self._log.error("{detail}", event="worker", worker=self.number, detail=detail)
        self._signal("KILL")

    def _trouble(self, problem: str, remedy: str = _SEE_LOG) -> ConfigurationError:
        return ConfigurationError(f"worker {self.number}", problem, remedy)

    # The process

    def stop(self) -> Deferred[None]:
        """
        Let the process end in order.

        @return: fires when there is none any more.
        """
        self._stopped = Deferred()
        if self._isAlive:
            self._insist(Order.STOP, ANSWER_SECONDS)
            # Which ends it at once if it does not serve yet, and means nothing to it after that.
            self._signal("TERM")
        else:
            if self._pending is not None:
                self._pending.cancel()
                self._pending = None
            self._stopped.callback(None)
        return self._stopped

    def hurry(self) -> None:
        """
        Let the process close all connections now; if it does not, they end with it.
        """
        if self._isAlive:
            self._insist(Order.HURRY, HURRY_SECONDS)

    def _signal(self, name: str) -> None:
        assert self.transport is not None
        try:
            self.transport.signalProcess(name)
        except ProcessExitedAlready:
            pass

    def errReceived(self, data: bytes) -> None:
        """
        Under twistd, what a worker logs goes into the one log.
        """
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._log.info("{line}", line=line.decode("utf-8", "replace"), worker=self.number)

    def processEnded(self, reason: Failure) -> None:
        """
        The process is gone: replace it, unless we are stopping.
        """
        self._isAlive = self.isServing = False
        messages, self._messages = self._messages, None
        if messages is not None:
            messages.close()
        asked, self._asked = self._asked, {}
        for each in asked.values():
            each.errback(self._trouble("ended"))
        self._service.isGone(self)
        if self._stopped is None:
            self._replace(reason.getErrorMessage(), isOrderly(reason.value))
            return
        if not isOrderly(reason.value):
            self._log.error(
                "worker {worker} ended badly: {detail}",
                event="worker",
                worker=self.number,
                detail=reason.getErrorMessage(),
            )
        self._stopped.callback(None)

    def _replace(self, why: str, wasOrderly: bool = False) -> None:
        lived = self._service.reactor.seconds() - self._started
        delay = 0.0 if lived >= STEADY_SECONDS else self._delay
        self._delay = min(LONGEST_DELAY_SECONDS, max(FIRST_DELAY_SECONDS, delay * 2))
        self._log.emit(
            LogLevel.info if wasOrderly else LogLevel.error,
            "worker {worker} ended after {lived:.1f} s, replaced in {delay:g} s: {detail}",
            event="worker",
            worker=self.number,
            lived=lived,
            delay=delay,
            detail=why,
        )
        self._pending = self._service.reactor.callLater(delay, self.start)


def isOrderly(ended: BaseException | None) -> bool:
    """
    Whether a worker ended as it was told: with status 0, or by a signal to all of us that reached
    it before it could take it.
    """
    isKilled = isinstance(ended, ProcessTerminated) and ended.signal in signals.ENDING
    return isinstance(ended, ProcessDone) or isKilled
