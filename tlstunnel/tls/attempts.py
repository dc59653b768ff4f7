"""
Which PINs a token has refused: none is tried twice, as a token counts and locks itself.

A process and its workers remember together, in a file without a name that all of them have open.
Who tries one holds a lock, so that of several only the first one does.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from tlstunnel.tls.anonymousfile import AnonymousFile

_Result = TypeVar("_Result")

#: Which descriptor it is, for workers.
VARIABLE = "TLSTUNNEL_REFUSED_PINS"

_DIGEST_BYTES = 32


class RefusedBefore(Exception):
    """
    The same was refused before, and nothing was tried.
    """


class Attempts:
    """
    What was refused.
    """

    def __init__(self) -> None:
        self._file = AnonymousFile(VARIABLE, _make)

    @property
    def descriptor(self) -> int:
        """
        That of the file; see L{AnonymousFile.descriptor}.
        """
        return self._file.descriptor

    @property
    def areAny(self) -> bool:
        """
        Whether anything was refused.
        """
        return self._file.isOpen and os.fstat(self.descriptor).st_size > 0

    def once(
        self, digest: bytes, attempt: Callable[[], _Result], isRefusal: Callable[[], bool]
    ) -> _Result:
        """
        Do what a PIN is needed for.

        @param digest: stands for all that it depends on.
        @param attempt: does it.
        @param isRefusal: whether it was the PIN, where that has failed.
        @raise RefusedBefore: that has failed with the same before.
        """
        with self._file.alone() as descriptor:
            size = os.fstat(descriptor).st_size
            known = os.pread(descriptor, size, 0)
            if digest in (known[at : at + _DIGEST_BYTES] for at in range(0, size, _DIGEST_BYTES)):
                raise RefusedBefore
            try:
                return attempt()
            except BaseException:
                if isRefusal():
                    os.pwrite(descriptor, digest, size)
                raise


def _make() -> int:
    """
    A file without a name, in memory where the system has that.
    """
    with suppress(AttributeError, OSError):  # as there are systems without
        return os.memfd_create("refused-pins")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


#: Those of this process, and of its workers.
attempts = Attempts()
