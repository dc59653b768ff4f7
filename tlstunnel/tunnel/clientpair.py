"""
The story of a connection in client mode: the app was accepted, the network is to be dialled.

It has everything in the order in which it happens, up to the relay.  What is said belongs to the
dialects.
"""

from __future__ import annotations

from tlstunnel.address import Address, TCPAddress
from tlstunnel.errors import IdentityRefused, TimedOut, TunnelError, Withdrawn
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.net.waiting import Waiting
from tlstunnel.protocols.base import ClientRole
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.guards import Greeted
from tlstunnel.tls.creators import Creator
from tlstunnel.tls.keycheck import whenExamined
from tlstunnel.tunnel.pair import ATTACKS, Pair
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.record import GREETING
from tlstunnel.tunnel.upgrade import Upgrade


class ClientPair(Pair):
    """
    Mode -c: the app was accepted, the network is to be dialled.
    """

    __slots__ = ()

    accepts, dials = "the app", "the server"

    @property
    def connecting(self) -> Prepared:
        """
        What the connected side was begun with.
        """
        return self.prepared

    async def serve(self, upgrade: Upgrade) -> Waiting[TunnelError | None]:
        """
        Up to the relay.
        """
        app = Conversation(self.factory.deadlines)
        upgrade.attach(app, self.accepted)
        return await self.connect(upgrade, app)

    async def connect(self, upgrade: Upgrade, app: Conversation) -> Waiting[TunnelError | None]:
        """
        From when C{app} may be heard up to the relay.
        """
        connecting, limits = self.connecting, self.prepared.tunnel.limits
        dialect = connecting.tunnel.dialect
        role = self._begin(app)
        if dialect.talks:
            with upgrade.within(limits.negotiation, "the app's first message"):
                await self.prepare(role)
        expected = self.expected(role)
        if expected is None:
            raise IdentityRefused("it is not known which name the server has to prove")
        role = await self._reach(upgrade, role, expected)
        if self.record.client is None:
            self.factory.verified(self)
        await self.met(role, upgrade)
        if dialect.silentServer:
            await role.demandSilence()
        self.openChannels(role)
        if dialect.talks:
            self.record.advance(GREETING)
            with upgrade.within(limits.greeting, "greeting the app"):
                await role.greetApp()
        if self.awaitsGreeting:
            late = TimedOut(f"the greeting inside TLS took longer than {limits.greeting:g} s")
            role.toPlain.append(Greeted(self.endAfter(limits.greeting, late)))
        return self.join(role, app.takeRest(), app.inputEnded)

    def _begin(self, app: Conversation) -> ClientRole:
        """
        What speaks to a server.
        """
        connecting = self.connecting
        role: ClientRole = connecting.tunnel.dialect.client(
            connecting.setting, self.factory.deadlines
        )
        role.plain = app
        self.role = role
        return role

    # What a bridge has another way for, or a program that needs no tunnel

    async def prepare(self, role: ClientRole) -> None:
        """
        Before the network is dialled: know what C{role} has to know.
        """
        await role.prepare()

    async def met(self, role: ClientRole, upgrade: Upgrade) -> None:
        """
        The server is who it has to be.
        """

    def expected(self, role: ClientRole) -> Identity | Selector | None:
        """
        Who must be at the other end.
        """
        return role.expected()

    def creatorFor(self, expected: Identity | Selector) -> Creator:
        """
        What makes TLS to a server that must be C{expected}, by its certificate.
        """
        return self.connecting.creatorFor(expected)

    @property
    def awaitsGreeting(self) -> bool:
        """
        Whether the server has to speak first inside TLS, although no dialect says so.
        """
        return self.prepared.awaitsGreeting

    async def meet(self, role: ClientRole, upgrade: Upgrade) -> None:
        """
        Hear from a server inside TLS what decides whether it serves.
        """

    async def _reach(
        self, upgrade: Upgrade, role: ClientRole, expected: Identity | Selector
    ) -> ClientRole:
        """
        Come to TLS with a server that is who it must be: with another one, where the first does not
        serve, as long as nothing of the app's was sent, and it has heard nothing (rule 15).

        @param expected: who all of them must be.
        @return: who speaks to that server.
        """
        connecting = self.connecting
        connecting.checkTime()
        dialect, resolver = connecting.tunnel.dialect, connecting.tunnel.daneResolver
        if resolver is None:
            creator = await whenExamined(
                self.factory.deadlines.clock, lambda: self.creatorFor(expected)
            )
        else:
            # Looked up while a server is connected to.
            self.factory.tlsa(resolver).begin(expected, connecting.tunnel.remote)
        self.prepareHeader()
        search = self.search = self.dialler.search(self.record, self.accepted)
        app, moved = role.plain, role.plain.moved
        isLookingUp = False
        while True:
            try:
                self.network = self.dialled = network = await upgrade.dial(search)
                network.who = self.dials
                self.announce(network)
                if resolver is not None:
                    isLookingUp = True
                    creator = await self._creatorByTLSA(upgrade, resolver, expected, network.peer)
                    isLookingUp = False
                upgrade.attach(role, network)
                await upgrade.negotiate(dialect, role)
                await upgrade.secure(network, role.switch, creator)
                await self.meet(role, upgrade)
            except TunnelError as error:
                isUntouched = app.moved == moved
                # What an app has chosen or said, others need not expect.
                isChosen = connecting.setting.remoteID is None
                isItsFault = isUntouched and not (isChosen or isLookingUp)
                goesOn = search.failed(error.by(self.speaker), isItsFault) and upgrade.mayDial
                isFinal = isinstance(error, (*ATTACKS, Withdrawn))
                if isFinal or not (goesOn and isUntouched):
                    raise
                self.leave(error, role)
            else:
                search.served()
                return role
            self.network = None
            self.record.restart()
            role = self._begin(app)
            if dialect.talks:
                # What the app has said is there to be read again.
                with upgrade.within(self.prepared.tunnel.limits.negotiation, "the app's message"):
                    await self.prepare(role)

    async def _creatorByTLSA(
        self,
        upgrade: Upgrade,
        resolver: TCPAddress,
        expected: Identity | Selector,
        server: Address,
    ) -> Creator:
        """
        What makes TLS to a server that was connected to, by the records of whom it has to be.
        """
        seconds = self.prepared.tunnel.limits.connectTotal
        with upgrade.within(seconds, "looking up TLSA records"):
            return await self.factory.tlsa(resolver).creatorFor(self.connecting, expected, server)
