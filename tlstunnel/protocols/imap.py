"""
IMAP (RFC 9051, section 6.2.1; RFC 3501, RFC 2595)::

    S: * OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] ready
    C: t1 STARTTLS
    S: * ...                            0..n untagged lines
    S: t1 OK Begin TLS negotiation now
    == TLS ==                           no greeting; the client asks for CAPABILITY again
"""

from __future__ import annotations

import re

from tlstunnel.errors import BackendRefused, Malformed, PreAuthenticated, Quit, Refused
from tlstunnel.protocols.base import ClientRole, Dialect, ServerRole
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.farewells import isLine
from tlstunnel.protocols.hiding import Commands, Replies

_MAX_LINE_BYTES = 8192

# RFC 9051, section 9: ASTRING-CHAR but "+".
_TAG = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\+]+')
_LITERAL = re.compile(rb"\{[0-9]+\+?\}\Z")
_CAPABILITIES = re.compile(
    rb"(?:\* CAPABILITY|[^ ]+ (?:OK|NO|BAD|BYE) \[CAPABILITY)((?: [^\]\r\n]*)?)", re.IGNORECASE
)

# What a backend may say before anybody is authenticated; mailbox data is not among it.
_UNTAGGED = frozenset(b"CAPABILITY OK NO BAD BYE ID LANGUAGE".split())
_STATUS = frozenset((b"OK", b"NO", b"BAD"))
_AUTHENTICATION = frozenset((b"LOGIN", b"AUTHENTICATE"))
_WITHOUT_ARGUMENT = frozenset((b"CAPABILITY", b"NOOP", b"LOGOUT", b"STARTTLS"))

_OFFER = b"IMAP4rev1 STARTTLS LOGINDISABLED"


async def readResponse(conversation: Conversation) -> tuple[bytes, bytes, bytes]:
    """
    One line of a server.

    @return: its first word, its second one in upper case, and the line.
    @raise Malformed: if a literal follows: nothing that matters before TLS has one.
    """
    line = await conversation.readLine()
    if _LITERAL.search(line):
        raise Malformed("a literal before TLS", line)
    first, _, rest = line.partition(b" ")
    return first, rest.partition(b" ")[0].upper(), line


class IMAPClient(ClientRole):
    """
    Asks a remote IMAP server for TLS.
    """

    maxLine = _MAX_LINE_BYTES

    async def readGreeting(self) -> None:
        """
        RFC 9051, section 7.1: there are three greetings, and only one to go on after; after
        PREAUTH there is no STARTTLS (section 7.1.4).
        """
        mark, status, line = await readResponse(self)
        if mark != b"*":
            raise Malformed("no greeting", line)
        self._checkUntagged(status, line)
        if status != b"OK":
            raise Malformed("no greeting", line)

    async def negotiate(self) -> None:
        """
        RFC 9051, section 6.2.1; untagged lines may come at any time, and are dropped.
        """
        self.sendLine(b"t1 STARTTLS")
        while True:
            tag, status, line = await readResponse(self)
            if tag == b"*":
                self._checkUntagged(status, line)
            elif tag == b"t1" and status == b"OK":
                return
            elif tag == b"t1" and status in _STATUS:
                raise Refused("expected OK", line)
            else:
                raise Malformed("not the completion of STARTTLS", line)

    def _checkUntagged(self, status: bytes, line: bytes) -> None:
        if status == b"PREAUTH":
            raise PreAuthenticated("the server regards us as logged in", line)
        if status == b"BYE":
            raise Refused("the server takes its leave", line)

    async def demandSilence(self) -> None:
        """
        RFC 9051, section 7: a server may send untagged data at any time; by option it is believed.
        """
        if "unsolicited" not in self.setting.options:
            await super().demandSilence()

    def isFarewell(self, said: bytes) -> bool | None:
        """
        RFC 9051, section 7.1.5.
        """
        return isLine(said, b"* BYE")

    def appGreeting(self) -> bytes:
        """
        The greeting that the app awaits; without capabilities, so that it asks for them.
        """
        return b"* OK " + self.setting.peerName + b" ready\r\n"


