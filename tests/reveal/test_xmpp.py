"""
The word C{xmpp}.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.reveal.xmppstreams import (
    ALICE,
    ANSWER,
    FEATURES,
    KEY,
    OPEN,
    PEER,
    SASL,
    SERVER,
    SUCCESS,
    auth,
    login,
    opening,
    said,
    start,
)
from tlstunnel.errors import (
    BackendRefused,
    ConfigurationError,
    Forged,
    Malformed,
    Oversize,
    TimedOut,
    TooManyErrors,
    TunnelError,
)
from tlstunnel.identity.names import Identity
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.reveal.xmpp import MAX_ATTEMPTS, TOKEN_SECONDS, xmpp


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
