"""
Tests for L{tlstunnel.program.workers} and L{tlstunnel.program.child}: several processes for the
same tunnels.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import resource
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.ports import freePort
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

TOP = Path(__file__).resolve().parents[2]
#: Seconds after which a test that waits fails.
WAIT_SECONDS = 30

# What systemd does: the socket becomes descriptor 3 of the process that is named.
_HAND_DOWN = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
    "os.execv(sys.argv[2], sys.argv[2:])"
)
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


class WorkersTests(SynchronousTestCase):
    """
    The program with --workers, before a backend that echoes.
    """

    def setUp(self) -> None:
        """
        A pool, a backend, and room for what the program logs.
        """
        self.pool = Path(self.mktemp()).resolve()
        createIdentity(Pool(self.pool, asked=False), Identity.parse(NAME))
        self.context = ssl.create_default_context(cafile=str(self.pool / "ca" / "cert.pem"))
        self.backend = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.echo, daemon=True).start()
        self.addCleanup(self.backend.close)
        self.addCleanup(self.backend.shutdown, socket.SHUT_RDWR)
        self.port = freePort()
        self.lines: list[str] = []

    def echo(self) -> None:
        """
        Serve each connection in a thread.
        """

        def serve(sock: socket.socket) -> None:
            with sock, contextlib.suppress(OSError):
                while data := sock.recv(65536):
                    sock.sendall(data)

        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.backend.accept()
                threading.Thread(target=serve, args=(sock,), daemon=True).start()

    def start(self, *words: str, line: str = "tunnel up", lines: int = 2) -> subprocess.Popen[str]:
        """
        Start the program with two workers, and wait until both are up, or what C{line} says.
        """
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tlstunnel", "-s", "-L", NAME, "--pool", str(self.pool)),
                *("-l", f"127.0.0.1:{self.port}", "--workers", "2"),
                *("-r", f"127.0.0.1:{self.backend.getsockname()[1]}", *words),
            ],
            env={**os.environ, "PYTHONPATH": str(TOP)},
            stderr=subprocess.PIPE,
            text=True,
            # So that a signal can be sent to all its processes, and to no others.
            start_new_session=True,
        )
        assert process.stderr is not None
        stderr = process.stderr
        reading = threading.Thread(target=lambda: self.lines.extend(iter(stderr.readline, "")))

        def clean() -> None:
            process.terminate()
            process.wait(WAIT_SECONDS)
            reading.join(WAIT_SECONDS)
            stderr.close()

        self.addCleanup(clean)
        reading.start()
        self.until(lambda: self.count(line) == lines)
        return process

    def count(self, words: str) -> int:
        """
        How many lines of the log have C{words}.
        """
        return sum(words in line for line in self.lines)

    def until(self, condition: Callable[[], bool]) -> None:
        """
        Wait for C{condition}, within bounds.
        """
        end = time.monotonic() + WAIT_SECONDS
        while not condition():
            self.assertLess(time.monotonic(), end, "".join(self.lines))
            time.sleep(0.01)

    def connect(self) -> ssl.SSLSocket:
        """
        One connection that works.
        """
        sock = socket.create_connection(("127.0.0.1", self.port), WAIT_SECONDS)
        wrapped = self.context.wrap_socket(sock, server_hostname=NAME)
        wrapped.sendall(b"x")
        self.assertEqual(wrapped.recv(1), b"x")
        return wrapped

    def certificates(self) -> set[bytes | None]:
        """
        What the worker shows that gets a connection.
        """
        with self.connect() as connection:
            return {connection.getpeercert(binary_form=True)}

    def processes(self, parent: subprocess.Popen[str]) -> list[int]:
        """
        The pids of the workers.
        """
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def test_connectionsAreServedAndTheLogSaysByWhom(self) -> None:
        """
        Each worker's lines name it.
        """
        self.start()
        for _ in range(20):
            self.connect().close()
        self.until(lambda: self.count("bytes sent") == 20)
        workers = {
            found.group(1)
            for line in self.lines
            if "bytes sent" in line and (found := re.search(r"\[worker (\d)", line))
        }
        self.assertTrue(workers and workers <= {"1", "2"}, workers)

    def test_aKilledWorkerCostsOnlyItsOwnConnectionsAndIsReplaced(self) -> None:
        """
        Those of the other go on, new ones are served, and there are two workers again.
        """
        parent = self.start()
        connections = [self.connect() for _ in range(30)]
        before = self.processes(parent)
        os.kill(before[0], signal.SIGKILL)
        self.connect().close()
        alive = 0
        for each in connections:
            with contextlib.suppress(OSError), each:
                each.sendall(b"y")
                alive += each.recv(1) == b"y"
        self.until(lambda: self.count("tunnel up") == 3)
        after = self.processes(parent)
        self.assertEqual(len(after), 2)
        self.assertIn(before[1], after)
        self.assertNotIn(before[0], after)
        self.connect().close()
        self.until(lambda: self.count("bytes sent") >= alive + 1)

    def test_noTicketsAreSent(self) -> None:
        """
        They would resume nothing.
        """
        self.start()
        with self.connect() as connection:
            connection.sendall(b"y")
            self.assertEqual(connection.recv(1), b"y")
            assert connection.session is not None
            self.assertFalse(connection.session.has_ticket)

    def test_theyAreWhereThatIsAskedFor(self) -> None:
        """
        Each worker has a key of its own for them.
        """
        self.start("--resumption", "on")
        with self.connect() as connection:
            connection.sendall(b"y")
            self.assertEqual(connection.recv(1), b"y")
            assert connection.session is not None
            self.assertTrue(connection.session.has_ticket)

    def test_SIGTERMEndsAllInOrder(self) -> None:
        """
        With exit code 0, and no worker is left.
        """
        parent = self.start()
        workers = self.processes(parent)
        self.assertEqual(len(workers), 2)
        parent.terminate()
        self.assertEqual(parent.wait(WAIT_SECONDS), 0)
        for pid in workers:
            self.assertRaises(ProcessLookupError, os.kill, pid, 0)
        self.until(lambda: self.count("] stopped") == 2 and self.count(" stopped") == 3)
        self.assertEqual(self.count("error:"), 0, self.lines)

    def test_whatIsJustStartingIsStoppedToo(self) -> None:
        """
        Before anybody serves.
        """
        parent = self.start(line="starting 2 workers", lines=1)
        parent.terminate()
        self.assertEqual(parent.wait(WAIT_SECONDS), 0)
        self.until(lambda: self.count(" stopped") >= 1)
        self.assertEqual(self.count("error:"), 0, self.lines)

    def untilRefused(self) -> None:
        """
        Wait until nobody listens any more, within bounds.
        """

        def isRefused() -> bool:
            try:
                socket.create_connection(("127.0.0.1", self.port), WAIT_SECONDS).close()
            except ConnectionRefusedError:
                return True
            return False

        self.until(isRefused)

    def test_SIGTERMToAllOfThemCutsNothing(self) -> None:
        """
        As service managers send it: what moves goes on, new connections are refused meanwhile, and
        nothing is logged as an error.
        """
        parent = self.start()
        with self.connect() as connection:
            os.killpg(parent.pid, signal.SIGTERM)
            self.untilRefused()
            self.assertIsNone(parent.poll())
            for _ in range(20):
                connection.sendall(b"y")
                self.assertEqual(connection.recv(1), b"y")
        self.assertEqual(parent.wait(WAIT_SECONDS), 0)
        self.until(lambda: self.count(" stopped") == 3)
        self.assertEqual(self.count("error:"), 0, self.lines)

    def test_theSecondSIGTERMEndsAllAtOnce(self) -> None:
        """
        To whomever it is sent.
        """
        parent = self.start()
        with self.connect() as connection:
            os.killpg(parent.pid, signal.SIGTERM)
            self.untilRefused()
            os.killpg(parent.pid, signal.SIGTERM)
            self.assertEqual(connection.recv(1), b"")
        self.assertEqual(parent.wait(WAIT_SECONDS), 0)
        self.until(lambda: self.count("; stopped") + self.count(": stopped") == 1)

    def test_aSignalToAWorkerIsForItsParent(self) -> None:
        """
        Which gets it as well, where it is meant for the program.
        """
        parent = self.start()
        worker = self.processes(parent)[0]
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            os.kill(worker, number)
        self.connect().close()
        parent.send_signal(signal.SIGHUP)
        self.until(lambda: self.count("reloaded identities") == 1)
        self.assertIn(worker, self.processes(parent))

    def test_workersEndWithTheirParent(self) -> None:
        """
        Also when it is killed, as nobody would stop them then; and they say why.
        """
        parent = self.start()
        workers = self.processes(parent)
        parent.kill()
        parent.wait(WAIT_SECONDS)
        self.until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers))
        self.assertEqual(self.count("the parent is gone"), 2)

    def test_SIGHUPReachesAllWorkers(self) -> None:
        """
        Each shows the new certificate from then on.
        """
        parent = self.start()
        before = self.certificates()
        createIdentity(Pool(self.pool, asked=False), Identity.parse(NAME), replace=True)
        parent.send_signal(signal.SIGHUP)
        self.until(lambda: self.count("reloaded identities") == 1)
        # Both workers get some of so many connections.
        after = {certificate for _ in range(20) for certificate in self.certificates()}
        self.assertEqual(len(after), 1)
        self.assertTrue(before.isdisjoint(after))

    def test_aMistakeIsSaidOnce(self) -> None:
        """
        By the parent, before any worker is started.
        """
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tlstunnel", "-s", "-L", "nobody.example.org"),
                *("--pool", str(self.pool), "-l", f"127.0.0.1:{self.port}"),
                *("-r", "127.0.0.1:1", "--workers", "2"),
            ],
            env={**os.environ, "PYTHONPATH": str(TOP)},
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        self.assertEqual(done.returncode, 1)
        self.assertEqual(len(done.stderr.splitlines()), 1)

    def test_systemdsSocketsAreServed(self) -> None:
        """
        By their name, by the convention of sd_listen_fds(3).
        """
        listener = socket.create_server(("127.0.0.1", self.port))
        self.addCleanup(listener.close)
        os.set_inheritable(listener.fileno(), True)
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", _HAND_DOWN, str(listener.fileno())),
                *(sys.executable, "-m", "tlstunnel", "-s", "-L", NAME, "--pool", str(self.pool)),
                *("-l", "systemd:front", "-r", f"127.0.0.1:{self.backend.getsockname()[1]}"),
            ],
            env={
                **os.environ,
                "PYTHONPATH": str(TOP),
                "LISTEN_FDS": "1",
                "LISTEN_FDNAMES": "front",
            },
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.connect().close()
