"""
What may be wrong with our own credentials.

It is found out in the way that the tunnel and its peers find out: by a handshake, in memory.  No
file shows what OpenSSL thinks of it: of short keys, of curves that TLS has no signature for, of
whatever a FIPS configuration allows.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from OpenSSL import SSL

from tlstunnel.errors import ConfigurationError, TunnelError
from tlstunnel.identity.credentials import Credentials, loadCredentials
from tlstunnel.identity.expiry import warningsOf
from tlstunnel.identity.files import entries, isDirectory
from tlstunnel.identity.lease import Lease
from tlstunnel.identity.names import Identity, Kind
from tlstunnel.identity.pem import loadKey, loadReadable
from tlstunnel.identity.pool import Pool, certifiedAs
from tlstunnel.identity.revocation import Revocations
from tlstunnel.identity.revocationfiles import loadRevocations
from tlstunnel.identity.trust import Anchors, Trust
from tlstunnel.identity.verify import coversName
from tlstunnel.identity.withdrawal import WithdrawnIdentity, isWithdrawn
from tlstunnel.tls import separation
from tlstunnel.tls.binding import CLIENTS, SERVERS
from tlstunnel.tls.context import clientContext, serverContext
from tlstunnel.tls.creators import ClientCreator, Creator
from tlstunnel.tls.credentials import present, refusal
from tlstunnel.tls.failures import handshakeFailure
from tlstunnel.tls.session import Session
from tlstunnel.tls.verification import Verifier

# A connection without a socket reads and writes memory.
_MEMORY = cast(socket.socket, None)

# What one side of a handshake writes, the other reads; there are five flights at most.
_FLIGHTS = 8

# What a handshake has succeeded with before: of thousands of certificates, hardly any is another
# one after a reload.  The key fits the first of them.
_MOST_USABLE = 4096
_usable: set[tuple[str, bool, bytes]] = set()


def handshake(server: SSL.Connection, client: SSL.Connection) -> list[SSL.Error | None]:
    """
    Let two connections in memory do their handshake, as far as they come.

    @return: what OpenSSL said of the failure, if it is one, to the server and to the client.
    """
    ends = [server, client]
    errors: list[SSL.Error | None] = [None, None]
    for _ in range(_FLIGHTS):
        for number in (1, 0):
            if errors[number] is None:
                try:
                    ends[number].do_handshake()
                except SSL.WantReadError:
                    pass
                except SSL.Error as error:
                    errors[number] = error
            with suppress(SSL.WantReadError):
                while True:
                    ends[1 - number].bio_write(ends[number].bio_read(1 << 16))
    return errors


def _answer(server: SSL.Connection) -> SSL.Error | None:
    """
    Let a server answer a client, which takes its key, and no further.

    @return: what OpenSSL said of the failure, if it is one.
    """
    client = _stranger()
    with suppress(SSL.WantReadError):
        client.do_handshake()
    server.bio_write(client.bio_read(1 << 16))
    try:
        server.do_handshake()
    except SSL.WantReadError:
        pass
    except SSL.Error as error:
        return error
    return None


def checkUsable(credentials: Credentials, minimum: str = "1.2") -> None:
    """
    Find out whether handshakes succeed with our certificate and key; whether anybody would believe
    them is another question.

    @param minimum: the lowest version of TLS, C{"1.2"} or C{"1.3"}.
    @raise ConfigurationError: they do not.
    """
    isLease = isinstance(credentials, Lease)
    # Those of one agent are all of a kind, for keys that we make: one tells about all.
    telling = credentials.certificates[1:] if isLease else credentials.certificates
    shown = minimum, isLease, b"".join(each.fingerprint(SHA256()) for each in telling)
    if shown in _usable:
        return
    creator = Creator(serverContext(credentials, minimum=minimum))
    server = _connected(creator)[0]
    # Who verifies what a provider has signed may ask the provider, see tlstunnel.tls.separation.
    tried = [_answer(server)] if credentials.isReferred else handshake(server, _stranger())
    for error in tried:
        if error is not None:
            raise refusal(credentials, error)
    if len(_usable) >= _MOST_USABLE:
        _usable.clear()
    _usable.add(shown)


def refusalOf(
    credentials: Credentials, trust: Trust, revocations: Revocations | None = None
) -> TunnelError | None:
    """
    Find out what peers that have C{trust} would say of our credentials.

    @param revocations: the lists of what was revoked that they have.
    @return: why a client would not believe the server that shows them, unless a server believes
        the client.
    """
    if separation.process.token:
        # Its provider may take part in it.
        return None
    with separation.process.trying():
        return _refusalOf(credentials, trust, revocations)


def _refusalOf(
    credentials: Credentials, trust: Trust, revocations: Revocations | None
) -> TunnelError | None:
    refused = _asServer(credentials, trust, revocations)
    if refused is None or _asClient(credentials, trust, revocations) is None:
        return None
    return refused


def _asServer(
    credentials: Credentials, trust: Trust, revocations: Revocations | None
) -> TunnelError | None:
    server = Creator(serverContext(credentials))
    verifier = Verifier(credentials.identity, trust, purpose=SERVERS, revocations=revocations)
    client = ClientCreator(clientContext(trust), verifier)
    ours, session = _connected(client)
    errors = handshake(_connected(server)[0], ours)
    return _verdict(ours, session, errors[1])


def _asClient(
    credentials: Credentials, trust: Trust, revocations: Revocations | None
) -> TunnelError | None:
    verifier = Verifier(credentials.identity, trust, purpose=CLIENTS, revocations=revocations)
    server = Creator(serverContext(credentials, trust), verifier)
    theirs = _stranger(credentials)
    ours, session = _connected(server)
    errors = handshake(ours, theirs)
    return _verdict(ours, session, errors[0])


def _connected(creator: Creator) -> tuple[SSL.Connection, Session]:
    session = creator.session()
    return creator.connection(_MEMORY, session), session


def _stranger(credentials: Credentials | None = None) -> SSL.Connection:
    """A client that believes every server."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if credentials is not None:
        present(context, credentials)
    connection = SSL.Connection(context, _MEMORY)
    connection.set_connect_state()
    return connection


