"""
Who a server is under each of its names, and the choice between them by SNI (RFC 6066, section 3),
within the handshake.

OpenSSL lets a connection change its context there, which brings another certificate, other anchors
and another list of authorities.  Whether a certificate is demanded at all, and who judges it,
belongs to the connection itself; so do the versions of TLS.  All of that follows the choice here,
or the handshake fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from time import time
from typing import TYPE_CHECKING
from weakref import ref

from cryptography.x509 import Certificate
from OpenSSL import SSL

from tlstunnel.address import TCPAddress
from tlstunnel.errors import IdentityRefused, TLSFailed, Withdrawn, quote
from tlstunnel.identity.names import Identity
from tlstunnel.tls import binding
from tlstunnel.tls.verification import Verifier, verifyPeer

if TYPE_CHECKING:
    from tlstunnel.tls.session import Session

# Alerts (RFC 8446, section 6).
_HANDSHAKE_FAILURE = 40
_PROTOCOL_VERSION = 70
_INTERNAL_ERROR = 80
_MISSING_EXTENSION = 109
_UNRECOGNIZED_NAME = 112

#: The versions of TLS, as administrators and as OpenSSL know them.
VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


class Face:
    """
    Who a server is under one name, and what it demands there.

    @ivar name: the name, or a wildcard; empty for who it is else.
    @ivar context: shows a certificate, and demands one where there is a verifier.
    @ivar verifier: what judges the clients.
    @ivar alpn: what is selected from what a client offers; empty: an offer is ignored.
    @ivar certificate: the certificate that is shown, where anybody has to know.
    @ivar ours: whose certificate that is.
    @ivar isWithdrawn: whether nobody is served under it any more.
    @ivar until: when it must not be shown any more, in seconds since 1970.
    """

    __slots__ = (
        "__weakref__",
        "_latest",
        "_minimum",
        "alpn",
        "certificate",
        "context",
        "isWithdrawn",
        "name",
        "ours",
        "until",
        "verifier",
    )

    def __init__(
        self,
        context: SSL.Context,
        verifier: Verifier | None = None,
        alpn: Sequence[bytes] = (),
        minimum: str = "1.2",
        name: str = "",
        certificate: Certificate | None = None,
        until: float = inf,
        ours: Identity | None = None,
        isWithdrawn: bool = False,
    ) -> None:
        """
        @param minimum: the lowest version of TLS, C{"1.2"} or C{"1.3"}.
        """
        self.context = context
        self.verifier = verifier
        self.alpn = alpn
        self._minimum = VERSIONS[minimum]
        self.name = name
        self.certificate = certificate
        self.ours = ours
        self.isWithdrawn = isWithdrawn
        self.until = until
        # Shared with those before and behind, and held by nobody but whoever uses the latest.
        self._latest = [ref(self)]

    def succeed(self, before: Face) -> None:
        """
        Be what C{before} was, with another certificate.
        """
        self._latest = before._latest
        self._latest[0] = ref(self)

    @property
    def latest(self) -> Face:
        """
        What has succeeded it last, as long as that is used; else itself.
        """
        return self._latest[0]() or self

    def takes(self, version: int) -> bool:
        """
        Whether a connection of that version of TLS is good enough.
        """
        return version >= self._minimum


class Faces:
    """
    All faces of one server.

    A name is looked up among those that were given for a face, then among their wildcards, then
    among the names of certificates, then among the wildcards of these.

    @ivar default: the one for clients that ask for no name.
    @ivar demands: whether any of them demands certificates.
    """

    def __init__(
        self,
        default: Face,
        given: Mapping[str, Face],
        certified: Mapping[str, Face],
        anyName: bool = False,
        requiresName: bool = False,
    ) -> None:
        """
        @param given: by their names, normal domains; a wildcard begins with C{*.}.
        @param certified: the same of names in certificates.
        @param anyName: the default is for all other names, too.
        @param requiresName: refuse clients that ask for none.
        """
        self.default = default
        # A wildcard that was given comes before the names in certificates that it is for.
        covered = {name: given[wild] for name in certified if (wild := _wildcardOf(name)) in given}
        self._named = {**certified, **covered, **given}
        everybody = {*given.values(), *certified.values(), default}
        self._isAlone = everybody == {default}
        self.demands = any(each.verifier is not None for each in everybody)
        self._anyName = anyName
        self._requiresName = requiresName

    @property
    def isAlone(self) -> bool:
        """
        Whether there is no choice.
        """
        return self._isAlone

    def find(self, domain: str) -> Face | None:
        """
        Who has the name C{domain}.

        @param domain: in lower case, without a dot at its end.
        @return: C{None} if nobody has.
        """
        return self._known(domain) or (self.default if self._anyName else None)

    def _known(self, domain: str) -> Face | None:
        return self._named.get(domain) or self._named.get(_wildcardOf(domain))

    def covers(self, domain: str) -> bool:
        """
        Whether anybody has the name C{domain}.
        """
        return self.find(domain) is not None

    def choose(self, connection: SSL.Connection, session: Session) -> int | None:
        """
        Choose who the client of C{connection} has to do with.

        It may be asked twice: a client that is told to begin again (RFC 8446, section 4.1.4) asks
        again, and that counts.

        @return: the alert that refuses the client, of which the session knows why; else C{None}.
        """
        asked = connection.get_servername()
        session.serverName = name = asked.decode("latin-1") if asked is not None else ""
        bound = session.bound
        face = self._known(name.lower().removesuffix(".")) if name else None
        if face is None:
            # Some clients (lftp) send an address, which is no name.
            if asked is None or TCPAddress(name, 0).isLiteral:
                if self._requiresName and not session.isBeside:
                    return _refuseNameless(connection, session)
                face = bound or self.default
            elif self._anyName:
                face = self.default
        if face is None:
            session.refusal = TLSFailed(
                f"the client asked for a name that is not ours: {quote(asked or b'')}",
                cause="wrong name",
            )
            return _UNRECOGNIZED_NAME
        if bound is not None and face is not bound:
            session.refusal = TLSFailed(
                f"the client asks for {quote(asked or b'')} now, and for another name before",
                cause="other name",
            )
            return _UNRECOGNIZED_NAME
        if not face.takes(connection.get_protocol_version()):
            session.refusal = TLSFailed(
                f"the client comes with a version of TLS that is too old for {face.name}",
                cause="old version",
            )
            return _PROTOCOL_VERSION
        if session.isBeside:
            # What it belongs to may have begun long ago.
            face = face.latest
        if face.isWithdrawn or face.until <= time():
            return _refuseGone(face, session)
        if connection.get_context() is not face.context:
            if self.demands:
                binding.changeContext(connection, face.context, verifyPeer)
            else:
                # There is nothing that OpenSSL would leave as it was.
                connection.set_context(face.context)
        session.turn(face)
        return None if session.belonging is None else _strangerOf(connection, session)


def _wildcardOf(domain: str) -> str:
    """
    What stands for C{domain} and all beside it; empty for nothing.
    """
    label, _, parent = domain.partition(".")
    return f"*.{parent}" if label else ""


def _refuseGone(face: Face, session: Session) -> int:
    """
    The alert that refuses whoever comes for C{face}, which has no certificate any more.
    """
    if face.isWithdrawn:
        session.refusal = Withdrawn(f"{face.ours} has no certificate any more, or not yet")
        return _UNRECOGNIZED_NAME if session.serverName else _HANDSHAKE_FAILURE
    session.refusal = IdentityRefused(
        f"our own certificate for {face.name or 'this name'} has ended, and the agent gave "
        "no other",
        cause="ended lease",
    )
    return _INTERNAL_ERROR


def _strangerOf(connection: SSL.Connection, session: Session) -> int | None:
    """
    The alert that refuses whoever should resume the session of another connection, and does not.
    """
    if not session.isBeside:
        return None
    assert session.belonging is not None
    session.refusal = session.belonging.judge(binding.isResumed(connection))
    return None if session.refusal is None else _HANDSHAKE_FAILURE


def _givesTickets(connection: SSL.Connection, session: Session) -> bool:
    """
    Whether a client is to get tickets.
    """
    if session.belonging is None or not session.givesTickets:
        return session.givesTickets
    if connection.get_protocol_version() < VERSIONS["1.3"]:
        # The session is in memory.
        return False
    # Who belongs to another connection has to prove that first.
    return not session.isBeside or binding.isResumed(connection)


def _refuseNameless(connection: SSL.Connection, session: Session) -> int:
    session.refusal = TLSFailed("the client asks for no name (SNI)", cause="no name asked")
    # RFC 8446, section 9.2; before, no client had that alert.
    isNew = connection.get_protocol_version() >= VERSIONS["1.3"]
    return _MISSING_EXTENSION if isNew and not session.serverName else _UNRECOGNIZED_NAME


def chooseFace(connection: SSL.Connection) -> int | None:
    """
    What a server does with SNI, or without it.

    @return: the alert that refuses the client, else C{None}.
    """
    session: Session = connection.get_app_data()
    if not (_givesTickets(connection, session) or binding.beginsAgain(connection)):
        # OpenSSL has the number of tickets in TLS 1.3 for whole contexts, and pyOpenSSL no call for
        # it; but where tickets are forbidden here, and were not before, it gives none.  Who is told
        # to begin again comes here once more.
        connection.set_options(SSL.OP_NO_TICKET)
    faces = session.faces
    if faces is None:
        asked = connection.get_servername()
        session.serverName = asked.decode("latin-1") if asked is not None else ""
        return None
    try:
        return faces.choose(connection, session)
    except Exception as error:  # noqa: BLE001 - whatever happens, nobody is served by chance
        session.refusal = TLSFailed(f"the name that is asked for could not be judged: {error!r}")
        return _INTERNAL_ERROR
