"""
Who is there, for MySQL and MariaDB (Client/Server Protocol)::

    S: id 0   0a version 00 ...                 without compression, which would hide commands
    == TLS ==
    C: id 2   caps(4) maxpacket(4) charset reserved(23) john 00 ... attributes
                                                the user has to be one that the identity maps to;
                                                which becomes one of the attributes
    S: id 3   ff ERR 1045, or what the backend says
    ...
    C: id 0   11 ann 00 ...                     COM_CHANGE_USER: the same, whenever it comes

All that a client says is looked at as long as the session lasts; what the backend says is not.
L{tlstunnel.protocols.mysql} has the rest, and numbers the packets.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NoReturn

from tlstunnel.errors import BackendRefused, Malformed, Refused, quote
from tlstunnel.protocols.mysql import capabilitiesOf, parseGreeting
from tlstunnel.protocols.mysqlpackets import (
    COMPRESSIONS,
    PROTOCOL_41,
    SSL,
    Greeting,
    errorPacket,
    packet,
    readPacket,
)
from tlstunnel.reveal.identitymap import namesFor
from tlstunnel.reveal.mysqlcommands import Commands
from tlstunnel.reveal.mysqllogin import LARGEST_BYTES, readChange, readLogin, tell
from tlstunnel.reveal.word import Introduction, Word

#: What servers keep of the name of a user: the rest of a longer one is cut off by some.
LONGEST_NAME = 32

# What names may be made of: what is the same in all character sets that servers take from clients,
# and no apostrophes, which servers take off.  In swe7 there are letters in the place of the rest;
# and of @, which is here for whole identities: with an E acute in it, one is the name of nobody.
_NAME = re.compile(rb"[A-Za-z0-9_.@+=#$%%&!?/:-]{1,%d}" % LONGEST_NAME)


class MySQLIntroduction(Introduction):
    """
    Lets a client log in as itself alone, and become nobody else.
    """

    _greeting: Greeting
    _capabilities: int

    async def introduce(self) -> None:
        """
        Hear the backend's greeting, if nobody has; the role has withheld from its what we do.
        """
        if not self.isGreeted:
            greeting = parseGreeting(await readPacket(self.backend, 0), BackendRefused)
            offered = greeting.capabilities & ~(SSL | COMPRESSIONS)
            self._greeting = replace(greeting, capabilities=offered)

    async def converse(self) -> None:
        """
        Read the login, and let it pass.

        @raise Refused: if it is that of somebody else.
        """
        client = self.client
        number = 2 if self.isGreeted else 1
        if not self.isGreeted:
            client.write(packet(0, self._greeting.payload()))
        client.maxBytes += LARGEST_BYTES
        login = self._checked(await readPacket(client, number), number + 1)
        client.putBack(packet(number, login))
        self.toPlain.append(Commands(self._change))

    def _checked(self, login: bytes, number: int) -> bytes:
        """
        What the backend is given of the login.

        @param number: that of the answer.
        """
        self._capabilities = capabilities = capabilitiesOf(login)
        if not capabilities & PROTOCOL_41:
            raise Malformed("inside TLS the client did not begin with its login")
        user, at = readLogin(login, capabilities)
        if capabilities & SSL and not self.isGreeted:
            self._refuse(number, "the client asks for TLS within TLS")
        if capabilities & COMPRESSIONS:
            self._refuse(number, "the client compresses, which would hide its commands")
        if not self._isAllowed(user):
            self._refuse(number, f"{self.facts.identity} may not log in as {quote(user)}")
        return self._told(login, at)

    def _change(self, message: bytes) -> bytes:
        """
        The same of a COM_CHANGE_USER.
        """
        user, at = readChange(message, self._capabilities)
        if not self._isAllowed(user):
            raise Refused(f"{self.facts.identity} may not become {quote(user)}")
        return self._told(message, at)

    def _told(self, message: bytes, at: int | None) -> bytes:
        """
        A message with the identity in it, where it has attributes.
        """
        return message if at is None else tell(message, at, str(self.facts.identity).encode())

    def _isAllowed(self, user: bytes) -> bool:
        """
        Whether C{user} is one of those that the client maps to.
        """
        identity = self.facts.identity
        if identity is None or not _NAME.fullmatch(user):
            return False
        allowed: bool = self.known.allows(identity, user.decode())
        return allowed

    def _refuse(self, number: int, why: str) -> NoReturn:
        """
        Say what a server says to a login with a wrong password (ER_ACCESS_DENIED_ERROR).
        """
        self.client.write(errorPacket(number, 1045, b"28000", why.encode()))
        raise Refused(why)


mysql = Word(
    name="mysql",
    summary="the user of a session must be one that the identity maps to, also if it is changed; "
    "the identity is among the attributes of the connection",
    dialects=("mysql",),
    introduction=MySQLIntroduction,
    needsIdentity=True,
    prepare=lambda disclosure: namesFor(disclosure, "mysql"),
)
