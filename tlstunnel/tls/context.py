"""
Contexts: what all connections of a tunnel have in common for OpenSSL.

A context is made once from what the administrator configured, never changed after its first use,
and shared by all connections of its tunnel.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import lru_cache
from types import TracebackType

from OpenSSL import SSL

from tlstunnel.address import TCPAddress
from tlstunnel.errors import TLSFailed, quote
from tlstunnel.identity.names import Kind
from tlstunnel.identity.pool import Credentials
from tlstunnel.identity.trust import Trust
from tlstunnel.identity.verify import coversName
from tlstunnel.tls.credentials import present
from tlstunnel.tls.resumption import LONGEST
from tlstunnel.tls.session import Session
from tlstunnel.tls.verification import demandCertificate

SSLContext = SSL.Context

# Mozilla's "intermediate" recommendation, version 6.0; in each list the client's order counts.
_CIPHERS_1_2 = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
_CIPHERS_1_3 = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

#: Names that clients ask for of which a context remembers whether they are ours.
NAMES_KEPT = 64

#: SSL_MAX_SID_CTX_LENGTH of SSL_CTX_set_session_id_context(3).
SSL_SESSION_ID_BYTES = 32

_VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}

# SSL_MODE_ENABLE_PARTIAL_WRITE of SSL_CTX_set_mode(3), for which pyOpenSSL has no name.
_PARTIAL_WRITE = 0x1


class _NoCommonProtocol(SSL.Error):
    """
    Raised in the ALPN callback: pyOpenSSL sends alert 120 (RFC 7301, section 3.2).
    """


class _UnknownName(Exception):
    """
    Raised in the SNI callback: pyOpenSSL sends alert 112 (RFC 6066, section 3), and shows what was
    raised to C{sys.excepthook}.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        # The session has recorded it; a traceback for each scanner would be too much.  So there is
        # another hook for as long as this exception takes to get there, and no longer: the hook
        # belongs to the program that we are a part of.
        self._before = sys.excepthook
        sys.excepthook = self._pass

    def _pass(
        self, kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        sys.excepthook = self._before
        if error is not self:
            self._before(kind, error, traceback)


def _context(
    credentials: Credentials | None,
    trust: Trust | None,
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
    # All of a write in one call of OpenSSL, however many records that makes; see TLS.write.
    context.clear_mode(_PARTIAL_WRITE)
    if credentials is not None:
        present(context, credentials)
    if trust is not None:
        demandCertificate(context, trust)
    return context


def clientContext(
    trust: Trust,
    credentials: Credentials | None = None,
    alpn: Sequence[bytes] = (),
    minimum: str = "1.2",
    tickets: bool = False,
) -> SSL.Context:
    """
    The context of connections to servers that C{trust} is about.

    @param credentials: what to show a server that asks who we are.
    @param alpn: what to offer (RFC 7301), preferred first.
    @param minimum: the lowest version of TLS, C{"1.2"} or C{"1.3"}.
    @param tickets: accept session tickets also in TLS 1.2: for L{Creator.beside}.
    @raise ConfigurationError: OpenSSL does not take our credentials.
    """
    context = _context(credentials, trust, minimum, isClient=True, tickets=tickets)
    if alpn:
        context.set_alpn_protos(list(alpn))
    return context


def serverContext(
    credentials: Credentials,
    trust: Trust | None = None,
    alpn: Sequence[bytes] = (),
    minimum: str = "1.2",
    anyName: bool = False,
    resumption: bool = False,
) -> SSL.Context:
    """
    The context of connections from clients.

    @param credentials: who we are.
    @param trust: given, every client must show a certificate that it is about.
    @param alpn: what we select from what a client offers; empty: an offer is ignored.
    @param minimum: the lowest version of TLS, C{"1.2"} or C{"1.3"}.
    @param anyName: serve clients that ask for a name that our certificate does not have.
    @param resumption: let clients resume sessions of this context, and of no other.
    @raise ConfigurationError: OpenSSL does not take our credentials.
    """
    context = _context(credentials, trust, minimum, isClient=False, tickets=resumption)
    if resumption:
        # The keys of tickets are this context's own already; this is the same for all that is not
        # encrypted by them, and OpenSSL wants it where clients show certificates.
        context.set_session_id(os.urandom(SSL_SESSION_ID_BYTES))
        context.set_timeout(int(LONGEST))
    if trust is not None:
        for certificate in trust.all.certificates:
            context.add_client_ca(certificate)
    leaf = credentials.certificates[0]
    checkName = credentials.identity.kind is Kind.DOMAIN and not anyName

    @lru_cache(NAMES_KEPT)
    def isOurs(name: str) -> bool:
        # An address is no name (RFC 6066, section 3), but lftp sends one nevertheless.
        return coversName(leaf, name) or TCPAddress(name, 0).isLiteral

    def serverName(connection: SSL.Connection) -> None:
        asked = connection.get_servername()
        session: Session = connection.get_app_data()
        if asked is not None:
            session.serverName = asked.decode("latin-1")
            if checkName and not isOurs(session.serverName):
                session.refusal = TLSFailed(
                    f"the client asked for a name that is not ours: {quote(asked)}",
                    cause="wrong name",
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

    context.set_tlsext_servername_callback(serverName)
    if alpn:
        context.set_alpn_select_callback(selectProtocol)
    return context
