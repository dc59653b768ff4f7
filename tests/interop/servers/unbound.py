"""
unbound, which asks nobody: as a resolver that validates, with zones of its own that ldns signs, and
as what tells where the XMPP servers of domains are.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.interop.clients import run
from tests.interop.harness import Daemon, find

SERVER = """\
server:
    directory: "{directory}"
    chroot: ""
    username: ""
    pidfile: "{directory}/unbound.pid"
    use-syslog: no
    logfile: ""
    do-daemonize: no
    interface: 127.0.0.1@{port}
"""

VALIDATING = """\
    val-log-level: 2
    interface: {plain}@53
    access-control: 127.0.0.0/8 allow
    module-config: "validator iterator"
    target-fetch-policy: "0 0 0 0 0"
"""

ZONE = """\
auth-zone:
    name: "{name}"
    zonefile: "{file}"
    for-downstream: no
    for-upstream: yes
    fallback-enabled: no
"""

# Else it asks the servers of the real root, who are far.
ROOT = """\
$ORIGIN .
$TTL 60
@ IN SOA ns. admin. 1 3600 600 86400 60
@ IN NS ns.
ns IN A 127.0.0.1
"""

RECORDS = """\
$ORIGIN {name}.
$TTL 60
@ IN SOA ns.{name}. admin.{name}. 1 3600 600 86400 60
@ IN NS ns.{name}.
ns IN A 127.0.0.1
"""


# What tells where a server is.
XMPP_RECORD = '    local-data: "_xmpp-server._tcp.{domain}. IN SRV 0 0 {port} localhost."\n'


class Resolver(Daemon):
    """
    What is common to both.
    """

    packages = ("unbound",)
    title = "unbound"
    program = "unbound"
    services = ("dns",)

    def settings(self) -> str:
        """
        What is behind those of the process.
        """
        raise NotImplementedError

    def configure(self) -> None:
        text = SERVER.format(directory=self.directory, port=self.port)
        self.write("unbound.conf", text + self.settings())

    def command(self) -> Sequence[str]:
        return [self.executable, "-d", "-p", "-c", str(self.directory / "unbound.conf")]


class XMPPNames(Resolver):
    """
    Where the servers of domains are that know each other.
    """

    def __init__(self, directory: Path, where: Mapping[str, int]) -> None:
        """
        @param where: the port on loopback of each domain.
        """
        super().__init__(directory)
        self._where = where

    def settings(self) -> str:
        records = (XMPP_RECORD.format(domain=each, port=self._where[each]) for each in self._where)
        return '    module-config: "iterator"\n    local-zone: "." static\n' + "".join(records)


class Unbound(Resolver):
    """
    @ivar plain: an address of the loopback network where it listens at port 53, for programs that
        know no other: none that anybody else is likely to have.
    """

    needsRoot = True

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.plain = ".".join(map(str, (127, *(secrets.randbelow(253) + 1 for _ in range(3)))))
        self._zones = ""
        self._anchors = ""

    @property
    def address(self) -> str:
        """
        Where else it listens.
        """
        return f"127.0.0.1:{self.port}"

    def zone(
        self, name: str, records: Sequence[str], isSigned: bool = True, isKnown: bool = True
    ) -> None:
        """
        One more zone.

        @param isSigned: whether it is signed, as the resolver knows.
        @param isKnown: whether by the key that the resolver knows.
        """
        file = self.write(f"{name}.zone", RECORDS.format(name=name) + "\n".join(records) + "\n")
        if isSigned:
            key = self._key(name)
            known = key if isKnown else self._key(name)
            self._ldns("ldns-signzone", "-n", str(file), str(key))
            file = file.with_name(f"{file.name}.signed")
            self._anchors += f'    trust-anchor-file: "{known}.key"\n'
        self._zones += ZONE.format(name=name, file=file)

    def _key(self, name: str) -> Path:
        made = self._ldns("ldns-keygen", "-a", "ECDSAP256SHA256", "-k", name)
        return self.directory / made.split()[-1]

    def _ldns(self, program: str, *arguments: str) -> str:
        """
        Run a program that writes into the directory it is started in.
        """
        where = str(self.directory)
        return run(["env", "-C", where, find(program, "ldnsutils"), *arguments]).expect()

    def settings(self) -> str:
        root = ZONE.format(name=".", file=self.write("root.zone", ROOT))
        return VALIDATING.format(plain=self.plain) + self._anchors + self._zones + root
