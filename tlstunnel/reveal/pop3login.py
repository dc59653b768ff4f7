"""
C{login} before a backend of pop3 (RFC 1939, section 7; RFC 5034)::

    S: +OK ready
    C: USER john@example.org
    S: +OK
    C: PASS not a password
    T: AUTH PLAIN
    B: +
    T: am9obkBleGFtcGxlLm9yZwB0dW5uZWwAc2VjcmV0
    B: +OK Logged in.
    S: +OK Logged in.
"""

from __future__ import annotations

from collections.abc import Collection

from tlstunnel.errors import Malformed, Quit
from tlstunnel.protocols.pop3 import indicator
from tlstunnel.reveal.logindialogue import LoginDialogue
from tlstunnel.reveal.pop3 import readGreeting
from tlstunnel.reveal.sasl import MAX_RESPONSE_BYTES, OFFERED, Declined, decode, encode, names

#: What is offered before a login.
OFFER = (b"USER", b"SASL " + b" ".join(OFFERED), b"RESP-CODES", b"AUTH-RESP-CODE")


class POP3Login(LoginDialogue):
    """
    Of pop3.
    """

    _user: bytes | None = None

    async def meet(self, isAsked: bool) -> Collection[bytes]:
        """
        RFC 2449, section 5; a backend that does not know CAPA has nothing to offer.
        """
        backend = self.backend
        self.client.maxLine = MAX_RESPONSE_BYTES
        greeting = b"" if self.isGreeted else await readGreeting(backend)
        found: list[bytes] = []
        if isAsked:
            backend.sendLine(b"CAPA")
            line = await backend.readLine()
            while indicator(line) != b"-ERR" and line != b".":
                line = await backend.readLine()
                words = line.upper().split()
                if words[:1] == [b"SASL"]:
                    found = words[1:]
        backend.putBack(greeting)
        return found

    async def greet(self) -> None:
        """
        RFC 1939, section 4; without a timestamp, as there is no APOP.
        """
        if not self.isGreeted:
            await readGreeting(self.backend)
            self.say(b"+OK " + self.client.setting.ourName + b" ready")

    async def hear(self) -> tuple[bytes, ...]:
        """
        RFC 1939, section 7; RFC 5034, section 4.
        """
        while True:
            line = await self.heard(self.client.readLine())
            command, _, argument = line.partition(b" ")
            command = command.upper()
            user, self._user = self._user, None
            if command == b"PASS" and user is not None:
                return (user,)
            if command == b"AUTH" and argument.strip():
                try:
                    return await self._authenticate(argument.split())
                except Declined as why:
                    self._decline(str(why).encode())
            else:
                self._answer(command, argument.strip())

    async def _authenticate(self, words: list[bytes]) -> tuple[bytes, ...]:
        """
        RFC 5034, section 4.
        """
        if len(words) > 2:
            raise Declined("syntax")
        initial = decode(words[1]) if len(words) == 2 else None
        return await names(words[0].upper(), initial, self._ask)

    async def _ask(self, challenge: bytes) -> bytes:
        self.say(b"+ " + encode(challenge))
        return decode(await self.heard(self.client.readLine()))

    def _answer(self, command: bytes, argument: bytes) -> None:
        """
        Answer what is not to log in.
        """
        if command == b"USER" and argument:
            self._user = argument
            self.say(b"+OK")
        elif command == b"CAPA":
            self.say(b"\r\n".join((b"+OK", *OFFER, b".")))
        elif command == b"AUTH":
            # What servers make of it, for clients that do not know CAPA.
            self.say(b"\r\n".join((b"+OK", *OFFERED, b".")))
        elif command == b"QUIT":
            self.say(b"+OK bye")
            raise Quit()
        else:
            self._decline(b"log in first")

    def _decline(self, why: bytes) -> None:
        self.say(b"-ERR " + why)
        self.count()

    def refuse(self, why: str) -> None:
        """
        RFC 3206, section 5.
        """
        self._decline(b"[AUTH] " + why.encode())

    async def enter(self, mechanism: bytes, response: bytes) -> bool:
        """
        RFC 5034, section 4.
        """
        backend = self.backend
        backend.sendLine(b"AUTH " + mechanism)
        line = await backend.readLine()
        if indicator(line) == b"+":
            backend.sendLine(encode(response))
            line = await backend.readLine()
        status = indicator(line)
        if status not in (b"+OK", b"-ERR"):
            raise Malformed("no answer to AUTH", line)
        self.answer = line
        self.say(line)
        return status == b"+OK"
