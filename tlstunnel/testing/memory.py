"""
A driver that takes one role of a dialect from its first byte to the relay, on legs in memory.

Everything is deterministic: time is a L{Clock}, and what a peer sends arrives when the test says
so, cut as the test says.  TLS is only noted: what it does on a socket is tested elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from twisted.internet.task import Clock, deferLater
from zope.interface import implementer

from tlstunnel.address import TCPAddress
from tlstunnel.errors import TunnelError
from tlstunnel.identity.names import Identity
from tlstunnel.interfaces import IDialect, ILeg
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.destination import IDestination, ISearch
from tlstunnel.protocols.base import (
    Role,
)
from tlstunnel.protocols.setting import (
    Setting,
)
from tlstunnel.reveal.proxyout import ProxyOut
from tlstunnel.reveal.word import Word
from tlstunnel.testing.legs import MemoryLeg
from tlstunnel.testing.memorychannels import MemoryChannels
from tlstunnel.tunnel.description import (
    Mode,
    Tunnel,
)
from tlstunnel.tunnel.modes import PAIRS
from tlstunnel.tunnel.observers import Observer, Observers
from tlstunnel.tunnel.pair import Pair
from tlstunnel.tunnel.record import Record
from tlstunnel.tunnel.servedname import Addresses


class _Creator:
    """
    Stands for a L{tlstunnel.tls.creators.Creator}: there is no TLS.
    """

    def under(self, domain: str) -> _Creator:
        """
        Every name is the same.
        """
        return self

    def check(self) -> None:
        """
        What nobody shows is not withdrawn.
        """


class MemoryPrepared:
    """
    Stands for a L{tlstunnel.tunnel.prepared.Prepared}: there is no pool, and no TLS.
    """

    serverCreator = _Creator()
    names = None
    awaitsGreeting = False
    onward: MemoryPrepared | None = None

    def __init__(
        self,
        dialect: IDialect,
        mode: Mode,
        setting: Setting,
        words: Sequence[tuple[Word, object]],
    ) -> None:
        anywhere = TCPAddress("127.0.0.1", 1)
        self.words = words
        self.certificates: dict[Identity, object] = {}
        self.proxyOut: ProxyOut | None = None
        self.tunnel = Tunnel(mode, (anywhere,), (anywhere,), dialect, options=setting.options)
        self.dialsEarly = dialect.dialsEarly(setting.options)
        self.setting = setting

    def creatorFor(self, expected: object, alpn: object = None) -> _Creator:
        """
        Whoever is expected, the handshake does not happen.
        """
        return self.serverCreator

    def checkTime(self) -> None:
        """
        What nobody shows has no end.
        """


@implementer(IDestination, ISearch)
class _Factory:
    """
    Stands for a L{tlstunnel.proxy.ProxyFactory} with one pair.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.prepared = driver.prepared
        self.deadlines = driver.deadlines
        self.dialler = self
        self.diallers: Mapping[Addresses, _Factory] = {}

    def search(self, record: Record, accepted: ILeg) -> _Factory:
        """
        See L{tlstunnel.net.destination.IDestination}.
        """
        return self

    isOver = True

    def failed(self, error: TunnelError, isItsFault: bool = True) -> bool:
        """
        There is no other place.
        """
        return False

    def served(self) -> None:
        """
        There is nothing to note.
        """

    def end(self, isHurried: bool = False) -> None:
        """
        There is nothing to note.
        """

    async def dial(self) -> MemoryLeg:
        """
        The other leg answers in the next turn, or when it does.
        """
        await deferLater(self._driver.clock, self._driver.dialling)
        return self._driver.dialled()

    def channels(self, pair: Pair) -> MemoryChannels:
        """
        Those of the driver.
        """
        return self._driver.channels

    def heardAll(self, leg: ILeg) -> None:
        """
        A leg has ended cleanly.
        """

    def verified(self, pair: Pair) -> None:
        """
        The network peer is who it should be.
        """

    def ended(self, pair: Pair, error: TunnelError | None) -> None:
        """
        Note how it ended.
        """
        self._driver.ended = True
        self._driver.error = error


class _Listening(Observer):
    """
    Notes what is said in clear.
    """

    def __init__(self, told: list[tuple[bool, bytes]]) -> None:
        self._told = told

    def said(self, record: Record, isOurs: bool, words: bytes) -> None:
        """
        Note it.
        """
        self._told.append((isOurs, words))


