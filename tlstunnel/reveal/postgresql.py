"""
Who is there, for PostgreSQL (Frontend/Backend Protocol 3, "StartupMessage")::

    C: 00 00 00 2f 00 03 00 00      version 3.0
       user 00 john 00              has to be one of those that the identity maps to
       database 00 books 00
       application_name 00 psql 00  what pg_stat_activity shows; where it is free, the identity
       options 00 -c geqo=off 00
       00

The message comes within TLS, and is the only one with a user in it: whoever is logged in can become
another role only as far as the server lets that user.  A CancelRequest has a key in the place of a
user, and passes.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tlstunnel.errors import Malformed, Refused, quote
from tlstunnel.protocols.postgresql import Opening
from tlstunnel.reveal.identitymap import namesFor
from tlstunnel.reveal.word import Introduction, Word

if TYPE_CHECKING:
    from tlstunnel.identity.names import Identity

#: What a server reads of a StartupMessage at most, its length included.
LARGEST_STARTUP = 10004

#: What a server keeps of a name: the rest of a longer one is cut off (NAMEDATALEN).
LONGEST_NAME = 63

_VERSION = 3

# What an SSLRequest has, and a GSSENCRequest; a CancelRequest has more.
_REQUEST_BYTES = 8

_NAME = b"application_name"

# Of these alone a server wants the case as it is: other parameters are settings, in any case.
_EXACT = frozenset((b"user", b"database", b"options", b"replication"))

# What may look like somebody, also where a server cuts it: a user, a workload, a key; what begins
# as a domain or an address does; or as a long one ends.
_WHO = re.compile(rb"@|//|\A\s*[^\s.:]*[.:]|~[0-9a-f]{16}")

_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


def parametersOf(message: bytes) -> dict[bytes, bytes]:
    """
    The parameters of a StartupMessage.

    @raise Malformed: if a server could read it in another way.
    """
    if len(message) > LARGEST_STARTUP:
        raise Malformed(f"a start-up packet of {len(message)} bytes")
    body = message[8:]
    fields = body[:-2].split(b"\0")
    if not body.endswith(b"\0\0") or len(fields) % 2:
        raise Malformed("a start-up packet that does not end as it should", message)
    parameters: dict[bytes, bytes] = {}
    seen = set()
    for name, value in zip(fields[::2], fields[1::2], strict=True):
        known = name.lower()
        if not name or known in seen or (known in _EXACT and name != known):
            raise Malformed("a start-up packet with a parameter twice, or misspelt", message)
        seen.add(known)
        parameters[_NAME if known == _NAME else name] = value
    return parameters


def startup(version: int, parameters: Mapping[bytes, bytes]) -> bytes:
    """
    A StartupMessage.
    """
    fields = b"".join(name + b"\0" + value + b"\0" for name, value in parameters.items())
    return struct.pack(">II", 9 + len(fields), version) + fields + b"\0"


def errorResponse(text: bytes) -> bytes:
    """
    The end of a login: invalid_authorization_specification.
    """
    fields = b"SFATAL\0VFATAL\0C28000\0M" + text + b"\0\0"
    return b"E" + struct.pack(">I", 4 + len(fields)) + fields


def setsName(options: bytes) -> bool:
    """
    Whether command-line options name the application, in any spelling: C{-c}, C{--}, together with
    other letters, with hyphens, in capitals, or with backslashes before its letters.
    """
    said = _ESCAPED.sub(rb"\1", options).lower().replace(b"-", b"_")
    return _NAME in said


def applicationName(identity: Identity) -> bytes:
    """
    What a session is called that has no name of its own: as the identity, which is cut where a
    server would do so, and then has a digest at its end, so that no two are alike.
    """
    name = str(identity).encode()
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name).hexdigest()[:16].encode()
    return name[: LONGEST_NAME - 17] + b"~" + digest


class PostgreSQLIntroduction(Introduction):
    """
    Lets a client log in as itself alone, and names the session after it.
    """

    async def converse(self) -> None:
        """
        Read what the session begins with.

        @raise Refused: if it is for somebody else.
        """
        opening = Opening(self.client)
        code = await opening.read()
        self.client.putBack(self._passed(code, opening.message))

    def _passed(self, code: int, message: bytes) -> bytes:
        """
        What the backend is given of a message.
        """
        if code >> 16 == _VERSION:
            return startup(code, self._checked(parametersOf(message)))
        if len(message) == _REQUEST_BYTES:
            raise Refused("the client asks for encryption within TLS")
        return message

    def _checked(self, parameters: dict[bytes, bytes]) -> dict[bytes, bytes]:
        """
        What the backend is given of the parameters.
        """
        identity = self.facts.identity
        user = parameters.get(b"user", b"")
        if identity is None or not self._isOf(identity, user):
            self._refuse(f"{identity} may not log in as {quote(user)}")
        assert identity is not None
        if setsName(parameters.get(b"options", b"")):
            self._refuse("options may not set application_name; set it by itself")
        given = parameters.get(_NAME, b"")
        if not given.strip() or _WHO.search(given):
            parameters[_NAME] = applicationName(identity)
        return parameters

    def _isOf(self, identity: Identity, user: bytes) -> bool:
        """
        Whether C{user} is one of those that C{identity} maps to.
        """
        try:
            name = user.decode()
        except UnicodeDecodeError:
            return False
        allowed: bool = self.known.allows(identity, name)
        return allowed and len(user) <= LONGEST_NAME

    def _refuse(self, why: str) -> None:
        self.client.write(errorResponse(why.encode()))
        raise Refused(why)


postgresql = Word(
    name="postgresql",
    summary="the user of a session must be one that the identity maps to; its application_name, "
    "where that is free, is the identity",
    dialects=("postgresql",),
    introduction=PostgreSQLIntroduction,
    needsIdentity=True,
    prepare=lambda disclosure: namesFor(disclosure, "postgresql"),
)
