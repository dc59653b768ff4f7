"""
Tests for tunnels whose backend is a program: when it is started, what it takes, and how that fails.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import time
from collections.abc import Callable
from errno import EMFILE
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.threads import deferToThread

from tests.loopback import PATIENCE, Reset, wait
from tests.tunnel.programstage import MIB, MORE_THAN_NEEDED, ProgramTests, ask, rest, shell
from tlstunnel.address import ExecAddress
from tlstunnel.identity.names import Selector
from tlstunnel.net import child as children
from tlstunnel.net import launch
from tlstunnel.tunnel.execution import Execution
from tlstunnel.tunnel.limits import Limits


class StartTests(ProgramTests):
    """
    What keeps a program from being started.
    """

    async def test_nothingIsStartedBeforeTheClientIsVerified(self) -> None:
        """
        Neither by a connection, nor by a handshake that fails.
        """
        path = str(Path(self.mktemp()).absolute())

        def run() -> None:
            host, port = self.service.addresses[0].rsplit(":", 1)
            with socket.create_connection((host, int(port)), PATIENCE):
                time.sleep(0.1)
            network = self.connect(self.service)
            network.read(1)
            network.sock.close()

        self.service = self.tunnel(
            "", remote=(shell(f"touch {path}"),), remoteID=Selector.parse("@example.org")
        )
        try:
            await deferToThread(run)
        except SSL.Error:
            pass
        await wait(lambda: len(self.ends) == 2)
        self.assertFalse(Path(path).exists())

    async def test_whatIsGoneMeanwhileIsOneLine(self) -> None:
        """
        With a hint.
        """
        path = Path(self.mktemp()).absolute()
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        self.service = self.tunnel("", remote=(ExecAddress((str(path),)),))
        path.unlink()
        said = await deferToThread(lambda: rest(self.connect(self.service)))
        self.assertIn(said, (b"", Reset))
        event = await self.ended("connect")
        self.assertIn("No such file", event["detail"])
        self.assertIn("--remote", event["hint"])

    async def test_whatTheUserMayNotExecuteCutsTheConnection(self) -> None:
        """
        It was the launcher that could not be it.
        """
        if os.geteuid() != 0:
            self.skipTest("only root can be somebody else")
        path = Path(self.mktemp()).absolute()
        path.write_text("#!/bin/sh\n")
        path.chmod(0o700)
        said = await self.served(ExecAddress((str(path),)), rest, execution=Execution("nobody"))
        self.assertIs(said, Reset)
        event = await self.ended("program")
        self.assertIn("not executed: status 126", event["detail"])
        self.assertIn("--exec-user", event["hint"])
        self.assertIn("Permission denied", self.complaints[0])

    async def test_aReloadThatDoesNotFindItChangesNothing(self) -> None:
        """
        New connections are served as before, and one that finds another program gets that.
        """
        path = Path(self.mktemp()).absolute()
        path.write_text("#!/bin/sh\necho one\n")
        path.chmod(0o755)
        self.assertEqual(await self.served(ExecAddress((str(path),)), ask()), b"one\n")
        path.chmod(0o644)
        problem = await self.service.reload()
        self.assertIn("may not be executed", problem)
        path.chmod(0o755)
        self.assertEqual(await self.service.reload(), "")
        self.assertEqual(await deferToThread(lambda: ask()(self.connect(self.service))), b"one\n")
        await wait(lambda: len(self.ends) == 2)

    def test_whateverIsMissingNothingIsLeft(self) -> None:
        """
        With so few descriptors left that it fails at one step after the other.
        """
        described = launch.Launch(ExecAddress(("true",)), "/bin/true")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        before = {int(each.name) for each in Path("/proc/self/fd").iterdir()}
        failures = 0
        for left in range(MORE_THAN_NEEDED):
            free = sorted(set(range(max(before) + 20)) - before)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free[left], hard))
            try:
                launched = launch.start(described, {})
            except OSError as error:
                self.assertEqual(error.errno, EMFILE)
                failures += 1
            else:
                launched.sock.close()
                os.close(launched.complaints)
                os.waitpid(launched.pid, 0)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            now = {int(each.name) for each in Path("/proc/self/fd").iterdir()}
            self.assertEqual(now, before)
        self.assertGreater(failures, 3)
        self.assertLess(failures, MORE_THAN_NEEDED)

    async def test_noDescriptorLeftIsOneLine(self) -> None:
        """
        And the next one is served.
        """
        self.service = self.tunnel("", remote=(shell("echo ok"),))
        original = socket.socketpair
        self.patch(socket, "socketpair", lambda: exec("raise OSError(24, 'Too many open files')"))
        await deferToThread(lambda: rest(self.connect(self.service)))
        event = await self.ended("connect")
        self.assertIn("Too many open files", event["detail"])
        self.assertIn("LimitNOFILE", event["hint"])
        self.patch(socket, "socketpair", original)
        said = await deferToThread(lambda: rest(self.connect(self.service)))
        self.assertEqual(said, b"ok\n")

    def test_aLargeProcessStartsThemAsFast(self) -> None:
        """
        Nothing of it is copied: a start takes a small part of what fork(2) takes there.
        """
        ballast = bytearray(400 * MIB)
        ballast[::4096] = b"x" * len(ballast[::4096])
        address = ExecAddress(("true",))

        def seconds(start: Callable[[], Any]) -> float:
            times = []
            for _ in range(9):
                began = time.perf_counter()
                start()
                times.append(time.perf_counter() - began)
            return sorted(times)[4]

        def ours() -> None:
            launched = launch.start(launch.Launch(address, "/bin/true"), {"PATH": "/bin"})
            launched.sock.close()
            os.close(launched.complaints)
            os.waitpid(launched.pid, 0)

        def copying() -> None:
            subprocess.run(["/bin/true"], preexec_fn=lambda: None, check=True)

        self.assertLess(seconds(ours), seconds(copying) / 2)
        del ballast


class LimitTests(ProgramTests):
    """
    There are never more programs than connections.
    """

    async def test_aPlaceIsFreeWhenTheProgramIsGone(self) -> None:
        """
        Not when its connection is.
        """
        self.patch(children, "LEAVE_SECONDS", 0.6)
        self.service = self.tunnel(
            "",
            remote=(shell("trap '' HUP; echo $$; exec 0<&- 1>&-; exec sleep 100"),),
            limits=Limits(connections=1, unverified=1, close=5.0),
        )

        def one() -> float:
            network = self.connect(self.service)
            network.end()
            rest(network)
            network.sock.close()
            return time.monotonic()

        first, second = await deferToThread(lambda: (one(), one()))
        self.assertGreater(second - first, 0.4)
        await wait(lambda: len(self.ends) == 2)
