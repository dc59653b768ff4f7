"""
Tests for L{tlstunnel.program.worker} and L{tlstunnel.program.orders}: what a worker does with what
its parent tells it, and what it answers.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.loopback import PATIENCE, SERVER, wait
from tlstunnel.address import TCPAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.pool import Pool
from tlstunnel.net.claim import Claim
from tlstunnel.net.listen import Bound, bindAll
from tlstunnel.net.messages import Messages
from tlstunnel.program import orders
from tlstunnel.program import process as process_
from tlstunnel.program import worker as worker_
from tlstunnel.program.orders import (
    FACTS,
    NUMBER,
    ORDER,
    PLAN,
    Known,
    Order,
    asAnswer,
    heard,
    refusalsIn,
)
from tlstunnel.program.plan import Plan, Planned, Refused
from tlstunnel.program.sources import tunnelOf
from tlstunnel.program.worker import Obedience, WorkerProcess
from tlstunnel.protocols.registry import find
from tlstunnel.tunnel.description import Mode, Tunnel

reactor: Any = _reactor


class KnownTests(SynchronousTestCase):
    """
    L{Known}.
    """

    def setUp(self) -> None:
        """
        Three sockets.
        """
        self.bound = bindAll(Claim([TCPAddress("127.0.0.1", 0)] * 3))
        for each in self.bound:
            self.addCleanup(each.close)
        self.known = Known()

    def plan(self, *bound: Bound) -> Plan:
        """
        One tunnel with C{bound}.
        """
        tunnel = Tunnel(Mode.SERVER, (), (TCPAddress("127.0.0.1", 1),), find("none"))
        return Plan((Planned(tunnel, bound, {"name": ""}),), 7)

    def add(self, *bound: Bound) -> tuple[list[int], list[int], list[Bound]]:
        """
        What is said of a plan: the numbers of its sockets, those that are new, and these.
        """
        said, fresh = self.known.add(self.plan(*bound))
        self.assertEqual(said["drain"], 7)
        return said["tunnels"][0]["sockets"], said["fresh"], fresh

    def test_aSocketGoesAlongOnce(self) -> None:
        """
        Then its number is enough; one that was given up gets another number.
        """
        one, two, three = self.bound
        self.assertEqual(self.add(one, two), ([1, 2], [1, 2], [one, two]))
        self.known.keep(self.plan(one, two))
        self.assertEqual(self.add(two, three), ([2, 3], [3], [three]))
        self.known.keep(self.plan(two, three))
        self.assertEqual(self.add(one), ([4], [4], [one]))

    def test_whatIsGivenUpWasNeverThere(self) -> None:
        """
        The next one gets a number that nobody has had.
        """
        one, two, three = self.bound
        self.add(one)
        self.known.keep(self.plan(one))
        self.add(one, two)
        self.known.forget()
        self.assertEqual(self.add(one, two, three), ([1, 3, 4], [3, 4], [two, three]))

    def test_refusalsArriveAsTheyWere(self) -> None:
        """
        With the name of the tunnel.
        """
        error = ConfigurationError("`trust` x", "is odd", "see why")
        ((name, found),) = refusalsIn(asAnswer(Refused([("mail", error)])))
        self.assertEqual((name, found.args), ("mail", error.args))
        self.assertEqual(refusalsIn({}), [])


class Recorded(WorkerProcess):
    """
    A worker in this process, which leaves signals and the reactor alone.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(reactor, sock, 7)
        self.done: list[str] = []

    def stop(self) -> None:
        """
        End in order.
        """
        self.done.append("stop")

    def hurry(self) -> None:
        """
        Close all.
        """
        self.done.append("hurry")


