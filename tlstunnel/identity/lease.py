"""
Certificates from an agent: each is good for minutes, and its key never leaves this process.

What is known is kept for as long as anybody uses it, so that tunnels of one process which are the
same to the same agent share it.  Who renews it is not known here.
"""

from __future__ import annotations

import errno
import random
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from threading import Lock
from weakref import WeakValueDictionary

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import SubjectAlternativeName

from tlstunnel.errors import ConfigurationError, IdentityRefused
from tlstunnel.identity.certificates import alternativeName
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.leafrequest import (
    LARGEST_ANSWER,
    Answer,
    Reading,
    Unreadable,
    Verdict,
    message,
    question,
)
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pem import areChained, fits

#: Seconds that an agent may take to answer.
ANSWER_SECONDS = 10.0

#: Seconds until an agent is asked again that has no time.
BUSY_SECONDS = 0.2

#: Seconds before its end that a certificate is not shown any more.
MARGIN_SECONDS = 1.0

#: When in the life of a certificate the next one is asked for: not by all tunnels at once.
RENEWED_AFTER = 0.4, 0.6

#: Where nobody has given another one in this part of what was left, something is wrong.
OVERDUE = 0.4

_READ_BYTES = 1 << 14

Ask = Callable[[Path, bytes], bytes]


@dataclass(frozen=True, eq=False)
class Lease(Credentials):
    """
    Credentials that an agent gave.

    @ivar agent: its socket.
    @ivar since: when they begin, in seconds since 1970; later than now, if the clock was set back.
    @ivar until: when they must not be shown any more, in seconds since 1970.
    @ivar due: when others should be asked for.
    """

    agent: Path = Path()
    since: float = 0.0
    until: float = 0.0
    due: float = 0.0

    def isOverdue(self, now: float) -> bool:
        """
        Whether others should have been there for a while, or the clock was set back so far that
        this one is to begin yet.
        """
        return now < self.since or now - self.due > OVERDUE * (self.until - self.due)


