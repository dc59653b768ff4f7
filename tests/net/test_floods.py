"""
Floods of TLS records without data, on real sockets: what one turn of the reactor does about them,
and when it is enough.
"""

from __future__ import annotations

import hmac
import socket

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from OpenSSL import SSL

from tests.legs import creator
from tests.net.wires import WireTests
from tlstunnel.errors import TLSFailed
from tlstunnel.net.sharedwire import SharedTLS
from tlstunnel.net.tlswire import MOST_EMPTY, MOST_EMPTY_PER_READ, TLS
from tlstunnel.tls.records import RECORD_BYTES

#: A KeyUpdate that asks for none in turn (RFC 8446, section 4.6.3).
KEY_UPDATE = bytes.fromhex("1800000100")
HANDSHAKE, APPLICATION_DATA = b"\x16", b"\x17"


class Sender:
    """
    Protects records with the keys of a client of TLS 1.3 (RFC 8446, sections 5.2, 5.3 and 7).
    """

    def __init__(self, secret: bytes) -> None:
        """
        @param secret: its first application traffic secret.
        """
        self.renew(secret)

    def renew(self, secret: bytes) -> None:
        """
        Use other keys.
        """
        self.secret = secret
        self.key = AESGCM(self.expand("key", 16))
        self.iv = self.expand("iv", 12)
        self.number = 0

    def expand(self, label: str, length: int) -> bytes:
        """
        HKDF-Expand-Label, without a context.
        """
        name = f"tls13 {label}".encode()
        info = length.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0"
        return HKDFExpand(SHA256(), length, info).derive(self.secret)

    def record(self, content: bytes, kind: bytes) -> bytes:
        """
        One record.
        """
        inner = content + kind
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        number = int.from_bytes(self.iv, "big") ^ self.number
        self.number += 1
        return header + self.key.encrypt(number.to_bytes(12, "big"), inner, header)

    def keyUpdate(self) -> bytes:
        """
        A record that announces new keys, which are used from then on.
        """
        record = self.record(KEY_UPDATE, HANDSHAKE)
        self.renew(self.expand("traffic upd", 32))
        return record


class EmptyRecordTests(WireTests):
    """
    KeyUpdates, of which a peer may send as many as it likes, as far as TLS is concerned.
    """

    kind: type[TLS] = TLS

    def setUp(self) -> None:
        """
        Complete a handshake.
        """
        super().setUp()
        self.wire = self.kind(self.near, creator())
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256")
        secrets: dict[bytes, bytes] = {}

        def keep(_: SSL.Connection, line: bytes) -> None:
            name, _random, secret = line.split()
            secrets[name] = bytes.fromhex(secret.decode())

        context.set_keylog_callback(keep)
        peer = SSL.Connection(context, self.far)
        peer.set_connect_state()
        for _ in range(2):
            try:
                peer.do_handshake()
            except SSL.WantReadError:
                pass
            self.wire.handshake()
        self.sender = Sender(secrets[b"CLIENT_TRAFFIC_SECRET_0"])

    def read(self) -> bytes:
        """
        What one turn of the reactor reads.
        """
        data, event = self.wire.read(1 << 20, False)
        self.assertIsNone(event)
        return bytes(data)

    def unread(self) -> int:
        """
        How much lies in the socket.
        """
        try:
            return len(self.near.recv(1 << 20, socket.MSG_PEEK))
        except BlockingIOError:
            return 0

    def test_oneTurnReadsFewOfThem(self) -> None:
        """
        The others wait for the next, and so do all other connections but once.
        """
        records = [self.sender.keyUpdate() for _ in range(20)]
        self.far.sendall(b"".join(records))
        left = 20
        while self.unread():
            before = self.unread()
            self.assertEqual(self.read(), b"")
            read = (before - self.unread()) // len(records[0])
            self.assertLessEqual(read, MOST_EMPTY_PER_READ + 1)
            left -= read
        self.assertEqual(left, 0)

    def test_someAreWelcome(self) -> None:
        """
        Data behind them arrives, and they may begin anew behind it.
        """
        for _ in range(3):
            self.far.sendall(b"".join(self.sender.keyUpdate() for _ in range(MOST_EMPTY - 1)))
            self.far.sendall(self.sender.record(b"data", APPLICATION_DATA))
            heard = b""
            while not heard:
                heard = self.read()
            self.assertEqual(heard, b"data")

    def test_aFloodEndsTheConnection(self) -> None:
        """
        Whoever sends nothing else is told off by name, soon.
        """
        self.far.sendall(b"".join(self.sender.keyUpdate() for _ in range(2 * MOST_EMPTY)))
        for turn in range(MOST_EMPTY):
            data, event = self.wire.read(1 << 20, False)
            self.assertEqual(bytes(data), b"")
            if event is not None:
                self.assertIsInstance(event, TLSFailed)
                self.assertIn("records without data", str(event))
                self.assertLess(turn, MOST_EMPTY)
                return
        self.fail("it went on")

    def test_aRecordMayComeByteByByte(self) -> None:
        """
        The largest there is, whose parts are no records.
        """
        content = bytes(RECORD_BYTES)
        record = self.sender.record(content, APPLICATION_DATA)
        heard = b""
        for at in range(len(record)):
            self.far.send(record[at : at + 1])
            heard += self.read()
        self.assertEqual(heard, content)


