"""
Records of TLS 1.3 that no library writes: what a peer may send, but no sensible one does.

A connection of the C{ssl} module does the handshake and goes on to read; from then on its other
direction is written here, with the secret that it has put into a file (C{keylog_filename}).
The suite is TLS_AES_128_GCM_SHA256.
"""

from __future__ import annotations

import hmac
import ssl
import struct
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_HANDSHAKE = 22
_APPLICATION = 23
_TAG_BYTES = 16

#: KeyUpdate with the request for one in return (RFC 8446, 4.6.3).
_KEY_UPDATE = bytes.fromhex("1800000101")


def expand(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label of an empty context, of at most one block (RFC 8446, 7.1)."""
    label = b"tls13 " + label
    info = struct.pack("!HB", length, len(label)) + label + b"\0\1"
    return hmac.digest(secret, info, "sha256")[:length]


def writtenSecret(log: Path, isServer: bool) -> bytes:
    """
    @param log: where the C{ssl} module has put the secrets of connections.
    @return: that of what the last one writes.
    """
    label = f"{'SERVER' if isServer else 'CLIENT'}_TRAFFIC_SECRET_0"
    lines = [line.split() for line in log.read_text().splitlines()]
    return bytes.fromhex([words[2] for words in lines if words and words[0] == label][-1])


class Writer:
    """
    One direction of a connection, of which nothing has been written since the handshake.

    @param secret: its application traffic secret.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._begin()

    def _begin(self) -> None:
        self._cipher = AESGCM(expand(self._secret, b"key", 16))
        self._vector = int.from_bytes(expand(self._secret, b"iv", 12), "big")
        self._number = 0

    def _record(self, kind: int, content: bytes) -> bytes:
        head = struct.pack("!BHH", _APPLICATION, 0x0303, len(content) + 1 + _TAG_BYTES)
        nonce = (self._vector ^ self._number).to_bytes(12, "big")
        self._number += 1
        return head + self._cipher.encrypt(nonce, content + bytes((kind,)), head)

    def data(self, content: bytes) -> bytes:
        """@return: one record of application data."""
        return self._record(_APPLICATION, content)

    def keyUpdate(self) -> bytes:
        """@return: one record, after which there are new keys."""
        record = self._record(_HANDSHAKE, _KEY_UPDATE)
        self._secret = expand(self._secret, b"traffic upd", 32)
        self._begin()
        return record


def logging(context: ssl.SSLContext, log: Path) -> ssl.SSLContext:
    """@return: C{context}, whose connections put their secrets into the file C{log}."""
    context.keylog_filename = str(log)
    return context
