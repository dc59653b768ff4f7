"""
Tunnels whose keys another user has, behind C{p11-kit server}.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from tests.interop import intruder
from tests.interop.harness import Stage, TunnelProcess, openssl, record, requireRoot, run, until
from tests.interop.intokens import NAME, REQUEST, TOKEN, ServingTestCase, TokenTunnel
from tests.interop.servers.tokens import (
    GROUP,
    KEY_USER,
    NETWORK_USER,
    PIN,
    KeyServer,
    asNetworkUser,
)
from tests.interop.servers.web import PAGE

#: An identity whose key we know, as it was put into the token.
KNOWN = "known.test.example"

#: One whose key is in a file.
FILE = "file.test.example"

# What the memory of a process is, in its maps: where a part begins and ends, and what may be done.
_MAPPED = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw")


class ApartTests(ServingTestCase):
    """
    The tunnel's user is neither root nor the one who has the keys.

    @cvar known: the key of L{KNOWN}.
    """

    keys: ClassVar[KeyServer]
    known: ClassVar[ec.EllipticCurvePrivateKey]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        requireRoot("a process of another user")
        super().prepare(stage)
        cls.known = ec.generate_private_key(ec.SECP256R1())
        cls.bring(cls.known)
        cls.identity("create", "--token", cls.uri("known"), KNOWN, pool=cls.pool).expect("taken")
        cls.keys = stage.start(KeyServer(stage.directory("keys"), cls.softhsm))
        link = cls.pool / "pkcs11-module"
        link.unlink()
        link.symlink_to(cls.keys.module)
        for path in (cls.pinFile, cls.pool, *cls.pool.rglob("*")):
            if not path.is_symlink():
                shutil.chown(path, NETWORK_USER, GROUP)

    @classmethod
    def bring(cls, key: ec.EllipticCurvePrivateKey) -> None:
        """
        Put a key of ours into the token.
        """
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        login = ("--token-label", TOKEN, "--login", "--pin", PIN, "--label", "known", "--id", "07")
        for kind, content in (("privkey", private), ("pubkey", public)):
            file = cls.softhsm.directory / kind
            file.write_bytes(content)
            cls.softhsm.tool(*login, "--write-object", str(file), "--type", kind).expect("")
            file.unlink()

    @property
    def within(self) -> tuple[str, ...]:
        return asNetworkUser(self.keys.module, self.keys.client)

    def test_whoTakesTheTunnelOverDoesNotGetTheKey(self) -> None:
        """
        Its clients are served; he can use the key as long as he is there.  Who has the keys could
        read them.
        """
        tunnel = self.serving("-L", NAME)
        self.assertEqual(Path(f"/proc/{tunnel.pid}").owner(), NETWORK_USER)
        self.assertServes(tunnel)
        record("none", "server", "openssl", "key of another user, behind p11-kit server")
        for label in ("ec", "rsa"):
            tried = self.intrude(NETWORK_USER, label)
            self.assertTrue(tried.pop("use").startswith("GOT"), tried)
            self.assertEqual([each for each in tried if tried[each].startswith("GOT")], [], tried)
            self.assertGreaterEqual(len([each for each in tried if each.startswith("mem ")]), 2)
        possible = self.intrude(KEY_USER, "ec")
        for each in possible:
            if each.startswith(("files", "mem", "ptrace")):
                self.assertTrue(possible[each].startswith("GOT"), each)

    def test_theKeyIsNotInTheMemoryOfTheTunnel(self) -> None:
        """
        That of a tunnel which reads its key from a file is.
        """
        tunnel = self.serving("-L", KNOWN)
        self.assertServes(tunnel, KNOWN)
        self.assertFalse(self.remembers(tunnel, self.known))
        other = self.bystander()
        openssl(other.port, FILE, self.stage.authority.anchors, say=REQUEST).expect(PAGE)
        file = self.stage.authority.pool / FILE / "privkey.pem"
        key = load_pem_private_key(file.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.assertTrue(self.remembers(other, key))

    def test_afterItsEndTheLogSaysWhatToDo(self) -> None:
        """
        Handshakes fail then, also those after a new start of the server, and a reload is refused; a
        restart of the tunnel is what helps.  Other tunnels go on.
        """
        other = self.bystander()
        tunnel = self.serving("-L", NAME)
        self.assertServes(tunnel)
        self.keys.kill()
        self.assertFails(tunnel, "1.3")
        self.keys.start()
        self.assertFails(tunnel, "1.2")
        tunnel.reload()
        self.assertSays("error: not reloaded, the old state stays", tunnel)
        openssl(other.port, FILE, self.stage.authority.anchors, say=REQUEST).expect(PAGE)
        tunnel.stop()
        tunnel.start()
        self.assertServes(tunnel)

    def assertFails(self, tunnel: TokenTunnel, version: str) -> None:
        """
        A client is refused, and the log says why.
        """
        before = tunnel.log
        self.fetch(tunnel, version).expectFailure("alert internal error")
        until(lambda: len(tunnel.log) > len(before), "the line of the connection")
        said = tunnel.log.removeprefix(before)
        self.assertIn("tls: our key in a token or TPM did not sign", said)
        self.assertIn(
            "hint: see whether the token or TPM is there, and whoever serves it; then rest", said
        )

    def bystander(self) -> TunnelProcess:
        """
        A tunnel that reads its key from a file.
        """
        if not (self.stage.authority.pool / FILE).exists():
            self.stage.authority.issue(FILE)
        return self.serverMode(f"127.0.0.1:{self.web.port}", FILE, None)

    def intrude(self, user: str, label: str) -> dict[str, str]:
        """
        Try to get a key.
        """
        isNetwork = user == NETWORK_USER
        module = self.keys.module if isNetwork else self.softhsm.module
        environment = self.keys.client if isNetwork else self.softhsm.environment
        script = str(Path(intruder.__file__))
        tokens = self.softhsm.directory / "tokens"
        words = [user, GROUP, str(module), PIN, label, str(tokens), *map(str, self.processes())]
        found = run([sys.executable, script, *words], environment=environment).expect("")
        tried: dict[str, str] = json.loads(found.splitlines()[-1])
        return tried

    def processes(self) -> list[int]:
        """
        All that have the keys: the server, and what it starts for each client.
        """
        every = (int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit())
        return [each for each in every if sessionOf(each) == self.keys.pid]

    def remembers(self, tunnel: TunnelProcess, key: ec.EllipticCurvePrivateKey) -> bool:
        """
        Whether a key is in the memory of a tunnel.
        """
        number = key.private_numbers().private_value
        forms = [number.to_bytes(32, "big"), number.to_bytes(32, "little")]
        maps = Path(f"/proc/{tunnel.pid}/maps").read_text()
        with Path(f"/proc/{tunnel.pid}/mem").open("rb") as memory:
            for found in _MAPPED.finditer(maps):
                start, end = (int(each, 16) for each in found.groups())
                memory.seek(start)
                part = memory.read(end - start)
                if any(each in part for each in forms):
                    return True
        return False


def sessionOf(pid: int) -> int:
    """
    Whose session a process is in; 0 where there is no such process any more.
    """
    try:
        return os.getsid(pid)
    except OSError:
        return 0
