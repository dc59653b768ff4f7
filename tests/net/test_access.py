"""
Tests for L{tlstunnel.net.access}: who may connect to a UNIX socket.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
import stat
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.users import STRANGER
from tlstunnel.address import UNIXAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.net.access import SocketAccess
from tlstunnel.net.claim import Claim
from tlstunnel.net.listen import bind


class SocketAccessTests(SynchronousTestCase):
    """
    L{SocketAccess}, on sockets that listen.
    """

    def setUp(self) -> None:
        """
        A path of a socket, and a umask as that of the unit in C{docs}.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        directory.parent.chmod(0o755)
        directory.chmod(0o777)
        self.path = os.path.relpath(directory / "s")
        self.addCleanup(os.umask, os.umask(0o077))

    def bound(self, access: SocketAccess) -> os.stat_result:
        """
        Bind, and look at what there is.
        """
        address = UNIXAddress(self.path)
        (sock,) = bind(address, Claim((address,), access))
        self.addCleanup(sock.close)
        return Path(self.path).stat()

    def fails(self, access: SocketAccess, message: str) -> None:
        """
        It cannot be bound so, and nothing stays there.
        """
        address = UNIXAddress(self.path)
        claim = Claim((address,), access)
        error = self.assertRaises(ConfigurationError, bind, address, claim)
        self.assertIn(message, str(error))
        self.assertFalse(os.path.lexists(self.path))

    def become(self, *groups: int) -> None:
        """
        Be a user without rights, until the end of the test.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can be somebody else")
        self.addCleanup(os.setgroups, os.getgroups())
        os.setgroups(groups)
        self.addCleanup(os.seteuid, 0)
        os.seteuid(STRANGER)

    def test_theUmaskDecidesWhereNothingIsAskedFor(self) -> None:
        """
        It is that of whoever starts us.
        """
        self.assertEqual(stat.S_IMODE(self.bound(SocketAccess()).st_mode), 0o700)

    def test_modeWinsOverTheUmask(self) -> None:
        """
        Whatever that is.
        """
        self.assertEqual(stat.S_IMODE(self.bound(SocketAccess(mode=0o666)).st_mode), 0o666)

    def test_theUmaskIsWhatItWas(self) -> None:
        """
        Whether it can be bound or not.
        """
        self.bound(SocketAccess(mode=0o666))
        address = UNIXAddress(self.path)
        claim = Claim((address,), SocketAccess(mode=0o666))
        self.assertRaises(ConfigurationError, bind, address, claim)
        self.assertEqual(os.umask(0o077), 0o077)

    def test_whatComesOutOtherwiseIsNamed(self) -> None:
        """
        As where a directory has permissions of its own for what is in it (acl(5)).
        """
        self.patch(os, "umask", lambda mask: 0o077)
        self.fails(SocketAccess(mode=0o666), "has 0700 instead")

    def test_ownerAndGroupAreNamesOrNumbers(self) -> None:
        """
        Root can give it to anybody.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can give a socket away")
        user, group = pwd.getpwnam("nobody"), grp.getgrgid(pwd.getpwnam("nobody").pw_gid)
        for owner, team in (("nobody", group.gr_name), (str(user.pw_uid), str(group.gr_gid))):
            found = self.bound(SocketAccess(0o660, owner, team))
            self.assertEqual((found.st_uid, found.st_gid), (user.pw_uid, group.gr_gid))
            self.assertEqual(stat.S_IMODE(found.st_mode), 0o660)
            Path(self.path).unlink()

    def test_whoIsNotKnownIsNamed(self) -> None:
        """
        With the option.
        """
        self.fails(SocketAccess(owner="no such"), "--socket-owner no such: there is no such user")
        self.fails(SocketAccess(group="no such"), "--socket-group no such: there is no such group")

    def test_aGroupOfOurOwnNeedsNoRights(self) -> None:
        """
        It is how a tunnel that is not root lets others in; those who are not in the group are not.
        """
        self.become(STRANGER + 1)
        found = self.bound(SocketAccess(0o660, group=str(STRANGER + 1)))
        self.assertEqual((found.st_uid, found.st_gid), (STRANGER, STRANGER + 1))
        os.seteuid(0)
        for groups, result in (([STRANGER + 1], None), ([STRANGER + 2], PermissionError)):
            os.setgroups(groups)
            os.seteuid(STRANGER + 3)
            with socket.socket(socket.AF_UNIX) as client:
                if result is None:
                    client.connect(self.path)
                else:
                    self.assertRaises(result, client.connect, self.path)
            os.seteuid(0)

    def test_whatIsNotPermittedIsNamed(self) -> None:
        """
        Others, and groups of others.
        """
        self.become()
        hint = "not root gives a socket to nobody else"
        self.fails(SocketAccess(owner="0"), hint)
        self.fails(SocketAccess(group=str(STRANGER + 1)), "Operation not permitted")
