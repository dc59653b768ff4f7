"""
Tests for L{tlstunnel.net.viaexchange}, L{tlstunnel.net.viahttp} and L{tlstunnel.net.viasocks}: what
is said to proxies, and what their answers mean, however they are cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress
from tlstunnel.errors import ConnectFailed
from tlstunnel.net import viahttp, viasocks
from tlstunnel.net.via import Login
from tlstunnel.net.viaexchange import MOST_BYTES, MOST_LINES, Exchange, Story

NAME = TCPAddress("mail.example.org", 587)
LOGIN = Login(b"me", b"secret")

#: What a far end that greets says, behind the answer of the proxy.
GREETING = b"220 mx\r\n"

Connect = Callable[[TCPAddress, Login | None], Story]


def told(
    connect: Connect, pieces: Iterable[bytes], login: Login | None = None
) -> tuple[bytes, bytes]:
    """
    Tell a story to a proxy that answers with C{pieces}.

    @return: what was said to it, and what was left for the far end to have said.
    @raise ConnectFailed: it does not connect, or that was all.
    """
    exchange = Exchange(connect(NAME, login))
    rest = b""
    for piece in pieces:
        count = 0 if exchange.isOver else exchange.take(piece)
        rest += piece[count:]
    if not exchange.isOver:
        raise exchange.ended()
    return exchange.unsent, rest


def cut(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """
    C{data} in pieces.
    """
    places = [0, *sorted(each % (len(data) + 1) for each in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places) if start < end]


if TYPE_CHECKING:
    _Case = SynchronousTestCase
else:
    # What is shared is no test case of its own to trial.
    _Case = object


class StoryTests(_Case):
    """
    What holds for both kinds of proxies.

    @cvar module: tells of one.
    @cvar successes: answers of proxies that connect, each with whether we log in.
    @cvar failures: answers of others, each with whether we log in, words of the error, and its
        cause.
    """

    module: ClassVar[ModuleType]
    successes: ClassVar[tuple[tuple[bytes, bool], ...]]
    failures: ClassVar[tuple[tuple[bytes, bool, str, str], ...]]

    @classmethod
    def outcome(cls, pieces: Iterable[bytes], login: bool) -> tuple[str, ...]:
        """
        What comes of an answer: what is left of it, or the error.
        """
        try:
            _, rest = told(cls.module.connect, pieces, LOGIN if login else None)
        except ConnectFailed as error:
            return error.detail, error.cause
        return (repr(rest),)

    def test_whoeverConnectsLeavesWhatFollows(self) -> None:
        """
        To the byte, wherever the answer is cut: a server may greet at once.
        """
        for answer, login in self.successes:
            for rest in (b"", GREETING, b"\r\n\r\n", b"\0", b"HTTP/1.1 200 OK\r\n\r\n"):
                data = answer + rest
                for at in range(len(data) + 1):
                    pieces = [each for each in (data[:at], data[at:]) if each]
                    self.assertEqual(self.outcome(pieces, login), (repr(rest),), (data, at))

    def test_aByteAtATimeIsEnough(self) -> None:
        """
        Also where it fails.
        """
        for answer, login in self.successes:
            pieces = [answer[at : at + 1] for at in range(len(answer))]
            self.assertEqual(self.outcome(pieces, login), (repr(b""),))
        for answer, login, _, cause in self.failures:
            pieces = [answer[at : at + 1] for at in range(len(answer))]
            self.assertEqual(self.outcome(pieces, login)[1:], (cause,), answer)

    def test_whatIsWrongIsSaid(self) -> None:
        """
        In words, with a cause that has a hint.
        """
        for answer, login, words, cause in self.failures:
            detail, found = self.outcome([answer], login)
            self.assertIn(words, detail, answer)
            self.assertEqual(found, cause, answer)
            self.assertTrue(detail.isascii() and detail.isprintable(), detail)
            self.assertNotIn("secret", detail)

    def test_anAnswerThatIsCutIsNone(self) -> None:
        """
        No beginning of one is taken for success.
        """
        for answer, login in self.successes:
            for end in range(len(answer)):
                pieces = [answer[:end]] if end else []
                detail, cause = self.outcome(pieces, login)
                self.assertIn("the proxy ended the connection", detail)
                self.assertEqual(cause, "proxy mute")


class HTTPTests(StoryTests, SynchronousTestCase):
    """
    CONNECT.
    """

    module: ClassVar[ModuleType] = viahttp
    successes = tuple(
        (answer, login)
        for login in (False, True)
        for answer in (
            b"HTTP/1.1 200 Connection established\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nVia: 1.0 proxy\r\n\r\n",
            b"HTTP/1.1 200\r\n\r\n",
            b"HTTP/1.1 204 \xfc\r\n\r\n",
            b"HTTP/1.1 200 OK\n\n",
            b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\tagain\r\nY:b\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\nX: a\r\n\r\nHTTP/1.1 102 x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            # What these announce is not there (RFC 9110, section 9.3.6).
            b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
    )
    failures = (
        (b"HTTP/1.1 407 No\r\n", False, 'answers 407 "No": it wants a login', "proxy no login"),
        (b"HTTP/1.1 407 No\r\n", True, "it does not take our login", "proxy login"),
        (b"HTTP/1.1 403 Go \x1b[2J\r\n", True, r'403 "Go \x1b[2J"', "proxy forbids"),
        (b"HTTP/1.1 405 \r\n", False, "answers 405", "proxy forbids"),
        (b"HTTP/1.1 502 Bad Gateway\r\n", False, '502 "Bad Gateway"', "proxy cannot"),
        (b"HTTP/1.1 503 No Route\n", False, '503 "No Route"', "proxy cannot"),
        (b"HTTP/1.1 400 " + b"x" * 1000 + b"\r\n", False, 'x"...', "proxy refuses"),
        (b"HTTP/1.1 302 Found\r\n", False, '302 "Found"', "proxy refuses"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", False, '101 "Switching"', "proxy refuses"),
        (b"HTTP/2 200\r\n", False, "which is not HTTP", "proxy broken"),
        (b"HTTP/1.1 2000 OK\r\n", False, "which is not HTTP", "proxy broken"),
        (b"HTTP/1.1  200 OK\r\n", False, "which is not HTTP", "proxy broken"),
        (b"HTTP/1.1 099 OK\r\n", False, "which is not HTTP", "proxy broken"),
        (b"HTTP/1.1 200 O\0K\r\n\r\n", False, "which is not HTTP", "proxy broken"),
        (b"HTTP/1.1 200 O\rK\r\n\r\n", False, "which is not HTTP", "proxy broken"),
        (b"HTTP/1.1 200 OK\r\nX: \0\r\n\r\n", False, "which is not HTTP", "proxy broken"),
        (b"HTTP/1.1 200 OK\r\nno field\r\n\r\n", False, "which is not HTTP", "proxy broken"),
        (b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n", False, "which is not HTTP", "proxy broken"),
        (b"HTTP/1.1 200 OK\r\n folded: a\r\n\r\n", False, "which is not HTTP", "proxy broken"),
        (b"HELO\n", False, "which is not HTTP", "proxy broken"),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", False, "which is not HTTP", "proxy broken"),
        (b"\0", False, "which is not HTTP", "proxy broken"),
        (b"220 mx\r\n", False, "which is not HTTP", "proxy broken"),
        (b"\x05\xff", False, "speaks SOCKS, and not HTTP", "proxy speaks socks5"),
        (b"\x15\x03\x01\0\x02\x02\x46", False, "speaks TLS", "proxy speaks TLS"),
    )

    def test_theRequest(self) -> None:
        """
        The name as it was given, and an address in brackets; the login where there is one.
        """
        exchange = Exchange(viahttp.connect(NAME, None))
        self.assertEqual(
            exchange.unsent,
            b"CONNECT mail.example.org:587 HTTP/1.1\r\nHost: mail.example.org:587\r\n\r\n",
        )
        exchange = Exchange(viahttp.connect(TCPAddress("2001:db8::1", 25), LOGIN))
        self.assertEqual(
            exchange.unsent,
            b"CONNECT [2001:db8::1]:25 HTTP/1.1\r\nHost: [2001:db8::1]:25\r\n"
            b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n\r\n",
        )

    def test_aLongLoginIsOneLine(self) -> None:
        """
        Base64 is not folded.
        """
        exchange = Exchange(viahttp.connect(NAME, Login(b"me", b"x" * 4000)))
        self.assertEqual(exchange.unsent.count(b"\n"), 4)

    def test_aHeaderWithoutEndIsGivenUpOn(self) -> None:
        """
        One line, several, and answers that never are the last.
        """
        for start, more in (
            (b"HTTP/1.1 200 ", b"x"),
            (b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 40 + b"\r\n"),
            (b"", b"HTTP/1.1 100 " + b"x" * 40 + b"\r\n\r\n"),
        ):
            exchange = Exchange(viahttp.connect(NAME, None))
            data = start + more * (MOST_BYTES // len(more) + 1)
            error = self.assertRaises(ConnectFailed, exchange.take, data)
            self.assertIn(f"more than {MOST_BYTES} bytes", error.detail)

    def test_soIsOneOfManyLines(self) -> None:
        """
        Fields, what belongs to the one before, and informational answers; as many as may be are
        none too many.
        """
        success = b"HTTP/1.1 200 x\n"
        for start, more, count in (
            (success, b"a:\n", 1),
            (success + b"a:\n", b" \n", 1),
            (b"", b"HTTP/1.1 100\n\n", 2),
        ):
            end = b"\n" if start else success + b"\n"
            left = MOST_LINES - (start + end).count(b"\n")
            answer = start + more * (left // count)
            self.assertEqual(told(viahttp.connect, [answer + end + GREETING])[1], GREETING)
            exchange = Exchange(viahttp.connect(NAME, None))
            error = self.assertRaises(ConnectFailed, exchange.take, answer + more + end)
            self.assertIn(f"more than {MOST_LINES} lines", error.detail)
            self.assertEqual(error.cause, "proxy broken")

    def test_aHeaderMayBeLong(self) -> None:
        """
        Up to the limit.
        """
        start = b"HTTP/1.1 200 OK\r\nX: "
        end = b"\r\n\r\n"
        answer = start + b"x" * (MOST_BYTES - len(start) - len(end)) + end
        self.assertEqual(told(viahttp.connect, [answer + GREETING])[1], GREETING)


def answers(*bound: bytes) -> tuple[tuple[bytes, bool], ...]:
    """
    What a proxy of SOCKS says that has bound C{bound}, without a login and with one.
    """
    return tuple(
        (begin + b"\x05\0\0" + each, login)
        for each in bound
        for begin, login in ((b"\x05\0", False), (b"\x05\0", True), (b"\x05\x02\x01\0", True))
    )


class SOCKSTests(StoryTests, SynchronousTestCase):
    """
    SOCKS 5.
    """

    module: ClassVar[ModuleType] = viasocks
    successes = answers(
        b"\x01\x7f\0\0\x01\x12\x34",
        b"\x04" + b"\x20\x01" * 8 + b"\0\0",
        b"\x03\x05a.b.c\0\x19",
        b"\x03\0\0\0",
        b"\x03\xff" + b"x" * 255 + b"\xff\xff",
    )
    failures = (
        (b"\x05\xff", False, "wants a login", "proxy no login"),
        (b"\x05\xff", True, "does not take our login", "proxy login"),
        (b"\x05\x02", False, "chooses method 2, which we did not offer", "proxy broken"),
        (b"\x05\x01", True, "chooses method 1, which we did not offer", "proxy broken"),
        (b"\x05\x02\x01\x01", True, "does not take our login", "proxy login"),
        (b"\x05\x02\x05\x00", True, "answers a login with version 5", "proxy broken"),
        (b"\x05\0\x04\0", False, "where its answer is due", "proxy broken"),
        (b"\x05\0\x05\0\0\x02", False, "an address of type 2", "proxy broken"),
        (b"\x05\0\x05\0\0\0", False, "an address of type 0", "proxy broken"),
        (b"\x05\0\x05\x01\0\x01", False, "general SOCKS server failure", "proxy cannot"),
        (b"\x05\0\x05\x02", False, "answers 2: connection not allowed", "proxy forbids"),
        (b"\x05\0\x05\x03", False, "network unreachable", "proxy cannot"),
        (b"\x05\0\x05\x04", False, "host unreachable", "proxy cannot"),
        (b"\x05\0\x05\x05", False, "connection refused", "proxy cannot"),
        (b"\x05\0\x05\x06", False, "TTL expired", "proxy cannot"),
        (b"\x05\0\x05\x07", False, "command not supported", "proxy refuses"),
        (b"\x05\0\x05\x08", False, "address type not supported", "proxy refuses"),
        (b"\x05\0\x05\xf0", False, "answers 240: which means nothing", "proxy refuses"),
        (b"\0\x5b", False, "is not SOCKS 5", "proxy broken"),
        (b"\x04\x5b", False, "is not SOCKS 5", "proxy broken"),
        (b"SSH-2.0", False, "is not SOCKS 5", "proxy broken"),
        (b"HTTP/1.1 400 Bad Request\r\n", False, "HTTP, and not SOCKS", "proxy speaks http"),
        (b"\x15\x03", False, "speaks TLS", "proxy speaks TLS"),
    )

    def requested(self, target: TCPAddress) -> bytes:
        """
        What is said once a method has been chosen.
        """
        exchange = Exchange(viasocks.connect(target, None))
        exchange.unsent = b""
        exchange.take(b"\x05\0")
        return exchange.unsent

    def test_theRequest(self) -> None:
        """
        A name goes to the proxy as a name, and an address as an address.
        """
        self.assertEqual(self.requested(NAME), b"\x05\x01\0\x03\x10mail.example.org\x02\x4b")
        address = TCPAddress("192.0.2.1", 25)
        self.assertEqual(self.requested(address), b"\x05\x01\0\x01\xc0\0\x02\x01\0\x19")
        address = TCPAddress("2001:db8::1", 25)
        packed = b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01"
        self.assertEqual(self.requested(address), b"\x05\x01\0\x04" + packed + b"\0\x19")

    def test_theLogin(self) -> None:
        """
        It is offered where there is one, and said only when the proxy asks for it.
        """
        self.assertEqual(Exchange(viasocks.connect(NAME, None)).unsent, b"\x05\x01\0")
        exchange = Exchange(viasocks.connect(NAME, LOGIN))
        self.assertEqual(exchange.unsent, b"\x05\x02\0\x02")
        exchange.unsent = b""
        exchange.take(b"\x05\x02")
        self.assertEqual(exchange.unsent, b"\x01\x02me\x06secret")
        exchange = Exchange(viasocks.connect(NAME, LOGIN))
        exchange.take(b"\x05\0")
        self.assertNotIn(b"secret", exchange.unsent)


KINDS: tuple[type[StoryTests], ...] = (HTTPTests, SOCKSTests)


class PropertyTests(SynchronousTestCase):
    """
    The same of whatever a proxy may say.
    """

    @given(st.sampled_from(KINDS), st.binary(), st.lists(st.integers(0, 1000)), st.booleans())
    def test_noBytesBreakIt(
        self, kind: type[StoryTests], data: bytes, cuts: list[int], login: bool
    ) -> None:
        """
        Whatever comes, it fails in order, and takes no more than there is.
        """
        kind.outcome(cut(data, cuts), login)

    @given(st.sampled_from(KINDS), st.data())
    def test_whatIsDamagedFailsOrConnects(
        self, kind: type[StoryTests], data: st.DataObject
    ) -> None:
        """
        An answer with a byte changed, wherever it is cut, means one thing.
        """
        answer, login = data.draw(st.sampled_from(kind.successes))
        changed = bytearray(answer + GREETING)
        changed[data.draw(st.integers(0, len(answer) - 1))] = data.draw(st.integers(0, 255))
        whole = kind.outcome([bytes(changed)], login)
        pieces = cut(bytes(changed), data.draw(st.lists(st.integers(0, 1000))))
        # Of an error it is the kind that counts: how much of the answer it quotes may differ.
        self.assertEqual(kind.outcome(pieces, login)[1:], whole[1:])
        if len(whole) == 1:
            self.assertEqual(kind.outcome(pieces, login), whole)
