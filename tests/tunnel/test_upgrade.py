"""
Tests for L{tlstunnel.tunnel.upgrade}: the steps of one leg to TLS, and what each may take.  There
is no other leg.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tlstunnel.errors import (
    Closed,
    ConnectFailed,
    IdentityRefused,
    PlaintextAfterStartTLS,
    Refused,
    Reset,
    TimedOut,
    TunnelError,
)
from tlstunnel.identity.names import Identity
from tlstunnel.identity.trust import Anchors, Trust
from tlstunnel.interfaces import IDialect
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.destination import IDialler
from tlstunnel.protocols.base import Dialect, Role
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.registry import find
from tlstunnel.protocols.setting import Setting
from tlstunnel.testing.legs import MemoryLeg
from tlstunnel.tls.session import Session
from tlstunnel.tls.verification import Verifier
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.observers import Observers
from tlstunnel.tunnel.record import Record, Stage
from tlstunnel.tunnel.upgrade import Upgrade

SERVER = Identity(None, "server.example.org")
TRUST = Trust(Anchors((), system=True, source="system"))

#: All different, so that each is known by its length.
LIMITS = Limits(connectTotal=11.0, greeting=12.0, negotiation=13.0, handshake=14.0)


class Creator:
    """
    Nobody is asked to make TLS in memory.
    """

    def check(self) -> None:
        """
        Nobody is withdrawn.
        """


CREATOR: Any = Creator()


@implementer(IDialler)
class Dialler:
    """
    Connects after a while, or does not.
    """

    def __init__(self, clock: Clock, outcome: MemoryLeg | TunnelError, seconds: float) -> None:
        self.clock = clock
        self.outcome = outcome
        self.seconds = seconds

    async def dial(self) -> MemoryLeg:
        """
        The outcome.
        """
        await deferLater(self.clock, self.seconds)
        if isinstance(self.outcome, TunnelError):
            raise self.outcome
        return self.outcome


class UpgradeTests(SynchronousTestCase):
    """
    L{Upgrade}, on a leg in memory and a test clock.
    """

    def setUp(self) -> None:
        """
        A leg that nothing has happened on.
        """
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.leg = MemoryLeg()
        self.leg.session = self.session = Session(Verifier(SERVER, TRUST))
        self.ended: list[TunnelError] = []
        self.record = Record(self.clock, Observers(()), "", Mode.CLIENT, "smtp", self.leg.peer)
        self.upgrade = Upgrade(self.record, self.deadlines, LIMITS, self.cancel, self.ended.append)

    def cancel(self) -> None:
        """
        Give up what is going on.
        """
        self.running.cancel()

    def begin(self, step: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        """
        Take a step.
        """
        self.running = Deferred.fromCoroutine(step)
        return self.running

    def takes(self, step: Coroutine[Any, Any, Any], seconds: float, what: str) -> None:
        """
        Nothing happens in a step; it is given up after so many seconds.
        """
        taken = self.begin(step)
        self.passes(taken, seconds, what)

    def passes(self, taken: Deferred[Any], seconds: float, what: str) -> None:
        """
        The limit of what is going on is C{seconds} from now.
        """
        self.clock.advance(seconds - 0.1)
        self.assertNoResult(taken)
        self.clock.advance(0.2)
        error = self.failureResultOf(taken, TimedOut).value
        self.assertEqual(error.detail, f"{what} took longer than {seconds:g} s")

    def role(self, name: str = "smtp", isClient: bool = True) -> tuple[IDialect, Role]:
        """
        A dialect, and a role of it on the leg.
        """
        dialect = find(name)
        setting = Setting(ourName=b"tunnel.example.net", remoteID=SERVER)
        role: Role = (dialect.client if isClient else dialect.server)(setting, self.deadlines)
        self.upgrade.attach(role, self.leg)
        return dialect, role

    # Dial

    def test_whoeverAnswersIsTheBackend(self) -> None:
        """
        The record has its address from then on.
        """
        dialled = self.begin(self.upgrade.dial(Dialler(self.clock, self.leg, 10.9)))
        self.assertEqual((self.record.stage, self.record.backend), (Stage.CONNECTING, None))
        self.clock.advance(10.9)
        self.assertIs(self.successResultOf(dialled), self.leg)
        self.assertEqual(self.record.backend, self.leg.peer)

    def test_diallingHasALimit(self) -> None:
        """
        In all; and then nobody is the backend.
        """
        self.takes(self.upgrade.dial(Dialler(self.clock, self.leg, 1e6)), 11, "connecting")
        self.assertIsNone(self.record.backend)

    def test_whatTheDiallerSaysIsTheReason(self) -> None:
        """
        Where nobody answers.
        """
        error = ConnectFailed("nobody")
        dialled = self.begin(self.upgrade.dial(Dialler(self.clock, error, 1)))
        self.clock.advance(1)
        self.assertIs(self.failureResultOf(dialled, ConnectFailed).value, error)
        self.assertIsNone(self.record.backend)

    # Negotiate

    def test_theGreetingHasALimit(self) -> None:
        """
        Of its own.
        """
        self.takes(self.upgrade.negotiate(*self.role()), 12, "the greeting")
        self.assertEqual((self.record.stage, self.leg.written), (Stage.NEGOTIATING, b""))

    def test_theNegotiationHasALimit(self) -> None:
        """
        From the greeting on; what arrives does not extend it.
        """
        negotiated = self.begin(self.upgrade.negotiate(*self.role()))
        self.clock.advance(11)
        self.leg.feed(b"220 mx\r\n")
        self.clock.advance(6)
        self.leg.feed(b"250-mx\r\n")
        self.clock.advance(6)
        self.leg.feed(b"250-SIZE\r\n")
        self.assertNoResult(negotiated)
        self.clock.advance(1.1)
        error = self.failureResultOf(negotiated, TimedOut).value
        self.assertEqual(error.detail, "the negotiation took longer than 13 s")

    def test_aServerNegotiatesFromTheStart(self) -> None:
        """
        There it is we who greet.
        """
        negotiated = self.begin(self.upgrade.negotiate(*self.role(isClient=False)))
        self.assertTrue(self.leg.written.startswith(b"220 "))
        self.passes(negotiated, 13, "the negotiation")

    def test_aDialectMayNeedMoreTime(self) -> None:
        """
        As it says itself.
        """
        dialect, role = self.role(isClient=False)
        assert isinstance(dialect, Dialect)
        slow = dataclasses.replace(dialect, negotiationSeconds=100.0)
        self.takes(self.upgrade.negotiate(slow, role), 100, "the negotiation")

    def test_whoSaysNothingDoesNotNegotiate(self) -> None:
        """
        TLS from the first byte.
        """
        self.successResultOf(self.begin(self.upgrade.negotiate(*self.role("none"))))
        self.assertEqual(self.record.stage, Stage.ACCEPTED)
        self.assertIsNone(self.record.negotiated)

    def test_aRefusalEndsIt(self) -> None:
        """
        With what the peer said.
        """
        negotiated = self.begin(self.upgrade.negotiate(*self.role()))
        self.leg.feed(b"554 go away\r\n")
        error = self.failureResultOf(negotiated, Refused).value
        self.assertEqual(error.said, b"554 go away")

    # Secure

    def test_theHandshakeHasALimit(self) -> None:
        """
        That of the tunnel.
        """
        _, role = self.role()
        self.takes(self.upgrade.secure(self.leg, role.switch, CREATOR), 14, "the TLS handshake")
        self.assertEqual((self.record.stage, self.leg.isTLS), (Stage.HANDSHAKING, True))
        self.assertFalse(self.record.isVerified)

    def test_theHandshakeMayHaveAnother(self) -> None:
        """
        Where it is not the tunnel's first.
        """
        _, role = self.role()
        secured = self.upgrade.secure(self.leg, role.switch, CREATOR, 5)
        self.takes(secured, 5, "the TLS handshake")

    def test_whoeverIsVerifiedIsInTheRecord(self) -> None:
        """
        Once the handshake is complete, and not before.
        """
        _, role = self.role()
        secured = self.begin(self.upgrade.secure(self.leg, role.switch, CREATOR))
        self.session.version, self.session.identity = "TLSv1.3", SERVER
        self.assertEqual((self.record.isVerified, self.record.identity), (False, None))
        self.leg.completeHandshake()
        self.successResultOf(secured)
        self.assertEqual((self.record.isVerified, self.record.identity), (True, SERVER))

    def test_whoeverIsRefusedIsNot(self) -> None:
        """
        Whatever the leg knows.
        """
        _, role = self.role()
        secured = self.begin(self.upgrade.secure(self.leg, role.switch, CREATOR))
        self.session.version, self.session.shown = "TLSv1.3", SERVER
        self.leg.lose(IdentityRefused("no"))
        self.failureResultOf(secured, IdentityRefused)
        self.assertEqual((self.record.isVerified, self.record.identity), (False, None))

    def test_aConversationCanSpeakTLSWithoutARole(self) -> None:
        """
        Where nothing is said before, as on data connections.
        """
        conversation = Conversation(self.deadlines)
        self.upgrade.attach(conversation, self.leg)
        secured = self.begin(self.upgrade.secure(self.leg, conversation.startTLS, CREATOR))
        self.session.version = "TLSv1.3"
        self.leg.completeHandshake()
        self.successResultOf(secured)
        self.assertTrue(self.record.isVerified)

    def test_whatFollowsTheGoAheadEndsIt(self) -> None:
        """
        There is no TLS then (rule 3).
        """
        dialect, role = self.role()
        negotiated = self.begin(self.upgrade.negotiate(dialect, role))
        self.leg.feed(b"220 mx\r\n")
        self.leg.feed(b"250 mx\r\n")
        self.leg.feed(b"220 go\r\n250 injected\r\n")
        self.successResultOf(negotiated)
        secured = self.begin(self.upgrade.secure(self.leg, role.switch, CREATOR))
        self.failureResultOf(secured, PlaintextAfterStartTLS)
        self.assertFalse(self.leg.isTLS)

    # All of it

    def test_oneLegIsAllItTakes(self) -> None:
        """
        From dialling to TLS, for whoever only wants to see how a server does it; afterwards nothing
        is due.
        """
        dialect, role = self.role()

        async def steps() -> None:
            leg = await self.upgrade.dial(Dialler(self.clock, self.leg, 1))
            self.upgrade.attach(role, leg)
            await self.upgrade.negotiate(dialect, role)
            await self.upgrade.secure(leg, role.switch, CREATOR)

        done = self.begin(steps())
        self.clock.advance(1)
        for said in b"220 mx\r\n", b"250-mx\r\n250 STARTTLS\r\n", b"220 go\r\n":
            self.clock.advance(2)
            self.leg.feed(said)
        self.assertEqual(self.leg.takeWritten(), b"EHLO tunnel.example.net\r\nSTARTTLS\r\n")
        self.session.version = "TLSv1.3"
        self.clock.advance(3)
        self.leg.completeHandshake()
        self.successResultOf(done)
        self.assertEqual((self.record.negotiated, self.record.handshaken), (6, 3))
        self.clock.advance(1e6)
        self.assertEqual((self.ended, self.leg.isClosed), ([], False))

    def test_aLossIsToldToWhoeverWaits(self) -> None:
        """
        And to nobody else.
        """
        negotiated = self.begin(self.upgrade.negotiate(*self.role()))
        self.leg.reset()
        self.failureResultOf(negotiated, Reset)
        self.assertEqual(self.ended, [])

    def test_aLossThatNobodyWaitsForIsToldToo(self) -> None:
        """
        Such as while the other leg is dialled.
        """
        self.role()
        self.leg.reset()
        self.assertEqual([type(error) for error in self.ended], [Reset])

    def test_anEndIsNoGreeting(self) -> None:
        """
        A clean end before it is a failure.
        """
        negotiated = self.begin(self.upgrade.negotiate(*self.role()))
        self.leg.end()
        self.failureResultOf(negotiated, Closed)
