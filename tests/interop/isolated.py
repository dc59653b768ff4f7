"""
Runs a server that listens on all addresses where nobody reaches it but through a socket on
loopback; a program, to be run by C{unshare -n}::

    unshare -n python isolated.py DESCRIPTOR PORT COMMAND...

The descriptor listens outside of the network namespace that is made for the server; whoever
connects there is led to the server's port inside.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time


def main(descriptor: str, port: str, *command: str) -> None:
    """
    Start the server, and lead everybody to it.
    """
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.Popen(command)
    listening = socket.socket(fileno=int(descriptor))
    while True:
        accepted, _ = listening.accept()
        threading.Thread(target=_serve, args=(accepted, int(port)), daemon=True).start()


def _serve(accepted: socket.socket, port: int) -> None:
    with accepted, contextlib.suppress(OSError), _connect(port) as inside:
        there = threading.Thread(target=_copy, args=(accepted, inside), daemon=True)
        there.start()
        _copy(inside, accepted)
        there.join()


def _connect(port: int) -> socket.socket:
    """The server may not listen yet, or again."""
    for _ in range(100):
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port))
        time.sleep(0.05)
    raise ConnectionRefusedError


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main(*sys.argv[1:])
