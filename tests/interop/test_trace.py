"""
What is written down in search of a fault, with real clients: C{--trace} and C{--key-log}.
"""

from __future__ import annotations

import imaplib
import re
import smtplib
from pathlib import Path
from threading import Thread
from typing import ClassVar

from tests.interop import tunnel
from tests.interop.harness import InteropTestCase, Stage, openssl, record, tlstunnel, until
from tests.interop.servers.dovecot import PASSWORD, USER, Dovecot
from tests.interop.servers.postfix import Postfix

NAME = "mail.test.example"

_LINE = re.compile(
    r"[0-9-]{10}T[0-9:.]{15}Z (?P<peer>\S+) (?P<name>[0-9]+[.][0-9]+) (?P<text>.*)", re.ASCII
)


class TraceTests(InteropTestCase):
    """
    A tunnel in server mode before real servers, served by two processes.
    """

    postfix: ClassVar[Postfix]
    dovecot: ClassVar[Dovecot]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        """
        Start them.
        """
        stage.authority.issue(NAME)
        cls.postfix = stage.start(Postfix(stage.directory("postfix")))
        cls.dovecot = stage.start(Dovecot(stage.directory("dovecot")))

    def server(self, backend: str, dialect: str, *more: str) -> int:
        """
        Where the tunnel is.
        """
        self.trace = self.stage.directory("trace")
        written = ("--trace", str(self.trace), *more)
        self.patch(tunnel, "WORKERS", "2")
        return self.serverMode(backend, NAME, dialect, *written).port

    def lines(self) -> list[re.Match[str]]:
        """
        What is there.
        """
        found = []
        for line in self.trace.read_text().splitlines():
            match = _LINE.fullmatch(line)
            assert match is not None, line
            found.append(match)
        return found

    def test_keysAreThoseOfOpenSSL(self) -> None:
        """
        As C{s_client} writes them down, with both versions of TLS.
        """
        keys, theirs = self.stage.directory("keys"), self.stage.directory("theirs")
        port = self.server(f"127.0.0.1:{self.postfix.port}", "smtp", "--key-log", str(keys))
        anchors = self.stage.authority.anchors
        for version in "-tls1_2", "-tls1_3":
            options = (version, "-keylogfile", str(theirs))
            openssl(port, NAME, anchors, *options, say="QUIT\r\n", starttls="smtp").expect("221 ")

        def secrets(path: Path) -> set[str]:
            lines = path.read_text().splitlines()
            return {line for line in lines if not line.startswith("#")}

        self.assertEqual(len(secrets(keys)), 6)
        self.assertEqual(secrets(keys), secrets(theirs))
        record("smtp", "server", "openssl", "the same secrets in both key logs")

    def test_linesOfManyDoNotMix(self) -> None:
        """
        Through two processes at once; each connection is there from its begin to its end.
        """
        port = self.server(f"127.0.0.1:{self.postfix.port}", "smtp")

        def visit() -> None:
            for _ in range(10):
                with smtplib.SMTP("127.0.0.1", port) as client:
                    client.ehlo()

        threads = [Thread(target=visit) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        until(lambda: self.trace.read_text().count(" ends: ") == 40, "all ends")
        stories: dict[str, list[str]] = {}
        for line in self.lines():
            stories.setdefault(line["name"], []).append(line["text"])
        self.assertEqual(len(stories), 40)
        for story in stories.values():
            self.assertEqual(story[0], "begins: smtp, server")
            self.assertTrue(story[-1].startswith("ends: quit"))

    def test_whatCannotBeWrittenToIsRefusedOnce(self) -> None:
        """
        Also with workers, which would be started again and again.
        """
        link = self.stage.directory("link")
        link.symlink_to("elsewhere")
        words = ("-s", "-l", "127.0.0.1:0", "-L", NAME, "-r", "127.0.0.1:1", "--workers", "2")
        pool = ("--pool", str(self.stage.authority.pool))
        tlstunnel(*words, *pool, "--trace", str(link)).expectFailure("is a symbolic link")

    def test_aLoginBeforeTLSIsNotThere(self) -> None:
        """
        Of a client that has no TLS, nor is what is said inside.
        """
        port = self.server(self.dovecot.address("imap"), "imap")
        login = f'a LOGIN {USER} "{PASSWORD}"\r\nb LOGOUT\r\n'
        openssl(port, NAME, self.stage.authority.anchors, say=login, starttls="imap").expect(
            "b OK Logout"
        )
        client = imaplib.IMAP4("127.0.0.1", port)
        with self.assertRaises(imaplib.IMAP4.error):
            client.login(USER, PASSWORD)
        client.shutdown()
        until(lambda: self.trace.read_text().count(" ends: ") == 2, "both ends")
        text = self.trace.read_text()
        for secret in (PASSWORD, PASSWORD.split()[-1], USER):
            self.assertNotIn(secret, text)
        self.assertRegex(text, r'received "[A-Z0-9]+ LOGIN" and [0-9]+ more bytes')
        self.assertIn("received TLS handshake client_hello", text)
