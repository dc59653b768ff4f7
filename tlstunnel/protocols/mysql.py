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
that, ids begin at 0 with each command.  Servers believe what the SSLRequest announces, so the
app's response has to be known before the switch, and for that the app needs a greeting: it gets
one made of the values in the server's, of which no free text is left (rule 1).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, replace

from zope.interface import implementer

from tlstunnel.conversation import Conversation
from tlstunnel.errors import (
    BackendRefused,
    ForeignProtocol,
    Malformed,
    NotOffered,
    Refused,
    TunnelError,
)
from tlstunnel.interfaces import IFilter
from tlstunnel.protocols.base import ClientRole, Dialect, ServerRole, rejectForeign

#: What may be read from the network before the switch, in all.
LONGEST = 4096

# Capability flags.
_CLIENT_MYSQL = 1
_PROTOCOL_41 = 1 << 9
_SSL = 1 << 11
_PLUGIN_AUTH = 1 << 19

# The first byte of a server's packet that ends the authentication.
_OK, _ERR = 0x00, 0xFF

_VERSION = re.compile(rb"[\x20-\x7e]{1,64}")
_PLUGIN = re.compile(rb"[A-Za-z0-9_]{0,64}")

# How much of a HandshakeResponse41 an SSLRequest announces.
_ANNOUNCED = 32

_LONGEST_SALT = 64


@dataclass(frozen=True)
class Greeting:
    """
    What a server greets with (Protocol::HandshakeV10).

    @ivar salt: both parts, without the NUL behind.
    @ivar extended: MariaDB's capabilities beyond 32 bits; 0 in MySQL.
    """

    version: bytes
    thread: int
    salt: bytes
    capabilities: int
    charset: int
    status: int
    extended: int
    plugin: bytes

    @classmethod
    def parse(cls, payload: bytes) -> Greeting:
        """
        @raise Malformed: if a field has a value that it cannot have.
        """
        version, _, rest = payload[1:].partition(b"\0")
        if payload[:1] != b"\x0a" or not _VERSION.fullmatch(version) or len(rest) < 44:
            raise Malformed("not a greeting of protocol 10", payload)
        thread, head, low, charset, status, high, length, reserved = struct.unpack(
            "<I8sxHBHHB10s", rest[:31]
        )
        capabilities = low | high << 16
        # The salt's second part has 13 bytes at least, the last of which is NUL.
        size = max(13, length - 8)
        tail, plugin = rest[31 : 31 + size - 1], b""
        if capabilities & _PLUGIN_AUTH:
            # Some versions forgot the NUL behind the plugin's name.
            plugin = rest[31 + size :].removesuffix(b"\0")
        if 8 + size > _LONGEST_SALT or len(tail) < size - 1 or not _PLUGIN.fullmatch(plugin):
            raise Malformed("a greeting with an impossible value", payload)
        extended = 0 if capabilities & _CLIENT_MYSQL else int.from_bytes(reserved[6:], "little")
        return cls(version, thread, head + tail, capabilities, charset, status, extended, plugin)

    def payload(self) -> bytes:
        """
        The greeting, made anew.
        """
        named = bool(self.capabilities & _PLUGIN_AUTH)
        return b"".join(
            (
                b"\x0a" + self.version + b"\0",
                struct.pack("<I8sx", self.thread, self.salt[:8]),
                struct.pack("<HBH", self.capabilities & 0xFFFF, self.charset, self.status),
                struct.pack("<HB", self.capabilities >> 16, len(self.salt) + 1 if named else 0),
                struct.pack("<6xI", self.extended),
                self.salt[8:] + b"\0",
                self.plugin + b"\0" if named else b"",
            )
        )


def packet(number: int, payload: bytes) -> bytes:
    """
    One packet.
    """
    return struct.pack("<I", len(payload) | number << 24) + payload


def errorPacket(number: int, code: int, state: bytes, text: bytes) -> bytes:
    """
    An ERR packet.
    """
    return packet(number, struct.pack("<BH", _ERR, code) + b"#" + state + text)


