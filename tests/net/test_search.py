"""
Tests for L{tlstunnel.net.search}: which of several places a connection comes to, on real sockets,
with names of the test's own.
"""

from __future__ import annotations

import gc
import socket
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from tests.ports import freePort
from tlstunnel.address import Remote, SRVAddress, TCPAddress, UNIXAddress
from tlstunnel.errors import ConnectFailed, Refused
from tlstunnel.net.attempt import Attempt, Race
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.destination import ISearch
from tlstunnel.net.dial import Dialler
from tlstunnel.net.linger import Linger
from tlstunnel.net.remotes import (
    FIRST,
    LEAST_CONNECTIONS,
    LONGEST_SECONDS,
    ROUND_ROBIN,
    Balance,
    Remotes,
)
from tlstunnel.net.search import Search

reactor: Any = _reactor

SERVICE = SRVAddress("_submission._tcp", "example.org")
REFUSED = Refused("not now")


class _Directory:
    """
    Knows what it was told.
    """

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}
        self.targets: Sequence[TCPAddress] | None = None
        self.asked: Counter[str] = Counter()
        self.waiting: dict[str, Deferred[Sequence[str]]] = {}

    async def hosts(self, deadlines: Deadlines, host: str, seconds: float) -> Sequence[str]:
        """
        The addresses of a host.
        """
        self.asked[host] += 1
        waiting = self.waiting.get(host)
        return await (succeed(self.names.get(host, ())) if waiting is None else waiting)

    async def service(
        self, deadlines: Deadlines, address: SRVAddress, seconds: float
    ) -> Sequence[TCPAddress] | None:
        """
        The targets of a service.
        """
        self.asked[address.owner] += 1
        return await succeed(self.targets)


