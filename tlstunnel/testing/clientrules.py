"""
The part of the conformance suite that is for client roles: see L{tlstunnel.testing.conformance}.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle

from tlstunnel.errors import (
    Farewell,
    ForeignProtocol,
    Reset,
    ServerSpokeFirst,
    TLSFailed,
    TunnelError,
)
from tlstunnel.protocols.base import MAX_FAREWELL_SECONDS
from tlstunnel.protocols.conversation import MAX_HELD_BYTES
from tlstunnel.testing.course import GREETING_SECONDS, became
from tlstunnel.testing.dialogues import CLIENT_HELLO, crumbs, split
from tlstunnel.testing.memory import Driver
from tlstunnel.testing.pointers import lookAt
from tlstunnel.testing.rules import Rules
from tlstunnel.tls.records import RECORD_BYTES


class ClientConformance(Rules):
    """
    Rules for the client role.

    @cvar silent: whether the server has to be silent inside TLS until the app has spoken.
    @cvar early: what the app sends before it is its turn, once and again.
    @cvar earlySent: what becomes of it on its way to the server.
    @cvar appTLS: what an app is told that starts TLS itself.
    @cvar farewells: words with which a server takes its leave inside TLS before the app has spoken.
    """

    mode = "client"
    silent = True
    early: bytes = b"early\r\n"
    earlySent: bytes | None = None
    appTLS: type[TunnelError] = ForeignProtocol
    farewells: Sequence[bytes] = ()

    def limitAt(self, place: int) -> float:
        """
        A greeting may take longer than all that follows it, also where it is the go-ahead.
        """
        before = {speaker for speaker, _ in self.dialogue[:place]}
        isGreeting = self.speaker(place) == "S" and before <= {"A", "T"}
        if isGreeting or place >= len(self.dialogue):
            return GREETING_SECONDS
        return super().limitAt(place)

    @property
    def appSpeaks(self) -> int:
        """
        The place from which on the app may say what is for the server.
        """
        return max((place + 1 for place in self.heard() if self.speaker(place) == "A"), default=0)

    @lookAt("what reads from plain, and what puts back what is for the server", 2)
    def test_whatTheAppSendsEarlyIsHeldAndSentOnceInOrder(self) -> None:
        """
        Whenever it does so, and only when the server is verified and the app was greeted (rule 2).
        """
        counter = cycle(range(1, 4))
        sent = 0 if self.appSpeaks else 1
        driver = self.start(self.appSpeaks, self.early * sent)
        for place in range(self.appSpeaks, len(self.whole) + 1):
            for _ in range(0 if driver.stage == "relay" else next(counter)):
                driver.plain.feed(self.early)
                sent += 1
            if place < len(self.whole):
                self.go(driver, place, place + 1)
        self.arrive(driver)
        self.checkEarly(driver, sent)

    def checkEarly(self, driver: Driver, count: int) -> None:
        """
        The server got all of what the app had said C{count} times, and nothing else.
        """
        self.assertStage(driver, "relay")
        sent = (self.early if self.earlySent is None else self.earlySent) * count
        got = driver.network.written
        assert got == sent, (
            f"of {count} times {self.early!r} the server got {len(got)} bytes, {got[:200]!r}, and "
            f"not {len(sent)}"
        )

    @lookAt("what reads from plain without a limit", 8)
    def test_aFloodOfTheAppIsHeldBack(self) -> None:
        """
        No more than some of it is kept in memory, and nothing of it is lost (rule 8).
        """
        count = (1 << 18) // len(self.early)
        driver = self.start(self.appSpeaks)
        driver.plain.feed(self.early * count)
        kept = len(driver.role.plain.unread)
        assert kept <= MAX_HELD_BYTES + RECORD_BYTES, f"{kept} bytes of the app are kept"
        assert driver.plain.paused, "the app is read on"
        self.go(driver, self.appSpeaks, len(self.whole))
        self.arrive(driver)
        self.checkEarly(driver, count)

    @lookAt("what reads from plain", 2)
    def test_anAppThatEndsEarlyIsHeardToTheEnd(self) -> None:
        """
        It may send all it has, and its end, before the server is verified.
        """
        driver = self.start(self.appSpeaks)
        driver.plain.feed(self.early)
        driver.plain.end()
        self.go(driver, self.appSpeaks, len(self.whole))
        self.arrive(driver)
        self.checkEarly(driver, 1)
        assert driver.network.ended, "the end of the app did not reach the server"

    @lookAt("prepare, or what reads from plain first; appTLS in the test case names the error", 13)
    def test_anAppThatStartsTLSIsCutOff(self) -> None:
        """
        Nothing of it reaches the server, in whatever pieces it comes, early or late (rule 13).
        """
        for pieces in ((CLIENT_HELLO,), *split(CLIENT_HELLO)):
            driver = self.start(self.appSpeaks and self.appSpeaks - 1)
            for piece in pieces:
                driver.plain.feed(piece)
            if driver.error is None:
                self.go(driver, self.appSpeaks, len(self.dialogue))
                self.enter(driver)
            if driver.error is None:
                self.go(driver, len(self.dialogue), len(self.whole))
                self.arrive(driver)
            assert isinstance(driver.error, self.appTLS), (
                f"expected {self.appTLS.__name__}, but {became(driver)}"
            )
            assert b"\x16" not in driver.network.written, "the server got the app's TLS"
            if not self.appSpeaks:
                driver = self.start(len(self.whole))
                self.arrive(driver)
                for piece in pieces:
                    driver.plain.feed(piece)
                self.assertFailed(driver, self.appTLS)
                self.assertBlames(driver, "A")
                self.assertSilent(driver.network, "the server")

    @lookAt(
        "silentServer in the description of the dialect, and demandSilence; where the server "
        "may speak first, the test case says silent = False",
        10,
    )
    def test_aServerThatSpeaksFirstInsideTLSIsCutOff(self) -> None:
        """
        Whether it does so while the app waits for its greeting, or later; the app hears nothing of
        it, nor the server anything of the app (rule 10).
        """
        if not self.silent:
            return
        spliced = b"spliced\r\n"
        for extra in (spliced, spliced[:1], CLIENT_HELLO):
            driver = self.start(len(self.dialogue))
            driver.plain.feed(self.early)
            driver.network.completeHandshake()
            driver.network.feed(extra)
            # It may be the start of a farewell, which has to have an end.
            driver.clock.advance(MAX_FAREWELL_SECONDS)
            self.assertFailed(driver, ServerSpokeFirst)
            assert driver.network.ending == "aborted", "it ended, and not with a reset"
        if not self.appSpeaks:
            driver = self.start(len(self.whole))
            self.arrive(driver)
            driver.network.feed(spliced)
            self.assertFailed(driver, ServerSpokeFirst)

    @lookAt("isFarewell", 10, 17)
    def test_aServerMayTakeItsLeaveInsideTLS(self) -> None:
        """
        Its words are for the app, in whatever pieces they come, and are the end of both legs, while
        the app waits for its greeting, or later; the server gets nothing more (rules 10, 17).
        """
        for words in self.farewells:
            for pieces in ((words,), *split(words)):
                for driver in self.waiting():
                    self.checkFarewell(driver, pieces)

    def waiting(self) -> Iterator[Driver]:
        """
        Connections on which the server has to be silent: before the app was greeted and, where it
        has not spoken by then, in the relay.
        """
        place = len(self.dialogue)
        while place < len(self.whole) and self.speaker(place) == "S":
            place += 1
        driver = self.start(place)
        driver.plain.feed(self.early if place >= self.appSpeaks else b"")
        if driver.stage == "switched":
            driver.network.completeHandshake()
        yield driver
        if not self.appSpeaks:
            driver = self.start(len(self.whole))
            self.arrive(driver)
            yield driver

    def checkFarewell(self, driver: Driver, pieces: tuple[bytes, ...]) -> None:
        """
        The server takes its leave.
        """
        words = b"".join(pieces)
        for piece in pieces:
            assert driver.error is None, f"{words!r} was taken for {driver.error}"
            assert not driver.plain.written, f"the app got {driver.plain.written!r} of {words!r}"
            driver.network.feed(piece)
        assert isinstance(driver.error, Farewell), f"{words!r} is no farewell: {became(driver)}"
        assert driver.plain.written == words, f"of {words!r} the app got {driver.plain.written!r}"
        assert not driver.network.written, f"the server got {driver.network.written!r}"
        for leg in (driver.network, driver.plain):
            assert leg.ending == "closed", f"it ended as {leg.ending}"

    @lookAt("isFarewell", 10)
    def test_whatIsMoreThanAFarewellIsCutOff(self) -> None:
        """
        Or less, and does not go on: it is as if the server had said anything else (rule 10).
        """
        for words in self.farewells:
            for extra in (words + b"spliced\r\n", words[:-1], words + words):
                for driver in self.waiting():
                    driver.network.feed(extra)
                    driver.network.end()
                    self.assertFailed(driver, ServerSpokeFirst, extra)
                driver = next(self.waiting())
                driver.network.feed(words[:-1])
                driver.clock.advance(MAX_FAREWELL_SECONDS)
                self.assertFailed(driver, ServerSpokeFirst, "a farewell without its end")

    @lookAt("demandSilence, and silentServer in the description of the dialect", 10)
    def test_theServersSilenceIsAwaited(self) -> None:
        """
        For as long as its last answer took, within bounds, and only then is the app greeted, or
        heard (rule 10).
        """
        if not self.silent or self.dialogue[-1][0] != "S":
            return
        for took, wait in ((0.0, 0.01), (0.3, 0.3), (9.0, 1.0)):
            last = len(self.dialogue) - 1
            driver = self.start(last)
            driver.plain.feed(self.early)
            driver.clock.advance(took)
            self.go(driver, last, last + 1)
            driver.network.completeHandshake()
            driver.clock.advance(wait - 0.001)
            self.assertStage(driver, "inside", f"{wait:g} s of silence are due")
            self.assertSilent(driver.plain, "the app")
            self.assertSilent(driver.network, "the server")
            driver.clock.advance(0.002)
            assert driver.plain.written + driver.network.written, (
                f"after {wait:g} s of silence neither is the app greeted nor heard"
            )

    @lookAt("what catches errors", 4)
    def test_anAppThatGoesAwayEndsEverything(self) -> None:
        """
        In every state.
        """
        for place in self.states():
            driver = self.start(place)
            driver.plain.reset()
            self.assertFailed(driver, Reset, place)
            self.assertBlames(driver, "A", place)

    @lookAt("what writes to plain: the app is greeted by greetApp, and not before", 1, 2, 4)
    def test_whenTheServerIsRefusedTheAppGetsNothing(self) -> None:
        """
        But the end of file; and the server gets nothing (rules 1, 2, 4).
        """
        driver = self.start(len(self.dialogue))
        driver.plain.feed(self.early)
        driver.network.lose(TLSFailed("by the test"))
        self.assertFailed(driver, TLSFailed)
        assert driver.plain.ending == "closed", "the app is reset"

    @lookAt(
        "negotiate: whatever is not consent raises an error, Refused where the server says no",
        1,
        4,
        15,
    )
    def test_aServerThatSaysNoIsLeftAlone(self) -> None:
        """
        There is no second try, and no continuation in clear: whatever it says then is not heard,
        and the app gets nothing but the end of file (rules 1, 4, 15).
        """
        for place, answer, error in self.failures:
            for pieces in ((answer,), crumbs(answer)):
                driver = self.awaiting(place)
                driver.plain.feed(self.early if place >= self.appSpeaks else b"")
                for piece in pieces:
                    driver.network.feed(piece)
                self.assertFailed(driver, error, place, answer)
                self.assertBlames(driver, self.speaker(place), place, answer)
                assert driver.plain.ending == "closed", f"{answer!r} resets the app"
