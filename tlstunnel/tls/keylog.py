"""
The secrets of TLS connections, for who looks at their packets: the lines that Wireshark, and NSS,
call a key log.

With them anybody who has recorded a connection can read all of it.
"""

from __future__ import annotations

from pathlib import Path

from OpenSSL import SSL

from tlstunnel.tls.notes import Notes


class KeyLog:
    """
    Writes down the secrets of the connections of contexts.
    """

    def __init__(self, path: Path) -> None:
        self.notes = Notes(path, "key-log")

    def use(self, context: SSL.Context) -> None:
        """
        Write down those of C{context}, which has not made any yet.
        """
        context.set_keylog_callback(self._write)

    def _write(self, connection: SSL.Connection, line: bytes) -> None:
        self.notes.write(line)
