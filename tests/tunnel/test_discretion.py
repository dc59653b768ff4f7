"""
Tests for L{tlstunnel.tunnel.discretion}: what may be written down of what is said in clear.
"""

from __future__ import annotations

from base64 import b64encode

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.protocols.conversation import HIDDEN
from tlstunnel.protocols.registry import builtIn, find
from tlstunnel.testing.memory import Driver
from tlstunnel.tunnel.discretion import Discretion

SECRET = b"hunter2-Xyzzy"
_PLAIN = b64encode(b"\0test\0" + SECRET)

#: What clients say that do not know better than to log in before TLS.
LOGINS = {
    "smtp": b"EHLO x\r\nAUTH PLAIN %(plain)s\r\nAUTH LOGIN\r\ndGVzdA==\r\n%(plain)s\r\n",
    "lmtp": b"LHLO x\r\nAUTH PLAIN %(plain)s\r\n",
    "imap": b"a LOGIN test %(secret)s\r\nb AUTHENTICATE PLAIN\r\n%(plain)s\r\n"
    b'c LOGIN "te\\"st" {13}\r\n%(secret)s\r\n',
    "pop3": b"USER %(secret)s\r\nPASS %(secret)s\r\nAPOP x %(secret)s\r\nAUTH PLAIN %(plain)s\r\n",
    "sieve": b'AUTHENTICATE "PLAIN" "%(plain)s"\r\nAUTHENTICATE "PLAIN" {28+}\r\n%(plain)s\r\n',
    "nntp": b"AUTHINFO USER test\r\nAUTHINFO PASS %(secret)s\r\nauthinfo sasl PLAIN %(plain)s\r\n",
    "ftp": b"USER test\r\nPASS %(secret)s\r\nACCT %(secret)s\r\nAUTH PLAIN %(plain)s\r\n",
    "irc": b"PASS %(secret)s\r\nNICK x\r\nUSER a b c :%(secret)s\r\nOPER x %(secret)s\r\n"
    b"PRIVMSG NickServ :identify %(secret)s\r\nAUTHENTICATE %(plain)s\r\n",
    "xmpp-client": b"<?xml version='1.0'?><stream:stream to='server.example.org' "
    b"xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
    b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%(plain)s</auth>",
    "http": b"GET /?token=%(secret)s HTTP/1.1\r\nHost: x\r\nAuthorization: Basic %(plain)s\r\n"
    b"Cookie: a=%(secret)s\r\nX: %(secret)s\r\n %(secret)s\r\n\r\npassword=%(secret)s",
    "ldap": b"0\x2e\x02\x01\x01\x60\x29\x02\x01\x03\x04\x15cn=admin,dc=example\x80\x0d%(secret)s",
    "postgresql": b"\0\0\0\x29\0\x03\0\0user\0test\0database\0%(secret)s\0\0"
    b"p\0\0\0\x12%(secret)s\0",
    "mysql": b"\x54\0\0\x01\x85\xa6\xff\x01\0\0\0\x01\x21" + bytes(23) + b"test\0\x0d%(secret)s\0",
    "nut": b"USERNAME %(secret)s\nPASSWORD %(secret)s\nSET VAR ups driver.x %(secret)s\n",
    "munin": b"fetch %(secret)s\nlist %(secret)s\n",
    "nbd": b"\0\0\0\1IHAVEOPT\0\0\0\1\0\0\0\x0d%(secret)s",
    "vnc": b"RFB 003.008\n\x02%(secret)s",
    "nats": b'CONNECT {"user":"test","pass":"%(secret)s"}\r\nPUB %(secret)s 13\r\n%(secret)s\r\n',
    "telnet": b"\xff\xfd\x18test\r\n%(secret)s\r\n",
    "chat": b"test\r\n%(secret)s\r\n",
}


