"""
TLS with pre-shared keys (RFC 4279 and RFC 5489; RFC 8446, section 2.2), and with nothing else.

Contexts have no certificate and no anchors: none is ever shown, and none is believed.  All suites
have forward secrecy, and the one hash that such keys have where nobody says more, so that no side
passes over a key because its hash is another one.

A client that claims to be somebody whom nobody knows is measured by a key that nobody has, so that
it fails as one that has a wrong key does.  But what it offers first may be the ticket of another
server, which says nothing of who it is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from OpenSSL import SSL, crypto
from twisted.logger import Logger

from tlstunnel.errors import ConfigurationError, IdentityRefused
from tlstunnel.identity.psk import KEY_BYTES, LONGEST_NAME, PresharedKey
from tlstunnel.tls import pskbinding
from tlstunnel.tls.context import answerClients, bareContext
from tlstunnel.tls.keyverifier import Claim, KeyVerifier

if TYPE_CHECKING:
    from tlstunnel.tls.session import Session

#: The suites: of TLS 1.2 the only one of OpenSSL's that has ECDHE and AEAD, and of 1.3 those with
#: SHA-256.
SUITES = (
    b"ECDHE-PSK-CHACHA20-POLY1305",
    b"TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256",
)

#: How many names of a client are looked up: it offers a ticket and a key or two, and perhaps all of
#: them twice.
MOST_NAMES = 16

# What makes keys for those whom nobody knows.
_SECRET = os.urandom(32)


def checkThere() -> None:
    """
    See that OpenSSL can be told of such keys.

    @raise ConfigurationError: it cannot.
    """
    if not pskbinding.isThere():
        raise ConfigurationError(
            "`trust` psk",
            "needs what this release of pyOpenSSL or cryptography does not have",
            "use another release of them; docs/psk.md names those that were tried",
        )


def clientContext(key: PresharedKey, minimum: str, alpn: Sequence[bytes] = ()) -> SSL.Context:
    """
    The context of connections to servers with which we share a key.

    @param minimum: the lowest version of TLS, C{"1.2"} or C{"1.3"}.
    @param alpn: what to offer (RFC 7301), preferred first.
    @raise ConfigurationError: OpenSSL cannot be told of it.
    """
    checkThere()
    context = bareContext(minimum, isClient=True, suites=SUITES)
    pskbinding.useKey(context, key.name, key.key)
    # A server that does not know the key may show one.
    context.set_verify(SSL.VERIFY_PEER, _refuseCertificate)
    if alpn:
        context.set_alpn_protos(list(alpn))
    return context


def serverContext(
    keys: Mapping[bytes, PresharedKey], minimum: str, selects: bool = False
) -> SSL.Context:
    """
    The context of connections from clients.

    @param keys: those that count, by the names of their identities within TLS.
    @param minimum: the lowest version of TLS, C{"1.2"} or C{"1.3"}.
    @param selects: whether a session may have a protocol to select from what a client offers.
    @raise ConfigurationError: OpenSSL cannot be told of them.
    """
    checkThere()
    context = bareContext(minimum, isClient=False, suites=SUITES)
    context.set_verify(SSL.VERIFY_NONE)

    def find(connection: SSL.Connection, name: bytes) -> bytes:
        try:
            session: Session = connection.get_app_data()
            key = _claim(session, keys, name)
            # All of it is done for everybody, as the time would tell who is known.
            isNew = connection.get_protocol_version() >= SSL.TLS1_3_VERSION
            nobodys = b"" if _isTicket(session, name) and isNew else _nobodys(name)
            return nobodys if key is None else key.key
        except Exception:  # noqa: BLE001 - OpenSSL would not hear of it
            _log.failure("a pre-shared key could not be looked up")
            return b""

    pskbinding.findKeys(context, find)
    answerClients(context, selects)
    return context


def _claim(
    session: Session, keys: Mapping[bytes, PresharedKey], name: bytes
) -> PresharedKey | None:
    """
    Note who a client says that it is, and find the key of whoever that is.
    """
    before = session.claim
    names = 1 if before is None else before.names + 1
    key = keys.get(name) if len(name) <= LONGEST_NAME and names <= MOST_NAMES else None
    session.claim = Claim(name[: LONGEST_NAME + 1], None if key is None else key.identity, names)
    return key


def _isTicket(session: Session, name: bytes) -> bool:
    """
    Whether what a client offers may be one: random bytes, which are no text.  Clients offer such
    before their key, and must not fail by that, unless there is no end of it.
    """
    assert session.claim is not None
    if session.claim.names > MOST_NAMES:
        return False
    try:
        return not name.decode().isprintable()
    except UnicodeDecodeError:
        return True


def _nobodys(name: bytes) -> bytes:
    """
    A key that nobody has; always the same for a name, as another one would tell.
    """
    return hashlib.blake2b(name, key=_SECRET, digest_size=KEY_BYTES).digest()


def _refuseCertificate(
    connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, ok: int
) -> bool:
    """
    OpenSSL's verify callback: called only where a server shows a certificate.
    """
    session: Session = connection.get_app_data()
    verifier = session.verifier
    ours = verifier.ours if isinstance(verifier, KeyVerifier) else None
    session.refusal = IdentityRefused(
        f"the peer shows a certificate, and does not use the key of {ours}",
        cause="certificate for a key",
    )
    return False


_log = Logger()
