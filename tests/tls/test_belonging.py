"""
Tests for L{tlstunnel.tls.belonging}, and for what servers make of it: over real TLS in memory, in
both versions.
"""

from __future__ import annotations

import contextlib
from typing import Any, cast

from OpenSSL import SSL

from tests.certificates import Recipe, alternative, dns, mail, make, root
from tests.tls.test_resumption import BOTH, HOST, MEMORY, OTHER, USER, MemoryTests, shows, trusting
from tlstunnel.errors import IdentityRefused, TunnelError
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pool import Credentials
from tlstunnel.tls import belonging
from tlstunnel.tls.belonging import Belonging
from tlstunnel.tls.binding import CLIENTS, isResumed
from tlstunnel.tls.checkup import handshake
from tlstunnel.tls.context import SSLContext, serverContext
from tlstunnel.tls.creators import Creator, ServerCreator
from tlstunnel.tls.faces import Face, Faces
from tlstunnel.tls.session import Session
from tlstunnel.tls.verification import Verifier

_lib: Any = SSL._lib  # type: ignore[attr-defined]

SERVER = Credentials(Identity.parse(HOST), BOTH.chain, BOTH.key)


def close(ours: SSL.Connection, known: Session) -> None:
    """
    Close a connection of ours, as whoever has one does.
    """
    ours.set_shutdown(0 if known.isOver else SSL.SENT_SHUTDOWN)


def beginAgain(context: SSL.Context) -> None:
    """
    Let servers tell the clients of a context to begin again (RFC 8446, section 4.1.4): they send a
    share of the first group, and servers like the second better.
    """
    done = _lib.SSL_CTX_set1_curves_list(context._context, b"secp521r1:X25519:secp256r1")
    assert done == 1


class Client:
    """
    A client of one control connection.

    @ivar session: what it has got there last.
    """

    def __init__(self, test: BelongingTests, creator: Creator, name: str = "") -> None:
        self._test = test
        self.context = test.client
        failure, self.known, self.ours = self._meet(creator, None, name)
        test.assertIsNone(failure)
        assert self.known.belonging is not None
        self.belonging: Belonging = self.known.belonging
        self.beside = creator.beside(self.ours, self.known)

    def _meet(
        self, creator: Creator, session: SSL.Session | None, name: str = ""
    ) -> tuple[TunnelError | None, Session, SSL.Connection]:
        theirs = SSL.Connection(self.context, MEMORY)
        if name:
            theirs.set_tlsext_host_name(name.encode())
        if session is not None:
            theirs.set_session(session)
        found = self._test.meet(creator, theirs)
        self.session = theirs.get_session()
        theirs.set_shutdown(SSL.SENT_SHUTDOWN)
        return found

    def comes(
        self, session: SSL.Session | None = None, name: str = ""
    ) -> tuple[TunnelError | None, Session]:
        """
        It opens a data connection, and offers C{session} there.
        """
        before = self.session
        failure, known, ours = self._meet(self.beside, session, name)
        close(ours, known)
        self.latest, self.session = self.session, before
        return failure, known


