"""
As whom somebody may log in by XMPP, and what SASL says of it (RFC 6120, sections 6.3.8 and 6.5).

A name is written in one way, so that no server can take it for another one: the local part in
lower case, ASCII, without what RFC 7622 (section 3.3.1) leaves out; the domain as we write domains.
"""

from __future__ import annotations

import re
from typing import ClassVar

from tlstunnel.identity.names import Identity, Kind, normalDomain
from tlstunnel.reveal.identitymap import Names
from tlstunnel.reveal.sasl import Declined, decode

#: The namespace of SASL in XMPP.
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"

_LOCAL = re.compile(r"[a-z0-9!#$%()*+,.;=?\[\\\]^_`{|}~-]{1,255}")


class Denied(Exception):
    """
    An attempt to log in fails; there may be another one.

    @ivar condition: why, as section 6.5 has it.
    """

    def __init__(self, condition: str) -> None:
        self.condition = condition
        super().__init__(condition)


def decoded(text: str) -> bytes:
    """
    What stands in a message of SASL.

    @raise Denied: it is not what section 6.4.2 has there.
    """
    try:
        return decode(text.strip().encode())
    except Declined:
        raise Denied("incorrect-encoding") from None


def _text(said: bytes) -> str:
    try:
        return said.decode()
    except UnicodeDecodeError:
        raise Denied("malformed-request") from None


def domainOf(text: str) -> str:
    """
    A domain that a peer names.  What is not ASCII is no name here: servers still read some of it as
    IDNA2003 has it, and take it for another domain than certificates do.

    @raise ValueError: it is none.
    """
    if not text.isascii():
        raise ValueError(f"{text!r} is not ASCII")
    return normalDomain(text)


class Login:
    """
    Decides as whom somebody logs in.

    @cvar mechanisms: by which it can be said.
    """

    mechanisms: ClassVar[tuple[str, ...]] = ("EXTERNAL",)

    def name(self, mechanism: str, response: bytes) -> str:
        """
        As whom: the authorisation identity for the server.

        @raise Denied: that is not for whoever asks.
        """
        raise NotImplementedError


class ClientLogin(Login):
    """
    Of a client: with EXTERNAL it may say as whom, or leave that to us; with PLAIN it says a name,
    and a password that nobody looks at, for programs that know nothing else.
    """

    mechanisms = ("EXTERNAL", "PLAIN")

    def __init__(self, names: Names, identity: Identity, domain: str) -> None:
        self._names = names
        self._identity = identity
        self._domain = domain

    def name(self, mechanism: str, response: bytes) -> str:
        """
        A bare JID of the domain of the stream.
        """
        wanted = {self._jid(claim) for claim in self._claims(mechanism, response)}
        if not wanted:
            wanted = {self._own()}
        name = wanted.pop()
        if wanted or not self._names.allows(self._identity, name):
            raise Denied("invalid-authzid")
        return name

    def _claims(self, mechanism: str, response: bytes) -> list[str]:
        """
        What the client calls itself.
        """
        text = _text(response)
        if mechanism == "EXTERNAL":
            return [text] if text else []
        # RFC 4616: an authorisation identity, if there is one, a name and a password.
        parts = text.split("\0")
        if len(parts) != 3 or not parts[1]:
            raise Denied("malformed-request")
        return [part for part in parts[:2] if part]

    def _jid(self, claim: str) -> str:
        local, at, domain = claim.rpartition("@")
        try:
            isOurs = not at or domainOf(domain) == self._domain
        except ValueError:
            isOurs = False
        local = local if at else claim
        # What is not ASCII has more than one spelling.
        local = local.lower() if local.isascii() else ""
        if not (isOurs and _LOCAL.fullmatch(local)):
            raise Denied("invalid-authzid")
        return f"{local}@{self._domain}"

    def _own(self) -> str:
        """
        Who has said nothing is the first that there is for that domain.
        """
        for name in self._names.names(self._identity):
            local, at, domain = name.rpartition("@")
            if at and domain == self._domain and _LOCAL.fullmatch(local):
                return name
        raise Denied("not-authorized")


class ServerLogin(Login):
    """
    Of a server: as the domain that its header has, and nothing else.
    """

    def __init__(self, names: Names, identity: Identity, domain: str) -> None:
        """
        @raise ValueError: it is not that domain.
        """
        self._domain = domain
        # The name of a user may look like a domain, and is none.
        if identity.kind is Kind.USER or not names.allows(identity, domain):
            raise ValueError(f"{identity} may not be {domain}")

    def name(self, mechanism: str, response: bytes) -> str:
        """
        XEP-0178, section 3.
        """
        text = _text(response)
        try:
            isSame = not text or domainOf(text) == self._domain
        except ValueError:
            isSame = False
        if not isSame:
            raise Denied("invalid-authzid")
        return self._domain
