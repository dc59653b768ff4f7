"""
OpenLDAP slapd with a pool in it, which others follow (slapo-syncprov(5)).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from tests.interop.certificates import ServerCertificate
from tests.interop.harness import Daemon

SUFFIX = "dc=example,dc=test"
BASE = f"ou=pool,{SUFFIX}"

#: Who reads, and who writes; both by their certificates, and the latter also by a password.
REPLICA = "replica@example.test"
OPERATOR = "operator@example.test"
ROOT, PASSWORD = f"cn=root,{SUFFIX}", "who turns the crank"

_CONFIGURATION = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload syncprov
{serverID}

TLSCACertificateFile "{anchors}"
TLSCertificateFile "{chain}"
TLSCertificateKeyFile "{key}"
TLSVerifyClient try
security update_ssf=64

authz-regexp "^cn=replica@example.test$" "cn=replica,{suffix}"
authz-regexp "^cn=operator@example.test$" "cn=operator,{suffix}"
authz-regexp "^gidNumber=.*,cn=peercred,cn=external,cn=auth$" "cn=replica,{suffix}"

database mdb
maxsize 104857600
suffix "{suffix}"
rootdn "{root}"
rootpw "{password}"
directory "{directory}"
index entryCSN,entryUUID eq
{limits}

{access}
access to * by * none
{peer}

overlay syncprov
syncprov-checkpoint 100 1
{log}
"""

# The other one of two providers, which writes too (slapd.conf(5)).
_PEER = f"""\
syncrepl rid=001 provider={{url}} type=refreshAndPersist retry="1 +" interval=00:00:00:01
    bindmethod=simple binddn="{ROOT}" credentials="{PASSWORD}" searchbase="{SUFFIX}"
multiprovider on
"""

#: The replica reads the pool; nobody else does, but the operator, who writes it.
ACCESS = f"""\
access to dn.subtree="{BASE}"
    by dn.exact="cn=replica,{SUFFIX}" read
    by dn.exact="cn=operator,{SUFFIX}" write
    by * none
"""

#: The same without the replica: it does not even see the base.
INVISIBLE = f"""\
access to dn.subtree="{BASE}"
    by dn.exact="cn=operator,{SUFFIX}" write
    by * none
"""

#: It sees the base, and nothing below it.
BASE_ALONE = f"""\
access to dn.base="{BASE}" by dn.exact="cn=replica,{SUFFIX}" read by * none
{INVISIBLE}"""

TREE = f"""\
dn: {SUFFIX}
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: {BASE}
objectClass: organizationalUnit
ou: pool

dn: ou=identities,{BASE}
objectClass: organizationalUnit
ou: identities

dn: ou=trust,{BASE}
objectClass: organizationalUnit
ou: trust

dn: ou=disclose,{BASE}
objectClass: organizationalUnit
ou: disclose
"""


class SyncProvider(Daemon):
    """
    A pool that is read by L{REPLICA} and written by L{OPERATOR}.

    @ivar access, limits, hasSessionLog, serverID: what its configuration says from the next start
        on.
    @ivar peer: another provider, which it follows, as that one follows it.
    @ivar isFirst: whether it begins with a pool, and does not get it from its peer.
    """

    packages = ("slapd",)
    title = "OpenLDAP slapd"
    program = "slapd"
    services: ClassVar[tuple[str, ...]] = ("ldap", "ldaps")

    def __init__(self, directory: Path, certificates: ServerCertificate) -> None:
        super().__init__(directory, certificates)
        self.access = ACCESS
        self.limits = "sizelimit unlimited"
        self.hasSessionLog = True
        self.serverID = 0
        self.peer: SyncProvider | None = None
        self.isFirst = True
        self.sockets = [directory / "ldapi"]

    @property
    def database(self) -> Path:
        return self.directory / "db"

    @property
    def url(self) -> str:
        """Where the pool is, by StartTLS."""
        return f"ldap://127.0.0.1:{self.port}/{BASE}"

    @property
    def implicit(self) -> str:
        """The same with TLS from the first byte."""
        return f"ldaps://127.0.0.1:{self.ports['ldaps']}/{BASE}"

    @property
    def local(self) -> str:
        """The same at a UNIX socket, without TLS."""
        return f"{self.socket}/{BASE}"

    @property
    def socket(self) -> str:
        """That socket."""
        return f"ldapi://{quote(str(self.sockets[0]), safe='')}"

    def configure(self) -> None:
        assert self.certificates is not None
        text = _CONFIGURATION.format(
            serverID=f"serverID {self.serverID}" if self.serverID else "",
            anchors=self.certificates.anchors,
            chain=self.certificates.chain,
            key=self.certificates.key,
            suffix=SUFFIX,
            root=ROOT,
            password=PASSWORD,
            directory=self.database,
            limits=self.limits,
            access=self.access,
            peer="" if self.peer is None else _PEER.format(url=self.peer.socket),
            log="syncprov-sessionlog 1000" if self.hasSessionLog else "",
        )
        configuration = self.write("slapd.conf", text)
        if self.database.exists():
            return
        self.database.mkdir()
        if not self.isFirst:
            return
        tree = self.write("tree.ldif", TREE)
        add = [self.executable, "-T", "add", "-w", "-q", "-f", str(configuration), "-l", str(tree)]
        if self.serverID:
            add[4:4] = ["-S", str(self.serverID)]
        subprocess.run(add, check=True, capture_output=True)

    def command(self) -> Sequence[str]:
        urls = f"ldap://127.0.0.1:{self.port} ldaps://127.0.0.1:{self.ports['ldaps']}"
        urls += f" {self.socket}"
        configuration = str(self.directory / "slapd.conf")
        return [self.executable, "-h", urls, "-f", configuration, "-d", "stats"]

    def change(self, ldif: str) -> None:
        """
        Do what C{ldif} says, as the directory's own administrator.
        """
        words = ["ldapmodify", "-x", "-D", ROOT, "-w", PASSWORD, "-H", self.socket]
        done = subprocess.run(words, input=ldif, text=True, capture_output=True, check=False)
        if done.returncode:
            raise AssertionError(f"ldapmodify: {done.stderr}\n{ldif[:2000]}")

    def dump(self) -> str:
        """
        All entries as LDIF; nothing as long as there are none.
        """
        words = ["ldapsearch", "-LLL", "-x", "-D", ROOT, "-w", PASSWORD, "-H", self.socket]
        return subprocess.run(
            [*words, "-b", SUFFIX, "dn"], text=True, capture_output=True, check=False
        ).stdout

    def copy(self, name: str) -> Path:
        """
        What the database is now, while it is stopped.
        """
        copy = self.directory / name
        shutil.copytree(self.database, copy)
        return copy

    def restore(self, copy: Path) -> None:
        """
        Let it be that again.
        """
        shutil.rmtree(self.database)
        shutil.copytree(copy, self.database)