class ObedienceTests(TestCase):
    """
    L{Obedience}, and we are its parent.
    """

    timeout = 60

    def setUp(self) -> None:
        """
        A worker that serves nothing yet.
        """
        self.patch(worker_, "settleMemory", lambda: None)
        self.patch(process_, "settleMemory", lambda: None)
        pool = Path(self.mktemp())
        createIdentity(Pool(pool, asked=False), SERVER)
        self.given = {"server": True, "local-id": str(SERVER), "pool": str(pool)}
        self.given |= {"local": "127.0.0.1:0", "remote": "127.0.0.1:1"}
        (self.bound,) = bindAll(Claim([TCPAddress("127.0.0.1", 0)]))
        self.addCleanup(self.bound.close)
        ours, theirs = socket.socketpair()
        self.worker = Recorded(theirs)
        self.tunnels = self.worker._tunnels
        self.tunnels.startService()
        self.addCleanup(self.tunnels.stopService)
        Obedience(self.worker, self.tunnels, theirs).start()
        self.answers: dict[int, Deferred[dict[str, Any]]] = {}
        self.messages = Messages(reactor, ours, self.answered, lambda: None)
        self.messages.startReading()
        self.addCleanup(self.messages.close)

    def answered(self, message: dict[str, Any], descriptors: object) -> None:
        """
        The worker has answered.
        """
        self.answers.pop(message[NUMBER]).callback(message)

    def tell(
        self, order: Order, sockets: Sequence[Bound] = (), **more: object
    ) -> Deferred[dict[str, Any]]:
        """
        Give an order.
        """
        number = len(self.answers) + 1
        answer = self.answers[number] = Deferred()
        message = {NUMBER: number, ORDER: order.value, **more}
        self.messages.send(message, [each.sock for each in sockets])
        return answer

    def plan(self, sockets: list[int], fresh: list[int], **given: object) -> dict[str, Any]:
        """
        One tunnel.
        """
        told = {"name": "mail", "host": "", "given": {**self.given, **given}, "words": []}
        tunnels = [{**told, "sockets": sockets}]
        return {"drain": 1.0, "counted": True, "fresh": fresh, "tunnels": tunnels}

    async def isServed(self) -> bool:
        """
        Whether the worker accepts.
        """
        before = self.tunnels.tally()["tunnel"]
        address = self.bound.sock.getsockname()
        (await deferToThread(socket.create_connection, address, PATIENCE)).close()
        return before == 1

    async def test_itServesWhatItIsToldTo(self) -> None:
        """
        At once, with the sockets that come along, and says so.
        """
        answer = await self.tell(Order.SERVE, [self.bound], **{PLAN: self.plan([1], [1])})
        self.assertEqual(refusalsIn(answer), [])
        self.assertTrue(await self.isServed())
        self.assertEqual((await self.tell(Order.TALLY))["tunnel"], 1)

    async def test_itHearsOfATunnelATurn(self) -> None:
        """
        A thousand of them hold up nobody.
        """
        plan = self.plan([1], [1])
        steps = heard({**plan, "tunnels": plan["tunnels"] * 3}, {1: self.bound})
        made: list[Any] = []

        def make(told: Any) -> Tunnel:
            made.append(told)
            return tunnelOf(told)

        self.patch(orders, "tunnelOf", make)
        for number in range(1, 4):
            next(steps)
            self.assertEqual(len(made), number)
        self.assertRaises(StopIteration, next, steps)

    async def test_itTellsHowItIs(self) -> None:
        """
        With its number, and what it has counted.
        """
        await self.tell(Order.SERVE, [self.bound], **{PLAN: self.plan([1], [1])})
        self.assertTrue(await self.isServed())
        await wait(lambda: self.tunnels.ledger.entries["mail"].counts.connections == 1)
        facts = json.loads((await self.tell(Order.LOOK))[FACTS])
        self.assertEqual(facts["process"]["worker"], 7)
        (tunnel,) = facts["tunnels"]
        self.assertEqual((tunnel["name"], tunnel["state"]), ("mail", "up"))
        self.assertEqual(tunnel["connections"], 1)

    async def test_aNewStateComesInTwoSteps(self) -> None:
        """
        It is served once that is decided; what has come along for one that is given up is closed.
        """
        await self.tell(Order.SERVE, [self.bound], **{PLAN: self.plan([1], [1])})
        (other,) = bindAll(Claim([TCPAddress("127.0.0.1", 0)]))
        self.addCleanup(other.close)
        prepare = {PLAN: self.plan([1, 2], [2], quiet=True)}
        await self.tell(Order.PREPARE, [other], **prepare)
        self.assertFalse(self.tunnels.services["mail"].described.quiet)
        await self.tell(Order.ABORT)
        self.assertEqual(len(self.tunnels.services["mail"].addresses), 1)
        await self.tell(Order.PREPARE, [other], **{PLAN: self.plan([1, 3], [3], quiet=True)})
        await self.tell(Order.COMMIT)
        self.assertTrue(self.tunnels.services["mail"].described.quiet)
        self.assertEqual(len(self.tunnels.services["mail"].addresses), 2)

    async def test_whatCannotBeServedIsSaid(self) -> None:
        """
        And everything goes on as before.
        """
        await self.tell(Order.SERVE, [self.bound], **{PLAN: self.plan([1], [1])})
        wrong = self.plan([1], [], **{"local-id": "nobody.example.org"})
        ((name, error),) = refusalsIn(await self.tell(Order.PREPARE, (), **{PLAN: wrong}))
        self.assertEqual(name, "mail")
        self.assertIn("nobody.example.org", error.subject)
        await self.tell(Order.ABORT)
        self.assertTrue(await self.isServed())
        self.assertEqual(self.worker.done, [])

    async def test_oneThatCannotServeAtAllEnds(self) -> None:
        """
        With exit code 1, so that it is tried again later.
        """
        wrong = self.plan([1], [1], chat="/nonexistent/script")
        refusals = refusalsIn(await self.tell(Order.SERVE, [self.bound], **{PLAN: wrong}))
        self.assertEqual(len(refusals), 1)
        self.assertEqual((self.worker.done, self.worker.exitCode), (["stop"], 1))

    async def test_anOrderToGiveUpNeedNotWait(self) -> None:
        """
        What is being prepared ends at once, and its answer is no mistake.
        """
        await self.tell(Order.SERVE, [self.bound], **{PLAN: self.plan([1], [1])})
        prepared = self.tell(Order.PREPARE, (), **{PLAN: self.plan([1], [], quiet=True)})
        aborted = self.tell(Order.ABORT)
        self.assertEqual(refusalsIn(await prepared), [])
        await aborted
        self.assertEqual(self.worker.done, [])
        self.assertTrue(await self.isServed())

    async def test_itEndsAsItIsTold(self) -> None:
        """
        In order, at once, or as nobody is there to tell it anything.
        """
        await self.tell(Order.STOP)
        await self.tell(Order.HURRY)
        self.assertEqual(self.worker.done, ["stop", "hurry"])
        self.messages.close()
        await wait(lambda: self.worker.done == ["stop", "hurry", "stop"])
