"""
The only module that touches OpenSSL: contexts, creators of connections, and what a session was.

A context is made once from what the administrator configured, never changed after its first use,
and shared by all connections of its tunnel.  A L{Creator} makes the connections of one context; a
L{Session} is what is known of one connection: what was demanded of its peer, whether that was met,
and which TLS it became.  The chain is judged by OpenSSL, the identity by L{tlstunnel.verify}, both
within the handshake, so that a peer that is not believed gets a fatal alert and nothing else.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from OpenSSL import SSL, crypto
from twisted.logger import Logger

from tlstunnel.address import TCPAddress
from tlstunnel.errors import (
    ForeignProtocol,
    IdentityRefused,
    Reset,
    TLSFailed,
    Truncated,
    TunnelError,
    quote,
)
from tlstunnel.identity import Identity, Selector
from tlstunnel.pool import Anchors, Credentials
from tlstunnel.verify import coversName, verifyIdentity

try:
    from OpenSSL.SSL import _ffi, _lib  # type: ignore[attr-defined]
except ImportError:  # These are not public: see recordReader.
    _ffi = _lib = None

WantRead = SSL.WantReadError
WantWrite = SSL.WantWriteError
CleanEnd = SSL.ZeroReturnError
SSLError = SSL.Error
SSLContext = SSL.Context
SENT_SHUTDOWN = SSL.SENT_SHUTDOWN

_log = Logger()

# Mozilla's "intermediate" recommendation, version 6.0; in each list the client's order counts.
_CIPHERS_1_2 = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
_CIPHERS_1_3 = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

_VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}

# X509_V_ERR_EE_KEY_TOO_SMALL, which pyOpenSSL has no name for.
_KEY_TOO_SMALL = 66

# What X509_verify_cert(3) says most often, in words for an administrator.
_VERIFY_ERRORS = {
    SSL.X509VerificationCodes.ERR_CERT_HAS_EXPIRED: "the certificate has expired",
    SSL.X509VerificationCodes.ERR_CERT_NOT_YET_VALID: "the certificate is not yet valid",
    SSL.X509VerificationCodes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: (
        "the certificate is self-signed, and no anchor"
    ),
    SSL.X509VerificationCodes.ERR_SELF_SIGNED_CERT_IN_CHAIN: "the chain ends in an unknown CA",
    SSL.X509VerificationCodes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: (
        "the issuer is unknown, or an intermediate certificate is missing"
    ),
    SSL.X509VerificationCodes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: "the issuer is unknown",
    SSL.X509VerificationCodes.ERR_CERT_SIGNATURE_FAILURE: "a signature in the chain is wrong",
    SSL.X509VerificationCodes.ERR_INVALID_CA: "an issuer in the chain is not a CA",
    SSL.X509VerificationCodes.ERR_INVALID_PURPOSE: "the certificate is not for this purpose",
    SSL.X509VerificationCodes.ERR_PATH_LENGTH_EXCEEDED: "the chain is longer than its CA permits",
    SSL.X509VerificationCodes.ERR_CERT_REVOKED: "the certificate was revoked",
    SSL.X509VerificationCodes.ERR_KEYUSAGE_NO_CERTSIGN: "an issuer may not sign certificates",
    SSL.X509VerificationCodes.ERR_UNHANDLED_CRITICAL_EXTENSION: (
        "a certificate has a critical extension that nobody knows"
    ),
    SSL.X509VerificationCodes.ERR_PERMITTED_VIOLATION: (
        "a name constraint of its CA is violated: not permitted"
    ),
    SSL.X509VerificationCodes.ERR_EXCLUDED_VIOLATION: (
        "a name constraint of its CA is violated: excluded"
    ),
    _KEY_TOO_SMALL: "a key in the chain is too weak",
}


# SSL_MODE_ENABLE_PARTIAL_WRITE of SSL_CTX_set_mode(3), for which pyOpenSSL has no name.
_PARTIAL_WRITE = 0x1

#: The most plaintext of one TLS record (RFC 8446, section 5.1).
RECORD = 16384


def recordReader(buffer: memoryview) -> Callable[[SSL.Connection, int], int]:
    """
    What decrypts the next record of a connection to an offset of C{buffer}, and gives its size; it
    raises what C{SSL.Connection.recv_into} raises.

    That method allocates a buffer for each record and copies from it, at the price of deciphering
    it once more.  So OpenSSL is called directly where pyOpenSSL's binding is what we know it to be.
    """
    if not (hasattr(_lib, "SSL_read") and hasattr(SSL.Connection, "_raise_ssl_error")):
        return lambda connection, at: connection.recv_into(buffer[at : at + RECORD])
    start = _ffi.from_buffer(buffer)
    read = _lib.SSL_read

    def direct(connection: SSL.Connection, at: int) -> int:
        ssl = connection._ssl
        count: int = read(ssl, start + at, RECORD)
        if count <= 0:
            connection._raise_ssl_error(ssl, count)
        return count

    return direct


class _NoCommonProtocol(SSL.Error):
    """
    Raised in the ALPN callback: pyOpenSSL sends alert 120 (RFC 7301, section 3.2).
    """


class _UnknownName(Exception):
    """
    Raised in the SNI callback: pyOpenSSL sends alert 112 (RFC 6066, section 3), and shows what was
    raised to C{sys.excepthook}.
    """


class _QuietHook:
    """
    A C{sys.excepthook} that keeps L{_UnknownName}, which its session has recorded, off standard
    error.
    """

    def __init__(self, previous: Callable[..., Any]) -> None:
        self._previous = previous

    def __call__(
        self, kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        if not issubclass(kind, _UnknownName):
            self._previous(kind, error, traceback)


def _installHook() -> None:
    if not isinstance(sys.excepthook, _QuietHook):
        sys.excepthook = _QuietHook(sys.excepthook)


class Session:
    """
    What is known of the TLS of one connection.

    @ivar expected: who must be at the other end; C{None} where nobody in particular need be.
    @ivar service: the dialect's service name, for SRV-IDs.
    @ivar resumes: whether the session of another, verified connection is offered for resumption.
    @ivar sameAs: the L{name} that it must have, if any: that of another connection.
    @ivar name: the name in the peer's certificate that met C{expected}; empty before.
    @ivar refusal: why the handshake must not succeed, once that is known.
    @ivar version: such as C{TLSv1.3}; like all that follow empty until the handshake is complete.
    @ivar suite: the cipher suite.
    @ivar group: the key agreement.
    @ivar alpn: the protocol agreed on.
    @ivar serverName: the name asked for (server only).
    """

    __slots__ = (
        "alpn",
        "expected",
        "group",
        "name",
        "offered",
        "refusal",
        "requireALPN",
        "resumes",
        "sameAs",
        "serverName",
        "service",
        "showsCertificate",
        "suite",
        "version",
    )

    def __init__(
        self,
        expected: Identity | Selector | None,
        service: str | None,
        offered: Sequence[bytes] = (),
        showsCertificate: bool = False,
        requireALPN: bool = False,
    ) -> None:
        self.expected = expected
        self.service = service
        self.offered = offered
        self.showsCertificate = showsCertificate
        self.requireALPN = requireALPN
        self.resumes = False
        self.sameAs = ""
        self.name = ""
        self.refusal: TunnelError | None = None
        self.version = ""
        self.suite = ""
        self.group = ""
        self.alpn = b""
        self.serverName = ""

    def completed(self, connection: SSL.Connection) -> TunnelError | None:
        """
        The handshake is over: record what it came to.

        @return: why the connection must end nevertheless, if it must.
        """
        self.version = connection.get_protocol_version_name()
        self.suite = connection.get_cipher_name() or ""
        self.group = connection.get_group_name() or ""
        if self.offered:
            self.alpn = connection.get_alpn_proto_negotiated()
        if self.refusal is not None:
            return self.refusal
        if self.resumes and not self.name:
            self._judgeResumed(connection)
            if self.refusal is not None:
                return self.refusal
        if self.expected is not None and not self.name:
            return IdentityRefused("the peer was not verified")
        if self.sameAs and self.name != self.sameAs:
            return IdentityRefused(f"the peer is {self.name}, and not {self.sameAs} as before")
        if self.alpn and self.offered and self.alpn not in self.offered:
            return TLSFailed("the server chose a protocol that was not offered", self.alpn)
        if self.requireALPN and not self.alpn:
            return TLSFailed("the client offers no application protocol (ALPN)")
        return None

    def _judgeResumed(self, connection: SSL.Connection) -> None:
        """
        Judge a peer for which OpenSSL called no L{_verify}: it resumed the session that we offered,
        whose chain was verified when it began, and whose keys only its peer has.
        """
        certificate = connection.get_peer_certificate(as_cryptography=True)
        if certificate is None or self.expected is None:
            self.refusal = IdentityRefused("a session without a certificate was resumed")
            return
        try:
            self.name = verifyIdentity(certificate, self.expected, self.service)
        except IdentityRefused as refusal:
            self.refusal = refusal


def _verify(
    connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, ok: int
) -> bool:
    """
    OpenSSL's verify callback: called for each certificate, the peer's own (depth 0) last.
    """
    session: Session = connection.get_app_data()
    try:
        if not ok:
            reason = _VERIFY_ERRORS.get(code, f"certificate verification failed (code {code})")
            session.refusal = IdentityRefused(f"{reason} (at depth {depth})")
            return False
        if depth == 0:
            assert session.expected is not None
            session.name = verifyIdentity(
                certificate.to_cryptography(), session.expected, session.service
            )
        return True
    except IdentityRefused as refusal:
        session.refusal = refusal
    except Exception as error:  # noqa: BLE001 - whatever happens, the peer is not believed
        session.refusal = IdentityRefused(f"the certificate could not be judged: {error!r}")
    return False


def _context(
    credentials: Credentials | None,
    anchors: Anchors | None,
    minimum: str,
    isClient: bool,
    tickets: bool = False,
) -> SSL.Context:
    """
    What contexts of both roles have in common.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD if isClient else SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(_VERSIONS[minimum])
    context.set_cipher_list(_CIPHERS_1_2)
    context.set_tls13_ciphersuites(_CIPHERS_1_3)
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    if not tickets:
        context.set_options(SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    # All of a write in one call of OpenSSL, however many records that makes; see Leg.write.
    context.clear_mode(_PARTIAL_WRITE)
    if credentials is not None:
        leaf, *chain = credentials.certificates
        context.use_certificate(leaf)
        context.use_privatekey(credentials.key)  # type: ignore[arg-type]  # refuses others itself
        for certificate in chain:
            context.add_extra_chain_cert(certificate)
    if anchors is not None:
        if anchors.system:
            context.set_default_verify_paths()
        store = context.get_cert_store()
        assert store is not None
        for certificate in anchors.certificates:
            store.add_cert(crypto.X509.from_cryptography(certificate))
        # An anchor is an anchor, also where it is not a root.
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verify)
    return context


