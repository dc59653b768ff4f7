"""
Servers of NBD, each with one disk: nbdkit, qemu-nbd, and nbd-server.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.interop import guard
from tests.interop.harness import Daemon, ServerCertificate

#: How large the disk is, and how nbd-server calls it.
BYTES = 1 << 20
EXPORT = "disk"

NBD_SERVER = """\
[generic]
    listenaddr = 127.0.0.1
    port = {port}
    allowlist = true
{tls}
[{export}]
    exportname = {disk}
"""

TLS = """\
    force_tls = true
    certfile = {chain}
    keyfile = {key}
    cacertfile = {anchors}
"""


def directoryOf(directory: Path, certificates: ServerCertificate, side: str = "server") -> Path:
    """
    Certificates as programs with GnuTLS want them: in a directory, under names of their own.

    @param side: of those that show one.
    """
    directory.mkdir(mode=0o755, exist_ok=True)
    shutil.copy(certificates.anchors, directory / "ca-cert.pem")
    if side:
        shutil.copy(certificates.chain, directory / f"{side}-cert.pem")
        shutil.copy(certificates.key, directory / f"{side}-key.pem")
    return directory


class NBDKit(Daemon):
    """
    With certificates: STARTTLS, and nothing without.  Without: no TLS.
    """

    packages = ("nbdkit",)
    title = "nbdkit"
    program = "nbdkit"
    words: tuple[str, ...] = ()

    def command(self) -> Sequence[str]:
        words = [*self.words]
        if self.certificates is not None:
            where = directoryOf(self.directory / "certificates", self.certificates)
            words += ["--tls=require", f"--tls-certificates={where}"]
        listen = ["-i", "127.0.0.1", "-p", str(self.port)]
        return [self.executable, "-f", *listen, *words, "memory", str(BYTES)]


class OldNBDKit(NBDKit):
    """
    One that begins as the very old servers did.
    """

    words = ("-o",)


class AskingNBDKit(NBDKit):
    """
    One for clients with a certificate of the same authority.
    """

    words = ("--tls-verify-peer",)


class QemuNBD(Daemon):
    """
    With certificates: STARTTLS, and nothing without.  Without: no TLS.
    """

    packages = ("qemu-utils",)
    title = "qemu-nbd"
    program = "qemu-nbd"

    def configure(self) -> None:
        """
        A disk; and the parameters that it would take minutes to find.
        """
        with (self.directory / "disk").open("wb") as disk:
            disk.truncate(BYTES)
        if self.certificates is not None:
            where = directoryOf(self.directory / "certificates", self.certificates)
            group = ["-algorithm", "DH", "-pkeyopt", "group:ffdhe2048"]
            out = ["-out", str(where / "dh-params.pem")]
            subprocess.run(["openssl", "genpkey", "-genparam", *group, *out], check=True)

    def command(self) -> Sequence[str]:
        words = ["-b", "127.0.0.1", "-p", str(self.port), "-t", "-e", "5", "-f", "raw"]
        if self.certificates is not None:
            where = self.directory / "certificates"
            creds = f"tls-creds-x509,id=tls,dir={where},endpoint=server,verify-peer=off"
            words += ["--object", creds, "--tls-creds", "tls"]
        return [self.executable, *words, str(self.directory / "disk")]


class NBDServer(Daemon):
    """
    With certificates: STARTTLS, and nothing without, for clients with a certificate of the same
    authority.  Without: no TLS.  It leaves the foreground, as it serves one client alone there.
    """

    packages = ("nbd-server",)
    title = "nbd-server"
    program = "nbd-server"

    _group = 0

    def configure(self) -> None:
        disk = self.directory / "disk"
        with disk.open("wb") as file:
            file.truncate(BYTES)
        tls = ""
        if self.certificates is not None:
            chain, key = self.certificates.chain, self.certificates.key
            tls = TLS.format(chain=chain, key=key, anchors=self.certificates.anchors)
        text = NBD_SERVER.format(port=self.port, tls=tls, export=EXPORT, disk=disk)
        self.write("config", text)

    def command(self) -> Sequence[str]:
        start = f"{self.executable} -C {self.directory}/config -p {self.directory}/pid"
        return ["/bin/sh", "-c", f"{start} && exec sleep infinity"]

    def populate(self) -> None:
        """
        It has a session of its own, which has to end with the run.
        """
        self._group = int((self.directory / "pid").read_text())
        guard.began(self._group)

    def stop(self) -> int:
        group, self._group = self._group, 0
        if group:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
            guard.ended(group)
        return super().stop()
