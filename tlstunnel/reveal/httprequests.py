"""
What an HTTP client says: request by request, each read, and written anew with what we tell of the
client (RFC 9112).
"""

from __future__ import annotations

import h11

from tlstunnel.errors import Closed, Oversize, TimedOut
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
#: and so do many fields, since they take as long.
PIECE_BYTES = 16384
MESSAGES_AT_ONCE = 16
MESSAGES_OF_A_HEAD = 4
FIELDS_OF_A_MESSAGE = 4

#: Seconds in which a client has to say all of a head, if it says anything more of it.
HEAD_SECONDS = 60.0

_END = b"\r\n\r\n"
_NOTHING = b""
_LATE = b"408 Request Timeout"
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
        # How much of a head was looked at, since when, and whether there was an empty line before.
        self._seen = 0
        self._since = 0.0
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
                if self._exchange is not None and self._exchange.isAnswered:
                    raise no.error from None
                dialogue.reject(no.status, no.error)
        if dialogue.isRefused:
            dialogue.drop(len(data))
            self._kept.clear()
            self.pieceBytes = PIECE_BYTES
        return bytes(passed)

    def _go(self, passed: bytearray) -> None:
        most = self.messages + MESSAGES_AT_ONCE
        goesOn = True
        while goesOn and self.messages < most and not self._dialogue.isRefused:
            goesOn = self._step(passed)
        self.pieceBytes = 0 if goesOn else PIECE_BYTES

    def _step(self, passed: bytearray) -> bool:
        """
        Pass a head on, or something of a body.

        @return: whether there may be something left to do.
        """
        exchange = self._exchange
        if exchange is None:
            return self._passHead(passed)
        if self._chunks is None:
            return self._passBody(exchange, passed)
        return self._passChunks(exchange, self._chunks, passed)

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
            if kept and not self._seen:
                self._since = dialogue.now
            elif kept and dialogue.now - self._since > HEAD_SECONDS:
                raise Rejected(_LATE, TimedOut(f"the head of a request took {HEAD_SECONDS:g} s"))
            self._seen = len(kept)
            return False
        text = kept[: end + len(_END)]
        del kept[: end + len(_END)]
        checkBytes(text, self._seen)
        self._seen, self._hasSkipped = 0, False
        if len(dialogue.due) >= MAX_DUE:
            raise Rejected(_UNAVAILABLE, Oversize(f"more than {MAX_DUE} requests without answer"))
        self.messages += MESSAGES_OF_A_HEAD + text.count(b"\r\n") // FIELDS_OF_A_MESSAGE
        head = Head(bytes(text))
        if head.upgrades and (dialogue.due or not dialogue.isCertain):
            # What is left of another response could be taken for a switch.  Whoever finds the
            # connection closed asks again, on another one (RFC 9112, section 9.3.1).
            raise Rejected(_NOTHING, Closed("it asks for another protocol behind other requests"))
        passed += head.write(self._told)
        exchange = Exchange(head.method, head.upgrades, head.isLast, isWhole=head.length == 0)
        dialogue.begin(exchange)
        if not exchange.isWhole:
            exchange.isWaiting = head.expects
            self._exchange = exchange
            self._missing = head.length or 0
            self._chunks = head.reader if head.length is None else None
        return bool(kept)

    def _passBody(self, exchange: Exchange, passed: bytearray) -> bool:
        part = self._takeKept(self._missing)
        if part:
            exchange.isWaiting = False
        if not exchange.isOver:
            passed += part
        self._missing -= len(part)
        if not self._missing:
            self._finish(exchange)
        return bool(self._kept)

    def _passChunks(self, exchange: Exchange, chunks: h11.Connection, passed: bytearray) -> bool:
        """
        RFC 9112, section 7.1: chunks of our own, without extensions.
        """
        content = bytearray()
        if exchange.isOver:
            passed = bytearray()
        if self._kept:
            exchange.isWaiting = False
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
            self._finish(exchange)
            return bool(self._kept)
        return goesOn

    def _finish(self, exchange: Exchange) -> None:
        exchange.isWhole = True
        self._exchange = self._chunks = None
        if exchange.isOver:
            self._dialogue.part()

    def flush(self) -> bytes:
        """
        The client has ended its direction: what it has not finished is nothing.
        """
        self._kept.clear()
        if not self.done:
            self._dialogue.ended()
        return b""