class Creator:
    """
    Makes the connections of one context that demand the same of their peer.

    @ivar isClient: whether they play the TLS client, which speaks first.
    """

    isClient = False

    def __init__(
        self,
        context: SSL.Context,
        expected: Identity | Selector | None,
        service: str | None,
        alpn: Sequence[bytes] = (),
        showsCertificate: bool = False,
        requireALPN: bool = False,
    ) -> None:
        """
        @param alpn: the protocols that may be agreed on; any, where it is empty.
        @param requireALPN: refuse a peer that agrees on none.
        """
        self.context = context
        self._expected = expected
        self._service = service
        self._alpn = alpn
        self._showsCertificate = showsCertificate
        self._requireALPN = requireALPN

    def session(self) -> Session:
        """
        The blank record of one more connection.
        """
        return Session(
            self._expected, self._service, self._alpn, self._showsCertificate, self._requireALPN
        )

    def connection(self, sock: socket.socket, session: Session) -> SSL.Connection:
        """
        TLS on C{sock}, with the handshake still to do.
        """
        connection = SSL.Connection(self.context, sock)
        connection.set_app_data(session)
        connection.set_accept_state()
        return connection

    def beside(self, connection: SSL.Connection, session: Session) -> Creator:
        """
        What makes more connections with the peer of a connection of ours, and with nobody else.

        @param session: what is known of C{connection}.
        """
        return _Beside(self, session.name)


