"""
IRC (the IRCv3 extension C{tls})::

    S: :irc.example.org NOTICE * :*** Looking up your hostname...      0..n lines
    C: STARTTLS                         before NICK and USER
    S: :irc.example.org 670 * :STARTTLS successful, proceed with TLS handshake
    == TLS ==

Either side may speak first, before and inside TLS: the app is told nothing, and nothing of the
backend's is swallowed.
"""

from __future__ import annotations

import re

from tlstunnel.errors import Malformed, Quit, Refused
from tlstunnel.protocols.base import ClientRole, Dialect, ServerRole

_MESSAGE = re.compile(
    rb"(?:@[^ ]+ +)?(?::[^ ]+ +)?(?P<command>[A-Za-z]+|[0-9]{3})(?: +(?P<parameters>.*))?"
)
_CAPABILITIES = re.compile(rb":?[A-Za-z0-9./_=~ -]+")

# How much of a list that is not granted is repeated: the extension wants 100 bytes at least, and
# a line has room for no more than 512.
_REPEATED_BYTES = 200

# What a client is asked to repeat, to show that it hears us.
_COOKIE = re.compile(rb":?[!-~]{1,64}")

# What servers say to whoever has just connected: a notice, a numeric that asks to wait (020, and
# 439 where it is about too many of something).
_PASSING = frozenset((b"NOTICE", b"020", b"439"))

_REGISTRATION = frozenset((b"PASS", b"NICK", b"USER"))


def parse(line: bytes) -> tuple[bytes, bytes]:
    """
    Take a message apart; tags and prefix do not matter before TLS.

    @return: the command in upper case and its parameters; no command if it is no message.
    """
    message = _MESSAGE.fullmatch(line)
    if message is None:
        return b"", b""
    return message["command"].upper(), (message["parameters"] or b"").rstrip(b" ")


class IRCClient(ClientRole):
    """
    Asks a remote IRC server for TLS.
    """

    async def negotiate(self) -> None:
        """
        Ask at once; other things may come before the answer.
        """
        self.sendLine(b"STARTTLS")
        while True:
            line = await self.readLine()
            command, parameters = parse(line)
            if command == b"670":
                return
            if command == b"PING":
                self._pong(parameters)
            elif not command and line.strip():
                raise Malformed("not a message of IRC", line)
            elif command and command not in _PASSING:
                raise Refused("expected 670", line)

    def _pong(self, cookie: bytes) -> None:
        """
        Servers that ask this early serve nobody who does not answer; and it goes back only to whom
        it came from.
        """
        if _COOKIE.fullmatch(cookie):
            self.sendLine(b"PONG " + cookie)


class IRCServer(ServerRole):
    """
    Offers an IRC client TLS, and nothing else before it.
    """

    async def negotiate(self) -> None:
        """
        STARTTLS comes before registration.
        """
        while True:
            line = await self.readCommand()
            command, parameters = parse(line)
            if command == b"STARTTLS" and not parameters:
                self.goAhead(
                    self._numeric(b"670", b"STARTTLS successful, proceed with TLS handshake")
                )
                return
            if line.strip():
                self.answer(command, parameters)

    def answer(self, command: bytes, parameters: bytes) -> None:
        """
        Answer any command but STARTTLS.
        """
        if command == b"CAP":
            self.answerCapabilities(parameters)
        elif command == b"PING":
            name = self.setting.ourName
            self.sendLine(b":" + name + b" PONG " + name + b" :" + parameters.removeprefix(b":"))
        elif command in _REGISTRATION:
            self.refuse(self._numeric(b"451", b"STARTTLS first"))
        elif command == b"QUIT":
            self.sendLine(b"ERROR :bye")
            raise Quit()
        else:
            self.refuseSyntax(self._numeric(b"421", b"Unknown command"), b"ERROR :too many errors")

    def answerCapabilities(self, parameters: bytes) -> None:
        """
        IRCv3, capability negotiation: C{tls} is the only one, and is not requested but used.
        """
        subcommand, _, argument = parameters.partition(b" ")
        subcommand, argument = subcommand.upper(), argument.strip()
        start = b":" + self.setting.ourName + b" CAP * "
        if subcommand == b"LS":
            self.sendLine(start + b"LS :tls")
        elif subcommand == b"REQ" and _CAPABILITIES.fullmatch(argument):
            self.sendLine(start + b"NAK :" + argument.removeprefix(b":")[:_REPEATED_BYTES])
        elif subcommand != b"END":
            self.refuseSyntax(self._numeric(b"421", b"Unknown command"), b"ERROR :too many errors")

    def _numeric(self, code: bytes, text: bytes) -> bytes:
        return b":" + self.setting.ourName + b" " + code + b" * :" + text


irc = Dialect(
    name="irc",
    marksEnd=True,
    client=IRCClient,
    server=IRCServer,
    summary="chat (IRCv3 tls)",
    ports=(6667,),
    implicitPort=6697,
    alpn=(b"irc",),
    silentServer=False,
)
