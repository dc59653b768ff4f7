"""
The pool's own protocol: what programs ask, and what they are told.

A control connection serves one connection that is handed over::

    -> tls  role= remote= local= client= starttls= service= alpn= minimum= timeout= plain=
            with the connected socket                  (L{tlstunnel.poolservice.request})
    <- ok   local= remote= name= version= suite= group= alpn= sni=   with the plaintext socket
    <- error  reason= detail=
    -> export  label= [context=HEX] length=            <- ok  material=HEX
    -> certificate                                     <- ok, an empty line, PEM, the peer's first
    -> hello                                           <- ok  server= verbs=
    <- end  reason=                 unasked, once

C{ok} has all its fields, which are empty for what there is not: C{local=} for nobody, C{remote=}
for a client that has shown no certificate.

With C{starttls=mysql} or C{nats}, the program is needed before TLS, as its first words are part of
what leads up to that.  It gets its plaintext socket by a message C{plain} then, without any field,
and C{ok} comes later, without a socket.  Whatever the program says or hears on that socket before
C{ok} is with a peer of whom nothing is known, as it is for a backend of a tunnel.

Ends
====

C{end} comes when the network says no more: C{reason=closed} if the peer has ended it as it should,
else C{truncated}, C{reset}, or another word of L{tlstunnel.errors}.  The program may go on to send,
and it gets C{end} also where it has closed the plaintext socket already.  To close the control
connection ends nothing once C{ok}, or C{plain}, is there; before that, nobody could get the
plaintext any more, so the connection is ended.

Where data was cut, a plaintext socket of TCP is reset.  A UNIX socket is too, if the program has
said something on it (L{tlstunnel.net.unixwire}); one on which it only reads could not be, and is
closed, as C{end} tells that what it got is not all.  Whoever has closed the control connection is
not told, so for him the socket is held as for a backend (L{tlstunnel.net.hold}): it does not end.
"""

from __future__ import annotations

import socket

from tlstunnel.address import Address
from tlstunnel.errors import TunnelError
from tlstunnel.local.callers import UNKNOWN, callerOf
from tlstunnel.local.closing import Closings
from tlstunnel.local.quotas import Quotas, share
from tlstunnel.local.refusals import Refusal
from tlstunnel.poolservice.control import Control, errorMessage
from tlstunnel.poolservice.handovers import HandOvers
from tlstunnel.poolservice.messages import Message
from tlstunnel.poolservice.nativeprogram import NativeProgram
from tlstunnel.poolservice.unheard import Unheard

#: Who has too much already, and is told so; if there are more of them at the same time, they are
#: not.
TURNED_AWAY = 100


class NativePrograms:
    """
    All programs that speak the pool's own protocol with one service.

    @ivar handOvers: where what they hand over goes to.
    @ivar quotas: how much each user may have.
    @ivar open: the programs there are.
    """

    def __init__(self, handOvers: HandOvers, quotas: Quotas) -> None:
        self.handOvers = handOvers
        self.quotas = quotas
        self.open: set[NativeProgram] = set()
        self._turnedAway: set[_TurnedAway] = set()
        self._unheard = Unheard()

    def accepted(self, sock: socket.socket, peer: Address) -> None:
        """
        A program has connected.

        @param sock: of SOCK_SEQPACKET, non-blocking; ours from now on.
        """
        uid = UNKNOWN
        caller = None
        try:
            caller = callerOf(sock)
            uid = caller.uid
            self.quotas.enter(uid)
        except Refusal as error:
            self.handOvers.refusals.add(caller, error)
            if len(self._turnedAway) < min(TURNED_AWAY, share()):
                closings = Closings() if uid == UNKNOWN else self.quotas.closingsOf(uid)
                self._turnedAway.add(
                    _TurnedAway(self.handOvers, sock, error, self._turnedAway, closings)
                )
            else:
                self._unheard.close(sock, uid)
            return
        program = NativeProgram(self, sock, caller)
        self.open.add(program)
        try:
            program.start()
        except BaseException:
            # The system has no room for it; what it takes of its user is given back.
            program.close()
            raise

    def left(self, program: NativeProgram) -> None:
        """
        Nothing is left of C{program}.
        """
        self.open.discard(program)
        self.quotas.leave(program.caller.uid)

    def close(self) -> None:
        """
        Close all control connections; what was handed over on them goes on.
        """
        for program in tuple(self.open):
            program.close()
        for each in tuple(self._turnedAway):
            each.close()


class _TurnedAway:
    """
    A program that is not served, and is told why as soon as it has asked.
    """

    def __init__(
        self,
        handOvers: HandOvers,
        sock: socket.socket,
        error: Refusal,
        others: set[_TurnedAway],
        closings: Closings,
    ) -> None:
        self._error = error
        self._others = others
        self._control = Control(handOvers.reactor, handOvers.deadlines, sock, self, closings)
        self._control.start()

    def received(self, message: Message, descriptors: list[int]) -> None:
        """
        It has asked, whatever that was.
        """
        self._control.send(errorMessage(self._error))
        self._control.close()

    def refused(self, error: TunnelError) -> None:
        """
        What it has asked is wrong besides.
        """

    def close(self) -> None:
        """
        Say nothing.
        """
        self._control.close()

    def gone(self) -> None:
        """
        It has not waited for it, or has the answer.
        """

    def closed(self) -> None:
        """
        Nothing is left of it.
        """
        self._others.discard(self)
