"""
Programs that die, at every step of what they do: nothing is left of them.
"""

from __future__ import annotations

import gc
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

from OpenSSL import SSL

from tests.loopback import PATIENCE, SERVER, Encrypted, readLine, smtpServer
from tests.poolservice.programs import Asking, NativeTests
from tests.poolservice.test_control import turns, until
from tests.poolservice.test_descriptors import descriptorsInUse
from tlstunnel.net.deadlines import Deadline
from tlstunnel.net.descriptor import Descriptor
from tlstunnel.poolservice.control import Control
from tlstunnel.poolservice.handover import HandOver
from tlstunnel.poolservice.nativeprogram import NativeProgram
from tlstunnel.tunnel.pair import Pair

#: How many die.
HAND_OVERS = 1000

#: Seconds of CPU in which they do, on both sides.
LONGEST = 10.0

AS_CLIENT: dict[str, Any] = {"role": "client", "remote": SERVER}

#: What a program and its peer have opened.
Opened = tuple[socket.socket, ...]

# What there is of each connection.
OURS = (Control, Deadline, Descriptor, HandOver, NativeProgram, Pair)


def left() -> Counter[str]:
    """
    What there is in memory, also what only the garbage collector would find.
    """
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, OURS))


class DyingTests(NativeTests):
    """
    Who dies.
    """

    serverContext: SSL.Context

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """
        As that of others, but nobody keeps it.
        """
        ours = socket.create_connection(self.where)
        theirs, _ = self.listening.accept()
        theirs.settimeout(PATIENCE)
        return ours, theirs

    def begun(self, program: Asking, **fields: object) -> Encrypted:
        """
        Hand a connection over; the peer.
        """
        ours, theirs = self.pair()
        program.tls(ours, **AS_CLIENT, **fields)
        return Encrypted(theirs, self.serverContext, False)

    def afterConnecting(self, program: Asking) -> Opened:
        """
        It has said nothing.
        """
        return ()

    def afterHalfAMessage(self, program: Asking) -> Opened:
        """
        It has said something that is none.
        """
        program.sock.send(b"tls\nrole=cli")
        return ()

    def afterSending(self, program: Asking) -> Opened:
        """
        It has not waited for anything, and its peer says nothing.
        """
        return (self.begun(program).sock,)

    def whileNegotiating(self, program: Asking) -> Opened:
        """
        The server has greeted.
        """
        network = self.begun(program, starttls="smtp")
        network.sock.sendall(b"220 mx\r\n")
        readLine(network.sock)
        return (network.sock,)

    def whileHandshaking(self, program: Asking) -> Opened:
        """
        The server has read what begins TLS.
        """
        network = self.begun(program)
        network.fill()
        return (network.sock,)

    def beforeReading(self, program: Asking) -> Opened:
        """
        The answer lies there.
        """
        network = self.begun(program)
        network.handshake()
        assert select.select([program.sock], [], [], PATIENCE)[0]
        return (network.sock,)

    def afterReading(self, program: Asking) -> Opened:
        """
        It has its plaintext socket.
        """
        network = self.begun(program, plain=next(self.kinds))
        network.handshake()
        _, plain = program.taken()
        return plain, network.sock

    def whileRelaying(self, program: Asking) -> Opened:
        """
        There is something on the way in both directions.
        """
        network = self.begun(program, starttls="smtp", plain=next(self.kinds))
        smtpServer(network.sock)
        network.handshake()
        _, plain = program.taken()
        readLine(plain)
        plain.sendall(b"NOOP\r\n")
        network.read(6)
        network.write(bytes(1000))
        plain.sendall(bytes(1000))
        return plain, network.sock

    @property
    def steps(self) -> tuple[Callable[[Asking], Opened], ...]:
        """
        All of them.
        """
        return (
            self.afterConnecting,
            self.afterHalfAMessage,
            self.afterSending,
            self.whileNegotiating,
            self.whileHandshaking,
            self.beforeReading,
            self.afterReading,
            self.whileRelaying,
        )

    def die(self, count: int) -> None:
        """
        C{count} programs, one after the other.
        """
        for number in range(count):
            program = Asking(self.path)
            opened = self.steps[number % len(self.steps)](program)
            # Sometimes the program goes first, and sometimes the peer.
            dying = [program.sock, *opened]
            for each in dying if number % 3 else reversed(dying):
                each.close()

    async def test_nothingIsLeftOfAThousandThatDie(self) -> None:
        """
        No descriptor, no connection, no deadline and no memory; and all that takes seconds.
        """
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listening.close)
        self.where = self.listening.getsockname()
        self.kinds: Iterator[str] = cycle(("unix", "tcp"))
        self.serverContext = self.context(False)
        await self.inThread(lambda: self.die(len(self.steps) * 3))
        await self.over()
        gc.collect()
        descriptors, before, objects = descriptorsInUse(), left(), len(gc.get_objects())
        gc.disable()
        self.addCleanup(gc.enable)
        began = time.process_time()
        await self.inThread(lambda: self.die(HAND_OVERS))
        await self.over()
        seconds = time.process_time() - began
        self.assertLess(seconds, LONGEST)
        await until(lambda: descriptorsInUse() <= descriptors)
        self.assertEqual(left() - before, Counter())
        gc.enable()
        gc.collect()
        self.assertLess(len(gc.get_objects()) - objects, HAND_OVERS // 2)

    async def over(self) -> None:
        """
        Let all of them end.
        """
        handOvers = self.handOvers
        await until(lambda: not (handOvers.open or self.programs.open or len(handOvers.linger)))
        self.assertEqual(len(self.quotas), 0)
        queues = handOvers.deadlines._queues
        await until(lambda: not any(each.pending for each in queues.values()))
        await turns(0.01)
