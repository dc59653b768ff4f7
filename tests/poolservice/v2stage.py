"""
A program of the TLS Pool and our side of the control socket, in one thread and without TLS: what
would serve connections does what the test says, and time passes when it says so.
"""

from __future__ import annotations

import select
import socket
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.poolservice.tlspool import ERROR, STARTTLS, Library, build, read
from tlstunnel.address import UNIXAddress
from tlstunnel.errors import Closed, TunnelError
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.local.closing import closeHanded
from tlstunnel.local.quotas import Quotas
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.net.linger import Linger
from tlstunnel.net.unixleg import UNIXLegs
from tlstunnel.poolservice.description import PoolDescription
from tlstunnel.poolservice.interfaces import IProgram
from tlstunnel.poolservice.refusallog import ProgramRefusals
from tlstunnel.poolservice.v2port import V2Port
from tlstunnel.poolservice.wanted import Wanted

#: What the double gives for keying material and for tls-unique.
OCTETS = bytes.fromhex("8275") + bytes(range(1, 31))
UNIQUE = bytes(range(12))

ALICE = Identity("alice", "example.test")
WWW = Identity(None, "www.example.test")


class Turning(Clock):
    """
    A reactor whose turns are taken by the test.
    """

    def __init__(self) -> None:
        super().__init__()
        self.called: deque[Callable[[], object]] = deque()
        self.readers: list[Any] = []
        self.writers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        """Watch it."""
        self.readers.append(reader)

    def addWriter(self, writer: Any) -> None:
        """Watch it."""
        self.writers.append(writer)

    def removeReader(self, reader: Any) -> None:
        """Do not."""
        if reader in self.readers:
            self.readers.remove(reader)

    def removeWriter(self, writer: Any) -> None:
        """Do not."""
        if writer in self.writers:
            self.writers.remove(writer)

    def callFromThread(self, call: Callable[[], object]) -> None:
        """Call it in the next turn."""
        self.called.append(call)

    def turn(self) -> int:
        """
        Tell everybody what there is.

        @return: how many were told.
        """
        ready, able, _ = select.select(self.readers, self.writers, [], 0)
        for each in ready:
            if each in self.readers:
                each.doRead()
        for each in able:
            if each in self.writers:
                each.doWrite()
        called = len(self.called)
        for _ in range(called):
            self.called.popleft()()
        return len(ready) + len(able) + called

    def settle(self) -> None:
        """
        Take turns until nothing happens.
        """
        for _ in range(200):
            for each in threading.enumerate():
                if each.name == "tlstunnel-close":
                    each.join()
            if not self.turn():
                return
        raise AssertionError("it spins")


class Binding:
    """
    Stands for what both ends of a TLS know.
    """

    def export(self, label: bytes, context: bytes | None, length: int) -> bytes:
        """The same for all."""
        return OCTETS.ljust(length, b"\0")[:length]

    def unique(self) -> bytes:
        """The same for all."""
        return UNIQUE


class HandOverDouble:
    """
    One connection, which does what the test says.
    """

    def __init__(self, program: IProgram, wanted: Wanted, sock: socket.socket) -> None:
        self.program = program
        self.wanted = wanted
        self.sock = sock
        self.local: Identity | None = None
        self.record = SimpleNamespace(identity=None)
        self.binding = Binding()
        self.ownCertificate = None
        self.why: TunnelError | None = None
        self.leg: Any = None
        self._meeting: Deferred[Any] | None = None
        self._isOver = False

    def certificates(self) -> list[Any]:
        """None was shown."""
        return []

    def verify(self, local: Identity | None = None, remote: Identity | None = None) -> None:
        """The handshake is complete: ask the program for its leg."""
        self.local = local
        self.record.identity = remote
        self._meeting = Deferred.fromCoroutine(self.program.plain(self))  # type: ignore[arg-type]
        self._meeting.addCallbacks(self._met, self._failed)

    def _met(self, leg: Any) -> None:
        self.leg = leg

    def _failed(self, failure: Failure) -> None:
        if failure.check(TunnelError):
            self.end(failure.value)  # type: ignore[arg-type]

    def end(self, why: TunnelError | None) -> None:
        """It is over."""
        if self._isOver:
            return
        self._isOver = True
        self.why = why
        if self._meeting is not None:
            self._meeting.cancel()
        if self.leg is not None:
            self.leg.abortConnection()
        closeHanded(self.sock)
        self.program.ended(self, why)  # type: ignore[arg-type]

    @property
    def isOver(self) -> bool:
        """Whether it is."""
        return self._isOver


