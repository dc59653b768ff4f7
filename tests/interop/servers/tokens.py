"""
Tokens of PKCS#11: SoftHSM's in files, used within a process or through p11-kit's server, which runs
as another user; and the provider of OpenSSL for them, which tests/interop/unpack-pkcs11 has
unpacked.
"""

from __future__ import annotations

import grp
import json
import pwd
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.interop.asuser import asUser
from tests.interop.harness import Daemon, Outcome, find, run

#: What OpenSSL loads.
PROVIDER = "/opt/tlstunnel-interop/pkcs11-provider/pkcs11.so"

#: Who has the keys, who has the tunnel, and the group that both share.
KEY_USER, NETWORK_USER, GROUP = "games", "nobody", "nogroup"

#: Of all tokens.
PIN, SO_PIN = "4711-abc", "0815-abc"

_MODULE = "/usr/lib/softhsm/libsofthsm2.so"
_CLIENT = "/usr/lib/*/pkcs11/p11-kit-client.so"
_SPY = "/usr/lib/*/pkcs11-spy.so"


def provider() -> str:
    """
    The file of pkcs11-provider.

    @raise SkipTest: it is not there.
    """
    return find(PROVIDER, "pkcs11-provider, unpacked by tests/interop/unpack-pkcs11")


class SoftHSM:
    """
    Tokens of SoftHSM, with a configuration of their own.

    @ivar directory: where they are.
    @ivar module: what knows them.
    @ivar environment: what the module has to be told.
    """

    def __init__(self, directory: Path) -> None:
        """
        @raise SkipTest: it is not installed.
        """
        self.directory = directory
        self.module = Path(find(_MODULE, "softhsm2"))
        self._tool = find("pkcs11-tool", "opensc")
        tokens = directory / "tokens"
        tokens.mkdir(parents=True, mode=0o700)
        settings = directory / "softhsm2.conf"
        settings.write_text(
            f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        self.environment: Mapping[str, str] = {"SOFTHSM2_CONF": str(settings)}

    def add(self, label: str) -> None:
        """
        Make a token.
        """
        program = find("softhsm2-util", "softhsm2")
        pins = ("--pin", PIN, "--so-pin", SO_PIN)
        run(
            [program, "--init-token", "--free", "--label", label, *pins],
            environment=self.environment,
        ).expect("initialized")

    def tool(self, *arguments: str) -> Outcome:
        """
        C{pkcs11-tool ARGUMENTS}
        """
        return run(
            [self._tool, "--module", str(self.module), *arguments], environment=self.environment
        )

    def objects(self, label: str) -> str:
        """
        What is in a token, as its user sees it.
        """
        return self.tool("--token-label", label, "--login", "--pin", PIN, "-O").expect("")

    def flags(self, label: str) -> str:
        """
        What a token says of itself, in words.
        """
        shown = self.tool("--list-token-slots").expect(label)
        found = re.search(
            rf"token label +: {re.escape(label)}\n.*?token flags +: ([^\n]*)", shown, re.DOTALL
        )
        assert found is not None, shown
        return found[1]

    def spied(self, log: Path) -> tuple[Path, Mapping[str, str]]:
        """
        The same module, with all that is asked of it written into C{log}: by what it is loaded,
        and what that has to be told.
        """
        told = {"PKCS11SPY": str(self.module), "PKCS11SPY_OUTPUT": str(log)}
        return Path(find(_SPY, "opensc-pkcs11")), {**self.environment, **told}


class KeyServer(Daemon):
    """
    C{p11-kit server}: the tokens of a SoftHSM, which from now on belong to another user, for the
    members of a group.

    @ivar module: by what they are used.
    @ivar client: what that has to be told.
    """

    packages = ("p11-kit",)
    title = "p11-kit server"
    program = "/usr/libexec/p11-kit/p11-kit-server"
    services = ()
    needsRoot = True

    def __init__(self, directory: Path, softhsm: SoftHSM) -> None:
        super().__init__(directory)
        self.softhsm = softhsm
        self.module = Path(find(_CLIENT, "p11-kit-modules"))
        self.socket = directory / "shared" / "socket"
        self.sockets = [self.socket]
        self.client: Mapping[str, str] = {"P11_KIT_SERVER_ADDRESS": f"unix:path={self.socket}"}

    def configure(self) -> None:
        shared = self.socket.parent
        shared.mkdir(mode=0o750, exist_ok=True)
        for path in (shared, self.softhsm.directory, *self.softhsm.directory.rglob("*")):
            shutil.chown(path, KEY_USER, GROUP)
        self.softhsm.directory.chmod(0o700)
        shared.chmod(0o750)
        self.socket.unlink(missing_ok=True)

    def command(self) -> Sequence[str]:
        # The server compares the primary group of who comes with that of -g, and tells only itself
        # (-f) apart from a shell that is to be told its address.
        return [
            *("setpriv", "--reuid", KEY_USER, "--regid", GROUP, "--clear-groups", self.executable),
            *("-f", "-n", str(self.socket), "-g", GROUP, "-p", str(self.softhsm.module), "pkcs11:"),
        ]

    def environment(self) -> Mapping[str, str]:
        return self.softhsm.environment

    def populate(self) -> None:
        # It is made with mode 0711.
        self.socket.chmod(0o660)


def asNetworkUser(module: Path, environment: Mapping[str, str]) -> tuple[str, ...]:
    """
    What stands before a command of C{python -m tlstunnel} to let it run as the user who has the
    tunnel, with C{module} for its tokens.
    """
    told = {**environment, "TLSTUNNEL_KEY_PROVIDER": json.dumps([provider(), str(module)])}
    uid, gid = pwd.getpwnam(NETWORK_USER).pw_uid, grp.getgrnam(GROUP).gr_gid
    return ("env", *(f"{name}={value}" for name, value in told.items()), *asUser(uid, gid))
