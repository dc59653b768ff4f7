"""
The stories of a connection that a program has handed over, from its first byte to the relay.

As a server it is that of a tunnel, with the program for a backend.  As a client it begins with the
network, for there is no program to be heard before it knows whom it speaks to.
"""

from __future__ import annotations

from tlstunnel.errors import TunnelError
from tlstunnel.identity.names import Identity
from tlstunnel.interfaces import ILeg
from tlstunnel.net.waiting import Waiting
from tlstunnel.poolservice.interfaces import IHanded
from tlstunnel.protocols.base import ClientRole
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.tls.creators import ServerCreator
from tlstunnel.tunnel.pair import Pair
from tlstunnel.tunnel.record import GREETING
from tlstunnel.tunnel.relay import Relay
from tlstunnel.tunnel.serverpair import ServerPair
from tlstunnel.tunnel.upgrade import Upgrade
from tlstunnel.tunnel.withdrawal import heedNow


class HandedServer(ServerPair):
    """
    The program is the server.
    """

    __slots__ = ()

    factory: IHanded

    dials = "the program"

    def creator(self) -> ServerCreator:
        """
        The pool was read for the request, and that may be a while ago.
        """
        if self.prepared.tunnel.dialect.talks:
            heedNow(self.prepared)
        return super().creator()

    def joined(self, relay: Relay) -> None:
        """
        The program wants to know how the network ends.
        """
        relay.heardAll = self.factory.heardAll


class HandedClient(Pair):
    """
    The program is the client: its leg is there once the server is verified, or where the dialect
    needs its words before TLS, at once.
    """

    __slots__ = ()

    factory: IHanded

    accepts, dials = "the server", "the program"

    joined = HandedServer.joined

    async def serve(self, upgrade: Upgrade) -> Waiting[TunnelError | None]:
        """
        Up to the relay.
        """
        prepared, limits = self.prepared, self.prepared.tunnel.limits
        dialect = prepared.tunnel.dialect
        role: ClientRole = dialect.client(prepared.setting, self.factory.deadlines)
        self.role = role
        network = self.network = self.accepted
        expected = prepared.expected
        assert isinstance(expected, Identity)
        isMetEarly = dialect.dialsEarly(prepared.tunnel.options)
        if isMetEarly:
            await self._meetProgram(role, upgrade)
        else:
            role.prepareAlone()
        upgrade.attach(role, network)
        await upgrade.negotiate(dialect, role)
        if dialect.talks:
            heedNow(prepared)
        await upgrade.secure(network, role.switch, prepared.creatorFor(expected))
        self.factory.verified(self)
        if not isMetEarly:
            await self._meetProgram(role, upgrade)
            if dialect.talks:
                # It says the same as to a tunnel, only later.
                with upgrade.within(limits.negotiation, "the program's first message"):
                    await role.prepare()
        if dialect.silentServer:
            await role.demandSilence()
        self.openChannels(role)
        if dialect.talks:
            self.record.advance(GREETING)
            with upgrade.within(limits.greeting, "greeting the program"):
                await role.greetApp()
        return self.join(role, role.plain.takeRest(), role.plain.inputEnded)

    async def _meetProgram(self, role: ClientRole, upgrade: Upgrade) -> ILeg:
        self.search = self.dialler.search(self.record, self.accepted)
        self.dialled = leg = await upgrade.dial(self.search)
        leg.who = self.dials
        role.plain = Conversation(self.factory.deadlines)
        upgrade.attach(role.plain, leg)
        return leg
