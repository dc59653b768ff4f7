"""
The process of a program: how it ends, and how it is brought to its end.

A process is waited for by a descriptor that tells of its end (pidfd_open(2)), so that nothing here
touches what else the program does with its children, or with SIGCHLD; where there is none, it is
looked at now and then.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from tlstunnel.errors import ProgramFailed
from tlstunnel.net.deadlines import Deadline, Deadlines
from tlstunnel.net.launcher import MISSING, NOT_EXECUTABLE, OURS
from tlstunnel.net.readend import ReadEnd

#: Seconds that a program has to end by itself when its connection has, and then by SIGTERM.
LEAVE_SECONDS = 10.0
TERMINATE_SECONDS = 10.0

#: The same where we are to be gone soon ourselves.
HURRY_SECONDS = 2.0

#: Seconds after SIGKILL until one is left alone that we cannot end, as it is not ours any more.
LET_GO_SECONDS = 1.0

#: Seconds between two looks, where nothing tells of the end.
LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class Exit:
    """
    How a program ended.

    @ivar status: what it said, or the negative of the signal that ended it.
    """

    status: int

    @property
    def failure(self) -> ProgramFailed | None:
        """
        Why what it has said may not be all; C{None} where it ended by itself.
        """
        if self.status < 0:
            name = _nameOf(-self.status)
            return ProgramFailed(f"the program was ended by {name}", cause=f"signal {name}")
        if self.status in (OURS, NOT_EXECUTABLE, MISSING):
            return ProgramFailed(
                f"the program was not executed: status {self.status}", cause="not executed"
            )
        return None

    def __str__(self) -> str:
        if self.status < 0:
            return f"the program was ended by {_nameOf(-self.status)}"
        return f"the program ended with status {self.status}"


def _nameOf(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Child:
    """
    One process, which leads a group of its own.

    @ivar pid: its number.
    @ivar exit: how it ended, once it has.
    """

    _log = Logger()

    def __init__(self, reactor: Any, deadlines: Deadlines, pid: int) -> None:
        self.pid = pid
        self.exit: Exit | None = None
        self._deadlines = deadlines
        self._due: Deadline | None = None
        self._isHurried = False
        self._told: list[Callable[[], object]] = []
        self._watch: ReadEnd | None = None
        try:
            self._watch = ReadEnd(reactor, os.pidfd_open(pid), self._look)
        except (AttributeError, OSError):
            # There is no such thing on this system, or no descriptor left for it.
            deadlines.after(LOOK_SECONDS, self._lookAgain)

    def _lookAgain(self) -> None:
        self._look()
        if self.exit is None:
            self._deadlines.after(LOOK_SECONDS, self._lookAgain)

    def _look(self) -> None:
        """
        Take note of the end, if it has come.
        """
        if self.exit is not None:
            return
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            # Whoever has waited for it knows how it ended.
            pid, status = self.pid, 0
        if not pid:
            return
        self.exit = Exit(os.waitstatus_to_exitcode(status))
        if self._due is not None:
            self._due.cancel()
        if self._watch is not None:
            self._watch.close()
        self._tell()

    def _tell(self) -> None:
        told, self._told = self._told, []
        for each in told:
            each()

    def tell(self, told: Callable[[], object]) -> None:
        """
        Call C{told} when it has ended, or is left alone.
        """
        if self.exit is None:
            self._told.append(told)
        else:
            told()

    def whenGone(self) -> Deferred[None]:
        """
        Fires when it has ended, or is left alone.
        """
        gone: Deferred[None] = Deferred()
        self.tell(lambda: gone.callback(None))
        return gone

    def hangUp(self) -> None:
        """
        Tell it, and all that it has started, that there is nobody any more.
        """
        self._signal(signal.SIGHUP)

    def leave(self) -> None:
        """
        Its connection is over: let it end, and see that it does.
        """
        if self.exit is None and self._due is None:
            self._wait(LEAVE_SECONDS, TERMINATE_SECONDS)

    def hurry(self) -> None:
        """
        The same, and sooner.
        """
        if self.exit is None and not self._isHurried:
            self._isHurried = True
            if self._due is not None:
                self._due.cancel()
            self._wait(HURRY_SECONDS, HURRY_SECONDS)

    def _wait(self, seconds: float, more: float) -> None:
        self._due = self._deadlines.after(seconds, lambda: self._terminate(more))

    def _terminate(self, seconds: float) -> None:
        self._signal(signal.SIGTERM)
        self._due = self._deadlines.after(seconds, self._kill)

    def _kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._due = self._deadlines.after(LET_GO_SECONDS, self._letGo)

    def _letGo(self) -> None:
        notice = (
            f"the program of process {self.pid} cannot be ended, and is left alone: it has become "
            "somebody else, or the system holds it"
        )
        self._log.warn("{notice}", event="notice", notice=notice)
        self._tell()

    def _signal(self, number: signal.Signals) -> None:
        if self.exit is not None:
            # Its number may be somebody else's.
            return
        try:
            os.killpg(self.pid, number)
        except OSError:
            # All of the group have become somebody else, or are gone.
            pass
