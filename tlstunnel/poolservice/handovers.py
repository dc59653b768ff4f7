"""
All connections that programs have handed over: what L{tlstunnel.proxy.ProxyFactory} is for those
that a tunnel accepts.

It decides who is shown to whom, and counts; protocols between us and programs are not its business.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tlstunnel.address import Address, UNIXAddress, addressOf
from tlstunnel.errors import ConfigurationError, Stopped, TunnelError
from tlstunnel.identity.disclosure import NotDisclosed, NotYours, whomToShow
from tlstunnel.identity.names import Identity, Kind
from tlstunnel.identity.users import mayUse, usable, whyNot
from tlstunnel.interfaces import ILeg, IObserver
from tlstunnel.local.refusals import TooMany
from tlstunnel.net.deadlines import Deadline, Deadlines
from tlstunnel.net.kernel import tune
from tlstunnel.net.leg import Leg
from tlstunnel.net.linger import Linger
from tlstunnel.net.unixleg import UNIXLegs
from tlstunnel.poolservice.description import NAME, PoolDescription
from tlstunnel.poolservice.handed import HandedLeg
from tlstunnel.poolservice.handover import HandOver
from tlstunnel.poolservice.interfaces import IProgram
from tlstunnel.poolservice.preparations import Preparations
from tlstunnel.poolservice.refusallog import ProgramRefusals
from tlstunnel.poolservice.refusals import (
    BadPool,
    Leaving,
    NoRemote,
    NotConnected,
    NotForCaller,
    Undisclosed,
)
from tlstunnel.poolservice.turns import UserTurns
from tlstunnel.poolservice.wanted import Wanted
from tlstunnel.tunnel.admission import Admission
from tlstunnel.tunnel.channels import Channels
from tlstunnel.tunnel.connectionlog import ConnectionLog
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.observers import Observers
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.record import Record
from tlstunnel.tunnel.withdrawal import Closing

#: Seconds between looks at who is withdrawn, where connections end by that.
LOOK_SECONDS = 1.0

#: Identities among which a client may choose by SNI where the program names none.
CHOICE = 1000


class HandOvers:
    """
    Those of one service.

    @ivar description: the service as new connections are served.
    @ivar linger: closes the sockets of its connections where that may not be done at once.
    @ivar unixLegs: makes the plain legs that are UNIX sockets.
    @ivar admission: how many are let in.
    @ivar open: the connections there are.
    @ivar refusals: where it is told what programs did not get.
    @ivar spellings: how certificates spell whom they are for, by their fingerprints.
    @ivar idle: called when the last of them has ended, if anything is to be.
    @ivar accepts: whether there may be new ones.
    """

    def __init__(
        self,
        description: PoolDescription,
        reactor: Any,
        observers: Sequence[IObserver] | None = None,
        deadlines: Deadlines | None = None,
    ) -> None:
        """
        @param observers: told of every connection; by default one that logs its end, unless the
            service is quiet.
        @raise ConfigurationError: what the service needs is missing or wrong.
        """
        self.reactor = reactor
        self.deadlines = deadlines or Deadlines(reactor)
        self.linger = Linger(reactor)
        self.unixLegs = UNIXLegs(reactor, self.linger, self.deadlines)
        self.open: set[HandOver] = set()
        self.spellings: dict[tuple[bytes, Identity], str] = {}
        self.refusals = ProgramRefusals(self.deadlines, NAME)
        self.idle: Callable[[], None] | None = None
        self.accepts = True
        self._closing = Closing(lambda: self.open)
        self._look: Deadline | None = None
        self._turns = UserTurns(reactor)
        self.admission = Admission(description.limits, lambda isFull: None, NAME)
        if observers is None:
            observers = () if description.quiet else (ConnectionLog(),)
        self.ready(description)
        self.use(description, observers)

    def ready(self, description: PoolDescription) -> None:
        """
        Get ready to serve by C{description}.

        @raise ConfigurationError: that cannot be; nothing has changed.
        """
        description.pool.checkPlace()
        # Looks whether it is there.
        next(description.pool.identities(), None)
        self.unixLegs.open("pool-service")

    def use(
        self, description: PoolDescription, observers: Sequence[IObserver] | None = None
    ) -> None:
        """
        Serve new connections from now on by what we are ready for; the files of the pool are read
        for each that needs them, in any case.  This cannot fail.

        @param observers: told of them; by default those that were told before.
        """
        limits = description.limits
        self.description = description
        self.preparations = Preparations(self.reactor, description.pool, limits)
        self.unixLegs.renew(NAME, False, limits.idle)
        self.admission.renew(limits)
        if observers is not None:
            self._observers = Observers(tuple(observers))
        if self._look is not None:
            self._look.cancel()
        self._lookAtWithdrawn()

    def _lookAtWithdrawn(self) -> None:
        """
        End from time to time, where that is wanted, what was made as somebody who is withdrawn.
        """
        self._look = None
        if self.description.closesWithdrawn:
            self._closing.look(self.description.pool, self.deadlines)
            self._look = self.deadlines.after(LOOK_SECONDS, self._lookAtWithdrawn)

    @property
    def isBusy(self) -> bool:
        """
        Whether there are any.
        """
        return bool(self.open)

    @property
    def connections(self) -> int:
        """
        How many there are.
        """
        return len(self.open)

    def begin(
        self,
        program: IProgram,
        wanted: Wanted,
        sock: socket.socket,
        peer: Address | None = None,
    ) -> HandOver:
        """
        Serve a connection.

        @param sock: connected and non-blocking; ours from now on.
        @param peer: its other end, where that is known.
        @raise Refusal: it is not served, and C{sock} is still the caller's.  What that depends on
            may be read later, where there is much to be read: then that is how it ends.
        """
        if not self.accepts:
            raise Leaving("the pool service stops; try again when it has started anew")
        try:
            if peer is None:
                peer = addressOf(sock.getpeername())
            if not isinstance(peer, UNIXAddress):
                tune(sock, self.description.limits.keepAlive)
        except OSError as error:
            raise NotConnected(f"the connection is over: {error.strerror}") from None
        if self.admission.isFull:
            raise TooMany("there are as many connections as the limits of the pool allow")
        uid = program.caller.uid
        prepared = self._turns.take(uid, lambda: self._prepare(program, wanted))
        leg = HandedLeg(self.reactor, self.linger, sock, peer)
        handOver = HandOver(self, program, wanted, leg, self._record(wanted, peer))
        self.admission.enter()
        self.open.add(handOver)
        handOver.start(prepared)
        return handOver

    def _prepare(self, program: IProgram, wanted: Wanted) -> Prepared | Deferred[Prepared]:
        """
        What a connection is made with.

        @raise Refusal: it is not for this program.
        """
        try:
            if wanted.isClient:
                ready = self._prepareClient(program, wanted)
            else:
                ready = self.preparations.forServer(wanted, self._ours(program, wanted))
            return ready if isinstance(ready, Prepared) else _now(ready)
        except ConfigurationError as error:
            raise BadPool(str(error)) from None

    def _prepareClient(self, program: IProgram, wanted: Wanted) -> Prepared | Deferred[Prepared]:
        caller, remote = program.caller, wanted.remote
        if not isinstance(remote, Identity):
            raise NoRemote("a client has to say who must be at the other end: give remote")
        local = None
        if not wanted.isNobody:
            try:
                local = whomToShow(self.description.pool, caller, remote, wanted.local)
            except NotYours as error:
                raise NotForCaller(str(error)) from None
            except NotDisclosed as error:
                raise Undisclosed(str(error)) from None
        return self.preparations.forClient(wanted, local, caller.uid)

    def _ours(self, program: IProgram, wanted: Wanted) -> tuple[Identity, ...]:
        """
        Who a server may be.
        """
        pool, caller = self.description.pool, program.caller
        if wanted.local is not None:
            if not mayUse(pool, wanted.local, caller):
                raise NotForCaller(whyNot(pool, wanted.local, caller))
            return (wanted.local,)
        ours = tuple(usable(pool, caller))
        if not ours:
            raise NotForCaller(
                f"user {caller.uid} may use no identity of this pool; 'tlstunnel identity allow' "
                "lets it"
            )
        if len(ours) > 1:
            # A client asks for a host; a user's certificate is for none, and would be shown to all.
            ours = tuple(each for each in ours if each.kind is Kind.DOMAIN)
        if not ours:
            raise NotForCaller(
                f"user {caller.uid} may use no identity of a host: say which other with local"
            )
        if len(ours) > CHOICE:
            raise NotForCaller(
                f"user {caller.uid} may use {len(ours)} identities: say which with local"
            )
        return ours

    def _record(self, wanted: Wanted, peer: Address, kind: str = "") -> Record:
        mode = Mode.CLIENT if wanted.isClient else Mode.SERVER
        name = f"{wanted.dialect.name}{kind}"
        return Record(self.reactor, self._observers, NAME, mode, name, peer)

    def channels(self, handOver: HandOver, accepted: Leg, dialled: ILeg) -> Channels:
        """
        What opens the data connections of C{handOver}.

        @param accepted: its leg at whose end they are accepted.
        @param dialled: that to whose host they are made.
        @raise Closed: a leg is closed.
        """
        record = partial(self._record, handOver.wanted, kind="-data")
        return Channels(
            self.reactor,
            self.deadlines,
            self.linger,
            self.description.limits,
            record,
            accepted,
            dialled,
            handOver.network,
            tunnel=NAME,
        )

    def ended(self, handOver: HandOver, error: TunnelError | None) -> None:
        """
        C{handOver} is over.
        """
        self.open.discard(handOver)
        if handOver.record.isStranger:
            self.admission.verify()
        self.admission.leave()
        handOver.record.end(error)
        if self.idle is not None and not self.open:
            self.idle()

    def hurry(self) -> None:
        """
        Close all connections now.
        """
        for each in tuple(self.open):
            each.end(Stopped())

    def stop(self) -> Deferred[None]:
        """
        End all connections.

        @return: fires when none is left, and all that belongs to them is closed.
        """
        stopped: Deferred[None] = Deferred()
        before = self.idle

        def idle() -> None:
            self.idle = before
            self.linger.closeAll()
            self.unixLegs.closeAll()
            self.deadlines.clear()
            stopped.callback(None)
            if before is not None:
                before()

        self.idle = idle
        self.hurry()
        if not (self.open or stopped.called):
            idle()
        return stopped


def _now(ready: Deferred[Prepared]) -> Prepared | Deferred[Prepared]:
    """
    What C{ready} has fired with, if it has.

    @raise ConfigurationError: that is why it failed.
    """
    found: list[Prepared | Failure] = []
    if ready.called:
        ready.addBoth(found.append)
    for each in found:
        if isinstance(each, Failure):
            each.raiseException()
        return each
    return ready
