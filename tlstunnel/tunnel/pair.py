"""
Two legs, from the first to the last of what becomes of them, whatever they are paired for.

A L{Pair} runs a coroutine that ends when the relay begins, closes what is left, and says how it
ended.  What happens in it, one class a mode, is in L{tlstunnel.tunnel.clientpair},
L{tlstunnel.tunnel.serverpair} and L{tlstunnel.tunnel.bridgepair}.
"""

from __future__ import annotations

from typing import ClassVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from tlstunnel.errors import (
    ConfigurationError,
    Expired,
    IdentityRefused,
    PlaintextAfterStartTLS,
    ServerSpokeFirst,
    Stopped,
    TunnelError,
    Withdrawn,
)
from tlstunnel.identity.names import Identity
from tlstunnel.identity.withdrawal import WithdrawnIdentity
from tlstunnel.interfaces import ILeg
from tlstunnel.net.deadlines import Deadline
from tlstunnel.net.destination import ISearch
from tlstunnel.net.waiting import Waiting
from tlstunnel.protocols.base import Role
from tlstunnel.tunnel.announcing import announce, headerOf
from tlstunnel.tunnel.channels import Channels
from tlstunnel.tunnel.pairs import Pairs
from tlstunnel.tunnel.record import RELAYING, Record
from tlstunnel.tunnel.relay import NOBODY, Relay
from tlstunnel.tunnel.story import Story
from tlstunnel.tunnel.upgrade import Upgrade

#: After these a peer is not to be told anything any more, and no other place is tried.
ATTACKS = (PlaintextAfterStartTLS, ServerSpokeFirst)


