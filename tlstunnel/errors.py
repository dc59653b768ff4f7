"""
Every way to fail, each with a name.

A connection that ends for any other reason than a clean end ends with a L{TunnelError}; its
C{reason} is the word that the log and the counters carry.  A tunnel that cannot start fails with a
L{ConfigurationError}.  This module knows nothing of the rest.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import ClassVar, Self

#: The most bytes of a peer's words that a log line carries (rule 12).
QUOTED = 200

# How the text of an error mentions a setting.
_MENTION = re.compile(r"`([a-z][a-z0-9-]*)`")


def quote(text: bytes) -> str:
    """
    Make a peer's words safe for a log line: everything but printable ASCII is escaped, and the
    result stands for at most L{QUOTED} bytes (rule 12).
    """
    shown = "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b'\\"' else f"\\x{byte:02x}"
        for byte in text[:QUOTED]
    )
    return f'"{shown}"' + ("..." if len(text) > QUOTED else "")


def printable(said: str) -> str:
    """
    A name that a peer gave, a character for each byte, as it may stand in a log or on a page.
    """
    if len(said) <= QUOTED and said.isascii() and said.isprintable():
        return said
    return quote(said.encode("latin-1"))


def nearest(word: str, known: Iterable[str]) -> str:
    """
    What to do about a word that is not known: the question whether another one was meant, or
    nothing where none of C{known} is like it.
    """
    near = likely(word, known)
    return f"did you mean {near}?" if near else ""


def likely(word: str, known: Iterable[str]) -> str:
    """
    Which of C{known} is most like C{word}; empty where none is.
    """
    near = difflib.get_close_matches(word, known, 1)
    return near[0] if near else ""


def oneOf(words: Iterable[str]) -> str:
    """
    All of C{words}, as a sentence has them of which one is to be chosen: C{a, b or c}.
    """
    *several, last = words
    return f"{', '.join(several)} or {last}" if several else last


class ConfigurationError(Exception):
    """
    The tunnel cannot start as it was asked to.

    All three texts mention a setting by its key in backquotes, C{`local`}, wherever it was set; who
    shows the error says it in the words of the command line, or of a file.

    @ivar subject: what is wrong: a setting, with its value where that is known, C{`local` :443}; or
        the path of a file.
    @ivar problem: what is wrong with it.
    @ivar remedy: what to do about it.
    """

    def __init__(self, subject: str, problem: str, remedy: str) -> None:
        self.subject = subject
        self.problem = problem
        self.remedy = remedy
        super().__init__(subject, problem, remedy)

    @classmethod
    def of(cls, subject: str, error: ValueError) -> ConfigurationError:
        """
        Of a text that cannot be read.

        @param error: has a message that says what is wrong, and behind a semicolon what to do.
        """
        problem, _, remedy = str(error).partition("; ")
        return cls(subject, problem, remedy)

    @property
    def key(self) -> str:
        """
        The key of the setting that is wrong; empty if the error is about something else.
        """
        found = _MENTION.match(self.subject)
        return found[1] if found else ""

    @property
    def mentioned(self) -> set[str]:
        """
        The keys of all settings that it mentions.
        """
        texts = (self.subject, self.problem, self.remedy)
        return {key for each in texts for key in _MENTION.findall(each)}

    def inWords(self, mention: Callable[[str], str]) -> str:
        """
        The error in one line.

        @param mention: gives for the key of a setting how the user knows it.
        """
        text = f"{self.subject}: {self.problem}"
        if self.remedy:
            text += f"; {self.remedy}"
        return inWords(text, mention)

    def __str__(self) -> str:
        """
        In the words of the command line.
        """
        return self.inWords(asLongOption)


def inWords(text: str, mention: Callable[[str], str]) -> str:
    """
    A text that mentions settings by their keys in backquotes, in the words of whoever reads it.

    @param mention: gives for the key of a setting how the user knows it.
    """
    return _MENTION.sub(lambda found: mention(found[1]), text)


def asLongOption(key: str) -> str:
    """
    How somebody who types a command line knows a setting.
    """
    return f"--{key}"


class TunnelError(Exception):
    """
    A connection ended, and not cleanly.

    @cvar reason: the stable name of this failure.
    @ivar detail: our own words about it, in which C{the peer} is whoever it is about.
    @ivar said: what the peer said, raw and untrusted; shown only through L{quote}.
    @ivar who: who that is: C{the app}, C{the server}, C{the client} or C{the backend}; empty until
        whoever serves the connection says so.
    @ivar cause: one of the words by which L{tlstunnel.tunnel.hints} knows what to do about it;
        empty where C{reason} is enough for that.
    """

    reason: ClassVar[str] = "internal"
    who: str = ""

    def __init__(self, detail: str = "", said: bytes = b"", cause: str = "") -> None:
        self.detail = detail
        self.said = said
        self.cause = cause
        super().__init__(detail, said)

    def __str__(self) -> str:
        who = self.who or "the peer"
        detail = self.detail.replace("the peer", who)
        text = f"{self.reason}: {detail}" if detail else self.reason
        return f"{text}; {who} said {quote(self.said)}" if self.said else text

    def by(self, who: str) -> Self:
        """
        Say who it was, if nobody has done so.
        """
        self.who = self.who or who
        return self

    def unquoted(self) -> Self:
        """
        Forget what the peer said: it may be a password.
        """
        self.said = b""
        self.args = (self.detail, b"")
        return self

    def bare(self) -> Self:
        """
        Forget where it came from: whoever keeps it would keep all that was going on there, and that
        keeps the error, until somebody looks for circles.
        """
        self.__traceback__ = self.__context__ = self.__cause__ = None
        return self


class Refused(TunnelError):
    """The peer said no to the upgrade."""

    reason = "refused"


class Temporary(TunnelError):
    """The peer said no for now (a numeric reply 4xx)."""

    reason = "temporary"


class NotOffered(TunnelError):
    """There is nothing to ask for: the peer does not offer TLS (rule 5)."""

    reason = "not-offered"


class PreAuthenticated(TunnelError):
    """The peer regards us as logged in already, so that no upgrade is possible."""

    reason = "preauth"


class Malformed(TunnelError):
    """The peer broke the syntax of its protocol."""

    reason = "malformed"


class Closed(TunnelError):
    """The peer closed the connection before it should have."""

    reason = "closed"


class TimedOut(TunnelError):
    """A time limit passed."""

    reason = "timeout"


class Oversize(TunnelError):
    """The peer sent more than a limit allows."""

    reason = "oversize"


class PlaintextAfterStartTLS(TunnelError):
    """Something was left in the plaintext buffer at the switch (rule 3)."""

    reason = "plaintext-after-starttls"


class ServerSpokeFirst(TunnelError):
    """A server spoke inside TLS before it was asked (rule 10)."""

    reason = "server-spoke-first"
    who = "the server"


class Farewell(TunnelError):
    """A server took its leave inside TLS before it was asked anything; the app has its words."""

    reason = "farewell"
    who = "the server"


class TLSFailed(TunnelError):
    """The TLS handshake or a TLS record was bad, or the peer sent a fatal alert."""

    reason = "tls"


class IdentityRefused(TunnelError):
    """The certificate is not to be trusted, or does not belong to the identity expected."""

    reason = "identity"


class Withdrawn(TunnelError):
    """The identity of ours that it needs, or has needed, is withdrawn."""

    reason = "withdrawn"


class ForeignProtocol(TunnelError):
    """The peer speaks another protocol altogether (rule 13)."""

    reason = "foreign-protocol"


class TooManyErrors(TunnelError):
    """The peer kept sending commands that are refused."""

    reason = "too-many-errors"


class Quit(TunnelError):
    """The peer took its leave before it asked for TLS."""

    reason = "quit"


class ConnectFailed(TunnelError):
    """The remote address could not be reached."""

    reason = "connect"


class ProgramFailed(TunnelError):
    """The program that served the connection was ended by a signal, or was not executed."""

    reason = "program"
    who = "the backend"


class Forged(TunnelError):
    """The client said what only the tunnel may say to the backend."""

    reason = "forged"
    who = "the client"


class BackendRefused(TunnelError):
    """The backend was reached, and did not greet as its protocol demands."""

    reason = "backend"
    who = "the backend"


class Truncated(TunnelError):
    """A network leg ended without close_notify."""

    reason = "truncated"


class Reset(TunnelError):
    """A leg was reset."""

    reason = "reset"

    def __str__(self) -> str:
        """
        The system's words name nobody.
        """
        return f"{super().__str__()} ({self.who})" if self.who else super().__str__()


class Idle(TunnelError):
    """Nothing moved for as long as the idle limit allows."""

    reason = "idle"


class Expired(TunnelError):
    """It lasted as long as the limit of a connection's life allows."""

    reason = "lifetime"


class CloseTimeout(TunnelError):
    """One direction ended, and the other did not within the close limit."""

    reason = "close-timeout"


class Stopped(TunnelError):
    """The tunnel is being stopped."""

    reason = "stopped"


class LimitReached(TunnelError):
    """There are as many connections as the limits allow."""

    reason = "limit"


def reasons() -> set[str]:
    """
    Why a connection can end other than cleanly: the reasons of all L{TunnelError}s.
    """
    kinds: list[type[TunnelError]] = [TunnelError, *TunnelError.__subclasses__()]
    return {each.reason for each in kinds}
