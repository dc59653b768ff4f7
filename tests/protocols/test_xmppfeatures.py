"""
Tests for L{tlstunnel.protocols.xmppfeatures}: offers of TLS inside TLS are hidden.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.protocols.xmppheads import (
    ANSWER,
    ASK,
    END,
    FEATURES,
    FROM_SERVER,
    OFFER,
    PROCEED,
    TLS,
    client,
    error,
    server,
)
from tlstunnel.errors import Malformed, Oversize, TunnelError
from tlstunnel.protocols.filters import Filter
from tlstunnel.protocols.xmpp import xmppServer
from tlstunnel.protocols.xmppfeatures import WithoutMultiplexing, WithoutStartTLS
from tlstunnel.testing.dialogues import filtered, split

SASL = b"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>X</mechanism></mechanisms>"
FAILURE = b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>"
SUCCESS = b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
#: Features of a server to which several domains may be asked for on one stream.
ERRORS = (
    b"<stream:features><dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>"
    b"</stream:features>"
)
OFFERING = b"<stream:features>" + OFFER + SASL + b"</stream:features>"
SILENT = OFFERING.replace(OFFER, b"")


def passedBy(hiding: type[Filter], pieces: list[bytes]) -> bytes | None:
    """
    What is passed on of C{pieces}; C{None} if that ends the connection.
    """
    try:
        return filtered(hiding(), pieces)
    except TunnelError:
        return None


class HidingTests(SynchronousTestCase):
    """
    Inside TLS the backend's offer of TLS makes no sense.
    """

    def test_theOfferIsTakenOut(self) -> None:
        """
        And nothing else, in whatever form and place it is.
        """
        short = OFFERING.replace(OFFER, ASK)
        for before, after in (
            (ANSWER + OFFERING, ANSWER + SILENT),
            (ANSWER + short, ANSWER + SILENT),
            (ANSWER + OFFERING + FAILURE, ANSWER + SILENT + FAILURE),
            (
                ANSWER + b"\n<stream:features> " + SASL + b"\n" + OFFER + b"\n</stream:features>",
                ANSWER + b"\n<stream:features> " + SASL + b"\n\n</stream:features>",
            ),
            (ANSWER + FEATURES, ANSWER + b"<stream:features></stream:features>"),
            (ANSWER + SILENT, ANSWER + SILENT),
        ):
            self.assertEqual(filtered(WithoutStartTLS(), [before]), after)
            for pieces in split(before):
                self.assertEqual(filtered(WithoutStartTLS(), pieces), after)

    def test_itIsTakenOutOfFeaturesOnly(self) -> None:
        """
        Elsewhere it is not an offer.
        """
        for stream in (
            ANSWER + OFFER,
            ANSWER + b"<message><body>" + OFFER + b"</body></message>",
            ANSWER + OFFERING.replace(OFFER, b"<x>" + OFFER + b"</x>"),
            ANSWER + OFFERING.replace(TLS, b"urn:example:tls"),
            OFFERING,
        ):
            self.assertEqual(filtered(WithoutStartTLS(), [stream]), stream)

    def test_severalDomainsOnOneStreamAreNotOffered(self) -> None:
        """
        Of dialback itself only that its errors are harmless is taken out, and nothing of what
        follows the features.
        """
        dialback = b"<dialback xmlns='urn:xmpp:features:dialback'>%b</dialback>"
        bidi = b"<bidi xmlns='urn:xmpp:features:bidi'/>"
        result = b"<db:result xmlns:db='jabber:server:dialback' type='valid'/>"
        for before, after in (
            (dialback % b"<errors/>", dialback % b""),
            (dialback % b"<errors></errors>", dialback % b""),
            (bidi + dialback % b" <errors/>" + bidi, bidi + dialback % b" " + bidi),
            (dialback % b"<errors/>" + OFFER, dialback % b"" + OFFER),
            (dialback % b"<x><errors/></x>", dialback % b"<x><errors/></x>"),
            (b"<errors xmlns='urn:xmpp:features:dialback'/>",) * 2,
            (dialback % b"<errors xmlns='urn:example'/>",) * 2,
            (bidi, bidi),
        ):
            said = ANSWER + b"<stream:features>%b</stream:features>"
            rest = result + FEATURES.replace(OFFER, dialback % b"<errors/>")
            for pieces in ([said % before + rest], *split(said % before + rest)):
                self.assertEqual(filtered(WithoutMultiplexing(), pieces), said % after + rest)

    def test_aLocalServerSeesNoOfferOfSeveralDomains(self) -> None:
        """
        In client mode.
        """
        driver = client(app=FROM_SERVER, dialect=xmppServer)
        driver.network.feed(ANSWER + FEATURES)
        driver.network.feed(PROCEED)
        driver.handshake()
        dialback = b"<dialback xmlns='urn:xmpp:features:dialback'>%b</dialback>"
        features = ANSWER + b"<stream:features>" + dialback + b"</stream:features>"
        driver.network.feed(features % b"<errors/>")
        self.assertEqual(driver.plain.written, features % b"")

    def test_itIsNotOfferedInTheSecondStreamEither(self) -> None:
        """
        That behind a login; features that follow are of no stream that a server could begin.
        """
        silent = ERRORS.replace(b"<errors/>", b"")
        again = b"<success xmlns='urn:xmpp:sasl:2'><x/></success>"
        for before, after in (
            (SUCCESS + ANSWER + ERRORS + ERRORS, SUCCESS + ANSWER + silent + ERRORS),
            (SUCCESS + b"\n" + ANSWER + ERRORS, SUCCESS + b"\n" + ANSWER + silent),
            (FAILURE + SUCCESS + ANSWER + ERRORS, FAILURE + SUCCESS + ANSWER + silent),
            (b" " * 20000 + SUCCESS + ANSWER + ERRORS, b" " * 20000 + SUCCESS + ANSWER + silent),
            (again + ERRORS, again + silent),
            (again + b" " + ERRORS + b"<iq/>", again + b" " + silent + b"<iq/>"),
        ):
            said = ANSWER + ERRORS + before
            expected = ANSWER + silent + after
            for pieces in ([said], *split(said[-800:])):
                pieces = [said[: -len(b"".join(pieces))], *pieces]
                each = WithoutMultiplexing()
                self.assertEqual(filtered(each, pieces), expected)
                self.assertTrue(each.done)

    def test_aServerThatHidesTheOfferIsCutOff(self) -> None:
        """
        It is verified, but not for the domains of which it would like to hear.
        """
        dialback = b"<dialback xmlns='urn:xmpp:features:dialback'%b><errors/></dialback>"
        for said in (
            b"<!-- -->" + ERRORS,
            b"<?x y?>" + ERRORS,
            b"<iq/>" + ERRORS,
            b"<db:result xmlns:db='jabber:server:dialback'/>" + ERRORS,
            SUCCESS + ERRORS,
            b"<stream:features><![CDATA[]]>" + ERRORS,
            b"<stream:features>" + b"<x>" * 16 + b"</x>" * 16,
            b"<stream:features>" + b"<x/>" * 5000,
            b"<stream:features><x a='" + b"x" * 9000,
            b"<stream:features>" + dialback % b" a='>'" + b"</stream:features>",
            b"<stream:features>&lt;&x;</stream:features>" + ERRORS,
            b"<stream:features/>" + SUCCESS + ANSWER + b"<iq/>" + ERRORS,
            b"<stream:features/>" + SUCCESS + b"<!-- -->" + ANSWER + ERRORS,
        ):
            for pieces in ([ANSWER + said], *split(ANSWER + said[-300:])):
                if len(said) > 300:
                    pieces = [ANSWER + said]
                with self.assertRaises((Malformed, Oversize), msg=said):
                    filtered(WithoutMultiplexing(), pieces)

    def test_aServerThatRefusesIsHeard(self) -> None:
        """
        It may do so in the place of features.
        """
        said = ANSWER + error(b"host-unknown")
        each = WithoutMultiplexing()
        self.assertEqual(each.feed(said), said)
        self.assertTrue(each.done)

    def test_itEndsWithTheLogin(self) -> None:
        """
        From there on bytes pass as they are, and nobody looks.
        """
        for last in (
            SUCCESS,
            b"<success xmlns='urn:xmpp:sasl:2'>",
            b"<iq/>",
            b"<message>",
            END,
            b"<!-- -->",
            b"&amp;<a/>",
            error(b"host-gone"),
            FAILURE * 250,
            b"<failure a='" + b"x" * 8192,
        ):
            each = WithoutStartTLS()
            rest = b"<" + bytes(range(256)) + OFFERING
            passed = each.feed(ANSWER + OFFERING + last + rest)
            self.assertTrue(each.done, last)
            self.assertEqual(passed + each.flush(), ANSWER + SILENT + last + rest)

    def test_onlyATagIsWaitedFor(self) -> None:
        """
        White space keeps connections alive, and what is whole is not held.
        """
        each = WithoutStartTLS()
        self.assertEqual(each.feed(ANSWER), ANSWER)
        self.assertEqual(each.feed(b" \n"), b" \n")
        self.assertEqual(each.feed(b"<stream:features><mech"), b"<stream:features>")
        self.assertEqual(each.flush(), b"<mech")

    def test_whatIsNoXMLIsNotWaitedFor(self) -> None:
        """
        It is for the client to see.
        """
        each = WithoutStartTLS()
        self.assertEqual(each.feed(b"hello"), b"hello")

    def test_clientsSeeNoOffer(self) -> None:
        """
        It is in place in the server role.
        """
        driver = server()
        driver.network.feed(ASK)
        driver.handshake()
        driver.network.takeWritten()
        driver.plain.feed(ANSWER + OFFERING)
        self.assertEqual(driver.network.written, ANSWER + SILENT)

    @settings(deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                [ANSWER, OFFERING, OFFER, ERRORS, FAILURE, SUCCESS, END, b"<", b">", b"\0", b" "]
            )
            | st.binary(max_size=9)
        )
    )
    def test_whateverComesNothingElseIsLost(self, pieces: list[bytes]) -> None:
        """
        The same bytes in the same order but for offers; or the connection ends, where that may be.
        """
        whole = b"".join(pieces)
        for hiding, offer in ((WithoutStartTLS, OFFER), (WithoutMultiplexing, b"<errors/>")):
            passed, atOnce = passedBy(hiding, pieces), passedBy(hiding, [whole])
            if passed is None or atOnce is None:
                # Of what is no XML the reader may notice that with the next byte only.
                self.assertIs(hiding, WithoutMultiplexing)
                continue
            self.assertEqual(passed, atOnce)
            if offer not in whole:
                self.assertEqual(passed, whole)
            else:
                self.assertEqual(passed.replace(offer, b""), whole.replace(offer, b""))
