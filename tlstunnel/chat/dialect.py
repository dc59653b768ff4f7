"""
The dialect whose dialogue comes from a chat script, for protocols that have no class of their own.

A L{chatDialect} is made of one script, which plays one side: with C{-c} it talks to the remote
server, with C{-s} it plays the server.  Like every dialect it ends at the switch, and with nothing
left unread there.  How a script is read is in L{tlstunnel.chat.parse}, how its steps are done in
L{tlstunnel.chat.run}.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from twisted.logger import Logger

from tlstunnel.chat.run import Run
from tlstunnel.chat.steps import Script
from tlstunnel.errors import ForeignProtocol, TimedOut
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.protocols.base import ClientRole, Dialect, Role, ServerRole
from tlstunnel.protocols.foreign import rejectForeign
from tlstunnel.protocols.setting import Setting

_log = Logger()

#: The bytes that a foreign protocol is known by, at most.
_FOREIGN_START_BYTES = 8


async def _perform(role: Role, script: Script, lastWrite: Callable[[bytes], None]) -> None:
    """
    Run C{script} on the network leg.

    The buffer is looked at before the last send, and again by the switch.

    @param lastWrite: sends what stands behind the last expect.
    """
    role.maxBytes = script.maxBytes
    run = Run(script, role, _log, str(role.accepted or ""), role.setting.tunnel)
    try:
        with role.within(script.total, "the script") as limit:
            await run.converse()
            role.checkEmpty()
            await run.conclude(lastWrite)
    except TimedOut as error:
        if not limit.hasPassed:
            raise
        raise TimedOut(
            f"the script failed with code 3: its total of {script.total} s is over"
        ) from error


class ChatClient(ClientRole):
    """
    Talks to a remote server as a script has it.

    @cvar script: the script.
    """

    script: ClassVar[Script]

    async def negotiate(self) -> None:
        """
        The script, which has its own limits.
        """
        await _perform(self, self.script, self.write)

    def appGreeting(self) -> bytes:
        """
        What GREETING says: the tunnel's own words.
        """
        return self.script.greeting or b""


class ChatServer(ServerRole):
    """
    Plays the server of one fixed dialogue.

    @cvar script: the script.
    """

    script: ClassVar[Script]

    def __init__(self, setting: Setting, deadlines: Deadlines) -> None:
        super().__init__(setting, deadlines)
        self._start = b""

    def dataReceived(self, data: bytes | memoryview) -> None:
        """
        Cut a client off that speaks another protocol in clear (rule 13), which a script would just
        skip; but a binary protocol may begin with anything.
        """
        isText = not (self.script.binary or self.transport.isTLS)
        if isText and len(self._start) < _FOREIGN_START_BYTES:
            self._start += bytes(data[:_FOREIGN_START_BYTES])
            try:
                rejectForeign(self._start)
            except ForeignProtocol as error:
                self.fail(error)
                return
        super().dataReceived(data)

    async def negotiate(self) -> None:
        """
        The script, which has its own limits; its last send is the go-ahead.
        """
        await _perform(self, self.script, self.goAheadExactly)

    async def meetBackend(self) -> None:
        """
        What SWALLOW says: the client has had its greeting from the script.
        """
        peer, tunnel = str(self.accepted or ""), self.setting.tunnel
        await Run(self.script, self.plain, _log, peer, tunnel).swallow()


@dataclass(frozen=True, eq=False)
class ChatDialect(Dialect):
    """
    The dialect of one script; only the side that the script plays is of use.  Two are equal if
    their scripts are.

    @ivar source: reads the script.
    @ivar script: what was read.
    """

    source: Callable[[], Script] | None = None
    script: Script | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ChatDialect) and self.script == other.script

    def __hash__(self) -> int:
        return hash(self.script)

    def renewed(self) -> Dialect:
        """
        Read the script again.
        """
        return self if self.source is None else chatDialect(self.source)


def chatDialect(source: Callable[[], Script]) -> ChatDialect:
    """
    The dialect that a script describes.

    @param source: reads the script, now and at each reload.
    @raise ScriptError: if that cannot be run.
    """
    script = source()
    own = {"script": script}
    return ChatDialect(
        name="chat",
        client=type("ScriptedClient", (ChatClient,), own),
        server=type("ScriptedServer", (ChatServer,), own),
        summary=f"the script {script.name}",
        notices=tuple(map(str, script.notices)),
        # The script's own total comes first, and has the better words.
        negotiationSeconds=script.total + 1.0,
        # Without a GREETING the app gets what the server says inside TLS.
        silentServer=script.greeting is not None,
        source=source,
        script=script,
    )
