"""
CUPS cupsd: http with the upgrade of RFC 2817.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.interop.harness import Daemon, ServerCertificate, run

QUEUE = "snark"

FILES = """\
SystemGroup root
ServerRoot {directory}/server
ServerKeychain {directory}/keys
CreateSelfSignedCerts no
RequestRoot {directory}/spool
CacheDir {directory}/cache
StateDir {directory}/state
TempDir {directory}/state
ErrorLog {directory}/log
AccessLog {directory}/access
PageLog {directory}/page
Printcap {directory}/printcap
FileDevice Yes
"""

CONFIGURATION = """\
LogLevel info
Listen 127.0.0.1:{port}
ServerName {name}
ServerAlias *
Browsing No
WebInterface Yes
DefaultAuthType None
DefaultEncryption {encryption}
<Location />
  Encryption {encryption}
  Order allow,deny
  Allow all
</Location>
<Policy default>
  <Limit All>
    Order deny,allow
  </Limit>
</Policy>
"""


class CUPS(Daemon):
    """
    With certificates: TLS by upgrade, 426 without.  Without: no TLS.

    One queue, L{QUEUE}, whose printer takes everything.
    """

    packages = ("cups-daemon",)
    title = "CUPS"
    program = "cupsd"
    services = ("ipp",)
    needsRoot = True

    def __init__(self, directory: Path, certificates: ServerCertificate | None = None) -> None:
        super().__init__(directory, certificates)
        self.logs.append(directory / "log")

    def configure(self) -> None:
        for name in ("server", "keys", "spool", "cache", "state"):
            (self.directory / name).mkdir()
        name, encryption = "localhost", "Never"
        if self.certificates is not None:
            name, encryption = self.certificates.name, "Required"
            # It takes what it finds under the name that the client asked for.
            shutil.copy(self.certificates.chain, self.directory / "keys" / f"{name}.crt")
            shutil.copy(self.certificates.key, self.directory / "keys" / f"{name}.key")
        text = CONFIGURATION.format(port=self.port, name=name, encryption=encryption)
        self.write("cupsd.conf", text)
        self.write("cups-files.conf", FILES.format(directory=self.directory))

    def command(self) -> Sequence[str]:
        configuration, files = self.directory / "cupsd.conf", self.directory / "cups-files.conf"
        return [self.executable, "-f", "-c", str(configuration), "-s", str(files)]

    def populate(self) -> None:
        tls = [] if self.certificates is None else ["-E"]
        printer = ["-p", QUEUE, "-v", "file:///dev/null", "-E"]
        run(["lpadmin", *tls, "-h", f"127.0.0.1:{self.port}", *printer]).expect()
