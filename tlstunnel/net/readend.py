"""
A descriptor that is no socket, and that the reactor watches for something to read: a pipe, or what
tells of a process.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IReadDescriptor)
class ReadEnd:
    """
    Tells when there is something to read.
    """

    def __init__(self, reactor: Any, descriptor: int, ready: Callable[[], object]) -> None:
        """
        @param descriptor: is ours from now on, and is watched at once.
        @param ready: called when it has something, or its end.
        """
        self._reactor = reactor
        self._descriptor = descriptor
        self._ready = ready
        reactor.addReader(self)

    def close(self) -> None:
        """
        Watch it no longer.
        """
        if self._descriptor >= 0:
            self._reactor.removeReader(self)
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def doRead(self) -> None:
        """
        There is something.
        """
        self._ready()

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor saw a hang-up, or is stopping; it has forgotten us already.
        """
        self._ready()
        self.close()

    def fileno(self) -> int:
        """
        The descriptor, or -1 once it is closed.
        """
        return self._descriptor

    def logPrefix(self) -> str:
        """
        What the reactor calls us in its own messages.
        """
        return type(self).__name__
