"""
Tests for L{tlstunnel.tls.alpn}: what a server selects from an offer, however long that is.
"""

from __future__ import annotations

from collections.abc import Sequence

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Recipe, alternative, dns, make
from tlstunnel.errors import TunnelError
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.names import Identity
from tlstunnel.tls import alpn
from tlstunnel.tls.alpn import MOST_OFFERED
from tlstunnel.tls.context import serverContext
from tlstunnel.tls.failures import handshakeFailure
from tlstunnel.tls.session import Session

SERVER = Identity(None, "server.example.org")

#: Names that nobody knows.
OTHERS = tuple(b"%04d" % number for number in range(6000))


class ALPNTests(SynchronousTestCase):
    """
    We are the server, and choose by the binding of pyOpenSSL.
    """

    def setUp(self) -> None:
        """
        Have a certificate.
        """
        issued = make(Recipe(san=alternative(dns(SERVER.domain))))
        self.credentials = Credentials(SERVER, (issued.certificate,), issued.key)

    def meet(self, offer: Sequence[bytes], ours: Sequence[bytes]) -> bytes | None:
        """
        Meet a client that offers C{offer}.

        @return: what was selected; C{None} for nothing.
        @raise TunnelError: the server refuses it.
        """
        theirs = SSL.Context(SSL.TLS_CLIENT_METHOD)
        if offer:
            theirs.set_alpn_protos(list(offer))
        client = SSL.Connection(theirs, None)
        client.set_connect_state()
        server = SSL.Connection(serverContext(self.credentials), None)
        server.set_accept_state()
        self.session = Session(None, ours)
        server.set_app_data(self.session)
        for near, far in ((client, server), (server, client)) * 2:
            try:
                near.do_handshake()
            except SSL.WantReadError:
                pass
            except SSL.Error as error:
                self.alert = near.bio_read(1 << 16)[-1]
                raise handshakeFailure(error, self.session) from None
            try:
                far.bio_write(near.bio_read(1 << 16))
            except SSL.WantReadError:
                pass
        self.assertIsNone(self.session.completed(server))
        selected = client.get_alpn_proto_negotiated()
        self.assertEqual(selected, server.get_alpn_proto_negotiated())
        return selected or None

    def test_theFirstOfOursCounts(self) -> None:
        """
        In whatever order the client has them.
        """
        self.assertEqual(self.meet([b"c", b"b", b"a"], [b"x", b"a", b"b"]), b"a")

    def test_ofAnOfferThatIsRepeatedTheSameIsSelected(self) -> None:
        """
        And a name that another one begins with is another.
        """
        self.assertEqual(self.meet([b"aaa", b"b", b"aa", b"b", b"aa"], [b"aa"]), b"aa")

    def test_noOfferIsNone(self) -> None:
        """
        As of clients that have never heard of it.
        """
        self.assertIsNone(self.meet([], [b"a"]))

    def test_whoSelectsNothingIgnoresAnOffer(self) -> None:
        """
        However long it is.
        """
        self.assertIsNone(self.meet([b"a"], []))
        self.assertIsNone(self.meet(OTHERS, []))

    def test_nothingInCommonIsRefused(self) -> None:
        """
        With the alert no_application_protocol, in words.
        """
        error = self.assertRaises(TunnelError, self.meet, [b"a", b"b"], [b"c"])
        self.assertIn("offers only other application protocols", error.detail)
        self.assertIn(b"a,b", error.said)
        self.assertEqual(self.alert, 120)

    def test_theBeginningOfAnOfferIsLookedAt(self) -> None:
        """
        There is no client that has more to say.
        """
        begin = OTHERS[: MOST_OFFERED - 1]
        self.assertEqual(self.meet([*begin, b"a", *OTHERS], [b"a"]), b"a")
        error = self.assertRaises(TunnelError, self.meet, [*begin, b"b", b"a"], [b"a"])
        self.assertIn("offers only other application protocols", error.detail)

    def test_noMoreThanThatIsRead(self) -> None:
        """
        Each costs.
        """
        offer = b"".join(bytes([len(name)]) + name for name in OTHERS)
        self.assertEqual(tuple(alpn._read(offer)), OTHERS[:MOST_OFFERED])


class WithoutTheBindingTests(ALPNTests):
    """
    The same where pyOpenSSL's binding is another.
    """

    def setUp(self) -> None:
        """
        Choose by the public callback.
        """
        super().setUp()
        self.patch(alpn, "_lib", None)
