"""
One connection: in clear on a socket, and TLS on the same socket once C{startTLS} was called.

A L{Leg} is the transport of everything that speaks on a connection, from its first byte to its
last: of a dialect before the switch and of the relay after it.  It works on the raw socket, so
that nothing has to be handed over at the switch, and it keeps what Twisted's own TLS transport does
not have: each direction ends on its own, with TLS as without, and an end without close_notify is
not mistaken for a clean one.  It knows sockets, the reactor and wires, and nothing of protocols,
tunnels or limits.

How it works
============

Three parties call a leg.  The reactor calls C{doRead}, C{doWrite} and C{connectionLost} when the
socket is ready or has hung up.  The speaker, an L{ISpeaker}, calls the methods of L{ILeg}.  The leg
itself calls the speaker, in the order in which the peer does things, and its producer, who is
paused while the peer does not take what it produces.  What bytes mean on the socket is up to the
wire (L{tlstunnel.net.wire}): L{Clear} at first, L{TLS} from C{startTLS} on.

A leg as a whole, its output (L{tlstunnel.net.outgoing}) and its input have a state each::

    OPEN --startTLS--> HANDSHAKING --handshakeCompleted--> OPEN
    any --loseConnection, abortConnection, connectionLost--> CLOSED

    output  OPEN --loseWriteConnection--> ENDING --all is sent, the end too--> ENDED
            any --writeConnectionLost, or the leg is closed--> ENDED
    input   open --readConnectionLost--> ended

Reading: the socket is watched from C{resumeProducing} on.  C{pauseProducing} only takes note; the
watching ends when something arrives nevertheless, since most pauses are over by then.  A handshake
reads whether paused or not, else it would stand still; its steps take turns with those of others
(L{tlstunnel.net.turns}).

Writing: what the socket does not take at once is the tail, which is sent when it takes more; while
there is one, the producer is paused.  So memory holds no more than one read of the producer, and
what a dialect says.

Failures: whatever ends a leg is told once, by C{connectionLost} of the speaker, when the leg is
closed already; what the speaker closes itself, it is not told of.  One failure is not the end: a
peer that takes no more may have ended cleanly before, and that lies unread still.  Then only the
output is over, by C{writeConnectionLost}, and reading goes on to the end, whichever it is.

What must never happen:

    - Anything is delivered after the peer's end, after a failure, or while paused or handshaking.
    - More is read from the socket than C{readSize} allows: behind the last message in clear there
      may be TLS, which is for OpenSSL to read.
    - What was written before C{startTLS} goes out inside TLS, or what is written after it in clear.
    - OpenSSL writes to a socket whose peer is gone: it would read no more from then on.
    - Whole records stay behind in OpenSSL, where the reactor cannot know of them: a read leaves the
      socket dry, or stops between two records.
    - A descriptor is closed that the reactor still watches: its number is somebody else's next.
"""

from __future__ import annotations

import socket
from enum import Enum
from typing import Any, ClassVar

from twisted.python.failure import Failure
from zope.interface import implementer

from tlstunnel.address import Address
from tlstunnel.errors import Reset, Truncated, TunnelError
from tlstunnel.interfaces import ILeg
from tlstunnel.net import kernel
from tlstunnel.net.descriptor import noDescriptor
from tlstunnel.net.linger import Linger
from tlstunnel.net.outgoing import ENDED, ENDING, OPEN, Outgoing
from tlstunnel.net.quietwire import QuietTLS
from tlstunnel.net.tlswire import TLS
from tlstunnel.net.turns import turnsOf
from tlstunnel.net.wire import END, NOTHING, PEEKING, WANTS_READ, WANTS_WRITE, Clear, PeerGone
from tlstunnel.tls.creators import Creator
from tlstunnel.tls.records import RECORD_BYTES


class State(Enum):
    """
    What a leg does as a whole.
    """

    #: Bytes pass, in clear or inside TLS.
    OPEN = "open"

    #: Nothing is delivered, and what is written waits.
    HANDSHAKING = "handshaking"

    #: The socket is given up; nothing happens any more.
    CLOSED = "closed"


# As names of the module: to look one up in an Enum costs as much as to call a function.
_OPEN, _HANDSHAKING, _CLOSED = State


