"""
What OpenSSL knows and pyOpenSSL has no call for: the words for its numbers, the alert that a
refusal of ours sends, a fast fingerprint.

It is reached through pyOpenSSL's binding, which is not public.  So each function here does without,
as well as that can be done, where the binding is not what we know it to be.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any

from OpenSSL import SSL, crypto

_lib: Any
_ffi: Any
try:
    from OpenSSL.SSL import _ffi, _lib  # type: ignore[attr-defined,unused-ignore]
except ImportError:
    _ffi = _lib = None

#: X509_PURPOSE_SSL_CLIENT and X509_PURPOSE_SSL_SERVER of X509_check_purpose(3).
CLIENTS, SERVERS = 1, 2

#: Whether L{isResumed} knows.
TELLS_RESUMPTION = hasattr(_lib, "SSL_session_reused")

#: Whether L{setAsked} can do anything.
TELLS_ASKED = hasattr(_lib, "SSL_CTX_set_cert_cb") and hasattr(SSL.Connection, "_reverse_mapping")

_TELLS_GROUP = hasattr(_lib, "SSL_get0_group_name")
_HAS_MODES = hasattr(_lib, "SSL_clear_mode") and hasattr(_lib, "SSL_MODE_AUTO_RETRY")

_TLS_1_3 = int(SSL.TLS1_3_VERSION)

# The number of the library that does TLS, and what its reasons for alerts begin at; see
# ERR_PACK(3) and SSL_AD_REASON_OFFSET in OpenSSL's ssl.h.
_ERR_LIB_SSL = 20
_ALERT_REASONS = 1000

_VerifyCallback = Callable[[SSL.Connection, crypto.X509, int, int, int], bool]


def fingerprint(certificate: crypto.X509) -> bytes:
    """
    What no other certificate has: its SHA-256, or all of it.
    """
    if not (hasattr(_lib, "X509_digest") and hasattr(certificate, "_x509")):
        return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
    return fingerprintAt(certificate._x509)


def fingerprintAt(certificate: Any) -> bytes:
    """
    The same of a certificate of OpenSSL's own.
    """
    method, digest, length = _digest()
    if _lib.X509_digest(certificate, method, digest, length) != 1 or length[0] != 32:
        raise ValueError("a certificate has no fingerprint")
    return bytes(_ffi.buffer(digest))


def isResumed(connection: SSL.Connection) -> bool:
    """
    Whether a handshake that is complete has resumed a session; where that cannot be asked, none may
    be offered.
    """
    ssl = getattr(connection, "_ssl", None)
    return ssl is not None and TELLS_RESUMPTION and _lib.SSL_session_reused(ssl) == 1


def sizeOfSession(session: SSL.Session) -> int:
    """
    How many bytes a session takes, with its ticket (i2d_SSL_SESSION(3)); 0 where that cannot be
    asked.
    """
    if not (hasattr(_lib, "i2d_SSL_SESSION") and hasattr(session, "_session")):
        return 0
    size: int = _lib.i2d_SSL_SESSION(session._session, _ffi.NULL)
    return size


def peerFingerprint(connection: SSL.Connection) -> bytes:
    """
    The L{fingerprint} of what the peer has shown, in this connection or in that which it resumes;
    empty where it has shown nothing.
    """
    shown = connection.get_peer_certificate()
    return b"" if shown is None else fingerprint(shown)


@cache
def _digest() -> tuple[Any, Any, Any]:
    """
    SHA-256, and where it is put, which is used again and again.
    """
    method = _lib.EVP_get_digestbyname(b"sha256")
    return method, _ffi.new("unsigned char[]", 32), _ffi.new("unsigned int *")


def returnAfterEachRecord(connection: SSL.Connection) -> None:
    """
    Let OpenSSL come back after each record.  pyOpenSSL tells it to read on behind one without data,
    so that one call works through all that a peer sends of them.
    """
    if _HAS_MODES:
        _lib.SSL_clear_mode(connection._ssl, _lib.SSL_MODE_AUTO_RETRY)


def negotiated(connection: SSL.Connection) -> tuple[str, str, str]:
    """
    Version, cipher suite and key agreement of a connection whose handshake is complete; empty where
    there is none.
    """
    ssl = getattr(connection, "_ssl", None)
    if ssl is None or not _TELLS_GROUP:
        return _negotiated(connection)
    # The same few again and again: to make their words anew costs more than to look them up.
    group = _lib.SSL_get0_group_name(ssl)
    key = _lib.SSL_version(ssl), _lib.SSL_get_current_cipher(ssl), group and _ffi.string(group)
    found = _found.get(key)
    if found is None:
        found = _found[key] = _negotiated(connection)
    return found


def _negotiated(connection: SSL.Connection) -> tuple[str, str, str]:
    return (
        connection.get_protocol_version_name(),
        connection.get_cipher_name() or "",
        connection.get_group_name() or "",
    )


_found: dict[tuple[Any, ...], tuple[str, str, str]] = {}


def verifyErrorText(code: int) -> str:
    """
    What OpenSSL says of an error of X509_verify_cert(3); empty where it cannot be asked.
    """
    if not hasattr(_lib, "X509_verify_cert_error_string"):
        return ""
    return str(_ffi.string(_lib.X509_verify_cert_error_string(code)).decode("ascii", "replace"))


@cache
def alertReasons() -> dict[str, int]:
    """
    The number of the alert (RFC 8446, section 6) for each reason that OpenSSL gives where a peer
    has sent one; nothing where it cannot be asked.  It has these words from its first context on.
    """
    found: dict[str, int] = {}
    if not hasattr(_lib, "ERR_reason_error_string"):
        return found
    for number in range(256):
        text = _lib.ERR_reason_error_string(_ERR_LIB_SSL << 23 | _ALERT_REASONS + number)
        if text:
            found[_ffi.string(text).decode("ascii", "replace")] = number
    return found


def setPurpose(store: crypto.X509Store, purpose: int) -> None:
    """
    Let a store demand that certificates are for C{purpose}, L{CLIENTS} or L{SERVERS}.

    @raise NotImplementedError: where that cannot be done.
    """
    if not (hasattr(_lib, "X509_STORE_set_purpose") and hasattr(store, "_store")):
        raise NotImplementedError("this pyOpenSSL knows no purposes of certificates")
    if _lib.X509_STORE_set_purpose(store._store, purpose) != 1:
        raise ValueError("no such purpose")


def heldStore(context: SSL.Context) -> crypto.X509Store | None:
    """
    Where C{context} looks up anchors, which stays as long as what is returned; C{None} if that
    cannot be had.
    """
    if not all(hasattr(_lib, name) for name in _SHARING):
        return None
    store = _lib.SSL_CTX_get_cert_store(context._context)
    if _lib.X509_STORE_up_ref(store) != 1:
        return None
    held = crypto.X509Store.__new__(crypto.X509Store)
    held._store = _ffi.gc(store, _lib.X509_STORE_free)
    return held


def shareStore(context: SSL.Context, held: crypto.X509Store) -> bool:
    """
    Let C{context} look up anchors in what L{heldStore} has given of another one.

    @return: whether that can be done.
    """
    sharing = all(hasattr(_lib, name) for name in _SHARING)
    if not (sharing and _lib.X509_STORE_up_ref(held._store) == 1):
        return False
    # That takes the reference over.
    _lib.SSL_CTX_set_cert_store(context._context, held._store)
    return True


_SHARING = (
    "SSL_CTX_get_cert_store",
    "SSL_CTX_set_cert_store",
    "X509_STORE_free",
    "X509_STORE_up_ref",
)


def systemPlaces() -> tuple[str, ...]:
    """
    The files and directories where C{set_default_verify_paths} looks for the anchors of the system;
    none where they are not known.
    """
    if not (hasattr(_lib, "X509_get_default_cert_file") and hasattr(SSL, _FILES)):
        return ()
    told = [os.environ.get(name, "") for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")]
    built = _lib.X509_get_default_cert_file(), _lib.X509_get_default_cert_dir()
    own = [_ffi.string(each).decode(errors="surrogateescape") for each in built]
    # A directory may be several.
    several = [each for text in (*told, *own) for each in text.split(":") if each]
    return tuple(several) + tuple(getattr(SSL, _FILES)) + tuple(getattr(SSL, _FOLDERS))


_FILES, _FOLDERS = "_CERTIFICATE_FILE_LOCATIONS", "_CERTIFICATE_PATH_LOCATIONS"


def setServerName(context: SSL.Context, choose: Callable[[SSL.Connection], int | None]) -> None:
    """
    Let C{choose} do what is due for the name that a client asks for, or for none.

    pyOpenSSL knows one alert for a refusal, unrecognized_name, and shows the error to
    C{sys.excepthook}.

    @param choose: gives the alert that refuses the client, else C{None}; raises nothing.
    """
    if getattr(SSL.Connection, "_reverse_mapping", None) is None or not all(
        hasattr(_lib, name) for name in _SERVER_NAMES
    ):

        def refuse(connection: SSL.Connection) -> None:
            if choose(connection) is not None:
                raise SSL.Error("the client is refused")

        context.set_tlsext_servername_callback(refuse)
        return
    _lib.SSL_CTX_set_tlsext_servername_callback(context._context, _serverName(choose))


@cache
def _serverName(choose: Callable[[SSL.Connection], int | None]) -> Any:
    """
    One for all contexts, as there may be thousands.
    """
    connections = SSL.Connection._reverse_mapping

    def answer(ssl: Any, alert: Any, _: Any) -> int:
        refusal = choose(connections[ssl])
        if refusal is None:
            return 0
        alert[0] = refusal
        fatal: int = _lib.SSL_TLSEXT_ERR_ALERT_FATAL
        return fatal

    return _ffi.callback("int (*)(SSL *, int *, void *)", answer, error=_FATAL)


_SERVER_NAMES = ("SSL_CTX_set_tlsext_servername_callback", "SSL_TLSEXT_ERR_ALERT_FATAL")
_FATAL = 2


def beginsAgain(connection: SSL.Connection) -> bool:
    """
    Whether a client that is asked by which name it comes (L{setServerName}) will be told to begin
    again (RFC 8446, section 4.1.4), as it has sent no key share that is taken; C{False} where that
    cannot be known.  At no other time: OpenSSL crashes where there is no session yet.
    """
    if not _TELLS_GROUP:
        return False
    ssl = connection._ssl
    return _lib.SSL_version(ssl) >= _TLS_1_3 and not _lib.SSL_get0_group_name(ssl)


def setAsked(context: SSL.Context, asked: Callable[[SSL.Connection], None]) -> None:
    """
    Tell C{asked} of each connection of a client's C{context} whose server wants a certificate;
    nothing happens where it cannot be told (L{TELLS_ASKED}).

    @param asked: the same for all contexts; raises nothing.
    """
    if TELLS_ASKED:
        _lib.SSL_CTX_set_cert_cb(context._context, _asked(asked), _ffi.NULL)


@cache
def _asked(asked: Callable[[SSL.Connection], None]) -> Any:
    connections = SSL.Connection._reverse_mapping

    def tell(ssl: Any, _: Any) -> int:
        asked(connections[ssl])
        return 1

    return _ffi.callback("int (*)(SSL *, void *)", tell, error=1)


def changeContext(
    connection: SSL.Connection, context: SSL.Context, verify: _VerifyCallback
) -> None:
    """
    Let C{connection} be one of C{context}, also in whether it demands a certificate: OpenSSL leaves
    that as it was.

    @param verify: what the context has been given for L{tlstunnel.tls.chain.setVerify}.
    """
    connection.set_context(context)
    mode = context.get_verify_mode()
    judge = getattr(context, "_verify_callback", None)
    if mode == SSL.VERIFY_NONE:
        connection.set_verify(mode)
    elif judge is None or not hasattr(_lib, "SSL_set_verify"):
        connection.set_verify(mode, verify)
    else:
        _lib.SSL_set_verify(connection._ssl, mode, judge)


_MessageCallback = Callable[[SSL.Connection, bool, int, bytes, int], None]


def setMessages(context: SSL.Context, hear: _MessageCallback, most: int) -> bool:
    """
    Tell C{hear} of each message that the connections of C{context} send or receive: whether it is
    ours, the type of its content, its first bytes, C{most} of them, and its size.

    @param hear: the same for all contexts; raises nothing.
    @return: whether that can be done.
    """
    connections = getattr(SSL.Connection, "_reverse_mapping", None)
    if connections is None or not hasattr(_lib, "SSL_CTX_set_msg_callback"):
        return False
    _lib.SSL_CTX_set_msg_callback(context._context, _messages(hear, most))
    return True


@cache
def _messages(hear: _MessageCallback, most: int) -> Any:
    connections = SSL.Connection._reverse_mapping

    def tell(ours: int, _: int, content: int, start: Any, size: int, ssl: Any, __: Any) -> None:
        # What is above one byte is no content, but tells of records.
        if content <= 0xFF:
            connection = connections.get(ssl)
            if connection is not None:
                begins = bytes(_ffi.buffer(start, min(size, most)))
                hear(connection, bool(ours), content, begins, size)

    return _ffi.callback("void (*)(int, int, int, const void *, size_t, SSL *, void *)", tell)
