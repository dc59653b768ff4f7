"""
C{imap}: Dovecot's ID, by which those in C{login_trusted_networks} say for whom they are there::

    B: * OK [CAPABILITY ...] ready
    T: t1 ID ("x-originating-ip" "192.0.2.1" "x-originating-port" "4711" ...)
    B: * ID ("name" "Dovecot")
    B: t1 OK ID completed.

Dovecot believes the first ID of a connection alone, and says nothing where it does not believe it.
What a client says by an ID of its own (RFC 2971) passes, but for fields that begin as these do.
"""

from __future__ import annotations

import re

from tlstunnel.errors import BackendRefused, Malformed
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.imap import readResponse
from tlstunnel.reveal.facts import Facts, hostAndPort
from tlstunnel.reveal.lineguard import LineGuard, LineWatch
from tlstunnel.reveal.origin import Origin, Part
from tlstunnel.reveal.word import Word

MAX_LINE_BYTES = 8192

#: Commands that may await their answers at the same time, of somebody who is not logged in.
MAX_AWAITED = 64

# RFC 9051, section 9; a command has one space behind its tag and one behind its name, and what has
# not is taken by some servers for one command and by some for another.
_COMMAND = re.compile(rb'([^\x00-\x20\x7f-\xff(){%*"\\+]+) ([A-Za-z0-9.-]+)(?: (.*))?', re.DOTALL)
# What answers a challenge: base64, or the end of it (section 6.2.2); it is no command.
_RESPONSE = re.compile(rb"[A-Za-z0-9+/]*={0,2}|\*")

_LITERAL = re.compile(rb"\{[^{}]*\}\Z")
_SIZE = re.compile(rb"(?:.* )?\{(0|[1-9][0-9]{0,5})(\+?)\}", re.DOTALL)
_STRING = rb'"(?:[^"\\\x80-\xff]|\\["\\])*"'
_ARGUMENT = rb"(?:" + _STRING + rb"|[^\x00-\x20\x7f-\xff(){%*\"\\]+)"
# What may stand before a literal, which only the command LOGIN has: its arguments.
_BEFORE = re.compile(rb"(?:" + _ARGUMENT + rb" )?\{[0-9]+\+?\}")
_BEHIND = re.compile(rb"(?: " + _ARGUMENT + rb")?(?: \{[0-9]+\+?\})?")

# RFC 2971, section 3.3, with names in which nothing is escaped.
_FIELD = rb'"([^"\\]*)" (?:NIL|' + _STRING + rb")"
_FIELDS = re.compile(_FIELD, re.IGNORECASE)
_ID = re.compile(rb"NIL|\(\)|\(" + _FIELD + rb"(?: " + _FIELD + rb")*\)", re.IGNORECASE)

_LOGINS = (b"LOGIN", b"AUTHENTICATE")
_STATUS = (b"OK", b"NO", b"BAD")


async def readGreeting(backend: Conversation) -> bytes:
    """
    The greeting of a backend to which nobody is logged in.

    @raise BackendRefused: it has another one.
    """
    mark, status, line = await readResponse(backend)
    if (mark, status) != (b"*", b"OK"):
        raise BackendRefused("expected * OK", line)
    return line + b"\r\n"


def fields(facts: Facts) -> bytes:
    """
    The fields of Dovecot's ID.  Before 2.4 it does not know the last, and takes it for one of those
    that are only logged.
    """
    told: list[tuple[str, str]] = []
    for kind, address in (("originating", facts.peer), ("connected", facts.local)):
        place = hostAndPort(address)
        if place is not None:
            told += [(f"x-{kind}-ip", place[0]), (f"x-{kind}-port", place[1])]
    told.append(("x-client-transport", "TLS"))
    return " ".join(f'"{name}" "{value}"' for name, value in told).encode()


class Originating(Origin):
    """
    By ID.
    """

    async def tell(self) -> None:
        """
        See L{Origin}.
        """
        backend = self.backend
        backend.maxLine = MAX_LINE_BYTES
        greeting = b"" if self.isGreeted else await readGreeting(backend)
        backend.sendLine(b"t1 ID (" + fields(self.facts) + b")")
        tag = b"*"
        while tag == b"*":
            tag, status, line = await readResponse(backend)
        if (tag, status) != (b"t1", b"OK"):
            raise BackendRefused("expected OK to ID", line)
        backend.putBack(greeting)

    def guard(self) -> None:
        """
        See L{Origin}.
        """
        guard = IDGuard()
        self.toPlain.append(guard)
        self.toNetwork.append(LoginWatch(guard))


