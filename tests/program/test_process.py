"""
Tests for L{tlstunnel.program.process} and L{tlstunnel.program.signals}: what there is once in a
process, and what its signals do, from the first moment on.
"""

from __future__ import annotations

import errno
import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.program.processes import TLSTUNNEL, TOP, TWISTD, WAIT_SECONDS
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.program.configuration import Configuration, Status
from tlstunnel.program.fleet import Fleet
from tlstunnel.program.plan import IServing
from tlstunnel.program.process import (
    COLLECTOR_THRESHOLDS,
    Process,
    raiseDescriptorLimit,
    settleMemory,
)
from tlstunnel.program.service import ITunnelService, TunnelService
from tlstunnel.program.sources import CommandLineSource
from tlstunnel.program.tunnels import Tunnels
from tlstunnel.program.workers import Workers


class Reactor(Clock):
    """
    Runs, until it is stopped.
    """

    def __init__(self) -> None:
        super().__init__()
        self.isRunning = True

    def callWhenRunning(self, call: Callable[[], object]) -> None:
        """
        It runs.
        """
        call()

    def stop(self) -> None:
        """
        Can be done once.
        """
        if not self.isRunning:
            raise ReactorNotRunning
        self.isRunning = False


@implementer(ITunnelService)
class Recorded(Service):
    """
    A tunnel that remembers what was asked of it.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.stopped: Deferred[None] = Deferred()

    def privilegedStartService(self) -> None:
        """
        Read keys.
        """
        self.asked.append("read")

    def startService(self) -> None:
        """
        Serve.
        """
        self.asked.append("start")

    def stopService(self) -> Deferred[None]:
        """
        Takes a while.
        """
        self.asked.append("stop")
        return self.stopped

    def whenUp(self) -> Deferred[None]:
        """
        At once.
        """
        return succeed(None)

    def tally(self) -> dict[str, int]:
        """
        Nothing is counted.
        """
        return {}

    def reload(self) -> Deferred[str]:
        """
        Read again.
        """
        self.asked.append("reload")
        return succeed("")

    def hurry(self) -> None:
        """
        End now.
        """
        self.asked.append("hurry")


class WithoutOrders(Process):
    """
    Leaves the signals of the test run alone.
    """

    def takeOrders(self) -> None:
        """
        Let the tunnels know, and do nothing.
        """
        for tunnel in self:
            tunnel.asked.append("orders")


class CollectorTests(SynchronousTestCase):
    """
    L{settleMemory}.
    """

    def setUp(self) -> None:
        """
        Put all back afterwards.
        """
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(gc.unfreeze)
        gc.unfreeze()

    def test_whatIsThereIsNotLookedAtAgain(self) -> None:
        """
        It is frozen, once its own circles are gone.
        """
        circle = Recorded()
        circle.circle = circle  # type: ignore[attr-defined]
        gone = weakref.ref(circle)
        del circle
        settleMemory()
        self.assertIsNone(gone())
        self.assertGreater(gc.get_freeze_count(), 10000)

    def test_whatConnectionsLeaveIsLookedAtInLargeLots(self) -> None:
        """
        Ten times the usual ones at the least.
        """
        settleMemory()
        self.assertEqual(gc.get_threshold(), COLLECTOR_THRESHOLDS)
        self.assertGreater(COLLECTOR_THRESHOLDS[0], 7000)


class DescriptorsTests(SynchronousTestCase):
    """
    L{raiseDescriptorLimit}.
    """

    def setUp(self) -> None:
        """
        Begin below the limit of the system.
        """
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.hard = before[1]
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, self.hard))

    def test_allThatTheSystemAllows(self) -> None:
        """
        The hard limit.
        """
        raiseDescriptorLimit()
        self.assertEqual(resource.getrlimit(resource.RLIMIT_NOFILE), (self.hard, self.hard))

    def test_aSystemThatRefusesIsNoError(self) -> None:
        """
        We live with what there is, as where the hard limit is more than the kernel's own.
        """

        def refuse(which: int, limits: tuple[int, int]) -> None:
            raise ValueError("not allowed")

        self.patch(resource, "setrlimit", refuse)
        raiseDescriptorLimit()


class ProcessTests(SynchronousTestCase):
    """
    L{Process}.
    """

    def setUp(self) -> None:
        """
        Two tunnels in one process.
        """
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(gc.unfreeze)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        self.reactor = Reactor()
        self.process = WithoutOrders(self.reactor)
        self.tunnels = [Recorded(), Recorded()]
        for tunnel in self.tunnels:
            self.process.addService(tunnel)

    def assertAsked(self, *words: str) -> None:
        """
        Both were asked the same.
        """
        self.assertEqual([tunnel.asked for tunnel in self.tunnels], [list(words)] * 2)

    def test_itsChildrenAreTunnels(self) -> None:
        """
        Both kinds of them.
        """
        tunnel: Any = None
        self.assertTrue(verifyObject(ITunnelService, TunnelService(tunnel, self.reactor)))
        serving = Tunnels(self.reactor)
        source = CommandLineSource({}, [], {})
        nothing = Configuration(Path("x"), {}, Status(), ())
        fleet = Fleet(source, nothing, self.reactor, serving)
        self.assertTrue(verifyObject(ITunnelService, fleet))
        self.assertTrue(verifyObject(IServing, serving))
        self.assertTrue(verifyObject(IServing, Workers(self.reactor, 2, [], ownLog=True)))

    def test_descriptorsAndMemoryAreSetOnce(self) -> None:
        """
        Descriptors before anything is bound, memory once all is there.
        """
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        self.process.privilegedStartService()
        self.assertAsked("read")
        self.assertEqual(resource.getrlimit(resource.RLIMIT_NOFILE)[0], hard)
        self.process.startService()
        self.assertEqual(gc.get_threshold(), COLLECTOR_THRESHOLDS)

    def test_withoutDescriptorsNothingStaysBound(self) -> None:
        """
        There have to be some for the first connection.
        """

        def fail(*arguments: object) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        self.patch(os, "open", fail)
        error = self.assertRaises(ConfigurationError, self.process.privilegedStartService)
        self.assertIn("is too low to serve a connection (Too many open files)", str(error))
        self.assertAsked("read", "stop")

    def test_signalsAreTakenBeforeThereIsAnythingToLeaveBehind(self) -> None:
        """
        Such as workers, whose parent ends at once until then.
        """
        self.process.startService()
        self.assertAsked("orders", "start")

    def test_allTunnelsReload(self) -> None:
        """
        Each for itself.
        """
        self.process.reload()
        self.assertAsked("reload")

    def test_theSecondStopIsAtOnce(self) -> None:
        """
        The first one stops the reactor, which asks us to stop in order.
        """
        self.process.stop()
        self.assertFalse(self.reactor.isRunning)
        self.assertAsked()
        self.process.stop()
        self.assertAsked("hurry")

    def test_theEndIsLogged(self) -> None:
        """
        Once all tunnels have stopped.
        """
        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, events.append)  # type: ignore[arg-type]
        stopped = self.process.stopService()
        self.assertAsked("stop")
        self.tunnels[0].stopped.callback(None)
        self.assertNoResult(stopped)
        self.assertEqual(events, [])
        self.tunnels[1].stopped.callback(None)
        self.successResultOf(stopped)
        self.assertEqual([event["log_format"] for event in events], ["stopped"])


# What the program does in its place: it looks a name up, and says so.
_LOOKING_UP = """
import os, socket, sys
real = socket.getaddrinfo
def lookUp(host, *rest, **more):
    if host == "slow.example.org":
        os.write(1, b"looking up\\n")
        WAIT
        host = "127.0.0.1"
    return real(host, *rest, **more)
