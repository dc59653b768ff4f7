"""
The matrix of certificates (L{tests.tls.oddcertificates}), each shown once by a server to a client,
and once by a client to a server.

The outcome is tried on
L{tlstunnel.identity.verify} alone, which judges names, and over real TLS in both modes, where
chain, dates and purposes count too.  A test of its own is made for every row.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any, cast

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Issued, Recipe, alternative, dns, make, root
from tests.tls.oddcertificates import NAME, OK, ROWS, UNREADABLE, Row
from tlstunnel.errors import IdentityRefused, TunnelError
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.trust import Anchors, Trust
from tlstunnel.identity.verify import verifyIdentity
from tlstunnel.tls.binding import CLIENTS, SERVERS
from tlstunnel.tls.context import clientContext, serverContext
from tlstunnel.tls.creators import ClientCreator, Creator
from tlstunnel.tls.failures import handshakeFailure
from tlstunnel.tls.session import Session
from tlstunnel.tls.verification import Verifier


class NamesTests(SynchronousTestCase):
    """Every row, judged by its names alone."""

    def judge(self, row: Row) -> None:
        """Both outcomes of a row are as it says."""
        certificate = row.make().certificate
        for expected, outcome in (
            (Identity.parse(row.expected), row.server),
            (Selector.parse(row.expected), row.client),
        ):
            with self.subTest(type(expected).__name__):
                if outcome == NAME:
                    refused = self.assertRaises(
                        IdentityRefused, verifyIdentity, certificate, expected, row.service
                    )
                    self.assertRegex(str(refused), row.because)
                    self.assertTrue(str(refused).isascii() and str(refused).isprintable())
                else:
                    self.assertTrue(
                        expected.matches(verifyIdentity(certificate, expected, row.service))
                        if isinstance(expected, Selector)
                        else verifyIdentity(certificate, expected, row.service) == expected
                    )


def _addTests(case: type[SynchronousTestCase], method: str) -> None:
    for each in ROWS:

        def test(self: Any, row: Row = each) -> None:
            getattr(self, method)(row)

        test.__doc__ = f"A certificate: {each.name}."
        setattr(case, each.testName, test)


_addTests(NamesTests, "judge")


def _show(context: SSL.Context, issued: Issued) -> None:
    """Let a context show a certificate, however odd, with its chain."""
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    context.use_certificate(issued.certificate)
    context.use_privatekey(issued.key)
    for certificate in issued.chain[1:]:
        context.add_extra_chain_cert(certificate)


def _shake(ours: SSL.Connection, session: Session, theirs: SSL.Connection) -> TunnelError | None:
    """
    Let two connections in memory do their handshake.

    @return: why ours failed, if it did.
    """
    done = False
    for _ in range(20):
        try:
            if not done:
                ours.do_handshake()
                done = True
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            return handshakeFailure(error, session)
        with contextlib.suppress(SSL.Error):
            theirs.do_handshake()
        moved = False
        for source, target in ((ours, theirs), (theirs, ours)):
            with contextlib.suppress(SSL.WantReadError):
                while True:
                    target.bio_write(source.bio_read(1 << 16))
                    moved = True
        if not moved:
            break
    if not done:
        raise AssertionError("the handshake stalled")
    return session.completed(ours)


class _HandshakeTestCase(SynchronousTestCase):
    """Every row over real TLS, in memory, our side made by L{tlstunnel.tls.context}."""

    trust = Trust(Anchors((root().certificate,), system=False, source="test"))

    def connections(self, row: Row) -> tuple[SSL.Connection, Session, SSL.Connection]:
        """Our connection, what is known of it, and that of the peer that shows the row."""
        raise NotImplementedError

    def outcome(self, row: Row) -> str:
        """What ought to become of the row."""
        raise NotImplementedError

    def shake(self, row: Row) -> None:
        """The outcome of the handshake is as the row says."""
        ours, session, theirs = self.connections(row)
        failure = _shake(ours, session, theirs)
        if self.outcome(row) == OK:
            self.assertIsNone(failure, str(failure))
            self.assertIsNotNone(session.identity)
            return
        self.assertIsInstance(failure, IdentityRefused)
        # What OpenSSL cannot read either was issued by nobody, as it sees it.
        unread = "|issuer is unknown" if row.because == UNREADABLE else ""
        self.assertRegex(str(failure), row.because + unread)
        self.assertTrue(str(failure).isascii() and str(failure).isprintable())


class ServersTests(_HandshakeTestCase):
    """We are the client, and a server shows us the certificate."""

    def outcome(self, row: Row) -> str:
        """What ought to become of it."""
        return row.server

    def connections(self, row: Row) -> tuple[SSL.Connection, Session, SSL.Connection]:
        """A client of ours, and the server."""
        verifier = Verifier(Identity.parse(row.expected), self.trust, row.service, SERVERS)
        creator = ClientCreator(clientContext(self.trust), verifier)
        session = creator.session()
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        _show(context, row.make())
        theirs = SSL.Connection(context, None)
        theirs.set_accept_state()
        return creator.connection(_MEMORY, session), session, theirs


class ClientsTests(_HandshakeTestCase):
    """We are the server, and a client shows us the certificate."""

    shown = make(Recipe(san=alternative(dns("ours.example"))), root())
    credentials = Credentials(Identity.parse("ours.example"), shown.chain, shown.key)

    def outcome(self, row: Row) -> str:
        """What ought to become of it."""
        return row.client

    def connections(self, row: Row) -> tuple[SSL.Connection, Session, SSL.Connection]:
        """A server of ours, and the client."""
        context = serverContext(self.credentials, self.trust)
        verifier = Verifier(Selector.parse(row.expected), self.trust, row.service, CLIENTS)
        creator = Creator(context, verifier)
        session = creator.session()
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        _show(context, row.make())
        theirs = SSL.Connection(context, None)
        theirs.set_connect_state()
        return creator.connection(_MEMORY, session), session, theirs


# Without a socket, a connection reads and writes memory.
_MEMORY = cast(socket.socket, None)

_addTests(ServersTests, "shake")
_addTests(ClientsTests, "shake")


class TableTests(SynchronousTestCase):
    """The table itself."""

    def test_isLargeEnough(self) -> None:
        """There are enough certificates, and no two rows are one test."""
        self.assertGreaterEqual(len(ROWS), 60)
        self.assertEqual(len({each.testName for each in ROWS}), len(ROWS))
