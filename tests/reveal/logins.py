"""
What the tests of the word login share, and what holds in all its protocols.
"""

from __future__ import annotations

from base64 import b64encode

from twisted.trial.unittest import SynchronousTestCase

from tests.reveal.stage import JOHN, begun
from tlstunnel.errors import BackendRefused, TooManyErrors
from tlstunnel.identity.names import Identity
from tlstunnel.protocols import registry
from tlstunnel.reveal.identitymap import Names
from tlstunnel.reveal.imap import imap
from tlstunnel.reveal.login import Terms, login
from tlstunnel.reveal.origin import Part
from tlstunnel.reveal.pop3 import pop3
from tlstunnel.reveal.sieve import sieve
from tlstunnel.testing.dialogues import OURS, split
from tlstunnel.testing.memory import Driver

ACCOUNT = ("tunnel", "a secret of ours")
PASSWORD = b"hunter2"


def base64(*parts: str) -> bytes:
    """
    A message of SASL.
    """
    return b64encode("\0".join(parts).encode())


WHOLE = "john@example.org"
AS_SAID = base64("", "john", "")
AS_JOHN = base64(WHOLE, *ACCOUNT)


class Map(Names):
    """
    A map of identities.
    """

    def __init__(self, *names: str) -> None:
        self._names = names

    def names(self, identity: Identity) -> tuple[str, ...]:
        """
        All of them.
        """
        return self._names

    def allows(self, identity: Identity, name: str) -> bool:
        """
        Whether it is one of them.
        """
        return name in self._names


GREETING = {
    "imap": b"* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] backend ready\r\n",
    "pop3": b"+OK [XCLIENT] backend ready\r\n",
    "sieve": b'"IMPLEMENTATION" "x"\r\n"SASL" "PLAIN"\r\n"SIEVE" "fileinto"\r\n"XCLIENT"\r\n'
    b'"STARTTLS"\r\nOK "ready"\r\n',
}
OFFER = b"IMAP4rev1 SASL-IR LITERAL- ID AUTH=EXTERNAL AUTH=PLAIN"
SIEVE_OFFER = b'"IMPLEMENTATION" "x"\r\n"SIEVE" "fileinto"\r\n"SASL" "EXTERNAL PLAIN"\r\n'
GREETED = {
    "imap": b"* OK [CAPABILITY " + OFFER + b"] " + OURS + b" ready\r\n",
    "pop3": b"+OK " + OURS + b" ready\r\n",
    "sieve": SIEVE_OFFER + b'OK "' + OURS + b' ready"\r\n',
}
WORDS = {"imap": imap, "pop3": pop3, "sieve": sieve}

#: How the tunnel logs in, what the backend is asked and how it answers: yes, no.
ENTERS: dict[str, list[tuple[str, bytes]]] = {
    "imap": [
        *(("T", b"t2 AUTHENTICATE PLAIN\r\n"), ("B", b"+ \r\n"), ("T", AS_JOHN + b"\r\n")),
    ],
    "pop3": [("T", b"AUTH PLAIN\r\n"), ("B", b"+ \r\n"), ("T", AS_JOHN + b"\r\n")],
    "sieve": [("T", b'AUTHENTICATE "PLAIN" "' + AS_JOHN + b'"\r\n')],
}
YES = {"imap": b"t2 OK [CAPABILITY X] in\r\n", "pop3": b"+OK in\r\n", "sieve": b'OK "in"\r\n'}
TOLD = {**YES, "imap": b"a OK [CAPABILITY X] in\r\n"}


def standing(
    protocol: str,
    account: tuple[str, str] | None = ACCOUNT,
    names: Names | None = None,
    identity: Identity | None = JOHN,
) -> Driver:
    """
    A client inside implicit TLS, which has been greeted.
    """
    driver = begun([(login, Terms(protocol, names, account))], identity=identity)
    driver.play([("B", GREETING[protocol]), ("S", GREETED[protocol])])
    return driver


