"""
Tests for L{tlstunnel.program.fleet}: from what is described to what is served, with real sockets.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.loopback import TunnelTests, reactor, wait
from tests.ports import freePort
from tlstunnel.address import TCPAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Identity
from tlstunnel.program import watch
from tlstunnel.program.configuration import Configuration, Status, readConfiguration
from tlstunnel.program.fleet import Fleet
from tlstunnel.program.keys import PROCESS_KEYS
from tlstunnel.program.plan import Described, Refused
from tlstunnel.program.sources import CommandLineSource, FileSource, ISource, tunnelOf
from tlstunnel.program.tunnels import Tunnels
from tlstunnel.tunnel.description import Tunnel

SETTINGS = {each.name: each.default for each in PROCESS_KEYS} | {"reload-on-change": False}


@implementer(ISource)
class Source:
    """
    Describes what a test likes.
    """

    success = "reloaded: {changes}"

    def __init__(self) -> None:
        self.tunnels: list[Tunnel] = []
        self.settings: dict[str, Any] = dict(SETTINGS)
        self.error: ConfigurationError | None = None

    def read(self) -> Configuration:
        """
        What is described now.
        """
        if self.error is not None:
            raise self.error
        return Configuration(Path("x"), self.settings, Status(), tuple(self.tunnels))

    def told(self, configuration: Configuration, described: Described) -> Mapping[str, Any]:
        """
        There are no workers.
        """
        return {}

    def refusal(self, configuration: Configuration, refused: Refused) -> ConfigurationError:
        """
        All that is wrong.
        """
        names = ", ".join(name for name, _ in refused.refusals)
        return ConfigurationError(names, "cannot be served", "")


class FleetTests(TunnelTests):
    """
    L{Fleet}, with L{Tunnels}.
    """

    def setUp(self) -> None:
        """
        A source, and what is logged.
        """
        super().setUp()
        self.source = Source()
        self.said: list[str] = []

        def observe(event: LogEvent) -> None:
            self.said.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)  # type: ignore[arg-type]

    def describe(self, *names: str, **settings: Any) -> list[TCPAddress]:
        """
        Let there be tunnels.

        @return: where they listen.
        """
        places = [TCPAddress("127.0.0.1", freePort()) for _ in names]
        self.source.tunnels = [
            self.described("127.0.0.1:1", **{"name": name, "local": (place,), **settings})
            for name, place in zip(names, places, strict=True)
        ]
        return places

    def fleet(self) -> Fleet:
        """
        One that is not started yet.
        """
        return Fleet(self.source, self.source.read(), reactor, Tunnels(reactor))

    def start(self) -> Fleet:
        """
        Start one.
        """
        fleet = self.fleet()
        fleet.privilegedStartService()
        fleet.startService()
        self.addCleanup(fleet.stopService)
        return fleet

    async def listens(self, *places: TCPAddress) -> list[bool]:
        """
        At which of C{places} somebody does.
        """

        def look(place: TCPAddress) -> bool:
            try:
                socket.create_connection((place.host, place.port)).close()
            except ConnectionRefusedError:
                return False
            return True

        return [await deferToThread(look, place) for place in places]

    async def test_allThatIsDescribedIsServed(self) -> None:
        """
        Each with its own name.
        """
        places = self.describe("a", "b")
        fleet = self.start()
        await fleet.whenUp()
        self.assertEqual(await self.listens(*places), [True, True])
        self.assertEqual(fleet.tally()["tunnel"], 2)
        await fleet.stopService()
        self.assertEqual(await self.listens(*places), [False, False])

    async def test_aStartThatFailsSaysAllAndBindsNothing(self) -> None:
        """
        Whatever is wrong with whichever.
        """
        places = self.describe("host", "key", "port", "good")
        host, key, _, good = self.source.tunnels
        nobody = Identity.parse("nobody.example.org")
        with socket.create_server(("127.0.0.1", 0)) as occupied:
            taken = (TCPAddress(*occupied.getsockname()),)
            self.source.tunnels = [
                self.described("no-such-host.invalid:1", name="host", local=host.local),
                self.described("127.0.0.1:1", name="key", local=key.local, localID=nobody),
                self.described("127.0.0.1:1", name="port", local=taken),
                good,
            ]
            fleet = self.fleet()
            error = self.assertRaises(ConfigurationError, fleet.privilegedStartService)
            assert isinstance(error, ConfigurationError)
        self.assertEqual(sorted(error.subject.split(", ")), ["host", "key", "port"])
        self.assertEqual(await self.listens(*places), [False] * 4)

    async def test_aReloadTakesAllUp(self) -> None:
        """
        What is new, and what is gone; and it says so.
        """
        before = self.describe("a", "b")
        fleet = self.start()
        kept = self.source.tunnels[0]
        added = self.describe("c")
        self.source.tunnels.insert(0, kept)
        self.assertEqual(await fleet.reload(), "")
        self.assertEqual(await self.listens(*before, *added), [True, False, True])
        self.assertIn("reloaded: 1 added (c), 1 removed (b), 1 unchanged", self.said)

    async def test_aFileThatIsNewIsWatchedFromBeforeItIsRead(self) -> None:
        """
        Whoever adds a tunnel may go on to write what it is made of.
        """
        self.patch(watch, "LOOK_SECONDS", 0.1)
        self.source.settings["reload-on-change"] = True
        self.describe("a")
        fleet = self.start()
        await fleet.whenUp()
        anchors = Path(self.mktemp())
        shutil.copy(self.pool.path / "ca" / "cert.pem", anchors)
        self.describe("a", trust=(str(anchors),))
        await fleet.reload()
        before = len(self.said)
        os.utime(anchors, (1, 1))
        await wait(lambda: any("reloaded: " in each for each in self.said[before:]))

    async def test_anAddressInAnotherFormIsServed(self) -> None:
        """
        All interfaces in the place of one, at the same port.
        """
        (place,) = self.describe("a")
        fleet = self.start()
        everywhere = (TCPAddress("0.0.0.0", place.port),)
        self.source.tunnels = [self.described("127.0.0.1:1", name="a", local=everywhere)]
        self.assertEqual(await fleet.reload(), "")
        self.assertEqual(await self.listens(TCPAddress("127.0.0.2", place.port)), [True])

    async def test_aReloadThatFailsTakesNothingUp(self) -> None:
        """
        Be it that one cannot be bound, that one has no key, or that nothing can be read.
        """
        places = self.describe("a")
        fleet = self.start()
        good = self.source.tunnels[0]
        before = fleet.configuration
        nobody = Identity.parse("nobody.example.org")
        with socket.create_server(("127.0.0.1", 0)) as occupied:
            taken = (TCPAddress(*occupied.getsockname()),)
            for wrong in ({"local": taken}, {"localID": nobody}, None):
                fresh = self.describe("new", "wrong")
                if wrong is None:
                    self.source.error = ConfigurationError("the file", "is odd", "")
                else:
                    settings: dict[str, Any] = {"name": "wrong", **wrong}
                    other = self.described("127.0.0.1:1", **settings)
                    self.source.tunnels = [self.source.tunnels[0], other, good]
                self.assertNotEqual(await fleet.reload(), "")
                self.assertIs(fleet.configuration, before)
                self.assertEqual(await self.listens(*places, *fresh), [True, False, False])

    async def test_whatMayTakeLongIsDoneInAThread(self) -> None:
        """
        To read what is described, and to look up the names in it.
        """
        self.describe("a")
        fleet = self.start()
        asked: list[str] = []
        self.describe("a", local=(TCPAddress("localhost", 0),))

        def inThread(call: Any, *words: Any) -> Deferred[Any]:
            asked.append(call.__name__)
            return deferToThread(call, *words)

        self.patch(fleet, "_inThread", inThread)
        await fleet.reload()
        self.assertEqual(asked, ["read", "bind"])

    async def test_theEndEndsAReload(self) -> None:
        """
        Whatever it is at; nothing of it stays.
        """
        before = self.describe("a")
        fleet = self.start()
        fresh = self.describe("b")
        reloaded = fleet.reload()
        await fleet.stopService()
        self.assertNoResult(reloaded)
        self.assertEqual(await self.listens(*before, *fresh), [False, False])

    async def test_whatAReloadCannotTakeUpIsSaid(self) -> None:
        """
        How many workers there are, for one.
        """
        self.describe("a")
        fleet = self.start()
        self.source.settings = {**SETTINGS, "workers": 3}
        await fleet.reload()
        self.assertIn("workers has changed, which is taken up at the next start only", self.said)

    def test_sourcesAreAlike(self) -> None:
        """
        The command line and a file.
        """
        sources = [self.source, CommandLineSource({}, [], {}), FileSource(self.source.read)]
        for each in sources:
            self.assertTrue(verifyObject(ISource, each))

    def test_whatStandsInTheDefaultsIsWrongOnce(self) -> None:
        """
        However many tunnels have it.
        """
        path = Path(self.mktemp())
        path.write_text(
            '[defaults]\nmode = "server"\nlocal-id = "a.example"\npool = "/nonexistent"\n'
            '[tunnel.a]\nlocal = ":1"\nremote = "[::1]:1"\n'
            '[tunnel.b]\nlocal = ":2"\nremote = "[::1]:1"\n'
        )
        source = FileSource(lambda: readConfiguration(path))
        error = ConfigurationError("`pool` /nonexistent", "is not there", "make it")
        refused = Refused([("a", error), ("b", error)])
        self.assertEqual(
            str(source.refusal(source.read(), refused)),
            f"{path}:4: defaults.pool: /nonexistent: is not there; make it",
        )

    def test_aWorkerUnderstandsWhatItIsTold(self) -> None:
        """
        It makes the same tunnel of it, with the name of the host that was looked up.
        """
        given = {"client": [True], "local": ["127.0.0.1:0", "[::1]:0"], "remote": ["a.example:25"]}
        given |= {"starttls": ["smtp"], "idle-timeout": ["7"], "workers": ["2"]}
        source = CommandLineSource(given, [], SETTINGS)
        configuration = source.read()
        (tunnel,) = configuration.tunnels
        self.assertEqual(tunnelOf(source.told(configuration, tunnel)), tunnel)
