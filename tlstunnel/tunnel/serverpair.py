"""
The story of a connection in server mode: the network was accepted; the backend is dialled once its
peer is verified.

It has everything in the order in which it happens, up to the relay.  What is said belongs to the
dialects.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed

from tlstunnel.errors import TunnelError
from tlstunnel.interfaces import ILeg
from tlstunnel.protocols.base import ServerRole
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.tunnel.pair import Pair
from tlstunnel.tunnel.record import GREETING
from tlstunnel.tunnel.upgrade import Upgrade


class ServerPair(Pair):
    """
    Mode -s: the network was accepted; the backend is dialled once its peer is verified.
    """

    __slots__ = ()

    accepts, dials = "the client", "the backend"

    @property
    def speaker(self) -> str:
        """
        Where the backend is dialled first, the client is heard behind it.
        """
        return self.accepts if self.prepared.tunnel.dialect.earlyDial else super().speaker

    async def serve(self, upgrade: Upgrade) -> Deferred[TunnelError | None]:
        """
        Up to the relay.
        """
        prepared = self.prepared
        dialect = prepared.tunnel.dialect
        role: ServerRole = dialect.server(prepared.setting, self.factory.deadlines)
        self.role = role
        self.network = network = self.accepted
        upgrade.attach(role, network)
        if dialect.earlyDial:
            await self._dialBackend(role, upgrade)
        await upgrade.negotiate(dialect, role)
        if role.inClear:
            return await self._forward(role, upgrade)
        await upgrade.secure(network, role.switch, prepared.serverCreator)
        self.factory.verified(self)
        if self.diallers:
            self._chooseBackend(network)
        if not dialect.talks:
            self.dialled = await upgrade.dial(self.dialler)
            self.dialled.who = self.dials
            return self.join(role)
        if not dialect.earlyDial:
            await self._dialBackend(role, upgrade)
        self.openChannels(role)
        self.record.advance(GREETING)
        with upgrade.within(prepared.tunnel.limits.greeting, "the backend's greeting"):
            await role.meetBackend()
        return self.join(role, role.plain.takeRest(), role.plain.inputEnded)

    def _chooseBackend(self, network: ILeg) -> None:
        """
        Dial for the name that the handshake was about, and for the protocol agreed on in it.
        """
        names, session = self.prepared.names, network.session
        assert names is not None and session is not None
        remote = names.remote(session)
        if remote:
            self.dialler = self.diallers[remote]

    async def _dialBackend(self, role: ServerRole, upgrade: Upgrade) -> None:
        self.dialled = await upgrade.dial(self.dialler)
        self.dialled.who = self.dials
        role.plain = Conversation(self.factory.deadlines)
        upgrade.attach(role.plain, self.dialled)

    async def _forward(self, role: ServerRole, upgrade: Upgrade) -> Deferred[TunnelError | None]:
        """
        Give the backend a single message that needs no TLS, and wait until it has read it.
        """
        await self._dialBackend(role, upgrade)
        backend = role.plain
        backend.write(role.inClear)
        with upgrade.within(self.prepared.tunnel.limits.close, "the backend's end"):
            await backend.wait(lambda: backend.inputEnded or None, reading=False)
        return succeed(None)
