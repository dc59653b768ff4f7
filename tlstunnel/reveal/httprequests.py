"""
What an HTTP client says: request by request, each read, and written anew with what we tell of the
client (RFC 9112).
"""

from __future__ import annotations

import h11

from tlstunnel.errors import Oversize
from tlstunnel.protocols.filters import Filter
from tlstunnel.reveal.httpdialogue import MAX_DUE, Dialogue, Exchange
from tlstunnel.reveal.httpfields import Told
from tlstunnel.reveal.httpheads import (
    Head,
    Rejected,
    checkBytes,
    reasonOf,
    rejected,
    writeTrailers,
)

#: Bytes that are taken at once, and what one call does of them: a head counts as several messages,
#: since it takes as long.
PIECE_BYTES = 16384
MESSAGES_AT_ONCE = 16
MESSAGES_OF_A_HEAD = 4

_END = b"\r\n\r\n"
_UNAVAILABLE = b"503 Service Unavailable"


class Requests(Filter):
    """
    Passes requests on, and what is none not.
    """

    def __init__(self, dialogue: Dialogue, told: Told) -> None:
        super().__init__()
        self.pieceBytes = PIECE_BYTES
        self._dialogue = dialogue
        self._told = told
        # The request whose body is being read, and what is missing of that.
        self._exchange: Exchange | None = None
        self._missing = 0
        self._chunks: h11.Connection | None = None
        # How much of a head was looked at, and whether there was an empty line before it.
        self._seen = 0
        self._hasSkipped = False

    def feed(self, data: bytes) -> bytes:
        """
        Go on with what arrived, as far as one call may.
        """
        dialogue = self._dialogue
        if dialogue.hasSwitched:
            self.done = True
            return data
        passed = bytearray()
        if not dialogue.isRefused:
            self._kept += data
            try:
                self._go(passed)
            except Rejected as no:
                dialogue.reject(no.status, no.error)
        if dialogue.isRefused:
            dialogue.drop(len(data))
            self._kept.clear()
            self.pieceBytes = PIECE_BYTES
        return bytes(passed)

    def _go(self, passed: bytearray) -> None:
        most = self.messages + MESSAGES_AT_ONCE
        goesOn = True
        while goesOn and self.messages < most:
            goesOn = self._step(passed)
        self.pieceBytes = 0 if goesOn else PIECE_BYTES

    def _step(self, passed: bytearray) -> bool:
        """
        Pass a head on, or something of a body.

        @return: whether there may be something left to do.
        """
        if self._chunks is not None:
            return self._passChunks(self._chunks, passed)
        if self._missing:
            return self._passBody(passed)
        return self._passHead(passed)

    def _passHead(self, passed: bytearray) -> bool:
        kept, dialogue = self._kept, self._dialogue
        if kept and dialogue.isSwitching:
            # It would depend on the response whether that is HTTP.
            raise rejected(
                "more behind a request that asks for another protocol", bytes(kept[:200])
            )
        while kept.startswith(b"\r\n"):
            # RFC 9112, section 2.2: one empty line may precede.
            if self._hasSkipped:
                raise rejected("empty lines instead of a request")
            self._hasSkipped = True
            del kept[:2]
            self._seen = 0
        end = kept.find(_END, max(0, self._seen - 3))
        if end < 0:
            checkBytes(kept, self._seen)
            self._seen = len(kept)
            return False
        text = kept[: end + len(_END)]
        del kept[: end + len(_END)]
        self.messages += MESSAGES_OF_A_HEAD
        checkBytes(text, self._seen)
        self._seen, self._hasSkipped = 0, False
        if len(dialogue.due) >= MAX_DUE:
            raise Rejected(_UNAVAILABLE, Oversize(f"more than {MAX_DUE} requests without answer"))
        head = Head(bytes(text))
        passed += head.write(self._told)
        self._exchange = exchange = Exchange(head.method, head.upgrades)
        dialogue.begin(exchange)
        if head.length is None:
            self._chunks = head.reader
        elif head.length:
            self._missing = head.length
        else:
            self._finish()
        return bool(kept)

    def _passBody(self, passed: bytearray) -> bool:
        kept = self._kept
        if len(kept) <= self._missing:
            passed += kept
            self._missing -= len(kept)
            kept.clear()
        else:
            passed += kept[: self._missing]
            del kept[: self._missing]
            self._missing = 0
        if not self._missing:
            self._finish()
        return bool(kept)

    def _passChunks(self, chunks: h11.Connection, passed: bytearray) -> bool:
        """
        RFC 9112, section 7.1: chunks of our own, without extensions.
        """
        content = bytearray()
        if self._kept:
            chunks.receive_data(bytes(self._kept))
            self._kept = bytearray()
        most = self.messages + MESSAGES_AT_ONCE
        end: h11.EndOfMessage | None = None
        goesOn = True
        try:
            while goesOn and self.messages < most:
                event = chunks.next_event()
                self.messages += 1
                if isinstance(event, h11.Data):
                    content += event.data
                else:
                    end = event if isinstance(event, h11.EndOfMessage) else None
                    goesOn = False
        except h11.RemoteProtocolError as error:
            raise rejected(f"a body that is not in chunks: {reasonOf(error)}") from None
        if content:
            passed += b"%x\r\n%b\r\n" % (len(content), bytes(content))
        if end is not None:
            passed += writeTrailers(end.headers.raw_items(), self._told)
            self._kept = bytearray(chunks.trailing_data[0])
            self._chunks = None
            self._finish()
            return bool(self._kept)
        return goesOn

    def _finish(self) -> None:
        assert self._exchange is not None
        self._exchange.isWhole = True
        self._exchange = None

    def flush(self) -> bytes:
        """
        The client has ended its direction: what it has not finished is nothing.
        """
        self._kept.clear()
        if not self.done:
            self._dialogue.ended()
        return b""
