"""
Makers of connections: a L{Creator} makes the connections of one context that demand the same of
their peer.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from cryptography import x509
from OpenSSL import SSL

from tlstunnel.identity.names import Identity, Kind
from tlstunnel.tls.binding import returnAfterEachRecord
from tlstunnel.tls.session import Session
from tlstunnel.tls.verification import Verifier


class Creator:
    """
    Makes the connections of one context that demand the same of their peer.

    @ivar isClient: whether they play the TLS client, which speaks first.
    """

    isClient = False

    def __init__(
        self,
        context: SSL.Context,
        verifier: Verifier | None = None,
        alpn: Sequence[bytes] = (),
        showsCertificate: bool = False,
        requireALPN: bool = False,
    ) -> None:
        """
        @param verifier: what judges the peer, where the context demands a certificate.
        @param alpn: the protocols that may be agreed on; any, where it is empty.
        @param requireALPN: refuse a peer that agrees on none.
        """
        self.context = context
        self._verifier = verifier
        self._alpn = alpn
        self._showsCertificate = showsCertificate
        self._requireALPN = requireALPN

    def session(self) -> Session:
        """
        The blank record of one more connection.
        """
        return Session(self._verifier, self._alpn, self._showsCertificate, self._requireALPN)

    def connection(self, sock: socket.socket, session: Session) -> SSL.Connection:
        """
        TLS on C{sock}, with the handshake still to do.
        """
        connection = SSL.Connection(self.context, sock)
        returnAfterEachRecord(connection)
        connection.set_app_data(session)
        connection.set_accept_state()
        return connection

    def beside(self, connection: SSL.Connection, session: Session) -> Creator:
        """
        What makes more connections with the peer of a connection of ours, and with nobody else.

        @param session: what is known of C{connection}.
        """
        return _Beside(self, session.identity)


class _Beside(Creator):
    """
    Makes server connections whose client must be the one of another connection, if that has
    proved an identity.  Clients do not repeat their ALPN there.
    """

    def __init__(self, creator: Creator, identity: Identity | None) -> None:
        super().__init__(creator.context, creator._verifier, creator._alpn)
        self._identity = identity

    def session(self) -> Session:
        """
        The blank record of one more connection.
        """
        session = super().session()
        session.sameAs = self._identity
        return session


class ClientCreator(Creator):
    """
    Plays the TLS client, asking for the domain that its verifier expects.
    """

    isClient = True

    def __init__(
        self,
        context: SSL.Context,
        verifier: Verifier,
        alpn: Sequence[bytes] = (),
        showsCertificate: bool = False,
        host: str | None = None,
        requireStaple: bool = False,
    ) -> None:
        """
        @param host: the name to ask for where no domain is expected; L{None} for none.
        @param requireStaple: ask for a response of OCSP, which the context demands.
        """
        super().__init__(context, verifier, alpn, showsCertificate)
        self._requireStaple = requireStaple
        expected = verifier.expected
        assert isinstance(expected, Identity)
        isDomain = expected.kind is Kind.DOMAIN and expected.address is None
        self._host = expected.domain if isDomain else host
        self._serverName = None if self._host is None else self._host.encode()

    def connection(self, sock: socket.socket, session: Session) -> SSL.Connection:
        """
        TLS on C{sock}, with the handshake still to do.
        """
        connection = SSL.Connection(self.context, sock)
        returnAfterEachRecord(connection)
        connection.set_app_data(session)
        if self._serverName is not None:
            connection.set_tlsext_host_name(self._serverName)
        if self._requireStaple:
            connection.request_ocsp()
        connection.set_connect_state()
        return connection

    def beside(self, connection: SSL.Connection, session: Session) -> Creator:
        """
        What makes more connections with the server of C{connection}, which resume its session if
        the server likes: read as late as possible, as TLS 1.3 gives tickets after the handshake.
        """
        certificate = connection.get_peer_certificate(as_cryptography=True)
        resumed = connection.get_session()
        if certificate is None or resumed is None or session.identity is None:
            return self
        return _Resuming(self, resumed, certificate, session)


class _Resuming(ClientCreator):
    """
    Makes client connections that offer a session of a verified one for resumption; where the server
    declines, its certificate is judged as ever.
    """

    def __init__(
        self,
        creator: ClientCreator,
        resumed: SSL.Session,
        certificate: x509.Certificate,
        verified: Session,
    ) -> None:
        assert creator._verifier is not None and verified.identity is not None
        super().__init__(
            creator.context,
            creator._verifier,
            creator._alpn,
            creator._showsCertificate,
            creator._host,
            creator._requireStaple,
        )
        self._resumed = resumed
        self._peer = certificate, verified.identity
        self._goodUntil = verified.goodUntil

    def session(self) -> Session:
        """
        The blank record of one more connection.
        """
        session = super().session()
        session.resumes = self._peer
        session.goodUntil = self._goodUntil
        return session

    def connection(self, sock: socket.socket, session: Session) -> SSL.Connection:
        """
        TLS on C{sock}, with the handshake still to do.
        """
        connection = super().connection(sock, session)
        connection.set_session(self._resumed)
        return connection
