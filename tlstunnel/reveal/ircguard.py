"""
What keeps clients of IRC from speaking as a gateway, which servers listen to until a user is
registered.

Servers cut lines at different places: InspIRCd at LF alone, from which it drops every CR; ngIRCd
at a CR too; some where a line is longer than a message may be.  Until then a client may therefore
send only what all of them read alike: messages in which nothing is a CR, a LF or a NUL but the end.
"""

from __future__ import annotations

import re

from tlstunnel.errors import Forged, Malformed, Oversize
from tlstunnel.protocols.conversation import isBroken
from tlstunnel.protocols.filters import Filter

#: The most bytes of a message, with its end (RFC 2812, section 2.3).
MAX_MESSAGE_BYTES = 512

# A message as all servers read it: tags and a prefix, if any, and a command that nobody may
# abbreviate by a dot (InspIRCd's module abbreviation).
_MESSAGE = re.compile(
    rb"(?:@[^ ]+ +)?(?::[^ ]+ +)?(?P<command>[A-Za-z]+|[0-9]{3})(?: +(?P<parameters>.*))?",
    re.DOTALL,
)

# What gateways say, and what would begin another TLS, in which nobody could read on.
_OURS = frozenset((b"WEBIRC", b"CGIIRC", b"HEXIP", b"PROXY", b"STARTTLS"))

# How gateways begin a password that carries an address (UnrealIRCd's type "old").
_OUR_PASSWORDS = (b"WEBIRC_", b"CGIIRC_")

# Behind what a secret may stand.
_SECRETS = re.compile(
    rb"(?<![A-Z])(PASS|AUTHENTICATE|WEBIRC|CGIIRC|OPER).+", re.DOTALL | re.IGNORECASE
)

# What tells that a user is registered, as servers write it (RFC 2812, section 5.1).
_WELCOME = re.compile(rb"(?:@[^ \r\n]+ +)?:[^ \r\n]+ +001 ")

# Where that stands in a line, if at all: there may be tags before it.
_WELCOME_BYTES = 1024


def shown(message: bytes) -> bytes:
    """
    What a log may have of a message: no passwords.
    """
    return _SECRETS.sub(rb"\1 ...", message)


def check(message: bytes) -> None:
    """
    See that a client says nothing that only a gateway may say.

    @param message: a line without its end.
    @raise Forged: it does.
    @raise Malformed: servers might read it differently.
    """
    if not message:
        return
    found = _MESSAGE.fullmatch(message)
    if found is None:
        raise Malformed("no message of IRC before registration", shown(message))
    command = found["command"].upper()
    password = (found["parameters"] or b"").removeprefix(b":").upper()
    if command in _OURS or (command == b"PASS" and password.startswith(_OUR_PASSWORDS)):
        raise Forged("the client says what is for the tunnel to say", shown(message))


class Unregistered(Filter):
    """
    Reads what a client says before it is registered.
    """

    def feed(self, data: bytes) -> bytes:
        """
        Pass whole messages.
        """
        kept = self._kept
        searched = len(kept)
        kept += data
        if self.done:
            return self.flush()
        start = 0
        while (end := kept.find(b"\n", max(start, searched)) + 1) > 0:
            self._line(bytes(kept[start:end]))
            start = end
        if len(kept) - start >= MAX_MESSAGE_BYTES:
            raise Oversize("a message of IRC that does not end", shown(bytes(kept[start:])))
        passed = bytes(kept[:start])
        del kept[:start]
        return passed

    def flush(self) -> bytes:
        """
        The client has ended, perhaps in a line: nobody can say what a server makes of that.
        """
        rest = super().flush()
        return rest if self.done else b""

    def _line(self, line: bytes) -> None:
        self.messages += 1
        if len(line) > MAX_MESSAGE_BYTES:
            raise Oversize(
                f"a message of IRC with more than {MAX_MESSAGE_BYTES} bytes", shown(line)
            )
        if isBroken(line):
            raise Malformed("a bare CR or a NUL before registration", shown(line))
        check(line.removesuffix(b"\n").removesuffix(b"\r"))


class Registered(Filter):
    """
    Waits for the server's welcome, from which on no server listens to gateways.
    """

    def __init__(self, unregistered: Unregistered) -> None:
        super().__init__()
        self._unregistered = unregistered
        # Whether what arrives is the rest of a line that is known to be something else.
        self._isRest = False

    def feed(self, data: bytes) -> bytes:
        """
        Pass everything.
        """
        kept = self._kept
        kept += data
        start = 0
        while not self.done:
            if not self._isRest and _WELCOME.match(kept, start):
                self.done = self._unregistered.done = True
                break
            end = kept.find(b"\n", start) + 1
            if not end:
                break
            self.messages += 1
            self._isRest = False
            start = end
        del kept[:start]
        if len(kept) > _WELCOME_BYTES:
            self._isRest = True
        if self._isRest or self.done:
            kept.clear()
        return data

    def flush(self) -> bytes:
        """
        All has passed.
        """
        return b""
