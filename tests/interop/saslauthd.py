"""
Answers as saslauthd does, for one account, beside the server that asks; a program::

    python saslauthd.py SOCKET USER PASSWORD COMMAND...
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO


def main(path: str, user: str, password: str, *command: str) -> None:
    """
    Start the server, and answer it.
    """
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    Path(path).chmod(0o777)
    listening.listen()
    subprocess.Popen(command)
    while True:
        accepted, _ = listening.accept()
        with accepted, accepted.makefile("rb") as asked:
            # A user, a password, a service and a realm.
            fields = [_field(asked) for _ in range(4)]
            answer = b"OK" if fields[:2] == [user.encode(), password.encode()] else b"NO"
            print(f"{fields[0]!r} logs in by {fields[2]!r}: {answer!r}", flush=True)
            accepted.sendall(struct.pack("!H", len(answer)) + answer)


def _field(asked: BinaryIO) -> bytes:
    (length,) = struct.unpack("!H", asked.read(2))
    return asked.read(length)


if __name__ == "__main__":
    main(*sys.argv[1:])