async def readPacket(conversation: Conversation, number: int) -> bytes:
    """
    The payload of the next packet.

    @raise Malformed: if its sequence id is not C{number}.
    """
    header = int.from_bytes(await conversation.readExactly(4), "little")
    if header >> 24 != number:
        raise Malformed(f"a packet with the number {header >> 24} instead of {number}")
    return await conversation.readExactly(header & 0xFFFFFF)


async def readGreeting(conversation: Conversation, refusal: type[TunnelError]) -> Greeting:
    """
    A server's greeting.

    @param refusal: what to raise if it is an ERR packet: "Host is blocked", "Too many connections".
    """
    payload = await readPacket(conversation, 0)
    if payload[:1] == b"\xff":
        code = int.from_bytes(payload[1:3], "little")
        raise refusal(f"the server greeted with error {code}", payload[3:])
    greeting = Greeting.parse(payload)
    if not greeting.capabilities & _PROTOCOL_41:
        raise refusal("the server does not speak the protocol of MySQL 4.1 and later")
    return greeting


def announcement(response: bytes, tls: bool) -> bytes:
    """
    The start of C{response} with the flag for TLS, or without: capabilities, packet size and
    character set, and MariaDB's capabilities beyond 32 bits.
    """
    capabilities, size, charset, extended = struct.unpack("<IIB19xI", response[:_ANNOUNCED])
    if capabilities & _CLIENT_MYSQL:
        extended = 0
    capabilities = capabilities | _SSL if tls else capabilities & ~_SSL
    return struct.pack("<IIB19xI", capabilities, size, charset, extended)


def capabilitiesOf(response: bytes) -> int:
    """
    The flags of a client.
    """
    return int.from_bytes(response[:4], "little")


@implementer(IFilter)
class Renumbered:
    """
    Adds to the sequence id of each packet, until authentication is over.
    """

    def __init__(self, step: int) -> None:
        self.done = False
        self._step = step
        self._header = b""
        self._left = 0

    def feed(self, data: bytes) -> bytes:
        """
        Pass packets as they come, but for their id.
        """
        passed = b""
        while data and not self.done:
            part, data = self._take(data)
            passed += part
        return passed + self.flush() + data if self.done else passed

    def _take(self, data: bytes) -> tuple[bytes, bytes]:
        """
        Take some of a header, or of a payload, from the front of C{data}.

        @return: what is to be passed on for it, and what follows it.
        """
        if self._left:
            part = data[: self._left]
            self._left -= len(part)
            self.payload(part)
            return part, data[len(part) :]
        missing = 4 - len(self._header)
        self._header += data[:missing]
        if len(self._header) < 4:
            return b"", b""
        header = self.flush()
        self._left = int.from_bytes(header[:3], "little")
        self.begin()
        return header[:3] + bytes(((header[3] + self._step) % 256,)), data[missing:]

    def begin(self) -> None:
        """
        A packet begins.
        """

    def payload(self, part: bytes) -> None:
        """
        Look at a part of its payload.
        """

    def flush(self) -> bytes:
        """
        An incomplete header.
        """
        header, self._header = self._header, b""
        return header


class Verdict(Renumbered):
    """
    The same for what the server says, up to and including its first OK or ERR, with which also the
    other direction's numbering ends.

    All other packets belong to the authentication: AuthSwitchRequest, AuthMoreData,
    AuthNextFactor, and whatever plugins send as it is.
    """

    def __init__(self, step: int, answers: Renumbered) -> None:
        super().__init__(step)
        self._answers = answers
        self._kind: int | None = None

    def begin(self) -> None:
        """
        Its kind is not known yet.
        """
        self._kind = None

    def payload(self, part: bytes) -> None:
        """
        The first byte tells the kind.
        """
        if self._kind is None:
            self._kind = part[0]
        if self._kind in (_OK, _ERR) and not self._left:
            self.done = self._answers.done = True