class _Beside(Creator):
    """
    Makes server connections whose client must be the one of another connection, as far as it has a
    name.  Clients do not repeat their ALPN there.
    """

    def __init__(self, creator: Creator, name: str) -> None:
        super().__init__(creator.context, creator._expected, creator._service, creator._alpn)
        self._name = name

    def session(self) -> Session:
        """
        The blank record of one more connection.
        """
        session = super().session()
        session.sameAs = self._name
        return session


class ClientCreator(Creator):
    """
    Plays the TLS client, asking for C{serverName} if it is given.
    """

    isClient = True

    def __init__(
        self,
        context: SSL.Context,
        expected: Identity,
        service: str | None,
        alpn: Sequence[bytes] = (),
        showsCertificate: bool = False,
    ) -> None:
        super().__init__(context, expected, service, alpn, showsCertificate)
        isDomain = expected.user is None and expected.address is None
        self._serverName = expected.domain.encode() if isDomain else None

    def connection(self, sock: socket.socket, session: Session) -> SSL.Connection:
        """
        TLS on C{sock}, with the handshake still to do.
        """
        connection = SSL.Connection(self.context, sock)
        connection.set_app_data(session)
        if self._serverName is not None:
            connection.set_tlsext_host_name(self._serverName)
        connection.set_connect_state()
        return connection

    def beside(self, connection: SSL.Connection, session: Session) -> Creator:
        """
        What makes more connections with the server of C{connection}, which resume its session if
        the server likes: read as late as possible, as TLS 1.3 gives tickets after the handshake.
        """
        return _Resuming(self, connection.get_session())


