"""
What a client that binds is told (RFC 4511, section 4.2; RFC 4513, section 5).

No Bind reaches the server, which knows us alone: a client is whoever its certificate says, once it
has asked for that with SASL EXTERNAL, and nobody before that.
"""

from __future__ import annotations

from dataclasses import dataclass

from tlstunnel.errors import Malformed
from tlstunnel.identity.names import Identity
from tlstunnel.protocols.ber import INTEGER, OCTETS, Element, elements
from tlstunnel.protocols.ldap import SUCCESS

PROTOCOL_ERROR = 2
AUTH_METHOD_NOT_SUPPORTED = 7
INAPPROPRIATE_AUTHENTICATION = 48
INVALID_CREDENTIALS = 49
UNWILLING_TO_PERFORM = 53

_VERSION = b"\x03"
_SIMPLE, _SASL = 0x80, 0xA3
_MECHANISM = b"EXTERNAL"

ANONYMOUS = b""


@dataclass(frozen=True)
class Client:
    """
    Who a client may be.

    @ivar identity: the user that its certificate has proved, if it has.
    @ivar known: who that is for the server, as an authzId (RFC 4513, section 5.2.1.8); empty if it
        does not let us act for him.
    @ivar objection: why it does not.
    """

    identity: Identity | None = None
    known: bytes = b""
    objection: str = ""

    @property
    def authzID(self) -> bytes:
        """
        How the server is told who it is.
        """
        return ANONYMOUS if self.identity is None else f"u:{self.identity}".encode()

    def isCalled(self, authzID: bytes) -> bool:
        """
        Whether a name that the client gives is its own.
        """
        if authzID.startswith(b"u:") and self.identity is not None:
            try:
                return Identity.parse(authzID[2:].decode()) == self.identity
            except ValueError:
                return False
        return authzID.lower() == self.known.lower()


@dataclass(frozen=True)
class Verdict:
    """
    What becomes of a Bind.

    @ivar code: the result code.
    @ivar words: what is said about it.
    @ivar authzID: as whom the client's requests are served from now on.
    """

    code: int
    words: str = ""
    authzID: bytes = ANONYMOUS


def bind(client: Client, fields: list[Element]) -> Verdict:
    """
    Judge a BindRequest; whoever is refused is anonymous from then on (RFC 4513, section 4).

    @param fields: its elements.
    @raise Malformed: if it is none.
    """
    if [tag for tag, _ in fields[:2]] != [INTEGER, OCTETS] or len(fields) != 3:
        raise Malformed("a Bind with other elements than it has")
    (_, version), (_, name), (method, content) = fields
    if version != _VERSION:
        return Verdict(PROTOCOL_ERROR, "LDAPv3 is spoken here")
    if method == _SIMPLE:
        return _simple(name, content)
    if method != _SASL:
        return Verdict(AUTH_METHOD_NOT_SUPPORTED, "log in with SASL EXTERNAL")
    return _sasl(client, list(elements(content)))


def _simple(name: bytes, password: bytes) -> Verdict:
    if password:
        # RFC 4513, section 5.1.3.
        return Verdict(
            AUTH_METHOD_NOT_SUPPORTED,
            "no passwords are taken here: log in with your certificate and SASL EXTERNAL",
        )
    if name:
        # RFC 4513, section 5.1.2.
        return Verdict(UNWILLING_TO_PERFORM, "a name without a password proves nothing")
    # RFC 4513, section 5.1.1.
    return Verdict(SUCCESS)


def _sasl(client: Client, fields: list[Element]) -> Verdict:
    """
    RFC 4513, section 5.2.3; RFC 4422, appendix A.
    """
    if not 1 <= len(fields) <= 2 or any(tag != OCTETS for tag, _ in fields):
        raise Malformed("SASL credentials that are none")
    (_, mechanism), *credentials = fields
    if mechanism.upper() != _MECHANISM:
        # Without a mechanism a client gives up one that it has begun.
        return Verdict(AUTH_METHOD_NOT_SUPPORTED, "EXTERNAL is the only mechanism here")
    if client.identity is None:
        return Verdict(INAPPROPRIATE_AUTHENTICATION, "you have shown no certificate of a user")
    if not client.known:
        return Verdict(
            INVALID_CREDENTIALS,
            f"the directory lets nobody act for {client.identity}: {client.objection}",
        )
    for _, authzID in credentials:
        if authzID and not client.isCalled(authzID):
            return Verdict(
                INVALID_CREDENTIALS, f"your certificate says that you are {client.identity}"
            )
    return Verdict(SUCCESS, authzID=client.authzID)
