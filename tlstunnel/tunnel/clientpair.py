"""
The story of a connection in client mode: the app was accepted, the network is to be dialled.

It has everything in the order in which it happens, up to the relay.  What is said belongs to the
dialects.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from tlstunnel.errors import IdentityRefused, TimedOut, TunnelError
from tlstunnel.protocols.base import ClientRole
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.guards import Greeted
from tlstunnel.tunnel.pair import Pair, cancelling
from tlstunnel.tunnel.record import GREETING
from tlstunnel.tunnel.upgrade import Upgrade


class ClientPair(Pair):
    """
    Mode -c: the app was accepted, the network is to be dialled.
    """

    __slots__ = ()

    accepts, dials = "the app", "the server"

    async def serve(self, upgrade: Upgrade) -> Deferred[TunnelError | None]:
        """
        Up to the relay.
        """
        prepared, limits = self.prepared, self.prepared.tunnel.limits
        dialect = prepared.tunnel.dialect
        role: ClientRole = dialect.client(prepared.setting, self.factory.deadlines)
        self.role = role
        app = role.plain = Conversation(self.factory.deadlines)
        upgrade.attach(app, self.accepted)
        if dialect.talks:
            with upgrade.within(limits.negotiation, "the app's first message"):
                await role.prepare()
        expected = role.expected()
        if expected is None:
            raise IdentityRefused("nobody knows who must be at the other end")
        resolver = prepared.tunnel.daneResolver
        if resolver is None:
            creator = prepared.creatorFor(expected)
        else:
            # Looked up while the server is connected to.
            self.factory.tlsa(resolver).begin(expected, prepared.tunnel.remote)
        self.network = self.dialled = network = await upgrade.dial(self.dialler)
        network.who = self.dials
        if resolver is not None:
            lookup = self.factory.tlsa(resolver)
            with upgrade.within(limits.connectTotal, "looking up TLSA records"):
                creator = await lookup.creatorFor(prepared, expected, network.peer)
        upgrade.attach(role, network)
        await upgrade.negotiate(dialect, role)
        await upgrade.secure(network, role.switch, creator)
        self.factory.verified(self)
        if dialect.silentServer:
            await role.demandSilence()
        self.openChannels(role)
        if dialect.talks:
            self.record.advance(GREETING)
            with upgrade.within(limits.greeting, "greeting the app"):
                await role.greetApp()
        if prepared.awaitsGreeting:
            due = self.factory.deadlines.after(limits.greeting, self._notGreeted)
            role.toPlain.append(Greeted(due))
            return self.join(role, app.takeRest(), app.inputEnded).addBoth(cancelling, due)
        return self.join(role, app.takeRest(), app.inputEnded)

    def _notGreeted(self) -> None:
        limit = self.prepared.tunnel.limits.greeting
        self.end(TimedOut(f"the greeting inside TLS took longer than {limit:g} s"))