class BelongingTests(MemoryTests):
    """
    A server, whose clients open data connections.
    """

    def setUp(self) -> None:
        """
        Ours, which knows nobody, and what its clients have in common.
        """
        self.creator = self.serving(Face(self.context()))
        self.client = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self.client.set_max_proto_version(self.version)

    def context(self, *args: Any) -> SSLContext:
        """
        A context of ours.
        """
        made = serverContext(SERVER, *args)
        belonging.allow(made)
        return made

    def serving(self, face: Face, *others: Face) -> Creator:
        """
        What makes connections of a server.
        """
        faces = Faces(face, {each.name: each for each in others}, {}, anyName=True)
        return ServerCreator(faces, hasBeside=True)

    def assertStranger(self, failure: TunnelError | None, words: str) -> None:
        """
        Somebody was refused, for this reason.
        """
        self.assertIsInstance(failure, IdentityRefused)
        self.assertIn("does not resume the session of its control connection", str(failure))
        self.assertIn(words, str(failure))

    def test_aDataConnectionResumesTheSessionOfItsControlConnection(self) -> None:
        """
        Again and again.
        """
        client = Client(self, self.creator)
        for _ in range(3):
            failure, known = client.comes(client.session)
            self.assertIsNone(failure)
            self.assertTrue(known.isResumed)

    def test_itsTicketsAreAsGood(self) -> None:
        """
        Some clients offer what they got last.
        """
        client = Client(self, self.creator)
        client.comes(client.session)
        for _ in range(3):
            failure, known = client.comes(client.latest)
            self.assertIsNone(failure)
            self.assertTrue(known.isResumed)

    def test_whoIsServedWithoutAProofGetsNone(self) -> None:
        """
        Somebody else at the same address, who was faster once, could be the client from then on.
        """
        client = Client(self, self.creator)
        failure, known = client.comes()
        self.assertIsNone(failure)
        failure, known = client.comes(client.latest)
        self.assertIsNone(failure)
        self.assertFalse(known.isResumed)

    def test_whoIsServedWithoutAProofGetsNoneWhileConnected(self) -> None:
        """
        The connection of the stranger stays open meanwhile.
        """
        client = Client(self, self.creator)
        _, known, ours = client._meet(client.beside, None)
        session = client.session
        failure, known = client.comes(session)
        self.assertIsNone(failure)
        self.assertFalse(known.isResumed)
        close(ours, known)

    def test_whoIsToldToBeginAgainGetsNoProofEither(self) -> None:
        """
        There OpenSSL gives tickets of another kind, and takes them, where tickets are forbidden too
        soon.
        """
        client = Client(self, self.creator)
        beginAgain(client.context)
        theirs = SSL.Connection(client.context, MEMORY)
        theirs.set_connect_state()
        handshake(client.beside.connection(MEMORY, client.beside.session()), theirs)
        _lib.SSL_clear_mode(theirs._ssl, _lib.SSL_MODE_AUTO_RETRY)
        with contextlib.suppress(SSL.WantReadError):
            theirs.recv(1)
        failure, known = client.comes(theirs.get_session())
        self.assertFalse(known.isResumed)
        self.assertIsNone(client.belonging.judge(isResumed=False), "taken for the client")
        failure, known = client.comes(client.session)
        self.assertIsNone(failure)
        self.assertTrue(known.isResumed)

    def test_theSessionOfAnotherControlConnectionIsOfNoUse(self) -> None:
        """
        As if it were unknown: all of a handshake is done; that of a client that has resumed its
        own is refused.
        """
        client, stranger = Client(self, self.creator), Client(self, self.creator)
        failure, known = client.comes(stranger.session)
        self.assertIsNone(failure)
        self.assertFalse(known.isResumed)
        client.comes(client.session)
        stranger = Client(self, self.creator)
        stranger.comes(stranger.session)
        for each in (stranger.session, stranger.latest):
            failure, known = client.comes(each)
            self.assertStranger(failure, "has done so before")
        failure, known = client.comes(client.session)
        self.assertIsNone(failure)
        self.assertTrue(known.isResumed)

    def test_aControlConnectionResumesNothing(self) -> None:
        """
        As it belongs to no other; its data connections do not resume that other one.
        """
        first = Client(self, self.creator)
        failure, known, _ = first._meet(self.creator, first.session)
        self.assertIsNone(failure)
        self.assertFalse(known.isResumed)

    def test_aClientThatHasResumedMustGoOn(self) -> None:
        """
        Whoever comes without a session then is somebody else.
        """
        client = Client(self, self.creator)
        for _ in range(2):
            failure, known = client.comes()
            self.assertIsNone(failure)
            self.assertFalse(known.isResumed)
        client.comes(client.session)
        failure, known = client.comes()
        self.assertStranger(failure, "has done so before")
        self.assertEqual(known.version, "", "refused behind the handshake only")

    def test_itIsToldWithAnAlert(self) -> None:
        """
        Before it is shown a certificate.
        """
        client = Client(self, self.creator)
        client.belonging.demands = True
        theirs = SSL.Connection(self.client, MEMORY)
        theirs.set_connect_state()
        ours = client.beside.connection(MEMORY, client.beside.session())
        self.assertIn("alert handshake failure", str(handshake(ours, theirs)[1]))
        self.assertIsNone(theirs.get_peer_certificate())

    def test_thatCanBeDemandedOfAll(self) -> None:
        """
        From the first data connection on.
        """
        client = Client(self, self.creator)
        client.belonging.demands = True
        failure, _ = client.comes()
        self.assertStranger(failure, "is demanded here")
        failure, known = client.comes(client.session)
        self.assertIsNone(failure)
        self.assertTrue(known.isResumed)

    def test_whereSeveralHaveComeItDecides(self) -> None:
        """
        Also about a client that may not be able to.
        """
        found = Client(self, self.creator).belonging
        self.assertIsNone(found.judge(isResumed=False))
        self.assertIsNone(found.judge(isResumed=True, isAlone=False))
        self.assertStranger(found.judge(isResumed=False, isAlone=False), "somebody else")

    def test_whoOnlyKnowsWhatWasSentIsRefused(self) -> None:
        """
        A ticket or an id, and not the keys; the client that has them goes on as before.
        """
        client = Client(self, self.creator)
        assert client.session is not None
        overheard = self.copy(client.session)
        _lib.SSL_SESSION_set1_master_key(overheard._session, b"?" * 48, 48)
        failure, known = client.comes(overheard)
        self.assertIsNotNone(failure)
        self.assertFalse(known.isResumed)
        self.assertIsNone(client.belonging.judge(isResumed=False), "taken for the client")

    def copy(self, session: SSL.Session) -> Any:
        """
        The same once more.
        """
        ffi = SSL._ffi  # type: ignore[attr-defined]
        theirs: Any = session
        size = _lib.i2d_SSL_SESSION(theirs._session, ffi.NULL)
        room = ffi.new("unsigned char[]", size)
        _lib.i2d_SSL_SESSION(theirs._session, ffi.new("unsigned char **", room))
        made = cast(Any, SSL.Session.__new__(SSL.Session))
        start = ffi.new("const unsigned char **", ffi.cast("const unsigned char *", room))
        made._session = ffi.gc(_lib.d2i_SSL_SESSION(ffi.NULL, start, size), _lib.SSL_SESSION_free)
        made._context = self.client
        return made

    def test_nothingCanBeSentEarly(self) -> None:
        """
        It could be played again.
        """
        client = Client(self, self.creator)
        session: Any = client.session
        self.assertEqual(_lib.SSL_SESSION_get_max_early_data(session._session), 0)

    def test_anotherServerDoesNotKnowIt(self) -> None:
        """
        Nor the same behind a reload.
        """
        client = Client(self, self.creator)
        session = client.session
        client.beside = Client(self, self.serving(Face(self.context()))).beside
        failure, known = client.comes(session)
        self.assertIsNone(failure)
        self.assertFalse(known.isResumed)

    def test_itIsResumedUnderEachName(self) -> None:
        """
        The name has a context of its own, and the tickets are of the first one; under another name
        nobody is served.
        """
        creator = self.servingBoth()
        for name in ("", OTHER):
            client = Client(self, creator, name)
            for again in ("", name):
                failure, known = client.comes(client.session, again)
                self.assertIsNone(failure)
                self.assertTrue(known.isResumed, (name, again))
            failure, known = client.comes(client.session, OTHER if not name else HOST)
            if self.version == SSL.TLS1_2_VERSION:
                self.assertEqual(known.serverName, name, "it has another name than its session")
            else:
                self.assertIsInstance(failure, TunnelError)

    def servingBoth(self) -> Creator:
        """
        What makes connections under two names.
        """
        other = make(Recipe(san=alternative(dns(OTHER))), root())
        second = serverContext(Credentials(Identity.parse(OTHER), other.chain, other.key))
        belonging.allow(second)
        return self.serving(Face(self.context()), Face(second, name=OTHER))

    def test_thatOfAnotherControlConnectionIsOfNoUseUnderAnyName(self) -> None:
        """
        Though both change to the same context, for the name that they ask for.
        """
        creator = self.servingBoth()
        for name in ("", OTHER):
            client, stranger = Client(self, creator, name), Client(self, creator, name)
            for each in (client, stranger):
                self.assertTrue(each.comes(each.session, name)[1].isResumed)
            for session in (stranger.session, stranger.latest):
                failure, known = client.comes(session, name)
                self.assertFalse(known.isResumed, name)
                self.assertStranger(failure, "has done so before")

    def test_itIsResumedBehindARenewal(self) -> None:
        """
        Control connections stay, and show what is new on their data connections.
        """
        for isAsked in (False, True):
            self.client = SSL.Context(SSL.TLS_CLIENT_METHOD)
            self.client.set_max_proto_version(self.version)
            shows(self.client, make(Recipe(san=alternative(mail(USER))), root()))
            before, after = (
                self.verifying() if isAsked else self.serving(Face(self.context())) for _ in "12"
            )
            client = Client(self, before)
            latest = self.faceOf(after)
            latest.succeed(self.faceOf(before))
            failure, known = client.comes(client.session)
            self.assertIsNone(failure)
            self.assertTrue(known.isResumed)
            self.assertIs(known.face, latest)
            self.assertEqual(known.identity, Identity.parse(USER) if isAsked else None)

    def faceOf(self, creator: Creator) -> Face:
        """
        The one that it has.
        """
        assert isinstance(creator, ServerCreator)
        return creator.faces.default

    def verifying(self, isOptional: bool = False) -> Creator:
        """
        What makes connections of a server that asks clients who they are.
        """
        trust = trusting(root())
        verifier = Verifier(
            Selector.parse("@example.org"), trust, None, CLIENTS, isOptional=isOptional
        )
        context = serverContext(SERVER, trust, isOptional=isOptional)
        belonging.allow(context)
        return self.serving(Face(context, verifier))

    def test_itKeepsItsIdentity(self) -> None:
        """
        Until the certificate has ended by which that was proved.
        """
        alice = make(Recipe(san=alternative(mail(USER))), root())
        shows(self.client, alice)
        client = Client(self, self.verifying())
        failure, known = client.comes(client.session)
        self.assertIsNone(failure)
        self.assertTrue(known.isResumed)
        self.assertEqual(known.identity, Identity.parse(USER))
        end = alice.certificate.not_valid_after_utc.timestamp()
        self.patch(belonging, "time", lambda: end)
        failure, known = client.comes(client.session)
        self.assertIsInstance(failure, IdentityRefused)
        self.assertIsNone(known.identity)

    def test_whoResumesNothingMustHaveTheSameIdentity(self) -> None:
        """
        And proves it by a certificate.
        """
        shows(self.client, make(Recipe(san=alternative(mail(USER))), root()))
        client = Client(self, self.verifying())
        failure, known = client.comes()
        self.assertIsNone(failure)
        self.assertEqual(known.identity, Identity.parse(USER))
        client.context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        client.context.set_max_proto_version(self.version)
        shows(client.context, make(Recipe(san=alternative(mail("bob@example.org"))), root()))
        failure, known = client.comes()
        self.assertIsInstance(failure, IdentityRefused)
        self.assertIn("as before", str(failure))

    def test_nobodyStaysNobody(self) -> None:
        """
        Where clients may be anybody who show no certificate.
        """
        client = Client(self, self.verifying(isOptional=True))
        failure, known = client.comes(client.session)
        self.assertIsNone(failure)
        self.assertTrue(known.isResumed)
        self.assertIsNone(known.identity)

    def test_itEndsWithItsControlConnection(self) -> None:
        """
        OpenSSL keeps nothing that only those would need who are gone.
        """
        if self.version != SSL.TLS1_2_VERSION:
            return  # the client has all of it
        client = Client(self, self.creator)
        beside = client.beside
        failure, known = client.comes(client.session)
        self.assertTrue(known.isResumed)
        close(client.ours, client.known)
        del client.ours, client.beside, client.known
        client.beside = beside
        failure, known = client.comes(client.session)
        self.assertStranger(failure, "has done so before")


