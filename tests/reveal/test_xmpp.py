"""
The word C{xmpp}.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.reveal.logins import Map
from tlstunnel.errors import (
    BackendRefused,
    ConfigurationError,
    Forged,
    Malformed,
    Oversize,
    Quit,
    TimedOut,
    TooManyErrors,
    TunnelError,
)
from tlstunnel.identity.names import Identity
from tlstunnel.protocols.implicit import implicit
from tlstunnel.protocols.xmpp import xmppClient
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.reveal.xmpp import MAX_ATTEMPTS, TOKEN_SECONDS, xmpp
from tlstunnel.reveal.xmpplogin import ClientLogin, Denied, decoded
from tlstunnel.testing.dialogues import setting
from tlstunnel.testing.memory import Driver

ALICE = Identity.parse("alice@test.example")
PEER = Identity.parse("peer.example")
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"

#: Of 32 bytes, in base64url.
KEY = base64.urlsafe_b64encode(b"k" * 32).decode().rstrip("=")


def opening(content: str = "jabber:client", to: str = "test.example", more: str = "") -> bytes:
    """
    What begins a stream, not as we write it.
    """
    return (
        f'<?xml version="1.0"?>\n<s:stream xmlns:s="http://etherx.jabber.org/streams"'
        f' xmlns="{content}" to="{to}" {more} version="1.0">'
    ).encode()


def said(text: str | bytes) -> str:
    """
    As SASL has it.
    """
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode() or "="


def auth(text: str, mechanism: str = "EXTERNAL") -> bytes:
    """
    What asks for a login.
    """
    return f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{text}</auth>".encode()


OPEN = opening()
SERVER = opening("jabber:server", more='from="peer.example"')
FEATURES = (
    b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><mechanisms xmlns='"
    + SASL.encode()
    + b"'><mechanism>EXTERNAL</mechanism></mechanisms></stream:features>"
)
ANSWER = (
    b"<?xml version='1.0'?><stream:stream from='test.example' id='x' version='1.0'"
    b" xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>" + FEATURES
)
SUCCESS = f"<success xmlns='{SASL}'/>".encode()


def start(
    identity: Identity = ALICE,
    map: str = "",
    startTLS: bool = False,
    disclosure: Disclosure | None = None,
) -> Driver:
    """
    A driver behind its handshake, with a backend that is connected.

    @param map: the text of an identity map; none, if empty.
    """
    disclosure = disclosure or Disclosure()
    if map:
        path = Path(f"map-{abs(hash(map))}")
        path.write_text(map)
        disclosure = Disclosure(identityMap=path)
    driver = Driver(
        xmppClient if startTLS else implicit,
        "server",
        setting(),
        words=[(xmpp, xmpp.prepare(disclosure))],
        identity=identity,
    )
    if startTLS:
        driver.feed("C", opening(to="tunnel.example.net"))
        driver.feed("C", b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    driver.network.takeWritten()
    driver.handshake()
    return driver


def login(driver: Driver, request: bytes, opened: bytes = OPEN) -> str:
    """
    As whom the tunnel logs in at the backend, if it does.
    """
    driver.feed("C", opened)
    driver.feed("C", request)
    driver.plain.takeWritten()
    driver.feed("B", ANSWER)
    sent = driver.plain.takeWritten()
    if not sent:
        return ""
    start, _, rest = sent.partition(b">")
    assert start == f"<auth xmlns='{SASL}' mechanism='EXTERNAL'".encode()
    return base64.b64decode(rest.removesuffix(b"</auth>"), validate=True).decode()


class ClientTests(SynchronousTestCase):
    """
    Clients log in.
    """

    def test_aDialogue(self) -> None:
        """
        Up to the success nothing of either passes; then the streams are theirs.
        """
        for startTLS, domain in ((False, "test.example"), (True, "tunnel.example.net")):
            driver = start(Identity("alice", domain), startTLS=startTLS)
            header = opening(to=domain)
            driver.feed("C", header)
            heard = driver.network.takeWritten()
            self.assertIn(b"<mechanism>EXTERNAL</mechanism><mechanism>PLAIN</mechanism>", heard)
            self.assertNotIn(b"starttls", heard)
            self.assertEqual(driver.plain.takeWritten(), b"")
            driver.feed("C", auth("="))
            self.assertEqual(
                driver.plain.takeWritten(),
                f"<?xml version='1.0'?><stream:stream to='{domain}' version='1.0'"
                " xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>".encode(),
            )
            driver.feed("B", ANSWER)
            self.assertEqual(driver.plain.takeWritten(), auth(said(f"alice@{domain}")))
            self.assertEqual(driver.network.takeWritten(), b"")
            driver.feed("B", SUCCESS)
            self.assertEqual(driver.network.takeWritten(), SUCCESS)
            driver.feed("C", header + b"<iq/>")
            self.assertEqual(driver.plain.takeWritten(), header + b"<iq/>")
            features = ANSWER.partition(b"<stream:features")[0] + b"<stream:features><bind/>"
            driver.feed("B", features)
            self.assertEqual(driver.network.takeWritten(), features)
            self.assertEqual(driver.stage, "relay")

    def test_whoSaysItsOwnNameLogsIn(self) -> None:
        """
        In whatever way a client may say it.
        """
        for request in (
            auth("="),
            auth(said("alice@test.example")),
            auth(said("alice")),
            auth(said("ALICE@TEST.example")),
            auth(f" \n{said('alice@test.example')}\t"),
            auth(said("\0alice\0any password"), "PLAIN"),
            auth(said("\0alice@test.example\0"), "PLAIN"),
            auth(said("alice@test.example\0alice\0x"), "PLAIN"),
            f"<auth mechanism='EXTERNAL' xmlns='{SASL}'/><response xmlns='{SASL}'>=</response>"
            "".encode(),
            f"<a:auth xmlns:a='{SASL}' mechanism='EXTERNAL'>=</a:auth>".encode(),
            f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>&#61;</auth>".encode(),
        ):
            for step in (1, 7, 10000):
                driver = start()
                driver.feed("C", OPEN)
                for at in range(0, len(request), step):
                    driver.feed("C", request[at : at + step])
                driver.plain.takeWritten()
                driver.feed("B", ANSWER)
                self.assertEqual(
                    driver.plain.takeWritten(), auth(said("alice@test.example")), request
                )

    def test_whoSaysAnotherNameDoesNot(self) -> None:
        """
        The client is told why, the backend nothing, and another attempt may follow.
        """
        for text, mechanism, condition in (
            (said("bob@test.example"), "EXTERNAL", "invalid-authzid"),
            (said("bob"), "EXTERNAL", "invalid-authzid"),
            (said("test.example"), "EXTERNAL", "invalid-authzid"),
            (said("alice@other.example"), "EXTERNAL", "invalid-authzid"),
            (said("alice@test.example/phone"), "EXTERNAL", "invalid-authzid"),
            (said("alice@test.example\0"), "EXTERNAL", "invalid-authzid"),
            (said("\0alice@test.example"), "EXTERNAL", "invalid-authzid"),
            (said(" alice@test.example"), "EXTERNAL", "invalid-authzid"),
            (said("bob@alice@test.example"), "EXTERNAL", "invalid-authzid"),
            (said("@test.example"), "EXTERNAL", "invalid-authzid"),
            (said("\u212balice@test.example"), "EXTERNAL", "invalid-authzid"),
            (said("al\u00adice@test.example"), "EXTERNAL", "invalid-authzid"),
            (said("alice@te\u00adst.example"), "EXTERNAL", "invalid-authzid"),
            (said(b"\xff"), "EXTERNAL", "malformed-request"),
            ("!", "EXTERNAL", "incorrect-encoding"),
            ("====", "EXTERNAL", "incorrect-encoding"),
            ("YQ", "EXTERNAL", "incorrect-encoding"),
            (said("\0bob\0secret"), "PLAIN", "invalid-authzid"),
            (said("bob\0alice\0secret"), "PLAIN", "invalid-authzid"),
            (said("alice\0bob\0secret"), "PLAIN", "invalid-authzid"),
            (said("alice\0secret"), "PLAIN", "malformed-request"),
            (said("alice\0\0secret"), "PLAIN", "malformed-request"),
            (said("\0alice\0a\0b"), "PLAIN", "malformed-request"),
            (said("n,,n=alice,r=x"), "SCRAM-SHA-1", "invalid-mechanism"),
            ("=", "external", "invalid-mechanism"),
            ("=", "", "invalid-mechanism"),
        ):
            driver = start()
            driver.feed("C", OPEN)
            driver.network.takeWritten()
            driver.feed("C", auth(text, mechanism))
            self.assertEqual(
                driver.network.takeWritten(),
                f"<failure xmlns='{SASL}'><{condition}/></failure>".encode(),
                text,
            )
            self.assertEqual(driver.plain.takeWritten(), b"")
            driver.feed("C", auth("="))
            driver.plain.takeWritten()
            driver.feed("B", ANSWER)
            self.assertEqual(driver.plain.takeWritten(), auth(said("alice@test.example")))

    def test_whoIsAskedForItsNameMayAbort(self) -> None:
        """
        Or say something else, which is no login.
        """
        for words, condition in (
            (f"<abort xmlns='{SASL}'/>".encode(), "aborted"),
            (auth("="), "malformed-request"),
            (b"<response>=</response>", "malformed-request"),
        ):
            driver = start()
            driver.feed("C", OPEN + auth("<x>=</x>"))
            challenge = f"<challenge xmlns='{SASL}'/>".encode()
            self.assertTrue(driver.network.takeWritten().endswith(challenge))
            driver.feed("C", words)
            failure = f"<failure xmlns='{SASL}'><{condition}/></failure>".encode()
            self.assertEqual(driver.network.takeWritten(), failure)
            self.assertEqual(driver.plain.takeWritten(), b"")

    def test_nobodyTriesForEver(self) -> None:
        """
        Some times, and that is the end.
        """
        driver = start()
        driver.feed("C", OPEN + auth(said("bob")) * MAX_ATTEMPTS)
        self.assertIsInstance(driver.error, TooManyErrors)
        self.assertTrue(driver.network.takeWritten().endswith(b"</stream:stream>"))
        self.assertEqual(driver.plain.takeWritten(), b"")

    def test_nobodyTakesForEver(self) -> None:
        """
        The time for all of it is limited, however much is said.
        """
        driver = start()
        driver.feed("C", OPEN)
        for _ in range(4):
            driver.feed("C", auth(said("bob")))
            driver.clock.advance(16)
        self.assertIsInstance(driver.error, TimedOut)

    def test_nobodySaysTooMuch(self) -> None:
        """
        A login has a few hundred bytes.
        """
        driver = start()
        driver.feed("C", OPEN + b"<auth>" + b"x" * 70000)
        self.assertIsInstance(driver.error, Oversize)

    def test_aUserIsOfTheDomainOfItsStream(self) -> None:
        """
        Another one's user of the same name is somebody else.
        """
        for request in (auth("="), auth(said("alice")), auth(said("alice@test.example"))):
            driver = start()
            self.assertEqual(login(driver, request, opening(to="other.example")), "")
            self.assertIn(b"<failure", driver.network.takeWritten())

    def test_whoIsNoUserHasNoName(self) -> None:
        """
        A domain, a workload and a user that servers would take for another one are not clients.
        """
        for text in ("test.example", "spiffe://test.example/x", "Alice@test.example", "a'b@x.org"):
            for request in (auth("="), auth(said("alice@test.example"))):
                driver = start(Identity.parse(text))
                self.assertEqual(login(driver, request), "")
                self.assertIn(b"<failure", driver.network.takeWritten())

    def test_aMapGivesOtherNames(self) -> None:
        """
        And only these: who says none is the first of the domain.
        """
        lines = (
            "xmpp bot.example bot@other.example\n"
            "xmpp bot.example robot@test.example\n"
            "xmpp bot.example bot@test.example\n"
            "postgresql bot.example alice@test.example\n"
        )
        for request, name in (
            (auth("="), "robot@test.example"),
            (auth(said("bot")), "bot@test.example"),
            (auth(said("\0bot\0x"), "PLAIN"), "bot@test.example"),
            (auth(said("alice")), ""),
            (auth(said("bot@other.example")), ""),
        ):
            self.assertEqual(login(start(Identity.parse("bot.example"), lines), request), name)

    def test_aMapIsRead(self) -> None:
        """
        When the tunnel starts.
        """
        path = Path("empty")
        path.write_text("")
        disclosure = Disclosure(identityMap=path)
        self.assertRaises(ConfigurationError, xmpp.prepare, disclosure)


class AttackTests(SynchronousTestCase):
    """
    Nobody logs in otherwise.
    """

    def refused(self, words: Sequence[bytes], kind: type[TunnelError] = Malformed) -> Driver:
        """
        See that the connection ends, and that the backend hears nothing.
        """
        driver = start()
        for each in words:
            driver.feed("C", each)
        error = driver.error
        assert isinstance(error, kind), (words, error)
        self.assertEqual(error.who, "the client")
        self.assertEqual(driver.plain.takeWritten(), b"")
        return driver

    def test_twoNamesAreNone(self) -> None:
        """
        Also where the client may be both: nobody could say which the server takes.
        """
        user = ClientLogin(Map("alice@test.example", "info@test.example"), ALICE, "test.example")
        for said in b"alice\0info\0x", b"info@test.example\0alice\0x":
            self.assertRaises(Denied, user.name, "PLAIN", said)
        self.assertEqual(user.name("PLAIN", b"info\0info\0x"), "info@test.example")

    def test_whatIsNoLoginEndsTheConnection(self) -> None:
        """
        As other ways to log in, and what belongs behind the login.
        """
        for words in (
            b"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='EXTERNAL'/>",
            b"<auth mechanism='EXTERNAL'>=</auth>",
            b"<auth xmlns='jabber:client' mechanism='EXTERNAL'>=</auth>",
            b"<auth xmlns='urn:ietf:params:xml:ns:XMPP-sasl' mechanism='EXTERNAL'>=</auth>",
            b"<iq type='set' id='1'><query xmlns='jabber:iq:auth'/></iq>",
            b"<iq type='set' id='1'><query xmlns='jabber:iq:register'/></iq>",
            b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
            b"<compress xmlns='http://jabber.org/protocol/compress'/>",
            b"<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>",
            b"<handshake>x</handshake>",
            b"<message/>",
            b"<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>=</response>",
        ):
            driver = self.refused([OPEN, words])
            self.assertIn(b"<not-authorized", driver.network.takeWritten())

    def test_noPasswordIsLogged(self) -> None:
        """
        Of other ways to log in, and of what is broken, the log has no password.
        """
        secret = said("\0alice\0hunter2")
        for words in (
            f"<authenticate xmlns='urn:xmpp:sasl:2'><initial-response>{secret}</initial-response>\
</authenticate>",
            f"<iq type='set'><query xmlns='jabber:iq:auth'><password>{secret}</password></query>\
</iq>",
            f"<auth xmlns='{SASL}' mechanism='PLAIN'>{secret}</aut>",
            f"<auth xmlns='{SASL}' mechanism='PLAIN'>{secret}<x/ ></auth>",
        ):
            driver = self.refused([OPEN, words.encode()])
            assert driver.error is not None
            self.assertNotIn(secret.encode(), driver.error.said)

    def test_whatNoStreamHasEndsTheConnection(self) -> None:
        """
        Comments, CDATA, entities, processing instructions and other XML in XML.
        """
        whole = f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>".encode()
        for words in (
            b"<!-- x -->",
            whole + b"<![CDATA[=]]></auth>",
            whole + b"&x;</auth>",
            b"<?x?>",
            b"<!DOCTYPE x>",
            b"text>",
            b"<auth\0>",
            b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl auth' mechanism='EXTERNAL'>=</auth>",
            whole + b"\xff</auth>",
            b"<auth xmlns='a' xmlns='b'>",
            b"</auth>",
        ):
            self.refused([OPEN, words])

    def test_whatIsNoStreamIsNone(self) -> None:
        """
        Nor is one for nobody, or in another spelling than certificates have.
        """
        for words in (
            b"<stream to='test.example' version='1.0'>",
            opening("jabber:component:accept"),
            opening(""),
            opening(to=""),
            opening(to="192.0.2.1"),
            opening(to="t\u00e9st.example"),
            opening(to="test\u3002example"),
            '<?xml version="1.0" encoding="UTF-16"?>'.encode("utf-16"),
        ):
            self.refused([words])

    def test_aClientLeaves(self) -> None:
        """
        Before it has logged in.
        """
        driver = self.refused([OPEN, b"</s:stream>"], Quit)
        self.assertTrue(driver.network.takeWritten().endswith(b"</stream:stream>"))

    def test_whatIsPipelinedBehindTheLoginIsTheSameLogin(self) -> None:
        """
        It has to be the header of a stream for the same domain.
        """
        for words, kind in (
            (auth(said("bob@test.example")), Malformed),
            (opening(to="other.example"), Forged),
            (opening("jabber:server", more='from="test.example"'), Forged),
            (opening(to=""), Forged),
            (b"<iq/>", Malformed),
            (b"</s:stream>", Malformed),
        ):
            driver = start()
            login(driver, auth("=") + words)
            driver.feed("B", SUCCESS)
            self.assertIsInstance(driver.error, kind, words)
            self.assertEqual(driver.plain.takeWritten(), b"")

    def test_aNewStreamIsPassedAsItIs(self) -> None:
        """
        Pipelined or not, with all that follows.
        """
        again = opening(to="TEST.example", more="from='bob@test.example'") + b"<iq/>"
        for pipelined in (True, False):
            driver = start()
            login(driver, auth("=") + (again if pipelined else b""))
            driver.feed("B", SUCCESS)
            if not pipelined:
                driver.feed("C", again[:50])
                driver.feed("C", again[50:])
            self.assertEqual(driver.plain.takeWritten(), again)
            self.assertIsNone(driver.error)

    @settings(max_examples=300)
    @given(
        st.lists(
            st.sampled_from(
                [
                    OPEN,
                    auth(said("bob")),
                    auth(said("\0bob\0x"), "PLAIN"),
                    auth(""),
                    f"<response xmlns='{SASL}'>{said('bob')}</response>".encode(),
                    b"<auth xmlns='",
                    SASL.encode(),
                    b"'",
                    b" mechanism='EXTERNAL'",
                    b">",
                    b"Ym9i",
                    b"</auth>",
                    b" ",
                    b"\n",
                ]
            ),
            max_size=12,
        ),
        st.integers(1, 60),
    )
    def test_nobodyIsBob(self, parts: list[bytes], step: int) -> None:
        """
        Whatever is said, however it is cut: the backend hears of alice, or of nobody.
        """
        driver = start()
        words = OPEN + b"".join(parts)
        for at in range(0, len(words), step):
            driver.feed("C", words[at : at + step])
        driver.feed("B", ANSWER)
        heard = driver.plain.takeWritten()
        if b"<auth" in heard:
            self.assertTrue(heard.endswith(auth(said("alice@test.example"))))
            self.assertEqual(heard.count(b"<auth"), 1)

    @given(st.text(max_size=40))
    def test_whatIsNoBase64IsRefused(self, text: str) -> None:
        """
        Whatever it is.
        """
        try:
            found = decoded(text)
        except Denied as denied:
            self.assertEqual(denied.condition, "incorrect-encoding")
        else:
            self.assertIn(text.strip(), (said(found), ""))


class ServerTests(SynchronousTestCase):
    """
    Servers log in.
    """

    def test_aServerIsTheDomainThatItHasProved(self) -> None:
        """
        It may say so again, or leave it to us; only EXTERNAL is for servers.
        """
        for request in (auth("="), auth(said("peer.example")), auth(said("PEER.example"))):
            driver = start(PEER)
            driver.feed("C", SERVER)
            self.assertNotIn(b"PLAIN", driver.network.takeWritten())
            driver.feed("C", request)
            self.assertIn(
                b"<stream:stream from='peer.example' to='test.example' version='1.0'"
                b" xmlns='jabber:server'",
                driver.plain.takeWritten(),
            )
            driver.feed("B", ANSWER)
            self.assertEqual(driver.plain.takeWritten(), auth(said("peer.example")))
            driver.feed("B", SUCCESS)
            driver.network.takeWritten()
            driver.feed("C", SERVER)
            self.assertEqual(driver.plain.takeWritten(), SERVER)

    def test_aServerIsNoOtherDomain(self) -> None:
        """
        Not one that it does not prove, in no spelling, and no user's.
        """
        for identity, sender in (
            (PEER, "other.example"),
            (PEER, ""),
            (PEER, "sub.peer.example"),
            (PEER, "peer.example@x"),
            (PEER, "p\u00eber.example"),
            (ALICE, "alice"),
            (ALICE, "test.example"),
            (Identity.parse("xn--fa-hia.example"), "fa\u00df.example"),
        ):
            driver = start(identity)
            driver.feed("C", opening("jabber:server", more=f'from="{sender}"'))
            self.assertIsInstance(driver.error, Malformed, sender)
            self.assertIn(b"<invalid-from", driver.network.takeWritten())
            self.assertEqual(driver.plain.takeWritten(), b"")

    def test_aServerDoesNotLogInAsAnother(self) -> None:
        """
        Neither in its request, nor in the stream that follows.
        """
        for text in ("other.example", "alice@peer.example", "p\u00ebr"):
            driver = start(PEER)
            self.assertEqual(login(driver, auth(said(text)), SERVER), "")
            self.assertIn(b"<invalid-authzid/>", driver.network.takeWritten())
        for sender in ("other.example", ""):
            driver = start(PEER)
            login(driver, auth("="), SERVER)
            driver.feed("B", SUCCESS)
            driver.feed("C", opening("jabber:server", more=f'from="{sender}"'))
            self.assertIsInstance(driver.error, Forged)
            self.assertEqual(driver.plain.takeWritten(), b"")


class BackendTests(SynchronousTestCase):
    """
    What becomes of it at the backend.
    """

    def test_aBackendThatRefusesIsNamed(self) -> None:
        """
        The client hears no more than it needs.
        """
        failure = f"<failure xmlns='{SASL}'>".encode()
        opened = ANSWER.removesuffix(FEATURES)
        for answer, condition in (
            (ANSWER + failure + b"<not-authorized/></failure>", b"<not-authorized/>"),
            (ANSWER + failure + b"<invalid-mechanism/></failure>", b"<temporary-auth-failure/>"),
            (ANSWER + b"<challenge xmlns='" + SASL.encode() + b"'/>", b"<temporary-auth-failure/>"),
            (ANSWER + b"<success/>", b"<temporary-auth-failure/>"),
            (ANSWER + b"</stream:stream>", b"<temporary-auth-failure/>"),
            (opened + b"<stream:error/>", b"<temporary-auth-failure/>"),
            (opened + b"</stream:stream>", b"<temporary-auth-failure/>"),
        ):
            driver = start()
            driver.feed("C", OPEN + auth("="))
            driver.network.takeWritten()
            driver.feed("B", answer)
            self.assertIsInstance(driver.error, BackendRefused, answer)
            self.assertEqual(
                driver.network.takeWritten(), failure + condition + b"</failure></stream:stream>"
            )

    def test_aBackendThatSpeaksSomethingElseIsNamed(self) -> None:
        """
        And is not taken for the client.
        """
        for answer in (b"220 mail.example ESMTP\r\n", b"<x>", ANSWER + b"</x>"):
            driver = start()
            driver.feed("C", OPEN + auth("="))
            driver.feed("B", answer)
            error = driver.error
            assert isinstance(error, TunnelError)
            self.assertEqual(error.who, "the backend")

    def test_aBackendThatSaysNothingIsSlow(self) -> None:
        """
        And not the client, which has said all.
        """
        driver = start()
        driver.feed("C", OPEN + auth("="))
        driver.clock.advance(xmpp.conversationSeconds)
        driver.settle()
        self.assertIsInstance(driver.error, TimedOut)
        self.assertIn("the backend (xmpp) took longer", str(driver.error))

    def test_aBackendThatBreaksOffIsNoSuccess(self) -> None:
        """
        However far it came.
        """
        words = ANSWER + SUCCESS
        for length in range(len(words)):
            driver = start()
            driver.feed("C", OPEN + auth("="))
            driver.feed("B", words[:length])
            driver.plain.end()
            self.assertIsNotNone(driver.error)
            self.assertNotIn(b"<success", driver.network.takeWritten())


class TokenTests(SynchronousTestCase):
    """
    A server that knows a key.
    """

    def disclosure(self, text: str) -> Disclosure:
        """
        With a file that says so.
        """
        path = Path(self.mktemp())
        path.touch(mode=0o600)
        path.write_text(text)
        return Disclosure(loginAuthFile=path)

    def test_itIsToldByAToken(self) -> None:
        """
        Which is signed, about the user, and not for long.
        """
        self.patch(time, "time", lambda: 1000.5)
        driver = start(disclosure=self.disclosure(f"jwt:{KEY}\n"))
        driver.feed("C", OPEN + auth("="))
        driver.plain.takeWritten()
        driver.feed("B", ANSWER)
        request = driver.plain.takeWritten()
        begin = f"<auth xmlns='{SASL}' mechanism='PLAIN'>".encode()
        self.assertTrue(request.startswith(begin))
        response = base64.b64decode(request[len(begin) :].removesuffix(b"</auth>"), validate=True)
        authzid, name, token = response.split(b"\0")
        self.assertEqual((authzid, name), (b"", b"alice"))
        head, claims, signature = (
            base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)) for part in token.split(b".")
        )
        self.assertEqual(json.loads(head), {"alg": "HS256", "typ": "JWT"})
        self.assertEqual(
            json.loads(claims), {"jid": "alice@test.example", "exp": 1000 + TOKEN_SECONDS}
        )
        signed = token.rpartition(b".")[0]
        self.assertEqual(signature, hmac.digest(b"k" * 32, signed, "sha256"))
        driver.feed("B", SUCCESS)
        self.assertEqual(driver.network.takeWritten()[-len(SUCCESS) :], SUCCESS)

    def test_noPasswordOfTheClientsReachesIt(self) -> None:
        """
        Nor is another name in the token.
        """
        driver = start(disclosure=self.disclosure(f"jwt:{KEY}\n"))
        driver.feed("C", OPEN + auth(said("\0bob\0sesame"), "PLAIN"))
        self.assertEqual(driver.plain.takeWritten(), b"")
        self.assertIn(b"<invalid-authzid/>", driver.network.takeWritten())

    def test_aServerHasNoToken(self) -> None:
        """
        The key is about users.
        """
        driver = start(PEER, disclosure=self.disclosure(f"jwt:{KEY}\n"))
        self.assertEqual(login(driver, auth("="), SERVER), "peer.example")

    def test_itsKeyIsRead(self) -> None:
        """
        As servers have it: C{k} of a JWK, long enough.
        """
        for text in (
            f"alice:{KEY}\n",
            "jwt:c2hvcnQ\n",
            "jwt:" + "k" * 40 + "\u00e9\n",
            f"jwt:{KEY}!\n",
            f"jwt:{KEY[:20]}+/{KEY[20:]}\n",
        ):
            self.assertRaises(ConfigurationError, xmpp.prepare, self.disclosure(text))
