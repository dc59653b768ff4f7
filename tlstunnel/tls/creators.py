"""
Makers of connections: a L{Creator} makes the connections of one tunnel that demand the same of
their peer, or let it choose by the name that it asks for.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence

from OpenSSL import SSL

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.identity.names import Identity
from tlstunnel.tls import belonging
from tlstunnel.tls.belonging import Belonging
from tlstunnel.tls.binding import TELLS_RESUMPTION, returnAfterEachRecord, sizeOfSession
from tlstunnel.tls.faces import Face, Faces
from tlstunnel.tls.resumption import LARGEST_BYTES, Offer, Sessions
from tlstunnel.tls.session import Session
from tlstunnel.tls.verification import Verifier


class Creator:
    """
    Makes connections that begin with the same context.

    @ivar isClient: whether they play the TLS client, which speaks first.
    @ivar isQuiet: whether these are servers whose clients may never read.
    @ivar asksForCertificates: whether peers show certificates, at least some of them.
    """

    isClient = False
    isQuiet = False

    def __init__(
        self,
        context: SSL.Context,
        verifier: Verifier | None = None,
        alpn: Sequence[bytes] = (),
        shows: Identity | None = None,
        requireALPN: bool = False,
    ) -> None:
        """
        @param verifier: what judges the peer, where the context demands a certificate.
        @param alpn: the protocols that may be agreed on; any, where it is empty.
        @param shows: whose certificate the context has, where that is the same for all.
        @param requireALPN: refuse a peer that agrees on none.
        """
        self.context = context
        self._verifier = verifier
        self._alpn = alpn
        self._shows = shows
        self._requireALPN = requireALPN
        self.asksForCertificates = self.isClient or verifier is not None

    def session(self, peer: TCPAddress | UNIXAddress | None = None) -> Session:
        """
        The blank record of one more connection.

        @param peer: the address that is at the other end.
        """
        session = Session(self._verifier, self._alpn, self._shows is not None, self._requireALPN)
        session.ours = self._shows
        return session

    def connection(self, sock: socket.socket | None, session: Session) -> SSL.Connection:
        """
        TLS on C{sock}, with the handshake still to do.

        @param sock: L{None} for one of which others carry the bytes; see L{tlstunnel.tls.membio}.
        """
        connection = SSL.Connection(self.context, sock)
        returnAfterEachRecord(connection)
        connection.set_app_data(session)
        connection.set_accept_state()
        return connection

    def check(self) -> None:
        """
        See whether there may be one more connection.

        @raise TunnelError: what it would show must not be shown any more.
        """

    def keep(self, connection: SSL.Connection, session: Session) -> None:
        """
        A connection of ours ended well: keep what later ones may want of it.

        @param session: what is known of C{connection}.
        """

    def failed(self, session: Session) -> None:
        """
        A handshake of ours has failed.

        @param session: what is known of its connection.
        """

    def beside(self, connection: SSL.Connection, session: Session) -> Creator:
        """
        What makes more connections with the peer of a connection of ours, and with nobody else.

        @param session: what is known of C{connection}.
        """
        raise NotImplementedError

    def under(self, domain: str) -> Creator:
        """
        The same for a peer that has asked for C{domain} already.

        @param domain: in lower case, without a dot at its end; empty for none.
        """
        return self


class ServerCreator(Creator):
    """
    Plays the TLS server, which may have several faces.
    """

    def __init__(
        self,
        faces: Faces,
        requireALPN: bool = False,
        bound: Face | None = None,
        tickets: bool = False,
        hasBeside: bool = False,
    ) -> None:
        """
        @param bound: who we must be.
        @param tickets: let clients resume their sessions, where the contexts allow it.
        @param hasBeside: let them prove by that, and by nothing else, that further connections
            belong to one of theirs; see L{beside}.
        """
        face = bound or faces.default
        super().__init__(face.context, face.verifier, face.alpn, requireALPN=requireALPN)
        self.faces = faces
        # Which of them it is shows in the handshake.
        self.asksForCertificates = faces.demands
        self._bound = bound
        self._tickets = tickets
        self._hasBeside = hasBeside and belonging.IS_SUPPORTED

    def session(self, peer: TCPAddress | UNIXAddress | None = None) -> Session:
        """
        The blank record of one more connection.
        """
        session = Session(self._verifier, self._alpn, requireALPN=self._requireALPN)
        session.faces = self.faces
        session.bound = self._bound
        session.givesTickets = self._tickets or self._hasBeside
        if self._hasBeside:
            session.belonging = Belonging(self.context)
        return session

    def connection(self, sock: socket.socket | None, session: Session) -> SSL.Connection:
        """
        TLS on C{sock}, with the handshake still to do.
        """
        if session.belonging is None:
            return super().connection(sock, session)
        with session.belonging.making():
            return super().connection(sock, session)

    def under(self, domain: str) -> Creator:
        """
        SNI must agree with it, and may be absent (rule 11).
        """
        face = self.faces.find(domain) if domain and not self.faces.isAlone else None
        if face is None:
            return self
        return ServerCreator(self.faces, self._requireALPN, face, self._tickets, self._hasBeside)

    def beside(self, connection: SSL.Connection, session: Session) -> Creator:
        """
        Under the same name, and if the peer has proved an identity, with that one.
        """
        return _Beside(self, session)


class _Beside(ServerCreator):
    """
    Makes server connections whose client must be the one of another connection, if that has
    proved an identity.  Clients do not repeat their ALPN there, and perhaps not their SNI.
    """

    isQuiet = True

    def __init__(self, creator: ServerCreator, session: Session) -> None:
        """
        @param creator: what has made the other connection.
        @param session: what is known of it.
        """
        assert session.face is not None
        super().__init__(creator.faces, bound=session.face)
        # It has the keys of the tickets that it has given; the face brings its own context.
        self.context = creator.context
        self._identity = session.identity
        self._belonging = session.belonging
        if self._belonging is not None:
            self._belonging.owned(session)

    def session(self, peer: TCPAddress | UNIXAddress | None = None) -> Session:
        """
        The blank record of one more connection.
        """
        session = super().session()
        session.sameAs = self._identity
        session.isBeside = True
        session.belonging = self._belonging
        session.givesTickets = self._belonging is not None
        return session


class ClientCreator(Creator):
    """
    Plays the TLS client, asking for the domain that its verifier expects, and resuming sessions
    with it, each once.
    """

    isClient = True

    def __init__(
        self,
        context: SSL.Context,
        verifier: Verifier,
        alpn: Sequence[bytes] = (),
        shows: Identity | None = None,
        host: str | None = None,
        requireStaple: bool = False,
        sessions: Sessions | None = None,
        requireALPN: bool = False,
        checks: Callable[[Identity | None], None] = lambda shown: None,
    ) -> None:
        """
        @param host: the name to ask for where no domain is expected; L{None} for none.
        @param requireStaple: ask for a response of OCSP, which the context demands.
        @param sessions: where they are kept, for this and other contexts.  Given none, none is
            resumed.
        @param checks: sees whether somebody may still be shown; raises L{TunnelError} if not.
        """
        super().__init__(context, verifier, alpn, shows, requireALPN)
        self._requireStaple = requireStaple
        self._checks = checks
        self._sessions = sessions if TELLS_RESUMPTION else None
        expected = verifier.expected
        assert isinstance(expected, Identity)
        self._host = expected.domain if expected.isHost else host
        # By its text, as that is quickly found.
        self._expected = str(expected)
        self._serverName = None if self._host is None else self._host.encode()

    def session(self, peer: TCPAddress | UNIXAddress | None = None) -> Session:
        """
        The blank record of one more connection.
        """
        session = super().session(peer)
        sessions = self._sessions
        if sessions is not None and peer is not None:
            server = sessions.at((self.context, self._expected, peer))
            if server is not None:
                session.server, session.offers = server, sessions.take(server)
        return session

    def connection(self, sock: socket.socket | None, session: Session) -> SSL.Connection:
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
        if session.offers is not None:
            connection.set_session(session.offers.session)
        return connection

    def check(self) -> None:
        """
        Whether that is still the one to be shown.
        """
        self._checks(self._shows)

    def keep(self, connection: SSL.Connection, session: Session) -> None:
        """
        Keep the session, read as late as possible, as TLS 1.3 gives tickets after the handshake.
        """
        sessions, server, proof = self._sessions, session.server, session.proof
        if sessions is None or server is None or proof is None or session.identity is None:
            return
        if session.offers is not None:
            sessions.answered(server, session.isResumed)
        resumable = _resumable(connection)
        if resumable is not None:
            sessions.keep(server, Offer(resumable, proof, session.until, session.isAsked))

    def failed(self, session: Session) -> None:
        """
        What the server has not believed may be the session that it was offered.
        """
        sessions, server = self._sessions, session.server
        isOffered = session.offers is not None and session.refusal is None
        if sessions is not None and server is not None and isOffered:
            sessions.failed(server)

    def beside(self, connection: SSL.Connection, session: Session) -> Creator:
        """
        What makes more connections with the server of C{connection}, which resume its session if
        the server likes.
        """
        resumable = _resumable(connection) if TELLS_RESUMPTION else None
        if resumable is None or session.identity is None or session.proof is None:
            return self
        until = min(session.proof.until, session.goodUntil)
        return _Resuming(self, Offer(resumable, session.proof, until, session.isAsked))


def _resumable(connection: SSL.Connection) -> SSL.Session | None:
    """
    What the server of C{connection} may resume later, if it is not too large to be offered.
    """
    session = connection.get_session()
    return None if session is None or sizeOfSession(session) > LARGEST_BYTES else session


class _Resuming(ClientCreator):
    """
    Makes client connections that offer a session of a verified one for resumption; where the server
    declines, its certificate is judged as ever.
    """

    def __init__(self, creator: ClientCreator, offer: Offer) -> None:
        assert creator._verifier is not None
        super().__init__(
            creator.context,
            creator._verifier,
            creator._alpn,
            creator._shows,
            creator._host,
            creator._requireStaple,
            checks=creator._checks,
        )
        self._offer = offer

    def session(self, peer: TCPAddress | UNIXAddress | None = None) -> Session:
        """
        The blank record of one more connection.
        """
        session = super().session()
        if time.time() < self._offer.until:
            session.offers = self._offer
        return session
