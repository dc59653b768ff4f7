"""
Responses: they pass as they are, in step with the requests.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.reveal.web import OK, Web, get, message
from tlstunnel.errors import Closed, Malformed, Oversize
from tlstunnel.reveal.httpdialogue import Exchange
from tlstunnel.reveal.httpresponses import LINES_OF_A_MESSAGE, MAX_HEAD_LINES, Responses

HEAD = message(b"HEAD / HTTP/1.1", b"Host: x")
WEBSOCKET = get(
    b"Upgrade: websocket",
    b"Connection: keep-alive, Upgrade",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 13",
)
SWITCHING = message(
    b"HTTP/1.1 101 Switching Protocols", b"Upgrade: WebSocket", b"Connection: Upgrade"
)
UPLOAD = message(b"PUT / HTTP/1.1", b"Host: x", b"Content-Length: 10", b"Expect: 100-continue")
CONTINUE = message(b"HTTP/1.1 100 Continue")
FORGED = get(b"Client-Cert: forged")

#: Responses by the request that they belong to; all are of one kind: the next one may follow.
ANSWERS = [
    (get(), OK),
    (get(), message(b"HTTP/1.1 200", b"Content-Length: 0")),
    (get(), message(b"HTTP/1.0 200 OK", b"Content-Length: 3", b"X: \xe9", body=b"\r\n\r")),
    (get(), message(b"HTTP/1.1 204 No Content")),
    (get(), message(b"HTTP/1.1 304 Not Modified", b"Content-Length: 99")),
    (HEAD, message(b"HTTP/1.1 200 OK", b"Content-Length: 99")),
    (HEAD, message(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked")),
    (HEAD, message(b"HTTP/1.1 200 OK")),
    (
        get(),
        message(
            b"HTTP/1.1 200 OK",
            b"Transfer-Encoding: chunked",
            body=b"3;a=b\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nX: y\r\n\r\n",
        ),
    ),
    (get(), message(b"HTTP/1.1 103 Early Hints", b"Link: </a>") + CONTINUE + OK),
    (get(), message(b"HTTP/1.1 404 Not Found", b"Content-Length: 4", body=b"HTTP")),
]


class PassingTests(SynchronousTestCase):
    """
    What comes from the backend is what the client gets.
    """

    def test_responsesPassAsTheyAre(self) -> None:
        """
        However they are cut, and whatever they end with.
        """
        for cut in (1, 2, 5, 100, 0):
            web = Web()
            for request, response in ANSWERS * 3:
                self.assertIn(b"X-Forwarded-For", web.say(request))
                self.assertEqual(web.answer(response, cut), response)
            self.assertFalse(web.ended, web.error)

    @settings(deadline=None, max_examples=100)
    @given(st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=20), st.integers(1, 300))
    def test_pipelinedRequestsAreAnsweredInOrder(
        self, pairs: list[tuple[bytes, bytes]], cut: int
    ) -> None:
        """
        All of them are asked before the first is answered.
        """
        web = Web()
        heard = web.say(b"".join(request for request, _ in pairs), cut)
        self.assertEqual(heard.count(b"X-Forwarded-For"), len(pairs))
        response = b"".join(response for _, response in pairs)
        self.assertEqual(web.answer(response, cut), response)
        # That was all of them.
        self.assertIn(b"HTTP/1.1 400 ", (web.say(b"\n"), web.atClient())[1])

    def test_aResponseMayEndWithTheConnection(self) -> None:
        """
        Then nothing of it is looked at, and what the client says still is.
        """
        for request in (get(), message(b"GET / HTTP/1.0")):
            web = Web()
            web.say(request)
            text = message(b"HTTP/1.1 200 OK", b"Connection: close", body=b"x" * 99999)
            self.assertEqual(web.answer(text), text)
            self.assertNotIn(b"forged", web.say(FORGED))
            web.plain.end()
            self.assertTrue(web.network.ended)

    def test_largeBodiesPassInLargePieces(self) -> None:
        """
        Up and down, with a length and in chunks.
        """
        body = bytes(range(256)) * 8192
        chunks = b"".join(
            b"2000\r\n%b\r\n" % body[at : at + 8192] for at in range(0, len(body), 8192)
        )
        size = b"Content-Length: %d" % len(body)
        for line, text in ((size, body), (b"Transfer-Encoding: chunked", chunks + b"0\r\n\r\n")):
            web = Web()
            heard = web.say(message(b"PUT / HTTP/1.1", b"Host: x", line, body=text))
            if line == size:
                self.assertTrue(heard.endswith(body))
            response = message(b"HTTP/1.1 200 OK", line, body=text)
            self.assertEqual(web.answer(response), response)
            self.assertFalse(web.ended)

    def test_anUploadMayWaitForItsContinuation(self) -> None:
        """
        RFC 9110, section 10.1.1.
        """
        web = Web()
        self.assertIn(b"\r\nExpect: 100-continue\r\n", web.say(UPLOAD))
        self.assertEqual(web.answer(CONTINUE), CONTINUE)
        self.assertEqual(web.say(b"0123456789"), b"0123456789")
        self.assertEqual(web.answer(OK), OK)
        self.assertNotIn(b"forged", web.say(FORGED))

    def test_HTTP10ExpectsNothing(self) -> None:
        """
        RFC 9110, section 10.1.1.
        """
        heard = Web().say(UPLOAD.replace(b"1.1", b"1.0"))
        self.assertNotIn(b"Expect", heard)

    def test_aBackendThatHasWaitedInVainMaySaySo(self) -> None:
        """
        RFC 9110, section 15.5.9.
        """
        web = Web()
        text = message(b"HTTP/1.1 408 Request Timeout", b"Content-Length: 0", b"Connection: close")
        self.assertEqual(web.answer(text), text)
        web.plain.end()
        self.assertTrue(web.network.ended)


class LongHeadTests(SynchronousTestCase):
    """
    Heads and trailers are read as a whole, so that what they consist of is counted.
    """

    CHUNKED = message(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", body=b"1\r\nx\r\n0\r\n")

    def test_aHeadOfVeryManyLinesEndsTheConnection(self) -> None:
        """
        Also where it is not whole yet, and where lines go on in the next.
        """
        for line in (b"a:\r\n", b"a:\n", b"a: b\r\n c\r\n"):
            for end in (b"", b"\r\n"):
                web = Web()
                web.say(get())
                web.answer(b"HTTP/1.1 200 OK\r\n" + line * (MAX_HEAD_LINES + 1) + end)
                self.assertIsInstance(web.error, Oversize)

    def test_soDoTrailers(self) -> None:
        """
        Which are waited for as well.
        """
        web = Web()
        web.say(get())
        web.answer(self.CHUNKED + b"a:\r\n" * (MAX_HEAD_LINES + 1))
        self.assertIsInstance(web.error, Oversize)

    def test_manyLinesPass(self) -> None:
        """
        As long as they are not too many; those of other responses do not count.
        """
        head = message(b"HTTP/1.1 200 OK", b"Content-Length: 0", *[b"a:"] * (MAX_HEAD_LINES - 4))
        web = Web()
        for text in (head, self.CHUNKED + b"a:\r\n" * (MAX_HEAD_LINES - 4) + b"\r\n"):
            web.say(get())
            self.assertEqual(web.answer(text, 1000), text)
        web.say(3 * get())
        self.assertEqual(web.answer(3 * head), 3 * head)

    def test_whatCameBeforeOneStillPasses(self) -> None:
        """
        The client hears the response before.
        """
        web = Web()
        web.say(2 * get())
        bad = b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * (MAX_HEAD_LINES + 1)
        self.assertEqual(web.answer(OK + bad), OK)
        self.assertIsInstance(web.error, Oversize)

    def test_linesOfAHeadTakeTheirPartOfATurn(self) -> None:
        """
        So that heads with many are for several turns.
        """
        dialogue: Any = SimpleNamespace(due=[], isOver=False)
        responses = Responses(dialogue)
        head = b"HTTP/1.1 408 Request Timeout\r\n" + b"a: b\r\n" * 400
        dialogue.due.append(Exchange(b"GET", False))
        responses.feed(head + b"\r\n")
        self.assertGreaterEqual(responses.messages, 400 // LINES_OF_A_MESSAGE)


class StepTests(SynchronousTestCase):
    """
    Whose turn it is, is always clear.
    """

    def test_nothingPassesThatNobodyHasAskedFor(self) -> None:
        """
        It would be taken for the answer to the next request.
        """
        for text in (OK, CONTINUE, SWITCHING, b"220 ready\r\n\r\n"):
            web = Web()
            self.assertEqual(web.answer(text), b"")
            self.assertTrue(web.ended)
            self.assertIsInstance(web.error, Malformed)
        web = Web()
        web.say(get())
        self.assertEqual(web.answer(OK + OK), OK)
        self.assertTrue(web.ended)

    def test_whatIsNoResponseEndsTheConnection(self) -> None:
        """
        It is not known where it ends.
        """
        for text in (
            b"HTTP/2.0 200 OK\r\nX\r\n\r\n",
            # Of a mail server, which has no empty line for its end.
            b"220 mx.example.org ESMTP\r\n",
            message(b"HTTP/1.1 200 OK", b"Content-Length: 1", b"Content-Length: 2"),
            message(b"HTTP/1.1 200 OK", b"Transfer-Encoding: gzip, chunked"),
            message(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", body=b"x\r\n"),
            b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70000,
        ):
            web = Web()
            web.say(get())
            web.answer(text)
            self.assertTrue(web.ended, text)
            self.assertIsInstance(web.error, Malformed)

    def test_whatFollowsAnEarlyAnswerIsNotPassedOn(self) -> None:
        """
        The backend might read it as another request; the client can say all of it.
        """
        for lines, body, more in (
            ([b"Content-Length: %d" % len(FORGED)], b"", FORGED),
            ([b"Content-Length: %d" % (len(FORGED) + 9)], FORGED[:5], FORGED[5:] + b"123456789"),
            (
                [b"Transfer-Encoding: chunked"],
                b"1\r\nx\r\n",
                b"%x\r\n%b\r\n0\r\n\r\n" % (len(FORGED), FORGED),
            ),
        ):
            for cut in (1, 0):
                web = Web()
                web.say(message(b"PUT / HTTP/1.1", b"Host: x", *lines, body=body))
                self.assertEqual(web.answer(OK), OK)
                self.assertEqual(web.say(more[:-1], cut), b"")
                web.clock.advance(100)
                web.settle()
                self.assertFalse(web.network.ended)
                self.assertEqual(web.say(more[-1:] + FORGED), b"")
                self.assertEqual((web.network.ended, web.atClient()), (True, b""))

    def test_nothingIsSaidBehindAnEarlyAnswer(self) -> None:
        """
        To a request that turns out to be none.
        """
        web = Web()
        web.say(get(b"Transfer-Encoding: chunked"))
        self.assertEqual(web.answer(OK), OK)
        web.say(b"what?\r\n")
        self.assertTrue(web.ended)
        self.assertEqual(web.atClient(), b"")
        self.assertIsInstance(web.error, Malformed)

    def test_whoDoesNotContinueIsNotHeardAnyMore(self) -> None:
        """
        It is not known whether that is the body, or another request.
        """
        final = message(b"HTTP/1.1 417 Expectation Failed", b"Content-Length: 0")
        web = Web()
        web.say(UPLOAD)
        self.assertEqual(web.answer(final), final)
        self.assertEqual(web.say(FORGED), b"")
        self.assertTrue(web.network.ended)
        web.clock.advance(3)
        web.settle()
        self.assertIsInstance(web.error, Closed)

    def test_aClientThatEndsBehindAnEarlyAnswerEndsWell(self) -> None:
        """
        As most do.
        """
        web = Web()
        web.say(UPLOAD)
        self.assertEqual(web.answer(OK), OK)
        web.network.end()
        web.plain.end()
        self.assertTrue(web.ended)
        self.assertIs(web.error, None)

    def test_aResponseMayBeginBeforeItsRequestEnds(self) -> None:
        """
        If it does not end before.
        """
        web = Web()
        web.say(UPLOAD + b"01234")
        self.assertEqual(web.answer(OK[:-1]), OK[:-1])
        self.assertEqual(web.say(b"56789"), b"56789")
        self.assertEqual(web.answer(OK[-1:]), OK[-1:])
        self.assertIn(b"GET", web.say(get()))


class WebSocketTests(SynchronousTestCase):
    """
    The one protocol that may take over.
    """

    def test_fromThereOnAllPasses(self) -> None:
        """
        Behind the response, in the same piece, and also what looks like HTTP.
        """
        for cut in (1, 0):
            web = Web(identity=None)
            heard = web.say(WEBSOCKET, cut)
            self.assertIn(b"\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n", heard)
            self.assertIn(b"X-Forwarded-For: ", heard)
            self.assertEqual(web.answer(SWITCHING + b"\x81\x02hi", cut), SWITCHING + b"\x81\x02hi")
            frames = b"\x81\x85\0\0\0\0" + FORGED
            self.assertEqual(web.say(frames, cut), frames)
            self.assertEqual(web.answer(OK), OK)
            web.network.end()
            web.plain.end()
            self.assertTrue(web.ended)
            self.assertIs(web.error, None)

    def test_aRefusalLeavesEverythingAsItWas(self) -> None:
        """
        Requests are still read (the attack of 2019 on proxies that forgot that).
        """
        refusal = message(b"HTTP/1.1 426 Upgrade Required", b"Content-Length: 0")
        web = Web()
        web.say(WEBSOCKET)
        self.assertEqual(web.answer(refusal), refusal)
        heard = web.say(FORGED)
        self.assertIn(b"X-Forwarded-For: ", heard)
        self.assertNotIn(b"forged", heard)

    def test_nothingPassesBeforeTheAnswer(self) -> None:
        """
        It would be a request if the backend refuses.
        """
        for behind in (FORGED, b"\x81\x85\0\0\0\0hello", b"\r\n"):
            for text in (WEBSOCKET + behind, WEBSOCKET, behind):
                web = Web()
                heard = web.say(text)
                if text == WEBSOCKET:
                    self.assertEqual(web.say(behind), b"")
                elif text == behind:
                    continue
                self.assertEqual(heard.count(b"HTTP/1.1"), 1)
                web.answer(SWITCHING)
                self.assertTrue(web.ended)
                self.assertIsInstance(web.error, Malformed)
                web = Web()
                web.say(WEBSOCKET + behind)
                self.assertIn(b"HTTP/1.1 400 ", web.answer(OK))

    def test_nobodyAsksForItBehindWhatMayHaveMoreToCome(self) -> None:
        """
        A backend that sends a body where there is none, which a client can choose, would seem to
        switch.
        """
        nothing = message(b"HTTP/1.1 204 No Content")
        for request, response in (
            (HEAD, message(b"HTTP/1.1 200 OK", b"Content-Length: 99")),
            (get(), nothing),
            (get(), message(b"HTTP/1.1 304 Not Modified")),
        ):
            web = Web()
            web.say(request)
            self.assertEqual(web.answer(response), response)
            self.assertEqual((web.say(WEBSOCKET), web.atClient()), (b"", b""))
            self.assertTrue(web.network.ended)
            self.assertEqual((web.answer(SWITCHING), web.say(FORGED)), (b"", b""))
        web = Web()
        self.assertEqual(web.say(get() + WEBSOCKET).count(b"GET"), 1)
        self.assertEqual(web.answer(OK + SWITCHING), OK)
        self.assertEqual((web.network.ended, web.say(FORGED)), (True, b""))
        web = Web()
        web.say(get())
        web.answer(OK)
        self.assertIn(b"Upgrade: websocket", web.say(WEBSOCKET))

    def test_nobodySwitchesUnasked(self) -> None:
        """
        To WebSocket, or to anything else.
        """
        for request, response in (
            (get(), SWITCHING),
            (get(b"Upgrade: h2c", b"Connection: Upgrade"), SWITCHING.replace(b"WebSocket", b"h2c")),
            (get(b"Upgrade: websocket"), SWITCHING),
            (get(b"Connection: upgrade"), SWITCHING),
            (WEBSOCKET.replace(b"GET", b"POST"), SWITCHING),
            (WEBSOCKET.replace(b"HTTP/1.1", b"HTTP/1.0"), SWITCHING),
            (WEBSOCKET, SWITCHING.replace(b"WebSocket", b"h2c")),
            (WEBSOCKET, message(b"HTTP/1.1 101 Switching Protocols")),
        ):
            web = Web()
            web.say(request)
            self.assertEqual(web.answer(response), b"")
            self.assertTrue(web.ended, request)
            self.assertIsInstance(web.error, Malformed)
