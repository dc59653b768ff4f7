"""
Tests for L{tlstunnel.net.wire} and L{tlstunnel.net.tlswire}: on real sockets, with OpenSSL at the
other end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket

from OpenSSL import SSL
from zope.interface.verify import verifyObject

from tests.certificates import Recipe, alternative, dns, intermediate, make, root
from tests.legs import SERVER, clientCreator, creator
from tests.net.wires import SIZE, WireTests
from tlstunnel.errors import Closed, ForeignProtocol, Reset, TLSFailed
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.trust import Anchors, Trust
from tlstunnel.net import kernel
from tlstunnel.net.handshaking import MOST_SKIPPED_BYTES
from tlstunnel.net.tlswire import TLS
from tlstunnel.net.wire import END, NOTHING, WANTS_READ, WANTS_WRITE, Clear, IWire, PeerGone
from tlstunnel.tls.context import clientContext, serverContext
from tlstunnel.tls.creators import ClientCreator, ServerCreator
from tlstunnel.tls.faces import Face, Faces
from tlstunnel.tls.records import RECORD_BYTES
from tlstunnel.tls.verification import Verifier


class ClearTests(WireTests):
    """
    No TLS.
    """

    def setUp(self) -> None:
        """
        A wire on one end.
        """
        super().setUp()
        self.wire = Clear(self.near)

    def test_itIsAWire(self) -> None:
        """
        It provides all that a leg asks for.
        """
        verifyObject(IWire, self.wire)

    def test_nothingIsThereYet(self) -> None:
        """
        Which is neither bytes nor an end.
        """
        self.assertEqual(self.wire.read(SIZE, False), (NOTHING, None))

    def test_aResetIsAnError(self) -> None:
        """
        And no end.
        """
        kernel.resetOnClose(self.far)
        self.far.close()
        data, event = self.wire.read(SIZE, False)
        self.assertEqual(data, b"")
        self.assertIsInstance(event, Reset)

    def test_whoeverIsGoneAfterAnEndCanStillBeRead(self) -> None:
        """
        The kernel tells these resets from the others.
        """
        self.far.send(b"bye")
        self.far.close()
        self.wire.write(b"hello?")
        self.assertRaises(PeerGone, self.wire.write, b"hello?")
        self.assertEqual(self.wire.read(SIZE, False), (b"bye", None))
        self.assertEqual(self.wire.read(SIZE, False), (NOTHING, END))

    def test_aHangUpIsAReset(self) -> None:
        """
        What was said before it may be read only after a FIN.
        """
        self.assertEqual(str(self.wire.hungUp(0)), "reset: hung up")
        self.assertNotIsInstance(self.wire.hungUp(0), PeerGone)
        self.assertNotIsInstance(self.wire.hungUp(errno.ECONNRESET), PeerGone)
        self.assertIsInstance(self.wire.hungUp(errno.EPIPE), PeerGone)

    def test_aHangUpOfAUNIXSocketMayBeAnEnd(self) -> None:
        """
        It has no other way to tell that its peer has closed.
        """
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        self.assertIsInstance(Clear(near).hungUp(0), PeerGone)
        self.assertNotIsInstance(Clear(near).hungUp(errno.ECONNRESET), PeerGone)


class TLSTests(WireTests):
    """
    TLS of OpenSSL.
    """

    version = SSL.TLS1_3_VERSION

    def setUp(self) -> None:
        """
        A wire of the server side on one end.
        """
        super().setUp()
        self.wire = TLS(self.near, creator())
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(self.version)
        self.peer = SSL.Connection(context, self.far)
        self.peer.set_connect_state()

    def shake(self) -> None:
        """
        Complete the handshake on both ends.
        """
        waiting = True
        while waiting:
            waiting = False
            try:
                self.peer.do_handshake()
            except SSL.WantReadError:
                waiting = True
            event = self.wire.handshake()
            waiting = waiting or event is not None
        # Session tickets that lie unread would make a close a reset.
        self.assertRaises(SSL.WantReadError, self.peer.recv, 1)

    def test_itIsAWire(self) -> None:
        """
        It provides all that a leg asks for.
        """
        verifyObject(IWire, self.wire)

    def test_nothingIsSentBeforeTheHandshake(self) -> None:
        """
        Neither bytes nor the end: they have to wait.
        """
        self.assertIs(self.wire.handshake(), WANTS_READ)
        self.assertEqual(self.wire.write(b"early"), 0)
        self.assertFalse(self.wire.end())
        self.assertRaises(BlockingIOError, self.far.recv, 1)

    def test_aClientSaysNoHelloUnasked(self) -> None:
        """
        That is for the handshake.
        """
        wire = TLS(self.near, clientCreator())
        self.assertEqual(wire.write(b"early"), 0)
        self.assertFalse(wire.end())
        self.assertRaises(BlockingIOError, self.far.recv, 1)

    def test_whatGoesBeforeIsSentFirst(self) -> None:
        """
        As far as the socket takes it.
        """
        before = os.urandom(8 << 20)
        wire = TLS(self.near, creator(), memoryview(before))
        got = b""
        while wire.handshake() is WANTS_WRITE:
            got += self.far.recv(1 << 20)
        while len(got) < len(before):
            got += self.far.recv(1 << 20)
        self.assertEqual(got, before)

    def test_whatGoesBeforeCannotBeSent(self) -> None:
        """
        As nobody is there.
        """
        wire = TLS(self.near, creator(), memoryview(b"x"))
        kernel.resetOnClose(self.far)
        self.far.close()
        self.assertRaises(Reset, wire.handshake)

    def test_someBytesMayBeSkipped(self) -> None:
        """
        Until something else comes: behind it they are of TLS.
        """
        self.wire = TLS(self.near, creator(), skippable=b" \n")
        for _ in range(3):
            self.far.send(b" \n" * (MOST_SKIPPED_BYTES // 8))
            self.assertIs(self.wire.handshake(), WANTS_READ)
        self.assertRaises(BlockingIOError, self.near.recv, 1)
        self.shake()

    def test_notEndlesslyMany(self) -> None:
        """
        More of them than that, in however many segments, OpenSSL refuses.
        """
        self.wire = TLS(self.near, creator(), skippable=b" \n")
        for _ in range(4):
            self.far.send(b" \n" * (MOST_SKIPPED_BYTES // 8))
            self.assertIs(self.wire.handshake(), WANTS_READ)
        self.far.send(b" \n" * 10)
        self.assertRaises(ForeignProtocol, self.wire.handshake)

    def test_nothingIsSkippedInTheMiddle(self) -> None:
        """
        The same bytes may be part of TLS.
        """
        hello = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))
        hello.set_connect_state()
        self.assertRaises(SSL.WantReadError, hello.do_handshake)
        said = hello.bio_read(65536)
        self.wire = TLS(self.near, creator(), skippable=said[20:21])
        for piece in (said[:20], said[20:]):
            self.far.send(piece)
            self.assertIs(self.wire.handshake(), WANTS_READ)
        hello.bio_write(self.far.recv(65536))
        self.assertNotEqual(hello.get_state_string(), b"before SSL initialization")
        hello.do_handshake()

    def test_otherBytesAreNotSkipped(self) -> None:
        """
        They are for OpenSSL to refuse.
        """
        self.wire = TLS(self.near, creator(), skippable=b" ")
        self.far.send(b"  GET / HTTP/1.0\r\n\r\n")
        self.assertRaises(ForeignProtocol, self.wire.handshake)

    def test_wholeRecordsAreRead(self) -> None:
        """
        One at least, and no further than asked for but to the end of one.
        """
        self.shake()
        for _ in range(4):
            self.peer.send(b"x" * RECORD_BYTES)
        data, event = self.wire.read(1, False)
        self.assertEqual((len(data), event), (RECORD_BYTES, None))
        data, event = self.wire.read(2 * RECORD_BYTES, False)
        self.assertEqual((len(data), event), (2 * RECORD_BYTES, None))
        data, event = self.wire.read(SIZE, False)
        self.assertEqual((len(data), event), (RECORD_BYTES, None))
        self.assertEqual(self.wire.received, 4 * RECORD_BYTES)
        self.assertEqual(self.wire.read(SIZE, False), (NOTHING, None))

    def test_noMoreIsReadThanThereIsRoomFor(self) -> None:
        """
        Whatever size is asked for.
        """
        self.shake()
        sent = 0
        while sent < 3 << 20:
            try:
                sent += self.peer.send(b"x" * RECORD_BYTES)
            except SSL.WantWriteError:
                break
        got = 0
        while got < sent:
            data, _ = self.wire.read(1 << 30, False)
            self.assertLessEqual(len(data), 1 << 20)
            got += len(data)

    def test_bytesComeBeforeTheEndBehindThem(self) -> None:
        """
        In the same read.
        """
        self.shake()
        self.peer.send(b"x" * 2000)
        self.peer.shutdown()
        data, event = self.wire.read(SIZE, False)
        self.assertEqual((data, event), (b"x" * 2000, END))

    def test_bytesComeBeforeTheFailureBehindThem(self) -> None:
        """
        In the same read.
        """
        self.shake()
        self.peer.send(b"x" * 2000)
        self.far.send(b"\x17\x03\x03\x00\x20" + b"\0" * 32)
        data, event = self.wire.read(SIZE, False)
        self.assertEqual(data, b"x" * 2000)
        self.assertIsInstance(event, TLSFailed)

    def test_allIsWrittenOrNothing(self) -> None:
        """
        And what is written again may be longer than before.
        """
        self.shake()
        self.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 262144)
        data = os.urandom(8 << 20)
        self.assertEqual(self.wire.write(data), 0)
        self.assertEqual(self.wire.sent, 0)
        whole = data + b"more"
        got = bytearray()
        count = 0
        while len(got) < len(whole):
            count = count or self.wire.write(memoryview(whole))
            try:
                while True:
                    got += self.peer.recv(1 << 20)
            except SSL.WantReadError:
                pass
        self.assertEqual((count, self.wire.sent), (len(whole), len(whole)))
        self.assertEqual(got, whole)

    def test_whoeverIsGoneIsFoundOutBeforeOpenSSLIs(self) -> None:
        """
        So that the end that it has sent can still be read.
        """
        self.shake()
        self.peer.send(b"bye")
        self.peer.shutdown()
        self.far.close()
        self.wire.write(b"hello?")
        self.assertRaises(PeerGone, self.wire.write, b"hello?")
        self.assertRaises(PeerGone, self.wire.end)
        self.assertEqual(self.wire.read(SIZE, False), (b"bye", None))
        self.assertEqual(self.wire.read(SIZE, False), (NOTHING, END))

    def test_whoeverGoesAwayMeanwhileTakesNoMoreEither(self) -> None:
        """
        Though OpenSSL finds out itself.
        """
        self.shake()
        kernel.resetOnClose(self.far)
        self.far.close()
        self.wire._sock = self.pair()[0]
        self.assertRaises(PeerGone, self.wire.write, b"hello?")

    def test_whatComesBehindTheEndIsDropped(self) -> None:
        """
        It is asked for once, when the socket is about to be closed.
        """
        self.shake()
        self.peer.shutdown()
        self.assertEqual(self.wire.read(SIZE, False), (NOTHING, END))
        self.assertFalse(self.wire.hasMore())
        self.far.send(b"more")
        self.assertTrue(self.wire.hasMore())
        self.assertFalse(self.wire.hasMore())

    def test_aClosedOneKnowsNothing(self) -> None:
        """
        But what it has counted, and its session.
        """
        self.shake()
        self.wire.write(b"x")
        self.wire.creatorBeside()
        self.wire.close()
        self.assertRaises(Closed, self.wire.creatorBeside)
        self.assertIs(self.wire.peerCertificate(), None)
        self.assertEqual(self.wire.peerChain(), ())
        self.assertEqual(self.wire.sent, 1)
        self.assertTrue(self.wire.session.version)

    def test_theChainOfThePeerIsKnown(self) -> None:
        """
        What is between its own certificate and the anchor; not what else it has shown.
        """
        ours = make(Recipe(san=alternative(dns(SERVER.domain))), intermediate())
        others = intermediate("Other").certificate, root().certificate
        credentials = Credentials(SERVER, (*ours.chain, *others), ours.key)
        for anchor, expected in (
            (root(), [intermediate().certificate]),
            (intermediate(), []),
        ):
            self.setUp()
            trust = Trust(Anchors((anchor.certificate,), system=False, source=""))
            creator = ClientCreator(clientContext(trust, minimum="1.2"), Verifier(SERVER, trust))
            self.wire = TLS(self.near, creator)
            context = serverContext(credentials)
            context.set_max_proto_version(self.version)
            self.peer = SSL.Connection(context, self.far)
            face = Face(context)
            self.peer.set_app_data(ServerCreator(Faces(face, {}, {}, anyName=True)).session())
            self.peer.set_accept_state()
            self.shakeAsClient()
            self.assertEqual(list(self.wire.peerChain()), expected)

    def shakeAsClient(self) -> None:
        """
        The same, where the wire speaks first.
        """
        for _ in range(9):
            isDone = self.wire.handshake() is None
            with contextlib.suppress(SSL.WantReadError):
                self.peer.do_handshake()
            if isDone:
                return
        self.fail("the handshake does not end")

    def test_aHangUpLeavesWhatWasSaid(self) -> None:
        """
        A close_notify may be among it.
        """
        for code in (0, errno.ECONNRESET, errno.EPIPE):
            self.assertIsInstance(self.wire.hungUp(code), PeerGone)


class TLS12Tests(TLSTests):
    """
    The same in TLS 1.2.
    """

    version = SSL.TLS1_2_VERSION
