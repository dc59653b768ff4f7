"""
upsd of NUT, with a power supply that is only a file; and upsmon, its client that verifies.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.interop.certificates import ServerCertificate
from tests.interop.harness import Daemon, Process, find

#: The account of all of it.
NUT = "nut"

#: The one power supply, what it says, and who may do something to it.
UPS = "snark"
STATUS = "OL"
USER, PASSWORD = "alice", "wonderland"

DEVICE = f"""\
ups.status: {STATUS}
battery.charge: 90
"""

SUPPLIES = """\
[{ups}]
driver = dummy-ups
port = {directory}/supply.dev
"""

USERS = """\
[{user}]
password = {password}
upsmon primary
"""

LISTENING = """\
LISTEN 127.0.0.1 {port}
"""

#: Debian's has the TLS of NSS.
TLS = """\
CERTPATH {directory}/nss
CERTIDENT "upsd" ""
DISABLE_WEAK_SSL true
"""

MONITOR = """\
MONITOR {ups}@127.0.0.1:{port} 1 {user} {password} primary
MINSUPPLIES 1
SHUTDOWNCMD /bin/true
POWERDOWNFLAG {directory}/killpower
POLLFREQ 1
"""

VERIFYING = """\
CERTPATH {directory}/nss
CERTVERIFY 1
FORCESSL 1
CERTHOST 127.0.0.1 {name} 1 1
"""


def database(directory: Path, anchors: Path) -> str:
    """
    A database of NSS that knows an authority.

    @return: its name.
    """
    certutil = find("certutil", "libnss3-tools")
    directory.mkdir(mode=0o755)
    name = f"sql:{directory}"
    for words in (
        ["-N", "--empty-password"],
        ["-A", "-n", "authority", "-t", "C,,", "-a", "-i", str(anchors)],
    ):
        subprocess.run([certutil, "-d", name, *words], check=True)
    for path in directory.iterdir():
        path.chmod(0o644)
    return name


class UPSD(Daemon):
    """
    With certificates: STARTTLS, though not only.  Without: no TLS.
    """

    packages = ("nut-server",)
    title = "NUT upsd"
    program = "/lib/nut/upsd"
    services = ("nut",)
    user = NUT

    def __init__(self, directory: Path, certificates: ServerCertificate | None = None) -> None:
        super().__init__(directory, certificates)
        (directory / "driver").mkdir()
        self._driver = Process(directory / "driver")

    def configure(self) -> None:
        directory = self.directory
        text = LISTENING.format(port=self.port)
        if self.certificates is not None:
            text += TLS.format(directory=directory)
            self._import(self.certificates)
        self.write("upsd.conf", text)
        self.write("upsd.users", USERS.format(user=USER, password=PASSWORD))
        self.write("ups.conf", SUPPLIES.format(ups=UPS, directory=directory))
        self.write("supply.dev", DEVICE)

    def _import(self, certificates: ServerCertificate) -> None:
        name = database(self.directory / "nss", certificates.anchors)
        bundle = str(self.directory / "upsd.p12")
        files = ["-in", str(certificates.chain), "-inkey", str(certificates.key), "-out", bundle]
        words = ["-name", "upsd", "-passout", "pass:"]
        subprocess.run(["openssl", "pkcs12", "-export", *files, *words], check=True)
        pk12util = find("pk12util", "libnss3-tools")
        words = ["-i", bundle, "-K", "", "-W", ""]
        subprocess.run([pk12util, "-d", name, *words], check=True, capture_output=True)

    def environment(self) -> Mapping[str, str]:
        names = ("NUT_CONFPATH", "NUT_STATEPATH", "NUT_ALTPIDPATH")
        return dict.fromkeys(names, str(self.directory))

    def command(self) -> Sequence[str]:
        """
        The server; what reads the power supply for it runs beside it, and first.
        """
        driver = find("/lib/nut/dummy-ups", self.packages[0])
        where = self.directory / f"dummy-ups-{UPS}"
        self._driver.spawn([driver, "-D", "-a", UPS], [where], self.user, self.environment())
        return [self.executable, "-D"]

    def stop(self) -> int:
        code = super().stop()
        self._driver.stop()
        return code


class UPSMon(Daemon):
    """
    Looks after the power supply of a server, which has to prove its name, if that is said.
    """

    packages = ("nut-client",)
    title = "NUT upsmon"
    program = "/lib/nut/upsmon"
    services = ()
    user = NUT
    # Its file below /run is where only that account may write.
    needsRoot = True

    def __init__(self, directory: Path, port: int, name: str = "", anchors: Path = Path()) -> None:
        """
        @param port: of the server.
        @param name: who that has to be; anybody, also without TLS, if it is empty.
        """
        super().__init__(directory)
        self._server, self._name, self._anchors = port, name, anchors

    def configure(self) -> None:
        directory = self.directory
        text = MONITOR.format(
            ups=UPS, port=self._server, user=USER, password=PASSWORD, directory=directory
        )
        if self._name:
            database(directory / "nss", self._anchors)
            text += VERIFYING.format(directory=directory, name=self._name)
        self.write("upsmon.conf", text)

    def environment(self) -> Mapping[str, str]:
        return {"NUT_CONFPATH": str(self.directory)}

    def command(self) -> Sequence[str]:
        return [self.executable, "-D", "-D", "-p"]

    def stop(self) -> int:
        code = super().stop()
        # It has no option for the place.
        Path("/run/nut/upsmon.pid").unlink(missing_ok=True)
        return code
