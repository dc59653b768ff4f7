"""
The dialect whose dialogue comes from a chat script, for protocols that have no class of their own.

A L{chatDialect} is made of one script, which plays one side: with C{-c} it talks to the remote
server, with C{-s} it plays the server.  Like every dialect it ends at the switch, and with nothing
left unread there.  How a script is read is in L{tlstunnel.chat}, how its steps are done in
L{tlstunnel.chatrun}.
"""

from __future__ import annotations

from typing import ClassVar

from twisted.logger import Logger

from tlstunnel.chatrun import Run
from tlstunnel.chatsteps import Script
from tlstunnel.deadlines import Deadlines
from tlstunnel.errors import ForeignProtocol, TimedOut
from tlstunnel.protocols.base import (
    _HTTP_METHODS,
    ClientRole,
    Dialect,
    Role,
    ServerRole,
    Setting,
)

_log = Logger()

# What a client says first that is in the wrong place here (rule 13).
_FOREIGN = {
    b"\x16\x03": "starts TLS at once: this port speaks its protocol in clear first",
    b"SSH-": "speaks SSH",
    **dict.fromkeys(_HTTP_METHODS, "speaks HTTP"),
}


async def _perform(role: Role, script: Script) -> None:
    """
    Run C{script} on the network leg.

    The buffer is looked at before the last send, which may be the go-ahead, and again by the
    switch.
    """
    role.maxBytes = script.maxBytes
    run = Run(script, role, _log)
    try:
        with role.within(script.total, "the script") as expired:
            await run.converse()
            role.checkEmpty()
            await run.conclude()
    except TimedOut as error:
        if error is not expired:
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
        await _perform(self, self.script)

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
        # The client's first bytes, as long as they may begin a foreign protocol; binary ones may
        # begin with anything.
        self._start: bytes | None = None if self.script.binary else b""

    def dataReceived(self, data: bytes | memoryview) -> None:
        """
        Cut a client off that speaks another protocol (rule 13): a script would just skip it.
        """
        if self._start is not None:
            self._start += bytes(data[:8])
            for start, what in _FOREIGN.items():
                if self._start.startswith(start):
                    self.fail(ForeignProtocol(f"the client {what}", self._start))
                    return
            if not any(start.startswith(self._start) for start in _FOREIGN):
                self._start = None
        super().dataReceived(data)

    async def negotiate(self) -> None:
        """
        The script, which has its own limits.
        """
        await _perform(self, self.script)

    async def meetBackend(self) -> None:
        """
        What SWALLOW says: the client has had its greeting from the script.
        """
        await Run(self.script, self.plain, _log).swallow()


def chatDialect(script: Script) -> Dialect:
    """
    The dialect that C{script} describes.  Only the side that the script plays is of use.
    """

    class Client(ChatClient):
        """Of this script."""

        # Without a GREETING the app gets what the server says inside TLS.
        silentServer = script.greeting is not None

    class Server(ChatServer):
        """Of this script."""

    Client.script = Server.script = script
    return Dialect(name="chat", client=Client, server=Server, summary=f"the script {script.name}")
