"""
What all dialects share: the two roles, the switch, and the rules that hold in every one of them.

A dialect is a pair of classes, one that plays the client towards a remote server (L{ClientRole},
mode C{-c}) and one that plays the server (L{ServerRole}, mode C{-s}); each is the protocol of the
network leg, and has the plain leg beside it in C{plain}.  A role says what its protocol says, as a
dialogue over the bounded reading of L{tlstunnel.conversation}; the switch, and what is checked at
it, is here and nowhere else.  Timers, dialling, verification and logging belong to
L{tlstunnel.proxy}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from twisted.plugin import IPlugin
from zope.interface import implementer

from tlstunnel.conversation import Conversation
from tlstunnel.deadlines import Deadline, Deadlines
from tlstunnel.errors import (
    ForeignProtocol,
    Malformed,
    PlaintextAfterStartTLS,
    Refused,
    ServerSpokeFirst,
    Temporary,
    TimedOut,
    TooManyErrors,
)
from tlstunnel.identity import Identity, Selector
from tlstunnel.interfaces import IChannels, IDialect, IFilter

if TYPE_CHECKING:
    from tlstunnel.tls import Creator

#: Commands that a server role refuses before it gives up, and syntax errors (section 2).
REFUSED_COMMANDS = 10
SYNTAX_ERRORS = 3

#: Bounds of how long a server must stay silent inside TLS before the app is greeted, in seconds.
SHORTEST_SILENCE = 0.01
LONGEST_SILENCE = 1.0

# What TLS on TCP begins with; the third byte tells it from a length in a binary protocol.
_TLS_RECORDS = (b"\x16\x03\x01", b"\x16\x03\x02", b"\x16\x03\x03")

_HTTP_METHODS = (
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"PUT ",
    b"OPTIONS ",
    b"CONNECT ",
    b"DELETE ",
    b"PRI ",
)


@dataclass(frozen=True)
class Setting:
    """
    What a role may know of the tunnel it works for.

    @ivar ourName: who we are to the network: the domain of -L, else a name of this host.
    @ivar peerName: who the other end is to the app: the domain of -R, else the host of -r.
    @ivar authority: where -r leads, as in a URL: a host, and a port where it is not 80.
    @ivar localID: -L.
    @ivar remoteID: -R, or what stands for it.
    @ivar explicit: whether -R was given.
    @ivar options: what --dialect-option gave.
    @ivar covers: whether our certificate is for a domain (server mode).
    """

    ourName: bytes = b"tunnel.invalid"
    peerName: bytes = b"server.invalid"
    authority: bytes = b"server.invalid"
    localID: Identity | None = None
    remoteID: Identity | Selector | None = None
    explicit: bool = False
    options: frozenset[str] = frozenset()
    covers: Callable[[str], bool] = lambda domain: False

    def isOurs(self, domain: str) -> bool:
        """
        Whether we serve C{domain}, for which a client asks before TLS.
        """
        return (self.localID is not None and self.localID.domain == domain) or self.covers(domain)


class Role(Conversation):
    """
    One side of a dialect, on the network leg of one connection.

    @ivar directStart: whether TLS bytes may follow the last message in the same segment, because
        the protocol knows no go-ahead (rule 3); what follows is left in the socket for OpenSSL.
    @ivar total: seconds for L{negotiate}, where that is not for the tunnel's limits to say.
    @cvar talks: whether anything is said before the switch, or to the plain leg after it.
    @ivar plain: the conversation on the plain leg.
    @ivar toPlain: filters of what flows from the network to the plain leg, in order.
    @ivar toNetwork: filters of what flows the other way.
    @cvar opensChannels: whether the protocol has data connections beside this one; then
        C{channels} (L{tlstunnel.interfaces.IChannels}) is there once both legs are.
    """

    directStart: bool = False
    talks: ClassVar[bool] = True
    total: float | None = None
    opensChannels: ClassVar[bool] = False

    plain: Conversation
    channels: IChannels

    def __init__(self, setting: Setting, deadlines: Deadlines) -> None:
        super().__init__(deadlines)
        self.setting = setting
        self.toPlain: list[IFilter] = []
        self.toNetwork: list[IFilter] = []
        self.answerTime = 0.0
        self._asked: float | None = None
        self._toldToGo = False

    async def negotiate(self) -> None:
        """
        Say and hear what leads up to the switch; returns when TLS is to begin.

        @raise TunnelError: in every other case (rule 4).
        """

    def write(self, data: bytes) -> None:
        """
        Send C{data}, and remember when: see L{answerTime}.
        """
        self._asked = self.deadlines.clock.seconds()
        super().write(data)

    def checkEmpty(self) -> None:
        """
        Nothing may be left of the plaintext phase (rule 3).

        @raise PlaintextAfterStartTLS: if something is.
        """
        # Where TLS may follow at once, or answers a go-ahead, the socket is for OpenSSL to read.
        residue = self.unread if self.directStart or self._toldToGo else self.residue
        if residue:
            raise PlaintextAfterStartTLS("bytes behind the last plaintext message", residue)

    async def switch(self, creator: Creator) -> None:
        """
        The switch: from here on this leg speaks TLS; returns when its peer is verified.

        @raise PlaintextAfterStartTLS: if the buffer is not empty.
        @raise TunnelError: if the handshake fails.
        """
        self.checkEmpty()
        if self._asked is not None:
            self.answerTime = self.deadlines.clock.seconds() - self._asked
        self.isUp = False
        self.transport.startTLS(creator)
        await self.wait(lambda: self.isUp or None, reading=False)

    isUp = False

    def handshakeCompleted(self) -> None:
        """
        TLS is up.
        """
        self.isUp = True
        super().handshakeCompleted()


class ClientRole(Role):
    """
    Plays the client towards a remote server; C{plain} is the app.

    @ivar silentServer: inside TLS the server must wait until the app spoke (rule 10).
    @cvar learnsPeer: whom to expect is heard from the app, where -R does not say it.
    """

    silentServer: bool = True
    learnsPeer: ClassVar[bool] = False

    async def prepare(self) -> None:
        """
        Before the network is dialled: hear from the app what must be known.
        """

    async def readGreeting(self) -> None:
        """
        Hear the server's greeting in clear, if the protocol has one; nothing is said meanwhile
        (rule 9).
        """

    async def greetApp(self) -> None:
        """
        After verification: tell the app what it waits for, from constants and configured names
        (rule 1).
        """
        greeting = self.appGreeting()
        if greeting:
            self.plain.write(greeting)

    def appGreeting(self) -> bytes:
        """
        What the app is given once the server is verified.
        """
        return b""

    def expected(self) -> Identity | Selector | None:
        """
        Who must be at the other end.
        """
        return self.setting.remoteID

    async def staySilent(self) -> None:
        """
        Hear whether the server stays silent for as long as its last answer took: a greeting from
        a spliced connection would arrive within that time (rule 10).

        @raise ServerSpokeFirst: if it does not.
        """
        quiet = min(LONGEST_SILENCE, max(SHORTEST_SILENCE, self.answerTime))
        try:
            with self.within(quiet, "silence") as passed:
                said = await self.readSome()
        except TimedOut as timeout:
            if timeout is not passed:
                raise
        else:
            raise ServerSpokeFirst("inside TLS the server spoke before the app", said)


class ServerRole(Role):
    """
    Plays the server; C{plain} is the backend, which is dialled after the switch.

    @cvar earlyDial: dial the backend before the negotiation, because its first words are needed.
    @ivar inClear: a message that an option lets pass without TLS: where L{negotiate} leaves one,
        the backend gets it over a connection of its own, and that is all there is.
    @cvar demands: the option of its dialect without which it does not serve, as it names a risk.
    """

    earlyDial: ClassVar[bool] = False
    demands: ClassVar[str] = ""
    inClear: bytes = b""

    def __init__(self, setting: Setting, deadlines: Deadlines) -> None:
        super().__init__(setting, deadlines)
        self._refused = 0
        self._syntaxErrors = 0
        self._first = True

    async def readCommand(self) -> bytes:
        """
        The next line of the client, in a line protocol.

        @raise ForeignProtocol: if its first one is of a protocol that is not ours (rule 13).
        """
        return await (self._checkForeign() if self._first else self.readLine())

    async def _checkForeign(self) -> bytes:
        self._first = False
        start = await self.readSome()
        self.putBack(start)
        rejectForeign(start)
        line = await self.readLine()
        rejectForeign(line)
        return line

    def goAhead(self, reply: bytes) -> None:
        """
        Tell the client, in a line, to start TLS, if nothing follows its request (rule 3).
        """
        self.goAheadExactly(reply + b"\r\n")

    def goAheadExactly(self, message: bytes) -> None:
        """
        The same with C{message} as it is, for binary protocols.
        """
        self.checkEmpty()
        self.write(message)
        self._toldToGo = True

    def refuse(self, reply: bytes) -> None:
        """
        Tell the client that its command needs TLS, some times.

        @raise TooManyErrors: once it has asked too often.
        """
        self.sendLine(reply)
        self.countRefusal()

    def countRefusal(self) -> None:
        """
        Count a command that was refused.

        @raise TooManyErrors: once that has happened too often.
        """
        self._refused += 1
        if self._refused >= REFUSED_COMMANDS:
            raise TooManyErrors("too many commands before STARTTLS")

    def refuseSyntax(self, reply: bytes, last: bytes = b"") -> None:
        """
        Tell the client that we do not understand, some times.

        @param last: what to say when it was the last time.
        @raise TooManyErrors: once it happened too often.
        """
        self._syntaxErrors += 1
        if self._syntaxErrors >= SYNTAX_ERRORS:
            if last:
                self.sendLine(last)
            raise TooManyErrors("too many syntax errors")
        self.sendLine(reply)

    async def meetBackend(self) -> None:
        """
        After the switch: read from the backend what the client was told already.

        @raise TunnelError: if the backend does not greet as its protocol demands.
        """


def rejectForeign(start: bytes) -> None:
    """
    Look at what a client says first (rule 13).

    @param start: its first line, or as much of it as there is.
    @raise ForeignProtocol: if it is of a protocol that none of ours can be taken for.
    """
    if start.startswith(b"\x16"):
        raise ForeignProtocol(
            "the client starts TLS at once: this port speaks its protocol in clear first", start
        )
    if start.startswith(_HTTP_METHODS) or start.endswith((b" HTTP/1.1", b" HTTP/1.0")):
        raise ForeignProtocol("the client speaks HTTP", start)
    if start.startswith(b"SSH-"):
        raise ForeignProtocol("the client speaks SSH", start)


async def readReply(conversation: Conversation) -> tuple[bytes, list[bytes]]:
    """
    One numeric reply: lines of three digits and a hyphen, the last with a space or nothing behind
    the code, all with the same code (RFC 5321, section 4.2.1; rule 16).

    @return: the code, and the lines.
    @raise Malformed: if it is no such reply.
    """
    lines: list[bytes] = []
    code = b""
    while True:
        line = await conversation.readLine()
        lines.append(line)
        if len(line) < 3 or not line[:3].isdigit() or line[3:4] not in (b"", b" ", b"-"):
            raise Malformed("not a numeric reply", line)
        if code and line[:3] != code:
            raise Malformed("one reply with two codes", line)
        code = line[:3]
        if line[3:4] != b"-":
            return code, lines


async def expectReply(conversation: Conversation, *codes: bytes) -> bytes:
    """
    Read one numeric reply, which must carry one of C{codes}.

    @return: its code.
    @raise Temporary: if it is another one that starts with 4.
    @raise Refused: if it is yet another.
    """
    code, lines = await readReply(conversation)
    if code not in codes:
        wanted = b" or ".join(codes).decode()
        error = Temporary if code.startswith(b"4") else Refused
        raise error(f"expected {wanted}", lines[-1])
    return code


@implementer(IFilter)
class SilenceBeforeApp:
    """
    Lets nothing pass from the server before the app has spoken (rule 10).
    """

    def __init__(self) -> None:
        self.done = False

    def feed(self, data: bytes) -> bytes:
        """
        The server spoke: a violation unless the app did before.
        """
        if self.done:
            return data
        raise ServerSpokeFirst("inside TLS the server spoke before the app", data)

    def flush(self) -> bytes:
        """
        Nothing is kept back.
        """
        return b""


@implementer(IFilter)
class Greeted:
    """
    Ends the wait for a server that has to speak first (rule 10): one that does not was asked in
    clear already, by somebody on the way, and waits for a command.
    """

    def __init__(self, due: Deadline) -> None:
        self.done = False
        self._due = due

    def feed(self, data: bytes) -> bytes:
        """
        The server greets.
        """
        self._due.cancel()
        self.done = True
        return data

    def flush(self) -> bytes:
        """
        Nothing is kept back.
        """
        return b""


@implementer(IFilter)
class AppSpeaks:
    """
    The app's first bytes: they lift a L{SilenceBeforeApp}, and must not be TLS (rule 13).
    """

    def __init__(self, silence: SilenceBeforeApp | None = None) -> None:
        self.done = False
        self._silence = silence
        self._start = b""

    def feed(self, data: bytes) -> bytes:
        """
        The app speaks.
        """
        if self._silence is not None:
            self._silence.done = True
        self._start += data
        if self._start in (b"\x16", b"\x16\x03"):
            return b""
        if self._start.startswith(_TLS_RECORDS):
            raise ForeignProtocol(
                "the app starts TLS itself: let it speak its protocol in clear to the tunnel",
                self._start,
            )
        self.done = True
        return self.flush()

    def flush(self) -> bytes:
        """
        The bytes looked at.
        """
        start, self._start = self._start, b""
        return start


@implementer(IPlugin, IDialect)
@dataclass(frozen=True)
class Dialect:
    """
    The description of one dialect; see L{IDialect}.
    """

    name: str
    client: type[ClientRole]
    server: type[ServerRole]
    summary: str = ""
    aliases: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    implicitPort: int | None = None
    alpn: tuple[bytes, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    def renewed(self) -> IDialect:
        """
        What a reload makes of it; nothing of the built-in dialects can have changed.

        @raise ConfigurationError: if what it was made from has become wrong.
        """
        return self
