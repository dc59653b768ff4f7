"""
Tests for L{tlstunnel.program.workers} and L{tlstunnel.program.child}: who starts several
processes for the same tunnels.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import signal
import socket
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.net.claim import Claim
from tlstunnel.net.listen import bindAll
from tlstunnel.program.child import (
    ANSWER_SECONDS,
    FIRST_DELAY_SECONDS,
    HURRY_SECONDS,
    LONGEST_DELAY_SECONDS,
    STEADY_SECONDS,
    isOrderly,
)
from tlstunnel.program.orders import NUMBER, ORDER, PLAN
from tlstunnel.program.plan import Plan, Planned, Refused
from tlstunnel.program.workers import CannotServe, Workers
from tlstunnel.protocols.registry import find
from tlstunnel.tunnel.description import Mode, Tunnel

NAME = "server.example.org"


class Reactor(Clock):
    """
    Starts processes, or cannot, and remembers what they are told.
    """

    def __init__(self) -> None:
        super().__init__()
        self.protocols: list[Any] = []
        self.fails = False
        self.isGone = False
        self.told: list[str] = []
        self.writers: set[Any] = set()
        self.theirs: list[socket.socket] = []
        self.messages: list[dict[str, Any]] = []
        self.descriptors: list[dict[int, Any]] = []

    def callWhenRunning(self, call: Callable[[], object]) -> None:
        """
        It runs.
        """
        call()

    def addReader(self, reader: object) -> None:
        """
        Nothing is answered unless a test does it.
        """

    def removeReader(self, reader: object) -> None:
        """
        See L{addReader}.
        """

    def addWriter(self, writer: Any) -> None:
        """
        There is room.
        """
        self.writers.add(writer)

    def removeWriter(self, writer: Any) -> None:
        """
        Nothing is left to write.
        """
        self.writers.discard(writer)

    def spawnProcess(self, protocol: Any, *words: object, **more: Any) -> None:
        """
        Start one.
        """
        if self.fails:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        theirs = socket.socket(fileno=os.dup(more["childFDs"][0]))
        theirs.setblocking(False)
        self.descriptors.append(dict(more["childFDs"]))
        self.theirs.append(theirs)
        self.protocols.append(protocol)
        protocol.makeConnection(self)

    def signalProcess(self, name: str) -> None:
        """
        A signal for it.
        """
        self.hear()
        if self.isGone:
            raise ProcessExitedAlready
        self.told.append(name)

    def hear(self) -> None:
        """
        Let what was sent come to the last process.
        """
        while self.writers:
            for writer in tuple(self.writers):
                writer.doWrite()
        came = b""
        with contextlib.suppress(BlockingIOError):
            while data := self.theirs[-1].recv(65536):
                came += data
        while came:
            (length,) = struct.unpack_from("!I", came)
            message = json.loads(came[4 : 4 + length])
            came = came[4 + length :]
            self.messages.append(message)
            self.told.append(message[ORDER])

    def close(self) -> None:
        """
        The test is over.
        """
        for each in self.theirs:
            each.close()


class WorkersServiceTests(SynchronousTestCase):
    """
    L{Workers}, with processes that only we know of, and a clock of our own.
    """

    def setUp(self) -> None:
        """
        One worker for one tunnel.
        """
        self.reactor = Reactor()
        self.addCleanup(self.reactor.close)
        self.pool = Pool(Path(self.mktemp()), asked=False)
        createIdentity(self.pool, Identity.parse(NAME))
        self.bound = bindAll(Claim([TCPAddress("127.0.0.1", 0)]))[0]
        self.addCleanup(self.bound.close)
        self.service = Workers(self.reactor, 1, [], ownLog=True)
        self.service.prepareNow(self.plan())
        self.service.commit()
        self.addCleanup(self.service.stopService)

    def plan(self, **settings: Any) -> Plan:
        """
        One tunnel.
        """
        tunnel = Tunnel(
            Mode.SERVER,
            (TCPAddress("127.0.0.1", 0),),
            (TCPAddress("127.0.0.1", 1),),
            find("none"),
            localID=Identity.parse(NAME),
            pool=self.pool,
            **settings,
        )
        return Plan((Planned(tunnel, (self.bound,), {"name": ""}),))

    def started(self) -> int:
        """
        How many processes were started in all.
        """
        return len(self.reactor.protocols)

    def die(self) -> None:
        """
        The last process that was started is killed.
        """
        self.reactor.protocols[-1].processEnded(Failure(ProcessTerminated(signal=signal.SIGKILL)))

    def answer(self, order: str, **more: object) -> None:
        """
        The last process answers the last message with C{order}.
        """
        self.reactor.hear()
        asked = [each for each in self.reactor.messages if each[ORDER] == order][-1]
        child = self.reactor.protocols[-1]
        child._answered({NUMBER: asked[NUMBER], **more}, [])

    def test_aWorkerThatLivedForAWhileIsReplacedAtOnce(self) -> None:
        """
        Each time.
        """
        self.service.startService()
        for times in range(1, 5):
            self.assertEqual(self.started(), times)
            self.reactor.advance(STEADY_SECONDS)
            self.die()
            self.reactor.advance(0)

    def test_aWorkerThatKeepsDyingIsReplacedEverLater(self) -> None:
        """
        At once, after a moment, after twice that, and so on up to a limit.
        """
        self.service.startService()
        delays = [0.0]
        while len(delays) < 12:
            delays.append(min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** (len(delays) - 1)))
        self.assertEqual(delays[-1], LONGEST_DELAY_SECONDS)
        for times, delay in enumerate(delays, 1):
            self.die()
            if delay:
                self.reactor.advance(delay - 0.125)
                self.assertEqual(self.started(), times)
            self.reactor.advance(0.125)
            self.assertEqual(self.started(), times + 1)

    def test_aProcessThatCannotBeStartedIsTriedAgain(self) -> None:
        """
        No worker is lost because the system was short of something for a moment.
        """
        self.reactor.fails = True
        self.service.startService()
        self.reactor.advance(0)
        self.assertEqual(self.started(), 0)
        self.reactor.fails = False
        self.reactor.advance(FIRST_DELAY_SECONDS)
        self.assertEqual(self.started(), 1)

    def test_allHaveTheKeyForPasswordsInCommon(self) -> None:
        """
        As a client of mysql that keeps it comes to any of them, also to one that was replaced.
        """
        self.service.startService()
        self.reactor.advance(STEADY_SECONDS)
        self.die()
        self.reactor.advance(0)
        first, second = (each[4] for each in self.reactor.descriptors)
        self.assertEqual(first, second)

    def test_stoppingNeedsNoProcess(self) -> None:
        """
        Neither before they are started, nor while one cannot be.
        """
        self.successResultOf(self.service.stopService())
        self.reactor.fails = True
        self.service.startService()
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_ordersAreForThoseThatLive(self) -> None:
        """
        To stop is the last of them but one; a process that does not serve yet, and so reads no
        orders, is ended by the signal that means nothing to others.
        """
        self.service.startService()
        stopped = self.service.stopService()
        self.service.hurry()
        self.reactor.hear()
        self.assertNoResult(stopped)
        self.assertEqual(self.reactor.told, ["serve", "stop", "TERM", "hurry"])
        self.reactor.protocols[0].processEnded(Failure(ProcessDone(0)))
        self.service.hurry()
        self.successResultOf(stopped)
        self.assertEqual(len(self.reactor.told), 4)
        self.assertEqual(self.started(), 1)

    def test_oneThatDoesNotHearIsNotWaitedForForEver(self) -> None:
        """
        As somebody has stopped it; for less long if all is to end at once.
        """
        ends: tuple[tuple[float, Callable[[], None]], ...] = (
            (ANSWER_SECONDS, lambda: None),
            (HURRY_SECONDS, self.service.hurry),
        )
        for seconds, hurry in ends:
            self.service.startService()
            stopped = self.service.stopService()
            hurry()
            self.reactor.advance(seconds - 1)
            self.reactor.hear()
            self.assertNotIn("KILL", self.reactor.told)
            self.reactor.advance(1)
            self.assertEqual(self.reactor.told.pop(), "KILL")
            self.assertNoResult(stopped)
            self.die()
            self.successResultOf(stopped)
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_oneThatHearsMayTakeItsTime(self) -> None:
        """
        Connections may go on for longer than an answer takes.
        """
        self.service.startService()
        stopped = self.service.stopService()
        self.answer("stop")
        self.service.hurry()
        self.answer("hurry")
        self.reactor.advance(10 * ANSWER_SECONDS)
        self.reactor.hear()
        self.assertNotIn("KILL", self.reactor.told)
        self.assertNoResult(stopped)
        self.reactor.protocols[0].processEnded(Failure(ProcessDone(0)))
        self.successResultOf(stopped)

    def test_aProcessThatHasJustGoneIsNotWaitedForTwice(self) -> None:
        """
        It is gone, but we have not heard of it.
        """
        self.service.startService()
        self.reactor.isGone = True
        stopped = self.service.stopService()
        self.reactor.protocols[0].processEnded(Failure(ProcessDone(0)))
        self.successResultOf(stopped)

    def test_howAWorkerMayEnd(self) -> None:
        """
        As it was told, or by what reached all of us before it could take it.
        """
        for reason, orderly in (
            (ProcessDone(0), True),
            (ProcessTerminated(signal=signal.SIGTERM), True),
            (ProcessTerminated(signal=signal.SIGKILL), False),
            (ProcessTerminated(exitCode=1), False),
        ):
            self.assertIs(isOrderly(reason), orderly)

    def test_whoeverWeAreByNowMustReadTheKeys(self) -> None:
        """
        twistd changes the user in between; workers would die for ever behind an open port.
        """
        key = self.pool.path / NAME / "privkey.pem"
        key.chmod(0o644)
        self.patch(os, "geteuid", lambda: 65534)
        error = self.assertRaises(CannotServe, self.service.startService)
        self.assertIn(str(key), str(error))
        self.assertEqual(self.started(), 0)

    def test_itIsUpWhenAllAre(self) -> None:
        """
        They serve, and not only run; the first one that does is not enough.
        """
        up = self.ofTwo().whenUp()
        self.assertNoResult(up)
        self.serving(0)
        self.assertNoResult(up)
        self.serving(1)
        self.successResultOf(up)

    def test_itIsUpOnceThoseThatDiedMeanwhileAreReplaced(self) -> None:
        """
        One that has served and is gone does not count; those that are replaced later do not matter.
        """
        up = self.ofTwo().whenUp()
        self.serving(0)
        self.reactor.protocols[0].processEnded(Failure(ProcessDone(0)))
        self.serving(1)
        self.assertNoResult(up)
        self.reactor.advance(0)
        self.serving(2, order=2)
        self.successResultOf(up)
        self.die()
        self.reactor.advance(STEADY_SECONDS)
        self.serving(3, order=3)

    def ofTwo(self) -> Workers:
        """
        Two workers, just started.
        """
        service = Workers(self.reactor, 2, [], ownLog=True)
        service.prepareNow(self.plan())
        service.commit()
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def serving(self, number: int, order: int = 1) -> None:
        """
        The process that was started after C{number} others serves, as its place was told with that
        order of all that it was given.
        """
        self.reactor.protocols[number]._answered({NUMBER: order}, [])

    def test_aNewStateIsServedOnceAllAreReady(self) -> None:
        """
        A socket that a worker has already does not go along again.
        """
        self.service.startService()
        self.answer("serve")
        prepared = self.service.prepare(self.plan(quiet=True))
        self.assertNoResult(prepared)
        self.answer("prepare")
        self.successResultOf(prepared)
        self.service.commit()
        self.reactor.hear()
        self.assertEqual(self.reactor.told, ["serve", "prepare", "commit"])
        fresh = [each[PLAN]["fresh"] for each in self.reactor.messages if PLAN in each]
        self.assertEqual(fresh, [[1], []])
        self.assertTrue(self.service.plan.services[0].described.quiet)

    def test_aNewStateIsThereOnceAllServeIt(self) -> None:
        """
        Or are gone; one that does not answer is replaced.
        """
        self.service.startService()
        ends: tuple[Callable[[], object], ...] = (
            lambda: self.answer("commit"),
            lambda: self.reactor.advance(ANSWER_SECONDS),
            self.die,
        )
        for end in ends:
            prepared = self.service.prepare(self.plan())
            self.answer("prepare")
            self.successResultOf(prepared)
            served = self.service.commit()
            self.assertNoResult(served)
            end()
            self.successResultOf(served)
        self.assertEqual(self.reactor.told.count("KILL"), 1)

    def test_whatIsGivenUpIsOpenInWorkersOnly(self) -> None:
        """
        They accept there what waits, each in its turn; nothing waits behind the last of them.
        """
        self.service.startService()
        (planned,) = self.service.plan.services
        prepared = self.service.prepare(Plan())
        self.answer("prepare")
        self.successResultOf(prepared)
        served = self.service.commit()
        self.assertNoResult(served)
        self.assertEqual([each.sock.fileno() for each in planned.bound], [-1])

    def test_aWorkerIsToldToHeedWhoIsWithdrawn(self) -> None:
        """
        Whether it prepares anything or not.
        """
        self.service.startService()
        self.answer("serve")
        self.service.heed()
        self.reactor.hear()
        self.assertEqual(self.reactor.told, ["serve", "heed"])

    def test_whatAWorkerRefusesIsRefused(self) -> None:
        """
        Once, whoever else refuses it; and the worker forgets it.
        """
        self.service.startService()
        prepared = self.service.prepare(self.plan(name="mail"))
        self.answer("prepare", refusals=[["mail", "`trust`", "is odd", "see why"]] * 2)
        refused = self.failureResultOf(prepared, Refused).value
        ((name, error),) = refused.refusals
        self.assertEqual((name, error.key, error.problem), ("mail", "trust", "is odd"))
        self.service.abort()
        self.reactor.hear()
        self.assertEqual(self.reactor.told[-1], "abort")
        self.assertEqual(self.service.plan.services[0].described.name, "")

    def test_aWorkerThatDiesWhileItPreparesIsAReasonToRefuse(self) -> None:
        """
        The new state may be what killed it; it is replaced by one that serves the old state.
        """
        self.service.startService()
        before = self.service.plan
        prepared = self.service.prepare(self.plan(name="mail"))
        self.die()
        self.failureResultOf(prepared, ConfigurationError)
        self.service.abort()
        self.reactor.advance(0)
        self.assertEqual(self.started(), 2)
        self.assertIs(self.service.plan, before)

    def test_aWorkerThatDiesBetweenTheStepsIsReplacedByOneThatServesTheNewState(self) -> None:
        """
        It was decided already.
        """
        self.service.startService()
        prepared = self.service.prepare(self.plan(name="mail"))
        self.answer("prepare")
        self.successResultOf(prepared)
        self.die()
        self.service.commit()
        self.reactor.advance(0)
        self.reactor.messages.clear()
        self.reactor.hear()
        (message,) = self.reactor.messages
        self.assertEqual((message[ORDER], message[PLAN]["fresh"]), ("serve", [1]))
        self.assertEqual(self.service.plan.services[0].described.name, "mail")

    def test_aWorkerThatDoesNotAnswerFailsTheReload(self) -> None:
        """
        After a while.
        """
        self.service.startService()
        prepared = self.service.prepare(self.plan())
        self.reactor.advance(ANSWER_SECONDS)
        error = self.failureResultOf(prepared, ConfigurationError).value
        self.assertIn("not ready within", str(error))
        self.service.abort()
        # Too late.
        self.answer("prepare")

    def test_whatTakesMoreDescriptorsThanThereAreIsRefused(self) -> None:
        """
        The sockets go along as copies.
        """
        self.service.startService()
        fresh = bindAll(Claim([TCPAddress("127.0.0.1", 0)]))
        self.addCleanup(fresh[0].close)
        plan = Plan((replace(self.plan().services[0], bound=tuple(fresh)),))
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, before[1]))
        try:
            prepared = self.service.prepare(plan)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        error = self.failureResultOf(prepared, ConfigurationError).value
        self.assertEqual(
            str(error),
            "worker 1: cannot be told: Too many open files; "
            "raise the limit of open files (LimitNOFILE in a unit)",
        )

    def test_whatIsPreparedCanBeGivenUp(self) -> None:
        """
        As when the process is to stop.
        """
        self.service.startService()
        prepared = self.service.prepare(self.plan())
        prepared.cancel()
        self.failureResultOf(prepared, CancelledError)
        self.service.abort()
        self.reactor.hear()
        self.assertEqual(self.reactor.told, ["serve", "prepare", "abort"])

    def test_withoutWorkersNothingCanBeTried(self) -> None:
        """
        So everything stays as it is.
        """
        self.reactor.fails = True
        self.service.startService()
        self.failureResultOf(self.service.prepare(self.plan()), ConfigurationError)

    def test_howManyThereAre(self) -> None:
        """
        Of tunnels and workers.
        """
        self.service.startService()
        self.assertEqual(self.service.tally(), {"tunnel": 1, "worker": 1})
        self.die()
        self.assertEqual(self.service.tally()["worker"], 0)
