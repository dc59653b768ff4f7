"""
ProFTPD, and vsftpd, which tests/interop/unpack puts aside: ftp.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.interop.harness import Daemon, ServerCertificate

USER = "alice"
PASSWORD = "down the rabbit hole"
FILE = "snark.txt"
CONTENTS = b"Just the place for a Snark!\n" * 10000

#: The server's account, as in passwd(5): L{USER} with L{PASSWORD}, who is nobody to the system.
ACCOUNT = (
    f"{USER}:$6$tunnel$E1M3rqTk4S184XatRJpQLgHE3TF8tRz/eaaGnN9w4RULrm3tfG/"
    "8SLaVBOusS.vRSaPjoF2J7Nvvgfv.PTLnu/:65534:65534::{home}:/bin/sh\n"
)

CONFIGURATION = """\
ServerType standalone
ServerName interop
DefaultAddress 127.0.0.1
SocketBindTight on
Port {port}
UseIPv6 off
UseReverseDNS off
User nobody
Group nogroup
PidFile {directory}/pid
ScoreboardFile {directory}/scoreboard
ControlsSocket {directory}/controls
SystemLog {directory}/log
TransferLog {directory}/transfers
WtmpLog off
DelayEngine off
AuthOrder mod_auth_file.c
AuthUserFile {directory}/passwd
RequireValidShell off
DefaultRoot ~
AllowOverwrite on
{tls}
"""

STARTTLS = """\
ModulePath /usr/lib/proftpd
LoadModule mod_tls.c
TLSEngine on
TLSRequired on
TLSProtocol TLSv1.2 TLSv1.3
TLSLog {directory}/tls.log
{kind}CertificateFile {chain}
{kind}CertificateKeyFile {key}
"""


class ProFTPD(Daemon):
    """
    With certificates: AUTH TLS, and no login without; data connections have to be protected, and
    to resume the session of the control connection.  Without: no TLS.

    One account, L{USER} with L{PASSWORD}, with L{FILE} of L{CONTENTS} in it.

    @ivar home: the account's directory.
    """

    packages = ("proftpd-core", "proftpd-mod-crypto")
    title = "ProFTPD"
    program = "proftpd"
    services = ("ftp",)
    needsRoot = True

    def __init__(self, directory: Path, certificates: ServerCertificate | None = None) -> None:
        super().__init__(directory, certificates)
        self.home = directory / "home"
        self.logs += [directory / "log", directory / "tls.log"]

    def configure(self) -> None:
        self.home.mkdir()
        self.home.chmod(0o777)
        (self.home / FILE).write_bytes(CONTENTS)
        self.write("passwd", ACCOUNT.format(home=self.home), mode=0o600)
        tls = ""
        if self.certificates is not None:
            tls = STARTTLS.format(
                directory=self.directory,
                kind="TLSEC" if b"BEGIN EC" in self.certificates.key.read_bytes() else "TLSRSA",
                chain=self.certificates.chain,
                key=self.certificates.key,
            )
        text = CONFIGURATION.format(directory=self.directory, port=self.port, tls=tls)
        self.write("proftpd.conf", text)

    def command(self) -> Sequence[str]:
        configuration = str(self.directory / "proftpd.conf")
        return [self.executable, "--nodaemon", "--quiet", "--config", configuration]


VSFTPD = """\
listen = YES
listen_address = 127.0.0.1
listen_port = {port}
background = NO
seccomp_sandbox = NO
isolate = NO
isolate_network = NO
nopriv_user = nobody
secure_chroot_dir = {directory}/empty
local_enable = NO
anonymous_enable = YES
anon_root = {home}
anon_upload_enable = YES
write_enable = YES
port_enable = NO
log_ftp_protocol = YES
vsftpd_log_file = {directory}/log
{tls}
"""

VSFTPD_STARTTLS = """\
ssl_enable = YES
allow_anon_ssl = YES
force_anon_logins_ssl = YES
force_anon_data_ssl = YES
require_ssl_reuse = YES
strict_ssl_read_eof = YES
strict_ssl_write_shutdown = YES
ssl_ciphers = HIGH
rsa_cert_file = {chain}
rsa_private_key_file = {key}
"""


class Vsftpd(Daemon):
    """
    With certificates: AUTH TLS, and no login without; data connections have to be protected, to
    resume the session of the control connection, and to end properly.  Without: no TLS.

    C{anonymous} may read L{FILE} of L{CONTENTS}, and write what is new to the directory C{in}.

    @ivar home: the account's directory.
    """

    packages = ("vsftpd",)
    title = "vsftpd"
    program = "/opt/tlstunnel-interop/vsftpd/usr/sbin/vsftpd"
    services = ("ftp",)
    needsRoot = True

    def __init__(self, directory: Path, certificates: ServerCertificate | None = None) -> None:
        super().__init__(directory, certificates)
        self.home = directory / "home"
        self.logs.append(directory / "log")

    def configure(self) -> None:
        for name in ("empty", "home", "home/in"):
            (self.directory / name).mkdir()
        (self.home / "in").chmod(0o777)
        (self.home / FILE).write_bytes(CONTENTS)
        tls = ""
        if self.certificates is not None:
            tls = VSFTPD_STARTTLS.format(chain=self.certificates.chain, key=self.certificates.key)
        text = VSFTPD.format(directory=self.directory, port=self.port, home=self.home, tls=tls)
        # It allows no space around the sign.
        self.write("vsftpd.conf", text.replace(" = ", "="))

    def command(self) -> Sequence[str]:
        return [self.executable, str(self.directory / "vsftpd.conf")]
