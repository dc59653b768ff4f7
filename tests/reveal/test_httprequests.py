"""
Requests, and what pretends to be some: whoever is behind the tunnel must see what it sees.
"""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.reveal.web import OK, Web, get, message
from tlstunnel.errors import Malformed, Oversize
from tlstunnel.reveal.httpdialogue import Dialogue
from tlstunnel.reveal.httpfields import FieldNames, Told
from tlstunnel.reveal.httprequests import Requests

_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [/*][\x21-\x7e]* HTTP/1\.[01]")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([^\x00-\x08\x0a-\x1f\x7f]*)")
_CHUNK = re.compile(rb"[0-9a-f]+\r\n")

HOST = b"Host: x"
POST = b"POST / HTTP/1.1"
CHUNKED = b"Transfer-Encoding: chunked"


def requestsIn(heard: bytes) -> list[tuple[bytes, bytes]]:
    """
    The requests in what the backend has heard, each as its first line and its body, as the
    strictest of all readers takes them.

    @raise AssertionError: it is not as clear as it could be.
    """
    found = []
    while heard:
        head, end, heard = heard.partition(b"\r\n\r\n")
        assert end, head
        line, *lines = head.split(b"\r\n")
        assert _LINE.fullmatch(line), line
        matches = [_FIELD.fullmatch(each) for each in lines]
        fields = [(each[1].lower(), each[2]) for each in matches if each is not None]
        assert len(fields) == len(lines), lines
        names = [name for name, _ in fields]
        assert names.count(b"forwarded") == names.count(b"x-forwarded-for") == 1, names
        assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1, names
        body = b""
        if b"content-length" in names:
            size = int(dict(fields)[b"content-length"])
            body, heard = heard[:size], heard[size:]
        elif b"transfer-encoding" in names:
            assert dict(fields)[b"transfer-encoding"] == b"chunked"
            body, heard = chunksIn(heard)
        found.append((line, body))
    return found


def chunksIn(heard: bytes) -> tuple[bytes, bytes]:
    """
    A body in chunks, as far as it has come, and what is behind it.
    """
    body = b""
    while heard:
        size = _CHUNK.match(heard)
        assert size is not None, heard
        count, heard = int(size[0], 16), heard[size.end() :]
        if not count:
            while not heard.startswith(b"\r\n"):
                line, end, heard = heard.partition(b"\r\n")
                assert end and _FIELD.fullmatch(line), line
            return body, heard[2:]
        body += heard[:count]
        assert heard[count : count + 2] == b"\r\n"
        heard = heard[count + 2 :]
    return body, b""


class DelimitingTests(SynchronousTestCase):
    """
    What is good passes, however it is cut.
    """

    def passes(self, text: bytes, *expected: tuple[bytes, bytes]) -> None:
        """
        The backend hears these requests.
        """
        for cut in (1, 2, 3, 7, 128, 0):
            web = Web()
            self.assertEqual(requestsIn(web.say(text, cut)), list(expected))
            self.assertEqual((web.ended, web.atClient()), (False, b""))

    def test_bodiesPass(self) -> None:
        """
        With a length, in chunks, and none; one after the other in one piece.
        """
        self.passes(
            get()
            + message(POST, HOST, b"Content-Length: 5", body=b"GET /")
            + message(POST, HOST, CHUNKED, body=b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n")
            + message(b"HEAD /a?b HTTP/1.1", HOST)
            + message(b"PUT / HTTP/1.0", b"Content-Length: 2", body=b"\r\n"),
            (b"GET / HTTP/1.1", b""),
            (POST, b"GET /"),
            (POST, b"abc0123456789"),
            (b"HEAD /a?b HTTP/1.1", b""),
            (b"PUT / HTTP/1.0", b"\r\n"),
        )

    def test_extensionsOfChunksDoNotPass(self) -> None:
        """
        Nobody means anything by them but an attack.
        """
        for extension in (b";a", b";a=b", b';a="b\r"', b"  ", b";" + b"a" * 4000):
            body = b"3" + extension + b"\r\nabc\r\n000" + extension + b"\r\n\r\n"
            self.passes(message(POST, HOST, CHUNKED, body=body), (POST, b"abc"))

    def test_anEmptyLineMayPrecede(self) -> None:
        """
        RFC 9112, section 2.2: some clients sent one behind each body.
        """
        self.passes(b"\r\n" + get() + b"\r\n" + get(), *[(b"GET / HTTP/1.1", b"")] * 2)

    def test_aTargetWithTheSameHostIsAPath(self) -> None:
        """
        RFC 9112, section 3.2.2.
        """
        for target, path in (
            (b"http://X", b"/"),
            (b"HTTPS://x/", b"/"),
            (b"https://x/a?b", b"/a?b"),
            (b"https://x?b", b"/?b"),
        ):
            text = message(b"GET " + target + b" HTTP/1.1", HOST)
            self.passes(text, (b"GET " + path + b" HTTP/1.1", b""))
        self.passes(
            message(b"OPTIONS http://x HTTP/1.1", HOST) + message(b"OPTIONS * HTTP/1.1", HOST),
            *[(b"OPTIONS * HTTP/1.1", b"")] * 2,
        )

    def test_twoEqualLengthsAreOne(self) -> None:
        """
        RFC 9112, section 6.3.
        """
        for lines in ([b"Content-Length: 3"] * 2, [b"Content-Length: 3, 3"]):
            self.passes(message(POST, HOST, *lines, body=b"abc"), (POST, b"abc"))

    def test_whatDelimitsABodyIsWrittenAnew(self) -> None:
        """
        So that nobody takes it for octal, or for something else.
        """
        heard = Web().say(message(POST, HOST, b"CONTENT-length:\t 0000000010 ", body=b"0123456789"))
        self.assertIn(b"\r\nContent-Length: 10\r\n", heard)
        self.assertTrue(heard.endswith(b"0123456789"))
        heard = Web().say(message(POST, HOST, b"transfer-ENCODING:CHUNKED\t"))
        self.assertIn(b"\r\nTransfer-Encoding: chunked\r\n", heard)

    def test_whatHasABodyWithoutAMeaningIsTheLast(self) -> None:
        """
        A backend that does not look for the body of a GET takes it for another request, as
        Python's http.server does, unless it closes.
        """
        forged = get(b"Client-Cert: forged")
        length, chunk = b"Content-Length: %d" % len(forged), b"%x\r\n%b\r\n0\r\n\r\n"
        for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"get"):
            for line, body in ((length, forged), (CHUNKED, chunk % (len(forged), forged))):
                for cut in (1, 0):
                    web = Web()
                    request = method + b" / HTTP/1.1"
                    text = message(request, HOST, b"Connection: keep-alive, TE", line, body=body)
                    heard = web.say(text + get(), cut)
                    self.assertEqual(requestsIn(heard), [(request, forged)])
                    self.assertIn(b"\r\nConnection: te, close\r\n", heard)
                    answer = message(b"HTTP/1.1 200 OK", b"Content-Length: 0")
                    self.assertEqual(web.answer(answer), answer)
                    self.assertTrue(web.network.ended)
                    self.assertEqual(web.say(get()), b"")
        heard = Web().say(message(b"GET / HTTP/1.1", HOST, b"Content-Length: 0") + get())
        self.assertEqual(len(requestsIn(heard)), 2)
        self.assertNotIn(b"Connection", heard)

    def test_anotherProtocolThanWebSocketIsNotAskedFor(self) -> None:
        """
        Nobody would read it: the backend answers in HTTP/1, as it may.
        """
        for protocol in (b"h2c", b"HTTP/2.0", b"TLS/1.0", b"websocket, h2c", b"h2c,websocket"):
            text = get(
                b"Upgrade: " + protocol,
                b"Connection: Upgrade, HTTP2-Settings",
                b"HTTP2-Settings: AAMAAABkAAQAAP__",
            )
            web = Web()
            heard = web.say(text)
            self.assertNotIn(b"Upgrade", heard)
            self.assertNotIn(b"Settings", heard)
            self.assertNotIn(b"Connection", heard)

    def test_aRequestThatIsNotWholeIsNotPassedOn(self) -> None:
        """
        When the client ends.
        """
        web = Web()
        web.say(b"GET / HTTP/1.1\r\nHost: x\r\n")
        web.network.end()
        self.assertEqual(web.atBackend(), b"")
        self.assertTrue(web.plain.ended)

    def test_manySmallOnesDoNotHoldUpOthers(self) -> None:
        """
        They pass in turns, and nothing is lost.
        """
        web = Web()
        text = message(b"GET / HTTP/1.1", b"Host:")
        for _ in range(20):
            self.assertEqual(web.say(text * 60).count(b"GET"), 60)
            self.assertEqual(web.answer(OK * 60), OK * 60)
        body = b"1\r\nx\r\n" * 50000 + b"0\r\n\r\n"
        [(_, passed)] = requestsIn(web.say(message(POST, HOST, CHUNKED, body=body)))
        self.assertEqual(passed, b"x" * 50000)


#: What must not reach the backend, with the status that answers it.
REFUSED = {
    "another length": (400, message(POST, HOST, b"Content-Length: 1", b"Content-Length: 2")),
    "another length in the list": (400, message(POST, HOST, b"Content-Length: 1, 2")),
    "an empty length": (400, message(POST, HOST, b"Content-Length:")),
    "an empty length in the list": (400, message(POST, HOST, b"Content-Length: 1,")),
    "a length with a sign": (400, message(POST, HOST, b"Content-Length: +1")),
    "a negative length": (400, message(POST, HOST, b"Content-Length: -1")),
    "a hexadecimal length": (400, message(POST, HOST, b"Content-Length: 0x1")),
    "a length with a space": (400, message(POST, HOST, b"Content-Length: 1 1")),
    "a length with an underscore": (400, message(POST, HOST, b"Content-Length: 1_0")),
    "a length with a fraction": (400, message(POST, HOST, b"Content-Length: 1.0")),
    "a length that overflows 64 bits": (
        413,
        message(POST, HOST, b"Content-Length: 18446744073709551621", body=b"hello"),
    ),
    "a length that overflows with a sign": (
        413,
        message(POST, HOST, b"Content-Length: 9223372036854775808"),
    ),
    "a length that is not exact in doubles": (
        413,
        message(POST, HOST, b"Content-Length: 9007199254740992"),
    ),
    "a huge length": (400, message(POST, HOST, b"Content-Length: " + b"9" * 40)),
    "a length in Arabic digits": (400, message(POST, HOST, b"Content-Length: \xd9\xa1")),
    "a length and chunks": (400, message(POST, HOST, b"Content-Length: 4", CHUNKED)),
    "chunks and a length": (400, message(POST, HOST, CHUNKED, b"Content-Length: 4")),
    "chunks and no length": (400, message(POST, HOST, CHUNKED, b"Content-Length:")),
    "chunked twice": (501, message(POST, HOST, CHUNKED, CHUNKED)),
    "chunked twice in a list": (501, message(POST, HOST, CHUNKED + b", chunked")),
    "xchunked": (501, message(POST, HOST, b"Transfer-Encoding: xchunked")),
    "quoted chunks": (501, message(POST, HOST, b'Transfer-Encoding: "chunked"')),
    "chunked with a parameter": (501, message(POST, HOST, CHUNKED + b";q=1")),
    "identity": (501, message(POST, HOST, b"Transfer-Encoding: identity")),
    "identity and chunks": (501, message(POST, HOST, b"Transfer-Encoding: identity", CHUNKED)),
    "an empty coding": (501, message(POST, HOST, b"Transfer-Encoding:")),
    "gzip and chunks": (501, message(POST, HOST, b"Transfer-Encoding: gzip, chunked")),
    "chunks and gzip": (501, message(POST, HOST, b"Transfer-Encoding: chunked, gzip")),
    "a vertical tab": (400, message(POST, HOST, b"Transfer-Encoding:\x0bchunked")),
    "a form feed": (400, message(POST, HOST, b"Transfer-Encoding: chunked\x0c")),
    "a line separator": (501, message(POST, HOST, b"Transfer-Encoding: chunked\x85")),
    "a space before the colon": (400, message(POST, HOST, b"Transfer-Encoding : chunked")),
    "a tab before the colon": (400, message(POST, HOST, b"Content-Length\t: 4")),
    "a line of spaces": (400, message(POST, HOST, b" ", CHUNKED)),
    "a fold": (400, message(POST, HOST, b"Transfer-Encoding:", b" chunked")),
    "a fold with a tab": (400, message(POST, HOST, b"X: y", b"\tTransfer-Encoding: chunked")),
    "a fold of ours": (400, message(POST, HOST, b"Client-Cert:", b" :AAAA:")),
    "a fold of the first field": (400, message(POST, b" Host: x")),
    "a coding in HTTP/1.0": (400, message(b"POST / HTTP/1.0", HOST, CHUNKED)),
    "a bare LF": (400, message(POST, HOST, b"X: y\nClient-Cert: z")),
    "bare LFs": (400, b"GET / HTTP/1.1\nHost: x\n\n"),
    "a bare LF at the end": (400, b"GET / HTTP/1.1\r\nHost: x\r\n\n"),
    "a bare CR": (400, message(POST, HOST, b"X: y\rClient-Cert: z")),
    "a bare CR at the end": (400, b"GET / HTTP/1.1\r\nHost: x\r\n\r\r\n"),
    "a CR too many": (400, b"GET / HTTP/1.1\r\r\nHost: x\r\n\r\n"),
    "a NUL": (400, message(POST, HOST, b"X: y\0z")),
    "a NUL in a name": (400, message(POST, HOST, b"X\0: y")),
    "a NUL in the target": (400, message(b"GET /\0 HTTP/1.1", HOST)),
    "a DEL": (400, message(POST, HOST, b"X: y\x7f")),
    "an escape": (400, message(POST, HOST, b"X: y\x1b")),
    "a field without a name": (400, message(POST, HOST, b": y")),
    "a field without a colon": (400, message(POST, HOST, b"X")),
    "a name in quotes": (400, message(POST, HOST, b'"Host": y')),
    "a name with a letter of Latin-1": (400, message(POST, HOST, b"Client\xadCert: y")),
    "two hosts": (400, message(POST, HOST, HOST)),
    "no host": (400, message(POST)),
    "a host with a user": (400, message(POST, b"Host: a@x")),
    "a host with a path": (400, message(POST, b"Host: x/a")),
    "a host with a quote": (400, message(POST, b'Host: x";for="192.0.2.99')),
    "a host with a semicolon": (400, message(POST, b"Host: x;proto=http")),
    "several hosts in one": (400, message(POST, b"Host: x, y")),
    "another host than the target": (400, message(b"GET http://y/ HTTP/1.1", HOST)),
    "another port than the target": (400, message(b"GET http://x:81/ HTTP/1.1", HOST)),
    "a target with a user": (400, message(b"GET http://x@y/ HTTP/1.1", HOST)),
    "a target without a host": (400, message(b"GET http:/a HTTP/1.1", HOST)),
    "a target of another kind": (400, message(b"GET ftp://x/ HTTP/1.1", HOST)),
    "a target that is no path": (400, message(b"GET a HTTP/1.1", HOST)),
    "a target with a fragment": (400, message(b"GET /a#b HTTP/1.1", HOST)),
    "an asterisk": (400, message(b"GET * HTTP/1.1", HOST)),
    "a target with a space": (400, message(b"GET /a b HTTP/1.1", HOST)),
    "a target with a tab": (400, message(b"GET\t/ HTTP/1.1", HOST)),
    "a target with Latin-1": (400, message(b"GET /\xe9 HTTP/1.1", HOST)),
    "two spaces": (400, message(b"GET  / HTTP/1.1", HOST)),
    "a space at the end": (400, message(b"GET / HTTP/1.1 ", HOST)),
    "a space at the beginning": (400, message(b" GET / HTTP/1.1", HOST)),
    "a method that is none": (400, message(b"G(T / HTTP/1.1", HOST)),
    "two empty lines": (400, b"\r\n\r\n" + get()),
    "HTTP/0.9": (400, b"GET /\r\n"),
    "HTTP/0.9 with a version": (505, message(b"GET / HTTP/0.9")),
    "HTTP/1.2": (505, message(b"GET / HTTP/1.2", HOST)),
    "HTTP/2.0": (505, message(b"GET / HTTP/2.0", HOST)),
    "the preface of HTTP/2": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "a version with more digits": (400, message(b"GET / HTTP/1.10", HOST)),
    "a version in lower case": (400, message(b"GET / http/1.1", HOST)),
    "no version": (400, message(b"GET / HTTP/", HOST)),
    "a TLS record": (400, b"\x16\x03\x01\x02\x00"),
    "the PROXY protocol": (400, b"PROXY TCP4 192.0.2.9 192.0.2.1 5 443\r\n"),
    "the PROXY protocol, version 2": (400, b"\r\n\r\n\x00\r\nQUIT\n"),
    "CONNECT": (405, message(b"CONNECT x:443 HTTP/1.1", HOST)),
    "CONNECT with a path": (405, message(b"CONNECT / HTTP/1.1", HOST)),
    "TRACE with a body": (400, message(b"TRACE / HTTP/1.1", HOST, b"Content-Length: 1")),
    "another expectation": (417, message(POST, HOST, b"Expect: 200-ok")),
    "an odd expectation": (417, message(POST, HOST, b"Expect: y 100-continue")),
    "two expectations": (417, message(POST, HOST, b"Expect: 100-continue", b"Expect: x")),
    "a long line": (414, b"GET /" + b"a" * 8192),
    "a long method": (414, b"A" * 8192),
    "a long field": (431, message(POST, HOST, b"X: " + b"y" * 32768)),
    "an endless field": (431, b"GET / HTTP/1.1\r\nX: " + b"y" * 32768),
    "many fields": (431, message(POST, HOST, *[b"a:"] * 4000)),
    "some more fields": (431, message(POST, HOST, *[b"a:"] * 128)),
}

#: Bodies in chunks that are none; the head of the request has passed.
BROKEN_CHUNKS = {
    "no size": b"\r\nabc",
    "a size with a prefix": b"0x3\r\nabc",
    "a negative size": b"-3\r\nabc",
    "a size with a sign": b"+3\r\nabc",
    "a size with an underscore": b"1_0\r\nabc",
    "a size behind a space": b" 3\r\nabc",
    "a huge size": b"1" + b"0" * 40 + b"\r\nabc",
    "a size that is no number": b"x\r\nabc",
    "a size with a NUL": b"3\0\r\nabc",
    "a size with a bare LF": b"3\nabc\r\n",
    "an extension with a bare LF": b"3;a\nGET / HTTP/1.1\r\nabc\r\n",
    "a longer chunk": b"3\r\nabcd\r\n",
    "a shorter chunk": b"5\r\nabc\r\n0\r\n\r\n",
    "a chunk with a bare LF": b"3\r\nabc\n0\r\n\r\n",
    "a chunk with another end": b"3\r\nabcXX0\r\n\r\n",
    "an endless size": b"0" * 5000,
    "an endless extension": b"3;" + b"a" * 5000,
    "endless trailers": b"0\r\n" + b"a: b\r\n" * 5000,
    "a trailer that is none": b"0\r\nX\r\n\r\n",
    "a trailer with a space before the colon": b"0\r\nX : y\r\n\r\n",
    "a trailer with a NUL": b"0\r\nX: y\0\r\n\r\n",
    "a trailer with a control character": b"0\r\nX: y\x01\r\n\r\n",
    "two lengths as trailers": b"0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
}


class AttackTests(SynchronousTestCase):
    """
    The corpora of request smuggling, and more.
    """

    def refuses(self, web: Web, text: bytes, status: int, cut: int) -> None:
        """
        The tunnel answers, and the backend hears nothing that is not clear, nor what is behind.
        """
        heard = web.say(text + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", cut)
        requestsIn(heard)
        self.assertNotIn(b"smuggled", heard)
        told = web.atClient()
        self.assertTrue(told.startswith(b"HTTP/1.1 %d " % status), told)
        self.assertTrue(told.endswith(b"\r\nConnection: close\r\n\r\n"))
        self.assertEqual(told.count(b"HTTP/1.1"), 1)
        self.assertTrue(web.network.ended)
        self.assertEqual(web.say(get()), b"")
        web.clock.advance(3)
        web.settle()
        self.assertTrue(web.ended)
        self.assertIsInstance(web.error, Malformed | Oversize)

    def test_whatIsNotClearIsRefused(self) -> None:
        """
        Cut anywhere, and behind good requests.
        """
        for name, (status, text) in REFUSED.items():
            for cut in (1, 2, 5, 0) if len(text) < 1000 else (100, 0):
                web = Web()
                self.refuses(web, text, status, cut)
            web = Web()
            self.assertEqual(len(requestsIn(web.say(get()))), 1, name)
            web.answer(OK)
            web.atClient()
            self.refuses(web, text, status, 3 if len(text) < 1000 else 0)

    def test_theBackendHearsNothingOfABadHead(self) -> None:
        """
        Not even its beginning.
        """
        for name, (_, text) in REFUSED.items():
            self.assertEqual(Web().say(text), b"", name)

    def test_chunksThatAreNoneAreRefused(self) -> None:
        """
        The backend has heard the head of that request, and nothing behind it that is no chunk.
        """
        for name, body in BROKEN_CHUNKS.items():
            for cut in (1, 3, 0) if len(body) < 1000 else (100, 0):
                web = Web()
                text = message(POST, HOST, CHUNKED, body=body)
                heard = web.say(text + b"\r\n\r\n" + get(), cut)
                self.assertLessEqual(len(requestsIn(heard)), 1, name)
                self.assertNotIn(b"GET", heard, name)
                self.assertIn(b" 400 ", web.atClient(), name)

    def test_anAnswerWaitsForThoseBeforeIt(self) -> None:
        """
        It is the last one.
        """
        web = Web()
        web.say(get() + get() + b"GET /\r\n")
        self.assertEqual(web.atClient(), b"")
        self.assertEqual(web.answer(OK[:-1]), OK[:-1])
        told = web.answer(OK[-1:] + OK)
        self.assertTrue(told.startswith(OK[-1:] + OK + b"HTTP/1.1 400 "), told)
        self.assertTrue(web.network.ended)
        self.assertEqual(web.answer(OK), b"")

    def test_nothingIsSaidWithinAResponse(self) -> None:
        """
        To the request that has turned out to be none: the connection ends.
        """
        web = Web()
        web.say(message(POST, HOST, CHUNKED, body=b"1\r\nx\r\n"))
        self.assertEqual(web.answer(OK[:-1]), OK[:-1])
        web.say(b"what\r\n")
        self.assertTrue(web.ended)
        self.assertEqual(web.atClient(), b"")
        self.assertIsInstance(web.error, Malformed)

    def test_aClientThatIsToldSoMayRead(self) -> None:
        """
        The connection ends as soon as it does.
        """
        web = Web()
        web.say(b"GET /\r\n")
        web.say(b"more of that" * 1000)
        self.assertFalse(web.ended)
        web.network.end()
        self.assertTrue(web.ended)
        self.assertIsInstance(web.error, Malformed)

    def test_aClientThatHasEndedBeforeIsToldSo(self) -> None:
        """
        As those do that ask one thing only.
        """
        web = Web()
        web.network.feed(b"GET /\r\n")
        web.network.end()
        self.assertIn(b" 400 ", web.atClient())
        web.plain.end()
        self.assertTrue(web.ended)

    def test_aClientThatDoesNotStopIsCut(self) -> None:
        """
        Nothing of it is kept meanwhile.
        """
        web = Web()
        web.say(b"GET /\r\n")
        web.say(b"x" * (1 << 21))
        self.assertTrue(web.ended)
        self.assertIsInstance(web.error, Oversize)

    def test_aHeadHasToComeInTime(self) -> None:
        """
        The backend has heard nothing, and cannot limit that.
        """
        web = Web()
        for byte in get()[:30]:
            web.clock.advance(3)
            web.say(bytes([byte]))
        self.assertIn(b"HTTP/1.1 408 ", web.atClient())
        web = Web()
        for _ in range(3):
            web.clock.advance(50)
            web.say(get()[:9])
            web.clock.advance(50)
            self.assertIn(b"GET", web.say(get()[9:]))

    def test_noCallDoesMuch(self) -> None:
        """
        Other connections have their turn in between; nothing is left over.
        """
        for text, count in (
            (message(b"GET / HTTP/1.1", b"Host:") * 60, 60),
            (get(*[b"a:"] * 120) * 60, 60),
            (message(POST, HOST, CHUNKED, body=b"1\r\nx\r\n" * 9000 + b"0\r\n\r\n"), 1),
        ):
            web = Web()
            dialogue = Dialogue(web.network, web.deadlines)
            requests = Requests(dialogue, Told(FieldNames.of({}), web.pair.record))
            heard = b""
            for start in range(0, len(text), 16384):
                data = text[start : start + 16384]
                while data or not requests.pieceBytes:
                    before = requests.messages
                    heard += requests.feed(data)
                    self.assertLess(requests.messages - before, 60)
                    data = b""
            self.assertEqual(len(requestsIn(heard)), count)

    def test_onlySoManyRequestsWaitForAnAnswer(self) -> None:
        """
        More are refused.
        """
        web = Web()
        self.assertEqual(web.say(get() * 100).count(b"GET"), 64)
        self.assertIn(b" 503 ", web.answer(OK * 64))

    PARTS = (
        *(text for _, text in REFUSED.values() if len(text) < 1000),
        *(message(POST, HOST, CHUNKED, body=each) for each in BROKEN_CHUNKS.values()),
        get(),
        message(POST, HOST, CHUNKED, body=b"3;a\r\nabc\r\n0\r\nClient-Cert: x\r\n\r\n"),
        message(POST, HOST, b"Content-Length: 3", body=b"abc"),
        *(b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"0", b"0\r\n\r\n", b"GET / HTTP/1.1\r\n"),
        *(HOST, CHUNKED, b"Content-Length: 3", b"Client_Cert: forged", b"\x00", b"\xff"),
    )

    @settings(deadline=None, max_examples=300)
    @given(st.lists(st.sampled_from(PARTS), max_size=8).map(b"".join), st.integers(1, 300))
    def test_theBackendSeesNothingThatIsNotClear(self, text: bytes, cut: int) -> None:
        """
        Whatever the client says; and how it is cut makes no difference.
        """
        web, other = Web(), Web()
        heard = web.say(text)
        requestsIn(heard)
        self.assertNotIn(b"forged", heard)
        once, inParts = requestsIn(heard), requestsIn(other.say(text, cut))
        # Of a body in which something is wrong, what came before that may have passed.
        self.assertEqual(once[:-1], inParts[:-1])
        for one, another in zip(once[-1:], inParts[-1:], strict=True):
            self.assertEqual(one[0], another[0])
            shorter, longer = sorted((one[1], another[1]), key=len)
            self.assertTrue(longer.startswith(shorter))

    @settings(deadline=None, max_examples=200)
    @given(st.data())
    def test_oneWrongByteIsNotMisunderstood(self, data: st.DataObject) -> None:
        """
        Anywhere in good requests.
        """
        text = bytearray(
            message(POST, HOST, CHUNKED, body=b"3\r\nabc\r\n0\r\n\r\n")
            + message(POST, HOST, b"Content-Length: 3", b"Client-Cert: a", body=b"abc")
            + get()
        )
        at = data.draw(st.integers(0, len(text) - 1))
        text[at] = data.draw(st.integers(0, 255))
        requestsIn(Web().say(bytes(text)))
