"""
Responses of OCSP that are stapled to handshakes (RFC 6066, section 8): ours in server mode, and
those that we require in client mode.
"""

from __future__ import annotations

from hashlib import sha256
from time import time

from OpenSSL import SSL

from tlstunnel.errors import IdentityRefused
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.ocsp import ABSENT, Answer, judge, questionAbout, responderOf
from tlstunnel.identity.pem import quietly
from tlstunnel.identity.revocation import REVOKED
from tlstunnel.tls.binding import fingerprint
from tlstunnel.tls.session import Session
from tlstunnel.tls.verification import Verifier

#: Staples of servers of which a verifier remembers that they are good.
ANSWERS_KEPT = 100


class Staple:
    """
    What is stapled where one of our identities is shown.

    @ivar source: where our certificate comes from, for messages.
    @ivar certificate: it.
    @ivar url: where to ask about it; empty where that cannot be known.
    @ivar answer: what is stapled, until its end; C{None} for nothing.
    """

    def __init__(self, credentials: Credentials) -> None:
        self.source = credentials.source or str(credentials.identity)
        self.certificate, *others = credentials.certificates
        self.url = responderOf(self.certificate)
        self._issuer = others[0] if others else None
        self.answer: Answer | None = None

    @property
    def problem(self) -> str:
        """Why nobody can be asked; empty if somebody can."""
        if not self.url:
            return "names no responder of OCSP, so that there is nothing to staple"
        if self._issuer is None:
            return "is not followed by its issuer's, so that there is nothing to staple"
        return ""

    def question(self) -> bytes:
        """
        What to ask.
        """
        assert self._issuer is not None
        with quietly():
            return questionAbout(self.certificate, self._issuer)

    def take(self, der: bytes, now: float) -> Answer:
        """
        Staple an answer from now on.

        @param now: in seconds since 1970.
        @raise IdentityRefused: it is no good; then the one before goes on to be stapled, unless
            this one says that our certificate was revoked.
        """
        assert self._issuer is not None
        try:
            self.answer = judge(der, self.certificate, self._issuer, now)
        except IdentityRefused as refused:
            if refused.cause == REVOKED:
                self.answer = None
            raise
        return self.answer

    def read(self) -> bytes:
        """
        What to staple now; nothing if there is nothing that is still good.
        """
        answer = self.answer
        return answer.der if answer is not None and time() < answer.end else b""


def offer(context: SSL.Context, staple: Staple) -> None:
    """
    Let the connections of a context of ours staple what there is, to clients that ask for it.
    """
    context.set_ocsp_server_callback(_read, staple)


def _read(_: SSL.Connection, staple: Staple | None) -> bytes:
    return b"" if staple is None else staple.read()


def demand(context: SSL.Context) -> None:
    """
    Let the connections of a context of ours refuse servers that staple nothing good, where they
    ask for it.
    """
    context.set_ocsp_client_callback(_check)


def _check(connection: SSL.Connection, der: bytes, _: None) -> bool:
    """
    OpenSSL's callback: behind that which verifies, and for resumed sessions too.
    """
    session: Session = connection.get_app_data()
    if session.shown is None:
        # Nobody was verified, as a session is resumed; what counts then is in Session.completed.
        return True
    try:
        session.goodUntil = _judged(connection, der).end
    except IdentityRefused as refused:
        session.refusal = refused
    except Exception as error:  # noqa: BLE001 - whatever happens, the peer is not believed
        session.refusal = IdentityRefused(f"what is stapled could not be judged: {error!r}")
    return session.refusal is None


def _judged(connection: SSL.Connection, der: bytes) -> Answer:
    if not der:
        raise IdentityRefused("the server staples no response of OCSP", cause=ABSENT)
    chain = connection.get_verified_chain() or []
    if len(chain) < 2:
        raise IdentityRefused("of an anchor itself no response of OCSP counts", cause=ABSENT)
    verifier: Verifier = connection.get_app_data().verifier
    now = time()
    # A server staples the same for hours.
    key = b"".join((*map(fingerprint, chain[:2]), sha256(der).digest()))
    known = verifier.answers.get(key)
    if known is None or known.end <= now:
        with quietly():
            leaf, issuer = (each.to_cryptography() for each in chain[:2])
        known = judge(der, leaf, issuer, now)
        if len(verifier.answers) >= ANSWERS_KEPT:
            verifier.answers.clear()
        verifier.answers[key] = known
    return known
