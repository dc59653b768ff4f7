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

from tlstunnel.errors import Refused
from tlstunnel.protocols.filters import PIECE_BYTES, Filter
from tlstunnel.protocols.mysqlpackets import packet
from tlstunnel.reveal.mysqllogin import LARGEST

_WHOLE = 0xFFFFFF

# Of releases 10.2 to 10.5 of MariaDB: several commands in one.
_MULTI = 0xFE


class Commands(Filter):
    """
    Passes what a client says, unless it wants to become somebody who it is not.
    """

    def __init__(self, change: Callable[[bytes], bytes]) -> None:
        """
        @param change: given a COM_CHANGE_USER, says what is to be passed on for it, or raises a
            L{TunnelError<tlstunnel.errors.TunnelError>}.
        """
        super().__init__()
        self._change = change
        # What is left of a packet, and whether its message goes on in the next one.
        self._left = 0
        self._goesOn = False

    def feed(self, data: bytes) -> bytes:
        """
        Look at the beginning of each message.
        """
        passed = self._passed(data)
        # What is left of a packet is only skipped.
        self.pieceBytes = max(PIECE_BYTES, self._left)
        return passed

    def _passed(self, data: bytes) -> bytes:
        if self._left >= len(data):
            self._left -= len(data)
            return data
        kept = self._kept
        kept += data
        # Where the next packet begins.
        at = self._left
        while at < len(kept):
            head = bytes(kept[at : at + 5])
            end = at + 4 + int.from_bytes(head[:3], "little")
            if len(head) < 4 or len(head) < min(5, end - at):
                break
            if self._isChange(head):
                if end > len(kept):
                    break
                kept[at:end] = packet(0, self._change(bytes(kept[at + 4 : end])))
                end = at + 4 + int.from_bytes(kept[at : at + 3], "little")
            self._goesOn = end - at == 4 + _WHOLE
            self.messages += 1
            at = end
        passed = bytes(kept[:at])
        self._left = max(0, at - len(kept))
        del kept[:at]
        return passed

    def flush(self) -> bytes:
        """
        What is not even the start of a command is for nobody.
        """
        return b""

    def _isChange(self, head: bytes) -> bool:
        """
        Whether a packet is a COM_CHANGE_USER.

        @param head: its header, and the first byte of the message if there is any.
        @raise Refused: if it might be one that cannot be read.
        """
        if head[3] or self._goesOn or head[4:] not in (b"\x11", b"\xfe"):
            return False
        if head[4] == _MULTI:
            raise Refused("the client hides commands in one (COM_MULTI)")
        if int.from_bytes(head[:3], "little") > LARGEST:
            raise Refused("the client changes the user in a message that is too long")
        return True
