"""
What all dialects share: the two roles, the switch, and the rules that hold in every one of them.

A dialect is a pair of classes, one that plays the client towards a remote server (L{ClientRole},
mode C{-c}) and one that plays the server (L{ServerRole}, mode C{-s}); each is the protocol of the
network leg, and has the plain leg beside it in C{plain}.  A role says what its protocol says, as a
dialogue over the bounded reading of L{tlstunnel.protocols.conversation}; the switch, and what is
checked at it, is here alone.  Timers, dialling, verification and logging: L{tlstunnel.proxy}.

Whoever writes a dialect finds all that it takes in this module (C{docs/writing-a-dialect.md}).
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import PlaintextAfterStartTLS, TooManyErrors, TunnelError
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.interfaces import IFilter
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.protocols.channels import IChannels
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.dialect import Dialect
from tlstunnel.protocols.filters import Filter
from tlstunnel.protocols.foreign import checkForeign, foreign, rejectForeign
from tlstunnel.protocols.guards import (
    MAX_FAREWELL_BYTES,
    AppSpeaks,
    SilenceBeforeApp,
    spokeFirst,
    tookLeave,
)
from tlstunnel.protocols.replies import Continuation, expectReply, readReply
from tlstunnel.protocols.setting import Setting

if TYPE_CHECKING:
    from tlstunnel.tls.creators import Creator

__all__ = [
    "ClientRole",
    "Continuation",
    "Conversation",
    "Dialect",
    "Filter",
    "Role",
    "ServerRole",
    "Setting",
    "checkForeign",
    "expectReply",
    "readReply",
    "rejectForeign",
]

#: Commands that a server role refuses before it gives up, and syntax errors (section 2).
MAX_REFUSED_COMMANDS = 10
MAX_SYNTAX_ERRORS = 3

#: Bounds of how long a server must stay silent inside TLS before the app is greeted, in seconds.
MIN_SILENCE_SECONDS = 0.01
MAX_SILENCE_SECONDS = 1.0

#: How long a server may take over a farewell, in seconds.
MAX_FAREWELL_SECONDS = 1.0

#: How long a client may take to hear that the backend turns it away, in seconds.
MAX_REFUSAL_SECONDS = 30.0


class Role(Conversation):
    """
    One side of a dialect, on the network leg of one connection.

    @ivar directStart: whether TLS bytes may follow the last message in the same segment, because
        the protocol knows no go-ahead (rule 3); what follows is left in the socket for OpenSSL.
    @ivar accepted: who connected to the tunnel, by whom the log knows the connection; from the
        beginning of L{negotiate} on.
    @ivar plain: the conversation on the plain leg.
    @ivar channels: the data connections beside this one, where the dialect has such.
    @ivar toPlain: filters of what flows from the network to the plain leg, in order.
    @ivar toNetwork: filters of what flows the other way.
    """

    directStart: bool = False
    accepted: TCPAddress | UNIXAddress | None = None
    _toldToGo = False

    plain: Conversation
    channels: IChannels

    def __init__(self, setting: Setting, deadlines: Deadlines) -> None:
        super().__init__(deadlines)
        self.setting = setting
        self.toPlain: list[IFilter] = []
        self.toNetwork: list[IFilter] = []

    async def negotiate(self) -> None:
        """
        Say and hear what leads up to the switch; returns when TLS is to begin.

        @raise TunnelError: in every other case (rule 4).
        """

    def checkEmpty(self) -> None:
        """
        Nothing may be left of the plaintext phase (rule 3).

        @raise PlaintextAfterStartTLS: if something is.
        """
        # Where TLS may follow at once, or answers a go-ahead, the socket is for OpenSSL to read.
        residue = self.unread if self.directStart or self._toldToGo else self.residue
        if residue:
            raise PlaintextAfterStartTLS("bytes behind the last plaintext message", residue)

    def switch(self, creator: Creator) -> Awaitable[object]:
        """
        The switch: from here on this leg speaks TLS.

        @return: fires when its peer is verified.
        @raise PlaintextAfterStartTLS: if the buffer is not empty.
        @raise TunnelError: if the handshake fails.
        """
        self.checkEmpty()
        return self.startTLS(creator)

    def letGo(self) -> None:
        """
        The relay has the filters, or there will be none: know them no longer, as they know us.
        """
        self.toPlain = []
        self.toNetwork = []


class ClientRole(Role):
    """
    Plays the client towards a remote server; C{plain} is the app, which was greeted before, in
    clear, where C{isAppGreeted}.

    @ivar answerTime: seconds that the last answer before the switch took.
    """

    isAppGreeted = False
    answerTime = _asked = 0.0

    def __init__(self, setting: Setting, deadlines: Deadlines) -> None:
        super().__init__(setting, deadlines)
        self._app: AppSpeaks | None = AppSpeaks()
        self.toNetwork.append(self._app)

    def connectionMade(self) -> None:
        """
        Remember when, as of what is said: where nothing is, a greeting is the answer to this.
        """
        self._asked = self.deadlines.clock.seconds()
        super().connectionMade()

    def write(self, data: bytes) -> None:
        """
        Send C{data}, and remember when: see L{answerTime}.
        """
        self._asked = self.deadlines.clock.seconds()
        super().write(data)

    def switch(self, creator: Creator) -> Awaitable[object]:
        """
        The same, and what was said last is answered by now.
        """
        self.answerTime = self.deadlines.clock.seconds() - self._asked
        return super().switch(creator)

    async def prepare(self) -> None:
        """
        Before the network is dialled: hear from the app what must be known.  What is read is put
        back, for the relay, and for the role that speaks to another server if this one does not
        serve.
        """

    def prepareAlone(self) -> None:
        """
        The same where the app speaks TLS itself: nothing is heard from it, and what must be known
        is as it was configured.
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
        if greeting and not self.isAppGreeted:
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

    async def demandSilence(self) -> None:
        """
        Inside TLS: hear whether the server stays silent for as long as its last answer took, within
        which a greeting from a spliced connection would arrive, and let nothing of it pass from
        then on before the app has spoken (rule 10).

        @raise Farewell: if the server takes its leave; the app is given its words.
        @raise ServerSpokeFirst: if it says anything else.
        """
        quiet = min(MAX_SILENCE_SECONDS, max(MIN_SILENCE_SECONDS, self.answerTime))
        said = await self.readWithin(quiet)
        if said:
            await self._partAfter(said)
        assert self._app is not None
        self._app.silence = SilenceBeforeApp(self.isFarewell, self.fail)
        self.toPlain.append(self._app.silence)

    async def _partAfter(self, said: bytes) -> NoReturn:
        """
        The server has begun to speak with C{said}.
        """
        with suppress(TunnelError), self.within(MAX_FAREWELL_SECONDS, "the farewell"):
            while len(said) <= MAX_FAREWELL_BYTES and self.isFarewell(said) is None:
                said += await self.readSome()
        if len(said) <= MAX_FAREWELL_BYTES and self.isFarewell(said):
            self.takeLeave(said)
        raise spokeFirst(said)

    def letGo(self) -> None:
        """
        One filter more.
        """
        super().letGo()
        self._app = None

    def isFarewell(self, said: bytes) -> bool | None:
        """
        Whether C{said}, all that the server has said inside TLS before the app has spoken, is its
        leave, and nothing else; C{None} as long as it may become that.

        L{tlstunnel.protocols.farewells} has the answers for protocols of lines.
        """
        return False

    def takeLeave(self, said: bytes) -> NoReturn:
        """
        End both legs, as the server does, with its farewell for the app.
        """
        self.plain.write(said)
        raise tookLeave(said)


