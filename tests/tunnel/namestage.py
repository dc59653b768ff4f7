"""
A server tunnel that stands for several names, and clients that ask for them, for tests.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Issued, Recipe, alternative, dns, mail, make, root
from tlstunnel.address import TCPAddress
from tlstunnel.errors import TunnelError
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.protocols.registry import find
from tlstunnel.tls.checkup import handshake
from tlstunnel.tls.creators import Creator
from tlstunnel.tls.failures import handshakeFailure
from tlstunnel.tls.session import Session
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.servedname import Addresses, ServedName

MEMORY = cast(Any, None)

VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


def at(port: int) -> Addresses:
    """A backend."""
    return (TCPAddress("127.0.0.1", port),)


FRONT, OPEN, CLOSED, SECOND = (at(port) for port in (1, 2, 3, 4))


class Met:
    """
    What came of a connection.

    @ivar told: what the client was told by an alert, or otherwise; empty if it was served.
    @ivar why: why we have ended it; C{None} if we have not.
    @ivar shown: the first name in the certificate that the client saw.
    @ivar remote: where its connection would be forwarded to.
    @ivar authorities: those that it was told of when it was asked for a certificate.
    """

    def __init__(
        self,
        server: SSL.Connection,
        client: SSL.Connection,
        session: Session,
        prepared: Prepared,
        begin: Callable[[SSL.Connection, SSL.Connection], Any],
    ) -> None:
        failed, told = begin(server, client)
        if told is None:
            # In TLS 1.3 a client hears only now what the server thinks of it.
            try:
                client.recv(1)
            except SSL.WantReadError:
                pass
            except SSL.Error as late:
                told = late
        self.session = session
        self.told = str(told or "")
        self.why: TunnelError | None = (
            session.completed(server) if failed is None else handshakeFailure(failed, session)
        )
        certificate = client.get_peer_certificate(as_cryptography=True)
        names = _names(certificate) if certificate is not None else []
        self.shown = names[0] if names else ""
        assert prepared.names is not None
        self.remote: Addresses | None = None
        if self.why is None:
            self.remote = prepared.names.remote(session) or prepared.tunnel.remote
        self.authorities = [each.CN for each in client.get_client_ca_list()]
        self.alpn = session.alpn


def _names(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.DNSName)


class NamesTestCase(SynchronousTestCase):
    """
    A server tunnel with a pool of its own.
    """

    def setUp(self) -> None:
        """
        Three identities, and a PKI for clients.
        """
        self.pool = Pool(Path(self.mktemp()))
        for name in ("front.example", "open.example", "closed.example"):
            createIdentity(self.pool, Identity.parse(name))
        self.trust = Path(self.mktemp())
        self.trust.write_bytes(root().certificate.public_bytes(Encoding.PEM))
        self.bob = make(Recipe(san=alternative(mail("bob@partner.example"))), root())
        self.eve = make(Recipe(san=alternative(mail("eve@other.example"))), root())

    def tunnel(self, *names: ServedName, **settings: Any) -> Tunnel:
        """
        A description.
        """
        defaults: dict[str, Any] = {
            "mode": Mode.SERVER,
            "local": (TCPAddress("127.0.0.1", 0),),
            "remote": FRONT,
            "dialect": find("none"),
            "localID": Identity.parse("front.example"),
            "pool": self.pool,
            "trust": (str(self.trust),),
            "names": names,
        }
        return Tunnel(**(defaults | settings))

    def prepared(self, *names: ServedName, **settings: Any) -> Prepared:
        """
        A tunnel that is ready.
        """
        return Prepared(self.tunnel(*names, **settings))

    def issue(self, directory: str, *names: str) -> None:
        """
        Put a certificate for C{names} into the pool.
        """
        createIdentity(self.pool, Identity.parse(directory))
        place = self.pool.path / directory
        issued = make(Recipe(san=alternative(*map(dns, names))), root())
        (place / "fullchain.pem").write_bytes(issued.chainPEM())
        (place / "privkey.pem").write_bytes(issued.keyPEM())

    def meet(
        self,
        prepared: Prepared,
        name: bytes | str | None,
        version: str = "1.3",
        issued: Issued | None = None,
        alpn: tuple[bytes, ...] = (),
        creator: Creator | None = None,
        begin: Callable[[SSL.Connection, SSL.Connection], Any] = handshake,
    ) -> Met:
        """
        Let a client come.

        @param name: what it asks for.
        @param issued: the certificate that it has.
        """
        creator = creator or prepared.serverCreator
        session = creator.session()
        server = creator.connection(MEMORY, session)
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(VERSIONS[version])
        context.set_max_proto_version(VERSIONS[version])
        if issued is not None:
            context.use_certificate(issued.certificate)
            context.use_privatekey(issued.key)
        if alpn:
            context.set_alpn_protos(list(alpn))
        client = SSL.Connection(context, MEMORY)
        if name is not None:
            client.set_tlsext_host_name(name.encode() if isinstance(name, str) else name)
        client.set_connect_state()
        return Met(server, client, session, prepared, begin)
