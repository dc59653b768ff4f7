"""
What programs say on standard error: lines of our log, of which there are never too many.

Whoever makes a program complain must not fill the log, and a program must never wait for us to read
its complaints: all of it is read, a part is told, and the rest is counted.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tlstunnel.errors import quote
from tlstunnel.net.readend import ReadEnd

#: Lines that one program may have in the log.
LINES_PER_PROGRAM = 50

#: Lines that all programs of a tunnel may have at once, and how many more each second.
LINES_AT_ONCE = 100
LINES_PER_SECOND = 10.0

#: The most bytes of a line before it is cut.
LONGEST_LINE = 1000

# Bytes that are read in one turn of the reactor.
_PIECE = 4096


class Allowance:
    """
    How much the programs of one tunnel may still say.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._left = float(LINES_AT_ONCE)
        self._since = clock.seconds()

    def take(self) -> bool:
        """
        Whether there may be one more line.
        """
        now = self._clock.seconds()
        gained = max(0.0, now - self._since) * LINES_PER_SECOND
        self._left, self._since = min(LINES_AT_ONCE, self._left + gained), now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Complaints:
    """
    Those of one program.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        pipe: int,
        allowance: Allowance,
        tunnel: str,
        peer: str,
        program: str,
        pid: int,
    ) -> None:
        """
        @param pipe: where it says them; ours from now on.
        @param tunnel: what the log calls its tunnel, if it has a name.
        @param peer: for whom it was started.
        @param program: what the log calls the program.
        """
        self._allowance = allowance
        self._tunnel = tunnel or None
        self._peer = peer
        self._program = program
        self._pid = pid
        self._pipe = ReadEnd(reactor, pipe, self._read)
        self._partial = b""
        self._lines = self._untold = 0
        self._isOver = False

    def _read(self) -> bool:
        """
        Take what there is.

        @return: whether there may be more.
        """
        if self._pipe.fileno() < 0:
            return False
        try:
            data = os.read(self._pipe.fileno(), _PIECE)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._end()
            return False
        *lines, rest = (self._partial + data).split(b"\n")
        for line in lines:
            self._say(line)
        if len(rest) > LONGEST_LINE:
            self._say(rest)
            rest = b""
        self._partial = rest
        return True

    def close(self) -> None:
        """
        The program has ended: take what it has said last, and hear nobody any more.
        """
        for _ in range(LINES_PER_PROGRAM):
            if not self._read():
                break
        self._end()

    def _end(self) -> None:
        if self._isOver:
            return
        self._isOver = True
        self._pipe.close()
        if self._partial:
            self._say(self._partial)
        if self._untold:
            self._tell(f"(lines that are not told: {self._untold})")

    def _say(self, line: bytes) -> None:
        line = line.rstrip(b"\r")
        if not line:
            return
        if self._lines >= LINES_PER_PROGRAM or not self._allowance.take():
            self._untold += 1
            return
        self._lines += 1
        self._tell(_safe(line))

    def _tell(self, line: str) -> None:
        self._log.info(
            "{program}[{pid}] for {peer}: {line}",
            event="program",
            tunnel=self._tunnel,
            log_system=self._tunnel,
            peer=self._peer,
            program=self._program,
            pid=self._pid,
            line=line,
        )


def _safe(line: bytes) -> str:
    """
    A line as it may stand in a log: a program may repeat what a client has said.
    """
    try:
        text = line[:LONGEST_LINE].decode()
    except UnicodeDecodeError:
        return quote(line)
    return text if text.isprintable() else quote(line)
