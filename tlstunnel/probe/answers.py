"""
What else answers, where it did not come to TLS: a second look, with which nobody is trusted.

Whoever was asked in the wrong way is asked in others: by TLS from the first byte, by silence, as
many protocols have a greeting, and by a request of HTTP that asks for nothing.  What counts is in
which language the answer is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from twisted.internet.defer import CancelledError, Deferred

from tlstunnel.address import Address, TCPAddress, UNIXAddress
from tlstunnel.errors import Closed, Reset, TimedOut, TunnelError
from tlstunnel.probe.course import Course, Ground, Outcome
from tlstunnel.probe.question import IMPLICIT, Question
from tlstunnel.probe.reach import Notes, dialler
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.registry import find
from tlstunnel.tls.creators import Creator
from tlstunnel.tls.witness import VERSIONS, AnyServer, Sight
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.hints.languages import languageOf
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.observers import Observers
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.record import Record
from tlstunnel.tunnel.upgrade import Upgrade

#: Seconds that a server may take over anything, once it was asked in the wrong way already.
LOOK_SECONDS = 5.0

#: Seconds that one has to greet in.
GREETING_SECONDS = 2.0

# Asks a server of HTTP what it can do, and nothing of anybody else (RFC 9110, section 9.3.7).
_REQUEST = b"OPTIONS * HTTP/1.0\r\n\r\n"

_MOST_HEARD = 4096


@dataclass(frozen=True)
class Answer:
    """
    What answers.

    @ivar speaks: whose language that is: C{TLS}, C{SSH}, or one or more dialects; empty if it is
        none that we know.
    @ivar said: its first words, raw and untrusted.
    @ivar sight: what it has shown, where it speaks TLS.
    """

    speaks: str = ""
    said: bytes = b""
    sight: Sight = field(default_factory=Sight)


class Looks:
    """
    Second looks at one server.
    """

    def __init__(self, ground: Ground, question: Question, seconds: float = LOOK_SECONDS) -> None:
        self._ground = ground
        self._question = question
        limits = question.tunnel.limits
        self._limits = Limits(
            **{
                name: min(seconds, getattr(limits, name))
                for name in ("connect", "connectTotal", "greeting", "negotiation", "handshake")
            }
        )
        self._running: Deferred[bytes] | None = None

    async def atTLS(
        self, address: Address, dialect: str, version: str | None = None, named: bool = True
    ) -> Outcome:
        """
        Shake hands with whoever is there, verify nobody, and hang up.

        @param dialect: how to come to TLS.
        @param version: the one version of TLS to speak.
        @param named: whether to ask for a name (SNI).
        """
        assert isinstance(address, TCPAddress)
        tunnel = replace(
            self._question.tunnel,
            dialect=find(dialect) if dialect == IMPLICIT else self._question.tunnel.dialect,
            limits=self._limits,
            # Nothing of ours is shown, and nobody is believed.
            negotiatesOnly=True,
            localID=None,
            byRules=False,
            remoteID=self._question.expected,
            trust=(),
            pins=(),
            daneResolver=None,
        )
        host = self._question.host if named else None

        async def choose(_: Address) -> Creator:
            return AnyServer(host, version)

        reaching = dialler(self._ground, address, self._limits, Notes(self._ground))
        return await Course(self._ground, Prepared(tunnel), reaching, choose).run(listens=False)

    async def versionsAt(self, address: Address) -> dict[str, Outcome]:
        """
        What becomes of a handshake with each version of TLS alone.
        """
        dialect = self._question.tunnel.dialect.name
        return {each: await self.atTLS(address, dialect, each) for each in VERSIONS}

    async def inClear(self, address: Address) -> bytes:
        """
        The first words of a server that is not spoken to, or is asked something; none if it has
        none.
        """
        record = Record(
            self._ground.reactor, Observers(()), "", Mode.CLIENT, "", UNIXAddress("probe")
        )
        upgrade = Upgrade(
            record, self._ground.deadlines, self._limits, self._cancel, lambda _: self._cancel()
        )
        self._running = Deferred.fromCoroutine(self._hear(upgrade, address))
        try:
            return await self._running
        except (TunnelError, CancelledError):
            return b""
        finally:
            self._running = None

    def _cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()

    async def _hear(self, upgrade: Upgrade, address: Address) -> bytes:
        assert isinstance(address, TCPAddress)
        reaching = dialler(self._ground, address, self._limits, Notes(self._ground))
        leg = await upgrade.dial(reaching)
        conversation = Conversation(self._ground.deadlines)
        upgrade.attach(conversation, leg)
        try:
            said = await self._await(conversation, GREETING_SECONDS)
            if not said:
                conversation.write(_REQUEST)
                said = await self._await(conversation, LOOK_SECONDS)
            return said
        finally:
            if not leg.isClosed:
                leg.loseConnection()

    async def _await(self, conversation: Conversation, seconds: float) -> bytes:
        """
        What is said, up to the end of a line if there is one.
        """
        said = b""
        try:
            with conversation.within(min(seconds, self._limits.greeting), "hearing anything"):
                while b"\n" not in said and len(said) < _MOST_HEARD:
                    said += await conversation.readSome()
        except (TimedOut, Closed, Reset):
            # What there is.
            pass
        return said[:_MOST_HEARD]


async def elsewise(looks: Looks, outcome: Outcome) -> Answer | None:
    """
    Find out what answers instead.

    @param outcome: of a connection that did not come to TLS.
    @return: L{None} if that is not in question.
    """
    error, address = outcome.error, outcome.address
    if error is None or address is None:
        return None
    isImplicit = outcome.record.dialect == IMPLICIT
    speaks = languageOf(error.said)
    if speaks and not isImplicit:
        if speaks != "TLS":
            return Answer(speaks, error.said)
        found = await looks.atTLS(address, IMPLICIT)
        return Answer("TLS", error.said, found.sight)
    if not isImplicit:
        found = await looks.atTLS(address, IMPLICIT)
        if found.sight.version:
            return Answer("TLS", b"", found.sight)
        if error.said:
            return Answer("", error.said)
    said = await looks.inClear(address)
    speaks = languageOf(said)
    if speaks == "TLS":
        # It was spoken to in TLS, and has failed in it.
        return None
    return Answer(speaks, said)
