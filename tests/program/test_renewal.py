"""
Tests for L{tlstunnel.program.renewal} and L{tlstunnel.program.leasequestion}: certificates from an
agent are there in time, for new connections, and never when they have ended.
"""

from __future__ import annotations

import errno
import gc
import shutil
import socket
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from OpenSSL import SSL
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from tests.issuers import CALLER, intermediateIn, issuingBy, rootOf, someKey
from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.agent.service import AgentDescription, AgentService
from tlstunnel.errors import IdentityRefused
from tlstunnel.identity.issuer import writeCertificates
from tlstunnel.identity.leafrequest import Answer, Verdict, message, question
from tlstunnel.identity.lease import Leases, Refusal
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.net.access import SocketAccess
from tlstunnel.program import renewal
from tlstunnel.program.leasequestion import Asking, fetch
from tlstunnel.program.renewal import AT_ONCE, MOST_RETRY_SECONDS, Renewal
from tlstunnel.protocols.registry import find
from tlstunnel.tls import faces
from tlstunnel.tls.checkup import handshake
from tlstunnel.tls.context import serverContext
from tlstunnel.tls.creators import Creator
from tlstunnel.tunnel import leased, servernames
from tlstunnel.tunnel import prepared as preparing
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.servedname import ServedName

reactor: Any = _reactor

MEMORY = cast(Any, None)

WWW, MAIL = Identity.parse("www.example.org"), Identity.parse("mail.example.org")


class AgentInMemory(SynchronousTestCase):
    """
    A test with tunnels that have their certificates from an agent, all on a clock.
    """

    def setUp(self) -> None:
        self.base = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.base)
        self.issuing = issuingBy(intermediateIn(self.base))
        self.clock = Clock()
        self.clock.advance(datetime.now(UTC).timestamp())
        self.leases = Leases(lambda agent, asked: self.answer(asked), self.clock.seconds)
        self.patch(leased, "LEASES", self.leases)
        # What TLS goes by is the time of the system.
        for module in (faces, preparing):
            self.patch(module, "time", self.clock.seconds)
        self.problem: Refusal | None = None
        self.asked = 0
        self.used: list[Prepared] = []
        self.notices: list[str] = []

        @implementer(ILogObserver)
        def notice(event: LogEvent) -> None:
            if event.get("event") == "notice":
                self.notices.append(event["notice"])

        globalLogPublisher.addObserver(notice)
        self.addCleanup(globalLogPublisher.removeObserver, notice)
        trust = self.base / "trust.pem"
        writeCertificates(trust, [rootOf(self.base)])
        self.tunnel = Tunnel(
            Mode.SERVER,
            (),
            (TCPAddress("127.0.0.1", 1),),
            find("none"),
            WWW,
            agent=Path("/agent"),
            pool=Pool(self.base / "none", asked=False),
            trust=(str(trust),),
        )

    def answer(self, asked: bytes) -> bytes:
        """
        What the agent says.
        """
        self.asked += 1
        if self.problem is not None:
            raise self.problem
        now = datetime.fromtimestamp(self.clock.seconds(), UTC)
        return self.issuing.answer(asked[4:], CALLER, now).written()

    def ask(self, agent: Path, asked: bytes) -> Deferred[bytes]:
        """
        The same, without waiting.
        """
        try:
            return succeed(self.answer(asked))
        except Refusal as refusal:
            return fail(refusal)

    def renew(self, prepared: Prepared) -> Renewal:
        """
        Keep its certificates fresh.
        """
        self.prepared = prepared
        renewing = Renewal(self.clock, self.use, self.leases, self.ask)
        renewing.follow(prepared)
        renewing.start()
        self.addCleanup(renewing.stop)
        return renewing

    def use(self, prepared: Prepared) -> None:
        """
        New connections are made with that.
        """
        self.prepared = prepared
        self.used.append(prepared)

    def pass_(self, seconds: float, step: float = 1.0) -> None:
        """
        Let so much time go by.
        """
        self.clock.pump([step] * int(seconds / step))

    def client(self, name: bytes) -> SSL.Connection:
        """
        One that asks for a name, and believes everybody.
        """
        client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), MEMORY)
        if name:
            client.set_tlsext_host_name(name)
        client.set_connect_state()
        return client

    def meet(
        self, prepared: Prepared, name: bytes = b"", creator: Creator | None = None
    ) -> x509.Certificate | str:
        """
        What a client sees, or why it is refused.
        """
        creator = creator or prepared.serverCreator
        session = creator.session()
        server, client = creator.connection(MEMORY, session), self.client(name)
        error, told = handshake(server, client)
        if error is not None:
            assert session.refusal is not None
            self.assertIn("internal error", str(told))
            return str(session.refusal)
        shown = client.get_peer_certificate(as_cryptography=True)
        assert shown is not None
        return shown


