"""
The commands of a MySQL or MariaDB session, as far as they can make it somebody else's.

A packet is a 3-byte little-endian length, a sequence id, and a part of a message, which goes on in
the next packet where it has 16 MiB - 1.  A message is one of these:

    - A command, whose packet has the id 0.  Servers end the connection if it has another one.
    - What belongs to a login or to a command: the ids go on from those of the server's last packet,
      and no server takes it for a command.

After 255 comes 0, so that also what is no command can have the id 0: of the content of a file (LOAD
DATA LOCAL), which is many messages in a row, every 256th.  Servers may cease to read the content,
and then it is a command after all: whatever has the id 0 is looked at as if it was one.  In the
worst case a session ends whose file has a C{0x11} or C{0xfe} at such a place.
"""

from __future__ import annotations

from collections.abc import Callable

from tlstunnel.errors import Refused, quote
from tlstunnel.protocols.filters import Filter

#: What all servers keep of the name of a user: the rest of a longer one is cut off by some.
LONGEST_NAME = 32

_WHOLE = 0xFFFFFF
_CHANGE_USER = 0x11

# Of releases 10.2 to 10.5 of MariaDB: several commands in one.
_MULTI = 0xFE

# What has to be known of a packet at most: its head, the command, a user and the NUL behind.
_ENOUGH = 4 + 1 + LONGEST_NAME + 1


class Commands(Filter):
    """
    Passes what a client says, unless it wants to become somebody who it is not.
    """

    def __init__(self, isAllowed: Callable[[bytes], bool]) -> None:
        """
        @param isAllowed: says whether the client may be the user of that name.
        """
        super().__init__()
        self._isAllowed = isAllowed
        # What is left of a packet, and whether its message goes on in the next one.
        self._left = 0
        self._goesOn = False

    def feed(self, data: bytes) -> bytes:
        """
        Look at the beginning of each message.
        """
        if self._left >= len(data):
            self._left -= len(data)
            return data
        kept = self._kept
        kept += data
        # Where the next packet begins.
        at = self._left
        while at < len(kept):
            length = self._begin(bytes(kept[at : at + _ENOUGH]))
            if length is None:
                break
            self.messages += 1
            at += length
        passed = bytes(kept[:at])
        self._left = max(0, at - len(kept))
        del kept[:at]
        return passed

    def flush(self) -> bytes:
        """
        What is not even the start of a command is for nobody.
        """
        return b""

    def _begin(self, head: bytes) -> int | None:
        """
        A packet begins.

        @return: how long it is, if C{head} is enough to let it pass.
        @raise Refused: if it may not.
        """
        if len(head) < 4:
            return None
        length = int.from_bytes(head[:3], "little")
        if length and not head[3] and not self._goesOn:
            if len(head) == 4:
                return None
            if head[4] == _MULTI:
                raise Refused("the client hides commands in one (COM_MULTI)")
            if head[4] == _CHANGE_USER and not self._mayChange(head[5 : 4 + length], length - 1):
                return None
        self._goesOn = length == _WHOLE
        return 4 + length

    def _mayChange(self, start: bytes, length: int) -> bool:
        """
        Whether a COM_CHANGE_USER may pass.

        @param start: what is known of it, behind the command.
        @return: C{False} if more of it has to be known.
        @raise Refused: if it may not.
        """
        user, end, _ = start.partition(b"\0")
        if not end and len(start) < min(length, LONGEST_NAME + 1):
            return False
        if not (end and self._isAllowed(user)):
            raise Refused(f"the client may not change the user to {quote(user)}")
        return True
