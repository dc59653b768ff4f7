"""
MariaDB: mysql, on TCP and a UNIX socket.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.interop.harness import Daemon, ServerCertificate

#: A user of this name for each authentication plugin that the server has.
PLUGINS = {"native": "mysql_native_password", "edwards": "ed25519"}
PASSWORD = "down the rabbit hole"
DATABASE = "books"
TITLE = "The Hunting of the Snark"

CONFIGURATION = """\
[mariadbd]
datadir = {directory}/data
socket = {directory}/socket
pid_file = {directory}/pid
init_file = {directory}/init.sql
bind_address = 127.0.0.1
port = {port}
plugin_load_add = auth_ed25519
skip_name_resolve
max_connections = 10
performance_schema = {schema}
innodb_buffer_pool_size = 8M
innodb_log_file_size = 4M
innodb_flush_log_at_trx_commit = 0
{tls}
{settings}
"""

STARTTLS = """\
ssl_cert = {chain}
ssl_key = {key}
require_secure_transport = ON"""

#: Both as the same user, who is not root.
COMMAND = (
    'mariadb-install-db --no-defaults --datadir="$PWD/data" --skip-test-db --skip-name-resolve '
    '--auth-root-authentication-method=normal && exec "$1" --defaults-file=my.cnf'
)


class MariaDB(Daemon):
    """
    With certificates: TLS required, but on the UNIX socket.  Without: no TLS.

    One table C{book} in L{DATABASE}, with L{TITLE}, which all users in L{PLUGINS} may read.

    @ivar socket: a UNIX socket with the same service.
    """

    packages = ("mariadb-server",)
    title = "MariaDB"
    program = "mariadbd"
    services = ("mysql",)
    user = "mysql"
    settings = ""

    #: Statements more, with which it begins.
    more: Sequence[str] = ()

    #: Whether it knows what clients tell of themselves, for which it takes long to start.
    schema = "OFF"

    def __init__(self, directory: Path, certificates: ServerCertificate | None = None) -> None:
        super().__init__(directory, certificates)
        self.socket = directory / "socket"
        self.sockets = [self.socket]

    def configure(self) -> None:
        tls = "skip_ssl"
        if self.certificates is not None:
            tls = STARTTLS.format(chain=self.certificates.chain, key=self.certificates.key)
        text = CONFIGURATION.format(
            directory=self.directory,
            port=self.port,
            tls=tls,
            schema=self.schema,
            settings=self.settings,
        )
        self.write("my.cnf", text)
        # One statement on each line, or the server does not read them.
        statements = [
            f"CREATE DATABASE {DATABASE};",
            f"CREATE TABLE {DATABASE}.book (title text);",
            f"INSERT INTO {DATABASE}.book VALUES ('{TITLE}');",
        ]
        for user, plugin in PLUGINS.items():
            statements += [
                f"CREATE USER {user}@'%' IDENTIFIED VIA {plugin} USING PASSWORD('{PASSWORD}');",
                f"GRANT SELECT ON {DATABASE}.* TO {user}@'%';",
            ]
        statements += self.more
        self.write("init.sql", "\n".join(statements) + "\n")

    def command(self) -> Sequence[str]:
        return ["sh", "-c", COMMAND, "sh", self.executable]


class ToldMariaDB(MariaDB):
    """
    Is told by headers of the PROXY protocol who is there.
    """

    settings = "proxy_protocol_networks = 127.0.0.1"