class LoginTests(SynchronousTestCase):
    """
    What holds in all protocols.
    """

    protocol: str

    def standing(self, *arguments: object) -> Driver:
        """
        A client that has been greeted.
        """
        return standing(self.protocol, *arguments)  # type: ignore[arg-type]

    def entered(self, driver: Driver) -> None:
        """
        The tunnel logs in, and the backend says yes.
        """
        told = TOLD[self.protocol]
        driver.play([*ENTERS[self.protocol], ("B", YES[self.protocol]), ("S", told)])
        self.assertEqual((driver.stage, driver.network.written), ("relay", b""), driver.error)

    def loggedIn(self, *said: tuple[str, bytes]) -> None:
        """
        What leads to a login as John does so, cut anywhere.
        """
        driver = self.standing()
        driver.play(said)
        self.entered(driver)
        for who, text in said:
            if who == "C" and len(said) == 1:
                for pieces in split(text):
                    driver = self.standing()
                    for piece in pieces:
                        driver.feed("C", piece)
                    self.entered(driver)

    def refused(self, said: bytes, answer: bytes) -> None:
        """
        The client hears an answer, and the backend nothing.
        """
        driver = self.standing()
        driver.play([("C", said), ("S", answer)])
        self.assertEqual((driver.network.written, driver.plain.written), (b"", b""))

    #: A login as John, as somebody else, and what somebody else is told.
    good: bytes
    bad: bytes
    told: bytes
    #: Another login that is refused at once, and a command that is not for now.
    early: bytes
    no: bytes

    def test_theClientIsLoggedIn(self) -> None:
        """
        With whatever password.
        """
        self.loggedIn(("C", self.good))

    def test_behindStartTLSTheGreetingWasReadBefore(self) -> None:
        """
        In imap and pop3; in sieve the server speaks first again.
        """
        starts = {"imap": b"s STARTTLS\r\n", "pop3": b"STLS\r\n", "sieve": b"STARTTLS\r\n"}
        driver = Driver(
            registry.find(self.protocol),
            "server",
            words=[(login, Terms("", None, ACCOUNT))],
            identity=JOHN,
        )
        driver.feed("C", starts[self.protocol])
        driver.network.takeWritten()
        driver.handshake()
        driver.feed("B", GREETING[self.protocol])
        said = driver.network.takeWritten()
        self.assertEqual(said, GREETED["sieve"] if self.protocol == "sieve" else b"")
        driver.feed("C", self.good)
        self.entered(driver)

    def test_nobodyLogsInAsSomebodyElse(self) -> None:
        """
        The backend hears nothing of it.
        """
        self.refused(self.bad, self.told)

    def test_whoeverIsNoUserDoesNotLogIn(self) -> None:
        """
        Whatever it says.
        """
        for identity in (None, Identity.parse("example.org")):
            driver = self.standing(ACCOUNT, None, identity)
            driver.play([("C", self.good), ("S", self.told)])
            self.assertEqual(driver.plain.written, b"")

    def test_theOtherWordMayBeThereToNameTheProtocol(self) -> None:
        """
        Where the backend offers no XCLIENT, it is not asked for it.
        """
        if self.protocol == "imap":
            # All servers take ID.
            return
        greeting = (
            GREETING[self.protocol].replace(b"[XCLIENT] ", b"").replace(b'"XCLIENT"\r\n', b"")
        )
        words = [
            (login, Terms(self.protocol, None, ACCOUNT)),
            (WORDS[self.protocol], Part(guards=False)),
        ]
        for each in (words, words[::-1]):
            driver = begun(each)
            driver.play([("B", greeting), ("S", GREETED[self.protocol]), ("C", self.good)])
            self.entered(driver)

    def test_onlySoManyAreRefused(self) -> None:
        """
        Guessing has an end.
        """
        for said in (self.bad, self.early):
            driver = self.standing()
            for _ in range(10):
                driver.feed("C", said)
            self.assertIsInstance(driver.error, TooManyErrors)
            self.assertEqual(driver.plain.written, b"")

    def test_whatIsPipelinedWaitsForTheBackend(self) -> None:
        """
        A second login among it is for the backend to refuse, to which the first one counts.
        """
        driver = self.standing()
        behind = b"x SELECT INBOX\r\n" + self.bad
        driver.feed("C", self.good + behind)
        driver.play(ENTERS[self.protocol])
        self.assertEqual(driver.plain.written, b"")
        driver.play([("B", YES[self.protocol]), ("S", TOLD[self.protocol]), ("T", behind)])

    def test_whatIsPipelinedBehindARefusedLoginIsForUs(self) -> None:
        """
        It does not reach a backend that nobody has logged in to.
        """
        driver = self.standing()
        driver.feed("C", self.bad + self.good)
        driver.play([("S", self.told)])
        self.entered(driver)

    def test_aBackendThatSaysNoIsHeard(self) -> None:
        """
        Its words are for the client and for the log, and nothing of the client reaches it.
        """
        driver = self.standing()
        driver.feed("C", self.good + self.good)
        driver.play(ENTERS[self.protocol])
        no = {"imap": b"t2 NO [X] not now\r\n", "pop3": b"-ERR [X] not now\r\n"}
        heard = {"imap": b"a NO [X] not now\r\n"}
        words = no.get(self.protocol, b'NO (X) "not now"\r\n')
        driver.play([("B", words), ("S", heard.get(self.protocol, words))])
        self.assertIsInstance(driver.error, BackendRefused)
        self.assertIn("not now", str(driver.error))
        self.assertEqual(driver.plain.written, b"")

    def test_noPasswordIsToldToAnybody(self) -> None:
        """
        Neither to the backend nor to the log, however it ends.
        """
        secret = b"hunter2"
        for behind in (b"", b"\0\r\n", b"\rx\r\n", b"x" * 9000, b"x" * 9000 + b"\r\n"):
            for start in (self.good, b"", b"a LOGIN john "):
                driver = self.standing()
                driver.feed("C", start + secret + behind)
                driver.network.end()
                self.assertNotIn("hunter2", str(driver.error))
                self.assertNotIn("hunter2", repr(driver.error))
                self.assertNotIn(secret, driver.plain.written.partition(AS_JOHN)[0])

    def test_aBackendThatDoesNotGreetIsNotServed(self) -> None:
        """
        The client hears nothing.
        """
        for said in (b"* BYE\r\n", b"-ERR\r\n", b'BYE "x"\r\n', b"\0\r\n"):
            driver = begun([(login, Terms(self.protocol, None, ACCOUNT))])
            driver.feed("B", said)
            if driver.error is None:
                # It may still become a greeting of sieve.
                driver.plain.end()
            self.assertIsNotNone(driver.error)
            self.assertEqual(driver.network.written, b"")

    def test_theOtherWordOfTheProtocolComesBefore(self) -> None:
        """
        In whichever order they are given.
        """
        told = {
            "imap": (b"t1 ID (", b"* ID NIL\r\nt1 OK\r\n"),
            "pop3": (b"XCLIENT ADDR", b"+OK Updated\r\n"),
            "sieve": (b"XCLIENT ADDR", b"OK\r\n"),
        }
        ours: list[tuple[object, object]] = [
            (login, Terms(self.protocol, None, ACCOUNT)),
            (WORDS[self.protocol], Part(guards=False)),
        ]
        for words in (ours, ours[::-1]):
            driver = begun(words)  # type: ignore[arg-type]
            driver.feed("B", GREETING[self.protocol])
            asks, answer = told[self.protocol]
            self.assertTrue(driver.plain.takeWritten().startswith(asks))
            driver.play([("B", answer), ("S", GREETED[self.protocol])])
            driver.feed("C", self.good)
            self.entered(driver)
            driver.play([("C", b"a ID ("), ("T", b"a ID (")])
