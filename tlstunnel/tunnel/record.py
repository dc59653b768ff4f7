"""
What is known of one connection.

A L{Record} is where the log, counters, a status page, and what tells the plaintext side who is at
the other end, find what they say; there is no other place.  It has only facts: an identity is in
it once verification has succeeded as a whole, and never that of a peer who was refused.  Whoever
serves the connection notes here what happens, and the observers are told.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from twisted.internet.interfaces import IReactorTime

from tlstunnel.address import Address, Peer
from tlstunnel.errors import TunnelError
from tlstunnel.identity.names import Identity
from tlstunnel.interfaces import ILeg
from tlstunnel.net.child import Exit
from tlstunnel.net.proxyheader import UNIQUE_ID, Header
from tlstunnel.tls.messages import Message
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.observers import Observers

#: The outcome of a connection that ended cleanly; others are named in L{tlstunnel.errors}.
CLEAN = "clean"

#: What stands in the place of a tunnel's name where a program has handed the connection over.
POOL_SERVICE = "pool-service"


class Stage(enum.Enum):
    """
    How far a connection has come.  In client mode it is connected before it negotiates, in server
    mode after the handshake.
    """

    ACCEPTED = "accepted"
    CONNECTING = "connecting"
    NEGOTIATING = "negotiating"
    HANDSHAKING = "handshaking"
    GREETING = "greeting"
    RELAYING = "relaying"
    ENDED = "ended"


# As names of the module: to look one up in an Enum costs as much as to call a function.
ACCEPTED, CONNECTING, NEGOTIATING, HANDSHAKING, GREETING, RELAYING, ENDED = Stage


@dataclass(frozen=True, slots=True)
class Client:
    """
    What is known of TLS with the client of a bridge; see L{Record} for each.
    """

    identity: Identity | None
    version: str
    suite: str
    group: str
    alpn: bytes
    isResumed: bool


class Record:
    """
    All that is known of one connection.

    @ivar tunnel: the name of its tunnel; empty where that has none.
    @ivar mode: where the network is.
    @ivar dialect: the name of its dialect; C{none} for implicit TLS.
    @ivar dialects: those of the accepted and of the connected side, which differ in bridge mode.
    @ivar peer: who connected to us.
    @ivar local: the address that it connected to; C{None} where nobody has asked for it.
    @ivar sender: who has said so, in a header of the PROXY protocol; C{None} where there was none.
    @ivar header: what else it has said; C{None} likewise.
    @ivar uniqueID: what whoever passes it on calls the connection (PROXY protocol); empty for
        nothing.
    @ivar backend: to whom we connected in turn, once we have.
    @ivar isAnnounced: whether that was told on whose behalf, by a header of the PROXY protocol.
    @ivar stage: how far it has come.
    @ivar reached: the stage that it ended in, once it is over.
    @ivar client: what the client of a bridge has proved, once it has; all that follows is about
        the server then, but for C{serverName}.
    @ivar serverName: the name that the client asked for with SNI, raw; empty where it asked for
        none.
    @ivar alpn: the application protocol agreed on; empty for none.
    @ivar version: such as C{TLSv1.3}; empty until TLS is up, as are C{suite} and C{group}.
    @ivar isResumed: whether a session was resumed, so that the peer was verified earlier.
    @ivar owesCertificate: whether a server has asked for a certificate, or may have, and we had
        none to show.
    @ivar identity: who the network peer has proved to be; C{None} where nobody in particular had
        to be there, or nobody has proved anything.
    @ivar anchors: the TLSA record that vouches for that; empty where the anchors of the tunnel do.
    @ivar began: when it was accepted, in seconds of the reactor's clock.
    @ivar negotiated: seconds that the negotiation took; C{None} where there was none, or it failed.
    @ivar handshaken: seconds that the TLS handshake took, with verification; C{None} likewise.
    @ivar seconds: how long it lasted, once it is over.
    @ivar error: why it ended, if that was not a clean end.
    @ivar exit: how the program ended that was started for it, once it has.
    """

    __slots__ = (
        "_clock",
        "_counted",
        "_network",
        "_observers",
        "_since",
        "alpn",
        "anchors",
        "backend",
        "began",
        "client",
        "dialect",
        "dialects",
        "error",
        "exit",
        "group",
        "handshaken",
        "header",
        "identity",
        "isAnnounced",
        "isResumed",
        "local",
        "mode",
        "negotiated",
        "owesCertificate",
        "peer",
        "reached",
        "seconds",
        "sender",
        "serverName",
        "stage",
        "suite",
        "tunnel",
        "uniqueID",
        "version",
    )

    def __init__(
        self,
        clock: IReactorTime,
        observers: Observers,
        tunnel: str,
        mode: Mode,
        dialect: str,
        peer: Address,
        dialects: tuple[str, str] | None = None,
    ) -> None:
        self._clock = clock
        self._observers = observers
        self._network: ILeg | None = None
        self._counted = (0, 0)
        self.tunnel = tunnel
        self.mode = mode
        self.dialect = dialect
        self.dialects = dialects or (dialect, dialect)
        self.peer = peer
        self.local: Address | None = None
        self.sender: Address | None = None
        self.header: Header | None = None
        self.uniqueID = b""
        self.backend: Peer | None = None
        self.stage = self.reached = ACCEPTED
        self.client: Client | None = None
        self.serverName = ""
        self.alpn = b""
        self.version = self.suite = self.group = ""
        self.isAnnounced = self.isResumed = self.owesCertificate = False
        self.identity: Identity | None = None
        self.anchors = ""
        self.began = clock.seconds()
        self._since = self.began
        self.negotiated: float | None = None
        self.handshaken: float | None = None
        self.seconds = 0.0
        self.error: TunnelError | None = None
        self.exit: Exit | None = None
        if observers.began:
            observers.tell(observers.began, self)

    # What is known

    @property
    def isVerified(self) -> bool:
        """
        Whether TLS is up, with a peer that is who it has to be.
        """
        return bool(self.version)

    @property
    def isStranger(self) -> bool:
        """
        Whether nobody has come to TLS, and to be who he has to be.
        """
        return not (self.version or self.client)

    @property
    def outcome(self) -> str:
        """
        How it ended: the name of its error, or C{clean}; empty while it goes on.
        """
        if self.stage is not ENDED:
            return ""
        return CLEAN if self.error is None else self.error.reason

    @property
    def toNetwork(self) -> int:
        """
        Bytes that were sent to the network inside TLS.
        """
        network = self._network
        return self._counted[0] if network is None else network.sent

    @property
    def toPlain(self) -> int:
        """
        Bytes that came from the network inside TLS.
        """
        network = self._network
        return self._counted[1] if network is None else network.received

    @property
    def certificate(self) -> x509.Certificate | None:
        """
        The certificate that the network peer has been verified by, while the connection lasts.
        """
        network = self._network
        return None if network is None or self.identity is None else network.peerCertificate

    @property
    def chain(self) -> Sequence[x509.Certificate]:
        """
        The certificates between that and the anchor that vouches for it, while the connection
        lasts; none where a session was resumed.
        """
        network = self._network
        return () if network is None or self.identity is None else network.peerChain

    # What happens

    def locate(self, accepted: ILeg) -> Address:
        """
        The address that was connected to, which a header may have said, and which the leg
        C{accepted} is asked for once.
        """
        if self.local is None:
            self.local = accepted.local
        return self.local

    def cameBy(self, sender: Address, header: Header) -> None:
        """
        The connection was made by C{sender}, who says with C{header} for whom.
        """
        self.sender, self.header = sender, header
        self.local = header.destination
        self.uniqueID = header.value(UNIQUE_ID) or b""

    def advance(self, stage: Stage) -> None:
        """
        It has come to C{stage}.
        """
        now = self._clock.seconds()
        if self.stage is NEGOTIATING:
            self.negotiated = now - self._since
        self.stage, self._since = stage, now
        if self._observers.advanced:
            self._observers.tell(self._observers.advanced, self)

    def restart(self) -> None:
        """
        Another server is tried: what was negotiated with the one before counts for nothing.
        """
        self.stage = ACCEPTED
        self.negotiated = self.handshaken = self._network = self.identity = None
        self.version = self.suite = self.group = self.anchors = ""
        self.alpn = b""
        self.isAnnounced = self.isResumed = self.owesCertificate = False

    @property
    def isOverheard(self) -> bool:
        """
        Whether anybody wants to know what is said in clear.
        """
        return bool(self._observers.said)

    def say(self, isOurs: bool, words: bytes) -> None:
        """
        Something was said in clear on the network; see L{IObserver.said}.
        """
        self._observers.tell(self._observers.said, self, isOurs, words)

    @property
    def isWatched(self) -> bool:
        """
        Whether anybody wants to know of the messages of TLS.
        """
        return bool(self._observers.exchanged)

    def exchange(self, message: Message) -> None:
        """
        A message of TLS was sent or received on the network.
        """
        self._observers.tell(self._observers.exchanged, self, message)

    def admit(self, accepted: ILeg) -> None:
        """
        In bridge mode: TLS is up on the leg C{accepted}, and its peer is who it has to be.
        """
        session = accepted.session
        assert session is not None
        self.serverName = session.serverName
        self.client = Client(
            session.identity,
            session.version,
            session.suite,
            session.group,
            session.alpn,
            session.isResumed,
        )

    def verify(self, network: ILeg) -> None:
        """
        TLS is up on the leg C{network}, and its peer is who it has to be.
        """
        session = network.session
        assert session is not None
        self._network = network
        self.handshaken = self._clock.seconds() - self._since
        self.version, self.suite, self.group = session.version, session.suite, session.group
        self.alpn, self.serverName = session.alpn, session.serverName or self.serverName
        self.identity, self.anchors = session.identity, session.provenBy
        self.isResumed = session.isResumed
        self.owesCertificate = session.owesCertificate
        if self._observers.verified:
            self._observers.tell(self._observers.verified, self)

    def end(self, error: TunnelError | None) -> None:
        """
        It is over.

        @param error: why, if that was not a clean end.
        """
        network, self._network = self._network, None
        if network is not None:
            self._counted = network.sent, network.received
        self.error = error
        self.seconds = self._clock.seconds() - self.began
        self.reached, self.stage = self.stage, ENDED
        if self._observers.ended:
            self._observers.tell(self._observers.ended, self)
