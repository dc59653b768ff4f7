"""
NBD, block devices on the network (the project's doc/proto.md: "Fixed newstyle negotiation", "Option
types", "TLS support")::

    S: "NBDMAGIC" "IHAVEOPT" 00 01                  flags: 1 fixed newstyle, 2 no zeroes
    C: 00 00 00 01                                  the same flags, as far as the client knows them
    C: "IHAVEOPT" 00 00 00 05  00 00 00 00          NBD_OPT_STARTTLS, and the length of its data
    S: 00 03 e8 89 04 55 65 a9  00 00 00 05  00 00 00 01  00 00 00 00      NBD_REP_ACK
    == TLS ==                                       the client goes on with its options

All integers are big-endian.  Neither the greeting nor the flags are repeated inside TLS, so that
app and server, client and backend have to have agreed on the same flags without hearing each other:
on fixed newstyle, and never on leaving out the zeroes behind the answer to NBD_OPT_EXPORT_NAME.
Everything else is agreed on by options, which are all said inside TLS.
"""

from __future__ import annotations

import struct

from tlstunnel.errors import (
    BackendRefused,
    ForeignProtocol,
    Malformed,
    NotOffered,
    Quit,
    Refused,
    Temporary,
)
from tlstunnel.protocols.base import ClientRole, Dialect, ServerRole
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.foreign import checkForeign, startsTLS

#: What may be read before the switch, in all: the name of an export has 4096 bytes at most.
MAX_CLEAR_BYTES = 16384

_SERVER_MAGIC = b"NBDMAGIC"
_OPTION_MAGIC = b"IHAVEOPT"
_OLDSTYLE_MAGIC = bytes.fromhex("0000420281861253")
_REPLY_MAGIC = bytes.fromhex("0003e889045565a9")

# The greeting, and the flags of a client that has taken up what is in it.
FIXED_NEWSTYLE = 1
GREETING = _SERVER_MAGIC + _OPTION_MAGIC + struct.pack(">H", FIXED_NEWSTYLE)
FLAGS = struct.pack(">I", FIXED_NEWSTYLE)

EXPORT_NAME, ABORT, STARTTLS = 1, 2, 5

_ACK = 1
_ERROR = 1 << 31
INVALID, TLS_REQUIRED, _SHUTDOWN = _ERROR + 3, _ERROR + 5, _ERROR + 7

# What an error means where TLS was asked for, and the cause by which a hint is found.
_REASONS = {
    _ERROR + 1: ("the peer does not know STARTTLS", "no TLS for disks"),
    _ERROR + 2: ("the peer does not speak TLS", "no TLS for disks"),
    INVALID: ("the peer says that TLS is up already, or not due", ""),
    _ERROR + 4: ("the peer was built without TLS", "no TLS for disks"),
}


def option(kind: int, data: bytes = b"") -> bytes:
    """
    What a client asks for.
    """
    return _OPTION_MAGIC + struct.pack(">II", kind, len(data)) + data


def reply(kind: int, verdict: int, data: bytes = b"") -> bytes:
    """
    What it is answered.

    @param kind: of the option.
    """
    return _REPLY_MAGIC + struct.pack(">III", kind, verdict, len(data)) + data


async def readGreeting(server: Conversation) -> str:
    """
    Hear how a server greets.

    @return: why it cannot speak TLS; empty if it can.
    @raise Malformed: if it is none of NBD.
    """
    magic = await server.readExactly(8)
    if magic != _SERVER_MAGIC:
        raise Malformed("the peer greets as no server of NBD does", magic + server.takeRest())
    style = await server.readExactly(8)
    if style != _OPTION_MAGIC:
        if style == _OLDSTYLE_MAGIC:
            return "the peer begins with the oldstyle negotiation"
        raise Malformed("the peer's greeting is of no known negotiation", style)
    (flags,) = struct.unpack(">H", await server.readExactly(2))
    return "" if flags & FIXED_NEWSTYLE else "the peer knows no fixed newstyle negotiation"


class NBDClient(ClientRole):
    """
    Asks a remote server of NBD for TLS.
    """

    maxBytes = MAX_CLEAR_BYTES

    async def readGreeting(self) -> None:
        """
        Where the server refuses no option, it has none for TLS.
        """
        why = await readGreeting(self)
        if why:
            raise NotOffered(why, cause="old NBD")
        self.checkEmpty()

    async def negotiate(self) -> None:
        """
        One option, one reply.
        """
        self.write(FLAGS + option(STARTTLS))
        head = await self.readExactly(20)
        magic, kind, verdict, length = struct.unpack(">8sIII", head)
        if magic != _REPLY_MAGIC or kind != STARTTLS:
            raise Malformed("no reply to STARTTLS", head)
        if verdict & _ERROR:
            why, cause = _REASONS.get(verdict, (f"error {verdict - _ERROR}", ""))
            error = Temporary if verdict == _SHUTDOWN else Refused
            raise error(why, await self.readExactly(length), cause=cause)
        if verdict != _ACK or length:
            raise Malformed("the reply to STARTTLS is neither consent nor an error", head)

    def appGreeting(self) -> bytes:
        """
        What was agreed on with the server.
        """
        return GREETING

    async def greetApp(self) -> None:
        """
        The app's flags are not for the server, which has ours.
        """
        if self.isAppGreeted:
            return
        await super().greetApp()
        flags = await self.plain.readExactly(4)
        who = self.plain.transport.who
        if startsTLS(flags):
            raise ForeignProtocol("the peer starts TLS itself", flags).by(who)
        if int.from_bytes(flags, "big") & ~FIXED_NEWSTYLE:
            raise Malformed("these are no flags that were offered to the peer", flags).by(who)


class NBDServer(ServerRole):
    """
    Offers a client of NBD TLS, and nothing else before it.
    """

    maxBytes = MAX_CLEAR_BYTES

    async def negotiate(self) -> None:
        """
        As a server in the mode that is called FORCEDTLS in the specification.
        """
        self.write(GREETING)
        await checkForeign(self)
        flags = await self.readExactly(4)
        if flags == bytes(4):
            raise Refused("the client knows no fixed newstyle negotiation, so that it has no TLS")
        if flags != FLAGS:
            raise Malformed("these are no flags that were offered to the peer", flags)
        while True:
            head = await self.readExactly(16)
            magic, kind, length = struct.unpack(">8sII", head)
            if magic != _OPTION_MAGIC:
                raise Malformed("no option", head)
            await self.readExactly(length)
            if kind == STARTTLS and not length:
                self.goAheadExactly(reply(kind, _ACK))
                return
            self.answer(kind)

    def answer(self, kind: int) -> None:
        """
        Answer any option but one that starts TLS.
        """
        if kind == EXPORT_NAME:
            # There is no way to refuse it but to end the connection.
            raise Refused("the client wants an export without TLS")
        if kind == ABORT:
            self.write(reply(kind, _ACK))
            raise Quit()
        if kind == STARTTLS:
            self.write(reply(kind, INVALID, b"STARTTLS has no data"))
        else:
            self.write(reply(kind, TLS_REQUIRED, b"TLS required"))
        self.countRefusal()

    async def meetBackend(self) -> None:
        """
        The client was greeted; the backend has not heard its flags yet.
        """
        why = await readGreeting(self.plain)
        if why:
            raise BackendRefused(why, cause="old NBD")
        self.plain.write(FLAGS)


nbd = Dialect(
    name="nbd",
    marksEnd=True,
    client=NBDClient,
    server=NBDServer,
    summary="block devices, NBD (NBD_OPT_STARTTLS)",
    ports=(10809,),
)
