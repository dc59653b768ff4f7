"""
Several remotes: three of Redis and of PostgreSQL, of which one is killed and started again while
clients ask for something all the time; and services in the DNS, by unbound.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

import psycopg

from tests.interop.harness import (
    Daemon,
    InteropTestCase,
    ServerCertificate,
    Stage,
    record,
    requireRoot,
    until,
)
from tests.interop.servers.postgresql import DATABASE, PASSWORD, TITLE, USER, PostgreSQL
from tests.interop.servers.redis import Redis
from tests.interop.tunnel import TunnelProcess

REDIS = "redis.test.example"
DB = "db.test.example"

#: Who asks at the same time.
CLIENTS = 6

#: Seconds before one is killed, until it is started again, and after that.
BEFORE, AWAY, AFTER = 0.5, 1.5, 2.5

D = TypeVar("D", bound=Daemon)


def ping(port: int) -> None:
    """
    Connect to Redis, and ask it something.

    @raise OSError: there is no answer.
    """
    with socket.create_connection(("127.0.0.1", port), 20) as sock:
        sock.sendall(b"PING\r\n")
        answer = b""
        while not answer.endswith(b"\r\n"):
            said = sock.recv(100)
            if not said:
                raise ConnectionError("the end")
            answer += said
    assert answer == b"+PONG\r\n", answer


def select(port: int, *more: str) -> None:
    """
    Connect to PostgreSQL, and ask for a row.

    @raise OSError: there is no answer.
    """
    login = f"user={USER} dbname={DATABASE} password='{PASSWORD}' connect_timeout=20"
    where = f"host={DB} hostaddr=127.0.0.1 port={port}"
    try:
        with psycopg.connect(" ".join([where, login, *more])) as connection:
            row = connection.execute("SELECT title FROM book").fetchone()
    except psycopg.OperationalError as error:
        raise OSError(str(error)) from None
    assert row == (TITLE,), row


class Load:
    """
    Clients that ask all the time.

    @ivar good: how many requests were answered.
    @ivar failed: of the others when they began and ended, and why they failed.
    """

    def __init__(self, request: Callable[[], None]) -> None:
        self.good = 0
        self.failed: list[tuple[float, float, str]] = []
        self._request = request
        self._isOver = False
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]
        for each in self._threads:
            each.start()

    def _run(self) -> None:
        while not self._isOver:
            began = time.monotonic()
            try:
                self._request()
                self.good += 1
            except (OSError, AssertionError) as error:
                self.failed.append((began, time.monotonic(), str(error)))
                time.sleep(0.01)

    def stop(self) -> None:
        """
        Let them come to their end.
        """
        self._isOver = True
        for each in self._threads:
            each.join()


class RemotesTests(InteropTestCase):
    """
    Base class: what happens while one of three is away.

    @cvar serverName: what they have a certificate for.
    """

    serverName: ClassVar[str]
    certificate: ClassVar[ServerCertificate]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.certificate = stage.authority.issue(cls.serverName)

    def start(self, kind: type[D], certificate: ServerCertificate | None) -> list[D]:
        """
        Three servers.

        @param certificate: C{None} for no TLS.
        """
        stage = self.stage
        return [stage.start(kind(stage.directory(f"s{n}"), certificate)) for n in range(3)]

    def remotes(self, servers: Sequence[Daemon]) -> list[str]:
        """
        The options for them.
        """
        return [word for each in servers for word in ("-r", f"127.0.0.1:{each.port}")]

    def assertOthersServe(
        self, servers: Sequence[Daemon], tunnel: TunnelProcess, request: Callable[[], None]
    ) -> None:
        """
        Only what is under way fails when one is killed, and it serves again when it is back.
        """
        for _ in servers:
            request()
        victim = servers[1]
        load = Load(request)
        try:
            time.sleep(BEFORE)
            killing = time.monotonic()
            victim.kill()
            killed = time.monotonic()
            time.sleep(AWAY)
            left = f"127.0.0.1:{victim.port} is left alone for"
            until(lambda: left in tunnel.log, "it is left alone")
            victim.start()
            until(lambda: f"127.0.0.1:{victim.port} is back" in tunnel.log, "it is back")
            time.sleep(AFTER)
        finally:
            load.stop()
        for began, ended, why in load.failed:
            # PostgreSQL listens before it serves, and says so inside TLS.
            if "starting up" not in why:
                self.assertLessEqual(began, killed, why)
                self.assertGreaterEqual(ended, killing, why)
        self.assertLessEqual(len([each for each in load.failed if each[0] <= killed]), CLIENTS)
        self.assertGreater(load.good, 50)
        self.assertEqual(tunnel.log.count(left), tunnel.log.count("is back"))


class RedisTests(RemotesTests):
    """
    Redis: TLS from the first byte.
    """

    serverName = REDIS

    def test_inClientMode(self) -> None:
        """
        An app that knows no TLS, and three servers with it.
        """
        servers = self.start(Redis, self.certificate)
        remotes = self.remotes(servers)
        tunnel = self.tunnel("-c", "-R", REDIS, "--balance", "round-robin", *remotes)
        self.assertOthersServe(servers, tunnel, lambda: ping(tunnel.port))
        record("none", "client", servers[0], "three servers, one of them killed and restarted")

    def test_inServerMode(self) -> None:
        """
        Three servers without TLS behind one tunnel, and one before it for a client without.
        """
        servers = self.start(Redis, None)
        remotes = self.remotes(servers)
        behind = self.tunnel("-s", "-L", REDIS, "--balance", "least-connections", *remotes)
        before = self.clientMode(f"127.0.0.1:{behind.port}", REDIS, None)
        self.assertOthersServe(servers, behind, lambda: ping(before.port))
        record("none", "server", servers[0], "three backends, one of them killed and restarted")


class PostgreSQLTests(RemotesTests):
    """
    PostgreSQL: STARTTLS, as its SSLRequest is one.
    """

    serverName = DB

    def test_inClientMode(self) -> None:
        """
        In the order given.
        """
        servers = self.start(PostgreSQL, self.certificate)
        remotes = self.remotes(servers)
        tunnel = self.tunnel(
            *("-c", "-R", DB, "--starttls", "postgresql", "--balance", "round-robin", *remotes)
        )
        request = lambda: select(tunnel.port, "sslmode=disable")  # noqa: E731
        self.assertOthersServe(servers, tunnel, request)
        note = "three servers, one of them killed and restarted"
        record("postgresql", "client", servers[0], note)

    def test_inServerMode(self) -> None:
        """
        In turn.
        """
        servers = self.start(PostgreSQL, None)
        remotes = self.remotes(servers)
        tunnel = self.tunnel(
            *("-s", "-L", DB, "--starttls", "postgresql", "--balance", "round-robin", *remotes)
        )
        trust = f"sslmode=verify-full sslrootcert={self.stage.authority.anchors}"
        self.assertOthersServe(servers, tunnel, lambda: select(tunnel.port, trust))
        note = "three backends, one of them killed and restarted"
        record("postgresql", "server", servers[0], note)


ZONE = """\
server:
  interface: {host}
  port: 53
  do-daemonize: no
  username: ""
  chroot: ""
  pidfile: ""
  use-syslog: no
  logfile: ""
  access-control: 127.0.0.0/8 allow
  local-zone: "test.example." static
{data}
remote-control:
  control-enable: no
