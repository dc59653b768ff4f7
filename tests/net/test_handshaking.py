"""
Tests for L{tlstunnel.net.handshaking}: handshakes in which the peer says much, on real sockets.
"""

from __future__ import annotations

import contextlib
import socket
from typing import ClassVar

from OpenSSL import SSL

from tests.certificates import Issued, Recipe, alternative, dns, make, root, uri
from tests.legs import SERVER
from tests.net.wires import WireTests
from tlstunnel.errors import Reset, TLSFailed, TunnelError
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.names import Selector
from tlstunnel.identity.trust import Anchors, Trust
from tlstunnel.net import handshaking
from tlstunnel.net.handshaking import LIGHT_BYTES, MOST_OF_CLIENT, MOST_OF_SERVER
from tlstunnel.net.kernel import resetOnClose, unread
from tlstunnel.net.sharedwire import SharedTLS
from tlstunnel.net.tlswire import TLS
from tlstunnel.tls import membio, records
from tlstunnel.tls.binding import CLIENTS
from tlstunnel.tls.context import clientContext, serverContext
from tlstunnel.tls.creators import ClientCreator, Creator
from tlstunnel.tls.failures import OWED
from tlstunnel.tls.verification import Verifier

#: More than a handshake may have.
MUCH = bytes(range(256)) * 800

#: What of a certificate and of a handshake is no name.
REST = 2000


def _shown(size: int, name: str = SERVER.domain) -> Issued:
    """
    A certificate with so many bytes, or some more.
    """
    return make(Recipe(san=alternative(dns(name), uri("x:" + "a" * size))), root())


