"""
Pre-shared keys in OpenSSL, for which pyOpenSSL has no call.

They are reached through pyOpenSSL's binding, which is not public, so that it may lack something one
day: L{isThere} tells, and without it there are no such keys.

What OpenSSL calls here never raises, as nobody would hear of it: whoever is asked for a key has to
catch all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL

_lib: Any
_ffi: Any
try:
    from OpenSSL.SSL import _ffi, _lib  # type: ignore[attr-defined,unused-ignore]
except ImportError:
    _ffi = _lib = None

#: Gives the key of whom a client says that it is, by the name that it gives; empty for none.
KeyOfClient = Callable[[SSL.Connection, bytes], bytes]

_NEEDED = (
    "SSL_CTX_set_psk_client_callback",
    "SSL_CTX_set_psk_server_callback",
    "SSL_CTX_set_psk_find_session_callback",
    "Cryptography_SSL_SESSION_new",
    "SSL_SESSION_set1_master_key",
    "SSL_SESSION_set_cipher",
    "SSL_SESSION_set_protocol_version",
    "SSL_SESSION_free",
    "SSL_CIPHER_find",
    "SSL_session_reused",
    "SSL_version",
)

# TLS_AES_128_GCM_SHA256 stands for the hash of a key in TLS 1.3, which is SHA-256 where nobody says
# more (RFC 8446, section 4.2.11); with it go all suites of that hash.
_SHA256 = b"\x13\x01"
_TLS_1_2, _TLS_1_3 = 0x0303, 0x0304


def isThere() -> bool:
    """
    Whether all is there that is needed.
    """
    connections = getattr(SSL.Connection, "_reverse_mapping", None)
    has = getattr(_lib, "Cryptography_HAS_PSK", 1), getattr(_lib, "Cryptography_HAS_PSK_TLSv1_3", 1)
    return (
        connections is not None
        and hasattr(SSL.Context(SSL.TLS_METHOD), "_context")
        and all(has)
        and all(hasattr(_lib, each) for each in _NEEDED)
    )


def useKey(context: SSL.Context, name: bytes, key: bytes) -> None:
    """
    Let the clients of a context have one key.

    @param name: what the identity that has it is called.
    """

    def answer(_: Any, __: Any, identity: Any, most: int, psk: Any, longest: int) -> int:
        if len(name) >= most or len(key) > longest:
            return 0
        _ffi.memmove(identity, name + b"\0", len(name) + 1)
        _ffi.memmove(psk, key, len(key))
        return len(key)

    # It serves both versions: in TLS 1.3 OpenSSL takes the key for one with SHA-256.
    asked = _ffi.callback(
        "unsigned int (*)(SSL *, const char *, char *, unsigned int, unsigned char *, unsigned "
        "int)",
        answer,
        error=0,
    )
    _lib.SSL_CTX_set_psk_client_callback(context._context, asked)
    _keep(context, asked)


def findKeys(context: SSL.Context, find: KeyOfClient) -> None:
    """
    Let the servers of a context ask for the key of a client.

    @param find: raises nothing.
    """
    connections: Any = SSL.Connection._reverse_mapping

    def answer(ssl: Any, identity: Any, psk: Any, longest: int) -> int:
        # OpenSSL asks here as well for what was not found in TLS 1.3.
        if identity == _ffi.NULL or _lib.SSL_version(ssl) != _TLS_1_2:
            return 0
        key = find(connections[ssl], _ffi.string(identity))
        if len(key) > longest:
            return 0
        _ffi.memmove(psk, key, len(key))
        return len(key)

    def findSession(ssl: Any, identity: Any, size: int, session: Any) -> int:
        session[0] = _ffi.NULL
        key = find(connections[ssl], bytes(_ffi.buffer(identity, size)))
        if key:
            session[0] = _sessionOf(ssl, key)
        return 1

    asked = _ffi.callback(
        "unsigned int (*)(SSL *, const char *, unsigned char *, unsigned int)", answer, error=0
    )
    found = _ffi.callback(
        "int (*)(SSL *, const unsigned char *, size_t, SSL_SESSION **)", findSession, error=0
    )
    _lib.SSL_CTX_set_psk_server_callback(context._context, asked)
    _lib.SSL_CTX_set_psk_find_session_callback(context._context, found)
    _keep(context, asked, found)


def _sessionOf(ssl: Any, key: bytes) -> Any:
    """
    A key in the form that TLS 1.3 has for it; whoever gets it frees it.
    """
    session = _lib.Cryptography_SSL_SESSION_new()
    if session == _ffi.NULL:
        return session
    isGood = (
        _lib.SSL_SESSION_set1_master_key(session, key, len(key)) == 1
        and _lib.SSL_SESSION_set_cipher(session, _lib.SSL_CIPHER_find(ssl, _SHA256)) == 1
        and _lib.SSL_SESSION_set_protocol_version(session, _TLS_1_3) == 1
    )
    if isGood:
        return session
    _lib.SSL_SESSION_free(session)
    return _ffi.NULL


def _keep(context: SSL.Context, *callbacks: Any) -> None:
    """
    They must live as long as the context.
    """
    context._presharedKeys = callbacks  # type: ignore[attr-defined]


def isByKey(connection: SSL.Connection) -> bool:
    """
    Whether a handshake that is complete has proved that the peer has the key, in a context that
    gives no tickets: in TLS 1.3 OpenSSL calls that a session that was resumed.
    """
    ssl = getattr(connection, "_ssl", None)
    if ssl is None:
        return False
    if _lib.SSL_version(ssl) >= _TLS_1_3:
        return bool(_lib.SSL_session_reused(ssl))
    return "PSK" in (connection.get_cipher_name() or "")
