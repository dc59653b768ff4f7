"""
MySQL and MariaDB (Client/Server Protocol, connection phase).  Packets are a 3-byte little-endian
length, a sequence id, and the payload::

    S: id 0   0a version 00 thread(4) salt(8) 00 caps(2) charset status(2) caps(2) saltlength
              reserved(10) salt 00 plugin 00
    C: id 1   caps(4) maxpacket(4) charset reserved(23)         SSLRequest: no more than this
    == TLS ==
    C: id 2   the same 32 bytes, user, password, ...            HandshakeResponse41
    S: id 3   00 OK | ff ERR | fe, 01, 02: authentication goes on

There is no go-ahead: TLS begins right behind the SSLRequest.  Without it the response has id 1, so
that every id of the authentication differs by one between the network and the plain leg; after
that, ids begin at 0 with each command.

Servers believe what the SSLRequest announces, so in client mode the app's response has to be known
before the switch, and for that the app needs a greeting: it gets one made of the values in the
server's, of which no free text is left (rule 1).  In server mode nothing that the request announces
is used: drivers repeat it inside TLS with other flags, another character set, or bytes of chance
where zeroes belong, and the very old ones send no more of it than their flags.

A password may have to be decrypted or encrypted on its way: L{tlstunnel.protocols.mysqlexchange}.
"""

from __future__ import annotations

import struct
from dataclasses import replace

from tlstunnel.address import TCPAddress
from tlstunnel.errors import (
    BackendRefused,
    ForeignProtocol,
    Malformed,
    NotOffered,
    Refused,
    TunnelError,
)
from tlstunnel.protocols.base import ClientRole, Dialect, ServerRole
from tlstunnel.protocols.filters import Filter
from tlstunnel.protocols.foreign import rejectForeign
from tlstunnel.protocols.mysqlapp import (
    AppAnswers,
    AppQuestions,
    Decryption,
    Proof,
    finishLogin,
    keyFor,
)
from tlstunnel.protocols.mysqlbackend import BackendQuestions, ClientAnswers, Pending
from tlstunnel.protocols.mysqlexchange import CACHING_SHA2, SHA256
from tlstunnel.protocols.mysqlpackets import (
    CLIENT_MYSQL,
    COMPRESSIONS,
    ERR,
    PLUGIN_AUTH,
    PROTOCOL_41,
    SECURE_CONNECTION,
    SSL,
    Greeting,
    Renumbered,
    Verdict,
    errorPacket,
    packet,
    readPacket,
)
from tlstunnel.protocols.setting import Setting

NO_FULL_AUTHENTICATION = "no-full-authentication"

#: What may be read from the network before the switch, in all.
MAX_CLEAR_BYTES = 4096

_NAME = "mysql"

# What an ERR packet begins with.
_ERROR = bytes((ERR,))

# The head of a HandshakeResponse41, which is all of an SSLRequest.
_HEAD_BYTES = 32

# The flags alone are a request too: it is how Connector/J began (MySQL's sql_authentication.cc has
# AUTH_PACKET_HEADER_SIZE_CONNJ_SSL).
_REQUEST_BYTES = (4, _HEAD_BYTES)


# What is announced for a program that begins with TLS: packets of 16 MiB, and utf8mb4.
_ALONE = struct.pack("<IIB23x", PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH | SSL, 1 << 24, 45)


def parseGreeting(payload: bytes, refusal: type[TunnelError]) -> Greeting:
    """
    A server's greeting.

    @param refusal: what to raise if it is an ERR packet: "Host is blocked", "Too many connections".
    """
    if payload.startswith(_ERROR):
        code = int.from_bytes(payload[1:3], "little")
        raise refusal(f"the server greeted with error {code}", payload[3:])
    greeting = Greeting.parse(payload)
    if not greeting.capabilities & PROTOCOL_41:
        raise refusal("the server does not speak the protocol of MySQL 4.1 and later")
    return greeting


def announcement(response: bytes) -> bytes:
    """
    The head of C{response} with the flag for TLS: capabilities, packet size and character set, and
    MariaDB's capabilities beyond 32 bits.
    """
    capabilities, size, charset, extended = struct.unpack("<IIB19xI", response[:_HEAD_BYTES])
    if capabilities & CLIENT_MYSQL:
        extended = 0
    return struct.pack("<IIB19xI", capabilities | SSL, size, charset, extended)


