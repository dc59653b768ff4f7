"""
Connections that belong to another one, as data connections of FTP to their control connection: a
client that resumes the session of that one there proves that it is the same client, as nobody else
has the keys.

OpenSSL resumes a session only where the connection has the id context that the session began with
(SSL_CTX_set_session_id_context(3)).  A connection takes that from its context when it is made, and
keeps it.  So each connection that others may belong to has an id of its own, they have the same,
and a ticket of any other connection leads to all of a handshake, as if it were unknown.  A session
that begins on one of them, or a ticket that is given there, has the same id in it, and is as good:
so there is none but where the client has proved that it is the same.

In TLS 1.3 the session is in tickets.  In TLS 1.2 it is in OpenSSL's memory, as long as the
connection lasts that it began with: some clients know no tickets, and nobody can decrypt with the
key of tickets what was recorded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from time import time
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL

from tlstunnel.errors import IdentityRefused, TunnelError

if TYPE_CHECKING:
    from tlstunnel.tls.session import Session
    from tlstunnel.tls.verification import Proof

_lib: Any
try:
    from OpenSSL.SSL import _lib  # type: ignore[attr-defined,unused-ignore]
except ImportError:
    _lib = None

#: Whether a connection can have an id of its own; where it cannot, nothing is resumed.
IS_SUPPORTED = all(
    hasattr(_lib, name)
    for name in (
        "SSL_CTX_set_session_id_context",
        "SSL_SESSION_set_protocol_version",
        "SSL_get0_group_name",
        "SSL_get_session",
        "SSL_session_reused",
    )
)

#: Seconds for which the session of a connection can be resumed by those that belong to it, as long
#: as it lasts: the most that TLS 1.3 knows (RFC 8446, section 4.6.1).
LONGEST_SECONDS = 604_800

#: What a refusal says of its cause.
STRANGER = "no resumption"
DEMANDED = "no resumption as demanded"

_ID_BYTES = 32

# That of contexts between two connections: nobody ever has it.
_NOBODY = os.urandom(_ID_BYTES)


class Belonging:
    """
    What a client's connection and those that belong to it have in common.

    @ivar demands: whether each of these has to resume its session, also where no other one has.
    """

    __slots__ = ("_context", "_hasResumed", "_id", "_proof", "_until", "demands")

    def __init__(self, context: SSL.Context) -> None:
        """
        @param context: what all of them begin with, as it has the keys of their tickets.
        """
        self.demands = False
        self._context = context
        self._id = os.urandom(_ID_BYTES)
        self._hasResumed = False
        self._proof: Proof | None = None
        self._until = 0.0

    @contextmanager
    def making(self) -> Iterator[SSL.Context]:
        """
        The context, while one of the connections is made.
        """
        context = self._context
        identify(context, self._id)
        try:
            yield context
        finally:
            # A connection that takes another context for the name that is asked for would take the
            # id of that one too, if its own were still that of its first context.
            identify(context, _NOBODY)

    def owned(self, session: Session) -> None:
        """
        Others may belong to the connection of C{session} from now on.
        """
        self._proof = session.proof
        if session.proof is not None:
            assert session.verifier is not None
            self._until = min(session.proof.until, session.verifier.goodUntil(session.proof.leaf))

    def proofOf(self, leaf: bytes) -> Proof | None:
        """
        What the client has proved on the connection that others belong to, when one of these has
        resumed its session.

        @param leaf: the fingerprint of its certificate.
        @return: C{None} if that has ended.
        """
        proof = self._proof
        return proof if proof is not None and leaf == proof.leaf and time() < self._until else None

    def completed(self, isResumed: bool) -> TunnelError | None:
        """
        The handshake of a connection that belongs to the other one is complete, so that its client
        has proved what it has claimed.

        @return: why the connection must end nevertheless, if it must.
        """
        refusal = self.judge(isResumed)
        self._hasResumed |= isResumed
        return refusal

    def judge(self, isResumed: bool, isAlone: bool = True) -> TunnelError | None:
        """
        See whether a connection may belong to the other one.

        A client that has resumed the session once can do so; others have no way to prove that they
        are the same.

        @param isResumed: whether it has resumed its session.
        @param isAlone: whether nobody else has asked to be in its place.
        @return: why not, if it may not.
        """
        if isResumed:
            return None
        cause = STRANGER
        if not isAlone:
            why = "somebody else at the same address has connected as well"
        elif self._hasResumed:
            why = "the client has done so before"
        elif self.demands:
            why, cause = "that is demanded here", DEMANDED
        else:
            return None
        return IdentityRefused(
            f"it does not resume the session of its control connection, and {why}", cause=cause
        )


def allow(context: SSL.Context) -> None:
    """
    Let connections of a new context have others that belong to them.
    """
    context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
    context.set_session_id(_NOBODY)
    context.set_timeout(LONGEST_SECONDS)


def spoil(connection: SSL.Connection) -> None:
    """
    Let nobody resume the session of a connection whose handshake is complete: as one of another
    version of TLS it is as good as unknown.
    """
    _lib.SSL_SESSION_set_protocol_version(_lib.SSL_get_session(connection._ssl), 0)


def identify(context: SSL.Context, number: bytes) -> None:
    """
    Give those who are made with C{context} next an id.
    """
    if _lib.SSL_CTX_set_session_id_context(context._context, number, len(number)) != 1:
        raise ValueError("OpenSSL takes no id of sessions")
