"""
ftp with ProFTPD and vsftpd, data connections included, in both modes.
"""

from __future__ import annotations

import ftplib
import io
from collections.abc import Iterable
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
from tests.interop.servers.ftp import CONTENTS, FILE, PASSWORD, USER, ProFTPD, Vsftpd

NAME = "ftp.test.example"
LOGIN = f"{USER}:{PASSWORD}"


def retrieved(client: ftplib.FTP, path: str) -> bytes:
    """
    What is in a file.
    """
    parts: list[bytes] = []
    client.retrbinary(f"RETR {path}", parts.append)
    return b"".join(parts)


def aborted(client: ftplib.FTP, server: ProFTPD | Vsftpd) -> list[str]:
    """
    Abort a transfer that has begun.

    @return: the codes of what is said to that, and to what is asked next: C{FEAT}, which the tunnel
        changes, and C{PBSZ}, which it answers itself.
    """
    large = server.home / "large"
    with large.open("wb") as file:
        file.truncate(100_000_000)
    large.chmod(0o644)
    data = client.transfercmd("RETR large")
    data.recv(1)
    client.putcmd("ABOR")
    data.close()
    replies = [client.getmultiline(), client.getmultiline()]
    for command in ("FEAT", "PBSZ 0", "TYPE I"):
        client.putcmd(command)
        replies.append(client.getmultiline())
    assert "AUTH" not in replies[2], replies
    return [each[:3] for each in replies]


def lftp(port: int, settings: Iterable[str], commands: str, login: str = "") -> list[str]:
    """
    The command that makes C{lftp} do something.
    """
    script = [f"set {setting}" for setting in ("net:max-retries 1", "net:timeout 10", *settings)]
    opening = f"open {login} ftp://127.0.0.1:{port}"
    return ["lftp", "-c", "; ".join([*script, opening, commands])]


class ClientModeTests(InteropTestCase):
    """
    Clients that know no TLS, and a server that takes no password, sends no list and no file
    without it, nor over a data connection that is not of the same session.
    """

    server: ClassVar[ProFTPD]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.server = stage.start(ProFTPD(stage.directory("proftpd"), stage.authority.issue(NAME)))

    def setUp(self) -> None:
        super().setUp()
        self.remote = f"127.0.0.1:{self.server.port}"

    def test_filesAreListedAndTransferred(self) -> None:
        """
        By ftplib with PASV, which even with TLS could not do it, as it resumes no sessions.
        """
        tunnel = self.clientMode(self.remote, NAME, "ftp")
        with ftplib.FTP(timeout=20) as client:
            client.connect("127.0.0.1", tunnel.port)
            client.login(USER, PASSWORD)
            self.assertIn(FILE, client.nlst())
            self.assertEqual(retrieved(client, FILE), CONTENTS)
            client.storbinary("STOR ftplib.txt", io.BytesIO(CONTENTS))
            self.assertEqual(retrieved(client, "ftplib.txt"), CONTENTS)
        self.assertEqual((self.server.home / "ftplib.txt").read_bytes(), CONTENTS)
        record("ftp", "client", self.server, "files listed and transferred by ftplib")

    def test_filesAreTransferredByCurl(self) -> None:
        """
        By curl with EPSV.
        """
        tunnel = self.clientMode(self.remote, NAME, "ftp")
        url = f"ftp://127.0.0.1:{tunnel.port}/"
        run(["curl", "-sS", "--user", LOGIN, url]).expect(FILE)
        run(["curl", "-sS", "--user", LOGIN, url + FILE]).expect(CONTENTS.decode())
        run(["curl", "-sS", "--user", LOGIN, "-T", "-", url + "curl.txt"], "sent").expect()
        self.assertEqual((self.server.home / "curl.txt").read_text(), "sent")
        record("ftp", "client", self.server, "files listed and transferred by curl")

    def test_filesAreTransferredByLftp(self) -> None:
        """
        By lftp, which keeps several connections.
        """
        tunnel = self.clientMode(self.remote, NAME, "ftp")
        login = f"--user {USER} --password '{PASSWORD}'"
        run(lftp(tunnel.port, ["ftp:ssl-allow false"], f"cls; cat {FILE}", login)).expect(
            FILE, CONTENTS.decode()
        )
        record("ftp", "client", self.server, "files listed and transferred by lftp")

    def test_aTransferCanBeAborted(self) -> None:
        """
        All replies keep their commands.
        """
        tunnel = self.clientMode(self.remote, NAME, "ftp")
        with ftplib.FTP(timeout=20) as client:
            client.connect("127.0.0.1", tunnel.port)
            client.login(USER, PASSWORD)
            found = aborted(client, self.server)
        # ProFTPD says that the transfer is over before or behind what it says to ABOR.
        self.assertEqual(sorted(found[:2]), ["226", "426"])
        self.assertEqual(found[2:], ["211", "200", "200"])

    def test_activeModeIsRefused(self) -> None:
        """
        With an answer, not with silence.
        """
        tunnel = self.clientMode(self.remote, NAME, "ftp")
        with ftplib.FTP(timeout=20) as client:
            client.connect("127.0.0.1", tunnel.port)
            client.login(USER, PASSWORD)
            client.set_pasv(False)
            self.assertRaises(ftplib.error_perm, client.nlst)

    def test_aServerThatIsSomebodyElseGetsNoPassword(self) -> None:
        """
        The client is not greeted with success, and the log names both.
        """
        tunnel = self.clientMode(self.remote, "other.test.example", "ftp")
        with ftplib.FTP(timeout=20) as client:
            self.assertRaises(ftplib.all_errors, client.connect, "127.0.0.1", tunnel.port)
        until(lambda: "other.test.example" in tunnel.log and NAME in tunnel.log, "the reason")