class _Resuming(ClientCreator):
    """
    Makes client connections that offer a session of a verified one for resumption; where the server
    declines, its certificate is judged as ever.
    """

    def __init__(self, creator: ClientCreator, resumed: SSL.Session | None) -> None:
        expected = creator._expected
        assert isinstance(expected, Identity)
        super().__init__(
            creator.context, expected, creator._service, creator._alpn, creator._showsCertificate
        )
        self._resumed = resumed

    def session(self) -> Session:
        """
        The blank record of one more connection.
        """
        session = super().session()
        session.resumes = self._resumed is not None
        return session

    def connection(self, sock: socket.socket, session: Session) -> SSL.Connection:
        """
        TLS on C{sock}, with the handshake still to do.
        """
        connection = super().connection(sock, session)
        if self._resumed is not None:
            connection.set_session(self._resumed)
        return connection


def clientContext(
    anchors: Anchors,
    credentials: Credentials | None = None,
    alpn: Sequence[bytes] = (),
    minimum: str = "1.2",
    tickets: bool = False,
) -> SSL.Context:
    """
    The context of connections to servers that C{anchors} vouch for.

    @param credentials: what to show a server that asks who we are.
    @param alpn: what to offer (RFC 7301), preferred first.
    @param minimum: the lowest version of TLS, C{"1.2"} or C{"1.3"}.
    @param tickets: accept session tickets also in TLS 1.2: for L{Creator.beside}.
    """
    context = _context(credentials, anchors, minimum, isClient=True, tickets=tickets)
    if alpn:
        context.set_alpn_protos(list(alpn))
    return context


