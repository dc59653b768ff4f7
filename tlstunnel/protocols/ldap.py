"""
LDAP (RFC 4511, section 4.14; RFC 4513, section 3)::

    C: 30 1d  02 01 01  77 18  80 16 "1.3.6.1.4.1.1466.20037"       ExtendedRequest
    S: 30 0c  02 01 01  78 07  0a 01 00  04 00  04 00               success
    == TLS ==

Every message is one BER element, with a length in any definite form: Active Directory writes four
bytes where one would do.
"""

from __future__ import annotations

from tlstunnel.errors import Malformed, Oversize, Quit, Refused
from tlstunnel.protocols.base import ClientRole, Dialect, ServerRole
from tlstunnel.protocols.ber import (
    ENUMERATED,
    INTEGER,
    OCTETS,
    SEQUENCE,
    Element,
    element,
    elements,
    measure,
)
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.foreign import checkForeign

START_TLS = b"1.3.6.1.4.1.1466.20037"
NOTICE_OF_DISCONNECTION = b"1.3.6.1.4.1.1466.20036"

#: What may be read before the switch, in all.
MAX_CLEAR_BYTES = 4096

# Tags (RFC 4511, appendix B).
BIND_REQUEST, UNBIND_REQUEST, ABANDON_REQUEST, EXTENDED_REQUEST = 0x60, 0x42, 0x50, 0x77
BIND_RESPONSE, EXTENDED_RESPONSE = 0x61, 0x78
REQUEST_NAME, REQUEST_VALUE, RESPONSE_NAME, RESPONSE_VALUE = 0x80, 0x81, 0x8A, 0x8B

#: The response to each request: bind, search, modify, add, delete, modify DN, compare, extended.
RESPONSES = {
    BIND_REQUEST: BIND_RESPONSE,
    0x63: 0x65,
    0x66: 0x67,
    0x68: 0x69,
    0x4A: 0x6B,
    0x6C: 0x6D,
    0x6E: 0x6F,
    EXTENDED_REQUEST: EXTENDED_RESPONSE,
}

SUCCESS = 0
_CONFIDENTIALITY_REQUIRED = 13

_CODES = {
    1: "operationsError",
    2: "protocolError",
    3: "timeLimitExceeded",
    4: "sizeLimitExceeded",
    7: "authMethodNotSupported",
    8: "strongerAuthRequired",
    10: "referral",
    11: "adminLimitExceeded",
    12: "unavailableCriticalExtension",
    13: "confidentialityRequired",
    20: "attributeOrValueExists",
    32: "noSuchObject",
    34: "invalidDNSyntax",
    48: "inappropriateAuthentication",
    49: "invalidCredentials",
    50: "insufficientAccessRights",
    51: "busy",
    52: "unavailable",
    53: "unwillingToPerform",
    65: "objectClassViolation",
    68: "entryAlreadyExists",
    80: "other",
    123: "authorizationDenied",
    4096: "syncRefreshRequired",
}


def result(messageID: bytes, tag: int, code: int, diagnostic: str = "") -> bytes:
    """
    An LDAPResult (RFC 4511, section 4.1.9).

    @param messageID: the content of the INTEGER in the request.
    @param diagnostic: words about it.
    """
    content = (
        element(ENUMERATED, bytes((code,)))
        + element(OCTETS, b"")
        + element(OCTETS, diagnostic.encode())
    )
    return element(SEQUENCE, element(INTEGER, messageID) + element(tag, content))


async def readSequence(conversation: Conversation, largest: int | None = None) -> bytes:
    """
    The content of the next SEQUENCE.

    @param largest: bytes that it may have, where the conversation as a whole is not bounded.
    @raise Malformed: if something else comes, or its length is indefinite, which LDAP excludes
        (RFC 4511, section 5.1).
    @raise Oversize: if it is too long to be read.
    """
    start = await conversation.readExactly(2)
    if start[0] != SEQUENCE:
        raise Malformed("not an LDAP message", start + conversation.takeRest())
    sizes = measure(start)
    if sizes is None:
        sizes = measure(start + await conversation.readExactly(start[1] & 0x7F))
        assert sizes is not None
    _, length = sizes
    if largest is not None and length > largest:
        raise Oversize(f"a message of {length} bytes exceeds {largest}")
    return await conversation.readExactly(length)


async def readMessage(conversation: Conversation) -> tuple[bytes, int, bytes]:
    """
    The next LDAPMessage.

    @raise Malformed: if it is none.
    """
    return message(await readSequence(conversation))


