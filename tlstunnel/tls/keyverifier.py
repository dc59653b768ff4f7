"""
The judgement on a peer by the key that both sides were given beforehand (see L{tlstunnel.tls.psk}).

A server asks for the key of an identity I{before} the client has proved to have it: what the client
says is a claim, until the handshake is complete, and has used the key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from OpenSSL import SSL

from tlstunnel.errors import IdentityRefused, TLSFailed, TunnelError, quote
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.tls import pskbinding
from tlstunnel.tls.pins import NO_ANCHORS
from tlstunnel.tls.verification import Verifier, notTheSame

if TYPE_CHECKING:
    from tlstunnel.tls.session import Session

# What OpenSSL says where a client has another key: in TLS 1.3, and in 1.2.
_OTHER_KEY = ("binder does not verify", "bad record mac")

# What it says where a client has offered none that counts.
_NO_KEY = ("no suitable signature algorithm", "no shared cipher")

# By what alerts a server says that it does not like our key.
_REFUSALS = (
    "unknown_psk_identity",
    "decrypt_error",
    "bad_record_mac",
    "handshake_failure",
    "illegal_parameter",
)


@dataclass(slots=True)
class Claim:
    """
    Who a client says that it is.

    @ivar name: what it says.
    @ivar identity: who that is; C{None} where nobody here has that name.
    @ivar names: how many it has given.
    """

    name: bytes
    identity: Identity | None
    names: int


class KeyVerifier(Verifier):
    """
    Demands that the peer has a key, by whatever handshake has used it.

    @ivar ours: who we are to a server; C{None} where the peer is a client.
    """

    def __init__(
        self, expected: Identity | Selector | AccessList, ours: Identity | None = None
    ) -> None:
        """
        @param expected: who must be there: a server with which we share the key of C{ours}, or a
            client that has its own.
        """
        super().__init__(expected, NO_ANCHORS)
        self.ours = ours

    def conclude(self, session: Session, connection: SSL.Connection) -> None:
        """
        The handshake is complete: find out what it has proved, and write that into the session.
        """
        if session.refusal is not None:
            return
        who = self._claimed(session) if pskbinding.isByKey(connection) else None
        if who is None or connection.get_peer_certificate() is not None:
            session.refusal = IdentityRefused("the peer has not used a pre-shared key")
        elif session.sameAs is not None and who != session.sameAs:
            session.refusal = notTheSame(who, session.sameAs)
        else:
            session.shown = who
            session.provenBy = f"the key of {self.ours}" if self.ours else "its pre-shared key"

    def _claimed(self, session: Session) -> Identity | None:
        if self.ours is not None:
            assert isinstance(self.expected, Identity)
            return self.expected
        return None if session.claim is None else session.claim.identity

    def failure(self, error: TunnelError, session: Session) -> TunnelError:
        """
        What C{error}, with which OpenSSL has ended a handshake, means here.
        """
        said = error.detail
        if self.ours is not None:
            alert = error.cause.removeprefix("alert ")
            if alert not in _REFUSALS:
                return error
            detail = f"the peer does not take the key of {self.ours} (alert: {alert})"
            return TLSFailed(detail, cause=f"key refused {alert}")
        claim = session.claim
        if error.cause.startswith("alert "):
            return error
        if claim is None:
            if not any(each in said for each in _NO_KEY):
                return error
            return TLSFailed(f"the peer offers no pre-shared key ({said})", cause="no key")
        if claim.identity is None:
            return IdentityRefused(
                f"there is no key here for the name {quote(claim.name)}", cause="unknown name"
            )
        if any(each in said for each in _OTHER_KEY):
            return IdentityRefused(
                f"the peer says that it is {claim.identity}, and has another key",
                cause="another key",
            )
        return error
