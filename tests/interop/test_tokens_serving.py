"""
Tunnels whose keys are in a token of SoftHSM, which is a part of their own process.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.interop.harness import record
from tests.interop.intokens import NAME, RSA_NAME, ServingTestCase
from tests.interop.servers.tokens import PIN


class ServingTests(ServingTestCase):
    """
    Clients of such tunnels.
    """

    def test_clientsAreServed(self) -> None:
        """
        Whatever kind of key it is.
        """
        for name, kind in ((NAME, "ECDSA"), (RSA_NAME, "RSA")):
            self.assertServes(self.serving("-L", name), name)
            for client in ("openssl", "curl"):
                record("none", "server", client, f"{kind} key in a token")

    def test_workersServeThem(self) -> None:
        """
        Each logs in by itself.
        """
        tunnel = self.serving("-L", NAME, "--workers", "2")
        for _ in range(2):
            self.assertServes(tunnel)

    def test_theKeyIsUsedAgainAfterAReload(self) -> None:
        """
        The token stays as it is, whose PIN was needed once or once more.
        """
        log = self.stage.base / "reloaded.txt"
        module, told = self.softhsm.spied(log)
        pool = self.copied()
        (pool / "pkcs11-module").unlink()
        (pool / "pkcs11-module").symlink_to(module)
        environment = (f"{name}={each}" for name, each in told.items())
        tunnel = self.serving("-L", NAME, pool=pool, within=("env", *environment))
        self.assertServes(tunnel)
        tunnel.reload()
        self.assertNotIn("not reloaded", tunnel.log)
        self.assertServes(tunnel)
        self.assertIn("C_Sign\n", log.read_text())

    def test_aCertificateOfAnotherKeyIsRefused(self) -> None:
        """
        At the start, and at a reload, after which all goes on as before.
        """
        pool = self.copied()
        other = self.identity("create", "--token", self.uri("another"), "other.test", pool=pool)
        other.expect("made")
        tunnel = self.serving("-L", NAME, pool=pool)
        shutil.copy(pool / "other.test" / "fullchain.pem", pool / NAME / "fullchain.pem")
        tunnel.reload()
        self.assertIn("not reloaded", tunnel.log)
        self.assertIn("does not fit", tunnel.log)
        self.assertServes(tunnel)
        self.assertIn("does not fit", self.refusal("-L", NAME, pool=pool))

    def test_aWrongPINIsTriedOnce(self) -> None:
        """
        By all workers together.
        """
        self.softhsm.add("locking")
        for number, workers in enumerate(("1", "2")):
            pool = self.copied()
            uri = f"pkcs11:token=locking;object=key{number}?pin-source=file:{self.pinFile}"
            self.identity("create", "--force", "--token", uri, NAME, pool=pool).expect("made")
            wrong = self.stage.base / "wrong"
            wrong.write_text(f"{PIN}x\n")
            wrong.chmod(0o600)
            self.refer(pool, uri.replace(str(self.pinFile), str(wrong)))
            log = self.stage.base / f"spied-{workers}.txt"
            module, told = self.softhsm.spied(log)
            (pool / "pkcs11-module").unlink()
            (pool / "pkcs11-module").symlink_to(module)
            said = self.refusal(
                *("-L", NAME, "--workers", workers),
                pool=pool,
                within=("env", *(f"{name}={each}" for name, each in told.items())),
            )
            self.assertIn("refuses the PIN", said)
            self.assertEqual(log.read_text().count("C_Login"), 1)
        self.assertIn("low", self.softhsm.flags("locking"))

    def test_whatIsMissingIsNamed(self) -> None:
        """
        The token, the key in it, and each of the modules.
        """
        for uri, words in (
            (self.uri("ec", "other"), "no such token"),
            (self.uri("nothing"), "no such key"),
        ):
            pool = self.copied()
            self.refer(pool, uri)
            self.assertIn(words, self.refusal("-L", NAME, pool=pool))
        for name, to, words in (
            ("key-provider", None, "--key-provider names none"),
            ("key-provider", "/nonexistent.so", "/nonexistent.so: cannot be read"),
            ("pkcs11-module", "/nonexistent.so", "/nonexistent.so: cannot be read"),
            ("pkcs11-module", "/etc/hostname", "is no PKCS#11 module"),
        ):
            pool = self.copied()
            (pool / name).unlink()
            if to is not None:
                (pool / name).symlink_to(to)
            self.assertIn(words, self.refusal("-L", NAME, pool=pool))

    def test_whatTheProviderMightTakeOverIsRefused(self) -> None:
        """
        It takes part in all that has the algorithm of its key, once that has signed.
        """
        pool = self.copied()
        self.identity("create", "own.test", pool=pool).expect("")
        for options, words in (
            (("-L", NAME, "-R", "@example.org"), "in a process that verifies others (--remote-id)"),
            (("-L", NAME, "-L", "own.test"), "of the same algorithm"),
        ):
            self.assertIn(words, self.refusal(*options, pool=pool))
        tunnel = self.serving("-L", RSA_NAME, "-L", "own.test", pool=pool)
        self.assertServes(tunnel, RSA_NAME)
        self.assertServes(tunnel, "own.test")

    def test_theCommandsKnowSuchKeys(self) -> None:
        """
        They check, list and renew them; the key is not needed for the latter.
        """
        pool = self.copied()
        for name in (NAME, RSA_NAME):
            self.identity("check", name, pool=pool).expect("all is well")
        self.identity("list", pool=pool).expect(NAME, RSA_NAME)
        before = (pool / NAME / "privkey.pem").read_bytes()
        self.identity("renew", "--force", NAME, pool=pool).expect("renewed")
        self.assertEqual((pool / NAME / "privkey.pem").read_bytes(), before)
        self.identity("check", NAME, pool=pool).expect("all is well")
        self.refer(pool, self.uri("rsa"))
        self.identity("check", NAME, pool=pool).expectFailure("does not fit")

    def copied(self) -> Path:
        """
        The pool, for a test that changes it.
        """
        pool = self.stage.directory("pool")
        shutil.copytree(self.pool, pool, symlinks=True)
        return pool

    def refer(self, pool: Path, uri: str) -> None:
        """
        Let the key of L{NAME} be somewhere else.
        """
        file = pool / NAME / "privkey.pem"
        file.write_text(uri)
        file.chmod(0o600)
