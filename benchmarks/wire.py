"""
The words the load and the backend exchange through a tunnel, and how bulk is moved cheaply.

A request and an answer are one message of 64 bytes.  Bulk under TLS is encrypted before it is
sent and never decrypted on arrival: the records' headers are enough to count its bytes.  So the
load costs little more than TCP and the tunnel is what there is to wait for.
"""

from __future__ import annotations

import socket
import ssl
import struct

MESSAGE = struct.Struct("!4sQ52x")

#: Answered by a message.
PING = b"ping"
#: Answered by as many bytes of bulk.
SEND = b"send"
#: Answered by a message; then as many bytes of bulk come and are answered by a message.
SINK = b"sink"

_BLOCK = bytes(range(256)) * 4096
_RECORD_HEADER = 5
#: A TLS 1.3 record of application data: content type and AEAD tag besides the plaintext.
_RECORD_EXTRA = 17


def message(word: bytes, size: int = 0) -> bytes:
    """@return: the message C{word}, about C{size} bytes of bulk."""
    return MESSAGE.pack(word, size)


def encrypted(session: ssl.SSLObject, outgoing: ssl.MemoryBIO, size: int) -> list[bytes]:
    """@return: C{size} bytes of bulk as finished records."""
    pieces = []
    for start in range(0, size, len(_BLOCK)):
        session.write(_BLOCK[: size - start])
        pieces.append(outgoing.read())
    return pieces


def plain(size: int) -> list[memoryview]:
    """@return: C{size} bytes of bulk as they are."""
    whole, rest = divmod(size, len(_BLOCK))
    pieces = [memoryview(_BLOCK)] * whole
    if rest:
        pieces.append(memoryview(_BLOCK)[:rest])
    return pieces


def receivePlain(connection: socket.socket, size: int) -> None:
    """
    Read and drop C{size} bytes.

    @raise EOFError: the connection ended before.
    """
    buffer = bytearray(1 << 20)
    while size > 0:
        received = connection.recv_into(buffer, min(len(buffer), size))
        if not received:
            raise EOFError("bulk ended early")
        size -= received


def receiveRecords(connection: socket.socket, size: int) -> None:
    """
    Read and drop records until they amount to C{size} bytes of plaintext.

    @raise EOFError: the connection ended before.
    """
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    kept = 0
    skip = 0
    while size > 0 or skip > 0:
        received = connection.recv_into(view[kept:])
        if not received:
            raise EOFError("bulk ended early")
        end = kept + received
        position = skip
        while position + _RECORD_HEADER <= end:
            length = int.from_bytes(view[position + 3 : position + 5], "big")
            size -= length - _RECORD_EXTRA
            position += _RECORD_HEADER + length
        # A header cut in two stays; of a record cut in two only the rest to skip is remembered.
        kept = max(end - position, 0)
        view[:kept] = view[position : position + kept]
        skip = max(position - end, 0)
