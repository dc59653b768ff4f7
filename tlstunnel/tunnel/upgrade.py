"""
What leads one leg to TLS with a verified peer: dial, negotiate, switch, each within its limit.

There need be no other leg.  Whoever serves a connection, opens a data connection, or only wants to
see how a server does it, takes these steps in the order that its side of the protocol has.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tlstunnel.errors import TunnelError
from tlstunnel.interfaces import IDialect, ILeg
from tlstunnel.net.deadlines import Deadlines, TimeLimit
from tlstunnel.net.destination import IDialler
from tlstunnel.protocols.base import ClientRole, Role
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.tls.creators import Creator
from tlstunnel.tls.messages import Overheard
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.record import CONNECTING, HANDSHAKING, NEGOTIATING, Record
from tlstunnel.tunnel.transcript import Transcript


class Upgrade:
    """
    The steps of one connection.

    Every step raises a L{TunnelError} where it fails, and L{TimedOut} where it takes too long.

    @ivar record: where it is noted how far the connection has come.
    """

    __slots__ = ("_cancel", "_deadlines", "_dialsUntil", "_end", "_limits", "record")

    def __init__(
        self,
        record: Record,
        deadlines: Deadlines,
        limits: Limits,
        cancel: Callable[[], object],
        end: Callable[[TunnelError], None],
    ) -> None:
        """
        @param cancel: cancels what the steps are awaited in.
        @param end: called when a leg is lost while nobody reads from it.
        """
        self.record = record
        self._deadlines = deadlines
        self._limits = limits
        self._cancel = cancel
        self._end = end
        self._dialsUntil = 0.0

    def within(self, seconds: float, what: str) -> TimeLimit:
        """
        A block that has to end in time.
        """
        return self._deadlines.within(seconds, what, self._cancel)

    def attach(self, conversation: Conversation, leg: ILeg) -> None:
        """
        Let C{conversation} speak on C{leg}.
        """
        conversation.whenLost = self._end
        leg.speaker = conversation
        conversation.transport = leg
        conversation.connectionMade()

    async def dial(self, dialler: IDialler) -> ILeg:
        """
        Connect.
        """
        self.record.advance(CONNECTING)
        with self.within(self._limits.connectTotal, "connecting") as limit:
            self._dialsUntil = self._dialsUntil or limit.due
            leg = await dialler.dial()
        self.record.backend = leg.peer
        return leg

    @property
    def mayDial(self) -> bool:
        """
        Whether there is time to connect to another place: all of them share the limit of one.
        """
        return self._deadlines.clock.seconds() < self._dialsUntil

    async def negotiate(self, dialect: IDialect, role: Role) -> None:
        """
        Say and hear what leads up to TLS, if anything does.

        @param role: one of those of C{dialect}.
        """
        if not dialect.talks:
            return
        self.record.advance(NEGOTIATING)
        role.accepted = self.record.peer
        if self.record.isOverheard:
            role.transcript = Transcript(self.record)
        try:
            if isinstance(role, ClientRole):
                with self.within(self._limits.greeting, "the greeting"):
                    await role.readGreeting()
            seconds = dialect.negotiationSeconds or self._limits.negotiation
            with self.within(seconds, "the negotiation"):
                await role.negotiate()
        finally:
            transcript = role.transcript
            if transcript is not None:
                # What comes behind the switch is for nobody else.
                role.transcript = None
                transcript.end(role.unread)

    async def secure(
        self,
        leg: ILeg,
        startTLS: Callable[[Creator], Awaitable[object]],
        creator: Creator,
        seconds: float | None = None,
        note: Callable[[ILeg], object] | None = None,
    ) -> None:
        """
        Let C{leg} speak TLS.

        @param startTLS: the C{switch} of a role on C{leg}, or the C{startTLS} of a conversation in
            which nothing was said.
        @param seconds: what it may take, if that is not the tunnel's limit for handshakes.
        @param note: where the record has whose identity it is, if not as that of the network.
        @raise Withdrawn: what was to be shown is withdrawn meanwhile.
        """
        self.record.advance(HANDSHAKING)
        creator.check()
        if self.record.isWatched:
            creator = Overheard(creator, self.record.exchange)
        with self.within(seconds or self._limits.handshake, "the TLS handshake"):
            await startTLS(creator)
        (note or self.record.verify)(leg)