def serverContext(
    credentials: Credentials,
    anchors: Anchors | None = None,
    alpn: Sequence[bytes] = (),
    minimum: str = "1.2",
    anyName: bool = False,
) -> SSL.Context:
    """
    The context of connections from clients.

    @param credentials: who we are.
    @param anchors: given, every client must show a certificate that they vouch for.
    @param alpn: what we select from what a client offers; empty: an offer is ignored.
    @param minimum: the lowest version of TLS, C{"1.2"} or C{"1.3"}.
    @param anyName: serve clients that ask for a name that our certificate does not have.
    """
    context = _context(credentials, anchors, minimum, isClient=False)
    if anchors is not None:
        for certificate in anchors.certificates:
            context.add_client_ca(certificate)
    leaf = credentials.certificates[0]
    checkName = credentials.identity.user is None and not anyName

    def serverName(connection: SSL.Connection) -> None:
        asked = connection.get_servername()
        session: Session = connection.get_app_data()
        if asked is not None:
            session.serverName = asked.decode("latin-1")
            # An address is no name (RFC 6066, section 3), but lftp sends one nevertheless.
            if (
                checkName
                and not coversName(leaf, session.serverName)
                and not TCPAddress(session.serverName, 0).isLiteral
            ):
                session.refusal = TLSFailed(
                    f"the client asked for a name that is not ours: {quote(asked)}"
                )
                raise _UnknownName(session.serverName)

    def selectProtocol(connection: SSL.Connection, offered: list[bytes]) -> bytes:
        for name in alpn:
            if name in offered:
                return name
        session: Session = connection.get_app_data()
        session.refusal = TLSFailed(
            "the client offers only other application protocols", b",".join(offered)
        )
        raise _NoCommonProtocol([("SSL routines", "", "no application protocol")])

    _installHook()
    context.set_tlsext_servername_callback(serverName)
    if alpn:
        context.set_alpn_select_callback(selectProtocol)
    return context


# What a peer that speaks no TLS looks like to OpenSSL.
_FOREIGN = ("http request", "https proxy request", "wrong version number", "packet length too long")

_CERTIFICATE_ALERTS = (
    "bad certificate",
    "unsupported certificate",
    "certificate revoked",
    "certificate expired",
    "certificate unknown",
    "unknown ca",
    "access denied",
    "certificate required",
)


def failure(error: SSL.Error, session: Session | None, first: bool = False) -> TunnelError:
    """
    What an error of OpenSSL means.

    @param first: nothing was received over this TLS before: in TLS 1.3 a server judges our
        certificate only after our handshake is complete (RFC 8446, appendix E.1.4).
    """
    if isinstance(error, SSL.SysCallError):
        number, text = error.args
        return Reset(str(text)) if number > 0 else Truncated("the peer sent no close_notify")
    queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
    reasons = [entry[2] for entry in queue if entry[2]]
    if not reasons:
        # What OpenSSL says of a connection after the error that ended it.
        return Truncated("the connection had failed")
    reason = reasons[0]
    if "alert" in reason:
        alert = reason.split("alert ")[-1]
        if (first or session is None or not session.version) and alert in _CERTIFICATE_ALERTS:
            ours = "our certificate" if session and session.showsCertificate else "us"
            return TLSFailed(f"the peer refused {ours} (alert: {alert})")
        return TLSFailed(f"the peer sent the alert {alert!r}")
    return TLSFailed(reason)


def handshakeFailure(error: Exception, session: Session | None) -> TunnelError:
    """
    Why a handshake failed: what one of our callbacks found, else what OpenSSL says.
    """
    if session is not None and session.refusal is not None:
        return session.refusal
    if isinstance(error, SSL.SysCallError):
        number, text = error.args
        if number > 0:
            return Reset(f"during the TLS handshake: {text}")
        return TLSFailed("the peer closed the connection during the handshake")
    if isinstance(error, SSL.Error):
        told = failure(error, session, first=True)
        if any(word in told.detail for word in _FOREIGN):
            return ForeignProtocol(f"the peer does not speak TLS here ({told.detail})")
        return TLSFailed(told.detail)
    return TLSFailed(f"the handshake raised {error!r}")
