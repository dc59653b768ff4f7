"""
Tests for L{tlstunnel.tls.messages}: the messages of TLS, by their names.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.tls.messages import _RETRY, LOOKED_AT, Message, messageOf


class MessageTests(SynchronousTestCase):
    """
    L{messageOf}.
    """

    def test_names(self) -> None:
        """
        Those of the handshake, alerts, and the rest.
        """
        hello = b"\x02\0\0\x76\x03\x03"
        retry = Message(False, "handshake", "hello_retry_request", 99)
        for told, expected in (
            ((True, 22, b"\x01\0\0\x05", 9), Message(True, "handshake", "client_hello", 9)),
            ((False, 22, hello + bytes(32), 99), Message(False, "handshake", "server_hello", 99)),
            ((False, 22, hello + _RETRY, 99), retry),
            ((False, 22, b"\xc8", 1), Message(False, "handshake", "200", 1)),
            ((True, 20, b"\x01", 1), Message(True, "change_cipher_spec", "", 1)),
            ((True, 21, b"\x02\x28", 2), Message(True, "alert", "fatal handshake_failure", 2)),
            ((True, 21, b"\x01\0", 2), Message(True, "alert", "warning close_notify", 2)),
            ((True, 21, b"\x07\xc8", 2), Message(True, "alert", "7 200", 2)),
        ):
            self.assertEqual(messageOf(*told), expected)

    def test_whatIsNoMessage(self) -> None:
        """
        What TLS protects, broken ones, and what is told of records.
        """
        for content, start in ((23, b"secret"), (22, b""), (21, b"\x02"), (0, b"x")):
            self.assertIsNone(messageOf(True, content, start, len(start)))

    def test_onlyTheHeadIsLookedAt(self) -> None:
        """
        As far as the names need.
        """
        self.assertEqual(LOOKED_AT, 38)
