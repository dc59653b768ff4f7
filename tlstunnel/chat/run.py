"""
Running a chat script on a conversation: the steps, one after the other, up to the switch.

All state of a run is here; the script is shared by all runs.  A run ends where TLS may begin, or
with a L{TunnelError} whose detail begins with the exit code that chat(8) would have.  It knows a
conversation, and neither TLS nor what happens after the script.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.logger import Logger, LogLevel

from tlstunnel.chat.escapes import Pause
from tlstunnel.chat.match import Reports, Window
from tlstunnel.chat.parse import MAX_RECEIVED_BYTES
from tlstunnel.chat.steps import (
    Abort,
    ClearAbort,
    ClearReport,
    Echo,
    Expect,
    Report,
    Say,
    Script,
    Send,
    Step,
    Timeout,
)
from tlstunnel.errors import Closed, Oversize, Refused, TimedOut, TunnelError, quote
from tlstunnel.protocols.conversation import Conversation

#: The longest rest of a line that is read after the last expect, in bytes.
MAX_LINE_BYTES = 8192


class Run:
    """
    One run of a script on one connection.

    @param conversation: with whom; its C{maxBytes} must be at least the script's.
    @param log: where SAY, ECHO, REPORT and the dialogue go.
    @param peer: who connected to us, which stands before each of these.
    @param tunnel: what the log calls the tunnel, if it has a name.
    """

    def __init__(
        self,
        script: Script,
        conversation: Conversation,
        log: Logger,
        peer: str = "",
        tunnel: str = "",
    ) -> None:
        self._script = script
        self._conversation = conversation
        self._write: Callable[[bytes], None] = conversation.write
        self._log = log
        self._peer = peer or None
        self._tunnel = tunnel
        self._aborts: list[bytes] = []
        self._reports = Reports()
        self._timeout = script.timeout
        self._echo = script.echo
        self._most = self._allowed = script.maxBytes
        self._lastByte = b""
        expects = [index for index, step in enumerate(script.steps) if isinstance(step, Expect)]
        self._end = expects[-1] + 1 if expects else 0

    async def converse(self) -> None:
        """
        Do all steps up to the last expect, and complete the line that it ended in.

        @raise TunnelError: the script failed.
        """
        try:
            for step in self._script.steps[: self._end]:
                await self._do(step)
            if not self._script.binary:
                await self._completeLine()
        except Closed as error:
            raise _failed(Closed, 3, error.detail, error.said) from error
        finally:
            rest = self._reports.flush()
            if rest:
                self._logReport(rest)

    async def conclude(self, write: Callable[[bytes], None]) -> None:
        """
        Do the steps behind the last expect.

        @param write: sends what they send, in place of the conversation's own.
        @raise TunnelError: the script failed.
        """
        self._write = write
        for step in self._script.steps[self._end :]:
            await self._do(step)

    async def swallow(self) -> None:
        """
        With a backend: read what the peer was told by the script already, and drop it.

        @raise TunnelError: the backend said something else.
        """
        self._most = self._allowed = MAX_RECEIVED_BYTES
        for text in self._script.swallow:
            await self._find(text)
            if not self._script.binary and self._lastByte != b"\n":
                await self._endOfLine()

    async def _do(self, step: Step) -> None:
        match step:
            case Expect():
                await self._expect(step)
            case Send():
                await self._send(step)
            case Abort(text=text):
                self._aborts.append(text)
            case ClearAbort(text=text):
                self._aborts = [other for other in self._aborts if other != text]
            case Report(text=text):
                self._reports.add(text)
            case ClearReport(text=text):
                self._reports.clear(text)
            case Timeout(seconds=seconds):
                self._timeout = seconds
            case Echo(on=on):
                self._echo = on
            case Say(text=text):
                self._tell(LogLevel.info, f"chat: {quote(text)}")

    async def _expect(self, step: Expect) -> None:
        # An expect that reads nothing begins no line.
        self._lastByte = b""
        for attempt in step.attempts:
            self._logDialogue("expect", attempt.text)
            if not attempt.expected or await self._inTime(self._find(attempt.expected)):
                return
            if attempt.otherwise is None:
                raise _failed(TimedOut, 3, f"{quote(attempt.text)} did not come in time")
            await self._send(attempt.otherwise)

    async def _inTime(self, reading: Coroutine[Any, Any, None]) -> bool:
        """Await C{reading}; L{False} if the time for an expect passed first."""
        if self._timeout is None:
            await reading
            return True
        try:
            with self._conversation.within(self._timeout, "an expect") as limit:
                await reading
        except TimedOut:
            if not limit.hasPassed:
                raise
            return False
        return True

    async def _find(self, expected: bytes) -> None:
        window = Window(expected, self._aborts, self._reports)
        found = None
        while found is None:
            data = await self._conversation.readSome()
            found = window.feed(data[: self._allowed])
            self._consume(data, found.consumed if found else len(data))
            for report in window.reported:
                self._logReport(report)
        if found.abort is not None:
            string = quote(self._aborts[found.abort])
            raise _failed(Refused, 4 + found.abort, f"ABORT {string}", data)

    async def _completeLine(self) -> None:
        """
        Read what is left of the line that the last expect ended in: the go-ahead is a whole line.
        """
        if self._lastByte in (b"", b"\n"):
            return
        if not await self._inTime(self._endOfLine()):
            raise _failed(TimedOut, 3, "the last line did not end in time")

    async def _endOfLine(self) -> None:
        try:
            line = await self._conversation.readUntil(b"\n", MAX_LINE_BYTES)
        except Oversize as error:
            raise _failed(Oversize, 2, error.detail, error.said) from error
        self._consume(line, len(line))
        for report in self._reports.scan(bytearray(line), 0, len(line)):
            self._logReport(report)

    def _consume(self, data: bytes, count: int) -> None:
        """Take C{count} bytes of C{data}, which was just read; the others are read again."""
        self._conversation.putBack(data[count:])
        if count > self._allowed:
            raise _failed(Oversize, 2, f"more than {self._most} bytes")
        self._allowed -= count
        self._lastByte = data[count - 1 : count]
        if self._echo:
            self._tell(LogLevel.debug, f"chat received {quote(data[:count])}")

    async def _send(self, step: Send) -> None:
        self._logDialogue("send", b"??????" if step.secret else step.data)
        left: float | None = self._timeout
        self._conversation.isSecret = step.secret
        for part in step.parts:
            if isinstance(part, Pause):
                await self._pause(part.seconds)
                left = None if left is None else left - part.seconds
            elif left is not None and left <= 0:
                raise _failed(TimedOut, 1, "a send with its pauses took longer than TIMEOUT")
            else:
                self._write(part)
        self._conversation.isSecret = False

    async def _pause(self, seconds: float) -> None:
        try:
            with self._conversation.within(seconds, "a pause") as pause:
                await self._conversation.wait(lambda: None, reading=False)
        except TimedOut:
            if not pause.hasPassed:
                raise

    def _logReport(self, report: bytes) -> None:
        said = quote(report)
        self._tell(LogLevel.info, f"chat report: {said}", report=said)

    def _logDialogue(self, doing: str, text: bytes) -> None:
        if self._script.verbose:
            self._tell(LogLevel.debug, f"chat: {doing} {quote(text)}")

    def _tell(self, level: Any, text: str, **fields: str) -> None:
        text = f"{self._peer}: {text}" if self._peer else text
        about = {"peer": self._peer, "tunnel": self._tunnel or None}
        self._log.emit(level, "{text}", event="chat", **about, text=text, **fields)


def _failed(kind: type[TunnelError], code: int, detail: str, said: bytes = b"") -> TunnelError:
    """
    The failure of a script.

    @param kind: what names it in the log and the counters.
    @param code: the exit code of chat(8).
    """
    return kind(f"the script failed with code {code}: {detail}", said)
