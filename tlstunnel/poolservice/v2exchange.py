"""
One STARTTLS of the TLS Pool's protocol V2: from the request to its one answer, and what is asked
back in between.

A server may want to see the name that the client asks for before it says who we are to be
(STARTTLS_LOCALID), and may give the plaintext socket with that; else it is asked for once the peer
is verified (PLAINTEXT_CONNECT).
"""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tlstunnel.errors import Closed, TunnelError, quote
from tlstunnel.identity.caller import Caller
from tlstunnel.identity.names import Identity
from tlstunnel.interfaces import ILeg
from tlstunnel.local.closing import closeHanded
from tlstunnel.poolservice.handover import HandOver
from tlstunnel.poolservice.handovers import HandOvers
from tlstunnel.poolservice.interfaces import IProgram
from tlstunnel.poolservice.v2errors import Code, V2Error, errorFrame
from tlstunnel.poolservice.v2frames import Command, Flag, Frame, StartTLS
from tlstunnel.poolservice.v2peek import Peek
from tlstunnel.poolservice.v2plain import legOn, plainSocket
from tlstunnel.poolservice.v2request import isClient, nameField, secondsOf, wantedOf
from tlstunnel.poolservice.wanted import Wanted

_T = TypeVar("_T")


class Asking(Protocol):
    """
    The control connection that a request came on.
    """

    caller: Caller
    handOvers: HandOvers

    def ask(
        self, reqid: int, cmd: Command, about: StartTLS
    ) -> Deferred[tuple[StartTLS, int | None]]:
        """
        Ask the program something.

        @return: fires with its answer, and a descriptor that is ours from then on, if one came;
            fails with a L{TunnelError}.
        """

    def drop(self, descriptors: list[int]) -> None:
        """
        Close what cannot be used.
        """

    def finish(self, exchange: Exchange, answer: Frame) -> None:
        """
        Send the one answer to a request.
        """

    def ready(self, exchange: Exchange, handOver: HandOver) -> None:
        """
        The relay begins: the program may name that connection.
        """

    def forget(self, exchange: Exchange) -> None:
        """
        The connection that the request was about is over.
        """


@implementer(IProgram)
class Exchange:
    """
    One of them.

    @ivar caller: see L{IProgram}.
    @ivar reqid: how the program numbers it.
    @ivar request: what it wants.
    """

    _log = Logger()

    def __init__(self, asking: Asking, reqid: int, request: StartTLS, sock: socket.socket) -> None:
        """
        @param request: has passed L{tlstunnel.poolservice.v2request.check}.
        @param sock: the connection, connected and non-blocking; ours from now on.
        """
        self.caller = asking.caller
        self.reqid = reqid
        self.request = request
        self._asking = asking
        self._handOvers = asking.handOvers
        self._network: socket.socket | None = sock
        self._plain: socket.socket | None = None
        self._handOver: HandOver | None = None
        self._waiting: Deferred[Any] | None = None
        self._why: TunnelError | None = None
        self._isAnswered = self._isOver = False

    def start(self) -> None:
        """
        Begin.
        """
        Deferred.fromCoroutine(self._begin()).addErrback(self._broken)

    def end(self, why: TunnelError) -> None:
        """
        End it, whatever is going on.
        """
        self._why = self._why or why
        if self._waiting is not None:
            self._waiting.cancel()
        elif self._handOver is not None:
            self._handOver.end(why)

    async def _begin(self) -> None:
        try:
            if self.request.flags & Flag.LOCALID_CHECK and not isClient(self.request):
                localid = await self._chosen()
                self.request = replace(self.request, localid=localid)
            self._hand(wantedOf(self.request))
        except TunnelError as error:
            self._handOvers.refusals.add(self.caller, error)
            self._finish(error)

    def _hand(self, wanted: Wanted) -> None:
        """
        Let TLS begin.
        """
        sock, self._network = self._network, None
        assert sock is not None
        try:
            handOver = self._handOvers.begin(self, wanted, sock)
        except BaseException:
            self._network = sock
            raise
        if not self._isOver:
            self._handOver = handOver

    def _broken(self, failure: Failure) -> None:
        self._log.failure("a STARTTLS failed", failure)
        self._finish(TunnelError("see the log of the pool service"))

    async def _chosen(self) -> bytes:
        """
        Who the program says that we are to be to this client.
        """
        assert self._network is not None
        handOvers = self._handOvers
        peek = Peek(handOvers.reactor, handOvers.deadlines, self._network)
        peek.start()
        most = handOvers.description.limits.handshake
        seconds = min(most, secondsOf(self.request) or most)
        with handOvers.deadlines.within(seconds, "the client's hello", peek.found.cancel):
            name = await self._await(peek.found)
        about = self.request
        if name:
            about = replace(about, localid=nameField(_host(name)))
        answer = await self._ask(Command.STARTTLS_LOCALID, about)
        return answer.localid

    async def _ask(self, cmd: Command, about: StartTLS) -> StartTLS:
        """
        Ask the program something; its answer may bring the plaintext socket.
        """
        answer, descriptor = await self._await(self._asking.ask(self.reqid, cmd, about))
        if descriptor is not None:
            self._plain = plainSocket(descriptor, self._asking.drop)
        return answer

    async def _await(self, waiting: Deferred[_T]) -> _T:
        """
        What comes of C{waiting}, unless this ends before.
        """
        self._waiting = waiting
        try:
            return await waiting
        except CancelledError:
            if self._why is None:
                raise
            raise self._why from None
        finally:
            self._waiting = None

    # What L{HandOvers} asks and tells

    async def plain(self, handOver: HandOver) -> ILeg:
        """
        See L{IProgram.plain}.
        """
        self._handOver = handOver
        about = replace(
            self.request,
            localid=nameField(handOver.local),
            remoteid=nameField(handOver.record.identity),
        )
        if self._plain is None:
            await self._ask(Command.PLAINTEXT_CONNECT, about)
        plain, self._plain = self._plain, None
        if plain is None:
            raise V2Error(Code.NO_PLAINTEXT_SOCKET, "PLAINTEXT_CONNECT brought no socket")
        leg = legOn(self._handOvers, plain)
        self._asking.ready(self, handOver)
        self._answer(Frame(self.reqid, 0, Command.STARTTLS, about.pack()))
        return leg

    def verified(self, handOver: HandOver) -> None:
        """
        See L{IProgram.verified}; no program is met before.
        """

    def heardAll(self, error: TunnelError | None) -> None:
        """
        See L{IProgram.heardAll}; there is no frame for it.
        """

    def ended(self, handOver: HandOver, error: TunnelError | None) -> None:
        """
        See L{IProgram.ended}.
        """
        self._finish(error or Closed("the connection has ended"))

    def _answer(self, frame: Frame) -> None:
        if not self._isAnswered:
            self._isAnswered = True
            self._asking.finish(self, frame)

    def _finish(self, error: TunnelError) -> None:
        """
        All is over; if the program has no answer yet, that is it.
        """
        for each in self._network, self._plain:
            if each is not None:
                closeHanded(each)
        self._network = self._plain = None
        if not self._isOver:
            self._isOver = True
            self._answer(errorFrame(self.reqid, error))
            self._asking.forget(self)
        # They know us, too: nobody should have to look for circles.
        self._handOver = self._why = None
        error.bare()


def _host(name: bytes) -> Identity:
    """
    The name that a client asks for.

    @raise V2Error: it is none.
    """
    with suppress(ValueError):
        return Identity.parse(name.decode())
    raise V2Error(Code.HANDSHAKE_FAILED, f"the client asks for {quote(name)}, which is no name")