class IMAPServer(ServerRole):
    """
    Offers an IMAP client TLS, and nothing else before it.
    """

    maxLine = _MAX_LINE_BYTES

    async def negotiate(self) -> None:
        """
        RFC 9051, section 6.2.1.
        """
        self.sendLine(b"* OK [CAPABILITY " + _OFFER + b"] " + self.setting.ourName + b" ready")
        while True:
            line = await self.readCommand()
            tag, _, rest = line.partition(b" ")
            command, _, argument = rest.partition(b" ")
            if not _TAG.fullmatch(tag):
                tag, command = b"*", b""
            if _LITERAL.search(line):
                # What follows is no command, but would be read as one.
                self.sendLine(tag + b" BAD literals not accepted before STARTTLS")
                raise Malformed("a literal before STARTTLS", line)
            if command.upper() == b"STARTTLS" and not argument.strip():
                self.goAhead(tag + b" OK Begin TLS negotiation now")
                return
            self.answer(tag, command.upper(), argument.strip())

    def answer(self, tag: bytes, command: bytes, argument: bytes) -> None:
        """
        Answer any command but STARTTLS.
        """
        done = tag + b" OK done"
        if not command or (argument and command in _WITHOUT_ARGUMENT):
            self.refuseSyntax((tag if command else b"*") + b" BAD syntax", b"* BYE too many errors")
        elif command == b"ID":
            # RFC 2971, section 3.1.
            self.sendLine(b"* ID NIL\r\n" + done)
        elif command == b"CAPABILITY":
            self.sendLine(b"* CAPABILITY " + _OFFER + b"\r\n" + done)
        elif command == b"NOOP":
            self.sendLine(done)
        elif command == b"LOGOUT":
            self.sendLine(b"* BYE " + self.setting.ourName + b"\r\n" + done)
            raise Quit()
        elif command in _AUTHENTICATION:
            # RFC 9051, section 7.1: the code for what needs a private channel.
            self.refuse(tag + b" NO [PRIVACYREQUIRED] STARTTLS first")
        else:
            self.refuse(tag + b" BAD STARTTLS first")

    async def meetBackend(self) -> None:
        """
        The client has had its greeting: the backend's is swallowed, and so is its STARTTLS.
        """
        self.plain.maxLine = self.maxLine
        mark, status, line = await readResponse(self.plain)
        if mark != b"*" or status != b"OK":
            if mark == b"*" and status == b"BYE":
                await self.turnAway(self.refuseAll(line))
            raise BackendRefused("expected * OK", line)
        hidden = [b"STARTTLS"]
        if "hide-logindisabled" in self.setting.options:
            hidden.append(b"LOGINDISABLED")
        hiding = Capabilities(hidden)
        self.toNetwork.append(hiding)
        self.toPlain.append(Commands(hiding))


class Capabilities(Replies):
    """
    Hides capabilities until somebody is authenticated, or anything comes that is not expected
    before: a literal, or data of a mailbox.
    """

    def __init__(self, hidden: list[bytes]) -> None:
        super().__init__()
        self._hidden = re.compile(rb" (?:" + b"|".join(hidden) + rb")(?![^ ])", re.IGNORECASE)
        self._authentication = b""

    def asked(self, words: list[bytes]) -> None:
        """
        Remember the tag of the last attempt to authenticate.
        """
        if len(words) > 1 and words[1].upper() in _AUTHENTICATION:
            self._authentication = words[0]

    def line(self, line: bytes) -> bytes:
        """
        One line of the server's.
        """
        tag, status = [*line.split(None, 2), b"", b""][:2]
        status = status.upper()
        known = _UNTAGGED if tag == b"*" else _STATUS
        if _LITERAL.search(line.rstrip(b"\r\n")) or (status not in known and tag != b"+"):
            self.stop()
            return line
        if tag == self._authentication:
            # There are clients that have one tag for all their commands.
            self._authentication = b""
            if status == b"OK":
                self.stop()
        found = _CAPABILITIES.match(line)
        if found is None:
            return line
        start, end = found.span(1)
        return line[:start] + self._hidden.sub(b"", line[start:end]) + line[end:]


imap = Dialect(
    name="imap",
    marksEnd=True,
    client=IMAPClient,
    server=IMAPServer,
    summary="access to mailboxes (RFC 9051)",
    aliases=("imap4",),
    ports=(143,),
    implicitPort=993,
    alpn=(b"imap",),
    options={
        "unsolicited": "let the server speak inside TLS before the app has",
        "hide-logindisabled": "hide the backend's LOGINDISABLED as well",
    },
    onlyIn={"unsolicited": "client", "hide-logindisabled": "server"},
)
