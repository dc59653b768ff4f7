"""
What becomes a program: sets what only a process itself can set, and then is that program.

Python runs this file by its path (C{-I -S}), in a process that was started without a copy of ours,
so that a large process starts programs as fast as a small one.  It imports nothing that would take
long, and nothing of ours::

    launcher.py user=UID:GID:GROUP,GROUP limit=NUMBER:VALUE terminal=80x24 PATH NAME ARGUMENTS

Where it fails it says so on standard error, and ends as C{env} of the system does: with 125, or 126
if there is such a program, and it cannot be executed, or 127 if there is none.

With a terminal, the program is the one process that whoever started us knows, with its status and
its signals.  Another one, which nobody has to wait for, carries bytes between the socket and the
terminal.
"""

from __future__ import annotations

import fcntl
import os
import resource
import select
import signal
import struct
import sys
import termios

# What we end with where the program never was.
OURS, NOT_EXECUTABLE, MISSING = 125, 126, 127

# Bytes that wait in each direction of a terminal.
_ROOM = 65536


def main(words: list[str]) -> int:
    """
    Be the program.

    @return: the status to end with, as it could not be.
    """
    settings: dict[str, list[str]] = {"user": [], "limit": [], "terminal": []}
    while words and words[0].partition("=")[0] in settings:
        key, _, value = words.pop(0).partition("=")
        settings[key].append(value)
    # Python ignores these, and who is executed would go on doing so.
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(ignored, signal.SIG_DFL)
    # Python sets it where there is no locale.
    os.environ.pop("LC_CTYPE", None)
    path, *arguments = words
    complaints = os.dup(2)
    try:
        for each in settings["user"]:
            _become(each)
        for each in settings["terminal"]:
            _onTerminal(each)
        for each in settings["limit"]:
            number, _, value = each.partition(":")
            resource.setrlimit(int(number), (int(value), int(value)))
        os.execv(path, arguments)  # noqa: S606 - that is what this is for
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        os.write(complaints, f"{path} cannot be started: {why}\n".encode())
        if isinstance(error, FileNotFoundError):
            return MISSING
        return NOT_EXECUTABLE if isinstance(error, PermissionError) else OURS


def _become(user: str) -> None:
    """
    Be somebody else, for good.

    @param user: numbers: of the user, its group, and all its groups.
    """
    uid, gid, rest = user.split(":")
    groups = [int(each) for each in rest.split(",") if each]
    os.setgroups(groups)
    os.setgid(int(gid))
    os.setuid(int(uid))
    isBecome = os.getuid() == os.geteuid() == int(uid) and os.getgid() == os.getegid() == int(gid)
    if not isBecome or {*os.getgroups()} - {*groups, int(gid)}:
        raise PermissionError(1, "the user could not be changed")
    if int(uid):
        try:
            os.setuid(0)
        except OSError:
            return
        raise PermissionError(1, "the user could be changed back")


def _onTerminal(size: str) -> None:
    """
    Have a terminal of our own as standard input, output and error.

    @param size: columns and rows.
    """
    columns, _, rows = size.partition("x")
    program = os.getpid()
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", int(rows), int(columns), 0, 0))
    if not os.fork():
        # The one in between begins anew, so that it is nobody's child.
        if os.fork():
            os._exit(0)
        os.setsid()
        os.close(slave)
        _carry(master, program)
        os._exit(0)
    os.wait()
    os.close(master)
    # Whoever started us has given us a session.
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for number in range(3):
        os.dup2(slave, number)
    os.close(slave)


def _carry(master: int, program: int) -> None:
    """
    Carry bytes between the socket, which is standard input and output, and a terminal, until nobody
    is left there, or at the other end, or the program has ended: what it leaves in the background
    may have the terminal for long.

    @param program: the number of its process.
    """
    os.set_blocking(0, False)
    os.set_blocking(master, False)
    typed, shown = b"", b""
    isAtLineBegin, isTyping = True, True
    poll = select.poll()
    try:
        end = os.pidfd_open(program)
        poll.register(end, select.POLLIN)
    except (AttributeError, OSError):
        end = -1
    while True:
        poll.register(0, _events(isTyping and len(typed) < _ROOM, bool(shown)))
        poll.register(master, _events(len(shown) < _ROOM, bool(typed)))
        found = dict(poll.poll())
        if found.get(master, 0) & ~select.POLLOUT or end in found:
            data = _read(master)
            if data:
                shown += data
            elif data is not None or end in found:
                # Nobody is left: what was shown last goes out.
                os.set_blocking(0, True)
                while shown:
                    shown = shown[os.write(0, shown) :]
                return
        if isTyping and found.get(0, 0) & ~select.POLLOUT:
            data = _read(0)
            if data:
                typed += data
                isAtLineBegin = data.endswith((b"\n", b"\r"))
            elif data is not None:
                isTyping = False
                last = _endOf(master)
                if not last:
                    # To close a terminal hangs it up.
                    return
                typed += last if isAtLineBegin else last + last
        if found.get(0, 0) & select.POLLERR:
            return
        typed = _write(master, typed)
        shown = _write(0, shown)


def _events(reads: bool, writes: bool) -> int:
    return (select.POLLIN if reads else 0) | (select.POLLOUT if writes else 0)


def _read(number: int) -> bytes | None:
    try:
        return os.read(number, _ROOM)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _write(number: int, data: bytes) -> bytes:
    """
    Write what there is room for.

    @return: the rest.
    """
    try:
        return data[os.write(number, data) :] if data else data
    except BlockingIOError:
        return data


def _endOf(master: int) -> bytes:
    """
    What whoever types says at the end, as the terminal is set now; nothing where it is raw.
    """
    attributes = termios.tcgetattr(master)
    isCanonical = attributes[3] & termios.ICANON
    end = attributes[6][termios.VEOF]
    return end if isCanonical and isinstance(end, bytes) else b""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
