"""
Tests for L{tlstunnel.tls.notes}: files to which we write in search of faults.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.permission import userName
from tlstunnel.tls.notes import LAST, Notes


class NotesTests(SynchronousTestCase):
    """
    L{Notes}.
    """

    _write = staticmethod(os.write)

    def setUp(self) -> None:
        """
        A place for a file, and who listens to what is lost.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        self.path = folder.resolve() / "notes"
        self.said: list[str] = []

        def hear(event: LogEvent) -> None:
            if event.get("event") == "notes":
                self.said.append(formatEvent(event).replace(str(folder.resolve()), ""))

        globalLogPublisher.addObserver(hear)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, hear)  # type: ignore[arg-type]

    def opened(self, largest: int = 1000) -> Notes:
        """
        Open it.
        """
        notes = Notes(self.path, "trace", largest)
        notes.open()
        return notes

    def test_itIsForNobodyElse(self) -> None:
        """
        Whatever the umask.
        """
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.opened()
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_linesOfSeveralDoNotMix(self) -> None:
        """
        Each is appended in one piece, behind what others have written meanwhile.
        """
        one, other = self.opened(), self.opened()
        for number in range(3):
            one.write(b"one %d" % number)
            other.write(b"other %d" % number)
        lines = [b"one 0", b"other 0", b"one 1", b"other 1", b"one 2", b"other 2", b""]
        self.assertEqual(self.path.read_bytes().split(b"\n"), lines)

    def test_itIsNoneOfTheProgramsThatAreStarted(self) -> None:
        """
        A program of somebody else could read it, or write to it.
        """
        notes = self.opened()
        self.assertFalse(os.get_inheritable(notes._file))

    def refusals(self) -> tuple[str, ...]:
        """
        Why it is not opened, and what is found without opening it.
        """
        found = []
        notes = Notes(self.path, "trace")
        calls: tuple[Callable[[], None], ...] = notes.open, notes.check
        for call in calls:
            try:
                call()
            except ConfigurationError as error:
                found.append(str(error).replace(f"{self.path.parent}/", ""))
        return tuple(dict.fromkeys(found))

    def test_symbolicLinks(self) -> None:
        """
        Somebody else might have put them there; also those that lead nowhere.
        """
        target = self.path.with_name("target")
        self.path.symlink_to(target)
        said = ("--trace notes: is a symbolic link; give the file itself",)
        self.assertEqual(self.refusals(), said)
        self.assertFalse(target.exists())
        target.touch(0o600)
        self.assertEqual(self.refusals(), said)

    def test_hardLinks(self) -> None:
        """
        Likewise.
        """
        self.path.touch(0o600)
        self.path.with_name("other").hardlink_to(self.path)
        said = "--trace notes: has another name, too (a hard link); remove it: rm "
        self.assertEqual(self.refusals(), (f"{said}{self.path}".replace(str(self.path), "notes"),))

    def test_whatIsNoFile(self) -> None:
        """
        Nobody waits for who would read from a pipe.
        """
        said = ("--trace notes: is no regular file; give one, or a name that is free",)
        os.mkfifo(self.path, 0o600)
        self.assertEqual(self.refusals(), said)
        self.path.unlink()
        self.path.mkdir()
        self.assertIn("notes: is no regular file; give one, or a name", " ".join(self.refusals()))

    def test_aDeviceIsNoFile(self) -> None:
        """
        Not even that which swallows all.
        """
        self.path = Path("/dev/null")
        (said,) = self.refusals()
        self.assertIn("null: is no regular file", said)

    def test_filesThatOthersCanRead(self) -> None:
        """
        They may have been made for that.
        """
        self.path.touch()
        self.path.chmod(0o640)
        said = "--trace notes: is open to others (mode 0640); run 'chmod 600 notes'"
        self.assertEqual(self.refusals(), (said,))

    def test_filesOfOthers(self) -> None:
        """
        Who owns a file can read it, whatever its permissions, and whoever we are.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can give files to others")
        self.path.touch(0o600)
        os.chown(self.path, 1, 1)
        said = f"--trace notes: belongs to user {userName(1)}, and not to us; remove it: rm notes"
        self.assertEqual(self.refusals(), (said,))

    def test_directoriesThatAreNotThere(self) -> None:
        """
        The words are the same, whether something is to be made or not.
        """
        self.path = self.path.parent / "none" / "notes"
        (said,) = self.refusals()
        self.assertIn("cannot be written: No such file or directory; give a file in", said)

    def test_aCheckMakesNothing(self) -> None:
        """
        It tells only whether it could.
        """
        Notes(self.path, "trace").check()
        self.assertFalse(self.path.exists())

    def test_itHasAnEnd(self) -> None:
        """
        One last line says so, however many go on writing, and they are told once.
        """
        one, other = self.opened(300), self.opened(300)
        for _ in range(20):
            one.write(b"x" * 99)
            other.write(b"x" * 99)
        content = self.path.read_bytes()
        self.assertEqual(content, (b"x" * 99 + b"\n") * 2 + LAST)
        self.assertLessEqual(len(content), 300)
        self.assertEqual(self.said, ["/notes gets no more lines: it is full"] * 2)
        again = self.opened(300)
        again.write(b"x")
        self.assertEqual(self.path.read_bytes(), content)

    def test_itGoesOnOnceItWasEmptied(self) -> None:
        """
        As whoever does that expects.
        """
        notes = self.opened(300)
        for _ in range(3):
            notes.write(b"x" * 99)
        os.truncate(self.path, 0)
        notes.write(b"y")
        self.assertEqual(self.path.read_bytes(), b"y\n")

    def test_whatIsMovedAwayIsWrittenToUntilItIsOpenedAnew(self) -> None:
        """
        As for rotation, with a reload.
        """
        before = self.opened()
        moved = self.path.with_suffix(".1")
        self.path.rename(moved)
        after = self.opened()
        before.write(b"before")
        after.write(b"after")
        self.assertEqual((moved.read_bytes(), self.path.read_bytes()), (b"before\n", b"after\n"))

    def test_aFullDiskLosesLines(self) -> None:
        """
        And nobody is harmed; the next line does not go on with one that was cut.
        """
        notes = self.opened()
        room = [6]

        def write(file: int, data: bytes) -> int:
            if not room[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written = self._write(file, data[: room[0]])
            room[0] -= written
            return written

        self.patch(os, "write", write)
        for _ in range(3):
            notes.write(b"x" * 9)
        room[0] = 100
        notes.write(b"end")
        self.assertEqual(self.path.read_bytes(), b"xxxxxx\nend\n")
        self.assertEqual(self.said, ["/notes gets no more lines: No space left on device"])

    def test_aDiskThatFailsLosesLines(self) -> None:
        """
        Whatever the system says.
        """
        notes = self.opened()

        def fail(*arguments: object) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        self.patch(os, "write", fail)
        notes.write(b"x")
        notes.write(b"y")
        self.assertEqual(self.said, ["/notes gets no more lines: Input/output error"])
