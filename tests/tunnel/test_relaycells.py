"""
Tests for L{tlstunnel.tunnel.relay} and L{tlstunnel.net.leg} in whatever mode and version: moving
bytes and closing, on real sockets, cell by cell of the relay's table of closings.
"""

from __future__ import annotations

import fcntl
import gc
import hashlib
import os
import random
import socket
import sys
import termios
import threading
import time
from typing import Any

from tests.loopback import Encrypted, Plain, Reset, wait
from tlstunnel.net.leg import Leg
from tlstunnel.net.unixleg import UNIXLeg
from tlstunnel.tls.session import Session
from tlstunnel.tunnel.clientpair import ClientPair
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.relay import Relay
from tlstunnel.tunnel.serverpair import ServerPair

MIB = 1 << 20


def concurrently(*calls: Any) -> list[Any]:
    """
    Make calls in threads, all at once; their results in order.
    """
    results: list[Any] = [None] * len(calls)

    def run(index: int, call: Any) -> None:
        results[index] = call()

    threads = [threading.Thread(target=run, args=each) for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def unacknowledged(sock: socket.socket) -> int:
    """
    Bytes that the other end's kernel has not got yet, the end of the stream among them.
    """
    return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"), sys.byteorder)


class Cells:
    """
    The table of closings, a test for each cell, and the bytes before.

    @cvar fits: bytes that the system and the tunnel take for a peer that reads nothing.
    @cvar mostLeft: what the system may count as not taken of what was.
    """

    mode = Mode.SERVER
    version = "1.3"
    fits = 3 * MIB
    mostLeft = 0
    through: Any
    assertEqual: Any
    assertTrue: Any
    assertIs: Any
    assertEnded: Any
    assertLess: Any
    ends: Any

    # Bytes

    async def test_bytesArriveInBothDirections(self) -> None:
        """
        What one end writes, the other reads.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            network.write(b"question")
            self.assertEqual(plain.read(8), b"question")
            plain.write(b"answer")
            self.assertEqual(network.read(6), b"answer")

        await self.through(script)

    async def test_muchDataBothWaysAtOnceArrivesWhole(self) -> None:
        """
        Nothing is lost, doubled or reordered under back-pressure, also when both ends finish at
        once.
        """
        there, back = os.urandom(8 * MIB), os.urandom(8 * MIB)

        def script(network: Encrypted, plain: Plain) -> None:
            # The one peer has no thread-safe TLS: it writes and reads in small turns.
            def talk() -> bytes:
                got = b""
                for start in range(0, len(there), 65536):
                    network.write(there[start : start + 65536])
                    got += network.read(65536)  # type: ignore[operator]
                network.end()
                return got

            def answer() -> None:
                plain.write(back)
                plain.end()

            got, _, read = concurrently(talk, answer, lambda: plain.read(len(there) + 1))
            self.assertEqual(hashlib.sha256(read).digest(), hashlib.sha256(there).digest())
            self.assertEqual(hashlib.sha256(got).digest(), hashlib.sha256(back).digest())
            self.assertTrue(network.atEnd())

        await self.through(script)
        await wait(lambda: bool(self.ends))
        self.assertEnded("clean")

    async def test_bytesWrittenOneByOneArriveInOrder(self) -> None:
        """
        A record a byte is slow, and works.
        """
        data = bytes(range(256)) * 4

        def script(network: Encrypted, plain: Plain) -> None:
            for byte in data:
                network.write(bytes([byte]))
            self.assertEqual(plain.read(len(data)), data)
            for byte in data:
                plain.write(bytes([byte]))
            self.assertEqual(network.read(len(data)), data)

        await self.through(script)

    async def test_oddChunksKeepTheirOrder(self) -> None:
        """
        Chunks of all sizes arrive as one stream.
        """
        chunks = [os.urandom(random.Random(n).randint(1, 40000)) for n in range(60)]
        whole = b"".join(chunks)

        def script(network: Encrypted, plain: Plain) -> None:
            def write() -> None:
                for chunk in chunks:
                    plain.write(chunk)
                plain.end()

            got = concurrently(write, lambda: network.read(len(whole) + 1))[1]
            self.assertEqual(got, whole)

        await self.through(script)

    async def test_allArrivesAtASlowReader(self) -> None:
        """
        A reader that pauses gets every byte, although the writer has long closed.
        """
        data = os.urandom(3 * MIB)

        def script(network: Encrypted, plain: Plain) -> None:
            def read() -> bytes:
                got = b""
                while chunk := plain.read(131072):
                    time.sleep(0.01)
                    got += chunk  # type: ignore[operator]
                return got

            def write() -> None:
                network.write(data)
                network.end()

            self.assertEqual(concurrently(read, write)[0], data)
            plain.end()

        await self.through(script)
        await wait(lambda: bool(self.ends))
        self.assertEnded("clean")

    # Clean ends

    async def test_theEndOfThePlainLegIsPassedOnAndTheAnswerStillArrives(self) -> None:
        """
        FIN in clear becomes close_notify, and the other direction goes on.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            plain.write(b"question")
            plain.end()
            self.assertEqual(network.read(9), b"question")
            network.write(b"late answer" * 100000)
            network.end()
            self.assertEqual(plain.read(1100001), b"late answer" * 100000)

        await self.through(script)
        await wait(lambda: bool(self.ends))
        self.assertEnded("clean")

    async def test_closeNotifyIsPassedOnAndTheAnswerStillArrives(self) -> None:
        """
        close_notify becomes FIN, and the other direction goes on.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            network.write(b"question")
            network.end()
            self.assertEqual(plain.read(9), b"question")
            plain.write(b"late answer" * 100000)
            plain.end()
            self.assertEqual(network.read(1100001), b"late answer" * 100000)
            self.assertTrue(network.atEnd())

        await self.through(script)
        await wait(lambda: bool(self.ends))
        self.assertEnded("clean")

    async def test_anEmptyConnectionEndsCleanly(self) -> None:
        """
        Both ends may close without a word.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            network.end()
            self.assertTrue(plain.atEnd())
            plain.close()
            self.assertTrue(network.atEnd())

        await self.through(script)
        await wait(lambda: bool(self.ends))
        self.assertEnded("clean")

    async def test_aLifetimeEndsCleanlyWhateverMoves(self) -> None:
        """
        Both peers see an end, and the log says why.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            for _ in range(100_000):
                plain.write(b"x")
                if network.read(1) == b"":
                    break
            else:
                raise AssertionError("it lives for ever")
            plain.close()

        await self.through(script, limits=Limits(lifetime=0.3))
        await wait(lambda: bool(self.ends))
        self.assertEnded("lifetime")

    async def test_aLifetimeIsNoConcernOfAConnectionThatHasEnded(self) -> None:
        """
        Its limit goes with it.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            network.end()
            plain.close()

        await self.through(script, limits=Limits(lifetime=0.3))
        await wait(lambda: bool(self.ends))
        self.assertEnded("clean")

    async def test_nothingIsLeftForTheGarbageCollector(self) -> None:
        """
        What served a connection is gone with it: a circle of references would keep sockets and keys
        until somebody looks for circles.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            plain.write(b"x")
            self.assertEqual(network.read(1), b"x")
            network.end()
            self.assertTrue(plain.atEnd())
            plain.close()
            self.assertTrue(network.atEnd())

        kinds = (Leg, UNIXLeg, Relay, ClientPair, ServerPair, Session)
        gc.collect()
        gc.disable()
        try:
            before = sum(type(each) in kinds for each in gc.get_objects())
            # Nor is it kept for what would have been due.
            await self.through(script, limits=Limits(lifetime=600))
            await wait(lambda: bool(self.ends))
            self.assertEqual(sum(type(each) in kinds for each in gc.get_objects()), before)
        finally:
            gc.enable()

    async def test_aPeerThatClosesAltogetherAfterItsCleanEndIsNoFault(self) -> None:
        """
        Who sends close_notify and closes does not want the rest; nothing is amiss.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            network.write(b"bye")
            network.end()
            network.close()
            self.assertEqual(plain.read(4), b"bye")
            try:
                for _ in range(100):
                    plain.write(b"x" * 65536)
            except OSError:
                pass
            plain.close()

        await self.through(script)
        await wait(lambda: bool(self.ends))
        self.assertEnded("clean")

    async def test_whatCameBeforeACleanEndArrivesAlthoughItsSenderTakesNoMore(self) -> None:
        """
        Who ends and closes resets the connection when it is talked to; what it said before that
        lies unread behind a slow reader, and arrives.
        """
        data = os.urandom(self.fits)

        def script(network: Encrypted, plain: Plain) -> None:
            self.finishAndBeTalkedTo(plain, network, data)

        await self.through(script)
        await wait(lambda: bool(self.ends))
        self.assertEnded("clean")

    async def test_soDoesItFromTheNetwork(self) -> None:
        """
        The same the other way.
        """
        data = os.urandom(self.fits)

        def script(network: Encrypted, plain: Plain) -> None:
            self.finishAndBeTalkedTo(network, plain, data)

        await self.through(script)
        await wait(lambda: bool(self.ends))
        self.assertEnded("clean")

    def finishAndBeTalkedTo(self, sender: Plain, reader: Plain, data: bytes) -> None:
        """
        C{sender} sends C{data} and is gone; C{reader} speaks before it reads.
        """
        sender.write(data)
        sender.end()
        if isinstance(sender, Encrypted):
            sender.truncate()
        while unacknowledged(sender.sock) > self.mostLeft:
            time.sleep(0.005)
        sender.close()
        for _ in range(3):
            reader.write(b"are you there?")
            time.sleep(0.02)
        self.assertEqual(reader.read(len(data) + 1), data)
        self.assertTrue(reader.atEnd())
        reader.end()

    async def test_whatComesBehindCloseNotifyIsIgnored(self) -> None:
        """
        RFC 8446, section 6.1; and the answer is not reset because of it.
        """
        data = os.urandom(2 * MIB)

        def script(network: Encrypted, plain: Plain) -> None:
            network.write(b"x")
            network.end()
            network.sock.sendall(os.urandom(1000))
            self.assertEqual(plain.read(2), b"x")

            def answer() -> None:
                plain.write(data)
                plain.close()

            def read() -> bytes:
                got = b""
                while chunk := network.read(65536):
                    time.sleep(0.002)
                    got += chunk  # type: ignore[operator]
                return got

            self.assertEqual(concurrently(read, answer)[0], data)

        await self.through(script)
        await wait(lambda: bool(self.ends))
        self.assertEnded("clean")

    # Ends that are not clean

    async def test_anEndWithoutCloseNotifyIsAResetForTheOther(self) -> None:
        """
        Truncation is never a clean end.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            network.write(b"half of it")
            self.assertEqual(plain.read(10), b"half of it")
            network.truncate()
            self.assertTrue(plain.isReset())

        await self.through(script)
        await wait(lambda: bool(self.ends))
        self.assertEnded("truncated")

    async def test_aResetOfTheNetworkLegIsAResetOfThePlainOne(self) -> None:
        """
        Reset is passed on as reset.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            network.write(b"x")
            plain.read(1)
            network.reset()
            self.assertTrue(plain.isReset())

        await self.through(script)
        await wait(lambda: bool(self.ends))
        self.assertEnded("reset")

    async def test_aResetOfThePlainLegEndsTheNetworkLegWithoutCloseNotify(self) -> None:
        """
        Reset is passed on as reset, and as no clean end of TLS.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            plain.write(b"x")
            network.read(1)
            # A UNIX socket is reset by what is unread.
            network.write(b"unread")
            plain.sock.recv(1, socket.MSG_PEEK)
            plain.reset()
            self.assertIs(network.read(1), Reset)

        await self.through(script)
        await wait(lambda: bool(self.ends))
        self.assertEnded("reset")

    async def test_aBadRecordIsAReset(self) -> None:
        """
        What is no TLS ends the connection, and none of it reaches the plain leg.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            network.write(b"x")
            plain.read(1)
            network.sock.sendall(b"\x17\x03\x03\x00\x20" + b"\0" * 32)
            self.assertTrue(plain.isReset())

        await self.through(script)
        await wait(lambda: bool(self.ends))
        self.assertEnded("tls")

    # Limits

    async def test_aDirectionThatStaysOpenIsClosedInTheEnd(self) -> None:
        """
        After one end, the other direction has the close limit.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            network.end()
            self.assertTrue(plain.atEnd())
            while True:
                # After a FIN, a reset shows only when we write.
                try:
                    plain.write(b"")
                    plain.sock.getpeername()
                except OSError:
                    return
                time.sleep(0.01)

        await self.through(script, limits=Limits(close=0.4))
        await wait(lambda: bool(self.ends))
        self.assertEnded("close-timeout")

    async def test_trafficExtendsTheCloseLimit(self) -> None:
        """
        An answer that takes longer than the limit, but moves, arrives whole.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            network.end()
            self.assertTrue(plain.atEnd())
            for _ in range(10):
                time.sleep(0.1)
                plain.write(b"x")
            plain.end()
            self.assertEqual(network.read(11), b"x" * 10)

        await self.through(script, limits=Limits(close=0.6))
        await wait(lambda: bool(self.ends))
        self.assertEnded("clean")

    async def test_noLimitCutsWhatASlowReaderHasStillToTake(self) -> None:
        """
        Neither the idle nor the close limit, though the reader is slower than both.
        """
        data = os.urandom(6 * MIB)

        def script(network: Encrypted, plain: Plain) -> None:
            def write() -> None:
                plain.write(data)
                plain.end()

            def read() -> bytes:
                time.sleep(0.5)
                return network.read(len(data) + 1)  # type: ignore[return-value]

            self.assertEqual(concurrently(read, write)[0], data)

        await self.through(script, limits=Limits(close=0.1, idle=0.1))
        await wait(lambda: bool(self.ends))

    async def test_anIdleConnectionIsClosedCleanly(self) -> None:
        """
        The idle limit ends both legs, with close_notify and FIN.
        """

        def script(network: Encrypted, plain: Plain) -> None:
            network.write(b"x")
            plain.read(1)
            self.assertTrue(plain.atEnd())
            self.assertTrue(network.atEnd())

        await self.through(script, limits=Limits(idle=0.4))
        await wait(lambda: bool(self.ends))
        self.assertEnded("idle")
