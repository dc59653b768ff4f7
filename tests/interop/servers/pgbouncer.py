"""
PgBouncer: postgresql, in front of a server.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.interop.harness import Daemon, ServerCertificate
from tests.interop.servers.postgresql import DATABASE, PASSWORD, USER, PostgreSQL

CONFIGURATION = """\
[databases]
{database} = host={socket} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {directory}/users
{tls}
"""

STARTTLS = """\
client_tls_sslmode = require
client_tls_cert_file = {chain}
client_tls_key_file = {key}"""


class PgBouncer(Daemon):
    """
    With certificates: nobody without TLS.  Without: no TLS.  L{USER} of a L{PostgreSQL}.
    """

    packages = ("pgbouncer",)
    title = "PgBouncer"
    program = "pgbouncer"
    services = ("postgresql",)
    user = "postgres"

    def __init__(
        self,
        directory: Path,
        server: PostgreSQL,
        certificates: ServerCertificate | None = None,
    ) -> None:
        super().__init__(directory, certificates)
        self._server = server

    def configure(self) -> None:
        tls = ""
        if self.certificates is not None:
            tls = STARTTLS.format(chain=self.certificates.chain, key=self.certificates.key)
        text = CONFIGURATION.format(
            database=DATABASE,
            socket=self._server.directory,
            port=self._server.port,
            own=self.port,
            directory=self.directory,
            tls=tls,
        )
        self.write("pgbouncer.ini", text)
        self.write("users", f'"{USER}" "{PASSWORD}"\n')

    def command(self) -> Sequence[str]:
        return [self.executable, str(self.directory / "pgbouncer.ini")]
