"""
The word login before a backend of pop3.
"""

from __future__ import annotations

from tests.reveal import logins
from tests.reveal.logins import AS_JOHN, GREETED, GREETING, TOLD, WHOLE, YES, base64
from tests.reveal.stage import begun
from tlstunnel.errors import Quit
from tlstunnel.reveal.login import Terms, login


class POP3Tests(logins.LoginTests):
    """
    A client that wants to log in.
    """

    protocol = "pop3"
    good = b"AUTH PLAIN " + base64("", "john", "hunter2") + b"\r\n"
    bad = b"AUTH PLAIN " + base64("", "mary", "hunter2") + b"\r\n"
    told = b"-ERR [AUTH] the certificate is not of that user\r\n"
    early = b"STAT\r\n"

    def test_theLoginIsUnderstood(self) -> None:
        """
        In every form.
        """
        empty = b"+ \r\n"
        for said in (
            [("C", b"user john\r\n"), ("S", b"+OK\r\n"), ("C", b"pass  hunter2 \r\n")],
            [("C", b"USER john@example.org\n"), ("S", b"+OK\r\n"), ("C", b"PASS\n")],
            [("C", b"AUTH EXTERNAL =\r\n")],
            [("C", b"auth external " + base64("john") + b"\r\n")],
            [("C", b"AUTH EXTERNAL\r\n"), ("S", empty), ("C", b"\r\n")],
            [
                ("C", b"AUTH PLAIN\r\n"),
                ("S", empty),
                ("C", base64("", "john", "x") + b"\r\n"),
            ],
        ):
            with self.subTest(said=said):
                self.loggedIn(*said)

    def test_whatIsNoLoginIsAnswered(self) -> None:
        """
        And counts, where it is refused.
        """
        first = b"-ERR log in first\r\n"
        lists = b"+OK\r\nUSER\r\nSASL EXTERNAL PLAIN\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n.\r\n"
        for said, answer in (
            (b"CAPA\r\n", lists),
            (b"AUTH\r\n", b"+OK\r\nEXTERNAL\r\nPLAIN\r\n.\r\n"),
            (b"STLS\r\n", first),
            (b"APOP john x\r\n", first),
            (b"PASS hunter2\r\n", first),
            (b"USER\r\nPASS x\r\n", first * 2),
            (b"USER john\r\nSTAT\r\nPASS x\r\n", b"+OK\r\n" + first * 2),
            (b"XCLIENT ADDR=203.0.113.9\r\n", first),
            (b"\r\n", first),
            (b"AUTH CRAM-MD5\r\n", b"-ERR mechanism not supported\r\n"),
            (b"AUTH PLAIN x y\r\n", b"-ERR syntax\r\n"),
            (b"AUTH PLAIN\r\n*\r\n", b"+ \r\n-ERR cancelled\r\n"),
            (b"AUTH PLAIN ???\r\n", b"-ERR not base64\r\n"),
            (b"USER mary\r\nPASS x\r\n", b"+OK\r\n" + self.told),
        ):
            with self.subTest(said=said):
                self.refused(said, answer)

    def test_whoeverQuitsIsGone(self) -> None:
        """
        RFC 1939, section 4.
        """
        driver = self.standing()
        driver.play([("C", b"QUIT\r\n"), ("S", b"+OK bye\r\n")])
        self.assertIsInstance(driver.error, Quit)

    def test_externalIsTakenWhereItIsOffered(self) -> None:
        """
        In the list of CAPA.
        """
        for answer, mechanism, response in (
            (b"+OK\r\nTOP\r\nSASL PLAIN EXTERNAL\r\n.\r\n", b"EXTERNAL", base64(WHOLE)),
            (b"+OK\r\nTOP\r\n.\r\n", b"PLAIN", base64("", WHOLE, "")),
            (b"-ERR what\r\n", b"PLAIN", base64("", WHOLE, "")),
        ):
            driver = begun([(login, Terms("pop3", None, None))])
            driver.play(
                [
                    *(("B", GREETING["pop3"]), ("T", b"CAPA\r\n"), ("B", answer)),
                    *(("S", GREETED["pop3"]), ("C", self.good)),
                    *(("T", b"AUTH " + mechanism + b"\r\n"), ("B", b"+\r\n")),
                    *(
                        ("T", response + b"\r\n"),
                        ("B", YES["pop3"]),
                        ("S", TOLD["pop3"]),
                    ),
                ]
            )

    def test_aBackendThatMakesNoSenseIsNotServed(self) -> None:
        """
        It hears our password once, and where it asks for it.
        """
        for said in (b"OK\r\n", b"+ \r\n+ \r\n", b"\r\n", b"+OKAY\r\n"):
            driver = self.standing()
            driver.feed("C", self.good)
            driver.feed("B", said)
            self.assertIsNotNone(driver.error)
            self.assertLessEqual(driver.plain.written.count(AS_JOHN), 1)
