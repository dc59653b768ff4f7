"""
The application protocol that a server selects from what a client offers (RFC 7301).

pyOpenSSL makes a list of the whole offer, and copies what is left of it for each protocol, which
takes the square of their number.  So the offer is read here, once, and no more of it than anybody
needs.  That is done through pyOpenSSL's binding, which is not public; where it is not what we know
it to be, pyOpenSSL reads the offer.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL

from tlstunnel.errors import TLSFailed

if TYPE_CHECKING:
    from tlstunnel.tls.session import Session

_lib: Any
_ffi: Any
try:
    from OpenSSL.SSL import _ffi, _lib  # type: ignore[attr-defined,unused-ignore]
except ImportError:
    _ffi = _lib = None

#: The protocols of an offer that are looked at.  Clients know less than ten.
MOST_OFFERED = 100

# What SSL_CTX_set_alpn_select_cb(3) wants to be told, by their names in OpenSSL's ssl.h.
_OK, _FATAL, _IGNORED = 0, 2, 3


class _NoCommonProtocol(SSL.Error):
    """
    Raised in pyOpenSSL's callback: it sends alert 120 (RFC 7301, section 3.2).
    """


def selectProtocols(context: SSL.Context) -> None:
    """
    Let the connections of a context select what their session says.
    """
    isKnown = hasattr(_lib, "SSL_CTX_set_alpn_select_cb")
    if isKnown and hasattr(SSL.Connection, "_reverse_mapping"):
        _lib.SSL_CTX_set_alpn_select_cb(context._context, _callback(), _ffi.NULL)
    else:
        context.set_alpn_select_callback(_selectFrom)


@cache
def _callback() -> Any:
    """
    One for all contexts, as there may be thousands.
    """
    connections = SSL.Connection._reverse_mapping

    def answer(ssl: Any, chosen: Any, size: Any, offer: Any, length: int, _: Any) -> int:
        session: Session = connections[ssl].get_app_data()
        if not session.offered:
            return _IGNORED
        places = _read(bytes(_ffi.buffer(offer, length)))
        name = _choose(session, places)
        if name is None:
            return _FATAL
        # OpenSSL copies it as soon as it is told.
        chosen[0] = offer + places[name]
        size[0] = len(name)
        return _OK

    kind = (
        "int (*)(SSL *, unsigned char **, unsigned char *, const unsigned char *, unsigned int, "
        "void *)"
    )
    return _ffi.callback(kind, answer, error=_FATAL)


def _read(offer: bytes) -> dict[bytes, int]:
    """
    The protocols of an offer that are looked at, and where each begins: behind a byte that has its
    length, as OpenSSL has seen to.
    """
    places: dict[bytes, int] = {}
    at = 0
    for _ in range(MOST_OFFERED):
        if at == len(offer):
            break
        begin = at + 1
        at = begin + offer[at]
        places.setdefault(offer[begin:at], begin)
    return places


def _choose(session: Session, offered: Collection[bytes]) -> bytes | None:
    """
    The first of ours that is among those of the client.

    @return: C{None} if there is none, of which the session knows then.
    """
    for name in session.offered:
        if name in offered:
            return name
    session.refusal = TLSFailed(
        "the client offers only other application protocols", b",".join(offered)
    )
    return None


def _selectFrom(
    connection: SSL.Connection, offered: list[bytes]
) -> bytes | SSL._NoOverlappingProtocols:
    session: Session = connection.get_app_data()
    if not session.offered:
        return SSL.NO_OVERLAPPING_PROTOCOLS
    name = _choose(session, offered[:MOST_OFFERED])
    if name is None:
        raise _NoCommonProtocol([("SSL routines", "", "no application protocol")])
    return name
