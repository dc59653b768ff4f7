"""
Who is there, for PostgreSQL, MariaDB and MySQL: a client certificate says as whom one may log in.

The servers believe everybody on loopback, as they may where nobody but the tunnel gets there.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pymysql

from tests.interop.harness import (
    InteropTestCase,
    Outcome,
    ServerCertificate,
    Stage,
    record,
    run,
    until,
)
from tests.interop.servers import mysql
from tests.interop.servers.mariadb import DATABASE, TITLE, MariaDB
from tests.interop.servers.mysql import MySQL
from tests.interop.servers.postgresql import (
    NewerTrustingPostgreSQL,
    PostgreSQL,
    TrustingPostgreSQL,
)

NAME = "db.test.example"
ALICE = "alice@test.example"
BOB = "bob@test.example"
WHO = (
    "SELECT usename || ' is ' || application_name FROM pg_stat_activity WHERE pid=pg_backend_pid()"
)
MAP = """\
# MAP       IDENTITY                        NAME
postgresql  bob@test.example                alice
mysql       bob@test.example                alice
mysql       "/^(.*)@test\\.example$"         \\1
"""
USERS = ("alice", "bob")
NOT_THEIRS = "may not log in as"


class SQLTestCase(InteropTestCase):
    """
    Has clients with certificates, and a tunnel that tells who they are.
    """

    word: ClassVar[str]
    port: int
    clients: ClassVar[dict[str, ServerCertificate]]

    @classmethod
    def issue(cls, stage: Stage) -> None:
        """
        Certificates of the tunnel and of its clients.
        """
        stage.authority.issue(NAME, "127.0.0.1", "localhost")
        cls.clients = {name: stage.authority.issue(name) for name in (ALICE, BOB)}
        (stage.base / "map.conf").write_text(MAP)

    def reveal(self, backend: str, *options: str, dialect: bool = True) -> int:
        """
        Start a tunnel for all users.

        @return: its port.
        """
        name = self.word if dialect else None
        told = ("-R", "@test.example", "--reveal", self.word)
        return self.serverMode(backend, NAME, name, *told, *options).port

    @property
    def map(self) -> tuple[str, str]:
        """
        The map, as an option.
        """
        return "--identity-map", str(self.stage.base / "map.conf")


class PostgreSQLTests(SQLTestCase):
    """
    The version of Debian.
    """

    word = "postgresql"
    kind: ClassVar[type[PostgreSQL]] = TrustingPostgreSQL
    server: ClassVar[PostgreSQL]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.issue(stage)
        cls.server = stage.start(cls.kind(stage.directory("postgresql")))
        local = f"host={cls.server.directory} port={cls.server.port} user=postgres dbname=books"
        run(["psql", "-X", local], "CREATE ROLE bob LOGIN;").expect()

    def setUp(self) -> None:
        super().setUp()
        self.backend = f"127.0.0.1:{self.server.port}"

    def info(self, port: int, who: str, user: str, *more: str) -> str:
        """
        How to connect.
        """
        files = self.clients[who]
        return " ".join(
            (
                *(f"host={NAME}", "hostaddr=127.0.0.1", f"port={port}", "dbname=books"),
                *(f"user={user}", "sslmode=verify-full", f"sslrootcert={files.anchors}"),
                *(f"sslcert={files.chain}", f"sslkey={files.key}", "connect_timeout=15", *more),
            )
        )

    def psql(self, port: int, who: str, user: str, *more: str) -> Outcome:
        """
        Ask who one is, by C{psql}.
        """
        return run(["psql", "-X", "-A", "-t", "-c", WHO, self.info(port, who, user, *more)])

    def test_theSessionHasTheIdentityAsItsName(self) -> None:
        """
        Where the application gives none, as psycopg does not.
        """
        port = self.reveal(self.backend)
        for user in USERS:
            who = f"{user}@test.example"
            with psycopg.connect(self.info(port, who, user)) as connection:
                row = connection.execute(WHO).fetchone()
            self.assertEqual(row, (f"{user} is {who}",))
        record("postgresql", "server", self.server, "pg_stat_activity shows the identity (reveal)")
        record("postgresql", "server", "psycopg", "login by client certificate (reveal)")

    def test_applicationsMayHaveNamesOfTheirOwn(self) -> None:
        """
        But not those of others.
        """
        port = self.reveal(self.backend)
        self.psql(port, ALICE, "alice").expect("alice is psql")
        for name in (BOB, f" {BOB} ", "www.test.example", "spiffe://x/y"):
            said = self.psql(port, ALICE, "alice", f"application_name='{name}'")
            said.expect(f"alice is {ALICE}")
        record("postgresql", "server", "psql", "login by client certificate (reveal)")

    def test_somebodyElseIsTurnedAway(self) -> None:
        """
        In words that psql shows, before the server hears anything.
        """
        port = self.reveal(self.backend)
        for user in ("bob", "postgres", "Alice", BOB, "alice@TEST.example", "alic\u0435"):
            self.psql(port, ALICE, user).expectFailure(f"{ALICE} {NOT_THEIRS}")
        self.assertNotIn("Alice", self.server.log)

    def test_optionsMayNotNameTheSession(self) -> None:
        """
        However they are written; others work.
        """
        port = self.reveal(self.backend)
        for spelt in (
            f"-c application_name={BOB}",
            f"--application-name={BOB}",
            f"-c\\\\\\\\ \\\\aPPLication_name={BOB}",
        ):
            said = self.psql(port, ALICE, "alice", f"options='{spelt}'")
            said.expectFailure("options may not set application_name")
        self.psql(port, ALICE, "alice", "options='-c geqo=off'").expect("alice is psql")

    def test_appsThatKnowNoTLSAreWhoTheirTunnelIs(self) -> None:
        """
        A tunnel beside them has the certificate.
        """
        port = self.reveal(self.backend)
        near = self.clientMode(f"127.0.0.1:{port}", NAME, "postgresql", "-L", BOB).port
        where = f"host=127.0.0.1 port={near} dbname=books sslmode=disable"
        with psycopg.connect(f"{where} user=bob") as connection:
            self.assertEqual(connection.execute(WHO).fetchone(), (f"bob is {BOB}",))
        error = self.assertRaises(psycopg.Error, psycopg.connect, f"{where} user=alice")
        self.assertIn(f"{BOB} {NOT_THEIRS}", str(error))

    def test_aMapSaysWhoMayBeWho(self) -> None:
        """
        Bob may be alice, and nobody may be bob.
        """
        port = self.reveal(self.backend, *self.map)
        self.psql(port, BOB, "alice", f"application_name={BOB}").expect(f"alice is {BOB}")
        self.psql(port, BOB, "bob").expectFailure(NOT_THEIRS)
        self.psql(port, ALICE, "alice").expectFailure(NOT_THEIRS)

    def test_aQueryIsCancelled(self) -> None:
        """
        The request to cancel has no user in it.
        """
        port = self.reveal(self.backend)
        with psycopg.connect(self.info(port, ALICE, "alice", "keepalives=0")) as connection:
            with socket.create_connection(("127.0.0.1", port), 10) as raw:
                raw.sendall(bytes.fromhex("0000000804d2162f"))
                self.assertEqual(raw.recv(1), b"S")
                files = self.clients[ALICE]
                context = ssl.create_default_context(cafile=str(files.anchors))
                context.load_cert_chain(files.chain, files.key)
                with context.wrap_socket(raw, server_hostname=NAME) as secure:
                    # A key that nobody has.
                    secure.sendall(bytes.fromhex("0000001004d2162e0000007b000001c8"))
                    self.assertEqual(secure.recv(1), b"")
            self.assertIsNotNone(connection.execute("SELECT 1").fetchone())
        until(lambda: "123" in self.server.log, "the server has read the request to cancel")


class NewerPostgreSQLTests(PostgreSQLTests):
    """
    The newest version, on a socket.
    """

    kind = NewerTrustingPostgreSQL

    def setUp(self) -> None:
        super().setUp()
        self.backend = str(self.server.socket)

    def test_withoutNegotiationItIsTheSame(self) -> None:
        """
        TLS from the first byte, with the dialect and without.
        """
        for options in ((), ("--alpn", "postgresql")):
            port = self.reveal(self.backend, *options, dialect=not options)
            direct = "sslnegotiation=direct"
            with psycopg.connect(self.info(port, ALICE, "alice", direct)) as connection:
                row = connection.execute(WHO).fetchone()
            self.assertEqual(row, (f"alice is {ALICE}",))


def statements(clause: str) -> tuple[str, ...]:
    """
    Users without passwords.

    @param clause: how a server says so.
    """
    users = [(user, f"CREATE USER {user}@'%' {clause};") for user in USERS]
    grants = [f"GRANT ALL ON {DATABASE}.* TO {user}@'%';" for user in USERS]
    return (
        *(statement for _, statement in users),
        *grants,
        f"CREATE TABLE {DATABASE}.line (text varchar(64));",
        "SET GLOBAL local_infile = 1;",
    )


class MariaDBTests(SQLTestCase):
    """
    The version of Debian, and its own client.
    """

    word = "mysql"
    server: ClassVar[MariaDB | MySQL]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.issue(stage)
        server = MariaDB(stage.directory("mariadb"))
        server.schema = "ON"
        server.more = statements("IDENTIFIED VIA mysql_native_password USING ''")
        cls.server = stage.start(server)

    def setUp(self) -> None:
        super().setUp()
        self.backend = f"127.0.0.1:{self.server.port}"

    def client(self, port: int, who: str, user: str, query: str, *options: str) -> Outcome:
        """
        Ask by the server's own client.
        """
        files = self.clients[who]
        return run(
            [
                *("mariadb", "--no-defaults", "--protocol=TCP", "--host=127.0.0.1"),
                *(f"--port={port}", f"--user={user}", f"--ssl-ca={files.anchors}"),
                *("--ssl-verify-server-cert", f"--ssl-cert={files.chain}"),
                *(f"--ssl-key={files.key}", *options, "-N", "-e", query, DATABASE),
            ]
        )

    @contextmanager
    def connection(self, port: int, who: str, user: str, *attribute: str) -> Iterator[Any]:
        """
        One by PyMySQL.

        @param attribute: the name and the value of one more.
        """
        files = self.clients[who]
        connection: Any = pymysql.connect(
            defer_connect=True,
            user=user,
            database=DATABASE,
            host="127.0.0.1",
            port=port,
            connect_timeout=20,
            local_infile=True,
            ssl_ca=str(files.anchors),
            ssl_cert=str(files.chain),
            ssl_key=str(files.key),
            ssl_verify_identity=True,
        )
        if attribute:
            connection._connect_attrs[attribute[0]] = attribute[1]
        with connection:
            connection.connect()
            yield connection

    def asked(self, connection: Any, query: str) -> str:
        """
        One value.
        """
        cursor = connection.cursor()
        cursor.execute(query)
        row = cursor.fetchone()
        assert row is not None
        return str(row[0])

    def test_oneIsAsOneself(self) -> None:
        """
        Without a password; large answers pass.
        """
        port = self.reveal(self.backend)
        for user in USERS:
            who = f"{user}@test.example"
            query = "SELECT current_user(), title, repeat('x', 1000000) FROM book"
            self.client(port, who, user, query).expect(f"{user}@", TITLE)
            with self.connection(port, who, user) as connection:
                self.assertEqual(self.asked(connection, "SELECT current_user()"), f"{user}@%")
        record("mysql", "server", self.server, "login by client certificate (reveal)")

    def test_theServerKnowsTheIdentity(self) -> None:
        """
        As an attribute of the connection, also once the user was changed; those of the client are
        there as well, but for one of that name.
        """
        port = self.reveal(self.backend, *self.map)
        with self.connection(port, BOB, "alice", "_tlstunnel_identity", ALICE) as connection:
            number = connection.thread_id()
            for _ in range(2):
                told = self.attributes(number)
                self.assertEqual(told["_tlstunnel_identity"], BOB)
                self.assertEqual(told["_client_name"], "pymysql")
                attributes = connection._connect_attrs
                said = b"".join(
                    bytes((len(each),)) + each.encode()
                    for pair in attributes.items()
                    for each in pair
                )
                plugin = b"mysql_native_password\0" + bytes((len(said),)) + said
                connection._execute_command(0x11, b"alice\0\0books\0\x2d\0" + plugin)
                self.readToEnd(connection)
        query = "SELECT attr_value FROM performance_schema.session_account_connect_attrs"
        where = " WHERE attr_name = '_tlstunnel_identity' AND processlist_id = connection_id()"
        self.client(port, BOB, "alice", query + where).expect(BOB)
        record("mysql", "server", self.server, "session_connect_attrs has the identity (reveal)")

    def attributes(self, number: int) -> dict[str, str]:
        """
        What the server knows of a connection.
        """
        query = "SELECT attr_name, attr_value FROM performance_schema.session_connect_attrs"
        with self.administrator() as root:
            cursor = root.cursor()
            cursor.execute(f"{query} WHERE processlist_id = {number}")
            return {str(row[0]): str(row[1]) for row in cursor.fetchall()}

    def test_noCommandHasAnotherNumber(self) -> None:
        """
        That is what the tunnel builds on: the server itself ends a connection on which one has.
        """
        for number in (1, 2, 3, 5, 127, 254, 255):
            with pymysql.connect(
                user="alice", host="127.0.0.1", port=self.server.port, database=DATABASE
            ) as direct:
                connection: Any = direct
                connection._next_seq_id = number
                said = b"\x11bob\0\0books\0\x2d\0mysql_native_password\0"
                connection.write_packet(said)
                self.assertRaises(pymysql.err.Error, connection._read_packet)
                with self.administrator() as root:
                    users = "SELECT count(*) FROM information_schema.processlist WHERE user='bob'"
                    self.assertEqual(self.asked(root, users), "0")

    def test_somebodyElseIsTurnedAway(self) -> None:
        """
        In words that clients show, before the server hears anything.
        """
        port = self.reveal(self.backend)
        for user in ("bob", "root", "Alice", "'alice'", BOB, "alic\u0435"):
            said = self.client(port, ALICE, user, "SELECT 1")
            said.expectFailure("ERROR 1045", f"{ALICE} {NOT_THEIRS}")

    def test_nobodyBecomesSomebodyElse(self) -> None:
        """
        By COM_CHANGE_USER; oneself one may become as often as one likes.
        """
        port = self.reveal(self.backend)
        with self.connection(port, ALICE, "alice") as connection:
            for user, isAllowed in (("alice", True), ("alice", True), ("bob", False)):
                said = user.encode() + b"\0\0books\0\x2d\0mysql_native_password\0\0"
                connection._execute_command(0x11, said)
                if isAllowed:
                    self.readToEnd(connection)
                    self.assertEqual(self.asked(connection, "SELECT current_user()"), "alice@%")
                else:
                    self.assertRaises(pymysql.err.Error, connection._read_packet)
        self.assertNotIn("bob", self.server.log)

    def readToEnd(self, connection: Any) -> None:
        """
        Read all answers up to an OK, giving an empty password wherever one is wanted.
        """
        answer = connection._read_packet()
        while not answer.is_ok_packet():
            connection.write_packet(b"")
            answer = connection._read_packet()

    def test_appsThatKnowNoTLSAreWhoTheirTunnelIs(self) -> None:
        """
        A tunnel beside them has the certificate, with TLS from the first byte.
        """
        port = self.reveal(self.backend, dialect=False)
        near = self.clientMode(f"127.0.0.1:{port}", NAME, None, "-L", ALICE).port
        for user, error in (("alice", 0), ("bob", 1045)):
            info: dict[str, Any] = {"user": user, "host": "127.0.0.1", "port": near}
            if error:
                refusal = self.assertRaises(pymysql.err.Error, pymysql.connect, **info)
                self.assertEqual(refusal.args[0], error)
                self.assertIn(f"{ALICE} {NOT_THEIRS}", str(refusal))
            else:
                with pymysql.connect(**info) as connection:
                    self.assertEqual(self.asked(connection, "SELECT current_user()"), "alice@%")
                    told = self.attributes(connection.thread_id())
                    self.assertEqual(told["_tlstunnel_identity"], ALICE)
        record(
            "mysql",
            "server",
            self.server,
            "login by the tunnel's certificate, TLS at once (reveal)",
        )

    def test_aFileIsLoaded(self) -> None:
        """
        Whose content is not taken for commands, though it begins as one and ids come round to 0.
        """
        port = self.reveal(self.backend)
        path = Path(self.stage.base) / "lines"
        # PyMySQL sends pieces of 16 KiB; the last line of each is whole.
        line = b"bob" + b"x" * 60 + b"\n"
        path.write_bytes((b"\x11" + line[1:]) * 256 * 3 + line * 256 * 600)
        with self.connection(port, ALICE, "alice") as connection:
            connection.cursor().execute(f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE line")
            count = self.asked(connection, "SELECT count(*) FROM line")
            self.assertEqual(count, str(256 * 603))
            self.assertEqual(self.asked(connection, "SELECT current_user()"), "alice@%")
        record("mysql", "server", "PyMySQL", "a file loaded (reveal)")

    def test_aLongCommandPasses(self) -> None:
        """
        Of several packets, what is in which does not matter.
        """
        port = self.reveal(self.backend)
        with self.connection(port, ALICE, "alice") as connection:
            limit = int(self.asked(connection, "SELECT @@max_allowed_packet"))
            if limit < 0x1100000:
                with self.administrator() as root:
                    root.cursor().execute("SET GLOBAL max_allowed_packet = 67108864")
        with self.connection(port, ALICE, "alice") as connection:
            connection.max_allowed_packet = 67108864
            text = "\x11bob" * (0x1000010 // 4)
            self.assertEqual(self.asked(connection, f"SELECT length('{text}')"), str(len(text)))

    def administrator(self) -> pymysql.Connection[pymysql.cursors.Cursor]:
        """
        A connection of the administrator's.
        """
        return pymysql.connect(unix_socket=str(self.server.socket), user="root")

    def test_compressionIsNotThere(self) -> None:
        """
        Clients that would like it go without.
        """
        port = self.reveal(self.backend)
        query = "SHOW SESSION STATUS LIKE 'Compression'"
        self.client(port, ALICE, "alice", query, "--compress").expect("OFF")

    def test_aMapSaysWhoMayBeWho(self) -> None:
        """
        Bob may be alice too.
        """
        port = self.reveal(self.backend, *self.map)
        for who, user in ((BOB, "alice"), (BOB, "bob"), (ALICE, "alice")):
            self.client(port, who, user, "SELECT current_user()").expect(f"{user}@")
        self.client(port, ALICE, "bob", "SELECT 1").expectFailure(NOT_THEIRS)


class MySQLTests(MariaDBTests):
    """
    MySQL, on a socket, and its own client.
    """

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.issue(stage)
        server = MySQL(stage.directory("mysql"))
        server.schema = "ON"
        server.more = statements("IDENTIFIED WITH caching_sha2_password BY ''")
        cls.server = stage.start(server)

    def setUp(self) -> None:
        super().setUp()
        self.backend = str(self.server.socket)

    def client(self, port: int, who: str, user: str, query: str, *options: str) -> Outcome:
        files = self.clients[who]
        return run(
            [
                *(str(mysql.ROOT / "usr/bin/mysql"), "--no-defaults", "--protocol=TCP"),
                *("--host=localhost", f"--port={port}", f"--user={user}"),
                *("--ssl-mode=VERIFY_IDENTITY", f"--ssl-ca={files.anchors}"),
                *(f"--ssl-cert={files.chain}", f"--ssl-key={files.key}", *options),
                *("-N", "-e", query, DATABASE),
            ]
        )
