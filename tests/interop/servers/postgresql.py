"""
PostgreSQL: postgresql, on TCP and a UNIX socket.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.interop.harness import Daemon, ServerCertificate, run, until

USER = "alice"
PASSWORD = "down the rabbit hole"
DATABASE = "books"
TITLE = "The Hunting of the Snark"

#: Where tests/interop/unpack puts programs of Debian unstable.
UNSTABLE = "/opt/tlstunnel-interop/unstable"

CONFIGURATION = """\
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{directory}'
log_connections = on
log_line_prefix = ''
max_connections = 20
shared_buffers = 16MB
dynamic_shared_memory_type = mmap
fsync = off
{tls}
"""

STARTTLS = """\
ssl = on
ssl_cert_file = '{chain}'
ssl_key_file = '{key}'"""

ACCESS = """\
local   all postgres trust
local   all all      scram-sha-256
{tcp} all all 127.0.0.1/32 scram-sha-256
"""

#: As before a tunnel that checks who is who.
TRUST = """\
local   all postgres trust
local   all all trust
host    all postgres 127.0.0.1/32 reject
host    all all 127.0.0.1/32 trust
"""

#: initdb and postgres both refuse to be run by root, so one command does both; the former once.
COMMAND = (
    '[ -d data ] || "$1"/initdb --pgdata=data --username=postgres --auth=trust --no-sync '
    "--no-locale --encoding=UTF8 --no-instructions; cp pg_hba.conf data/ && "
    "rm -f data/postmaster.pid && "
    'exec "$1"/postgres -D data -c config_file=postgresql.conf'
)

CONTENTS = f"""\
CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}';
CREATE DATABASE {DATABASE};
\\c {DATABASE}
CREATE TABLE book (title text);
INSERT INTO book VALUES ('{TITLE}');
GRANT SELECT ON book TO {USER};
"""


class PostgreSQL(Daemon):
    """
    With certificates: C{hostssl} only.  Without: no TLS.  SCRAM-SHA-256 with both.

    One table C{book} in L{DATABASE}, with L{TITLE}, which L{USER} may read.

    @ivar socket: a UNIX socket with the same service.
    """

    access = ACCESS

    packages = ("postgresql-15",)
    title = "PostgreSQL"
    program = "/usr/lib/postgresql/*/bin/postgres"
    services = ("postgresql",)
    user = "postgres"

    def __init__(self, directory: Path, certificates: ServerCertificate | None = None) -> None:
        super().__init__(directory, certificates)
        self.isPopulated = False
        self.socket = directory / f".s.PGSQL.{self.port}"
        self.sockets = [self.socket]

    def configure(self) -> None:
        tls, tcp = "", "host"
        if self.certificates is not None:
            tls = STARTTLS.format(chain=self.certificates.chain, key=self.certificates.key)
            tcp = "hostssl"
        text = CONFIGURATION.format(directory=self.directory, port=self.port, tls=tls)
        self.write("postgresql.conf", text)
        self.write("pg_hba.conf", self.access.format(tcp=tcp))

    def command(self) -> Sequence[str]:
        programs = str(Path(self.executable).parent)
        return ["sh", "-c", COMMAND, "sh", programs]

    def populate(self) -> None:
        if self.isPopulated:
            return
        self.isPopulated = True
        # It listens before that.
        until(lambda: "ready to accept connections" in self.log, "PostgreSQL is up")
        local = f"host={self.directory} port={self.port} user=postgres dbname=postgres"
        run(["psql", "-X", "-v", "ON_ERROR_STOP=1", local], CONTENTS).expect()


#: The client of that version, started with the C library that it was built for.
NEWER_PSQL = (
    f"{UNSTABLE}/lib64/ld-linux-x86-64.so.2",
    *("--library-path", f"{UNSTABLE}/usr/lib/x86_64-linux-gnu"),
    f"{UNSTABLE}/usr/lib/postgresql/18/bin/psql",
)


class NewerPostgreSQL(PostgreSQL):
    """
    The same in a version that takes TLS without negotiation, which tests/interop/unpack puts aside.
    """

    packages = ("postgresql-18",)
    program = f"{UNSTABLE}/usr/lib/postgresql/18/bin/postgres"


class TrustingPostgreSQL(PostgreSQL):
    """
    The same, which believes everybody on loopback.
    """

    access = TRUST


class NewerTrustingPostgreSQL(NewerPostgreSQL):
    """
    The same of the newer version.
    """

    access = TRUST
