"""
ManageSieve (RFC 5804)::

    S: "IMPLEMENTATION" "x"
    S: "SASL" ""
    S: "STARTTLS"
    S: OK "ready"
    C: STARTTLS
    S: OK "Begin TLS negotiation now."
    == TLS ==
    S: "IMPLEMENTATION" "x"             the server speaks first: all capabilities again
    S: OK "TLS negotiation successful."

So the app's greeting is what the server says inside TLS, and the client's what the backend says.
"""

from __future__ import annotations

import re

from tlstunnel.errors import Malformed, Oversize, Quit, Refused
from tlstunnel.protocols.base import ClientRole, Dialect, ServerRole
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.hiding import Commands, OrderedReplies

_MAX_LINE_BYTES = 8192

_STRING = rb'"(?:[^"\\]|\\["\\])*"'
# RFC 5804, section 4: what a line of a server is made of.
_TOKEN = re.compile(
    rb" *(?:(?P<string>" + _STRING + rb")"
    rb"|\{(?P<literal>[0-9]{1,20})\}\Z"
    rb'|(?P<atom>[^\x00-\x20\x7f(){}"\\]+)'
    rb"|(?P<parenthesis>[()]))"
)
_LITERAL = re.compile(rb"\{[0-9]+\+?\}\Z")
_STATUS = frozenset(("OK", "NO", "BYE"))

# Of the first letters of what stands outside of parentheses: the end of a parenthesis is a "p".
_AFTER_STATUS = re.compile("ap?s?")
_STRINGS = re.compile("s+")

_TAG = re.compile(_STRING)

_COMMANDS = frozenset(
    b"AUTHENTICATE HAVESPACE PUTSCRIPT LISTSCRIPTS SETACTIVE GETSCRIPT DELETESCRIPT RENAMESCRIPT"
    b" CHECKSCRIPT UNAUTHENTICATE".split()
)
_WITHOUT_ARGUMENT = frozenset(b"STARTTLS NOOP CAPABILITY LOGOUT".split())
_HARMLESS = frozenset(b"CAPABILITY NOOP".split())


async def readResponse(conversation: Conversation) -> tuple[str, bytes]:
    """
    One line of a server, literals in it included (RFC 5804, sections 1.3 and 2.6).

    @return: the status in upper case, or nothing where the line is one of strings; and all of the
        line, but its end.
    @raise Malformed: if it is neither.
    @raise Oversize: if a literal is longer than a line may be.
    """
    said = start = line = await conversation.readLine()
    if line.startswith(b" "):
        raise Malformed("no line of ManageSieve", line)
    status = shape = ""
    at = depth = 0
    while at < len(line):
        token = _TOKEN.match(line, at)
        if token is None:
            raise Malformed("no line of ManageSieve", start)
        at = token.end()
        kind = str(token.lastgroup)
        if kind == "literal":
            size = int(token["literal"])
            if size > conversation.maxLine:
                raise Oversize(f"a literal of {size} bytes", start)
            content = await conversation.readExactly(size)
            line, at, kind = await conversation.readLine(), 0, "string"
            said += b"\r\n" + content + line
        if kind == "parenthesis":
            depth += 1 if token[kind] == b"(" else -1
            if depth < 0:
                raise Malformed("no line of ManageSieve", start)
        elif kind == "atom" and not shape:
            status = token[kind].decode("latin-1").upper()
        if depth == 0:
            shape += kind[0]
    if depth == 0 and status in _STATUS and _AFTER_STATUS.fullmatch(shape):
        return status, said
    if depth == 0 and _STRINGS.fullmatch(shape):
        return "", said
    raise Malformed("no line of ManageSieve", start)


class SieveClient(ClientRole):
    """
    Asks a remote ManageSieve server for TLS.
    """

    maxLine = _MAX_LINE_BYTES

    async def readGreeting(self) -> None:
        """
        RFC 5804, section 1.7: capabilities, then OK.
        """
        while True:
            status, line = await readResponse(self)
            if status == "OK":
                return
            if status:
                raise Refused("expected OK", line)

    async def negotiate(self) -> None:
        """
        RFC 5804, section 2.2.
        """
        self.sendLine(b"STARTTLS")
        status, line = await readResponse(self)
        if not status:
            raise Malformed("expected OK", line)
        if status != "OK":
            raise Refused("expected OK", line)

    async def greetApp(self) -> None:
        """
        RFC 5804, section 2.2: the server has to speak first, and that is the app's greeting.
        """
        self.putBack(await self.readSome())


