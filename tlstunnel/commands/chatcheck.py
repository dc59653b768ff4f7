"""
The C{chat-check} command: reads a chat script, explains it step by step, and says what in it will
surprise.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from tlstunnel.chat.advice import advise, shown
from tlstunnel.chat.escapes import Pause, Values
from tlstunnel.chat.parse import ScriptOptions, parseScript
from tlstunnel.chat.source import readFile, readScript, readyScripts
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
    Side,
    Step,
    Timeout,
)
from tlstunnel.chat.words import ScriptError
from tlstunnel.program.syntax import ProgramOptions


class ChatCheckOptions(ProgramOptions):
    """
    The options of C{chat-check}.
    """

    arguments = ("FILE",)
    optFlags = [
        ["server", "s", "Read it as with -s: the script plays the server."],
        ["client", "c", "Read it as with -c, which is the default."],
        ["chat-strict", None, "Read it as with --chat-strict."],
        ["chat-files", None, "Read it as with --chat-files."],
    ]
    optParameters = [
        ["remote", "T", "remote.example", "What \\T stands for."],
        ["local", "U", "local.example", "What \\U stands for."],
    ]

    def __init__(self) -> None:
        super().__init__()
        self.longdesc = "FILE may also be a ready script: " + ", ".join(readyScripts())

    def getSynopsis(self) -> str:
        """
        How it is called.
        """
        return "Usage: tlstunnel chat-check [options] FILE"

    @property
    def settings(self) -> ScriptOptions:
        """
        How to read the script.
        """
        side: Side = "server" if self["server"] else "client"
        return ScriptOptions(
            side=side,
            values=Values(os.fsencode(self["remote"]), os.fsencode(self["local"])),
            strict=bool(self["chat-strict"]),
            readFile=readFile if self["chat-files"] else None,
        )


def explain(script: Script) -> Iterator[str]:
    """
    The script in words, line by line.
    """
    yield f"{script.name}: " + (
        "plays the server, before TLS" if script.side == "server" else "talks to the server"
    )
    yield f"in all at most {script.total} s, and {script.maxBytes} bytes received"
    timeout = script.timeout
    aborts: list[bytes] = []
    for number, step in enumerate(script.steps, 1):
        match step:
            case Timeout(seconds=seconds):
                timeout = seconds
            case Abort(text=text):
                aborts.append(text)
            case ClearAbort(text=text):
                aborts = [other for other in aborts if other != text]
        place = f"{step.word.position.line}:{step.word.position.column}"
        yield f"{number:4}  {place:7} {_inWords(step, timeout, len(aborts))}"
    yield from _ending(script)


def _inWords(step: Step, timeout: int | None, aborts: int) -> str:
    match step:
        case Expect():
            return _expect(step, timeout)
        case Send():
            return _send(step)
        case Abort(text=text):
            return f"from now on, {shown(text)} ends the script with code {3 + aborts}"
        case ClearAbort(text=text):
            return f"{shown(text)} ends it no longer; ABORT strings left: {aborts}"
        case Report(text=text):
            return f"log {shown(text)} with the rest of its line, once"
        case ClearReport(text=text):
            return f"do not log {shown(text)} any more"
        case Timeout(seconds=seconds):
            return f"from now on, {seconds} s for each expect string"
        case Echo(on=on):
            return "log what is received" if on else "log no longer what is received"
        case Say(text=text):
            return f"log {shown(text)}"


def _expect(step: Expect, timeout: int | None) -> str:
    if step.idle:
        return "expect nothing: go on at once"
    limit = "" if timeout is None else f" up to {timeout} s"
    text = ""
    for attempt in step.attempts:
        text += f"wait{limit} for {shown(attempt.expected)}"
        if attempt.otherwise is None:
            return text + ", else fail with code 3"
        text += f"; if it does not come, {_send(attempt.otherwise)} and "
    return text + "go on"


def _send(step: Send) -> str:
    if not step.parts:
        return "send nothing"
    parts = []
    for part in step.parts:
        if isinstance(part, Pause):
            parts.append(f"pause {part.seconds:g} s")
        else:
            parts.append(f"send {shown(part)}" + (" (not shown in logs)" if step.secret else ""))
    return ", ".join(parts)


def _ending(script: Script) -> Iterator[str]:
    if not script.binary:
        yield "behind the last expect: read to the end of its line"
    yield "then nothing may be left unread, and TLS begins"
    if script.greeting is not None:
        yield "inside TLS: make sure that the server stays silent, and then"
        yield f"  give the app {shown(script.greeting)}"
    elif script.side == "client":
        yield "inside TLS: the app hears what the server says"
    for text in script.swallow:
        line = "" if script.binary else " and the rest of its line"
        yield f"from the backend: drop all up to {shown(text)}{line}"


def main(options: ChatCheckOptions) -> int:
    """
    Explain a script.

    @return: 0, or 1 if the script cannot be run.
    """
    try:
        script = parseScript(*readScript(options["file"]), options.settings)
    except ScriptError as error:
        word = f"\n  the word is: {shown(error.word)}" if error.word else ""
        print(f"{error}{word}", file=sys.stderr)
        return 1
    for line in explain(script):
        print(line)
    for notice in advise(script):
        print(f"warning: {notice}")
    return 0