@implementer(ILeg)
class Leg(Outgoing):
    """
    A connection on a socket; see L{ILeg}.
    """

    __slots__ = (
        "_below",
        "_isQueued",
        "_linger",
        "_paused",
        "_state",
        "inputEnded",
        "isClosed",
        "isPeeking",
        "peer",
        "readSize",
        "skippable",
        "who",
    )

    #: What it speaks TLS with.
    _kindOfTLS: ClassVar[type[TLS]] = TLS

    def __init__(
        self,
        reactor: Any,
        linger: Linger,
        sock: socket.socket,
        peer: Address,
        below: Any = None,
    ) -> None:
        """
        @param linger: closes C{sock} where that may not be done at once.
        @param sock: connected and non-blocking; ours from now on.
        @param below: the stock transport that owns C{sock}, if one does: closing is left to it.
        """
        super().__init__(reactor, sock)
        self._wire = Clear(sock)
        self._output = OPEN
        self._tail = NOTHING
        self._flushing = None
        self._lost = None
        self.producer = None
        self.peer = peer
        self.who = "the peer"
        self.readSize = RECORD_BYTES
        self.isPeeking = False
        self.skippable = b""
        self.inputEnded = False
        self.isClosed = False
        self._linger = linger
        self._below = below
        self._state = _OPEN
        self._paused = True
        # Whether its handshake waits for a turn.
        self._isQueued = False

    # What there is to know

    @property
    def unacknowledged(self) -> int:
        """Bytes that the system has taken, and the peer's has not."""
        return 0 if self._state is _CLOSED else kernel.unacknowledged(self.sock)

    def progress(self) -> tuple[int, ...]:
        """
        Numbers that change when anything moves.
        """
        return self.received, self.sent, kernel.acknowledged(self.sock)

    # Reading

    def pauseProducing(self) -> None:
        """
        Deliver nothing until told otherwise.
        """
        self._paused = True

    def resumeProducing(self) -> None:
        """
        Deliver what arrives.
        """
        self._paused = False
        if not (self._reading or self.inputEnded or self.isClosed):
            self.startReading()

    def stopProducing(self) -> None:
        """
        The consumer is gone for good.
        """
        self.abortConnection()

    def doRead(self) -> None:
        """
        The socket has something for us.
        """
        if self._state is _HANDSHAKING:
            self._goOnInTurn()
            return
        if self._paused:
            self.stopReading()
            return
        data, event = self._wire.read(self.readSize, self.isPeeking)
        if data:
            self.speaker.dataReceived(data)
        if event is None or self.isClosed:
            return
        if event is END:
            self.inputEnded = True
            self.stopReading()
            self.speaker.readConnectionLost()
        elif event is WANTS_WRITE:
            self.stopReading()
            self.startWriting()
        elif isinstance(event, Truncated) and self._lost is not None:
            # That there was no close_notify is all that OpenSSL can tell of a reset.
            self._fail(self._lost)
        else:
            assert isinstance(event, TunnelError)
            self._fail(event)

    def pendingInput(self, count: int = 1) -> bytes:
        """
        The first bytes, C{count} at most, that lie unread in the socket; they stay there.
        """
        try:
            return self.sock.recv(count, PEEKING)
        except OSError:
            return b""

    # Writing

    def doWrite(self) -> None:
        """
        The socket takes more.
        """
        if self._state is _HANDSHAKING:
            self._goOnInTurn()
            return
        super().doWrite()
        if not (self._writing or self._reading or self._paused or self.inputEnded or self.isClosed):
            # Reading had to wait for this.
            self.startReading()
            self.doRead()

    # TLS

    def startTLS(self, creator: Creator) -> None:
        """
        Speak TLS from here on, after what was written so far.

        @raise RuntimeError: if this leg speaks TLS already: one TLS per connection (rule 14).
        """
        if self._wire.isTLS:
            raise RuntimeError("startTLS was called twice on one connection")
        before, self._tail = self._tail, NOTHING
        kind = QuietTLS if creator.isQuiet else self._kindOfTLS
        self._wire = kind(self.sock, creator, before, self.skippable, self.peer)
        self._state = _HANDSHAKING
        self.readSize = RECORD_BYTES
        if creator.isClient:
            self._handshake()
        else:
            self.startReading()

    def _goOnInTurn(self) -> None:
        """
        Go on with the handshake, now or when others have had their turn.
        """
        turns = turnsOf(self._reactor)
        if self._isQueued or not turns.take(self._handshake, self._takeTurn, self.peer):
            self._isQueued = True
            # Else it would be told of it again and again.  That the socket takes more is not told
            # often, and that we wait for it means that something is unsent.
            self.stopReading()

    def _takeTurn(self) -> None:
        self._isQueued = False
        self._handshake()

    def _handshake(self) -> None:
        wire = self._wire
        assert isinstance(wire, TLS)
        try:
            wants = wire.handshake()
        except TunnelError as error:
            self._fail(error)
            return
        if wants is WANTS_WRITE:
            self.stopReading()
            self.startWriting()
            return
        hadToWait = self._writing
        if hadToWait:
            self.stopWriting()
        if wants is WANTS_READ:
            self.startReading()
        else:
            self._state = _OPEN
            if self._tail or self._output is ENDING:
                self.startWriting()
            if not self._paused:
                self.startReading()
            self.speaker.handshakeCompleted()
        if hadToWait and self.isFlushed:
            self._flushed()

    # Ending

    def loseConnection(self) -> None:
        """
        Close this leg: with an orderly end of our direction if there was none yet, unless the
        peer does not even take what comes before it.
        """
        if self._output is OPEN and self._state is _OPEN and self._wire.isTLS:
            # In clear, closing is all it takes.
            self.loseWriteConnection()
        if not self._tail and not self._writing:
            self._close()
        else:
            self.abortConnection()

    def abortConnection(self) -> None:
        """
        Close this leg with a reset, and under TLS without close_notify.
        """
        self._abort(isGood=False)

    def _abort(self, isGood: bool) -> None:
        if self._state is not _CLOSED:
            if self._below is None:
                kernel.resetOnClose(self.sock)
            self._close(isAborted=True, isGood=isGood)

    def _close(self, isAborted: bool = False, isGood: bool = True) -> None:
        if self.isClosed:
            return
        if self._isQueued:
            self._isQueued = False
            turnsOf(self._reactor).leave(self._takeTurn, self.peer)
        if self._reading:
            self.stopReading()
        if self._writing:
            self.stopWriting()
        # Not before: our descriptor is what the reactor knows us by.
        self.fileno = noDescriptor
        self._state = _CLOSED
        self.isClosed = True
        self._output = ENDED
        self._tail = NOTHING
        self.producer = None
        isOver = isAborted or (self.inputEnded and not self._wire.hasMore())
        self._wire.close(isGood)
        self._closeSocket(isAborted, isOver)
        if self._flushing is not None:
            self._tellFlushed()

    def _closeSocket(self, isAborted: bool, isOver: bool) -> None:
        """
        @param isOver: whether nothing more can come that its peer still wants us to hear.
        """
        if self._below is not None:
            if isAborted:
                self._below.abortConnection()
            else:
                self._below.loseConnection()
        elif isOver:
            self.sock.close()
        else:
            self._linger.closeGently(self.sock)

    def _fail(self, error: TunnelError) -> None:
        """
        The peer or an error ended this leg.
        """
        if self._state is _CLOSED:
            return
        if isinstance(error, (Reset, Truncated)) or not self._wire.isTLS:
            # That a server sends no close_notify after ours spoils no session (RFC 5246, 7.2.1);
            # where there was none of ours, OpenSSL gives up the session itself.
            self._abort(isGood=isinstance(error, Truncated))
        else:
            # A fatal alert of ours may be on its way, which a reset would overtake.
            self._close(isGood=False)
        self.speaker.connectionLost(Failure(error.by(self.who)))

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor saw a hang-up, or is stopping; it has forgotten us already.
        """
        super().connectionLost(reason)
        if self._state is _CLOSED:
            return
        error = self._wire.hungUp(self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        if isinstance(error, PeerGone) and self._state is _OPEN:
            self._loseOutput(error)
            if not self._paused:
                self.resumeProducing()
        else:
            self._fail(error)