def capabilitiesOf(response: bytes) -> int:
    """
    The flags of a client.
    """
    return int.from_bytes(response[:4], "little")


class Login(Filter):
    """
    The client's first packet inside TLS, which loses the flag for TLS, and is else for the backend
    to judge.
    """

    def feed(self, data: bytes) -> bytes:
        """
        Keep the head until it is complete.
        """
        if self.done:
            return data
        self._kept += data
        start = bytes(self._kept)
        length = int.from_bytes(start[:3], "little")
        if len(start) >= 4 and (length < _HEAD_BYTES or start[3] != 2):
            raise Malformed("inside TLS the client did not begin with its login", start)
        if len(start) < 4 + _HEAD_BYTES:
            return b""
        capabilities = capabilitiesOf(start[4:])
        if not capabilities & PROTOCOL_41:
            raise Malformed("the client does not speak the protocol of MySQL 4.1 and later", start)
        self.done = True
        self._kept.clear()
        return start[:4] + struct.pack("<I", capabilities & ~SSL) + start[8:]

    def flush(self) -> bytes:
        """
        What is not even the start of a login is for nobody.
        """
        return b""


class MySQLClient(ClientRole):
    """
    Asks a remote MySQL server for TLS, and an app for what the request has to announce.
    """

    maxBytes = MAX_CLEAR_BYTES
    _isAlone = False

    def prepareAlone(self) -> None:
        """
        There is no login to be announced.
        """
        self._isAlone = True

    async def readGreeting(self) -> None:
        """
        Without the flag for TLS, the app is not even greeted (CVE-2015-3152).
        """
        greeting = parseGreeting(await readPacket(self, 0), Refused)
        if not greeting.capabilities & SSL:
            raise NotOffered("the server does not offer TLS")
        self.checkEmpty()
        self._greeting = replace(greeting, capabilities=greeting.capabilities & ~SSL)

    async def negotiate(self) -> None:
        """
        Have the app's login, and announce it; it is held until the server is verified
        (CVE-2017-3305).
        """
        if self._isAlone:
            self.write(packet(1, _ALONE))
            return
        self.plain.write(packet(0, self._greeting.payload()))
        try:
            response = await self._readLogin()
        except TunnelError as error:
            raise error.by(self.plain.transport.who) from None
        announced = announcement(response)
        self._login = announced + response[_HEAD_BYTES:]
        self.write(packet(1, announced))

    async def _readLogin(self) -> bytes:
        """
        The login of the app, which knows no TLS.
        """
        response = await readPacket(self.plain, 1)
        if len(response) < _HEAD_BYTES or not capabilitiesOf(response) & PROTOCOL_41:
            raise Malformed("the app does not speak the protocol of MySQL 4.1 and later")
        if capabilitiesOf(response) & SSL:
            self.plain.write(errorPacket(2, 1043, b"08S01", b"TLS is the tunnel's: go without"))
            raise ForeignProtocol("the app asks for TLS itself: let it use --skip-ssl")
        return response

    def isFarewell(self, said: bytes) -> bool | None:
        """
        An ERR packet, with the number that the app awaits: its login had 1.
        """
        if not b"\x02\xff".startswith(said[3:5]):
            return False
        size = 4 + int.from_bytes(said[:3], "little")
        if len(said) < 4 or len(said) < size:
            return None
        return len(said) == size and size >= 7

    async def greetApp(self) -> None:
        """
        The app has been greeted; its login goes out now.
        """
        questions: Verdict
        if NO_FULL_AUTHENTICATION in self.setting.options:
            login, ahead = self._login, 0
            answers = Renumbered(+1)
            questions = Verdict(-1, answers)
        else:
            proof = Proof.of(self._login, capabilitiesOf(self._login))
            key = keyFor(self.setting)
            clock = self.deadlines.clock
            authentication = Decryption(proof.plugin, self._greeting.salt, key, clock)
            if key.mayBeKnown:
                await authentication.whenThereIsAKey()
            login, ahead = await self._finishLogin(proof, authentication)
            authentication.awaited += ahead
            answers = AppAnswers(1 - ahead, authentication)
            questions = AppQuestions(ahead - 1, answers, authentication)
        self.plain.putBack(packet(1 + ahead, login))
        self.toNetwork.append(answers)
        self.toPlain.append(questions)

    async def _finishLogin(self, proof: Proof, authentication: Decryption) -> tuple[bytes, int]:
        """
        See L{finishLogin}.
        """
        try:
            return await finishLogin(self.plain, self._login, proof, authentication)
        except TunnelError as error:
            raise error.by(self.plain.transport.who) from None


