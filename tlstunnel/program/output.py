"""
Standard output and error, and that nobody who reads them slowly, or not at all, holds up the
process.

This module knows descriptors, and nothing of what is written to them.
"""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import sys
from contextlib import suppress
from typing import Any

#: What a pipe that is ready takes without waiting (PIPE_BUF of POSIX on Linux: pipe(7)).
_ATOMIC_BYTES = 4096

#: The longest line that is kept while it is written in parts; of a longer one the rest is cut.
MAX_LINE_BYTES = 65536


def openStandard() -> None:
    """
    Lead those of standard input, output and error that are closed to nowhere: else their numbers
    would become those of connections, which would get what is printed.

    What is printed to standard output is lost then, which whoever prints hears of; of standard
    error nobody could be told.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # That is the lowest number that is free.
            os.open(os.devnull, os.O_RDONLY if name == "stdout" else os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def isConnection() -> bool:
    """
    Whether standard error is the connection that standard input is, as inetd has it.
    """
    ends = os.fstat(0), os.fstat(2)
    return os.path.samestat(*ends) and stat.S_ISSOCK(ends[0].st_mode)


class _Output(io.FileIO):
    """
    Output whose reader may leave before its end, as head(1) does: what is left is dropped.
    """

    _isLost = False

    def write(self, data: Any) -> int:
        """
        Write what can be written.

        @raise OSError: nothing can, as the disk is full, or it was closed before; the first time
            alone, since what is left is tried again at the end of the process, when nobody hears of
            it.
        """
        if self._isLost:
            return len(data)
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)
        except OSError as error:
            self._isLost = True
            problem = "it is closed" if error.errno == errno.EBADF else error.strerror
            raise OSError(error.errno, problem, "standard output") from None


def outliveReaders() -> None:
    """
    Let a command go on with its work when nobody reads what it prints any more.
    """
    before = sys.stdout
    if isinstance(before, io.TextIOWrapper):
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Output(before.fileno(), "w", closefd=False)),
            encoding=before.encoding,
            # What a terminal cannot show is not worth a traceback.
            errors="backslashreplace",
            line_buffering=before.isatty(),
        )


def ascribed(text: str) -> str:
    """
    Lines of ours for standard error: each says whose it is, as others may write there too, and as
    a log keeps lines, not what belongs together.
    """
    return "\n".join(f"tlstunnel: {line}" for line in text.split("\n"))


def complain(text: str) -> None:
    """
    Say on standard error why it does not go on, or what is to be known; if nobody can be told, the
    exit code has to do.

    @param text: one line or several, without the name of the program.
    """
    with suppress(OSError):
        sys.stderr.write(ascribed(text) + "\n")


def isRead() -> bool:
    """
    Whether standard output has a reader, as far as the system can tell.
    """
    poll = select.poll()
    # That there is none is told unasked (POLLERR: poll(2)).
    poll.register(sys.stdout.fileno(), 0)
    return not poll.poll(0)


class LineOutput:
    """
    Writes lines to a descriptor, and drops those for which there is no room.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # What is left of a line that is written in parts.
        self._rest = b""
        self._poll: select.poll | None = None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLOUT)

    def write(self, line: str) -> bool:
        """
        Write C{line}, which ends in a line end, if that can be done at once.

        @return: whether it is written, or will be.
        """
        data = line.encode("utf-8", "backslashreplace")
        if len(data) > MAX_LINE_BYTES:
            data = data[: MAX_LINE_BYTES - 1] + b"\n"
        try:
            if self._rest:
                self._rest = self._write(self._rest)
            left = self._write(data) if not self._rest else data
        except OSError:
            self._rest = b""
            return False
        if left is data:
            return False
        self._rest = left
        return True

    def _write(self, data: bytes) -> bytes:
        """
        Write as much of C{data} as there is room for.

        @return: the rest; C{data} itself if there was no room at all.
        """
        while data and (self._poll is None or self._isReady()):
            data = data[os.write(self._descriptor, data[:_ATOMIC_BYTES]) :]
        return data

    def _isReady(self) -> bool:
        assert self._poll is not None
        events = self._poll.poll(0)
        return bool(events) and bool(events[0][1] & select.POLLOUT)