class Refusal(Exception):
    """
    An agent gave no certificate.

    @ivar isBusy: whether it only has no time.
    @ivar isAnswer: whether it has said so itself, so that it may have others.
    """

    def __init__(
        self, problem: str, remedy: str, isBusy: bool = False, isAnswer: bool = False
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy
        self.isBusy = isBusy
        self.isAnswer = isAnswer


def unreachable(error: OSError) -> Refusal:
    """
    Why an agent could not be asked.
    """
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        remedy = "start it with 'tlstunnel identity agent', or see whether the path is right"
        return Refusal(f"nothing answers there: {error.strerror}", remedy)
    if isinstance(error, PermissionError):
        remedy = "let us write to it: see --socket-mode, --socket-group and --allow of the agent"
        return Refusal("we may not connect", remedy)
    if isinstance(error, BlockingIOError):
        return Refusal("it has too much to do", "see who asks it so much", isBusy=True)
    if isinstance(error, TimeoutError):
        return Refusal(f"it has not answered within {ANSWER_SECONDS:g} s", "see its log")
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        remedy = "raise the limit of open files, or let there be fewer connections"
        return Refusal("there is no descriptor left to ask it by", remedy)
    if error.errno is None:
        # Of all that can be wrong, this Python finds by itself.
        return Refusal("the path is longer than a UNIX socket's can be", "give a shorter one")
    return Refusal(f"it cannot be asked: {error.strerror}", "see its log")


class Wanted:
    """
    A certificate that an agent is asked for, with a key of its own.
    """

    def __init__(self, agent: Path, identity: Identity, now: float) -> None:
        """
        @param now: seconds since 1970.
        @raise Refusal: no key can be made.
        """
        self._agent = agent
        self._identity = identity
        self._now = now
        try:
            self._key = ec.generate_private_key(ec.SECP256R1())
            self.question = message(question(identity, self._key))
        except Exception as error:  # noqa: BLE001 - providers fail in ways of their own
            remedy = "a process with the provider of a TPM or a token makes no keys of its own"
            raise Refusal(f"no key could be made for it ({error})", remedy) from None

    def take(self, content: bytes) -> Lease:
        """
        What the agent has answered.

        @raise Refusal: that is no certificate which could be used.
        """
        try:
            answer = Answer.parse(content)
        except Unreadable as error:
            raise Refusal(f"it is no agent of ours: {error}", "see what listens there") from None
        if answer.verdict is not Verdict.ISSUED:
            remedy = "see its log, whom its --allow names, and what its issuer permits"
            isBusy = answer.verdict is Verdict.BUSY
            raise Refusal(f"it says: {answer.words}", remedy, isBusy, isAnswer=not isBusy)
        leaf = answer.chain[0]
        start = leaf.not_valid_before_utc.timestamp()
        end = leaf.not_valid_after_utc.timestamp() - MARGIN_SECONDS
        remedy = "see its log, and the clock"
        if not start <= self._now < end:
            raise Refusal("it gave a certificate that is not valid now", remedy)
        try:
            isOurs = fits(self._key, leaf)
            names = leaf.extensions.get_extension_for_class(SubjectAlternativeName).value
            isOurs = isOurs and list(names) == [alternativeName(self._identity)]
        except Exception:  # noqa: BLE001 - there are many ways to be a broken certificate
            isOurs = False
        if not isOurs:
            raise Refusal("it gave a certificate for somebody else, or another key", remedy)
        if not areChained(answer.chain):
            raise Refusal("it gave certificates that are no chain", remedy)
        due = self._now + (end - self._now) * random.uniform(*RENEWED_AFTER)  # noqa: S311
        return Lease(
            self._identity,
            answer.chain,
            self._key,
            f"`agent` {self._agent}",
            agent=self._agent,
            since=start,
            until=end,
            due=due,
        )


def connected(agent: Path) -> socket.socket:
    """
    A non-blocking socket that is connected to an agent, or will never be.

    @raise Refusal: nobody is there, or has no time; or there is no descriptor for it.
    """
    try:
        sock = socket.socket(socket.AF_UNIX)
    except OSError as error:
        raise unreachable(error) from None
    sock.setblocking(False)
    try:
        sock.connect(str(agent))
    except OSError as error:
        sock.close()
        raise unreachable(error) from None
    return sock


def askNow(agent: Path, asked: bytes) -> bytes:
    """
    Ask an agent, and wait for its answer: for who has no reactor yet.

    @raise Refusal: there is none in time.
    """
    until = time.monotonic() + ANSWER_SECONDS
    reading = Reading(LARGEST_ANSWER)
    try:
        with connected(agent) as sock:
            sock.settimeout(ANSWER_SECONDS)
            with suppress(BrokenPipeError):
                # It may have answered already, without listening.
                sock.sendall(asked)
            while reading.content is None:
                sock.settimeout(max(until - time.monotonic(), 0.001))
                data = sock.recv(_READ_BYTES)
                if not data:
                    raise Refusal("it has closed the connection without an answer", "see its log")
                reading.take(data)
    except OSError as error:
        raise unreachable(error) from None
    except Unreadable as error:
        raise Refusal(f"it is no agent of ours: {error}", "see what listens there") from None
    return reading.content


class Leases:
    """
    Those that this process uses.
    """

    def __init__(self, ask: Ask = askNow, clock: Callable[[], float] = time.time) -> None:
        """
        @param ask: asks an agent, and waits for the answer.
        """
        self._ask = ask
        self._clock = clock
        self._known: WeakValueDictionary[tuple[Path, Identity], Lease] = WeakValueDictionary()
        # Of agents that did not answer, and are not waited for again and again.
        self._silent: dict[Path, tuple[float, Refusal]] = {}
        self._missed: dict[tuple[Path, Identity], Refusal] = {}
        self._lock = Lock()

    def known(self, agent: Path, identity: Identity) -> Lease | None:
        """
        The latest one, whether it has ended or not; none that is to begin yet, as the clock was
        wrong when it was given.
        """
        found = self._known.get((agent, identity))
        return None if found is None or found.since > self._clock() else found

    def keep(self, lease: Lease) -> None:
        """
        From now on this is the latest one, as long as anybody uses it.
        """
        self._known[lease.agent, lease.identity] = lease

    def miss(self, agent: Path, identity: Identity, refusal: Refusal) -> None:
        """
        Somebody has asked already, and got none: whoever looks next need not wait.
        """
        self._missed[agent, identity] = refusal

    def find(self, agent: Path, identity: Identity) -> Lease:
        """
        The latest one, or the first, for which the agent is waited for.

        @raise ConfigurationError: it gave none.
        """
        with self._lock:
            found = self.known(agent, identity)
            if found is not None:
                return found
            try:
                found = self._first(agent, identity)
            except Refusal as refusal:
                raise refused(agent, identity, refusal) from None
            self.keep(found)
            return found

    def _first(self, agent: Path, identity: Identity) -> Lease:
        missed = self._missed.pop((agent, identity), None)
        if missed is not None:
            raise missed
        until = self._clock() + ANSWER_SECONDS
        since, refusal = self._silent.get(agent, (0.0, None))
        if refusal is not None and self._clock() - since < ANSWER_SECONDS:
            raise refusal
        self._silent.pop(agent, None)
        while True:
            began = self._clock()
            wanted = Wanted(agent, identity, began)
            try:
                return wanted.take(self._ask(agent, wanted.question))
            except Refusal as error:
                now = self._clock()
                if error.isBusy and now + BUSY_SECONDS < until:
                    time.sleep(BUSY_SECONDS)
                    continue
                if now - began >= ANSWER_SECONDS / 2:
                    self._silent[agent] = now, error
                raise


def refused(agent: Path, identity: Identity, refusal: Refusal) -> ConfigurationError:
    """
    That we cannot be C{identity}.
    """
    problem = refusal.problem
    subject = f"`agent` {agent}"
    return ConfigurationError(
        subject, f"gives no certificate for {identity}: {problem}", refusal.remedy
    )


def untilOf(credentials: Credentials) -> float:
    """
    When they must not be shown any more, in seconds since 1970: those in files are the
    administrator's.
    """
    return credentials.until if isinstance(credentials, Lease) else inf


def checkTime(credentials: Credentials | None, now: float) -> None:
    """
    @raise IdentityRefused: they must not be shown any more.
    """
    if credentials is not None and untilOf(credentials) <= now:
        raise IdentityRefused(
            f"our own certificate for {credentials.identity} has ended, and the agent gave no "
            "other",
            cause="ended lease",
        )


#: Those of this process.
LEASES = Leases()
