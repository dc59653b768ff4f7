"""
A TPM of software, all for itself: swtpm, the resource manager tpm2-abrmd before it, and a bus of
D-Bus between that and its clients, each at UNIX sockets in a directory of its own.

Without the manager one process would have the TPM for itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tests.interop.clients import run
from tests.interop.harness import Process, find, until

_BUS = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/> <allow own="*"/>
    <allow send_destination="*"/> <allow receive_sender="*"/>
  </policy>
</busconfig>
"""


class TPM(Process):
    """
    The TPM, which keeps what it has through a restart.

    @ivar manager: tpm2-abrmd before it.
    @ivar environment: what lets programs find the manager.
    @ivar provider: the module for OpenSSL.
    """

    #: Debian's packages.
    packages = "swtpm", "tpm2-abrmd", "libtss2-tcti-tabrmd0", "tpm2-openssl", "tpm2-tools"

    def __init__(self, directory: Path) -> None:
        """
        @raise SkipTest: something is not installed.
        """
        super().__init__(directory)
        directory.mkdir(mode=0o755, parents=True)
        self._swtpm = find("swtpm", "swtpm")
        self._data = directory / "tpm"
        self._bus = _Bus(directory / "bus")
        self.provider = find("/usr/lib/*/ossl-modules/tpm2.so", "tpm2-openssl")
        find("/usr/lib/*/libtss2-tcti-tabrmd.so.0", "libtss2-tcti-tabrmd0")
        self.environment: Mapping[str, str] = {
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={self._bus.path}",
            "TPM2OPENSSL_TCTI": "tabrmd:bus_type=session",
            "TPM2TOOLS_TCTI": "tabrmd:bus_type=session",
        }
        self.manager = _Manager(directory / "manager", self._data, self.environment)

    def start(self) -> None:
        """
        All three.
        """
        state = self.directory / "state"
        state.mkdir(exist_ok=True)
        # Its control socket has this name for those who know only the other one.
        control = f"{self._data}.ctrl"
        self.spawn(
            [
                *(self._swtpm, "socket", "--tpm2", "--tpmstate", f"dir={state}"),
                *("--server", f"type=unixio,path={self._data}"),
                *("--ctrl", f"type=unixio,path={control}", "--flags", "not-need-init"),
            ],
            [self._data, Path(control)],
        )
        self._bus.start()
        self.manager.start()

    def stop(self) -> int:
        """
        End all three, in order.
        """
        self.manager.stop()
        self._bus.stop()
        return super().stop()

    def generate(self, path: Path, *options: str) -> None:
        """
        Let the TPM make a key, and write what leads to it.
        """
        options = options or ("-algorithm", "EC", "-pkeyopt", "group:P-256")
        command = ["openssl", "genpkey", "-provider", "tpm2", *options, "-out", str(path)]
        run(command, environment=self.environment).expect()
        path.chmod(0o600)

    def publicKey(self, key: Path) -> bytes:
        """
        What belongs to a key of the TPM, as PEM.  (The requests that its provider makes are of
        no use: their signature has a name that not everybody can read.)
        """
        command = ["openssl", "pkey", "-provider", "tpm2", "-provider", "default"]
        command += ["-in", str(key), "-pubout", "-out", str(self.directory / "public.pem")]
        run(command, environment=self.environment).expect()
        return (self.directory / "public.pem").read_bytes()


class _Bus(Process):
    """
    dbus-daemon.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        directory.mkdir(mode=0o755)
        self._program = find("dbus-daemon", "dbus-daemon")
        self.path = directory / "bus"

    def start(self) -> None:
        """
        Start it.
        """
        file = self.directory / "bus.conf"
        file.write_text(_BUS.format(path=self.path))
        self.spawn([self._program, f"--config-file={file}", "--nofork"], [self.path])


class _Manager(Process):
    """
    tpm2-abrmd.
    """

    def __init__(self, directory: Path, tpm: Path, environment: Mapping[str, str]) -> None:
        super().__init__(directory)
        directory.mkdir(mode=0o755)
        self._program = find("tpm2-abrmd", "tpm2-abrmd")
        find("tpm2_getrandom", "tpm2-tools")
        self._tpm = tpm
        self._environment = environment

    def start(self) -> None:
        """
        Start it; it is there once it can be asked something.
        """
        root = ["--allow-root"] if os.geteuid() == 0 else []
        self.spawn(
            [self._program, "--session", f"--tcti=swtpm:path={self._tpm}", *root],
            [],
            environment=self._environment,
        )
        ask = ["tpm2_getrandom", "--hex", "1"]
        until(lambda: run(ask, environment=self._environment).code == 0, f"{self.name} answers")
