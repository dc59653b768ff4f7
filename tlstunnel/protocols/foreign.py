"""
Telling protocols apart by their first bytes (rule 13).
"""

from __future__ import annotations

from tlstunnel.errors import ForeignProtocol

# What TLS on TCP begins with; the third byte tells it from a length in a binary protocol.
_TLS_RECORDS = (b"\x16\x03\x01", b"\x16\x03\x02", b"\x16\x03\x03")

_HTTP_METHODS = (
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"PUT ",
    b"OPTIONS ",
    b"CONNECT ",
    b"DELETE ",
    b"PRI ",
)


def rejectForeign(start: bytes) -> None:
    """
    Look at what a client says first (rule 13).

    @param start: its first line, or as much of it as there is.
    @raise ForeignProtocol: if it is of a protocol that none of ours can be taken for.
    """
    if start.startswith(b"\x16"):
        raise ForeignProtocol(
            "the client starts TLS at once: this port speaks its protocol in clear first",
            start,
            cause="TLS",
        )
    if start.startswith(_HTTP_METHODS) or start.endswith((b" HTTP/1.1", b" HTTP/1.0")):
        raise ForeignProtocol("the client speaks HTTP", start)
    if start.startswith(b"SSH-"):
        raise ForeignProtocol("the client speaks SSH", start)


def startsTLS(start: bytes) -> bool | None:
    """
    Whether C{start} begins TLS on TCP; C{None} where that cannot be said yet.
    """
    if start in (b"\x16", b"\x16\x03"):
        return None
    return start.startswith(_TLS_RECORDS)
