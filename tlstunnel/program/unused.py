"""
Sockets that whoever started us handed down, and at which no tunnel listens.

Connections to them are accepted by nobody, which only a line in the log can tell: it comes at the
start, and after a reload for what is new.  Whose sockets they are, and what serves the others, is
not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.logger import Logger
from zope.interface import implementer

from tlstunnel.program.plan import Plan
from tlstunnel.program.process import IProcessObserver
from tlstunnel.program.reloads import IReloadObserver, Reload


@implementer(IProcessObserver, IReloadObserver)
class UnusedSockets:
    """
    Warns of them.
    """

    _log = Logger()

    def __init__(self, offered: Sequence[tuple[str, int]], plan: Callable[[], Plan]) -> None:
        """
        @param offered: see L{tlstunnel.net.inherit.offered}.
        @param plan: gives what is served.
        """
        self._offered = offered
        self._plan = plan
        self._known: list[str] = []

    def starting(self) -> None:
        """
        All that is served is bound.
        """
        self._look()

    def up(self) -> None:
        """
        Nothing has changed.
        """

    def stopping(self) -> None:
        """
        Nobody listens any more.
        """

    def reloading(self) -> None:
        """
        Nothing has changed yet.
        """

    def reloaded(self, reload: Reload) -> None:
        """
        Another tunnel may have them now, or none.
        """
        self._look()

    def _look(self) -> None:
        used = {bound.sock.fileno() for bound in self._plan().bound}
        unused = (name for name, descriptor in self._offered if descriptor not in used)
        before, self._known = self._known, list(dict.fromkeys(unused))
        for name in self._known:
            if name not in before:
                self._log.warn(
                    "{notice}",
                    event="notice",
                    notice=f"no tunnel listens at systemd:{name}, which was handed down to us: "
                    "whoever connects there waits in vain; give it to a tunnel, or remove it from "
                    "the socket unit",
                )
