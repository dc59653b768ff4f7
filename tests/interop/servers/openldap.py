"""
OpenLDAP slapd: ldap.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import ClassVar

from tests.interop.harness import Daemon

SUFFIX = "dc=example,dc=org"
USER = f"uid=alice,{SUFFIX}"
PASSWORD = "down the rabbit hole"
MAIL = "alice@example.org"

CONFIGURATION = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
{tls}
database mdb
maxsize 10485760
suffix "{suffix}"
directory "{directory}/db"
access to attrs=userPassword by anonymous auth by * none
access to * by users read by * none
"""

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
        configuration = self.write("slapd.conf", text)
        tree = self.write("tree.ldif", TREE)
        (self.directory / "db").mkdir()
        add = [self.executable, "-T", "add", "-q", "-f", str(configuration), "-l", str(tree)]
        subprocess.run(add, check=True, capture_output=True)

    def command(self) -> Sequence[str]:
        configuration = str(self.directory / "slapd.conf")
        url = f"ldap://127.0.0.1:{self.port}"
        return [self.executable, "-h", url, "-f", configuration, "-d", "stats"]
