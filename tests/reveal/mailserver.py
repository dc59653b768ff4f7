"""
A mail server that is as liberal as the worst of them, for attacks on the guard of mail servers.

It does what real ones do: it takes other line ends than CRLF, skips what stands before a verb,
and ends mails where others see text.  What it believes of its client is what was said by XCLIENT
and XFORWARD.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Habits:
    """
    What kind of server it is.

    @ivar lineEnds: what ends a line, as a regular expression.
    @ivar skipped: what it skips before a verb.
    @ivar dropped: what it does not see at all.
    @ivar mailEnds: what ends a mail, behind the end of a line.
    @ivar isLMTP: whether it answers for each recipient.
    """

    lineEnds: bytes = rb"\r*\n"
    skipped: bytes = b" \t\r\v\f"
    dropped: bytes = b""
    mailEnds: bytes = rb"\.\r*\n"
    isLMTP: bool = False


HABITS = {
    "Postfix": Habits(),
    "strict": Habits(rb"\r\n", b"", b"", rb"\.\r\n"),
    "CR": Habits(rb"\r\n|\r|\n", b" ", b"", rb"\.(\r\n|\r|\n)"),
    "NUL": Habits(rb"\r*\n", b" \0", b"\0", rb"\.\r*\n"),
    "LMTP": Habits(isLMTP=True),
}


@dataclass
class MailServer:
    """
    One connection to such a server.

    @ivar believed: what its client has told that only we may tell.
    @ivar mails: what it took for mails.
    """

    habits: Habits = field(default_factory=Habits)
    believed: list[bytes] = field(default_factory=list)
    mails: list[bytes] = field(default_factory=list)
    recipients: int = 0
    _kept: bytes = b""
    _isMail: bool = False
    _isLogin: bool = False

    def say(self, data: bytes) -> bytes:
        """
        Hear C{data}.

        @return: the answers.
        """
        self._kept += data.translate(None, self.habits.dropped)
        answers = b""
        while True:
            answer = self._endOfMail() if self._isMail else self._command()
            if answer is None:
                return answers
            answers += answer

    def _endOfMail(self) -> bytes | None:
        ends = rb"(?:^|(?<=\n)|(?<=\r))" + self.habits.mailEnds
        if self.habits.lineEnds == rb"\r\n":
            ends = rb"(?:^|(?<=\r\n))" + self.habits.mailEnds
        found = re.search(ends, self._kept)
        if found is None or (found.end() == len(self._kept) and found[0].endswith(b"\r")):
            return None
        self.mails.append(self._kept[: found.start()])
        self._kept = self._kept[found.end() :]
        self._isMail = False
        count, self.recipients = self.recipients, 0
        return b"250 2.0.0 Ok\r\n" * (count if self.habits.isLMTP else 1)

    def _command(self) -> bytes | None:
        found = re.search(self.habits.lineEnds, self._kept)
        if found is None or (found.end() == len(self._kept) and found[0].endswith(b"\r")):
            return None
        line = self._kept[: found.start()]
        self._kept = self._kept[found.end() :]
        if self._isLogin:
            self._isLogin = False
            return b"501 5.5.4 no\r\n" if line == b"*" else b"535 5.7.8 no\r\n"
        verb = re.split(rb"[ \t:]", line.lstrip(self.habits.skipped), maxsplit=1)[0].upper()
        if verb in (b"XCLIENT", b"XFORWARD"):
            self.believed.append(line)
        return self._answer(verb)

    def _answer(self, verb: bytes) -> bytes:
        if verb in (b"EHLO", b"LHLO"):
            self.recipients = 0
            return b"250-mx\r\n250-XCLIENT ADDR\r\n250-CHUNKING\r\n250 XFORWARD ADDR\r\n"
        if verb in (b"MAIL", b"RSET", b"HELO", b"NOOP", b"XFORWARD"):
            self.recipients = self.recipients if verb in (b"NOOP", b"XFORWARD") else 0
            return b"250 2.0.0 Ok\r\n"
        if verb == b"RCPT":
            self.recipients += 1
            return b"250 2.1.5 Ok\r\n"
        if verb == b"XCLIENT":
            return b"220 mx ESMTP\r\n"
        if verb == b"AUTH":
            self._isLogin = True
            return b"334 \r\n"
        if verb == b"DATA":
            if not self.recipients:
                return b"503 5.5.1 RCPT first\r\n"
            self._isMail = True
            return b"354 Go ahead\r\n"
        return b"500 5.5.2 What\r\n"
