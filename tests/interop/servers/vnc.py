"""
Servers of VNC, each with a screen of its own: TigerVNC's Xvnc, and x11vnc.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.interop.harness import Daemon, ServerCertificate, find, until

#: What lets in, where a password is asked for; and with a name.
PASSWORD = "snark-24"
USER = "root"

#: A service of PAM that believes root without a password.
_PAM = "su"


class _Screen(Daemon):
    """
    What both have.
    """

    def passwordFile(self) -> Path:
        """
        The password, as such servers keep it.
        """
        path = self.directory / "password"
        store = [find("x11vnc", "x11vnc"), "-storepasswd", PASSWORD, str(path)]
        subprocess.run(store, check=True, capture_output=True)
        return path


class Xvnc(_Screen):
    """
    With certificates the types are those of VeNCrypt that need one; else there is no TLS.

    @ivar types: the security types, in their order.
    @ivar settings: other settings.
    """

    packages = ("tigervnc-standalone-server",)
    title = "TigerVNC"
    program = "Xvnc"

    def __init__(
        self,
        directory: Path,
        types: str,
        certificates: ServerCertificate | None = None,
        settings: Sequence[str] = ("UseBlacklist=0",),
    ) -> None:
        super().__init__(directory, certificates)
        self.types = types
        self.settings = settings

    def command(self) -> Sequence[str]:
        settings = [f"SecurityTypes={self.types}", *self.settings]
        if "Vnc" in self.types:
            settings.append(f"PasswordFile={self.passwordFile()}")
        if "Plain" in self.types:
            settings += [f"PAMService={_PAM}", f"PlainUsers={USER}"]
        if self.certificates is not None:
            settings.append(f"X509Cert={self.certificates.chain}")
            settings.append(f"X509Key={self.certificates.key}")
        words = ["-displayfd", "1", "-geometry", "320x200", "-interface", "127.0.0.1"]
        words += ["-rfbport", str(self.port)]
        return [self.executable, *words, *(f"-{each}" for each in settings)]

    @property
    def display(self) -> str:
        """
        Where programs draw on its screen.
        """
        number = re.compile(r"^(\d+)$", re.MULTILINE)
        until(lambda: number.search(self.log) is not None, "a display")
        found = number.search(self.log)
        assert found is not None
        return f":{found[1]}"


class X11VNC(_Screen):
    """
    With certificates VeNCrypt, and a password; without, what there was before that.

    @ivar version: of RFB.
    @ivar hasPassword: whether one is asked for.
    """

    packages = ("x11vnc",)
    title = "x11vnc"
    program = "x11vnc"

    def __init__(
        self,
        directory: Path,
        certificates: ServerCertificate | None = None,
        version: str = "3.8",
        hasPassword: bool = True,
    ) -> None:
        super().__init__(directory, certificates)
        self.version = version
        self.hasPassword = hasPassword

    def command(self) -> Sequence[str]:
        words = ["-rawfb", "none", "-rfbport", str(self.port), "-listen", "127.0.0.1", "-no6"]
        words += ["-noipv6", "-forever", "-shared", "-rfbversion", self.version]
        words += ["-rfbauth", str(self.passwordFile())] if self.hasPassword else ["-nopw"]
        if self.certificates is not None:
            both = self.certificates.key.read_text() + self.certificates.chain.read_text()
            pem = self.write("both.pem", both, 0o600)
            words += ["-ssl", str(pem), "-vencrypt", "nodh:only", "-anontls", "never"]
        return [self.executable, *words]
