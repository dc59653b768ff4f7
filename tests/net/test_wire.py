"""
Tests for L{tlstunnel.net.wire}, L{tlstunnel.net.kernel} and L{tlstunnel.tls.records}: on real
sockets, with OpenSSL at the other end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.certificates import Recipe, alternative, dns, intermediate, make, root
from tests.legs import SERVER, clientCreator, creator
from tlstunnel.errors import Closed, ForeignProtocol, Reset, TLSFailed
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.trust import Anchors, Trust
from tlstunnel.net import kernel
from tlstunnel.net.handshaking import MOST_SKIPPED_BYTES
from tlstunnel.net.tlswire import TLS
from tlstunnel.net.wire import END, NOTHING, WANTS_READ, WANTS_WRITE, Clear, IWire, PeerGone
from tlstunnel.tls import records
from tlstunnel.tls.context import clientContext, serverContext
from tlstunnel.tls.creators import ClientCreator, ServerCreator
from tlstunnel.tls.faces import Face, Faces
from tlstunnel.tls.records import (
    RECORD_BYTES,
    CleanEnd,
    SSLError,
    WantWrite,
    handshaker,
    recordReader,
    recordWriter,
)
from tlstunnel.tls.verification import Verifier

#: What a wire reads at most, in these tests.
SIZE = 4 * RECORD_BYTES


class WireTests(SynchronousTestCase):
    """
    Base class of tests with a socket and its peer.
    """

    def setUp(self) -> None:
        """
        Neither blocks.
        """
        self.near, self.far = self.pair()

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """
        Two sockets, connected over TCP.
        """
        with socket.create_server(("127.0.0.1", 0)) as listener:
            far = socket.create_connection(listener.getsockname())
            near = listener.accept()[0]
        for sock in (near, far):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.addCleanup(sock.close)
        return near, far

    def secured(self) -> tuple[SSL.Connection, SSL.Connection]:
        """
        Two ends of TLS: one to be read, and its peer.
        """
        self.near, self.far = self.pair()
        made = creator()
        near = SSL.Connection(made.context, self.near)
        near.set_app_data(made.session())
        far = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), self.far)
        near.set_accept_state()
        far.set_connect_state()
        for each in (far, near) * 3:
            try:
                each.do_handshake()
            except SSL.WantReadError:
                pass
        return near, far


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


class RecordReaderTests(WireTests):
    """
    Both ways to read a record do the same: the private one of pyOpenSSL, and the public one where
    that is not what we know it to be.
    """

    def setUp(self) -> None:
        """
        Look who calls the public one.
        """
        super().setUp()
        self.calls = 0
        self.buffer = bytearray(3 * RECORD_BYTES)
        public = SSL.Connection.recv_into

        def counted(connection: SSL.Connection, buffer: Any) -> int:
            self.calls += 1
            return public(connection, buffer)

        self.patch(SSL.Connection, "recv_into", counted)

    def check(self, read: Callable[[SSL.Connection, int], int], isPublic: bool) -> None:
        """
        C{read}, which reads to C{self.buffer} in one of the two ways, comes to each outcome.
        """
        buffer = self.buffer
        near, far = self.secured()
        self.assertEqual(read(near, 0), 0)
        far.send(b"a" * RECORD_BYTES)
        far.send(b"bc")
        self.assertEqual(read(near, 5), RECORD_BYTES)
        self.assertEqual(read(near, 5 + RECORD_BYTES), 2)
        self.assertEqual(buffer[:5], bytes(5))
        self.assertEqual(buffer[5 : 7 + RECORD_BYTES], b"a" * RECORD_BYTES + b"bc")
        far.shutdown()
        self.assertRaises(CleanEnd, read, near, 0)
        near, far = self.secured()
        self.far.shutdown(socket.SHUT_WR)
        self.assertRaises(SSLError, read, near, 0)
        self.assertEqual(self.calls, 5 if isPublic else 0)

    def test_thePrivateWay(self) -> None:
        """
        It is there, in the version of pyOpenSSL that we test with.
        """
        self.check(recordReader(self.buffer), isPublic=False)

    def test_thePublicWayWhereThereIsNoBinding(self) -> None:
        """
        It may go.
        """
        self.patch(records, "_lib", None)
        self.check(recordReader(self.buffer), isPublic=True)

    def test_thePublicWayWhereTheBindingIsAnother(self) -> None:
        """
        It may become something else.
        """
        self.patch(records, "_lib", object())
        self.check(recordReader(self.buffer), isPublic=True)

    def test_thePublicWayWhereErrorsCannotBeRaised(self) -> None:
        """
        An error that went unnoticed would be worse than a slow read.
        """
        patched = self.patch(SSL, "Connection", object())
        read = recordReader(self.buffer)
        patched.restore()
        self.check(read, isPublic=True)


class RecordWriterTests(WireTests):
    """
    L{recordWriter}, in both ways.
    """

    def check(self, write: Callable[[SSL.Connection, bytes | memoryview], int]) -> None:
        """
        C{write} comes to each outcome.
        """
        near, far = self.secured()
        for data in (b"abc", memoryview(b"abcd")[1:], memoryview(bytearray(b"de"))):
            self.assertEqual(write(near, data), len(data))
        self.assertEqual(far.recv(3) + far.recv(3) + far.recv(2), b"abcbcdde")
        flood = bytes(RECORD_BYTES)
        with self.assertRaises(WantWrite):
            while True:
                self.assertEqual(write(near, flood), RECORD_BYTES)
        near, far = self.secured()
        near.shutdown()
        self.assertRaises(SSLError, write, near, b"x")
        near, far = self.secured()
        self.far.close()
        with self.assertRaises(SSLError):
            for _ in range(3):
                write(near, b"x")

    def test_thePrivateWay(self) -> None:
        """
        It asks for an error only where there is one.
        """
        write = recordWriter()
        self.assertEqual(write.__name__, "direct")
        self.check(write)

    def test_thePublicWayWhereTheBindingIsAnother(self) -> None:
        """
        The outcomes are the same.
        """
        self.patch(records, "_lib", object())
        write = recordWriter()
        self.assertEqual(write.__name__, "send")
        self.check(write)


class HandshakerTests(WireTests):
    """
    L{handshaker}, in both ways.
    """

    def check(self, shake: Callable[[SSL.Connection], bool]) -> None:
        """
        C{shake} comes to each outcome.
        """
        made = creator()
        context = made.context
        near, far = (
            SSL.Connection(context, self.near),
            SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), self.far),
        )
        near.set_app_data(made.session())
        near.set_accept_state()
        far.set_connect_state()
        self.assertFalse(shake(near))
        self.assertFalse(shake(far))
        self.assertFalse(shake(near))
        self.assertTrue(shake(far))
        self.assertTrue(shake(near))
        ours, theirs = self.pair()
        refused = SSL.Connection(context, ours)
        refused.set_accept_state()
        theirs.send(b"GET / HTTP/1.0\r\n\r\n")
        self.assertRaises(SSLError, shake, refused)
        ended = SSL.Connection(context, self.pair()[0])
        ended.set_accept_state()
        ended.sock_shutdown(socket.SHUT_RD)
        self.assertRaises(SSLError, shake, ended)

    def test_thePrivateWay(self) -> None:
        """
        It spares an exception for each flight.
        """
        shake = handshaker()
        self.assertEqual(shake.__name__, "direct")
        self.check(shake)

    def test_thePublicWayWhereTheBindingIsAnother(self) -> None:
        """
        The outcomes are the same.
        """
        self.patch(records, "_lib", object())
        shake = handshaker()
        self.assertEqual(shake.__name__, "public")
        self.check(shake)


class KernelTests(WireTests):
    """
    What Linux tells.
    """

    def test_whatThePeerHasTakenShows(self) -> None:
        """
        Of TCP, and of UNIX sockets, where nothing is on its way.
        """
        near, far = socket.socketpair()
        for sock in (near, far):
            sock.setblocking(False)
            self.addCleanup(sock.close)
        for ours, theirs in ((self.near, self.far), (near, far)):
            self.assertEqual(kernel.unacknowledged(ours), 0)
            seen = {kernel.acknowledged(ours)}
            self.fill(ours)
            self.assertEqual(kernel.unacknowledged(ours) > 0, ours is self.near)
            seen.add(kernel.acknowledged(ours))
            while kernel.unacknowledged(ours):
                self.drain(theirs)
            self.drain(theirs)
            seen.add(kernel.acknowledged(ours))
            self.assertGreaterEqual(len(seen), 2)

    def fill(self, sock: socket.socket) -> None:
        """
        Send as much as the system takes.
        """
        try:
            while True:
                sock.send(bytes(65536))
        except BlockingIOError:
            pass

    def drain(self, sock: socket.socket) -> None:
        """
        Read what there is.
        """
        try:
            while True:
                sock.recv(65536)
        except BlockingIOError:
            pass

    def test_aConnectionThatIsOverDeliversNothing(self) -> None:
        """
        What its peer has not taken it never will.
        """
        self.fill(self.near)
        kernel.resetOnClose(self.far)
        self.far.close()
        self.assertEqual(kernel.unacknowledged(self.near), 0)

    def test_aClosedSocketTellsNothing(self) -> None:
        """
        Nor does it fail.
        """
        self.near.close()
        self.assertEqual(kernel.acknowledged(self.near), 0)
        self.assertEqual(kernel.unacknowledged(self.near), 0)
        kernel.resetOnClose(self.near)
