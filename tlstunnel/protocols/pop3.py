"""
POP3 (RFC 1939; RFC 2595, section 4)::

    S: +OK ready <1896.697170952@host>
    C: STLS
    S: +OK Begin TLS negotiation
    == TLS ==                           no greeting

The greeting that the app gets has no timestamp, since whoever is between us and the server could
have chosen it: APOP is not to be had through a tunnel (CVE-2007-1558).
"""

from __future__ import annotations

from tlstunnel.errors import BackendRefused, Malformed, Quit, Refused
from tlstunnel.protocols.base import ClientRole, Dialect, ServerRole
from tlstunnel.protocols.farewells import isLine
from tlstunnel.protocols.hiding import Commands, DottedLists

_AUTHENTICATION = frozenset(b"USER PASS APOP AUTH".split())
# RFC 1939, RFC 2449 and RFC 6856: what makes sense once somebody is authenticated.
_TRANSACTION = frozenset(b"STAT LIST RETR DELE NOOP RSET TOP UIDL LANG UTF8".split())

# What succeeds with one line, and leaves everybody unauthenticated; and what asks for a list.
_SINGLE = frozenset(b"USER UTF8 LANG NOOP".split())
_LIST = b"LIST OF"


def indicator(line: bytes) -> bytes:
    """
    The first word of a reply, in upper case: C{+OK}, C{-ERR} or, when malformed, another.
    """
    return line.partition(b" ")[0].upper()


class POP3Client(ClientRole):
    """
    Asks a remote POP3 server for TLS; CAPA is not asked for, some refuse it.
    """

    async def readGreeting(self) -> None:
        """
        RFC 1939, section 4.
        """
        await self._expectOK()

    async def negotiate(self) -> None:
        """
        RFC 2595, section 4.
        """
        self.sendLine(b"STLS")
        await self._expectOK()

    async def _expectOK(self) -> None:
        line = await self.readLine()
        status = indicator(line)
        if status == b"-ERR":
            raise Refused("expected +OK", line)
        if status != b"+OK":
            raise Malformed("neither +OK nor -ERR", line)

    def isFarewell(self, said: bytes) -> bool | None:
        """
        What servers say before they close for want of a command; RFC 1939, section 3, has no words.
        """
        return isLine(said, b"-ERR")

    def appGreeting(self) -> bytes:
        """
        The greeting that the app awaits.
        """
        return b"+OK " + self.setting.peerName + b" ready\r\n"


class POP3Server(ServerRole):
    """
    Offers a POP3 client TLS, and nothing else before it.
    """

    async def negotiate(self) -> None:
        """
        RFC 2595, section 4; RFC 2449 for CAPA.
        """
        self.sendLine(b"+OK " + self.setting.ourName + b" ready")
        while True:
            line = await self.readCommand()
            command, _, argument = line.partition(b" ")
            command, argument = command.upper(), argument.strip()
            if command == b"STLS" and not argument:
                self.goAhead(b"+OK Begin TLS negotiation")
                return
            self.answer(command, argument)

    def answer(self, command: bytes, argument: bytes) -> None:
        """
        Answer any command but STLS.
        """
        if command == b"CAPA" and not argument:
            self.sendLine(b"+OK\r\nSTLS\r\nRESP-CODES\r\n.")
        elif command == b"QUIT":
            self.sendLine(b"+OK bye")
            raise Quit()
        elif command in _AUTHENTICATION:
            # RFC 3206, section 4: a problem that will not go away by itself.
            self.refuse(b"-ERR [SYS/PERM] STLS first")
        elif command in _TRANSACTION:
            self.refuse(b"-ERR unknown command")
        else:
            self.refuseSyntax(b"-ERR unknown command", b"-ERR too many errors")

    async def meetBackend(self) -> None:
        """
        The client has had its greeting: the backend's is swallowed, and so is its STLS.
        """
        line = await self.plain.readLine()
        status = indicator(line)
        if status != b"+OK":
            if status == b"-ERR":
                await self.turnAway(self.refuseAll(line, bye=b"+OK bye"))
            raise BackendRefused("expected +OK", line)
        hiding = Capabilities()
        self.toNetwork.append(hiding)
        self.toPlain.append(Commands(hiding))


class Capabilities(DottedLists):
    """
    Hides STLS in the replies to CAPA, until somebody is authenticated or anything else succeeds.
    """

    keyword = b"STLS"
    conversing = b"AUTH"

    def asked(self, words: list[bytes]) -> None:
        """
        LANG without an argument asks for a list (RFC 6856, section 3), and so does AUTH in what
        servers make of it.
        """
        isList = len(words) == 1 and words[0].upper() in (b"AUTH", b"LANG")
        super().asked([_LIST] if isList else words)

    def status(self, line: bytes, code: bytes) -> None:
        """
        RFC 1939, section 3: a refusal is one line, whatever was asked.
        """
        if code == b"-ERR" or (code == b"+OK" and self.command in _SINGLE):
            self.answered()
        elif code == b"+OK" and self.command in (b"CAPA", _LIST):
            self.listBegins()
        elif code != b"+" or self.command != b"AUTH":
            self.stop()


pop3 = Dialect(
    name="pop3",
    marksEnd=True,
    client=POP3Client,
    server=POP3Server,
    summary="fetching of mail (RFC 1939, RFC 2595)",
    aliases=("pop",),
    ports=(110,),
    implicitPort=995,
    alpn=(b"pop3",),
)