class Driver:
    """
    Takes one role of a dialect through L{tlstunnel.tunnel.pair.Pair}, on legs in memory.

    @ivar network: the leg that will carry TLS.
    @ivar plain: the leg of the app or of the backend.
    @ivar error: how it ended, if it did not end cleanly.
    @ivar ended: whether it ended.
    @ivar backendDialled: whether the backend was dialled (server role).
    @ivar channels: the data connections, if the protocol has such.
    @ivar told: what observers were told of what was said in clear on the network: whether we said
        it, and the words.
    """

    #: What serves a connection in each mode.
    pairs: ClassVar[Mapping[Mode, type[Pair]]] = PAIRS

    def __init__(
        self,
        dialect: IDialect,
        mode: str,
        setting: Setting | None = None,
        waiting: bytes = b"",
        dialling: float = 0.0,
        words: Sequence[tuple[Word, object]] = (),
        identity: Identity | None = None,
        peer: TCPAddress | None = None,
        proxyOut: ProxyOut | None = None,
    ) -> None:
        """
        @param mode: C{"client"} or C{"server"}.
        @param waiting: what has arrived already on the leg that is accepted.
        @param dialling: seconds until the other leg is connected.
        @param words: how the backend is told who is there, each with what its C{prepare} gives.
        @param identity: who the network peer proves to be.
        @param peer: where it connects from, if that matters.
        @param proxyOut: makes the header that the connection to the other leg begins with.
        """
        if setting is None:
            setting = Setting(
                ourName=b"tunnel.example.net",
                peerName=b"server.example.org",
                localID=Identity(None, "tunnel.example.net"),
                remoteID=Identity(None, "server.example.org"),
                explicit=True,
            )
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.prepared = self.preparedFor(dialect, Mode(mode), setting, words)
        self.prepared.proxyOut = proxyOut
        self.mode = mode
        self.dialling = dialling
        self.network = MemoryLeg(self.settle)
        self.network.session.identity = identity
        self.plain = self.plainLeg()
        self.error: TunnelError | None = None
        self.ended = False
        self.backendDialled = False
        self.channels = MemoryChannels()
        accepted: Any = self.accepted()
        if peer is not None:
            accepted.peer = peer
        if waiting:
            accepted.feed(waiting)
        factory: Any = _Factory(self)
        self.told: list[tuple[bool, bytes]] = []
        observers = Observers([_Listening(self.told)])
        served = self.prepared.tunnel.mode
        record = Record(self.clock, observers, "", served, dialect.name, accepted.peer)
        self.pair = self.pairs[served](factory, accepted, record)
        self.pair.start()
        if self.pair.role is not None:
            # Else it is over already.
            self._role = self.pair.role
        self.settle()

    def preparedFor(
        self,
        dialect: IDialect,
        mode: Mode,
        setting: Setting,
        words: Sequence[tuple[Word, object]],
    ) -> MemoryPrepared:
        """
        What the connection is made with.
        """
        return MemoryPrepared(dialect, mode, setting, words)

    def plainLeg(self) -> MemoryLeg:
        """
        The leg of the app or of the backend.
        """
        return MemoryLeg(self.settle)

    def accepted(self) -> MemoryLeg:
        """
        The leg that there is from the beginning.
        """
        return self.plain if self.mode == "client" else self.network

    def dialled(self) -> MemoryLeg:
        """
        The other one.
        """
        if self.mode == "client":
            return self.network
        self.backendDialled = True
        return self.plain

    @property
    def role(self) -> Role:
        """
        What speaks on the network leg.
        """
        return self._role

    @property
    def stage(self) -> str:
        """
        How far it has come: C{"clear"}, C{"switched"}, C{"inside"}, C{"relay"}.
        """
        if self.pair.relay is not None:
            return "relay"
        if self.network.handshaken:
            return "inside"
        return "switched" if self.network.isTLS else "clear"

    def settle(self) -> None:
        """
        Let all happen that happens without more time or bytes.
        """
        quiet = 0
        while quiet < 2:
            moved = self.network.deliver() or self.plain.deliver()
            self.clock.advance(0)
            quiet = 0 if moved else quiet + 1

    # What the test calls

    def handshake(self) -> None:
        """
        Complete the handshake, and in client mode let the time pass in which the server must be
        silent.
        """
        self.network.completeHandshake()
        if self.mode == "client" and self.stage == "inside":
            self.clock.advance(1.0)
            self.settle()

    def feed(self, who: str, data: bytes) -> None:
        """
        Let somebody speak.

        @param who: C{"C"} or C{"S"} on the network leg, C{"A"} or C{"B"} on the plain one.
        """
        (self.network if who in "CS" else self.plain).feed(data)

    def play(self, dialogue: Sequence[tuple[str, bytes]]) -> None:
        """
        Play a dialogue (see L{tlstunnel.testing.dialogues}): what the tunnel says is asserted, on
        either leg, and what others say is fed.

        @raise AssertionError: if the tunnel said something else.
        """
        ours = "CT" if self.mode == "client" else "ST"
        for who, text in dialogue:
            if who not in ours:
                self.feed(who, text)
                continue
            leg = self.plain if who == "T" else self.network
            assert leg.written.startswith(text), (
                f"expected {text!r}, but the tunnel said {leg.written!r}; {self.error}"
            )
            leg.written = leg.written[len(text) :]
