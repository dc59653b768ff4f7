"""
The system's log, and that its daemon, should it stand still, holds up nobody.

The C library, and with it C{twistd --syslog}, waits until the daemon has room for a message.  This
module knows the daemon's socket, and how an event is written to it (RFC 3164).
"""

from __future__ import annotations

import os
import socket
import syslog

from twisted.logger import LogEvent, LogLevel

from tlstunnel.program.log import levelOf, textOf

#: Where the daemon listens: on Linux and BSD, and on macOS.
PATHS = ("/dev/log", "/var/run/syslog")

#: The most bytes of one message; the rest is cut.
MAX_MESSAGE_BYTES = 8192

_SEVERITIES = {
    LogLevel.debug: syslog.LOG_DEBUG,
    LogLevel.info: syslog.LOG_INFO,
    LogLevel.warn: syslog.LOG_WARNING,
    LogLevel.error: syslog.LOG_ERR,
    LogLevel.critical: syslog.LOG_CRIT,
}


def syslogLines(event: LogEvent, tag: str) -> str:
    """
    A message for each line of what an event says.

    @param tag: says who we are, before our process id.
    """
    severity = _SEVERITIES[levelOf(event)]
    head = f"<{syslog.LOG_USER | severity}>{tag}[{os.getpid()}]: "
    return "\n".join(head + line for line in textOf(event).splitlines())


class SyslogOutput:
    """
    Sends messages, and drops those for which the daemon has no room.
    """

    def __init__(self, path: str) -> None:
        """
        @raise OSError: nobody listens at C{path}.
        """
        self._path = path
        self._sock = self._connect()

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.connect(self._path)
        except OSError:
            sock.close()
            raise
        return sock

    def write(self, lines: str) -> bool:
        """
        Send each of C{lines} as one message, if that can be done at once.

        @return: whether all were sent.
        """
        return all(
            self._send(line.encode("utf-8", "backslashreplace")[:MAX_MESSAGE_BYTES])
            for line in lines.splitlines()
        )

    def _send(self, message: bytes) -> bool:
        try:
            self._sock.send(message)
        except BlockingIOError:
            return False
        except OSError:
            return self._sendAgain(message)
        return True

    def _sendAgain(self, message: bytes) -> bool:
        """
        The daemon may be another one by now, which has taken its place.
        """
        try:
            sock = self._connect()
            self._sock.close()
            self._sock = sock
            sock.send(message)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """
        Send no more.
        """
        self._sock.close()
