"""
InspIRCd, whose STARTTLS is the real one, and ngIRCd, which has none: irc.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.interop.harness import Daemon, ServerCertificate

NAME = "irc.test.example"

INSPIRCD = """\
<config format="xml">
<server name="{name}" description="interop tests" network="Test" id="1AB">
<admin name="nobody" nick="nobody" email="nobody@test.example">
<bind address="127.0.0.1" port="{port}" type="clients">
{classes}
<path configdir="{directory}" datadir="{directory}" logdir="{directory}"
      runtimedir="{directory}" moduledir="/usr/lib/inspircd/modules">
<pid file="{directory}/pid">
<log method="file" type="* -USERINPUT -USEROUTPUT -MODULE" level="default"
     target="{directory}/log">
<dns server="127.0.0.1" timeout="1">
<module name="cap">
{gateway}
{tls}
"""

CLASS = """\
<connect name="{name}" allow="*" timeout="30" resolvehostnames="no" localmax="100" globalmax="100"
         maxconnwarn="no" pingfreq="120" {requirement}>"""

STARTTLS = """\
<module name="ssl_gnutls">
<module name="sslinfo">
<module name="starttls">
<sslprofile name="Clients" provider="gnutls" certfile="{chain}" keyfile="{key}" hash="sha256">
<starttls sslprofile="Clients">"""

#: Who may speak for others, and that is told of them.
GATEWAY = """\
<module name="cgiirc">
<cgihost type="webirc" mask="127.0.0.1" password="{password}">"""

SSLINFO = """\
<sslinfo hash="sha-256">"""


class InspIRCd(Daemon):
    """
    With certificates: STARTTLS, and no registration without.  Without: no TLS.

    @ivar password: by which it knows a gateway; to be set before the start.
    """

    packages = ("inspircd",)
    title = "InspIRCd"
    program = "inspircd"
    services = ("irc",)
    user = "irc"

    def __init__(self, directory: Path, certificates: ServerCertificate | None = None) -> None:
        super().__init__(directory, certificates)
        self.logs.append(directory / "log")
        self.password = ""

    def configure(self) -> None:
        classes, tls = CLASS.format(name="everybody", requirement=""), ""
        if self.certificates is not None:
            # The second is for those who have not yet upgraded, and cannot register.
            secure = CLASS.format(name="secure", requirement='requiressl="yes"')
            visitor = CLASS.format(name="visitor", requirement='password="which nobody knows"')
            classes = f"{secure}\n{visitor}"
            tls = STARTTLS.format(chain=self.certificates.chain, key=self.certificates.key)
            tls = f"{tls}\n{SSLINFO}"
        text = INSPIRCD.format(
            directory=self.directory,
            name=NAME,
            port=self.port,
            classes=classes,
            gateway=GATEWAY.format(password=self.password) if self.password else "",
            tls=tls,
        )
        self.write("inspircd.conf", text)

    def command(self) -> Sequence[str]:
        configuration = str(self.directory / "inspircd.conf")
        return [self.executable, "--nofork", "--config", configuration]


NGIRCD = """\
[Global]
Name = {name}
Info = interop tests
AdminEMail = nobody@test.example
Listen = 127.0.0.1
Ports = {port}
MotdPhrase = hello
PidFile = {directory}/pid
[Options]
DNS = no
Ident = no
PAM = no
{gateway}
"""


class NgIRCd(Daemon):
    """
    Plaintext only: its TLS is TLS from the first byte.

    @ivar password: by which it knows a gateway; to be set before the start.
    """

    packages = ("ngircd",)
    title = "ngIRCd"
    program = "ngircd"
    services = ("irc",)
    user = "irc"

    def __init__(self, directory: Path, certificates: ServerCertificate | None = None) -> None:
        super().__init__(directory, certificates)
        self.password = ""

    def configure(self) -> None:
        assert self.certificates is None, "ngIRCd has no STARTTLS"
        gateway = f"WebircPassword = {self.password}" if self.password else ""
        text = NGIRCD.format(directory=self.directory, name=NAME, port=self.port, gateway=gateway)
        self.write("ngircd.conf", text)

    def command(self) -> Sequence[str]:
        return [self.executable, "--nodaemon", "--config", str(self.directory / "ngircd.conf")]
