"""
What stands for the library of the TLS Pool in these tests.

It makes and reads frames by the measured table of offsets, and nothing of our own code; it takes
for a frame whatever one C{recvmsg} gives it, and has no room for descriptors there.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FRAME = 388
BASE = -1167372288

RECORDINGS = Path(__file__).with_name("recordings")

#: For each kind of frame: its fields, their offsets and their form.
HEADER = {"reqid": (0, "=H"), "cbid": (2, "=H"), "cmd": (4, "=I")}
ERROR = {"tlserrno": (8, "=i"), "message": (12, "=128s")}
PING = {"producer": (8, "=136s"), "facilities": (144, "=I")}
STARTTLS = {
    "flags": (8, "=I"),
    "local": (12, "=I"),
    "ipproto": (16, "=B"),
    "streamid": (18, "=H"),
    "localid": (20, "=128s"),
    "remoteid": (148, "=128s"),
    "ctlkey": (276, "=16s"),
    "service": (292, "=16s"),
    "timeout": (308, "=I"),
}
PINENTRY = {
    "flags": (8, "=I"),
    "attempt": (12, "=I"),
    "timeout": (16, "=I"),
    "pin": (20, "=128s"),
    "prompt": (148, "=128s"),
    "manufacturer": (276, "=36s"),
    "model": (312, "=20s"),
    "serial": (332, "=20s"),
    "label": (352, "=36s"),
}
CONTROL = {"flags": (8, "=I"), "ctlkey": (12, "=16s"), "name": (28, "=128s")}
PRNG = {
    "labelBytes": (8, "=h"),
    "contextBytes": (10, "=h"),
    "wantedBytes": (12, "=h"),
    "buffer": (14, "=350s"),
}
INFO = {"ctlkey": (8, "=16s"), "kind": (24, "=I"), "size": (28, "=H"), "buffer": (30, "=334s")}

Layout = dict[str, tuple[int, str]]


def build(layout: Layout, **fields: Any) -> bytes:
    """
    A frame with these fields, and zeros elsewhere.
    """
    frame = bytearray(FRAME)
    for name, value in fields.items():
        offset, form = {**HEADER, **layout}[name]
        struct.pack_into(form, frame, offset, value)
    return bytes(frame)


def read(layout: Layout, frame: bytes) -> dict[str, Any]:
    """
    The fields of a frame; of texts what is before the NUL, but for keys and buffers.
    """
    assert len(frame) == FRAME, len(frame)
    fields: dict[str, Any] = {}
    for name, (offset, form) in {**HEADER, **layout}.items():
        (value,) = struct.unpack_from(form, frame, offset)
        if isinstance(value, bytes) and name not in ("ctlkey", "buffer"):
            value = value.partition(b"\0")[0]
        fields[name] = value
    return fields


class Refused(Exception):
    """
    The pool has answered with an ERROR.
    """

    def __init__(self, frame: bytes) -> None:
        found = read(ERROR, frame)
        super().__init__(found["tlserrno"], found["message"].decode())
        self.number: int = found["tlserrno"]
        self.sentence: str = found["message"].decode()


class Library:
    """
    A program's connection to the pool.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    @classmethod
    def connect(cls, path: str) -> Library:
        """
        Connect as the library does where the pool is there.
        """
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(20)
        sock.connect(path)
        return cls(sock)

    def send(self, frame: bytes, *descriptors: int) -> None:
        """
        One sendmsg.
        """
        rights = struct.pack(f"{len(descriptors)}i", *descriptors)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else []
        assert self.sock.sendmsg([frame], ancillary) == len(frame)

    def receive(self) -> bytes:
        """
        One recvmsg, which has to be a frame.
        """
        frame, ancillary, flags, _ = self.sock.recvmsg(FRAME)
        assert not ancillary and not flags, (ancillary, flags)
        if frame:
            assert len(frame) == FRAME, len(frame)
        return frame

    def startTLS(self, crypt: socket.socket, **fields: Any) -> tuple[dict[str, Any], socket.socket]:
        """
        The whole exchange, with a plaintext socket that is made when the pool asks for it, or for
        the local identity; the copies of both sockets are closed as soon as the next frame comes.

        @return: the answer, and our end of the plaintext.
        """
        fields = {"cmd": 0x24, "ipproto": 6, "ctlkey": os.urandom(16)} | fields
        self.send(build(STARTTLS, **fields), crypt.fileno())
        copies = [crypt]
        ours: socket.socket | None = None
        while True:
            frame = self.receive()
            for each in copies:
                each.close()
            copies.clear()
            if not frame:
                raise EOFError
            found = read(STARTTLS, frame)
            assert found["reqid"] == fields.get("reqid", 0)
            if found["cmd"] == 1:
                raise Refused(frame)
            if not found["cbid"]:
                assert found["cmd"] == 0x24
                assert ours is not None
                return found, ours
            assert found["cmd"] in (0x28, 0x2A)
            if ours is None:
                ours, theirs = socket.socketpair()
                ours.settimeout(20)
                copies.append(theirs)
                self.send(frame, theirs.fileno())
            else:
                self.send(frame)

    def ask(self, layout: Layout, **fields: Any) -> dict[str, Any]:
        """
        A request without a descriptor, and its answer.
        """
        self.send(build(layout, **fields))
        frame = self.receive()
        if read(HEADER, frame)["cmd"] == 1:
            raise Refused(frame)
        return read(layout, frame)

    def close(self) -> None:
        """
        Close the connection.
        """
        self.sock.close()


@dataclass
class Recorded:
    """
    One frame of a recording.
    """

    isOurs: bool
    note: str
    frame: bytes


def recording(name: str) -> list[Recorded]:
    """
    The frames of one file.
    """
    found: list[Recorded] = []
    for line in (RECORDINGS / f"{name}.txt").read_text("ascii").splitlines():
        if re.match(r"\s*(#|$)", line):
            continue
        head = re.fullmatch(r"(->|<-) ?(.*)", line)
        if head:
            found.append(Recorded(head[1] == "->", head[2], bytes(FRAME)))
            continue
        at, row = line.split(maxsplit=1)
        offset, data = int(at, 16), bytes.fromhex(row)
        before = found[-1].frame
        found[-1].frame = before[:offset] + data + before[offset + len(data) :]
    assert all(len(each.frame) == FRAME for each in found)
    return found