class ServerRole(Role):
    """
    Plays the server; C{plain} is the backend, which is dialled after the switch.

    @ivar domain: the domain that the client has asked for in clear, if it has: in lower case, and
        without a dot at its end.  What it asks for within TLS must be served as the same.
    @ivar inClear: a message that an option lets pass without TLS: where L{negotiate} leaves one,
        the backend gets it over a connection of its own, and that is all there is.
    @ivar hasOthers: whether another backend is tried where one does not greet as it should.
    """

    domain: str = ""
    inClear: bytes = b""
    hasOthers: bool = False

    _refused = 0
    _syntaxErrors = 0
    _first = True

    def switch(self, creator: Creator) -> Awaitable[object]:
        """
        The same, under the name that the client has asked for.
        """
        return super().switch(creator.under(self.domain) if self.domain else creator)

    def readCommand(self) -> Coroutine[Any, Any, bytes]:
        """
        The next line of the client, in a line protocol.

        @raise ForeignProtocol: if its first one is of a protocol that is not ours (rule 13).
        """
        if not self._first:
            return self.readLine()
        self._first = False
        return self.wait(self._firstLine)

    def _firstLine(self) -> bytes | None:
        # What is no line is named before it is taken for a broken one.
        start = self.unread
        if not start:
            return None
        why = foreign(start)
        if why is None:
            return None
        if why:
            rejectForeign(start)
        return self._line()

    def goAhead(self, reply: bytes) -> None:
        """
        Tell the client, in a line, to start TLS, if nothing follows its request (rule 3).
        """
        self.goAheadExactly(reply + self.lineEnd)

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
        if self._refused >= MAX_REFUSED_COMMANDS:
            raise TooManyErrors("too many commands before STARTTLS")

    def refuseSyntax(self, reply: bytes, last: bytes = b"") -> None:
        """
        Tell the client that we do not understand, some times.

        @param last: what to say when it was the last time.
        @raise TooManyErrors: once it happened too often.
        """
        self._syntaxErrors += 1
        if self._syntaxErrors >= MAX_SYNTAX_ERRORS:
            if last:
                self.sendLine(last)
            raise TooManyErrors("too many syntax errors", cause="syntax")
        self.sendLine(reply)

    async def meetBackend(self) -> None:
        """
        After the switch: read from the backend what the client was told already.

        @raise TunnelError: if the backend does not greet as its protocol demands.
        """

    async def turnAway(self, telling: Coroutine[Any, Any, None]) -> None:
        """
        The backend has said no instead of its greeting: let the client hear so, since the words
        tell whether it is worth to try again.  They have to be the answer to something; unasked
        they would look like those of a spliced connection (rule 10).  Where there is another
        backend, the client hears of that one.

        @param telling: does so, as L{refuseAll} does it in protocols of lines.
        """
        if self.hasOthers:
            telling.close()
            return
        # The backend has nothing more to say, and may go as it likes.
        self.plain.whenLost = None
        with suppress(TunnelError), self.within(MAX_REFUSAL_SECONDS, "turning the client away"):
            await telling

    async def refuseAll(self, reply: bytes, bye: bytes = b"") -> None:
        """
        Refuse the client's commands.

        @param reply: the line with which that is done.
        @param bye: what a client is told that quits, and is the end; empty where C{reply} is.
        """
        while (await self.readLine()).strip().upper() != b"QUIT" or not bye:
            self.refuse(reply)
            if not bye:
                return
        self.sendLine(bye)
