"""
Tests for L{tlstunnel.net.quietwire}: a client that may never read, on real sockets.
"""

from __future__ import annotations

import socket
from select import select
from typing import ClassVar

from OpenSSL import SSL

from tests.certificates import Issued, Recipe, alternative, dns, make, root
from tests.legs import SERVER
from tests.net.test_handshaking import HandshakingTests
from tlstunnel.net import quietwire
from tlstunnel.net.kernel import unread
from tlstunnel.net.quietwire import QuietTLS
from tlstunnel.net.tlswire import TLS
from tlstunnel.net.wire import END, PeerGone
from tlstunnel.tls import belonging
from tlstunnel.tls.creators import Creator

#: A ticket has more.
TICKET_BYTES = 100

CLIENT = make(Recipe(san=alternative(dns(SERVER.domain))), root())


class QuietHandshakingTests(HandshakingTests):
    """
    Its handshake is like any other.
    """

    kind: ClassVar[type[TLS]] = QuietTLS


class OldQuietHandshakingTests(QuietHandshakingTests):
    """
    With TLS 1.2, where the server has the last word of the handshake.
    """

    version = SSL.TLS1_2_VERSION


class QuietTLSTests(HandshakingTests):
    """
    A server that has tickets to give.
    """

    kind: ClassVar[type[TLS]] = QuietTLS

    def setUp(self) -> None:
        """
        The handshake is complete.
        """
        super().setUp()
        self.open(CLIENT)
        self.shake()

    def creator(self) -> Creator:
        """
        One whose sessions can be resumed.
        """
        made = super().creator()
        belonging.allow(made.context)
        return made

    def open(self, shown: Issued) -> None:
        """
        See L{HandshakingTests.open}.
        """
        super().open(shown)
        self.wire.session.givesTickets = True

    def test_othersGiveThemAtOnce(self) -> None:
        """
        The tests below say something.
        """
        self.patch(QuietTLS, "isQuiet", False)
        self.open(CLIENT)
        self.shake()
        self.assertGreater(unread(self.far), TICKET_BYTES)

    def test_ticketsComeWithWhatIsSaidNext(self) -> None:
        """
        Nothing is there to be read until then, and all of it in its order from then on.
        """
        self.assertEqual(unread(self.far), 0)
        self.wire.write(b"said next")
        self.assertGreater(unread(self.far), TICKET_BYTES)
        self.assertEqual(self.peer.recv(100), b"said next")
        self.assertTalking()

    def test_theyComeWithTheEnd(self) -> None:
        """
        A client that waits for it has got them.
        """
        self.assertTrue(self.wire.end())
        self.assertGreater(unread(self.far), TICKET_BYTES)
        self.assertRaises(SSL.ZeroReturnError, self.peer.recv, 1)

    def test_aClientThatReadsNothingLosesNothing(self) -> None:
        """
        Its system does not reset the connection, whatever we have not read yet.
        """
        self.near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        self.peer.sendall(b"all of it" * 40_000)
        self.peer.shutdown()
        self.far.close()
        heard, event = b"", None
        while event is None:
            select([self.near], (), (), 20)
            data, event = self.wire.read(1 << 20, False)
            heard += data
        self.assertIs(event, END)
        self.assertEqual(heard, b"all of it" * 40_000)

    def test_theyWaitForSoManyBytesAndNoMore(self) -> None:
        """
        Who sends much may want an answer of OpenSSL, which must not come before them.
        """
        self.patch(quietwire, "MOST_RECEIVED", 9)
        for expected in (False, True):
            self.peer.send(b"0123456789")
            self.read(10)
            self.assertEqual(unread(self.far) > 0, expected)
        self.assertTalking()

    def test_whoeverIsGoneTakesNoMore(self) -> None:
        """
        As of any other wire.
        """
        self.far.close()
        with self.assertRaises(PeerGone):
            # The first may pass before the system hears that nobody is there.
            for _ in range(3):
                self.wire.write(b"for nobody")