class BelongingTLS12Tests(BelongingTests):
    """
    The same with TLS 1.2.
    """

    version = SSL.TLS1_2_VERSION


class OthersTests(MemoryTests):
    """
    Servers whose connections have none that belong to them.
    """

    def test_theyGiveNoTickets(self) -> None:
        """
        Also where no name is chosen, and whether the client asks for one, or has to begin again.
        """
        context = serverContext(SERVER)
        faces = Faces(Face(context), {}, {}, anyName=True)
        for creator in (Creator(context), ServerCreator(faces)):
            for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
                for name in (b"", HOST.encode()):
                    for again in (False, True):
                        self.assertEqual(self.tickets(creator, version, name, again), 0)
        giving = ServerCreator(faces, tickets=True)
        for again in (False, True):
            self.assertGreater(self.tickets(giving, SSL.TLS1_3_VERSION, b"", again), 0)

    def tickets(self, creator: Creator, version: int, name: bytes, again: bool) -> int:
        """
        How many a client gets.
        """
        client = SSL.Context(SSL.TLS_CLIENT_METHOD)
        client.set_max_proto_version(version)
        if again:
            beginAgain(client)
        count = 0

        def happened(connection: SSL.Connection, where: int, value: int) -> None:
            nonlocal count
            if where & SSL.SSL_CB_LOOP:
                count += b"read server session ticket" in connection.get_state_string()

        client.set_info_callback(happened)
        theirs = SSL.Connection(client, MEMORY)
        if name:
            theirs.set_tlsext_host_name(name)
        failure, *_ = self.meet(creator, theirs)
        self.assertIsNone(failure)
        with contextlib.suppress(SSL.WantReadError):
            theirs.recv(1)
        self.assertFalse(isResumed(theirs))
        return count

    def test_aConnectionBesideProvesNothing(self) -> None:
        """
        Where the library cannot tell connections apart, nothing is resumed, and nothing demanded.
        """
        self.patch(belonging, "IS_SUPPORTED", False)
        faces = Faces(Face(serverContext(SERVER)), {}, {}, anyName=True)
        known = ServerCreator(faces, hasBeside=True).session()
        self.assertFalse(known.givesTickets)
        self.assertIsNone(known.belonging)
