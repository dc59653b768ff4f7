"""
Tests for L{tlstunnel.local.callers} and L{tlstunnel.local.quotas}: who connects, and
how much each may have.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tlstunnel.identity import caller as knowing
from tlstunnel.identity.caller import Caller
from tlstunnel.local import callers
from tlstunnel.local.callers import callerOf
from tlstunnel.local.quotas import Quotas
from tlstunnel.local.refusals import TooMany, Unidentified

#: A process that is somebody, connects, and is somebody else before it is looked at.
_SOMEBODY = """
import os, socket, sys
uid, first, count = map(int, sys.argv[2:])
os.setgroups(range(first, first + count))
os.setresgid(4242, 4242, 4242)
os.setresuid(uid, uid, 0)
sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
sock.connect(sys.argv[1])
os.setresuid(0, 0, 0)
os.setgroups([])
sock.recv(1)
"""


#: A service in a user namespace, which says whom it sees.
_INSIDE = """
import socket, sys
from tlstunnel.local.callers import callerOf
from tlstunnel.local.refusals import Unidentified
listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listening.bind(sys.argv[1])
listening.listen()
print("listening", flush=True)
for _ in range(3):
    sock, _ = listening.accept()
    try:
        caller = callerOf(sock)
        print(caller.uid, set(caller.gids), flush=True)
    except Unidentified:
        print("refused", flush=True)
    sock.close()