class IDGuard(LineGuard):
    """
    Lets no client say what we say by ID, until somebody is logged in.

    @ivar awaited: the tags of commands that are not answered, and whether each is to log in.
    """

    def __init__(self) -> None:
        super().__init__()
        self.awaited: dict[bytes, bool] = {}
        # The tags of AUTHENTICATE, and of LOGIN where a literal was the last of it.
        self._authentication = b""
        self._login = b""

    def line(self, line: bytes) -> bytes:
        """
        A command, or what belongs to one.
        """
        text = line.removesuffix(b"\n").removesuffix(b"\r")
        if self._login:
            self._arguments(text, _BEHIND)
        elif _RESPONSE.fullmatch(text):
            pass
        else:
            return self._command(text, line)
        return line

    def _command(self, text: bytes, line: bytes) -> bytes:
        found = _COMMAND.fullmatch(text)
        if found is None:
            raise Malformed("no command of IMAP before a login")
        tag, name, arguments = found[1], found[2].upper(), found[3] or b""
        if tag in self.awaited or len(self.awaited) >= MAX_AWAITED:
            raise Malformed("a command with the tag of another, or too many, before a login")
        self.awaited[tag] = name in _LOGINS
        if _LITERAL.search(text):
            # In an answer to a challenge, or in what the backend does not know, it would be none.
            if name != b"LOGIN" or self._authentication:
                raise Malformed("a literal before a login")
            self._login = tag
            self._arguments(arguments, _BEFORE)
        elif name == b"ID":
            return self._fields(tag, arguments, line)
        elif name == b"AUTHENTICATE":
            self._authentication = tag
        return line

    def _fields(self, tag: bytes, arguments: bytes, line: bytes) -> bytes:
        """
        An ID: what it says of the client's program passes.
        """
        if self._authentication:
            raise Malformed("ID within AUTHENTICATE")
        names = _FIELDS.findall(arguments) if _ID.fullmatch(arguments) else [b"x-"]
        if any(name.lower().startswith(b"x-") for name in names):
            return tag + b" ID NIL\r\n"
        return line

    def _arguments(self, text: bytes, form: re.Pattern[bytes]) -> None:
        """
        The arguments of LOGIN, up to a literal, or behind one.
        """
        if not form.fullmatch(text):
            raise Malformed("not the arguments of LOGIN")
        found = _SIZE.fullmatch(text)
        if found is None:
            if _LITERAL.search(text):
                raise Malformed("not the size of a literal")
            self._login = b""
            return
        self.expectLiteral(int(found[1]))
        # RFC 9051, section 4.3: it is sent when the server has said so, or at once (RFC 7888).
        self.isHeld = not found[2]

    def goOn(self) -> None:
        """
        The backend awaits what it was told of.
        """
        self.isHeld = False

    def answered(self, tag: bytes, isOK: bool) -> None:
        """
        A command is done.
        """
        isLogin = self.awaited.pop(tag, False)
        if isLogin and isOK:
            self.done = True
        if tag == self._authentication:
            self._authentication = b""
        if tag == self._login:
            if not self.isHeld:
                raise Malformed("the peer answers a command that is not complete")
            # It does not want the literal.
            self._login, self._literal, self.isHeld = b"", 0, False


class LoginWatch(LineWatch):
    """
    Tells a L{IDGuard} what the backend answers.
    """

    def __init__(self, guard: IDGuard) -> None:
        super().__init__()
        self._guard = guard

    def line(self, line: bytes) -> bytes:
        """
        One line of the backend's, of which none has a literal before a login.
        """
        text = line.rstrip(b"\r\n")
        if _LITERAL.search(text):
            raise Malformed("a literal before a login", line)
        tag, _, rest = text.partition(b" ")
        status = rest.partition(b" ")[0].upper()
        if tag == b"+":
            self._guard.goOn()
        elif tag != b"*" and status in _STATUS:
            self._guard.answered(tag, status == b"OK")
        self.done = self._guard.done
        return line


imap = Word(
    name="imap",
    summary="where the client is, to Dovecot (ID)",
    dialects=("imap",),
    introduction=Originating,
    prepare=Part.of,
)
