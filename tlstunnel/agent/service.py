"""
The agent as a service: listening for tunnels, and no more of them than it can serve.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from tlstunnel.address import Address, Listening
from tlstunnel.agent.admission import Admission, Guest
from tlstunnel.agent.allowance import Allowance, Allowances
from tlstunnel.agent.issuing import Issuing
from tlstunnel.agent.visit import Visit
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.accounts import PATIENCE_SECONDS
from tlstunnel.identity.intermediate import Intermediate
from tlstunnel.identity.leafrequest import Answer, Verdict, message
from tlstunnel.local.callers import callerOf
from tlstunnel.local.refusals import TooMany, Unidentified
from tlstunnel.net.access import SocketAccess
from tlstunnel.net.claim import Claim
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.listen import bindAll
from tlstunnel.net.port import ListeningPort
from tlstunnel.tunnel.buckets import Buckets

#: Lines of the log about refusals of one user in a second.
LINES_PER_USER = 1.0

#: What an intermediate has left, at least, or the log warns of it.
WARNED = timedelta(days=30)

DAY_SECONDS = 86400.0

#: Seconds in which the system has to say who may have something, where nobody is served yet.
STARTING_SECONDS = 10.0


@dataclass(frozen=True)
class AgentDescription:
    """
    What an administrator said.

    @ivar issuer: the directory of the intermediate.
    @ivar local: where tunnels connect.
    @ivar access: who may do so.
    @ivar lifetime: seconds for which certificates are good.
    @ivar allowed: who gets some; everybody who may connect, where there are none.
    """

    issuer: Path
    local: Listening
    access: SocketAccess = field(default_factory=SocketAccess)
    lifetime: float = 600.0
    allowed: tuple[Allowance, ...] = ()

    @property
    def claim(self) -> Claim:
        """
        What is to be listened at.
        """
        return Claim((self.local,), self.access, isLocal=True, key="socket")


class AgentService(Service):
    """
    Answers tunnels that ask for certificates.

    @ivar issuing: gives the certificates, from C{privilegedStartService} on.
    """

    _log = Logger()

    issuing: Issuing

    def __init__(self, description: AgentDescription, reactor: Any) -> None:
        self._description = description
        self._reactor = reactor
        self._deadlines = Deadlines(reactor)
        self._ports: list[ListeningPort] = []
        self._admission = Admission(reactor, self._deadlines)
        self._lines = Buckets(reactor, LINES_PER_USER)
        self._visits: set[Visit] = set()
        self._up: Deferred[None] = Deferred()

    def privilegedStartService(self) -> None:
        """
        Read the issuer and bind, while we may.

        @raise ConfigurationError: if either fails.
        """
        if self._ports:
            return
        self.issuing = self._read(STARTING_SECONDS)
        self._ports = [
            ListeningPort(self._reactor, self._deadlines, each, self.accepted)
            for each in bindAll(self._description.claim)
        ]

    def _read(self, patience: float = PATIENCE_SECONDS) -> Issuing:
        description = self._description
        return Issuing(
            Intermediate.load(description.issuer, self._now()),
            Allowances(description.allowed, patience),
            timedelta(seconds=description.lifetime),
            self._lines.take,
        )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._reactor.seconds(), UTC)

    def startService(self) -> None:
        """
        Answer from now on.
        """
        self.privilegedStartService()
        super().startService()
        for port in self._ports:
            port.startListening()
        self._log.info(
            "agent up: {local}, issuer {issuer} until {end}, certificates for {lifetime:g} s, "
            "for {whom}",
            event="start",
            local=", ".join(self.addresses),
            issuer=str(self._description.issuer),
            end=f"{self.issuing.intermediate.end:%Y-%m-%d %H:%M} UTC",
            lifetime=self._description.lifetime,
            whom=", ".join(map(str, self._description.allowed)) or "all who may connect",
        )
        self._lookDaily()
        self._up.callback(None)

    @property
    def addresses(self) -> list[str]:
        """
        Where it listens.
        """
        return [port.name for port in self._ports]

    def _lookDaily(self) -> None:
        # Whatever fails today, tomorrow is another day.
        self._deadlines.after(DAY_SECONDS, self._lookDaily)
        left = self.issuing.intermediate.end - self._now()
        if left < WARNED:
            self._log.warn(
                "{notice}",
                event="notice",
                notice=f"{self._description.issuer}: the issuer expires on "
                f"{self.issuing.intermediate.end:%Y-%m-%d %H:%M} UTC, and so do all certificates; "
                "make another one with 'tlstunnel identity issuer --force', and reload",
            )

    def whenUp(self) -> Deferred[None]:
        """
        See L{tlstunnel.program.service.ITunnelService.whenUp}.
        """
        return self._up

    def reload(self) -> Deferred[str]:
        """
        Take up another issuer, and what names of users mean now; if that fails the old ones stay.

        @return: has fired, with what is wrong; empty if nothing is.
        """
        try:
            self.issuing = self._read()
        except ConfigurationError as error:
            self._log.error(
                "not reloaded, the old issuer stays: {detail}", event="reload", detail=str(error)
            )
            return succeed(str(error))
        self._log.info(
            "reloaded: issuer {issuer} until {end}",
            event="reload",
            issuer=str(self._description.issuer),
            end=f"{self.issuing.intermediate.end:%Y-%m-%d %H:%M} UTC",
        )
        return succeed("")

    def tally(self) -> Mapping[str, int]:
        """
        How many there are.
        """
        return Counter(connection=len(self._visits))

    def hurry(self) -> None:
        """
        Nothing here takes long.
        """

    def stopService(self) -> None:
        """
        Answer no more; who stays for the next question gets none.
        """
        super().stopService()
        for port in self._ports:
            port.stopListening()
        self._ports = []
        for visit in [*self._visits]:
            if visit.isStaying:
                visit.leave()
        self._deadlines.clear()

    def accepted(self, sock: socket.socket, peer: Address) -> None:
        """
        Somebody has connected.

        @param sock: non-blocking, and ours from now on.
        """
        with sock:
            try:
                guest = self._admission.enter(callerOf(sock))
            except Unidentified:
                return
            except TooMany as refusal:
                self._sendAway(sock, refusal)
                return
            visit = Visit(
                self._reactor,
                lambda content: self._answer(guest, content),
                lambda answer: self._patience(guest, answer),
                lambda gone: self._left(gone, guest),
            )
            self._visits.add(visit)
            try:
                self._reactor.adoptStreamConnection(
                    sock.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda: visit)
                )
            except Exception as error:
                visit.drop()
                self._left(visit, guest)
                if not isinstance(error, OSError):
                    raise
                # There is no descriptor left for it.

    @staticmethod
    def _sendAway(sock: socket.socket, refusal: TooMany) -> None:
        # There is room for it, unless whoever it is has gone.
        with suppress(OSError):
            sock.send(message(Answer(Verdict.BUSY, words=refusal.detail).written()))

    def _answer(self, guest: Guest, content: bytes) -> Answer:
        caller, issuing = guest.caller, self.issuing
        if not guest.mayAsk():
            return Answer(Verdict.BUSY, words=f"process {caller.pid} asks too often")
        if not issuing.allowances.admits(caller):
            return issuing.refuse(caller, f"user {caller.uid} gets nothing here")
        return issuing.answer(content, caller, self._now())

    def _patience(self, guest: Guest, answer: Answer) -> float:
        # While it stops nobody begins to stay.
        mayStay = self.running and guest.mayStay(answer)
        return self._description.lifetime if mayStay else 0

    def _left(self, visit: Visit, guest: Guest) -> None:
        if visit in self._visits:
            # Once, even if it could not be begun with and its end is told all the same.
            self._visits.remove(visit)
            guest.left()
