"""
The part of the conformance suite that is for server roles: see L{tlstunnel.testing.conformance}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from tlstunnel.errors import (
    BackendRefused,
    ForeignProtocol,
    PlaintextAfterStartTLS,
    Reset,
    TLSFailed,
    TunnelError,
)
from tlstunnel.protocols.base import MAX_REFUSAL_SECONDS
from tlstunnel.testing.course import GREETING_SECONDS, became
from tlstunnel.testing.dialogues import CLIENT_HELLO, SSL2_HELLO, crumbs, said, split
from tlstunnel.testing.legs import MemoryLeg
from tlstunnel.testing.memory import Driver
from tlstunnel.testing.pointers import lookAt
from tlstunnel.testing.rules import Rules


@contextmanager
def _answering(goAhead: bytes) -> Iterator[None]:
    """
    Meanwhile a client's TLS is there as soon as it was told to go ahead.
    """
    write = MemoryLeg.write

    def answered(self: MemoryLeg, data: bytes | memoryview) -> None:
        write(self, data)
        if self.written.endswith(goAhead) and not self.isTLS:
            # Nothing is read before whoever writes has returned.
            self.pauseProducing()
            self.feed(CLIENT_HELLO)

    MemoryLeg.write = answered  # type: ignore[method-assign]
    try:
        yield
    finally:
        MemoryLeg.write = write  # type: ignore[method-assign]


class ServerConformance(Rules):
    """
    Rules for the server role.

    @cvar answers: commands that do not end the plaintext phase, and what they are answered.
    @cvar needsTLS: commands of clients that skip TLS, such as logins, and what they are answered.
    @cvar farewells: commands that end the connection, what they are answered, and the reason.
    @cvar refusals: what a backend says instead of its greeting, inside TLS, as its refusal: the
        place, the words, what the client asks to the end, and all that it is answered.
    @cvar patience: how often a client may ask for what needs TLS.
    """

    mode = "server"
    answers: Mapping[bytes, bytes] = {}
    needsTLS: Mapping[bytes, bytes] = {}
    farewells: Sequence[tuple[bytes, bytes, type[TunnelError]]] = ()
    refusals: Sequence[tuple[int, bytes, bytes, bytes]] = ()
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
        return GREETING_SECONDS if place >= len(self.dialogue) else super().limitAt(place)

    @lookAt(
        "the end of negotiate: the last words in clear are for goAhead or goAheadExactly to say, "
        "which look before whether anything follows the request, and not for sendLine or write",
        3,
    )
    def test_aClientThatAnswersTheGoAheadAtOnceIsServed(self) -> None:
        """
        Its TLS may be there before anything else happens here, and is left for TLS to read (rule
        3).
        """
        place = len(self.dialogue) - 1
        who, goAhead = self.dialogue[place] if self.dialogue else ("", b"")
        if who != "S":
            return
        last, request = self.lastWords() or (place, b"")
        with _answering(goAhead):
            driver = self.start(last)
            driver.network.feed(request)
        self.assertSwitched(driver, "a ClientHello that comes right behind the go-ahead")
        pending = driver.network.pendingInput(100)
        assert pending == CLIENT_HELLO, f"of the ClientHello only {pending!r} is left for TLS"

    @lookAt("the end of negotiate: goAhead or goAheadExactly, and nothing that reads ahead", 3)
    def test_nothingMayPrecedeAGoAheadThatIsTheGreeting(self) -> None:
        """
        A client that does not wait for it has not understood that this is no TLS yet (rule 3).
        """
        if self.lastWords() is not None or not self.dialogue:
            return
        for early in (b"x", CLIENT_HELLO):
            driver = self.start(0, early)
            self.go(driver, 0, len(self.dialogue) - 1)
            self.assertFailed(driver, PlaintextAfterStartTLS, early)
            self.assertSilent(driver.network, "the client", early)

    @lookAt("negotiate, and what it answers", 6, 17)
    def test_commandsAreAnsweredInWhateverPiecesTheyCome(self) -> None:
        """
        And the client may go on to TLS, inside of which nothing is known of them (rules 6, 17).
        """
        for command, answer in self.answers.items():
            for pieces in ((command,), *split(command)):
                driver = self.start(self.opening)
                self.checkAnswer(driver, pieces, answer)
                self.assertGoesOn(driver, command)
            self.go(driver, self.opening, len(self.whole))
            self.arrive(driver)
            self.assertSilent(driver.plain, "the backend", command)

    def checkAnswer(self, driver: Driver, pieces: tuple[bytes, ...], answer: bytes) -> None:
        """
        What a client says is answered as it should be.
        """
        heard = b"".join([said(driver, piece) for piece in pieces])
        command = b"".join(pieces)
        assert heard == answer, (
            f"{command!r} is answered {heard!r}, and not {answer!r}; {became(driver)}"
        )

    @lookAt("negotiate: it answers, and raises the error", 4)
    def test_whatEndsTheConnectionIsAnsweredFirst(self) -> None:
        """
        In whatever pieces it comes.
        """
        for command, answer, error in self.farewells:
            for pieces in ((command,), *split(command)):
                driver = self.start(self.opening)
                self.checkAnswer(driver, pieces, answer)
                self.assertFailed(driver, error, command)
                self.assertBlames(driver, "C", command)

    @lookAt("refuse: what needs TLS is answered, and not kept", 2, 6)
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
                self.checkAnswer(driver, pieces, answer)
                self.checkSecrets(driver, self.opening)
            driver = self.start(self.opening)
            heard = said(driver, command + rest)
            assert heard.startswith(answer), (
                f"{command!r} is answered {heard!r}, and not {answer!r}"
            )
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
            self.assertSilent(driver.plain, "the backend")
        else:
            self.assertFailed(driver, TunnelError)

    @lookAt("refuse, refuseSyntax and countRefusal, which count", 8)
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

    @lookAt("readCommand, or rejectForeign where commands are no lines", 13)
    def test_foreignProtocolsGetNoAnswer(self) -> None:
        """
        TLS at once, also in its oldest form, HTTP and SSH: no word, and a hint in the log; nobody
        waits for the end of a line (rule 13).
        """
        if self.lastWords() is None:
            # The first that a client says is TLS.
            return
        for first in self.foreign:
            for pieces in ((first,), *split(first)):
                driver = self.start(self.opening)
                for piece in pieces:
                    driver.network.feed(piece)
                self.assertSilent(driver.network, "the client", first)
                self.assertFailed(driver, ForeignProtocol if len(pieces) == 1 else TunnelError)

    foreign: Sequence[bytes] = (
        CLIENT_HELLO,
        SSL2_HELLO,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    )

    @lookAt("the filters in toPlain", 14)
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
        passed = driver.plain.written
        assert passed == request, f"of {request!r} the backend got {passed!r}"
        self.assertSilent(driver.network, "the client", request)

    @lookAt(
        "meetBackend: whatever is not the greeting that is swallowed raises an error, "
        "BackendRefused where the backend says no",
        1,
    )
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
                self.assertBlames(driver, self.speaker(place), place, answer)

    @lookAt("meetBackend, which lets turnAway tell the client", 10, 17)
    def test_theRefusalOfABackendIsTheAnswerToWhateverTheClientAsks(self) -> None:
        """
        In its own words, and not before the client has asked, in whatever pieces; whether the
        backend is still there or not (rules 10, 17).
        """
        for place, words, asked, answer in self.refusals:
            for pieces in ((asked,), *split(asked)):
                driver = self.awaiting(place)
                driver.feed(self.speaker(place), words)
                self.assertSilent(driver.network, "the client", words)
                driver.plain.reset()
                self.assertGoesOn(driver, words)
                self.checkAnswer(driver, pieces, answer)
                self.assertFailed(driver, BackendRefused, words)
                assert driver.network.ending == "closed", "it ended with a reset"

    @lookAt("turnAway, which has a limit of its own", 8)
    def test_nobodyWaitsForAClientThatDoesNotAsk(self) -> None:
        """
        To be told that it is turned away; and how it ended is for the backend to say (rule 8).
        """
        for place, words, *_ in self.refusals:
            driver = self.awaiting(place)
            driver.feed(self.speaker(place), words)
            driver.clock.advance(MAX_REFUSAL_SECONDS - 1)
            self.assertGoesOn(driver, words)
            driver.clock.advance(2)
            self.assertSilent(driver.network, "the client", words)
            self.assertFailed(driver, BackendRefused, words)

    @lookAt("what catches errors", 4)
    def test_aBackendThatGoesAwayEndsEverything(self) -> None:
        """
        In every state in which there is one.
        """
        for place in self.states():
            driver = self.start(place)
            if driver.backendDialled:
                driver.plain.reset()
                self.assertFailed(driver, Reset, place)
                self.assertBlames(driver, "B", place)

    @lookAt("earlyDial in the description of the dialect", 2)
    def test_whenTheClientIsRefusedTheBackendIsNotDialled(self) -> None:
        """
        A handshake that fails costs no backend (rule 2).
        """
        driver = self.start(len(self.dialogue))
        driver.network.lose(TLSFailed("by the test"))
        self.assertFailed(driver, TLSFailed)
