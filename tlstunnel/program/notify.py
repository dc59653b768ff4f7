"""
The socket at which a service manager, such as systemd, wants to hear how we are (sd_notify(3)).

A message is one datagram of lines C{NAME=VALUE}.  Whoever does not take it never holds us up: it is
sent again later, and what is wrong with the socket is said once.  This module knows what messages
look like, and nothing of when they are due.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

#: Messages kept while the service manager has no room for them; the oldest are dropped.
KEPT_MESSAGES = 32

#: Seconds until a message is sent again.
RETRY_SECONDS = 0.25

#: The longest value, in characters: a status is for a line on a screen.
MAX_VALUE = 500

#: Connects to the socket of that name, as L{connect} does.
Connect = Callable[[str], socket.socket]


def connect(address: str) -> socket.socket:
    """
    Connect to the socket that C{NOTIFY_SOCKET} names.

    @raise ValueError: that names none; the message is for the user.
    @raise OSError: it cannot be connected to.
    """
    if not address.startswith(("/", "@")) or len(address) < 2:
        raise ValueError(
            f"NOTIFY_SOCKET {address[:200]!r} is neither an absolute path nor @ with a name"
        )
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        # Now, as later we may be somebody else, with another root directory.
        sock.connect("\0" + address[1:] if address[0] == "@" else address)
    except OSError:
        sock.close()
        raise
    return sock


class NotifySocket:
    """
    Sends messages, in order.
    """

    _log = Logger()

    def __init__(self, reactor: Any, sock: socket.socket) -> None:
        """
        @param reactor: calls us later, where there is no room.
        @param sock: connected and non-blocking.
        """
        self._reactor = reactor
        self._sock = sock
        self._waiting: deque[bytes] = deque(maxlen=KEPT_MESSAGES)
        self._isRetrying = False
        self._hasFailed = False

    @property
    def isBehind(self) -> bool:
        """
        Whether messages wait.
        """
        return bool(self._waiting)

    def tell(self, **values: object) -> None:
        """
        Send a message, in which each name has its value.
        """
        lines = (f"{name}={_inLine(str(value))}\n" for name, value in values.items())
        self._waiting.append("".join(lines).encode("utf-8", "replace"))
        if not self._isRetrying:
            self._flush()

    def _flush(self) -> None:
        self._isRetrying = False
        while self._waiting:
            try:
                self._sock.send(self._waiting[0])
            except BlockingIOError:
                self._isRetrying = True
                self._reactor.callLater(RETRY_SECONDS, self._flush)
                return
            except OSError as error:
                self._fail(error)
            else:
                self._hasFailed = False
            self._waiting.popleft()

    def _fail(self, error: OSError) -> None:
        if self._hasFailed:
            return
        self._hasFailed = True
        self._log.warn(
            "{notice}",
            event="notice",
            notice=f"the service manager cannot be told how we are: {error.strerror or error}",
        )


def _inLine(value: str) -> str:
    """
    C{value} in one line that is not too long.
    """
    line = " ".join(value.split())
    return line if len(line) <= MAX_VALUE else line[: MAX_VALUE - 3] + "..."