class VsftpdTests(InteropTestCase):
    """
    A server that is strict about how data connections end as well.
    """

    server: ClassVar[Vsftpd]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.server = stage.start(Vsftpd(stage.directory("vsftpd"), stage.authority.issue(NAME)))

    def test_aTransferCanBeAborted(self) -> None:
        """
        All replies keep their commands.
        """
        tunnel = self.clientMode(f"127.0.0.1:{self.server.port}", NAME, "ftp")
        with ftplib.FTP(timeout=20) as client:
            client.connect("127.0.0.1", tunnel.port)
            client.login()
            found = aborted(client, self.server)
        self.assertEqual(found, ["426", "225", "211", "200", "200"])

    def test_filesAreListedAndTransferred(self) -> None:
        """
        C{require_ssl_reuse}, C{strict_ssl_read_eof} and C{strict_ssl_write_shutdown} are satisfied.
        """
        tunnel = self.clientMode(f"127.0.0.1:{self.server.port}", NAME, "ftp")
        with ftplib.FTP(timeout=20) as client:
            client.connect("127.0.0.1", tunnel.port)
            client.login()
            self.assertIn(FILE, client.nlst())
            self.assertEqual(retrieved(client, FILE), CONTENTS)
            client.storbinary("STOR in/sent.txt", io.BytesIO(CONTENTS))
        self.assertEqual((self.server.home / "in" / "sent.txt").read_bytes(), CONTENTS)
        record("ftp", "client", self.server, "files listed and transferred by ftplib")

    def test_filesAreTransferredByCurl(self) -> None:
        """
        By curl with EPSV, one after the other on one control connection.
        """
        tunnel = self.clientMode(f"127.0.0.1:{self.server.port}", NAME, "ftp")
        url = f"ftp://127.0.0.1:{tunnel.port}/"
        run(["curl", "-sS", url, url + FILE]).expect(FILE, CONTENTS.decode())
        run(["curl", "-sS", "-T", "-", url + "in/curl.txt"], "sent").expect()
        self.assertEqual((self.server.home / "in" / "curl.txt").read_text(), "sent")
        record("ftp", "client", self.server, "files listed and transferred by curl")

    def test_filesAreTransferredByLftp(self) -> None:
        """
        By lftp, which does not wait for each reply.
        """
        tunnel = self.clientMode(f"127.0.0.1:{self.server.port}", NAME, "ftp")
        sent = self.server.directory / "lftp.txt"
        sent.write_bytes(CONTENTS)
        commands = f"cls; cat {FILE}; put -O in {sent}"
        run(lftp(tunnel.port, [], commands)).expect(FILE, CONTENTS.decode())
        self.assertEqual((self.server.home / "in" / "lftp.txt").read_bytes(), CONTENTS)
        record("ftp", "client", self.server, "files listed and transferred by lftp")


