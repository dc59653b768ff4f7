"""
Connections that programs hand over: L{tlstunnel.poolservice.handovers} and what it is made of.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.keyfiles import noteExaminations, withRSA
from tests.loopback import CLIENT, SERVER, Encrypted, Plain, Reset, smtpClient, smtpServer
from tests.poolservice.stage import ME, HandOverTests, Program, reactor
from tlstunnel.errors import IdentityRefused, TimedOut, TLSFailed, Truncated, TunnelError
from tlstunnel.identity import soundness
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.local.refusals import TooMany
from tlstunnel.poolservice import turns
from tlstunnel.poolservice.refusals import BadPool, NoRemote, NotForCaller
from tlstunnel.poolservice.wanted import Demand
from tlstunnel.tls import keycheck
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.prepared import Prepared

Meet = Callable[[], Plain]


def exchange(network: Encrypted, meet: Meet) -> tuple[Any, Any]:
    """Five bytes each way, and a clean end of both."""
    plain = meet()
    plain.write(b"hello")
    there = network.read(5)
    network.write(b"world")
    back = plain.read(5)
    network.end()
    assert plain.atEnd()
    plain.end()
    assert network.atEnd()
    return there, back


class CourseTests(HandOverTests):
    """
    From the socket to the end.
    """

    async def test_aClientTalksToAServerThatWasVerified(self) -> None:
        """It has the identities of both."""
        program, handOver, said = await self.handOver(self.wanted(True), exchange)
        self.assertEqual(said, (b"hello", b"world"))
        self.assertIsNone(await program.over)
        self.assertEqual(program.story, ["plain", "heard closed", "ended"])
        self.assertEqual(handOver.record.identity, SERVER)
        self.assertIsNone(handOver.local)

    async def test_aServerShowsTheOneIdentityThatItAsksFor(self) -> None:
        """And its client may be anybody."""
        wanted = self.wanted(False, local=SERVER)
        program, handOver, said = await self.handOver(wanted, exchange)
        self.assertEqual(said, (b"hello", b"world"))
        self.assertIsNone(await program.over)
        self.assertEqual((handOver.local, handOver.record.identity), (SERVER, None))

    async def test_aServerIsWhoeverItsClientAsksFor(self) -> None:
        """By SNI, among all that it may be."""
        other = Identity(None, "other.example.org")
        createIdentity(self.pool, other)
        for who in (SERVER, other, SERVER):
            _, handOver, _ = await self.handOver(
                self.wanted(False), exchange, name=who.domain.encode()
            )
            self.assertEqual(handOver.local, who)

    async def test_aKeyThatIsReadFirstIsExaminedInAThread(self) -> None:
        """
        Once for all who need it: of an RSA key that takes longer than others may wait.
        """
        examined = noteExaminations(self)
        for who in (CLIENT, SERVER):
            withRSA(self.pool, who)
        wanted = self.wanted(True, local=CLIENT)
        _, handOver, _ = await self.handOver(wanted, exchange, showing=SERVER)
        self.assertEqual(handOver.record.identity, SERVER)
        for _ in range(2):
            _, handOver, _ = await self.handOver(self.wanted(False, local=SERVER), exchange)
            self.assertEqual(handOver.local, SERVER)
        self.assertEqual(len(examined), 2)
        self.assertNotIn(threading.main_thread(), examined)

    async def test_aKeyThatIsNotSoundIsRefused(self) -> None:
        """
        As the pool's fault, at once where that is known.
        """
        self.patch(soundness, "known", soundness.Soundness())
        self.patch(keycheck, "isSound", lambda key: False)
        for wanted in (self.wanted(False, local=SERVER), self.wanted(True, local=SERVER)):
            withRSA(self.pool, SERVER)
            program = Program(self.handOvers)
            sock, _ = self.pair()
            self.handOvers.begin(program, wanted, sock)
            self.assertIsInstance(await program.over, BadPool)
            again, _ = self.pair()
            self.assertRaises(BadPool, self.handOvers.begin, program, wanted, again)
            again.close()

    async def test_aUserIsShownToNobodyWhoAsksForAHost(self) -> None:
        """Where a server may be several, and one of them is a user: another host is refused."""
        for name in (b"nobody.example.org", b"client.example.org"):
            sock, theirs = self.pair()
            program = Program(self.handOvers)
            self.handOvers.begin(program, self.wanted(False), sock)
            network = Encrypted(theirs, self.context(True), True, name)
            failed = deferToThread(network.handshake).addErrback(lambda failure: None)
            self.assertIsInstance(await program.over, TLSFailed)
            await failed
            self.assertNotIn("plain", program.story)

    async def test_aClientKnowsWhichNameWasAskedFor(self) -> None:
        """As a server does."""
        program, handOver, _ = await self.handOver(self.wanted(True), exchange)
        self.assertEqual(handOver.serverName, SERVER.domain)
        await program.over

    async def test_aClientDoesStartTLS(self) -> None:
        """The program is greeted as by a tunnel."""

        def peer(network: Encrypted, meet: Meet) -> Any:
            plain = meet()
            greeting = plain.sock.recv(1000)
            plain.write(b"NOOP\r\n")
            return greeting[:4], network.read(6)

        _, _, said = await self.handOver(self.wanted(True, "smtp"), peer, smtpServer)
        self.assertEqual(said[0], b"220 ")

    async def test_aServerDoesStartTLS(self) -> None:
        """The program greets as a backend does, and its client begins anew."""

        def peer(network: Encrypted, meet: Meet) -> Any:
            plain = meet()
            plain.write(b"220 program\r\n")
            network.write(b"EHLO x\r\n")
            return plain.read(8)

        wanted = self.wanted(False, "smtp", local=SERVER)
        _, _, said = await self.handOver(wanted, peer, smtpClient)
        self.assertEqual(said, b"EHLO x\r\n")

    async def test_truncationIsTold(self) -> None:
        """FIN without close_notify is no clean end."""

        def peer(network: Encrypted, meet: Meet) -> None:
            meet()
            network.sock.shutdown(socket.SHUT_WR)

        program, _, _ = await self.handOver(self.wanted(True), peer)
        self.assertIsInstance(await program.over, Truncated)
        self.assertEqual(program.story, ["plain", "heard truncated", "ended"])

    async def test_aCopyOfTheSocketDoesNotHideItsEnd(self) -> None:
        """The peer sees close_notify and FIN, though the program has not closed its own."""
        sock, theirs = self.pair()
        copy = socket.socket(fileno=os.dup(sock.fileno()))
        self.addCleanup(copy.close)
        program = Program(self.handOvers)
        self.handOvers.begin(program, self.wanted(True), sock)
        network = Encrypted(theirs, self.context(False), False)

        def run() -> Any:
            network.handshake()
            network.end()
            return network.atEnd() and theirs.recv(1)

        program.met.addCallback(lambda _: program.sock.close())
        self.assertEqual(await deferToThread(run), b"")

    async def test_bothEndsExportTheSame(self) -> None:
        """RFC 9266."""
        label = b"EXPORTER-Channel-Binding"
        found: list[bytes] = []

        def peer(network: Encrypted, meet: Meet) -> None:
            meet()
            found.append(network.tls.export_keying_material(label, 32, None))

        _, handOver, _ = await self.handOver(self.wanted(True), peer)
        self.assertEqual(handOver.binding.export(label, None, 32), found[0])
        self.assertIsNone(handOver.binding.unique())
        handOver.end(TimedOut("the test is over"))


class CertificateTests(HandOverTests):
    """
    What a server asks of its clients.
    """

    async def _identify(self, demand: Demand, showing: Any, remote: Any = None) -> Any:
        wanted = self.wanted(False, local=SERVER, demand=demand, remote=remote)

        def peer(network: Encrypted, meet: Meet) -> None:
            meet()

        program, handOver, _ = await self.handOver(wanted, peer, showing=showing)
        found = handOver.record.identity, handOver.name
        handOver.end(TimedOut("the test is over"))
        await program.over
        return found

    async def test_aClientOfWhichACertificateIsRequestedMayHaveNone(self) -> None:
        """Then it is nobody."""
        self.assertEqual(await self._identify(Demand.REQUEST, None), (None, ""))

    async def test_aClientOfWhichACertificateIsRequestedIsWhoItShows(self) -> None:
        """If it has one."""
        found = await self._identify(Demand.REQUEST, CLIENT)
        self.assertEqual(found, (CLIENT, str(CLIENT)))

    async def test_aClientOfWhichACertificateIsRequiredIsWhoItShows(self) -> None:
        """Whoever that is."""
        self.assertEqual((await self._identify(Demand.REQUIRE, CLIENT))[0], CLIENT)

    async def test_aClientHasToBeWhomTheSelectorSays(self) -> None:
        """This one is."""
        found = await self._identify(Demand.REQUIRE, CLIENT, Selector.parse("@example.org"))
        self.assertEqual(found[0], CLIENT)
        with self.assertRaises(IdentityRefused):
            await self._refused(Demand.REQUIRE, CLIENT, Selector.parse("@.example.org"))

    async def _refused(self, demand: Demand, showing: Any, remote: Any = None) -> Any:
        wanted = self.wanted(False, local=SERVER, demand=demand, remote=remote)
        sock, theirs = self.pair()
        program = Program(self.handOvers)
        self.handOvers.begin(program, wanted, sock)
        context = self.context(True, showing)
        context.set_verify(SSL.VERIFY_NONE)
        network = Encrypted(theirs, context, True)

        def run() -> None:
            network.handshake()
            network.read(1)

        failed = deferToThread(run).addErrback(lambda failure: None)
        error = await program.over
        await failed
        self.assertEqual(program.story[-1], "ended")
        self.assertNotIn("plain", program.story)
        raise error if error is not None else AssertionError("it was let in")

    async def test_aClientWithoutACertificateIsRefusedWhereOneIsRequired(self) -> None:
        """Before the program hears of it."""
        with self.assertRaises(TLSFailed):
            await self._refused(Demand.REQUIRE, None)

    async def test_aClientThatShowsAnotherCertificateIsRefusedAlsoWhereItIsRequested(self) -> None:
        """A certificate of somebody whom nobody believes counts for less than none."""
        stranger = Identity("eve", "evil.test")
        other = type(self.pool)(self.pool.path / "elsewhere", asked=False)
        createIdentity(other, stranger)
        (self.pool.path / str(stranger)).symlink_to(other.directoryOf(stranger).resolve())
        with self.assertRaises(IdentityRefused):
            await self._refused(Demand.REQUEST, stranger)


class RefusalTests(HandOverTests):
    """
    What is refused before anything is said on the network.
    """

    def _refusal(self, kind: type[Exception], wanted: Any, caller: Any = ME) -> str:
        sock, theirs = self.pair()
        self.addCleanup(sock.close)
        program = Program(self.handOvers, caller)
        error = self.assertRaises(kind, self.handOvers.begin, program, wanted, sock)
        self.assertEqual(program.story, [])
        self.assertEqual(self.handOvers.connections, 0)
        self.assertEqual(self.handOvers.admission._all, 0)
        theirs.setblocking(False)
        self.assertRaises(BlockingIOError, theirs.recv, 1)
        return str(error)

    def test_aClientHasToSayWhoMustBeThere(self) -> None:
        """It may not connect to anybody."""
        self._refusal(NoRemote, self.wanted(True, remote=None))

    def test_whoMayNotUseAnIdentityIsToldHow(self) -> None:
        """By a command for the administrator."""
        said = self._refusal(
            NotForCaller, self.wanted(False, local=SERVER), replace(ME, uid=ME.uid + 1)
        )
        self.assertIn("identity allow", said)

    def test_whoMayUseNothingIsNobody(self) -> None:
        """As a server."""
        self._refusal(NotForCaller, self.wanted(False), replace(ME, uid=ME.uid + 1))

    def test_anIdentityThatIsNotThereIsTold(self) -> None:
        """Of a server."""
        nobody = Identity(None, "nobody.example.org")
        self.assertIn("create", self._refusal(BadPool, self.wanted(False, local=nobody)))

    def test_aBrokenKeyIsTold(self) -> None:
        """Though it is read in steps."""
        (self.pool.path / str(SERVER) / "privkey.pem").write_text("nothing")
        self.assertIn("privkey", self._refusal(BadPool, self.wanted(False, local=SERVER)))

    async def test_thereAreNoMoreThanTheLimitsAllow(self) -> None:
        """One that has not been verified counts as a stranger."""
        limits = Limits(unverified=1)
        self.handOvers.use(replace(self.handOvers.description, limits=limits))
        sock, _ = self.pair()
        first = Program(self.handOvers)
        handOver = self.handOvers.begin(first, self.wanted(True), sock)
        second, _ = self.pair()
        self.addCleanup(second.close)
        program = Program(self.handOvers)
        self.assertRaises(TooMany, self.handOvers.begin, program, self.wanted(True), second)
        handOver.end(TimedOut("the test is over"))
        await first.over


class CrowdTests(HandOverTests):
    """
    Many requests at the same time.
    """

    async def test_whatHasToBeReadForManyIsReadInSeveralTurns(self) -> None:
        """Each wants another protocol, so that nothing can be used twice."""
        programs, longest = [], 0.0
        for number in range(60):
            sock, _ = self.pair()
            program = Program(self.handOvers)
            wanted = self.wanted(True, alpn=(f"p{number}".encode(),))
            self.handOvers.begin(program, wanted, sock)
            programs.append(program)
        while any(each.record.stage.value == "accepted" for each in self.handOvers.open):
            began = reactor.seconds()
            await deferLater(reactor, 0)
            longest = max(longest, reactor.seconds() - began)
        self.assertEqual(self.handOvers.connections, 60)
        self.assertLess(longest, 0.5)
        self.handOvers.hurry()
        for each in programs:
            await each.over

    async def test_whatIsRefusedLaterIsToldAsThatWhichIsRefusedAtOnce(self) -> None:
        """With its reason."""
        self.patch(turns, "TURN_SECONDS", 0.0)
        sock, _ = self.pair()
        program = Program(self.handOvers, replace(ME, uid=ME.uid + 1))
        self.handOvers.begin(program, self.wanted(False, local=SERVER), sock)
        self.assertIsInstance(await program.over, NotForCaller)
        self.assertEqual(program.story, ["heard not-yours", "ended"])

    async def test_aFaultOfOursIsTheEnd(self) -> None:
        """The program is told, and the log has what it was."""

        def steps(prepared: Prepared) -> Iterator[None]:
            yield
            yield
            raise ZeroDivisionError

        self.patch(Prepared, "steps", steps)
        sock, _ = self.pair()
        program = Program(self.handOvers)
        self.handOvers.begin(program, self.wanted(False, local=SERVER), sock)
        self.assertIs(type(await program.over), TunnelError)
        self.assertEqual(self.handOvers.connections, 0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class ChangeTests(HandOverTests):
    """
    The pool changes while it serves.
    """

    async def test_aCertificateThatIsReplacedIsShownToTheNextClient(self) -> None:
        """Without a reload."""
        wanted = self.wanted(False, local=SERVER)
        serials = []

        def peer(network: Encrypted, meet: Meet) -> Any:
            meet()
            certificate = network.tls.get_peer_certificate()
            assert certificate is not None
            return certificate.get_serial_number()

        for _ in range(2):
            _, handOver, serial = await self.handOver(wanted, peer)
            handOver.end(TimedOut("the test is over"))
            serials.append(serial)
            createIdentity(self.pool, SERVER, True)
        self.assertEqual(len(set(serials)), 2)

    async def test_anIdentityThatIsWithdrawnIsServedNoMore(self) -> None:
        """From the next request on."""
        wanted = self.wanted(False, local=SERVER)
        await self.handOver(wanted, exchange)
        (self.pool.path / str(SERVER)).rename(self.pool.path / "gone.example.org")
        sock, _ = self.pair()
        self.addCleanup(sock.close)
        program = Program(self.handOvers)
        self.assertRaises(BadPool, self.handOvers.begin, program, wanted, sock)

    async def test_aRequestWhoseProgramHasGoneIsOver(self) -> None:
        """Also while its certificates are read, which others wait for."""
        for number in range(4):
            createIdentity(self.pool, Identity(None, f"n{number}.example.org"))
        wanted = self.wanted(False)
        sock, theirs = self.pair()
        program = Program(self.handOvers)
        handOver = self.handOvers.begin(program, wanted, sock)
        waiting = ensureDeferred(self.handOver(wanted, exchange))
        handOver.end(TimedOut("the program has gone"))
        self.assertIsInstance(await program.over, TimedOut)
        self.assertEqual(program.story, ["heard timeout", "ended"])
        second, _, _ = await waiting
        self.assertIsNone(await second.over)
        self.assertIn(Plain(theirs).read(1), (b"", Reset))
