"""
Asking an agent for certificates while the reactor runs: nobody waits for it.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from tlstunnel.identity.leafrequest import LARGEST_ANSWER, Reading, Unreadable
from tlstunnel.identity.lease import (
    ANSWER_SECONDS,
    BUSY_SECONDS,
    LEASES,
    Lease,
    Leases,
    Refusal,
    Wanted,
    connected,
)
from tlstunnel.identity.names import Identity
from tlstunnel.tunnel.description import Tunnel
from tlstunnel.tunnel.leased import wantedOf

#: Sends a question to the agent at a socket, and hears its answer; fails with L{Refusal}.
Ask = Callable[[Path, bytes], Awaitable[bytes]]


class _Exchange(Protocol):
    """
    One question.

    @ivar answered: fires with the answer.
    """

    def __init__(self, reactor: Any, asked: bytes) -> None:
        self._reactor = reactor
        self._asked = asked
        self._reading = Reading(LARGEST_ANSWER)
        self._due: IDelayedCall | None = None
        self.answered: Deferred[bytes] = Deferred(lambda _: self._end())

    def connectionMade(self) -> None:
        """
        Ask.
        """
        self._due = self._reactor.callLater(ANSWER_SECONDS, self._tooLate)
        cast(Any, self.transport).write(self._asked)

    def dataReceived(self, data: bytes) -> None:
        """
        The agent says something.
        """
        try:
            self._reading.take(data)
        except Unreadable as error:
            self._fail(Refusal(f"it is no agent of ours: {error}", "see what listens there"))
        else:
            if self._reading.content is not None:
                self._tell(self._reading.content)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        It has closed.
        """
        self._fail(Refusal("it has closed the connection without an answer", "see its log"))

    def _tooLate(self) -> None:
        self._due = None
        self._fail(Refusal(f"it has not answered within {ANSWER_SECONDS:g} s", "see its log"))

    def _fail(self, refusal: Refusal) -> None:
        self._tell(Failure(refusal))

    def _tell(self, result: bytes | Failure) -> None:
        answered = self.answered
        self._end()
        if not answered.called:
            answered.callback(result)

    def _end(self) -> None:
        due, self._due = self._due, None
        if due is not None:
            due.cancel()
        if self.transport is not None:
            cast(Any, self.transport).abortConnection()


def asking(reactor: Any) -> Ask:
    """
    What asks agents on C{reactor}.
    """

    async def ask(agent: Path, asked: bytes) -> bytes:
        exchange = _Exchange(reactor, asked)
        with connected(agent) as sock:
            # It takes a descriptor of its own.
            reactor.adoptStreamConnection(
                sock.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda: exchange)
            )
        return await exchange.answered

    return ask


async def renewed(reactor: Any, ask: Ask, leases: Leases, agent: Path, identity: Identity) -> Lease:
    """
    Ask for a certificate, which is the latest one then; again, where the agent has no time.

    @raise Refusal: there is none.
    """
    until = reactor.seconds() + ANSWER_SECONDS
    while True:
        wanted = Wanted(agent, identity, reactor.seconds())
        try:
            lease = wanted.take(await ask(agent, wanted.question))
        except Refusal as refusal:
            if not refusal.isBusy or reactor.seconds() >= until:
                raise
            await deferLater(reactor, BUSY_SECONDS)
        else:
            leases.keep(lease)
            return lease


async def fetch(reactor: Any, tunnels: Iterable[Tunnel], leases: Leases = LEASES) -> list[Lease]:
    """
    Ask for what tunnels need and this process does not have, before they are prepared: then none
    waits for an agent.  What is not given is told where it is missed.

    @return: what was given, for somebody to hold until it is used.
    """
    ask = asking(reactor)
    held: list[Lease] = []
    silent: dict[Path, Refusal] = {}
    for tunnel in (side for each in tunnels for side in each.sides):
        for identity in wantedOf(tunnel):
            agent = tunnel.agent
            assert agent is not None
            known = leases.known(agent, identity)
            if known is not None:
                held.append(known)
                continue
            refusal = silent.get(agent)
            if refusal is None:
                try:
                    held.append(await renewed(reactor, ask, leases, agent, identity))
                    continue
                except Refusal as error:
                    refusal = error
                if not refusal.isAnswer:
                    silent[agent] = refusal
            leases.miss(agent, identity, refusal)
    return held
