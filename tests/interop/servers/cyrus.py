"""
Cyrus IMAP: imap, pop3 and sieve.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.interop import saslauthd
from tests.interop.harness import Daemon

#: Who may log in for others, and the password of that; nobody else has one.
TUNNEL = "tunnel"
TUNNEL_PASSWORD = "something long"

CONFIGURATION = """\
configdirectory: {directory}/conf
defaultpartition: default
partition-default: {directory}/spool
sievedir: {directory}/sieve
cyrus_user: mail
cyrus_group: mail
servername: mail.test.example
virtdomains: userid
defaultdomain: internal.test.example
unixhierarchysep: yes
autocreate_quota: 0
admins: cyrus
proxyservers: {tunnel}
sasl_pwcheck_method: saslauthd
sasl_saslauthd_path: {directory}/saslauthd
sasl_mech_list: PLAIN
allowplaintext: yes
"""

SERVICES = """\
START {{
  recover cmd="{programs}/ctl_cyrusdb -C {directory}/imapd.conf -r"
}}
SERVICES {{
  imap cmd="{programs}/imapd -C {directory}/imapd.conf" listen="127.0.0.1:{imap}" prefork=0
  pop3 cmd="{programs}/pop3d -C {directory}/imapd.conf" listen="127.0.0.1:{pop3}" prefork=0
  sieve cmd="{programs}/timsieved -C {directory}/imapd.conf" listen="127.0.0.1:{sieve}" prefork=0
}}
"""


class Cyrus(Daemon):
    """
    No TLS; everybody has a mailbox, and L{TUNNEL} logs them in.
    """

    packages = ("cyrus-imapd",)
    title = "Cyrus IMAP"
    program = "/opt/tlstunnel-interop/cyrus/usr/lib/cyrus/bin/master"
    services = ("imap", "pop3", "sieve")
    needsRoot = True

    def configure(self) -> None:
        programs = Path(self.executable).parent
        text = CONFIGURATION.format(directory=self.directory, tunnel=TUNNEL)
        self.write("imapd.conf", text)
        text = SERVICES.format(directory=self.directory, programs=programs, **self.ports)
        self.write("cyrus.conf", text)
        for name in ("conf", "spool", "sieve"):
            (self.directory / name).mkdir()
            shutil.chown(self.directory / name, "mail", "mail")

    def command(self) -> Sequence[str]:
        account = (str(self.directory / "saslauthd"), TUNNEL, TUNNEL_PASSWORD)
        files = [
            option
            for letter, name in (("C", "imapd.conf"), ("M", "cyrus.conf"), ("p", "pid"))
            for option in (f"-{letter}", str(self.directory / name))
        ]
        master = [self.executable, "-D", *files]
        return [sys.executable, str(saslauthd.__file__), *account, *master]

    def environment(self) -> Mapping[str, str]:
        return {"LD_LIBRARY_PATH": "/opt/tlstunnel-interop/cyrus/usr/lib/x86_64-linux-gnu"}

    def address(self, service: str) -> str:
        """
        For C{-r}.
        """
        return f"127.0.0.1:{self.ports[service]}"
