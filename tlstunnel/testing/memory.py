"""
Legs in memory, and a driver that takes one role of a dialect from its first byte to the relay.

Everything is deterministic: time is a L{Clock}, and what a peer sends arrives when the test says
so, cut as the test says.  TLS is only noted: what it does on a socket is tested elsewhere.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tlstunnel.conversation import Conversation
from tlstunnel.deadlines import Deadlines
from tlstunnel.errors import Closed, TunnelError
from tlstunnel.identity import Identity
from tlstunnel.interfaces import IDialect, IFilter
from tlstunnel.protocols.base import (
    AppSpeaks,
    ClientRole,
    Role,
    ServerRole,
    Setting,
    SilenceBeforeApp,
)
from tlstunnel.relay import Direction


class MemoryLeg:
    """
    Stands for a L{tlstunnel.leg.Leg}: what is written is kept, what arrives is fed.

    @ivar written: all that was written, in clear and inside TLS.
    @ivar writtenInClear: how much of it was written before the switch.
    @ivar isTLS: whether C{startTLS} was called.
    @ivar ended: whether our direction was ended.
    @ivar lost: C{"closed"} or C{"aborted"} once it is.
    """

    def __init__(self) -> None:
        self.speaker: Any = None
        self.written = b""
        self.writtenInClear: int | None = None
        self.isTLS = False
        self.handshaken = False
        self.ended = False
        self.lost = ""
        self.paused = True
        self.readSize = 1 << 20
        self.readFlags = 0
        self.session: Any = None
        self.peer = "memory"
        self._unread = b""
        self._inputEnds = False

    # What the speaker calls

    def write(self, data: bytes | memoryview) -> None:
        """
        Keep C{data}.
        """
        if not self.lost:
            self.written += data

    def startTLS(self, creator: object) -> None:
        """
        Note the switch.
        """
        assert not self.isTLS, "startTLS was called twice"
        self.isTLS = True
        self.writtenInClear = len(self.written)

    def pendingInput(self, count: int = 1) -> bytes:
        """
        What was fed and is not read.
        """
        return self._unread[:count]

    def pauseProducing(self) -> None:
        """
        Deliver nothing.
        """
        self.paused = True

    def resumeProducing(self) -> None:
        """
        Deliver what arrives.
        """
        self.paused = False

    def loseWriteConnection(self) -> None:
        """
        End our direction.
        """
        self.ended = True

    def loseConnection(self) -> None:
        """
        Close.
        """
        self.lost = self.lost or "closed"

    def abortConnection(self) -> None:
        """
        Reset.
        """
        self.lost = self.lost or "aborted"

    # What the test calls

    def feed(self, data: bytes) -> None:
        """
        The peer sends C{data}: in clear before the switch, inside TLS after it.
        """
        self._unread += data
        self.deliver()

    def deliver(self) -> None:
        """
        Hand over what the speaker is ready to read.
        """
        while not self.lost and not self.paused and (self.handshaken or not self.isTLS):
            if self._unread:
                chunk = self._unread[: self.readSize]
                if not self.readFlags:
                    self._unread = self._unread[len(chunk) :]
                self.speaker.dataReceived(memoryview(chunk))
            elif self._inputEnds:
                self._inputEnds = False
                self.paused = True
                self.speaker.readConnectionLost()
            else:
                return

    def end(self) -> None:
        """
        The peer ends its direction cleanly.
        """
        self._inputEnds = True
        self.deliver()

    def reset(self) -> None:
        """
        The peer resets the connection.
        """
        self.lose(Closed("reset"))

    def lose(self, error: TunnelError) -> None:
        """
        The connection is lost.
        """
        if not self.lost:
            self.lost = "lost"
            self.speaker.connectionLost(Failure(error))

    def completeHandshake(self) -> None:
        """
        TLS is up and its peer verified.  Bytes that arrived in clear after the switch would have
        been taken for TLS, and are gone.
        """
        assert self.isTLS and not self.handshaken
        self._unread = b""
        self.handshaken = True
        self.speaker.handshakeCompleted()
        self.deliver()

    def takeWritten(self) -> bytes:
        """
        What was written since the last call.
        """
        taken, self.written = self.written, b""
        return taken


class _Relay:
    """
    Stands for the relay of two memory legs.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def abort(self, error: TunnelError) -> None:
        """
        A filter found something.
        """
        self._driver.network.abortConnection()
        self._driver.plain.abortConnection()
        self._driver.error = error

    def directionEnded(self) -> None:
        """
        One direction ended.
        """

    def legLost(self, direction: Direction, error: TunnelError) -> None:
        """
        A leg was lost.
        """
        self.abort(error)


