"""
The interfaces between the parts of tlstunnel, and to those who extend it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from tlstunnel.address import Address
    from tlstunnel.tls.creators import Creator
    from tlstunnel.tls.messages import Message
    from tlstunnel.tunnel.record import Record


class ISpeaker(Interface):
    """
    What speaks on a leg: a conversation before the relay, one direction of the relay from then on.
    """

    def dataReceived(data: memoryview) -> None:
        """
        Bytes arrived; C{data} is valid until this returns.
        """

    def readConnectionLost() -> None:
        """
        The peer ended its direction cleanly: FIN, or under TLS close_notify.
        """

    def writeConnectionLost() -> None:
        """
        The peer takes no more; what it said before is still delivered, and how it ended.
        """

    def handshakeCompleted() -> None:
        """
        TLS is up; whether its peer is the expected one was decided within the handshake.
        """

    def connectionLost(reason: Failure) -> None:
        """
        The peer or an error ended the connection; C{reason} wraps a
        L{tlstunnel.errors.TunnelError}.
        """


class ILeg(IPushProducer):
    """
    One connection, from its first byte to its last: all that a conversation, the relay and a test
    may ask of it.  A leg starts out paused.

    L{tlstunnel.net.leg.Leg} has a socket, L{tlstunnel.testing.legs.MemoryLeg} none; both pass
    L{tlstunnel.testing.contract.LegContract}.
    """

    peer = Attribute(
        "L{TCPAddress} or L{UNIXAddress} of L{tlstunnel.address}: the other end, IPv4 also where "
        "the system has it mapped into IPv6."
    )
    local = Attribute("The same of our end.")
    who = Attribute("L{str}: what the log calls the other end, as C{the app}.")
    speaker = Attribute("L{ISpeaker}: who is told what happens here.")
    producer = Attribute(
        "L{IPushProducer} or C{None}: whoever is paused while our peer is slower than it is."
    )
    readSize = Attribute("L{int}: bytes that are read in one turn of the reactor at most.")
    isPeeking = Attribute("L{bool}: in clear, look at what arrived, and leave it there.")
    skippable = Attribute(
        "L{bytes}: bytes that may come in clear between the last message and TLS, and mean nothing."
    )
    isTLS = Attribute("L{bool}: whether C{startTLS} was called.")
    session = Attribute(
        "L{tlstunnel.tls.session.Session} or C{None}: what is known of its TLS, once there is."
    )
    peerCertificate = Attribute(
        "L{cryptography.x509.Certificate} or C{None}: what the peer has shown under TLS, as long "
        "as this leg is not closed."
    )
    peerChain = Attribute(
        "Certificates between that and the anchor by which OpenSSL has verified it, in order, as "
        "long as this leg is not closed."
    )
    channelBinding = Attribute(
        "L{tlstunnel.tls.channelbinding.ChannelBinding} or C{None}: what both ends of its TLS know "
        "alone, while that is up."
    )
    received = Attribute("L{int}: bytes read since the last switch, of what TLS protects.")
    sent = Attribute("L{int}: the same, written.")
    inputEnded = Attribute("L{bool}: whether the peer ended its direction cleanly.")
    isFlushed = Attribute("L{bool}: whether the system has taken all that was written.")
    isClosed = Attribute("L{bool}: whether this leg is closed.")
    unacknowledged = Attribute(
        "L{int}: bytes of what the system has taken that the peer's has not, and still may."
    )

    def whenFlushed() -> Deferred[None]:
        """
        Fires once all that was written is taken, or will never be; it can be cancelled.
        """

    def progress() -> tuple[int, ...]:
        """
        Numbers that change when anything moves, also where only a slow peer empties what the
        system has taken.
        """

    def write(data: bytes | memoryview) -> None:
        """
        Send C{data}, now as far as the system takes it, the rest when it is ready.
        """

    def pendingInput(count: int = 1) -> bytes:
        """
        The first bytes, C{count} at most, that have arrived and are not read; they stay there.
        """

    def startTLS(creator: Creator) -> None:
        """
        Speak TLS from here on, after what was written so far; C{handshakeCompleted} or
        C{connectionLost} of the speaker tells the outcome.

        @raise RuntimeError: if this leg speaks TLS already: one TLS per connection (rule 14).
        """

    def separateLines() -> None:
        """
        Inside TLS: from here on have no more than one line in each record that is written, for
        peers that take a record for a line.
        """

    def creatorBeside() -> Creator:
        """
        What makes more TLS with the peer of this leg, and with nobody else.

        @raise tlstunnel.errors.Closed: if this leg speaks no TLS, or is closed.
        """

    def loseWriteConnection() -> None:
        """
        End our direction once all is sent: FIN, or under TLS close_notify; the other goes on.
        """

    def loseConnection() -> None:
        """
        Close, with an orderly end of our direction if there was none yet, unless the peer does not
        even take what comes before it.
        """

    def abortConnection() -> None:
        """
        Close with a reset, and under TLS without close_notify.
        """


class IObserver(Interface):
    """
    Is told what becomes of connections: a log, counters, a status page.

    What it is given is the connection's L{Record}, which goes on changing.  An observer that raises
    is logged, and does no harm to the connection.
    """

    def began(record: Record) -> None:
        """
        A connection was accepted.
        """

    def verified(record: Record) -> None:
        """
        TLS is up, and its peer is who it has to be.
        """

    def advanced(record: Record) -> None:
        """
        It has come to another C{stage}.
        """

    def said(record: Record, isOurs: bool, words: bytes) -> None:
        """
        Something was said in clear on the network, before the switch.

        @param isOurs: whether we said it.
        @param words: a line with its end, or a part of a long one; raw and untrusted.
        """

    def exchanged(record: Record, message: Message) -> None:
        """
        A message of TLS was sent or received on the network.
        """

    def ended(record: Record) -> None:
        """
        It is over: C{outcome} says how.
        """

    def refused(peer: Address, reason: str) -> None:
        """
        A connection was refused for where it comes from, before anything was done for it: it has no
        record.

        @param reason: one of L{tlstunnel.tunnel.sources.REFUSALS}.
        """


class ITranscript(Interface):
    """
    Is told what is said in a conversation.
    """

    def received(data: bytes) -> None:
        """
        The peer said C{data}.
        """

    def sent(data: bytes) -> None:
        """
        We said C{data}.
        """

    def end(unread: bytes) -> None:
        """
        That was all, but for what has arrived and was not read.
        """


class IDialect(Interface):
    """
    How one protocol upgrades to TLS, on either side.

    A plugin module in C{tlstunnel.plugins} adds a dialect by holding an object that provides this;
    L{tlstunnel.protocols.base.Dialect} is the implementation that all built-in ones use.  What is
    the same on all connections is said here; what a connection brings with it is said by its role.
    """

    name = Attribute("L{str}: the IANA service name, which --starttls takes.")
    aliases = Attribute("L{tuple} of L{str}: other names that --starttls takes.")
    summary = Attribute("L{str}: what protocol it is and where it is specified, in one line.")
    ports = Attribute("L{tuple} of L{int}: where servers that upgrade listen.")
    implicitPort = Attribute(
        "L{int} or C{None}: where servers with TLS from the first byte listen."
    )
    alpn = Attribute("L{tuple} of L{bytes}: the registered ALPN ids (RFC 7301).")
    srvService = Attribute(
        "L{str} or C{None}: the service whose SRVNames (RFC 4985) are names of a domain too, where "
        "the protocol's specification wants them."
    )
    options = Attribute("L{dict}: what --dialect-option takes for it, each with its explanation.")
    values = Attribute(
        "L{tuple} of L{tlstunnel.protocols.options.OptionValue}: which of these take a value, and "
        "of which kind."
    )
    onlyIn = Attribute(
        "L{dict}: the options that mean something in one mode alone, each with that: C{client} or "
        "C{server}."
    )
    grants = Attribute(
        "L{dict}: server mode: the options with which there is no login but a certificate, each "
        "with what whoever may connect can do then: a verb and what belongs to it.  The log warns "
        "of it at start-up where anybody may connect."
    )
    favours = Attribute(
        "L{dict}: server mode: the ports at which servers often allow more to their own host, from "
        "which everybody comes by the tunnel, each with that: a verb and what belongs to it.  The "
        "log warns of it likewise."
    )
    notices = Attribute("L{tuple} of L{str}: what the log should say about it at start-up.")
    client = Attribute("Subclass of L{tlstunnel.protocols.base.ClientRole}.")
    server = Attribute("Subclass of L{tlstunnel.protocols.base.ServerRole}.")

    talks = Attribute(
        "L{bool}: whether anything is said before the switch, or to the plain leg after it.  Where "
        "not, nothing of the roles is called but C{expected} and C{switch}."
    )
    negotiationSeconds = Attribute(
        "L{float} or C{None}: how long C{negotiate} may take, where that is not for the tunnel's "
        "limits to say."
    )
    opensChannels = Attribute(
        "L{bool}: whether there are data connections beside this one; if so, each role has "
        "C{channels} (L{tlstunnel.protocols.channels.IChannels}) once both legs are there."
    )
    learnsPeer = Attribute(
        "L{bool}: client mode: whether the app says whom it wants, where -R does not."
    )
    marksEnd = Attribute(
        "L{bool}: whether the protocol says itself where data ends, so that nobody takes for whole "
        "what a connection brought that was cut; see L{tlstunnel.net.hold}."
    )
    silentServer = Attribute(
        "L{bool}: client mode: whether the server has to wait inside TLS until the app has spoken, "
        "so that one that does not was spliced in (rule 10)."
    )
    goesOn = Attribute(
        "L{bool}: whether what is said inside TLS goes on from what was agreed on in clear, so "
        "that no server with TLS from the first byte says the same."
    )
    earlyDial = Attribute(
        "L{bool}: server mode: whether the backend is dialled before the negotiation, because its "
        "first words are needed there (rule 2)."
    )
    lateDial = Attribute("L{str}: the option with which it is not; empty if there is none.")
    beginClient = Attribute(
        "Called with the L{Setting<tlstunnel.protocols.setting.Setting>} when a tunnel in client "
        "mode is about to be used, each time it is read: begins in a thread what takes longer than "
        "a turn may, such as the making of a key."
    )
    demands = Attribute(
        "L{str}: server mode: the option without which it does not serve, as that is a risk; empty "
        "if there is none (rule 18)."
    )

    def dialsEarly(options: Collection[str]) -> bool:
        """
        Server mode: whether the backend is dialled before the negotiation: C{earlyDial}, with these
        options.
        """

    def renewed() -> IDialect:
        """
        Make it again from what it was made from, at a reload; usually it is the same.

        @raise tlstunnel.errors.ConfigurationError: if that has become wrong; the old one stays.
        """


class IFilter(Interface):
    """
    Looks at, and changes, what flows in one direction of the relay, until it is done.

    L{tlstunnel.protocols.filters.Filter} is what those of the built-in dialects begin with.
    """

    done = Attribute("L{bool}: whether all that follows may pass without being looked at.")
    messages = Attribute(
        "L{int}: how many messages (lines, packets, tags) it has looked at.  A turn of the reactor "
        "is measured by it: a peer can send many thousands of them at once."
    )
    pieceBytes = Attribute(
        "L{int}: how many bytes it takes at once, as it stands now: few where each may be a "
        "message; many where it only searches for the end of something, and lets lie what is "
        "behind that.  0 while there is something that it let lie: C{feed} is then called with "
        "nothing, to go on with that, until there is nothing left."
    )

    def feed(data: bytes) -> bytes:
        """
        Take what arrived, cut anywhere.

        @return: what is to be passed on now; what was kept back comes with a later call.
        @raise tlstunnel.errors.TunnelError: if the connection must end; both legs are reset.
        """

    def flush() -> bytes:
        """
        The direction ended cleanly, or the filter is done.

        @return: what was kept back.
        """


class ISpontaneous(IFilter):
    """
    A filter that may have something to say also when nothing has arrived, as the answer to what the
    other direction has heard.  It is asked for it by C{feed} with no bytes, once it has called
    C{wake}, and the sink takes more.
    """

    wake = Attribute(
        "What it calls without arguments then; set by the direction that it filters.  It returns "
        "at once, and does nothing where that has ended."
    )
