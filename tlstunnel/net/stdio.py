"""
The one connection that somebody has made for us before we were started: a socket, as inetd and
systemd hand it down, or standard input and output, whatever these are.

What is no socket is carried to one by two threads, which wait for their descriptor and nothing
else: a file cannot be watched, and what is made not to wait would be so for the shell and everybody
else who has it, too.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from errno import ENOTCONN
from threading import Thread

from tlstunnel.address import Address, DescriptorAddress, UNIXAddress, addressOf
from tlstunnel.errors import ConfigurationError

#: Bytes that are carried at once at most.
CARRIED_BYTES = 65536

_INPUT, _OUTPUT = 0, 1

_REMEDY = "let whoever starts the tunnel give it a connection"

_FAMILIES = frozenset((socket.AF_INET, socket.AF_INET6, socket.AF_UNIX))


class Connection:
    """
    That connection.

    @ivar sock: it, non-blocking.
    @ivar peer: the other end.
    """

    def __init__(self, sock: socket.socket, peer: Address) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.peer = peer

    def begin(self, whenBroken: Callable[[str], object]) -> None:
        """
        Let C{sock} carry what is said.

        @param whenBroken: called, in any thread, with why nothing more can be read, where that is
            not the end.
        """

    def finish(self) -> str:
        """
        Once C{sock} is closed, wait until everything is delivered.

        @return: why not everything was; empty if it was.
        """
        return ""


class _Carried(Connection):
    """
    Standard input and output.
    """

    def __init__(self) -> None:
        sock, self._far = socket.socketpair()
        super().__init__(sock, UNIXAddress("stdio"))
        self._lost = ""
        self._out = Thread(target=self._carryOut, daemon=True)

    def begin(self, whenBroken: Callable[[str], object]) -> None:
        """
        See L{Connection.begin}.
        """
        Thread(target=self._carryIn, args=(whenBroken,), daemon=True).start()
        self._out.start()

    def _carryIn(self, whenBroken: Callable[[str], object]) -> None:
        """
        From standard input, to its end.
        """
        isTerminal = os.isatty(_INPUT)
        while True:
            try:
                data = _read()
            except OSError as error:
                whenBroken(f"standard input: {error.strerror}")
                return
            if isTerminal and not (data or os.isatty(_INPUT)):
                # It was hung up, which looks like an end for who reads.
                whenBroken("standard input: the terminal is gone")
                return
            try:
                if not data:
                    self._far.shutdown(socket.SHUT_WR)
                    return
                self._far.sendall(data)
            except OSError:
                # The connection is over.
                return

    def _carryOut(self) -> None:
        """
        To standard output, which ends when the connection does.
        """
        with suppress(OSError):
            while data := self._far.recv(CARRIED_BYTES):
                if not self._writes(data):
                    self._far.shutdown(socket.SHUT_RDWR)
                    return
        _leadNowhere(_OUTPUT)

    def _writes(self, data: bytes) -> bool:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(_OUTPUT, left) :]
            except BlockingIOError:
                select.select((), (_OUTPUT,), ())
            except OSError as error:
                self._lost = f"standard output: {error.strerror}"
                return False
        return True

    def finish(self) -> str:
        """
        See L{Connection.finish}: whoever reads standard output may take its time.
        """
        self._out.join()
        return self._lost


def _read() -> bytes:
    """
    What comes next of standard input; nothing at its end.

    @raise OSError: it cannot be read.
    """
    while True:
        try:
            return os.read(_INPUT, CARRIED_BYTES)
        except BlockingIOError:
            # Somebody else who has it wants it so.
            select.select((_INPUT,), (), ())


def connectionAt(address: DescriptorAddress) -> Connection:
    """
    The connection that C{address} means; it is ours from now on.

    @raise ConfigurationError: there is none.
    """
    if address.number is not None:
        if address.number == _INPUT:
            _checkStandard(address, sys.__stdin__, "input")
        return _handedDown(address.number, str(address))
    _checkStandard(address, sys.__stdin__, "input")
    _checkStandard(address, sys.__stdout__, "output")
    with suppress(OSError):
        ends = os.fstat(_INPUT), os.fstat(_OUTPUT)
        if os.path.samestat(*ends) and stat.S_ISSOCK(ends[0].st_mode):
            return _handedDown(_INPUT, str(address))
    return _Carried()


def _leadNowhere(descriptor: int) -> None:
    """
    Let go of what C{descriptor} is, and let nothing of ours become that.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _checkStandard(address: DescriptorAddress, stream: object, name: str) -> None:
    """
    What was closed before the start is C{None} to Python, and may be something of ours meanwhile.
    """
    if stream is None:
        raise ConfigurationError(f"`local` {address}", f"standard {name} is closed", _REMEDY)


def _handedDown(descriptor: int, name: str) -> Connection:
    """
    A connected socket.
    """
    subject = f"`local` {name}"
    try:
        found = os.fstat(descriptor)
    except OSError:
        raise ConfigurationError(subject, f"there is no descriptor {descriptor}", _REMEDY) from None
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigurationError(
            subject, f"descriptor {descriptor} is no socket", "give `local` stdio for two pipes"
        )
    sock = socket.socket(fileno=os.dup(descriptor))
    sock.set_inheritable(False)
    try:
        if sock.family not in _FAMILIES or sock.type != socket.SOCK_STREAM:
            raise ConfigurationError(
                subject,
                f"descriptor {descriptor} is a socket of another kind",
                "give a connection by TCP or at a UNIX socket",
            )
        peer = addressOf(sock.getpeername())
    except OSError as error:
        sock.close()
        listens = "it listens, or has no other end" if error.errno == ENOTCONN else error.strerror
        raise ConfigurationError(
            subject,
            f"descriptor {descriptor} is not connected: {listens}",
            "let inetd accept (nowait), or systemd (Accept=yes); or give `local` systemd:NAME",
        ) from None
    except ConfigurationError:
        sock.close()
        raise
    # It ends when we close it, and nothing that is printed gets there.
    for each in {descriptor, _INPUT, _OUTPUT}:
        with suppress(OSError):
            if os.path.samestat(os.fstat(each), found):
                _leadNowhere(each)
    return Connection(sock, peer)
