"""
Trust on first use: what is chosen of what a server shows, and that it is tried.
"""

from __future__ import annotations

import contextlib
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet import reactor as _reactor

from tests.certificates import Recipe, alternative, dns, intermediate, mail, make, named, root
from tests.probe.servers import (
    NAME,
    ProbeTestCase,
    Script,
    belowIntermediate,
    context,
    leaf,
    resetting,
    secure,
    smtp,
)
from tlstunnel.commands.asking import limitsOf, questionOf
from tlstunnel.errors import ConfigurationError
from tlstunnel.probe.firstsight import Meeting, meet
from tlstunnel.probe.question import placeOf
from tlstunnel.probe.shown import describe

reactor: Any = _reactor

_DER = Encoding.DER
_NOW = datetime.now(UTC)


def _spoilt(serving: SSL.Context) -> Script:
    """A server of TLS 1.2 that cannot sign with the key of its certificate."""

    def script(sock: socket.socket) -> None:
        connection = SSL.Connection(serving)
        connection.set_accept_state()
        connection.bio_write(sock.recv(65536))
        with contextlib.suppress(SSL.WantReadError):
            connection.do_handshake()
        said = bytearray(connection.bio_read(65536))
        # The signature ends the ServerKeyExchange, before the ServerHelloDone, a record of its own.
        said[-10] ^= 1
        sock.sendall(said)
        sock.recv(65536)

    return script


class MeetingTests(ProbeTestCase):
    """
    One meeting each.
    """

    async def _meet(
        self, script: Any, fingerprint: str = "", expected: str = NAME, starttls: str | None = None
    ) -> Meeting:
        place = placeOf(f"127.0.0.1:{self.serve(script)}", starttls)
        given = {"remote-id": [expected], "pool": [str(Path(self.mktemp()))]}
        return await meet(questionOf(given, place, limitsOf("2")), fingerprint, reactor)

    async def test_theTopOfTheChainIsChosen(self) -> None:
        meeting = await self._meet(secure(context(belowIntermediate())))
        assert meeting.choice is not None
        self.assertEqual(meeting.choice.certificate, intermediate().certificate)
        self.assertTrue(meeting.isGood)
        self.assertFalse(meeting.isLeaf)

    async def test_theRootIsChosenIfItIsShown(self) -> None:
        chain = (intermediate().certificate, root().certificate)
        meeting = await self._meet(smtp(secure(context(belowIntermediate(), chain))),
                                   starttls="smtp")  # fmt: skip
        assert meeting.choice is not None
        self.assertEqual(meeting.choice.certificate, root().certificate)
        self.assertTrue(meeting.isGood)

    async def test_aCertificateThatStandsAloneIsChosenItself(self) -> None:
        issued = belowIntermediate()
        alone = make(Recipe(san=alternative(dns(NAME)), subject=named(NAME)))
        for serving in (context(issued, ()), context(alone)):
            meeting = await self._meet(secure(serving))
            assert meeting.choice is not None
            self.assertTrue(meeting.isLeaf)
            self.assertTrue(meeting.isGood, meeting.trial and meeting.trial.verdict)

    async def test_whatHasNotSignedIsNeverChosen(self) -> None:
        meeting = await self._meet(secure(context(leaf(), (root("Evil").certificate,))))
        assert meeting.choice is not None
        self.assertTrue(meeting.isLeaf)

    async def test_theFingerprintSaysWhich(self) -> None:
        issued = belowIntermediate()
        shown = describe([each.public_bytes(_DER) for each in issued.chain], _NOW)
        for number, each in enumerate(shown):
            meeting = await self._meet(secure(context(issued)), each.sha256)
            assert meeting.choice is not None
            self.assertEqual(meeting.choice.der, each.der)
            self.assertEqual(meeting.isLeaf, number == 0)
            self.assertTrue(meeting.isGood)

    async def test_anotherFingerprintIsAnError(self) -> None:
        for chain in ((), (root("Evil").certificate,)):
            with self.assertRaises(ConfigurationError) as raised:
                evil = describe([root("Evil").certificate.public_bytes(_DER)], _NOW)[0]
                await self._meet(secure(context(leaf(), chain)), evil.sha256)
            self.assertIn("somebody may be in between", str(raised.exception))

    async def test_whatWouldNotDoIsFoundOut(self) -> None:
        expired = leaf(start=timedelta(days=-9), end=timedelta(days=-3))
        for issued, expected in ((expired, NAME), (leaf(), "other.example.org")):
            meeting = await self._meet(secure(context(issued)), expected=expected)
            self.assertFalse(meeting.isGood)
            assert meeting.trial is not None
            self.assertEqual(meeting.trial.exit, 1)

    async def test_usersCanBeMet(self) -> None:
        issued = leaf(san=alternative(mail("john@example.org")))
        meeting = await self._meet(secure(context(issued)), expected="john@example.org")
        self.assertTrue(meeting.isGood, meeting.trial and meeting.trial.verdict)

    async def test_aServerThatWantsToKnowUsFirst(self) -> None:
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            serving = context(belowIntermediate())
            serving.set_max_proto_version(version)
            demanding = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
            serving.set_verify(demanding, lambda *_: True)
            meeting = await self._meet(secure(serving))
            self.assertTrue(meeting.isGood)

    async def test_whoHasNotTheKeyIsNotBelieved(self) -> None:
        serving = context(leaf())
        serving.set_max_proto_version(SSL.TLS1_2_VERSION)
        meeting = await self._meet(_spoilt(serving))
        assert meeting.trial is not None
        self.assertEqual(meeting.trial.exit, 3)
        self.assertFalse(meeting.isGood)

    async def test_thereMayBeNothing(self) -> None:
        meeting = await self._meet(resetting)
        self.assertIsNone(meeting.choice)
        self.assertEqual(meeting.report.exit, 3)
