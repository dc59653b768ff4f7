"""
One program that speaks the pool's own protocol, on one control connection.

What is said is in L{tlstunnel.poolservice.native}; here is what is done about it.
"""

from __future__ import annotations

import enum
import re
import socket
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Protocol

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.logger import Logger
from zope.interface import implementer

from tlstunnel import __version__
from tlstunnel.address import UNIXAddress, addressOf
from tlstunnel.errors import TunnelError, likely, printable
from tlstunnel.identity.caller import Caller
from tlstunnel.identity.names import Identity
from tlstunnel.interfaces import ILeg
from tlstunnel.local.closing import closeHanded
from tlstunnel.local.quotas import Quotas
from tlstunnel.local.refusals import Refusal
from tlstunnel.net.leg import Leg
from tlstunnel.poolservice.control import Control, detailOf, errorMessage
from tlstunnel.poolservice.descriptors import connected
from tlstunnel.poolservice.handover import HandOver
from tlstunnel.poolservice.handovers import HandOvers
from tlstunnel.poolservice.interfaces import IProgram
from tlstunnel.poolservice.messages import MESSAGE_BYTES, Message, prose
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

#: The reason of an end that is as it should be.
CLOSED = "closed"

#: The most bytes of keying material at once: there are as many with every cipher suite (RFC 5869,
#: section 2.3).
MATERIAL_BYTES = 255 * 32

_HEX = re.compile("(?:[0-9A-Fa-f]{2})*")
_NUMBER = re.compile("[1-9][0-9]{0,5}")

# What an answer has beside certificates.
_BESIDE = len("ok\n\n")


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
        label, length = fields.get("label", ""), fields.get("length", "")
        context = fields.get("context")
        if not (label and label.isascii()):
            raise BadRequest(
                "export needs a label of ASCII; add label=, such as label=EXPORTER-Channel-Binding"
            )
        if not (_NUMBER.fullmatch(length) and int(length) <= MATERIAL_BYTES):
            raise BadRequest(
                f"export needs a number of bytes; add length= from 1 to {MATERIAL_BYTES}"
            )
        if context is not None and not _HEX.fullmatch(context):
            raise BadRequest("context= is not in hexadecimal; write two digits for each byte")
        given = None if context is None else bytes.fromhex(context)
        material = self._open().binding.export(label.encode(), given, int(length))
        return Message("ok", {"material": material.hex()})

    def _certificate(self, fields: Mapping[str, str]) -> Message:
        """
        As many as there is room for; those behind are what others know better than the peer.
        """
        text = ""
        for each in self._open().certificates():
            pem = each.public_bytes(Encoding.PEM).decode()
            if len(text) + len(pem) + _BESIDE > MESSAGE_BYTES:
                break
            text += pem
        return Message("ok", {}, text)

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
        message = Message("plain") if isEarly else _answerTo(handOver)
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
        self._control.send(_answerTo(handOver))
        self._go(Stage.UP)

    def heardAll(self, error: TunnelError | None) -> None:
        """
        The network says no more.
        """
        if self._stage is Stage.UP and not self._isTold:
            self._isTold = True
            self._control.send(_CLEAN_END if error is None else _endBy(error))

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


_CLEAN_END = Message("end", {"reason": CLOSED})


def _endBy(error: TunnelError) -> Message:
    fields = {"reason": error.reason}
    detail = detailOf(error)
    if detail:
        fields["detail"] = detail
    return Message("end", fields)


def _answerTo(handOver: HandOver) -> Message:
    """
    What a program is told once its peer is verified.
    """
    record = handOver.record
    return _answer(
        handOver.local,
        record.identity,
        handOver.name,
        record.version,
        record.suite,
        record.group,
        record.alpn,
        handOver.serverName,
    )


# Most programs hear the same again and again.
@lru_cache(maxsize=256)
def _answer(
    local: Identity | None,
    remote: Identity | None,
    name: str,
    version: str,
    suite: str,
    group: str,
    alpn: bytes,
    serverName: str,
) -> Message:
    fields = {
        "local": "" if local is None else str(local),
        "remote": "" if remote is None else str(remote),
        "name": name,
        "version": version,
        "suite": suite,
        "group": group,
        "alpn": printable(alpn.decode("latin-1")),
        "sni": printable(serverName),
    }
    return Message("ok", fields)
