"""
Handshakes that are looked at: what a server shows in one, also where it is refused.

The judgement is that of the tunnel, by the same verifiers; only its execution waits.  Where a
server is refused, the handshake goes on nevertheless, so that all of it is seen, and fails at its
end: a leg never takes it for one that succeeded, and nothing can be sent in it.  Where we would
show a certificate of ours, it fails at once, as that is for nobody who was not verified.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from OpenSSL import SSL, crypto

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import IdentityRefused
from tlstunnel.identity.pem import quietly
from tlstunnel.tls.binding import negotiated
from tlstunnel.tls.complaints import refusalOf
from tlstunnel.tls.creators import Creator
from tlstunnel.tls.dane import TLSAVerifier, verifyServer
from tlstunnel.tls.pins import PinVerifier, verifyKey
from tlstunnel.tls.session import Session
from tlstunnel.tls.verification import Verifier, verifyPeer

#: The versions of TLS that OpenSSL may speak, as people know them.
VERSIONS = {
    "1.0": SSL.TLS1_VERSION,
    "1.1": SSL.TLS1_1_VERSION,
    "1.2": SSL.TLS1_2_VERSION,
    "1.3": SSL.TLS1_3_VERSION,
}

# All that the library has, however weak (openssl-ciphers(1)).
_EVERYTHING = b"ALL:COMPLEMENTOFALL:@SECLEVEL=0"

# SSL_OP_LEGACY_SERVER_CONNECT of SSL_CTX_set_options(3).
_LEGACY_SERVERS = 0x4

# What SSL_state_string_long(3) says once these messages were read.
_HELLO = b"read server hello"
_ASKED = b"read server certificate request"
_TICKET = b"read server session ticket"


@dataclass(frozen=True)
class Sight:
    """
    What a server has shown in a handshake.

    @ivar version: such as C{TLSv1.3}; empty if there was no ServerHello.
    @ivar suite: the cipher suite.
    @ivar group: the key agreement; empty where it was not reached.
    @ivar alpn: the protocol agreed on.
    @ivar chain: its certificates as it has sent them, each in DER.
    @ivar verified: those that lead to an anchor, if they do, whoever they are for.
    @ivar complaints: everything that was held against them, the first being what counts.
    @ivar provenBy: the TLSA record that vouches for it, if one does.
    @ivar isAsked: whether it asks for a certificate of ours.
    @ivar authorities: from whom that should be, if it says so.
    @ivar staple: the response of OCSP that it has stapled.
    @ivar tickets: how many tickets it has given, to resume the session.
    """

    version: str = ""
    suite: str = ""
    group: str = ""
    alpn: str = ""
    chain: tuple[bytes, ...] = ()
    verified: tuple[x509.Certificate, ...] = ()
    complaints: tuple[IdentityRefused, ...] = ()
    provenBy: str = ""
    isAsked: bool = False
    authorities: tuple[str, ...] = ()
    staple: bytes = b""
    tickets: int = 0


@dataclass
class _Seen:
    """
    What our callbacks have noticed.
    """

    complaints: list[IdentityRefused] = field(default_factory=list)
    isGreeted: bool = False
    isBroken: bool = False
    isAsked: bool = False
    staple: bytes = b""
    tickets: int = 0


class Witness(Creator):
    """
    Makes one connection, as another creator would, and sees what happens on it.
    """

    isClient = True

    def __init__(self, creator: Creator) -> None:
        super().__init__(creator.context)
        self._creator = creator
        self._seen = _Seen()
        self._connection: SSL.Connection | None = None
        self._session: Session | None = None

    def session(self, peer: TCPAddress | UNIXAddress | None = None) -> Session:
        """
        The blank record of the connection, which resumes nothing: then nothing would be shown.
        """
        self._session = self._creator.session()
        return self._session

    def connection(self, sock: socket.socket | None, session: Session) -> SSL.Connection:
        """
        TLS on C{sock}, with the handshake still to do.
        """
        self.context.set_info_callback(self._happened)
        self.context.set_ocsp_client_callback(self._stapled)
        connection = self._connection = self._creator.connection(sock, session)
        connection.request_ocsp()
        if session.verifier is not None and not session.showsCertificate:
            connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._judge)
        return connection

    def _judge(
        self, connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, ok: int
    ) -> bool:
        """
        OpenSSL's verify callback.  The first refusal is that of the tunnel, and L{Session} keeps
        it; whatever comes behind that is only noted.
        """
        session: Session = connection.get_app_data()
        verifier = session.verifier
        assert verifier is not None
        complaints = self._seen.complaints
        if session.refusal is None:
            isBelieved = _judgeOf(verifier)(connection, certificate, code, depth, ok)
            if not isBelieved and session.refusal is None:
                session.refusal = IdentityRefused("the certificate was refused")
            if isinstance(session.refusal, IdentityRefused):
                complaints.append(session.refusal)
                self._seen.isBroken = not ok or session.refusal.cause == "unknown CA"
        elif not ok:
            self._seen.isBroken = True
            found = refusalOf(code, certificate, depth, verifier.trust.all.source)
            if all(found.cause != each.cause or not found.cause for each in complaints):
                complaints.append(found)
        return True

    def _happened(self, connection: SSL.Connection, where: int, value: int) -> None:
        """
        OpenSSL's info callback (SSL_CTX_set_info_callback(3)).
        """
        if where & SSL.SSL_CB_LOOP:
            state = connection.get_state_string()
            self._seen.isGreeted |= _HELLO in state
            self._seen.isAsked |= _ASKED in state
            self._seen.tickets += _TICKET in state

    def _stapled(self, connection: SSL.Connection, staple: bytes, _: Any) -> bool:
        self._seen.staple = staple
        return True

    def look(self) -> Sight:
        """
        What was shown so far, however it ended.
        """
        connection, session, seen = self._connection, self._session, self._seen
        if connection is None or session is None or not seen.isGreeted:
            return Sight()
        complaints = seen.complaints
        if not complaints and isinstance(session.refusal, IdentityRefused):
            complaints = [session.refusal]
        version, suite, group = negotiated(connection)
        with quietly():
            shown = connection.get_peer_cert_chain() or []
            byAnchors = not isinstance(session.verifier, PinVerifier | TLSAVerifier)
            isNamedWrongly = complaints and byAnchors and not seen.isBroken
            isGood = session.shown is not None or isNamedWrongly
            verified = (connection.get_verified_chain() or []) if isGood else []
            return Sight(
                version=version,
                suite=suite,
                group=group,
                alpn=connection.get_alpn_proto_negotiated().decode("ascii", "backslashreplace"),
                chain=tuple(crypto.dump_certificate(crypto.FILETYPE_ASN1, each) for each in shown),
                verified=tuple(each.to_cryptography() for each in verified),
                complaints=tuple(complaints),
                provenBy=session.provenBy,
                isAsked=seen.isAsked,
                authorities=tuple(map(_written, connection.get_client_ca_list())),
                staple=seen.staple,
                tickets=seen.tickets,
            )


def _judgeOf(verifier: Verifier) -> Any:
    """
    The verify callback of contexts whose peers C{verifier} judges.
    """
    if isinstance(verifier, PinVerifier):
        return verifyKey
    return verifyServer if isinstance(verifier, TLSAVerifier) else verifyPeer


def _written(name: crypto.X509Name) -> str:
    """
    A name as RFC 4514 has it, raw and untrusted.
    """
    parts = (
        f"{key.decode('ascii', 'replace')}={value.decode('utf-8', 'backslashreplace')}"
        for key, value in reversed(name.get_components())
    )
    return ",".join(parts)


class AnyServer(Creator):
    """
    Makes connections to whatever server there is, with everything that OpenSSL has, however weak:
    to find out what it speaks.  Nobody is verified, so that nothing may be sent there.
    """

    isClient = True

    def __init__(self, host: str | None, version: str | None = None) -> None:
        """
        @param host: the name to ask for.
        @param version: the one version of TLS to speak; L{None} for all.
        """
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_cipher_list(_EVERYTHING)
        context.set_options(_LEGACY_SERVERS | SSL.OP_NO_COMPRESSION)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_min_proto_version(VERSIONS[version or "1.0"])
        context.set_max_proto_version(VERSIONS[version or "1.3"])
        super().__init__(context)
        self._host = host

    def connection(self, sock: socket.socket | None, session: Session) -> SSL.Connection:
        """
        TLS on C{sock}, with the handshake still to do.
        """
        connection = SSL.Connection(self.context, sock)
        connection.set_app_data(session)
        if self._host is not None:
            connection.set_tlsext_host_name(self._host.encode())
        connection.set_connect_state()
        return connection
