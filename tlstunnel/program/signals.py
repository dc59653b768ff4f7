"""
What signals do to this process, from its first moment on.

Until it serves, SIGTERM and SIGINT end it at once, whatever it is waiting for: a look-up of a name
does not return to Python for half a minute.  That is with status 0, unless it is to serve one
connection, or only to look at a file.  The other signals wait, and do then what they do later.
This is the first module that the program imports, and imports hardly anything.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable

#: What asks a process to end.
ENDING = (signal.SIGTERM, signal.SIGINT)

#: What would otherwise kill the process, in ways that nobody wants.
_HELD = (*ENDING, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

# Means nothing to us, and wakes the watch.
_WAKING = signal.SIGUSR2


class _Watch(threading.Thread):
    """
    Waits for a signal that ends the process, while that is not serving yet.
    """

    def __init__(self, code: int) -> None:
        """
        @param code: what the process ends with.
        """
        super().__init__(name="signals", daemon=True)
        self._code = code
        # What we were started to ignore (nohup, a shell's background) does not end us.
        ending = {each for each in ENDING if signal.getsignal(each) is not signal.SIG_IGN}
        self._awaited = ending | {_WAKING}
        self._isOver = False

    def run(self) -> None:
        """
        In the thread.
        """
        while signal.sigwait(self._awaited) == _WAKING:
            if self._isOver:
                return
        os._exit(self._code)

    def end(self) -> None:
        """
        Wait no longer.
        """
        self._isOver = True
        # A fork, as of a daemon, leaves the thread behind.
        if self.is_alive() and self.ident is not None:
            signal.pthread_kill(self.ident, _WAKING)
            self.join()


_watch: _Watch | None = None


def hold(code: int = 0) -> None:
    """
    Begin, before anything else is done.

    @param code: what the process ends with where a signal ends it before it serves.
    @raise OSError: there can be no thread for it.
    """
    global _watch  # noqa: PLW0603 - a process has its signals once
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    watch = _Watch(code)
    try:
        watch.start()
    except RuntimeError:
        raise OSError(errno.EAGAIN, "a thread cannot be started: raise ulimit -u") from None
    _watch = watch


def take(stop: Callable[[], None], reload: Callable[[], None]) -> None:
    """
    Go on with what signals mean to a process that serves; to be called once the reactor runs, which
    takes some of them before.

    @param stop: called on SIGTERM and SIGINT, whenever they come.
    @param reload: called on SIGHUP.
    """
    for number in (*ENDING, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda got, _: reload() if got == signal.SIGHUP else stop())
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        # twistd may have taken the first, to rotate its log.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.SIG_IGN)
    _release()


def surrender() -> None:
    """
    Let SIGTERM and SIGINT kill the process: it has served, and only waits for somebody.
    """
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def ignore() -> None:
    """
    Go on as a worker, which gets its orders from its parent: what a terminal or a service manager
    sends to all processes at once is meant for that.
    """
    for number in _HELD:
        signal.signal(number, signal.SIG_IGN)
    _release()


def _release() -> None:
    global _watch  # noqa: PLW0603
    if _watch is not None:
        _watch.end()
        _watch = None
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
