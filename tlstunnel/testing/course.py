"""
How connections are brought to a place in a dialogue, and how they end: what the rules of the
conformance suite (L{tlstunnel.testing.conformance}) are written with.
"""

from __future__ import annotations

from collections.abc import Sequence

from tlstunnel.errors import Closed, Reset, TunnelError
from tlstunnel.interfaces import IDialect
from tlstunnel.protocols.setting import Setting
from tlstunnel.testing.dialogues import Dialogue, setting
from tlstunnel.testing.legs import MemoryLeg
from tlstunnel.testing.memory import Driver

#: Seconds that a greeting, or a negotiation, may take.
GREETING_SECONDS = 60.0
NEGOTIATION_SECONDS = 30.0


def dialsEarly(driver: Driver) -> bool:
    """
    Whether the backend is dialled before TLS.
    """
    tunnel = driver.prepared.tunnel
    return driver.mode == "server" and tunnel.dialect.dialsEarly(tunnel.options)


def became(driver: Driver) -> str:
    """
    What became of a connection, in a sentence.
    """
    if driver.error is not None:
        return f"it ended: {driver.error}"
    return "it ended cleanly" if driver.ended else f"it goes on, in the stage {driver.stage!r}"


def _where(about: Sequence[object]) -> str:
    """
    Where in a dialogue something happened, and what was said there.
    """
    return " at " + ", ".join(repr(each)[:200] for each in about) if about else ""


class Assertions:
    """
    How a connection ended.
    """

    def assertFailed(self, driver: Driver, error: type[TunnelError], *about: object) -> None:
        """
        It ended with C{error}; both legs are closed, nobody got anything more, nobody is waited
        for, and the log is safe (rules 1, 2, 4, 12).
        """
        where = _where(about)
        assert isinstance(driver.error, error), (
            f"expected an end with {error.__name__}{where}, but {became(driver)}"
        )
        assert driver.error.reason != "internal", f"a bug{where}: {driver.error}"
        for name, leg in (("network", driver.network), ("plain", driver.plain)):
            assert leg.ending or leg.speaker is None, f"the {name} leg stays open{where}"
        self.assertSilent(driver.plain, "the plain leg", *about)
        if not (driver.network.handshaken or dialsEarly(driver)):
            assert not driver.backendDialled, f"the backend was dialled before TLS{where}"
        text = str(driver.error)
        assert text.isascii() and text.isprintable() and len(text) < 1200, f"unfit to log: {text!r}"
        assert "the peer" not in text, f"the log does not say who it was{where}: {text!r}"
        before = driver.network.written
        driver.clock.advance(1e6)
        assert driver.network.written == before, f"it went on talking after its end{where}"

    def assertBlames(self, driver: Driver, speaker: str, *about: object) -> None:
        """
        What was said, or done, is that of whoever spoke, as the letters of a dialogue have it.
        """
        who = {"A": "the app", "B": "the backend", "C": "the client", "S": "the server"}[speaker]
        error = driver.error
        if isinstance(error, (Closed, Reset)) or (error is not None and error.said):
            assert error.who == who, f"not {who}, but {error.who} is blamed{_where(about)}: {error}"

    def assertSilent(self, leg: MemoryLeg, name: str, *about: object) -> None:
        """
        Nothing was said on a leg but what the test has taken.
        """
        assert leg.written == b"", f"{name} got {leg.written!r}{_where(about)}"

    def assertStage(self, driver: Driver, stage: str, *about: object) -> None:
        """
        It has come as far as it should.
        """
        assert driver.error is None and driver.stage == stage, (
            f"expected the stage {stage!r}{_where(about)}, but {became(driver)}"
        )

    def assertGoesOn(self, driver: Driver, *about: object) -> None:
        """
        It has not ended.
        """
        assert driver.error is None, f"expected it to go on{_where(about)}, but {became(driver)}"

    def assertSwitched(self, driver: Driver, *about: object) -> None:
        """
        The handshake is under way.
        """
        self.assertStage(driver, "switched", *about)


