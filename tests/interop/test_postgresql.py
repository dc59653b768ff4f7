"""
postgresql with PostgreSQL, in both modes.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import ClassVar

import psycopg

from tests.interop.harness import (
    InteropTestCase,
    Outcome,
    ServerCertificate,
    Stage,
    find,
    gnutls,
    openssl,
    record,
    run,
    until,
)
from tests.interop.servers.pgbouncer import PgBouncer
from tests.interop.servers.postgresql import (
    DATABASE,
    NEWER_PSQL,
    PASSWORD,
    TITLE,
    USER,
    NewerPostgreSQL,
    PostgreSQL,
)

NAME = "db.test.example"
QUERY = "SELECT title, repeat('x', 300000) FROM book"
CANCELLED = "canceling statement due to user request"

#: A StartupMessage and a Terminate in the place of a password, at which a server closes.
TALK = "\0\0\0\x23\0\3\0\0user\0alice\0database\0books\0\0X\0\0\0\4"


def parameters(port: int, *more: str, host: str = NAME) -> str:
    """
    How to connect.

    @param port: on loopback.
    @param host: the name to verify, or the directory of a UNIX socket.
    """
    where = [f"host={host}", f"port={port}"]
    if not host.startswith("/"):
        where.append("hostaddr=127.0.0.1")
    login = [f"user={USER}", f"dbname={DATABASE}", f"password='{PASSWORD}'", "connect_timeout=15"]
    return " ".join([*where, *login, *more])


def psql(port: int, *more: str, host: str = NAME, isNewer: bool = False) -> Outcome:
    """
    Ask for a row, and for more than fits into buffers, by C{psql}.

    @param isNewer: by that of a version which knows TLS without negotiation.
    """
    info = parameters(port, *more, host=host)
    program: tuple[str, ...] = ("psql",)
    if isNewer:
        find(NEWER_PSQL[-1], "postgresql-18")
        program = NEWER_PSQL
    return run([*program, "-X", "-A", "-t", "-c", QUERY, info])


def selected(connection: psycopg.Connection) -> str:
    """
    The row, by psycopg, which brings a newer libpq.
    """
    row = connection.execute("SELECT title FROM book").fetchone()
    assert row is not None
    title: str = row[0]
    return title


def cancelled(connection: psycopg.Connection) -> str:
    """
    What is said about a query that is cancelled while it runs.
    """
    process = connection.info.backend_pid
    said: list[str] = []

    def sleep() -> None:
        try:
            connection.execute("SELECT pg_sleep(25)")
        except psycopg.Error as error:
            said.append(str(error))

    with psycopg.connect(connection.info.dsn, password=PASSWORD) as observer:
        observer.autocommit = True
        query = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND query ~ '^SELECT pg_sleep'"
        thread = threading.Thread(target=sleep)
        thread.start()
        until(lambda: observer.execute(query, [process]).fetchone() is not None, "it sleeps")
        connection.cancel_safe(timeout=10)
        thread.join()
    return "".join(said)


class ClientModeTests(InteropTestCase):
    """
    Clients that know no TLS, and a server that lets nobody in without.
    """

    server: ClassVar[PostgreSQL]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        certificate = stage.authority.issue(NAME)
        cls.server = stage.start(PostgreSQL(stage.directory("postgresql"), certificate))

    def setUp(self) -> None:
        super().setUp()
        self.remote = f"127.0.0.1:{self.server.port}"

    def test_aRowIsSelected(self) -> None:
        """
        By psql, with SCRAM-SHA-256, which would be turned away without the tunnel.
        """
        psql(self.server.port, "sslmode=disable").expectFailure("no encryption")
        tunnel = self.clientMode(self.remote, NAME, "postgresql")
        psql(tunnel.port, "sslmode=disable").expect(TITLE)
        record("postgresql", "client", self.server, "row selected by psql, sslmode=disable")

    def test_aRowIsSelectedByAClientThatWouldLikeTLS(self) -> None:
        """
        C{sslmode=prefer}, the default, asks for TLS, and goes on when there is none.
        """
        tunnel = self.clientMode(self.remote, NAME, "postgresql")
        psql(tunnel.port, "sslmode=prefer").expect(TITLE)
        record("postgresql", "client", self.server, "row selected by psql, sslmode=prefer")

    def test_aRowIsSelectedThroughASocket(self) -> None:
        """
        The app's side is where psql looks by itself: a UNIX socket.
        """
        socket = Path(self.stage.base) / ".s.PGSQL.5432"
        self.clientMode(self.remote, NAME, "postgresql", socket=socket)
        psql(5432, host=str(socket.parent)).expect(TITLE)
        record("postgresql", "client", self.server, "row selected by psql on a UNIX socket")

    def test_aRowIsSelectedByPsycopg(self) -> None:
        """
        By a newer libpq, which the server sees on TLS.
        """
        tunnel = self.clientMode(self.remote, NAME, "postgresql")
        with psycopg.connect(parameters(tunnel.port, "sslmode=disable")) as connection:
            self.assertEqual(selected(connection), TITLE)
            backend = "FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            row = connection.execute(f"SELECT ssl, version {backend}").fetchone()
            self.assertEqual(row, (True, "TLSv1.3"))
        record("postgresql", "client", self.server, "row selected by psycopg")

    def test_aQueryIsCancelled(self) -> None:
        """
        The request to cancel is a connection of its own.
        """
        tunnel = self.clientMode(self.remote, NAME, "postgresql")
        with psycopg.connect(parameters(tunnel.port, "sslmode=disable")) as connection:
            self.assertIn(CANCELLED, cancelled(connection))
        record("postgresql", "client", self.server, "query cancelled")

    def test_channelBindingIsNotPossible(self) -> None:
        """
        It would bind to a TLS that the client does not have; the server itself offers it.
        """
        require = "channel_binding=require"
        psql(self.server.port, "sslmode=require", require).expect(TITLE)
        tunnel = self.clientMode(self.remote, NAME, "postgresql")
        for isNewer in (False, True):
            psql(tunnel.port, "sslmode=disable", require, isNewer=isNewer).expectFailure(
                "channel binding"
            )
        psql(tunnel.port, "sslmode=disable", "require_auth=scram-sha-256", isNewer=True).expect(
            TITLE
        )

    def test_aServerThatIsSomebodyElseGetsNoName(self) -> None:
        """
        The client is told no more than that TLS failed, and the log names both.
        """
        tunnel = self.clientMode(self.remote, "other.test.example", "postgresql")
        psql(tunnel.port, "sslmode=disable").expectFailure()
        until(lambda: "other.test.example" in tunnel.log and NAME in tunnel.log, "the reason")


class PgBouncerTests(InteropTestCase):
    """
    A pool of connections, with TLS and without, in front of a server.
    """

    server: ClassVar[PostgreSQL]
    certificate: ClassVar[ServerCertificate]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.server = stage.start(PostgreSQL(stage.directory("postgresql")))
        cls.certificate = stage.authority.issue(NAME)

    def test_aRowIsSelectedInClientMode(self) -> None:
        """
        PgBouncer lets nobody in without TLS.
        """
        bouncer = PgBouncer(self.stage.directory("pgbouncer"), self.server, self.certificate)
        self.stage.start(bouncer)
        tunnel = self.clientMode(f"127.0.0.1:{bouncer.port}", NAME, "postgresql")
        psql(tunnel.port, "sslmode=disable").expect(TITLE)
        record("postgresql", "client", bouncer, "row selected by psql")

    def test_aRowIsSelectedInServerMode(self) -> None:
        """
        PgBouncer knows no TLS.
        """
        bouncer = self.stage.start(PgBouncer(self.stage.directory("pgbouncer"), self.server))
        tunnel = self.serverMode(f"127.0.0.1:{bouncer.port}", NAME, "postgresql")
        anchors = f"sslrootcert={self.stage.authority.anchors}"
        psql(tunnel.port, "sslmode=verify-full", anchors).expect(TITLE)
        record("postgresql", "server", bouncer, "row selected by psql, sslmode=verify-full")


class DirectClientModeTests(InteropTestCase):
    """
    A server to which the tunnel need not ask for TLS.
    """

    server: ClassVar[NewerPostgreSQL]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        certificate = stage.authority.issue(NAME)
        cls.server = stage.start(NewerPostgreSQL(stage.directory("postgresql"), certificate))

    def test_aRowIsSelected(self) -> None:
        """
        With negotiation, and without.
        """
        remote = f"127.0.0.1:{self.server.port}"
        for options in ((), ("--dialect-option", "direct")):
            tunnel = self.clientMode(remote, NAME, "postgresql", *options)
            psql(tunnel.port, "sslmode=disable").expect(TITLE)
        record("postgresql", "client", self.server, "row selected by psql, TLS without negotiation")


class ServerModeTests(InteropTestCase):
    """
    A server that knows no TLS, and clients that insist on it.
    """

    server: ClassVar[PostgreSQL]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME)
        cls.server = stage.start(PostgreSQL(stage.directory("postgresql")))

    def setUp(self) -> None:
        super().setUp()
        self.anchors = self.stage.authority.anchors
        self.backend = f"127.0.0.1:{self.server.port}"
        self.port = self.serverMode(self.backend, NAME, "postgresql").port
        self.verified = ("sslmode=verify-full", f"sslrootcert={self.anchors}")

    def test_openssl(self) -> None:
        """
        C{s_client} verifies chain and name.
        """
        openssl(self.port, NAME, self.anchors, say=TALK, starttls="postgres").expect(
            "Verification: OK", f"Verified peername: {NAME}", "SCRAM-SHA-256"
        )
        record("postgresql", "server", "openssl", "verified")

    def test_gnutls(self) -> None:
        """
        C{gnutls-cli} verifies chain and name.
        """
        gnutls(self.port, NAME, self.anchors, say=TALK, starttls="postgres").expect(
            "certificate is trusted", "SCRAM-SHA-256"
        )
        record("postgresql", "server", "gnutls-cli", "verified")

    def test_psql(self) -> None:
        """
        C{sslmode=verify-full} accepts nothing less.
        """
        psql(self.port, *self.verified).expect(TITLE)
        psql(self.port, *self.verified, "channel_binding=prefer").expect(TITLE)
        record("postgresql", "server", "psql", "row selected, sslmode=verify-full")

    def test_psqlVerifiesTheName(self) -> None:
        """
        Another name is not accepted.
        """
        other = (*self.verified, "sslsni=0")
        psql(self.port, *other, host="other.test.example").expectFailure("does not match")

    def test_aBackendOnASocket(self) -> None:
        """
        The plain leg does not leave the files of this host.
        """
        port = self.serverMode(str(self.server.socket), NAME, "postgresql").port
        psql(port, *self.verified).expect(TITLE)
        record("postgresql", "server", "psql", "row selected from a UNIX socket")

    def test_psycopg(self) -> None:
        """
        A newer libpq, by negotiation.
        """
        with psycopg.connect(parameters(self.port, *self.verified)) as connection:
            self.assertEqual(selected(connection), TITLE)
        record("postgresql", "server", "psycopg", "row selected, sslmode=verify-full")

    def test_psycopgWithoutNegotiation(self) -> None:
        """
        The same port takes TLS from the first byte, with ALPN.
        """
        info = parameters(self.port, *self.verified, "sslnegotiation=direct")
        with psycopg.connect(info) as connection:
            self.assertEqual(selected(connection), TITLE)
        record("postgresql", "server", "psycopg", "row selected, sslnegotiation=direct")

    def test_psqlWithoutNegotiation(self) -> None:
        """
        The same by a newer psql, which has shown by SCRAM that it may.
        """
        direct = (*self.verified, "sslnegotiation=direct", "require_auth=scram-sha-256")
        psql(self.port, *direct, isNewer=True).expect(TITLE)
        record("postgresql", "server", "newer psql", "row selected, sslnegotiation=direct")

    def test_channelBindingIsNotPossible(self) -> None:
        """
        The server has no TLS to bind to, and does not offer it.
        """
        for isNewer in (False, True):
            psql(
                self.port, *self.verified, "channel_binding=require", isNewer=isNewer
            ).expectFailure("channel binding")

    def test_aQueryIsCancelled(self) -> None:
        """
        By a client that asks for it inside TLS as well.
        """
        with psycopg.connect(parameters(self.port, *self.verified)) as connection:
            self.assertIn(CANCELLED, cancelled(connection))
        record("postgresql", "server", "psycopg", "query cancelled")

    def test_aLoginBeforeTLSIsRefused(self) -> None:
        """
        The client is told what is missing, and nothing is forwarded.
        """
        before = self.server.log.count("connection received")
        psql(self.port, "sslmode=disable").expectFailure("TLS required")
        self.assertEqual(self.server.log.count("connection received"), before)
