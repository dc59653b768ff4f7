"""
C{login} before a backend of sieve (RFC 5804, section 2.1)::

    S: "IMPLEMENTATION" "Dovecot Pigeonhole"
    S: "SASL" "EXTERNAL PLAIN"
    S: OK "ready"
    C: AUTHENTICATE "PLAIN" "AGpvaG4AeA=="
    T: AUTHENTICATE "PLAIN" "am9obkBleGFtcGxlLm9yZwB0dW5uZWwAc2VjcmV0"
    B: OK "Logged in."
    S: OK "Logged in."

The client hears what the backend has said of itself, but for what is about logins: clients look
there for the extensions that their scripts may use.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from tlstunnel.errors import Malformed, Quit
from tlstunnel.protocols.sieve import readResponse
from tlstunnel.reveal.logindialogue import LoginDialogue, addArguments
from tlstunnel.reveal.sasl import MAX_RESPONSE_BYTES, OFFERED, Declined, decode, encode, names
from tlstunnel.reveal.sieve import MAX_LINE_BYTES, readGreeting

_CAPABILITY = re.compile(rb'"([^"\\]*)"(?: "([^"\\]*)")?\r\n')
_STRING = re.compile(rb' *"((?:[^"\\]|\\["\\])*)"(?![^ ])')
_LITERAL = re.compile(rb"(?:^| )\{([0-9]{1,20})\+\}\Z")
_COMMAND = re.compile(rb"([A-Za-z]+)((?: .*)?)", re.DOTALL)

# What is not for clients to know: they are logged in by us, within TLS that is there already.
_HIDDEN = frozenset((b"SASL", b"STARTTLS", b"XCLIENT", b"UNAUTHENTICATE"))
_WITHOUT_ARGUMENT = frozenset((b"CAPABILITY", b"LOGOUT"))


class SieveLogin(LoginDialogue):
    """
    Of sieve.
    """

    _offer = b""

    async def meet(self, isAsked: bool) -> Collection[bytes]:
        """
        RFC 5804, section 1.7: the greeting has all that is asked for.
        """
        self.client.maxLine = MAX_LINE_BYTES
        greeting = await readGreeting(self.backend)
        self.backend.putBack(greeting)
        found: list[bytes] = []
        offer = []
        for line in greeting.splitlines(keepends=True)[:-1]:
            known = _CAPABILITY.fullmatch(line)
            name = known[1].upper() if known is not None else b""
            if known is not None and name == b"SASL":
                found = (known[2] or b"").upper().split()
            if known is not None and name not in _HIDDEN:
                offer.append(line)
        offer.append(b'"SASL" "' + b" ".join(OFFERED) + b'"\r\n')
        self._offer = b"".join(offer)
        return found

    async def greet(self) -> None:
        """
        RFC 5804, section 1.7, and inside TLS section 2.2: the server speaks first.
        """
        await readGreeting(self.backend)
        self.say(self._offer + b'OK "' + self.client.setting.ourName + b' ready"')

    async def hear(self) -> tuple[bytes, ...]:
        """
        RFC 5804, section 2.
        """
        while True:
            line = await self.heard(self.client.readLine())
            found = _COMMAND.fullmatch(line)
            command = found[1].upper() if found is not None else b""
            arguments = await self._strings(found[2]) if found is not None else None
            if command == b"AUTHENTICATE" and arguments and len(arguments) <= 2:
                try:
                    initial = decode(arguments[1]) if len(arguments) == 2 else None
                    return await names(arguments[0].upper(), initial, self._ask)
                except Declined as why:
                    self._decline(str(why).encode())
            else:
                self._answer(command, arguments)

    async def _strings(self, text: bytes) -> list[bytes] | None:
        """
        The strings that a line has or ends in, C{None} where it has something else (section 4).
        """
        strings: list[bytes] = []
        isWhole = True
        while found := _LITERAL.search(text):
            isWhole = addArguments(_STRING, text[: found.start()], strings) and isWhole
            size = int(found[1])
            if size > MAX_RESPONSE_BYTES:
                self.say(b'BYE "literal too long"')
            # Too much to be read is an error there.
            strings.append(await self.heard(self.client.readExactly(size)))
            text = await self.heard(self.client.readLine())
        isWhole = addArguments(_STRING, text, strings) and isWhole
        return strings if isWhole else None

    async def _ask(self, challenge: bytes) -> bytes:
        self.say(b'"' + encode(challenge) + b'"')
        strings = await self._strings(await self.heard(self.client.readLine()))
        if strings is None or len(strings) != 1:
            raise Declined("syntax")
        return decode(strings[0])

    def _answer(self, command: bytes, arguments: list[bytes] | None) -> None:
        """
        Answer what is not to log in.
        """
        if arguments is None or (arguments and command in _WITHOUT_ARGUMENT):
            self._decline(b"syntax")
        elif command == b"CAPABILITY":
            self.say(self._offer + b'OK "done"')
        elif command == b"NOOP" and len(arguments) <= 1:
            # RFC 5804, section 2.13.
            tags = [b'(TAG "' + _quoted(each) + b'") ' for each in arguments]
            self.say(b"OK " + b"".join(tags) + b'"done"')
        elif command == b"LOGOUT":
            self.say(b'OK "bye"')
            raise Quit()
        else:
            self._decline(b"log in first")

    def _decline(self, why: bytes) -> None:
        self.say(b'NO "' + why + b'"')
        self.count()

    def refuse(self, why: str) -> None:
        """
        RFC 5804, section 1.3, has no code for it.
        """
        self._decline(why.encode())

    async def enter(self, mechanism: bytes, response: bytes) -> bool:
        """
        RFC 5804, section 2.1.
        """
        initial = b'"' + mechanism + b'" "' + encode(response) + b'"'
        self.backend.sendLine(b"AUTHENTICATE " + initial)
        status, self.answer = await readResponse(self.backend)
        if status not in ("OK", "NO"):
            raise Malformed("no answer to AUTHENTICATE", self.answer)
        self.say(self.answer)
        return status == "OK"


def _quoted(text: bytes) -> bytes:
    return re.sub(rb'(["\\])', rb"\\\1", text.replace(b"\r", b"").replace(b"\n", b""))
