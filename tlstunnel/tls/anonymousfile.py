"""
A file without a name, which a process and its workers have open together, and what it takes to
hand it to them.  What is in it is for others to know.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class AnonymousFile:
    """
    A file without a name.
    """

    def __init__(self, variable: str, make: Callable[[], int]) -> None:
        """
        @param variable: says in a worker which descriptor it is.
        @param make: makes one where nobody has handed us any.
        """
        self._variable = variable
        self._make = make
        self._descriptor: int | None = None

    @property
    def isOpen(self) -> bool:
        """
        Whether we have it open.
        """
        return self._descriptor is not None

    def accept(self) -> None:
        """
        Take the one that we were handed, if we were.
        """
        handed = os.environ.pop(self._variable, None)
        if handed is not None:
            self._descriptor = int(handed)
            os.set_inheritable(self._descriptor, False)

    @property
    def descriptor(self) -> int:
        """
        Its descriptor, which programs that we start do not get by themselves.

        @raise OSError: the system has no room for one.
        """
        if self._descriptor is None:
            self.accept()
        if self._descriptor is None:
            self._descriptor = self._make()
        return self._descriptor

    @contextmanager
    def alone(self) -> Iterator[int]:
        """
        Keep other processes out, not other threads.

        @return: the descriptor.
        """
        descriptor = self.descriptor
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
        try:
            yield descriptor
        finally:
            with suppress(OSError):
                fcntl.lockf(descriptor, fcntl.LOCK_UN)