@implementer(IFilter)
class Announced:
    """
    The client's first packet inside TLS: it has to begin as its SSLRequest in clear did, and loses
    the flag for TLS.
    """

    def __init__(self, announced: bytes) -> None:
        self.done = False
        self._announced = announced
        self._start = b""

    def feed(self, data: bytes) -> bytes:
        """
        Keep the start until it can be compared.
        """
        if self.done:
            return data
        self._start += data
        header = self._start[:4]
        if len(header) == 4 and (
            header[3] != 2 or (header[0] < _ANNOUNCED and header[1:3] == b"\0\0")
        ):
            raise Malformed("inside TLS the client did not begin with its login", self._start)
        end = 4 + _ANNOUNCED
        if len(self._start) < end:
            return b""
        if self._start[4:end] != self._announced:
            raise Malformed("the login is not the one announced in clear", self._start[:end])
        self.done = True
        return header + announcement(self._announced, tls=False) + self._start[end:]

    def flush(self) -> bytes:
        """
        What is not even the start of a login is for nobody.
        """
        return b""


class MySQLClient(ClientRole):
    """
    Asks a remote MySQL server for TLS, and an app for what the request has to announce.
    """

    maxBytes = LONGEST

    async def readGreeting(self) -> None:
        """
        Without the flag for TLS, the app is not even greeted (CVE-2015-3152).
        """
        greeting = await readGreeting(self, Refused)
        if not greeting.capabilities & _SSL:
            raise NotOffered("the server does not offer TLS")
        self.checkEmpty()
        self._greeting = replace(greeting, capabilities=greeting.capabilities & ~_SSL)

    async def negotiate(self) -> None:
        """
        Have the app's login, and announce it; it is held until the server is verified
        (CVE-2017-3305).
        """
        self.plain.write(packet(0, self._greeting.payload()))
        response = await readPacket(self.plain, 1)
        if len(response) < _ANNOUNCED or not capabilitiesOf(response) & _PROTOCOL_41:
            raise Malformed("the app does not speak the protocol of MySQL 4.1 and later")
        if capabilitiesOf(response) & _SSL:
            self.plain.write(errorPacket(2, 1043, b"08S01", b"TLS is the tunnel's: go without"))
            raise ForeignProtocol("the app asks for TLS itself: let it use --skip-ssl")
        announced = announcement(response, tls=True)
        self._login = packet(1, announced + response[_ANNOUNCED:])
        self.write(packet(1, announced))

    async def greetApp(self) -> None:
        """
        The app has been greeted; its login goes out now.
        """
        self.plain.putBack(self._login)
        answers = Renumbered(+1)
        self.toNetwork.append(answers)
        self.toPlain.append(Verdict(-1, answers))


class MySQLServer(ServerRole):
    """
    Offers a MySQL client TLS, in the greeting of the backend, and nothing else before it.
    """

    earlyDial = True
    # The client's TLS may come in the same segment as its request, and OpenSSL has to read it.
    exact = True
    directStart = True
    maxBytes = LONGEST

    async def negotiate(self) -> None:
        """
        Everything but an SSLRequest ends here.
        """
        greeting = await readGreeting(self.plain, BackendRefused)
        offer = replace(greeting, capabilities=greeting.capabilities | _SSL)
        self.write(packet(0, offer.payload()))
        header = await self.readExactly(4)
        length = int.from_bytes(header[:3], "little")
        if header[3] != 1 or length > LONGEST:
            rejectForeign(header + self.transport.pendingInput(200))
        if header[3] != 1:
            raise Malformed("not the first packet of a client", header)
        request = await self.readExactly(length)
        if len(request) < _ANNOUNCED or not capabilitiesOf(request) & _PROTOCOL_41:
            raise Malformed("neither a request for TLS nor a login", request)
        if len(request) > _ANNOUNCED or not capabilitiesOf(request) & _SSL:
            # What a server says that has require_secure_transport.
            self.write(errorPacket(2, 3159, b"HY000", b"TLS required"))
            raise Refused("the client logs in without TLS")
        self._announced = request

    async def meetBackend(self) -> None:
        """
        The backend has greeted; it gets the login as if there was no TLS.
        """
        answers = Renumbered(-1)
        self.toPlain += [Announced(self._announced), answers]
        self.toNetwork.append(Verdict(+1, answers))


mysql = Dialect(
    name="mysql",
    client=MySQLClient,
    server=MySQLServer,
    summary="MySQL and MariaDB (SSLRequest)",
    aliases=("mariadb",),
    ports=(3306,),
)
