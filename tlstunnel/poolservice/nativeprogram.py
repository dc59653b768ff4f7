"""
One program that speaks the pool's own protocol, on one control connection.

What is said is in L{tlstunnel.poolservice.native}; here is what is done about it, and what a
program is told of a connection is in L{tlstunnel.poolservice.nativeanswers}.
"""

from __future__ import annotations

import enum
import socket
from collections.abc import Callable, Mapping
from typing import Protocol

from twisted.logger import Logger
from zope.interface import implementer

from tlstunnel import __version__
from tlstunnel.address import UNIXAddress, addressOf
from tlstunnel.errors import TunnelError, likely
from tlstunnel.identity.caller import Caller
from tlstunnel.interfaces import ILeg
from tlstunnel.local.closing import closeHanded
from tlstunnel.local.quotas import Quotas
from tlstunnel.local.refusals import Refusal
from tlstunnel.net.leg import Leg
from tlstunnel.poolservice.control import Control, errorMessage
from tlstunnel.poolservice.descriptors import connected
from tlstunnel.poolservice.handover import HandOver
from tlstunnel.poolservice.handovers import HandOvers
from tlstunnel.poolservice.interfaces import IProgram
from tlstunnel.poolservice.messages import Message, prose
from tlstunnel.poolservice.nativeanswers import certificatesFor, endFor, exportOf, okFor
from tlstunnel.poolservice.plain import pairOf
from tlstunnel.poolservice.refusals import BadRequest, Gone
from tlstunnel.poolservice.request import FIELDS, Plain, requestOf
from tlstunnel.tunnel.hints.choosing import hintFor

#: What a program may ask, and the fields of each.
VERBS: dict[str, tuple[str, ...]] = {
    "tls": FIELDS,
    "export": ("label", "context", "length"),
    "certificate": (),
    "hello": (),
}


class Stage(enum.Enum):
    """
    How far a control connection has come.

    @ivar isIdle: whether it is there for nothing.
    @ivar isPaused: whether an answer is outstanding.
    """

    #: Nothing was handed over, or what was is refused.
    FRESH = "fresh", True, False

    #: Something was, and nothing is known yet.
    BEGUN = "begun", False, True

    #: Likewise, but the program has its plaintext socket.
    MET = "met", False, True

    #: The peer is verified, and the program knows that.
    UP = "up", False, False

    #: It was, and is over.
    OVER = "over", True, False

    isIdle: bool
    isPaused: bool

    def __new__(cls, word: str, isIdle: bool, isPaused: bool) -> Stage:
        """
        A member.
        """
        stage = object.__new__(cls)
        stage._value_, stage.isIdle, stage.isPaused = word, isIdle, isPaused
        return stage


class Programs(Protocol):
    """
    All of them.

    @ivar handOvers: where what they hand over goes to.
    @ivar quotas: how much each user may have.
    """

    handOvers: HandOvers
    quotas: Quotas

    def left(self, program: NativeProgram) -> None:
        """
        Nothing is left of C{program}.
        """


