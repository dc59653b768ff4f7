"""
unbound, which tells where the XMPP servers of domains are, and asks nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.interop.harness import Daemon

CONFIGURATION = """\
server:
    directory: "{directory}"
    chroot: ""
    username: ""
    pidfile: "{directory}/unbound.pid"
    use-syslog: no
    logfile: ""
    do-daemonize: no
    interface: 127.0.0.1@{port}
    module-config: "iterator"
    local-zone: "." static
{records}
"""

RECORD = '    local-data: "_xmpp-server._tcp.{domain}. IN SRV 0 0 {port} localhost."'


class XMPPNames(Daemon):
    """
    Where the servers of domains are that know each other.
    """

    packages = ("unbound",)
    title = "unbound"
    program = "unbound"
    services = ("dns",)

    def __init__(self, directory: Path, where: Mapping[str, int]) -> None:
        """
        @param where: the port on loopback of each domain.
        """
        super().__init__(directory)
        self._where = where

    def configure(self) -> None:
        records = (RECORD.format(domain=each, port=port) for each, port in self._where.items())
        text = CONFIGURATION.format(
            directory=self.directory, port=self.port, records="\n".join(records)
        )
        self.write("unbound.conf", text)

    def command(self) -> Sequence[str]:
        return [self.executable, "-d", "-p", "-c", str(self.directory / "unbound.conf")]
