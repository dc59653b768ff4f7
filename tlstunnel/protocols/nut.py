"""
NUT, the protocol of upsd, which watches power supplies (RFC 9271)::

    C: STARTTLS
    S: OK STARTTLS
    == TLS ==                           no greeting, neither before nor inside

Lines end in LF alone.  The client speaks first, before and inside TLS; the app is told nothing, and
nothing of the backend's is swallowed.  A client that asks for TLS inside TLS, as upsc does, is
refused by the server itself, and goes on.
"""

from __future__ import annotations

import re

from tlstunnel.errors import Malformed, Quit, Refused
from tlstunnel.protocols.base import ClientRole, Dialect, ServerRole

# What may stand behind GET (RFC 9271), by its first letter, which is that of no request of HTTP.
_QUERY = b"GET "
_QUERIES = frozenset(b"CDNTUV")

_ERROR = re.compile(rb"ERR (?P<code>[A-Z0-9-]+)(?: .*)?", re.IGNORECASE)

# What upsd's errors mean where it was asked for TLS, and the cause by which a hint is found.
_REASONS = {
    b"FEATURE-NOT-CONFIGURED": ("the peer has no certificate for TLS", "no certificate of upsd"),
    b"FEATURE-NOT-SUPPORTED": ("the peer was built without TLS", "no TLS in upsd"),
    b"ALREADY-SSL-MODE": ("the peer says that TLS is up already", "TLS before upsd"),
    b"UNKNOWN-COMMAND": ("the peer is too old to know STARTTLS", "no TLS in upsd"),
}

# RFC 9271, with the older names that upsd and its clients use.
_COMMANDS = frozenset(
    b"GET LIST SET INSTCMD USERNAME PASSWORD LOGIN ATTACH MASTER PRIMARY FSD".split()
)
_LEAVE = frozenset((b"LOGOUT", b"DETACH"))
_ANSWERS = {
    b"HELP": b"Commands: HELP VER PROTVER STARTTLS LOGOUT",
    b"VER": b"tlstunnel",
    b"PROTVER": b"1.3",
    b"NETVER": b"1.3",
}


class NUTClient(ClientRole):
    """
    Asks a remote upsd for TLS.
    """

    lineEnd = b"\n"

    async def negotiate(self) -> None:
        """
        One line each way.
        """
        self.sendLine(b"STARTTLS")
        line = await self.readLine()
        if line.split() == [b"OK", b"STARTTLS"]:
            return
        error = _ERROR.fullmatch(line)
        if error is None:
            raise Malformed("neither OK STARTTLS nor ERR", line)
        why, cause = _REASONS.get(error["code"].upper(), ("expected OK STARTTLS", ""))
        raise Refused(why, line, cause=cause)


class NUTServer(ServerRole):
    """
    Offers the client of an upsd TLS, and nothing else before it.
    """

    lineEnd = b"\n"

    async def negotiate(self) -> None:
        """
        Returns when TLS is to begin; the client may take its leave before.
        """
        isQuery = await self.wait(self._isQuery)
        line = await (self.readLine() if isQuery else self.readCommand())
        while True:
            command, _, argument = line.strip().partition(b" ")
            command = command.upper()
            if command == b"STARTTLS" and not argument:
                self.goAhead(b"OK STARTTLS")
                return
            self.answer(command, argument)
            line = await self.readLine()

    def _isQuery(self) -> bool | None:
        """
        Whether the client begins with a query, which is not to be taken for HTTP (rule 13).
        """
        start = self.unread
        if len(start) <= len(_QUERY) and _QUERY.startswith(start):
            return None
        return start.startswith(_QUERY) and start[len(_QUERY)] in _QUERIES

    def answer(self, command: bytes, argument: bytes) -> None:
        """
        Answer any command but STARTTLS.
        """
        if command in _LEAVE:
            self.sendLine(b"OK Goodbye")
            raise Quit()
        if command in _COMMANDS:
            self.refuse(b"ERR ACCESS-DENIED")
        elif argument and (command in _ANSWERS or command == b"STARTTLS"):
            self.refuseSyntax(b"ERR INVALID-ARGUMENT")
        elif command in _ANSWERS:
            self.sendLine(_ANSWERS[command])
        else:
            self.refuseSyntax(b"ERR UNKNOWN-COMMAND")


nut = Dialect(
    name="nut",
    marksEnd=True,
    client=NUTClient,
    server=NUTServer,
    summary="power supplies, NUT (RFC 9271)",
    aliases=("upsd",),
    ports=(3493,),
)