"""


def seen(uid: int, first: int, count: int, path: str) -> Caller:
    """
    How a process with that user and those groups is seen.
    """
    if os.geteuid():
        raise SkipTest("only root can be somebody else")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(path)
        Path(path).chmod(0o666)
        listening.listen()
        listening.settimeout(20)
        words = [sys.executable, "-c", _SOMEBODY, path, *map(str, (uid, first, count))]
        with subprocess.Popen(words) as process:
            sock, _ = listening.accept()
            with sock:
                sock.send(b"x")
                caller = callerOf(sock)
                assert caller.pid == process.pid
            assert process.wait(20) == 0
    return caller


class CallerTests(SynchronousTestCase):
    """
    Who is at the other end.
    """

    def test_whoHasConnectedIsKnown(self) -> None:
        """
        Here it is us.
        """
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with one, other:
            caller = callerOf(one)
        self.assertEqual((caller.uid, caller.pid), (os.geteuid(), os.getpid()))
        self.assertEqual(caller.gids, {os.getegid(), *os.getgroups()})

    def test_itIsWhoConnectedAndNotWhoThatIsNow(self) -> None:
        """
        Also the groups are those of then.
        """
        caller = seen(1234, 5000, 3, self._file())
        self.assertEqual(caller, Caller(1234, frozenset({4242, 5000, 5001, 5002})))

    def test_whoHasMoreGroupsThanPythonAsksForHasThemAll(self) -> None:
        """
        Also as many as can be.
        """
        for count in (256, 257, 65536):
            with self.subTest(count=count):
                caller = seen(1234, 5000, count, self._file())
                self.assertEqual(caller.gids, {4242, *range(5000, 5000 + count)})

    def test_largeNumbersAreNotNegative(self) -> None:
        """
        They are unsigned.
        """
        caller = seen(0xFFFFFFF0, 0xFFFFFF00, 1, self._file())
        self.assertEqual(caller, Caller(0xFFFFFFF0, frozenset({4242, 0xFFFFFF00})))

    def test_whatTheSystemDoesNotSayIsNoAbsenceOfGroups(self) -> None:
        """
        It is an error, whatever it is that fails.
        """
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with one, other:
            for many in (OSError(errno.ENOMEM, "no memory"), OSError(errno.ERANGE, "too many")):

                class Sock:
                    """
                    Has more than Python asks for.
                    """

                    def getsockopt(self, level: int, option: int, size: int) -> bytes:
                        """
                        As a socket's.
                        """
                        if option == callers._SO_PEERGROUPS:
                            raise OSError(errno.ERANGE, "too many")
                        return one.getsockopt(level, option, size)

                with patch.object(callers, "_many", side_effect=many):
                    refused = self.assertRaises(Unidentified, callerOf, Sock())
                self.assertIn(str(many.strerror), refused.detail)

    def test_whoIsNotMappedIsNobodyKnown(self) -> None:
        """
        In a user namespace all of them look like one, who is another one there, or we ourselves.
        """
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        us = os.geteuid(), os.getegid()
        with one, other:
            for user, group, found in (
                (None, None, us),
                (65534, 65534, us),
                (us[0], None, None),
                (None, us[1], (us[0], None)),
            ):
                numbers = {"user": user, "group": group}
                self.patch(knowing, "numberOfStrangers", numbers.__getitem__)
                self.patch(callers, "numberOfStrangers", numbers.__getitem__)
                if found is None:
                    refused = self.assertRaises(Unidentified, callerOf, one)
                    self.assertIn("you may be anybody", refused.detail)
                    continue
                caller = callerOf(one)
                self.assertEqual(caller.uid, found[0])
                self.assertEqual(us[1] in caller.gids, found[1] is not None)

    def test_aServiceInANamespaceKnowsOnlyWhoIsMapped(self) -> None:
        """
        A real one, in which root alone has a number: not even for itself is nobody a user.
        """
        if os.geteuid() or subprocess.run(["unshare", "-U", "-r", "true"], check=False).returncode:
            raise SkipTest("needs root, and a user namespace")
        path = self._file()
        words = ["unshare", "-U", "-r", sys.executable, "-c", _INSIDE, path]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as inside:
            assert inside.stdout is not None
            self.assertEqual(inside.stdout.readline(), "listening\n")
            Path(path).chmod(0o666)
            for uid in 65534, 1000:
                somebody = [sys.executable, "-c", _SOMEBODY, path, str(uid), "1", "1"]
                subprocess.run(somebody, check=False, timeout=20)
                self.assertEqual(inside.stdout.readline(), "refused\n")
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as us:
                us.connect(path)
                self.assertEqual(inside.stdout.readline(), "0 {0}\n")
            self.assertEqual(inside.wait(20), 0)

    def test_whatIsNoUNIXSocketHasNoCaller(self) -> None:
        """
        Nothing but a refusal is raised.
        """
        with socket.socket() as sock:
            self.assertRaises(Unidentified, callerOf, sock)

    def _file(self) -> str:
        """
        A place that anybody can reach.
        """
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        Path(directory).chmod(0o755)
        return f"{directory}/socket"


class QuotaTests(SynchronousTestCase):
    """
    How much each may have.
    """

    def test_eachUserHasAQuotaOfItsOwn(self) -> None:
        """
        Whose is used up is told what to do.
        """
        quotas = Quotas(2)
        for uid in (1, 1, 2):
            quotas.enter(uid)
        refused = self.assertRaises(TooMany, quotas.enter, 1)
        self.assertIn("user 1 has 2 connections", refused.detail)
        quotas.enter(2)
        quotas.leave(1)
        quotas.enter(1)

    def test_noLimitIsNone(self) -> None:
        """
        As for tunnels.
        """
        quotas = Quotas(0)
        for _ in range(1000):
            quotas.enter(1)

    def test_aLimitCanBeChanged(self) -> None:
        """
        What there is stays.
        """
        quotas = Quotas(3)
        for _ in range(3):
            quotas.enter(1)
        quotas.perUser = 1
        quotas.leave(1)
        self.assertRaises(TooMany, quotas.enter, 1)
        quotas.perUser = 3
        quotas.enter(1)

    def test_nobodyGetsAllDescriptors(self) -> None:
        """
        Whatever the limit for each user is, unless there is none.
        """
        with patch("tlstunnel.local.quotas.descriptorLimit", lambda: 64):
            quotas, unlimited = Quotas(100), Quotas(0)
            for _ in range(5):
                quotas.enter(1)
            refused = self.assertRaises(TooMany, quotas.enter, 1)
            self.assertIn("raise the limit of open files", refused.detail)
            quotas.enter(2)
            for _ in range(100):
                unlimited.enter(1)

    @given(st.lists(st.integers(0, 3)), st.integers(1, 3))
    def test_nothingIsLeftOfWhoHasNothing(self, uids: list[int], most: int) -> None:
        """
        Users come and go for years.
        """
        quotas = Quotas(most)
        entered: list[int] = []
        for uid in uids:
            if entered.count(uid) < most:
                quotas.enter(uid)
                entered.append(uid)
            else:
                self.assertRaises(TooMany, quotas.enter, uid)
        self.assertEqual(len(quotas), len(set(entered)))
        for uid in entered:
            quotas.leave(uid)
        self.assertEqual(len(quotas), 0)
