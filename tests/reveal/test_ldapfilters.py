"""
Tests for L{tlstunnel.reveal.ldapfilters}: which requests pass, for whom, and where our answers
stand among those of the server.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.reveal.ldaprequests import (
    ALICE,
    AUTHZ_ID,
    DENIED,
    DN,
    NOBODY,
    NOT_CRITICAL,
    PROTOCOL_ERROR,
    SEARCH,
    SUCCESS,
    WHO,
    Tree,
    acting,
    bindRequest,
    canonical,
    codes,
    control,
    external,
    loose,
    message,
    messages,
    number,
    parts,
    response,
    string,
)
from tlstunnel.errors import TunnelError
from tlstunnel.interfaces import ISpontaneous
from tlstunnel.protocols.ber import SEQUENCE, element, elements
from tlstunnel.protocols.filters import PIECE_BYTES
from tlstunnel.protocols.ldap import START_TLS
from tlstunnel.protocols.ldap import message as answered
from tlstunnel.reveal.ldapcontrols import (
    HARMLESS,
    PASSWORD_MODIFY,
    PROXIED_AUTHORIZATION,
    REFRESH,
    WHO_AM_I,
    actingFor,
)
from tlstunnel.reveal.ldapfilters import (
    MAX_ANONYMOUS_BYTES,
    MAX_ANSWERS,
    MAX_BYTES,
    Requests,
    Responses,
)
from tlstunnel.reveal.ldaplogin import Client
from tlstunnel.reveal.ldapmessages import readRequest
from tlstunnel.testing.dialogues import crumbs, split


class RequestsTests(SynchronousTestCase):
    """
    L{Requests}: what passes, and for whom.
    """

    def setUp(self) -> None:
        self.responses = Responses()

    def requests(self, isBound: bool = True) -> Requests:
        """
        A filter of what alice says.
        """
        filtering = Requests(Client(ALICE, DN), self.responses)
        if isBound:
            self.assertEqual(filtering.feed(external()), b"")
            self.answers()
        return filtering

    def answers(self) -> list[tuple[int, int]]:
        """
        What the client is told.
        """
        return codes(self.responses.feed(b""))

    def test_aLargeRequestTakesItsPartOfATurn(self) -> None:
        """
        It may have thousands of elements, so that several of them are for several turns.
        """
        operation, fields = SEARCH
        assert isinstance(fields, list)
        attributes: Tree = (SEQUENCE, [string(b"")] * 4000)
        for search, most in ((SEARCH, 1), ((operation, [*fields[:-1], attributes]), 63)):
            requests = self.requests()
            before = requests.messages
            self.assertNotEqual(requests.feed(canonical(message(search))), b"")
            self.assertEqual(requests.messages - before, most)

    @given(messages)
    def test_allThatPassesIsForTheClient(self, tree: Tree) -> None:
        """
        Our control is the first, and the others are as they were.
        """
        operation, controls = parts(tree)
        passed = self.requests().feed(canonical(tree))
        self.assertEqual(passed, acting(operation, AUTHZ_ID, *controls))

    @given(messages, st.data())
    def test_howeverItIsWrittenAndCut(self, tree: Tree, data: st.DataObject) -> None:
        """
        A Bind and what is pipelined behind it.
        """
        written = loose(tree, lambda: data.draw(st.sampled_from([0, 1, 3, 100])))
        stream = canonical(tree) + external() + written + bindRequest() + canonical(tree)
        expected = b"".join(
            readRequest(canonical(tree)[measured:]).written(
                (actingFor(who), *readRequest(canonical(tree)[measured:]).controls)
            )
            for measured in [2 if canonical(tree)[1] < 0x80 else 2 + (canonical(tree)[1] & 0x7F)]
            for who in (NOBODY, AUTHZ_ID, NOBODY)
        )
        cut = data.draw(st.integers(0, len(stream)))
        for pieces in ((stream[:cut], stream[cut:]), crumbs(stream)):
            filtering = self.requests(isBound=False)
            self.assertEqual(b"".join(map(filtering.feed, pieces)), expected)
            self.assertEqual(self.answers(), [(7, SUCCESS), (7, SUCCESS)])
            self.assertGreaterEqual(filtering.messages, 5)

    def test_noPasswordIsInAnError(self) -> None:
        """
        A simple Bind has one in clear (RFC 4513, section 5.1.3).
        """
        secret, one, text = b"hunter2", element(2, b"\1"), element(4, b"x")
        login = element(0x60, element(2, b"\3") + text + element(0x80, secret))
        for wrong in (
            element(0x30, one + login + text),
            element(0x30, text + login),
            element(0x30, one + element(0x7D, secret) + login),
            element(0x30, one + login + element(0xA0, secret)),
            element(4, secret),
        ):
            with self.assertRaises(TunnelError) as caught:
                self.requests().feed(wrong)
            self.assertNotIn("hunter2", str(caught.exception) + repr(caught.exception))

    def test_aLoginAndASearchCutAnywhere(self) -> None:
        """
        In every place.
        """
        stream = external(1) + canonical(message(SEARCH))
        for pieces in split(stream):
            passed = b"".join(map(self.requests(isBound=False).feed, pieces))
            self.assertEqual(passed, acting(SEARCH, AUTHZ_ID))
            self.assertEqual(self.answers(), [(1, SUCCESS)])

    def test_aClientSaysForNobodyElse(self) -> None:
        """
        By the control, or its older form, with any value, in any place, in any request.
        """
        harmless = control(min(HARMLESS))
        for name in (PROXIED_AUTHORIZATION, b"2.16.840.1.113730.3.4.12"):
            for isCritical in (True, False):
                for value in (None, b"", AUTHZ_ID, b"dn:cn=admin"):
                    theirs = control(name, isCritical, value)
                    for controls in ((theirs,), (harmless, theirs), (theirs, harmless)):
                        request = message(SEARCH, *controls)
                        self.assertEqual(self.requests().feed(canonical(request)), b"")
                        self.assertEqual(self.answers(), [(7, DENIED)])
                        long = loose(request, lambda: 3)
                        self.assertEqual(self.requests().feed(long), b"")
                        self.assertEqual(self.answers(), [(7, DENIED)])

    def test_whatIsNotKnownToBeHarmlessDoesNotPass(self) -> None:
        """
        It is left out, or the request is refused if it is critical: transactions, identities for
        the log, another effective user, and what nobody knows.
        """
        for name in (
            b"1.3.6.1.1.21.2",
            b"1.3.6.1.4.1.21008.108.63.1",
            b"1.3.6.1.4.1.4203.1.10.1.1",
            b"1.3.6.1.4.1.30221.2.5.2",
            b"2.16.840.1.113730.3.4.018",
            b"2.16.840.1.113730.3.4.18.",
            b"2.16.840.1.113730.3.4.16",
            b"2.16.840.1.113894.1.8.1",
            b"1.2.3",
        ):
            passed = self.requests().feed(canonical(message(SEARCH, control(name, value=b"x"))))
            self.assertEqual(passed, acting(SEARCH, AUTHZ_ID))
            request = canonical(message(SEARCH, control(name, True, b"x")))
            self.assertEqual(self.requests().feed(request), b"")
            self.assertEqual(self.answers(), [(7, NOT_CRITICAL)])

    def test_extendedOperations(self) -> None:
        """
        Those pass that are known to be served for whom the control says.
        """
        for name, code in (
            (WHO_AM_I, None),
            (PASSWORD_MODIFY, None),
            (REFRESH, None),
            (START_TLS, 1),
            (b"1.3.6.1.1.8", PROTOCOL_ERROR),
            (b"1.3.6.1.1.21.1", PROTOCOL_ERROR),
            (b"1.3.6.1.1.21.3", PROTOCOL_ERROR),
            (b"1.3.6.1.4.1.4203.1.11.3\0", PROTOCOL_ERROR),
            (b" 1.3.6.1.4.1.4203.1.11.3", PROTOCOL_ERROR),
            (b"", PROTOCOL_ERROR),
            (b"1.2.3", PROTOCOL_ERROR),
        ):
            operation: Tree = (0x77, [string(name, 0x80)])
            passed = self.requests().feed(canonical(message(operation)))
            if code is None:
                self.assertEqual(passed, acting(operation, AUTHZ_ID))
                self.assertEqual(self.answers(), [])
            else:
                self.assertEqual((passed, self.answers()), (b"", [(7, code)]))

    def test_theAnswerIsOneToTheOperation(self) -> None:
        """
        Each has its own.
        """
        text = string(b"")
        empty: Tree = (0x30, [])
        rows: list[tuple[Tree, int]] = [
            (SEARCH, 0x65),
            ((0x66, [text, empty]), 0x67),
            ((0x68, [text, empty]), 0x69),
            ((0x4A, b""), 0x6B),
            ((0x6C, [text, text, (1, b"\0")]), 0x6D),
            ((0x6E, [text, (0x30, [text, text])]), 0x6F),
            (WHO, 0x78),
        ]
        for operation, tag in rows:
            self.requests().feed(canonical(message(operation, control(PROXIED_AUTHORIZATION))))
            ((_, content),) = elements(self.responses.feed(b""))
            self.assertEqual(answered(content)[:2], (b"\x07", tag))

    def test_whatHasNoAnswerPassesWithoutControls(self) -> None:
        """
        It is about the client's own requests.
        """
        for operation in ((0x42, b""), number(5, 0x50)):
            for controls in ((), (control(PROXIED_AUTHORIZATION, True, b"x"),)):
                passed = self.requests().feed(canonical(message(operation, *controls)))
                self.assertEqual(passed, canonical(message(operation)))
                self.assertEqual(self.answers(), [])

    def test_idsAreAsTheyAre(self) -> None:
        """
        Also long ones, large ones, and the same again.
        """
        body = canonical(SEARCH)
        for messageID in (b"\x01", b"\0\0\0\x01", b"\x7f\xff\xff\xff", b"\x01"):
            content = element(2, messageID) + body
            ours = element(0xA0, bytes(actingFor(AUTHZ_ID)))
            filtering = self.requests()
            for _ in range(2):
                passed = filtering.feed(element(0x30, content))
                self.assertEqual(passed, element(0x30, content + ours))

    def test_messagesAreBounded(self) -> None:
        """
        For somebody more than for nobody; and nothing of what is too long is awaited.
        """
        for isBound, most in ((False, MAX_ANONYMOUS_BYTES), (True, MAX_BYTES)):
            start = b"\x30\x84" + (most + 1).to_bytes(4, "big")
            with self.assertRaises(TunnelError) as raised:
                self.requests(isBound).feed(start)
            self.assertEqual(raised.exception.reason, "oversize")
            photo = most - 100
            change: Tree = (
                0x66,
                [
                    string(b"x"),
                    (
                        0x30,
                        [
                            (
                                0x30,
                                [
                                    number(2, 10),
                                    (0x30, [string(b"p"), (0x31, [(4, bytes(photo))])]),
                                ],
                            )
                        ],
                    ),
                ],
            )
            request = canonical(message(change))
            filtering = self.requests(isBound)
            passed = b"".join(map(filtering.feed, crumbs(request)))
            self.assertEqual(passed, acting(change, AUTHZ_ID if isBound else NOBODY))
        for start in (b"\x30\xfe" + b"\xff" * 126, b"\x30\x88" + b"\x7f" + b"\xff" * 7):
            self.assertRaises(TunnelError, self.requests().feed, start)

    def test_whatIsNoRequestEndsTheConnection(self) -> None:
        """
        And nothing of it passes.
        """
        for stream in (
            b"\x30\x80\x02\x01\x07\x42\x00\x00\x00",
            b"\x30\xff",
            b"\x30\x00",
            b"\x31",
            b"EHLO\r\n",
            canonical(message(SEARCH, messageID=0)),
            response(7, 0x61, SUCCESS),
            canonical((0x30, [number(7), SEARCH, (0xA0, []), (0xA0, [])])),
            canonical((0x30, [number(7), SEARCH, (0xA1, [])])),
            canonical((0x30, [number(7), (0x77, [string(WHO_AM_I, 0x80), (0x85, b"")])])),
        ):
            for pieces in ((stream,), crumbs(stream)):
                filtering = self.requests()
                passed = b""
                with self.assertRaises(TunnelError) as raised:
                    for piece in pieces:
                        passed += filtering.feed(piece)
                self.assertEqual((raised.exception.reason, passed), ("malformed", b""))

    def test_halfARequestIsNone(self) -> None:
        """
        At the client's end it is left out.
        """
        filtering = self.requests()
        filtering.feed(canonical(message(SEARCH))[:-1])
        self.assertEqual(filtering.flush(), b"")


class ResponsesTests(SynchronousTestCase):
    """
    L{Responses}: our answers among the server's.
    """

    MESSAGES = (b"\x30\x00", b"\x30\x03abc", b"\x30\x84\x00\x00\x00\x02\x30\x05")

    def test_itIsSpontaneous(self) -> None:
        """
        As the direction has to know.
        """
        responses = Responses()
        responses.wake = lambda: None
        verifyObject(ISpontaneous, responses)

    def test_anAnswerStandsBetweenTwoMessages(self) -> None:
        """
        Wherever it was given, and the server's words are as they were.
        """
        stream = b"".join(self.MESSAGES)
        ends = [len(b"".join(self.MESSAGES[:count])) for count in range(4)]
        for cut in range(len(stream) + 1):
            for step in (1, 3, 1000):
                responses = Responses()
                passed = b"".join(map(responses.feed, _pieces(stream[:cut], step)))
                responses.answer(b"<us>")
                passed += responses.feed(b"")
                passed += b"".join(map(responses.feed, _pieces(stream[cut:], step)))
                at = passed.index(b"<us>")
                self.assertIn(at, ends)
                self.assertEqual(passed.replace(b"<us>", b""), stream)

    def test_aServerThatSpeaksSomethingElseEndsTheConnection(self) -> None:
        """
        Nobody knows where it would end.
        """
        for said in (b"\x30\x80", b"\x04\x00", b"\x30\x00\x16\x03", b"\x30\xff"):
            self.assertRaises(TunnelError, Responses().feed, said)

    def test_answersThatNobodyReadsAreBounded(self) -> None:
        """
        Whoever sends what is refused, and does not read, is not served.
        """
        responses = Responses()
        responses.feed(b"\x30\x05")
        with self.assertRaises(TunnelError) as raised:
            for _ in range(MAX_ANSWERS):
                responses.answer(b"<us>")
        self.assertEqual(raised.exception.reason, "too-many-errors")

    def test_messagesAreCounted(self) -> None:
        """
        For the budget of a turn.
        """
        responses = Responses()
        responses.feed(b"\x30\x00" * 50)
        self.assertEqual(responses.messages, 50)

    def test_whatIsAwaitedMayComeAtOnce(self) -> None:
        """
        In both directions, up to where the next message begins.
        """
        long = element(0x30, element(2, b"\1") + element(0x4A, b"x" * 50_000))
        for each in (Requests(Client(), Responses()), Responses()):
            each.feed(long[:128])
            self.assertEqual(each.pieceBytes, len(long) - 128)
            self.assertIn(b"x" * 40_000, each.feed(long[128:]))
            self.assertEqual(each.pieceBytes, PIECE_BYTES)


def _pieces(data: bytes, step: int) -> tuple[bytes, ...]:
    return tuple(data[at : at + step] for at in range(0, len(data), step))
