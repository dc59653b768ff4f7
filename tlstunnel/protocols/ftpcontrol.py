"""
FTP inside TLS: what the tunnel answers itself, and where data connections lead.

A L{Control} sees the control connection between its client and its server, whichever of them speaks
TLS, as lines: L{Control.commands} is the filter of one direction, L{Control.replies} that of the
other.  Commands that are for the tunnel are answered and not forwarded; a reply that names a port
for data is for L{tlstunnel.protocols.ftpdata}, and never passes as it is: the client would connect
past the tunnel, in clear.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from tlstunnel.errors import Malformed, Oversize, TooManyErrors
from tlstunnel.net.leg import Leg
from tlstunnel.protocols.base import MAX_REFUSED_COMMANDS, MAX_SYNTAX_ERRORS
from tlstunnel.protocols.channels import IChannels
from tlstunnel.protocols.ftpdata import ASKED_AS, INSTEAD, NAMING, DataConnections, Terms
from tlstunnel.protocols.ftplines import Commands, Lines

#: Commands that may await their replies at the same time.
MAX_AWAITED_REPLIES = 1024

#: As how many messages a data connection counts that is made: some hundred microseconds, and more
#: where the one before it ends by that, and is written down.
DATA_MESSAGES = 32

#: Bytes of our own answers that a client may leave unread.
MAX_UNREAD_BYTES = 65536

#: Bytes of a reply that is not passed on before it is complete, the ends of its lines included.
MAX_REPLY_BYTES = 8192

# What a server lists that makes no sense beside a tunnel: TLS is not the plain side's business, and
# active mode is refused unless it is asked for.
_HIDDEN = frozenset(b"AUTH PBSZ PROT CCC ADAT EPRT LPRT LPSV SPSV CPSV SSCN".split())
_HIDDEN_BESIDE_ACTIVE = _HIDDEN - {b"EPRT"}

# Telnet's interrupt and urgent mark, which come before ABOR (RFC 959, section 4.1.3); TLS has no
# urgent data.
_URGENT = re.compile(rb"(?:\xff[\xf0-\xfe])*")

_VERB = re.compile(rb"[A-Za-z][A-Za-z0-9]{0,15}")

_FIRST = re.compile(rb"[1-5][0-9]{2}(?:[ -].*)?", re.DOTALL)


class _Awaited(NamedTuple):
    """
    What comes next.

    @ivar verb: the command that awaits the server's reply; empty for none.
    @ivar argument: of one that asks for a data connection.
    @ivar answer: ours, where it awaits its turn.
    """

    verb: bytes
    argument: bytes = b""
    answer: bytes = b""

    def mayGet(self, code: bytes) -> bool:
        """
        Whether a server says C{code} to it, if it says anything.
        """
        if self.verb == _ABOR:
            # RFC 959, section 5.4; pure-ftpd says 451 where it was an upload.
            return code in (b"225", b"226", *_UNKNOWN) or code[:1] == b"4"
        # The same; vsftpd says 550 to what its administrator has forbidden.
        return self is not _PROBE or code in (b"200", b"550", *_UNKNOWN)


# Where it ends a transfer it may be answered twice, 426 for that and 226 for itself (as by vsftpd,
# ProFTPD and pure-ftpd), or once for both.  What we ask then shows which it was.
_ABOR = b"ABOR"
_UNKNOWN = (b"500", b"501", b"502")
_PROBE = _Awaited(b"our NOOP")


class Control:
    """
    One control connection inside TLS.

    @ivar commands: filters what the client says.
    @ivar replies: filters what the server says.
    """

    def __init__(
        self,
        channels: IChannels,
        client: Leg,
        server: Leg,
        answer: Callable[[bytes, bytes], bytes],
        terms: Terms,
    ) -> None:
        """
        @param client: the leg on which commands arrive.
        @param server: the leg on which replies arrive.
        @param answer: what to answer to a verb and its argument instead of the server; empty where
            they are for the server.
        @param terms: of data connections.
        """
        self.commands = Commands(self._command, self._sendAnswers)
        self.replies = Lines(self._reply)
        self._client = client
        self._server = server
        self._answer = answer
        self._data = DataConnections(channels, terms)
        self._hidden = _HIDDEN_BESIDE_ACTIVE if terms.isActive else _HIDDEN
        # Our answers that are due, and bytes of those that the client has not taken.
        self._answers: list[bytes] = []
        self._unread = 0
        # Commands that were refused here, one after the other, and those that were none.
        self._refused = self._syntaxErrors = 0
        self._awaited: deque[_Awaited] = deque()
        # Of the data connection that is decided on next: what was said to the first form.
        self._refusal = b""
        # Of the reply that is being read: its code, and its lines where they must wait.
        self._code = b""
        self._kept: list[bytes] | None = None
        self._keptBytes = 0

    # What the client says

    def _command(self, line: bytes) -> bytes:
        line = line[_URGENT.match(line).end() :]  # type: ignore[union-attr]  # it always matches
        verb, _, argument = line.partition(b" ")
        if b"\r" in line or b"\0" in line or not _VERB.fullmatch(verb):
            # Who reads it otherwise than we would see a command that we have not seen.
            return self._say(b"500 Not a command")
        verb, argument = verb.upper(), argument.strip()
        answer = self._answer(verb, argument)
        if not answer and verb in ASKED_AS:
            answer = self._data.refusal(verb, argument)
            if argument.upper() == b"ALL":
                # It asks for nothing yet (RFC 2428, section 4).
                verb = line = b"EPSV ALL"
            else:
                # The client's family is no matter of the server's.
                line = ASKED_AS[verb]
        if answer:
            return self._say(answer)
        self._await(_Awaited(verb, argument if verb in ASKED_AS else b""))
        self._refused = self._syntaxErrors = 0
        return line + b"\r\n"

    def _await(self, awaited: _Awaited) -> None:
        """
        Await it after all that was awaited before.

        @raise Oversize: if too many are awaited.
        """
        if len(self._awaited) >= MAX_AWAITED_REPLIES:
            raise Oversize(f"more than {MAX_AWAITED_REPLIES} commands without a reply")
        self._awaited.append(awaited)

    def _say(self, answer: bytes) -> bytes:
        """
        Answer in the server's place, when it is our turn.

        @return: nothing, which is what the server gets.
        @raise TooManyErrors: if nothing but refusals was needed for too long.
        """
        self._count(answer)
        if self._awaited:
            self._await(_Awaited(b"", answer=answer))
        else:
            self._answers.append(answer)
        return b""

    def _count(self, answer: bytes) -> None:
        """
        Count refusals as before TLS, but only those in a row: a session may last, and a client ask
        for active mode each time.

        @raise TooManyErrors: if there are too many.
        """
        if answer[:3] in (b"500", b"501"):
            self._syntaxErrors += 1
        elif answer[:1] in (b"4", b"5"):
            self._refused += 1
        else:
            self._refused = self._syntaxErrors = 0
        if self._syntaxErrors >= MAX_SYNTAX_ERRORS or self._refused >= MAX_REFUSED_COMMANDS:
            self._answers.append(b"421 Too many errors")
            raise TooManyErrors("too many commands that are refused")

    def _sendAnswers(self) -> None:
        """
        Send the answers that are due.

        @raise Oversize: if the client does not read them.
        """
        if not self._answers:
            return
        answers = b"".join(answer + b"\r\n" for answer in self._answers)
        self._answers.clear()
        self._unread = len(answers) + (0 if self._client.isFlushed else self._unread)
        if self._unread > MAX_UNREAD_BYTES:
            raise Oversize("nobody reads the replies")
        self._client.write(answers)

    # What the server says

    def _reply(self, line: bytes) -> bytes:
        """
        One line of a reply.
        """
        # Some clients take a CR alone for the end of a line.
        line = line.replace(b"\r", b" ")
        due = b""
        if not self._code:
            if not line.strip():
                # Behind a reply, it belongs to none.
                return b""
            if not _FIRST.fullmatch(line):
                raise Malformed("not a reply of FTP", line)
            self._code = line[:3]
            due = self._passOver()
            self._kept = [] if self._mustWait else None
            self._keptBytes = 0
            isLast = line[3:4] != b"-"
        else:
            isLast = line[:3] == self._code and line[3:4] in (b"", b" ")
            if not isLast:
                if self._isHidden(line):
                    return b""
                if line[:3].isdigit() and not line.startswith(self._code + b"-"):
                    # Not to be mistaken for the last (RFC 959, section 4.2).
                    line = b" " + line
        if isLast and len(line) == 3:
            # Some clients wait for the space (RFC 959, section 4.2).
            line += b" "
        if self._kept is None:
            return due + line + b"\r\n" + (self._completed() if isLast else b"")
        self._kept.append(line)
        self._keptBytes += len(line) + 2
        if self._keptBytes > MAX_REPLY_BYTES:
            raise Oversize("a reply that is too long")
        return due + (self._decided() if isLast else b"")

    def _passOver(self) -> bytes:
        """
        Forget what the reply that begins cannot be to: the server has said nothing to that.

        @return: our answers behind it.
        """
        answers = b""
        while self._awaited and not self._awaited[0].mayGet(self._code):
            self._awaited.popleft()
            answers += self._takeAnswers()
        return answers

    def _takeAnswers(self) -> bytes:
        """
        Our answers whose turn it is.
        """
        answers = []
        while self._awaited and self._awaited[0].answer:
            answers.append(self._awaited.popleft().answer + b"\r\n")
        return b"".join(answers)

    def _probe(self) -> None:
        """
        Ask the server something behind each ABOR that is all that it has to answer yet: the reply
        to that is known, and is for nobody else.  Not before a transfer is over: what comes behind
        ABOR may keep a server from seeing it (pure-ftpd).
        """
        if self._verb == _ABOR and all(each.verb in (_ABOR, b"") for each in self._awaited):
            last = max(at for at, each in enumerate(self._awaited) if each.verb)
            self._awaited.insert(last + 1, _PROBE)
            self._server.write(b"NOOP\r\n")

    def _isHidden(self, line: bytes) -> bool:
        """
        Whether a line is a feature that is none here (RFC 2389, section 3.2).
        """
        if self._code != b"211" or self._verb != b"FEAT":
            return False
        words = line.removeprefix(b"211-").split(None, 1)
        return bool(words) and words[0].upper() in self._hidden

    @property
    def _verb(self) -> bytes:
        """
        The command that is answered next.
        """
        return self._awaited[0].verb if self._awaited else b""

    @property
    def _mustWait(self) -> bool:
        """
        Whether the reply that begins decides on a data connection, or is to a question of ours.
        """
        if self._code in NAMING or self._verb == _PROBE.verb:
            return True
        return self._verb in ASKED_AS and not self._code.startswith(b"1")

    def _completed(self) -> bytes:
        """
        A reply is complete: after it, and after no preliminary one, it is our turn.

        @return: our answers that were due.
        """
        code, self._code, self._kept = self._code, b"", None
        if code.startswith(b"1") or not self._awaited:
            return b""
        answered = self._awaited.popleft()
        self._refusal = b""
        answers = self._takeAnswers()
        if answered.verb != _ABOR and answered is not _PROBE:
            self._probe()
        return answers

    def _decided(self) -> bytes:
        """
        The reply that decides on a data connection, or is for us, is complete.

        A server may know only one form of passive mode: where it refuses the first it is asked for
        the other, and the client gets the reply that it awaits.
        """
        assert self._kept is not None
        code, lines = self._code, self._kept
        reply = b"".join(line + b"\r\n" for line in lines)
        if code in NAMING:
            answers = b""
            while self._awaited and self._verb not in ASKED_AS:
                # It counts otherwise than we do: ABOR may be answered once or twice.
                ours = self._awaited.popleft().answer
                answers += ours + b"\r\n" if ours else b""
            if not self._awaited:
                raise Malformed("a data connection that nobody asked for", lines[-1])
            asked = self._awaited[0]
            self.replies.rest(DATA_MESSAGES)
            reply = self._data.agree(asked.verb, asked.argument, code, b"".join(lines)) + b"\r\n"
            return answers + reply + self._completed()
        if self._verb == _PROBE.verb:
            return self._completed()
        if code[:1] not in (b"4", b"5"):
            # Nothing that a client might take for consent.
            reply = b"425 The server names no port\r\n"
        elif code not in (b"421", b"530") and not self._refusal:
            # Not where no command at all is served.
            self._refusal, self._code, self._kept = reply, b"", None
            self._server.write(INSTEAD[ASKED_AS[self._verb]] + b"\r\n")
            return b""
        return (self._refusal or reply) + self._completed()