socket.getaddrinfo = lookUp
PROGRAM
"""

# As the resolver of the system does: signals do not interrupt it, and Python cannot run meanwhile.
_FOR_EVER = """
        import ctypes
        mutex = ctypes.create_string_buffer(256)
        lock = ctypes.CDLL(None).pthread_mutex_lock
        lock(mutex), lock(mutex)
"""
_FOR_A_LINE = "os.read(0, 1)"

_PROGRAMS = {
    TLSTUNNEL: "from tlstunnel.__main__ import main; sys.exit(main())",
    TWISTD: "from twisted.scripts.twistd import run; run()",
}


class SignalsTests(SynchronousTestCase):
    """
    The program and the twistd that runs it, and signals.
    """

    def setUp(self) -> None:
        """
        A pool, and room for what the program says.
        """
        self.pool = Path(self.mktemp()).resolve()
        createIdentity(Pool(self.pool, asked=False), Identity.parse("server.example.org"))
        self.lines: list[str] = []

    def start(
        self, *, wait: str = "", twistd: bool = False, ignoring: str = ""
    ) -> subprocess.Popen[str]:
        """
        Start a tunnel.

        @param wait: what it does while it looks a name up.
        @param ignoring: signals that are ignored when the program is started.
        """
        kind = TWISTD if twistd else TLSTUNNEL
        program = _LOOKING_UP.replace("WAIT", wait or "pass").replace("PROGRAM", _PROGRAMS[kind])
        words = ["-n", "--pidfile=", "tlstunnel"] if twistd else []
        words += "-s -l 127.0.0.1:0 -L server.example.org -r slow.example.org:1 --pool".split()
        shell = ["sh", "-c", f'trap "" {ignoring}; exec "$@"', "sh"] if ignoring else []
        process = subprocess.Popen(
            [*shell, sys.executable, "-c", program, *words, str(self.pool)],
            env={**os.environ, "PYTHONPATH": str(TOP), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None and process.stdin is not None
        stdout, stdin = process.stdout, process.stdin
        reading = threading.Thread(target=lambda: self.lines.extend(iter(stdout.readline, "")))

        def clean() -> None:
            process.kill()
            process.wait()
            reading.join(WAIT_SECONDS)
            stdout.close()
            stdin.close()

        self.addCleanup(clean)
        reading.start()
        return process

    def until(self, words: str, times: int = 1) -> None:
        """
        Wait until a line with C{words} is there.
        """
        end = time.monotonic() + WAIT_SECONDS
        while sum(words in line for line in self.lines) < times:
            self.assertLess(time.monotonic(), end, "".join(self.lines))
            time.sleep(0.01)

    def goOn(self, process: subprocess.Popen[str]) -> None:
        """
        Let this look-up end, and all that follow.
        """
        assert process.stdin is not None
        process.stdin.write("\n" * 99)
        process.stdin.flush()

    def endsInOrder(self, process: subprocess.Popen[str]) -> None:
        """
        It is asked to, and does.
        """
        process.terminate()
        self.assertEqual(process.wait(WAIT_SECONDS), 0, self.lines)
        self.until("stopped")

    def test_endsAtOnceBeforeItServes(self) -> None:
        """
        With status 0, although a look-up is going on that does not return.
        """
        for twistd in (False, True):
            for number in (signal.SIGTERM, signal.SIGINT):
                self.lines.clear()
                process = self.start(wait=_FOR_EVER, twistd=twistd)
                self.until("looking up")
                process.send_signal(number)
                self.assertEqual(process.wait(WAIT_SECONDS), 0)
                self.assertEqual(self.lines, ["looking up\n"])

    def test_otherSignalsWaitUntilItServes(self) -> None:
        """
        Then one of them reloads, and the others do nothing.
        """
        for twistd in (False, True):
            self.lines.clear()
            process = self.start(wait=_FOR_A_LINE, twistd=twistd)
            self.until("looking up")
            for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
                process.send_signal(number)
            self.goOn(process)
            self.until("reloaded identities")
            self.endsInOrder(process)

    def test_signalsThatMeanNothingDoNothing(self) -> None:
        """
        While it serves: the next one that means something does what it should.
        """
        for twistd in (False, True):
            self.lines.clear()
            process = self.start(twistd=twistd)
            self.until("tunnel up")
            for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
                process.send_signal(number)
            self.until("reloaded identities")
            self.endsInOrder(process)

    def test_SIGHUPIsIgnoredWhereItWasBefore(self) -> None:
        """
        As under nohup.
        """
        process = self.start(ignoring="HUP")
        self.until("tunnel up")
        process.send_signal(signal.SIGHUP)
        self.endsInOrder(process)
        self.assertNotIn("reloaded", "".join(self.lines))

    def test_SIGINTIsIgnoredWhereItWasBefore(self) -> None:
        """
        As in the background of a shell; before it serves, too.
        """
        process = self.start(wait=_FOR_A_LINE, ignoring="INT")
        self.until("looking up")
        process.send_signal(signal.SIGINT)
        self.goOn(process)
        self.until("tunnel up")
        process.send_signal(signal.SIGINT)
        self.endsInOrder(process)
