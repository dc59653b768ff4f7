"""
What an HTTP server answers: it passes as it is, and is read only as far as it takes to know which
request it belongs to, and where it ends (RFC 9112, section 6.3).
"""

from __future__ import annotations

import re

import h11

from tlstunnel.errors import Malformed, Oversize, TunnelError
from tlstunnel.protocols.filters import Filter
from tlstunnel.reveal.httpdialogue import Dialogue, Exchange
from tlstunnel.reveal.httpheads import reasonOf

#: Bytes that are taken at once, and what one call does of them: a head counts as several messages,
#: and so do many lines of one, since they take as long.
PIECE_BYTES = 16384
MESSAGES_AT_ONCE = 16
MESSAGES_OF_A_HEAD = 4
LINES_OF_A_MESSAGE = 4

#: The most bytes of the head of a response, and the most lines.
MAX_HEAD_BYTES = 65536
MAX_HEAD_LINES = 1000

_SWITCHING_PROTOCOLS = 101
_REQUEST_TIMEOUT = 408
_WITHOUT_BODY = (204, 304)

# RFC 9112, section 4.
_BEGINNING = b"HTTP/"

# What ends a head, to h11 too.
_END = re.compile(rb"\n\r?\n")


class Responses(Filter):
    """
    Passes responses, in step with the requests.
    """

    def __init__(self, dialogue: Dialogue) -> None:
        super().__init__()
        self.pieceBytes = PIECE_BYTES
        self._dialogue = dialogue
        # What reads a head, or a body in chunks; and how much it has of what is kept here.
        self._reader: h11.Connection | None = None
        self._read = 0
        # What the response belongs to whose body passes, and what is missing of that.
        self._exchange: Exchange | None = None
        self._isInChunks = False
        self._missing = 0
        self._wrong: TunnelError | None = None

    def feed(self, data: bytes) -> bytes:
        """
        Go on with what arrived, as far as one call may.

        @raise Malformed: the backend is out of step.
        @raise Oversize: the head of a response, or what ends its body, has too many lines.
        """
        if self._wrong is not None:
            raise self._wrong
        dialogue = self._dialogue
        self._kept += data
        passed = bytearray()
        most = self.messages + MESSAGES_AT_ONCE
        goesOn = True
        try:
            while goesOn and self.messages < most and not dialogue.isOver:
                goesOn = self._step(passed)
        except (Malformed, Oversize) as error:
            if not passed:
                raise
            # Not before that has passed.
            self._wrong = error
        if dialogue.isOver:
            self._kept.clear()
            goesOn = False
        self.pieceBytes = 0 if goesOn else PIECE_BYTES
        return bytes(passed)

    def _step(self, passed: bytearray) -> bool:
        """
        Pass a head, or something of a body.

        @return: whether there may be something left to do.
        """
        if self._missing:
            self._passBody(passed)
            return bool(self._kept)
        if not self._kept:
            return False
        try:
            return self._passChunk(passed) if self._isInChunks else self._passHead(passed)
        except h11.RemoteProtocolError as error:
            why = f"not a response of HTTP/1: {reasonOf(error)}"
            raise Malformed(why, bytes(self._kept[:200])) from None

    def _next(self, reader: h11.Connection) -> object:
        """
        What comes next, of all that is kept.
        """
        if self._read < len(self._kept):
            reader.receive_data(bytes(self._kept[self._read :]))
            self._read = len(self._kept)
        return reader.next_event()

    def _passRead(self, reader: h11.Connection, passed: bytearray) -> None:
        """
        Pass on what the reader has read of what is kept.
        """
        self._read = len(reader.trailing_data[0])
        end = len(self._kept) - self._read
        passed += self._kept[:end]
        del self._kept[:end]

    def _passBody(self, passed: bytearray) -> None:
        part = self._takeKept(self._missing)
        passed += part
        self._missing -= len(part)
        if not self._missing:
            self._finish()

    def _passChunk(self, passed: bytearray) -> bool:
        reader = self._reader
        assert reader is not None
        event = self._next(reader)
        self.messages += 1
        self._passRead(reader, passed)
        if event is h11.NEED_DATA:
            # Else trailers, which are read once they are whole.
            self._countLines()
        elif isinstance(event, h11.EndOfMessage):
            self._finish()
        return event is not h11.NEED_DATA

    def _passHead(self, passed: bytearray) -> bool:
        due = self._dialogue.due
        if not self._kept.startswith(_BEGINNING[: len(self._kept)]):
            # h11 would wait for the end of a head, which another protocol does not have.
            raise Malformed("not a response of HTTP/1", bytes(self._kept[:200]), cause="no HTTP")
        if self._reader is None:
            self._reader = _readerFor(due[0] if due else None)
        lines = self._countLines()
        event = self._next(self._reader)
        if event is h11.NEED_DATA:
            return False
        assert isinstance(event, h11.Response | h11.InformationalResponse)
        self.messages += MESSAGES_OF_A_HEAD + lines // LINES_OF_A_MESSAGE
        self._exchange = due[0] if due else None
        if self._exchange is None and event.status_code != _REQUEST_TIMEOUT:
            # RFC 9110, section 15.5.9: whoever waits in vain may say so.
            raise Malformed("a response that nobody has asked for", bytes(self._kept[:200]))
        if event.status_code == _SWITCHING_PROTOCOLS:
            self._switch(event)
        self._passRead(self._reader, passed)
        if isinstance(event, h11.Response):
            self._delimit(event)
        else:
            if self._exchange is not None:
                self._exchange.isWaiting = False
            self._reset()
        return bool(self._kept) and not self.done

    def _countLines(self) -> int:
        """
        How many lines there are of the head, or of the trailers, that have begun.

        @raise Oversize: these are too many.
        """
        end = _END.search(self._kept)
        lines = self._kept.count(b"\n", 0, end.end() if end is not None else len(self._kept))
        if lines > MAX_HEAD_LINES:
            raise Oversize(
                f"more than {MAX_HEAD_LINES} lines in the head of a response, or in its trailers"
            )
        return lines

    def _switch(self, response: h11.Response | h11.InformationalResponse) -> None:
        """
        RFC 9110, section 7.8: from here on they speak WebSocket.
        """
        exchange = self._exchange
        protocols = [value.lower() for name, value in response.headers if name == b"upgrade"]
        if exchange is None or not exchange.upgrades or protocols != [b"websocket"]:
            raise Malformed("the backend switches to what nobody has asked for")
        if self._dialogue.isRefused:
            raise Malformed("the client has spoken before it was known in which protocol")
        self._dialogue.hasSwitched = self.done = True

    def _delimit(self, response: h11.Response) -> None:
        """
        RFC 9112, section 6.3.
        """
        exchange = self._exchange
        if exchange is not None:
            exchange.isAnswered = True
        fields = {name.lower(): value for name, value in response.headers.raw_items()}
        isHEAD = exchange is not None and exchange.method == b"HEAD"
        if isHEAD or response.status_code in _WITHOUT_BODY:
            self._dialogue.isCertain = False
            self._finish()
        elif b"transfer-encoding" in fields:
            self._isInChunks = True
        elif b"content-length" not in fields:
            # It ends with the connection, and no other follows.
            self.done = True
        else:
            self._missing = int(fields[b"content-length"])
            if self._missing:
                self._reset()
            else:
                self._finish()

    def _finish(self) -> None:
        self._reset()
        if self._exchange is not None:
            self._exchange = None
            self._dialogue.finish()

    def _reset(self) -> None:
        self._reader = None
        self._read = 0
        self._isInChunks = False

    def flush(self) -> bytes:
        """
        The backend has ended, which cuts what it has not finished; or all that follows passes.
        """
        if not self.done:
            self._kept.clear()
        return super().flush()


def _readerFor(exchange: Exchange | None) -> h11.Connection:
    """
    What reads a response to C{exchange}.
    """
    reader = h11.Connection(h11.CLIENT, MAX_HEAD_BYTES)
    if exchange is not None and exchange.upgrades:
        reader.send(_UPGRADE)
        reader.send(h11.EndOfMessage())
    else:
        reader.send(_REQUEST)
    return reader


# What it needs to know of a request: where nothing is asked for it takes 101 for an error.
_REQUEST = h11.Request(method="GET", target="/", headers=[("Host", "backend")])
_UPGRADE = h11.Request(
    method="GET",
    target="/",
    headers=[("Host", "backend"), ("Connection", "Upgrade"), ("Upgrade", "websocket")],
)
