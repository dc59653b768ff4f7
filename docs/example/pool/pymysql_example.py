"""
Ask a MariaDB or MySQL server that proves who it is, with C{pymysql}.

It takes a socket from whoever has one.  To run it::

    python3 pymysql_example.py db.example.org 3306 john books "SELECT title FROM book" < password
"""

from __future__ import annotations

import socket
import sys

import pymysql

from tlstunnel.client import asClient


def main(host: str, port: str, user: str, database: str, query: str, name: str = "") -> None:
    """
    Print the first column of what is found; the password is on standard input.
    """
    server = socket.create_connection((host, int(port)), 15)
    plain = asClient(server, name or host, starttls="mysql")
    password = sys.stdin.readline().rstrip("\n")
    connection = pymysql.connect(
        user=user, password=password, database=database, ssl_disabled=True, defer_connect=True
    )
    connection.connect(sock=plain)
    with connection, connection.cursor() as cursor:
        cursor.execute(query)
        for row in cursor.fetchall():
            sys.stdout.write(f"{row[0]}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
