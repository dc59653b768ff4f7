"""
Tests for L{tlstunnel.program.supervision}: what is told when.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tlstunnel.program.plan import Changes
from tlstunnel.program.process import IProcessObserver
from tlstunnel.program.reloads import IReloadObserver, Reload
from tlstunnel.program.supervision import STATUS_SECONDS, Supervision

#: A reload that went well.
DONE = Reload(0.0, Changes())


class SupervisionTests(SynchronousTestCase):
    """
    L{Supervision}, with an environment, a clock and a socket of our own.
    """

    def setUp(self) -> None:
        """
        A service manager, and what is logged.
        """
        self.clock = Clock()
        self.pid = 7
        self.server, self.client = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.server.setblocking(False)
        self.client.setblocking(False)
        self.addCleanup(self.server.close)
        self.addCleanup(self.client.close)
        self.tally = {"tunnel": 1, "connection": 0}
        self.notices: list[str] = []
        globalLogPublisher.addObserver(self.observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)  # type: ignore[arg-type]

    def observe(self, event: LogEvent) -> None:
        """
        Remember notices.
        """
        if event.get("event") == "notice":
            self.notices.append(event["notice"])

    def make(self, address: str = "@manager", **variables: str) -> Supervision:
        """
        The supervision of a process with these variables.
        """
        self.environment = {"NOTIFY_SOCKET": address, "OTHER": "x", **variables}
        more: dict[str, Any] = {} if address != "@manager" else {"connect": lambda _: self.client}
        return Supervision(
            self.environment,
            self.clock,
            lambda: self.tally,
            getPID=lambda: self.pid,
            monotonic=lambda: 5_000_999,
            **more,
        )

    def heard(self) -> list[str]:
        """
        What has been told since this was last asked.
        """
        messages = []
        while True:
            try:
                messages.append(self.server.recv(65536).decode())
            except BlockingIOError:
                return messages

    def up(self, **variables: str) -> Supervision:
        """
        One that serves, and has said so.
        """
        supervision = self.make(**variables)
        supervision.starting()
        supervision.up()
        self.heard()
        return supervision

    def test_itIsAnObserver(self) -> None:
        """
        Of the process, and of its reloads.
        """
        for interface in (IProcessObserver, IReloadObserver):
            self.assertTrue(verifyObject(interface, self.make()))

    def test_theLifeOfAProcess(self) -> None:
        """
        Each state is told once, with how we are.
        """
        supervision = self.make()
        supervision.starting()
        self.assertEqual(self.heard(), [])
        supervision.up()
        self.assertEqual(self.heard(), ["READY=1\nSTATUS=1 tunnel up, 0 connections\n"])
        supervision.reloading()
        reloading = "RELOADING=1\nMONOTONIC_USEC=5000\nSTATUS=reloading\n"
        self.assertEqual(self.heard(), [reloading])
        supervision.reloaded(DONE)
        self.assertEqual(self.heard(), ["READY=1\nSTATUS=1 tunnel up, 0 connections\n"])
        self.tally["connection"] = 1
        supervision.stopping()
        supervision.stopping()
        self.assertEqual(self.heard(), ["STOPPING=1\nSTATUS=stopping, 1 connection left\n"])

    def test_statusIsInWords(self) -> None:
        """
        One is no plural; what a process does not know is left out.
        """
        for tally, words in (
            ({"tunnel": 3, "connection": 12}, "3 tunnels up, 12 connections"),
            ({"tunnel": 1, "connection": 1}, "1 tunnel up, 1 connection"),
            ({"tunnel": 1, "worker": 2}, "1 tunnel up, 2 workers"),
        ):
            self.tally = tally
            self.make().up()
            self.assertEqual(self.heard(), [f"READY=1\nSTATUS={words}\n"])

    def test_statusIsToldWhereItHasChanged(self) -> None:
        """
        After a while, and not again; until the end.
        """
        supervision = self.up()
        self.clock.advance(STATUS_SECONDS)
        self.assertEqual(self.heard(), [])
        self.tally["connection"] = 2
        self.clock.advance(STATUS_SECONDS)
        self.clock.advance(STATUS_SECONDS)
        self.assertEqual(self.heard(), ["STATUS=1 tunnel up, 2 connections\n"])
        supervision.stopping()
        self.tally["connection"] = 1
        self.clock.advance(STATUS_SECONDS)
        self.assertEqual(self.heard()[1:], ["STATUS=stopping, 1 connection left\n"])

    def test_afterAFaultItIsToldAllTheSame(self) -> None:
        """
        With the next look.
        """
        self.up()
        self.tally = None  # type: ignore[assignment]
        self.assertRaises(TypeError, self.clock.advance, STATUS_SECONDS)
        self.tally = {"tunnel": 1, "connection": 3}
        self.clock.advance(STATUS_SECONDS)
        self.assertEqual(self.heard(), ["STATUS=1 tunnel up, 3 connections\n"])

    def test_aRefusalStays(self) -> None:
        """
        Until a reload is not refused.
        """
        supervision = self.up()
        supervision.reloading()
        supervision.reloaded(Reload(0.0, None, ("f:1: a is bad; mend it", "f:2: b, too")))
        refused = "reload refused: f:1: a is bad; mend it; f:2: b, too; the old state stays"
        told = [f"READY=1\nSTATUS=1 tunnel up, 0 connections; {refused}\n"]
        self.assertEqual(self.heard()[1:], told)
        self.tally["connection"] = 1
        self.clock.advance(STATUS_SECONDS)
        self.assertEqual(self.heard(), [f"STATUS=1 tunnel up, 1 connection; {refused}\n"])
        supervision.reloading()
        supervision.reloaded(DONE)
        self.assertEqual(self.heard()[1:], ["READY=1\nSTATUS=1 tunnel up, 1 connection\n"])

    def test_aReloadBeforeWeAreUpIsPartOfTheStart(self) -> None:
        """
        We are ready once we are up, and not before.
        """
        supervision = self.make()
        supervision.starting()
        supervision.reloading()
        supervision.reloaded(DONE)
        self.assertEqual(self.heard(), [])
        supervision.reloading()
        supervision.up()
        supervision.reloaded(DONE)
        self.assertEqual(self.heard(), ["READY=1\nSTATUS=1 tunnel up, 0 connections\n"])

    def test_whoStopsIsNeitherReadyNorReloads(self) -> None:
        """
        Whatever is still going on.
        """
        early = self.make()
        early.starting()
        early.stopping()
        early.up()
        self.assertEqual(self.heard(), ["STOPPING=1\nSTATUS=stopping, 0 connections left\n"])
        late = self.up()
        late.reloading()
        self.heard()
        late.stopping()
        late.reloaded(DONE)
        late.reloading()
        self.assertEqual(self.heard(), ["STOPPING=1\nSTATUS=stopping, 0 connections left\n"])

    def test_theVariablesAreForUsAlone(self) -> None:
        """
        No program that we start gets them.
        """
        self.make(WATCHDOG_USEC="2000000", WATCHDOG_PID="7")
        self.assertEqual(self.environment, {"OTHER": "x"})

    def test_aDaemonSaysWhoItIs(self) -> None:
        """
        twistd became another process on its way to the background.
        """
        supervision = self.make(WATCHDOG_USEC="2000000", WATCHDOG_PID="7")
        self.pid = 8
        supervision.starting()
        self.assertEqual(self.heard(), ["MAINPID=8\n", "WATCHDOG=1\n"])

    def test_theWatchdogHearsOfUs(self) -> None:
        """
        Also while we stop.
        """
        supervision = self.up(WATCHDOG_USEC="2000000", WATCHDOG_PID="7")
        self.clock.advance(1.0)
        self.assertEqual(self.heard(), ["WATCHDOG=1\n"])
        supervision.stopping()
        self.heard()
        self.clock.advance(1.0)
        self.assertEqual(self.heard(), ["WATCHDOG=1\n"])

    def test_aWatchdogThatIsNotOursHearsNothing(self) -> None:
        """
        Neither does one that is not configured.
        """
        for variables in ({}, {"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "8"}):
            self.up(**variables)
            self.clock.advance(1.0)
            self.assertEqual(self.heard(), [])
            self.assertEqual(self.notices, [])

    def test_pingsDoNotQueueUp(self) -> None:
        """
        Where there is no room, what waits says that we live.
        """
        supervision = self.make(WATCHDOG_USEC="2000000")
        supervision.starting()
        for _ in range(5000):
            supervision._ping()
        self.assertEqual(set(self.heard()), {"WATCHDOG=1\n"})
        self.clock.advance(0.5)
        self.assertEqual(self.heard(), ["WATCHDOG=1\n"])

    def test_nonsenseIsOneLine(self) -> None:
        """
        Which says which variable it is, and what that means; we serve all the same.
        """
        missing = "/nonexistent/notify"
        for address, variables, words in (
            (missing, {}, f"NOTIFY_SOCKET '{missing}': No such file or directory"),
            ("/" + "x" * 500, {}, "AF_UNIX path too long"),
            ("vsock:1:2", {}, "NOTIFY_SOCKET 'vsock:1:2' is neither an absolute path nor"),
            ("@manager", {"WATCHDOG_USEC": "x"}, "WATCHDOG_USEC is 'x'"),
            ("@manager", {"WATCHDOG_PID": "x"}, "WATCHDOG_PID is 'x'"),
        ):
            self.notices.clear()
            supervision = self.make(address, **variables)
            self.assertEqual(self.notices, [])
            supervision.starting()
            supervision.up()
            supervision.reloading()
            supervision.reloaded(DONE)
            supervision.stopping()
            (notice,) = self.notices
            self.assertIn(words, notice)
            self.assertIn("the service manager does not hear ", notice)
            self.assertEqual(bool(self.heard()), address == "@manager")

    def test_nobodyWantsToHearOfUs(self) -> None:
        """
        Nothing is said, and nothing is done from time to time.
        """
        for address in ("", None):
            environment = {} if address is None else {"NOTIFY_SOCKET": address}
            supervision = Supervision(environment, self.clock, lambda: self.tally)
            supervision.starting()
            supervision.up()
            supervision.stopping()
        self.assertEqual((self.notices, self.clock.getDelayedCalls()), ([], []))