def message(content: bytes) -> tuple[bytes, int, bytes]:
    """
    Take an LDAPMessage apart (RFC 4511, section 4.1.1); controls, and what extensions may add, are
    ignored.

    @return: the content of its message id, the tag of its operation, and the content of that.
    @raise Malformed: if it is none.
    """
    parts = list(elements(content))
    if len(parts) < 2 or parts[0][0] != INTEGER:
        raise Malformed("not an LDAP message", content)
    (_, messageID), (operation, rest) = parts[:2]
    if not 1 <= len(messageID) <= 4 or messageID[0] & 0x80:
        raise Malformed("no message id", messageID)
    return messageID, operation, rest


def readResult(content: bytes) -> tuple[int, bytes, list[Element]]:
    """
    Take an LDAPResult apart.

    @return: its code, the words about it, and what stands behind them.
    @raise Malformed: if it is none.
    """
    parts = list(elements(content))
    if [tag for tag, _ in parts[:3]] != [ENUMERATED, OCTETS, OCTETS]:
        raise Malformed("not an LDAP result", content)
    (_, code), _, (_, diagnostic) = parts[:3]
    if not 1 <= len(code) <= 4:
        raise Malformed("no result code", code)
    return int.from_bytes(code, "big", signed=True), diagnostic, parts[3:]


def codeName(code: int) -> str:
    """
    What a result code means.
    """
    return f"{_CODES.get(code, 'an error')} ({code})"


class LDAPClient(ClientRole):
    """
    Asks a remote LDAP server for TLS.
    """

    maxBytes = MAX_CLEAR_BYTES

    async def negotiate(self) -> None:
        """
        RFC 4511, section 4.14.2: one ExtendedResponse decides.
        """
        request = element(EXTENDED_REQUEST, element(REQUEST_NAME, START_TLS))
        self.write(element(SEQUENCE, element(INTEGER, b"\x01") + request))
        messageID, operation, content = await readMessage(self)
        if not any(messageID):
            # RFC 4511, section 4.4.1.
            raise Refused("a notice of disconnection", content)
        if int.from_bytes(messageID, "big") != 1 or operation != EXTENDED_RESPONSE:
            raise Malformed("not the response to our request", bytes((operation,)) + content)
        number, diagnostic, rest = readResult(content)
        if number != SUCCESS:
            raise Refused(f"the server answered {codeName(number)}", diagnostic)
        if any(tag == RESPONSE_NAME and name != START_TLS for tag, name in rest):
            raise Malformed("the response to something else", content)

    def isFarewell(self, said: bytes) -> bool | None:
        """
        RFC 4511, section 4.4.1.
        """
        if not said.startswith(bytes((SEQUENCE,))):
            return False
        found = elements(said)
        try:
            _, content = next(found)
        except Malformed:
            # It is not whole.
            return None
        try:
            if any(found):
                return False
            messageID, operation, rest = message(content)
            name = (RESPONSE_NAME, NOTICE_OF_DISCONNECTION)
            return not any(messageID) and operation == EXTENDED_RESPONSE and name in elements(rest)
        except Malformed:
            # Or what is behind it is not.
            return False


class LDAPServer(ServerRole):
    """
    Offers an LDAP client TLS, and nothing else before it.
    """

    maxBytes = MAX_CLEAR_BYTES

    async def negotiate(self) -> None:
        """
        RFC 4511, section 4.14.1; nothing is served before, not even the root DSE.
        """
        await checkForeign(self)
        while True:
            messageID, operation, content = await readMessage(self)
            if not any(messageID):
                raise Malformed("a request without a message id")
            if operation == EXTENDED_REQUEST and self._isStartTLS(content):
                self.goAheadExactly(result(messageID, EXTENDED_RESPONSE, SUCCESS))
                return
            self._refuse(messageID, operation)

    def _isStartTLS(self, content: bytes) -> bool:
        """
        Whether an ExtendedRequest asks for TLS; it has no value then.
        """
        parts = list(elements(content))
        if not parts or parts[0][0] != REQUEST_NAME:
            raise Malformed("an extended request without a name", content)
        return parts[0][1] == START_TLS and all(tag != REQUEST_VALUE for tag, _ in parts)

    def _refuse(self, messageID: bytes, operation: int) -> None:
        if operation == UNBIND_REQUEST:
            raise Quit()
        if operation == ABANDON_REQUEST:
            return
        if operation not in RESPONSES:
            raise Malformed("no request of LDAP", bytes((operation,)))
        self.write(result(messageID, RESPONSES[operation], _CONFIDENTIALITY_REQUIRED))
        self.countRefusal()


ldap = Dialect(
    name="ldap",
    marksEnd=True,
    client=LDAPClient,
    server=LDAPServer,
    summary="directories (RFC 4511, StartTLS)",
    ports=(389,),
    implicitPort=636,
)