class Course(Assertions):
    """
    A dialogue, and the ways through it.

    @cvar dialect: the dialect.
    @cvar options: what --dialect-option gives.
    @cvar dialogue: who says what up to the switch.
    @cvar inside: who says what from there to the relay.
    @cvar variants: other words that lead on as well: the place in C{dialogue} and C{inside}, one
        after the other, of what they stand for, and the words.
    @cvar failures: words of whoever is beyond us, a server or a backend, that end the connection:
        the place, the words, and the reason.
    @cvar driver: takes the role through its course.
    @cvar endless: what whoever speaks at a place may say, and may not say for ever.
    @cvar tlsMayFollow: whether TLS may begin in the same segment as the peer's last message.
    @cvar pipelined: whether the peer may say all it has to say in one segment.
    @cvar payload: what the one that speaks first inside TLS says, and what is answered; it has to
        pass as it is.
    """

    driver: type[Driver] = Driver
    mode: str
    dialect: IDialect
    options: Sequence[str] = ()
    dialogue: Dialogue
    inside: Dialogue = ()
    variants: Sequence[tuple[int, bytes]] = ()
    failures: Sequence[tuple[int, bytes, type[TunnelError]]] = ()
    endless: Sequence[tuple[int, bytes]] = ()
    tlsMayFollow = False
    pipelined = True
    payload: tuple[bytes, bytes] = (b"a" + bytes(range(256)) * 3, bytes(range(256)) * 3)

    def setting(self) -> Setting:
        """
        What the role knows.
        """
        return setting(*self.options)

    @property
    def whole(self) -> Dialogue:
        """
        The dialogue, also the part inside TLS.
        """
        return [*self.dialogue, *self.inside]

    def speaker(self, place: int) -> str:
        """
        Who speaks there.
        """
        return self.whole[place][0]

    def heard(self) -> list[int]:
        """
        The places at which somebody else speaks.
        """
        ours = "CT" if self.mode == "client" else "ST"
        return [place for place in range(len(self.whole)) if self.speaker(place) not in ours]

    def states(self) -> list[int]:
        """
        The places at which something is awaited: the same, the handshake, and the relay.
        """
        return sorted({*self.heard(), len(self.dialogue), len(self.whole)})

    def heardInClear(self) -> list[int]:
        """
        Those at which the peer on the network speaks before the switch.
        """
        return [
            place
            for place in self.heard()
            if place < len(self.dialogue) and self.speaker(place) in "CS"
        ]

    def start(self, place: int = 0, waiting: bytes = b"") -> Driver:
        """
        A connection on which all up to C{place} was said.

        @param waiting: what the app, or the client, has said when it was accepted.
        """
        driver = self.driver(self.dialect, self.mode, self.setting(), waiting)
        self.go(driver, 0, place)
        return driver

    def awaiting(self, place: int) -> Driver:
        """
        A connection on which it is the turn of whoever speaks there.
        """
        driver = self.start(place)
        if place >= len(self.dialogue):
            self.enter(driver)
        return driver

    def go(self, driver: Driver, place: int, end: int) -> None:
        """
        Say what stands between two places.
        """
        for at in range(place, end):
            if at == len(self.dialogue):
                self.enter(driver)
            driver.play(self.whole[at : at + 1])

    def enter(self, driver: Driver) -> None:
        """
        Complete the handshake, if it is not.
        """
        if driver.stage == "switched":
            self.assertSilent(driver.network, "the network leg", "the switch")
            self.assertSilent(driver.plain, "the plain leg", "the switch")
            driver.handshake()

    def arrive(self, driver: Driver) -> None:
        """
        All was said: now the relay begins.
        """
        self.enter(driver)
        if driver.stage == "inside":
            driver.clock.advance(1.0)
            driver.settle()
        assert driver.stage == "relay" or driver.error, (
            "the dialogue is over, and the relay does not begin: something is still awaited"
        )

    def finish(self, driver: Driver, place: int, *about: object) -> None:
        """
        Say what stands from C{place} on: the relay begins, and nothing else was said.
        """
        self.go(driver, place, len(self.whole))
        self.arrive(driver)
        self.assertStage(driver, "relay", *about)
        self.assertSilent(driver.network, "the network leg", *about)
        self.assertSilent(driver.plain, "the plain leg", *about)

    def limitAt(self, place: int) -> float:
        """
        How many seconds whoever speaks there has.
        """
        return NEGOTIATION_SECONDS

    def lastWords(self) -> tuple[int, bytes] | None:
        """
        The place of the peer's last message in clear, and that; C{None} if there is none.
        """
        places = self.heardInClear()
        return (places[-1], self.whole[places[-1]][1]) if places else None
