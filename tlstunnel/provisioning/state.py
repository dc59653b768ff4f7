"""
What is remembered of the directory, in the pool: without it, a key that is made later would never
meet its certificate, as the directory would say that nothing has changed::

    POOL/.ldap/entries/UUID   each entry as it was told
    POOL/.ldap/cookie         where the server was, and which; written last
    POOL/.ldap/files          which files in the pool are ours, see L{tlstunnel.provisioning.files}
    POOL/.ldap/new/           what is being written
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping

from tlstunnel.errors import ConfigurationError, Malformed, Oversize
from tlstunnel.identity.files import (
    entries,
    makeDirectory,
    present,
    removeFile,
    settle,
    writeFile,
)
from tlstunnel.identity.pem import readFile
from tlstunnel.identity.pool import Pool
from tlstunnel.provisioning.content import MAX_ENTRIES
from tlstunnel.provisioning.cookies import MAX_COOKIE
from tlstunnel.provisioning.messages import MAX_MESSAGE, Entry

#: Of more entries the disk has all at once, as it takes a while to have each for itself.
MANY = 32


class State:
    """
    The state in one pool.

    @ivar entries: by their entryUUID.
    @ivar cookie: empty if there is none that is of use.
    @ivar isWhole: whether the entries are all that this directory had.
    @ivar workshop: where files are made.
    """

    def __init__(self, pool: Pool, source: str) -> None:
        """
        @param source: the URL of what is remembered.
        """
        self.path = pool.path / ".ldap"
        self.workshop = self.path / "new"
        self.entries: dict[bytes, Entry] = {}
        self.cookie = b""
        self.isWhole = False
        self._entries = self.path / "entries"
        self._file = self.path / "cookie"
        self._source = source.encode()
        self._lock: int | None = None

    def open(self) -> None:
        """
        Read what is there, and tidy up what a crash has left.

        @raise ConfigurationError: somebody else does so; or the system does not let us.
        """
        makeDirectory(self._entries)
        makeDirectory(self.workshop)
        self._claim()
        for each in entries(self.workshop):
            removeFile(each)
        if not self._readEntries():
            removeFile(self._file)
        if present(self._file):
            source, _, cookie = readFile(self._file).partition(b"\n")
            self.isWhole = source == self._source
            self.cookie = cookie if self.isWhole and len(cookie) <= MAX_COOKIE else b""

    def close(self) -> None:
        """
        Let others have it.
        """
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _claim(self) -> None:
        path = self.path / "lock"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._lock = os.open(path, flags, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise ConfigurationError(
                str(self.path.parent),
                "is kept up by another 'tlstunnel pool pull' already",
                "stop that, or give another pool",
            ) from None
        except OSError as error:
            raise ConfigurationError(
                str(path), f"cannot be opened: {error.strerror}", "see who may write there"
            ) from None

    def _readEntries(self) -> bool:
        """
        Read what is remembered of the entries.

        @return: whether all of it could be; else everything has to be told anew.
        """
        isWhole = True
        for each in entries(self._entries)[:MAX_ENTRIES]:
            try:
                uuid = bytes.fromhex(each.name)
                self.entries[uuid] = Entry.read(readFile(each, largest=MAX_MESSAGE))
            except (ValueError, Malformed, Oversize, ConfigurationError):
                isWhole = False
                removeFile(each)
        return isWhole

    def keep(self, now: Mapping[bytes, Entry]) -> None:
        """
        Remember the entries, whatever crashes.

        @raise ConfigurationError: the system does not let us.
        """
        if not self.isWhole:
            # What is from elsewhere is not to be taken for what was here.
            removeFile(self._file)
        before = self.entries
        changed = [each for each in now if each not in before or before[each].raw != now[each].raw]
        gone = before.keys() - now.keys()
        areMany = len(changed) > MANY
        for uuid in changed:
            path = self._entries / uuid.hex()
            content = now[uuid].raw
            writeFile(path, content, 0o600, True, self.workshop, isLasting=not areMany)
        for uuid in gone:
            removeFile(self._entries / uuid.hex())
        if areMany:
            # One that a crash of the system leaves half is noticed when it is read.
            os.sync()
        elif changed or gone:
            settle(self._entries)
        self.entries = dict(now)

    def keepCookie(self, cookie: bytes) -> None:
        """
        Remember where the server was with all that has been kept.

        @raise ConfigurationError: the system does not let us.
        """
        if cookie != self.cookie or not self.isWhole:
            content = self._source + b"\n" + cookie
            writeFile(self._file, content, 0o600, replace=True, workshop=self.workshop)
            self.cookie, self.isWhole = cookie, True
