"""
Tests for L{tlstunnel.program.stapling} and L{tlstunnel.program.ocspfetch}: responses of OCSP are
fetched, in time, and never in anybody's way.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

from tests.certificates import Issued, Recipe, alternative, dns, make, root
from tests.loopback import SERVER, TunnelTests, wait
from tests.revoked import HOUR, makeAnswer
from tests.tls.peers import HOST
from tests.tls.test_staple import LEAF, SIBLING, URL, askedAt, stapleFor
from tlstunnel.identity.ocsp import LARGEST_ANSWER
from tlstunnel.program import ocspfetch
from tlstunnel.program.ocspfetch import Fetcher, FetchFailed
from tlstunnel.program.stapling import (
    LEAST_SECONDS,
    MOST_AT_ONCE,
    MOST_RETRY_SECONDS,
    RETRY_SECONDS,
    Stapling,
)
from tlstunnel.tls.staple import Staple

reactor: Any = _reactor

DAY = timedelta(days=1).total_seconds()


class StaplingTests(SynchronousTestCase):
    """When it is asked, and what comes of it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(self.now())
        self.asked: list[tuple[str, bytes]] = []
        self.open: list[Deferred[bytes]] = []
        self.notices: list[str] = []
        self.stapling = Stapling(self.clock, self.fetch)
        self.addCleanup(self.stapling.stop)

        @implementer(ILogObserver)
        def notice(event: LogEvent) -> None:
            if event.get("event") == "notice":
                self.notices.append(event["notice"])

        globalLogPublisher.addObserver(notice)
        self.addCleanup(globalLogPublisher.removeObserver, notice)

    def now(self) -> float:
        """The time now."""
        return float(reactor.seconds())

    def fetch(self, url: str, question: bytes) -> Deferred[bytes]:
        """A responder that takes its time."""
        self.asked.append((url, question))
        self.open.append(Deferred())
        return self.open[-1]

    def answer(self, result: bytes | Exception) -> None:
        """Let the last that was asked answer."""
        waiting = self.open.pop()
        if isinstance(result, Exception):
            waiting.errback(result)
        else:
            waiting.callback(result)

    def start(self, *staples: Staple) -> Staple:
        """Keep these fresh."""
        staples = staples or (stapleFor(LEAF, root()),)
        self.stapling.use(staples, "web")
        self.stapling.start()
        return staples[0]

    def test_atTheStart(self) -> None:
        """It is asked at once, and what comes is stapled."""
        staple = self.start()
        self.assertEqual(self.asked, [(URL, staple.question())])
        self.assertEqual(staple.read(), b"")
        der = makeAnswer(LEAF)
        self.answer(der)
        self.assertEqual(staple.read(), der)

    def test_atHalfOfItsTime(self) -> None:
        """It is asked again."""
        staple = self.start()
        self.answer(makeAnswer(LEAF, start=timedelta(), end=timedelta(days=4)))
        self.clock.advance(2 * DAY - 60)
        self.assertEqual(len(self.asked), 1)
        self.clock.advance(120)
        self.assertEqual(len(self.asked), 2)
        der = makeAnswer(LEAF, end=timedelta(days=5))
        self.answer(der)
        self.assertEqual(staple.read(), der)

    def test_withoutHaste(self) -> None:
        """Whoever answers what is nearly over is not asked all the time."""
        self.start()
        self.answer(makeAnswer(LEAF, start=-10 * HOUR, end=timedelta(minutes=1)))
        self.clock.advance(LEAST_SECONDS - 1)
        self.assertEqual(len(self.asked), 1)
        self.clock.advance(1)
        self.assertEqual(len(self.asked), 2)

    def test_againAndAgain(self) -> None:
        """After a failure, ever more seldom; the last good one stays."""
        staple, der = self.start(), makeAnswer(LEAF, end=timedelta(days=40))
        self.answer(der)
        self.clock.advance(20 * DAY)
        waits = []
        failures: list[bytes | Exception] = [FetchFailed("down"), b"garbage", ValueError("odd")]
        for failure in (*failures, *[b""] * 6):
            self.answer(failure)
            waits.append(0.0)
            before = len(self.asked)
            while len(self.asked) == before:
                self.clock.advance(RETRY_SECONDS)
                waits[-1] += RETRY_SECONDS
        self.assertEqual(waits[:4], [60, 120, 240, 480])
        self.assertEqual(waits[-1], MOST_RETRY_SECONDS)
        self.assertEqual(staple.read(), der)
        self.assertIn("down", self.notices[0])
        self.assertIn(URL, self.notices[0])
        self.assertIn("goes on to be stapled", self.notices[0])

    def test_whatIsBadIsNotStapled(self) -> None:
        """And that is said."""
        staple = self.start()
        self.answer(makeAnswer(SIBLING))
        self.assertEqual(staple.read(), b"")
        self.assertIn("not about this", self.notices[0])
        self.assertIn("nothing is stapled", self.notices[0])

    def test_stopping(self) -> None:
        """Leaves nothing behind, whatever was going on."""
        self.start()
        self.stapling.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.stapling.start()
        self.answer(makeAnswer(LEAF))
        self.stapling.stop()
        self.assertEqual((self.clock.getDelayedCalls(), self.notices), ([], []))

    def test_stoppingWhereWhoeverIsAskedMindsIt(self) -> None:
        """To be cancelled is a failure for some, of which nothing is said."""

        def fetch(url: str, question: bytes) -> Deferred[bytes]:
            return Deferred(lambda asked: asked.errback(FetchFailed("cancelled")))

        self.stapling = Stapling(self.clock, fetch)
        self.start()
        self.stapling.stop()
        self.assertEqual((self.clock.getDelayedCalls(), self.notices), ([], []))

    def test_aReload(self) -> None:
        """The same certificate keeps its answer; another one needs its own."""
        self.start()
        der = makeAnswer(LEAF)
        self.answer(der)
        same, other = stapleFor(LEAF, root()), stapleFor(OTHER, root())
        self.stapling.use([same, other])
        self.assertEqual((same.read(), other.read()), (der, b""))
        self.assertEqual(len(self.asked), 2)
        self.answer(makeAnswer(OTHER))
        self.assertTrue(other.read())

    def test_aReloadPutsNothingOff(self) -> None:
        """Where an answer is due, as the responder was out of reach, it is asked at once."""
        self.start()
        self.answer(makeAnswer(LEAF, start=timedelta(), end=timedelta(days=4)))
        for days in 2, 2:
            self.clock.advance(days * DAY)
            self.answer(FetchFailed("down"))
            before = len(self.asked)
            self.stapling.use([stapleFor(LEAF, root())])
            self.assertEqual(len(self.asked), before + 1)

    def test_aFewAtATime(self) -> None:
        """However many identities there are."""
        self.start(*(stapleFor(each, root()) for each in MANY))
        self.assertEqual(len(self.asked), MOST_AT_ONCE)
        self.answer(b"")
        self.assertEqual(len(self.asked), MOST_AT_ONCE + 1)

    def test_whereNobodyCanBeAsked(self) -> None:
        """Nobody is."""
        self.start(stapleFor(LEAF), stapleFor(SIBLING, root()))
        self.assertEqual((self.asked, self.clock.getDelayedCalls()), ([], []))