class SieveServer(ServerRole):
    """
    Offers a ManageSieve client TLS, and nothing else before it.
    """

    maxLine = _MAX_LINE_BYTES

    async def negotiate(self) -> None:
        """
        RFC 5804, section 2.2.
        """
        self.sendLine(self.capabilities())
        while True:
            line = await self.readCommand()
            command, _, argument = line.partition(b" ")
            command, argument = command.upper(), argument.strip()
            if _LITERAL.search(line):
                # What follows is no command, but would be read as one.
                self.sendLine(b'NO "literals not accepted before STARTTLS"')
                raise Malformed("a literal before STARTTLS", line)
            if command == b"STARTTLS" and not argument:
                self.goAhead(b'OK "Begin TLS negotiation now."')
                return
            self.answer(command, argument)

    def capabilities(self) -> bytes:
        """
        RFC 5804, section 1.7: an empty list for SASL is legal beside STARTTLS only.
        """
        return (
            b'"IMPLEMENTATION" "tlstunnel"\r\n"SIEVE" ""\r\n"SASL" ""\r\n"STARTTLS"\r\n'
            b'"VERSION" "1.0"\r\nOK "' + self.setting.ourName + b'"'
        )

    def answer(self, command: bytes, argument: bytes) -> None:
        """
        Answer any command but STARTTLS.
        """
        if command == b"NOOP" and _TAG.fullmatch(argument):
            # RFC 5804, section 2.13.
            self.sendLine(b"OK (TAG " + argument + b') "done"')
        elif command in _COMMANDS:
            self.refuse(b'NO (ENCRYPT-NEEDED) "STARTTLS first"')
        elif argument and command in _WITHOUT_ARGUMENT:
            self.refuseSyntax(b'NO "syntax"', b'BYE "too many errors"')
        elif command == b"NOOP":
            self.sendLine(b'OK "done"')
        elif command == b"CAPABILITY":
            self.sendLine(self.capabilities())
        elif command == b"LOGOUT":
            self.sendLine(b'OK "bye"')
            raise Quit()
        else:
            self.refuseSyntax(b'NO "unknown command"', b'BYE "too many errors"')

    async def meetBackend(self) -> None:
        """
        The client waits for a list of capabilities again: the backend's, but for STARTTLS.
        """
        hiding = Capabilities()
        self.toNetwork.append(hiding)
        self.toPlain.append(Commands(hiding))


class Capabilities(OrderedReplies):
    """
    Hides STARTTLS in the greeting and in the replies to CAPABILITY, until somebody is
    authenticated, or anything comes that is not expected before.
    """

    conversing = b"AUTHENTICATE"
    unasked = (b"CAPABILITY",)

    def __init__(self) -> None:
        super().__init__()
        self._inChallenge = False

    def line(self, line: bytes) -> bytes:
        """
        One line of the server's: of a list, of an authentication, or a status.
        """
        said = line.rstrip(b"\r\n")
        status = said.partition(b" ")[0].upper()
        listing = self.command == b"CAPABILITY"
        if self._inChallenge:
            self._inChallenge = False
        elif self.command == b"AUTHENTICATE" and _LITERAL.fullmatch(said):
            # Base64, hence the next line (RFC 5804, section 2.1); Cyrus writes no other form.
            self._inChallenge = True
        elif _LITERAL.search(said):
            self.stop()
        elif said.startswith(b'"') and (listing or self.command == b"AUTHENTICATE"):
            if listing and status == b'"STARTTLS"':
                return b""
        elif status == b"NO" or (status == b"OK" and self.command in _HARMLESS):
            self.answered()
        else:
            self.stop()
        return line


sieve = Dialect(
    name="sieve",
    marksEnd=True,
    client=SieveClient,
    server=SieveServer,
    summary="filters of mail, ManageSieve (RFC 5804)",
    aliases=("managesieve",),
    ports=(4190,),
    alpn=(b"managesieve",),
    silentServer=False,
)
