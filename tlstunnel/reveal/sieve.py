"""
C{sieve}: Pigeonhole's XCLIENT, for those in C{login_trusted_networks}::

    B: "IMPLEMENTATION" "Dovecot Pigeonhole"
    B: "XCLIENT"
    B: OK "Dovecot ready."
    T: XCLIENT ADDR=192.0.2.1 PORT=4711 CLIENT-TRANSPORT=TLS
    B: OK "Updated"

Inside TLS the server speaks first, so that the greeting is for the client in any case.
"""

from __future__ import annotations

import re
from collections import deque

from tlstunnel.errors import BackendRefused, Malformed
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.sieve import readResponse
from tlstunnel.reveal.lineguard import REFUSED, LineGuard, LineWatch
from tlstunnel.reveal.origin import Origin, Part, xclient
from tlstunnel.reveal.word import Word

MAX_LINE_BYTES = 8192

#: Commands that may await their answers at the same time, of somebody who is not logged in.
MAX_AWAITED = 64

_BASE64 = rb"[A-Za-z0-9+/]*={0,2}"
_COMMAND = re.compile(rb"([A-Za-z]+)(?: (.*))?", re.DOTALL)
# RFC 5804, section 2.1: the answer to a challenge; and the arguments of AUTHENTICATE.
_STRING = rb'"(?:' + _BASE64 + rb'|\*)"'
_SIZE = rb"\{(0|[1-9][0-9]{0,5})\+\}"
_RESPONSE = re.compile(rb"(?:" + _STRING + rb"|" + _SIZE + rb")")
_ARGUMENTS = re.compile(rb'"[A-Za-z0-9_-]{1,64}"(?: (?:' + _STRING + rb"|" + _SIZE + rb"))?")
_CONTENT = re.compile(rb"[A-Za-z0-9+/=*]*")

_LITERAL = re.compile(rb"\{[^{}]*\}\Z")
_SENT = re.compile(rb"\{([0-9]{1,6})\}\Z")
_STATUS = (b"OK", b"NO", b"BYE")

_AUTHENTICATE = b"AUTHENTICATE"


async def readGreeting(backend: Conversation) -> bytes:
    """
    The capabilities of a backend, up to OK (RFC 5804, section 1.7).

    @raise BackendRefused: it does not greet.
    """
    backend.maxLine = MAX_LINE_BYTES
    greeting, status = b"", ""
    while status != "OK":
        status, line = await readResponse(backend)
        if status not in ("", "OK"):
            raise BackendRefused("expected OK", line)
        greeting += line + b"\r\n"
    return greeting


class Originating(Origin):
    """
    By XCLIENT.
    """

    async def tell(self) -> None:
        """
        See L{Origin}.
        """
        backend = self.backend
        greeting = await readGreeting(backend)
        if self.mayBeName and b'"XCLIENT"\r\n' not in greeting:
            backend.putBack(greeting)
            return
        backend.sendLine(xclient(self.facts.peer))
        status, line = await readResponse(backend)
        if status != "OK":
            raise BackendRefused("expected OK to XCLIENT", line, cause="no XCLIENT")
        backend.putBack(greeting)

    def guard(self) -> None:
        """
        See L{Origin}.
        """
        guard = XCLIENTGuard()
        self.toPlain.append(guard)
        self.toNetwork.append(LoginWatch(guard))


class XCLIENTGuard(LineGuard):
    """
    Lets no client say XCLIENT, until somebody is logged in.

    @ivar awaited: the commands that are not answered, of which the first is the greeting.
    @ivar isAsked: whether the backend awaits the answer to a challenge.
    """

    def __init__(self) -> None:
        super().__init__()
        self.awaited = deque([b"CAPABILITY"])
        self.isAsked = False
        self._isWithin = False
        # Whether the last AUTHENTICATE was sent when nothing else was awaited: only then its answer
        # is certain, for an answer to a challenge may come too late, and be refused as a command.
        self._isAlone = False

    def line(self, line: bytes) -> bytes:
        """
        A command, or what belongs to one.
        """
        text = line.removesuffix(b"\n").removesuffix(b"\r")
        if self._isWithin:
            # Behind the literal.
            if text:
                raise Malformed("more than the one answer to a challenge")
            self._isWithin = False
        elif self.isAsked:
            self.isAsked = False
            self._answer(_RESPONSE.fullmatch(text))
        else:
            return self._command(text, line)
        return line

    def _command(self, text: bytes, line: bytes) -> bytes:
        found = _COMMAND.fullmatch(text)
        if found is None or len(self.awaited) >= MAX_AWAITED:
            raise Malformed("no command of ManageSieve, or too many, before a login")
        name = found[1].upper()
        isAlone = not self.awaited
        self.awaited.append(name)
        if name == _AUTHENTICATE:
            self._isAlone = isAlone
            self._answer(_ARGUMENTS.fullmatch(found[2] or b""))
        elif _LITERAL.search(text):
            # A server that does not know the command takes it for commands.
            raise Malformed("a literal before a login")
        elif name == b"XCLIENT":
            return REFUSED
        return line

    def _answer(self, found: re.Match[bytes] | None) -> None:
        """
        The answer to a challenge; nothing that could be a command, for it may come too late.
        """
        if found is None:
            raise Malformed("not an answer to a challenge")
        if found[1] is not None:
            self.expectLiteral(int(found[1]))
            self._isWithin = True

    def content(self, content: bytes) -> bytes:
        """
        That answer in a literal.
        """
        if not _CONTENT.fullmatch(content):
            raise Malformed("not an answer to a challenge")
        return content

    @property
    def isAuthenticating(self) -> bool:
        """
        Whether what the backend says next is about AUTHENTICATE.
        """
        return bool(self.awaited) and self.awaited[0] == _AUTHENTICATE

    def challenged(self) -> None:
        """
        The backend awaits an answer.
        """
        if len(self.awaited) > 1 or self.isAsked or self._isWithin or self._kept:
            raise Malformed("commands within AUTHENTICATE")
        self.isAsked = True

    def answered(self, isOK: bool) -> None:
        """
        A command is done.
        """
        if not self.awaited:
            raise Malformed("the peer answers what was not asked")
        self.done = isOK and self.isAuthenticating and self._isAlone
        self.awaited.popleft()
        self.isAsked = False


class LoginWatch(LineWatch):
    """
    Tells an L{XCLIENTGuard} what the backend answers, and the client nothing of XCLIENT.
    """

    def __init__(self, guard: XCLIENTGuard) -> None:
        super().__init__()
        self._guard = guard
        self._isWithin = False

    def line(self, line: bytes) -> bytes:
        """
        One line of the backend's, or the rest of one behind a literal.
        """
        text = line.rstrip(b"\r\n")
        found = _SENT.search(text)
        isFirst, self._isWithin = not self._isWithin, found is not None
        if isFirst:
            first = text.partition(b" ")[0].upper()
            if first == b'"XCLIENT"' and not self._guard.isAuthenticating:
                return b""
            if first in _STATUS:
                self._guard.answered(first == b"OK")
            elif self._guard.isAuthenticating:
                self._guard.challenged()
        if found is not None:
            self.expectLiteral(int(found[1]))
        self.done = self._guard.done and not self._isWithin
        return line


sieve = Word(
    name="sieve",
    summary="where the client is, to Dovecot's Pigeonhole (XCLIENT)",
    dialects=("sieve",),
    introduction=Originating,
    prepare=Part.of,
)
