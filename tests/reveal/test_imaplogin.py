"""
The word login before a backend of imap.
"""

from __future__ import annotations

from tests.reveal import logins
from tests.reveal.logins import (
    AS_JOHN,
    ENTERS,
    GREETED,
    GREETING,
    OFFER,
    TOLD,
    WHOLE,
    YES,
    Map,
    base64,
)
from tests.reveal.stage import begun
from tlstunnel.errors import Oversize, Quit
from tlstunnel.reveal.login import Terms, login
from tlstunnel.testing.dialogues import OURS


class IMAPTests(logins.LoginTests):
    """
    A client that wants to log in.
    """

    protocol = "imap"
    good = b"a LOGIN john hunter2\r\n"
    bad = b'a LOGIN "mary" "hunter2"\r\n'
    told = b"a NO [AUTHORIZATIONFAILED] the certificate is not of that user\r\n"
    early = b"a SELECT INBOX\r\n"

    def test_theLoginIsUnderstood(self) -> None:
        """
        In every form that RFC 9051 has for it.
        """
        for said in (
            b'a login "john@example.org" ""\r\n',
            b'a LOGIN "jo\\hn" "\\"{5}\\\\"\r\n',
            b'a LOGIN "" hunter2\n',
            b"a LOGIN {4+}\r\njohn {9+}\r\nhun\r\n\0\nx\r\n",
            b"a LOGIN {0+}\r\n {0+}\r\n\r\n",
            b'a LOGIN john {2+}\r\n" \r\n',
            b"a AUTHENTICATE PLAIN " + base64("", "john", "x") + b"\r\n",
            b"a authenticate plain " + base64(WHOLE, "john", "x") + b"\r\n",
            b"a AUTHENTICATE EXTERNAL =\r\n",
            b"a AUTHENTICATE EXTERNAL " + base64(WHOLE) + b"\r\n",
        ):
            with self.subTest(said=said):
                self.loggedIn(("C", said))

    def test_theLoginMayBeAConversation(self) -> None:
        """
        With challenges, or with literals that are awaited.
        """
        empty, name = b"+ \r\n", base64("john") + b"\r\n"
        for said in (
            [
                *(("C", b"a LOGIN {4}\r\n"), ("S", b"+ go on\r\n"), ("C", b"john {3}\r\n")),
                *(("S", b"+ go on\r\n"), ("C", b"a\nb\r\n")),
            ],
            [
                ("C", b"a AUTHENTICATE PLAIN\r\n"),
                ("S", empty),
                ("C", base64("", "john", "") + b"\n"),
            ],
            [("C", b"a AUTHENTICATE EXTERNAL\r\n"), ("S", empty), ("C", b"\r\n")],
            [
                *(("C", b"a AUTHENTICATE LOGIN\r\n"), ("S", b"+ VXNlcm5hbWU6\r\n"), ("C", name)),
                *(("S", b"+ UGFzc3dvcmQ6\r\n"), ("C", b"eA==\r\n")),
            ],
        ):
            with self.subTest(said=said):
                self.loggedIn(*said)

    def test_whatIsNoLoginIsAnswered(self) -> None:
        """
        And counts, where it is refused.
        """
        for said, answer in (
            (b"a CAPABILITY\r\n", b"* CAPABILITY " + OFFER + b"\r\na OK done\r\n"),
            (b"a noop\r\n", b"a OK done\r\n"),
            (b'a ID ("x-originating-ip" "203.0.113.9")\r\n', b"* ID NIL\r\na OK done\r\n"),
            (b'a ID ("name" {3+}\r\nx\r\n)\r\n', b"* ID NIL\r\na OK done\r\n"),
            (b"a STARTTLS\r\n", b"a BAD log in first\r\n"),
            (b"a SELECT INBOX\r\n", b"a BAD log in first\r\n"),
            (b"a APPEND x {5+}\r\nb x\r\n\r\n", b"a BAD log in first\r\n"),
            (b"a NOOP x\r\n", b"a BAD syntax\r\n"),
            (b"a LOGIN john\r\n", b"a BAD syntax\r\n"),
            (b"a LOGIN john x y\r\n", b"a BAD syntax\r\n"),
            (b'a LOGIN "john x\r\n', b"a BAD syntax\r\n"),
            (b'a LOGIN "john"x x\r\n', b"a BAD syntax\r\n"),
            (b"a LOGIN john {9999}\r\n", b"a BAD syntax\r\n"),
            (b"a AUTHENTICATE\r\n", b"a BAD syntax\r\n"),
            (b"a\r\n", b"a BAD syntax\r\n"),
            (b"\r\n", b"* BAD syntax\r\n"),
            (b"* LOGIN john x\r\n", b"* BAD syntax\r\n"),
            (b" LOGIN john x\r\n", b"* BAD syntax\r\n"),
            (b"x" * 65 + b" NOOP\r\n", b"* BAD syntax\r\n"),
            (b"a AUTHENTICATE CRAM-MD5\r\n", b"a NO mechanism not supported\r\n"),
            (b"a AUTHENTICATE PLAIN %%%\r\n", b"a NO not base64\r\n"),
            (b"a AUTHENTICATE PLAIN *\r\n", b"a BAD cancelled\r\n"),
            (b"a AUTHENTICATE PLAIN AAA\r\n", b"a NO not base64\r\n"),
            (b"a AUTHENTICATE PLAIN =\r\n", b"a NO not a message of PLAIN\r\n"),
            (b"a AUTHENTICATE PLAIN\r\n*\r\n", b"+ \r\na BAD cancelled\r\n"),
            (b"a AUTHENTICATE LOGIN\r\n*\r\n", b"+ VXNlcm5hbWU6\r\na BAD cancelled\r\n"),
            (
                b"a AUTHENTICATE PLAIN " + base64("mary", "john", "x") + b"\r\n",
                b"a NO [AUTHORIZATIONFAILED] the certificate is not of that user\r\n",
            ),
            (
                b"a AUTHENTICATE EXTERNAL " + base64("mary") + b"\r\n",
                b"a NO [AUTHORIZATIONFAILED] the certificate is not of that user\r\n",
            ),
        ):
            with self.subTest(said=said):
                self.refused(said, answer)

    def test_whatIsTooLongEndsTheConnection(self) -> None:
        """
        A literal that is sent unasked, and what is not even one.
        """
        for said in (
            b"a LOGIN {4097+}\r\n",
            b"a LOGIN {99999999999999999999+}\r\n",
            b"a LOGIN " + b"x" * 9000,
            b"a NOOP {4000+}\r\n" * 99 + b"x" * 70000,
        ):
            with self.subTest(said=said[:20]):
                driver = self.standing()
                driver.feed("C", said)
                self.assertIsInstance(driver.error, Oversize)

    def test_whoeverLogsOutIsGone(self) -> None:
        """
        RFC 9051, section 6.1.3.
        """
        driver = self.standing()
        driver.play([("C", b"a LOGOUT\r\n"), ("S", b"* BYE " + OURS + b"\r\na OK done\r\n")])
        self.assertIsInstance(driver.error, Quit)

    def test_whatTheBackendSaysBesidesIsPassedOn(self) -> None:
        """
        Before its answer and behind it.
        """
        driver = self.standing()
        driver.feed("C", self.good)
        driver.play(ENTERS["imap"])
        driver.play([("B", b"* CAPABILITY X\r\nt2 OK\r\n* 1 EXISTS\r\n")])
        driver.play([("S", b"* CAPABILITY X\r\na OK\r\n* 1 EXISTS\r\n")])

    def test_aBackendThatMakesNoSenseIsNotServed(self) -> None:
        """
        It hears our password once, and where it asks for it.
        """
        for said in (b"* BYE\r\n", b"a OK\r\n", b"+ \r\n+ \r\n", b"t2 WHAT\r\n", b"* {5}\r\n"):
            driver = self.standing()
            driver.feed("C", self.good)
            driver.feed("B", said)
            self.assertIsNotNone(driver.error)
            self.assertLessEqual(driver.plain.written.count(AS_JOHN), 1)

    def test_externalIsTakenWhereItIsOffered(self) -> None:
        """
        With the name as the authorisation identity.
        """
        driver = begun([(login, Terms("imap", None, None))])
        driver.play(
            [
                *(("B", GREETING["imap"]), ("T", b"t1 CAPABILITY\r\n")),
                ("B", b"* CAPABILITY IMAP4rev1 AUTH=PLAIN auth=external\r\nt1 OK\r\n"),
                *(
                    ("S", GREETED["imap"]),
                    ("C", self.good),
                    ("T", b"t2 AUTHENTICATE EXTERNAL\r\n"),
                ),
                *(
                    ("B", b"+ \r\n"),
                    ("T", base64(WHOLE) + b"\r\n"),
                    ("B", YES["imap"]),
                ),
                ("S", TOLD["imap"]),
            ]
        )

    def test_theNameAloneIsToldToABackendThatAsksForNothingElse(self) -> None:
        """
        By PLAIN, without a password.
        """
        driver = begun([(login, Terms("imap", Map("jdoe"), None))])
        driver.play(
            [
                *(("B", GREETING["imap"]), ("T", b"t1 CAPABILITY\r\n")),
                *(("B", b"t1 OK\r\n"), ("S", GREETED["imap"]), ("C", self.good)),
                *(("T", b"t2 AUTHENTICATE PLAIN\r\n"), ("B", b"+ \r\n")),
                *(
                    ("T", base64("", "jdoe", "") + b"\r\n"),
                    ("B", YES["imap"]),
                    ("S", TOLD["imap"]),
                ),
            ]
        )
