"""
Files and directories of a pool: whatever the system has against them is a L{ConfigurationError}
that names the path.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.permission import toRead, toWrite

_ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR))

# What file systems say that know no hard links (link(2)), or no permissions (chmod(2)), as those of
# FAT and of CIFS.
_UNSUPPORTED = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS))

# How files begin that are not there as a whole yet.
UNFINISHED = ".new-"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """
    Read C{path}.

    @raise ConfigurationError: the system does not let us.
    """
    with _naming(path, "read", toRead):
        yield


@contextmanager
def _naming(path: Path, done: str, permitting: Callable[[Path], str] = toWrite) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(
            str(path), f"cannot be {done}: {reason}", _remedy(path, error, permitting)
        ) from None


def _remedy(path: Path, error: OSError, permitting: Callable[[Path], str]) -> str:
    """
    What to do about something that the system has against the use of C{path}.

    @param permitting: says what would let us.
    """
    match error.errno:
        case errno.EACCES | errno.EPERM:
            return permitting(path)
        case errno.ENOENT | errno.ENOTDIR | errno.ENAMETOOLONG:
            with suppress(OSError):  # which it is where there is no link
                return f"it is a link to {path.readlink()}: make that, or remove it"
            return "put it there, or see whether its name is right"
        case errno.EISDIR:
            return "give a file in it"
        case errno.EEXIST:
            return "see who has made it meanwhile"
        case errno.EMFILE | errno.ENFILE:
            return "raise the limit of open files (LimitNOFILE in a unit)"
        case errno.EROFS:
            return "let us write there (ReadWritePaths in a unit)"
        case errno.ENOSPC | errno.EDQUOT:
            return "make room"
        case _:
            return "see whether its disk is in order"


def present(path: Path) -> bool:
    """
    Whether there is something at C{path}, be it a symbolic link that leads nowhere: what decides
    about trust is never passed over because it is broken.

    @raise ConfigurationError: we are not let to see.
    """
    with reading(path):
        try:
            path.lstat()
        except OSError as error:
            # The name of an identity can be longer than that of any file.
            if error.errno in _ABSENT or error.errno == errno.ENAMETOOLONG:
                return False
            raise
    return True


def isThere(path: Path) -> bool:
    """
    Whether C{path} is something, or leads to something.

    @raise ConfigurationError: we are not let to see.
    """
    return _modeOf(path) != 0


def isDirectory(path: Path) -> bool:
    """
    Whether C{path} is a directory, or leads to one.

    @raise ConfigurationError: we are not let to see.
    """
    return stat.S_ISDIR(_modeOf(path))


def _modeOf(path: Path) -> int:
    with reading(path):
        try:
            return path.stat().st_mode
        except OSError as error:
            if error.errno in _ABSENT:
                return 0
            raise


def entries(directory: Path) -> list[Path]:
    """
    What is in C{directory}, in the order of the names.

    @raise ConfigurationError: we are not let to see.
    """
    with reading(directory):
        # Paths compare slowly, and there may be thousands.
        return [directory / name for name in sorted(os.listdir(directory))]  # noqa: PTH208


def makeDirectory(path: Path) -> None:
    """
    Make a directory, and those above it, for nobody else to look into, whatever the umask; those
    that are there already stay as they are.

    @raise ConfigurationError: the system does not let us.
    """
    if isDirectory(path):
        return
    makeDirectory(path.parent)
    with _naming(path, "made"):
        path.mkdir(mode=0o700, exist_ok=True)
        _permit(path, 0o700)


def isUnfinished(name: str) -> bool:
    """
    Whether a file of that name is what L{writeFile} has not finished, or never will; it has no
    extension, as a file about the domains below C{new-york.example} has.
    """
    return name.startswith(UNFINISHED) and "." not in name[1:]


@contextmanager
def newDirectory(path: Path) -> Iterator[Path]:
    """
    A directory to be filled, which is then there as C{path}, as a whole; where another process was
    faster, that process's directory stays.

    @raise ConfigurationError: the system does not let us.
    """
    makeDirectory(path.parent)
    with _naming(path, "made"):
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=UNFINISHED))
        try:
            _permit(temporary, 0o700)
            yield temporary
            try:
                temporary.rename(path)
            except OSError as error:
                if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def writeFile(
    path: Path,
    content: bytes,
    mode: int,
    replace: bool,
    workshop: Path | None = None,
    isLasting: bool = True,
) -> None:
    """
    Write a file so that it is there as a whole, or not at all.

    @param mode: its permissions, whatever the umask; where the file system keeps others, those must
        not let anybody read it who could not with these.
    @param replace: whether another file of that name may be there.
    @param workshop: where it is made, in the same file system, if not beside its place.
    @param isLasting: whether to wait until the disk has it; without that, a system that crashes may
        leave an empty file.
    @raise ConfigurationError: it is, and may not; or the system does not let us.
    """
    with _naming(path, "written"):
        descriptor, name = tempfile.mkstemp(dir=workshop or path.parent, prefix=UNFINISHED)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                _permit(temporary, mode)
                found = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                if found & ~mode & 0o077:
                    raise ConfigurationError(
                        str(path),
                        f"could be read by others (mode {found:04o}), as its file system has no "
                        "permissions",
                        "let it be mounted with umask=077, or give another `pool`",
                    )
                file.write(content)
                file.flush()
                if isLasting:
                    os.fsync(file.fileno())
            if not replace:
                _claim(path, temporary)
            else:
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def moveFile(path: Path, target: Path) -> None:
    """
    Give a file its place, from one moment to the next; another one that is there goes.

    @raise ConfigurationError: the system does not let us.
    """
    with _naming(target, "written"):
        path.replace(target)


def removeFile(path: Path) -> None:
    """
    Remove a file, if it is there.

    @raise ConfigurationError: the system does not let us.
    """
    with _naming(path, "removed"):
        path.unlink(missing_ok=True)


def settle(directory: Path) -> None:
    """
    Let what was made and removed in C{directory} outlive a crash of the system.

    @raise ConfigurationError: the system cannot do that.
    """
    with _naming(directory, "written"):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _permit(path: Path, mode: int) -> None:
    """
    Set permissions, where the file system has any.
    """
    try:
        path.chmod(mode)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


def _claim(path: Path, temporary: Path) -> None:
    """
    Let C{temporary} appear as C{path} if there is nothing yet.

    @raise FileExistsError: there is.
    """
    try:
        path.hardlink_to(temporary)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        # Whoever makes the file may replace it.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            temporary.replace(path)
        except OSError:
            with suppress(OSError):
                path.unlink()
            raise
