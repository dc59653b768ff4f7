"""
All that a probe has found out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tlstunnel.address import Address, Remote, TCPAddress
from tlstunnel.errors import TunnelError
from tlstunnel.probe.answers import Answer
from tlstunnel.probe.course import Outcome
from tlstunnel.probe.question import Question
from tlstunnel.probe.shown import Shown
from tlstunnel.tls.witness import Sight

#: The exit codes.
GOOD, UNTRUSTED, USAGE, NO_TLS, NO_CONNECTION = range(5)


@dataclass(frozen=True)
class Belonging:
    """
    Whether a certificate belongs to whom we expect, whoever may have issued it.

    @ivar matches: whether it does; L{None} where no name was asked for, or there is no certificate.
    @ivar names: whom it is for; raw and untrusted.
    @ivar reason: why not.
    """

    matches: bool | None = None
    names: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Stapled:
    """
    What a response of OCSP says.

    @ivar status: C{good}, or what is wrong.
    @ivar start: since when it holds, in seconds since 1970; L{None} where it is no good.
    @ivar end: until when.
    """

    status: str
    start: float | None = None
    end: float | None = None


@dataclass
class Report:
    """
    What was found at one server.

    @ivar question: what was asked.
    @ivar addresses: all that it has.
    @ivar unreached: those that were tried in vain, each with why.
    @ivar outcome: of the connection that this is about; L{None} if there was none.
    @ivar offered: whether the upgrade was agreed to; L{None} where there is none.
    @ivar listed: whether it was among what the server says that it can do; L{None} where it does
        not say.
    @ivar chain: what it has shown.
    @ivar together: what is wrong with these certificates together.
    @ivar belonging: whether they are of whom we expect.
    @ivar source: whose anchors were asked.
    @ivar anchor: which of them vouches for it; empty if none does.
    @ivar staple: what is stapled, if anything is.
    @ivar answer: what else answers, if that was in question.
    @ivar second: a second look, with everything that OpenSSL has, where the first handshake failed.
    @ivar unnamed: one without asking for a name.
    @ivar versions: what becomes of each version of TLS, if that was asked.
    @ivar others: the reports on the other addresses, likewise.
    @ivar hint: what to do.
    @ivar verdict: what comes of it, in words.
    @ivar exit: the same as an exit code.
    """

    question: Question
    addresses: list[TCPAddress] = field(default_factory=list)
    unreached: dict[Remote, TunnelError] = field(default_factory=dict)
    outcome: Outcome | None = None
    offered: bool | None = None
    listed: bool | None = None
    chain: tuple[Shown, ...] = ()
    together: list[str] = field(default_factory=list)
    belonging: Belonging = field(default_factory=Belonging)
    source: str = ""
    anchor: str = ""
    staple: Stapled | None = None
    answer: Answer | None = None
    second: Outcome | None = None
    unnamed: Outcome | None = None
    versions: dict[str, Outcome] = field(default_factory=dict)
    others: list[Report] = field(default_factory=list)
    hint: str = ""
    verdict: str = ""
    exit: int = NO_CONNECTION

    @property
    def sight(self) -> Sight:
        """What was shown in the handshake."""
        return Sight() if self.outcome is None else self.outcome.sight

    @property
    def address(self) -> Address | None:
        """The server that this is about."""
        return None if self.outcome is None else self.outcome.address

    @property
    def error(self) -> TunnelError | None:
        """Why a tunnel would not have served."""
        return None if self.outcome is None else self.outcome.error

    @property
    def problems(self) -> list[str]:
        """Everything that is wrong with the certificates."""
        each = [
            f"certificate {number}: {problem}"
            for number, shown in enumerate(self.chain)
            for problem in shown.problems
        ]
        found = [*each, *self.together]
        if self.staple is not None and self.staple.start is None:
            found.append(f"ocsp: {self.staple.status}")
        return found