class HandOversDouble:
    """
    Stands for L{tlstunnel.poolservice.handovers.HandOvers}.
    """

    def __init__(self, reactor: Turning) -> None:
        self.reactor = reactor
        self.deadlines = Deadlines(reactor)
        self.linger = Linger(reactor)
        self.unixLegs = UNIXLegs(reactor, self.linger, self.deadlines)
        self.refusals = ProgramRefusals(self.deadlines, "pool-service")
        self.description = PoolDescription(Pool(Path("pool")))
        self.begun: list[HandOverDouble] = []
        self.refusal: TunnelError | None = None

    def begin(self, program: IProgram, wanted: Wanted, sock: socket.socket) -> HandOverDouble:
        """Take it, or do not."""
        if self.refusal is not None:
            raise self.refusal
        self.begun.append(HandOverDouble(program, wanted, sock))
        return self.begun[-1]


class V2Tests(SynchronousTestCase):
    """
    Base class.
    """

    perUser = 0

    def setUp(self) -> None:
        """Open the port, and let a program connect."""
        self.before = self.descriptors()
        self.reactor = Turning()
        self.handOvers = HandOversDouble(self.reactor)
        self.handOvers.unixLegs.open("local")
        self.port = V2Port(self.handOvers, Quotas(self.perUser))  # type: ignore[arg-type]
        self.open: list[socket.socket] = []
        self.tlspool = self.connect()

    def tearDown(self) -> None:
        """All is given back, whatever has happened."""
        for each in self.open:
            each.close()
        self.reactor.settle()
        for handOver in self.handOvers.begun:
            handOver.end(Closed("the test is over"))
        self.handOvers.linger.closeAll()
        self.handOvers.unixLegs.closeAll()
        self.assertEqual(self.port.programs, set())
        self.assertEqual((len(self.port.keys), len(self.port.quotas)), (0, 0))
        self.assertEqual(self.reactor.readers + self.reactor.writers, [])
        self.handOvers.deadlines.clear()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.descriptors(), self.before)

    def descriptors(self) -> dict[str, str]:
        """Those of this process."""
        found = {}
        for each in Path("/proc/self/fd").iterdir():
            try:
                found[each.name] = str(each.readlink())
            except OSError:
                continue
        return found

    def pair(self, kind: int = socket.SOCK_STREAM) -> tuple[socket.socket, socket.socket]:
        """Two sockets, which are closed at the end."""
        found = socket.socketpair(socket.AF_UNIX, kind)
        for each in found:
            each.settimeout(0)
        self.open += found
        return found

    def connect(self) -> Library:
        """One more program."""
        theirs, ours = self.pair()
        self.open.remove(ours)
        self.port.accepted(ours, UNIXAddress(""))
        return Library(theirs)

    def say(self, frame: bytes, *sockets: Any, by: Library | None = None) -> None:
        """Let a program send a frame; its copies of the descriptors are closed."""
        (by or self.tlspool).send(frame, *(each.fileno() for each in sockets))
        for each in sockets:
            each.close()
        self.reactor.settle()

    def hear(self, layout: Any = STARTTLS, by: Library | None = None) -> dict[str, Any]:
        """The next frame for it."""
        return read(layout, (by or self.tlspool).receive())

    def hearNothing(self, by: Library | None = None) -> None:
        """There is no frame, and the connection is open."""
        self.assertRaises(BlockingIOError, (by or self.tlspool).receive)

    def startTLS(self, **fields: Any) -> socket.socket:
        """
        Hand a connection over, as a client by default.

        @return: its other end.
        """
        network, peer = self.pair()
        fields = {
            "cmd": 0x24,
            "flags": 9,
            "ipproto": 6,
            "remoteid": b"www.example.test",
            "ctlkey": b"0123456789abcdef",
        } | fields
        self.say(build(STARTTLS, **fields), network)
        return peer

    def ready(self, reqid: int = 0, **fields: Any) -> tuple[socket.socket, socket.socket]:
        """
        One whole exchange.

        @return: the network's other end, and the program's plaintext.
        """
        peer = self.startTLS(reqid=reqid, **fields)
        self.handOver.verify(ALICE, WWW)
        question = self.hear()
        ours, theirs = self.pair()
        self.say(build(STARTTLS, cmd=0x2A, reqid=reqid, cbid=question["cbid"]), theirs)
        answer = self.hear()
        self.assertEqual((answer["cmd"], answer["cbid"], answer["reqid"]), (0x24, 0, reqid))
        return peer, ours

    def error(self, by: Library | None = None) -> int:
        """The number of the error that comes next."""
        found = self.hear(ERROR, by)
        self.assertEqual((found["cmd"], found["cbid"]), (1, 0))
        self.assertNotEqual(found["message"], b"")
        return int(found["tlserrno"])

    def answer(self, cmd: int, cbid: int, *sockets: Any, **fields: Any) -> None:
        """Answer a question."""
        self.say(build(STARTTLS, cmd=cmd, cbid=cbid, **fields), *sockets)

    @property
    def handOver(self) -> HandOverDouble:
        """The last connection that was handed over."""
        return self.handOvers.begun[-1]


#: Of a server that asks who it is to be, of its clients nothing.
CHECKING = {"flags": 0x2 | 0x4 | 0x1000 | 0x10000, "remoteid": b""}
