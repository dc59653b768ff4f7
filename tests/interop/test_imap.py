"""
imap with Dovecot, in both modes.
"""

from __future__ import annotations

import imaplib
from typing import ClassVar

from tests.interop.harness import (
    InteropTestCase,
    Stage,
    curl,
    gnutls,
    openssl,
    record,
    run,
    until,
    verified,
)
from tests.interop.servers.dovecot import PASSWORD, USER, Dovecot

NAME = "mail.test.example"

MBSYNC = f"""\
IMAPAccount mail
Host localhost
Port {{port}}
User {USER}
Pass "{PASSWORD}"
SSLType STARTTLS
CertificateFile {{anchors}}

IMAPStore far
Account mail

MaildirStore near
Path {{directory}}/
Inbox {{directory}}/inbox

Channel mail
Far :far:
Near :near:
Create Near
SyncState *
"""
TALK = f'a LOGIN {USER} "{PASSWORD}"\r\nb STATUS INBOX (MESSAGES)\r\nc LOGOUT\r\n'


class ClientModeTests(InteropTestCase):
    """
    Clients that know no TLS, and a server where nobody logs in without.
    """

    dovecot: ClassVar[Dovecot]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.dovecot = stage.start(Dovecot(stage.directory("dovecot"), stage.authority.issue(NAME)))

    def setUp(self) -> None:
        super().setUp()
        self.remote = self.dovecot.address("imap")

    def test_aMailIsStoredAndFetched(self) -> None:
        """
        By imaplib, with a literal in each direction.
        """
        tunnel = self.clientMode(self.remote, NAME, "imap")
        mail = b"Subject: by imaplib\r\n\r\n" + b"A line of text.\r\n" * 20_000
        with imaplib.IMAP4("127.0.0.1", tunnel.port, timeout=20) as client:
            self.assertNotIn("STARTTLS", client.capabilities)
            client.login(USER, PASSWORD)
            self.assertEqual(client.append("INBOX", "", "", mail)[0], "OK")
            client.select()
            found = client.search(None, "SUBJECT", '"by imaplib"')[1][0].split()
            fetched = client.fetch(found[-1].decode(), "(BODY[])")[1][0]
            assert isinstance(fetched, tuple)
            self.assertEqual(fetched[1], mail)
        record("imap", "client", self.dovecot, "mail stored and fetched by imaplib")

    def test_aMailIsFetchedByCurl(self) -> None:
        """
        By curl, which is not told of TLS.
        """
        self.dovecot.deliver("for curl")
        tunnel = self.clientMode(self.remote, NAME, "imap")
        url = f"imap://127.0.0.1:{tunnel.port}/INBOX;MAILINDEX=1"
        run(["curl", "-sS", "--user", f"{USER}:{PASSWORD}", url]).expect("Subject: ")
        record("imap", "client", self.dovecot, "mail fetched by curl")

    def test_aServerThatIsSomebodyElseGetsNoPassword(self) -> None:
        """
        The client is not greeted with success, and the log names both.
        """
        tunnel = self.clientMode(self.remote, "other.test.example", "imap")
        with self.assertRaises(imaplib.IMAP4.error):
            imaplib.IMAP4("127.0.0.1", tunnel.port, timeout=20)
        until(lambda: "other.test.example" in tunnel.log and NAME in tunnel.log, "the reason")


class ServerModeTests(InteropTestCase):
    """
    A server that knows no TLS, and clients that insist on it.
    """

    dovecot: ClassVar[Dovecot]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME, "127.0.0.1", "localhost")
        cls.dovecot = stage.start(Dovecot(stage.directory("dovecot")))
        cls.dovecot.deliver("for all clients")

    def setUp(self) -> None:
        super().setUp()
        self.anchors = self.stage.authority.anchors
        self.port = self.serverMode(self.dovecot.address("imap"), NAME, "imap").port

    def test_openssl(self) -> None:
        """
        C{s_client} verifies chain and name, and talks to Dovecot.
        """
        openssl(self.port, NAME, self.anchors, say=TALK, starttls="imap").expect(
            "Verification: OK", f"Verified peername: {NAME}", "(MESSAGES 1)"
        )
        record("imap", "server", "openssl", "login to Dovecot")

    def test_gnutls(self) -> None:
        """
        C{gnutls-cli} verifies chain and name, and talks to Dovecot.
        """
        gnutls(self.port, NAME, self.anchors, say=TALK, starttls="imap").expect(
            "certificate is trusted", "(MESSAGES 1)"
        )
        record("imap", "server", "gnutls-cli", "login to Dovecot")

    def test_curl(self) -> None:
        """
        curl fetches a mail over STARTTLS or not at all.
        """
        login = ("--user", f"{USER}:{PASSWORD}")
        mail = "/INBOX;MAILINDEX=1"
        curl("imap", self.port, NAME, self.anchors, *login, path=mail).expect("for all clients")
        record("imap", "server", "curl", "mail fetched")

    def test_mbsync(self) -> None:
        """
        mbsync verifies the name, and fetches the mails that are there.
        """
        directory = self.stage.directory("mbsync")
        directory.mkdir()
        (directory / "mbsyncrc").write_text(
            MBSYNC.format(directory=directory, port=self.port, anchors=self.anchors)
        )
        run(["mbsync", "-c", str(directory / "mbsyncrc"), "mail"]).expect()
        # In "cur" if another client has read it already.
        (mail,) = (directory / "inbox").glob("[cn][ue][rw]/*")
        self.assertIn("for all clients", mail.read_text())
        record("imap", "server", "mbsync", "mail fetched")

    def test_imaplib(self) -> None:
        """
        Python's own client verifies the address, and sees no second STARTTLS.
        """
        with imaplib.IMAP4("127.0.0.1", self.port, timeout=20) as client:
            self.assertEqual(client.capabilities, ("IMAP4REV1", "STARTTLS", "LOGINDISABLED"))
            client.starttls(verified(self.anchors))
            self.assertNotIn("STARTTLS", client.capabilities)
            self.assertIn("AUTH=PLAIN", client.capabilities)
            client.login(USER, PASSWORD)
            self.assertEqual(client.select()[1], [b"1"])
        record("imap", "server", "imaplib", "mailbox selected")

    def test_aLoginBeforeTLSIsRefused(self) -> None:
        """
        The password is not forwarded.
        """
        with imaplib.IMAP4("127.0.0.1", self.port, timeout=20) as client:
            with self.assertRaises(imaplib.IMAP4.error) as caught:
                client.login(USER, PASSWORD)
            self.assertIn("PRIVACYREQUIRED", str(caught.exception))
