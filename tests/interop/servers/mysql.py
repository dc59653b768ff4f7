"""
MySQL, which tests/interop/unpack puts aside: mysql, on TCP and a UNIX socket.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pymysql

from tests.interop.harness import Daemon, ServerCertificate
from tests.interop.servers.mariadb import DATABASE, PASSWORD, TITLE

#: A user of this name for each authentication plugin that the server has.
PLUGINS = {"caching": "caching_sha2_password", "outdated": "sha256_password"}

ROOT = Path("/opt/tlstunnel-interop/unstable")

CONFIGURATION = """\
[mysqld]
basedir = {root}/usr
lc_messages_dir = {root}/usr/share/mysql
plugin_dir = {root}/usr/lib/mysql/plugin
datadir = {directory}/data
socket = {directory}/socket
pid_file = {directory}/pid
secure_file_priv =
bind_address = 127.0.0.1
port = {port}
mysqlx = OFF
skip_name_resolve
skip_log_bin
performance_schema = {schema}
innodb_buffer_pool_size = 8M
innodb_redo_log_capacity = 16M
innodb_flush_log_at_trx_commit = 0
{tls}
"""

STARTTLS = """\
ssl_cert = {chain}
ssl_key = {key}
require_secure_transport = ON"""

PLAINTEXT = """\
auto_generate_certs = OFF
tls_version =
caching_sha2_password_auto_generate_rsa_keys = ON"""

#: Both as the same user, who is not root.
COMMAND = '"$@" --initialize-insecure && exec "$@" --init-file="$PWD/init.sql"'


class MySQL(Daemon):
    """
    With certificates: TLS required, but on the UNIX socket.  Without: no TLS.

    One table C{book} in L{DATABASE}, with L{TITLE}, which all users in L{PLUGINS} may read.

    @ivar socket: a UNIX socket with the same service.
    """

    packages = ("mysql-server-core",)
    title = "MySQL"
    program = str(ROOT / "usr/sbin/mysqld")
    services = ("mysql",)
    user = "mysql"
    startTime = 60.0

    #: Statements more, with which it begins.
    more: Sequence[str] = ()

    #: Whether it knows what clients tell of themselves, for which it takes long to start.
    schema = "OFF"

    def __init__(self, directory: Path, certificates: ServerCertificate | None = None) -> None:
        super().__init__(directory, certificates)
        self.socket = directory / "socket"
        self.sockets = [self.socket]

    def configure(self) -> None:
        tls = PLAINTEXT
        if self.certificates is not None:
            tls = STARTTLS.format(chain=self.certificates.chain, key=self.certificates.key)
        text = CONFIGURATION.format(
            root=ROOT, directory=self.directory, port=self.port, tls=tls, schema=self.schema
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
                f"CREATE USER {user}@'%' IDENTIFIED WITH {plugin} BY '{PASSWORD}';",
                f"GRANT SELECT ON {DATABASE}.* TO {user}@'%';",
            ]
        statements += self.more
        self.write("init.sql", "\n".join(statements) + "\n")

    def connection(self) -> pymysql.Connection[pymysql.cursors.Cursor]:
        """
        One as its administrator.
        """
        return pymysql.connect(unix_socket=str(self.socket), user="root")

    def forget(self) -> None:
        """
        Have it forget the passwords that it knows, so that the next logins are not fast ones.
        """
        with self.connection() as root:
            root.cursor().execute("FLUSH PRIVILEGES")

    def command(self) -> Sequence[str]:
        return ["sh", "-c", COMMAND, "sh", self.executable, "--defaults-file=my.cnf"]
