"""
A worker: one of several processes that serve the same tunnels, and do what their parent says.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from tlstunnel.errors import ConfigurationError
from tlstunnel.net.listen import Bound
from tlstunnel.net.messages import Messages
from tlstunnel.net.spreading import atOnce, spread
from tlstunnel.program import signals
from tlstunnel.program.orders import FACTS, NUMBER, ORDER, PLAN, Order, asAnswer, heard
from tlstunnel.program.plan import Plan, Refused
from tlstunnel.program.process import Process, settleMemory
from tlstunnel.program.tunnels import Tunnels
from tlstunnel.protocols import mysqlkey
from tlstunnel.status.document import inJSON

_NO_ROOM = ConfigurationError(
    "workers", "have no descriptors left", "raise the limit of open files (LimitNOFILE in a unit)"
)


class WorkerProcess(Process):
    """
    This process.

    @ivar exitCode: what it ends with.
    """

    def __init__(
        self, reactor: Any, sock: socket.socket, number: int, isVerbose: bool = False
    ) -> None:
        """
        @param sock: the other end is our parent's.
        @param number: ours among the workers.
        @param isVerbose: see L{Tunnels}.
        """
        super().__init__(reactor)
        self.exitCode = 0
        self._sock = sock
        self._tunnels = Tunnels(reactor, isVerbose, number)
        self.addService(self._tunnels)

    def takeOrders(self) -> None:
        """
        Listen to the parent.
        """
        signals.ignore()
        # What workers share must be open before a tunnel needs a key.
        mysqlkey.common.accept()
        Obedience(self, self._tunnels, self._sock).start()

    def fail(self) -> None:
        """
        What we are to serve cannot be served.
        """
        self.exitCode = 1
        self.stop()


class Obedience:
    """
    Does what the parent says, and answers.
    """

    _log = Logger()

    def __init__(self, process: WorkerProcess, tunnels: Tunnels, sock: socket.socket) -> None:
        self._process = process
        self._tunnels = tunnels
        self._messages = Messages(process.reactor, sock, self._received, self._parentGone)
        # By the numbers that the parent has given them.
        self._sockets: dict[int, Bound] = {}
        self._fresh: list[int] = []
        self._preparing: Deferred[None] | None = None
        self._orders: dict[Order, Callable[[Mapping[str, Any]], Any]] = {
            Order.SERVE: lambda message: Deferred.fromCoroutine(self._serve(message)),
            Order.PREPARE: self._prepare,
            Order.COMMIT: lambda _: Deferred.fromCoroutine(self._commit()),
            Order.ABORT: lambda _: self._abort(),
            Order.HEED: lambda _: tunnels.heed(),
            Order.TALLY: lambda _: dict(tunnels.tally()),
            Order.LOOK: lambda _: Deferred.fromCoroutine(self._look()),
            Order.STOP: lambda _: process.stop(),
            Order.HURRY: lambda _: process.hurry(),
        }

    def start(self) -> None:
        """
        Listen.
        """
        self._messages.startReading()

    def _received(self, message: dict[str, Any], descriptors: list[int] | None) -> None:
        order, number = Order(message[ORDER]), message[NUMBER]
        answer = Deferred.fromCoroutine(self._obey(order, message, descriptors))
        answer.addCallbacks(
            lambda said: self._messages.send({NUMBER: number, **(said or {})}), self._failed
        )

    async def _obey(
        self, order: Order, message: Mapping[str, Any], descriptors: list[int] | None
    ) -> Mapping[str, Any] | None:
        try:
            if descriptors is None:
                raise Refused([("", _NO_ROOM)])
            if PLAN in message:
                self._take(message[PLAN]["fresh"], descriptors)
            found: Any = self._orders[order](message)
            if isinstance(found, Deferred):
                found = await found
            return cast(Mapping[str, Any] | None, found)
        except Refused as refused:
            if order is Order.SERVE:
                for _, error in refused.refusals:
                    self._log.error("{error}", error=error)
                self._process.fail()
            return asAnswer(refused)
        except CancelledError:
            # The parent does not wait for this answer any more.
            return None

    def _failed(self, failure: Failure) -> None:
        self._log.failure("an order of the parent failed", failure)
        self._process.fail()

    def _parentGone(self) -> None:
        """
        Nobody would replace us, or stop us.
        """
        self._log.error("the parent is gone: stopping")
        self._process.stop()

    # The orders

    async def _look(self) -> Mapping[str, Any]:
        # As a text: to make one of a thousand tunnels takes too long for a turn.
        facts = await self._tunnels.look()
        return {FACTS: await spread(self._process.reactor, inJSON(facts))}

    def _take(self, numbers: list[int], descriptors: list[int]) -> None:
        self._fresh = numbers
        for number, descriptor in zip(numbers, descriptors, strict=True):
            sock = socket.socket(fileno=descriptor)
            sock.setblocking(False)
            self._sockets[number] = Bound(sock)

    async def _serve(self, message: Mapping[str, Any]) -> None:
        self._abandon()
        isFirst = not self._tunnels.plan.services
        self._tunnels.prepareNow(atOnce(heard(message[PLAN], self._sockets)))
        await self._commit()
        if isFirst:
            settleMemory()

    def _prepare(self, message: Mapping[str, Any]) -> Deferred[None]:
        self._preparing = preparing = Deferred.fromCoroutine(self._prepareAs(message[PLAN]))
        return preparing

    async def _prepareAs(self, said: Mapping[str, Any]) -> None:
        plan = await spread(self._process.reactor, heard(said, self._sockets))
        await self._tunnels.prepare(plan)

    async def _commit(self) -> None:
        await self._tunnels.commit()
        self._fresh = []
        self._keep(self._tunnels.plan)

    def _keep(self, plan: Plan) -> None:
        """
        Close what nobody listens at any more.
        """
        used = plan.bound
        for number, bound in tuple(self._sockets.items()):
            if bound not in used:
                del self._sockets[number]
                bound.close()

    def _abort(self) -> None:
        self._abandon()
        for number in self._fresh:
            self._sockets.pop(number).close()
        self._fresh = []

    def _abandon(self) -> None:
        preparing, self._preparing = self._preparing, None
        if preparing is not None:
            preparing.cancel()
        self._tunnels.abort()
