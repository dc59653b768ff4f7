"""
What signals mean to a tunnel.

SIGTERM and SIGINT stop in order, the second one at once, and the process then ends with status 0,
which it does not under the reactor's own handlers; SIGHUP reloads.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any


def install(reactor: Any, reload: Callable[[], None], hurry: Callable[[], None]) -> None:
    """
    Take the signals; to be called once the reactor runs, which installs its own before.

    @param reload: called on SIGHUP.
    @param hurry: called on the second SIGTERM or SIGINT.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    stopping = False

    def stop(number: int, frame: object) -> None:
        nonlocal stopping
        reactor.callFromThread(hurry if stopping else reactor.stop)
        stopping = True

    def hangup(number: int, frame: object) -> None:
        reactor.callFromThread(reload)

    for number, action in (
        (signal.SIGTERM, stop),
        (signal.SIGINT, stop),
        (signal.SIGHUP, hangup),
    ):
        # What we were started to ignore (nohup, workers), we ignore.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, action)
