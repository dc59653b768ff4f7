"""
The word login: who may be whom.
"""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.reveal.logins import ACCOUNT, WHOLE, WORDS, Map, standing
from tests.reveal.stage import JOHN
from tlstunnel.address import TCPAddress
from tlstunnel.errors import ConfigurationError, TimedOut
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.protocols import registry
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.reveal.login import Terms, login
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.disclosures import checkDisclosure, preparedWords
from tlstunnel.tunnel.servedname import ServedName


class TermsTests(SynchronousTestCase):
    """
    Who may be whom.
    """

    def test_withoutAMapEverybodyIsTheWholeIdentity(self) -> None:
        """
        What is before the @ is a word for it, and no name: there are others of that name elsewhere.
        """
        terms = Terms("imap", None, None)
        for given_ in (
            *([b""], [b"john"], [b"john@example.org"], [b"john@EXAMPLE.org."]),
            *([b"john", b""], [b"john", b"john@example.org"], [b"", b"john"]),
        ):
            self.assertEqual(terms.nameFor(JOHN, given_), WHOLE)

    def test_nobodyIsSomebodyElse(self) -> None:
        """
        In whichever place the name is.
        """
        terms = Terms("imap", None, None)
        for name in (
            *(b"mary", b"John", b"john@example.net", b"JOHN@example.org", b"example.org", b"@"),
            *(b"john@", b"john ", b" john", b"john\r\n", b"john\0mary", b'"john"', b"jo\xffhn"),
            *("j\u043ehn".encode(), b"john*mary", b"john%mary", b"john@example.org@example.org"),
        ):
            for given_ in ([name], [b"john", name], [name, b"john"], [name, b""]):
                with self.subTest(given_=given_):
                    self.assertIsNone(terms.nameFor(JOHN, given_))

    def test_onlyUsersLogIn(self) -> None:
        """
        A host, a workload and nobody have no mailbox.
        """
        for names in (None, Map("john")):
            terms = Terms("imap", names, None)
            for identity in (
                None,
                Identity.parse("example.org"),
                Identity.parse("spiffe://example.org/john"),
            ):
                for name in (b"", b"john", b"example.org"):
                    self.assertIsNone(terms.nameFor(identity, [name]))

    def test_theMapSaysWhoIsWho(self) -> None:
        """
        Whom the client asks for, if it may be that, else the first.
        """
        terms = Terms("imap", Map("jdoe", "info", "j\u00f6rg"), None)
        for given_, name in (
            *(([b""], "jdoe"), ([b"john"], "jdoe"), ([b"john@example.org"], "jdoe")),
            *(([b"info"], "info"), ([b"info", b""], "info"), ([b"jdoe", b"info"], "info")),
            *(([b"info", b"john"], "jdoe"), (["j\u00f6rg".encode()], "j\u00f6rg")),
        ):
            with self.subTest(given_=given_):
                self.assertEqual(terms.nameFor(JOHN, given_), name)
        for given_ in ([b"root"], [b"info", b"root"], [b"root", b"info"], [b"INFO"]):
            self.assertIsNone(terms.nameFor(JOHN, given_))

    def test_whoeverIsNotInTheMapDoesNotLogIn(self) -> None:
        """
        Not with the own name either.
        """
        self.assertIsNone(Terms("imap", Map(), None).nameFor(JOHN, [b"john@example.org"]))

    def test_theAccountIsRead(self) -> None:
        """
        From a file that is for nobody else to read.
        """
        path = Path(self.mktemp())
        path.write_text("tunnel:a secret of ours\n")
        path.chmod(0o600)
        disclosure = Disclosure(words=("login", "pop3"), loginAuthFile=path)
        self.assertEqual(login.prepare(disclosure), Terms("pop3", None, ACCOUNT))
        path.chmod(0o644)
        self.assertRaises(ConfigurationError, login.prepare, disclosure)

    @settings(deadline=None)
    @given(st.lists(st.binary(max_size=8) | st.sampled_from([b"john", b"mary"]), max_size=3))
    def test_whoeverLogsInIsKnown(self, given_: list[bytes]) -> None:
        """
        Whatever names are given.
        """
        self.assertIn(Terms("", None, None).nameFor(JOHN, given_), (None, WHOLE))


