"""
NATS, the messaging system (NATS client protocol)::

    S: INFO {"server_id":"...","tls_required":true, ...}
    == TLS ==                           there is no go-ahead, and INFO is not said again
    C: CONNECT {"user":"...", ...}

    == TLS ==                           with the option handshake-first: TLS is first of all
    S: INFO {"server_id":"...", ...}
    C: CONNECT {"user":"...", ...}

What the app or the client needs to know of the server is in that one line, and is written anew for
it (rule 1): without TLS for the app, which gets it once the server is verified; demanding TLS for
the client, which gets it in clear, so that the backend is dialled before (rule 2), unless TLS is
first.  Where other servers of the cluster are is told to neither: it would lead past the tunnel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlstunnel.errors import (
    BackendRefused,
    Closed,
    ForeignProtocol,
    NotOffered,
    PlaintextAfterStartTLS,
    Refused,
    TunnelError,
)
from tlstunnel.protocols.base import ClientRole, Dialect, ServerRole
from tlstunnel.protocols.farewells import isLine
from tlstunnel.protocols.foreign import startsTLS
from tlstunnel.protocols.natsinfo import MAX_INFO_BYTES, Info, readInfo

if TYPE_CHECKING:
    from tlstunnel.tls.creators import Creator

HANDSHAKE_FIRST = "handshake-first"

_ERROR = b"-ERR"
_INFO = b"INFO"


class NATSClient(ClientRole):
    """
    Begins TLS with a remote NATS server, which has to offer it.
    """

    maxLine = maxBytes = MAX_INFO_BYTES

    _info: Info

    @property
    def _isTLSFirst(self) -> bool:
        return HANDSHAKE_FIRST in self.setting.options

    async def readGreeting(self) -> None:
        """
        One line, and nothing behind it.
        """
        if self._isTLSFirst:
            return
        try:
            self._info = await readInfo(self, Refused)
        except Closed as closed:
            cause = "" if closed.said else "no INFO"
            raise Closed(closed.detail, closed.said, cause) from None
        if not self._info.offersTLS:
            raise NotOffered("the server has neither tls_required nor tls_available in its INFO")

    async def switch(self, creator: Creator) -> object:
        """
        Where TLS is first, a server that says INFO in clear wants it otherwise.
        """
        try:
            return await super().switch(creator)
        except (ForeignProtocol, PlaintextAfterStartTLS) as error:
            if self._isTLSFirst:
                detail, said = "the peer does not begin with TLS", error.said
                cause = "" if said and not said.startswith(_INFO) else "INFO in clear"
                raise ForeignProtocol(detail, said, cause) from None
            raise

    async def demandSilence(self) -> None:
        """
        Where TLS is first, the server has to speak then.
        """
        if not self._isTLSFirst:
            await super().demandSilence()

    async def greetApp(self) -> None:
        """
        The app hears the same line, whenever the server has said it.
        """
        if self._isTLSFirst:
            self._info = await readInfo(self, Refused)
        await super().greetApp()

    def isFarewell(self, said: bytes) -> bool | None:
        """
        An error, such as for an app that does not log in, or too many connections.
        """
        return isLine(said, _ERROR)

    def appGreeting(self) -> bytes:
        """
        What the app needs to know of the server, and that there is no TLS.
        """
        return self._info.line(self.setting.peerName)


class NATSServer(ServerRole):
    """
    Demands TLS of a NATS client, in the words of the backend.
    """

    # Where TLS is first OpenSSL has to read it all.
    exact = True

    @property
    def _isTLSFirst(self) -> bool:
        return HANDSHAKE_FIRST in self.setting.options

    async def negotiate(self) -> None:
        """
        The greeting is the go-ahead: a client has nothing to say before TLS.
        """
        if self._isTLSFirst:
            self.directStart = True
            return
        info = await self._readInfo()
        early = self.residue
        if startsTLS(early):
            why = "the client starts TLS before it was sent INFO"
            raise PlaintextAfterStartTLS(why, early, cause="TLS before INFO")
        self.goAheadExactly(info.line(self.setting.ourName, demandsTLS=True))

    async def _readInfo(self) -> Info:
        """
        What the backend says of itself.
        """
        try:
            info = await readInfo(self.plain, BackendRefused)
            if info.demandsTLS:
                raise BackendRefused("the peer demands TLS itself", cause="TLS in the backend")
        except TunnelError as error:
            raise error.by(self.plain.transport.who) from None
        return info

    async def meetBackend(self) -> None:
        """
        The client has been told, or is told now.
        """
        if self._isTLSFirst:
            self.write((await self._readInfo()).line(self.setting.ourName, demandsTLS=True))


nats = Dialect(
    name="nats",
    marksEnd=True,
    client=NATSClient,
    server=NATSServer,
    summary="messaging, NATS (INFO with tls_required)",
    ports=(4222,),
    earlyDial=True,
    lateDial=HANDSHAKE_FIRST,
    options={
        HANDSHAKE_FIRST: "TLS at once, and INFO inside it only (nats-server 2.10 and later)",
    },
)
