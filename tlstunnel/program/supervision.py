"""
What a service manager, such as systemd, is told of the process, and when.

It listens to the states of a L{tlstunnel.program.process.Process} and to its reloads, and says them
in the words of sd_notify(3).  Where nobody wants to hear of us, it does nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, MutableMapping
from enum import Enum, auto
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from tlstunnel.program.notify import Connect, NotifySocket, connect
from tlstunnel.program.process import IProcessObserver
from tlstunnel.program.reloads import IReloadObserver, Reload
from tlstunnel.program.watchdog import Watchdog, watchdogSeconds

#: What is for us alone, and not for programs that we start.
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")

#: Seconds between looks whether the status has changed.
STATUS_SECONDS = 10.0


class _State(Enum):
    STARTING = auto()
    UP = auto()
    RELOADING = auto()
    STOPPING = auto()


@implementer(IProcessObserver, IReloadObserver)
class Supervision:
    """
    Tells the service manager that started us, if one did.

    @ivar watchdogSeconds: after so many seconds of silence its watchdog ends us; 0 for never.
    """

    _log = Logger()

    def __init__(
        self,
        environment: MutableMapping[str, str],
        reactor: Any,
        tally: Callable[[], Mapping[str, int]],
        connect: Connect = connect,
        getPID: Callable[[], int] = os.getpid,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """
        @param environment: has L{VARIABLES}, which are taken out of it.
        @param tally: see L{tlstunnel.program.process.Process.tally}.
        @param connect: connects to what C{NOTIFY_SOCKET} names.
        @param getPID: gives the number of this process, which is another one in a daemon.
        @param monotonic: gives the nanoseconds of CLOCK_MONOTONIC.
        """
        self._reactor = reactor
        self._tally = tally
        self._getPID = getPID
        self._monotonic = monotonic
        self._pid = getPID()
        self._notices: list[str] = []
        self._socket: NotifySocket | None = None
        self._watchdog: Watchdog | None = None
        self.watchdogSeconds = 0.0
        self._state = _State.STARTING
        self._refusal = ""
        self._told = ""
        taken = {name: environment.pop(name) for name in VARIABLES if name in environment}
        address = taken.get("NOTIFY_SOCKET")
        if not address:
            return
        try:
            self._socket = NotifySocket(reactor, connect(address))
            self.watchdogSeconds = watchdogSeconds(taken, self._pid)
        except OSError as error:
            self._notice(f"NOTIFY_SOCKET {address[:200]!r}: {error.strerror or error}")
        except ValueError as error:
            self._notice(str(error))
        else:
            if self.watchdogSeconds:
                self._watchdog = Watchdog(reactor, self.watchdogSeconds, self._ping)

    def _notice(self, problem: str) -> None:
        # The log may not have begun.
        missing = "how we are" if self._socket is None else "that we still run"
        self._notices.append(
            f"{problem}: the service manager does not hear {missing}; see who set it"
        )

    @property
    def isHeard(self) -> bool:
        """
        Whether there is a service manager that wants to hear of us.
        """
        return self._socket is not None

    def starting(self) -> None:
        """
        This is the process that is going to serve.
        """
        for notice in self._notices:
            self._log.warn("{notice}", event="notice", notice=notice)
        if self._socket is None:
            return
        pid = self._getPID()
        if pid != self._pid:
            self._socket.tell(MAINPID=pid)
        if self._watchdog is not None:
            self._watchdog.start()

    def up(self) -> None:
        """
        All tunnels are served.
        """
        if self._state is _State.STARTING:
            self._state = _State.UP
            self._tell(READY=1)
            self._look()

    def reloading(self) -> None:
        """
        A reload begins.
        """
        if self._state is _State.UP:
            self._state = _State.RELOADING
            # The time tells systemd that its latest signal has been heard.
            self._tell(RELOADING=1, MONOTONIC_USEC=self._monotonic() // 1000)

    def reloaded(self, reload: Reload) -> None:
        """
        It has ended.
        """
        self._refusal = "; ".join(reload.problems)
        if self._state is _State.RELOADING:
            self._state = _State.UP
            self._tell(READY=1)

    def stopping(self) -> None:
        """
        Connections may end, and then we do.
        """
        if self._state is not _State.STOPPING:
            self._state = _State.STOPPING
            self._tell(STOPPING=1)

    def _tell(self, **values: object) -> None:
        """
        Say C{values}, and how we are.
        """
        if self._socket is not None:
            self._told = self._status()
            self._socket.tell(**values, STATUS=self._told)

    def _status(self) -> str:
        if self._state is _State.RELOADING:
            return "reloading"
        tally = dict(self._tally())
        tunnels, pools = tally.pop("tunnel", 0), tally.pop("pool service", 0)
        others = [_counted(number, name) for name, number in tally.items()]
        if self._state is _State.STOPPING:
            return ", ".join(["stopping", *(f"{each} left" for each in others)])
        what = [_counted(tunnels, "tunnel")] if tunnels or not pools else []
        what += ["the pool service"] * pools
        status = ", ".join([f"{' and '.join(what)} up", *others])
        if self._refusal:
            status += f"; reload refused: {self._refusal}; the old state stays"
        return status

    def _look(self) -> None:
        """
        Say from time to time how we are, where that has changed.
        """
        if self._socket is not None:
            self._reactor.callLater(STATUS_SECONDS, self._look)
            if self._status() != self._told:
                self._tell()

    def _ping(self) -> None:
        assert self._socket is not None
        # What waits says that we live, once there is room for it.
        if not self._socket.isBehind:
            self._socket.tell(WATCHDOG=1)


def _counted(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"