def _verdict(
    connection: SSL.Connection, session: Session, error: SSL.Error | None
) -> TunnelError | None:
    return handshakeFailure(error, session) if error is not None else session.completed(connection)


def problemsOf(pool: Pool, identity: Identity, now: datetime) -> list[str]:
    """
    Find everything that is wrong with the credentials of C{identity}.

    @return: a line for each problem, with the file that has it.
    @raise ConfigurationError: there are no credentials.
    """
    directory = pool.existingDirectoryOf(identity)
    certificateFile, keyFile = directory / "fullchain.pem", directory / "privkey.pem"
    problems: dict[str, None] = {}
    if isWithdrawn(directory):
        return [str(WithdrawnIdentity(identity, directory))]
    try:
        loadKey(keyFile)
    except ConfigurationError as error:
        problems[str(error)] = None
    try:
        credentials = loadCredentials(identity, certificateFile, keyFile, private=False)
        problems |= dict.fromkeys(warningsOf(credentials, now))
        with separation.process.trying():
            checkUsable(credentials)
        leaf = credentials.certificates[0]
        named = certifiedAs(identity)
        if identity.kind is Kind.DOMAIN and not coversName(leaf, identity.domain):
            if coversName(leaf, f"*.{identity.domain}"):
                # It is shown under the names that the wildcard stands for.
                named = Identity(None, f"host.{identity.domain}")
            credentials = replace(credentials, identity=named or identity)
        known = _everybodyKnown(pool, leaf, identity)
        refused = refusalOf(credentials, known, loadRevocations([pool.path / "trust"]))
        if refused is not None and leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
            problems[f"{certificateFile}: {refused.detail}"] = None
    except ConfigurationError as error:
        problems[str(error)] = None
    return list(problems)


def _everybodyKnown(pool: Pool, leaf: x509.Certificate, identity: Identity) -> Trust:
    """
    Everybody whom this machine knows as an anchor of something: the peers' are not known here.
    """
    found: dict[x509.Certificate, None] = {}
    files = [pool.path / "ca" / "cert.pem"]
    if isDirectory(pool.path / "trust"):
        files += [file for file in entries(pool.path / "trust") if file.suffix == ".pem"]
    for file in files:
        with suppress(ConfigurationError):
            found |= dict.fromkeys(loadReadable(file)[0])
    if leaf.issuer == leaf.subject:
        # Whoever believes it has it as an anchor.
        found[leaf] = None
    return Trust(Anchors(tuple(found), identity.kind is Kind.DOMAIN, "this machine"))
