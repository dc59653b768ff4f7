"""
Tunnels whose keys another user has, behind C{p11-kit server}.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SkipTest

from tests.interop import intruder
from tests.interop.harness import Stage, record, requireRoot, run
from tests.interop.intokens import NAME, RSA_NAME, ServingTestCase
from tests.interop.servers.tokens import (
    GROUP,
    NETWORK_USER,
    PIN,
    KeyServer,
    asNetworkUser,
)
from tests.interop.tunnel import CHECKOUT


class ApartTests(ServingTestCase):
    """
    The tunnel's user is neither root nor the one who has the keys.
    """

    keys: ClassVar[KeyServer]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        requireRoot("a process of another user")
        readable = run([*asNetworkUser(), "test", "-r", str(CHECKOUT / "setup.cfg")])
        if readable.code != 0:
            raise SkipTest(f"NOT TESTED: {NETWORK_USER} may not read {CHECKOUT}")
        super().prepare(stage)
        cls.keys = stage.start(KeyServer(stage.directory("keys"), cls.softhsm))
        link = cls.pool / "pkcs11-module"
        link.unlink()
        link.symlink_to(cls.keys.module)
        for path in (cls.pool, *cls.pool.rglob("*"), cls.pinFile):
            shutil.chown(path, NETWORK_USER, GROUP) if not path.is_symlink() else None

    @property
    def within(self) -> tuple[str, ...]:
        return asNetworkUser(self.keys.client)

    def test_clientsAreServed(self) -> None:
        """
        Whatever kind of key it is.
        """
        for name, kind in ((NAME, "ECDSA"), (RSA_NAME, "RSA")):
            self.assertServes(self.serving("-L", name), name)
            record("none", "server", "openssl", f"{kind} key of another user, p11-kit server")

    def test_workersServeThem(self) -> None:
        """
        Each has a connection of its own to the server.
        """
        tunnel = self.serving("-L", NAME, "--workers", "2")
        for _ in range(2):
            self.assertServes(tunnel)

    def test_whoTakesTheTunnelOverDoesNotGetTheKey(self) -> None:
        """
        He can use it as long as he is there, and no more; who has the keys could read them.
        """
        for name, label in ((NAME, "ec"), (RSA_NAME, "rsa")):
            self.assertServes(self.serving("-L", name), name)
            tried = self.intrude(self.within, self.keys.module, label)
            self.assertTrue(tried.pop("use").startswith("GOT"), tried)
            self.assertEqual([each for each in tried if tried[each].startswith("GOT")], [], tried)
            self.assertGreaterEqual(len([each for each in tried if each.startswith("mem ")]), 2)
        told = [f"{name}={value}" for name, value in self.softhsm.environment.items()]
        possible = self.intrude(("env", *told), self.softhsm.module, "ec")
        for each in ("files", *(one for one in possible if one.startswith(("mem", "ptrace")))):
            self.assertTrue(possible[each].startswith("GOT"), each)

    def test_theKeyIsNotInTheMemoryOfTheTunnel(self) -> None:
        """
        A file would be.
        """

    def test_afterItsEndTheLogSaysWhatToDo(self) -> None:
        """
        Handshakes fail then, also those after a new start of the server; a restart of the tunnel
        is what helps.  Other tunnels of the same machine go on.
        """

    def intrude(self, within: tuple[str, ...], module: Path, label: str) -> dict[str, str]:
        """
        Try to get a key.
        """
        processes = self.processes()
        tokens = self.softhsm.directory / "tokens"
        script = str(Path(intruder.__file__))
        words = [str(module), PIN, label, str(tokens), *map(str, processes)]
        found = run([*within, sys.executable, script, *words]).expect("")
        tried: dict[str, str] = json.loads(found.splitlines()[-1])
        return tried

    def processes(self) -> list[int]:
        """
        All that have the keys: the server, and what it starts for each client.
        """
        session = os.getsid(self.keys.pid)
        every = (int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit())
        return [each for each in every if self.sessionOf(each) == session]

    def sessionOf(self, pid: int) -> int:
        """
        Whose session a process is in; 0 where there is no such process any more.
        """
        try:
            return os.getsid(pid)
        except OSError:
            return 0
