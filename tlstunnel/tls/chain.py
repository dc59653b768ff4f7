"""
How OpenSSL asks about the certificates of a peer, within the handshake.

pyOpenSSL calls back for each certificate of a chain, and makes objects of all of them.  Most chains
were judged before, and their fingerprints say enough: so a chain that OpenSSL has accepted is taken
from it as a whole, when it comes to the peer's own certificate, which is the last.  That is done
through pyOpenSSL's binding, which is not public; where it is not what we know it to be, the public
callback hears of each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

from OpenSSL import SSL, crypto

from tlstunnel.tls.binding import fingerprint, fingerprintAt

_lib: Any
_ffi: Any
try:
    from OpenSSL.SSL import _ffi, _lib  # type: ignore[attr-defined,unused-ignore]
except ImportError:
    _ffi = _lib = None

VerifyCallback = Callable[[SSL.Connection, crypto.X509, int, int, int], bool]

_SETTING_ERRORS = (
    "SSL_CTX_set_verify",
    "SSL_get_ex_data_X509_STORE_CTX_idx",
    "X509_STORE_CTX_get_error_depth",
    "X509_STORE_CTX_get_ex_data",
    "X509_STORE_CTX_set_error",
)
_TAKING_CHAINS = (
    "X509_STORE_CTX_get1_chain",
    "X509_digest",
    "X509_free",
    "X509_up_ref",
    "sk_X509_free",
    "sk_X509_num",
    "sk_X509_value",
)


class AcceptedChain(Sequence[crypto.X509]):
    """
    A chain that OpenSSL has accepted: the peer's certificate first, the anchor last.  It is there
    as long as OpenSSL asks about it; its certificates are made when the first is looked at.

    @ivar prints: the fingerprint of each.
    """

    __slots__ = ("_made", "_pointers", "prints")

    def __init__(self, store: Any) -> None:
        """
        @param store: the C{X509_STORE_CTX} in which it was found.
        """
        stack = _lib.X509_STORE_CTX_get1_chain(store)
        self._pointers = [_lib.sk_X509_value(stack, at) for at in range(_lib.sk_X509_num(stack))]
        self._made: list[crypto.X509] | None = None
        # The store has references of its own.
        for each in self._pointers:
            _lib.X509_free(each)
        _lib.sk_X509_free(stack)
        self.prints = [fingerprintAt(each) for each in self._pointers]

    def __len__(self) -> int:
        return len(self.prints)

    @overload
    def __getitem__(self, index: int) -> crypto.X509: ...

    @overload
    def __getitem__(self, index: slice) -> list[crypto.X509]: ...

    def __getitem__(self, index: int | slice) -> crypto.X509 | list[crypto.X509]:
        if self._made is None:
            for each in self._pointers:
                _lib.X509_up_ref(each)
            make = crypto.X509._from_raw_x509_ptr
            self._made = [make(each) for each in self._pointers]
        return self._made[index]


def printsOf(chain: Sequence[crypto.X509]) -> list[bytes]:
    """
    The fingerprint of each certificate.
    """
    if isinstance(chain, AcceptedChain):
        return chain.prints
    return [fingerprint(each) for each in chain]


def setVerify(
    context: SSL.Context,
    verify: VerifyCallback,
    codeOf: Callable[[SSL.Connection], int],
    isOptional: bool = False,
    judge: Callable[[SSL.Connection, Sequence[crypto.X509]], bool] | None = None,
) -> None:
    """
    Demand a certificate of every peer, and let C{verify} judge it.

    OpenSSL chooses the alert by the error that it found.  Where it found none and C{verify} says
    no, it would be internal_error, as if there were a mistake on our side.

    @param codeOf: gives the error, of X509_verify_cert(3), that stands for such a refusal.
    @param isOptional: whether a client may have none.
    @param judge: asked about a whole chain that OpenSSL has accepted, where that can be had;
        C{verify} is told of errors alone then.  Neither raises anything.
    """
    without = 0 if isOptional else SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    context.set_verify(SSL.VERIFY_PEER | without, verify)
    judgeEach = getattr(context, "_verify_callback", None)
    connections = getattr(SSL.Connection, "_reverse_mapping", None)
    if judgeEach is None or connections is None or not _has(_SETTING_ERRORS):
        return
    index = _lib.SSL_get_ex_data_X509_STORE_CTX_idx()
    getData, getDepth = _lib.X509_STORE_CTX_get_ex_data, _lib.X509_STORE_CTX_get_error_depth

    def eachCertificate(accepted: int, store: Any) -> int:
        believed: int = judgeEach(accepted, store)
        if accepted and not believed:
            _lib.X509_STORE_CTX_set_error(store, codeOf(connections[getData(store, index)]))
        return believed

    def wholeChain(accepted: int, store: Any) -> int:
        assert judge is not None
        if not accepted:
            refused: int = judgeEach(accepted, store)
            return refused
        if getDepth(store):
            return 1
        connection = connections[getData(store, index)]
        if judge(connection, AcceptedChain(store)):
            return 1
        _lib.X509_STORE_CTX_set_error(store, codeOf(connection))
        return 0

    takesChains = hasattr(crypto.X509, "_from_raw_x509_ptr") and _has(_TAKING_CHAINS)
    decide = wholeChain if judge is not None and takesChains else eachCertificate
    callback = _ffi.callback("int (*)(int, X509_STORE_CTX *)", decide, error=0)
    _lib.SSL_CTX_set_verify(context._context, context.get_verify_mode(), callback)
    # It must live as long as the context; judgeEach does by being called from it.
    context._verify_callback = callback


def _has(names: Sequence[str]) -> bool:
    return all(hasattr(_lib, name) for name in names)