def login(dialect: str) -> bytes:
    """
    What such a client says.
    """
    words = LOGINS[dialect]
    for name, value in ((b"%(secret)s", SECRET), (b"%(plain)s", _PLAIN)):
        words = words.replace(name, value)
    return words


class LoginTests(SynchronousTestCase):
    """
    Clients that log in before TLS.
    """

    def assertHidden(self, shown: list[str]) -> None:
        """
        The secret is not in C{shown}, nor any useful part of it.
        """
        text = " ".join(shown)
        for part in (SECRET, _PLAIN[-12:], _PLAIN[:12]):
            self.assertNotIn(part.decode(), text)

    def test_everyDialectHasALogin(self) -> None:
        """
        But for those without words, and that of servers among each other.
        """
        names = {each.name for each in builtIn()} - {"none", "xmpp-server"}
        self.assertEqual(names - LOGINS.keys(), set())

    def test_itIsNotShownBySession(self) -> None:
        """
        Each dialect hears it, until it has enough, and line by line.
        """
        for name in LOGINS.keys() - {"chat"}:
            for step in (1, 7, 10000):
                driver = Driver(find(name), "server")
                words = login(name)
                for at in range(0, len(words), step):
                    driver.feed("C", words[at : at + step])
                discretion = Discretion(name, isServer=True)
                self.assertHidden([discretion.shown(*each) for each in driver.told])

    def test_itIsNotShownInAnyPieces(self) -> None:
        """
        As a transcript has them.
        """

        @given(st.sampled_from(sorted(LOGINS)), st.lists(st.integers(0, 200), max_size=5))
        @settings(max_examples=300, deadline=None)
        def check(name: str, cuts: list[int]) -> None:
            words = login(name)
            discretion = Discretion(name, isServer=True)
            shown = []
            for line in words.splitlines(keepends=True):
                at = 0
                for cut in [*sorted(each for each in cuts if each < len(line)), len(line)]:
                    if line[at:cut]:
                        shown.append(discretion.shown(False, line[at:cut]))
                    at = cut
            self.assertHidden(shown)

        check()


