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
    unreachable,
)
from tlstunnel.identity.names import Identity
from tlstunnel.tunnel.description import Tunnel
from tlstunnel.tunnel.leased import wantedOf

#: Sends a question to the agent at a socket, and hears its answer; fails with L{Refusal}.
Ask = Callable[[Path, bytes], Awaitable[bytes]]


class _Gone(Refusal):
    """
    An agent has closed the connection.
    """


class _Connection(Protocol):
    """
    One connection, for one question after the other.

    @ivar isOpen: whether it is good for another one.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._reading = Reading(LARGEST_ANSWER)
        self._due: IDelayedCall | None = None
        self._answered: Deferred[bytes] | None = None
        self.isOpen = True

    def ask(self, asked: bytes) -> Deferred[bytes]:
        """
        Ask.

        @return: fires with the answer.
        """
        answered: Deferred[bytes] = Deferred(lambda _: self.close())
        self._answered = answered
        self._reading = Reading(LARGEST_ANSWER)
        self._due = self._reactor.callLater(ANSWER_SECONDS, self._tooLate)
        cast(Any, self.transport).write(asked)
        return answered

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
        self._fail(_Gone("it has closed the connection without an answer", "see its log"))

    def close(self) -> None:
        """
        Ask no more here.
        """
        self.isOpen = False
        self._rest()
        if self.transport is not None:
            cast(Any, self.transport).abortConnection()

    def _tooLate(self) -> None:
        self._due = None
        self._fail(Refusal(f"it has not answered within {ANSWER_SECONDS:g} s", "see its log"))

    def _fail(self, refusal: Refusal) -> None:
        answered = self._answered
        self.close()
        self._answered = None
        if answered is not None and not answered.called:
            answered.errback(Failure(refusal))

    def _tell(self, content: bytes) -> None:
        answered, self._answered = self._answered, None
        self._rest()
        if answered is not None and not answered.called:
            answered.callback(content)

    def _rest(self) -> None:
        due, self._due = self._due, None
        if due is not None:
            due.cancel()


class Asking:
    """
    Asks agents, over connections that are kept where an agent lets them stay, so that nobody who
    keeps an agent busy gets in between.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._idle: dict[Path, list[_Connection]] = {}

    async def __call__(self, agent: Path, asked: bytes) -> bytes:
        """
        Ask one.

        @raise Refusal: it has given no answer.
        """
        kept = self._kept(agent)
        if kept is not None:
            try:
                return await self._over(kept, agent, asked)
            except _Gone:
                # It has closed at this moment, or was another one.
                pass
        return await self._over(self._connected(agent), agent, asked)

    def close(self) -> None:
        """
        Keep no connection.
        """
        idle, self._idle = self._idle, {}
        for several in idle.values():
            for each in several:
                each.close()

    def _kept(self, agent: Path) -> _Connection | None:
        idle = self._idle.get(agent, [])
        while idle:
            found = idle.pop()
            if found.isOpen:
                return found
        return None

    def _connected(self, agent: Path) -> _Connection:
        connection = _Connection(self._reactor)
        with connected(agent) as sock:
            try:
                # It takes a descriptor of its own.
                self._reactor.adoptStreamConnection(
                    sock.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda: connection)
                )
            except OSError as error:
                raise unreachable(error) from None
        return connection

    async def _over(self, connection: _Connection, agent: Path, asked: bytes) -> bytes:
        answer = await connection.ask(asked)
        self._idle.setdefault(agent, []).append(connection)
        return answer


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
    ask = Asking(reactor)
    try:
        return await _fetched(reactor, tunnels, leases, ask)
    finally:
        ask.close()


async def _fetched(
    reactor: Any, tunnels: Iterable[Tunnel], leases: Leases, ask: Ask
) -> list[Lease]:
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
