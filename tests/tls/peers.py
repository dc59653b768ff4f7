"""
A peer of whom everything can be odd, for tests.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any, cast

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Issued, Recipe, alternative, dns, make, root
from tlstunnel.errors import TunnelError
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.revocation import Revocations
from tlstunnel.identity.trust import Anchors, Trust
from tlstunnel.tls import binding, chain
from tlstunnel.tls.binding import CLIENTS, SERVERS
from tlstunnel.tls.checkup import handshake
from tlstunnel.tls.context import clientContext, serverContext
from tlstunnel.tls.creators import ClientCreator, Creator
from tlstunnel.tls.failures import handshakeFailure
from tlstunnel.tls.session import Session
from tlstunnel.tls.verification import Verifier

HOST = "srv.example.org"
USER = "alice@partner.example"
MEMORY = cast(socket.socket, None)

OURS = make(Recipe(san=alternative(dns("ours.example"))), root())


def anchors(*authorities: Issued, source: str = "general") -> Anchors:
    """Anchors of a file."""
    return Anchors(tuple(each.certificate for each in authorities), False, source)


def shown(san: bytes | None, issuer: Issued | None = None, **recipe: Any) -> Issued:
    """A certificate for a peer to show."""
    return make(Recipe(san=san, **recipe), issuer or root())


def peer(method: int, issued: Issued | None, version: int | None = None) -> SSL.Connection:
    """A peer that shows a certificate, and believes everything."""
    context = SSL.Context(method)
    # It may be careless.
    context.set_cipher_list(b"DEFAULT:@SECLEVEL=0")
    if version is not None:
        context.set_max_proto_version(version)
    if issued is not None:
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
        context.use_certificate(issued.certificate)
        context.use_privatekey(issued.key)
        for certificate in issued.chain[1:]:
            context.add_extra_chain_cert(certificate)
    return SSL.Connection(context, MEMORY)


class PeersTestCase(SynchronousTestCase):
    """We meet peers in memory, in both modes."""

    revocations: Revocations | None = None

    def client(self, expected: str = HOST, trust: Trust | None = None) -> Creator:
        """Ours that play the client."""
        trust = trust or Trust(anchors(root()))
        verifier = Verifier(
            Identity.parse(expected), trust, purpose=SERVERS, revocations=self.revocations
        )
        return ClientCreator(clientContext(trust), verifier)

    def server(
        self, expected: str = HOST, trust: Trust | None = None, service: str | None = None
    ) -> Creator:
        """Ours that play the server, and want a certificate."""
        trust = trust or Trust(anchors(root()))
        credentials = Credentials(Identity.parse("ours.example"), OURS.chain, OURS.key)
        selector = Selector.parse(expected)
        verifier = Verifier(selector, trust, service, CLIENTS, revocations=self.revocations)
        return Creator(serverContext(credentials, trust), verifier)

    def loseBinding(self) -> None:
        """From now on pyOpenSSL's binding is not what we know it to be."""
        for module in (binding, chain):
            self.patch(module, "_lib", None)
        for known in ("_TELLS_GROUP", "_HAS_MODES", "TELLS_ASKED"):
            self.patch(binding, known, False)

    def meet(
        self,
        creator: Creator,
        issued: Issued | None,
        version: int | None = None,
        between: Callable[[SSL.Connection, SSL.Connection], Any] = handshake,
    ) -> tuple[TunnelError | None, str, Session]:
        """
        Let a connection of ours meet a peer that shows a certificate.

        @return: why ours failed, if it did; what the peer was told; what is known.
        """
        session = creator.session()
        ours = creator.connection(MEMORY, session)
        if creator.isClient:
            theirs = peer(SSL.TLS_SERVER_METHOD, issued, version)
            theirs.set_accept_state()
            told, error = between(theirs, ours)
        else:
            theirs = peer(SSL.TLS_CLIENT_METHOD, issued, version)
            theirs.set_connect_state()
            error, told = between(ours, theirs)
        if told is None:
            # In TLS 1.3 a client hears only now what the server thinks of it.
            try:
                theirs.recv(1)
            except SSL.WantReadError:
                pass
            except SSL.Error as late:
                told = late
        failure = session.completed(ours) if error is None else handshakeFailure(error, session)
        return failure, str(told or ""), session


def _signature(flight: bytes) -> int:
    """Where the last byte is of a signature among the messages of TLS 1.2 in clear, if there is."""
    at = 0
    while at < len(flight) and flight[at] == 22:
        end = at + 5 + int.from_bytes(flight[at + 3 : at + 5])
        message = at + 5
        while message < end:
            size = int.from_bytes(flight[message + 1 : message + 4])
            if flight[message] in {12, 15}:  # server_key_exchange, certificate_verify
                return message + 3 + size
            message += 4 + size
        at = end
    return 0


class Spoiling:
    """A handshake in which the signature of one side arrives with one bit changed."""

    def __init__(self, ofServer: bool) -> None:
        self.ofServer = ofServer
        self.count = 0

    def __call__(self, server: SSL.Connection, client: SSL.Connection) -> list[SSL.Error | None]:
        """Go as far as it goes, and return the errors of both."""
        errors: list[SSL.Error | None] = [None, None]
        for _ in range(6):
            for end, far in ((client, server), (server, client)):
                try:
                    if errors[end is client] is None:
                        end.do_handshake()
                except SSL.WantReadError:
                    pass
                except SSL.Error as error:
                    errors[end is client] = error
                with contextlib.suppress(SSL.WantReadError):
                    data = bytearray(end.bio_read(1 << 16))
                    at = _signature(bytes(data))
                    if at and (end is server) is self.ofServer:
                        data[at] ^= 1
                        self.count += 1
                    far.bio_write(bytes(data))
        return errors


class Shaking:
    """Stands for a connection in its handshake."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def get_app_data(self) -> Session:
        """Its session."""
        return self.session