class Pair(Story):
    """
    Two legs that belong together; what happens to them is in L{serve}, one class a mode.

    @cvar accepts: what the log calls whoever connects to us.
    @cvar dials: what it calls whom we connect to.
    @ivar record: what is known of the connection.
    @ivar accepted: the leg that was accepted.
    @ivar dialled: the other one, once it is connected.
    @ivar prepared: what it was begun with.
    @ivar dialler: likewise.
    @ivar diallers: likewise.
    @ivar search: what dials, once anything is dialled.
    @ivar network: which of them carries TLS.
    @ivar role: what speaks on the network leg, until the relay begins.
    @ivar relay: what joins them, in the end.
    @ivar channels: data connections that belong to them, if the dialect has such.
    """

    __slots__ = (
        "_dues",
        "_header",
        "_isLeaving",
        "_why",
        "accepted",
        "channels",
        "dialled",
        "dialler",
        "diallers",
        "factory",
        "network",
        "prepared",
        "record",
        "relay",
        "role",
        "search",
    )

    _log = Logger()

    accepts: ClassVar[str]
    dials: ClassVar[str]

    def __init__(self, factory: Pairs, accepted: ILeg, record: Record) -> None:
        super().__init__()
        accepted.who = self.accepts
        self.record = record
        self.accepted = accepted
        self.dialled: ILeg | None = None
        self.network: ILeg | None = None
        self.role: Role | None = None
        self.relay: Relay | None = None
        self.channels: Channels | None = None
        self.factory = factory
        # Whatever is renewed meanwhile, it goes on as it began.
        self.prepared = factory.prepared
        self.dialler = factory.dialler
        self.diallers = factory.diallers
        self.search: ISearch | None = None
        self._header = b""
        # What is due before the relay is over, or never.
        self._dues: list[Deadline] | None = None
        self._why: TunnelError | None = None
        # Whether both legs are closed, and the program behind one of them is still there.
        self._isLeaving = False

    def start(self) -> None:
        """
        Let it happen.
        """
        self._tell(self._run())

    def end(self, why: TunnelError) -> None:
        """
        End both legs, whatever is going on.
        """
        if self._isLeaving:
            # What is waited for is the program behind the leg that was dialled.
            assert self.search is not None
            self.search.end(isHurried=True)
        elif self._why is None:
            self._why = why
            # In a turn of its own: what is going on may be what called us.
            self.factory.deadlines.after(0, self._end)

    def endNow(self, why: TunnelError) -> None:
        """
        The same at once, where nothing is going on, and there may be no other turn.
        """
        self.end(why)
        self._end()

    def _end(self) -> None:
        if self._why is not None:
            self._cancel()

    @property
    def speaker(self) -> str:
        """
        Who is being heard, or dialled, where an error does not say whom it is about.
        """
        return self.accepts if self.search is None else self.dials

    async def serve(self, upgrade: Upgrade) -> Waiting[TunnelError | None]:
        """
        All up to the relay, in the order in which it happens.

        @return: fires at the relay's end, with the reason if that was not clean.
        """
        raise NotImplementedError

    async def _run(self) -> None:
        """
        The story: serve until the relay begins, whatever comes.
        """
        factory = self.factory
        tunnel = self.prepared.tunnel
        upgrade = Upgrade(self.record, factory.deadlines, tunnel.limits, self._cancel, self.end)
        error: TunnelError | None
        try:
            relaying = await self.serve(upgrade)
        except TunnelError as ended:
            error = ended.by(self.speaker)
        except CancelledError:
            error = self._why
            assert error is not None
        except WithdrawnIdentity as why:
            error = Withdrawn(str(why))
        except ConfigurationError as problem:
            error = IdentityRefused(str(problem))
        except Exception:  # noqa: BLE001 - a bug of ours must not spread
            error = self._fault()
        else:
            # Most connections spend their time relaying: nothing of the negotiation is kept.
            self.role = None
            del self._story
            self._running = relaying
            relaying.tell(self._relayed)
            return
        try:
            self._letGo()
        finally:
            self._close(error)

    def _fault(self, failure: Failure | None = None) -> TunnelError:
        """
        Log what must not happen.

        @param failure: by default what is being handled.
        @return: how the connection ends.
        """
        self._log.failure(
            "a connection from {peer} failed",
            failure,
            peer=self.record.peer,
            tunnel=self.record.tunnel or None,
        )
        return TunnelError("see the traceback above")

    def leave(self, error: TunnelError, role: Role | None = None) -> None:
        """
        Forget the leg that was dialled, as another place is tried.

        @param role: what spoke on it.
        """
        error.bare()
        if self._why is error:
            # Its loss was told twice.
            self._why = None
        leg, self.dialled = self.dialled, None
        self.record.backend = None
        if role is not None:
            role.whenLost = None
            role.letGo()
        if leg is not None:
            leg.speaker = NOBODY
            if not leg.isClosed:
                leg.loseConnection()
        if self.channels is not None:
            self.channels.close()
            self.channels = None

    def _letGo(self) -> None:
        """
        Refer to nothing any more that refers to us: whoever fails many connections would fill the
        memory with what is left of them, until somebody looks for circles.
        """
        self._forgetDues()
        if self.role is not None:
            self.role.letGo()
            self.role = None
        del self._story
        for leg in (self.accepted, self.dialled):
            if leg is not None:
                leg.speaker = NOBODY

    def _relayed(self, error: TunnelError | None) -> None:
        """
        Both legs are closed: wait for what belongs to them.
        """
        if self._dues is not None:
            self._forgetDues()
        if self.channels is None or error is not None or self._why is not None:
            self._close(error or self._why)
            return
        self._running = Deferred.fromCoroutine(self.channels.finish())
        self._running.addCallbacks(lambda _: self._close(self._why), self._unfinished)

    def _unfinished(self, failure: Failure) -> None:
        """
        Nothing belongs to them any more, but not because it has arrived.
        """
        self._close(self._why if failure.check(CancelledError) else self._fault(failure))

    def _close(self, error: TunnelError | None) -> None:
        """
        Close what is left, and give the place back, whatever happens at that.
        """
        self._running = None
        if error is not None:
            error.bare()
        ending: Deferred[None] | None = None
        try:
            self._closeLegs(error)
            if self.search is not None:
                ending = self.search.end(isHurried=isinstance(error, Stopped))
        except Exception:  # noqa: BLE001 - a bug of ours must not spread
            error = self._fault()
        if ending is None:
            self.factory.ended(self, error)
        else:
            # A program keeps its place until it has ended.
            self._isLeaving = True
            ending.addCallback(lambda _: self.factory.ended(self, error))

    def _closeLegs(self, error: TunnelError | None) -> None:
        if self.channels is not None:
            self.channels.close()
        for leg in (self.accepted, self.dialled):
            if leg is not None and not leg.isClosed:
                if leg is self.network and isinstance(error, ATTACKS):
                    leg.abortConnection()
                else:
                    leg.loseConnection()

    # What the stories are told with

    def prepareHeader(self) -> None:
        """
        Know what whoever is dialled is told first, if anything.

        @raise TunnelError: it cannot be said.
        """
        proxyOut = self.prepared.proxyOut
        if proxyOut is not None:
            self._header = headerOf(proxyOut, self.record, self.accepted)

    def announce(self, leg: ILeg) -> None:
        """
        Tell it to whoever was dialled.

        @raise TunnelError: it is not heard.
        """
        if self._header:
            self.record.isAnnounced = True
            announce(self._header, leg)

    def openChannels(self, role: Role) -> None:
        """
        Let C{role} have data connections, if it is of that kind.
        """
        if self.prepared.tunnel.dialect.opensChannels:
            role.channels = self.channels = self.factory.channels(self)

    def join(
        self, role: Role, rest: bytes = b"", plainEnded: bool = False
    ) -> Waiting[TunnelError | None]:
        """
        Let both legs be one connection.

        @param rest: what the plain leg has given already.
        @param plainEnded: whether that was all.
        @return: fires at its end, with the reason if that was not clean.
        """
        network = self.network
        plain = self.dialled if network is self.accepted else self.accepted
        assert network is not None and plain is not None
        limits = self.prepared.tunnel.limits
        self._header = b""
        self.record.advance(RELAYING)
        self.relay = Relay(
            network,
            plain,
            role.toNetwork,
            role.toPlain,
            self.factory.deadlines,
            limits.close,
            limits.closeTotal,
            limits.idle or None,
        )
        if self.channels is not None:
            self.relay.beside = lambda: self._movedBeside
        self.joined(self.relay)
        role.letGo()
        ending = self.relay.start(role.takeRest(), rest, role.inputEnded, plainEnded)
        if limits.lifetime and not ending.called:
            expired = Expired(f"it lasted {limits.lifetime:g} s")
            self.endAfter(limits.lifetime, expired)
        return ending

    def endAfter(self, seconds: float, why: TunnelError) -> Deadline:
        """
        End both legs in C{seconds}, unless the relay is over by then.
        """
        due = self.factory.deadlines.after(seconds, lambda: self.end(why))
        self._dues = [*(self._dues or ()), due]
        return due

    def _forgetDues(self) -> None:
        dues, self._dues = self._dues, None
        for due in dues or ():
            due.cancel()

    def joined(self, relay: Relay) -> None:
        """
        The legs are joined, and nothing has passed yet.
        """

    @property
    def _movedBeside(self) -> int:
        return self.channels.moved if self.channels is not None else 0

    @property
    def ours(self) -> list[Identity]:
        """
        Who we are on them, where that is an identity of ours; nobody once both are closed.
        """
        if self._isLeaving:
            return []
        sessions = [each.session for each in (self.accepted, self.dialled) if each is not None]
        return [each.ours for each in sessions if each is not None and each.ours is not None]

    @property
    def moved(self) -> int:
        """
        A number that grows as anything moves.
        """
        moved: int = self.accepted.received + self.accepted.sent + self._movedBeside
        return moved
