"""
Messages between two processes of ours, with descriptors that go along.

A message is an object of JSON, behind its length, on a UNIX socket of streams.  This module knows
sockets and the reactor, and nothing of what is said.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from tlstunnel.net.descriptor import Descriptor

#: The longest message, in bytes: the tunnels of one process are far from it.
MAX_MESSAGE = 16 * 1024 * 1024

#: Bytes that may wait for a process that does not read: it has been stopped, or is broken.
MAX_WAITING = 2 * MAX_MESSAGE

#: Descriptors that go along with one piece; Linux takes 253 (C{SCM_MAX_FD}).
DESCRIPTORS_PER_PIECE = 200

#: The most bytes of one piece.
PIECE_BYTES = 65536

#: What the object says of the descriptors that come with it.
COUNT = "descriptors"

_LENGTH = struct.Struct("!I")
_ROOM = socket.CMSG_SPACE(256 * array("i").itemsize)


class Broken(Exception):
    """
    What came is no message.
    """


class Messages(Descriptor):
    """
    One end.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        sock: socket.socket,
        received: Callable[[dict[str, Any], list[int] | None], None],
        ended: Callable[[], None],
    ) -> None:
        """
        @param sock: ours from now on.
        @param received: called with each message and the descriptors that came with it; these are
            C{None} where we had no room for all of them.
        @param ended: called once when there will be no more.
        """
        super().__init__(reactor, sock)
        sock.setblocking(False)
        self._received = received
        self._ended = ended
        self._came = bytearray()
        self._descriptors: list[int] = []
        self._isShort = False
        self._leaving: deque[tuple[memoryview, list[socket.socket]]] = deque()
        self._waiting = 0
        self.isClosed = False

    # Sending

    def send(self, message: Mapping[str, Any], sockets: Sequence[socket.socket] = ()) -> None:
        """
        Send C{message}; C{sockets} may be closed after that.

        @raise OSError: there are no descriptors left, or the other end does not read.
        """
        said = json.dumps({**message, COUNT: len(sockets)}).encode()
        if self._waiting + len(said) > MAX_WAITING or len(said) > MAX_MESSAGE:
            raise OSError("the other end does not read what it is told")
        copies: list[socket.socket] = []
        try:
            for each in sockets:
                copies.append(each.dup())
        except OSError:
            _closeAll(copies)
            raise
        if self.isClosed:
            _closeAll(copies)
            return
        whole = memoryview(_LENGTH.pack(len(said)) + said)
        self._waiting += len(whole)
        # There are more bytes than pieces: a count alone is longer than that.
        for at in range(0, len(copies), DESCRIPTORS_PER_PIECE):
            self._leaving.append((whole[:1], copies[at : at + DESCRIPTORS_PER_PIECE]))
            whole = whole[1:]
        self._leaving.append((whole, []))
        self.startWriting()

    def doWrite(self) -> None:
        """
        There is room for a piece.
        """
        data, sockets = self._leaving[0]
        along = []
        if sockets:
            numbers = array("i", [each.fileno() for each in sockets])
            along = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)]
        try:
            sent = self.sock.sendmsg([data[:PIECE_BYTES]], along)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        _closeAll(sockets)
        self._waiting -= sent
        if sent < len(data):
            self._leaving[0] = data[sent:], []
            return
        self._leaving.popleft()
        if not self._leaving:
            self.stopWriting()

    # Receiving

    def doRead(self) -> None:
        """
        Something came, or will not come any more.
        """
        try:
            data, along, flags, _ = self.sock.recvmsg(PIECE_BYTES, _ROOM)
        except BlockingIOError:
            return
        except OSError:
            data, along, flags = b"", [], 0
        for level, kind, numbers in along:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                got = array("i")
                got.frombytes(numbers[: len(numbers) - len(numbers) % got.itemsize])
                for each in got:
                    os.set_inheritable(each, False)
                self._descriptors += got
        # Only one of the messages on the way has descriptors.
        self._isShort = self._isShort or bool(flags & socket.MSG_CTRUNC)
        if not data:
            self.close()
            return
        self._came += data
        try:
            while not self.isClosed and self._take():
                pass
        except Broken as error:
            self._log.error("no message came from another process of ours: {error}", error=error)
            self.close()

    def _take(self) -> bool:
        """
        Pass the next message on.

        @return: whether there was one.
        """
        came = self._came
        if len(came) < _LENGTH.size:
            return False
        (length,) = _LENGTH.unpack_from(came)
        if length > MAX_MESSAGE:
            raise Broken(f"{length} bytes are too many")
        end = _LENGTH.size + length
        if len(came) < end:
            return False
        try:
            message = json.loads(bytes(came[_LENGTH.size : end]))
        except ValueError as error:
            raise Broken(str(error)) from None
        del came[:end]
        count = message.pop(COUNT, None) if isinstance(message, dict) else None
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise Broken("it is no object with a count of descriptors")
        descriptors: list[int] | None = self._descriptors[:count]
        if count and (self._isShort or len(self._descriptors) < count):
            self._drop()
            self._isShort = False
            descriptors = None
        else:
            del self._descriptors[:count]
        self._received(message, descriptors)
        return True

    def _drop(self) -> None:
        for each in self._descriptors:
            os.close(each)
        self._descriptors = []

    # The end

    def close(self) -> None:
        """
        Neither send nor receive any more, and say so.
        """
        if self.isClosed:
            return
        self.isClosed = True
        self.stopReading()
        self.stopWriting()
        self.sock.close()
        for _, sockets in self._leaving:
            _closeAll(sockets)
        self._leaving.clear()
        self._drop()
        self._ended()

    def connectionLost(self, reason: Failure) -> None:
        """
        The other end is gone, or the reactor is stopping; it has forgotten us already.
        """
        super().connectionLost(reason)
        if reason.check(ConnectionDone):
            self.close()


def _closeAll(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()
