"""
Programs that hand connections over to the pool, in every language that there are examples of, with
real servers and clients.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import pymysql
from twisted.trial.unittest import SkipTest

from tests.interop.harness import (
    InteropTestCase,
    Outcome,
    ServerCertificate,
    Stage,
    find,
    freePort,
    listening,
    run,
    until,
    verified,
)
from tests.interop.poolprocess import EXAMPLES, PoolProcess
from tests.interop.processes import SYSTEM_PATH
from tests.interop.servers import mariadb
from tests.interop.servers.dovecot import PASSWORD, USER, Dovecot
from tests.interop.servers.mariadb import MariaDB
from tests.interop.servers.nginx import NginxWeb
from tests.interop.servers.postfix import Postfix
from tests.interop.servers.postgresql import DATABASE, TITLE, PostgreSQL
from tests.interop.servers.postgresql import PASSWORD as DATABASE_PASSWORD
from tests.interop.servers.postgresql import USER as DATABASE_USER
from tlstunnel.client import PoolError, asServer
from tlstunnel.client.__main__ import GOOD, UNPROVEN

NAME = "www.test.example"
CLIENT = "john@test.example"
PATIENCE = 20.0

#: What C programs are compiled with, of the header too.
STRICT = "-Wall -Wextra -Werror -pedantic -std=c99 -D_GNU_SOURCE".split()


class PoolTests(InteropTestCase):
    """
    Base class: a pool with a server's identity and a client's.
    """

    pool: ClassVar[PoolProcess]
    certificate: ClassVar[ServerCertificate]
    client: ClassVar[ServerCertificate]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.certificate = stage.authority.issue(NAME)
        cls.client = stage.authority.issue(CLIENT)
        cls.pool = stage.start(PoolProcess(stage.directory("pool"), stage.authority.pool))
        cls.build(stage)

    @classmethod
    def build(cls, stage: Stage) -> None:
        """
        Make the program.
        """

    def example(self, name: str, *words: str, say: str = "", **variables: str) -> Outcome:
        """
        Run one of the examples in Python.
        """
        return self.pool.run([sys.executable, EXAMPLES / name, *words], say, **variables)

    def afterwards(self, accept: Callable[[socket.socket], None]) -> int:
        """
        Serve one connection in a thread.

        @return: the port.
        """
        server = socket.create_server(("127.0.0.1", 0))
        server.settimeout(PATIENCE)

        def serve() -> None:
            with server:
                sock, _ = server.accept()
                sock.settimeout(PATIENCE)
                with sock:
                    accept(sock)

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join, PATIENCE)
        port: int = server.getsockname()[1]
        return port


class CTests:
    """
    How to make programs in C.
    """

    @staticmethod
    def compiled(stage: Stage, name: str, *options: str) -> Path:
        """
        A program, whose compiler has nothing to complain of.
        """
        find("gcc", "gcc")
        program = stage.base / name
        source = str(EXAMPLES / f"{name}.c")
        run(["gcc", *STRICT, *options, "-o", str(program), source]).expect()
        return program


class HTTPS:
    """
    What a program that fetches pages has to get right, in whatever language it is.
    """

    class Tests(PoolTests):
        """
        To be subclassed.
        """

        nginx: ClassVar[NginxWeb]

        @classmethod
        def prepare(cls, stage: Stage) -> None:
            super().prepare(stage)
            cls.nginx = stage.start(NginxWeb(stage.directory("nginx"), cls.certificate))

        def fetch(self, port: int, name: str) -> Outcome:
            """
            Run the program.
            """
            raise NotImplementedError

        def test_aPageIsFetched(self) -> None:
            """
            From a server that proves to be who it has to be.
            """
            self.fetch(self.nginx.port, NAME).expect(" TLSv1.3>")

        def test_anotherServerIsRefused(self) -> None:
            """
            Before anything was said to it; the program is told why.
            """
            outcome = self.fetch(self.nginx.port, "other.test.example")
            outcome.expectFailure("identity", f'the certificate is for "{NAME}"')

        def test_aPageThatIsCutOffIsAnError(self) -> None:
            """
            Although what is there looks whole, as a page of HTTP/1.0 ends with its connection.
            """
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate.chain, self.certificate.key)

            def serve(sock: socket.socket) -> None:
                with context.wrap_socket(sock, server_side=True) as tls:
                    tls.recv(65536)
                    tls.sendall(b"HTTP/1.0 200 OK\r\n\r\nhalf")
                    # Without an end of TLS.
                    os.close(tls.detach())

            self.fetch(self.afterwards(serve), NAME).expectFailure("truncated")


class CHTTPSTests(CTests, HTTPS.Tests):
    """
    C.
    """

    program: ClassVar[Path]

    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.program = cls.compiled(stage, "https")

    def fetch(self, port: int, name: str) -> Outcome:
        return self.pool.run([self.program, "127.0.0.1", str(port), "/", name])

    def test_nothingIsWrongWithItsMemory(self) -> None:
        """
        Nor is a descriptor left, says valgrind, whether there is TLS or not.
        """
        if shutil.which("valgrind", path=SYSTEM_PATH) is None:
            raise SkipTest("NOT TESTED: valgrind is not installed")
        checks = "valgrind -q --error-exitcode=99 --leak-check=full --track-fds=yes".split()
        for name in NAME, "other.test.example":
            words: list[str | Path] = [
                *checks,
                self.program,
                "127.0.0.1",
                str(self.nginx.port),
                "/",
                name,
            ]
            outcome = self.pool.run(words)
            self.assertNotEqual(outcome.code, 99, str(outcome))
            self.assertNotIn("Open AF_", outcome.text)


class GoHTTPSTests(HTTPS.Tests):
    """
    Go, by C{net/http}.
    """

    program: ClassVar[Path]

    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.program = stage.base / "https"
        source = str(EXAMPLES / "https.go")
        if shutil.which("go", path=SYSTEM_PATH):
            cache = {"GOCACHE": str(stage.directory("cache")), "GO111MODULE": "off"}
            words = ["go", "build", "-o", str(cls.program), source]
            run(words, seconds=300, environment=cache).expect()
        else:
            find("gccgo", "gccgo")
            run(["gccgo", "-Wall", "-o", str(cls.program), source], seconds=120).expect()

    def fetch(self, port: int, name: str) -> Outcome:
        return self.pool.run([self.program, f"https://127.0.0.1:{port}/", name])


class PHPHTTPSTests(HTTPS.Tests):
    """
    PHP.
    """

    def fetch(self, port: int, name: str) -> Outcome:
        find("php", "php-cli")
        return self.pool.run(["php", EXAMPLES / "https.php", "127.0.0.1", str(port), "/", name])


class PythonHTTPSTests(HTTPS.Tests):
    """
    Python, by C{http.client}.
    """

    def fetch(self, port: int, name: str) -> Outcome:
        return self.example("httpclient_example.py", "127.0.0.1", str(port), "/", name)


class ShellHTTPSTests(HTTPS.Tests):
    """
    The command, between standard input and output.
    """

    def fetch(self, port: int, name: str) -> Outcome:
        words = [sys.executable, "-m", "tlstunnel.client", "connect", "127.0.0.1", str(port)]
        request = f"GET / HTTP/1.0\r\nHost: {name}\r\n\r\n"
        return self.pool.run([*words, "--remote", name], request)

    def test_itsCodesTell(self) -> None:
        """
        What a script has to know.
        """
        self.assertEqual(self.fetch(self.nginx.port, "other.test.example").code, UNPROVEN)

    def test_programsReadFromADescriptor(self) -> None:
        """
        And know who is there.
        """
        script = 'printf "GET / HTTP/1.0\\r\\n\\r\\n" >&7; cat <&6; echo "$TLS_IDENTITY"'
        words = [sys.executable, "-m", "tlstunnel.client", "connect", "127.0.0.1"]
        words += [str(self.nginx.port), "--remote", NAME, "--", "sh", "-c", script]
        self.pool.run(words).expect(" TLSv1.3>", f"{NAME}\n")


class MailTests(PoolTests):
    """
    STARTTLS of mail servers, by the program and by the pool.
    """

    postfix: ClassVar[Postfix]
    dovecot: ClassVar[Dovecot]

    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.postfix = stage.start(Postfix(stage.directory("postfix"), cls.certificate))
        cls.dovecot = stage.start(Dovecot(stage.directory("dovecot"), cls.certificate))

    def test_aMailIsSentBySmtplib(self) -> None:
        """
        Which asks for STARTTLS itself.
        """
        port = str(self.postfix.port)
        words = ["127.0.0.1", port, "john@sender.test", "reader@test.example", NAME]
        mail = "Subject: by the pool\n\nWords.\n"
        self.example("smtplib_example.py", *words, say=mail).expect(f"this is {NAME}")
        self.assertIn("TLSv1.3", str(self.postfix.received("by the pool")["Received"]))

    def test_smtplibTakesNothingThatCameBeforeTLS(self) -> None:
        """
        Somebody has put words behind the answer to STARTTLS (CVE-2011-0411).
        """

        def serve(sock: socket.socket) -> None:
            lines = sock.makefile("rb")
            sock.sendall(b"220 here\r\n")
            lines.readline()
            sock.sendall(b"250-here\r\n250 STARTTLS\r\n")
            lines.readline()
            sock.sendall(b"220 go ahead\r\n250 injected\r\n")
            lines.read()

        port = str(self.afterwards(serve))
        words = ["127.0.0.1", port, "john@sender.test", "reader@test.example", NAME]
        self.example("smtplib_example.py", *words).expectFailure("read-ahead")

    def test_foldersAreListedByImaplib(self) -> None:
        """
        Which knows nothing of STARTTLS.
        """
        words = [self.dovecot.HOST, str(self.dovecot.ports["imap"]), USER, NAME]
        self.example("imaplib_example.py", *words, say=f"{PASSWORD}\n").expect("INBOX")

    def test_aShellAsksForCapabilities(self) -> None:
        """
        Of the server inside TLS.
        """
        words: list[str | Path] = [EXAMPLES / "smtp.sh", "127.0.0.1", str(self.postfix.port), NAME]
        outcome = self.pool.run(words)
        text = outcome.expect(f"this is {NAME}, TLSv1.3", "250-PIPELINING", "221 ")
        self.assertNotIn("STARTTLS", text)


class DatabaseTests(PoolTests):
    """
    PostgreSQL.
    """

    postgresql: ClassVar[PostgreSQL]

    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.postgresql = stage.start(PostgreSQL(stage.directory("postgresql"), cls.certificate))

    def test_aRowIsSelectedByPsycopg(self) -> None:
        """
        From a server that wants TLS.
        """
        for name, isGood in (NAME, True), ("other.test.example", False):
            outcome = self.example(
                *("psycopg_example.py", "127.0.0.1", str(self.postgresql.port), DATABASE_USER),
                *(DATABASE, "SELECT title FROM book", name),
                PGPASSWORD=DATABASE_PASSWORD,
            )
            if isGood:
                outcome.expect(TITLE)
            else:
                outcome.expectFailure("identity", "the certificate is for")


class MySQLTests(PoolTests):
    """
    MySQL, in which the server speaks before TLS.
    """

    server: ClassVar[MariaDB]
    plain: ClassVar[MariaDB]

    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.server = stage.start(MariaDB(stage.directory("mariadb"), cls.certificate))
        cls.plain = stage.start(MariaDB(stage.directory("plain")))

    def test_aRowIsSelectedByPyMySQL(self) -> None:
        """
        From a server that wants TLS.
        """
        for user in mariadb.PLUGINS:
            self.example(
                *("pymysql_example.py", "127.0.0.1", str(self.server.port), user),
                *(mariadb.DATABASE, "SELECT title FROM book", NAME),
                say=f"{mariadb.PASSWORD}\n",
            ).expect(mariadb.TITLE)

    def test_aServerGreetsAndKnowsTheClientAfterwards(self) -> None:
        """
        A program passes on what a server says that knows no TLS; it has its plaintext at once, and
        knows who is there when the client has upgraded.
        """
        proven = []

        def copy(source: socket.socket, target: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    target.sendall(data)
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)

        def serve(sock: socket.socket) -> None:
            path = str(self.pool.socket)
            with (
                asServer(sock, NAME, remote="@test.example", starttls="mysql", path=path) as plain,
                socket.create_connection(("127.0.0.1", self.plain.port), PATIENCE) as server,
            ):
                self.assertRaises(PoolError, lambda: plain.proven)
                plain.sendall(server.recv(65536))
                proven.append(plain.verify(PATIENCE))
                down = threading.Thread(target=copy, args=(server, plain))
                down.start()
                copy(plain, server)
                down.join()

        context = verified(self.certificate.anchors)
        context.load_cert_chain(self.client.chain, self.client.key)
        connection = pymysql.connect(
            host=NAME,
            user="native",
            password=mariadb.PASSWORD,
            database=mariadb.DATABASE,
            ssl=context,
            defer_connect=True,
        )
        port = self.afterwards(serve)
        connection.connect(sock=socket.create_connection(("127.0.0.1", port), PATIENCE))
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT title FROM book")
            self.assertEqual(cursor.fetchone(), (mariadb.TITLE,))
        self.assertEqual([each.remote for each in proven], [CLIENT])


class Echo:
    """
    What a server has to get right, in whatever language it is.
    """

    class Tests(PoolTests):
        """
        To be subclassed.
        """

        def command(self, port: int, *selector: str) -> Sequence[str | Path]:
            """
            How to start the server.
            """
            raise NotImplementedError

        def server(self, *selector: str) -> int:
            """
            Start the server.

            @return: its port.
            """
            port = freePort()
            words = [str(each) for each in self.command(port, *selector)]
            environment = {**os.environ, **self.pool.environment}
            process = subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL)
            self.addCleanup(process.wait)
            self.addCleanup(process.kill)
            until(lambda: listening(port), "the example listens")
            return port

        def converse(self, port: int, isKnown: bool) -> bytes:
            """
            Speak with it by Python's own TLS.
            """
            context = verified(self.certificate.anchors)
            if isKnown:
                context.load_cert_chain(self.client.chain, self.client.key)
            sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
            with context.wrap_socket(sock, server_hostname=NAME) as tls:
                file = tls.makefile("rb")
                said = file.readline()
                tls.sendall(b"question\n")
                said += file.readline()
                tls.unwrap()
            return said

        def test_whoShowsACertificateIsKnown(self) -> None:
            """
            And nobody comes who shows none, time after time.
            """
            port = self.server("@test.example")
            for _ in range(2):
                self.assertEqual(self.converse(port, True), f"hello, {CLIENT}\nquestion\n".encode())
                self.assertRaises(OSError, self.converse, port, False)

        def test_anybodyMayCome(self) -> None:
            """
            Where no selector says otherwise; nobody is known then.
            """
            said = self.converse(self.server(), False)
            self.assertEqual(said, b"hello, whoever you are\nquestion\n")

        def test_bothSidesByThePool(self) -> None:
            """
            A client who hands over, too, and ends what it says.
            """
            port = str(self.server("@test.example"))
            words = [sys.executable, "-m", "tlstunnel.client", "connect", "127.0.0.1", port]
            words += ["--remote", NAME, "--local", CLIENT, "--half-close"]
            said = self.pool.run(words, "question\n").expect()
            self.assertEqual(said, f"hello, {CLIENT}\nquestion\n")


class CEchoTests(CTests, Echo.Tests):
    """
    C.
    """

    program: ClassVar[Path]

    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.program = cls.compiled(stage, "echo")

    def command(self, port: int, *selector: str) -> Sequence[str | Path]:
        return [self.program, str(port), NAME, *selector]


class PythonEchoTests(Echo.Tests):
    """
    Python, by C{socketserver}.
    """

    def command(self, port: int, *selector: str) -> Sequence[str | Path]:
        return [sys.executable, EXAMPLES / "server_example.py", str(port), NAME, *selector]


class InetdTests(PoolTests):
    """
    A server that inetd starts, in a protocol with STARTTLS.
    """

    def test_aServerInShellKnowsWhoIsThere(self) -> None:
        """
        smtplib comes with a certificate.
        """
        script = """
            printf '220 here\\r\\n'
            while read -r line; do
                case $line in
                    [Ee][Hh][Ll][Oo]*) printf '250 hello, %s\\r\\n' "$REMOTE_USER" ;;
                    [Qq]*) printf '221 bye\\r\\n'; exit ;;
                    *) printf '500 what?\\r\\n' ;;
                esac
            done
        """
        words = [sys.executable, "-m", "tlstunnel.client", "accept", "--local", NAME]
        words += ["--remote", "@test.example", "--starttls", "smtp", "--", "sh", "-c", script]
        environment = {**os.environ, **self.pool.environment}
        codes = []

        def serve(sock: socket.socket) -> None:
            stream = sock.detach()
            with subprocess.Popen(words, stdin=stream, stdout=stream, env=environment) as process:
                os.close(stream)
            codes.append(process.returncode)

        context = verified(self.certificate.anchors)
        context.load_cert_chain(self.client.chain, self.client.key)
        port = self.afterwards(serve)
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
            # The name to verify, which smtplib takes from here.
            client._host = NAME  # type: ignore[attr-defined]
            client.starttls(context=context)
            code, reply = client.ehlo()
            client.docmd("QUIT")
            # By itself smtplib leaves without close_notify, which is a cut.
            assert isinstance(client.sock, ssl.SSLSocket)
            client.sock.unwrap()
            client.close()
        self.assertEqual((code, reply), (250, f"hello, {CLIENT}".encode()))
        until(lambda: bool(codes), "the server ends")
        self.assertEqual(codes, [GOOD])