class RenewalTests(AgentInMemory):
    """
    When the agent is asked, and what comes of it.
    """

    def test_othersAreThereBeforeTheyEnd(self) -> None:
        """
        For as long as the tunnel runs; at each moment what a client sees is valid, and has a third
        of its time left.
        """
        self.renew(Prepared(self.tunnel))
        seen = set()
        for _ in range(120):
            self.pass_(30)
            shown = self.meet(self.prepared)
            assert isinstance(shown, x509.Certificate), shown
            left = shown.not_valid_after_utc.timestamp() - self.clock.seconds()
            self.assertGreater(left, 200)
            seen.add(shown.serial_number)
        self.assertGreaterEqual(len(seen), 10)
        self.assertLessEqual(self.asked, 16)
        self.assertEqual(self.notices, [])

    def test_keysAreNew(self) -> None:
        """
        Each with its certificate.
        """
        self.renew(Prepared(self.tunnel))
        before = self.meet(self.prepared)
        self.pass_(400)
        after = self.meet(self.prepared)
        assert isinstance(before, x509.Certificate) and isinstance(after, x509.Certificate)
        self.assertNotEqual(before.public_key(), after.public_key())

    def test_thoseOfATunnelAreRenewedTogether(self) -> None:
        """
        So that its contexts are not made again for each of them.
        """
        names = tuple(ServedName(f"{n}.example.org") for n in range(20))
        self.renew(Prepared(replace(self.tunnel, otherIDs=(MAIL,), names=names)))
        self.pass_(400)
        self.assertEqual(self.asked, 44)
        self.assertLessEqual(len(self.used), 6)
        for name, served in ((b"mail.example.org", MAIL), (b"7.example.org", "7.example.org")):
            shown = self.meet(self.prepared, name)
            assert isinstance(shown, x509.Certificate)
            names_ = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            self.assertEqual(names_.get_values_for_type(x509.DNSName), [str(served)])

    def test_someAreAskedForAtTheSameTime(self) -> None:
        """
        And a stop ends all that.
        """
        waiting: list[Deferred[bytes]] = []
        gone: list[Deferred[bytes]] = []

        def ask(agent: Path, asked: bytes) -> Deferred[bytes]:
            waiting.append(Deferred(gone.append))
            return waiting[-1]

        self.patch(self, "ask", ask)
        names = tuple(ServedName(f"{n}.example.org") for n in range(20))
        renewing = self.renew(Prepared(replace(self.tunnel, names=names)))
        self.pass_(400)
        self.assertEqual(len(waiting), AT_ONCE)
        renewing.stop()
        self.assertEqual(gone, waiting)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_whatWasGivenIsUsedBeforeAllIsThere(self) -> None:
        """
        By parts of all that are due; one that is refused holds up none of the next part.
        """
        self.patch(renewal, "MOST_TOGETHER", 2)
        self.patch(renewal, "TOGETHER", 1.0)
        several = tuple(Identity.parse(f"{n}.example.org") for n in range(7))
        self.renew(Prepared(replace(self.tunnel, otherIDs=several)))
        allowed = [f"user:4711={n}.example.org" for n in range(1, 7)]
        self.issuing = issuingBy(self.issuing.intermediate, "user:4711=www.example.org", *allowed)
        while not self.used:
            self.pass_(1)
        self.assertEqual(len(self.used), 4)
        self.assertEqual(len(self.notices), 1)

    def test_contextsAreMadeOfWhatIsNew(self) -> None:
        """
        Others stay, with their certificates, and all names are served.
        """
        self.renew(Prepared(replace(self.tunnel, otherIDs=(MAIL,))))
        allowed = "user:4711=mail.example.org"
        self.issuing = issuingBy(self.issuing.intermediate, allowed)
        before = self.prepared.serverCreator
        self.pass_(400)
        after = self.prepared.serverCreator
        self.assertIsNot(before, after)
        for name, isSame in ((b"www.example.org", True), (b"mail.example.org", False)):
            shown = [self.meet(self.prepared, name, each) for each in (before, after)]
            self.assertIs(shown[0] == shown[1], isSame)
        contexts = [creator.context for creator in (before, after)]
        self.assertIs(*contexts)

    def test_noTurnIsLong(self) -> None:
        """
        However many names there are: contexts are made for some of them in each.
        """
        several = tuple(Identity.parse(f"{n}.example.org") for n in range(20))
        made = 0
        real = serverContext

        def count(*arguments: Any) -> Any:
            nonlocal made
            made += 1
            return real(*arguments)

        self.patch(servernames, "serverContext", count)
        before = 0
        for _ in Prepared(replace(self.tunnel, otherIDs=several), read=False).steps():
            self.assertLessEqual(made - before, 1)
            before = made
        self.assertEqual(before, 21)

    def test_whereTheAgentIsAwayTheLastOneIsShownUntilItsEnd(self) -> None:
        """
        And then nobody is served; the log says so, more and more seldom; and it recovers.
        """
        self.renew(Prepared(self.tunnel))
        self.problem = Refusal("nothing answers there", "start it")
        self.pass_(590)
        self.assertIsInstance(self.meet(self.prepared), x509.Certificate)
        self.assertIn(
            "--agent /agent: gives no certificate for www.example.org: nothing answers "
            "there; start it; the last one is good until",
            self.notices[0],
        )
        self.pass_(20)
        self.assertIn("our own certificate", str(self.meet(self.prepared)))
        self.pass_(MOST_RETRY_SECONDS * 1.3)
        self.assertIn("new connections are refused", self.notices[-1])
        self.assertLess(len(self.notices), 30)
        self.problem = None
        self.pass_(MOST_RETRY_SECONDS * 1.3)
        self.assertEqual(self.notices[-1], "the agent gives certificates again")
        self.assertIsInstance(self.meet(self.prepared), x509.Certificate)

    def test_aFaultIsNotTheLastWord(self) -> None:
        """
        It is in the log, and the agent is asked again.
        """
        real, faults = self.ask, [ValueError("a fault")]

        def ask(agent: Path, asked: bytes) -> Deferred[bytes]:
            return fail(faults[0]) if faults else real(agent, asked)

        self.patch(self, "ask", ask)
        self.renew(Prepared(self.tunnel))
        self.pass_(400)
        self.assertNotEqual(self.flushLoggedErrors(ValueError), [])
        faults.clear()
        self.pass_(MOST_RETRY_SECONDS * 1.3)
        self.assertEqual(len(self.used), 1)

    def test_oneThatIsRefusedDoesNotHoldUpOthers(self) -> None:
        """
        As the agent's administrator may have taken it away.
        """
        self.renew(Prepared(replace(self.tunnel, otherIDs=(MAIL,))))
        self.issuing = issuingBy(self.issuing.intermediate, "user:4711=mail.example.org")
        self.pass_(700)
        self.assertIsInstance(self.meet(self.prepared, b"mail.example.org"), x509.Certificate)
        self.assertIn("has ended", str(self.meet(self.prepared, b"www.example.org")))
        self.assertIn("user 4711 may not be www.example.org", self.notices[-1])

    def test_anotherTunnelMayHaveAskedAlready(self) -> None:
        """
        Then its certificate is taken.
        """
        first, second = Prepared(self.tunnel), Prepared(replace(self.tunnel, name="second"))
        self.assertEqual(self.asked, 1)
        self.renew(first)
        self.renew(second)
        self.pass_(400)
        self.assertEqual(len(self.used), 2)
        self.assertEqual(self.asked, 2)

    def test_whoMayComeStaysAsItWas(self) -> None:
        """
        What has become of files since is for a reload to take up.
        """
        allowed = self.base / "allowed"
        allowed.write_text("@example.org\n")
        tunnel = replace(self.tunnel, remoteIDFiles=(str(allowed),))
        self.renew(Prepared(tunnel))
        allowed.unlink()
        Path(tunnel.trust[0]).unlink()
        self.pass_(400)
        self.assertEqual(len(self.used), 1)
        self.assertEqual(self.notices, [])

    def test_nothingIsAskedOnceItStops(self) -> None:
        """
        And nothing is left on the clock.
        """
        renewing = self.renew(Prepared(self.tunnel))
        renewing.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        renewing.follow(
            Prepared(replace(self.tunnel, agent=None, localID=None, mode=Mode.CLIENT, remoteID=WWW))
        )
        renewing.start()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_aClientTunnelShowsNothingThatHasEnded(self) -> None:
        """
        And a fresh one, once there is one.
        """
        self.tunnel = replace(self.tunnel, mode=Mode.CLIENT, localID=MAIL, remoteID=WWW)
        self.renew(Prepared(self.tunnel))
        self.prepared.checkTime()
        self.problem = Refusal("nothing answers there", "start it")
        self.pass_(700)
        error = self.assertRaises(IdentityRefused, self.prepared.checkTime)
        self.assertEqual(error.cause, "ended lease")
        self.problem = None
        self.pass_(60)
        self.prepared.checkTime()
        (certificate,) = self.prepared.certificates.values()
        self.assertGreater(certificate.not_valid_after_utc.timestamp(), self.clock.seconds())

    def test_bothSidesOfABridgeAreRenewed(self) -> None:
        """
        Each with its own identity.
        """
        onward = replace(self.tunnel, mode=Mode.CLIENT, localID=MAIL, remoteID=WWW)
        self.renew(Prepared(replace(self.tunnel, mode=Mode.BRIDGE, onward=onward)))
        before = self.prepared.certificates
        self.assertEqual(set(before), {WWW, MAIL})
        self.pass_(400)
        after = self.prepared.certificates
        self.assertEqual(set(after), {WWW, MAIL})
        self.assertFalse(set(before.values()) & set(after.values()))
        # Those that there are go on.
        self.assertIsInstance(self.meet(self.prepared), x509.Certificate)

    def test_whatBelongsToAnEarlierConnectionGetsWhatThereIsNow(self) -> None:
        """
        As data connections of ftp do, whose control connection may have begun hours ago.
        """
        tunnel = replace(self.tunnel, otherIDs=(MAIL,))
        self.renew(Prepared(tunnel))
        first = self.prepared.serverCreator
        for name in (b"mail.example.org", b"www.example.org"):
            session = first.session()
            server = first.connection(MEMORY, session)
            self.assertEqual(handshake(server, self.client(name)), [None, None])
            beside = first.beside(server, session)
            self.pass_(3000)
            for asked in (name, b""):
                shown = self.meet(self.prepared, asked, beside)
                assert isinstance(shown, x509.Certificate), shown
                self.assertGreater(shown.not_valid_after_utc.timestamp(), self.clock.seconds())
                names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName)
                self.assertEqual(names.value.get_values_for_type(x509.DNSName), [name.decode()])
            first = self.prepared.serverCreator

    def test_nothingIsLeftOfEarlierContexts(self) -> None:
        """
        Not even for the garbage collector.
        """
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        self.renew(Prepared(replace(self.tunnel, otherIDs=(MAIL,))))
        before = weakref.ref(self.prepared.serverCreator.faces.default)
        self.pass_(400)
        self.used.clear()
        self.assertIsNone(before())

    def test_ticketsDoNotOutliveTheirContext(self) -> None:
        """
        Each certificate has a context of its own, whose tickets no other takes.
        """
        self.renew(Prepared(replace(self.tunnel, resumption=True)))
        before = self.prepared.serverCreator.context
        self.pass_(400)
        self.assertIsNot(self.prepared.serverCreator.context, before)


