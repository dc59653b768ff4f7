"""
C{login} before a backend of imap (RFC 9051, section 6.2)::

    S: * OK [CAPABILITY IMAP4rev1 SASL-IR ...] ready
    C: a LOGIN john@example.org "not a password"
    T: t2 AUTHENTICATE PLAIN
    B: +
    T: am9obkBleGFtcGxlLm9yZwB0dW5uZWwAc2VjcmV0
    B: t2 OK [CAPABILITY IMAP4rev1 ...] Logged in
    S: a OK [CAPABILITY IMAP4rev1 ...] Logged in
"""

from __future__ import annotations

import re
from collections.abc import Collection

from tlstunnel.errors import BackendRefused, Malformed, Oversize, Quit
from tlstunnel.protocols.imap import readResponse
from tlstunnel.reveal.imap import MAX_LINE_BYTES, readGreeting
from tlstunnel.reveal.logindialogue import LoginDialogue, addArguments
from tlstunnel.reveal.sasl import Declined, decode, encode, names

#: What is offered before a login.
OFFER = b"IMAP4rev1 SASL-IR LITERAL- ID AUTH=EXTERNAL AUTH=PLAIN"

#: The longest literal that is read: RFC 7888, section 5, has no more for C{LITERAL-}.
MAX_LITERAL_BYTES = 4096

# RFC 9051, section 9; an atom is what is neither, for passwords that are not quoted as they should.
_TAG = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\+]{1,64}')
_ARGUMENT = re.compile(rb' +(?:"((?:[^"\\]|\\.)*)"(?![^ ])|([^ "][^ ]*))')
_LITERAL = re.compile(rb"(?:^|(?<=[ (]))\{([0-9]{1,20})(\+?)\}\Z")

_LOGINS = frozenset((b"LOGIN", b"AUTHENTICATE"))
_WITHOUT_ARGUMENT = frozenset((b"CAPABILITY", b"NOOP", b"LOGOUT"))


class IMAPLogin(LoginDialogue):
    """
    Of imap.
    """

    tag = b""

    async def meet(self, isAsked: bool) -> Collection[bytes]:
        """
        RFC 9051, section 6.1.1; the greeting need not have the capabilities.
        """
        backend = self.backend
        backend.maxLine = self.client.maxLine = MAX_LINE_BYTES
        greeting = b"" if self.isGreeted else await readGreeting(backend)
        found: list[bytes] = []
        if isAsked:
            backend.sendLine(b"t1 CAPABILITY")
            tag = b"*"
            while tag == b"*":
                tag, status, line = await readResponse(backend)
                if tag == b"*" and status == b"CAPABILITY":
                    found = line.upper().split()
            if (tag, status) != (b"t1", b"OK"):
                raise BackendRefused("expected OK to CAPABILITY", line)
        backend.putBack(greeting)
        return [each.removeprefix(b"AUTH=") for each in found if each.startswith(b"AUTH=")]

    async def greet(self) -> None:
        """
        RFC 9051, section 7.1.
        """
        if not self.isGreeted:
            await readGreeting(self.backend)
            ready = self.client.setting.ourName + b" ready"
            self.say(b"* OK [CAPABILITY " + OFFER + b"] " + ready)

    async def hear(self) -> tuple[bytes, ...]:
        """
        RFC 9051, sections 6.1 and 6.2.
        """
        while True:
            tag, command, arguments = await self._command()
            self.tag = tag
            try:
                if command == b"LOGIN" and arguments is not None and len(arguments) == 2:
                    return (arguments[0],)
                if command == b"AUTHENTICATE" and arguments and len(arguments) <= 2:
                    initial = decode(arguments[1]) if len(arguments) == 2 else None
                    return await names(arguments[0].upper(), initial, self._ask)
            except Declined as why:
                # RFC 9051, section 6.2.2: BAD is for an exchange that the client has ended.
                status = b"BAD" if str(why) == "cancelled" else b"NO"
                self._end(status, str(why).encode())
                self.count()
            else:
                self._answer(command, arguments)

    def _answer(self, command: bytes, arguments: list[bytes] | None) -> None:
        """
        Answer what is not to log in.
        """
        if command == b"ID":
            # RFC 2971, section 3.1; whatever it says, the backend has heard of us.
            self.say(b"* ID NIL")
            self._end(b"OK", b"done")
        elif (
            arguments is None or command in _LOGINS or (arguments and command in _WITHOUT_ARGUMENT)
        ):
            self._end(b"BAD", b"syntax")
            self.count()
        elif command == b"CAPABILITY":
            self.say(b"* CAPABILITY " + OFFER)
            self._end(b"OK", b"done")
        elif command == b"NOOP":
            self._end(b"OK", b"done")
        elif command == b"LOGOUT":
            self.say(b"* BYE " + self.client.setting.ourName)
            self._end(b"OK", b"done")
            raise Quit()
        else:
            self._end(b"BAD", b"log in first")
            self.count()

    def _end(self, status: bytes, words: bytes) -> None:
        """
        Complete the client's command.
        """
        self.say(self.tag + b" " + status + b" " + words)

    async def _command(self) -> tuple[bytes, bytes, list[bytes] | None]:
        """
        A command of the client's: its tag, its name in upper case and its arguments, C{None} where
        that is no command.
        """
        client = self.client
        line = await self.heard(client.readLine())
        tag, _, rest = line.partition(b" ")
        self.tag = tag = tag if _TAG.fullmatch(tag) else b"*"
        command = rest.partition(b" ")[0]
        text, arguments = rest[len(command) :], list[bytes]()
        isWhole = bool(command) and tag != b"*"
        while found := _LITERAL.search(text):
            isWhole = addArguments(_ARGUMENT, text[: found.start()], arguments) and isWhole
            size = int(found[1])
            if size > MAX_LITERAL_BYTES:
                if found[2]:
                    # It comes in any case, and would have to be read (RFC 7888, section 4).
                    self.say(b"* BYE literal too long")
                    raise Oversize(f"a literal of {size} bytes")
                return tag, b"", None
            if not found[2]:
                self.say(b"+ go on")
            arguments.append(await self.heard(client.readExactly(size)))
            text = await self.heard(client.readLine())
        isWhole = addArguments(_ARGUMENT, text, arguments) and isWhole
        return tag, command.upper(), arguments if isWhole else None

    async def _ask(self, challenge: bytes) -> bytes:
        self.say(b"+ " + encode(challenge))
        return decode(await self.heard(self.client.readLine()))

    def refuse(self, why: str) -> None:
        """
        RFC 5530, section 3.
        """
        self._end(b"NO", b"[AUTHORIZATIONFAILED] " + why.encode())
        self.count()

    async def enter(self, mechanism: bytes, response: bytes) -> bool:
        """
        RFC 9051, section 6.2.2.
        """
        backend = self.backend
        backend.sendLine(b"t2 AUTHENTICATE " + mechanism)
        isAsked = False
        untagged: list[bytes] = []
        while True:
            tag, status, line = await readResponse(backend)
            if tag == b"+" and not isAsked:
                isAsked = True
                backend.sendLine(encode(response))
            elif tag == b"*" and status != b"BYE":
                untagged.append(line)
            elif tag == b"t2" and status in (b"OK", b"NO", b"BAD"):
                break
            else:
                raise Malformed("no answer to AUTHENTICATE", line)
        self.answer = line
        for each in untagged:
            self.say(each)
        self.say(self.tag + line.removeprefix(b"t2"))
        return status == b"OK"