class GarbageTests(SynchronousTestCase):
    """
    Clients that say anything.
    """

    @settings(deadline=None)
    @given(st.sampled_from(sorted(WORDS)), st.binary(max_size=60))
    def test_noGarbageReachesTheBackend(self, protocol: str, garbage: bytes) -> None:
        """
        In none of the protocols.
        """
        driver = standing(protocol)
        driver.feed("C", garbage)
        driver.network.end()
        self.assertEqual(driver.plain.written, b"")


class SettingTests(SynchronousTestCase):
    """
    What is given beside it.
    """

    def check(
        self, dialect: str, *words: str, isOpen: bool = False, names: tuple[ServedName, ...] = ()
    ) -> None:
        """
        See whether a tunnel can be had with these words.
        """
        anywhere = TCPAddress("127.0.0.1", 1)
        checkDisclosure(
            Tunnel(
                Mode.SERVER,
                (anywhere,),
                (anywhere,),
                registry.find(dialect),
                remoteID=None if isOpen else Selector.parse("@."),
                disclosure=Disclosure(words=words),
                names=names,
            )
        )

    def test_theDialectSaysWhichProtocolItIs(self) -> None:
        """
        Or the word of the protocol does.
        """
        for dialect in WORDS:
            self.check(dialect, "login")
            self.check(dialect, "login", dialect)
            self.check("none", dialect, "login")
            self.check("none", dialect)

    def test_theProtocolIsNeverGuessed(self) -> None:
        """
        Nor can it be two.
        """
        for words in (("login",), ("imap", "login", "pop3"), ("imap", "sieve")):
            with self.subTest(words=words):
                error = self.assertRaises(ConfigurationError, self.check, "none", *words)
                self.assertEqual(error.key, "reveal")

    def test_clientsHaveToProveWhoTheyAre(self) -> None:
        """
        Nobody logs in by a certificate that is not asked for.
        """
        self.assertRaises(ConfigurationError, self.check, "imap", "login", isOpen=True)
        self.check("imap", "imap", isOpen=True)

    def test_usersHaveToBeAmongThem(self) -> None:
        """
        Nobody else has a name to log in by.
        """
        anywhere = TCPAddress("127.0.0.1", 1)
        for text, isGood in (("mail.example.org", False), (".", False), ("@example.org", True)):
            tunnel = Tunnel(
                Mode.SERVER,
                (anywhere,),
                (anywhere,),
                registry.find("imap"),
                remoteID=Selector.parse(text),
                disclosure=Disclosure(words=("login",)),
            )
            if isGood:
                preparedWords(tunnel)
                continue
            error = self.assertRaises(ConfigurationError, preparedWords, tunnel)
            self.assertEqual(error.key, "reveal")
            self.assertIn(text, str(error))

    def test_theyHaveToForEachName(self) -> None:
        """
        A name for which anybody may come would bring clients of whom there is nothing to tell.
        """
        names = (ServedName("open.example", anybody=True),)
        for dialect, word in (("imap", "login"), ("xmpp-client", "xmpp"), ("ldap", "ldap")):
            error = self.assertRaises(ConfigurationError, self.check, dialect, word, names=names)
            self.assertIn("for the name open.example nobody", str(error))
        self.check("imap", "imap", names=names)


class PatienceTests(SynchronousTestCase):
    """
    How long a client may take.
    """

    def test_whoeverDoesNotLogInIsTheOneWhoIsSlow(self) -> None:
        """
        And not the backend, which has greeted.
        """
        driver = standing("imap")
        driver.clock.advance(login.conversationSeconds)
        driver.settle()
        self.assertIsInstance(driver.error, TimedOut)
        self.assertEqual(driver.error and driver.error.who, "the client")
