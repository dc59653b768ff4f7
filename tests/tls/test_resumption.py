"""
Tests for L{tlstunnel.tls.resumption}, and for what connections make of it: over real TLS in memory,
in both roles and both versions.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, cast

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import (
    Issued,
    Recipe,
    alternative,
    authorityRecipe,
    dns,
    mail,
    make,
    root,
)
from tests.revoked import HOUR, makeList
from tlstunnel.address import TCPAddress
from tlstunnel.errors import IdentityRefused, TLSFailed, TunnelError
from tlstunnel.identity.crl import RevocationList
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pool import Credentials
from tlstunnel.identity.revocation import Revocations
from tlstunnel.identity.trust import Anchors, Trust
from tlstunnel.tls import resumption, session, verification
from tlstunnel.tls.binding import CLIENTS, isResumed
from tlstunnel.tls.checkup import handshake
from tlstunnel.tls.context import clientContext, serverContext
from tlstunnel.tls.creators import ClientCreator, Creator, ServerCreator
from tlstunnel.tls.faces import Face, Faces
from tlstunnel.tls.failures import handshakeFailure
from tlstunnel.tls.resumption import (
    LONGEST,
    MOST_DECLINED,
    REST,
    SESSIONS_PER_SERVER,
    Offer,
    Server,
    Sessions,
)
from tlstunnel.tls.session import Session
from tlstunnel.tls.verification import Proof, Verifier

HOST = "srv.example.org"
OTHER = "other.example.org"
USER = "alice@example.org"
HERE = TCPAddress("192.0.2.1", 443)
THERE = TCPAddress("192.0.2.2", 443)
MEMORY = cast(socket.socket, None)
BOTH = make(Recipe(san=alternative(dns(HOST), dns(OTHER))), root())


def trusting(*authorities: Issued) -> Trust:
    """
    Whoever believes these.
    """
    return Trust(Anchors(tuple(each.certificate for each in authorities), False, "tests"))


def serving(face: Face, resumption: bool = True) -> Creator:
    """
    What makes connections of a server that has one face.
    """
    return ServerCreator(Faces(face, {}, {}, anyName=True), tickets=resumption)


def shows(context: SSL.Context, issued: Issued) -> SSL.Context:
    """
    A context with a certificate to show.
    """
    context.use_certificate(issued.certificate)
    context.use_privatekey(issued.key)
    for certificate in issued.chain[1:]:
        context.add_extra_chain_cert(certificate)
    return context


class SessionsTests(SynchronousTestCase):
    """
    L{Sessions}.
    """

    def setUp(self) -> None:
        """
        Nothing is kept, and it is one second past 1970.
        """
        self.now = 1.0
        self.sessions = Sessions(lambda: self.now)

    def offer(self, until: float = 100.0) -> Offer:
        """
        One that cannot be resumed, as nobody tries.
        """
        proof = Proof(Identity.parse(HOST), b"", until)
        return Offer(cast(SSL.Session, object()), proof, until)

    def server(self, name: str = "a") -> Server:
        """
        What is kept of one.
        """
        server = self.sessions.at(name)
        assert server is not None
        return server

    def test_aSessionIsTakenOnce(self) -> None:
        """
        As it is offered once (RFC 8446, appendix C.4).
        """
        offer = self.offer()
        self.sessions.keep(self.server(), offer)
        self.assertIs(self.sessions.take(self.server()), offer)
        self.assertIsNone(self.sessions.take(self.server()))

    def test_itBelongsToItsServer(self) -> None:
        """
        And to nobody else.
        """
        self.sessions.keep(self.server("a"), self.offer())
        self.assertIsNone(self.sessions.take(self.server("b")))

    def test_whatHasEndedIsNotOffered(self) -> None:
        """
        Not even at that moment.
        """
        self.sessions.keep(self.server(), self.offer(until=50.0))
        self.now = 50.0
        self.assertIsNone(self.sessions.take(self.server()))

    def test_ofOneServerTheOldestGoes(self) -> None:
        """
        The youngest is offered first.
        """
        offers = [self.offer() for _ in range(SESSIONS_PER_SERVER + 1)]
        for each in offers:
            self.sessions.keep(self.server(), each)
        found = [self.sessions.take(self.server()) for _ in offers]
        self.assertEqual(found, [*reversed(offers[1:]), None])

    def test_theServerThatHasBeenKnownLongestIsForgotten(self) -> None:
        """
        With all that is kept of it, also by connections that go on.
        """
        for name in ("SESSIONS_KEPT", "SERVERS_KNOWN"):
            with self.subTest(name):
                self.setUp()
                self.patch(resumption, name, 2)
                first = self.server("a")
                for which in "abc":
                    self.sessions.keep(self.server(which), self.offer())
                self.sessions.keep(first, self.offer())
                self.assertEqual(self.sessions.count, 2)
                self.assertIsNone(self.sessions.take(first))
                for which in "bc":
                    self.assertIsNotNone(self.sessions.take(self.server(which)), which)
                self.assertEqual(self.sessions.count, 0)

    def test_aServerThatResumesNothingRests(self) -> None:
        """
        Nothing is kept for it for a while, and then one is tried.
        """
        server = self.server()
        self.sessions.keep(server, self.offer())
        for _ in range(MOST_DECLINED):
            self.assertIs(self.sessions.at("a"), server)
            self.sessions.answered(server, False)
        self.assertEqual(self.sessions.count, 0)
        self.assertIsNone(self.sessions.at("a"))
        self.sessions.keep(server, self.offer())
        self.assertEqual(self.sessions.count, 0)
        self.now += REST
        self.sessions.keep(self.server(), self.offer())
        self.assertIsNotNone(self.sessions.take(self.server()))
        self.sessions.answered(server, False)
        self.assertIsNone(self.sessions.at("a"))

    def test_aServerThatFailsByItRestsForLong(self) -> None:
        """
        It would fail each time, and not only by this one.
        """
        for _ in range(3):
            self.sessions.keep(self.server(), self.offer(self.now + 2 * LONGEST))
        self.sessions.failed(self.server())
        self.assertEqual(self.sessions.count, 0)
        self.now += LONGEST - 1
        self.assertIsNone(self.sessions.at("a"))
        self.now += 1
        self.assertIsNotNone(self.sessions.at("a"))

    def test_oneThatDeclinesNowAndThenDoesNot(self) -> None:
        """
        Those with several processes, and those that were started anew.
        """
        for _ in range(3):
            for _ in range(MOST_DECLINED - 1):
                self.sessions.answered(self.server(), False)
            self.sessions.answered(self.server(), True)
        self.assertEqual(self.server().declined, 0)

    @given(
        st.lists(
            st.tuples(st.sampled_from("keep take resume decline fail".split()), st.integers(0, 9)),
            max_size=200,
        )
    )
    def test_thereAreNeverTooMany(self, steps: list[tuple[str, int]]) -> None:
        """
        Whatever is kept and taken, and they are counted right.
        """
        most = {"SESSIONS_KEPT": 9, "SESSIONS_PER_SERVER": 4, "SERVERS_KNOWN": 6}
        with contextlib.ExitStack() as stack:
            for name, number in (most | {"MOST_DECLINED": 3}).items():
                stack.callback(setattr, resumption, name, getattr(resumption, name))
                setattr(resumption, name, number)
            self.setUp()
            sessions = self.sessions
            seen: list[Server] = []
            for step, which in steps:
                self.now += 7.0
                server = sessions.at(which)
                if server is None:
                    continue
                seen.append(server)
                # A connection may have begun long ago.
                server = seen[len(seen) // 2]
                if step == "keep":
                    sessions.keep(server, self.offer(self.now + 20.0))
                elif step == "take":
                    sessions.take(server)
                elif step == "fail":
                    sessions.failed(server)
                else:
                    sessions.answered(server, step == "resume")
                self.assertLessEqual(sessions.count, 9)
            self.assertLessEqual(len(sessions._servers), 6)
            found = [len(each.offers) for each in sessions._servers.values()]
            self.assertEqual(sum(found), sessions.count)
            self.assertLessEqual(max(found, default=0), 4)


class MemoryTests(SynchronousTestCase):
    """
    Connections in memory.

    @cvar version: of TLS.
    """

    version: ClassVar[int] = SSL.TLS1_3_VERSION

    def setClock(self, when: float) -> None:
        """
        Whoever judges what is resumed believes that it is C{when}.
        """
        for module in (session, verification):
            self.patch(module, "time", lambda: when)

    def meet(
        self,
        creator: Creator,
        theirs: SSL.Connection,
        peer: TCPAddress = HERE,
        before: Callable[[Session], Any] = lambda _: None,
    ) -> tuple[TunnelError | None, Session, SSL.Connection]:
        """
        Let a connection of ours meet a peer, who says something, so that tickets arrive.

        @param before: called when it is ready, before the handshake.
        @return: why ours failed, if it did; what is known of it; it.
        """
        known = creator.session(peer)
        ours = creator.connection(MEMORY, known)
        before(known)
        if creator.isClient:
            theirs.set_accept_state()
            error = handshake(theirs, ours)[1]
        else:
            theirs.set_connect_state()
            error = handshake(ours, theirs)[0]
        if error is not None:
            return handshakeFailure(error, known), known, ours
        for one, other in ((ours, theirs), (theirs, ours)):
            one.send(b"x")
            with contextlib.suppress(SSL.WantReadError):
                while True:
                    other.bio_write(one.bio_read(65536))
            with contextlib.suppress(SSL.WantReadError):
                # Each ticket is a record of its own.
                for _ in range(4):
                    with contextlib.suppress(SSL.WantReadError):
                        other.recv(1)
        return known.completed(ours), known, ours


class ClientTests(MemoryTests):
    """
    We play the client.
    """

    def setUp(self) -> None:
        """
        A server that lets sessions be resumed, and ours that do so.
        """
        self.server = self.serverOf(BOTH)
        self.context = clientContext(trusting(root()), tickets=True)
        self.sessions = Sessions()
        self.creator = self.expecting(HOST)

    def serverOf(self, issued: Issued) -> SSL.Context:
        """
        A server that lets sessions be resumed.
        """
        context = shows(SSL.Context(SSL.TLS_SERVER_METHOD), issued)
        context.set_max_proto_version(self.version)
        return context

    def expecting(self, name: str, sessions: Sessions | None = None) -> ClientCreator:
        """
        What makes connections to a server of that name.
        """
        verifier = Verifier(Identity.parse(name), trusting(root()))
        return ClientCreator(self.context, verifier, sessions=sessions or self.sessions)

    def connect(
        self, creator: Creator | None = None, server: SSL.Context | None = None, **how: Any
    ) -> tuple[TunnelError | None, Session]:
        """
        Connect once more, and keep what came of it.
        """
        creator = creator or self.creator
        theirs = SSL.Connection(server or self.server, MEMORY)
        failure, known, ours = self.meet(creator, theirs, **how)
        self.assertEqual(known.isResumed, failure is None and isResumed(ours))
        ours.set_shutdown(SSL.SENT_SHUTDOWN)
        creator.keep(ours, known)
        return failure, known

    def test_aSessionIsResumed(self) -> None:
        """
        Again and again, each that of the connection before; the peer is who it was.
        """
        for number in range(4):
            failure, known = self.connect()
            self.assertIsNone(failure)
            self.assertEqual(known.isResumed, number > 0)
            self.assertEqual(known.identity, Identity.parse(HOST))
            self.assertTrue(known.version and known.group)

    def test_itIsKnownWhetherTheServerHasAsked(self) -> None:
        """
        For our certificate; a session that is resumed is as it was when it began, as there the
        server knows who we are without asking again.
        """
        alice = make(Recipe(san=alternative(mail(USER))), root())
        ours = Credentials(Identity.parse(USER), alice.chain, alice.key)
        self.context = clientContext(trusting(root()), ours, tickets=True)
        for mode in SSL.VERIFY_NONE, SSL.VERIFY_PEER:
            server = self.serverOf(BOTH)
            server.set_session_id(b"tests")
            server.set_verify(mode, lambda *_: True)
            creator = self.expecting(HOST, Sessions())
            for again in False, True, True:
                failure, known = self.connect(creator, server)
                self.assertIsNone(failure)
                self.assertEqual(known.isResumed, again)
                self.assertEqual(known.isAsked, mode == SSL.VERIFY_PEER)

    def test_eachIsOfferedOnce(self) -> None:
        """
        Connections at the same time need several.
        """
        self.connect()
        first, second = self.creator.session(HERE), self.creator.session(HERE)
        self.assertIsNotNone(first.offers)
        self.assertIsNone(second.offers)

    def test_thatOfAnotherAddressIsNotOffered(self) -> None:
        """
        Not even to one that has the same certificate.
        """
        self.connect()
        _, known = self.connect(peer=THERE)
        self.assertIsNone(known.offers)
        _, known = self.connect()
        self.assertTrue(known.isResumed)

    def test_thatOfAnotherIdentityIsNotOffered(self) -> None:
        """
        Also where the server is the same, and proves both: it was asked for one of them.
        """
        self.connect()
        _, known = self.connect(self.expecting(OTHER))
        self.assertIsNone(known.offers)
        self.assertEqual(known.identity, Identity.parse(OTHER))

    def test_thatOfAnotherContextIsNotOffered(self) -> None:
        """
        OpenSSL would not take it: where the anchors of a domain were read again, its context is
        another one.
        """
        self.connect()
        self.context = clientContext(trusting(root()), tickets=True)
        failure, known = self.connect(self.expecting(HOST))
        self.assertIsNone(failure)
        self.assertIsNone(known.offers)

    def test_oneThatIsTooLargeIsNotKept(self) -> None:
        """
        A server chooses how large its tickets are, and what its certificate has.
        """
        names = (dns(f"{number:060}.example.org") for number in range(500))
        server = self.serverOf(make(Recipe(san=alternative(dns(HOST), *names)), root()))
        failure, _ = self.connect(server=server)
        self.assertIsNone(failure)
        self.assertEqual(self.sessions.count, 0)

    def test_thatOfAReloadBeforeIsNotOffered(self) -> None:
        """
        Each has sessions of its own.
        """
        self.connect()
        _, known = self.connect(self.expecting(HOST, Sessions()))
        self.assertIsNone(known.offers)

    def test_whoeverCannotResumeItIsVerifiedAnew(self) -> None:
        """
        As by all of a handshake, which it is: another server at the same address, and one with a
        certificate that is not believed.
        """
        self.connect()
        failure, known = self.connect(server=self.serverOf(BOTH))
        self.assertIsNotNone(known.offers)
        self.assertIsNone(failure)
        self.assertFalse(known.isResumed)
        stranger = make(Recipe(san=alternative(dns(HOST))), root("Stranger"))
        failure, known = self.connect(server=self.serverOf(stranger))
        self.assertIsNotNone(known.offers)
        self.assertIsInstance(failure, IdentityRefused)
        self.assertIsNone(known.identity)

    def test_aConnectionThatWasRefusedGivesNone(self) -> None:
        """
        Nothing was proved in it.
        """
        creator = self.expecting("nobody.example.org")
        failure, _ = self.connect(creator)
        self.assertIsInstance(failure, IdentityRefused)
        self.assertEqual(self.sessions.count, 0)

    def test_norDoesOneThatWasRefusedAfterTheVerification(self) -> None:
        """
        Whatever for.
        """

        def refuse(known: Session) -> None:
            known.refusal = TLSFailed("for some reason")

        failure, known = self.connect(before=refuse)
        self.assertIs(failure, known.refusal)
        self.assertIsNotNone(known.proof)
        self.assertEqual(self.sessions.count, 0)

    def test_anotherCertificateIsRefused(self) -> None:
        """
        What is resumed has to be what was verified.
        """
        self.connect()

        def mistake(known: Session) -> None:
            assert known.offers is not None
            proof = Proof(Identity.parse(HOST), b"another", known.offers.until)
            known.offers = Offer(known.offers.session, proof, known.offers.until)

        theirs = SSL.Connection(self.server, MEMORY)
        failure, known, _ = self.meet(self.creator, theirs, before=mistake)
        self.assertIsInstance(failure, IdentityRefused)
        self.assertIsNone(known.identity)

    def test_whatHasEndedMeanwhileIsRefused(self) -> None:
        """
        It is looked at when it is offered, and once more when it was resumed.
        """
        _, known = self.connect()

        def wait(_: Session) -> None:
            self.setClock(known.until)

        theirs = SSL.Connection(self.server, MEMORY)
        failure, known, _ = self.meet(self.creator, theirs, before=wait)
        self.assertIsInstance(failure, IdentityRefused)
        self.assertIsNone(known.identity)

    def test_itEndsWithTheFirstCertificateOfTheChain(self) -> None:
        """
        Whichever it is.
        """
        soon = timedelta(minutes=5)
        authority = make(authorityRecipe("Short", end=soon))
        issued = make(Recipe(san=alternative(dns(HOST))), authority)
        self.context = clientContext(trusting(authority), tickets=True)
        verifier = Verifier(Identity.parse(HOST), trusting(authority))
        creator = ClientCreator(self.context, verifier, sessions=self.sessions)
        failure, known = self.connect(creator, self.serverOf(issued))
        self.assertIsNone(failure)
        end = authority.certificate.not_valid_after_utc.timestamp()
        self.assertLess(end, datetime.now(UTC).timestamp() + LONGEST)
        self.assertEqual(known.until, end)

    def test_itEndsWithTheListOfWhatWasRevoked(self) -> None:
        """
        And with what the server has stapled.
        """
        listed = makeList(end=HOUR / 2)
        revocations = Revocations([RevocationList(listed)])
        verifier = Verifier(Identity.parse(HOST), trusting(root()), revocations=revocations)
        creator = ClientCreator(self.context, verifier, sessions=self.sessions)
        failure, known = self.connect(creator)
        self.assertIsNone(failure)
        assert listed.next_update_utc is not None
        self.assertEqual(known.until, listed.next_update_utc.timestamp())

        def staple(known: Session) -> None:
            known.goodUntil = 17.0

        _, known = self.connect(before=staple, peer=THERE)
        self.assertEqual(known.until, 17.0)

    def test_itEndsTwoHoursAfterTheVerification(self) -> None:
        """
        However often it was resumed since.
        """
        before = time.time()
        _, first = self.connect()
        self.assertTrue(before + LONGEST <= first.until <= time.time() + LONGEST)
        for _ in range(3):
            _, known = self.connect()
            self.assertTrue(known.isResumed)
            self.assertEqual(known.until, first.until)

    def test_whoKeepsNoneResumesNone(self) -> None:
        """
        Where resumption is off.
        """
        verifier = Verifier(Identity.parse(HOST), trusting(root()))
        creator = ClientCreator(clientContext(trusting(root())), verifier)
        for _ in range(2):
            _, known = self.connect(creator)
            self.assertIsNone(known.offers)

    def test_aServerThatGivesNoTicketsIsVerifiedEachTime(self) -> None:
        """
        What is offered in vain does no harm.
        """
        self.server.set_options(SSL.OP_NO_TICKET)
        self.server.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        self.patch(resumption, "MOST_DECLINED", 2)
        for number in range(4):
            failure, known = self.connect()
            self.assertIsNone(failure)
            self.assertFalse(known.isResumed)
            # The first has nothing to offer, and the last may not.
            self.assertEqual(known.offers is not None, number in (1, 2))

    def test_nothingIsSentEarly(self) -> None:
        """
        Also where a server permits early data (RFC 8446, section 2.3).
        """
        SSL._lib.SSL_CTX_set_max_early_data(  # type: ignore[attr-defined]
            self.server._context, 16384
        )
        self.connect()
        known = self.creator.session(HERE)
        self.assertIsNotNone(known.offers)
        ours = self.creator.connection(MEMORY, known)
        with contextlib.suppress(SSL.WantReadError):
            ours.do_handshake()
        # No extension early_data, number 42, which would be empty.
        self.assertNotIn(b"\x00\x2a\x00\x00", ours.bio_read(65536))


class ClientTLS12Tests(ClientTests):
    """
    The same with TLS 1.2.
    """

    version = SSL.TLS1_2_VERSION


class ServerTests(MemoryTests):
    """
    We play the server, and want certificates.
    """

    def setUp(self) -> None:
        """
        Ours, and a client.
        """
        self.creator = self.ours()
        self.alice = make(Recipe(san=alternative(mail(USER))), root())
        self.client = self.clientOf(self.alice)
        self.resumable: dict[SSL.Context, SSL.Session | None] = {}

    def ours(self, resumption: bool = True) -> Creator:
        """
        What makes connections from clients.
        """
        trust = trusting(root())
        verifier = Verifier(
            Selector.parse("@example.org"), trust, None, CLIENTS, remembers=resumption
        )
        credentials = Credentials(Identity.parse(HOST), BOTH.chain, BOTH.key)
        context = serverContext(credentials, trust, resumption=resumption)
        return serving(Face(context, verifier), resumption)

    def clientOf(self, issued: Issued) -> SSL.Context:
        """
        A client that believes every server.
        """
        context = shows(SSL.Context(SSL.TLS_CLIENT_METHOD), issued)
        context.set_max_proto_version(self.version)
        return context

    def connect(
        self,
        creator: Creator | None = None,
        client: SSL.Context | None = None,
        before: Callable[[Session], Any] = lambda _: None,
    ) -> tuple[TunnelError | None, Session]:
        """
        Let a client connect, which offers the session of its last connection.
        """
        client = client or self.client
        theirs = SSL.Connection(client, MEMORY)
        resumable = self.resumable.get(client)
        if resumable is not None:
            theirs.set_session(resumable)
        failure, known, _ = self.meet(creator or self.creator, theirs, before=before)
        self.resumable[client] = theirs.get_session()
        theirs.set_shutdown(SSL.SENT_SHUTDOWN)
        return failure, known

    def test_aClientResumesItsSession(self) -> None:
        """
        And is who it was.
        """
        for number in range(3):
            failure, known = self.connect()
            self.assertIsNone(failure)
            self.assertEqual(known.isResumed, number > 0)
            self.assertEqual(known.identity, Identity.parse(USER))

    def test_itDoesNotWhereThatIsOff(self) -> None:
        """
        It is verified anew each time.
        """
        creator = self.ours(resumption=False)
        for _ in range(3):
            failure, known = self.connect(creator)
            self.assertIsNone(failure)
            self.assertFalse(known.isResumed)

    def test_aTicketOfAnotherTunnelIsOfNoUse(self) -> None:
        """
        Nor is one from before a reload: all of the handshake is done.
        """
        self.connect()
        failure, known = self.connect(self.ours())
        self.assertIsNone(failure)
        self.assertFalse(known.isResumed)
        self.assertEqual(known.identity, Identity.parse(USER))

    def test_aCertificateThatHasEndedIsRefused(self) -> None:
        """
        OpenSSL looks at no date where it resumes a session.
        """
        self.connect()
        self.setClock(self.alice.certificate.not_valid_after_utc.timestamp())
        failure, known = self.connect()
        self.assertIsInstance(failure, IdentityRefused)
        self.assertIsNone(known.identity)

    def test_aClientThatIsNotRememberedIsRefused(self) -> None:
        """
        What its certificate was verified by is not in the ticket.
        """
        self.patch(verification, "CLIENTS_KEPT", 1)
        self.connect()
        bob = make(Recipe(san=alternative(mail("bob@example.org"))), root())
        failure, _ = self.connect(client=self.clientOf(bob))
        self.assertIsNone(failure)
        failure, known = self.connect()
        self.assertIsInstance(failure, IdentityRefused)
        self.assertIsNone(known.identity)

    def test_aDataConnectionMustHaveTheSameClient(self) -> None:
        """
        Also where somebody else resumes his session.
        """
        bob = self.clientOf(make(Recipe(san=alternative(mail("bob@example.org"))), root()))
        self.connect(client=bob)

        def beAlice(known: Session) -> None:
            known.sameAs = Identity.parse(USER)

        failure, known = self.connect(client=bob, before=beAlice)
        self.assertIsInstance(failure, IdentityRefused)
        self.assertIn("as before", str(failure))
        self.assertIsNone(known.identity)

    def test_ticketsLiveTwoHours(self) -> None:
        """
        As long as sessions with servers.
        """
        self.assertEqual(self.creator.context.get_timeout(), LONGEST)

    def test_whoAsksNobodyKnowsNobody(self) -> None:
        """
        Without a selector a session is resumed, and nobody is known.
        """
        credentials = Credentials(Identity.parse(HOST), BOTH.chain, BOTH.key)
        creator = serving(Face(serverContext(credentials, resumption=True)))
        for number in range(2):
            failure, known = self.connect(creator)
            self.assertIsNone(failure)
            self.assertEqual(known.isResumed, number > 0)
            self.assertIsNone(known.identity)


class ServerTLS12Tests(ServerTests):
    """
    The same with TLS 1.2.
    """

    version = SSL.TLS1_2_VERSION
