"""
Tests for L{tlstunnel.tls.failures}: what errors of OpenSSL are called.
"""

from __future__ import annotations

import socket
from typing import cast

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import TLSFailed, Truncated
from tlstunnel.tls import binding
from tlstunnel.tls.failures import ALERTS, handshakeFailure, recordFailure

MEMORY = cast(socket.socket, None)


def alert(number: int, level: int = 2) -> SSL.Error:
    """What a client meets when a server answers with an alert (RFC 8446, section 6)."""
    client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), MEMORY)
    client.set_connect_state()
    try:
        client.do_handshake()
    except SSL.WantReadError:
        client.bio_write(bytes([21, 3, 3, 0, 2, level, number]))
    try:
        client.do_handshake()
    except SSL.Error as error:
        return error
    raise AssertionError("no alert")


class AlertsTests(SynchronousTestCase):
    """Alerts of the peer."""

    def test_eachByItsNumber(self) -> None:
        """Whatever words OpenSSL has for it, it has its name from the standard."""
        for number, name in ALERTS.items():
            if name in {"close_notify", "ech_required"}:  # no error; not known to OpenSSL yet
                continue
            with self.subTest(name):
                said = str(recordFailure(alert(number), None))
                self.assertRegex(said, rf"\Atls: the peer .*\b{name}\b")

    def test_whatNobodyKnows(self) -> None:
        """An alert that does not exist is a failure of TLS, too."""
        said = recordFailure(alert(250), None)
        self.assertIsInstance(said, TLSFailed)

    def test_aboutOurCertificate(self) -> None:
        """Some say that it is us who are not believed."""
        for number in (42, 43, 44, 45, 46, 48, 49, 116):
            self.assertIn("refused us", str(recordFailure(alert(number), None)))
        for number in (40, 80, 112):
            self.assertIn("sent the alert", str(recordFailure(alert(number), None)))

    def test_closeNotifyIsAnEndAsAnyOther(self) -> None:
        """In the middle of a handshake it says no more than that the peer is gone."""
        told = handshakeFailure(alert(0, level=1), None)
        self.assertIsInstance(told, TLSFailed)
        self.assertIn("closed the connection during the handshake", str(told))

    def test_whatIsNoAlert(self) -> None:
        """What only speaks of alerts was not sent by the peer."""
        for reason in ("invalid alert", "unknown alert type", "too many warn alerts"):
            said = recordFailure(SSL.Error([("SSL routines", "", reason)]), None)
            self.assertEqual(str(said), f"tls: {reason}")

    def test_withoutTheBinding(self) -> None:
        """OpenSSL's own words stand where its numbers cannot be asked for."""
        error = alert(42)
        binding.alertReasons.cache_clear()
        self.addCleanup(binding.alertReasons.cache_clear)
        self.patch(binding, "_lib", None)
        self.assertRegex(str(recordFailure(error, None)), "alert bad certificate")

    def test_afterTheEnd(self) -> None:
        """What OpenSSL says once more of what failed before is no error of its own."""
        self.assertIsInstance(recordFailure(SSL.Error([]), None), Truncated)
        self.assertIsInstance(recordFailure(SSL.Error(), None), Truncated)
