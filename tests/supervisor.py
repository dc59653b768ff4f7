"""
A stand-in for a service manager: the socket at which it is told how a program is, and sockets that
it hands down.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

#: Seconds after which whoever waits for a message gives up.
WAIT_SECONDS = 30

# What systemd does between fork and exec: the sockets become descriptors 3, 4 and so on of the
# process that is named.  They are given as numbers that are higher than those.
_HAND_DOWN = """
import os, sys
numbers = [int(number) for number in sys.argv[1].split(",") if number]
for target, number in enumerate(numbers, 3):
    os.dup2(number, target)
for name in ("LISTEN_PID", "WATCHDOG_PID"):
    os.environ[name] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class Supervisor:
    """
    Hears what a program says of itself.

    @ivar path: what C{NOTIFY_SOCKET} has to be.
    @ivar messages: what has been said, each with the time at which it came.
    """

    def __init__(self, isAbstract: bool = False) -> None:
        # Paths of sockets are short.
        self._directory = tempfile.mkdtemp(prefix="tlstunnel-")
        # As systemd's, for whoever may be told of it.
        Path(self._directory).chmod(0o755)
        name = f"{self._directory}/notify"
        self.path = f"@{name}" if isAbstract else name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{name}" if isAbstract else name)
        if not isAbstract:
            Path(name).chmod(0o777)
        self.messages: list[tuple[float, dict[str, str]]] = []
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while data := self._socket.recv(65536):
            message = dict(line.split("=", 1) for line in data.decode().splitlines())
            with self._news:
                self.messages.append((time.monotonic(), message))
                self._news.notify_all()

    def close(self) -> None:
        """
        Hear no more.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", self._socket.getsockname())
        self._thread.join(WAIT_SECONDS)
        self._socket.close()
        shutil.rmtree(self._directory)

    def until(self, condition: Callable[[list[str]], bool]) -> None:
        """
        Wait until C{condition} holds for what C{states} gives.
        """
        end = time.monotonic() + WAIT_SECONDS
        with self._news:
            while not condition(self.states()):
                if time.monotonic() > end:
                    raise AssertionError(f"not in time: {self.messages}")
                # It may be about other things than messages.
                self._news.wait(0.1)

    def await_(self, *states: str) -> dict[str, str]:
        """
        Wait until the states that were told are exactly these.

        @return: the message with the last of them.
        """
        self.until(lambda told: len(told) >= len(states))
        told = self.states()
        if told != list(states):
            raise AssertionError(f"{told} instead of {states}")
        return [message for _, message in self.messages if _stateOf(message)][-1]

    def states(self) -> list[str]:
        """
        The names of the states that were told, in order.
        """
        return [state for _, message in self.messages if (state := _stateOf(message))]


def _stateOf(message: dict[str, str]) -> str:
    return next((name for name in message if name in ("READY", "RELOADING", "STOPPING")), "")


def handingDown(sockets: Sequence[socket.socket]) -> tuple[list[str], list[int]]:
    """
    The words before a command that let it have C{sockets}, and the descriptors that they need;
    C{LISTEN_FDS} and C{LISTEN_FDNAMES} are the caller's.
    """
    numbers = []
    for number, sock in enumerate(sockets):
        # Above all that they become.
        copy = os.dup(sock.fileno())
        high = max(copy, 100 + number)
        os.dup2(copy, high)
        if copy != high:
            os.close(copy)
        numbers.append(high)
    return [sys.executable, "-c", _HAND_DOWN, ",".join(map(str, numbers))], numbers
