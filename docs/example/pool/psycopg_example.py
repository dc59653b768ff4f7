"""
Ask a PostgreSQL server that proves who it is, with C{psycopg}.

libpq makes its connections itself, and takes no socket from anybody.  But it can be told where to
connect to, and so there is a UNIX socket for it, in a directory that nobody else can enter; behind
that a thread connects to the server, lets the pool do the STARTTLS of PostgreSQL, and passes on
what comes.  Where a tunnel can be started beside the program, no such thread is needed:
C{tlstunnel -c -l DIRECTORY/.s.PGSQL.5432 -r HOST:5432 --starttls postgresql} does the same.  To run
it, with the password in C{PGPASSWORD}::

    python3 psycopg_example.py db.example.org 5432 john books "SELECT title FROM book"
"""

from __future__ import annotations

import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from tlstunnel.client import asClient


@contextmanager
def throughPool(host: str, port: int, remote: str) -> Iterator[str]:
    """
    Let libpq reach a server by the pool.

    @return: what to give libpq for the host; the port is 5432.
    """
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{directory}/.s.PGSQL.5432")
        listening.listen()

        def serve() -> None:
            # More than one may come: to cancel a query needs a connection of its own.
            with suppress(OSError):
                while True:
                    ours, _ = listening.accept()
                    threading.Thread(target=connect, args=(ours,), daemon=True).start()

        def connect(ours: socket.socket) -> None:
            with ours:
                try:
                    server = socket.create_connection((host, port), 15)
                    plain = asClient(server, remote, starttls="postgresql")
                except OSError as error:
                    sys.stderr.write(f"{host}, port {port}: {error}\n")
                    return
                with plain:
                    plain.settimeout(None)
                    up = threading.Thread(target=copy, args=(ours, plain), daemon=True)
                    up.start()
                    copy(plain, ours)
                    up.join()

        threading.Thread(target=serve, daemon=True).start()
        yield directory
        # That wakes the thread, which closing does not.
        listening.shutdown(socket.SHUT_RDWR)


def copy(source: socket.socket, target: socket.socket) -> None:
    """
    Pass on one direction, and its end; or a cut, which libpq knows from an end by itself: that is a
    message in its protocol.
    """
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def main(host: str, port: str, user: str, database: str, query: str, name: str = "") -> None:
    """
    Print the first column of what is found.
    """
    with (
        throughPool(host, int(port), name or host) as where,
        psycopg.connect(host=where, port=5432, user=user, dbname=database) as connection,
    ):
        for row in connection.execute(query.encode()):
            sys.stdout.write(f"{row[0]}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
