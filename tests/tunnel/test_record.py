"""
Tests for L{tlstunnel.tunnel.record}: what is known of a connection, and from when on.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.loopback import CLIENT
from tests.tunnel.recorded import UNVERIFIED, Notes
from tlstunnel import errors
from tlstunnel.address import TCPAddress
from tlstunnel.errors import Refused, TunnelError
from tlstunnel.testing.legs import MemoryLeg
from tlstunnel.tls.session import Session
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.observers import Observers
from tlstunnel.tunnel.record import CLEAN, Record, Stage


class RecordTests(SynchronousTestCase):
    """
    L{Record}, on a test clock.
    """

    def setUp(self) -> None:
        """
        A connection that has just begun.
        """
        self.clock = Clock()
        self.clock.advance(1000)
        self.notes = Notes()
        self.peer = TCPAddress("192.0.2.1", 40000)
        self.record = Record(
            self.clock, Observers([self.notes]), "name", Mode.SERVER, "smtp", self.peer
        )
        self.leg = MemoryLeg()
        self.leg.session = session = Session(None)
        session.version, session.suite, session.group = "TLSv1.3", "suite", "group"
        session.alpn, session.serverName = b"alpn", "sni"
        session.identity = CLIENT
        self.leg.peerCertificate = object()
        self.leg.peerChain = [object()]

    def knows(self, **expected: Any) -> None:
        """
        The record has this.
        """
        self.assertEqual({name: getattr(self.record, name) for name in expected}, expected)

    def test_atFirstOnlyThePeerIsKnown(self) -> None:
        """
        And the tunnel that it came to.
        """
        [(what, known)] = self.notes.noted
        self.assertEqual(what, "began")
        self.assertEqual(
            known,
            {
                **UNVERIFIED,
                "tunnel": "name",
                "mode": Mode.SERVER,
                "dialect": "smtp",
                "peer": self.peer,
                "backend": None,
                "stage": Stage.ACCEPTED,
                "negotiated": None,
                "seconds": 0.0,
                "error": None,
                "outcome": "",
            },
        )
        self.knows(began=1000.0)

    def test_aVerifiedPeerIsKnownWithAllOfItsTLS(self) -> None:
        """
        From then on, until the end; its certificate as long as it is connected.
        """
        self.record.advance(Stage.HANDSHAKING)
        self.knows(**UNVERIFIED)
        self.record.verify(self.leg)
        verified = {
            "version": "TLSv1.3",
            "suite": "suite",
            "group": "group",
            "alpn": b"alpn",
            "serverName": "sni",
            "identity": CLIENT,
            "isVerified": True,
        }
        chain = self.leg.peerChain
        self.knows(**verified, certificate=self.leg.peerCertificate, chain=chain)
        self.record.end(None)
        self.knows(**verified, certificate=None, chain=())

    def test_whoNeedNotBeAnybodyIsNobody(self) -> None:
        """
        Whatever certificate it has shown.
        """
        self.leg.session.identity = None
        self.record.verify(self.leg)
        self.knows(isVerified=True, identity=None, certificate=None, chain=())

    def test_bytesAreThoseOfTheNetworkLeg(self) -> None:
        """
        As they are at any time, and as they were at the end.
        """
        self.record.verify(self.leg)
        for sent, received in (1, 0), (1000, 30), (5000, 4000):
            self.leg.sent, self.leg.received = sent, received
            self.knows(toNetwork=sent, toPlain=received)
        self.record.end(None)
        self.leg.sent = self.leg.received = 0
        self.knows(toNetwork=5000, toPlain=4000)

    def test_timesAreThoseOfTheSteps(self) -> None:
        """
        Each on its own.
        """
        for stage, seconds in (
            (Stage.CONNECTING, 2),
            (Stage.NEGOTIATING, 3),
            (Stage.HANDSHAKING, 5),
        ):
            self.record.advance(stage)
            self.clock.advance(seconds)
        self.knows(negotiated=3.0, handshaken=None, seconds=0.0)
        self.record.verify(self.leg)
        self.clock.advance(7)
        self.record.advance(Stage.RELAYING)
        self.clock.advance(11)
        self.record.end(None)
        self.knows(negotiated=3.0, handshaken=5.0, seconds=28.0, began=1000.0)

    def test_whatFailsHasNoTime(self) -> None:
        """
        What a connection that failed has waited for is no time of a negotiation or handshake.
        """
        self.record.advance(Stage.NEGOTIATING)
        self.clock.advance(3)
        self.record.end(Refused())
        self.knows(negotiated=None, handshaken=None, seconds=3.0)

    def test_theOutcomeIsTheNameOfTheError(self) -> None:
        """
        Of each that there is.
        """
        for error in vars(errors).values():
            if isinstance(error, type) and issubclass(error, TunnelError):
                self.setUp()
                ended = error("detail", b"said")
                self.record.end(ended)
                self.knows(outcome=error.reason, error=ended, stage=Stage.ENDED)

    def test_theOutcomeOfACleanEndIsClean(self) -> None:
        """
        Which is the name of no error.
        """
        self.record.end(None)
        self.knows(outcome="clean", error=None)
        self.assertEqual(CLEAN, "clean")

    def test_eachStepIsTold(self) -> None:
        """
        Once, in the order in which it happens, with what is known then.
        """
        self.record.advance(Stage.NEGOTIATING)
        self.record.advance(Stage.HANDSHAKING)
        self.record.verify(self.leg)
        self.record.advance(Stage.RELAYING)
        self.record.end(None)
        self.assertEqual(
            self.notes.story,
            ["began", "negotiating", "handshaking", "verified", "relaying", "ended"],
        )
        self.assertEqual(
            [known["isVerified"] for _, known in self.notes.noted],
            [False, False, False, True, True, True],
        )
        self.assertEqual(
            [known["outcome"] for _, known in self.notes.noted], ["", "", "", "", "", "clean"]
        )
