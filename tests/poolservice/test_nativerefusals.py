"""
Hand-overs in the pool's own protocol that are refused, over real sockets.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.logger import capturedLogs, formatEvent

from tests.loopback import CLIENT, readUntil
from tests.poolservice.handingover import AS_CLIENT, AS_SERVER, exchange
from tests.poolservice.programs import NativeTests
from tests.poolservice.test_control import turns, until
from tests.poolservice.test_descriptors import MISTAKES, evil, setLinger
from tlstunnel.tunnel.limits import Limits


def longestWaitOf(program: Any) -> float:
    """
    How long a program waits at most for an answer, within two seconds.
    """
    longest = 0.0
    until = time.monotonic() + 2
    while time.monotonic() < until:
        began = time.monotonic()
        assert program.ask("hello")[0] == "ok"
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.05)
    return longest


class RefusalTests(NativeTests):
    """
    Whoever does not get what it asks for.
    """

    perUser = 20

    async def test_whatIsNoConnectionIsRefused(self) -> None:
        """
        The table of what may be handed over; and each time another may be tried.
        """
        program = self.program()

        def run() -> Any:
            found = {}
            for what, (make, words) in MISTAKES.items():
                descriptor = make()
                program.send("tls", descriptor, **AS_CLIENT)
                os.close(descriptor)
                found[what] = *program.refused(), words
            for count in (0, 3, 60):
                descriptor = os.open("/dev/null", os.O_RDONLY)
                program.send("tls", *[descriptor] * count, **AS_CLIENT)
                os.close(descriptor)
                found[str(count)] = *program.refused(), f"not {count or 'none'}"
            network = self.handedOver(program, **AS_CLIENT)
            _, plain = program.taken()
            with plain:
                exchange(network, plain)
            return found

        for what, (reason, detail, words) in (await self.inThread(run)).items():
            with self.subTest(what=what):
                self.assertEqual(reason, "not-connected")
                self.assertIn(words, detail)

    async def test_whatIsAskedWronglyIsRefused(self) -> None:
        """
        Each in its words, and the connection goes on.
        """
        program = self.program()
        table: list[tuple[bytes, int, str, str]] = [
            (b"\xff\n", 0, "syntax", "not UTF-8"),
            (b"x" * 150_000, 0, "syntax", "more than 65536 bytes"),
            (b"helo\n", 0, "syntax", "did you mean hello?"),
            (b"quit\n", 0, "syntax", "there are tls, export, certificate, hello"),
            (b"hello\n", 1, "syntax", "no descriptor may come with hello"),
            (b"hello\na=b\n", 0, "syntax", "hello has no field a=; there are: none"),
            (b"export\nlabl=b\n", 0, "syntax", "there are: label=, context=, length="),
            (b"export\nlabel=x\nlength=1\n", 0, "syntax", "ask for tls first"),
            (b"certificate\n", 0, "syntax", "ask for tls first"),
            (b"export\nlength=1\n", 0, "syntax", "add label="),
            (b"export\nlabel=x\n", 0, "syntax", "add length="),
            (b"export\nlabel=x\nlength=0\n", 0, "syntax", "add length="),
            (b"export\nlabel=x\nlength=8161\n", 0, "syntax", "from 1 to 8160"),
            (b"export\nlabel=x\nlength=1\ncontext=abc\n", 0, "syntax", "two digits for each byte"),
            (b"tls\nrole=client\n", 1, "no-remote", "add remote="),
            (b"tls\nrole=server\nlocal=-\n", 1, "syntax", "has to be somebody"),
            (b"tls\nrole=client\nremote=a.test\nq=1\n", 1, "syntax", "no field q="),
            (b"tls\nrole=client\nremote=a.test\nlocal=b.test\n", 1, "config", "b.test"),
            (b"tls\nrole=server\nlocal=b.test\n", 1, "config", "b.test"),
        ]

        def run() -> Any:
            found = []
            for data, count, _, _ in table:
                ours, theirs = self.pair()
                socket.send_fds(program.sock, [data], [ours.fileno()] * count)
                ours.close()
                found.append(program.refused())
                if count:
                    # It is closed, whatever was wrong.
                    assert theirs.recv(1) == b""
            assert program.ask("hello")[0] == "ok"
            return found

        for (data, _, reason, words), refused in zip(table, await self.inThread(run), strict=True):
            with self.subTest(data=data[:40]):
                self.assertEqual(refused[0], reason)
                self.assertIn(words, refused[1])

    async def test_whoeverIsNotWhoItHasToBeIsRefused(self) -> None:
        """
        The program is told what was there, and gets no plaintext.
        """
        program = self.program()

        def run() -> Any:
            ours, theirs = self.pair()
            program.tls(ours, role="client", remote="shop.example.org")
            try:
                self.peer(theirs, False).handshake()
            except (SSL.Error, ConnectionError):
                pass
            return program.refused()

        reason, detail = await self.inThread(run)
        self.assertEqual(reason, "identity")
        self.assertIn("server.example.org", detail)

    async def test_aClientWithoutACertificateIsRefused(self) -> None:
        """
        Where it has to have one.
        """
        program = self.program()

        def run() -> Any:
            ours, theirs = self.pair()
            program.tls(ours, **AS_SERVER, client="require")
            try:
                network = self.peer(theirs, True)
                network.handshake()
                network.read(1)
            except (SSL.Error, ConnectionError):
                pass
            return program.refused()[0]

        self.assertIn(await self.inThread(run), ("identity", "tls"))

    async def test_whoeverSpeaksNoTLSIsRefused(self) -> None:
        """
        Also in the words of its protocol.
        """
        program = self.program()

        def run() -> Any:
            ours, theirs = self.pair()
            program.tls(ours, **AS_CLIENT)
            theirs.sendall(b"220 mx ESMTP\r\n")
            first = program.refused()[0]
            ours, theirs = self.pair()
            program.tls(ours, **AS_CLIENT, starttls="smtp")
            theirs.sendall(b"220 mx ESMTP\r\n")
            readUntil(theirs, b"\n")
            theirs.sendall(b"250 mx\r\n")
            readUntil(theirs, b"\n")
            theirs.sendall(b"502 no\r\n")
            second = program.refused()[0]
            ours, theirs = self.pair()
            program.tls(ours, **AS_CLIENT)
            theirs.close()
            return first, second, program.refused()[0]

        first, second, third = await self.inThread(run)
        self.assertEqual((first, second), ("foreign-protocol", "refused"))
        self.assertIn(third, ("tls", "closed", "truncated", "reset"))

    async def test_aProgramHasItsOwnTimeLimit(self) -> None:
        """
        Which is never more than that of the service.
        """
        program = self.program()

        def run() -> Any:
            ours, _ = self.pair()
            program.tls(ours, **AS_CLIENT, timeout=1)
            return program.refused()

        reason, detail = await self.inThread(run)
        self.assertEqual(reason, "timeout")
        self.assertIn("1 s", detail)
        limits = Limits(handshake=0.2)
        self.handOvers.use(replace(self.handOvers.description, limits=limits))

        def again() -> Any:
            ours, _ = self.pair()
            program.tls(ours, **AS_CLIENT, timeout=60)
            return program.refused()

        self.assertEqual((await self.inThread(again))[0], "timeout")

    async def test_whatCanBeDoneIsTold(self) -> None:
        """
        By the fields that a program has.
        """
        program = self.program()

        def run() -> Any:
            ours, theirs = self.pair()
            program.tls(ours, **AS_SERVER, client="require")
            network = self.peer(theirs, True)
            with contextlib.suppress(SSL.Error, OSError):
                network.handshake()
                network.read(1)
            return program.refused()

        reason, detail = await self.inThread(run)
        self.assertEqual(reason, "tls")
        self.assertEqual(
            detail,
            "the client has shown no certificate; let the client show a certificate, or the "
            "program leave out remote= and say client=request",
        )

    async def test_oneControlConnectionServesOne(self) -> None:
        """
        Another one is refused, and the first goes on; also after its end.
        """
        program = self.program()

        def run() -> Any:
            network = self.handedOver(program, **AS_CLIENT)
            _, plain = program.taken()
            program.tls(self.pair()[0], **AS_CLIENT)
            first = program.refused()
            exchange(network, plain)
            plain.close()
            network.end()
            network.read(1)
            network.close()
            program.howEnded()
            program.tls(self.pair()[0], **AS_CLIENT)
            return first, program.refused()

        for reason, detail in await self.inThread(run):
            self.assertEqual(reason, "syntax")
            self.assertIn("connect again", detail)

    async def test_whoeverHasTooMuchIsTold(self) -> None:
        """
        As the answer to what it asks; and others are served.
        """
        programs = [self.program() for _ in range(self.perUser)]
        await self.inThread(lambda: [each.ask("hello") for each in programs])
        more = self.program()

        def run() -> Any:
            ours, theirs = self.pair()
            more.tls(ours, **AS_CLIENT)
            refused = more.refused()
            assert theirs.recv(1) == b""
            assert more.sock.recv(1) == b""
            return refused

        reason, detail = await self.inThread(run)
        self.assertEqual(reason, "limit")
        self.assertIn(f"has {self.perUser} connections here already", detail)
        programs[0].close()
        await until(lambda: len(self.programs.open) < self.perUser)
        self.assertEqual(await self.inThread(lambda: self.program().ask("hello")[0]), "ok")

    async def test_whatIsSaidGoesCutIntoTheLog(self) -> None:
        """
        Programs must not fill it.
        """
        program = self.program()

        def run() -> None:
            program.tls(self.pair()[0], role="client", remote="a." * 30_000)
            program.refused()

        with capturedLogs() as events:
            await self.inThread(run)
        lengths = [len(formatEvent(each)) for each in events]
        self.assertTrue(100 < max(lengths) < 3000, lengths)

    async def test_notEvenThoseWhoAreTurnedAwayHaveNoLimit(self) -> None:
        """
        More of them are closed without a word.
        """
        self.quotas.perUser = 1
        programs = [self.program() for _ in range(120)]
        await until(lambda: len(self.programs._turnedAway) == 100)

        def run() -> Any:
            return [each.sock.recv(1) for each in programs[-5:]]

        self.assertEqual(await self.inThread(run), [b""] * 5)
        for each in programs:
            each.close()
        await until(lambda: not self.programs._turnedAway)

    async def test_aPoolThatIsFullSaysSo(self) -> None:
        """
        The limit is that of all programs.
        """
        described = replace(self.handOvers.description, limits=Limits(connections=1))
        self.handOvers.use(described)
        first, second = self.program(), self.program()

        def run() -> Any:
            self.handedOver(first, **AS_CLIENT)
            plain = first.taken()[1]
            second.tls(self.pair()[0], **AS_CLIENT)
            with plain:
                return second.refused()[0]

        self.assertEqual(await self.inThread(run), "limit")

    async def test_aProgramThatIsGoneIsNotWaitedFor(self) -> None:
        """
        Its connection ends when it does, as nobody could get the plaintext.
        """
        program = self.program()
        ours, theirs = self.pair()
        program.tls(ours, **AS_CLIENT)
        await until(lambda: self.handOvers.open)
        program.close()
        await until(lambda: not (self.handOvers.open or self.programs.open))

        def run() -> Any:
            said = b""
            try:
                while piece := theirs.recv(65536):
                    said += piece
            except ConnectionResetError:
                pass
            return said[:1]

        self.assertEqual(await self.inThread(run), b"\x16")

    async def test_theProgramMayKeepACopy(self) -> None:
        """
        What it handed over ends nevertheless.
        """
        program = self.program()
        ours, theirs = self.pair()
        program.send("tls", ours.fileno(), **AS_CLIENT, q=1)
        self.assertEqual((await self.inThread(program.refused))[0], "syntax")
        self.assertEqual(await self.inThread(lambda: theirs.recv(1)), b"")
        ours.close()

    async def test_aSocketThatLingersHoldsUpNobody(self) -> None:
        """
        Although its program sets that when it has handed it over already.
        """
        program, other = self.program(), self.program()
        sock, peer = evil()
        self.addCleanup(peer.close)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        def run() -> float:
            copy = sock.dup()
            program.tls(sock, **AS_SERVER, timeout=1)
            assert other.ask("hello")[0] == "ok"
            setLinger(copy)
            copy.close()
            assert program.refused()[0] == "timeout"
            return longestWaitOf(other)

        self.assertLess(await self.inThread(run), 1.0)

    async def test_aSocketThatIsMadeToBlockHoldsUpNobody(self) -> None:
        """
        Its program has a copy, and shares its flags; that is easily done by mistake.
        """
        program, other = self.program(), self.program()

        def run() -> float:
            ours, theirs = self.pair()
            copy = ours.dup()
            self.addCleanup(copy.close)
            program.tls(ours, **AS_CLIENT)
            assert other.ask("hello")[0] == "ok"
            network = self.peer(theirs, False)
            network.handshake()
            plain = program.taken()[1]
            self.addCleanup(plain.close)
            copy.setblocking(True)
            # A record of which the rest does not come.
            theirs.sendall(b"\x17\x03\x03")
            return longestWaitOf(other)

        self.assertLess(await self.inThread(run), 1.5)

    async def test_aBrokenKeyIsToldAsTheMistakeThatItIs(self) -> None:
        """
        It is the administrator's mistake, and the program is told whose.
        """
        path = Path(self.pool.path / str(CLIENT) / "privkey.pem")
        path.write_text("nonsense")
        path.chmod(0o600)
        program = self.program()

        def run() -> Any:
            program.tls(self.pair()[0], **AS_CLIENT, local=CLIENT)
            return program.refused()

        reason, detail = await self.inThread(run)
        self.assertEqual(reason, "config")
        self.assertIn("privkey.pem", detail)
        await turns()
