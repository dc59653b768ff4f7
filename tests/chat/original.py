"""
The real chat(8) and ours, on the same script with the same peer, for comparing them.

chat(8) runs on a pseudo-terminal, ours on a test clock.  What chat(8) left unread is read from the
terminal after it, so that not only what it said but also how much it took can be compared.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import tempfile
import termios
import time
import tty
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, Logger

from tests.chat.wire import drive, makeConversation
from tlstunnel.chat.escapes import Values
from tlstunnel.chat.parse import ScriptOptions, parseScript, parseWords
from tlstunnel.chat.run import Run
from tlstunnel.chat.words import ScriptError, argumentWords
from tlstunnel.errors import quote

CHAT = shutil.which("chat", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


# Each report is printed with the time of day.
_REPORT = re.compile(rb"chat:  \w\w\w \d\d \d\d:\d\d:\d\d (.*)\n")


@dataclass(frozen=True)
class Case:
    """
    One comparison.

    @ivar script: a script file, or a list of words.
    @ivar says: what the peer says at once.
    @ivar replies: what it says once it has received so many bytes in all.
    @ivar strict: whether ours reads it with --chat-strict.
    @ivar t: the value of -T.
    @ivar u: the value of -U.
    @ivar environment: for -E, which is given if there is one.
    """

    script: bytes | tuple[bytes, ...]
    says: bytes = b""
    replies: tuple[tuple[int, bytes], ...] = ()
    strict: bool = False
    t: bytes | None = None
    u: bytes | None = None
    environment: tuple[tuple[bytes, bytes], ...] | None = None


@dataclass(frozen=True)
class Result:
    """
    What came of it.

    @ivar code: the exit code.
    @ivar sent: all bytes sent.
    @ivar unread: what the peer said and the script did not take.
    @ivar reports: what REPORT logged.
    """

    code: int
    sent: bytes
    unread: bytes
    reports: tuple[str, ...] = ()


def ours(case: Case) -> Result:
    """Run our chat."""
    options = ScriptOptions(
        side="server",
        strict=case.strict,
        values=Values(case.t, case.u, dict(case.environment) if case.environment else None),
    )
    try:
        if isinstance(case.script, bytes):
            script = parseScript(case.script, "case", options)
        else:
            script = parseWords(argumentWords(case.script), "case", options)
    except ScriptError:
        return Result(1, b"", case.says)
    script = replace(script, binary=True, total=100000)
    conversation, wire, clock = makeConversation()
    events: list[LogEvent] = []
    run = Run(script, conversation, Logger(observer=events.append))  # type: ignore[arg-type]

    async def whole() -> None:
        await run.converse()
        await run.conclude(conversation.write)

    pending = list(case.replies)

    def answers(data: bytes) -> None:
        while pending and len(wire.written) >= pending[0][0]:
            wire.later([(0, pending.pop(0)[1])])

    wire.answers = answers
    wire.deliver(case.says)
    error = drive(clock, Deferred.fromCoroutine(whole()))
    code = 0
    if error is not None:
        found = re.search("code ([0-9]+)", error.detail)
        assert found is not None, error
        code = int(found[1])
    clock.advance(0)
    reports = tuple(event["report"][1:-1] for event in events if "report" in event)
    return Result(code, wire.written, conversation.residue + bytes(wire.kernel), reports)


def original(case: Case, limit: float = 30.0) -> Result:
    """
    Run the real chat(8) on a pseudo-terminal.

    @param limit: seconds after which it is killed, which fails the comparison.
    """
    assert CHAT is not None
    master, slave = pty.openpty()
    try:
        tty.setraw(slave)
        os.write(master, case.says)
        with tempfile.TemporaryDirectory() as directory:
            return _result(case, master, slave, Path(directory), limit)
    finally:
        os.close(master)
        os.close(slave)


def _result(case: Case, master: int, slave: int, directory: Path, limit: float) -> Result:
    assert CHAT is not None
    command = [os.fsencode(CHAT), b"-S"]
    if case.t is not None:
        command += [b"-T", case.t]
    if case.u is not None:
        command += [b"-U", case.u]
    if case.environment is not None:
        command.append(b"-E")
    if isinstance(case.script, bytes):
        file = directory / "script"
        file.write_bytes(case.script)
        command += [b"-f", os.fsencode(file)]
    else:
        command += case.script
    errors = directory / "errors"
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=stderr,
            env=dict(case.environment or ()),
            start_new_session=True,
        )
    sent = bytearray()
    pending = list(case.replies)
    end = time.monotonic() + limit
    exited = False
    while True:
        # Once more after it has ended: its last bytes may still lie in the terminal.
        readable = bool(select.select([master], [], [], 0 if exited else 0.02)[0])
        if readable:
            sent += os.read(master, 65536)
            while pending and len(sent) >= pending[0][0]:
                os.write(master, pending.pop(0)[1])
        elif exited:
            break
        exited = exited or process.poll() is not None
        if not exited and time.monotonic() > end:
            process.kill()
            process.wait()
            raise AssertionError(f"chat(8) still runs after {limit} s: {case}")
    tty.setraw(slave, termios.TCSANOW)
    unread = bytearray()
    os.set_blocking(slave, False)
    while select.select([slave], [], [], 0)[0]:
        unread += os.read(slave, 65536)
    reports = tuple(quote(found)[1:-1] for found in _REPORT.findall(errors.read_bytes()))
    return Result(process.returncode, bytes(sent), bytes(unread), reports)


def differences(cases: Sequence[Case]) -> list[tuple[Case, Result, Result]]:
    """
    Compare all C{cases}, many at a time.

    chat(8) measures its time-outs by the clock of this machine, so that what differs is compared
    once more, alone.

    @return: those that differ, each with our result and that of chat(8).
    """
    with ThreadPoolExecutor(24) as pool:
        results = list(pool.map(original, cases))
    found = []
    for case, theirs in zip(cases, results, strict=True):
        mine = ours(case)
        if not agree(mine, theirs):
            again = original(case)
            if not agree(mine, again):
                found.append((case, mine, again))
    return found


def agree(mine: Result, theirs: Result) -> bool:
    """
    Whether both did the same.

    When chat(8) ends within a report it first reads the rest of that line, which we leave alone.
    """
    if mine.reports and theirs.reports and mine.unread.endswith(theirs.unread):
        taken = mine.unread[: len(mine.unread) - len(theirs.unread)]
        rest = quote(taken.rstrip(b"\t\r\n"))[1:-1]
        theirs = replace(theirs, unread=mine.unread)
        mine = replace(mine, reports=(*mine.reports[:-1], mine.reports[-1] + rest))
    return mine == theirs