"""


class Unbound(Daemon):
    """
    A resolver with a zone of its own.
    """

    packages = ("unbound",)
    title = "unbound"
    program = "unbound"
    needsRoot = True

    #: Port 53 of this address is nobody else's.
    host = "127.77.0.1"

    def __init__(self, directory: Path, *zone: str) -> None:
        """
        @param zone: its records.
        """
        super().__init__(directory)
        self.ports = {"main": 53}
        self.zone = zone

    def configure(self) -> None:
        data = "\n".join(f'  local-data: "{each}"' for each in self.zone)
        self.write("unbound.conf", ZONE.format(host=self.host, data=data))
        self.write("resolv.conf", f"nameserver {self.host}\n")

    def command(self) -> Sequence[str]:
        return [self.executable, "-d", "-c", str(self.directory / "unbound.conf")]


class Elsewhere(TunnelProcess):
    """
    A tunnel for which another resolver is the system's.
    """

    def __init__(self, directory: Path, resolver: Unbound, *arguments: str) -> None:
        super().__init__(directory, *arguments)
        mount = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        conf = str(resolver.directory / "resolv.conf")
        self.within = ("unshare", "--mount", "sh", "-c", mount, conf)


class ServiceTests(InteropTestCase):
    """
    C{-r srv:}.
    """

    resolver: ClassVar[Unbound]
    servers: ClassVar[list[Redis]]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        requireRoot("a resolver of our own")
        good, evil = (stage.authority.issue(f"{name}.example") for name in ("test", "evil"))
        cls.servers = [
            stage.start(Redis(stage.directory(f"s{n}"), each))
            for n, each in enumerate((good, evil, good))
        ]
        first, other, last = (each.port for each in cls.servers)
        cls.resolver = stage.start(
            Unbound(
                stage.directory("unbound"),
                f"_redis._tcp.test.example. 5 SRV 20 0 {last} redis.test.example.",
                f"_redis._tcp.test.example. 5 SRV 10 0 {first} redis.test.example.",
                f"_forged._tcp.test.example. 5 SRV 10 0 {other} evil.test.example.",
                "_none._tcp.test.example. 5 SRV 0 0 0 .",
                "redis.test.example. 5 A 127.0.0.1",
                "evil.test.example. 5 A 127.0.0.1",
            )
        )

    def tunnelTo(self, name: str, *options: str) -> Elsewhere:
        """
        A tunnel to a service, still to be started.
        """
        directory = self.stage.directory("tunnel")
        pool = str(self.stage.authority.pool)
        words = ("--pool", pool, "-c", "-r", f"srv:_{name}._tcp.test.example", *options)
        tunnel = Elsewhere(directory, self.resolver, *words)
        self._tunnels.append(tunnel)
        return tunnel

    def serviceOf(self, name: str, *options: str) -> Elsewhere:
        """
        The same, started.
        """
        tunnel = self.tunnelTo(name, *options)
        tunnel.start()
        self.addCleanup(tunnel.stop)
        return tunnel

    def test_theServiceIsFound(self) -> None:
        """
        At the place with the lowest priority, or at the other one, where that is away.
        """
        first, _, last = self.servers
        tunnel = self.serviceOf("redis")
        ping(tunnel.port)
        until(lambda: f"to 127.0.0.1:{first.port}: " in tunnel.log, "the first one")
        first.kill()
        ping(tunnel.port)
        until(lambda: f"to 127.0.0.1:{last.port}: " in tunnel.log, "the other one")
        first.start()
        self.assertSays("identity test.example, ", tunnel)
        record("none", "client", self.resolver, "a service by SRV records, two places")

    def test_recordsThatPointElsewhereLeadNowhere(self) -> None:
        """
        The certificate must be of the domain that was given, whatever host the DNS names.
        """
        tunnel = self.serviceOf("forged")
        self.assertRaises(OSError, ping, tunnel.port)
        until(lambda: "identity: " in tunnel.log, "it is refused")
        self.assertSays("identity none", tunnel)

    def test_aDomainThatHasNoSuchServiceIsTakenAtItsWord(self) -> None:
        """
        The log says so.
        """
        tunnel = self.serviceOf("none")
        self.assertRaises(OSError, ping, tunnel.port)
        until(lambda: "test.example says that it has no _none._tcp" in tunnel.log, "it says so")

    def test_aServiceThatIsNotThereStopsTheStart(self) -> None:
        """
        It is more often a typing error than a passing trouble.
        """
        tunnel = self.tunnelTo("gone")
        # Its socket may be there for a moment before.
        with contextlib.suppress(AssertionError):
            tunnel.start()
        said = "no SRV record of _gone._tcp.test.example was found"
        until(lambda: said in tunnel.log, "it says why")
        with contextlib.suppress(AssertionError):
            tunnel.stop()
