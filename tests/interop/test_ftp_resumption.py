"""
ftp in server mode, where data connections resume the session of their control connection: real
clients that insist on it, that do it, and that do not.
"""

from __future__ import annotations

import ftplib
import json
import os
import ssl
from collections.abc import Iterable
from typing import Any, ClassVar

from tests.interop.harness import (
    InteropTestCase,
    Stage,
    TunnelProcess,
    curl,
    find,
    record,
    run,
    until,
    verified,
)
from tests.interop.servers.ftp import CONTENTS, FILE, PASSWORD, USER, ProFTPD

NAME = "ftp.test.example"

#: PHP's own client, which opens no data connection where there is no session to resume.
PHP = """
$client = ftp_ssl_connect("127.0.0.1", (int) getenv("FTP_PORT"), 20);
ftp_login($client, getenv("FTP_USER"), getenv("FTP_PASSWORD")) or exit(1);
ftp_pasv($client, true) or exit(2);
print_r(ftp_nlist($client, "."));
$file = tmpfile();
ftp_fget($client, $file, getenv("FTP_FILE"), FTP_BINARY) or exit(3);
rewind($file);
ftp_fput($client, "php.txt", $file, FTP_BINARY) or exit(4);
print_r(ftp_nlist($client, "."));
"""


class Resuming(ftplib.FTP_TLS):
    """
    Python's client, if it did what others do.
    """

    def ntransfercmd(self, cmd: str, rest: Any = None) -> Any:
        """
        As the original, with the session of the control connection.
        """
        connection, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        control: Any = self.sock
        secured = self.context.wrap_socket(
            connection, server_hostname=self.host, session=control.session
        )
        return secured, size


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

    def serve(self, *options: str) -> TunnelProcess:
        """
        A tunnel before the server.
        """
        remote = f"127.0.0.1:{self.server.port}"
        return self.serverMode(remote, NAME, "ftp", "--log-json", *options)

    def assertData(self, tunnel: TunnelProcess, *expected: tuple[Any, str]) -> None:
        """
        These data connections were made: whether a session was resumed, and how they ended.
        """

        def found() -> Iterable[tuple[Any, str]]:
            for text in tunnel.log.splitlines():
                event = json.loads(text) if text.startswith("{") else {}
                if event.get("dialect") == "ftp-data":
                    yield event.get("resumed"), event["outcome"]

        until(lambda: len(list(found())) >= len(expected), "the data connections in the log")
        self.assertEqual(list(found()), list(expected))

    def test_curl(self) -> None:
        """
        In both versions of TLS; in 1.2 it knows no tickets.
        """
        tunnel = self.serve("--dialect-option", "require-resumption")
        for version in ("--tls-max", "1.2"), ("--tlsv1.3",):
            words = ("--user", f"{USER}:{PASSWORD}", *version)
            path = f"/{FILE}"
            curl("ftp", tunnel.port, NAME, self.anchors, *words).expect(FILE)
            curl("ftp", tunnel.port, NAME, self.anchors, *words, path=path).expect(
                CONTENTS.decode()
            )
        self.assertData(tunnel, *[(True, "clean")] * 4)
        record("ftp", "server", "curl", "data connections resume the session")

    def test_lftp(self) -> None:
        """
        With GnuTLS.
        """
        tunnel = self.serve("--dialect-option", "require-resumption")
        settings = (
            "net:max-retries 1",
            "net:timeout 10",
            f"ssl:ca-file {self.anchors}",
            "ftp:ssl-force true",
            "ftp:ssl-protect-data true",
        )
        script = [f"set {each}" for each in settings]
        opening = f"open --user {USER} --password '{PASSWORD}' ftp://127.0.0.1:{tunnel.port}"
        commands = "; ".join([*script, opening, f"cls; cat {FILE}"])
        run(["lftp", "-c", commands]).expect(FILE, CONTENTS.decode())
        self.assertData(tunnel, *[(True, "clean")] * 2)
        record("ftp", "server", "lftp", "data connections resume the session")

    def test_php(self) -> None:
        """
        Lists, one file each way.
        """
        tunnel = self.serve("--dialect-option", "require-resumption")
        told = {
            "FTP_PORT": str(tunnel.port),
            "FTP_USER": USER,
            "FTP_PASSWORD": PASSWORD,
            "FTP_FILE": FILE,
        }
        run([find("php", "php-cli"), "-r", PHP], environment={**os.environ, **told}).expect(
            FILE, "php.txt"
        )
        self.assertEqual((self.server.home / "php.txt").read_bytes(), CONTENTS)
        self.assertData(tunnel, *[(True, "clean")] * 4)
        record("ftp", "server", "php", "data connections resume the session")

    def client(self, tunnel: TunnelProcess, kind: type[ftplib.FTP_TLS], version: Any) -> Any:
        """
        One that has logged in.
        """
        context = verified(self.anchors)
        context.maximum_version = version
        client = kind(timeout=20, context=context)
        self.addCleanup(client.close)
        client.connect("127.0.0.1", tunnel.port)
        client.login(USER, PASSWORD)
        client.prot_p()
        return client

    def test_ftplibCanResume(self) -> None:
        """
        And where it has done so once, whoever does not is somebody else.
        """
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            tunnel = self.serve()
            client = self.client(tunnel, Resuming, version)
            self.assertIn(FILE, client.nlst())
            self.assertIn(FILE, client.nlst())
            client.ntransfercmd = lambda *words, it=client: ftplib.FTP_TLS.ntransfercmd(it, *words)
            self.assertRaises((ssl.SSLError, OSError), client.nlst)
            self.assertData(tunnel, (True, "clean"), (True, "clean"), (None, "identity"))
        record("ftp", "server", "ftplib", "data connections resume the session")

    def test_anUploadNeedReadNothing(self) -> None:
        """
        Of a client that has closed its socket, with a ticket in it that it has not read, the system
        resets the connection: so do those of Ruby and of Java.
        """
        tunnel = self.serve("--dialect-option", "allow-truncated-uploads")
        client = self.client(tunnel, Resuming, ssl.TLSVersion.TLSv1_3)
        data = client.transfercmd("STOR unread.txt")
        data.sendall(CONTENTS)
        data.close()
        self.assertEqual(client.getline()[:3], "226")
        self.assertEqual((self.server.home / "unread.txt").read_bytes(), CONTENTS)

    def test_ftplibNeedNot(self) -> None:
        """
        As it never does, in no version, unless the administrator says otherwise.
        """
        tunnel = self.serve()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            client = self.client(tunnel, ftplib.FTP_TLS, version)
            self.assertIn(FILE, client.nlst())
            self.assertIn(FILE, client.nlst())
        self.assertData(tunnel, *[(False, "clean")] * 4)

    def test_ftplibMustWhereThatIsDemanded(self) -> None:
        """
        By an option: it gets no list.
        """
        tunnel = self.serve("--dialect-option", "require-resumption")
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            client = self.client(tunnel, ftplib.FTP_TLS, version)
            self.assertRaises((ssl.SSLError, OSError), client.nlst)
        self.assertData(tunnel, *[(None, "identity")] * 2)

    def test_theSessionOfAnotherControlConnectionIsNone(self) -> None:
        """
        Even of the same user in the same program.
        """
        tunnel = self.serve("--dialect-option", "require-resumption")
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = verified(self.anchors)
            context.maximum_version = version
            one, other = (self.client(tunnel, Resuming, version) for _ in "12")
            # Sessions belong to a context.
            one.context = other.context
            connection, _ = ftplib.FTP.ntransfercmd(one, "NLST")
            self.addCleanup(connection.close)
            with self.assertRaises((ssl.SSLError, OSError)):
                other.context.wrap_socket(
                    connection, server_hostname="127.0.0.1", session=other.sock.session
                ).recv(1)
        self.assertData(tunnel, *[(None, "identity")] * 2)