@implementer(IProgram)
class NativeProgram:
    """
    One program, on one control connection.
    """

    _log = Logger()

    def __init__(self, programs: Programs, sock: socket.socket, caller: Caller) -> None:
        self.caller = caller
        self._programs = programs
        self._handOvers = handOvers = programs.handOvers
        closings = programs.quotas.closingsOf(caller.uid)
        self._control = Control(handOvers.reactor, handOvers.deadlines, sock, self, closings)
        self._stage = Stage.FRESH
        self._plain = Plain.UNIX
        self._handOver: HandOver | None = None
        self._isTold = self._isClosed = False

    def start(self) -> None:
        """
        Hear what it asks.
        """
        self._control.start()

    def close(self) -> None:
        """
        Say no more to it; what it has handed over goes on.
        """
        self._control.close()

    # What it asks; see tlstunnel.poolservice.control.Owner

    def received(self, message: Message, descriptors: list[int]) -> None:
        """
        A message came.

        @raise TunnelError: that is the answer.
        """
        verb, fields = message.verb, message.fields
        if verb not in VERBS:
            near = likely(verb, VERBS)
            remedy = f"did you mean {near}?" if near else f"there are {', '.join(VERBS)}"
            raise BadRequest(f"there is no verb {verb!r}; {remedy}")
        if verb == "tls":
            self._begin(fields, descriptors)
            return
        if descriptors:
            raise BadRequest(f"no descriptor may come with {verb}; send it with tls")
        for key in fields:
            if key not in VERBS[verb]:
                there = ", ".join(f"{each}=" for each in VERBS[verb]) or "none"
                raise BadRequest(f"{verb} has no field {key}=; there are: {there}")
        answers: dict[str, Callable[[Mapping[str, str]], Message]] = {
            "hello": self._hello,
            "export": self._export,
            "certificate": self._certificate,
        }
        self._control.send(answers[verb](fields))

    def refused(self, error: TunnelError) -> None:
        """
        It has not got what it asked for.
        """
        self._handOvers.refusals.add(self.caller, error)

    def _begin(self, fields: Mapping[str, str], descriptors: list[int]) -> None:
        sock, peer = connected(descriptors, self._control.drop)
        try:
            if self._stage is not Stage.FRESH:
                raise BadRequest("this control connection has served one; connect again for each")
            request = requestOf(fields)
            self._plain = request.plain
            self._go(Stage.BEGUN)
            self._handOver = handOver = self._handOvers.begin(self, request.wanted, sock, peer)
        except BaseException as error:
            closeHanded(sock)
            if self._stage is Stage.BEGUN:
                self._go(Stage.FRESH)
            if isinstance(error, Refusal):
                self._log.debug(
                    "refused {caller} a connection to {peer}: {error}",
                    caller=self._who,
                    peer=peer,
                    error=prose(str(error)),
                )
            raise
        if self._stage in (Stage.FRESH, Stage.OVER):
            # It has ended already.
            self._handOver = None
        elif not self._control.isOpen:
            handOver.end(Gone("the program has gone"))

    @property
    def _who(self) -> str:
        return f"process {self.caller.pid} of user {self.caller.uid}"

    def _hello(self, fields: Mapping[str, str]) -> Message:
        return Message("ok", {"server": f"tlstunnel {__version__}", "verbs": " ".join(VERBS)})

    def _export(self, fields: Mapping[str, str]) -> Message:
        asked = exportOf(fields)
        material = self._open().binding.export(*asked)
        return Message("ok", {"material": material.hex()})

    def _certificate(self, fields: Mapping[str, str]) -> Message:
        return certificatesFor(self._open())

    def _open(self) -> HandOver:
        """
        What was handed over, and whose peer is verified.

        @raise Gone: it is over.
        @raise BadRequest: there is none yet.
        """
        if self._handOver is None or self._stage is not Stage.UP:
            if self._stage is Stage.OVER:
                raise Gone("the connection is over")
            raise BadRequest("there is no connection yet; ask for tls first")
        return self._handOver

    def gone(self) -> None:
        """
        The control connection is over.
        """
        if self._stage is Stage.BEGUN and self._handOver is not None:
            self._handOver.end(Gone("the program has gone"))

    def closed(self) -> None:
        """
        All that belongs to it is closed.
        """
        self._isClosed = True
        self._leave()

    def _leave(self) -> None:
        if self._isClosed and self._stage in (Stage.FRESH, Stage.OVER):
            self._programs.left(self)

    def _go(self, stage: Stage) -> None:
        """
        Come to C{stage}: while the answer is outstanding nothing more is heard, and who waits for
        the end of a connection may be silent.
        """
        self._stage = stage
        self._control.expect(stage.isPaused, stage.isIdle)
        if stage.isIdle:
            self._leave()

    # What it is told; see tlstunnel.poolservice.interfaces.IProgram

    async def plain(self, handOver: HandOver) -> ILeg:
        """
        Give the program its end of a pair.
        """
        self._handOver = handOver
        handOvers = self._handOvers
        ours, theirs = await pairOf(self._plain, handOvers.reactor, handOvers.deadlines)
        leg = self._legOf(ours)
        isEarly = handOver.meetsEarly
        message = Message("plain") if isEarly else okFor(handOver)
        try:
            if not self._control.isOpen:
                raise Gone("the program has gone")
            self._control.send(message, theirs)
        except TunnelError:
            theirs.close()
            leg.abortConnection()
            raise
        self._go(Stage.MET if isEarly else Stage.UP)
        return leg

    def _legOf(self, sock: socket.socket) -> Leg:
        handOvers = self._handOvers
        if self._plain is Plain.UNIX:
            # No path, but what the log says of who is there.
            peer = UNIXAddress(f"uid={self.caller.uid}")
            return handOvers.unixLegs.leg(sock, peer, isTold=self._willBeTold, isFresh=True)
        return Leg(handOvers.reactor, handOvers.linger, sock, addressOf(sock.getpeername()))

    def _willBeTold(self) -> bool:
        return self._control.isOpen

    def verified(self, handOver: HandOver) -> None:
        """
        The peer is verified; the program has its plaintext socket already.
        """
        self._control.send(okFor(handOver))
        self._go(Stage.UP)

    def heardAll(self, error: TunnelError | None) -> None:
        """
        The network says no more.
        """
        if self._stage is Stage.UP and not self._isTold:
            self._isTold = True
            self._control.send(endFor(error))

    def ended(self, handOver: HandOver, error: TunnelError | None) -> None:
        """
        All is over.
        """
        self._handOver = None
        if self._stage is Stage.UP:
            self.heardAll(error)
            self._go(Stage.OVER)
        else:
            hint = hintFor(handOver.record)
            self._control.send(errorMessage(error or Gone("the connection has ended"), hint))
            self._go(Stage.OVER if self._stage is Stage.MET else Stage.FRESH)
