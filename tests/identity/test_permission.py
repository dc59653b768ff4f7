"""
Tests for L{tlstunnel.identity.permission}: what to do about files that the system keeps from us.

Root may read everything, so that these tests are those of another user where root runs them.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

from tests.users import STRANGER, closed
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pem import loadKey, readFile
from tlstunnel.identity.permission import ourName, toRead, toWrite, userName
from tlstunnel.identity.pool import Pool

IS_ROOT = os.geteuid() == 0


class NameTests(SynchronousTestCase):
    """
    What users are called.
    """

    def test_aUserIsNamedAsTheSystemKnowsIt(self) -> None:
        """
        And we are who we are in effect.
        """
        self.assertEqual(userName(0), pwd.getpwuid(0).pw_name)
        self.assertEqual(ourName(), userName(os.geteuid()))

    def test_aUserWithoutANameIsANumber(self) -> None:
        """
        As in a container.
        """
        self.assertEqual(userName(STRANGER), str(STRANGER))


class ReadingTests(SynchronousTestCase):
    """
    A file that we may not read.
    """

    def setUp(self) -> None:
        """
        One in a directory that everybody may search.
        """
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        for each in (self.folder, *self.folder.parents[:2]):
            each.chmod(0o755)
        self.file = self.folder / "privkey.pem"
        self.file.write_text("nothing\n")
        self.file.chmod(0o600)
        self.addCleanup(self.file.chmod, 0o600)

    def beStranger(self) -> None:
        """
        Be a user without any rights.
        """
        os.seteuid(STRANGER)
        self.addCleanup(os.seteuid, 0)

    @skipUnless(IS_ROOT, "needs root")
    def test_thePrivateKeyOfAnotherUserIsToBeGivenToUs(self) -> None:
        """
        And not to be opened to others, which would be refused.
        """
        self.beStranger()
        error = self.assertRaises(ConfigurationError, loadKey, self.file)
        self.assertEqual(
            str(error),
            f"{self.file}: cannot be read: Permission denied; we run as user {STRANGER}: run "
            f"'chown {STRANGER} {self.file}'",
        )
        os.seteuid(0)
        os.chown(self.file, STRANGER, -1)
        os.seteuid(STRANGER)
        self.assertEqual(readFile(self.file, private=True), b"nothing\n")

    @skipUnless(IS_ROOT, "needs root")
    def test_anOpenKeyOfRootIsToBeClosedAndGivenToUs(self) -> None:
        """
        To close it alone would close it to us, too.
        """
        self.file.chmod(0o644)
        self.beStranger()
        error = self.assertRaises(ConfigurationError, readFile, self.file, private=True)
        self.assertEqual(
            error.remedy, f"run 'chmod 600 {self.file} && chown {STRANGER} {self.file}'"
        )

    @skipUnless(IS_ROOT, "needs root")
    def test_whereAGroupMayReadWeAreToBeInIt(self) -> None:
        """
        As in ssl-cert of Debian, whose keys others use as well.
        """
        group = next(each for each in grp.getgrall() if each.gr_gid)
        os.chown(self.file, 0, group.gr_gid)
        self.file.chmod(0o640)
        self.beStranger()
        self.assertEqual(
            toRead(self.file),
            f"run 'usermod -aG {group.gr_name} {STRANGER}' to put user {STRANGER} into its group, "
            "and restart",
        )

    def test_theFirstDirectoryThatKeepsUsOutIsNamed(self) -> None:
        """
        Also where the file is only reached by a link.
        """
        link = self.folder.parent / f"{self.folder.name}-link"
        link.symlink_to(self.folder, target_is_directory=True)
        with closed(self.folder):
            for way in (self.folder, link):
                self.assertEqual(
                    toRead(way / "below" / "it"),
                    f"we run as user {ourName()}, whom the directory {self.folder} keeps out: run "
                    f"'chmod a+x {self.folder}', or use another place",
                )
            self.assertIn(f"run 'chmod a+rx {self.folder}'", toRead(self.folder))

    def test_ourOwnFileIsToBeOpenedToUs(self) -> None:
        """
        Whose mode keeps even its owner out.
        """
        if IS_ROOT:
            os.chown(self.file, STRANGER, -1)
        self.file.chmod(0)
        if IS_ROOT:
            self.beStranger()
        self.assertEqual(toRead(self.file), f"run 'chmod u+r {self.file}'")

    def test_whatElseForbidsItIsForTheAdministratorToFind(self) -> None:
        """
        Such as AppArmor.
        """
        self.assertEqual(
            toRead(self.file),
            f"see with 'namei -l {self.file}' what keeps user {ourName()} from it",
        )

    def test_aPathIsQuotedAsAShellWantsIt(self) -> None:
        """
        So that the command can be copied.
        """
        path = self.folder / "a b"
        self.assertIn(f"'namei -l '{path}''", toRead(path))

    def test_aPoolOfSomebodyElseIsToBeGivenToUsAsAWhole(self) -> None:
        """
        A key of it alone would be of no use.
        """
        with closed(self.folder):
            error = self.assertRaises(
                ConfigurationError,
                Pool(self.folder).existingDirectoryOf,
                Identity.parse("www.example.org"),
            )
            self.assertEqual(
                str(error),
                f"--pool {self.folder}: is closed to us; run 'chown -R {ourName()} {self.folder}' "
                f"to give the whole of it to user {ourName()}, as whom we run, or name another one",
            )


class WritingTests(SynchronousTestCase):
    """
    A place where we may not write.
    """

    def test_theDirectoryThatIsThereIsNamed(self) -> None:
        """
        The lowest one.
        """
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        self.assertEqual(
            toWrite(folder / "a" / "b"),
            f"let user {ourName()} write in {folder}, or give another `pool`",
        )
        self.assertTrue(stat.S_ISDIR(folder.stat().st_mode))

    def test_whoAsksIsKnownByName(self) -> None:
        """
        For whoever reads it knows users so.
        """
        self.patch(os, "geteuid", lambda: 0)
        self.assertIn(f"let user {userName(0)} write", toWrite(Path("/nonexistent/x")))