class MySQLServer(ServerRole):
    """
    Offers a MySQL client TLS, in the greeting of the backend, and nothing else before it.
    """

    # The client's TLS may come in the same segment as its request, and OpenSSL has to read it.
    exact = True
    directStart = True
    maxBytes = MAX_CLEAR_BYTES

    async def negotiate(self) -> None:
        """
        Everything but an SSLRequest ends here.
        """
        try:
            greeting = await self._readGreeting()
        except TunnelError as error:
            raise error.by(self.plain.transport.who) from None
        offered = greeting.capabilities | SSL
        if _NAME in self.setting.words:
            # What the client says later could not be judged.
            offered &= ~COMPRESSIONS
        self.write(packet(0, replace(greeting, capabilities=offered).payload()))
        header = await self.readExactly(4)
        length = int.from_bytes(header[:3], "little")
        if header[3] != 1 or length > MAX_CLEAR_BYTES:
            rejectForeign(header + self.transport.pendingInput(200))
        if header[3] != 1:
            raise Malformed("not the first packet of a client", header)
        request = await self.readExactly(length)
        capabilities = capabilitiesOf(request)
        if length in _REQUEST_BYTES and capabilities & SSL:
            return
        if length < _HEAD_BYTES or not capabilities & PROTOCOL_41:
            raise Malformed("neither a request for TLS nor a login", request)
        # What a server says that has require_secure_transport.
        self.write(errorPacket(2, 3159, b"HY000", b"TLS required"))
        raise Refused("the client logs in without TLS")

    async def _readGreeting(self) -> Greeting:
        """
        The greeting of the backend, or what stands for it.
        """
        self._greeted = await readPacket(self.plain, 0)
        if not self._greeted.startswith(_ERROR):
            return parseGreeting(self._greeted, BackendRefused)
        # The backend may go.  The client is to hear of that inside TLS, and it takes a greeting to
        # come there.
        self.plain.whenLost = None
        return Greeting.substitute()

    async def meetBackend(self) -> None:
        """
        The backend has greeted; it gets the login as if there was no TLS.
        """
        if self._greeted.startswith(_ERROR):
            await self.turnAway(self._passError())
            parseGreeting(self._greeted, BackendRefused)
        if NO_FULL_AUTHENTICATION in self.setting.options:
            answers = Renumbered(-1)
            questions = Verdict(+1, answers)
        else:
            greeting = Greeting.parse(self._greeted)
            pending = Pending(greeting.plugin, greeting.salt)
            isTCP = isinstance(self.plain.transport.peer, TCPAddress)
            answers = ClientAnswers(-1, pending, (CACHING_SHA2, SHA256) if isTCP else (SHA256,))
            questions = BackendQuestions(+1, answers, pending)
        self.toPlain += [Login(), answers]
        self.toNetwork.append(questions)

    async def _passError(self) -> None:
        """
        Answer the login with the error that the backend has greeted with.
        """
        number = (await self.readExactly(4))[3]
        self.write(packet((number + 1) % 256, self._greeted))


def beginClient(setting: Setting) -> None:
    """
    Have a key.
    """
    if NO_FULL_AUTHENTICATION not in setting.options:
        keyFor(setting).prepare()


mysql = Dialect(
    name=_NAME,
    marksEnd=True,
    client=MySQLClient,
    server=MySQLServer,
    summary="MySQL and MariaDB (SSLRequest)",
    aliases=("mariadb",),
    ports=(3306,),
    earlyDial=True,
    options={
        NO_FULL_AUTHENTICATION: "passwords are not decrypted (client mode) or encrypted (server "
        "mode) on their way, and logins fail where that is needed",
    },
    beginClient=beginClient,
)
