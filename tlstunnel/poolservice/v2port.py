"""
Where programs connect that were written for the TLS Pool.
"""

from __future__ import annotations

import socket

from tlstunnel.address import Address
from tlstunnel.errors import TunnelError
from tlstunnel.local.callers import UNKNOWN, callerOf
from tlstunnel.local.quotas import Quotas
from tlstunnel.local.refusals import TooMany
from tlstunnel.poolservice.handovers import HandOvers
from tlstunnel.poolservice.unheard import Unheard
from tlstunnel.poolservice.v2control import ControlKeys
from tlstunnel.poolservice.v2program import V2Program

#: Control connections of one user, beyond the limit, that are open until their first request is
#: refused: to be closed before crashes programs.
MOST_TURNED_AWAY = 20


class V2Port:
    """
    Those of one service.

    @ivar handOvers: what their connections are handed to.
    @ivar quotas: how much each user may have.
    @ivar keys: how programs name their connections.
    @ivar programs: those that are connected.
    """

    def __init__(self, handOvers: HandOvers, quotas: Quotas) -> None:
        self.handOvers = handOvers
        self.quotas = quotas
        self.keys = ControlKeys()
        self.programs: set[V2Program] = set()
        self._turnedAway = Quotas(MOST_TURNED_AWAY)
        self._unheard = Unheard()

    def accepted(self, sock: socket.socket, peer: Address) -> None:
        """
        A program has connected.

        @param sock: non-blocking; ours from now on.
        """
        refusal: TunnelError | None = None
        caller = None
        uid = UNKNOWN
        try:
            caller = callerOf(sock)
            uid = caller.uid
            try:
                self.quotas.enter(uid)
            except TooMany as error:
                self._turnedAway.enter(uid)
                refusal = error
                self.handOvers.refusals.add(caller, error)
        except TunnelError as error:
            self.handOvers.refusals.add(caller, error)
            self._unheard.close(sock, uid)
            return
        try:
            self.programs.add(V2Program(self, sock, caller, refusal))
        except BaseException:
            # The system has no room for it.
            self._leave(uid, refusal is None)
            self._unheard.close(sock, uid)
            raise

    def left(self, program: V2Program, isCounted: bool) -> None:
        """
        C{program} is gone.
        """
        self.programs.discard(program)
        self._leave(program.caller.uid, isCounted)

    def _leave(self, uid: int, isCounted: bool) -> None:
        (self.quotas if isCounted else self._turnedAway).leave(uid)

    def close(self) -> None:
        """
        Close all control connections.
        """
        for each in tuple(self.programs):
            each.close()
