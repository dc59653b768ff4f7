"""
The conformance suite: what every dialect does, whatever it says, in both roles.

Mix L{ClientConformance} or L{ServerConformance} into a test case, and describe the dialogue (see
L{tlstunnel.testing.dialogues})::

    class NUTClientTests(ClientConformance, SynchronousTestCase):
        dialect = nut
        dialogue = [("C", b"STARTTLS\\n"), ("S", b"OK STARTTLS\\n")]

Everything runs in memory on a test clock, through the coroutines that serve real connections.  The
numbers are those of the rules in C{docs/security.md}.  Needs hypothesis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

from tlstunnel.errors import (
    ForeignProtocol,
    Reset,
    ServerSpokeFirst,
    TLSFailed,
    TunnelError,
)
from tlstunnel.protocols.conversation import HELD
from tlstunnel.testing.dialogues import crumbs, said, split
from tlstunnel.testing.memory import Driver
from tlstunnel.testing.rules import CLIENT_HELLO, Rules
from tlstunnel.tls.records import RECORD_BYTES

#: Seconds that a server may take to greet.
GREETING = 60.0


class ClientConformance(Rules):
    """
    Rules for the client role.

    @cvar silent: whether the server has to be silent inside TLS until the app has spoken.
    @cvar early: what the app sends before it is its turn, once and again.
    @cvar earlySent: what becomes of it on its way to the server.
    @cvar appTLS: what an app is told that starts TLS itself.
    """

    mode = "client"
    silent = True
    early: bytes = b"early\r\n"
    earlySent: bytes | None = None
    appTLS: type[TunnelError] = ForeignProtocol

    def limitAt(self, place: int) -> float:
        """
        A greeting may take longer than all that follows it.
        """
        who = [speaker for speaker, _ in self.dialogue[: place + 1]]
        isGreeting = who[-1] == "S" and "C" not in who and who.count("S") == 1
        return GREETING if isGreeting or place >= len(self.dialogue) else super().limitAt(place)

    @property
    def appSpeaks(self) -> int:
        """
        The place from which on the app may say what is for the server.
        """
        return max((place + 1 for place in self.heard() if self.speaker(place) == "A"), default=0)

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
        assert driver.network.written == self._earlySent * sent, driver.network.written

    @property
    def _earlySent(self) -> bytes:
        return self.early if self.earlySent is None else self.earlySent

    def test_aFloodOfTheAppIsHeldBack(self) -> None:
        """
        No more than some of it is kept in memory, and nothing of it is lost (rule 8).
        """
        count = (1 << 18) // len(self.early)
        driver = self.start(self.appSpeaks)
        driver.plain.feed(self.early * count)
        assert len(driver.role.plain.unread) <= HELD + RECORD_BYTES
        assert driver.plain.paused
        self.go(driver, self.appSpeaks, len(self.whole))
        self.arrive(driver)
        assert driver.network.written == self._earlySent * count

    def test_anAppThatEndsEarlyIsHeardToTheEnd(self) -> None:
        """
        It may send all it has, and its end, before the server is verified.
        """
        driver = self.start(self.appSpeaks)
        driver.plain.feed(self.early)
        driver.plain.end()
        self.go(driver, self.appSpeaks, len(self.whole))
        self.arrive(driver)
        assert driver.network.written == self._earlySent, driver.network.written
        assert driver.network.ended

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
            assert isinstance(driver.error, self.appTLS), driver.error
            assert b"\x16" not in driver.network.written, driver.network.written
            if not self.appSpeaks:
                driver = self.start(len(self.whole))
                self.arrive(driver)
                for piece in pieces:
                    driver.plain.feed(piece)
                assert isinstance(driver.error, self.appTLS), driver.error
                assert driver.network.written == b"", driver.network.written

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
            self.assertFailed(driver, ServerSpokeFirst)
            assert driver.network.ending == "aborted"
        if not self.appSpeaks:
            driver = self.start(len(self.whole))
            self.arrive(driver)
            driver.network.feed(spliced)
            self.assertFailed(driver, ServerSpokeFirst)

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
            assert driver.stage == "inside", driver.stage
            assert driver.plain.written + driver.network.written == b""
            driver.clock.advance(0.002)
            assert driver.plain.written + driver.network.written != b""

    def test_anAppThatGoesAwayEndsEverything(self) -> None:
        """
        In every state.
        """
        for place in self.states():
            driver = self.start(place)
            driver.plain.reset()
            self.assertFailed(driver, Reset, place)

    def test_whenTheServerIsRefusedTheAppGetsNothing(self) -> None:
        """
        But the end of file; and the server gets nothing (rules 1, 2, 4).
        """
        driver = self.start(len(self.dialogue))
        driver.plain.feed(self.early)
        driver.network.lose(TLSFailed("by the test"))
        self.assertFailed(driver, TLSFailed)
        assert driver.plain.ending == "closed"

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
                assert driver.plain.ending == "closed", answer


class ServerConformance(Rules):
    """
    Rules for the server role.

    @cvar answers: commands that do not end the plaintext phase, and what they are answered.
    @cvar needsTLS: commands of clients that skip TLS, such as logins, and what they are answered.
    @cvar farewells: commands that end the connection, what they are answered, and the reason.
    @cvar patience: how often a client may ask for what needs TLS.
    """

    mode = "server"
    answers: Mapping[bytes, bytes] = {}
    needsTLS: Mapping[bytes, bytes] = {}
    farewells: Sequence[tuple[bytes, bytes, type[TunnelError]]] = ()
    patience = 10

    @property
    def opening(self) -> int:
        """
        How much of the dialogue comes before the client's first words.
        """
        return min(self.heardInClear(), default=0)

    def limitAt(self, place: int) -> float:
        """
        A backend may take long to greet.
        """
        return GREETING if place >= len(self.dialogue) else super().limitAt(place)

    def test_commandsAreAnsweredInWhateverPiecesTheyCome(self) -> None:
        """
        And the client may go on to TLS, inside of which nothing is known of them (rules 6, 17).
        """
        for command, answer in self.answers.items():
            for pieces in ((command,), *split(command)):
                driver = self.start(self.opening)
                heard = b"".join([said(driver, piece) for piece in pieces])
                assert heard == answer, (command, heard, driver.error)
                assert driver.error is None, (command, driver.error)
            self.go(driver, self.opening, len(self.whole))
            self.arrive(driver)
            assert driver.plain.written == b"", driver.plain.written

    def test_whatEndsTheConnectionIsAnsweredFirst(self) -> None:
        """
        In whatever pieces it comes.
        """
        for command, answer, error in self.farewells:
            for pieces in ((command,), *split(command)):
                driver = self.start(self.opening)
                heard = b"".join([said(driver, piece) for piece in pieces])
                assert heard == answer, (command, heard, driver.error)
                self.assertFailed(driver, error, command)

    def test_secretsSentInClearReachNobody(self) -> None:
        """
        What needs TLS is answered as the protocol answers it, and not kept for the backend, which
        is not even dialled; in whatever pieces it comes, and with the request for TLS behind it in
        the same segment (rules 2, 6).
        """
        rest = b"".join(text for who, text in self.dialogue if who == "C")
        for command, answer in self.needsTLS.items():
            for pieces in ((command,), *split(command)):
                driver = self.start(self.opening)
                heard = b"".join([said(driver, piece) for piece in pieces])
                assert heard == answer, (command, heard, driver.error)
                self.checkSecrets(driver, self.opening)
            driver = self.start(self.opening)
            driver.network.feed(command + rest)
            assert driver.network.written.startswith(answer), driver.network.written
            driver.network.takeWritten()
            self.checkSecrets(driver, len(self.dialogue))

    def checkSecrets(self, driver: Driver, place: int) -> None:
        """
        The connection is over, or goes on from C{place} as if nothing was said.
        """
        if driver.network.ended:
            driver.network.end()
        if driver.error is None:
            self.go(driver, place, len(self.whole))
            self.arrive(driver)
            assert driver.plain.written == b"", driver.plain.written
        else:
            self.assertFailed(driver, TunnelError)

    def test_aClientThatKeepsAskingIsCutOff(self) -> None:
        """
        After some refusals (rule 8).
        """
        for command in self.needsTLS:
            driver = self.start(self.opening)
            for _ in range(self.patience):
                driver.network.feed(command)
            if driver.network.ended:
                driver.network.end()
            self.assertFailed(driver, TunnelError, command)

    def test_foreignProtocolsGetNoAnswer(self) -> None:
        """
        TLS at once, HTTP and SSH: no word, and a hint in the log (rule 13).
        """
        for first in self.foreign:
            for pieces in ((first,), *split(first)):
                driver = self.start(self.opening)
                for piece in pieces:
                    driver.network.feed(piece)
                assert driver.network.written == b"", (first, driver.network.written)
                self.assertFailed(driver, ForeignProtocol if len(pieces) == 1 else TunnelError)

    foreign: Sequence[bytes] = (
        CLIENT_HELLO,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    )

    def test_aSecondRequestIsForTheBackend(self) -> None:
        """
        TLS inside TLS is not ours to grant (rule 14).
        """
        last = self.lastWords()
        if last is None:
            return
        _, request = last
        driver = self.start(len(self.whole))
        self.arrive(driver)
        driver.network.feed(request)
        assert driver.plain.written == request, driver.plain.written
        assert driver.network.written == b"", driver.network.written

    def test_backendsThatCannotBeServedShowNothing(self) -> None:
        """
        Nothing of what they say reaches the client, and TLS ends as it should (rule 1).
        """
        for place, answer, error in self.failures:
            for pieces in ((answer,), crumbs(answer)):
                driver = self.awaiting(place)
                for piece in pieces:
                    driver.feed(self.speaker(place), piece)
                self.assertFailed(driver, error, place, answer)

    def test_aBackendThatGoesAwayEndsEverything(self) -> None:
        """
        In every state in which there is one.
        """
        for place in self.states():
            driver = self.start(place)
            if driver.backendDialled:
                driver.plain.reset()
                self.assertFailed(driver, Reset, place)

    def test_whenTheClientIsRefusedTheBackendIsNotDialled(self) -> None:
        """
        A handshake that fails costs no backend (rule 2).
        """
        driver = self.start(len(self.dialogue))
        driver.network.lose(TLSFailed("by the test"))
        self.assertFailed(driver, TLSFailed)
