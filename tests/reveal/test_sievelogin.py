"""
The word login before a backend of sieve.
"""

from __future__ import annotations

from tests.reveal import logins
from tests.reveal.logins import ACCOUNT, GREETED, GREETING, SIEVE_OFFER, WHOLE, base64
from tests.reveal.stage import JOHN, begun
from tlstunnel.errors import Oversize, Quit
from tlstunnel.protocols import registry
from tlstunnel.reveal.login import Terms, login
from tlstunnel.testing.memory import Driver


class SieveTests(logins.LoginTests):
    """
    A client that wants to log in.
    """

    protocol = "sieve"
    good = b'AUTHENTICATE "PLAIN" "' + base64("", "john", "hunter2") + b'"\r\n'
    bad = b'AUTHENTICATE "PLAIN" "' + base64("", "mary", "hunter2") + b'"\r\n'
    told = b'NO "the certificate is not of that user"\r\n'
    early = b"LISTSCRIPTS\r\n"

    def test_theLoginIsUnderstood(self) -> None:
        """
        In every form.
        """
        empty = b'""\r\n'
        message = base64("", "john", "x")
        for said in (
            [("C", b'authenticate "plain" {%d+}\r\n%s\r\n' % (len(message), message))],
            [("C", b'AUTHENTICATE "EXTERNAL" ""\r\n')],
            [("C", b'AUTHENTICATE {8+}\r\nEXTERNAL ""\r\n')],
            [("C", b'AUTHENTICATE "EXTERNAL"\r\n'), ("S", empty), ("C", empty)],
            [("C", b'AUTHENTICATE "PLAIN"\r\n'), ("S", empty), ("C", b'"' + message + b'"\r\n')],
        ):
            with self.subTest(said=said):
                self.loggedIn(*said)

    def test_whatIsNoLoginIsAnswered(self) -> None:
        """
        And counts, where it is refused.
        """
        first = b'NO "log in first"\r\n'
        for said, answer in (
            (b"CAPABILITY\r\n", SIEVE_OFFER + b'OK "done"\r\n'),
            (b"NOOP\r\n", b'OK "done"\r\n'),
            (b'NOOP "a\\"b"\r\n', b'OK (TAG "a\\"b") "done"\r\n'),
            (b'NOOP {4+}\r\na\r\n"\r\n', b'OK (TAG "a\\"") "done"\r\n'),
            (b"LISTSCRIPTS\r\n", first),
            (b"STARTTLS\r\n", first),
            (b"XCLIENT ADDR=203.0.113.9\r\n", b'NO "syntax"\r\n'),
            (b'PUTSCRIPT "x" {9+}\r\nXCLIENT\r\n\r\n', first),
            (b"CAPABILITY x\r\n", b'NO "syntax"\r\n'),
            (b"\r\n", b'NO "syntax"\r\n'),
            (b'AUTHENTICATE "CRAM-MD5"\r\n', b'NO "mechanism not supported"\r\n'),
            (b'AUTHENTICATE "PLAIN" "???"\r\n', b'NO "not base64"\r\n'),
            (b'AUTHENTICATE "PLAIN"\r\n"*"\r\n', b'""\r\nNO "cancelled"\r\n'),
            (b'AUTHENTICATE "PLAIN"\r\nNOOP\r\n', b'""\r\nNO "syntax"\r\n'),
        ):
            with self.subTest(said=said):
                self.refused(said, answer)

    def test_whatIsTooLongEndsTheConnection(self) -> None:
        """
        A literal comes in any case.
        """
        for said in (b"NOOP {70000+}\r\n", b"NOOP {99999999999999999999+}\r\n", b"x" * 9000):
            driver = self.standing()
            driver.feed("C", said)
            self.assertIsInstance(driver.error, Oversize)

    def test_whoeverLogsOutIsGone(self) -> None:
        """
        RFC 5804, section 2.3.
        """
        driver = self.standing()
        driver.play([("C", b"LOGOUT\r\n"), ("S", b'OK "bye"\r\n')])
        self.assertIsInstance(driver.error, Quit)

    def test_externalIsTakenWhereItIsOffered(self) -> None:
        """
        In the greeting.
        """
        driver = begun([(login, Terms("sieve", None, None))])
        greeting = GREETING["sieve"].replace(b'"PLAIN"', b'"PLAIN EXTERNAL"')
        enters = b'AUTHENTICATE "EXTERNAL" "' + base64(WHOLE) + b'"\r\n'
        driver.play([("B", greeting), ("S", GREETED["sieve"]), ("C", self.good), ("T", enters)])

    def test_aScriptCanBeCalledAsTheUpgrade(self) -> None:
        """
        Behind a login nothing is hidden any more.
        """
        driver = Driver(
            registry.find("sieve"),
            "server",
            words=[(login, Terms("", None, ACCOUNT))],
            identity=JOHN,
        )
        driver.feed("C", b"STARTTLS\r\n")
        driver.handshake()
        driver.feed("B", GREETING["sieve"])
        driver.network.takeWritten()
        driver.feed("C", self.good)
        self.entered(driver)
        driver.play([("C", b"LISTSCRIPTS\r\n"), ("T", b"LISTSCRIPTS\r\n")])
        driver.play([("B", b'"STARTTLS"\r\nOK\r\n'), ("S", b'"STARTTLS"\r\nOK\r\n')])
