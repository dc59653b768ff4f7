"""
Contexts: what all connections of a tunnel have in common for OpenSSL.

A context is made once from what the administrator configured, never changed after its first use,
and shared by all connections of its tunnel.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from OpenSSL import SSL

from tlstunnel.errors import TLSFailed
from tlstunnel.identity.pool import Credentials
from tlstunnel.identity.trust import Trust
from tlstunnel.tls import binding, separation
from tlstunnel.tls.credentials import present
from tlstunnel.tls.faces import VERSIONS, chooseFace
from tlstunnel.tls.resumption import LONGEST_SECONDS
from tlstunnel.tls.session import Session
from tlstunnel.tls.verification import LONGEST_CHAIN, demandCertificate

SSLContext = SSL.Context

# Mozilla's "intermediate" recommendation, version 6.0; in each list the client's order counts.
_CIPHERS_1_2 = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
_CIPHERS_1_3 = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

#: SSL_MAX_SID_CTX_LENGTH of SSL_CTX_set_session_id_context(3).
SSL_SESSION_ID_BYTES = 32

# SSL_MODE_ENABLE_PARTIAL_WRITE of SSL_CTX_set_mode(3), for which pyOpenSSL has no name.
_PARTIAL_WRITE = 0x1


class _NoCommonProtocol(SSL.Error):
    """
    Raised in the ALPN callback: pyOpenSSL sends alert 120 (RFC 7301, section 3.2).
    """


def _context(
    credentials: Credentials | None,
    trust: Trust | None,
    minimum: str,
    isClient: bool,
    tickets: bool = False,
    isOptional: bool = False,
) -> SSL.Context:
    """
    What contexts of both roles have in common where there are certificates.
    """
    if trust is not None:
        separation.process.verifies("the handshake")
    context = bareContext(minimum, isClient, tickets)
    if credentials is not None:
        present(context, credentials)
    if trust is not None:
        demandCertificate(context, trust, isOptional)
    return context


def bareContext(
    minimum: str,
    isClient: bool,
    tickets: bool = False,
    suites: tuple[bytes, bytes] = (_CIPHERS_1_2, _CIPHERS_1_3),
) -> SSL.Context:
    """
    What all contexts have in common: nobody is anybody, and nobody is asked who he is.

    @param minimum: the lowest version of TLS, C{"1.2"} or C{"1.3"}.
    @param tickets: whether a client accepts session tickets also in TLS 1.2.
    @param suites: those of TLS 1.2, and those of 1.3.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD if isClient else SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(VERSIONS[minimum])
    context.set_cipher_list(suites[0])
    context.set_tls13_ciphersuites(suites[1])
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    if isClient and not tickets:
        # A server says it later, to each connection; see chooseFace.
        context.set_options(SSL.OP_NO_TICKET)
    context.set_verify_depth(LONGEST_CHAIN)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    # All of a write in one call of OpenSSL, however many records that makes; see TLS.write.
    context.clear_mode(_PARTIAL_WRITE)
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
    binding.setAsked(context, _asked)
    if alpn:
        context.set_alpn_protos(list(alpn))
    return context


def _asked(connection: SSL.Connection) -> None:
    session: Session = connection.get_app_data()
    session.isAsked = True


def serverContext(
    credentials: Credentials,
    trust: Trust | None = None,
    minimum: str = "1.2",
    selects: bool = True,
    resumption: bool = False,
    isOptional: bool = False,
) -> SSL.Context:
    """
    The context of connections from clients.

    @param credentials: who we are.
    @param trust: given, every client must show a certificate that it is about.
    @param minimum: the lowest version of TLS, C{"1.2"} or C{"1.3"}.
    @param selects: whether a session may have a protocol to select from what a client offers.
    @param resumption: let clients resume sessions of this context, and of no other, where
        connections give tickets (L{Session.givesTickets}).
    @param isOptional: let clients in that show no certificate, too.
    @raise ConfigurationError: OpenSSL does not take our credentials.
    """
    context = _context(credentials, trust, minimum, isClient=False, isOptional=isOptional)
    if resumption:
        # The keys of tickets are this context's own already; this is the same for all that is not
        # encrypted by them, and OpenSSL wants it where clients show certificates.
        context.set_session_id(os.urandom(SSL_SESSION_ID_BYTES))
        context.set_timeout(int(LONGEST_SECONDS))
    if trust is not None:
        for certificate in trust.all.certificates:
            context.add_client_ca(certificate)
    answerClients(context, selects)
    return context


def answerClients(context: SSL.Context, selects: bool) -> None:
    """
    Let a context choose by the name and the protocols that clients ask for.

    @param selects: whether a session may have a protocol to select from what a client offers.
    """
    binding.setServerName(context, chooseFace)
    if selects:
        context.set_alpn_select_callback(_selectProtocol)


def _selectProtocol(
    connection: SSL.Connection, offered: list[bytes]
) -> bytes | SSL._NoOverlappingProtocols:
    session: Session = connection.get_app_data()
    if not session.offered:
        return SSL.NO_OVERLAPPING_PROTOCOLS
    for name in session.offered:
        if name in offered:
            return name
    session.refusal = TLSFailed(
        "the client offers only other application protocols", b",".join(offered)
    )
    raise _NoCommonProtocol([("SSL routines", "", "no application protocol")])
