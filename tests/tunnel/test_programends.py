"""
Tests for tunnels whose backend is a program: what it sees of each way to end, and what becomes
of it.
"""

from __future__ import annotations

import os
import signal
import time
from errno import EMFILE, EPERM
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessValue
from twisted.logger import LogEvent, globalLogPublisher

from tests.loopback import Encrypted, Reset, wait, waitFor
from tests.tunnel.programstage import ProgramTests, ask, isThere, readLineOf, rest, shell
from tlstunnel.net import child as children


class EndTests(ProgramTests):
    """
    What is cut, on either side.
    """

    async def test_aProgramThatIsKilledCutsTheConnection(self) -> None:
        """
        The client must not take for whole what it has got.
        """
        said = await self.served("echo some; kill -SEGV $$", lambda n: (n.read(5), rest(n)))
        self.assertEqual(said, (b"some\n", Reset))
        event = await self.ended("program")
        self.assertIn("SIGSEGV", event["detail"])
        self.assertTrue(event["hint"])

    async def test_aCutIsNoEnd(self) -> None:
        """
        A program that only reads is ended before it can see an end of file.
        """
        path = str(Path(self.mktemp()).absolute())
        script = f"echo $$ >{path}.pid; cat >/dev/null; touch {path}"

        def client(network: Encrypted) -> None:
            network.write(b"some")
            waitFor(f"{path}.pid")
            time.sleep(0.1)
            network.truncate()
            time.sleep(0.3)

        await self.served(script, client)
        event = await self.ended("truncated")
        self.assertNotIn("program", event["detail"].split(" (")[0])
        pid = int(Path(f"{path}.pid").read_text())
        await wait(lambda: not isThere(pid))
        self.assertFalse(Path(path).exists())

    async def test_whoTakesTheHangUpSeesNoEndEither(self) -> None:
        """
        It reads a reset if it has said anything, and nothing at all until it is ended if not.
        """
        self.patch(children, "LEAVE_SECONDS", 0.5)
        self.patch(children, "TERMINATE_SECONDS", 0.5)
        for first, expected in (("echo hi;", "error"), ("", "nothing")):
            path = str(Path(self.mktemp()).absolute())
            Path(path).write_text("nothing")
            script = (
                f"trap '' HUP TERM; {first} exec python3 -c '\n"
                "import os, signal\n"
                'open("PATH.up", "w").close()\n'
                "try:\n"
                "    while os.read(0, 100): pass\n"
                '    result = "end"\n'
                "except OSError:\n"
                '    result = "error"\n'
                'open("PATH", "w").write(result)\n\''
            ).replace("PATH", path)

            self.ends.clear()
            await self.served(script, partial(self.cutting, f"{path}.up", bool(first)))
            await self.ended("truncated")
            self.assertEqual(Path(path).read_text(), expected, first)

    def cutting(self, up: str, isGreeted: bool, network: Encrypted) -> None:
        """
        A client whose connection is cut.

        @param up: a file that is there once the program is ready.
        @param isGreeted: whether the program says something before.
        """
        if isGreeted:
            network.read(3)
        network.write(b"some")
        waitFor(up)
        time.sleep(0.1)
        network.truncate()
        time.sleep(0.3)

    async def test_whoStaysIsEnded(self) -> None:
        """
        And the connection takes its place until then.
        """
        self.patch(children, "LEAVE_SECONDS", 0.3)
        self.patch(children, "TERMINATE_SECONDS", 0.3)
        script = "trap '' HUP TERM; echo $$; exec 0<&- 1>&-; while :; do sleep 0.05; done"
        said = await self.served(script, ask())
        pid = int(said)
        factory = self.service.factory
        assert factory is not None
        self.assertEqual(len(factory.pairs), 1)
        event = await self.ended()
        self.assertIn("SIGKILL", event["detail"])
        self.assertFalse(isThere(pid))
        self.assertEqual(factory.backends[0].open, 0)

    async def test_whoLeavesChildrenBehindIsNotWaitedFor(self) -> None:
        """
        A program may leave the connection to others.
        """
        said = await self.served("(sleep 0.5; echo late) & exit 0", ask())
        self.assertEqual(said, b"late\n")
        await self.ended()

    async def test_aStopEndsPrograms(self) -> None:
        """
        And waits for them, for a moment.
        """
        self.patch(children, "HURRY_SECONDS", 0.3)
        pid, stopped = await self.stopping()
        await stopped
        self.assertFalse(isThere(pid))
        event = await self.ended("stopped")
        self.assertIn("SIGKILL", event["detail"])

    async def test_whoCannotBeEndedIsLeftAlone(self) -> None:
        """
        One that has become somebody else must not keep us from stopping; the log has its number.
        """
        self.patch(children, "HURRY_SECONDS", 0.1)
        self.patch(children, "LET_GO_SECONDS", 0.1)
        pid, stopped = await self.stopping()
        kill = os.killpg

        def refuse(pid: int, number: int) -> None:
            raise PermissionError(EPERM, "no")

        self.patch(os, "killpg", refuse)
        notices: list[str] = []

        def observe(event: LogEvent) -> None:
            if event.get("event") == "notice":
                notices.append(event["notice"])

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)  # type: ignore[arg-type]
        await stopped
        self.assertTrue(isThere(pid))
        self.assertTrue(any(str(pid) in each for each in notices), notices)
        kill(pid, signal.SIGKILL)
        await wait(lambda: not isThere(pid))

    async def test_aStopGivesTimeToOneThatIsStillAtWork(self) -> None:
        """
        The connection is over, and the program is not.
        """
        path = Path(self.mktemp()).absolute()
        said = await self.served(
            f"trap 'sleep 0.3; touch {path}; exit' TERM; echo x; exec 0<&- 1>&-;"
            "while :; do sleep 0.05; done",
            ask(),
        )
        self.assertEqual(said, b"x\n")
        self.patch(children, "HURRY_SECONDS", 0.5)
        factory = self.service.factory
        assert factory is not None
        await wait(lambda: all(each.accepted.isClosed for each in factory.pairs))
        self.assertEqual(len(factory.pairs), 1)
        stopped = self.service.stopService()
        self.service.hurry()
        await stopped
        self.assertTrue(path.exists())

    async def stopping(self) -> tuple[int, Any]:
        """
        Stop a tunnel whose program does not want to.

        @return: the number of that, and what fires at the end.
        """
        service = self.service = self.tunnel(
            "", remote=(shell("trap '' HUP TERM; echo $$; sleep 100"),)
        )
        network = await deferToThread(self.connect, service)
        self.addCleanup(network.sock.close)
        pid = int(await deferToThread(readLineOf, network))
        stopped = service.stopService()
        service.hurry()
        return pid, stopped

    async def test_noZombiesAreLeft(self) -> None:
        """
        Whoever else waits for processes.
        """
        self.service = self.tunnel("", remote=(shell("echo $$"),))

        def run() -> list[int]:
            found = []
            for _ in range(10):
                network = self.connect(self.service)
                said = network.read(100)
                assert isinstance(said, bytes)
                found.append(int(said))
                network.sock.close()
            return found

        pids = await deferToThread(run)
        await wait(lambda: len(self.ends) == 10)
        self.assertEqual([each for each in pids if isThere(each)], [])

    async def test_whoeverElseHasChildrenHearsOfThem(self) -> None:
        """
        Twisted hears of its own, and we of ours.
        """
        self.service = self.tunnel("", remote=(shell("exit 3"),))
        others = [
            getProcessValue("/bin/sh", ("-c", f"sleep 0.0{number}; exit {number}"))
            for number in range(8)
        ]
        for _ in range(5):
            await deferToThread(lambda: rest(self.connect(self.service)))
        self.assertEqual([await each for each in others], list(range(8)))
        await wait(lambda: len(self.ends) == 5)
        self.assertTrue(all("status 3" in each["detail"] for each in self.ends))

    async def test_withoutADescriptorForItsEndItIsLookedFor(self) -> None:
        """
        On systems that have none, or where none is left.
        """

        def refuse(pid: int) -> int:
            raise OSError(EMFILE, "none")

        self.patch(os, "pidfd_open", refuse)
        self.assertEqual(await self.served("echo no; exit 3", ask()), b"no\n")
        event = await self.ended()
        self.assertIn("status 3", event["detail"])
