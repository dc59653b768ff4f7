"""
Standard error, where that is a connection.

inetd, and systemd unless it is told otherwise, start a program with the connection for all of
standard input, output and error.  What is printed there would go to whoever is at the other end, in
clear, whatever is spoken.  It goes to the system's log instead.
"""

from __future__ import annotations

import io
import os
import sys
import syslog
from contextlib import suppress

from tlstunnel.program.syslog import PATHS, SyslogOutput

_ERROR = 2


class SystemLog(io.TextIOBase):
    """
    Writes lines to the system's log, if there is one.
    """

    def __init__(self) -> None:
        self._begun = ""
        self._output: SyslogOutput | None = None
        for path in PATHS:
            if self._output is None:
                with suppress(OSError):
                    self._output = SyslogOutput(path)

    def fileno(self) -> int:
        """
        What is written there goes nowhere.
        """
        return _ERROR

    def write(self, text: str) -> int:
        """
        Send the lines that have an end.
        """
        *whole, self._begun = (self._begun + text).split("\n")
        head = f"<{syslog.LOG_DAEMON | syslog.LOG_ERR}>tlstunnel[{os.getpid()}]: "
        if self._output is not None:
            self._output.write("\n".join(head + line for line in whole))
        return len(text)

    def writeLine(self, line: str) -> bool:
        """
        Send one line, or several.

        @return: that there was room for it: nobody can be told else.
        """
        self.write(line)
        return True


def partFromConnection() -> None:
    """
    Say nothing to the other end of a connection that is standard input and error.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, _ERROR)
    os.close(nowhere)
    sys.stderr = SystemLog()
