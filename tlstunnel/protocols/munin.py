"""
Munin, whose master asks nodes for what they have measured (no specification; munin-node 2.0)::

    S: # munin node at server.example.org
    C: STARTTLS
    S: TLS OK
    == TLS ==                           no greeting

C{TLS MAYBE} is what a node says that has no key: it would be the client of the handshake, and prove
nothing.  Both programs take one record of TLS for one line, so that each line that goes out has one
of its own.
"""

from __future__ import annotations

import re

from tlstunnel.errors import BackendRefused, Closed, Malformed, Quit, Refused
from tlstunnel.protocols.base import ClientRole, Dialect, Filter, Role, ServerRole
from tlstunnel.tls.creators import Creator
from tlstunnel.tls.records import RECORD_BYTES

# What munin-update takes for a greeting, which has to be all of the first line here.
_GREETING = re.compile(rb"# *(?:munin|lrrd) (?:node|client) at \S+ *", re.IGNORECASE)

_COMMANDS = frozenset(b"cap config fetch list nodes spoolfetch version".split())


class WholeLines(Filter):
    """
    Keeps the beginning of a line until its end has come, or it fills a record.
    """

    def feed(self, data: bytes) -> bytes:
        """
        Pass the lines that C{data} completes.
        """
        end = data.rfind(b"\n") + 1
        self.messages += data.count(b"\n")
        if not end and len(self._kept) + len(data) >= RECORD_BYTES:
            end = len(data)
        passed = self.flush() + data[:end] if end else b""
        self._kept += data[end:]
        return passed


class _Speaker(Role):
    """
    What both roles do inside TLS.
    """

    lineEnd = b"\n"

    async def switch(self, creator: Creator) -> None:
        """
        From here on each line has a record of its own.
        """
        await super().switch(creator)
        self.transport.separateLines()
        self.toNetwork.append(WholeLines())


class MuninClient(_Speaker, ClientRole):
    """
    Asks a remote node for TLS.
    """

    async def readGreeting(self) -> None:
        """
        One line.  A node closes without a word where it does not allow our address.
        """
        try:
            line = await self.readLine()
        except Closed as closed:
            raise Closed(closed.detail, cause="no greeting of a node") from None
        if not _GREETING.fullmatch(line):
            raise Malformed("not the greeting of a node of Munin", line)

    async def negotiate(self) -> None:
        """
        The whole line counts: C{TLS MAYBE} is no consent.
        """
        self.sendLine(b"STARTTLS")
        line = await self.readLine()
        words = line.upper().split()
        if words == [b"TLS", b"OK"]:
            return
        if words == [b"TLS", b"MAYBE"]:
            raise Refused("the peer has no key, and would prove nothing", line, cause="no node key")
        if line.startswith(b"#"):
            raise Refused("expected TLS OK", line)
        raise Malformed("expected TLS OK", line)

    def appGreeting(self) -> bytes:
        """
        The greeting that the app awaits.
        """
        return b"# munin node at " + self.setting.peerName + b"\n"


class MuninServer(_Speaker, ServerRole):
    """
    Offers a master TLS, and nothing else before it.
    """

    async def negotiate(self) -> None:
        """
        As a node does that has C{tls enabled}, but that it gives the master some more tries.
        """
        self.sendLine(b"# munin node at " + self.setting.ourName)
        while True:
            line = await self.readCommand()
            command, _, argument = line.strip().partition(b" ")
            command = command.lower()
            if command == b"starttls" and not argument:
                self.goAhead(b"TLS OK")
                return
            if command in (b"quit", b"."):
                raise Quit()
            if command in _COMMANDS:
                self.refuse(b"# I require TLS.")
            else:
                self.refuseSyntax(b"# Unknown command. Try starttls or quit")

    async def meetBackend(self) -> None:
        """
        The master has had its greeting: the backend's is swallowed.
        """
        line = await self.plain.readLine()
        if not _GREETING.fullmatch(line):
            raise BackendRefused("not the greeting of a node of Munin", line)


munin = Dialect(
    name="munin",
    marksEnd=True,
    client=MuninClient,
    server=MuninServer,
    summary="monitoring, Munin",
    ports=(4949,),
)
