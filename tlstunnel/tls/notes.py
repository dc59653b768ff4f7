"""
Files to which we write in search of faults, line by line: for nobody else to read, and not larger
than a disk can bear.

Several processes may write to the same one.  A line that cannot be written is lost, and nothing
else: no connection depends on it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import stat
from contextlib import suppress
from pathlib import Path
from weakref import finalize

from twisted.logger import Logger

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.permission import userName

#: The most bytes that such a file may come to.
LARGEST_NOTES = 16 << 20

#: What its last line is then; in a log of keys it is a comment.
LAST = (
    b"# full: nothing more is written here before the file is moved away, and the tunnel reloads\n"
)

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# What is at the end of a path has to be what it says (O_NOFOLLOW of open(2)).
_AS_NAMED = getattr(os, "O_NOFOLLOW", 0)


class Notes:
    """
    One such file.

    @ivar path: where it is.
    """

    _log = Logger()

    def __init__(self, path: Path, key: str, largest: int = LARGEST_NOTES) -> None:
        """
        @param key: the setting that it is for.
        @param largest: the most bytes that it may come to.
        """
        self.path = path
        self._key = key
        self._largest = largest
        self._file = -1
        # Whether the end of the last line is missing, and whether anybody was told of a loss.
        self._isCut = self._isTold = False

    def open(self) -> None:
        """
        Open it, and make it if it is not there.

        @raise ConfigurationError: the system does not let us, or it is not for us alone.
        """
        if self._file >= 0:
            return
        try:
            file = os.open(self.path, _FLAGS | _AS_NAMED | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._cannot(error) from None
        try:
            self._judge(os.fstat(file))
        except ConfigurationError:
            os.close(file)
            raise
        self._file = file
        finalize(self, os.close, file)

    def check(self) -> None:
        """
        See whether it could be opened, and make nothing.

        @raise ConfigurationError: it could not.
        """
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            if not os.access(self.path.parent, os.W_OK | os.X_OK):
                missing = errno.EACCES if self.path.parent.is_dir() else errno.ENOENT
                raise self._cannot(OSError(missing, os.strerror(missing))) from None
        except OSError as error:
            raise self._cannot(error) from None
        else:
            self._judge(found)

    def _cannot(self, error: OSError) -> ConfigurationError:
        if error.errno == errno.ELOOP:
            return self._problem("is a symbolic link", "give the file itself")
        return self._problem(
            f"cannot be written: {error.strerror}",
            "give a file in a directory that belongs to the user the tunnel runs as",
        )

    def _judge(self, found: os.stat_result) -> None:
        quoted = shlex.quote(str(self.path))
        if stat.S_ISLNK(found.st_mode):
            raise self._problem("is a symbolic link", "give the file itself")
        if not stat.S_ISREG(found.st_mode):
            raise self._problem("is no regular file", "give one, or a name that is free")
        if found.st_uid != os.geteuid():
            raise self._problem(
                f"belongs to user {userName(found.st_uid)}, and not to us",
                f"remove it: rm {quoted}",
            )
        if found.st_mode & 0o077:
            mode = stat.S_IMODE(found.st_mode)
            raise self._problem(f"is open to others (mode {mode:04o})", f"run 'chmod 600 {quoted}'")
        if found.st_nlink > 1:
            raise self._problem("has another name, too (a hard link)", f"remove it: rm {quoted}")

    def _problem(self, problem: str, remedy: str) -> ConfigurationError:
        return ConfigurationError(f"`{self._key}` {self.path}", problem, remedy)

    def write(self, line: bytes) -> None:
        """
        Append C{line}, which has no end yet, in one piece.
        """
        whole = (b"\n" if self._isCut else b"") + line + b"\n"
        try:
            size = os.fstat(self._file).st_size
            if size + len(whole) + len(LAST) > self._largest:
                self._end(size)
                return
            written = os.write(self._file, whole)
        except OSError as error:
            self._lost(error.strerror or str(error))
            return
        self._isCut = written < len(whole)
        if self._isCut:
            self._lost(os.strerror(errno.ENOSPC))

    def _end(self, size: int) -> None:
        """
        Write the last line, unless somebody has.
        """
        # Who does not get the lock leaves it to the one who has it.
        with suppress(BlockingIOError):
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                size = os.fstat(self._file).st_size
                if os.pread(self._file, len(LAST), max(0, size - len(LAST))) != LAST:
                    os.write(self._file, LAST)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        self._lost("it is full")

    def _lost(self, why: str) -> None:
        if not self._isTold:
            self._isTold = True
            self._log.warn(
                "{path} gets no more lines: {why}", event="notes", path=str(self.path), why=why
            )
