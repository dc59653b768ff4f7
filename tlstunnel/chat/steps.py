"""
What a chat(8) script is once it has been read: immutable steps, every escape expanded.

Knows nothing of text, and nothing of connections.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tlstunnel.chat.escapes import Part
from tlstunnel.chat.words import Position, Word

#: Which end of the network leg a script plays: C{client} talks to a server, C{server} plays one.
Side = Literal["client", "server"]


@dataclass(frozen=True)
class Send:
    """
    Send something.

    @ivar word: as it stands in the script; of a sub-send, the word it is part of.
    @ivar parts: strings and pauses, in order, the CR of chat(8) included; may be empty.
    @ivar secret: it does not belong in the log.
    """

    word: Word
    parts: tuple[Part, ...]
    secret: bool = False

    @property
    def data(self) -> bytes:
        """All that is sent."""
        return b"".join(part for part in self.parts if isinstance(part, bytes))


@dataclass(frozen=True)
class Attempt:
    """
    One expect string of an expect, and the sub-send that follows where it times out.

    @ivar text: as it stands in the script.
    @ivar expected: what it stands for; empty: it matches at once and reads nothing.
    @ivar otherwise: the sub-send.
    """

    text: bytes
    expected: bytes
    otherwise: Send | None = None


@dataclass(frozen=True)
class Expect:
    """
    Await something.

    @ivar word: as it stands in the script.
    @ivar attempts: in order; none: it matches at once.  If the last has a sub-send, the expect
        succeeds once that is sent.
    """

    word: Word
    attempts: tuple[Attempt, ...]

    @property
    def idle(self) -> bool:
        """Whether it matches at once."""
        return not self.attempts or not self.attempts[0].expected


@dataclass(frozen=True)
class Abort:
    """From now on, C{text} in the input of an expect ends the script."""

    word: Word
    text: bytes


@dataclass(frozen=True)
class ClearAbort:
    """No longer does C{text} end the script."""

    word: Word
    text: bytes


@dataclass(frozen=True)
class Report:
    """Log C{text} and the rest of its line, the first time that it is received."""

    word: Word
    text: bytes


@dataclass(frozen=True)
class ClearReport:
    """Do not log C{text} after all."""

    word: Word
    text: bytes


@dataclass(frozen=True)
class Timeout:
    """From now on, each expect string has so many C{seconds}."""

    word: Word
    seconds: int


@dataclass(frozen=True)
class Echo:
    """From now on, log what is received, or do not."""

    word: Word
    on: bool


@dataclass(frozen=True)
class Say:
    """Log C{text}."""

    word: Word
    text: bytes


Step = Send | Expect | Abort | ClearAbort | Report | ClearReport | Timeout | Echo | Say


@dataclass(frozen=True)
class Notice:
    """Something about a script that its author may not expect; no error."""

    position: Position
    text: str

    def __str__(self) -> str:
        return f"{self.position}: {self.text}"


@dataclass(frozen=True)
class Script:
    """
    A whole script, ready to be run any number of times at once.

    @ivar name: for the log.
    @ivar side: which end it plays.
    @ivar steps: in the order in which they are done.
    @ivar timeout: seconds that each expect string has before the first TIMEOUT; L{None}: no limit.
    @ivar total: seconds for the whole script.
    @ivar maxBytes: received bytes in the whole script.
    @ivar binary: the go-ahead is no line: nothing is read to the end of a line.
    @ivar greeting: what the app is given once the server is verified; L{None}: nothing.
    @ivar swallow: what is read from the backend and dropped, in this order.
    @ivar echo: log what is received from the start.
    @ivar verbose: log the dialogue.
    @ivar notices: to be logged once, at start-up.
    """

    name: str
    side: Side
    steps: tuple[Step, ...]
    timeout: int | None
    total: int
    maxBytes: int
    binary: bool = False
    greeting: bytes | None = None
    swallow: tuple[bytes, ...] = ()
    echo: bool = False
    verbose: bool = False
    notices: tuple[Notice, ...] = ()