class Driver:
    """
    Takes one role of a dialect through what L{tlstunnel.proxy.Pair} takes it through: negotiation,
    switch, greeting, relay.

    @ivar network: the leg that will carry TLS.
    @ivar plain: the leg of the app or of the backend.
    @ivar error: how it ended, if it did.
    @ivar stage: C{"clear"}, then C{"switched"}, C{"inside"}, and C{"relay"}.
    @ivar backendDialled: whether the backend was dialled (server role).
    """

    def __init__(self, dialect: IDialect, mode: str, setting: Setting | None = None) -> None:
        """
        @param mode: C{"client"} or C{"server"}.
        """
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        if setting is None:
            setting = Setting(
                ourName=b"tunnel.example.net",
                peerName=b"server.example.org",
                localID=Identity(None, "tunnel.example.net"),
                remoteID=Identity(None, "server.example.org"),
                explicit=True,
            )
        self.network = MemoryLeg()
        self.plain = MemoryLeg()
        self.error: TunnelError | None = None
        self.stage = "clear"
        self.backendDialled = False
        self.filters: list[IFilter] = []
        self.mode = mode
        kind = dialect.client if mode == "client" else dialect.server
        self.role: Role = kind(setting, self.deadlines)
        self.running = Deferred.fromCoroutine(self._run())
        self.running.addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        failure.trap(TunnelError)
        assert isinstance(failure.value, TunnelError)
        self.error = failure.value
        self.network.loseConnection()
        self.plain.loseConnection()

    def _attach(self, conversation: Conversation, leg: MemoryLeg) -> None:
        conversation.lost = self._lost
        leg.speaker = conversation
        conversation.makeConnection(leg)
        leg.deliver()

    def _lost(self, error: TunnelError) -> None:
        self.error = error
        self.running.cancel()
        self.running.addErrback(lambda _: None)
        self.network.loseConnection()
        self.plain.loseConnection()

    async def _run(self) -> None:
        role = self.role
        if isinstance(role, ClientRole):
            await self._client(role)
        else:
            assert isinstance(role, ServerRole)
            await self._server(role)
            if role.inClear:
                return
        relay: Any = _Relay(self)
        network: Any = self.network
        plain: Any = self.plain
        toPlain = Direction(relay, network, plain, role.toPlain)
        toNetwork = Direction(relay, plain, network, role.toNetwork)
        self.network.speaker, self.plain.speaker = toPlain, toNetwork
        self.stage = "relay"
        for direction, conversation in ((toPlain, role), (toNetwork, role.plain)):
            rest = conversation.takeRest()
            if rest:
                direction.dataReceived(rest)
            if conversation.inputEnded:
                direction.readConnectionLost()
        for leg in (self.network, self.plain):
            leg.resumeProducing()
            leg.deliver()

    async def _switch(self) -> None:
        creator: Any = None
        switching = Deferred.fromCoroutine(self.role.switch(creator))
        if self.network.isTLS:
            self.stage = "switched"
        await switching
        self.stage = "inside"

    async def _client(self, role: ClientRole) -> None:
        role.plain = Conversation(self.deadlines)
        self._attach(role.plain, self.plain)
        await role.prepare()
        self._attach(role, self.network)
        await role.readGreeting()
        await role.negotiate()
        await self._switch()
        silence = None
        if role.silentServer:
            await role.staySilent()
            silence = SilenceBeforeApp()
            role.toPlain.insert(0, silence)
        role.toNetwork.insert(0, AppSpeaks(silence))
        await role.greetApp()

    async def _server(self, role: ServerRole) -> None:
        self._attach(role, self.network)
        if role.earlyDial:
            self._dialBackend(role)
        await role.negotiate()
        if role.inClear:
            self._dialBackend(role)
            role.plain.write(role.inClear)
            return
        await self._switch()
        if not role.earlyDial:
            self._dialBackend(role)
        await role.meetBackend()

    def _dialBackend(self, role: ServerRole) -> None:
        self.backendDialled = True
        role.plain = Conversation(self.deadlines)
        self._attach(role.plain, self.plain)

    # What the test calls

    def handshake(self) -> None:
        """
        Complete the handshake, and in client mode let the time pass in which the server must be
        silent.
        """
        self.network.completeHandshake()
        if self.mode == "client" and self.stage == "inside":
            self.clock.advance(1.0)

    def play(self, dialogue: list[tuple[str, bytes]]) -> None:
        """
        Play a dialogue on the network leg: C{("S", line)} and C{("C", line)} in turn, where what
        the role says is asserted and what its peer says is fed.

        @raise AssertionError: if the role said something else.
        """
        ours = "C" if self.mode == "client" else "S"
        for who, text in dialogue:
            if who == ours:
                said = self.network.written[: len(text)]
                assert said == text, (
                    f"expected {text!r}, but the role said {self.network.written!r}"
                )
                self.network.written = self.network.written[len(text) :]
            else:
                self.network.feed(text)
