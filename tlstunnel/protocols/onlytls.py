"""
That TLS begins, and nothing else, where it is for others to speak.
"""

from __future__ import annotations

from tlstunnel.errors import ForeignProtocol, PlaintextAfterStartTLS
from tlstunnel.net.deadlines import Deadline
from tlstunnel.protocols.filters import Filter
from tlstunnel.tls.records import RECORD_BYTES

#: The messages that a handshake begins with on either side (RFC 8446, section 4).
CLIENT_HELLO, SERVER_HELLO = 1, 2

# The types of records that may come first (RFC 8446, section 5.1).
_ALERT, _HANDSHAKE = 21, 22

# A record's type, its version and its length, and the first byte in it.
_HEAD_BYTES = 6


class OnlyTLS(Filter):
    """
    Lets pass what begins with the first record of a handshake, or with an alert.
    """

    def __init__(self, hello: int, due: Deadline | None = None) -> None:
        """
        @param hello: the message that the handshake begins with on this side.
        @param due: when it has to have begun.
        """
        super().__init__()
        self._hello = hello
        self._due = due

    def feed(self, data: bytes) -> bytes:
        """
        Look at the head of the first record.
        """
        if self.done:
            return data
        self._kept += data
        start = bytes(self._kept[:_HEAD_BYTES])
        if not self._mayBegin(start):
            raise self._refusal(bytes(self._kept))
        if len(start) < _HEAD_BYTES:
            return b""
        self.done = True
        if self._due is not None:
            self._due.cancel()
        return self.flush()

    def flush(self) -> bytes:
        """
        The end: the start of a head is nothing.
        """
        return super().flush() if self.done else b""

    def _mayBegin(self, start: bytes) -> bool:
        kind = start[0]
        if kind not in (_ALERT, _HANDSHAKE) or start[1:2] not in (b"", b"\x03"):
            return False
        if len(start) < _HEAD_BYTES:
            return True
        size = int.from_bytes(start[3:5])
        if kind == _ALERT:
            return size == 2
        return 0 < size <= RECORD_BYTES and start[5] == self._hello

    def _refusal(self, said: bytes) -> ForeignProtocol | PlaintextAfterStartTLS:
        if self._hello == SERVER_HELLO:
            return PlaintextAfterStartTLS("the server does not go on with TLS", said)
        return ForeignProtocol("the client does not go on with TLS", said)