class ShownTests(SynchronousTestCase):
    """
    L{Discretion.shown}.
    """

    def shown(self, *words: bytes, dialect: str = "smtp") -> list[str]:
        """
        What is shown of a client.
        """
        discretion = Discretion(dialect, isServer=True)
        return [discretion.shown(False, each) for each in words]

    def test_whatLeadsToTLS(self) -> None:
        """
        Without an end of the usual kind.
        """
        self.assertEqual(
            self.shown(b"EHLO [192.0.2.1]\r\n", b"STARTTLS\n", b"AUTH TLS\r\n", b"a1 starttls\r\n"),
            ['"EHLO [192.0.2.1]"', r'"STARTTLS\x0a"', '"AUTH TLS"', '"a1 starttls"'],
        )

    def test_theEndOfALineIsThatOfTheProtocol(self) -> None:
        """
        LF alone in some.
        """
        for dialect in "nut", "munin":
            shown = self.shown(b"STARTTLS\n", b"PROTVER\n", b"STARTTLS\r\n", dialect=dialect)
            self.assertEqual(shown[0], '"STARTTLS"')
            self.assertEqual(shown[2], r'"STARTTLS\x0d"')
        self.assertEqual(
            self.shown(b"PASSWORD x\n", dialect="nut"), ['"PASSWORD" and 3 more bytes']
        )

    def test_aBinaryRequestForTLSIsShown(self) -> None:
        """
        With what precedes it in the same message; not what is asked for else.
        """
        request = b"IHAVEOPT\0\0\0\5\0\0\0\0"
        for words in (request, b"\0\0\0\1" + request):
            self.assertIn("IHAVEOPT", self.shown(words, dialect="nbd")[0])
        for words in (request[:8] + b"\0\0\0\3" + request[12:], request + b"x"):
            self.assertNotIn("IHAVEOPT", self.shown(words, dialect="nbd")[0])

    def test_whatIsAgreedOnOfAScreenIsShown(self) -> None:
        """
        And nothing else, as a response would let a password be guessed.
        """
        for words, shown in (
            (b"RFB 003.008\n", '"RFB 003.008"'),
            (b"\x13", r'"\x13"'),
            (b"\0\2", r'"\x00\x02"'),
            (b"\0\0\1\5", r'"\x00\x00\x01\x05"'),
            (b"\0\0\0\6", "4 bytes"),
            (b"\2" + bytes(16), "17 bytes"),
        ):
            self.assertEqual(self.shown(words, dialect="vnc"), [shown])

    def test_verbs(self) -> None:
        """
        And how much follows.
        """
        self.assertEqual(
            self.shown(
                b"AUTH PLAIN AHRlc3Q=\r\n", b"auth\r\n", b"PASS x\r\n", b"AUTHINFO USER me\r\n"
            ),
            [
                '"AUTH" and 17 more bytes',
                '"auth"',
                '"PASS" and 4 more bytes',
                '"AUTHINFO USER" and 5 more bytes',
            ],
        )

    def test_whatNobodyKnows(self) -> None:
        """
        May be anything.
        """
        self.assertEqual(self.shown(b"hunter2\r\n", b"\x00"), ["9 bytes", "1 byte"])

    def test_whatGoesOn(self) -> None:
        """
        A line that begins in the middle is none.
        """
        self.assertEqual(
            self.shown(b"PASS " + b"x" * 195, b"STARTTLS\r\n", b"STARTTLS\r\n"),
            ['"PASS" and 196 more bytes', "10 more bytes", '"STARTTLS"'],
        )

    def test_XML(self) -> None:
        """
        Tags up to the request, also where the last is cut; what we say in between ends nothing.
        """
        discretion = Discretion("xmpp-client", isServer=True)
        said = b"<stream:stream to='a'>", b"<starttls xmlns='urn'/>", b"<starttls xmlns='u"
        shown = []
        for each in said:
            shown.append(discretion.shown(False, each))
            discretion.shown(True, b"<proceed/>")
        self.assertEqual(shown, [f'"{each.decode()}"' for each in said])

    def test_binaryRequests(self) -> None:
        """
        Those for TLS.
        """
        request = b"\0\0\0\x08\x04\xd2\x16\x2f"
        self.assertEqual(
            self.shown(request, request + b"x", dialect="postgresql"),
            [
                r'"\x00\x00\x00\x08\x04\xd2\x16/"',
                "9 more bytes",
            ],
        )

    def test_whatWeSayAsAServer(self) -> None:
        """
        Is ours.
        """
        discretion = Discretion("smtp", isServer=True)
        self.assertEqual(discretion.shown(True, b"220 mx x\r\n"), '"220 mx x"')

    def test_asAClient(self) -> None:
        """
        What the server says is shown, and what we say cut in the same way.
        """
        discretion = Discretion("smtp", isServer=False)
        self.assertEqual(discretion.shown(False, b"220 mx x\r\n"), '"220 mx x"')
        self.assertEqual(discretion.shown(True, b"EHLO a\r\n"), '"EHLO a"')
        self.assertEqual(discretion.shown(True, b"PASS x\r\n"), '"PASS" and 4 more bytes')

    def test_scripts(self) -> None:
        """
        Somebody else's may log in, and what they say may be echoed.
        """
        discretion = Discretion("chat", isServer=False)
        self.assertEqual(discretion.shown(True, HIDDEN), "something that is secret")
        self.assertEqual(discretion.shown(True, b"open sesame\r\n"), "13 more bytes")
        self.assertEqual(discretion.shown(True, b"open sesame\r\n"), "13 bytes")
        self.assertEqual(discretion.shown(False, b"open sesame\r\n"), "13 bytes")
        self.assertEqual(discretion.shown(False, b"220 open\r\n"), '"220" and 7 more bytes')
