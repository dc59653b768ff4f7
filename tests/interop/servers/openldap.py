"""
OpenLDAP slapd: ldap.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import ClassVar
from urllib.parse import quote

from tests.interop.harness import Daemon

SUFFIX = "dc=example,dc=org"
USER = f"uid=alice,{SUFFIX}"
PASSWORD = "down the rabbit hole"
MAIL = "alice@example.org"

_SCHEMAS = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
"""

_DATABASE = """\
database mdb
maxsize 10485760
suffix "{suffix}"
directory "{directory}/db"
"""

CONFIGURATION = (
    _SCHEMAS
    + "{tls}\n"
    + _DATABASE
    + """\
access to attrs=userPassword by anonymous auth by * none
access to * by users read by * none
"""
)

#: Without TLS every operation but StartTLS is answered with confidentialityRequired.
STARTTLS = """\
TLSCertificateFile "{chain}"
TLSCertificateKeyFile "{key}"
security tls=1"""

TREE = f"""\
dn: {SUFFIX}
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: {USER}
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: Liddell
mail: {MAIL}
userPassword: {PASSWORD}
"""


#: Whom the tunnel is to a directory that lets it act for its people, and for nobody else.
TUNNEL = f"cn=tunnel,{SUFFIX}"
TUNNEL_PASSWORD = "through the looking-glass"
PEOPLE = f"ou=people,{SUFFIX}"
PUBLIC = "for everybody"

PROXIED_CONFIGURATION = (
    _SCHEMAS
    + """\

authz-policy to
authz-regexp "^uid=([^,@]+)@test[.]example,cn=auth$" "uid=$1,{people}"

"""
    + _DATABASE
    + """\
access to attrs=userPassword
    by anonymous auth
    by self =w
    by * none
access to dn.exact="{tunnel}" attrs=entry,authzTo
    by self auth
    by * none
access to dn.subtree="{people}"
    by self write
    by dn.onelevel="{people}" read
    by * none
access to *
    by dn.exact="{tunnel}" none
    by * read
"""
)

PROXIED_TREE = f"""\
dn: {SUFFIX}
objectClass: dcObject
objectClass: organization
dc: example
o: Example
description: {PUBLIC}

dn: {TUNNEL}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: tunnel
userPassword: {TUNNEL_PASSWORD}
authzTo: dn.onelevel:{PEOPLE}

dn: {PEOPLE}
objectClass: organizationalUnit
ou: people

dn: uid=alice,{PEOPLE}
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: Liddell
mail: {MAIL}
userPassword: {PASSWORD}

dn: uid=bob,{PEOPLE}
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: Dodo
"""


class OpenLDAP(Daemon):
    """
    With certificates: StartTLS, and nothing without.  Without: no TLS.

    One entry, L{USER} with L{PASSWORD}, who has to bind to read its L{MAIL}.
    """

    packages = ("slapd",)
    title = "OpenLDAP slapd"
    program = "slapd"
    services: ClassVar[tuple[str, ...]] = ("ldap",)

    def configure(self) -> None:
        tls = ""
        if self.certificates is not None:
            tls = STARTTLS.format(chain=self.certificates.chain, key=self.certificates.key)
        text = CONFIGURATION.format(directory=self.directory, suffix=SUFFIX, tls=tls)
        self.fill(text, TREE)

    def fill(self, text: str, entries: str) -> None:
        """
        Write the configuration, and the directory's content.
        """
        configuration = self.write("slapd.conf", text)
        tree = self.write("tree.ldif", entries)
        (self.directory / "db").mkdir()
        add = [self.executable, "-T", "add", "-q", "-f", str(configuration), "-l", str(tree)]
        subprocess.run(add, check=True, capture_output=True)

    def command(self) -> Sequence[str]:
        configuration = str(self.directory / "slapd.conf")
        url = f"ldap://127.0.0.1:{self.port}"
        return [self.executable, "-h", url, "-f", configuration, "-d", "stats"]


class ProxiedOpenLDAP(OpenLDAP):
    """
    Without TLS, for a tunnel that acts for its people; also at a UNIX socket, and at a port where a
    header of the PROXY protocol is required.
    """

    services = ("ldap", "pldap")

    def configure(self) -> None:
        text = PROXIED_CONFIGURATION.format(
            directory=self.directory, suffix=SUFFIX, tunnel=TUNNEL, people=PEOPLE
        )
        self.fill(text, PROXIED_TREE)
        self.sockets = [self.directory / "ldapi"]

    def command(self) -> Sequence[str]:
        (socket,) = self.sockets
        urls = f"ldap://127.0.0.1:{self.port} ldapi://{quote(str(socket), safe='')}"
        urls += f" pldap://127.0.0.1:{self.ports['pldap']}"
        configuration = str(self.directory / "slapd.conf")
        return [self.executable, "-h", urls, "-f", configuration, "-d", "stats"]