class HandshakingTests(WireTests):
    """
    We are the server of TLS 1.3, and want a certificate.
    """

    kind: ClassVar[type[TLS]] = TLS
    version = SSL.TLS1_3_VERSION
    isClient = False
    most = MOST_OF_CLIENT

    def open(self, shown: Issued) -> None:
        """
        Meet a peer that shows a certificate.
        """
        self.near, self.far = self.pair()
        # All that the peer has to say fits in.
        self.far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.wire = self.kind(self.near, self.creator())
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_max_proto_version(self.version)
        context.use_certificate(shown.certificate)
        context.use_privatekey(shown.key)
        self.peer = SSL.Connection(context, self.far)
        if self.isClient:
            self.peer.set_accept_state()
        else:
            self.peer.set_connect_state()

    def creator(self) -> Creator:
        """
        What makes our TLS.
        """
        trust = Trust(Anchors((root().certificate,), system=False, source=""))
        if self.isClient:
            return ClientCreator(clientContext(trust), Verifier(SERVER, trust))
        ours = make(Recipe(san=alternative(dns("ours.example"))), root())
        credentials = Credentials(SERVER, (ours.certificate,), ours.key)
        verifier = Verifier(Selector.parse(SERVER.domain), trust, purpose=CLIENTS)
        return Creator(serverContext(credentials, trust), verifier)

    def shakePeer(self) -> bool:
        """
        Let the peer go on.

        @return: whether it has completed its handshake.
        """
        try:
            self.peer.do_handshake()
        except SSL.WantReadError:
            return False
        return True

    def shake(self, behind: bytes = b"") -> None:
        """
        Complete the handshake.

        @param behind: what the peer sends at once when it has completed its own.
        """
        isUp, left = False, behind
        for _ in range(100):
            if self.shakePeer() and left:
                left = left[self.peer.send(left) :]
            isUp = isUp or self.wire.handshake() is None
            if isUp and not left and self.shakePeer():
                return
        self.fail("it goes on and on")

    def refusal(self) -> TunnelError:
        """
        Why the handshake fails.
        """
        error: TunnelError = self.assertRaises(TunnelError, self.shake)
        return error

    def read(self, size: int) -> bytes:
        """
        What comes through TLS.
        """
        heard = b""
        while len(heard) < size:
            data, event = self.wire.read(1 << 20, False)
            self.assertIsNone(event)
            heard += data
        return heard

    def assertTalking(self) -> None:
        """
        Demand that bytes pass either way.
        """
        for _ in range(3):
            self.peer.send(b"there")
            self.assertEqual(self.read(5), b"there")
            self.wire.write(b"back")
            self.assertEqual(self.peer.recv(100), b"back")

    def assertAlerted(self) -> None:
        """
        Demand that the peer has an alert.
        """
        error = self.assertRaises(SSL.Error, self.peer.recv, 1)
        self.assertIn("alert", str(error))

    def test_aPeerMaySayMuch(self) -> None:
        """
        As one with thousands of names does.
        """
        for size in (LIGHT_BYTES - REST, LIGHT_BYTES, self.most - 2 * REST):
            self.open(_shown(size))
            self.shake()
            self.assertEqual(self.wire.session.identity, SERVER)
            self.assertTalking()

    def test_moreThanThatIsRefused(self) -> None:
        """
        Before OpenSSL has parsed it: nobody has looked at a certificate.
        """
        self.patch(Verifier, "verify", lambda verifier, chain: self.fail("it was verified"))
        self.open(_shown(self.most))
        refusal = self.refusal()
        self.assertIsInstance(refusal, TLSFailed)
        self.assertEqual(refusal.cause, "long handshake")
        self.assertIn(str(self.most), str(refusal))
        self.assertAlerted()

    def test_whatComesBehindTheHandshakeIsNoneOfIt(self) -> None:
        """
        However much it is, and whether the handshake itself was long.
        """
        for size in (0, self.most - 2 * REST):
            self.open(_shown(size))
            self.shake(behind=MUCH)
            self.assertEqual(self.read(len(MUCH)), MUCH)
            self.assertTalking()

    def test_oneStepHearsAPiece(self) -> None:
        """
        Others have their turn before the next.
        """
        self.open(_shown(self.most - 2 * REST))
        pieces = []
        isUp = False
        while not isUp:
            self.shakePeer()
            before = unread(self.near)
            isUp = self.wire.handshake() is None
            pieces.append(before - unread(self.near))
        self.assertLessEqual(max(pieces), LIGHT_BYTES)

    def test_aRefusedPeerIsTold(self) -> None:
        """
        As it is where OpenSSL has the socket.
        """
        self.open(_shown(LIGHT_BYTES, "other.example"))
        self.assertIn("other.example", str(self.refusal()))
        self.assertAlerted()

    def test_anEndInTheMiddleIsSeen(self) -> None:
        """
        It is no handshake that waits for more.
        """
        self.open(_shown(LIGHT_BYTES + REST))
        peer = SSL.Connection(self.peer.get_context(), None)
        if self.isClient:
            peer.set_accept_state()
        else:
            peer.set_connect_state()
        said = b""
        while len(said) < LIGHT_BYTES:
            self.far.sendall(said)
            self.wire.handshake()
            with contextlib.suppress(BlockingIOError):
                peer.bio_write(self.far.recv(1 << 16))
            with contextlib.suppress(SSL.WantReadError):
                peer.do_handshake()
            said = peer.bio_read(1 << 20)
        self.far.sendall(said[: LIGHT_BYTES + REST // 2])
        self.far.shutdown(socket.SHUT_WR)
        self.assertIn("closed the connection", str(self.assertRaises(TLSFailed, self.goOn)))

    def test_nothingIsLeftToBeReadOnceItHasFailed(self) -> None:
        """
        What was given to OpenSSL lies where others have their turn.
        """
        self.open(_shown(0))
        self.shakePeer()
        self.wire.handshake()
        self.far.sendall(MUCH[:LIGHT_BYTES])
        self.assertRaises(TunnelError, self.goOn)
        if self.wire._isDetoured:
            # Else OpenSSL has the socket, or a copy.
            self.assertEqual(handshaking._left(self.wire._connection), 0)

    def goOn(self) -> None:
        """
        Take all steps that can be taken; the peer does nothing more.
        """
        for _ in range(100):
            self.wire.handshake()


class ClientTests(HandshakingTests):
    """
    We are the client.
    """

    isClient = True
    most = MOST_OF_SERVER


class OldHandshakingTests(HandshakingTests):
    """
    With TLS 1.2.
    """

    version = SSL.TLS1_2_VERSION


class OldClientTests(ClientTests):
    """
    The same of a client.
    """

    version = SSL.TLS1_2_VERSION

    def test_aResetInsteadOfAnAlertIsTakenForARefusalToo(self) -> None:
        """
        Where the server had asked for a certificate, and we have none.
        """
        self.open(_shown(0))
        self.peer.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        self.wire.handshake()
        self.assertFalse(self.shakePeer())
        self.wire.handshake()
        self.assertOwed()

    def test_soIsOneBeforeWeHaveAnswered(self) -> None:
        """
        It shows when we do.
        """
        self.open(_shown(0))
        self.peer.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        self.wire.handshake()
        self.assertFalse(self.shakePeer())
        self.assertOwed()

    def assertOwed(self) -> None:
        """
        Demand that a reset of the server is said to come where it had wanted a certificate.
        """
        resetOnClose(self.far)
        self.far.close()
        failure = self.assertRaises(TunnelError, self.goOn)
        self.assertIsInstance(failure, Reset)
        self.assertEqual(failure.cause, OWED)


class SharedHandshakingTests(HandshakingTests):
    """
    On a socket that another program has, too.
    """

    kind = SharedTLS


class SharedClientTests(ClientTests):
    """
    The same of a client.
    """

    kind = SharedTLS


class SharedOldClientTests(OldClientTests):
    """
    The same with TLS 1.2.
    """

    kind = SharedTLS


class UnaskedTests(WireTests):
    """
    Of the client no certificate is asked, and what it says is long nevertheless.
    """

    kind: ClassVar[type[TLS]] = TLS

    def open(self, size: int) -> None:
        """
        Meet a client whose hello has so many bytes, and some more.
        """
        self.near, self.far = self.pair()
        ours = make(Recipe(san=alternative(dns(SERVER.domain))), root())
        credentials = Credentials(SERVER, (ours.certificate,), ours.key)
        self.wire = self.kind(self.near, Creator(serverContext(credentials)))
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_alpn_protos([b"x" * 255] * (size // 256))
        self.peer = SSL.Connection(context, None)
        self.peer.set_connect_state()
        self.assertRaises(SSL.WantReadError, self.peer.do_handshake)
        self.hello = self.peer.bio_read(1 << 20)

    def say(self, size: int) -> None:
        """
        Send its hello, so many bytes at a time, each of which is heard before the next.
        """
        for at in range(0, len(self.hello), size):
            self.far.sendall(self.hello[at : at + size])
            while unread(self.near):
                before = unread(self.near)
                self.wire.handshake()
                self.assertLessEqual(before - unread(self.near), LIGHT_BYTES)

    def test_aClientMaySayMuch(self) -> None:
        """
        However it comes, a step hears no more than a piece of it.
        """
        for size in (1 << 20, LIGHT_BYTES - 1000, 1000):
            self.open(MOST_OF_CLIENT - REST)
            self.say(size)
            self.peer.bio_write(self.far.recv(1 << 20))
            self.peer.do_handshake()
            self.far.sendall(self.peer.bio_read(1 << 20))
            self.assertIsNone(self.wire.handshake())

    def test_moreThanThatIsRefused(self) -> None:
        """
        However it comes.
        """
        for size in (1 << 20, LIGHT_BYTES - 1000, 1000):
            self.open(MOST_OF_CLIENT + REST)
            refusal: TunnelError = self.assertRaises(TLSFailed, self.say, size)
            self.assertEqual(refusal.cause, "long handshake")


class SharedUnaskedTests(UnaskedTests):
    """
    On a socket that another program has, too.
    """

    kind = SharedTLS


class UnknownBindingTests(HandshakingTests):
    """
    Where pyOpenSSL's binding is not what we know, OpenSSL cannot be given memory, and reads all
    that there is.
    """

    def setUp(self) -> None:
        """
        Nobody knows how.
        """
        super().setUp()
        for module in membio, records:
            self.patch(module, "_isKnown", lambda: False)
        self.patch(handshaking, "_detour", membio.detour())
        self.patch(handshaking, "shakeHands", records.handshaker())

    def test_moreThanThatIsRefused(self) -> None:
        """
        It is not.
        """
        self.open(_shown(self.most))
        self.shake()
        self.assertTalking()

    def test_oneStepHearsAPiece(self) -> None:
        """
        It hears all that there is.
        """
        self.open(_shown(self.most - 2 * REST))
        isUp, most = False, 0
        while not isUp:
            self.shakePeer()
            most = max(most, unread(self.near))
            isUp = self.wire.handshake() is None
            self.assertEqual(unread(self.near), 0)
        self.assertGreater(most, LIGHT_BYTES)


class UnknownBindingClientTests(UnknownBindingTests):
    """
    The same of a client.
    """

    isClient = True
    most = MOST_OF_SERVER
