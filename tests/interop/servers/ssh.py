"""
OpenSSH's server, and rsync's, which programs reach whose connection is somebody else's to make.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.interop.harness import Daemon, find

CONFIGURATION = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/user_key.pub
PidFile none
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
StrictModes no
Subsystem sftp internal-sftp
"""

#: Where sshd of Debian, as root, has to have a directory for its unprivileged part.
_EMPTY = Path("/run/sshd")


class SSHD(Daemon):
    """
    Lets root in with the key C{user_key}.
    """

    packages = ("openssh-server",)
    title = "OpenSSH"
    program = "sshd"
    needsRoot = True

    def configure(self) -> None:
        """
        Keys of its own, and its configuration.
        """
        keygen = find("ssh-keygen", "openssh-client")
        for name in ("host_key", "user_key"):
            path = self.directory / name
            command = [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        self.write("sshd_config", CONFIGURATION.format(port=self.port, directory=self.directory))
        _EMPTY.mkdir(mode=0o755, exist_ok=True)

    def command(self) -> Sequence[str]:
        """
        In the foreground, with its log to standard error.
        """
        return [self.executable, "-D", "-e", "-f", str(self.directory / "sshd_config")]

    def client(self, proxy: str, name: str) -> Path:
        """
        The configuration of a client that comes by C{proxy}, a command.

        @param name: what the host is called.
        """
        key = (self.directory / "host_key.pub").read_text()
        known = self.write("known_hosts", f"{name} {key}")
        return self.write(
            "ssh_config",
            f"Host {name}\n  User root\n  ProxyCommand {proxy}\n  BatchMode yes\n"
            f"  UserKnownHostsFile {known}\n  IdentityFile {self.directory}/user_key\n"
            f"  IdentityAgent none\n",
            mode=0o600,
        )


class Rsyncd(Daemon):
    """
    Serves C{files}, to be read, as the module of that name.
    """

    packages = ("rsync",)
    title = "rsync"
    program = "rsync"

    def configure(self) -> None:
        """
        Its configuration.
        """
        (self.directory / "files").mkdir()
        user = "" if os.geteuid() else "uid = root\ngid = root\n"
        self.write(
            "rsyncd.conf",
            f"use chroot = no\n{user}[files]\npath = {self.directory}/files\nread only = yes\n",
        )

    def command(self) -> Sequence[str]:
        """
        In the foreground.
        """
        return [
            *(self.executable, "--daemon", "--no-detach", "--address", "127.0.0.1"),
            *("--port", str(self.port), "--config", str(self.directory / "rsyncd.conf")),
        ]