class ServerModeTests(InteropTestCase):
    """
    A server that knows no TLS, and clients that insist on it.
    """

    server: ClassVar[ProFTPD]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME, "127.0.0.1")
        cls.server = stage.start(ProFTPD(stage.directory("proftpd")))

    def setUp(self) -> None:
        super().setUp()
        self.anchors = self.stage.authority.anchors
        self.port = self.serverMode(f"127.0.0.1:{self.server.port}", NAME, "ftp").port

    def test_openssl(self) -> None:
        """
        C{s_client} verifies chain and name, and talks to ProFTPD.
        """
        talk = f"USER {USER}\r\nPASS {PASSWORD}\r\nQUIT\r\n"
        openssl(self.port, NAME, self.anchors, say=talk, starttls="ftp").expect(
            "Verification: OK", f"Verified peername: {NAME}", f"230 User {USER} logged in"
        )
        record("ftp", "server", "openssl", "login to ProFTPD")

    def test_gnutls(self) -> None:
        """
        C{gnutls-cli} verifies chain and name, and talks to ProFTPD.
        """
        talk = f"USER {USER}\r\nPASS {PASSWORD}\r\nQUIT\r\n"
        gnutls(self.port, NAME, self.anchors, say=talk, starttls="ftp").expect(
            "certificate is trusted", f"230 User {USER} logged in"
        )
        record("ftp", "server", "gnutls-cli", "login to ProFTPD")

    def test_curl(self) -> None:
        """
        curl protects data connections too, or does nothing at all.
        """
        login = ("--user", LOGIN)
        curl("ftp", self.port, NAME, self.anchors, *login).expect(FILE)
        curl("ftp", self.port, NAME, self.anchors, *login, path=f"/{FILE}").expect(
            CONTENTS.decode()
        )
        sending = ("-T", "-", "--disable-epsv")
        path = "/curl.txt"
        curl("ftp", self.port, NAME, self.anchors, *login, *sending, path=path, say="sent").expect()
        self.assertEqual((self.server.home / "curl.txt").read_text(), "sent")
        record("ftp", "server", "curl", "files listed and transferred")

    def test_lftp(self) -> None:
        """
        lftp verifies the certificates of data connections as well.
        """
        settings = [
            f"ssl:ca-file {self.anchors}",
            "ssl:verify-certificate true",
            "ftp:ssl-force true",
            "ftp:ssl-protect-data true",
            "ftp:ssl-protect-list true",
        ]
        login = f"--user {USER} --password '{PASSWORD}'"
        run(lftp(self.port, settings, f"cls; cat {FILE}", login)).expect(FILE, CONTENTS.decode())
        record("ftp", "server", "lftp", "files listed and transferred")

    def test_ftplib(self) -> None:
        """
        Python's own client verifies the address.
        """
        with ftplib.FTP_TLS(timeout=20, context=verified(self.anchors)) as client:
            client.connect("127.0.0.1", self.port)
            client.login(USER, PASSWORD)
            client.prot_p()
            self.assertIn(FILE, client.nlst())
            self.assertEqual(retrieved(client, FILE), CONTENTS)
            client.storbinary("STOR ftplib.txt", io.BytesIO(CONTENTS))
        self.assertEqual((self.server.home / "ftplib.txt").read_bytes(), CONTENTS)
        record("ftp", "server", "ftplib", "files listed and transferred")

    def test_aLoginBeforeTLSIsRefused(self) -> None:
        """
        The password is not forwarded.
        """
        with ftplib.FTP(timeout=20) as client:
            client.connect("127.0.0.1", self.port)
            self.assertRaises(ftplib.error_perm, client.login, USER, PASSWORD)
