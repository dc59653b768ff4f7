"""
A connection to a directory: TLS as a tunnel in client mode has it, and whoever our certificate says
that we are.

At a socket of this host there is no TLS, and we are whoever the system says.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tlstunnel.address import UNIXAddress
from tlstunnel.errors import Closed, Malformed, TunnelError
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.interfaces import ILeg
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.dial import Dialler
from tlstunnel.net.linger import Linger
from tlstunnel.protocols.ber import measure
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.ldap import BIND_RESPONSE, SUCCESS, readResult, readSequence
from tlstunnel.protocols.registry import find
from tlstunnel.provisioning.errors import ResultRefused
from tlstunnel.provisioning.messages import (
    MAX_MESSAGE,
    Message,
    bindExternal,
    readMessage,
    unbind,
)
from tlstunnel.provisioning.url import LDAPURL
from tlstunnel.tls import separation
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.expected import identityOfRemote
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.observers import Observers
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.record import Record
from tlstunnel.tunnel.upgrade import Upgrade

#: What a connection may take; a router that has forgotten it shows after so much silence.
LIMITS = Limits(keepAlive=30.0)

#: Seconds that a server has to answer, and to send the rest of a message that it has begun.
ANSWER_SECONDS = 60.0

# The bytes in which every message has said how long it is.
_HEAD_BYTES = 128


@dataclass(frozen=True)
class Place:
    """
    Where a directory is, and who meets there.

    @ivar localID: who we are; C{None} for nobody.
    @ivar remoteID: who must be there; C{None} for the host that the URL has.
    """

    url: LDAPURL
    pool: Pool
    localID: Identity | None = None
    remoteID: Identity | None = None

    @property
    def isLocal(self) -> bool:
        """Whether it is a socket of this host."""
        return isinstance(self.url.address, UNIXAddress)

    def prepare(self) -> Prepared:
        """
        Read what the connection is made with, as it is now.

        @raise ConfigurationError: something is missing or wrong.
        """
        separation.process.verifies(f"the directory {self.url}")
        dialect = "none" if self.url.isImplicit else "ldap"
        return Prepared(
            Tunnel(
                mode=Mode.CLIENT,
                local=(),
                remote=(self.url.address,),
                dialect=find(dialect),
                localID=self.localID,
                remoteID=self.remoteID,
                pool=self.pool,
                limits=LIMITS,
                name="pool-pull",
            )
        )

    @property
    def expected(self) -> Identity | None:
        """
        Who must be there; C{None} at a socket of this host.
        """
        if self.isLocal:
            return None
        return self.remoteID or identityOfRemote((self.url.address,))


class _Talk(Conversation):
    """
    It has no end, so that each message is bounded for itself.
    """

    maxBytes = sys.maxsize


class Connection:
    """
    A connection that is up.
    """

    def __init__(self, leg: ILeg, conversation: Conversation) -> None:
        self._leg = leg
        self._conversation = conversation
        self._number = 0

    def next(self) -> int:
        """
        The number of the next request.
        """
        self._number += 1
        return self._number

    def send(self, request: bytes) -> None:
        """
        Send a request.
        """
        self._conversation.write(request)

    @property
    def hasMessage(self) -> bool:
        """
        Whether the next message has arrived already.
        """
        unread = self._conversation.unread
        try:
            sizes = measure(unread[:_HEAD_BYTES])
        except Malformed:
            return True
        return sizes is not None and sum(sizes) <= len(unread)

    async def receive(self) -> Message:
        """
        The next message, however long it takes until it begins.

        @raise TunnelError: if it is none, does not end, or nothing comes any more.
        """
        conversation = self._conversation
        conversation.putBack(await conversation.readExactly(1))
        return await self._rest()

    async def _rest(self) -> Message:
        with self._conversation.within(ANSWER_SECONDS, "a message of the directory"):
            message = readMessage(await readSequence(self._conversation, MAX_MESSAGE))
        if not message.number:
            _, said, _ = readResult(message.content)
            raise Closed("the directory takes its leave", said)
        return message

    async def ask(self, request: bytes, number: int, operation: int, what: str) -> None:
        """
        Send a request that has one answer.

        @param operation: the tag of that.
        @param what: what is asked for, in words.
        @raise ResultRefused: if it is not granted.
        """
        self.send(request)
        message = await self._rest()
        if (message.number, message.operation) != (number, operation):
            raise Malformed("not the answer to our request", message.content)
        code, said, _ = readResult(message.content)
        if code != SUCCESS:
            raise ResultRefused(what, code, said)

    def within(self, seconds: float, what: str) -> Any:
        """
        A block that has to end in time.
        """
        return self._conversation.within(seconds, what)

    def close(self) -> None:
        """
        Take our leave.
        """
        if not self._leg.isClosed:
            self._conversation.whenLost = None
            self.send(unbind(self.next()))
            self._leg.loseConnection()

    def abort(self) -> None:
        """
        End it at once.
        """
        if not self._leg.isClosed:
            self._leg.abortConnection()


class Connector:
    """
    Connects to directories.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.deadlines = Deadlines(reactor)
        self.linger = Linger(reactor)

    def leave(self) -> None:
        """
        There will be no more connections.
        """
        self.linger.closeAll()
        self.deadlines.clear()

    async def connect(self, place: Place, cancel: Callable[[], object]) -> Connection:
        """
        Connect, be sure of who is there, and say who we are.

        @param cancel: cancels what this is awaited in.
        @raise ConfigurationError: something that it needs is missing or wrong.
        @raise TunnelError: if it fails.
        """
        prepared = None if place.isLocal else place.prepare()
        record = Record(
            self._reactor, Observers([]), "", Mode.CLIENT, "ldap", UNIXAddress("pool-pull")
        )
        lost: list[TunnelError] = []

        def end(why: TunnelError) -> None:
            lost.append(why)
            self.deadlines.after(0, cancel)

        upgrade = Upgrade(record, self.deadlines, LIMITS, cancel, end)
        address = place.url.address
        dialler = Dialler(
            self._reactor, self.deadlines, self.linger, (address,), LIMITS.connect, LIMITS.keepAlive
        )
        leg = await upgrade.dial(dialler)
        leg.who = "the directory"
        try:
            early = b"" if prepared is None else await self._secure(upgrade, leg, prepared)
            talk = _Talk(self.deadlines)
            upgrade.attach(talk, leg)
            talk.whenLost = None
            if early:
                talk.dataReceived(early)
            connection = Connection(leg, talk)
            if place.isLocal or place.localID is not None:
                number = connection.next()
                await connection.ask(
                    bindExternal(number), number, BIND_RESPONSE, f"to be {place.localID or 'us'}"
                )
        except BaseException:
            if not leg.isClosed:
                leg.abortConnection()
            if lost:
                raise lost[0] from None
            raise
        return connection

    async def _secure(self, upgrade: Upgrade, leg: ILeg, prepared: Prepared) -> bytes:
        """
        Come to TLS.

        @return: what the server has said inside it already.
        """
        dialect, expected = prepared.tunnel.dialect, prepared.expected
        assert isinstance(expected, Identity)
        role = dialect.client(prepared.setting, self.deadlines)
        upgrade.attach(role, leg)
        await upgrade.negotiate(dialect, role)
        await upgrade.secure(leg, role.switch, prepared.creatorFor(expected))
        role.whenLost = None
        early: bytes = role.takeRest()
        return early
