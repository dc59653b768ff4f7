"""
The way to one server: connect, negotiate, shake hands, and no further.

These are the steps of a tunnel in client mode, taken by the same code.  There is no app: nothing of
anybody's is sent, and inside TLS nothing at all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from tlstunnel.address import Address, UNIXAddress
from tlstunnel.errors import TimedOut, TunnelError
from tlstunnel.interfaces import ILeg
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.destination import IDialler
from tlstunnel.net.linger import Linger
from tlstunnel.net.resolve import Directory
from tlstunnel.protocols.base import ClientRole
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.guards import SilenceBeforeApp, spokeFirst
from tlstunnel.tls.creators import Creator
from tlstunnel.tls.witness import Sight, Witness
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.observers import Observer, Observers
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.record import Record, Stage
from tlstunnel.tunnel.upgrade import Upgrade

#: What makes TLS to whoever was connected to.
Choice = Callable[[Address], Awaitable[Creator]]

#: Seconds that a server has behind the handshake: to greet, where it speaks first; to say at the
#: most that it wants a certificate (RFC 8446, appendix E.1.4), and that at the least; and to give
#: tickets.
GREETING_SECONDS, LONGEST_SECONDS, DEMAND_SECONDS, TICKET_SECONDS = 3.0, 2.0, 0.5, 0.2


@dataclass
class Ground:
    """
    What all connections of one probe have in common.
    """

    reactor: Any
    deadlines: Deadlines
    linger: Linger
    directory: Directory

    @classmethod
    def of(cls, reactor: Any) -> Ground:
        """On the clock of C{reactor}."""
        return cls(reactor, Deadlines(reactor), Linger(reactor), Directory(reactor))

    def leave(self) -> None:
        """There will be no more connections."""
        self.linger.closeAll()
        self.deadlines.clear()


@dataclass(frozen=True)
class Said:
    """
    Something that was said in clear.

    @ivar isOurs: whether we did.
    @ivar words: a line, or a part of one; raw and untrusted.
    """

    isOurs: bool
    words: bytes


@dataclass
class Outcome:
    """
    How far we came.

    @ivar record: of the connection, which is over.
    @ivar address: the server that was connected to; L{None} if none was.
    @ivar said: what was said in clear up to the switch.
    @ivar sight: what was shown in the handshake.
    @ivar inside: what the server has said inside TLS, unasked.
    @ivar error: why it did not come to TLS with a server that is who it has to be.
    """

    record: Record
    address: Address | None = None
    said: list[Said] = field(default_factory=list)
    sight: Sight = field(default_factory=Sight)
    inside: bytes = b""
    error: TunnelError | None = None

    @property
    def stage(self) -> Stage:
        """Where it ended."""
        return self.record.reached


class _Overhearing(Observer):
    """
    Keeps what is said in clear.
    """

    def __init__(self) -> None:
        self.heard: list[Said] = []

    def said(self, record: Record, isOurs: bool, words: bytes) -> None:
        """
        See L{IObserver.said}.
        """
        self.heard.append(Said(isOurs, words))


class _NoApp(Conversation):
    """
    Stands where the app would: it says nothing, and hears nothing.
    """

    def write(self, data: bytes) -> None:
        """
        There is nobody to be told.
        """


class Course:
    """
    One connection.
    """

    def __init__(
        self, ground: Ground, prepared: Prepared, dialler: IDialler, choose: Choice
    ) -> None:
        """
        @param choose: gives what makes TLS.
        """
        overhearing = _Overhearing()
        tunnel = prepared.tunnel
        self._ground = ground
        self._prepared = prepared
        self._dialler = dialler
        self._choose = choose
        self._leg: ILeg | None = None
        self._witness: Witness | None = None
        self._why: TunnelError | None = None
        self._running: Deferred[None] | None = None
        observers = Observers([overhearing])
        record = Record(
            ground.reactor, observers, "", Mode.CLIENT, tunnel.dialect.name, UNIXAddress("probe")
        )
        self._outcome = Outcome(record, said=overhearing.heard)

    async def run(self, listens: bool = True) -> Outcome:
        """
        Go, and come back.

        @param listens: whether to hear what a server says inside TLS that is who it has to be.
        """
        outcome = self._outcome
        self._running = Deferred.fromCoroutine(self._go(listens))
        try:
            await self._running
        except TunnelError as error:
            outcome.error = error.by("the server").bare()
        except CancelledError:
            if self._why is None:
                raise
            outcome.error = self._why.by("the server")
        finally:
            self._running = None
            if self._witness is not None:
                outcome.sight = self._witness.look()
            if self._leg is not None and not self._leg.isClosed:
                self._leg.loseConnection()
        outcome.record.end(outcome.error)
        return outcome

    def _cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()

    def _end(self, why: TunnelError) -> None:
        """
        The connection is lost while nobody reads.
        """
        if self._why is None:
            self._why = why
            self._ground.deadlines.after(0, self._cancel)

    async def _go(self, listens: bool) -> None:
        outcome, prepared = self._outcome, self._prepared
        tunnel, deadlines = prepared.tunnel, self._ground.deadlines
        upgrade = Upgrade(outcome.record, deadlines, tunnel.limits, self._cancel, self._end)
        role: ClientRole = tunnel.dialect.client(prepared.setting, deadlines)
        role.plain = _NoApp(deadlines)
        role.prepareAlone()
        self._leg = leg = await upgrade.dial(self._dialler)
        leg.who = "the server"
        outcome.address = leg.peer
        creator = await self._choose(leg.peer)
        upgrade.attach(role, leg)
        await upgrade.negotiate(tunnel.dialect, role)
        self._witness = Witness(creator)
        began = deadlines.clock.seconds()
        await upgrade.secure(leg, role.switch, self._witness)
        if listens:
            await self._listen(role, deadlines.clock.seconds() - began)

    async def _listen(self, role: ClientRole, took: float) -> None:
        """
        Hear what the server says inside TLS before it is asked anything: an alert, if it does not
        like how the handshake went; a greeting, if it is of those that greet; its tickets.

        @param took: seconds that the handshake took.
        """
        prepared, outcome = self._prepared, self._outcome
        assert self._witness is not None
        if prepared.tunnel.dialect.silentServer:
            await role.demandSilence()
        sight = self._witness.look()
        least = TICKET_SECONDS
        if sight.isAsked and not prepared.certificates:
            least = DEMAND_SECONDS
        seconds = min(LONGEST_SECONDS, max(least, 3 * took))
        if prepared.awaitsGreeting:
            seconds = GREETING_SECONDS
        try:
            with role.within(seconds, "hearing what comes"):
                outcome.inside = await role.readSome()
        except TimedOut:
            # Most have nothing to say.
            return
        isSilenceDue = any(isinstance(each, SilenceBeforeApp) for each in role.toPlain)
        if isSilenceDue and not role.isFarewell(outcome.inside):
            raise spokeFirst(outcome.inside)