class FetchTests(TestCase):
    """
    What a reload asks for, over a real socket.
    """

    def setUp(self) -> None:
        self.base = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.base)
        intermediateIn(self.base)
        self.path = self.base / "agent"
        local = UNIXAddress(str(self.path))
        self.agent = AgentService(
            AgentDescription(self.base / "issuer", local, SocketAccess(0o600)), reactor
        )
        self.leases = Leases(self._never)

    def _never(self, agent: Path, asked: bytes) -> bytes:
        raise AssertionError("the reactor waits for an agent")

    def tunnels(self, *names: str) -> Sequence[Tunnel]:
        """
        Tunnels with these identities.
        """
        return [
            Tunnel(
                Mode.SERVER,
                (),
                (TCPAddress("127.0.0.1", 1),),
                find("none"),
                Identity.parse(each),
                agent=self.path,
            )
            for each in names
        ]

    async def test_nobodyWaitsForAnAgent(self) -> None:
        """
        What it gives is there then, and why it gives nothing is known; what is known is not asked
        for again.
        """
        self.agent.startService()
        self.addCleanup(self.agent.stopService)
        tunnels = self.tunnels("www.example.org", "a.example", "www.example.org")
        held = await fetch(reactor, tunnels, self.leases)
        self.assertEqual([each.identity for each in held], [WWW, WWW])
        self.assertIs(held[0], held[1])
        self.assertIs(self.leases.find(self.path, WWW), held[0])
        with self.assertRaisesRegex(Exception, "do not permit a.example"):
            self.leases.find(self.path, Identity.parse("a.example"))

    async def test_aConnectionIsKeptForTheNextQuestion(self) -> None:
        """
        So that those who keep an agent busy do not come between; another agent gets another one.
        """
        self.patch(self.agent._admission._coming, "perUser", 1)
        self.agent.startService()
        asking = Asking(reactor)
        self.addCleanup(asking.close)
        asked = message(question(WWW, someKey()))
        first = await asking(self.path, asked)
        with socket.socket(socket.AF_UNIX) as silent:
            silent.connect(str(self.path))
            self.assertNotIn(await asking(self.path, asked), (first, b""))
            self.assertEqual(self.agent.tally(), {"connection": 2})
        self.agent.stopService()
        again = AgentService(self.agent._description, reactor)
        again.startService()
        self.addCleanup(again.stopService)
        self.assertEqual(Answer.parse(await asking(self.path, asked)).verdict, Verdict.ISSUED)

    async def test_whereThereIsNoDescriptorTheAgentIsAskedAgainLater(self) -> None:
        """
        Any other error would end the renewal for good.
        """
        self.agent.startService()
        self.addCleanup(self.agent.stopService)
        asking = Asking(reactor)
        self.addCleanup(asking.close)
        asked = message(question(WWW, someKey()))

        def full(*arguments: Any) -> Any:
            raise OSError(errno.EMFILE, "Too many open files")

        for whose, name in ((socket, "socket"), (reactor, "adoptStreamConnection")):
            replaced = self.patch(whose, name, full)
            try:
                with self.assertRaisesRegex(Refusal, "no descriptor left"):
                    await asking(self.path, asked)
            finally:
                replaced.restore()
        self.assertEqual(Answer.parse(await asking(self.path, asked)).verdict, Verdict.ISSUED)

    async def test_anAgentThatIsAwayIsMissed(self) -> None:
        """
        Once for all.
        """
        tunnels = self.tunnels("www.example.org", "mail.example.org")
        self.assertEqual(await fetch(reactor, tunnels, self.leases), [])
        for each in (WWW, MAIL):
            with self.assertRaisesRegex(Exception, "nothing answers there"):
                self.leases.find(self.path, each)
