"""
Telnet (RFC 854; draft-altman-telnet-starttls, option 46)::

    S: ff fd 2e                         IAC DO START_TLS
    C: ff fb 2e                         IAC WILL START_TLS
    C: ff fa 2e 01 ff f0                IAC SB START_TLS FOLLOWS IAC SE
    S: ff fa 2e 01 ff f0
    == TLS ==                           all options are negotiated anew

Whoever has said FOLLOWS says nothing more in clear.  A server may print notices before it asks; one
that begins its session instead, and asks for a name, never will.
"""

from __future__ import annotations

from tlstunnel.errors import (
    QUOTED,
    Malformed,
    NotOffered,
    Oversize,
    PlaintextAfterStartTLS,
    Refused,
    TimedOut,
)
from tlstunnel.protocols.base import ClientRole, Dialect, Role, ServerRole
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.foreign import rejectForeign

_UNASKED = "unasked"

_IAC, _SB, _SE = b"\xff", b"\xfa", b"\xf0"
_WILL, _WONT, _DO, _DONT = b"\xff\xfb", b"\xff\xfc", b"\xff\xfd", b"\xff\xfe"
_REFUSALS = {_WILL: _DONT, _DO: _WONT}

_START_TLS = b"\x2e"
_FOLLOWS = _IAC + _SB + _START_TLS + b"\x01" + _IAC + _SE

#: What may be read before the switch, in all.
MAX_CLEAR_BYTES = 4096

#: Seconds that a server may take from its first text to its request for TLS.
NOTICES_SECONDS = 5.0


async def readElement(conversation: Conversation) -> bytes:
    """
    One byte of text, or one command with all that belongs to it (RFC 854, RFC 855).
    """
    element = await conversation.readExactly(1)
    if element != _IAC:
        return element
    element += await conversation.readExactly(1)
    if element in (_WILL, _WONT, _DO, _DONT):
        return element + await conversation.readExactly(1)
    if element == _IAC + _SB:
        piece = b""
        while piece != _IAC + _SE:
            piece = await conversation.readExactly(1)
            if piece == _IAC:
                # With SE it is the end; doubled it is data.
                piece += await conversation.readExactly(1)
            element += piece
    return element


def checkElement(element: bytes) -> None:
    """
    Look for what both roles refuse.

    @raise Refused: if the peer will have no TLS.
    @raise Malformed: if it is a subnegotiation of what was never agreed upon.
    """
    if element in (_WONT + _START_TLS, _DONT + _START_TLS):
        raise Refused("the peer will have no START_TLS", element)
    if element.startswith(_IAC + _SB):
        raise Malformed("a subnegotiation before TLS", element)


def refuseOption(role: Role, element: bytes) -> None:
    """
    Refuse any option but ours; what the peer will not have needs no answer.
    """
    refusal = _REFUSALS.get(element[:2])
    if refusal is not None:
        role.write(refusal + element[2:])


class TelnetClient(ClientRole):
    """
    Lets a remote telnet server have TLS.
    """

    maxBytes = MAX_CLEAR_BYTES

    async def readGreeting(self) -> None:
        """
        Wait for the server to ask, or offer it unasked.  Text of the server's is dropped.
        """
        offer = _WILL + _START_TLS
        if _UNASKED in self.setting.options:
            self.write(offer)
            offer = b""
        text = await self._upToText()
        if text:
            await self._skipNotices(text)
        self.write(offer + _FOLLOWS)

    async def _upToText(self) -> bytes:
        """
        Refuse options until the server asks for TLS, or prints something.

        @return: what it prints first; empty if it asks for TLS.
        """
        while (element := await readElement(self)) != _DO + _START_TLS:
            checkElement(element)
            if len(element) == 1:
                return element
            refuseOption(self, element)
        return b""

    async def _skipNotices(self, text: bytes) -> None:
        """
        Drop what the server prints until it asks for TLS.

        @param text: what it has printed already.
        @raise NotOffered: if it has begun its session instead.
        """
        start = text
        try:
            with self.within(NOTICES_SECONDS, "notices before START_TLS") as moment:
                while text := await self._upToText():
                    start += text[: QUOTED - len(start)]
        except TimedOut:
            if not moment.hasPassed:
                raise
            hint = (
                ""
                if _UNASKED in self.setting.options
                else f"; --dialect-option {_UNASKED} may help"
            )
            raise NotOffered(
                f"the server began its session without offering START_TLS{hint}", start
            ) from None
        except Oversize:
            what = f"the server said {MAX_CLEAR_BYTES} bytes without offering START_TLS"
            raise Oversize(what, start) from None

    async def negotiate(self) -> None:
        """
        Wait for the server to be ready.
        """
        while (element := await readElement(self)) != _FOLLOWS:
            checkElement(element)


class TelnetServer(ServerRole):
    """
    Asks a telnet client for TLS, and for nothing else.
    """

    maxBytes = MAX_CLEAR_BYTES
    # The ClientHello may follow the client's last message at once: see below.
    exact = True

    async def negotiate(self) -> None:
        """
        Both sides say FOLLOWS.  Where the client has said it already, ours is its go-ahead.  Else
        its own is the last message, and TLS may rightly come behind it, in the same segment: what
        does is left in the socket for the TLS engine, and nothing else may be there (rule 3).
        """
        self.write(_DO + _START_TLS)
        while (element := await readElement(self)) != _WILL + _START_TLS:
            self._check(element)
            refuseOption(self, element)
        if self.transport.pendingInput(len(_FOLLOWS)) == _FOLLOWS:
            await self.readExactly(len(_FOLLOWS))
            self.goAheadExactly(_FOLLOWS)
            return
        self.write(_FOLLOWS)
        while (element := await readElement(self)) != _FOLLOWS:
            self._check(element)
        residue = self.residue
        if residue and not residue.startswith(b"\x16"):
            raise PlaintextAfterStartTLS("bytes behind the last plaintext message", residue)
        self.directStart = True

    def _check(self, element: bytes) -> None:
        checkElement(element)
        if len(element) == 1:
            text = element + self.residue
            rejectForeign(text)
            raise Malformed("text before START_TLS", text)


telnet = Dialect(
    name="telnet",
    client=TelnetClient,
    server=TelnetServer,
    summary="terminals (RFC 854, draft-altman-telnet-starttls)",
    ports=(23,),
    implicitPort=992,
    silentServer=False,
    options={_UNASKED: "offer START_TLS without being asked"},
    onlyIn={_UNASKED: "client"},
)