class _Reactor:
    """
    The real one, with another clock.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        where = self._clock if name in ("seconds", "callLater") else reactor
        return getattr(where, name)


class SearchTests(TestCase):
    """
    L{tlstunnel.net.search.Search}.
    """

    timeout = 30

    def setUp(self) -> None:
        """
        Three places that answer at one port, and others that do not.
        """
        self.clock = Clock()
        self.clock.advance(1000)
        self.port = freePort()
        for host in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
            self.addCleanup(socket.create_server((host, self.port)).close)
        self.up = [TCPAddress(f"127.0.0.{n}", self.port) for n in (1, 2, 3)]
        self.down = [TCPAddress(f"127.0.1.{n}", self.port) for n in (1, 2, 3)]
        self.directory = _Directory()
        self.remotes = Remotes(self.clock, random=Random(1))

    def dialler(self, *addresses: Remote, policy: str = "first", via: Any = None) -> Dialler:
        """
        What dials C{addresses}.
        """
        return Dialler(
            _Reactor(self.clock),
            Deadlines(self.clock),
            Linger(reactor),
            addresses,
            5,
            via=via,
            remotes=self.remotes,
            directory=self.directory,  # type: ignore[arg-type]
            balance=Balance(policy),
        )

    async def reaches(self, search: ISearch) -> str:
        """
        Dial.

        @return: the host that answers.
        """
        leg = await search.dial()
        self.addCleanup(leg.abortConnection)
        return str(leg.peer.host)

    async def serves(self, dialler: Dialler) -> str:
        """
        Find a place that serves, and go.
        """
        search = dialler.search()
        host = await self.reaches(search)
        search.served()
        search.end()
        return host

    async def test_theNextIsTriedWhereOneRefuses(self) -> None:
        """
        And the others do without it then.
        """
        dialler = self.dialler(self.down[0], self.up[0])
        for _ in range(3):
            self.assertEqual(await self.serves(dialler), "127.0.0.1")
        down, up = dialler.backends
        self.assertEqual((down.failures, down.isUp, up.connections), (1, False, 3))

    async def test_itIsTriedAgainWhenItIsDue(self) -> None:
        """
        And is the first again.
        """
        dialler = self.dialler(self.up[0], self.up[1])
        search = dialler.search()
        self.assertEqual(await self.reaches(search), "127.0.0.1")
        self.assertTrue(search.failed(REFUSED))
        self.assertEqual(await self.reaches(search), "127.0.0.2")
        self.assertFalse(search.failed(REFUSED))
        search.end()
        self.remotes.served(dialler.backends[1], True)
        self.assertEqual(await self.serves(dialler), "127.0.0.2")
        self.clock.advance(1)
        self.assertEqual(await self.serves(dialler), "127.0.0.1")

    async def test_onlyOneConnectionTriesItFirst(self) -> None:
        """
        The others go where they went, until it has served.
        """
        dialler = self.dialler(self.up[0], self.up[1])
        search = dialler.search()
        await self.reaches(search)
        search.failed(REFUSED)
        self.clock.advance(1)
        first, other = dialler.search(), dialler.search()
        self.assertEqual(await self.reaches(first), "127.0.0.1")
        self.assertEqual(await self.reaches(other), "127.0.0.2")
        first.served()
        self.assertEqual(await self.serves(dialler), "127.0.0.1")

    async def test_whereAllAreLeftAloneThoseAreTriedThatAreDueFirst(self) -> None:
        """
        Nobody is refused without a try.
        """
        dialler = self.dialler(*self.up)
        for number in (1, 0, 2):
            self.remotes.failed(dialler.backends[number], self.clock.seconds(), REFUSED, True)
            self.clock.advance(0.25)
        search = dialler.search()
        reached: list[str] = []
        for _ in range(3):
            reached.append(await self.reaches(search))
            search.failed(REFUSED)
        self.assertEqual(reached, ["127.0.0.2", "127.0.0.1", "127.0.0.3"])
        self.assertTrue(search.isOver)

    async def test_oneAloneIsNeverLeftAlone(self) -> None:
        """
        Literal, or a name with one address.
        """
        self.directory.names["host.example"] = ["127.0.0.1"]
        for address in (self.up[0], TCPAddress("host.example", self.port)):
            dialler = self.dialler(address)
            for _ in range(3):
                search = dialler.search()
                self.assertEqual(await self.reaches(search), "127.0.0.1")
                self.assertFalse(search.failed(REFUSED))

    async def test_allAddressesOfANameAreCandidates(self) -> None:
        """
        Also where the first was connected to, and did not serve.
        """
        self.directory.names["host.example"] = ["127.0.1.1", "127.0.0.1", "127.0.0.2", "127.0.0.3"]
        dialler = self.dialler(TCPAddress("host.example", self.port))
        search = dialler.search()
        reached: list[str] = []
        while not reached or search.failed(REFUSED):
            reached.append(await self.reaches(search))
        self.assertEqual(reached, ["127.0.0.1", "127.0.0.2", "127.0.0.3"])
        self.assertEqual(len(dialler.backends), 4)

    async def test_whatIsBehindTheFirstIsNotResolvedWithoutNeed(self) -> None:
        """
        A dead resolver holds up nobody who does not need it.
        """
        dialler = self.dialler(self.up[0], TCPAddress("other.example", 1), SERVICE)
        await self.serves(dialler)
        self.assertEqual(self.directory.asked, {})

    async def test_aNameThatMeansNothingIsLeftAlone(self) -> None:
        """
        Until it is due, or nobody else serves.
        """
        dialler = self.dialler(TCPAddress("gone.example", self.port), self.up[0])
        for _ in range(3):
            self.assertEqual(await self.serves(dialler), "127.0.0.1")
        self.assertEqual(self.directory.asked["gone.example"], 1)
        self.assertEqual([each.isUp for each in dialler.backends], [False, True])
        self.directory.names["gone.example"] = ["127.0.0.2"]
        search = dialler.search()
        await self.reaches(search)
        search.failed(REFUSED)
        self.assertEqual(await self.reaches(search), "127.0.0.2")
        self.assertEqual([each.isUp for each in dialler.backends], [True, False])

    async def test_oneConnectionAsksForItFirst(self) -> None:
        """
        The others do not wait for a resolver that does not answer.
        """
        gone = TCPAddress("gone.example", self.port)
        for policy in FIRST, ROUND_ROBIN:
            with self.subTest(policy):
                self.directory.waiting.clear()
                dialler = self.dialler(gone, self.up[0], policy=policy)
                await self.serves(dialler)
                self.clock.advance(LONGEST_SECONDS)
                answer = self.directory.waiting["gone.example"] = Deferred()
                first = Deferred.fromCoroutine(self.serves(dialler))
                self.assertEqual(await self.serves(dialler), "127.0.0.1")
                self.assertNoResult(first)
                answer.callback(())
                self.assertEqual(await first, "127.0.0.1")

    async def test_namesAreAskedForTogether(self) -> None:
        """
        Two that nobody answers for would take all the time there is.
        """
        names = [TCPAddress(f"{each}.example", self.port) for each in ("a", "b", "c")]
        dialler = self.dialler(*names, self.up[0], policy=ROUND_ROBIN)
        for each in names:
            self.directory.waiting[each.host] = Deferred()
        self.directory.names["a.example"] = ["127.0.0.3"]
        serving = Deferred.fromCoroutine(self.serves(dialler))
        self.assertEqual(set(self.directory.asked), {each.host for each in names})
        for each in reversed(names):
            self.assertNoResult(serving)
            answer: Deferred[Sequence[str]] = self.directory.waiting.pop(each.host)
            answer.callback(self.directory.names.get(each.host, ()))
        self.assertEqual(await serving, "127.0.0.3")
        up = [each.isUp for each in dialler.backends]
        self.assertEqual(up, [True, False, False, True])

    async def test_whoIsCancelledAsksNoMore(self) -> None:
        """
        Whatever it has waited for.
        """
        self.directory.waiting["a.example"] = Deferred()
        dialler = self.dialler(
            TCPAddress("a.example", self.port), self.up[0], policy=LEAST_CONNECTIONS
        )
        dialling = Deferred.fromCoroutine(dialler.dial())
        dialling.cancel()
        self.failureResultOf(dialling, CancelledError)

    async def test_nothingIsLeftForTheGarbageCollector(self) -> None:
        """
        Whoever failed is gone when another one has served: a circle of references would keep its
        socket until somebody looks for circles.
        """
        gone = TCPAddress("gone.example", self.port)
        host = TCPAddress("host.example", self.port)
        self.directory.names["host.example"] = ["127.0.1.3", "127.0.0.3"]
        gc.collect()
        gc.disable()
        try:
            for policy in FIRST, ROUND_ROBIN:
                for address in self.down[0], gone, host:
                    with self.subTest(policy=policy, address=address):
                        dialler = self.dialler(address, self.up[0], policy=policy)
                        await self.serves(dialler)
                        await self.serves(dialler)
                        failing: Deferred[Any] = Deferred.fromCoroutine(
                            self.dialler(*self.down[1:]).dial()
                        )
                        (await self.assertFailure(failing, ConnectFailed)).bare()
                        kinds = (Search, Attempt, Race)
                        left = [each for each in gc.get_objects() if type(each) in kinds]
                        self.assertEqual(left, [])
        finally:
            gc.enable()

    async def test_inTurn(self) -> None:
        """
        Those that serve, the addresses of names one by one.
        """
        self.directory.names["host.example"] = ["127.0.0.2", "127.0.0.3"]
        dialler = self.dialler(
            self.up[0], self.down[0], TCPAddress("host.example", self.port), policy=ROUND_ROBIN
        )
        await self.serves(dialler)
        await self.serves(dialler)
        found = Counter([await self.serves(dialler) for _ in range(30)])
        self.assertEqual(found, {f"127.0.0.{n}": 10 for n in (1, 2, 3)})

    async def test_theFewestConnections(self) -> None:
        """
        As they are open now.
        """
        dialler = self.dialler(*self.up[:2], policy=LEAST_CONNECTIONS)
        open_ = [dialler.search() for _ in range(4)]
        for each in open_:
            await self.reaches(each)
        self.assertEqual([each.open for each in dialler.backends], [2, 2])
        for each in open_[1::2]:
            each.end()
            each.end()
        self.assertEqual(sorted(each.open for each in dialler.backends), [0, 2])
        (free,) = (each.address for each in dialler.backends if not each.open)
        for _ in range(2):
            self.assertEqual(await self.reaches(dialler.search()), free.host)

    async def test_throughAProxyNamesArePlaces(self) -> None:
        """
        Nobody here resolves them; one that the proxy does not reach is left alone like others.
        """
        asked: list[str] = []

        async def via(address: TCPAddress | UNIXAddress) -> Any:
            asked.append(address.host)
            if address.host == "down.example":
                raise ConnectFailed(f"{address} via the proxy: no")
            return await succeed(address)

        down, up = (TCPAddress(f"{each}.example", 1) for each in ("down", "up"))
        dialler = self.dialler(down, up, via=via)
        for _ in range(3):
            search = dialler.search()
            self.assertEqual(await search.dial(), up)
            search.served()
            search.end()
        self.assertEqual(asked, ["down.example", *["up.example"] * 3])
        self.assertEqual([each.address for each in dialler.backends], [down, up])
        self.assertEqual(self.directory.asked, {})

    async def test_inTurnToNobody(self) -> None:
        """
        The error says all that was tried.
        """
        gone = TCPAddress("gone.example", self.port)
        dialler = self.dialler(gone, self.down[0], self.down[1], policy=ROUND_ROBIN)
        for _ in range(2):
            failing: Deferred[Any] = Deferred.fromCoroutine(dialler.dial())
            error = await self.assertFailure(failing, ConnectFailed)
            self.assertEqual(str(error).count("refused"), 2)
            self.assertEqual(str(error).count("gone.example could not be resolved"), 1)

    async def test_aClockThatIsPutBackKeepsNobodyAway(self) -> None:
        """
        Longer than a minute.
        """
        dialler = self.dialler(*self.up[:2])
        search = dialler.search()
        await self.reaches(search)
        search.failed(REFUSED)
        self.assertEqual(await self.serves(dialler), "127.0.0.2")
        self.clock.rightNow -= 500
        self.assertEqual(await self.serves(dialler), "127.0.0.1")

    async def test_whatNamesMeanIsKnownAfterAReload(self) -> None:
        """
        Of those that stay, and so is which of their addresses do not serve.
        """
        self.directory.names["host.example"] = ["127.0.1.1", "127.0.0.1"]
        self.directory.targets = [TCPAddress("host.example", self.port)]
        names = TCPAddress("host.example", self.port), TCPAddress("gone.example", 1), SERVICE
        before = self.dialler(*names)
        await self.serves(before)
        await self.assertFailure(Deferred.fromCoroutine(before.places(names[1])), ConnectFailed)
        await before.targets(SERVICE)
        after = self.dialler(*names, self.up[2])
        after.follow(before)
        self.assertEqual([each.isUp for each in after.backends], [False, True, False, True])
        other = self.dialler(self.up[2])
        other.follow(after)
        self.assertEqual([each.address for each in other.backends], [self.up[2]])

    async def test_aServiceIsWhereItsRecordsSay(self) -> None:
        """
        In their order; each target is a place, or a name of some.
        """
        self.directory.names["mx.example.org."] = ["127.0.1.2", "127.0.0.2"]
        self.directory.targets = [
            self.down[0],
            TCPAddress("gone.example.", self.port),
            TCPAddress("mx.example.org.", self.port),
            self.up[2],
        ]
        dialler = self.dialler(SERVICE)
        search = dialler.search()
        self.assertEqual(await self.reaches(search), "127.0.0.2")
        self.assertTrue(search.failed(REFUSED))
        self.assertEqual(await self.reaches(search), "127.0.0.3")
        search.served()
        self.assertEqual(await self.serves(dialler), "127.0.0.3")
        known = {str(each.address): each.isUp for each in dialler.backends}
        self.assertEqual(known.pop(str(self.up[2])), True)
        self.assertEqual(set(known.values()), {False})
        self.directory.targets = [self.up[0]]
        self.assertEqual(await self.serves(dialler), "127.0.0.1")
        self.assertEqual([each.address for each in dialler.backends], [self.up[0]])

    async def test_aServiceThatIsNotThereIsNamed(self) -> None:
        """
        Whether the domain says so, or nobody knows.
        """
        dialler = self.dialler(SERVICE)
        for targets, words in (([], "has no _submission._tcp"), (None, "no SRV record of _subm")):
            self.directory.targets = targets
            failing: Deferred[Any] = Deferred.fromCoroutine(dialler.dial())
            error = await self.assertFailure(failing, ConnectFailed)
            self.assertIn(words, str(error))
            self.assertEqual(error.cause, "unresolved")

    async def test_whatOthersChoseIsNotThePlacesFault(self) -> None:
        """
        It goes on to be the first for them.
        """
        dialler = self.dialler(*self.up[:2])
        search = dialler.search()
        await self.reaches(search)
        self.assertTrue(search.failed(REFUSED, isItsFault=False))
        self.assertEqual(await self.serves(dialler), "127.0.0.1")

    async def test_diallersShareWhatIsKnown(self) -> None:
        """
        As before and after a reload.
        """
        before = self.dialler(self.down[0], self.up[0])
        await self.serves(before)
        after = self.dialler(self.up[1], self.down[0])
        self.assertEqual([each.isUp for each in after.backends], [True, False])
        self.assertEqual(after.backends[1].failures, 1)

    async def test_onePlaceGivenTwiceCountsOnce(self) -> None:
        """
        It is not tried again at once.
        """
        failing = Deferred.fromCoroutine(self.dialler(self.down[0], self.down[0]).dial())
        error = await self.assertFailure(failing, ConnectFailed)
        self.assertEqual(str(error).count("refused"), 1)
