"""
Tests for L{tlstunnel.program.unused}: warnings of sockets that no tunnel listens at.
"""

from __future__ import annotations

import socket
from pathlib import Path

from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tlstunnel.address import InheritedAddress, TCPAddress
from tlstunnel.identity.pool import Pool
from tlstunnel.net.listen import Bound
from tlstunnel.program.plan import Plan, Planned
from tlstunnel.program.process import IProcessObserver
from tlstunnel.program.reloads import IReloadObserver, Reload
from tlstunnel.program.unused import UnusedSockets
from tlstunnel.protocols.registry import find
from tlstunnel.tunnel.description import Mode, Tunnel


class UnusedSocketsTests(SynchronousTestCase):
    """
    L{UnusedSockets}.
    """

    def setUp(self) -> None:
        """
        Three sockets are handed down, two of which have the same name; the log is looked at.
        """
        self.bound: dict[str, tuple[Bound, ...]] = {}
        offered: list[tuple[str, int]] = []
        for name in ("one", "two", "two"):
            sock = socket.create_server(("127.0.0.1", 0))
            self.addCleanup(sock.close)
            self.bound[name] = (*self.bound.get(name, ()), Bound(sock))
            offered.append((name, sock.fileno()))
        self.plan = Plan()
        self.unused = UnusedSockets(offered, lambda: self.plan)
        self.warned: list[str] = []

        def observe(event: LogEvent) -> None:
            if event.get("event") == "notice":
                self.warned.append(event["notice"].split(",")[0])

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)  # type: ignore[arg-type]

    def use(self, *names: str) -> None:
        """
        Let a tunnel have each of these from now on.
        """
        self.plan = Plan(tuple(Planned(self.tunnel(name), self.bound[name]) for name in names))

    def tunnel(self, name: str) -> Tunnel:
        """
        Listens at the socket of that name.
        """
        return Tunnel(
            Mode.SERVER,
            (InheritedAddress(name),),
            (TCPAddress("127.0.0.1", 1),),
            find("none"),
            pool=Pool(Path("pool"), asked=False),
            name=name,
        )

    def test_itObservesTheProcessAndItsReloads(self) -> None:
        """
        As the interfaces say.
        """
        verifyObject(IProcessObserver, self.unused)
        verifyObject(IReloadObserver, self.unused)

    def test_thoseThatNobodyUsesAtTheStartAreNamed(self) -> None:
        """
        Each name once.
        """
        self.use("one")
        self.unused.starting()
        self.assertEqual(self.warned, ["no tunnel listens at systemd:two"])

    def test_nothingIsSaidWhereAllAreUsed(self) -> None:
        """
        Nor after a reload that leaves it so.
        """
        self.use("one", "two")
        self.unused.starting()
        self.unused.reloaded(Reload(0.0, None))
        self.assertEqual(self.warned, [])

    def test_aReloadIsFollowedByWhatIsNew(self) -> None:
        """
        What was said at the start is not said again.
        """
        self.use("one")
        self.unused.starting()
        self.use()
        self.unused.reloaded(Reload(0.0, None))
        self.assertEqual(self.warned[1:], ["no tunnel listens at systemd:one"])
        self.unused.reloaded(Reload(0.0, None))
        self.assertEqual(len(self.warned), 2)

    def test_whatIsLeftAgainIsSaidAgain(self) -> None:
        """
        As a tunnel had it in between.
        """
        self.use("one")
        self.unused.starting()
        self.use("one", "two")
        self.unused.reloaded(Reload(0.0, None))
        self.use("one")
        self.unused.reloaded(Reload(0.0, None))
        self.assertEqual(self.warned, ["no tunnel listens at systemd:two"] * 2)
