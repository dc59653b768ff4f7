"""
LDAP: proxied authorisation (RFC 4370)::

    T: BindRequest, simple, our DN          B: success
    T: Who am I, for nobody                 B: nobody
    T: Who am I, for u:user@domain          B: dn:uid=user,ou=people,dc=example,dc=org

    C: BindRequest, SASL EXTERNAL           T: success
    C: SearchRequest                        T to B: the same, for u:user@domain

The server has to let our DN act for its users, and need not let it do anything else.
"""

from __future__ import annotations

from dataclasses import dataclass

from tlstunnel.errors import BackendRefused, ConfigurationError
from tlstunnel.identity.names import Identity, Kind
from tlstunnel.protocols.ber import INTEGER, OCTETS, element
from tlstunnel.protocols.ldap import (
    BIND_REQUEST,
    BIND_RESPONSE,
    EXTENDED_REQUEST,
    EXTENDED_RESPONSE,
    REQUEST_NAME,
    RESPONSE_VALUE,
    SUCCESS,
    codeName,
    readMessage,
    readResult,
)
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.reveal.ldapcontrols import WHO_AM_I, actingFor
from tlstunnel.reveal.ldapfilters import Requests, Responses
from tlstunnel.reveal.ldaplogin import ANONYMOUS, Client
from tlstunnel.reveal.ldapmessages import Request
from tlstunnel.reveal.secrets import readSecret
from tlstunnel.reveal.word import Introduction, Word

_SIMPLE = 0x80


@dataclass(frozen=True)
class Account:
    """
    Who we are to the server.
    """

    name: str
    password: str


def readAccount(disclosure: Disclosure) -> Account:
    """
    Read who we are.

    @raise ConfigurationError: if nobody has said so.
    """
    if not disclosure.ldapBindDN or disclosure.ldapBindPasswordFile is None:
        raise ConfigurationError(
            "`reveal` ldap",
            "has to bind at the server, to act for others there",
            "give both `ldap-bind-dn` and `ldap-bind-password-file`",
        )
    return Account(disclosure.ldapBindDN, readSecret(disclosure.ldapBindPasswordFile))


class LDAPIntroduction(Introduction):
    """
    Binds as ourselves, and lets all requests be for others.
    """

    async def introduce(self) -> None:
        """
        Bind, and see that the server makes a difference between us and those for whom we act.
        """
        self._messageID = 0
        await self._bind(self.known)
        code, said, who = await self._whoAmI(ANONYMOUS)
        if code != SUCCESS:
            raise BackendRefused(
                f"the peer answered {codeName(code)} to Who am I for nobody", said, "ldap proxied"
            )
        if who:
            raise BackendRefused("the peer ignores proxied authorisation", who, "ldap ignores")
        client = await self._find(self.facts.identity)
        responses = Responses()
        self.toPlain.append(Requests(client, responses))
        self.toNetwork.append(responses)

    async def _bind(self, account: Account) -> None:
        """
        RFC 4513, section 5.1.3.
        """
        code, said, _ = await self._ask(
            BIND_REQUEST,
            element(INTEGER, b"\x03")
            + element(OCTETS, account.name.encode())
            + element(_SIMPLE, account.password.encode()),
            BIND_RESPONSE,
        )
        if code != SUCCESS:
            raise BackendRefused(
                f"the peer answered {codeName(code)} to our Bind", said, "ldap bind"
            )

    async def _find(self, identity: Identity | None) -> Client:
        """
        Ask who the client is for the server.
        """
        if identity is None or identity.kind is not Kind.USER:
            return Client()
        client = Client(identity)
        code, said, who = await self._whoAmI(client.authzID)
        if code == SUCCESS:
            return Client(identity, who, "" if who else "who that is, is not known there")
        return Client(identity, b"", said.decode(errors="replace") or codeName(code))

    async def _whoAmI(self, authzID: bytes) -> tuple[int, bytes, bytes]:
        """
        RFC 4532.
        """
        name = element(REQUEST_NAME, WHO_AM_I)
        return await self._ask(EXTENDED_REQUEST, name, EXTENDED_RESPONSE, authzID)

    async def _ask(
        self, operation: int, content: bytes, response: int, authzID: bytes | None = None
    ) -> tuple[int, bytes, bytes]:
        """
        @return: the result code, the words about it, and the value, if there is one.
        """
        self._messageID += 1
        messageID = bytes((self._messageID,))
        request = Request(messageID, operation, element(operation, content))
        controls = () if authzID is None else (actingFor(authzID),)
        self.backend.write(request.written(controls))
        answered, tag, said = await readMessage(self.backend)
        if int.from_bytes(answered, "big") != self._messageID or tag != response:
            raise BackendRefused("the peer answered something else", said, "ldap other")
        code, words, rest = readResult(said)
        return code, words, dict(rest).get(RESPONSE_VALUE, b"")


ldap = Word(
    name="ldap",
    summary="LDAP: proxied authorisation, for who binds with SASL EXTERNAL (RFC 4370)",
    dialects=("ldap",),
    introduction=LDAPIntroduction,
    needsIdentity=True,
    prepare=readAccount,
)