class SharedEmptyRecordTests(EmptyRecordTests):
    """
    The same where another program has the socket, too.
    """

    kind = SharedTLS

    def test_oneTurnReadsFewOfThem(self) -> None:
        """
        All that it takes from the socket at once, which are not so many that it goes on.
        """
        self.far.sendall(b"".join(self.sender.keyUpdate() for _ in range(MOST_EMPTY)))
        self.assertEqual(self.read(), b"")
        self.assertEqual(self.unread(), 0)


class OldSender:
    """
    Protects records with the keys of a client of TLS 1.2 (RFC 5246, sections 5 and 6.3; RFC 5288).
    """

    def __init__(self, peer: SSL.Connection) -> None:
        """
        @param peer: has completed a handshake with AES-128-GCM and SHA-256.
        """
        seed = b"key expansion" + (peer.server_random() or b"") + (peer.client_random() or b"")
        secret = peer.master_key()
        assert secret is not None
        keys, last = b"", seed
        for _ in range(2):
            last = self.hash(secret, last)
            keys += self.hash(secret, last + seed)
        self.key, self.salt = AESGCM(keys[:16]), keys[32:36]
        # Its Finished was the first.
        self.number = 1

    def hash(self, secret: bytes, data: bytes) -> bytes:
        """
        HMAC with SHA-256.
        """
        return hmac.digest(secret, data, "sha256")

    def record(self, content: bytes, kind: bytes) -> bytes:
        """
        One record.
        """
        number = self.number.to_bytes(8, "big")
        self.number += 1
        header = kind + b"\x03\x03"
        about = number + header + len(content).to_bytes(2, "big")
        protected = number + self.key.encrypt(self.salt + number, content, about)
        return header + len(protected).to_bytes(2, "big") + protected


class RenegotiationTests(WireTests):
    """
    Requests of TLS 1.2 to shake hands again, which are refused.
    """

    def test_manyOfThemEndTheConnection(self) -> None:
        """
        Though each is answered, no turn answers many.
        """
        self.wire = TLS(self.near, creator())
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.set_cipher_list(b"ECDHE-ECDSA-AES128-GCM-SHA256")
        peer = SSL.Connection(context, self.far)
        peer.set_connect_state()
        hello = b""
        for _ in range(3):
            try:
                peer.do_handshake()
            except SSL.WantReadError:
                hello = hello or self.near.recv(65536, socket.MSG_PEEK)[5:]
            self.wire.handshake()
        sender = OldSender(peer)
        requests = [sender.record(hello, HANDSHAKE) for _ in range(2 * MOST_EMPTY)]
        self.far.sendall(b"".join(requests))
        for _ in range(MOST_EMPTY):
            before = len(self.near.recv(1 << 20, socket.MSG_PEEK))
            data, event = self.wire.read(1 << 20, False)
            self.assertEqual(bytes(data), b"")
            if event is not None:
                self.assertIsInstance(event, TLSFailed)
                return
            read = (before - len(self.near.recv(1 << 20, socket.MSG_PEEK))) // len(requests[0])
            self.assertLessEqual(read, MOST_EMPTY_PER_READ + 1)
        self.fail("it went on")