def another(number: int = 0) -> Issued:
    """One more certificate that names a responder."""
    return make(
        Recipe(san=alternative(dns(HOST)), extra=askedAt(f"http://o{number}.example/")), root()
    )


OTHER = another()
MANY = [another(number) for number in range(MOST_AT_ONCE + 2)]


class _Responder(Resource):
    """A responder as a test wants it."""

    isLeaf = True

    def __init__(self, respond: Callable[[Request], Any]) -> None:
        super().__init__()
        self.render = respond  # type: ignore[method-assign]


class FetchTests(TestCase):
    """HTTP, on loopback."""

    def serve(self, factory: Any) -> str:
        """Serve, and say where."""
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return f"http://127.0.0.1:{port.getHost().port}/ocsp"

    def responder(self, respond: Callable[[Request], Any], kind: str = "ocsp-response") -> str:
        """Serve HTTP."""

        def render(request: Request) -> Any:
            request.setHeader(b"Content-Type", f"application/{kind}".encode())
            return respond(request)

        return self.serve(Site(_Responder(render)))

    async def assertFails(self, url: str, reason: str) -> None:
        """Nothing comes."""
        with self.assertRaisesRegex(FetchFailed, reason):
            await Fetcher(reactor).fetch(url, b"question")

    async def test_anAnswer(self) -> None:
        """To what was asked, as RFC 6960 has it."""
        seen: list[Any] = []

        def respond(request: Request) -> bytes:
            kinds = request.requestHeaders.getRawHeaders(b"Content-Type")
            assert request.content is not None
            seen.append((request.method, request.uri, kinds, request.content.read()))
            return b"answer"

        self.assertEqual(await Fetcher(reactor).fetch(self.responder(respond), b"q"), b"answer")
        self.assertEqual(seen, [(b"POST", b"/ocsp", [b"application/ocsp-request"], b"q")])

    async def test_anythingElse(self) -> None:
        """A page, an error, or a word to go elsewhere."""

        def elsewhere(request: Request) -> bytes:
            request.redirect(b"http://127.0.0.1:1/")
            return b""

        def broken(request: Request) -> bytes:
            request.setResponseCode(500)
            return b"answer"

        await self.assertFails(self.responder(elsewhere), "302")
        await self.assertFails(self.responder(broken), "500")
        await self.assertFails(self.responder(lambda _: b"page", "html"), "no response of OCSP")

    async def test_tooMuch(self) -> None:
        """Announced or not."""

        def endless(request: Request) -> int:
            def more() -> None:
                if not gone.called:
                    request.write(bytes(10000))
                    reactor.callLater(0, more)

            gone = request.notifyFinish()
            gone.addErrback(lambda _: None)
            more()
            return NOT_DONE_YET

        large = bytes(LARGEST_ANSWER + 1)
        await self.assertFails(self.responder(lambda _: large), "too large")
        await self.assertFails(self.responder(endless), "too large")

    async def test_noHeadersWithoutEnd(self) -> None:
        """All that comes is bounded, not the answer alone."""
        received: list[int] = []

        class Flood(Protocol):
            """Goes on for as long as somebody takes it."""

            factory: Any
            transport: Any

            def dataReceived(self, data: bytes) -> None:
                """It is asked."""
                if not received:
                    received.append(0)
                    self.transport.write(self.factory.first)
                    self.transport.registerProducer(self, False)

            def resumeProducing(self) -> None:
                """More is taken."""
                received[0] += len(self.factory.more)
                self.transport.write(self.factory.more)

            def stopProducing(self) -> None:
                """It is over."""

        answer = b"HTTP/1.1 200 OK\r\n"
        for first, more in (
            (answer, b"X: " + b"a" * 1000 + b"\r\n"),
            (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ):
            factory: Any = Factory.forProtocol(Flood)
            factory.first, factory.more = first, more
            received.clear()
            await self.assertFails(self.serve(factory), "too large")
            self.assertLess(received[0], 64 * ocspfetch.MOST_RECEIVED)

    async def test_strangeWordsAreShort(self) -> None:
        """They are for a line of the log."""
        garbage = b"\x1b[31m" + b"a" * 10000 + b"\r\n\r\n"

        class Babbler(Protocol):
            """Speaks something else."""

            def connectionMade(self) -> None:
                """It is connected."""
                assert self.transport is not None
                self.transport.write(garbage)
                self.transport.loseConnection()

        url = self.serve(Factory.forProtocol(Babbler))
        with self.assertRaises(FetchFailed) as caught:
            await Fetcher(reactor).fetch(url, b"question")
        self.assertLess(len(str(caught.exception)), 500)
        self.assertTrue(str(caught.exception).isprintable())

    async def test_tooLate(self) -> None:
        """Silence, at the start or in the middle, has an end."""
        self.patch(ocspfetch, "TOTAL_SECONDS", 0.2)

        def half(request: Request) -> int:
            request.notifyFinish().addErrback(lambda _: None)
            request.write(b"half")
            return NOT_DONE_YET

        await self.assertFails(self.serve(Factory.forProtocol(Protocol)), "did not answer in")
        await self.assertFails(self.responder(half), "did not answer in")

    async def test_nobody(self) -> None:
        """Who does not listen, or speaks another language."""

        class Greeter(Protocol):
            """Speaks something else."""

            def connectionMade(self) -> None:
                """It is connected."""
                self.transport.write(b"220 hello\r\n")  # type: ignore[union-attr]
                self.transport.loseConnection()  # type: ignore[union-attr]

        await self.assertFails("http://127.0.0.1:1/", "refused")
        await self.assertFails(self.serve(Factory.forProtocol(Greeter)), ".")

    async def test_stopping(self) -> None:
        """In the middle of it leaves no connection behind."""
        connected: Deferred[None] = Deferred()
        gone: Deferred[None] = Deferred()

        class Silent(Protocol):
            """Says nothing."""

            def connectionMade(self) -> None:
                """It is connected."""
                connected.callback(None)

            def connectionLost(self, reason: object = None) -> None:
                """It is over."""
                gone.callback(None)

        url = self.serve(Factory.forProtocol(Silent))
        asking = Deferred.fromCoroutine(Fetcher(reactor).fetch(url, b"question"))
        asking.addErrback(lambda _: None)
        await connected
        asking.cancel()
        await asking
        await gone


class ServiceTests(TunnelTests):
    """All of it in a tunnel."""

    async def test_aTunnelFetchesWhatItStaples(self) -> None:
        """While it serves; a reload keeps what there is, and a stop ends it."""
        asked: list[Request] = []

        def respond(request: Request) -> bytes:
            request.setHeader(b"Content-Type", b"application/ocsp-response")
            asked.append(request)
            return makeAnswer(issued)

        port = reactor.listenTCP(0, Site(_Responder(respond)), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        url = f"http://127.0.0.1:{port.getHost().port}/"
        issued = make(Recipe(san=alternative(dns(str(SERVER))), extra=askedAt(url)), root())
        directory = self.pool.path / str(SERVER)
        chain = issued.chainPEM() + root().certificate.public_bytes(Encoding.PEM)
        (directory / "fullchain.pem").write_bytes(chain)
        (directory / "privkey.pem").write_bytes(issued.keyPEM())
        service = self.tunnel("127.0.0.1:1", ocspStapling=True)
        factory = service.factory
        assert factory is not None
        (staple,) = factory.prepared.staples
        await wait(lambda: bool(staple.read()))
        service.reload()
        (after,) = factory.prepared.staples
        self.assertIsNot(after, staple)
        self.assertEqual(after.read(), staple.read())
        self.assertEqual(len(asked), 1)
