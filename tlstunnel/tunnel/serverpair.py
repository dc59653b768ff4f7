"""
The story of a connection in server mode: the network was accepted; the backend is dialled once its
peer is verified.

It has everything in the order in which it happens, up to the relay.  What is said belongs to the
dialects.
"""

from __future__ import annotations

from tlstunnel.errors import TimedOut, TunnelError
from tlstunnel.interfaces import ILeg
from tlstunnel.net.waiting import Waiting
from tlstunnel.protocols.base import ServerRole
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.reveal.word import Introduction, Word
from tlstunnel.tls.creators import ServerCreator
from tlstunnel.tunnel.pair import Pair
from tlstunnel.tunnel.record import GREETING, HANDSHAKING
from tlstunnel.tunnel.upgrade import Upgrade


class ServerPair(Pair):
    """
    Mode -s: the network was accepted; the backend is dialled once its peer is verified.
    """

    __slots__ = ("_introductions",)

    _introductions: list[tuple[Word, Introduction]]

    accepts, dials = "the client", "the backend"

    @property
    def speaker(self) -> str:
        """
        Where the backend is dialled first, the client is heard once that has spoken.
        """
        dialled = self.dialled
        hasSpoken = dialled is not None and dialled.received > 0
        isClient = hasSpoken or self.record.stage is HANDSHAKING
        if self.prepared.dialsEarly and isClient:
            return self.accepts
        return super().speaker

    async def serve(self, upgrade: Upgrade) -> Waiting[TunnelError | None]:
        """
        Up to the relay.
        """
        prepared = self.prepared
        dialect = prepared.tunnel.dialect
        role: ServerRole = dialect.server(prepared.setting, self.factory.deadlines)
        self.role = role
        self.network = network = self.accepted
        upgrade.attach(role, network)
        if prepared.dialsEarly:
            self.prepareHeader()
            await self._dialBackend(role, upgrade)
            self._found()
        await upgrade.negotiate(dialect, role)
        if role.inClear:
            return await self._forward(role, upgrade)
        await upgrade.secure(network, role.switch, self.creator())
        self.factory.verified(self)
        if len(self.diallers) > 1:
            self._chooseBackend(network)
        if not prepared.dialsEarly:
            self.prepareHeader()
        if not (dialect.talks or prepared.words):
            await self._dial(upgrade)
            self._found()
            return self.join(role)
        if prepared.dialsEarly:
            await self._meetBackend(role, upgrade)
        else:
            await self._reach(role, upgrade)
        if prepared.words:
            await self._converse(role, upgrade)
        return self.join(role, role.plain.takeRest(), role.plain.inputEnded)

    def creator(self) -> ServerCreator:
        """
        What makes TLS, which is about to begin.
        """
        return self.prepared.serverCreator

    def _chooseBackend(self, network: ILeg) -> None:
        """
        Dial for the name that the handshake was about, and for the protocol agreed on in it.
        """
        names, session = self.prepared.names, network.session
        assert names is not None and session is not None
        remote = names.remote(session)
        if remote:
            self.dialler = self.diallers[remote]

    async def _reach(self, role: ServerRole, upgrade: Upgrade) -> None:
        """
        Meet a backend: another one, where the first does not serve, as long as neither side has
        heard anything of it.
        """
        moved = role.moved
        filters = [*role.toNetwork], [*role.toPlain]
        while True:
            try:
                await self._dialBackend(role, upgrade)
                role.hasOthers = self._mayGoOn(upgrade)
                await self._meetBackend(role, upgrade)
            except TunnelError as error:
                assert self.search is not None
                goesOn = self._mayGoOn(upgrade) and role.moved == moved
                if not (self.search.failed(error.by(self.speaker)) and goesOn):
                    raise
                self.leave(error)
                role.toNetwork[:], role.toPlain[:] = filters
            else:
                self._found()
                return

    def _mayGoOn(self, upgrade: Upgrade) -> bool:
        return self.search is not None and not self.search.isOver and upgrade.mayDial

    def _found(self) -> None:
        assert self.search is not None
        self.search.served()

    async def _meetBackend(self, role: ServerRole, upgrade: Upgrade) -> None:
        self.openChannels(role)
        self.record.advance(GREETING)
        with upgrade.within(self.prepared.tunnel.limits.greeting, f"{self.dials}'s greeting"):
            await role.meetBackend()
            if self.prepared.words:
                await self._introduce(role)

    async def _introduce(self, role: ServerRole) -> None:
        """
        Tell the backend who is there, in the words of its protocol.
        """
        prepared = self.prepared
        self.record.locate(self.accepted)
        isGreeted = prepared.tunnel.dialect.talks
        self._introductions = [
            (word, word.introduction(self.record, known, role, role.plain, isGreeted))
            for word, known in prepared.words
        ]
        try:
            for _, each in self._introductions:
                await each.introduce()
        except TunnelError as error:
            raise error.by(self.dials) from None

    async def _converse(self, role: ServerRole, upgrade: Upgrade) -> None:
        """
        Let the client and the backend say what is not for the relay to carry.
        """
        for word, each in self._introductions:
            try:
                with upgrade.within(word.conversationSeconds, f"the peer ({word.name})"):
                    await each.converse()
            except TunnelError as error:
                raise error.by(each.heard.transport.who) from None
            role.toPlain += each.toPlain
            role.toNetwork += each.toNetwork
        self._introductions = []

    async def _dial(self, upgrade: Upgrade) -> ILeg:
        if self.search is None:
            self.search = self.dialler.search(self.record, self.accepted)
        try:
            self.dialled = leg = await upgrade.dial(self.search)
        except TimedOut as error:
            self.search.failed(error)
            raise
        leg.who = self.dials
        self.announce(leg)
        return leg

    async def _dialBackend(self, role: ServerRole, upgrade: Upgrade) -> None:
        leg = await self._dial(upgrade)
        role.plain = Conversation(self.factory.deadlines)
        upgrade.attach(role.plain, leg)

    async def _forward(self, role: ServerRole, upgrade: Upgrade) -> Waiting[TunnelError | None]:
        """
        Give the backend a single message that needs no TLS, and wait until it has read it.
        """
        self.prepareHeader()
        await self._dialBackend(role, upgrade)
        self._found()
        backend = role.plain
        backend.write(role.inClear)
        with upgrade.within(self.prepared.tunnel.limits.close, "the backend's end"):
            await backend.wait(lambda: backend.inputEnded or None, reading=False)
        ended: Waiting[TunnelError | None] = Waiting()
        ended.callback(None)
        return ended
