"""
A client and a server of mail, with our two filters between them.
"""

from __future__ import annotations

from tlstunnel.reveal.mailanswers import Answers
from tlstunnel.reveal.mailguard import Guard

REFUSAL = b"550 5.7.0 Not for you to say\r\n"
HARMLESS = b"NOOP (refused)\r\n"
GO = b"354 Go ahead\r\n"

#: What only we may say, as some server or other takes it.
FORGED = (
    b"XCLIENT ADDR=192.0.2.66\r\n",
    b"xclient ADDR=192.0.2.66\r\n",
    b"XClient\tADDR=192.0.2.66\r\n",
    b" XCLIENT ADDR=192.0.2.66\r\n",
    b"\t \tXCLIENT ADDR=192.0.2.66\r\n",
    b"\x0b\x0cXCLIENT ADDR=192.0.2.66\r\n",
    b"XCLIENT\r\n",
    b"XCLIENT ADDR=192.0.2.66\n",
    b"XCLIENT ADDR=192.0.2.66\r\r\r\n",
    b"XCLIENT:ADDR=192.0.2.66\r\n",
    b"X\\CLIENT ADDR=192.0.2.66\r\n",
    b'"XCLIENT" ADDR=192.0.2.66\r\n',
    b"\xef\xbb\xbfXCLIENT ADDR=192.0.2.66\r\n",
    b"\x08XCLIENT ADDR=192.0.2.66\r\n",
    b"XFORWARD ADDR=192.0.2.66\r\n",
    b"xForward NAME=a ADDR=192.0.2.66\r\n",
    b"STARTTLS\r\n",
    b"starttls \r\n",
    b"RCPT TO:<a@b> XRCPTFORWARD=Zm9yd2FyZA==\r\n",
    b"rcpt to:<a@b> NOTIFY=NEVER\txRcptForward=Zm9yd2FyZA==\r\n",
    b"NOOP " + b"x" * 2043 + b"XCLIENT ADDR=192.0.2.66\r\n",
    b"NOOP " + b"x" * 507 + b"xforward ADDR=192.0.2.66\r\n",
)


class Course:
    """
    A client and a server, and the two filters between them.

    @ivar heard: what the server has heard.
    @ivar told: what the client was told.
    """

    def __init__(self, isLMTP: bool = False, forwards: bool = False) -> None:
        forward = (lambda hello, name: b"XFORWARD " + hello + b"=" + name) if forwards else None
        self.guard = Guard(isLMTP, forward)
        self.answers = Answers(self.guard)
        self.heard = self.told = b""

    def client(self, *pieces: bytes) -> Course:
        for each in pieces:
            self.heard += self.guard.feed(each)
            while not self.guard.pieceBytes:
                self.heard += self.guard.feed(b"")
        return self

    def server(self, *pieces: bytes) -> Course:
        for each in pieces:
            self.told += self.answers.feed(each)
        return self

    def toMail(self) -> Course:
        """
        Up to the first byte of a mail.
        """
        self.client(b"DATA\r\n").server(GO)
        self.heard = self.told = b""
        return self
