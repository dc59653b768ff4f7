"""
A server that floods the tunnel in client mode that connects to it.

    python -m benchmarks.hostile --tls CHAIN KEY --flood NAME --flag FILE --hostile PEM

It prints its port on loopback and ends when its standard input does.  Each connection has a process
of its own.  While C{FILE} is there, whoever connects is flooded: has to verify the certificate in
C{PEM}, or gets the records of the flood.  Everybody else gets an answer to every line with a NOOP.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import socket
import ssl
import tempfile
from pathlib import Path

from benchmarks.floods import Flood
from benchmarks.records import Writer, logging, writtenSecret
from benchmarks.tlsfloods import TLSFlood, flood

_PATIENCE_SECONDS = 30.0
_ANSWER = Flood().answer


def _context(chain: str, key: str | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    context.num_tickets = 0
    return context


def answer(connection: ssl.SSLSocket) -> None:
    """Answer until the other end closes."""
    heard = b""
    while data := connection.recv(1 << 16):
        lines, newline, heard = (heard + data).rpartition(b"\n")
        connection.sendall(_ANSWER * (lines + newline).count(b"NOOP"))


def deliver(connection: socket.socket, data: bytes) -> None:
    """Send C{data}, whatever comes meanwhile, and wait until the other end has closed."""
    left = memoryview(data)
    poll = select.poll()
    poll.register(connection, select.POLLIN | select.POLLOUT)
    connection.setblocking(False)
    while found := poll.poll(_PATIENCE_SECONDS * 1000):
        ready = found[0][1]
        if ready & ~select.POLLOUT and not connection.recv(1 << 16):
            return
        if ready & select.POLLOUT:
            left = left[connection.send(left) :]
            if not left:
                poll.modify(connection, select.POLLIN)


def pour(accepted: socket.socket, of: TLSFlood, context: ssl.SSLContext) -> None:
    """Pour the flood, with an answer behind it."""
    assert of.pour is not None
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "secrets"
        secured = logging(context, log).wrap_socket(accepted, server_side=True)
        writer = Writer(writtenSecret(log, isServer=True))
    with socket.socket(fileno=secured.detach()) as connection:
        deliver(connection, of.pour(writer) + writer.data(_ANSWER))


def serve(
    accepted: socket.socket,
    of: TLSFlood,
    isHostile: bool,
    good: ssl.SSLContext,
    hostile: ssl.SSLContext,
) -> None:
    """Serve whoever has connected, or flood it."""
    accepted.settimeout(_PATIENCE_SECONDS)
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if isHostile:
        # Whoever waits for an answer meanwhile is on the same core, and has to have it first.
        os.nice(10)
        if of.pour is not None:
            pour(accepted, of, good)
            return
    with (hostile if isHostile else good).wrap_socket(accepted, server_side=True) as secured:
        if isHostile:
            secured.sendall(_ANSWER)
        answer(secured)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tls", nargs=2, required=True, metavar=("CHAIN", "KEY"))
    parser.add_argument("--flood", type=flood, required=True)
    parser.add_argument("--flag", type=Path, required=True)
    parser.add_argument("--hostile", required=True)
    options = parser.parse_args()
    good, hostile = _context(*options.tls), _context(options.hostile)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(listener.getsockname()[1], flush=True)
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(0, select.POLLIN | select.POLLHUP)
    while True:
        if 0 in [descriptor for descriptor, _ in poll.poll()]:
            return
        accepted, _ = listener.accept()
        isHostile = options.flag.exists()
        with accepted:
            if os.fork() == 0:
                with contextlib.suppress(OSError, EOFError):
                    serve(accepted, options.flood, isHostile, good, hostile)
                os._exit(0)


if __name__ == "__main__":
    main()
