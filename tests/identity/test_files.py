"""
Tests for L{tlstunnel.identity.files}: that whatever the system says is an error with a path.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.users import closed
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity import files
from tlstunnel.identity.files import (
    entries,
    isDirectory,
    isThere,
    makeDirectory,
    present,
    reading,
    writeFile,
)


class FilesTestCase(SynchronousTestCase):
    """
    A directory.
    """

    def setUp(self) -> None:
        """
        Make it.
        """
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()

    def fails(
        self, path: Path, reason: str, call: Callable[..., Any], *arguments: Any
    ) -> ConfigurationError:
        """
        C{call} is an error about C{path}.
        """
        error = self.assertRaises(ConfigurationError, call, *arguments)
        assert isinstance(error, ConfigurationError)
        self.assertEqual(error.subject, str(path))
        self.assertIn(reason, error.problem)
        return error


class ReadingTests(FilesTestCase):
    """
    Looking at what is there.
    """

    def test_kindsAreTold(self) -> None:
        """
        Also through links; nothing is no error.
        """
        file = self.directory / "file"
        file.write_bytes(b"")
        (self.directory / "link").symlink_to(file)
        (self.directory / "dangling").symlink_to(self.directory / "nothing")
        for name, found in (
            ("", (True, True, True)),
            ("file", (True, False, True)),
            ("link", (True, False, True)),
            ("dangling", (True, False, False)),
            ("nothing", (False, False, False)),
            ("file/below", (False, False, False)),
        ):
            path = self.directory / name
            self.assertEqual((present(path), isDirectory(path), isThere(path)), found, name)
        self.assertEqual(
            [each.name for each in entries(self.directory)], ["dangling", "file", "link"]
        )

    def test_whatCannotBeSearchedIsNamed(self) -> None:
        """
        What is in it is unknown, not absent.
        """
        path = self.directory / "file"
        path.write_bytes(b"")
        with closed(self.directory):
            for call in (present, isDirectory, isThere):
                self.fails(path, "cannot be read: Permission denied", call, path)
            self.fails(self.directory, "cannot be read: Permission denied", entries, self.directory)

    def test_withoutDescriptorsTheLimitIsToBlame(self) -> None:
        """
        And no disk.
        """
        error = self.fails(self.directory, "Too many open files", self.lackDescriptors)
        self.assertIn("raise the limit of open files", error.remedy)

    def lackDescriptors(self) -> None:
        """
        Read where none is left.
        """
        with reading(self.directory):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def test_aPathThatIsTooLongIsNamed(self) -> None:
        """
        As is one that leads in a circle.
        """
        path = self.directory / ("a" * 300)
        for call in (isDirectory, isThere, entries, makeDirectory):
            self.fails(path, "File name too long", call, path)
        self.assertFalse(present(path))
        circle = self.directory / "circle"
        circle.symlink_to(circle)
        self.fails(circle, "Too many levels of symbolic links", isDirectory, circle)


class WritingTests(FilesTestCase):
    """
    L{writeFile} and L{makeDirectory}.
    """

    def setUp(self) -> None:
        """
        A file to write.
        """
        super().setUp()
        self.file = self.directory / "key.pem"

    def refuse(self, code: int) -> Callable[..., None]:
        """
        What says no.
        """

        def refuse(*words: object, **more: object) -> None:
            raise OSError(code, os.strerror(code))

        return refuse

    def test_whereNothingCanBeWrittenIsNamed(self) -> None:
        """
        A file by its own name, and not by that of a temporary one.
        """
        with closed(self.directory):
            self.fails(self.file, "cannot be written", writeFile, self.file, b"", 0o600, True)
            self.fails(self.file, "Permission denied", makeDirectory, self.file)
        self.file.write_bytes(b"")
        self.fails(self.file, "cannot be made: File exists", makeDirectory, self.file)

    def test_hardLinksAreNotNeeded(self) -> None:
        """
        FAT and CIFS have none; a file that is there is not overwritten nevertheless.
        """
        for code in (errno.EPERM, errno.EOPNOTSUPP):
            self.patch(os, "link", self.refuse(code))
            writeFile(self.file, b"ours", 0o600, replace=False)
            self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)
            self.fails(self.file, "File exists", writeFile, self.file, b"other", 0o600, False)
            self.assertEqual(self.file.read_bytes(), b"ours")
            self.assertEqual(entries(self.directory), [self.file])
            self.file.unlink()

    def test_aFullDiskLeavesNothingWithoutHardLinks(self) -> None:
        """
        Nor what stood for the file until it was there.
        """
        self.patch(os, "link", self.refuse(errno.EPERM))
        self.patch(Path, "replace", self.refuse(errno.ENOSPC))
        self.fails(self.file, "No space left", writeFile, self.file, b"", 0o600, False)
        self.assertEqual(entries(self.directory), [])

    def test_withoutPermissionsTheMountDecides(self) -> None:
        """
        What nobody else can read is written; a key that others could read is not.
        """
        make = tempfile.mkstemp
        mode = 0

        def mkstemp(**settings: Any) -> tuple[int, str]:
            descriptor, name = make(**settings)
            os.fchmod(descriptor, mode)
            return descriptor, name

        self.patch(tempfile, "mkstemp", mkstemp)
        self.patch(files, "_permit", lambda path, mode: None)
        mode = 0o755
        self.fails(self.file, "read by others (mode 0755)", writeFile, self.file, b"", 0o600, False)
        self.assertEqual(entries(self.directory), [])
        mode = 0o700
        writeFile(self.file, b"key", 0o600, replace=False)
        self.assertEqual(self.file.read_bytes(), b"key")

    def test_aFileSystemWithoutPermissionsIsNoError(self) -> None:
        """
        It says that it cannot set them.
        """
        self.patch(Path, "chmod", self.refuse(errno.EPERM))
        makeDirectory(self.directory / "a" / "b")
        writeFile(self.file, b"", 0o600, replace=True)
        self.patch(Path, "chmod", self.refuse(errno.EIO))
        self.fails(self.file, "Input/output error", writeFile, self.file, b"", 0o600, True)
