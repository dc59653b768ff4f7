"""
The story of a connection in bridge mode: both legs speak TLS, each with a dialect before it, or
none.

The accepted leg comes to TLS first, as in server mode, with a client that is who it has to be; only
then the other one is dialled, as in client mode.  Whoever speaks on one leg is to whoever speaks on
the other what a plain leg is in those modes: so the client is the app of the client role, and the
server the backend of the server role.  What a protocol says once, at its beginning, is said by the
tunnel where one side alone has it in clear, and by nobody where both have.
"""

from __future__ import annotations

from tlstunnel.errors import Refused, TunnelError
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.interfaces import ILeg
from tlstunnel.net.waiting import Waiting
from tlstunnel.protocols.base import ClientRole, Role, ServerRole
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.tls.creators import Creator
from tlstunnel.tunnel.clientpair import ClientPair
from tlstunnel.tunnel.expected import identityOfRemote
from tlstunnel.tunnel.pairs import Pairs
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.record import GREETING, Record
from tlstunnel.tunnel.servedname import Addresses
from tlstunnel.tunnel.upgrade import Upgrade


class BridgePair(ClientPair):
    """
    Mode -b: a client was accepted, and comes to TLS; then a server is dialled, and does so too.
    """

    __slots__ = ("_remote", "_server")

    accepts, dials = "the client", "the server"

    def __init__(self, factory: Pairs, accepted: ILeg, record: Record) -> None:
        super().__init__(factory, accepted, record)
        self._remote: Addresses = ()
        # What has let the client come to TLS.
        self._server: ServerRole | None = None

    @property
    def connecting(self) -> Prepared:
        """
        What the connected side was begun with.
        """
        onward = self.prepared.onward
        assert onward is not None
        return onward

    async def serve(self, upgrade: Upgrade) -> Waiting[TunnelError | None]:
        """
        Up to the relay.
        """
        prepared = self.prepared
        dialect = prepared.tunnel.dialect
        server: ServerRole = dialect.server(prepared.setting, self.factory.deadlines)
        self.role = self._server = server
        self.network = self.accepted
        upgrade.attach(server, self.accepted)
        await upgrade.negotiate(dialect, server)
        if server.inClear:
            raise Refused("a message without TLS, and the server gets nothing in clear")
        await upgrade.secure(
            self.accepted, server.switch, prepared.serverCreator, note=self.record.admit
        )
        self.factory.verified(self)
        self._remote = self._chooseServer()
        # What is said inside TLS, it reads as everybody does.
        server.exact = False
        self.accepted.resumeProducing()
        return await self.connect(upgrade, server)

    def _chooseServer(self) -> Addresses:
        """
        Dial for the name that the client's handshake was about, and for the protocol agreed on.

        @return: where, if that is not where all go.
        """
        names, session = self.prepared.names, self.accepted.session
        if names is None or session is None:
            return ()
        remote = names.remote(session)
        if remote:
            self.dialler = self.diallers[remote]
        return remote

    def expected(self, role: ClientRole) -> Identity | Selector | None:
        """
        Who must be there; where a name has remote addresses of its own, and nobody says more, it is
        they that say it.
        """
        isSaid = self.connecting.setting.explicit or self.connecting.tunnel.dialect.learnsPeer
        if self._remote and not (isSaid or self.connecting.tunnel.believesPins):
            return identityOfRemote(self._remote)
        return role.expected()

    def creatorFor(self, expected: Identity | Selector) -> Creator:
        """
        Where no protocol is known, the server gets to hear of the one that the client has chosen,
        and has to take it.
        """
        connecting, client = self.connecting, self.record.client
        if client is None or self._isKnown:
            return connecting.creatorFor(expected)
        return connecting.creatorFor(expected, (client.alpn,) if client.alpn else ())

    @property
    def _isKnown(self) -> bool:
        return any(each.dialect.talks for each in self.prepared.tunnel.sides)

    @property
    def awaitsGreeting(self) -> bool:
        """
        Where a client was greeted in clear, the server's greeting has been heard already.
        """
        return self.connecting.awaitsGreeting and not self.prepared.tunnel.dialect.talks

    def _begin(self, app: Conversation) -> ClientRole:
        role = super()._begin(app)
        role.isAppGreeted = self.prepared.tunnel.dialect.talks
        return role

    async def meet(self, role: ClientRole, upgrade: Upgrade) -> None:
        """
        Where the client alone was greeted in clear, the server's greeting is to be swallowed.
        """
        server = self._server
        assert server is not None
        if self.connecting.tunnel.dialect.talks or not self.prepared.tunnel.dialect.talks:
            return
        filters = [*server.toNetwork], [*server.toPlain]
        self.record.advance(GREETING)
        assert self.search is not None
        server.hasOthers = not self.search.isOver and upgrade.mayDial
        server.plain = role
        try:
            with upgrade.within(self.prepared.tunnel.limits.greeting, "the server's greeting"):
                await server.meetBackend()
        except TunnelError as error:
            server.toNetwork[:], server.toPlain[:] = filters
            # What is a backend to that role.
            error.who = self.dials
            raise
        finally:
            # They would know each other.
            del server.plain

    def join(
        self, role: Role, rest: bytes = b"", plainEnded: bool = False
    ) -> Waiting[TunnelError | None]:
        """
        Let both legs be one connection, with the filters of both roles: those of the accepted side
        are next to that.
        """
        server, self._server = self._server, None
        assert server is not None
        role.toNetwork[:0] = server.toPlain
        role.toPlain += server.toNetwork
        server.letGo()
        return super().join(role, rest, plainEnded)

    def _letGo(self) -> None:
        """
        There is one role more.
        """
        if self._server is not None:
            self._server.letGo()
            self._server = None
        super()._letGo()
