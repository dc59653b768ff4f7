"""
A client for protocols of lines, for which Python has none.
"""

from __future__ import annotations

import socket
import ssl
from types import TracebackType


class Dialogue:
    """
    One connection; every wait is bounded.

    @cvar lineEnd: what ends a line, each way.
    @ivar port: our own.
    @ivar said: all lines that the server sent, without their ends.
    """

    lineEnd = b"\r\n"

    def __init__(self, host: str, port: int, seconds: float = 20.0, source: str = "") -> None:
        """
        @param source: the address to come from; the system chooses, if empty.
        """
        whence = (source, 0) if source else None
        self._socket = socket.create_connection((host, port), seconds, whence)
        self.port = self._socket.getsockname()[1]
        self._buffer = b""
        self.said: list[str] = []

    def __enter__(self) -> Dialogue:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def send(self, line: str) -> None:
        """
        Send a line, whose end is added.
        """
        self._socket.sendall(line.encode() + self.lineEnd)

    def line(self) -> str:
        """
        The next line.

        @raise EOFError: the server closed.
        """
        while self.lineEnd not in self._buffer:
            received = self._socket.recv(65536)
            if not received:
                raise EOFError(f"closed after {self.said[-3:]}")
            self._buffer += received
        line, _, self._buffer = self._buffer.partition(self.lineEnd)
        self.said.append(line.decode(errors="backslashreplace"))
        return self.said[-1]

    def expect(self, start: str) -> list[str]:
        """
        Read lines until one that starts so.

        @return: all of them.
        @raise EOFError: the server closed before.
        """
        lines = [self.line()]
        while not lines[-1].startswith(start):
            lines.append(self.line())
        return lines

    def ask(self, line: str, start: str) -> list[str]:
        """
        L{send}, then L{expect}.
        """
        self.send(line)
        return self.expect(start)

    def startTLS(self, context: ssl.SSLContext, name: str) -> None:
        """
        Go on inside TLS.

        @raise AssertionError: the server said more than it may before that.
        """
        if self._buffer:
            raise AssertionError(f"before the switch: {self._buffer!r}")
        self._socket = context.wrap_socket(self._socket, server_hostname=name)


class LFDialogue(Dialogue):
    """
    One of lines that end in LF alone.
    """

    lineEnd = b"\n"
