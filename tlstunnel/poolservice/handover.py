"""
One connection that a program has handed over: who it is for, and what becomes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cryptography import x509
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tlstunnel.address import TCPAddress
from tlstunnel.errors import Closed, ConfigurationError, TimedOut, TunnelError
from tlstunnel.identity.names import Identity
from tlstunnel.identity.spelling import spellingOf
from tlstunnel.interfaces import ILeg
from tlstunnel.net.deadlines import Deadline
from tlstunnel.net.destination import IDestination, ISearch
from tlstunnel.net.leg import Leg
from tlstunnel.poolservice.interfaces import IProgram
from tlstunnel.poolservice.refusals import BadPool, BadRequest
from tlstunnel.poolservice.stories import HandedClient, HandedServer
from tlstunnel.poolservice.wanted import Wanted
from tlstunnel.tls.channelbinding import ChannelBinding
from tlstunnel.tunnel.channels import Channels
from tlstunnel.tunnel.pair import Pair
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.record import Record
from tlstunnel.tunnel.servedname import Addresses

if TYPE_CHECKING:
    from tlstunnel.poolservice.handovers import HandOvers
    from tlstunnel.tunnel.dane import TLSALookup
    from tlstunnel.tunnel.relay import Relay


#: Certificates of which it is kept how they spell whom they are for.
SPELLINGS_KEPT = 1000


@implementer(ISearch)
class _Meeting:
    """
    The way of one connection to its program.
    """

    __slots__ = ("_handOver",)

    isOver = True

    def __init__(self, handOver: HandOver) -> None:
        self._handOver = handOver

    async def dial(self) -> ILeg:
        """
        See L{tlstunnel.net.destination.IDialler.dial}.
        """
        return await self._handOver.meet()

    def failed(self, error: TunnelError, isItsFault: bool = True) -> bool:
        """
        See L{ISearch.failed}: there is nobody else.
        """
        return False

    def served(self) -> None:
        """
        See L{ISearch.served}.
        """

    def end(self, isHurried: bool = False) -> None:
        """
        See L{ISearch.end}: what the program does from here on is its own business.
        """


@implementer(IDestination)
class HandOver:
    """
    One of them.

    It makes the one pair of its connection, and is where that dials: the program itself is at the
    other end.

    @ivar program: who has handed it over.
    @ivar wanted: what for.
    @ivar network: its leg.
    @ivar record: what is known of it.
    @ivar local: who we are to its peer; C{None} for nobody, and as long as that is not known.
    """

    _log = Logger()

    prepared: Prepared

    def __init__(
        self, owner: HandOvers, program: IProgram, wanted: Wanted, network: Leg, record: Record
    ) -> None:
        self.deadlines = owner.deadlines
        self.program = program
        self.wanted = wanted
        self.network = network
        self.record = record
        self.local: Identity | None = None
        self._owner = owner
        self._pair: Pair | None = None
        self._preparing: Deferred[Prepared] | None = None
        self._due: Deadline | None = None
        self._isMet = self._isHeard = self._isOver = False

    # Its course

    def start(self, prepared: Prepared | Deferred[Prepared]) -> None:
        """
        Begin, with what it is made with, or will be.
        """
        seconds = self.wanted.seconds
        if seconds is not None:
            self._due = self.deadlines.after(seconds, self._late)
        if isinstance(prepared, Prepared):
            self._tell(prepared)
        else:
            self._preparing = prepared
            prepared.addCallbacks(self._tell, self._unprepared)

    def _late(self) -> None:
        limit = f"after {self.wanted.seconds:g} s, which is all that the program gives it"
        self.end(TimedOut(f"it was still {self.record.stage.value} {limit}"))

    def _tell(self, prepared: Prepared) -> None:
        """
        Let its story happen.
        """
        self._preparing = None
        if self._isOver:
            return
        self.prepared = prepared
        story = HandedClient if self.wanted.isClient else HandedServer
        try:
            self._pair = story(self, self.network, self.record)
            self._pair.start()
        except Exception:  # noqa: BLE001 - a bug of ours must not keep the program waiting
            self._log.failure("a handed connection could not be begun with")
            self._abandon(TunnelError("see the log of the pool service"))

    def _unprepared(self, failure: Failure) -> None:
        self._preparing = None
        error = failure.value
        if isinstance(error, TunnelError):
            self._abandon(error)
        elif isinstance(error, ConfigurationError):
            self._abandon(BadPool(str(error)))
        elif not failure.check(CancelledError):
            # A bug of ours must not keep the program waiting.
            self._log.failure("a handed connection could not be prepared", failure)
            self._abandon(TunnelError("see the log of the pool service"))

    def end(self, why: TunnelError) -> None:
        """
        End it, whatever is going on; nothing happens where that is over.
        """
        if self._pair is not None:
            self._pair.end(why)
        else:
            self._abandon(why)

    def _abandon(self, error: TunnelError) -> None:
        """
        There will be no story.
        """
        if self._isOver:
            return
        preparing, self._preparing = self._preparing, None
        self.network.abortConnection()
        self._finish(error)
        if preparing is not None:
            preparing.cancel()

    def _finish(self, error: TunnelError | None) -> None:
        self._isOver = True
        # What refers to each other in a circle would wait for the garbage collector.
        self._pair = None
        if self._due is not None:
            self._due.cancel()
        self._hear(error)
        self._owner.ended(self, error)
        self.program.ended(self, error)

    def _hear(self, error: TunnelError | None) -> None:
        """
        Tell the program how the network has ended, once.
        """
        if not self._isHeard:
            self._isHeard = True
            self.program.heardAll(error)

    @property
    def ours(self) -> tuple[Identity, ...]:
        """
        Who we are to its peer, where that is known and somebody.
        """
        return () if self.local is None else (self.local,)

    # What is looked at while the service stops

    @property
    def moved(self) -> int:
        """
        How many bytes have moved on it.
        """
        return 0 if self._pair is None else self._pair.moved

    @property
    def relay(self) -> Relay | None:
        """
        What joins its legs, if they are joined.
        """
        return None if self._pair is None else self._pair.relay

    # What its pair needs of it; see tlstunnel.tunnel.pairs

    @property
    def dialler(self) -> IDestination:
        """
        Where it goes to: to the program.
        """
        return self

    @property
    def diallers(self) -> Mapping[Addresses, IDestination]:
        """
        There is no other place.
        """
        return {(): self}

    def verified(self, pair: Pair) -> None:
        """
        The peer is who it should be.
        """
        if self._due is not None:
            self._due.cancel()
            self._due = None
        self.local = self._whoWeAre()
        self._owner.admission.verify()
        if self._isMet:
            self.program.verified(self)

    def _whoWeAre(self) -> Identity | None:
        tunnel = self.prepared.tunnel
        session = self.network.session
        if self.wanted.isClient and session is not None and not session.isAsked:
            return None
        if session is None or session.face is None or not tunnel.otherIDs:
            return tunnel.localID
        shown = session.face.certificate
        ours = self.prepared.certificates.items()
        return next((each for each, certificate in ours if certificate == shown), tunnel.localID)

    def heardAll(self, leg: ILeg) -> None:
        """
        A leg has ended cleanly.
        """
        if leg is self.network:
            self._hear(None)

    def tlsa(self, resolver: TCPAddress) -> TLSALookup:
        """
        Nothing of a pool is looked up there.
        """
        raise NotImplementedError

    def channels(self, pair: Pair) -> Channels:
        """
        What opens its data connections: at the program's end, on the loopback interface.

        @raise Closed: a leg is closed.
        @raise BadRequest: the program has no address there.
        """
        plain = pair.dialled
        assert isinstance(plain, Leg)
        if not plain.peer.host:
            raise BadRequest(
                f"{self.wanted.dialect.name} has data connections, which need plain=tcp"
            )
        accepted, dialled = (plain, self.network) if self.wanted.isClient else (self.network, plain)
        return self._owner.channels(self, accepted, dialled)

    def ended(self, pair: Pair, error: TunnelError | None) -> None:
        """
        Both legs are closed.
        """
        self._finish(error)

    def search(self, record: Record, accepted: ILeg) -> ISearch:
        """
        See L{IDestination.search}: there is one place.
        """
        return _Meeting(self)

    async def meet(self) -> ILeg:
        """
        Ask the program for its leg.
        """
        self._isMet = True
        return await self.program.plain(self)

    # What there is to know

    @property
    def meetsEarly(self) -> bool:
        """
        Whether the program is met before its peer is verified.
        """
        tunnel = self.prepared.tunnel
        return tunnel.dialect.dialsEarly(tunnel.options)

    @property
    def name(self) -> str:
        """
        What the certificate has for whom the peer has proved to be; empty for nobody.
        """
        identity, session = self.record.identity, self.network.session
        if identity is None or session is None or session.proof is None:
            return ""
        # To read the certificate again costs more than all the rest of an answer.
        spellings, key = self._owner.spellings, (session.proof.leaf, identity)
        found = spellings.get(key)
        if found is None:
            certificate = self.record.certificate
            if certificate is None:
                return ""
            if len(spellings) >= SPELLINGS_KEPT:
                spellings.clear()
            found = spellings[key] = spellingOf(certificate, identity)
        return found

    @property
    def serverName(self) -> str:
        """
        The name that was asked for with SNI, by whichever side is the client; raw, and empty for
        none.
        """
        remote = self.wanted.remote
        if self.wanted.isClient and isinstance(remote, Identity) and self.record.isVerified:
            return remote.domain if remote.isHost else ""
        return self.record.serverName

    @property
    def binding(self) -> ChannelBinding:
        """
        What both ends know alone.

        @raise Closed: there is no TLS any more, or yet.
        """
        found = self.network.channelBinding
        if found is None:
            raise Closed("there is no TLS on this connection")
        return found

    def certificates(self) -> list[x509.Certificate]:
        """
        What the peer was verified by, its own first; nothing where it has shown nothing, or the
        connection is over.
        """
        certificate = self.record.certificate
        return [] if certificate is None else [certificate, *self.record.chain]

    @property
    def ownCertificate(self) -> x509.Certificate | None:
        """
        What we have shown, if we have.
        """
        return None if self.local is None else self.prepared.certificates.get(self.local)
