"""
mysql with MariaDB and MySQL, over each of their authentication plugins, in both modes.

C{caching_sha2_password} sends the password itself, at least once, over what it takes for secure:
TLS or a UNIX socket.  Where one leg is TLS and the other TCP, client and server do not agree on
that, and the tunnel decrypts or encrypts the password.  C{sha256_password}, which nobody should use
any more, takes only TLS for secure.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pymysql

from tests.interop.harness import (
    InteropTestCase,
    Outcome,
    ServerCertificate,
    Stage,
    openssl,
    record,
    until,
)
from tests.interop.mysqlclients import (
    buildGo,
    byGo,
    byNode,
    client,
    connected,
    own,
    selected,
    titleBy,
)
from tests.interop.servers import mariadb, mysql
from tests.interop.servers.mariadb import TITLE, MariaDB
from tests.interop.servers.mysql import MySQL
from tests.protocols.mysqlpackets import ERR, SHA256, greeting, packet

NAME = "db.test.example"

#: A packet that is no HandshakeResponse, at which a server closes.
TALK = "\x01\0\0\x02\0"

NO_TLS = ("--skip-ssl",)


class MariaDBClientModeTests(InteropTestCase):
    """
    Clients that know no TLS, and a server that lets nobody in without.
    """

    server: ClassVar[MariaDB]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        certificate = stage.authority.issue(NAME)
        cls.server = stage.start(MariaDB(stage.directory("mariadb"), certificate))

    def setUp(self) -> None:
        super().setUp()
        self.remote = f"127.0.0.1:{self.server.port}"

    def test_aRowIsSelected(self) -> None:
        """
        By the server's own client, which would be turned away without the tunnel.
        """
        tunnel = self.clientMode(self.remote, NAME, "mysql")
        for user, plugin in mariadb.PLUGINS.items():
            client(user, self.server.port, *NO_TLS).expectFailure()
            client(user, tunnel.port, *NO_TLS).expect(TITLE)
            record("mysql", "client", self.server, f"row selected by mariadb, {plugin}")

    def test_aRowIsSelectedThroughASocket(self) -> None:
        """
        The app's side is a UNIX socket.
        """
        tunnel = self.clientMode(
            self.remote, NAME, "mysql", socket=self.stage.directory("mysql.socket")
        )
        assert tunnel.socket is not None
        for user in mariadb.PLUGINS:
            client(user, tunnel.socket, *NO_TLS).expect(TITLE)
        record("mysql", "client", self.server, "row selected by mariadb on a UNIX socket")

    def test_aRowIsSelectedWithCompression(self) -> None:
        """
        The packets of which start when authentication ends.
        """
        tunnel = self.clientMode(self.remote, NAME, "mysql")
        client("native", tunnel.port, *NO_TLS, "--compress").expect(TITLE)
        record("mysql", "client", self.server, "row selected by mariadb, compressed")

    def test_aRowIsSelectedByPyMySQL(self) -> None:
        """
        By another implementation.
        """
        tunnel = self.clientMode(self.remote, NAME, "mysql")
        for user, plugin in mariadb.PLUGINS.items():
            self.assertEqual(selected(user, tunnel.port), TITLE)
            record("mysql", "client", self.server, f"row selected by PyMySQL, {plugin}")

    def test_aWrongPasswordIsAnError(self) -> None:
        """
        The server's own words come through, in their place in the sequence.
        """
        tunnel = self.clientMode(self.remote, NAME, "mysql")
        for user in mariadb.PLUGINS:
            client(user, tunnel.port, *NO_TLS, "--password=wrong").expectFailure("ERROR 1045")

    def test_aServerThatIsSomebodyElseGetsNoName(self) -> None:
        """
        The client is told no more than that TLS failed, and the log names both.
        """
        tunnel = self.clientMode(self.remote, "other.test.example", "mysql")
        client("native", tunnel.port, *NO_TLS).expectFailure()
        until(lambda: "other.test.example" in tunnel.log and NAME in tunnel.log, "the reason")


class MariaDBServerModeTests(InteropTestCase):
    """
    A server that knows no TLS, and clients that insist on it.
    """

    server: ClassVar[MariaDB]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME, "127.0.0.1", "localhost")
        cls.server = stage.start(MariaDB(stage.directory("mariadb")))

    def setUp(self) -> None:
        super().setUp()
        self.anchors = self.stage.authority.anchors
        self.port = self.serverMode(f"127.0.0.1:{self.server.port}", NAME, "mysql").port
        self.verified = (f"--ssl-ca={self.anchors}", "--ssl-verify-server-cert")

    def test_openssl(self) -> None:
        """
        C{s_client} verifies chain and name.
        """
        said = openssl(self.port, NAME, self.anchors, say=TALK, starttls="mysql").text
        self.assertIn("Verification: OK", said)
        self.assertIn(f"Verified peername: {NAME}", said)
        record("mysql", "server", "openssl", "verified")

    def test_mariadb(self) -> None:
        """
        C{--ssl-verify-server-cert} accepts nothing less.
        """
        for user, plugin in mariadb.PLUGINS.items():
            client(user, self.port, *self.verified).expect(TITLE)
            record("mysql", "server", "mariadb", f"row selected, {plugin}")

    def test_mariadbWithCompression(self) -> None:
        """
        The packets of which start when authentication ends.
        """
        client("native", self.port, *self.verified, "--compress").expect(TITLE)
        record("mysql", "server", "mariadb", "row selected, compressed")

    def test_aBackendOnASocket(self) -> None:
        """
        The plain leg does not leave the files of this host.
        """
        port = self.serverMode(str(self.server.socket), NAME, "mysql").port
        client("edwards", port, *self.verified).expect(TITLE)
        record("mysql", "server", "mariadb", "row selected from a UNIX socket")

    def test_pymysql(self) -> None:
        """
        PyMySQL verifies the address.
        """
        for user, plugin in mariadb.PLUGINS.items():
            self.assertEqual(selected(user, self.port, self.anchors), TITLE)
            record("mysql", "server", "PyMySQL", f"row selected, {plugin}")

    def test_aWrongPasswordIsAnError(self) -> None:
        """
        The server's own words come through, in their place in the sequence.
        """
        for user in mariadb.PLUGINS:
            wrong = client(user, self.port, *self.verified, "--password=wrong")
            wrong.expectFailure("ERROR 1045")

    def test_aServerThatIsFullSaysSoInsideTLS(self) -> None:
        """
        MariaDB greets with an error, which both clients get as the answer to their login.
        """
        with ExitStack() as taken:
            greeting = b""
            while greeting[4:5] != b"\xff":
                address = ("127.0.0.1", self.server.port)
                taker = taken.enter_context(socket.create_connection(address, timeout=20))
                greeting = taker.recv(4096)
            client("native", self.port, *self.verified).expectFailure("ERROR 1040")
            error = self.assertRaises(
                pymysql.err.Error, selected, "native", self.port, self.anchors
            )
        self.assertEqual(error.args[0], 1040)

    def test_aLoginBeforeTLSIsRefused(self) -> None:
        """
        The client is told what is missing, and nothing is forwarded.
        """
        client("native", self.port, *NO_TLS).expectFailure("3159")
        self.assertNotIn("user: 'native'", self.server.log)


class MySQLClientModeTests(InteropTestCase):
    """
    The server by whose plugins passwords travel.
    """

    server: ClassVar[MySQL]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        certificate = stage.authority.issue(NAME)
        cls.server = stage.start(MySQL(stage.directory("mysql"), certificate))

    def setUp(self) -> None:
        super().setUp()
        self.remote = f"127.0.0.1:{self.server.port}"
        self.server.forget()

    def socket(self) -> Path:
        """
        Where a tunnel listens on a UNIX socket.
        """
        path = self.stage.directory("mysql.socket")
        self.clientMode(self.remote, NAME, "mysql", socket=path)
        return path

    def test_aRowIsSelectedThroughASocket(self) -> None:
        """
        The first login with the whole password, over TLS on the one leg and files on the other.
        """
        client("caching", self.socket(), *NO_TLS).expect(TITLE)
        record("mysql", "client", self.server, "row selected by mariadb, caching_sha2_password")

    def test_aRowIsSelectedByMySQL(self) -> None:
        """
        The same by MySQL's own client.
        """
        own(f"--socket={self.socket()}", "--ssl-mode=DISABLED", user="caching").expect(TITLE)
        record("mysql", "client", self.server, "row selected by mysql, caching_sha2_password")

    def test_aRowIsSelectedByPyMySQL(self) -> None:
        """
        The same by another implementation.
        """
        self.assertEqual(selected("caching", self.socket()), TITLE)
        record("mysql", "client", self.server, "row selected by PyMySQL, caching_sha2_password")

    def test_overTCPMariaDBsClientEncryptsThePassword(self) -> None:
        """
        With the tunnel's key, which it asks for by both plugins.
        """
        port = self.clientMode(self.remote, NAME, "mysql").port
        for user, plugin in mysql.PLUGINS.items():
            client(user, port, *NO_TLS).expect(TITLE)
            client(user, port, *NO_TLS, "--password=wrong").expectFailure("ERROR 1045")
            record("mysql", "client", self.server, f"row selected by mariadb, {plugin} on TCP")

    def test_overTCPMySQLEncryptsThePassword(self) -> None:
        """
        The same by MySQL's own client, which has to be told to ask for a key.
        """
        port = self.clientMode(self.remote, NAME, "mysql").port
        where = ("--protocol=TCP", "--host=127.0.0.1", f"--port={port}", "--ssl-mode=DISABLED")
        own(*where, user="caching").expectFailure("ERROR 2061")
        for user, plugin in mysql.PLUGINS.items():
            own(*where, "--get-server-public-key", user=user).expect(TITLE)
            record("mysql", "client", self.server, f"row selected by mysql, {plugin} on TCP")

    def test_overTCPPyMySQLEncryptsThePassword(self) -> None:
        """
        The same by another implementation, which keeps the key for its next connection.
        """
        port = self.clientMode(self.remote, NAME, "mysql").port
        for user, plugin in mysql.PLUGINS.items():
            with connected(user, port) as connection:
                self.assertEqual(titleBy(connection), TITLE)
                self.server.forget()
                connection.connect()
                self.assertEqual(titleBy(connection), TITLE)
            record("mysql", "client", self.server, f"row selected by PyMySQL, {plugin} on TCP")

    def test_allWorkersHaveTheSameKey(self) -> None:
        """
        A program that keeps it may come to another one.
        """
        port = self.clientMode(self.remote, NAME, "mysql", "--workers", "2").port
        with connected("caching", port) as connection:
            for _ in range(8):
                self.server.forget()
                connection.connect()
                self.assertEqual(titleBy(connection), TITLE)

    def test_overTCPNodeEncryptsThePassword(self) -> None:
        """
        The same by mysql2 of Node.js.
        """
        port = self.clientMode(self.remote, NAME, "mysql").port
        for user, plugin in mysql.PLUGINS.items():
            byNode(user, port).expect(TITLE)
            record("mysql", "client", self.server, f"row selected by mysql2, {plugin} on TCP")

    def test_overTCPGoEncryptsThePassword(self) -> None:
        """
        The same by go-sql-driver.
        """
        port = self.clientMode(self.remote, NAME, "mysql").port
        program = buildGo(self.stage.directory("go"))
        for user, plugin in mysql.PLUGINS.items():
            byGo(program, user, port).expect(TITLE)
            what = f"row selected by go-sql-driver, {plugin} on TCP"
            record("mysql", "client", self.server, what)

    def test_aProgramMayBeginWithTheOutdatedPlugin(self) -> None:
        """
        Whatever the server begins with.
        """
        port = self.clientMode(self.remote, NAME, "mysql").port
        where = ("--protocol=TCP", "--host=127.0.0.1", f"--port={port}", "--ssl-mode=DISABLED")
        own(*where, "--default-auth=sha256_password", user="outdated").expect(TITLE)

    def test_withTheOptionOnlyFastLoginsWork(self) -> None:
        """
        A server on TLS has no key to offer; once it knows the password, that is not needed.
        """
        words = ("--dialect-option", "no-full-authentication")
        port = self.clientMode(self.remote, NAME, "mysql", *words).port
        self.assertRaises(pymysql.err.Error, selected, "caching", port)
        path = self.socket()
        selected("caching", path)
        self.assertEqual(selected("caching", port), TITLE)
        client("outdated", path, *NO_TLS).expect(TITLE)
        client("outdated", port, *NO_TLS).expectFailure("Access denied")


class OldMySQL(Thread):
    """
    As MySQL up to 8.0 begins that has C{default_authentication_plugin = sha256_password}: it takes
    one login within TLS, and nothing after that.

    @ivar login: that.
    """

    def __init__(self, certificate: ServerCertificate) -> None:
        super().__init__(daemon=True)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate.chain, certificate.key)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(20)
        self.port: int = self._listening.getsockname()[1]
        self.login = b""

    def run(self) -> None:
        with self._listening:
            plain, _ = self._listening.accept()
        plain.settimeout(20)
        plain.sendall(packet(0, greeting(SHA256)))
        plain.recv(36, socket.MSG_WAITALL)
        with self._context.wrap_socket(plain, server_side=True) as tls:
            self.login = tls.recv(4096)
            tls.sendall(packet(3, ERR))


class OldMySQLTests(InteropTestCase):
    """
    A server that begins with the outdated plugin.
    """

    certificate: ClassVar[ServerCertificate]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.certificate = stage.authority.issue(NAME)

    def setUp(self) -> None:
        super().setUp()
        self.server = OldMySQL(self.certificate)
        self.server.start()
        self.addCleanup(self.server.join, 30)
        self.port = self.clientMode(f"127.0.0.1:{self.server.port}", NAME, "mysql").port

    def assertPassword(self, outcome: Outcome) -> None:
        """
        The client asked for a key in its login, in which the server has the password.
        """
        outcome.expectFailure("Access denied")
        self.server.join(30)
        self.assertIn(b"\x15down the rabbit hole\0", self.server.login)

    def test_mariadb(self) -> None:
        """
        MariaDB's client.
        """
        self.assertPassword(client("outdated", self.port, *NO_TLS))

    def test_goSQLDriver(self) -> None:
        """
        go-sql-driver.
        """
        program = buildGo(self.stage.directory("go"))
        self.assertPassword(byGo(program, "outdated", self.port))

    def test_pymysql(self) -> None:
        """
        PyMySQL.
        """
        error = self.assertRaises(pymysql.err.Error, selected, "outdated", self.port)
        self.assertIn("Access denied", str(error))
        self.server.join(30)
        self.assertIn(b"\x15down the rabbit hole\0", self.server.login)


class MySQLServerModeTests(InteropTestCase):
    """
    The same server without TLS, and clients that insist on it.
    """

    server: ClassVar[MySQL]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME, "127.0.0.1", "localhost")
        cls.server = stage.start(MySQL(stage.directory("mysql")))

    def setUp(self) -> None:
        super().setUp()
        self.anchors = self.stage.authority.anchors
        self.server.forget()
        self.verified = (f"--ssl-ca={self.anchors}", "--ssl-verify-server-cert")

    def port(self) -> int:
        """
        That of a tunnel to the backend's UNIX socket.
        """
        return self.serverMode(str(self.server.socket), NAME, "mysql").port

    def test_mariadb(self) -> None:
        """
        The backend is on a UNIX socket, where it takes the password.
        """
        client("caching", self.port(), *self.verified).expect(TITLE)
        record("mysql", "server", "mariadb", "row selected, caching_sha2_password")

    def test_mysql(self) -> None:
        """
        MySQL's own client verifies chain and name.
        """
        own(
            *("--protocol=TCP", "--host=localhost", f"--port={self.port()}"),
            *("--ssl-mode=VERIFY_IDENTITY", f"--ssl-ca={self.anchors}"),
            user="caching",
        ).expect(TITLE)
        record("mysql", "server", "mysql-client-core", "row selected, caching_sha2_password")

    def test_pymysql(self) -> None:
        """
        PyMySQL verifies the address.
        """
        self.assertEqual(selected("caching", self.port(), self.anchors), TITLE)
        record("mysql", "server", "PyMySQL", "row selected, caching_sha2_password")

    def test_overTCPThePasswordIsEncrypted(self) -> None:
        """
        With the backend's key, which a client within TLS does not ask for.
        """
        port = self.serverMode(f"127.0.0.1:{self.server.port}", NAME, "mysql").port
        for user, plugin in mysql.PLUGINS.items():
            wrong = client(user, port, *self.verified, "--password=wrong")
            wrong.expectFailure("ERROR 1045")
            client(user, port, *self.verified).expect(TITLE)
            record("mysql", "server", "mariadb", f"row selected, {plugin} on TCP")

    def test_overTCPThePasswordIsEncryptedForPyMySQL(self) -> None:
        """
        The same by another implementation.
        """
        port = self.serverMode(f"127.0.0.1:{self.server.port}", NAME, "mysql").port
        for user, plugin in mysql.PLUGINS.items():
            self.assertEqual(selected(user, port, self.anchors), TITLE)
            record("mysql", "server", "PyMySQL", f"row selected, {plugin} on TCP")

    def test_anOutdatedPluginTakesNoSocketForSecure(self) -> None:
        """
        There, too, its password is encrypted.
        """
        client("outdated", self.port(), *self.verified).expect(TITLE)
        record("mysql", "server", "mariadb", "row selected, sha256_password")
